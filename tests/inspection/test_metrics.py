"""The measures of the paper, by hand and by what must hold of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from skrebatch import LossCurveDisplay, loss_area, loss_trend, nrmse

curves = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


def test_area_by_hand():
    assert loss_area([4, 3, 2], [1, 1, 1]) == 6.0
    assert loss_area([1, 1, 1], [4, 3, 2]) == -6.0


def test_epochs_that_only_one_curve_has_don_t_count():
    assert loss_area([4, 3, 2], [1]) == 3.0
    assert loss_area([1], [4, 3, 2]) == -3.0


@given(curves, curves)
def test_areas_are_antisymmetric(first, second):
    assert loss_area(first, second) == -loss_area(second, first)
    assert loss_area(first, first) == 0


@given(st.floats(-10, 10), st.floats(-10, 10), st.integers(2, 300))
def test_the_trend_of_a_straight_line_is_that_line(slope, intercept, n_epochs):
    epochs = np.arange(1, n_epochs + 1)
    found = loss_trend(intercept + slope * epochs)
    assert found.slope == pytest.approx(slope, abs=1e-8)
    assert found.intercept == pytest.approx(intercept, abs=1e-6)


def test_a_single_epoch_has_no_trend():
    assert all(math.isnan(value) for value in loss_trend([3.0]))


def test_the_picture_shows_the_same_numbers():
    pytest.importorskip("matplotlib")
    curves = {("plain", "training"): [3.0, 2, 1.5], ("other", "training"): [2.5, 1, 1]}
    curves = {key: np.array(curve) for key, curve in curves.items()}
    display = LossCurveDisplay(curves, baseline="plain").plot()
    key = "other", "training"
    assert display.areas_[key] == loss_area(*curves.values())
    assert (display.slopes_[key], display.intercepts_[key]) == loss_trend(curves[key])


def test_epochs_without_a_loss_don_t_count():
    nan = math.nan
    assert loss_area([4, nan, 2, 1], [1, 1, nan, 5]) == -1.0
    assert loss_trend([nan, 5, nan, 1]) == pytest.approx((-2, 9))
    assert all(math.isnan(value) for value in loss_trend([nan, 3.0]))


@pytest.mark.parametrize(
    "losses, message",
    [
        ([], "a non-empty 1-D array .*, got an array of shape .0,."),
        ([[1.0, 2.0]], "a non-empty 1-D array .*, got an array of shape .1, 2."),
        (3.0, "a non-empty 1-D array"),
        ([1.0, np.inf], "finite, but epoch 2 is infinite"),
    ],
)
def test_what_is_no_curve_is_refused(losses, message):
    with pytest.raises(ValueError, match=f"losses must be {message}"):
        loss_trend(losses)
    with pytest.raises(ValueError, match=f"baseline must be {message}"):
        loss_area(losses, [1.0])


def test_nrmse_by_hand():
    y, predicted = [2, 4, 6], [5, 7, 9]  # an error of 3, a mean of 4
    assert nrmse(y, predicted) == 0.75
    assert nrmse(y, predicted, normalization="std") == pytest.approx(3 / (8 / 3) ** 0.5)


def test_several_outputs_are_averaged():
    y = np.array([[2.0, 10], [4, 30]])
    predicted = y + np.array([3, 10])
    assert nrmse(y, predicted) == pytest.approx((3 / 3 + 10 / 20) / 2)


@given(st.integers(0, 1000), st.floats(0.1, 1000))
def test_nrmse_has_no_unit_and_agrees_with_r2(seed, unit):
    rng = np.random.default_rng(seed)
    y = rng.normal(5, 1, 20)
    predicted = y + rng.normal(size=20)
    for normalization in ("mean", "std"):
        error = nrmse(y, predicted, normalization=normalization)
        scaled = nrmse(unit * y, unit * predicted, normalization=normalization)
        assert scaled == pytest.approx(error)
    assert 1 - error**2 == pytest.approx(r2_score(y, predicted))


def test_a_negative_mean_is_a_size_too():
    assert nrmse([-2, -4], [-3, -5]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "y, predicted, kwargs, message",
    [
        ([1, -1], [1, 1], {}, "mean of y_true is 0"),
        ([2, 2], [1, 1], {"normalization": "std"}, "std of y_true is 0"),
        ([1, 2], [1, 1], {"normalization": "range"}, '"mean" or "std", got .range'),
        ([1, 2], [[1], [2]], {}, "same shape, got .2,. and .2, 1."),
        ([1, np.nan], [1, 1], {}, "y_true contains NaN"),
        ([1, 2], [1, np.inf], {}, "y_pred contains infinity"),
    ],
)
def test_what_has_no_error_is_refused(y, predicted, kwargs, message):
    with pytest.raises(ValueError, match=message):
        nrmse(y, predicted, **kwargs)


@pytest.mark.parametrize("bad", [[10**400, 1], [1j, 2], ["a", "b"], [None, "a"]])
def test_what_are_no_real_numbers_is_refused(bad):
    calls = [
        lambda: loss_area(np.array(bad), [1, 2]),
        lambda: loss_trend(np.array(bad)),
        lambda: nrmse([1, 2], np.array(bad)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"must contain (real )?numbers"):
            call()


def test_results_beyond_all_floats_are_refused():
    with pytest.raises(ValueError, match="so large that the result is infinite"):
        loss_area([1e308, 1e308], [-1e308, -1e308])
    with pytest.raises(ValueError, match="so large that the result is infinite"):
        nrmse([1e200, 2e200], [1e200, 3e200])
