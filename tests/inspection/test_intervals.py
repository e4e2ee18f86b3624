import math

import numpy as np
import pytest

from skrebatch.inspection._intervals import (
    adjust_by_holm,
    corrected_errors,
    corrected_intervals,
    corrected_p_values,
)

SCORES = np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]])


def test_errors_by_hand():
    # Variance 1, and 1/3 + 1/2 = 5/6.
    errors = corrected_errors(SCORES, 1 / 2)
    assert errors == pytest.approx([math.sqrt(5 / 6), 0])
    assert corrected_errors(SCORES[None], 1 / 2).shape == (1, 2)


def test_intervals_by_hand():
    half = 4.302652729911275 * math.sqrt(5 / 6)  # t(.975, 2)
    intervals = corrected_intervals(SCORES, 1 / 2, 0.95)
    np.testing.assert_allclose(intervals, [[2, 2 - half, 2 + half], [4, 4, 4]])
    np.testing.assert_array_equal(
        corrected_intervals(SCORES[0], 1 / 2, 0.95), intervals[0]
    )


def test_one_split_has_a_mean_and_no_interval(recwarn):
    intervals = corrected_intervals(SCORES[:, :1], 1 / 2, 0.95)
    np.testing.assert_array_equal(
        intervals, [[1, math.nan, math.nan], [4, math.nan, math.nan]]
    )
    assert not recwarn.list


def test_p_values_by_hand():
    # 2 / sqrt(5 / 6) = 2.1909; Student's t with 2 degrees of freedom is above it with
    # the probability 1/2 - t / (2 sqrt(2 + t^2)).
    t = 2 / math.sqrt(5 / 6)
    expected = 1 - t / math.sqrt(2 + t**2)
    constant = np.array([[4.0] * 3, [0.0] * 3])
    p_values = corrected_p_values(np.vstack([SCORES[:1], constant]), 1 / 2)
    np.testing.assert_allclose(p_values, [expected, 0, 1])


def test_an_interval_ends_at_0_where_the_p_value_is_its_level():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(1, 5))
    (mean, low, _) = corrected_intervals(scores, 1 / 4, 0.9)[0]
    shifted = scores - low  # the lower end is 0
    assert mean > low
    assert corrected_p_values(shifted, 1 / 4) == pytest.approx([0.1])


def test_holm_by_hand():
    # .01 * 4, .02 * 3, .04 * 2, and .05 is not below the one before.
    found = adjust_by_holm(np.array([0.02, math.nan, 0.01, 0.05, 0.04]))
    np.testing.assert_allclose(found, [0.06, math.nan, 0.04, 0.08, 0.08])
    assert adjust_by_holm(np.array([0.9, 0.6])).tolist() == [1, 1]
