"""Tables of which each of several processes holds some rows."""

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
    """Say what it means that an exchange with the other processes fails."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(
            "A process that shares the fit is lost, or no longer heard of. The "
            "estimator is as it was; end this process too, and start all again."
        ) from error


@dataclass(frozen=True)
class ShardedRows:
    """The rows of a table that other processes hold some of.

    Rows are counted over all processes, in the order of their ranks.

    Attributes
    ----------
    own : array-like of shape (n_own, n_features)
        Those of this process.
    start : int
        The first of them.
    n_rows : int
        Those of all.
    index : pandas.Index, default=None
        Of all rows, where it is wanted and there is one.
    """

    own: Any
    start: int
    n_rows: int
    index: Any = None

    def __len__(self) -> int:
        """Return the number of rows of all processes."""
        return self.n_rows


@dataclass(frozen=True)
class ShardedTable(Table):
    """A table of which this process holds some rows, and the targets of all.

    Attributes
    ----------
    own : Table
        The rows held here.
    here : ndarray of bool, shape (n_rows,)
        Which rows of the whole table they are.
    places : torch.Tensor of shape (n_rows,)
        Where among them each row is; 0 for what is not here.
    """

    own: Table
    here: NDArray[np.bool_]
    places: torch.Tensor

    def __len__(self) -> int:
        """Return the number of rows of all processes."""
        return len(self.here)

    def read(self, rows: torch.Tensor, out: torch.Tensor) -> None:
        """Write rows that are here, by their index in the whole table."""
        self.own.read(self.places[rows], out)

    def add_up(self, values: torch.Tensor) -> None:
        """Replace values by their sum over the processes, the same bits in each."""
        with translate_lost_peer():
            dist.all_reduce(values)

    def check_orders(self, orders: list[Indices]) -> None:
        """Refuse orders that are others in another process."""
        own = zlib.crc32(np.concatenate(orders).data)
        ends = torch.tensor([own, -own], device=self.features.device)
        with translate_lost_peer():
            dist.all_reduce(ends, dist.ReduceOp.MAX)
        if ends.sum():
            raise ValueError(
                "The processes have planned different epochs. A strategy or schedule "
                "of your own must do the same in each: draw from epoch.rng, and use "
                "nothing that differs between them."
            )

    def per_row(
        self, compute: Callable[[list[Indices]], list[Floats]], rows: list[Indices]
    ) -> list[Floats]:
        """Let each process compute for the rows that it holds; return all of it."""
        ends = np.cumsum([0, *map(len, rows)])
        if not ends[-1]:
            return compute(rows)
        own = [np.flatnonzero(self.here[asked]) for asked in rows]
        computed = compute([asked[mine] for asked, mine in zip(rows, own, strict=True)])
        features = self.features
        # Adding zeros changes no bit, so that ties are the ties of one process.
        shape = ends[-1], *computed[0].shape[1:]
        together = np.zeros(shape, numpy_dtype(features.dtype))
        for start, mine, part in zip(ends[:-1], own, computed, strict=True):
            together[start + mine] = part
        sums = torch.from_numpy(together).to(features.device)
        self.add_up(sums)
        return np.split(sums.cpu().numpy(), ends[1:-1])


def make_sharded_table(
    pieces: list[ShardedRows], targets: list[Floats], own: Table
) -> ShardedTable:
    """Make a table of pieces; `own` has the rows of each that this process holds."""
    n_rows = sum(map(len, pieces))
    here = np.zeros(n_rows, dtype=bool)
    start = 0
    for piece in pieces:
        first = start + piece.start
        here[first : first + len(piece.own)] = True
        start += len(piece)
    places = np.where(here, here.cumsum() - 1, 0)
    features = own.features
    y = torch.from_numpy(np.concatenate(targets)).to(features.device, features.dtype)
    return ShardedTable(features, y, own, here, torch.from_numpy(places).to(y.device))
