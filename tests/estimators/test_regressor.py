"""The regressor: the scale of its targets, and several of them."""

import numpy as np
import pytest
from helpers.estimators import Book, N, assert_close, assert_same_bits, make, make_data
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skrebatch.estimators._targets import NumericTargets, weighted_median


def test_a_standardized_target_moves_with_the_target():
    X, y = make_data("regression")
    params = {"dtype": "float64", "max_epochs": 10}
    model = make("regression", **params).fit(X, y)
    moved = make("regression", **params).fit(X, -1e6 * y + 1e7)
    assert_close(model.target_mean_, [y.mean()], 1e-12)
    assert_close(model.target_scale_, [y.std()], 1e-12)
    assert_close(moved.target_scale_, [1e6 * y.std()], 1e-12)
    # The sign turns the target over, which a network does not do by itself.
    raised = make("regression", **params).fit(X, 1e6 * y + 1e7)
    assert_close(raised.predict(X), 1e6 * model.predict(X) + 1e7, 1e-7)
    assert_close(raised.loss_curve_, model.loss_curve_)
    assert not np.allclose(moved.loss_curve_, model.loss_curve_)


def test_the_scale_of_the_target_is_weighted():
    X, y = make_data("multi-target")
    weights = np.random.default_rng(1).integers(0, 4, size=N)
    model = make("multi-target").fit(X, y, sample_weight=weights)
    copies = y.repeat(weights, axis=0)
    assert_close(model.target_mean_, copies.mean(axis=0))
    assert_close(model.target_scale_, copies.std(axis=0))


@pytest.mark.parametrize(
    "y, median, scale",
    [
        ([0, 1, 2, 3, 1000], 2, 1.4826),  # deviations 0, 1, 1, 2, 998
        ([4, 1, 2, 3], 2.5, 1.4826),  # deviations .5, .5, 1.5, 1.5
        ([7, 7, 7, 7, 12], 7, np.sqrt(np.pi / 2)),  # MAD 0, mean deviation 1
        ([7, 7, 7, 7, 7], 7, 1),
    ],
)
def test_the_robust_scale_by_hand(y, median, scale):
    both = np.column_stack([y, -np.array(y)]).astype(float)
    targets = NumericTargets.learn(both).scale_to(both, None, "robust")
    assert_close(targets.mean, [median, -median])
    assert_close(targets.scale, [scale, scale])


@given(
    arrays("float64", (7, 2), elements=st.integers(-3, 3) | st.floats(-1e9, 1e9)),
    st.lists(st.integers(0, 3), min_size=7, max_size=7).filter(any),
    st.floats(1e-3, 1e3),
)
def test_a_weight_counts_as_copies_in_a_median(values, weights, factor):
    copies = values.repeat(weights, axis=0)
    found = weighted_median(values, factor * np.array(weights))
    np.testing.assert_allclose(found, np.median(copies, axis=0))
    np.testing.assert_array_equal(
        weighted_median(copies, None), np.median(copies, axis=0)
    )


def test_the_robust_scale_is_weighted():
    X, y = make_data("regression")
    weights = np.random.default_rng(1).integers(0, 4, size=N)
    params = {"standardize_target": "robust", "max_epochs": 1}
    weighted = make("regression", **params).fit(X, y, sample_weight=weights)
    copied = make("regression", **params).fit(X.repeat(weights, 0), y.repeat(weights))
    assert_close(weighted.target_mean_, copied.target_mean_, 1e-12)
    assert_close(weighted.target_scale_, copied.target_scale_, 1e-12)


def test_without_standardizing_the_target_stays_raw():
    X, y = make_data("regression")
    params = {"dtype": "float64", "max_epochs": 4}
    model = make("regression", standardize_target=False, **params).fit(X, y)
    Book("regression", X, y).assert_equals(model)
    assert_close(model.sample_losses_, (model.predict(X) - y) ** 2)
    assert (model.target_mean_, model.target_scale_) == ([0], [1])


def test_several_targets():
    X, y = make_data("multi-target")
    model = make("multi-target", max_epochs=60).fit(X, y)
    predicted = model.predict(X)
    assert predicted.shape == y.shape
    assert model.n_outputs_ == 2
    errors = (predicted - y) ** 2
    assert (errors.mean(axis=0) < 0.7 * y.var(axis=0)).all()
    assert_close(model.sample_losses_, (errors / y.var(axis=0)).mean(axis=1), 1e-4)


def test_predictions_have_the_shape_of_the_target():
    X, y = make_data("regression")
    flat, column = (make("regression").fit(X, target) for target in (y, y[:, None]))
    assert_same_bits(flat, column)
    assert flat.predict(X).shape == (N,)
    assert column.predict(X).shape == (N, 1)
