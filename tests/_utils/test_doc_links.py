import sys

import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr

from skrebatch import (
    FusedGridSearchCV,
    MinLoss,
    ReBatchCNNClassifier,
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressor,
    Strategy,
)
from skrebatch._utils.doc_links import find_site

SITE = "https://docs.example"


class Own(Strategy):
    """A user's strategy, of which the site knows nothing."""

    def plan(self, losses, epoch):
        return []


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("SKREBATCH_DOCS", f"{SITE}/")


@pytest.mark.parametrize(
    "estimator",
    [
        ReBatchCNNClassifier(),
        ReBatchCNNRegressor(),
        ReBatchCNNClassifierCV(),
        FusedGridSearchCV(ReBatchCNNClassifier(), {"ratio": [0, 0.1]}),
        MinLoss(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_html_of_an_estimator_links_its_page(estimator, site):
    name = type(estimator).__name__
    html = estimator_html_repr(estimator)
    assert f'href="{SITE}/api/skrebatch.{name}.html' in html


def test_a_pipeline_links_each_step_where_it_belongs(site):
    html = estimator_html_repr(
        make_pipeline(ReBatchCNNClassifier(), RandomForestClassifier())
    )
    assert f'href="{SITE}/api/skrebatch.ReBatchCNNClassifier.html' in html
    assert f"{SITE}/api/skrebatch.RandomForestClassifier.html" not in html


def test_a_users_own_class_has_no_link(site):
    assert SITE not in estimator_html_repr(Own())


def test_without_a_site_there_is_no_link(monkeypatch):
    monkeypatch.setenv("SKREBATCH_DOCS", "")
    assert "href" not in estimator_html_repr(ReBatchCNNClassifier())


@pytest.mark.parametrize(
    "addresses, expected",
    [
        ([], ""),
        (["Source, https://code.example"], ""),
        (["Source, https://code.example", f"Documentation, {SITE}/"], SITE),
    ],
)
def test_the_site_is_what_the_package_names(addresses, expected, monkeypatch, tmp_path):
    monkeypatch.delenv("SKREBATCH_DOCS", raising=False)

    installed = tmp_path / "skrebatch-1.0.dist-info"
    installed.mkdir()
    lines = ["Metadata-Version: 2.1", "Name: skrebatch", "Version: 1.0"]
    lines += [f"Project-URL: {address}" for address in addresses]
    (installed / "METADATA").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_site() == expected


def test_a_copy_that_is_not_installed_has_no_site(monkeypatch):
    monkeypatch.delenv("SKREBATCH_DOCS", raising=False)
    monkeypatch.setattr(sys, "path", [])
    assert find_site() == ""
