"""Orders with the chosen samples at regular intervals among the others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch.utils.data import Sampler

from skrebatch._utils.typing import Indices
from skrebatch._utils.user_warnings import warn_user
from skrebatch._utils.validation import (
    as_indices,
    as_samples,
    check_bool,
    check_integer,
    is_finite,
)


def check_ratio(ratio: Any) -> Fraction:
    """Return the ratio as the exact fraction of its decimal representation."""
    is_number = isinstance(ratio, Real | Decimal) and not isinstance(ratio, bool)
    if is_number and is_finite(ratio):
        exact = Fraction(str(ratio))
        if exact >= 0:
            return exact
    raise ValueError(f"ratio must be a finite number of at least 0, got {ratio!r}.")


def check_repeats(repeats: Any) -> int:
    """Return the repeats as an int."""
    if isinstance(repeats, bool) or not isinstance(repeats, Integral) or repeats < 0:
        raise ValueError(
            "repeats must be an integer of at least 0 (0 leaves out the chosen "
            f"samples, 1 moves them, m inserts them m times), got {repeats!r}."
        )
    return check_integer(repeats, "repeats", at_least=0)


def redistribution_size(n_samples: int, ratio: float) -> int:
    """Return B, the number of samples that an epoch redistributes (equation 2).

    It is ``floor(n_samples * ratio / (1 + ratio))`` [1]_, computed exactly from the
    decimal representation of the ratio. In floating-point arithmetic, the result would
    be off by one for some inputs.

    Parameters
    ----------
    n_samples : int
        Number of training samples.
    ratio : float
        Redistribution ratio r, at least 0.

    Returns
    -------
    size : int
        Number of samples to redistribute. Less than `n_samples` unless both are 0.

    Raises
    ------
    ValueError
        If the ratio is negative or not finite, or `n_samples` is negative.

    See Also
    --------
    interval_insertion : Inserts the chosen samples into the order.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> from skrebatch import redistribution_size
    >>> redistribution_size(614, 0.15)
    80
    >>> redistribution_size(8, 0.6)  # floating-point arithmetic gives 2
    3
    """
    exact = check_ratio(ratio)
    n_samples = check_integer(n_samples, "n_samples", at_least=0)
    return math.floor(n_samples * exact / (1 + exact))


def _insertion_positions(n_remaining: int, n_inserted: int) -> Indices:
    """Return the positions of the inserted entries in the final order."""
    count = np.arange(1, n_inserted + 1)
    if n_inserted <= n_remaining:
        before = count * (n_remaining // max(n_inserted, 1))
    else:
        # There are more inserted than remaining entries: at least one follows each
        # remaining entry, and the surplus is spread evenly.
        before = -(-count * n_remaining // n_inserted)
    return before + count - 1


def interval_insertion(
    remaining: ArrayLike, chosen: ArrayLike, repeats: int = 1
) -> Indices:
    """Insert the chosen indices among the remaining ones at regular intervals.

    One chosen index follows every ``floor(len(remaining) / (repeats * len(chosen)))``
    remaining indices. Any further remaining indices follow at the end. For
    ``repeats=1``, this is eq. 1 [1]_. For more repeats, the sequence of chosen indices
    is repeated as a whole, so that the copies of one sample are far apart. If there are
    more indices to insert than remaining ones, each remaining index is followed by one
    or more chosen indices, spread evenly.

    Parameters
    ----------
    remaining : array-like of int, shape (n_remaining,)
        Indices of the samples that are not chosen. Their order is kept.
    chosen : array-like of int, shape (n_chosen,)
        Indices of the chosen samples, in the order of insertion.
    repeats : int, default=1
        How often each chosen index is inserted; 0 leaves out the chosen indices.

    Returns
    -------
    order : ndarray of int, shape (n_remaining + repeats * n_chosen,)
        The remaining indices with the chosen ones inserted.

    Raises
    ------
    ValueError
        If `repeats` is not an integer of at least 0, or the indices are not integers.

    See Also
    --------
    redistribution_size : The number of samples to choose.
    IntervalInsertionSampler : A torch sampler that yields this order.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> from skrebatch import interval_insertion
    >>> interval_insertion([0, 1, 2, 3, 4], [8, 9])
    array([0, 1, 8, 2, 3, 9, 4])
    >>> interval_insertion([0, 1, 2, 3, 4], [8, 9], repeats=2)
    array([0, 8, 1, 9, 2, 8, 3, 9, 4])
    """
    remaining = as_indices(remaining, "remaining")
    return _insert(remaining, as_indices(chosen, "chosen"), check_repeats(repeats))


def _insert(remaining: Indices, chosen: Indices, repeats: int) -> Indices:
    """Insert validated indices; see :func:`interval_insertion`."""
    inserted = chosen if repeats == 1 else np.tile(chosen, repeats)
    positions = _insertion_positions(len(remaining), len(inserted))
    order = np.empty(len(remaining) + len(inserted), dtype=np.intp)
    is_remaining = np.ones(len(order), dtype=bool)
    is_remaining[positions] = False
    order[positions] = inserted
    order[is_remaining] = remaining
    return order


class IntervalInsertionSampler(Sampler[int]):
    """Sampler that inserts chosen samples at regular intervals.

    The order of the first epoch is random. After each epoch, call :meth:`redistribute`
    with the chosen samples, such as those of lowest loss. The next epoch has the order
    of :func:`interval_insertion` [1]_.

    Parameters
    ----------
    n_samples : int
        Number of training samples.
    repeats : int, default=1
        How often an epoch contains each chosen sample: 0 leaves out the chosen
        samples, 1 moves them, m inserts them m times.
    shuffle : bool, default=True
        Whether to shuffle the other samples before each epoch after the first. If
        False, they keep their natural order, as in the paper. The order of the first
        epoch is always random.
    random_state : int, numpy.random.Generator or None, default=None
        Seed or generator for the shuffling. A generator is not copied.

    Attributes
    ----------
    chosen : ndarray of int or None
        Indices of the samples that the next epochs redistribute; None before the first
        call of :meth:`redistribute`.
    drawn : ndarray of int or None
        The order of the last epoch.

    Raises
    ------
    ValueError
        If `repeats` or `n_samples` is not an integer of at least 0, or `shuffle` is not
        a bool.

    See Also
    --------
    interval_insertion : Returns the same order as an array.
    DynamicBatchSampler : Groups an order into batches of rows of similar length.
    ReBatch : Applies this sampler to any skorch net.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> from skrebatch import IntervalInsertionSampler
    >>> sampler = IntervalInsertionSampler(6, shuffle=False, random_state=0)
    >>> len(list(sampler))
    6
    >>> sampler.redistribute([4, 1])
    >>> list(sampler)
    [0, 2, 4, 3, 5, 1]
    """

    def __init__(
        self,
        n_samples: int,
        repeats: int = 1,
        shuffle: bool = True,
        random_state: int | np.random.Generator | None = None,
    ):
        self.n_samples: int = check_integer(n_samples, "n_samples", at_least=0)
        self.repeats: int = check_repeats(repeats)
        check_bool(shuffle, "shuffle")
        self.shuffle: bool = shuffle
        self._rng: np.random.Generator = np.random.default_rng(random_state)
        self.chosen: Indices | None = None
        self.drawn: Indices | None = None
        self._remaining: Indices = np.arange(0)  # set by redistribute
        self._times: int = self.repeats

    def redistribute(
        self,
        chosen: ArrayLike,
        remaining: ArrayLike | None = None,
        repeats: int | None = None,
    ) -> None:
        """Set the samples that the next epochs redistribute.

        Parameters
        ----------
        chosen : array-like of int, shape (n_chosen,)
            Sample indices in [0, `n_samples`), without duplicates, in the order of
            insertion.
        remaining : array-like of int, default=None
            Indices of the samples among which the chosen ones are inserted. An index
            may occur several times. If None, all samples that are not chosen, in
            natural order.
        repeats : int, default=None
            How often each chosen sample is inserted. If None, the `repeats` of the
            sampler.

        Raises
        ------
        ValueError
            If an index is out of range, a chosen index occurs twice, or no sample
            remains.
        """
        chosen = as_samples(chosen, "chosen", self.n_samples)
        is_chosen = np.zeros(self.n_samples, dtype=bool)
        is_chosen[chosen] = True
        if np.count_nonzero(is_chosen) != len(chosen):
            raise ValueError("chosen must not contain duplicate indices.")
        if remaining is None:
            remaining = np.flatnonzero(~is_chosen)
        else:
            remaining = as_samples(remaining, "remaining", self.n_samples)
        times = self.repeats if repeats is None else check_repeats(repeats)
        if self.n_samples and not len(remaining) + times * len(chosen):
            raise ValueError("The next epoch would contain no samples.")
        self.chosen, self._remaining, self._times = chosen, remaining, times

    def order(self) -> Indices:
        """Draw the order of the next epoch.

        Returns
        -------
        order : ndarray of int, shape (len(self),)
            Sample indices, in the order in which the epoch uses them.
        """
        if self.chosen is None:
            self.drawn = self._rng.permutation(self.n_samples)
        else:
            remaining = self._remaining.copy()
            if self.shuffle:
                self._rng.shuffle(remaining)
            self.drawn = _insert(remaining, self.chosen, self._times)
        return self.drawn

    def __iter__(self) -> Iterator[int]:
        """Iterate over the order of the next epoch."""
        return iter(self.order().tolist())

    def __len__(self) -> int:
        """Return the number of entries of the next epoch."""
        if self.chosen is None:
            return self.n_samples
        return len(self._remaining) + self._times * len(self.chosen)


def warn_if_nothing_redistributed(n_samples: int, ratio: float, size: int) -> None:
    """Warn if the ratio is positive but too small to redistribute a sample."""
    if ratio > 0 and size == 0:
        warn_user(
            f"Nothing is redistributed: with {n_samples} training samples, "
            f"ratio={ratio} gives B = 0 (eq. 2). Use a larger ratio, or ratio=0 to "
            "train without re-Batch."
        )
