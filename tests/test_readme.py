"""The code in README and docs runs, top to bottom, and prints what it says."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STATED_OUTPUT = re.compile(r"^print\(.*\)  # (.+)$", re.MULTILINE)
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    if CODE_BLOCK.search(path.read_text(encoding="utf-8"))
}
# Pages about a package that may not be there, or whose first block needs one.
NEEDED = {
    "docs/clusters.md": "distributed",
    "docs/imbalance.md": "imblearn",
    "docs/interruption.md": "safetensors",
    "docs/lecture.md": "imblearn",
    "docs/onnx.md": "onnxruntime",
    "docs/recipes.md": "skrub",
    "docs/save.md": "safetensors",
}
# Packages that no more than a block is about, which is left out without them.
OPTIONAL = (
    *("mapie", "mlflow", "optuna", "shap", "skl2onnx", "skops", "skrub"),
    "tensorboard",
)


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_run_and_print_what_they_state(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for what they write
    if page in NEEDED:
        pytest.importorskip(NEEDED[page])
    text = PAGES[page].read_text(encoding="utf-8")
    namespace = {"__name__": "page"}
    for block in CODE_BLOCK.finditer(text):
        named = [n for n in OPTIONAL if re.search(rf"\b{n}\b", block[1])]
        if any(find_spec(name) is None for name in named):
            continue
        # Empty lines before the code keep the page's line numbers in a traceback.
        source = "\n" * text.count("\n", 0, block.start(1)) + block[1]
        exec(compile(source, PAGES[page], "exec"), namespace)
        printed = capsys.readouterr().out.splitlines()
        for stated in STATED_OUTPUT.findall(block[1]):
            assert stated in printed


def test_the_readme_shows_code():
    assert "README.md" in PAGES
