"""What the networks of a stack settle for an epoch: orders, masks, weights, rates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skrebatch._engine.nn.architecture import Architecture
from skrebatch._engine.nn.dropout import draw_masks
from skrebatch._engine.nn.step import Step
from skrebatch._engine.tables.table import Table
from skrebatch._engine.training.epoch_plan import EpochPlan, Segment
from skrebatch._engine.training.members import Member, ScheduledGroup
from skrebatch._utils.typing import Floats, Indices
from skrebatch.strategies._planning import weigh

NO_ROWS: Indices = np.empty(0, dtype=np.intp)


def plan_orders(members: list[Member], losses: list[Floats]) -> list[Indices]:
    """Let every member plan the epoch by its losses, or its team's."""
    orders = [NO_ROWS] * len(members)
    leaders: dict[int, Member] = {}
    for k, member in enumerate(members):
        if member.done:
            continue
        try:
            if member.team in leaders:
                leader = leaders[member.team]
                if leader.error is not None:
                    raise leader.error
                member.selection.begin_epoch_like(leader.selection)
            elif member.team is not None:
                leaders[member.team] = member
                team = [i for i, m in enumerate(members) if m.team == member.team]
                own = [losses[i] for i in team if members[i].needs_losses]
                mean = np.mean(own, axis=0) if own else losses[k]
                member.begin_epoch(mean)
            else:
                member.begin_epoch(losses[k])
            orders[k] = member.draw_order()
        except Exception as error:  # of a strategy or a schedule of the user's
            member.fail(error)
    return orders


def draw_mask_rngs(members: list[Member]) -> list[np.random.Generator]:
    """Make generators for an epoch's dropout masks, one for each network.

    Masks and noise are drawn some steps at a time, in a stack others than alone:
    from one generator they would change each other.
    """
    return [
        np.random.default_rng(0 if m.done else m.selection.rng.integers(2**63))
        for m in members
    ]


def iter_step_state(
    step: Step,
    sizes: Architecture,
    segment: Segment,
    plan: EpochPlan,
    rngs: list[np.random.Generator],
) -> Iterator[None]:
    """Tell batch norm and dropout, before each step of a segment, of its rows."""
    counts = plan.counts[: segment.n_networks, segment.steps]
    n_steps = counts.shape[1]
    masks: Iterator[torch.Tensor | None] = itertools.repeat(None, n_steps)
    if sizes.dropout:
        own_rngs = rngs[: segment.n_networks]
        width = sum(sizes.hidden_sizes)
        masks = draw_masks(own_rngs, counts, segment.n_rows, width, sizes.dropout)
    changes = (counts[:, 1:] != counts[:, :-1]).any(axis=0)
    is_new = sizes.batch_norm & np.append(True, changes)
    for own, new, keep in zip(counts.T, is_new.tolist(), masks, strict=True):
        if new:
            step.count_rows(torch.from_numpy(own))
        if keep is not None:
            step.drop(keep)
        yield


def scheduled_by_step(
    scheduled: list[ScheduledGroup], members: list[Member], plan: EpochPlan
) -> list[tuple[ScheduledGroup, int]]:
    """Return what moves with every step, and the steps that its networks take."""
    scheduled = [each for each in scheduled if each.schedule.by_batch]
    if not scheduled:
        return []
    steps = {
        id(member): int(np.count_nonzero(counts))
        for member, counts in zip(members, plan.counts, strict=True)
    }
    return [
        (each, max(steps.get(id(member), 0) for member in each.members))
        for each in scheduled
    ]


def weigh_batch(
    members: list[Member],
    table: Table,
    plan: EpochPlan,
    t: int,
    losses: torch.Tensor,
    scales: torch.Tensor,
) -> None:
    """Let strategies weigh the batch of a step: multiply `scales` (K, b) in place.

    Where other processes hold some of its rows, by the losses of all.
    """
    counts = plan.counts[:, t]
    if plan.places is None:
        _weigh(members, losses, scales, counts)
        return
    K, b = losses.shape
    places = torch.from_numpy(plan.places[t, :K, :b]).to(losses.device)
    # The last column is for what only fills a batch.
    whole = losses.new_zeros(K, plan.batch_size + 1)
    whole.scatter_(1, places, losses)
    table.add_up(whole)
    factors = torch.ones_like(whole)
    _weigh(members, whole, factors, counts)
    scales.mul_(factors.gather(1, places))


def _weigh(
    members: list[Member],
    losses: torch.Tensor,
    scales: torch.Tensor,
    counts: NDArray[np.intp],
) -> None:
    """Let strategies weigh a batch: multiply `scales` (K, b) in place."""
    alike: dict[tuple[Any, int], list[int]] = {}
    for k, member in enumerate(members[: len(losses)]):
        if counts[k] and member.selection.weighs and not member.done:
            key = member.selection.strategy_key, int(counts[k])
            alike.setdefault(key, []).append(k)
    for (_, count), ks in alike.items():
        strategy = members[ks[0]].selection.strategy
        rows = slice(ks[0], ks[-1] + 1) if len(ks) == ks[-1] + 1 - ks[0] else ks
        own = losses[rows, :count]
        try:
            scales[rows, :count] *= weigh(strategy, own)
        except Exception as error:  # of a strategy of the user's
            for k in ks:
                members[k].fail(error)
