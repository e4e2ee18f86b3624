"""The loop over the batches of an epoch: forward, loss, backward, optimizer step."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skrebatch._engine.nn.architecture import Architecture
from skrebatch._engine.nn.dropout import draw_masks
from skrebatch._engine.nn.losses import Loss
from skrebatch._engine.nn.stack import CNNStack
from skrebatch._engine.nn.step import Step
from skrebatch._engine.optim.optimizers import is_builtin
from skrebatch._engine.tables.table import Table
from skrebatch._engine.training.epoch_plan import EpochPlan, Segment, draw_noise
from skrebatch._engine.training.members import Member, ScheduledGroup
from skrebatch.strategies._planning import batch_weights_of


class BatchLoop:
    """The training steps of one epoch, for all networks of a stack together.

    Parameters
    ----------
    module : CNNStack
    loss : Loss
    optimizer : torch.optim.Optimizer
    members : list of K Member
        The networks to train.
    table : Table
    plan : EpochPlan
    scheduled : list of ScheduledGroup
        Groups of networks with a learning-rate schedule.
    notify : callable or None
        Notifies the callbacks; None if no callback uses batches.
    """

    def __init__(
        self,
        module: CNNStack,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        members: list[Member],
        table: Table,
        plan: EpochPlan,
        scheduled: list[ScheduledGroup],
        notify: Callable[..., None] | None,
    ):
        self.module, self.loss = module, loss
        self.members, self.table, self.plan = members, table, plan
        self.notify = notify
        device, dtype = table.features.device, table.features.dtype
        self.rows = torch.from_numpy(plan.rows).to(device)  # (T, K, b)
        shifts = torch.from_numpy(plan.shifts).to(device)
        self.targets = table.targets[self.rows + shifts]  # (T, K, b, O)
        self.outputs = torch.zeros_like(self.targets)  # (T, K, b, O)
        self.scales = torch.from_numpy(plan.scale).to(device, dtype)  # (T, K, b)
        self.slope = loss.slope(self.targets.shape[-1])
        self.slopes = (self.scales * self.slope).unsqueeze(-1)  # (T, K, b, 1)
        self.weights_batches = any(
            member.selection.weights_batches for member in members
        )
        self.may_skip = any(member.may_skip for member in members)
        dropout = module.architecture.dropout
        self.mask_rngs = draw_mask_rngs(members) if dropout else []
        self.noise = draw_noise(plan, members, table)
        self.scheduled = scheduled_by_step(scheduled, members, plan)
        self.update = _find_update(optimizer, announced=notify is not None)

    @torch.no_grad()
    def run(self) -> NDArray[np.float64]:
        """Run all steps of the epoch; return the losses of the batches (T, K)."""
        for segment in self.plan.segments:
            self.module.activate(segment.active)
            self._run_segment(segment)
        losses = self.loss.per_sample(self.outputs, self.targets) * self.scales
        sums = losses.sum(-1)
        self.table.add_up(sums)
        return sums.double().cpu().numpy()

    def _run_segment(self, segment: Segment) -> None:
        part = (segment.steps, slice(segment.n_networks), slice(segment.n_rows))
        rows = self.rows[part].flatten(1)  # (T', K' * b')
        batches = zip(
            range(segment.steps.start, segment.steps.stop),
            rows,
            self.targets[part],
            self.slopes[part],
            self.outputs[part],
            self._iter_steps(segment, rows),
            strict=True,
        )
        for t, batch_rows, targets, slopes, outputs, step in batches:
            if self.notify:
                self.notify(
                    "on_batch_begin", batch=(batch_rows, targets), training=True
                )
            self._read_rows(segment, batch_rows, step)
            outputs.copy_(step.forward())
            if self.weights_batches:
                self._weight_batch(segment, t, outputs, targets, slopes)
            torch.sub(self.loss.link(outputs), targets, out=step.d_outputs).mul_(slopes)
            step.backward()
            self._update(segment, t, (batch_rows, targets))
            if self.notify:
                self._announce_end((batch_rows, targets), outputs)

    def _iter_steps(self, segment: Segment, rows: torch.Tensor) -> Iterator[Any]:
        """Return the step for each batch of a segment, prepared for the batch."""
        module, shape = self.module, (segment.n_networks, segment.n_rows)
        if module.architecture.variable_length:
            ends = self.table.features[:, -1]
            return (module.short_step(*shape, int(ends[b].max())) for b in rows)
        step = module.step(*shape)
        if module.architecture.batch_norm or module.architecture.dropout:
            states = iter_step_state(
                step, module.architecture, segment, self.plan, self.mask_rngs
            )
            return (step for _ in states)
        return itertools.repeat(step, len(rows))

    def _read_rows(self, segment: Segment, rows: torch.Tensor, step: Any) -> None:
        """Copy the features of a batch; add noise to augmented copies."""
        self.table.read(rows, step.rows)
        if self.plan.copies is not None:
            noise = next(self.noise)[: segment.n_networks, : segment.n_rows]
            step.rows[:, :-2].add_(noise.flatten(0, 1))

    def _weight_batch(
        self,
        segment: Segment,
        t: int,
        outputs: torch.Tensor,
        targets: torch.Tensor,
        slopes: torch.Tensor,
    ) -> None:
        """Multiply the scales of a batch by the weights from the strategies."""
        scales = self.scales[t, : segment.n_networks, : segment.n_rows]
        losses = self.loss.per_sample(outputs, targets)
        weight_batch(self.members, self.table, self.plan, t, losses, scales)
        torch.mul(scales.unsqueeze(-1), self.slope, out=slopes)

    def _update(self, segment: Segment, t: int, batch: Any) -> None:
        """Update the parameters, and the learning rates that change with each step."""
        self.table.add_up(self.module.grad)
        if self.may_skip:
            self.module.skip_overflows(segment.active)
        if self.notify:
            self.notify(
                "on_grad_computed",
                named_parameters=list(self.module.named_parameters()),
                batch=batch,
                training=True,
            )
        self.update()
        for scheduled, n_steps in self.scheduled:
            if t < n_steps:
                scheduled.end_step(t + 1, n_steps)

    def _announce_end(self, batch: Any, outputs: torch.Tensor) -> None:
        assert self.notify is not None
        loss = self.loss(outputs, batch[1])
        self.notify(
            "on_batch_end", batch=batch, training=True, loss=loss, y_pred=outputs
        )


def _find_update(
    optimizer: torch.optim.Optimizer, announced: bool
) -> Callable[[], Any]:
    """Return the function for an optimizer step.

    For tiny networks the wrappers of the step (profiler, hooks, autograd) cost more
    time than the step itself, so the function is called without them. A scheduler of
    torch replaces the method `step` to notice steps. Then the replacement is called.
    """
    is_replaced = "step" in vars(optimizer)
    if announced or is_replaced or not is_builtin(type(optimizer)):
        return optimizer.step
    return partial(inspect.unwrap(type(optimizer).step), optimizer)


def draw_mask_rngs(members: list[Member]) -> list[np.random.Generator]:
    """Create a generator for the dropout masks of an epoch, one per network.

    Masks and noise are drawn for several steps at once. The number of steps depends on
    the stack, so drawing both from one generator would make them depend on it too.
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
    """Set the row counts and dropout masks of each step of a segment, then yield."""
    counts = plan.counts[: segment.n_networks, segment.steps]
    n_steps = counts.shape[1]
    masks: Iterator[torch.Tensor | None] = itertools.repeat(None, n_steps)
    if sizes.dropout:
        active_rngs = rngs[: segment.n_networks]
        width = sum(sizes.hidden_sizes)
        masks = draw_masks(active_rngs, counts, segment.n_rows, width, sizes.dropout)
    changes = (counts[:, 1:] != counts[:, :-1]).any(axis=0)
    is_new = sizes.batch_norm & np.append(True, changes)
    for n_rows, new, keep in zip(counts.T, is_new.tolist(), masks, strict=True):
        if new:
            step.count_rows(torch.from_numpy(n_rows))
        if keep is not None:
            step.drop(keep)
        yield


