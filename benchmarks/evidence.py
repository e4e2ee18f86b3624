"""How sure a cross-validated score, or a difference of two, is."""

from typing import NamedTuple

import numpy as np
from scipy.stats import t

from skrebatch.inspection._intervals import corrected_errors, corrected_intervals


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


def corrected_p_value(differences, test_train_ratio):
    """Return the two-sided p-value of no mean difference, by the same correction."""
    differences = np.asarray(differences, dtype=float)
    mean, error = differences.mean(), corrected_errors(differences, test_train_ratio)
    if error == 0:
        return float(mean == 0)
    return float(2 * t.sf(abs(mean) / error, len(differences) - 1))


def holm(p_values):
    """Adjust p-values for their number.

    By S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6, 1979.
    """
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.maximum.accumulate(p_values[order] * factors)
    return np.minimum(adjusted, 1)


def verdict(difference, higher_is_better):
    """Say in a word what an interval of a difference shows."""
    if difference.low <= 0 <= difference.high:
        return "undecided"
    return "better" if (difference.mean > 0) == higher_is_better else "worse"
