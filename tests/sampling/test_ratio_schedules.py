"""How the ratio rises, by hand and by the laws of a schedule."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrebatch.sampling._ratio_schedules import check_schedule, ratio_at

NAMES = ["constant", "linear", "cosine", "step"]


@pytest.mark.parametrize(
    "name, ratios",
    [
        ("constant", [0.4] * 6),
        ("linear", [0.04, 0.1, 0.12, 0.2, 0.3, 0.4]),
        ("step", [0.1, 0.1, 0.2, 0.2, 0.3, 0.4]),
        (
            "cosine",
            [0.2 * (1 - math.cos(math.pi * t)) for t in (0.1, 0.25, 0.3, 0.5, 0.75, 1)],
        ),
    ],
)
def test_ratios_by_hand(name, ratios):
    progress = [0.1, 0.25, 0.3, 0.5, 0.75, 1]
    np.testing.assert_allclose([ratio_at(0.4, name, t) for t in progress], ratios)


def test_the_cosine_is_half_way_in_the_middle():
    assert ratio_at(0.4, "cosine", 0.5) == pytest.approx(0.2)
    assert ratio_at(0.4, "cosine", 1 / 3) == pytest.approx(0.1)


@pytest.mark.parametrize("name", NAMES)
@given(st.floats(0, 10), st.floats(0, 1, exclude_min=True), st.floats(0, 1))
def test_a_schedule_rises_to_the_ratio(name, ratio, progress, share):
    earlier = max(progress * share, 5e-324)
    before, now = (ratio_at(ratio, name, t) for t in (earlier, progress))
    assert 0 <= before <= now * (1 + 1e-12)
    assert now <= ratio
    assert ratio_at(ratio, name, 1.0) == ratio


@pytest.mark.parametrize(
    "factor", [0, 1, 2.5, np.float32(0.5), np.int64(3), True], ids=repr
)
def test_a_callable_gives_a_factor(factor):
    seen = []
    ratio = ratio_at(0.3, lambda progress: seen.append(progress) or factor, 0.7)
    assert ratio == 0.3 * float(factor)
    assert seen == [0.7]


@pytest.mark.parametrize("factor", [-0.1, np.nan, np.inf, "half", None, [1]], ids=repr)
def test_a_callable_that_gives_no_factor_is_named(factor):
    with pytest.raises(ValueError, match="^ratio_schedule must return.*progress 0.25"):
        ratio_at(0.3, lambda progress: factor, 0.25)


@pytest.mark.parametrize("schedule", [*NAMES, math.sqrt, lambda progress: 1])
def test_schedules_that_are_some(schedule):
    assert check_schedule(schedule) is None


@pytest.mark.parametrize("schedule", ["Linear", "", None, 0.3, ["linear"], True])
def test_schedules_that_are_none(schedule):
    with pytest.raises(ValueError, match="^ratio_schedule must be one of") as error:
        check_schedule(schedule)
    for word in [*NAMES, repr(schedule)]:
        assert word in str(error.value)
