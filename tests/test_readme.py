"""The README's code runs, top to bottom, and prints what it says it prints."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
CODE_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STATED_OUTPUT = re.compile(r"^print\(.*\)  # (.+)$", re.MULTILINE)


def test_code_blocks_run_and_print_what_they_state(capsys):
    text = README.read_text(encoding="utf-8")
    blocks = list(CODE_BLOCK.finditer(text))
    assert len(blocks) >= 5

    namespace = {"__name__": "readme"}
    for block in blocks:
        # Empty lines before the code keep the README's line numbers in a traceback.
        source = "\n" * text.count("\n", 0, block.start(1)) + block[1]
        exec(compile(source, README, "exec"), namespace)
        printed = capsys.readouterr().out.splitlines()
        for stated in STATED_OUTPUT.findall(block[1]):
            assert stated in printed
