"""Warnings point at the user's line, through whatever part of the package they come."""

import numpy as np
import pytest
from helpers.estimators import TASKS, make, make_cv, make_data
from sklearn import config_context

from skrebatch import FusedGridSearchCV, fit_fused

CALLS = {
    "fit": lambda model, X, y: model.fit(X, y),
    "partial_fit": lambda model, X, y: model.partial_fit(X, y),
    "fit_fused": lambda model, X, y: fit_fused([model], X, y),
    "search": lambda model, X, y: FusedGridSearchCV(
        model, {"ratio": [0.1, 0.2]}, cv=2
    ).fit(X, y),
}


def places(record, words):
    """The files that the warnings with these words point at."""
    return {one.filename for one in record if words in str(one.message)}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", CALLS)
def test_a_parameter_is_warned_of_where_a_fit_is_called(name, task):
    X, y = make_data(task)
    with pytest.warns() as record:
        CALLS[name](make(task, noise_std=0.1), X, y)
    assert places(record, "noise_std=0.1 has no effect") == {__file__}


def test_an_estimator_that_chooses_warns_where_it_is_fitted():
    X, y = make_data()
    model = make_cv(noise_std=0.1)
    with pytest.warns(UserWarning, match=r"noise_std=0\.1 has no effect") as record:
        model.fit(X, y)
    assert record[0].filename == __file__


def test_a_table_that_must_be_loaded_is_warned_of_where_it_is_given(tmp_path):
    X, y = make_data()
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="c")
    model = make().fit(X, y)
    with config_context(working_memory=0):
        for call in (
            lambda: model.fit(mapped, y),
            lambda: model.fit(X, y, X_val=mapped, y_val=y),
            lambda: model.predict(mapped),
            lambda: model.predict_proba(mapped),
        ):
            with pytest.warns() as record:
                call()
            assert places(record, "must be loaded into memory") == {__file__}
