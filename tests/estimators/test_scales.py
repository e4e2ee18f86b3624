"""The warning of columns whose scale hinders training."""

import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.estimators import HALVES, TASKS, make, make_cv, make_data
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import minmax_scale, scale

from skrebatch import (
    FusedGridSearchCV,
    ScaleWarning,
    find_label_issues,
    fit_fused,
    paper_parameters,
)
from skrebatch.estimators._scales import find_unscaled

LIMITS = pytest.mark.parametrize("limit", [None, 10])


def found(*columns, limit=None):
    return find_unscaled(np.array(columns, dtype=float).T, limit).tolist()


def test_a_mean_of_more_than_20_standard_deviations():
    # Means 41, 39 and -41, standard deviation 2.
    assert found([39, 43], [37, 41], [-43, -39]) == [0, 2]


def test_a_mean_of_at_most_2_is_no_offset():
    # As of a 0/1 column that is nearly always 1.
    assert found([1.9, 1.91], [2.1, 2.11]) == [1]


def test_a_spread_that_clipping_takes_away():
    # 20 / sqrt(5) and 30 / sqrt(10): mean 9.22, standard deviation 0.27.
    assert found([20, 30]) == []
    assert found([20, 30], limit=10) == [0]


def test_a_scale_of_more_than_100_times_that_of_others():
    small = [[0, 1], [1, 0]]
    assert found([-99, 99], *small) == []
    assert found(*small, [-101, 101]) == [2]
    # Maxima 1, 50, 101, 101: the lower quartile is that of the first column.
    assert found([0, 1], [0, 50], [-101, 101], [-101, 101]) == [2, 3]
    # Maxima 50, 50, 101, 1, 50: here it is 50.
    assert found([0, 50], [0, 50], [-101, 101], [0, 1], [0, 50]) == []


def test_a_median_absolute_value_of_more_than_1000():
    assert found([-1001, 1001], [-999, 999]) == [0]


def test_constant_columns_do_not_count():
    assert found([7000, 7000], [0, 0], [50, -50]) == []


def test_padding_is_read_as_0():
    assert found([30, np.nan, 31], [30, 30.5, 31]) == [1]


def test_any_finite_values():
    largest = np.finfo(float).max
    for limit in (None, 10, 1e-30):
        found([largest, -largest, largest], [0, 5e-324, 0], limit=limit)


RNG = np.random.default_rng(0)
INNOCENT = {
    "iris": load_iris().data,
    "digits": load_digits().data,
    "one-hot": np.eye(30)[RNG.integers(30, size=400)],
    "min and max 0 and 1": minmax_scale(load_breast_cancer().data),
    "pixels": RNG.choice([0, 255], size=(400, 50)),
    "digits of 8 bits": load_digits().data * 16,
    "small integers": RNG.integers(10, size=(400, 1)),
    "integers and one-hot": np.c_[RNG.integers(10, size=400), np.eye(400, 5)],
    "counts": RNG.poisson(0.1, size=(400, 50)),
    "a constant": np.c_[np.full(400, 2026), RNG.normal(size=400)],
    "heavy tails": RNG.standard_cauchy(size=(400, 5)),
    "outliers": np.r_[np.full((1, 5), 1e30), RNG.normal(size=(400, 5))],
    "mostly 0": RNG.choice([0, 10**5], p=[0.9, 0.1], size=(400, 5)),
}
GUILTY = {
    "breast cancer": load_breast_cancer().data,
    "wine": load_wine().data,
    "a year": np.c_[RNG.integers(1990, 2026, size=400), RNG.integers(2, size=400)],
    "latitudes": np.c_[RNG.uniform(32, 42, size=400), RNG.normal(size=400)],
    "incomes": np.c_[RNG.lognormal(10, size=400), RNG.normal(size=(400, 3))],
}


@LIMITS
@pytest.mark.parametrize("name", INNOCENT)
def test_tables_that_need_no_scaling(name, limit):
    assert not len(find_unscaled(INNOCENT[name], limit))


