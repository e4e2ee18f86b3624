"""The common table of several jobs, and the batches of an epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skrebatch._engine.tables.memmapped import MappedRows, make_mapped_table
from skrebatch._engine.tables.sharded import (
    ShardedRows,
    ShardedTable,
    make_sharded_table,
)
from skrebatch._engine.tables.table import Table, make_table
from skrebatch._engine.training.members import Job, Member
from skrebatch._utils.dtypes import numpy_dtype
from skrebatch._utils.typing import Floats, Indices

NO_ROWS: Indices = np.empty(0, dtype=np.intp)

# Number of noise values that are drawn at once.
_NOISE_NUMBERS = 1_000_000


def stack_table(jobs: list[Job]) -> Table:
    """Create one table for all jobs; data shared by several jobs is stored once."""
    features: dict[tuple[int, ...], tuple[int, list[Any]]] = {}
    targets: dict[tuple[int, ...], tuple[int, list[Floats]]] = {}

    def place(pieces: list[Any], placed: dict[Any, tuple[int, list[Any]]]) -> int:
        end = sum(len(p) for _, others in placed.values() for p in others)
        return placed.setdefault(tuple(map(id, pieces)), (end, pieces))[0]

    for job in jobs:
        start = place(job.X, features)
        shift = place(job.targets, targets) - start
        for member in job.members:
            member.start, member.shift = start, shift
            member.shared = isinstance(job.X[0], ShardedRows)
    X = [piece for _, pieces in features.values() for piece in pieces]
    y = [piece for _, pieces in targets.values() for piece in pieces]
    if isinstance(X[0], ShardedRows):
        local = _make_table([piece.local for piece in X], [y[0][:0]], jobs[0])
        return make_sharded_table(X, y, local)
    return _make_table(X, y, jobs[0])


def _make_table(X: list[Any], y: list[Floats], like: Job) -> Table:
    """Create a table from pieces, some of which may stay in their files."""
    if any(isinstance(piece, MappedRows) for piece in X):
        return make_mapped_table(X, y, like.dtype, like.device)
    return make_table(X, y, like.dtype, like.device, like.architecture.variable_length)


def plan_orders(members: list[Member], losses: list[Floats]) -> list[Indices]:
    """Plan the epoch of each member by its losses or the mean losses of its team."""
    orders = [NO_ROWS] * len(members)
    leaders: dict[int, Member] = {}
    for k, member in enumerate(members):
        if member.done:
            continue
        try:
            if member.team_rows is not None:
                team = [i for i, m in enumerate(members) if m.team == member.team]
                known = [losses[i] for i in team if len(losses[i])]
                mean = np.mean(known, axis=0)[member.rows] if known else losses[k]
                member.begin_epoch(mean)
            elif member.team in leaders:
                leader = leaders[member.team]
                if leader.error is not None:
                    raise leader.error
                member.selection.begin_epoch_like(leader.selection)
            elif member.team is not None:
                leaders[member.team] = member
                team = [i for i, m in enumerate(members) if m.team == member.team]
                known = [losses[i] for i in team if members[i].needs_losses]
                mean = np.mean(known, axis=0) if known else losses[k]
                member.begin_epoch(mean)
            else:
                member.begin_epoch(losses[k])
            orders[k] = member.draw_order()
        except Exception as error:  # from a user-defined strategy or schedule
            member.fail(error)
    return orders


@dataclass(frozen=True)
class Segment:
    """Consecutive steps of an epoch with equal numbers of networks and rows."""

    steps: slice
    n_networks: int
    n_rows: int
    active: tuple[bool, ...]  # one per member


class EpochPlan:
    """The batches of an epoch: the rows of each network at each step.

    Attributes
    ----------
    rows : ndarray of int, shape (T, K, b)
        Indices into the features of the table; shorter batches are padded.
    shifts : ndarray of int, shape (K, 1)
        Target index minus feature index.
    scale : ndarray of shape (T, K, b)
        Weight of each row divided by the batch size; 0 for padding.
    counts : ndarray of int, shape (K, T)
        Number of rows of each network at each step.
    segments : list of Segment
    copies : ndarray of bool, shape (T, K, b), or None
        Which rows are augmented copies, to which noise is added.
    places : ndarray of int, shape (T, K, b'), or None
        For rows of this process only: positions in the whole batch; b for padding.
    """

    def __init__(self, members: list[Member], orders: list[Indices]):
        K = len(members)
        augments = any(member.n_augments for member in members)
        if augments:
            augmented = [
                member.with_copies(order)
                for member, order in zip(members, orders, strict=True)
            ]
            orders = [entries for entries, _ in augmented]
        size = np.array([m.batch_size for m in members])
        n = np.array([len(order) for order in orders])
        T, b = max(-(-n // size), default=0), int(min(size.max(), n.max(initial=0)))
        self.counts, self.segments = _lay_out(tuple(size), tuple(n))
        counts = members[0].counts if K == 1 else None
        if counts is not None and len(orders[0]):
            T, b = len(counts), int(counts.max())
            self.counts, self.segments = counts[None], _cut(counts[None])
        self.rows = np.zeros((T, K, b), dtype=np.intp)
        self.shifts = np.array([m.shift for m in members])[:, None]
        self.scale = np.zeros((T, K, b))
        self.copies = np.zeros((T, K, b), dtype=bool) if augments else None
        for k, (member, order) in enumerate(zip(members, orders, strict=True)):
            if not len(order):
                continue
            width = min(int(size[k]), b)
            steps = -(-len(order) // width)
            weights = member.weights_of(order)
            scale = np.ones(len(order)) if weights is None else weights
            rows = member.start + member.rows[order]
            # Rows of other networks could give infinite losses, and 0 * inf is NaN.
            self.rows[:, k] = rows[0]
            if counts is not None:
                inside = np.arange(b) < counts[:, None]  # (T, b)
                self.rows[:, k][inside], self.scale[:, k][inside] = rows, scale
                continue
            self.rows[:steps, k, :width] = _fill(rows, (steps, width), rows[0])
            self.scale[:steps, k, :width] = _fill(scale, (steps, width))
            if self.copies is not None:
                self.copies[:steps, k, :width] = _fill(augmented[k][1], (steps, width))
        self.scale /= np.maximum(self.counts, 1).T[:, :, None]
        self.places: Indices | None = None
        self.batch_size = b

    def keep_local(self, is_local: NDArray[np.bool_]) -> None:
        """Remove the rows that other processes hold.

        Parameters
        ----------
        is_local : ndarray of bool, shape (n_rows,)
            Which rows of the table this process holds.
        """
        b = self.rows.shape[-1]
        inside = np.arange(b) < self.counts.T[:, :, None]
        kept = is_local[self.rows] & inside  # (T, K, b)
        width = max(1, kept.sum(axis=-1).max(initial=0))
        # The rows that are kept come first, in unchanged order.
        places = (~kept).argsort(axis=-1, kind="stable")[..., :width]
        kept, rows, scale = (
            np.take_along_axis(values, places, axis=-1)
            for values in (kept, self.rows, self.scale)
        )
        self.places = np.where(kept, places, b)
        padding = rows[kept] if kept.any() else np.flatnonzero(is_local)
        self.rows, self.scale = np.where(kept, rows, padding[0]), scale * kept
        n_rows = kept.sum(axis=-1).max(axis=-1, initial=1)  # (T,)
        self.segments = [
            replace(segment, n_rows=int(n_rows[segment.steps].max()))
            for segment in self.segments
        ]


def plan_epoch(members: list[Member], orders: list[Indices], table: Table) -> EpochPlan:
    """Plan the batches of an epoch, restricted to the rows of this process."""
    plan = EpochPlan(members, orders)
    if isinstance(table, ShardedTable):
        table.check_orders(orders)
        plan.keep_local(table.is_local)
    return plan


def draw_noise(
    plan: EpochPlan, members: list[Member], table: Table
) -> Iterator[torch.Tensor]:
    """Yield the noise to add to the features at each step, (K, b, F).

    It is drawn for a limited number of steps at once: the noise of a whole epoch may
    be larger than the table.
    """
    if plan.copies is None:
        return
    n_features = table.features.shape[1] - 2
    T, K, b = plan.copies.shape
    n_steps = max(1, _NOISE_NUMBERS // (K * b * n_features))
    dtype = numpy_dtype(table.features.dtype)
    for start in range(0, T, n_steps):
        copies = plan.copies[start : start + n_steps]
        noise = np.zeros((*copies.shape, n_features), dtype)
        for k, member in enumerate(members):
            is_copy = copies[:, k]  # (T', b)
            if member.noise_std and is_copy.any():
                shape = np.count_nonzero(is_copy), n_features
                drawn = member.selection.rng.standard_normal(shape, dtype)
                noise[:, k][is_copy] = drawn * dtype.type(member.noise_std)
        yield from torch.from_numpy(noise).to(table.features.device)


@lru_cache(maxsize=256)
def _lay_out(
    sizes: tuple[int, ...], lengths: tuple[int, ...]
) -> tuple[NDArray[np.intp], list[Segment]]:
    """Return the counts (K, T) and segments for batch sizes and order lengths (K,).

    The result is cached because most epochs of a fit have the same layout.
    """
    size, n = np.array(sizes)[:, None], np.array(lengths)[:, None]
    counts = np.clip(n - size * np.arange((-(-n // size)).max()), 0, size)
    return counts, _cut(counts)


def _cut(counts: NDArray[np.intp]) -> list[Segment]:
    """Split an epoch into segments, given the counts (K, T)."""
    active, rows = counts > 0, counts.max(axis=0, initial=0)
    changes = (active[:, 1:] != active[:, :-1]).any(axis=0) | (rows[1:] != rows[:-1])
    bounds = [0, *np.flatnonzero(changes) + 1, len(rows)]
    segments = []
    for start, stop in itertools.pairwise(bounds):
        if start < stop:
            is_active = active[:, start].tolist()
            n_networks = int(np.flatnonzero(is_active)[-1]) + 1
            steps = slice(start, stop)
            segments.append(
                Segment(steps, n_networks, int(rows[start]), tuple(is_active))
            )
    return segments


def _fill(
    values: NDArray[Any], shape: tuple[int, int], padding: float = 0
) -> NDArray[Any]:
    """Reshape values (n,) to rows; pad the last row."""
    filled = np.full(shape, padding, dtype=values.dtype)
    filled.reshape(-1)[: len(values)] = values
    return filled
