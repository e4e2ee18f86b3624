import math

import numpy as np
import pytest
from evidence import Interval, corrected_interval, verdict
from hypothesis import given
from hypothesis import strategies as st

# By hand: mean 2, variance 1, 1/3 + 1/2 = 5/6, and the table's t(.975, 2) = 4.3027.
HALF = 4.302652729911275 * math.sqrt(5 / 6)

SCORES = st.lists(st.floats(-100, 100), min_size=2, max_size=30)


def test_corrected_interval_by_hand():
    expected = (2, 2 - HALF, 2 + HALF)
    assert corrected_interval([1, 2, 3], 1 / 2) == pytest.approx(expected)


def test_ten_times_three_folds_by_hand():
    # Fifteen times 0 and 2: mean 1, variance 30 / 29; t(.975, 29) = 2.0452.
    half = 2.045229642132703 * math.sqrt((1 / 30 + 1 / 2) * 30 / 29)
    interval = corrected_interval([0, 2] * 15, 1 / 2)
    assert interval == pytest.approx((1, 1 - half, 1 + half))


def test_without_overlap_it_is_student_s_interval():
    interval = corrected_interval([1, 2, 3], 0, confidence=0.9)
    half = 2.919985580353726 * math.sqrt(1 / 3)  # t(.95, 2)
    assert interval == pytest.approx((2, 2 - half, 2 + half))


@given(SCORES, st.floats(0.01, 1))
def test_correction_widens_around_the_same_mean(scores, ratio):
    naive, corrected = corrected_interval(scores, 0), corrected_interval(scores, ratio)
    assert corrected.mean == naive.mean
    growth = math.sqrt(1 + len(scores) * ratio)
    assert corrected.high - corrected.mean == pytest.approx(
        growth * (naive.high - naive.mean), abs=1e-9
    )


def test_pairing_removes_what_the_splits_share():
    easy_and_hard = np.array([0.5, 0.9, 0.6, 0.95])
    easier = easy_and_hard + 0.01
    difference = corrected_interval(easier - easy_and_hard, 1 / 2)
    assert difference == pytest.approx((0.01, 0.01, 0.01))
    assert corrected_interval(easy_and_hard, 1 / 2).low < 0.5


@pytest.mark.parametrize(
    "scores", [[], [1.0], [1.0, math.nan], [1.0, math.inf], [[1.0, 2.0]]]
)
def test_too_little_or_broken_scores_are_refused(scores):
    with pytest.raises(ValueError, match="two or more finite numbers"):
        corrected_interval(scores, 1 / 2)


@pytest.mark.parametrize(
    "low, high, if_high_is_good, if_low_is_good",
    [
        (0.1, 0.3, "better", "worse"),
        (-0.3, -0.1, "worse", "better"),
        (-0.1, 0.3, "undecided", "undecided"),
        (0.0, 0.2, "undecided", "undecided"),
        (0.0, 0.0, "undecided", "undecided"),
    ],
)
def test_verdict(low, high, if_high_is_good, if_low_is_good):
    difference = Interval((low + high) / 2, low, high)
    assert verdict(difference, higher_is_better=True) == if_high_is_good
    assert verdict(difference, higher_is_better=False) == if_low_is_good
