"""Batches of rows of similar length, under a budget of elements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike
from torch.utils.data import Sampler

from skrebatch._utils.typing import Indices
from skrebatch._utils.validation import as_array, as_indices, check_integer

# A stretch of so many full batches leaves a few per cent of padding.
_BATCHES = 16


def group_by_length(
    order: Indices,
    lengths: Indices,
    max_elements: int,
    stretch: int,
    rng: np.random.Generator,
) -> list[Indices]:
    """Cut an order into batches; see :class:`DynamicBatchSampler`."""
    batches: list[Indices] = []
    for part in np.array_split(order, max(1, -(-len(order) // stretch))):
        part = part[np.argsort(-lengths[part], kind="stable")]
        start, own = 0, []
        while start < len(part):
            # The first row of a batch is its longest.
            stop = start + max_elements // int(lengths[part[start]])
            own.append(part[start:stop])
            start = stop
        batches += [own[i] for i in rng.permutation(len(own))]
    return batches


def check_lengths(lengths: ArrayLike, max_elements: int) -> Indices:
    """Return the lengths as an array, or name the row that fits into no batch."""
    check_integer(max_elements, "max_elements")
    checked = np.array(as_array(lengths))
    if checked.ndim != 1 or (checked.size and checked.dtype.kind not in "iu"):
        raise ValueError(
            "lengths must be a 1-D array of whole numbers, one for each row, got an "
            f"array of shape {checked.shape} and dtype {checked.dtype}."
        )
    for bad, what in (
        (checked < 1, "a row has at least one element"),
        (checked > max_elements, f"more than max_elements={max_elements}"),
    ):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(f"Row {row} has length {checked[row]}: {what}.")
    return checked.astype(np.intp)


def choose_stretch(lengths: Indices, max_elements: int) -> int:
    """Return how many entries of an order have the elements of 16 full batches."""
    if not len(lengths):
        return 1
    return max(1, int(_BATCHES * max_elements / lengths.mean()))


class DynamicBatchSampler(Sampler[list[int]]):
    """Batches of rows of similar length, each within a budget of elements.

    A batch is padded to its longest row, so that it takes (rows) x (longest length)
    elements; here this is at most `max_elements`. Batches of long rows are small,
    those of short rows large, and little of them is padding. The rows are grouped
    within stretches of the epoch's order alone:

    1. Cut the order into as few equally long parts as have at most `stretch`
       entries.
    2. Sort each part by length, the longest first; a tie keeps its order.
    3. From the start of a sorted part on, each batch takes as many rows as the
       budget allows.
    4. Shuffle the batches of a part among themselves.

    Every entry of the order thus occurs exactly as often as before, and less than
    `stretch` places from where it was. Up to this distance an order of re-Batch
    keeps its chosen samples at their regular intervals.

    Parameters
    ----------
    lengths : array-like of int, shape (n_samples,)
        Length of each row, 1 or more; :func:`row_lengths` tells those of a table.
    max_elements : int
        Most elements of a batch, padding included.
    sampler : iterable of int, default=None
        The order of each epoch, gone through anew for each; such as an
        :class:`IntervalInsertionSampler`. None is a fresh shuffle.
    stretch : int or "auto", default="auto"
        Most entries of the order among which rows are grouped. More of them leave
        less padding, fewer keep the order better; "auto" is as many as have, on
        average, the elements of 16 full batches.
    random_state : int, numpy.random.Generator or None, default=None
        Source of the shuffles.

    Attributes
    ----------
    drawn : ndarray of int or None
        The rows of the last epoch in the order of its batches.

    Raises
    ------
    ValueError
        If a parameter is out of range, or a length is below 1 or above
        `max_elements`; the message names the row.

    See Also
    --------
    ReBatch : Gives this sampler, as a net's ``iterator_train__batch_sampler``, the
        orders of re-Batch.

    Notes
    -----
    How many batches an epoch has depends on its order, so that the sampler, and a
    DataLoader with it, has no length.

    References
    ----------
    .. [1] M. Ott et al., "fairseq: A Fast, Extensible Toolkit for Sequence
       Modeling", NAACL-HLT 2019 (batches by a number of tokens).

    Examples
    --------
    >>> from skrebatch import DynamicBatchSampler
    >>> lengths = [2, 9, 3, 8, 2, 3]
    >>> sampler = DynamicBatchSampler(lengths, 18, sampler=range(6), random_state=0)
    >>> sorted(sampler)
    [[1, 3], [2, 5, 0, 4]]
    """

    def __init__(
        self,
        lengths: ArrayLike,
        max_elements: int,
        *,
        sampler: Iterable[int] | None = None,
        stretch: int | str = "auto",
        random_state: int | np.random.Generator | None = None,
    ):
        self.lengths: Indices = check_lengths(lengths, max_elements)
        self.max_elements: int = int(max_elements)
        self.sampler: Iterable[int] | None = sampler
        if stretch == "auto":
            stretch = choose_stretch(self.lengths, self.max_elements)
        check_integer(stretch, "stretch", 'or "auto"')
        self.stretch: int = int(stretch)
        self._rng: np.random.Generator = np.random.default_rng(random_state)
        self.drawn: Indices | None = None

    def _order(self) -> Indices:
        if self.sampler is None:
            return self._rng.permutation(len(self.lengths))
        order = as_indices(list(as_array(self.sampler)), "sampler")
        outside = order[(order < 0) | (order >= len(self.lengths))]
        if len(outside):
            raise ValueError(
                f"The sampler draws row {outside[0]}, but there are lengths of "
                f"{len(self.lengths)} rows."
            )
        return order

    def __iter__(self) -> Iterator[list[int]]:
        """Iterate over the batches of the next epoch."""
        batches = group_by_length(
            self._order(), self.lengths, self.max_elements, self.stretch, self._rng
        )
        self.drawn = np.concatenate([np.empty(0, dtype=np.intp), *batches])
        return iter([batch.tolist() for batch in batches])
