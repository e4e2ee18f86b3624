"""What a fit makes of its data: weights, sizes, and tables of any kind."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.estimators import (
    FULL_BATCH,
    TASKS,
    N,
    assert_close,
    assert_same_bits,
    make,
    make_data,
    weights_of,
)
from sklearn.preprocessing import StandardScaler

# --- weights ---


@pytest.mark.parametrize("weight", [2, np.full(N, 2.0), [0.25] * N])
@pytest.mark.parametrize("task", TASKS)
def test_equal_weights_are_no_weights(task, weight):
    X, y = make_data(task)
    weighted = make(task).fit(X, y, sample_weight=weight)
    assert_same_bits(weighted, make(task).fit(X, y))


@pytest.mark.parametrize("params", [{"ratio": 0, **FULL_BATCH}, {}], ids=str)
@pytest.mark.parametrize("task", TASKS)
def test_a_weight_of_zero_drops_the_row(task, params):
    X, y = make_data(task)
    weights = np.random.default_rng(1).integers(0, 3, size=N)
    kept = np.flatnonzero(weights)
    assert 10 < len(kept) < N - 10
    model = make(task, **params).fit(X, y, sample_weight=weights)
    dropped = make(task, **params).fit(X[kept], y[kept], sample_weight=weights[kept])
    assert_close(weights_of(model), weights_of(dropped), 1e-6)
    assert_close(model.loss_curve_, dropped.loss_curve_, 1e-6)
    np.testing.assert_array_equal(model.chosen_, kept[dropped.chosen_])
    assert model.n_redistributed_ == dropped.n_redistributed_
    assert len(model.sample_losses_) == N


def test_in_a_full_batch_a_whole_weight_is_that_many_copies():
    X, y = make_data()
    weights = np.random.default_rng(1).integers(1, 4, size=N)
    params = {"ratio": 0, **FULL_BATCH}
    weighted = make(**params).fit(X, y, sample_weight=weights)
    copied = make(**params).fit(X.repeat(weights, 0), y.repeat(weights))
    assert_close(weights_of(weighted), weights_of(copied))


# --- sizes ---


@pytest.mark.parametrize(
    "n, ratio, batch_size, size, expected",
    [
        (41, 0.25, "ratio", 8, 8),
        (8, 0.6, "ratio", 3, 3),  # 2 in floating point
        (41, 0, "ratio", 0, 32),
        (20, 0, "ratio", 0, 20),  # more than N is N
        (41, 0.25, 5, 8, 5),
        (41, 0.25, 41, 8, 41),
        (41, 0.25, 10**6, 8, 41),
        (41, 3.0, "ratio", 30, 30),
        (2050, 1.0, "ratio", 1025, 1024),
    ],
)
def test_sizes_of_choice_and_batch(n, ratio, batch_size, size, expected):
    X, y = make_data(n=n)
    model = make(ratio=ratio, batch_size=batch_size, max_epochs=2).fit(X, y)
    assert (model.n_redistributed_, model.batch_size_) == (size, expected)
    assert model.chosen_.shape == (size,)


def test_sizes_count_the_rows_trained_on():
    X, y = make_data()
    weights = np.ones(N)
    weights[:21] = 0
    model = make(ratio=1.0).fit(X, y, sample_weight=weights)
    assert (model.n_redistributed_, model.batch_size_) == (10, 10)
    model = make(ratio=1.0, early_stopping=True).fit(X, y, sample_weight=weights)
    assert (model.n_redistributed_, model.batch_size_) == (8, 8)  # 16 of 20 rows


def test_two_rows():
    X, y = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array(["a", "b"])
    model = make(ratio=1.0, max_epochs=100).fit(X, y)
    assert model.predict(X).tolist() == ["a", "b"]
    assert model.n_redistributed_ == 1
    assert model.chosen_.shape == (1,)
    numbers = make("regression", ratio=1.0, max_epochs=300).fit(X, [5.0, 9.0])
    assert_close(numbers.predict(X), [5, 9], 0.1)


# --- tables of any kind ---


def test_feature_names():
    X, y = make_data()
    frame = pd.DataFrame(X, columns=list("abcde"))
    model = make().fit(frame, y)
    assert model.feature_names_in_.tolist() == list("abcde")
    assert_same_bits(model, make().fit(X, y))
    np.testing.assert_array_equal(
        model.predict_proba(frame), make().fit(X, y).predict_proba(X)
    )
    model.fit(X, y)
    assert not hasattr(model, "feature_names_in_")


def test_nullable_pandas_types():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "real": rng.normal(size=N),
            "whole": rng.integers(9, size=N),
            "flag": rng.integers(2, size=N).astype(bool),
            "small": rng.normal(size=N).astype(np.float32),
        }
    )
    y = (frame["real"] > 0).astype(int)
    expected = make().fit(frame.to_numpy(dtype=np.float64), y.to_numpy())
    nullable = frame.astype(
        {"real": "Float64", "whole": "Int64", "flag": "boolean", "small": "Float32"}
    )
    model = make().fit(nullable, y.astype("Int64"))
    assert_same_bits(model, expected)
    assert model.feature_names_in_.tolist() == list(frame)
    predicted = expected.predict(frame.to_numpy(dtype=np.float64))
    np.testing.assert_array_equal(model.predict(nullable), predicted)
    named = make().fit(nullable, y.map({0: "no", 1: "yes"}).astype("string"))
    assert_same_bits(named, expected)
    assert named.predict(nullable)[0] in ("no", "yes")
    categories = make().fit(nullable, y.map({0: "no", 1: "yes"}).astype("category"))
    assert_same_bits(categories, expected)


def test_polars():
    polars = pytest.importorskip("polars")
    X, y = make_data()
    frame = polars.DataFrame({name: X[:, i] for i, name in enumerate("abcde")})
    model = make().fit(frame, polars.Series(y))
    expected = make().fit(X, y)
    assert_same_bits(model, expected)
    # Old versions of scikit-learn don't see the names of new versions of polars.
    if hasattr(StandardScaler().fit(frame), "feature_names_in_"):
        assert model.feature_names_in_.tolist() == list("abcde")
    np.testing.assert_array_equal(model.predict_proba(frame), expected.predict_proba(X))


@pytest.mark.parametrize("task", TASKS)
def test_tensors(task):
    X, y = make_data(task)
    weights = np.linspace(0.5, 1.5, N)
    expected = make(task).fit(X, y, weights, X_val=X[:9], y_val=y[:9])
    tensors = torch.tensor(X, requires_grad=True), torch.tensor(y)
    if y.dtype == np.float64:
        tensors[1].requires_grad_()
    valid = {"X_val": tensors[0][:9], "y_val": tensors[1][:9]}
    model = make(task).fit(*tensors, torch.tensor(weights), **valid)
    assert_same_bits(model, expected)
    np.testing.assert_array_equal(model.predict(tensors[0]), expected.predict(X))
    once = make(task).partial_fit(*tensors)
    assert_same_bits(once, make(task).partial_fit(X, y))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8])
def test_tensors_of_any_type(dtype):
    X, y = make_data()
    short = torch.tensor(4 * X).to(dtype)
    model, expected = make().fit(short, y), make().fit(short.float().numpy(), y)
    assert_same_bits(model, expected)


@pytest.mark.parametrize(
    "form",
    ["list", "fortran", "int", "strided", "reversed", "big-endian", "read-only"],
)
def test_any_layout_of_the_table(form):
    X, y = make_data()
    X = np.round(X * 4)
    given = {
        "reversed": X.astype(np.float32)[::-1, ::-1].copy()[::-1, ::-1],
        "big-endian": X.astype(">f4"),
        "list": X.tolist(),
        "fortran": np.asfortranarray(X),
        "int": X.astype(np.int16),
        "strided": np.repeat(X, 2, axis=1)[:, ::2],
        "read-only": X.copy(),
    }[form]
    if form == "read-only":
        given.flags.writeable = False
    model = make().fit(given, y)
    assert_same_bits(model, make().fit(X, y))
    np.testing.assert_array_equal(model.predict(given), model.predict(X))


def test_the_table_is_not_changed():
    X, y = make_data()
    X_before, y_before = X.copy(), y.copy()
    make(dtype="float64").fit(X, y).predict(X)
    np.testing.assert_array_equal(X, X_before)
    np.testing.assert_array_equal(y, y_before)
