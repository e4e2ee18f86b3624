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
