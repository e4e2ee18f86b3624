"""The rows that each network trains on and holds out, and the sizes of its batches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrebatch._utils.padding import row_lengths
from skrebatch._utils.typing import Floats, Indices
from skrebatch._utils.user_warnings import warn_user
from skrebatch.estimators._cv import Splitting
from skrebatch.estimators._fit_data import CheckedData
from skrebatch.estimators._parameters import Parameters
from skrebatch.estimators._splitting import (
    Split,
    check_sizes,
    iter_folds,
    make_split,
    split_once,
)
from skrebatch.sampling._by_length import check_lengths
from skrebatch.sampling._interval import redistribution_size


@dataclass(frozen=True)
class Rows:
    """The rows that a fit uses, and the sizes of its batches."""

    n_samples: int  # number of rows of the training data
    used: Indices  # rows that at least one network trains on
    splits: list[Split]  # one per network
    weights: Floats | None  # (n_samples,), of all rows
    batch_sizes: tuple[int, ...]  # one per network
    lengths: Indices | None  # (N,), lengths of the rows, with max_elements
    seed: int | None  # seed of the split

    @property
    def rotates(self) -> bool:
        """Whether the networks train on different rows."""
        return self.splits[0] is not self.splits[-1]


def choose_rows(
    params: Parameters,
    data: CheckedData,
    weights: Floats | None,
    *,
    stops: bool,
    seeds: NDArray[np.int_],
    rng: np.random.Generator,
    split_seed: int | None = None,
    splitting: Splitting | None = None,
) -> Rows:
    """Drop rows of weight 0, split validation rows off, and set the batch sizes.

    Parameters
    ----------
    params : Parameters
    data : CheckedData
    weights : ndarray of shape (n_samples,) or None
        Weights of the training data.
    stops : bool
        Whether the fit stops early, for which it needs validation rows.
    seeds : ndarray of int, shape (n_networks,)
    rng : numpy.random.Generator
        Generator of the first network.
    split_seed : int or None, default=None
        Seed of the split of an earlier fit.
    splitting : Splitting or None, default=None
        How the rows are split, if by a splitter or an iterable.
    """
    used, n_samples, K = data.rows, len(data.rows), params.n_networks
    if weights is not None:
        used = np.flatnonzero(weights > 0)
    if len(data.X) > 1:
        valid = np.arange(n_samples, n_samples + len(data.X[1]))
        splits = [make_split(used, valid, weights)] * K
    elif stops:
        if split_seed is None:
            split_seed = _draw_split_seed(seeds, rng)
        folds = _iter_splits(params, data, used, split_seed, splitting)
        splits = [make_split(*fold, weights) for fold in itertools.islice(folds, K)]
        if K > 1:
            _warn_of_rows_never_held_out(params, splits, used)
        elif params.cv is not None:
            _warn_of_rows_never_used(splits[0], used)
        is_trained = np.zeros(n_samples, dtype=bool)
        for split in splits:
            is_trained[split.train] = True
        used = np.flatnonzero(is_trained)
    elif (params.lr_schedule_params or {}).get("monitor") == "valid_loss":
        raise ValueError(
            'lr_schedule_params={"monitor": "valid_loss"} needs a validation set: '
            "set early_stopping=True or pass X_val and y_val."
        )
    else:
        splits = [make_split(used, None, weights)] * K
    sizes, lengths = zip(
        *(_size_batches(params, data.X[0], split.train) for split in splits),
        strict=True,
    )
    return Rows(n_samples, used, splits, weights, sizes, lengths[0], split_seed)


def _draw_split_seed(seeds: NDArray[np.int_], rng: np.random.Generator) -> int:
    """Draw the seed of the split into training and validation rows."""
    if len(seeds) == 1:
        return int(rng.integers(2**31))
    # Not from rng, so that each network equals one trained alone on its rows.
    sequence = np.random.SeedSequence([int(seeds[0]), 0])
    return int(sequence.generate_state(1)[0])


def _iter_splits(
    params: Parameters,
    data: CheckedData,
    rows: Indices,
    seed: int,
    splitting: Splitting | None,
) -> Iterator[tuple[Indices, Indices]]:
    """Yield the training and the validation rows of one network after another."""
    y = data.y[0]
    if splitting is not None:
        is_column = y.ndim == 2 and y.shape[1] == 1
        yield from splitting.iter_splits(y[:, 0] if is_column else y, rows, seed)
        return
    strata = data.targets.strata(y[rows])
    if params.n_networks == 1 and params.cv is None:
        yield split_once(rows, strata, params.validation_fraction, seed)
    else:
        yield from iter_folds(rows, strata, _n_folds(params, len(rows)), seed)


def _n_folds(params: Parameters, n_rows: int) -> int:
    """Return into how many folds the rows are split."""
    if params.cv is not None:
        n_folds = int(params.cv)
        if n_rows < max(3, n_folds):
            raise ValueError(
                f"cv={n_folds} needs at least {max(3, n_folds)} rows of positive "
                f"weight, got {n_rows}."
            )
        return n_folds
    n_folds = min(max(2, round(1 / params.validation_fraction)), n_rows)
    n_valid = -(-n_rows // n_folds)
    check_sizes(n_rows - n_valid, n_valid, params.validation_fraction)
    return n_folds


def _warn_of_rows_never_held_out(
    params: Parameters, splits: list[Split], used: Indices
) -> None:
    held_out = [split.valid for split in splits if split.valid is not None]
    n_missing = len(np.setdiff1d(used, np.concatenate(held_out)))
    if n_missing:
        advice = (
            "Set n_networks to at least 1 / validation_fraction to hold out every row."
            if params.cv is None
            else "If cv has more splits than that, set n_networks to their number."
        )
        warn_user(
            f"With n_networks={len(splits)}, no network holds out {n_missing} of "
            f"{len(used)} rows, and they get no out-of-fold prediction. {advice}"
        )


def _warn_of_rows_never_used(split: Split, used: Indices) -> None:
    valid = () if split.valid is None else split.valid
    n_used = len(np.union1d(split.train, valid))
    if n_used < len(used):
        warn_user(
            f"A single network uses only the first split of cv, which has {n_used} of "
            f"{len(used)} rows. To use all of them, set n_networks to the number of "
            "splits."
        )


def _size_batches(
    params: Parameters, X: Any, rows: Indices
) -> tuple[int, Indices | None]:
    """Return the batch size and, with `max_elements`, the lengths of the rows."""
    lengths = None
    batch_size = params.batch_size
    if batch_size == "ratio":
        batch_size = min(redistribution_size(len(rows), params.ratio), 1024) or 32
    elif batch_size == "auto":
        batch_size = _auto_batch_size(len(rows))
    if params.max_elements is not None:
        lengths = check_lengths(row_lengths(X), params.max_elements)[rows]
        batch_size = max(1, int(params.max_elements / lengths.mean()))
    batch_size = min(int(batch_size), len(rows))
    if params.batch_norm and batch_size < 2:
        raise ValueError(
            f"batch_norm needs mini-batches of at least 2 rows, but with batch_size="
            f"{params.batch_size!r} and {len(rows)} rows they have {batch_size}. Set a "
            "larger batch_size, or pass more rows."
        )
    return batch_size, lengths


def _auto_batch_size(n_samples: int) -> int:
    """Return the power of 2 next to a 40th of the rows, within 32 and 256."""
    return int(np.clip(2 ** round(math.log2(n_samples / 40)), 32, 256))
