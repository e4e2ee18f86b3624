"""The types of the public interface, as type checkers see them in users' code."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "tests" / "typing_samples"
MISTAKES = [
    number
    for number, line in enumerate((SAMPLES / "wrong.py").read_text().splitlines(), 1)
    if re.match(r"[\w.]+\(", line)
]


def run(*command):
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )


def mypy(*paths):
    """The lines of each file in which mypy sees an error."""
    result = run("mypy", "--no-error-summary", *map(str, paths))
    assert result.stderr == ""
    # Of the package itself it is asked elsewhere, with the newest numpy.
    return [
        sorted({*map(int, re.findall(rf"{path.name}:(\d+): error", result.stdout))})
        for path in paths
    ]


def pyright(*paths):
    """The lines of each file in which pyright sees an error."""
    command = "pyright", "--pythonpath", sys.executable, "--outputjson"
    found = json.loads(run(*command, *map(str, paths)).stdout)["generalDiagnostics"]
    lines = [(Path(each["file"]), each["range"]["start"]["line"]) for each in found]
    return [sorted({1 + line for file, line in lines if file == p}) for p in paths]


@pytest.mark.parametrize("check", [mypy, pyright])
def test_types_are_those_that_users_see(check):
    if importlib.util.find_spec(check.__name__) is None:
        pytest.skip(f"needs {check.__name__}")
    assert len(MISTAKES) == 6
    assert check(SAMPLES / "right.py", SAMPLES / "wrong.py") == [[], MISTAKES]
