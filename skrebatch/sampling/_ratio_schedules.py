"""Schedules of the redistribution ratio over the epochs."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

Schedule = str | Callable[[float], float]

_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: progress,
    "cosine": lambda progress: (1 - math.cos(math.pi * progress)) / 2,
    "step": lambda progress: math.ceil(4 * progress) / 4,
}


def check_schedule(schedule: Any) -> None:
    """Raise ValueError if the schedule is not valid."""
    is_known = isinstance(schedule, str) and schedule in _SCHEDULES
    if not (is_known or callable(schedule)):
        names = ", ".join(f'"{name}"' for name in _SCHEDULES)
        raise ValueError(
            f"ratio_schedule must be one of {names}, or a callable that maps the "
            f"progress in (0, 1] to a factor on the ratio, got {schedule!r}."
        )


def ratio_at(ratio: float, schedule: Schedule, progress: float) -> float:
    """Return the scheduled ratio of an epoch.

    Parameters
    ----------
    ratio : float
        The ratio that the schedule multiplies by a factor.
    schedule : {"constant", "linear", "cosine", "step"} or callable
        "linear" and "cosine" increase from 0 to the ratio; "step" increases in four
        equal steps. A callable maps the progress to a factor of at least 0.
    progress : float
        Fraction of the epochs with redistribution completed when the epoch ends, in
        (0, 1].

    Returns
    -------
    ratio : float

    Raises
    ------
    ValueError
        If a callable does not return a finite number of at least 0.
    """
    function = _SCHEDULES[schedule] if isinstance(schedule, str) else schedule
    factor = function(progress)
    if not isinstance(factor, Real) or not 0 <= factor < math.inf:
        raise ValueError(
            f"ratio_schedule must return a finite factor of at least 0, but returned "
            f"{factor!r} for progress {progress:g}."
        )
    return ratio if factor == 1 else float(ratio) * float(factor)
