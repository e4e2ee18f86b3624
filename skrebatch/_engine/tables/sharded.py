"""Tables whose rows are distributed over several processes."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from skrebatch._engine.tables.table import Table
from skrebatch._utils.dtypes import numpy_dtype
from skrebatch._utils.typing import Floats, Indices


@contextmanager
def translate_lost_peer() -> Iterator[None]:
    """Turn a failed exchange with the other processes into a ConnectionError."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(
            "Another process of this fit was lost or does not respond. The estimator "
            "is unchanged. End this process as well, and restart all processes."
        ) from error


@dataclass(frozen=True)
class ShardedRows:
    """The rows of this process, for a table distributed over several processes.

    Rows are counted over all processes, in the order of their ranks.

    Attributes
    ----------
    local : array-like of shape (n_local, n_features)
        The rows of this process.
    start : int
        Index of the first of them.
    n_rows : int
        Number of rows of all processes.
    index : pandas.Index, default=None
        Index of all rows, if required and present.
    """

    local: Any
    start: int
    n_rows: int
    index: Any = None

    def __len__(self) -> int:
        """Return the number of rows of all processes."""
        return self.n_rows


@dataclass(frozen=True)
class ShardedTable(Table):
    """A table of which this process holds some rows, and all targets.

    Attributes
    ----------
    local : Table
        The rows of this process.
    is_local : ndarray of bool, shape (n_rows,)
        Which rows of the whole table this process holds.
    places : torch.Tensor of shape (n_rows,)
        Index of each row in `local`; 0 for rows of other processes.
    """

    local: Table
    is_local: NDArray[np.bool_]
    places: torch.Tensor

    def __len__(self) -> int:
        """Return the number of rows of all processes."""
        return len(self.is_local)

    def read(self, rows: torch.Tensor, out: torch.Tensor) -> None:
        """Write local rows, by their indices in the whole table, to `out`."""
        self.local.read(self.places[rows], out)

    def add_up(self, values: torch.Tensor) -> None:
        """Sum values in place over all processes; all get identical results."""
        with translate_lost_peer():
            dist.all_reduce(values)

    def check_orders(self, orders: list[Indices]) -> None:
        """Raise ValueError unless the orders are the same in all processes."""
        checksum = zlib.crc32(np.concatenate(orders).data)
        bounds = torch.tensor([checksum, -checksum], device=self.features.device)
        with translate_lost_peer():
            dist.all_reduce(bounds, dist.ReduceOp.MAX)  # the maximum, - the minimum
        if bounds.sum():
            raise ValueError(
                "The processes have planned different epochs. A custom strategy or "
                "schedule must do the same in all processes: draw only from epoch.rng, "
                "and use nothing that differs between processes."
            )

    def per_row(
        self, compute: Callable[[list[Indices]], list[Floats]], rows: list[Indices]
    ) -> list[Floats]:
        """Compute values of the local rows; return those of all processes."""
        ends = np.cumsum([0, *map(len, rows)])
        if not ends[-1]:
            return compute(rows)
        local = [np.flatnonzero(self.is_local[indices]) for indices in rows]
        computed = compute(
            [indices[places] for indices, places in zip(rows, local, strict=True)]
        )
        features = self.features
        # Adding zeros changes no bit, so ties are the same as in a single process.
        shape = ends[-1], *computed[0].shape[1:]
        values = np.zeros(shape, numpy_dtype(features.dtype))
        for start, places, part in zip(ends[:-1], local, computed, strict=True):
            values[start + places] = part
        sums = torch.from_numpy(values).to(features.device)
        self.add_up(sums)
        return np.split(sums.cpu().numpy(), ends[1:-1])


def make_sharded_table(
    pieces: list[ShardedRows], targets: list[Floats], local: Table
) -> ShardedTable:
    """Create a table from pieces; `local` has the rows of this process."""
    n_rows = sum(map(len, pieces))
    is_local = np.zeros(n_rows, dtype=bool)
    start = 0
    for piece in pieces:
        first = start + piece.start
        is_local[first : first + len(piece.local)] = True
        start += len(piece)
    places = np.where(is_local, is_local.cumsum() - 1, 0)
    features = local.features
    y = torch.from_numpy(np.concatenate(targets)).to(features.device, features.dtype)
    return ShardedTable(
        features, y, local, is_local, torch.from_numpy(places).to(y.device)
    )
