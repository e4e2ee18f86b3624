"""How many threads a piece of work is worth."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from skrebatch._engine.nn.architecture import Architecture

# Below this many multiplications a step, a second thread costs more than it does.
_MULTIPLICATIONS_PER_THREAD = 100_000_000


@contextlib.contextmanager
def one_thread_if(small: bool) -> Iterator[None]:
    """Run on one thread where the work is small; restore the number afterwards."""
    before = torch.get_num_threads()
    if small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if small:
            torch.set_num_threads(before)


def is_small(architecture: Architecture, n_rows: int) -> bool:
    """Tell whether a step on so many rows is too small for several threads."""
    return n_rows * architecture.multiplications < _MULTIPLICATIONS_PER_THREAD
