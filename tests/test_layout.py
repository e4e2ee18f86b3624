"""What holds for the repository as a whole: one-way imports, bounds, no local paths."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A module imports only from those before it. A new module takes its place here.
ORDER = [
    "links",
    "warn",
    "data",
    "network",
    "losses",
    "memory",
    "convolution",
    "dense",
    "steps",
    "fused",
    "samplers",
    "mapped",
    "shards",
    "dynamic_batches",
    "schedules",
    "strategies.base",
    "strategies.redistribution",
    "strategies.weighting",
    "strategies.curricula",
    "strategies.pruning",
    "strategies.resampling",
    "strategies",
    "selection",
    "records",
    "callbacks",
    "tasks",
    "threads",
    "optimizers",
    "rates",
    "members",
    "histories",
    "batches",
    "dropout",
    "epochs",
    "extras",
    "files",
    "plain",
    "checkpoints",
    "resuming",
    "training",
    "parameters",
    "preparation",
    "base",
    "estimators",
    "stacks",
    "distributed",
    "search",
    "estimators_cv",
    "inspection",
    "intervals",
    "metrics",
    "persistence",
    "export",
    "plots.style",
    "plots.loss_curves",
    "plots.ratio_curves",
    "plots.samples",
    "plots",
]


MODULES = sorted((ROOT / "skrebatch").rglob("*.py"))


def imported_names(source):
    """Dotted names of all that a module's source imports, at its top or deeper."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = [node.module] if node.module else []
            origin = ".".join(["skrebatch"] * bool(node.level) + origin)
            names |= {f"{origin}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(
    "source, expected",
    [
        ("import numpy, skrebatch.data", {"numpy", "skrebatch.data"}),
        ("from skrebatch.data import a, b", {"skrebatch.data.a", "skrebatch.data.b"}),
        ("from skrebatch import data", {"skrebatch.data"}),
        ("from .data import a", {"skrebatch.data.a"}),
        ("from . import data", {"skrebatch.data"}),
        ("def f():\n    from .data import a", {"skrebatch.data.a"}),
    ],
)
def test_imported_names_reads_every_form_of_import(source, expected):
    assert imported_names(source) == expected


def module_of(path):
    """The dotted name of a file within the package; empty for the package itself."""
    parts = path.relative_to(ROOT / "skrebatch").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("path", [p for p in MODULES if module_of(p)], ids=module_of)
def test_modules_import_only_earlier_ones(path):
    module = module_of(path)
    assert module in ORDER, f"give {path.name} its place in ORDER"
    earlier = ORDER[: ORDER.index(module)]
    for name in imported_names(path.read_text("utf-8")):
        package, _, rest = name.partition(".")
        if package == "skrebatch":
            assert any(f"{rest}.".startswith(f"{one}.") for one in earlier), name


def test_imported_packages_are_declared():
    used = {
        name.split(".")[0]
        for path in MODULES
        for name in imported_names(path.read_text("utf-8"))
    }
    used -= {"skrebatch"} | sys.stdlib_module_names
    used = {"scikit-learn" if name == "sklearn" else name for name in used}
    assert used <= set(lower_bounds())


def lower_bounds():
    """Lowest version by package, of what the package and its extras need to run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = project["dependencies"] + [
        requirement
        for name in ("plot", "imbalance", "files", "onnx", "benchmark")
        for requirement in extras[name]
    ]
    return dict(r.split(">=") for r in requirements if ">=" in r)


def test_lower_bounds_are_the_versions_tested():
    pin = re.compile(r"\b([\w-]+)==([\d.]+)")
    tested = dict(pin.findall((ROOT / ".ci/oldest.txt").read_text("utf-8")))
    tested |= dict(pin.findall((ROOT / ".ci/oldest-torch").read_text("utf-8")))
    bounds = lower_bounds()
    assert bounds == {name: tested.get(name) for name in bounds}


def test_no_file_names_a_path_of_one_machine():
    local_path = re.compile(r"(?<![\w.:/$}-])/(?:home|mnt|opt|tmp|work|Users)/\w")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
    )
    if listing.returncode:
        pytest.skip("needs a git checkout")

    found = []
    for name in listing.stdout.decode().split("\0")[:-1]:
        try:
            lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, UnicodeDecodeError):
            continue  # removed but still in the index, or a picture
        found += [f"{name}: {line}" for line in lines if local_path.search(line)]
    assert found == []
