import math

import numpy as np
import pytest

from skrebatch.inspection._intervals import corrected_errors, corrected_intervals

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
