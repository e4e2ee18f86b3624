"""The number of threads for small computations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from skrebatch._engine.nn.architecture import Architecture

# Below this many multiplications per step, a second thread costs more than it saves.
_MULTIPLICATIONS_PER_THREAD = 100_000_000


@contextlib.contextmanager
def one_thread_if(small: bool) -> Iterator[None]:
    """Run on one thread if `small`; restore the number of threads afterwards."""
    before = torch.get_num_threads()
    if small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if small:
            torch.set_num_threads(before)


def is_small(architecture: Architecture, n_rows: int) -> bool:
    """Return whether a step on `n_rows` rows is too small for several threads."""
    return n_rows * architecture.multiplications < _MULTIPLICATIONS_PER_THREAD
