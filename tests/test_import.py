import importlib.metadata
import inspect
import pkgutil
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


# What is imported where it is first needed.
HEAVY = {
    "dask",
    "distributed",
    "imblearn",
    "matplotlib",
    "onnx",
    "pandas",
    "polars",
    "ray",
    "safetensors",
    "skl2onnx",
    "skops",
}


def test_import_needs_no_extra():
    result = run(
        f"import sys; sys.modules |= dict.fromkeys({HEAVY})\n"
        "import skrebatch\n"
        "for name in skrebatch.__all__: getattr(skrebatch, name)"
    )
    assert result.returncode == 0, result.stderr


def test_import_takes_little_more_than_what_it_stands_on():
    # By modules, because times vary. What scikit-learn and skorch import by themselves
    # is not ours to avoid.
    result = run(
        "import sys, torch, skorch, sklearn.model_selection\n"
        "before = set(sys.modules)\n"
        "import skrebatch\n"
        "print(len(before), *set(sys.modules) - before)"
    )
    n_before, *added = result.stdout.split()
    foreign = {name for name in added if name.split(".")[0] != "skrebatch"}
    assert not {name.split(".")[0] for name in foreign} & HEAVY
    assert len(foreign) <= 0.02 * int(n_before)


def test_the_citation_is_of_this_version():
    citation = (Path(__file__).parent.parent / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {skrebatch.__version__}\n" in citation


def test_version_is_the_installed_one():
    assert skrebatch.__version__ == importlib.metadata.version("skrebatch")


PUBLIC = [
    importlib.import_module(f"skrebatch.{module.name}")
    for module in pkgutil.iter_modules(skrebatch.__path__)
    if not module.name.startswith("_")
]
# Exported by a package and not by the root.
NOT_IN_ROOT = {"skrebatch.strategies": {"check_balances", "check_strategy"}}


def public_names(module):
    """The classes and functions of ours that a module has under a public name."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isroutine(value) or inspect.isclass(value))
        and value.__module__.startswith("skrebatch")
    }


@pytest.mark.parametrize("module", [skrebatch, *PUBLIC], ids=lambda m: m.__name__)
def test_all_names_what_is_public(module):
    names = module.__all__
    assert sorted(names) == sorted(public_names(module))
    for name in names:
        assert getattr(module, name).__name__ == name
        assert inspect.getdoc(getattr(module, name))


def test_packages_and_the_root_name_the_same():
    by_package = {}
    for module in PUBLIC:
        extra = NOT_IN_ROOT.get(module.__name__, set())
        assert extra <= public_names(module)
        for name in public_names(module) - extra:
            assert getattr(skrebatch, name) is getattr(module, name)
            assert by_package.setdefault(name, module) is module
    # Exported by the root alone.
    assert set(skrebatch.__all__) - set(by_package) == {"TabularCNN", "row_lengths"}


def test_a_star_imports_all():
    names = {}
    exec("from skrebatch import *", names)
    del names["__builtins__"]
    assert names == {name: getattr(skrebatch, name) for name in skrebatch.__all__}
