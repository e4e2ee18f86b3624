"""scikit-learn's own tests of its grid search, with the fused search in its place."""

import inspect

import pytest
import sklearn.model_selection

from skrebatch import FusedGridSearchCV

with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sklearn.model_selection, "GridSearchCV", FusedGridSearchCV)
    theirs = pytest.importorskip("sklearn.model_selection.tests.test_search")

# Most warn of something that their own configuration of pytest lets pass.
pytestmark = pytest.mark.filterwarnings("ignore")

DIFFERENT = {
    "test_search_cv_verbose_3": "a progress bar replaces the lines of single fits",
}

for name, function in inspect.getmembers(theirs, inspect.isfunction):
    if name.startswith("test_") and "GridSearchCV" in inspect.getsource(function):
        if name in DIFFERENT:
            function = pytest.mark.xfail(reason=DIFFERENT[name])(function)
        globals()[name] = function


def test_they_search_side_by_side():
    assert theirs.GridSearchCV is FusedGridSearchCV
