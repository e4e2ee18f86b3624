"""Losses and predictions of given rows, for all networks of a stack."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from skrebatch._engine.nn.losses import Loss
from skrebatch._engine.nn.short_rows import ShortStep
from skrebatch._engine.nn.stack import CNNStack
from skrebatch._engine.nn.step import Step
from skrebatch._engine.tables.table import Table
from skrebatch._engine.training.members import Member
from skrebatch._utils.typing import Floats, Indices

# Maps a loss, outputs and targets (K, n, O) to values (K, n, ...).
RowValue = Callable[[Loss, torch.Tensor, torch.Tensor], torch.Tensor]

# Number of activations that fit into the cache of a core.
_CACHED_VALUES = 200_000


def evaluate(
    stack: CNNStack,
    loss: Loss,
    members: list[Member],
    table: Table,
    rows: list[Indices],
    value: RowValue,
) -> list[Floats]:
    """Compute values of given rows for each network, in evaluation mode.

    Parameters
    ----------
    stack : CNNStack
    loss : Loss
    members : list of K Member
        The members whose networks are in the stack.
    table : Table
    rows : list of K ndarrays of int
        The rows of each network.
    value : callable
        Maps a loss, outputs and targets (K, n, O) to values (K, n, ...).

    Returns
    -------
    values : list of K ndarrays, shape (n_k, ...)
    """
    return table.per_row(partial(_evaluate, stack, loss, members, table, value), rows)


def _evaluate(
    stack: CNNStack,
    loss: Loss,
    members: list[Member],
    table: Table,
    value: RowValue,
    rows: list[Indices],
) -> list[Floats]:
    """Compute values of rows that this process holds."""
    K, n = len(rows), max(map(len, rows))
    padded = np.zeros((K, n), dtype=np.intp)
    for k, (member_rows, member) in enumerate(zip(rows, members, strict=True)):
        padded[k] = member.start + member.rows[0]
        padded[k, : len(member_rows)] = member.start + member_rows
    index = torch.from_numpy(padded).to(table.features.device)
    shifts = torch.from_numpy(np.array([[m.shift] for m in members])).to(index.device)
    by_length = None
    if stack.architecture.variable_length:
        # Sort by length, so that few chunks are as wide as the longest row.
        by_length = table.features[index, -1].amax(0).argsort(stable=True)
        index = index[:, by_length]
    values = []
    chunk = min(n, max(64, _CACHED_VALUES // (K * stack.architecture.width)))
    for part in index.split(chunk, dim=1) if n else []:
        step: Step | ShortStep
        if by_length is None:
            step = stack.step(K, part.shape[1], forward_only=True)
        else:
            longest = int(table.features[part, -1].max())
            step = stack.short_step(K, part.shape[1], longest, forward_only=True)
        table.read(part.reshape(-1), step.rows)
        values.append(value(loss, step.forward(), table.targets[part + shifts]))
    if not values:
        empty = table.targets[:0].expand(K, 0, -1)
        values = [value(loss, empty, empty)]
    together = torch.cat(values, dim=1).cpu().numpy()
    if by_length is not None:
        together = together[:, by_length.argsort().cpu().numpy()]
    return [kept[: len(r)] for kept, r in zip(together, rows, strict=True)]


def loss_alone(
    loss: Loss, outputs: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Return the losses (K, n)."""
    return loss.per_sample(outputs, targets)


def loss_and_prediction(
    loss: Loss, outputs: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Return the losses and the predictions (K, n, 1 + O)."""
    losses = loss.per_sample(outputs, targets).unsqueeze(-1)
    return torch.cat([losses, loss.link(outputs)], dim=-1)


def prediction_alone(
    loss: Loss, outputs: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Return the predictions (K, n, O)."""
    return loss.link(outputs).clone()  # the next chunk overwrites the outputs
