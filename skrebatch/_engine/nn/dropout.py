"""Dropout masks, for each network of a stack from its own generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

# Values of the masks that are drawn at once.
_MOST_VALUES = 2_000_000


def draw_masks(
    rngs: Sequence[np.random.Generator],
    counts: NDArray[np.intp],
    n_rows: int,
    width: int,
    dropout: float,
) -> Iterator[torch.Tensor]:
    """Draw what each step keeps; a network's masks don't depend on the others.

    Parameters
    ----------
    rngs : sequence of K numpy.random.Generator
    counts : ndarray of int, shape (K, n_steps)
        Rows of each network at each step.
    n_rows : int
        Rows of the longest batch; nothing is drawn for those beyond a network's own.
    width : int
        Values of a row.
    dropout : float
        Share of the values to leave out.

    Yields
    ------
    keep : torch.Tensor of bool, shape (K, n_rows, width)
        For one step after the other.
    """
    K, n_steps = counts.shape
    chunk = max(1, _MOST_VALUES // (K * n_rows * width))
    for start in range(0, n_steps, chunk):
        own_counts = counts[:, start : start + chunk, None]
        own = np.arange(n_rows) < own_counts  # (K, T, b)
        keep = np.ones((own.shape[1], K, n_rows, width), dtype=bool)
        for k, rng in enumerate(rngs):
            drawn = rng.random((own_counts[k].sum(), width), dtype=np.float32)
            keep[:, k][own[k]] = drawn >= dropout
        yield from torch.from_numpy(keep)
