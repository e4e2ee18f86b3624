"""How sure a cross-validated score, or a difference of two, is."""

from typing import NamedTuple

import numpy as np

from skrebatch.inspection._intervals import corrected_intervals


class Interval(NamedTuple):
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float


def corrected_interval(scores, test_train_ratio, confidence=0.95):
    """Return the confidence interval of a mean over cross-validation splits.

    Scores of different splits depend on one another, because their training sets
    overlap. The interval of Nadeau and Bengio ("Inference for the generalization
    error", Machine Learning 52, 2003) is wider for that. `test_train_ratio` is the
    number of test rows by that of training rows, 1 / (k - 1) for k folds.
    """
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 1 or len(scores) < 2 or not np.isfinite(scores).all():
        raise ValueError(f"scores must be two or more finite numbers, got {scores}.")
    return Interval(*corrected_intervals(scores, test_train_ratio, confidence).tolist())


def verdict(difference, higher_is_better):
    """Say in a word what an interval of a difference shows."""
    if difference.low <= 0 <= difference.high:
        return "undecided"
    return "better" if (difference.mean > 0) == higher_is_better else "worse"
