"""Training and validation rows of each network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from skrebatch._utils.typing import Floats, Indices


@dataclass(frozen=True)
class Split:
    """The training and validation rows of one network."""

    train: Indices  # (N,)
    valid: Indices | None  # rows of a separate validation set follow the training data
    weights: Floats | None  # (N,), with mean 1
    valid_weights: Floats | None  # with mean 1; None for a separate validation set


def make_split(train: Indices, valid: Indices | None, weights: Floats | None) -> Split:
    """Return a split with the weights of its rows.

    Parameters
    ----------
    train, valid : ndarray of int
    weights : ndarray of shape (n_samples,) or None
        Weights of all training data.
    """
    valid_weights = None
    if valid is not None and weights is not None and valid[-1] < len(weights):
        valid_weights = mean_one(weights, valid)
    return Split(train, valid, mean_one(weights, train), valid_weights)


def mean_one(weights: Floats | None, rows: Indices) -> Floats | None:
    """Return the weights of the given rows, scaled to mean 1."""
    return None if weights is None else weights[rows] / weights[rows].mean()


def split_once(
    rows: Indices, strata: NDArray[Any] | None, fraction: float, seed: int
) -> tuple[Indices, Indices]:
    """Split rows at random; return the training and the validation rows."""
    options = {"test_size": float(fraction), "random_state": seed}
    try:
        train, valid = train_test_split(rows, stratify=strata, **options)
    except ValueError:
        # A class too small to be split, or more classes than validation rows.
        try:
            train, valid = train_test_split(rows, **options)
        except ValueError as error:
            raise ValueError(
                f"validation_fraction={fraction} of {len(rows)} rows leaves no rows "
                "for training; set a smaller validation_fraction, or pass X_val and "
                "y_val."
            ) from error
    return np.sort(train), np.sort(valid)


def iter_folds(
    rows: Indices, strata: NDArray[Any] | None, fraction: float, seed: int
) -> Iterator[tuple[Indices, Indices]]:
    """Yield the training and the validation rows of one network after another.

    The rows are split into round(1 / fraction) folds, at least 2; each network holds
    out another one. When all folds have been held out, the rows are shuffled and split
    again. The folds differ in size by at most one row, in total and within each class.
    """
    rng = np.random.default_rng(seed)
    n_folds = min(max(2, round(1 / fraction)), len(rows))
    while True:
        order = rng.permutation(len(rows))
        if strata is not None:
            order = order[
                np.unique(strata, return_inverse=True)[1][order].argsort(kind="stable")
            ]
        for first in range(n_folds):
            held_out = np.zeros(len(rows), dtype=bool)
            held_out[order[first::n_folds]] = True
            yield rows[~held_out], rows[held_out]
