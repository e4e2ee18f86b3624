"""The parameter `cv`: how a splitter, or an iterable, splits the rows of a fit."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import PredefinedSplit
from sklearn.model_selection import check_cv as as_splitter
from sklearn.utils import _safe_indexing

from skrebatch._utils.arrays import as_array
from skrebatch._utils.typing import Indices
from skrebatch._utils.validation import as_samples, check_integer

# Splitters whose splits name fixed rows. The second class wraps a list of splits.
_FIXED_SPLITTERS = PredefinedSplit, type(as_splitter([]))


def check_cv(cv: Any) -> None:
    """Raise ValueError unless `cv` is None, an integer, a splitter or an iterable."""
    is_iterable = np.iterable(cv) and not isinstance(cv, str | bytes)
    if not (cv is None or is_iterable or _is_splitter(cv)):
        kinds = "or None, a splitter of scikit-learn or an iterable of splits"
        check_integer(cv, "cv", kinds, at_least=2)


def _is_splitter(cv: Any) -> bool:
    return hasattr(cv, "split") and not isinstance(cv, str | bytes | type)


def _splits_any_rows(cv: Any) -> bool:
    """Return whether `cv` can split a part of the rows; its splits are not fixed."""
    return _is_splitter(cv) and not isinstance(cv, _FIXED_SPLITTERS)


def make_splitting(cv: Any, X: Any, groups: Any, n_samples: int) -> Splitting | None:
    """Return how `cv` splits the rows; None if it is None or a number of folds.

    Raises
    ------
    ValueError
        If there is not one group for each row, or `cv` does not use groups.
    """
    if groups is not None:
        groups = as_array(groups, "groups")
        if np.shape(groups) != (n_samples,):
            raise ValueError(
                f"groups.shape == {np.shape(groups)}, expected {(n_samples,)}: one "
                "group for each row of X."
            )
        if not _is_splitter(cv):
            raise ValueError(
                f"groups need a splitter that uses them, but cv={cv!r:.100}. Set cv to "
                "GroupKFold or StratifiedGroupKFold, for example, or don't pass groups."
            )
    if cv is None or isinstance(cv, Integral):
        return None
    return Splitting(cv, X, groups)


@dataclass(frozen=True)
class Splitting:
    """How a splitter or an iterable splits the rows of a fit.

    Attributes
    ----------
    cv : splitter or iterable
    X : array-like of shape (n_samples, n_features)
        The data as they were passed to the fit.
    groups : array-like of shape (n_samples,) or None
    """

    cv: Any
    X: Any
    groups: Any

    def iter_splits(
        self, y: NDArray[Any], rows: Indices, seed: int
    ) -> Iterator[tuple[Indices, Indices]]:
        """Yield the training and the validation rows of one network after another.

        When all splits have been used, an iterable is used again, and a splitter makes
        new splits.

        Parameters
        ----------
        y : ndarray of shape (n_samples, ...)
        rows : ndarray of int
            The rows to split. A splitter receives only these. An iterable, and a
            splitter whose splits are fixed, give indices of all rows; those that are
            not among `rows` are left out.
        seed : int
            Seed of a splitter that shuffles and has no seed of its own.
        """
        known = rows if _splits_any_rows(self.cv) else np.arange(len(y))
        for splits in self._iter_rounds(y, rows, seed):
            i = -1
            for i, parts in enumerate(splits):
                train, valid = _check_split(i, parts, len(known))
                train, valid = (np.intersect1d(known[p], rows) for p in (train, valid))
                if len(train) < 2 or not len(valid):
                    raise ValueError(
                        f"Split {i} of cv has {len(train)} training rows and "
                        f"{len(valid)} test rows of positive weight, but it needs at "
                        "least 2 and 1."
                    )
                yield train, valid
            if i < 0:
                raise ValueError("cv yields no splits; it must yield at least one.")

    def _iter_rounds(
        self, y: NDArray[Any], rows: Indices, seed: int
    ) -> Iterator[Iterable[Any]]:
        """Yield the splits again and again."""
        if not _is_splitter(self.cv):
            yield from itertools.repeat(list(self.cv))
        data: Any = self.X, y, self.groups
        if len(rows) < len(y) and _splits_any_rows(self.cv):
            data = tuple(v if v is None else _safe_indexing(v, rows) for v in data)
        # Neither numpy's global generator nor the user's object may change.
        cv, rng = copy.deepcopy(self.cv), np.random.default_rng(seed)
        has_no_seed = getattr(cv, "random_state", 0) is None
        while True:
            if has_no_seed:
                cv.random_state = int(rng.integers(2**31))
            yield _split(cv, data)


def _split(cv: Any, data: Any) -> Iterator[Any]:
    try:
        yield from cv.split(*data)
    except (TypeError, ValueError) as error:
        raise ValueError(f"cv={cv!r:.200} can't split the rows: {error}") from error


def _check_split(i: int, split: Any, n_rows: int) -> tuple[Indices, Indices]:
    """Return the rows of a split as arrays; raise ValueError if they are invalid."""
    try:
        train, valid = split
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Split {i} of cv must be a pair of training and test rows, got "
            f"{split!r:.100}."
        ) from error
    train = as_samples(train, f"The training rows of split {i} of cv", n_rows)
    valid = as_samples(valid, f"The test rows of split {i} of cv", n_rows)
    found, counts = np.unique(np.concatenate([train, valid]), return_counts=True)
    if len(found) and counts.max() > 1:
        raise ValueError(
            f"Split {i} of cv holds row {found[counts.argmax()]} more than once; "
            "each row can be used once, for training or for validation."
        )
    return train, valid
