import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import skrebatch


def run(code, *flags):
    return subprocess.run(
        [sys.executable, *flags, "-c", code], capture_output=True, text=True
    )


def test_import_is_silent():
    result = run("import skrebatch", "-W", "error")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "extra", ["matplotlib", "onnx", "pandas", "polars", "safetensors"]
)
def test_import_needs_no_extra(extra):
    result = run(f"import sys; sys.modules[{extra!r}] = None; import skrebatch")
    assert result.returncode == 0, result.stderr


def test_import_adds_no_extra():
    # What scikit-learn and skorch import by themselves is not ours to avoid.
    result = run(
        "import sys, skorch, sklearn.model_selection, torch\n"
        "before = set(sys.modules)\n"
        "import skrebatch\n"
        "added = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(added & {'matplotlib', 'onnx', 'pandas', 'polars', 'safetensors'})"
    )
    assert result.stdout == "set()\n", result.stderr


def test_import_takes_little_more_than_what_it_stands_on():
    # By modules, because times vary: what else is loaded is next to nothing.
    result = run(
        "import sys, torch, skorch, sklearn\n"
        "before = set(sys.modules)\n"
        "import skrebatch\n"
        "added = set(sys.modules) - before\n"
        "foreign = [name for name in added if name.split('.')[0] != 'skrebatch']\n"
        "print(len(before), len(foreign))"
    )
    n_before, n_foreign = map(int, result.stdout.split())
    assert n_foreign <= 0.02 * n_before


def test_the_citation_is_of_this_version():
    citation = (Path(__file__).parent.parent / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {skrebatch.__version__}\n" in citation


def test_version_is_the_installed_one():
    assert skrebatch.__version__ == importlib.metadata.version("skrebatch")


@pytest.mark.parametrize(
    "name",
    [
        "IntervalInsertionSampler",
        "ModelFileError",
        "LossCurveDisplay",
        "RatioCurveDisplay",
        "ReBatch",
        "ReBatchCNNClassifier",
        "ReBatchCNNRegressor",
        "SampleDynamicsDisplay",
        "interval_insertion",
        "load_model",
        "redistribution_size",
        "save_model",
        "to_onnx",
        "training_dynamics",
    ],
)
def test_public_names_import_from_the_root(name):
    assert name in skrebatch.__all__
    assert getattr(skrebatch, name).__name__ == name