def scheduled_by_step(
    scheduled: list[ScheduledGroup], members: list[Member], plan: EpochPlan
) -> list[tuple[ScheduledGroup, int]]:
    """Return groups whose schedules update every step, with their numbers of steps."""
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


def weight_batch(
    members: list[Member],
    table: Table,
    plan: EpochPlan,
    t: int,
    losses: torch.Tensor,
    scales: torch.Tensor,
) -> None:
    """Multiply the scales (K, b) of a batch by the weights from the strategies.

    Strategies receive the losses of all rows of a batch, also where other processes
    hold some of them.
    """
    counts = plan.counts[:, t]
    if plan.places is None:
        _weight_losses(members, losses, scales, counts)
        return
    K, b = losses.shape
    places = torch.from_numpy(plan.places[t, :K, :b]).to(losses.device)
    # The last column is for padding.
    whole = losses.new_zeros(K, plan.batch_size + 1)
    whole.scatter_(1, places, losses)
    table.add_up(whole)
    factors = torch.ones_like(whole)
    _weight_losses(members, whole, factors, counts)
    scales.mul_(factors.gather(1, places))


def _weight_losses(
    members: list[Member],
    losses: torch.Tensor,
    scales: torch.Tensor,
    counts: NDArray[np.intp],
) -> None:
    """Multiply the scales (K, b) by the weights for the given losses (K, b)."""
    same: dict[tuple[Any, int], list[int]] = {}  # equal strategy and batch size
    for k, member in enumerate(members[: len(losses)]):
        if counts[k] and member.selection.weights_batches and not member.done:
            key = member.selection.weighting_key, int(counts[k])
            same.setdefault(key, []).append(k)
    for (_, count), ks in same.items():
        strategy = members[ks[0]].selection.strategy
        rows = slice(ks[0], ks[-1] + 1) if len(ks) == ks[-1] + 1 - ks[0] else ks
        try:
            scales[rows, :count] *= batch_weights_of(strategy, losses[rows, :count])
        except Exception as error:  # from a user-defined strategy
            for k in ks:
                members[k].fail(error)
        for k in ks:
            members[k].selection.has_weighted = True
