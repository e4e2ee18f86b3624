"""Training and validation rows of each network."""

from __future__ import annotations

import math
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
    """Split rows at random; return the training and the validation rows.

    Each stratum is split in proportion, but one of a single row is for training.
    """
    can_split = np.ones(len(rows), dtype=bool)
    if strata is not None:
        _, strata, sizes = np.unique(strata, return_inverse=True, return_counts=True)
        can_split = sizes[strata] > 1
        strata = strata[can_split]
    pool = rows[can_split]
    n_valid = math.ceil(fraction * len(pool))
    check_sizes(len(rows) - n_valid, n_valid, fraction)
    n_strata = 0 if strata is None else len(np.unique(strata))
    if strata is None or n_strata <= min(n_valid, len(pool) - n_valid):
        options = {"test_size": n_valid, "random_state": seed}
        _, valid = train_test_split(pool, stratify=strata, **options)
    else:
        # scikit-learn requires a row of each stratum in both parts. Instead, take rows
        # at equal distances from the rows in the order of their strata.
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(pool))
        order = order[strata[order].argsort(kind="stable")]
        places = (np.arange(n_valid) + rng.random()) * len(pool) / n_valid
        valid = pool[order[places.astype(np.intp)]]
    return np.setdiff1d(rows, valid), np.sort(valid)


def check_sizes(n_train: int, n_valid: int, fraction: float) -> None:
    """Raise ValueError if a split has too few rows."""
    if n_train < 2 or n_valid < 1:
        raise ValueError(
            f"early_stopping with validation_fraction={fraction} gives a training "
            f"split of {n_train} and a validation split of {n_valid} rows, but they "
            "need at least 2 and 1. The only row of a class is always in the training "
            "split. Pass more rows, or X_val and y_val, or set another "
            "validation_fraction."
        )


def iter_folds(
    rows: Indices, strata: NDArray[Any] | None, n_folds: int, seed: int
) -> Iterator[tuple[Indices, Indices]]:
    """Yield the training and the validation rows of one network after another.

    Each network holds out a different one of `n_folds` folds. When all folds have been
    held out, the rows are shuffled and split again. The folds differ in size by at most
    one row, in total and within each class.
    """
    rng = np.random.default_rng(seed)
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
