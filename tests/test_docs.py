"""The site: every public name on a page, and a front page to paste from."""

import inspect
import re
from pathlib import Path

import pytest

import skrebatch
import skrebatch.plots
import skrebatch.strategies
from skrebatch import ReBatchCNNClassifier, ReBatchCNNRegressor

DOCS = Path(__file__).parent.parent / "docs"
LISTED = re.compile(r"^   (\w+)$", re.MULTILINE)


def public_names():
    """Names that a user may import, without the helpers that modules share."""
    names = {
        *skrebatch.__all__,
        *skrebatch.plots.__all__,
        *skrebatch.strategies.__all__,
    }
    return sorted(name for name in names if not name.startswith("check_"))


def test_the_api_lists_every_public_name_once():
    listed = LISTED.findall((DOCS / "api.rst").read_text(encoding="utf-8"))
    assert sorted(listed) == public_names()


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_shows_an_example(name):
    documentation = inspect.getdoc(getattr(skrebatch, name))
    _, _, examples = documentation.partition("Examples\n--------\n")
    assert re.search(rf">>> .*\b{name}\b", examples)


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_is_explained_and_points_to_its_relatives(name):
    documentation = inspect.getdoc(getattr(skrebatch, name))
    assert "\\\n" not in documentation, "a line broken in a raw string"
    paragraphs = documentation.split("\n\n")
    assert "---" not in paragraphs[1], "more than a line before the first section"
    # The overview of the API shows the first line, up to a full stop or a reference.
    assert not re.search(r"\.\s|\]_", paragraphs[0])
    (relatives,) = [part for part in paragraphs if part.startswith("See Also\n")]
    named = re.findall(r"^(\w+) : ", relatives, re.MULTILINE)
    assert named and name not in named
    assert set(named) <= set(public_names())


@pytest.mark.parametrize("cls", [ReBatchCNNClassifier, ReBatchCNNRegressor])
def test_the_parameters_are_listed_and_described_in_the_order_of_the_signature(cls):
    before, _, after = inspect.getdoc(cls).partition("\nParameters\n----------\n")
    groups = before.partition("Parameters by group:\n\n")[2]
    described, _, _ = after.partition("\n\nAttributes\n")
    entries = re.findall(r"^(\w[\w, ]*) : ", described, re.MULTILINE)
    signature = list(inspect.signature(cls).parameters)
    assert re.findall(r"`(\w+)`", groups) == signature
    assert ", ".join(entries).split(", ") == signature


def test_the_front_page_finds_wrong_labels_and_fits_in_15_lines(capsys):
    page = (DOCS / "index.md").read_text(encoding="utf-8")
    lines = "".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    assert len([line for line in lines.splitlines() if line]) <= 15

    namespace = {}
    exec(lines, namespace)
    issues = namespace["issues"]
    assert {3, 100} <= set(issues.index[issues["is_label_issue"]])
    assert 0.9 < float(capsys.readouterr().out.split()[-1]) < 1


@pytest.mark.parametrize(
    "page",
    [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))],
    ids=lambda p: p.stem,
)
def test_links_lead_somewhere_in_the_repository_too(page):
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    generated = {"gallery/index"}
    missing = {t for t in targets if not (page.parent / t).exists()} - generated
    assert missing == set()


def test_the_search_ranks_pages_that_exist():
    ranked = re.findall(r'"(\w+)"', (DOCS / "search_scores.js").read_text("utf-8"))
    pages = {path.stem for path in DOCS.glob("*.md")}
    assert "changes" in ranked and set(ranked) <= pages


def test_every_page_is_in_a_table_of_contents():
    listed = set()
    for path in DOCS.glob("*.md"):
        for tree in re.findall(
            r"```\{toctree\}\n(.*?)```", path.read_text("utf-8"), re.S
        ):
            listed |= set(tree.split())
    pages = {path.stem for path in [*DOCS.glob("*.md"), *DOCS.glob("*.rst")]}
    assert pages - {"index"} <= listed


EXAMPLES = sorted((DOCS / "examples").glob("plot_*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_asks_a_question_and_ends_with_a_conclusion(path):
    text = path.read_text("utf-8")
    _, introduction, _ = text.split('"""', 2)
    last = text.rpartition("# %%\n")[2]
    assert "?" in introduction
    assert last.startswith("# Conclusion\n# ----------\n")
    assert all(line.startswith("#") for line in last.splitlines())


def test_the_examples_show_every_display():
    text = "".join(path.read_text("utf-8") for path in EXAMPLES)
    shown = set(re.findall(r"\b(\w+Display)\.from_", text))
    assert {
        name for name in skrebatch.plots.__all__ if name.endswith("Display")
    } <= shown
