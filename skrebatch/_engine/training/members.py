"""Members: the networks of a stack with their data. Jobs: the fits to train."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.history import History

from skrebatch._engine.nn.architecture import Architecture
from skrebatch._engine.nn.losses import Loss
from skrebatch._engine.nn.tabular_cnn import TabularCNN
from skrebatch._engine.optim.lr_schedules import LRSchedule
from skrebatch._engine.optim.optimizers import optimizer_options
from skrebatch._engine.tables.memmapped import MappedRows
from skrebatch._engine.tables.sharded import ShardedRows
from skrebatch._engine.training.early_stopping import EarlyStopping
from skrebatch._utils.typing import Floats, Indices
from skrebatch.exceptions import DivergedError
from skrebatch.sampling._by_length import choose_stretch, group_by_length
from skrebatch.sampling._loss_log import LossLog
from skrebatch.sampling._selector import Selection


@dataclass
class Member:
    """One network of a stack: its training rows, settings and progress."""

    network: TabularCNN | None  # None: initialised from the seed
    rows: Indices  # (N,), indices of its training rows
    selection: Selection
    batch_size: int
    max_epochs: int
    lr: float = 1e-3
    weight_decay: float = 0.0
    optimizer_params: dict[str, Any] = field(default_factory=dict)
    input_clip: float | None = None
    lr_schedule: LRSchedule | None = None  # None: constant learning rate
    n_augments: int = 0  # number of noisy copies of each entry of an order
    noise_std: float = 0.0
    weights: Floats | None = None  # (N,), with mean 1
    valid_rows: Indices | None = None
    valid_weights: Floats | None = None  # of the validation rows, with mean 1
    early_stopping: EarlyStopping | None = None  # shared by the members of a job
    seed: int = 0
    constants: Floats | None = None  # (O,), outputs to start at; NaN if drawn
    may_skip: bool = False  # whether steps with overflowed gradients are skipped
    team: int | None = None  # members of a team choose by the mean of their losses
    log: LossLog | None = None  # losses of all rows of its job
    latest: Floats | None = None  # (N,), losses after the last epoch, if computed
    lengths: Indices | None = None  # (N,), if batches are limited by max_elements
    max_elements: int = 0

    start: int = 0  # index of its first row in the features of the table
    shift: int = 0  # target index minus feature index of a row
    shared: bool = False  # whether other processes train the same network
    counts: Indices | None = None  # number of rows of each batch, if they vary
    history: History = field(default_factory=History)
    epochs: int = 0
    done: bool = False
    error: Exception | None = None
    curves: dict[str, list[float]] = field(
        default_factory=lambda: {"train_loss": [], "valid_loss": []}
    )
    losses: Floats | None = None  # of all rows of its job, after training
    held_out: Floats | None = None  # (n_valid, O), predictions after training
    team_rows: Indices | None = None  # rows of the whole team, if members differ
    _best_times_chosen: Indices | None = None  # log.times_chosen after best epoch
    _best: torch.Tensor | None = None  # (n_parameters + n_running,)
    final: torch.Tensor | None = None  # (n_parameters + n_running,)

    def __post_init__(self) -> None:
        """Keep the number of epochs of earlier fits, which the log counts as well."""
        self._earlier_epochs = self.selection.epoch

    @property
    def steps_alone(self) -> bool:
        """Whether the network can't share optimizer steps with any other."""
        return (
            self.selection.entries is None
            or self.may_skip
            or (self.lr_schedule is not None and self.lr_schedule.steps_alone)
        )

    @property
    def step_group_key(self) -> tuple[Any, ...]:
        """Key that is equal for networks that take optimizer steps together."""
        n = len(self.rows)
        entries = self.selection.entries
        later, first = (
            -(-size * (1 + self.n_augments) // self.batch_size)
            for size in (n if entries is None else entries, n)
        )
        return (
            -later,
            -first,
            self.steps_alone,
            0 if later == first else self.selection.warmup_epochs,
            self.max_epochs,
            self.lr,
            self.weight_decay,
            repr(sorted(self.optimizer_params.items())),
            "" if self.lr_schedule is None else self.lr_schedule.key,
        )

    def options_for(self, optimizer: type[torch.optim.Optimizer]) -> dict[str, Any]:
        """Return the options of an optimizer for this network."""
        return optimizer_options(
            optimizer, self.lr, self.weight_decay, self.optimizer_params
        )

    def validation_loss(self, losses: Floats) -> float:
        """Return the weighted mean of the losses of the validation rows."""
        if self.valid_weights is not None:
            losses = losses * self.valid_weights.astype(losses.dtype)
        return float(losses.mean())

    @property
    def needs_losses(self) -> bool:
        """Whether the plan of the next epoch depends on the current losses."""
        return self.selection.needs_losses and not self.done

    def begin_epoch(self, losses: Floats) -> None:
        """Plan the next epoch from the current losses of the training rows."""
        if self.needs_losses and not np.isfinite(losses).all():
            raise DivergedError.at(self.epochs + 1, "before its first batch")
        self.selection.begin_epoch(losses)

    def draw_order(self) -> Indices:
        """Draw the order of the planned epoch; group it by length if required."""
        order = self.selection.sampler.order()
        if self.lengths is None:
            return order
        stretch = choose_stretch(self.lengths, self.max_elements)
        batches = group_by_length(
            order, self.lengths, self.max_elements, stretch, self.selection.rng
        )
        self.counts = np.array([len(batch) for batch in batches])
        return np.concatenate(batches)

    def weights_of(self, order: Indices) -> Floats | None:
        """Return the weight of each entry of an order; None if all are 1."""
        weights, planned = self.weights, self.selection.weights
        if planned is not None:
            weights = planned if weights is None else weights * planned
        return None if weights is None else weights[order]

    def with_copies(self, order: Indices) -> tuple[Indices, NDArray[np.bool_]]:
        """Insert batches of copies after each batch; return entries and a copy mask."""
        b, times = self.batch_size, 1 + self.n_augments
        full = len(order) - len(order) % b
        batches, rest = order[:full].reshape(-1, b), order[full:]
        entries = np.concatenate(
            [np.tile(batches, times).ravel(), np.tile(rest, times)]
        )
        are_copies = np.concatenate(
            [
                np.tile(np.arange(b * times) >= b, len(batches)),
                np.arange(len(rest) * times) >= len(rest),
            ]
        )
        return entries, are_copies

    def record(self, name: str, loss: float) -> None:
        """Record a loss, and whether it is the best so far."""
        curve = self.curves[name]
        is_best = loss < min(curve, default=np.inf)
        curve.append(loss)
        self.history.record(name, loss)
        self.history.record(f"{name}_best", is_best)

    def end_epoch(self, state: torch.Tensor, is_best: bool) -> None:
        """Count the epoch; store the state if it is the best; stop if finished."""
        self.epochs += 1
        if is_best:
            self._best = state.clone()
            if self.log is not None:
                self._best_times_chosen = self.log.times_chosen.copy()
        stopped = self.early_stopping is not None and self.early_stopping.is_over
        if stopped or self.epochs >= self.max_epochs:
            self.finish(state)

    def finish(self, state: torch.Tensor) -> None:
        """Set the final state: the best state with early stopping, else `state`."""
        self.done = True
        self.final = (
            state if self.restorable_state is None else self.restorable_state
        ).clone()
        stopping = self.early_stopping
        if stopping is None or stopping.n_networks == 1 or not stopping.best_epoch:
            return
        for curve in (self.history, *self.curves.values()):
            del curve[stopping.best_epoch :]
        if self.log is not None and self._best_times_chosen is not None:
            last = self._earlier_epochs + stopping.best_epoch
            self.log.rewind(last, self._best_times_chosen)

    @property
    def restorable_state(self) -> torch.Tensor | None:
        """The final or best state; None if training would end with the current one."""
        return self._best if self.final is None else self.final

    def state_dict(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Return the progress as a dict of plain values, and tensors by name."""
        log = None
        if self.log is not None:
            log = self.log.state_dict()
            # Losses may be NaN, which arrays in files can't contain.
            log["losses"] = log["losses"].view(np.uint32)
        parts = {
            "epochs": self.epochs,
            "done": self.done,
            "early_stopping": self.early_stopping and self.early_stopping.state_dict(),
            "best_times_chosen": self._best_times_chosen,
            "curves": self.curves,
            "history": self.history,
            "latest": self.latest,
            "log": log,
            "selection": self.selection.state_dict(),
        }
        states = {"best": self._best, "final": self.final}
        return parts, {n: state for n, state in states.items() if state is not None}

    def load_state_dict(
        self, parts: dict[str, Any], tensors: dict[str, torch.Tensor]
    ) -> None:
        """Restore the progress returned by :meth:`state_dict`."""
        self.epochs, self.done = parts["epochs"], parts["done"]
        self.curves, self._best_times_chosen = (
            parts["curves"],
            parts["best_times_chosen"],
        )
        if self.early_stopping is not None:
            self.early_stopping.load_state_dict(parts["early_stopping"])
        self.history[:], self.latest = parts["history"], parts["latest"]
        if parts["log"] is not None:
            losses = parts["log"]["losses"].view(np.float32)
            self.log = LossLog.from_state({**parts["log"], "losses": losses})
        self.selection.load_state_dict(parts["selection"])
        self._best, self.final = tensors.get("best"), tensors.get("final")

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the state, for :meth:`restore`."""
        schedule = self.lr_schedule
        return {
            **vars(self),
            "curves": {name: list(curve) for name, curve in self.curves.items()},
            "history": list(self.history),
            "log": copy.deepcopy(self.log),
            "stopping_state": self.early_stopping and self.early_stopping.state_dict(),
            "lr_schedule": None if schedule is None else schedule.state_dict(),
            "selection": self.selection.state_dict(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Restore the state of a snapshot."""
        snapshot = dict(snapshot)
        schedule, stopping_state = (
            snapshot["lr_schedule"],
            snapshot.pop("stopping_state"),
        )
        self.selection.load_state_dict(snapshot["selection"])
        if self.early_stopping is not None:
            self.early_stopping.load_state_dict(stopping_state)
        self.__dict__ |= {
            **snapshot,
            "history": History(snapshot["history"]),
            "lr_schedule": None
            if schedule is None
            else LRSchedule.from_state(schedule),
            "selection": self.selection,
        }

    def fail(self, error: Exception) -> None:
        """Stop the training of this network; the estimator raises the error later.

        The error is raised immediately if other processes train the same network: they
        may not have the error, and would wait forever.
        """
        self.done, self.error = True, error
        if self.shared:
            raise error


@dataclass
class ScheduledGroup:
    """Networks that share a learning-rate schedule and a group of the optimizer."""

    schedule: LRSchedule
    group: dict[str, Any]
    members: list[Member]

    def update_optimizer(self) -> None:
        """Copy the current options of the schedule to the optimizer."""
        options = self.schedule.options
        # Some optimizers raise an error for a larger lr; training diverges anyway.
        largest = torch.finfo(self.group["params"][0].dtype).max
        self.group.update(options, lr=min(options["lr"], largest))

    def end_step(self, step: int, n_steps: int) -> None:
        """Update the schedule after a step of an epoch; `step` is counted from 1."""
        self._update(self.schedule.end_step, step, n_steps)

    def end_epoch(self) -> None:
        """Record the learning rate, and update the schedule after an epoch."""
        live = [member for member in self.members if not member.done]
        for member in live:
            member.history.record("event_lr", self.group["lr"])
        if live and not self.schedule.by_batch:
            self._update(self.schedule.end_epoch, live[0].history)

    def _update(self, update: Callable[..., None], *args: Any) -> None:
        live = [member for member in self.members if not member.done]
        try:
            update(*args)
        except Exception as error:  # from a user-defined scheduler
            for member in live:
                member.fail(error)
        self.update_optimizer()


@dataclass
class Job:
    """The training of one estimator: its data and one or more networks."""

    X: list[Floats | MappedRows | ShardedRows]  # pieces of (n, F)
    targets: list[Floats]  # pieces of (n, O)
    members: list[Member]
    architecture: Architecture
    loss: type[Loss]
    optimizer: type[torch.optim.Optimizer]
    dtype: torch.dtype
    device: torch.device
    precision: torch.dtype | None = None  # of training steps, if lower than dtype

    @property
    def stack_key(self) -> tuple[Any, ...]:
        """Key that is equal for jobs that can be trained in one stack."""
        return (
            self.architecture,
            self.loss,
            self.optimizer,
            self.dtype,
            str(self.device),
            self.precision,
            self.members[0].lengths is None,
        )

    @property
    def all_rows(self) -> Indices:
        """Indices of all rows of the first piece: the X passed to `fit`."""
        return np.arange(len(self.X[0]))


def group_by_steps(members: list[Member]) -> list[list[Member]]:
    """Group networks that take steps together, those with the most steps first.

    The networks that still have steps near the end of an epoch are then the first ones
    of the stack.
    """
    # Networks share steps only with networks that stop at the same time.
    teams: dict[int, int] = {id(None): 0}
    for member in members:
        teams.setdefault(id(member.early_stopping), len(teams))

    def key_of(member: Member) -> tuple[Any, ...]:
        return *member.step_group_key, teams[id(member.early_stopping)]

    groups: list[list[Member]] = []
    for member in sorted(members, key=key_of):
        last = groups[-1][-1] if groups and not member.steps_alone else None
        if last is not None and key_of(last) == key_of(member):
            groups[-1].append(member)
        else:
            groups.append([member])
    return groups
