"""What holds for the repository as a whole: one-way imports, bounds, no local paths."""

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A package imports only from those before it. The table in CONTRIBUTING.md says what
# each is for.
ORDER = [
    "exceptions",
    "_utils",
    "strategies",
    "sampling",
    "_engine.tables",
    "_engine.nn",
    "_engine.optim",
    "_engine.serialization",
    "_engine.training",
    "estimators",
    "inspection",
    "model_selection",
    "plots",
    "io",
]
PACKAGE = ROOT / "skrebatch"
MODULES = sorted(PACKAGE.rglob("*.py"))


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
        (
            "from skrebatch.data import a, b",
            {"skrebatch.data.a", "skrebatch.data.b"},
        ),
        ("from skrebatch import data", {"skrebatch.data"}),
        ("from .data import a", {"skrebatch.data.a"}),
        ("from . import data", {"skrebatch.data"}),
        ("def f():\n    from .data import a", {"skrebatch.data.a"}),
    ],
)
def test_imported_names_reads_every_form_of_import(source, expected):
    assert imported_names(source) == expected


def name_of(path):
    """The dotted name of a module within the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def package_of(name):
    """The entry of ORDER that a module belongs to; None for what only holds others."""
    found = [entry for entry in ORDER if f"{name}.".startswith(f"{entry}.")]
    return found[0] if found else None


def imports_of(path):
    """Names of modules of the package that a file imports from."""
    for name in imported_names(path.read_text("utf-8")):
        root, _, rest = name.partition(".")
        if root == "skrebatch":
            yield rest


def test_every_module_has_a_place_in_the_order():
    homeless = {name_of(path) for path in MODULES if not package_of(name_of(path))}
    assert homeless == {"", "_engine"}
    assert {package_of(name_of(path)) for path in MODULES} - {None} == set(ORDER)


@pytest.mark.parametrize("path", [p for p in MODULES if name_of(p)], ids=name_of)
def test_packages_import_only_earlier_ones(path):
    own = package_of(name_of(path))
    allowed = ORDER[: ORDER.index(own) + 1] if own else []
    for name in imports_of(path):
        assert package_of(name) in allowed, name


def test_no_modules_import_one_another():
    graph = {}
    for path in MODULES:
        names = {name_of(p) for p in MODULES}
        found = set()
        for name in imports_of(path):
            while name and name not in names:
                name = name.rpartition(".")[0]
            found.add(name)
        graph[name_of(path)] = found - {name_of(path)}
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises on a circle


def test_contributing_describes_the_packages_in_their_order():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    table = re.search(r"\| package \| subject \|\n(.*?)\n\n", text, re.DOTALL)[1]
    described = re.findall(r"^\| `([\w./]+?)/?(?:\.py)?` \|", table, re.MULTILINE)
    assert [name.replace("/", ".") for name in described] == ORDER


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
