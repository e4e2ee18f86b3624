"""Batches of rows of similar length, with a limited number of elements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike
from torch.utils.data import Sampler

from skrebatch._utils.arrays import as_array, keep_integers
from skrebatch._utils.typing import Indices
from skrebatch._utils.validation import (
    as_indices,
    check_integer,
)

# With stretches of 16 full batches, padding is a few per cent of the elements.
_BATCHES = 16


def group_by_length(
    order: Indices,
    lengths: Indices,
    max_elements: int,
    stretch: int,
    rng: np.random.Generator,
) -> list[Indices]:
    """Divide an order into batches; see :class:`DynamicBatchSampler`."""
    batches: list[Indices] = []
    for part in np.array_split(order, max(1, -(-len(order) // stretch))):
        part = part[np.argsort(-lengths[part], kind="stable")]
        start, part_batches = 0, []
        while start < len(part):
            # The rows are sorted: the first row of a batch is its longest.
            stop = start + max_elements // int(lengths[part[start]])
            part_batches.append(part[start:stop])
            start = stop
        batches += [part_batches[i] for i in rng.permutation(len(part_batches))]
    return batches


def check_lengths(lengths: ArrayLike, max_elements: int) -> Indices:
    """Return the lengths as an array; raise ValueError if a row is too long."""
    check_integer(max_elements, "max_elements")
    checked = np.array(keep_integers(as_array(lengths, "lengths")))
    if checked.ndim != 1 or (checked.size and checked.dtype.kind not in "iu"):
        raise ValueError(
            "lengths must be a 1-D array of integers, one for each row, got an array "
            f"of shape {checked.shape} and dtype {checked.dtype}."
        )
    for is_bad, reason in (
        (checked < 1, "the minimum is 1"),
        (checked > max_elements, f"the maximum is max_elements={max_elements}"),
    ):
        if is_bad.any():
            row = int(np.flatnonzero(is_bad)[0])
            raise ValueError(f"Row {row} has length {checked[row]}; {reason}.")
    return checked.astype(np.intp)


def choose_stretch(lengths: Indices, max_elements: int) -> int:
    """Return the mean number of rows whose elements fill 16 batches."""
    if not len(lengths):
        return 1
    return max(1, int(_BATCHES * max_elements / lengths.mean()))


class DynamicBatchSampler(Sampler[list[int]]):
    """Sampler that groups rows of similar length into batches.

    This is dynamic batching [1]_. A batch is padded to the length of its longest row.
    The number of its elements, (number of rows) x (longest length), is at most
    `max_elements`. Batches of long rows therefore contain few rows, and batches of
    short rows contain many. As rows of a batch have similar lengths, there is little
    padding. Rows are grouped only with rows that are near in the order of the epoch:

    1. Divide the order into parts of equal length, as few as possible, with at most
       `stretch` entries each.
    2. Sort each part by length, longest first. The sort is stable.
    3. Divide each sorted part into batches, from the start. Each batch contains as many
       rows as `max_elements` allows.
    4. Shuffle the batches within each part.

    Each entry of the order occurs as often as before and moves by less than `stretch`
    positions. Up to this distance, the chosen samples of re-Batch keep their regular
    intervals.

    Parameters
    ----------
    lengths : array-like of int, shape (n_samples,)
        Length of each row, at least 1. :func:`row_lengths` computes the lengths of the
        rows of a table.
    max_elements : int
        Maximum number of elements of a batch, including padding.
    sampler : iterable of int, default=None
        Order of the rows, such as an :class:`IntervalInsertionSampler`. It is iterated
        once for each epoch. If None, the rows are shuffled for each epoch.
    stretch : int or "auto", default="auto"
        Maximum number of entries of the order that are sorted together. A larger value
        leaves less padding; a smaller value keeps the order better. "auto" is the
        number of rows that fill 16 batches on average.
    random_state : int, numpy.random.Generator or None, default=None
        Seed or generator for the shuffling.

    Attributes
    ----------
    drawn : ndarray of int or None
        Indices of the rows of the last epoch, in the order of its batches.

    Raises
    ------
    ValueError
        If a parameter is out of range, or a length is below 1 or above `max_elements`.
        The message gives the row.

    See Also
    --------
    ReBatch : Passes the orders of re-Batch to this sampler if it is the net's
        ``iterator_train__batch_sampler``.

    Notes
    -----
    The number of batches depends on the order of the epoch. The sampler and
    a DataLoader that uses it therefore have no length.

    References
    ----------
    .. [1] M. Ott et al., "fairseq: A Fast, Extensible Toolkit for Sequence
       Modeling", NAACL-HLT 2019 (batches with a maximum number of tokens).

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
        order = as_indices(list(as_array(self.sampler, "sampler")), "sampler")
        outside = order[(order < 0) | (order >= len(self.lengths))]
        if len(outside):
            raise ValueError(
                f"The sampler yields index {outside[0]}, but lengths has "
                f"{len(self.lengths)} entries."
            )
        return order

    def __iter__(self) -> Iterator[list[int]]:
        """Iterate over the batches of the next epoch."""
        batches = group_by_length(
            self._order(), self.lengths, self.max_elements, self.stretch, self._rng
        )
        self.drawn = np.concatenate([np.empty(0, dtype=np.intp), *batches])
        return iter([batch.tolist() for batch in batches])
