"""The types of the public interface, as type checkers see them in users' code."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from packaging.version import Version

import skrebatch

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "tests" / "typing_samples"
MISTAKES = [
    number
    for number, line in enumerate((SAMPLES / "wrong.py").read_text().splitlines(), 1)
    if re.match(r"[\w.]+\(", line)
]

# What our classes inherit from libraries without types.
BASES = {
    "sklearn/base": ["BaseEstimator", "ClassifierMixin", "RegressorMixin"],
    "sklearn/callback": ["CallbackSupportMixin"],
    "sklearn/model_selection": ["GridSearchCV"],
    "skorch": ["NeuralNet"],
    "skorch/callbacks": ["Callback"],
}


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


def test_the_types_of_all_public_names_are_known(tmp_path):
    """Apart from scikit-learn's and skorch's, for which stubs stand in."""
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("needs pyright")
    if Version(np.__version__) < Version("2"):
        pytest.skip("numpy before 2 leaves parts of its own types unknown")
    for module, names in BASES.items():
        library, *parts = module.split("/")
        folder = tmp_path.joinpath(f"{library}-stubs", *parts)
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{library}-stubs" / "py.typed").write_text("partial\n")
        stub = "".join(f"class {name}: ...\n" for name in names)
        (folder / "__init__.pyi").write_text(stub)
    # pyright asks the first python of PATH for the folders of packages.
    folders = {
        "PATH": [Path(sys.executable).parent, os.environ["PATH"]],
        "PYTHONPATH": [tmp_path, Path(skrebatch.__file__).parent.parent],
    }
    command = "pyright", "--verifytypes", "skrebatch", "--ignoreexternal"
    result = subprocess.run(
        [sys.executable, "-m", *command, "--outputjson"],
        cwd=tmp_path,
        env=os.environ | {n: os.pathsep.join(map(str, f)) for n, f in folders.items()},
        capture_output=True,
        text=True,
    )
    report = json.loads(result.stdout)["typeCompleteness"]
    faults = [
        f"{symbol['name']}: {fault['message']}"
        for symbol in report["symbols"]
        for fault in symbol["diagnostics"]
        if fault["severity"] == "error"  # others are of docstrings
    ]
    assert faults == []
    assert report["completenessScore"] == 1
