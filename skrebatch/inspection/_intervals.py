"""How sure the mean of cross-validated scores is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

Floats = NDArray[np.float64]


def corrected_errors(scores: Floats, test_train_ratio: float) -> Floats:
    """Return standard errors of means over splits: (..., n_splits) -> (...).

    The training sets of the splits overlap, so that Nadeau and Bengio ("Inference for
    the generalization error", Machine Learning 52, 2003) put 1/J + n_test/n_train in
    the place of 1/J. NaN for a single split.
    """
    n_splits = scores.shape[-1]
    if n_splits < 2:
        return np.full(scores.shape[:-1], np.nan)
    return np.sqrt((1 / n_splits + test_train_ratio) * scores.var(axis=-1, ddof=1))


def corrected_intervals(
    scores: Floats, test_train_ratio: float, confidence: float
) -> Floats:
    """Return means and both ends: (..., n_splits) -> (..., 3)."""
    means, n_splits = scores.mean(axis=-1), scores.shape[-1]
    quantile = student_t.ppf((1 + confidence) / 2, n_splits - 1)
    halves = quantile * corrected_errors(scores, test_train_ratio)
    return np.stack([means, means - halves, means + halves], axis=-1)
