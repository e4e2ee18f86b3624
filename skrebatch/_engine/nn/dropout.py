"""Dropout masks for a stack, drawn from one generator per network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

# Number of mask values that are drawn at once.
_MOST_VALUES = 2_000_000


def draw_masks(
    rngs: Sequence[np.random.Generator],
    counts: NDArray[np.intp],
    n_rows: int,
    width: int,
    dropout: float,
) -> Iterator[torch.Tensor]:
    """Draw dropout masks step by step; networks do not affect each other's masks.

    Parameters
    ----------
    rngs : sequence of K numpy.random.Generator
    counts : ndarray of int, shape (K, n_steps)
        Number of rows of each network at each step.
    n_rows : int
        Number of rows of the longest batch. Nothing is drawn for rows that a network
        does not have.
    width : int
        Number of values per row.
    dropout : float
        Probability that a value is set to zero.

    Yields
    ------
    keep : torch.Tensor of bool, shape (K, n_rows, width)
        The mask of each step; False where a value is set to zero.
    """
    K, n_steps = counts.shape
    chunk = max(1, _MOST_VALUES // (K * n_rows * width))
    for start in range(0, n_steps, chunk):
        chunk_counts = counts[:, start : start + chunk, None]
        inside = np.arange(n_rows) < chunk_counts  # (K, T, b)
        keep = np.ones((inside.shape[1], K, n_rows, width), dtype=bool)
        for k, rng in enumerate(rngs):
            drawn = rng.random((chunk_counts[k].sum(), width), dtype=np.float32)
            keep[:, k][inside[k]] = drawn >= dropout
        yield from torch.from_numpy(keep)
