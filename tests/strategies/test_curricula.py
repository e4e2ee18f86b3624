"""Easy samples first: how many an epoch holds, and which."""

import math

import numpy as np
import pytest
from helpers.plans import finite_losses, make_epoch, refuses
from hypothesis import given
from hypothesis import strategies as st

from skrebatch import Curriculum, SelfPaced

PACINGS = ["linear", "quadratic", "root", "step", "exponential", "logarithmic"]


def held(strategy, losses, number=2, max_epochs=10):
    plan = strategy.plan(np.asarray(losses), make_epoch(3, number, max_epochs))
    assert (len(plan.chosen), plan.repeats, plan.weights) == (0, None, None)
    return plan.remaining.tolist()


# Of 1000 samples with start .2 and full_at .5, after 1, 2, 3, 4, 5 and 9 of 10 epochs:
# 200 + 800 g(t) for t of .2, .4, .6, .8 and 1.
@pytest.mark.parametrize(
    "pacing, sizes",
    [
        ("linear", [360, 520, 680, 840, 1000, 1000]),
        ("quadratic", [232, 328, 488, 712, 1000, 1000]),
        ("root", [558, 706, 820, 916, 1000, 1000]),
        ("step", [200, 200, 200, 200, 1000, 1000]),
        ("exponential", [200, 202, 215, 308, 1000, 1000]),
        ("logarithmic", [871, 927, 959, 982, 1000, 1000]),
    ],
)
def test_the_pace_by_hand(pacing, sizes):
    strategy = Curriculum(pacing, start=0.2, full_at=0.5)
    losses = np.random.default_rng(0).permutation(1000)
    ranked = np.argsort(losses)
    for number, size in zip([1, 2, 3, 4, 5, 9], sizes, strict=True):
        assert held(strategy, losses, number) == ranked[:size].tolist()


def test_of_equal_losses_the_lower_number_is_easier():
    strategy = Curriculum(start=0.5, full_at=1)  # .75 of four
    assert held(strategy, [0.5, 0.1, 0.5, 0.5], number=5) == [1, 0, 2]


@pytest.mark.parametrize("pacing", PACINGS)
@given(
    finite_losses(),
    st.floats(0, 1, exclude_min=True),
    st.floats(0, 1, exclude_min=True),
    st.integers(1, 40),
)
def test_a_curriculum_only_grows_and_ends_with_all(
    pacing, losses, start, full_at, max_epochs
):
    strategy = Curriculum(pacing, start, full_at)
    n, before = len(losses), []
    for number in range(1, max_epochs + 3):
        now = held(strategy, losses, number, max_epochs)
        assert now[: len(before)] == before  # the same losses, so the same beginning
        assert max(1, round(start * n)) <= len(now)
        before = now
        if number >= full_at * max_epochs + 1e-9:
            assert sorted(now) == list(range(n))


@pytest.mark.parametrize("pacing", PACINGS)
def test_a_large_table_has_no_more_than_all_its_samples(pacing):
    # The published logarithm ends at 1.0000045.
    losses = np.zeros(500_000, dtype=np.float32)
    assert len(held(Curriculum(pacing), losses, number=9)) == 500_000


@pytest.mark.parametrize("pacing", ["cubic", None, 1, "Linear", ["linear"]])
def test_an_unknown_pace_is_refused(pacing):
    refuses(Curriculum(pacing), "pacing", pacing)


@pytest.mark.parametrize("name", ["start", "full_at"])
@pytest.mark.parametrize("value", [0, -0.5, 1.5, np.nan, "half", True, None])
def test_shares_of_a_curriculum_that_are_none_are_refused(name, value):
    refuses(Curriculum(**{name: value}), name, value)


@pytest.mark.parametrize(
    "number, samples", [(1, [1]), (2, [1]), (3, [0, 1, 3]), (4, [0, 1, 2, 3])]
)
def test_self_paced_by_hand(number, samples):
    # The thresholds are .2, .3, .45 and .675.
    strategy = SelfPaced(threshold=0.2, growth=1.5)
    assert held(strategy, [0.31, 0.1, 0.6, 0.4], number) == samples


def test_where_nothing_is_easy_enough_the_easiest_is_held():
    assert held(SelfPaced(0.1, 1), [0.3, 0.2, 0.2], number=9) == [1]


@given(finite_losses(), st.floats(1e-3, 1e3), st.floats(1, 3), st.integers(1, 30))
def test_self_paced_holds_what_is_below_a_growing_threshold(
    losses, threshold, growth, number
):
    strategy = SelfPaced(threshold, growth)
    now, later = (held(strategy, losses, number + i, 10) for i in (0, 1))
    assert set(now) <= set(later) or len(now) == 1
    if losses.min() < threshold * growth ** (number - 1):
        outside = np.delete(losses, now)
        assert losses[now].max() < threshold * growth ** (number - 1)
        assert len(outside) == 0 or outside.min() >= losses[now].max()


def test_a_threshold_beyond_all_numbers_holds_all():
    strategy = SelfPaced(1.0, growth=10.0)
    losses = np.array([1e300, 0.0])
    assert held(strategy, losses, number=400) == [0, 1]
    assert math.isfinite(strategy.threshold)


@pytest.mark.parametrize("threshold", [0, -1, np.nan, np.inf, "1", True, None])
def test_a_threshold_that_is_none_is_refused(threshold):
    refuses(SelfPaced(threshold), "threshold", threshold)


@pytest.mark.parametrize("growth", [0.99, 0, -1, np.nan, np.inf, "1", True, None])
def test_a_growth_below_1_is_refused(growth):
    refuses(SelfPaced(growth=growth), "growth", growth)
