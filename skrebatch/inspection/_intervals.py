"""Standard errors and confidence intervals of cross-validated scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

Floats = NDArray[np.float64]


def corrected_errors(scores: Floats, test_train_ratio: float) -> Floats:
    """Return standard errors of means over splits: (..., n_splits) -> (...).

    Because the training sets of the J splits overlap, the factor 1/J is replaced by
    1/J + n_test/n_train (Nadeau and Bengio, "Inference for the generalization error",
    Machine Learning 52, 2003). The result is NaN for a single split.
    """
    n_splits = scores.shape[-1]
    if n_splits < 2:
        return np.full(scores.shape[:-1], np.nan)
    return np.sqrt((1 / n_splits + test_train_ratio) * scores.var(axis=-1, ddof=1))


def corrected_intervals(
    scores: Floats, test_train_ratio: float, confidence: float
) -> Floats:
    """Return means and both ends of intervals: (..., n_splits) -> (..., 3)."""
    means, n_splits = scores.mean(axis=-1), scores.shape[-1]
    quantile = student_t.ppf((1 + confidence) / 2, n_splits - 1)
    half_widths = quantile * corrected_errors(scores, test_train_ratio)
    return np.stack([means, means - half_widths, means + half_widths], axis=-1)


def corrected_p_values(differences: Floats, test_train_ratio: float) -> Floats:
    """Return two-sided p-values of no mean difference: (..., n_splits) -> (...).

    Without variance, the p-value is 1 if the differences are 0, else 0. It is NaN for a
    single split.
    """
    means = differences.mean(axis=-1)
    errors = corrected_errors(differences, test_train_ratio)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.abs(means) / errors
    p_values = 2 * student_t.sf(ratios, differences.shape[-1] - 1)
    return np.where(errors == 0, (means == 0).astype(float), p_values)


def adjust_by_holm(p_values: Floats) -> Floats:
    """Adjust p-values (n,) for their number; NaN does not count.

    By S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6, 1979.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full_like(p_values, np.nan)
    order = np.argsort(p_values)[: np.count_nonzero(~np.isnan(p_values))]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.maximum.accumulate(p_values[order] * factors)
    return np.minimum(adjusted, 1)
