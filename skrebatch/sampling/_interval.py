"""The order of an epoch: chosen samples at regular intervals among the others."""

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
    """Return the ratio as the exact fraction that its decimal names."""
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
            "repeats must be a whole number of at least 0 (0 leaves the chosen "
            f"samples out, 1 moves them, m holds them m times), got {repeats!r}."
        )
    return check_integer(repeats, "repeats", at_least=0)


def redistribution_size(n_samples: int, ratio: float) -> int:
    """Return how many samples an epoch redistributes, B of eq. 2 [1]_.

    ``floor(n_samples * ratio / (1 + ratio))``, exactly for the decimal number
    that was written: binary floating point is off by one for some pairs.

    Parameters
    ----------
    n_samples : int
        Number of training samples.
    ratio : float
        Redistribution ratio r, 0 or more.

    Returns
    -------
    size : int
        In [0, `n_samples`).

    Raises
    ------
    ValueError
        If the ratio is negative or not finite, or `n_samples` is negative.

    See Also
    --------
    interval_insertion : Where the chosen samples stand.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> from skrebatch import redistribution_size
    >>> redistribution_size(614, 0.15)
    80
    >>> redistribution_size(8, 0.6)  # 2 in floating point
    3
    """
    exact = check_ratio(ratio)
    n_samples = check_integer(n_samples, "n_samples", at_least=0)
    return math.floor(n_samples * exact / (1 + exact))


def _insertion_places(n_remaining: int, n_inserted: int) -> Indices:
    """Return where in the final order the inserted entries stand."""
    count = np.arange(1, n_inserted + 1)
    if n_inserted <= n_remaining:
        before = count * (n_remaining // max(n_inserted, 1))
    else:
        # More to insert than there is to insert among: one after each remaining
        # entry, the surplus spread evenly over these places.
        before = -(-count * n_remaining // n_inserted)
    return before + count - 1


def interval_insertion(
    remaining: ArrayLike, chosen: ArrayLike, repeats: int = 1
) -> Indices:
    """Insert the chosen indices among the remaining ones at a regular interval.

    After every ``floor(len(remaining) / (repeats * len(chosen)))`` remaining
    indices stands one chosen index until all are in; what remains follows. For
    ``repeats=1`` this is eq. 1 [1]_ to the letter. With more repeats the whole
    sequence of chosen indices is gone through `repeats` times, so that the
    copies of one sample are far apart. Where there is more to insert than
    there are remaining indices, each of these is followed by one or more chosen
    ones, spread evenly.

    Parameters
    ----------
    remaining : array-like of int, shape (n_remaining,)
        Indices not chosen, in the order that they shall keep.
    chosen : array-like of int, shape (n_chosen,)
        Indices chosen, in the order of insertion.
    repeats : int, default=1
        How often each chosen index occurs; 0 leaves them out.

    Returns
    -------
    order : ndarray of int, shape (n_remaining + repeats * n_chosen,)
        All of them, in their new order.

    Raises
    ------
    ValueError
        If `repeats` is negative or not whole, or the indices are no integers.

    See Also
    --------
    redistribution_size : How many samples to choose.
    IntervalInsertionSampler : The same order, as a sampler of torch.

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
    """Insert checked indices; see :func:`interval_insertion`."""
    inserted = chosen if repeats == 1 else np.tile(chosen, repeats)
    places = _insertion_places(len(remaining), len(inserted))
    order = np.empty(len(remaining) + len(inserted), dtype=np.intp)
    others = np.ones(len(order), dtype=bool)
    others[places] = False
    order[places] = inserted
    order[others] = remaining
    return order


class IntervalInsertionSampler(Sampler[int]):
    """Sampler whose next epoch holds chosen samples at regular intervals.

    The first epoch is a shuffle. After each epoch call :meth:`redistribute`
    with the samples of your choice, such as those of lowest loss; the next
    iteration holds them at the places of :func:`interval_insertion` [1]_.

    Parameters
    ----------
    n_samples : int
        Number of training samples.
    repeats : int, default=1
        How often an epoch holds each chosen sample: 0 leaves them out, 1 moves
        them, m holds them m times.
    shuffle : bool, default=True
        Whether to shuffle the samples not chosen in every epoch; False keeps
        them in their natural order, as the paper does.
    random_state : int, numpy.random.Generator or None, default=None
        Source of the shuffles; a Generator is used, not copied.

    Attributes
    ----------
    chosen : ndarray of int or None
        Samples redistributed in the epochs to come; None before the first call
        of :meth:`redistribute`.
    drawn : ndarray of int or None
        The order drawn last.

    Raises
    ------
    ValueError
        If `repeats` or `n_samples` is not a whole number of at least 0, or `shuffle`
        neither True nor False.

    See Also
    --------
    interval_insertion : The same order, as an array.
    DynamicBatchSampler : Batches of rows of similar length, of this order.
    ReBatch : Uses it in any skorch net.

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
        self._remaining: Indices = np.arange(0)  # told with the first chosen
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
            Distinct sample numbers in [0, `n_samples`), in the order of
            insertion.
        remaining : array-like of int, default=None
            The samples among which they are inserted, each as often as it occurs;
            None is every sample not chosen, in natural order.
        repeats : int, default=None
            How often each chosen sample is inserted; None is `repeats` of the
            sampler.

        Raises
        ------
        ValueError
            If a number is out of range, a chosen one occurs twice, or no sample is
            left.
        """
        chosen = as_samples(chosen, "chosen", self.n_samples)
        is_chosen = np.zeros(self.n_samples, dtype=bool)
        is_chosen[chosen] = True
        if np.count_nonzero(is_chosen) != len(chosen):
            raise ValueError("chosen holds a sample number twice.")
        if remaining is None:
            remaining = np.flatnonzero(~is_chosen)
        else:
            remaining = as_samples(remaining, "remaining", self.n_samples)
        times = self.repeats if repeats is None else check_repeats(repeats)
        if self.n_samples and not len(remaining) + times * len(chosen):
            raise ValueError("No sample is left for the next epoch.")
        self.chosen, self._remaining, self._times = chosen, remaining, times

    def order(self) -> Indices:
        """Draw the order of the next epoch.

        Returns
        -------
        order : ndarray of int, shape (len(self),)
            Numbers of samples, each as often as the epoch holds it.
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
    """Warn where a positive ratio redistributes no sample."""
    if ratio > 0 and size == 0:
        warn_user(
            f"Nothing is redistributed: with {n_samples} training samples, "
            f"ratio={ratio} comes to B = 0 (eq. 2). Use a larger ratio, or ratio=0 to "
            "train without re-Batch."
        )