@pytest.mark.parametrize("name", GUILTY)
def test_tables_that_need_scaling(name):
    assert len(find_unscaled(GUILTY[name], 10))


@LIMITS
@given(
    shape=st.tuples(st.integers(2, 50), st.integers(1, 6)),
    seed=st.integers(0, 2**32 - 1),
    power=st.floats(0.1, 4),
)
def test_no_standardised_table_is_warned_of(limit, shape, seed, power):
    rng = np.random.default_rng(seed)
    X = np.sign(rng.normal(size=shape)) * rng.exponential(size=shape) ** power
    assert not len(find_unscaled(scale(X * 10 ** rng.uniform(-3, 3, shape[1])), limit))


# --- when a fit warns ---


def unscaled(task="binary"):
    X, y = make_data(task)
    X[:, 2] += 2000
    return X, y


def messages(call):
    """Return the warnings of scales that a call issues, repeated ones too."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        call()
    own = [one for one in record if issubclass(one.category, ScaleWarning)]
    assert {one.filename for one in own} <= {__file__}
    return [str(one.message) for one in own]


@pytest.mark.parametrize("task", TASKS)
def test_a_fit_warns_once_and_names_the_columns(task):
    X, y = unscaled(task)
    model = make(task, max_epochs=1)
    (message,) = messages(lambda: model.fit(X, y))
    assert "of X hinders training: 2. " in message
    assert "StandardScaler" in message
    assert not messages(lambda: model.predict(X))
    assert not messages(lambda: model.score(X, y))
    assert not messages(lambda: model.partial_fit(X, y))


def test_names_of_a_data_frame_at_most_five():
    X, y = make_data(n_features=8)
    X[:, 1:] += 2000
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    with pytest.warns(
        ScaleWarning, match="training: 'b', 'c', 'd', 'e', 'f' and 2 more"
    ):
        make(max_epochs=1).fit(frame, y)


def test_several_fits_in_one_call_warn_once():
    X, y = unscaled()
    model = make(max_epochs=1)
    search = FusedGridSearchCV(model, {"ratio": [0.1, 0.2]}, cv=2)
    several = FusedGridSearchCV(
        make_pipeline("passthrough", model),
        {"rebatchcnnclassifier__ratio": [0.1, 0.2]},
        cv=2,
    )
    cv_form = make_cv(max_epochs=1)
    for call in (
        lambda: search.fit(X, y),
        lambda: several.fit(X, y),
        lambda: cv_form.fit(X, y),
        lambda: fit_fused([make(max_epochs=1), make(**HALVES, max_epochs=1)], X, y),
    ):
        assert len(messages(call)) == 1
        assert len(messages(call)) == 1, "every call warns"


def test_evenly_spaced_rows_are_examined(tmp_path):
    X = np.random.default_rng(0).normal(size=(2998, 2))
    y = np.arange(2998) % 2
    is_examined = np.arange(2998) % 3 == 0
    others = X.copy()
    others[~is_examined, 1] += 10**4
    X[is_examined, 1] += 10**4
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = make(max_epochs=1, dtype="float64")
    assert not messages(lambda: model.fit(others, y))
    (message,) = messages(lambda: model.fit(X, y))
    assert messages(lambda: model.fit(mapped, y)) == [message]


def test_the_inputs_of_label_issues_are_scaled():
    X, y = load_wine(return_X_y=True)
    assert not messages(lambda: find_label_issues(X, y, make(**HALVES, max_epochs=1)))


def test_the_network_of_the_paper_warns_too():
    X, y = load_breast_cancer(return_X_y=True)
    rows, _ = train_test_split(np.arange(len(X)), train_size=60, random_state=0)
    model = make(**{**paper_parameters("pid"), "max_epochs": 1})
    assert len(messages(lambda: model.fit(X[rows], y[rows]))) == 1
    assert not messages(lambda: model.fit(minmax_scale(X)[rows], y[rows]))
