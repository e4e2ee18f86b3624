"""The training loop: epochs of K networks with re-Batch between them."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochTimer

from skrebatch._engine.nn.stack import CNNStack
from skrebatch._engine.nn.tabular_cnn import Ensemble, TabularCNN, as_module
from skrebatch._engine.nn.threads import is_small
from skrebatch._engine.tables.table import Table
from skrebatch._engine.training.batches import BatchLoop
from skrebatch._engine.training.checkpointing import CheckpointWriter
from skrebatch._engine.training.early_stopping import EarlyStopping
from skrebatch._engine.training.epoch_plan import (
    NO_ROWS,
    EpochPlan,
    plan_epoch,
    plan_orders,
)
from skrebatch._engine.training.evaluation import (
    RowValue,
    evaluate,
    loss_alone,
    loss_and_prediction,
    prediction_alone,
)
from skrebatch._engine.training.history import record_mean
from skrebatch._engine.training.members import (
    Job,
    Member,
    ScheduledGroup,
    group_by_steps,
)
from skrebatch._engine.training.progress import EpochProgress, EpochTable
from skrebatch._engine.training.validation import record_validation
from skrebatch._utils.typing import Floats, Indices
from skrebatch.exceptions import DivergedError

# Callbacks that never stop a training early.
_NEVER_STOP = {EpochTimer, EpochProgress, EpochTable, CheckpointWriter}


def make_net(jobs: list[Job], callbacks: list[Any] | None = None) -> ReBatchNet:
    """Create the net that trains all networks of the jobs in one stack."""
    job_members = [member for job in jobs for member in job.members]
    groups = group_by_steps(job_members)
    members = [member for group in groups for member in group]
    options = [group[0].options_for(jobs[0].optimizer) for group in groups]
    shared = {
        name: value
        for name, value in options[0].items()
        if all(name in group and group[name] == value for group in options)
    }
    # The optimizer makes separate calls for each parameter group, so avoid groups if
    # all networks have the same options.
    differ = any(len(group) > len(shared) for group in options)
    is_scheduled = any(group[0].lr_schedule is not None for group in groups)
    param_groups = [(f"groups.{i}", group) for i, group in enumerate(options)]
    net = ReBatchNet(
        CNNStack,
        jobs[0].loss,
        members=members,
        module__architecture=jobs[0].architecture,
        module__group_sizes=[len(group) for group in groups],
        module__dtype=jobs[0].dtype,
        module__device=jobs[0].device,
        module__precision=jobs[0].precision,
        optimizer=jobs[0].optimizer,
        optimizer__param_groups=param_groups if differ or is_scheduled else [],
        lr=groups[0][0].lr,
        max_epochs=max(group[0].max_epochs for group in groups),
        train_split=None,
        callbacks=callbacks,
        device=str(jobs[0].device),
        verbose=0,
        **{f"optimizer__{name}": shared[name] for name in shared if name != "lr"},
    )
    place = {id(member): i for i, member in enumerate(job_members)}
    net.order = [place[id(member)] for member in members]
    return net


class ReBatchNet(NeuralNet):
    """A skorch net that trains K networks with a fast loop over batches of indices.

    Its module is a :class:`~skrebatch._engine.nn.stack.CNNStack`. Each of the K
    networks has a :class:`Member` with its training rows and settings. Callbacks of
    skorch work as usual, but batch events are sent only if a callback uses them.

    Parameters
    ----------
    members : list of Member
        One member per network.
    **kwargs
        Parameters of :class:`skorch.NeuralNet`.
    """

    members: list[Member]
    live: list[Member]  # those still in the stack
    order: list[int]  # index of each member among those of the jobs
    scheduled: list[ScheduledGroup]
    interrupted_: bool
    lr: float
    lr_and_decay_: tuple[float, float]
    setup_: tuple[Any, ...]
    callbacks: list[Any] | None

    def __init__(self, *args: Any, members: list[Member], **kwargs: Any):
        self.members = members
        self.lr_and_decay_ = lr_and_decay_of(members[0])
        self.setup_ = setup_of(members[0])
        super().__init__(*args, **kwargs)

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        return [("epoch_timer", EpochTimer())]

    def __getstate__(self) -> dict[str, Any]:
        # Exclude large objects: the optimizer, and the members with their data.
        bare = object.__new__(type(self))
        bare.__dict__.update(self.__dict__, members=[], live=[], scheduled=[])
        bare.__dict__.pop("optimizer_", None)
        return super(ReBatchNet, bare).__getstate__()

    def initialize_module(self) -> ReBatchNet:
        """Create the stack with the initial weights of each member."""
        super().initialize_module()
        drawn: dict[int, int] = {}
        for k, member in enumerate(self.members):
            if member.network is not None:
                self.module_.write(k, member.network)
            elif member.seed in drawn:
                self.module_.flat[k] = self.module_.flat[drawn[member.seed]]
            else:
                self.module_.draw(k, torch.Generator().manual_seed(member.seed))
                drawn[member.seed] = k
            if member.input_clip is not None:
                self.module_.clip_inputs(k, member.input_clip)
        for k, member in enumerate(self.members):  # after all are drawn or copied
            if member.network is None and member.constants is not None:
                self.module_.fix_outputs(k, member.constants)
        return self

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Reset the state of an earlier training."""
        self.interrupted_ = False
        self.live = self.members
        if len(self.members) == 1:
            self.members[0].history = self.history
        self.scheduled = self._share_lr_schedules()

    def _share_lr_schedules(self) -> list[ScheduledGroup]:
        """Connect the schedules to the optimizer; each group shares one schedule."""
        options = {
            id(parameter): group
            for group in self.optimizer_.param_groups
            for parameter in group["params"]
        }
        scheduled = []
        groups = zip(self.module_.groups, self.by_group(), strict=True)
        for parameter, members in groups:
            schedule = members[0].lr_schedule
            if schedule is not None:
                for member in members:
                    member.lr_schedule = schedule
                group = ScheduledGroup(schedule, options[id(parameter)], members)
                group.update_optimizer()
                scheduled.append(group)
        return scheduled

    def by_group(self) -> list[list[Member]]:
        """Return the members of each group of the module."""
        members = iter(self.members)
        return [
            list(itertools.islice(members, len(group))) for group in self.module_.groups
        ]

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Start a row of the history; stop the training if all members are done."""
        if all(member.done for member in self.members):
            raise KeyboardInterrupt  # stops the loop of skorch
        super().on_epoch_begin(net, **kwargs)
        for member in self.members:
            if member.history is not self.history and not member.done:
                member.history.new_epoch()
                member.history.record("epoch", member.epochs + 1)

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Set every network to its final parameters."""
        done = all(member.done for member in self.members)
        stoppers = {type(each) for _, each in self.callbacks_} - _NEVER_STOP
        if not done and not stoppers:
            self.interrupted_ = True  # between epochs; skorch does not report it
        for k, member in enumerate(self.live):
            if not member.done:
                member.finish(self.module_.state_of(k))
        if len(self.live) < len(self.members):
            self.module_.set_live_groups([True] * len(self.module_.groups))
        self.live = self.members
        for k, member in enumerate(self.members):
            if member.final is not None:
                self.module_.restore(k, member.final)
        stopping = self._only_stopping
        if stopping is not None and stopping.n_networks > 1:
            del self.history[stopping.best_epoch or len(self.history) :]

    @property
    def _only_stopping(self) -> EarlyStopping | None:
        """The early stopping of the net's job, if it has a single one."""
        stopping = self.members[0].early_stopping
        is_one_job = all(m.early_stopping is stopping for m in self.members)
        return stopping if is_one_job else None

    @property
    def is_small(self) -> bool:
        """Whether a step is too small for several threads."""
        rows = sum(member.batch_size for member in self.members)
        return is_small(self.module__architecture, rows)

    def collect(self, table: Table, jobs: list[Job]) -> None:
        """Set the final network and the losses of all rows of the job, by member."""
        rows = {id(m): job.all_rows for job in jobs for m in job.members}
        losses = self.sample_losses(table, [rows[id(m)] for m in self.members])
        networks = self.module_.read_all()
        for k, member in enumerate(self.members):
            member.network = networks[k]
            member.losses = losses[k]
            if member.error is None and not np.isfinite(losses[k]).all():
                member.fail(DivergedError.at(member.epochs, "after its last batch"))
        self._predict_held_out(table)
        self.module_.release()

    def _predict_held_out(self, table: Table) -> None:
        """Compute the predictions of each member for its validation rows."""
        rows = [
            NO_ROWS
            if m.early_stopping is None or m.valid_rows is None
            else m.valid_rows
            for m in self.members
        ]
        if any(map(len, rows)):
            predicted = self._evaluate(table, rows, prediction_alone)
            for member, predictions in zip(self.members, predicted, strict=True):
                member.held_out = predictions

    def snapshot(self) -> TabularCNN | Ensemble:
        """Return copies of the networks as if training ended now."""
        module = copy.deepcopy(self.module_)
        module.set_live_groups([True] * len(module.groups))
        for k, member in enumerate(self.members):
            if member.restorable_state is not None:
                module.restore(k, member.restorable_state)
        return as_module(module.read_all())

    def drop_data(self) -> None:
        """Delete the members and their data."""
        self.members = self.live = []
        self.scheduled = []

    @contextlib.contextmanager
    def unchanged_on_error(self) -> Iterator[None]:
        """Restore networks, optimizer and history if training fails."""
        flat, running = self.module_.flat.clone(), self.module_.running.clone()
        optimizer = copy.deepcopy(self.optimizer_.state_dict())
        n_epochs = len(self.history)
        try:
            yield
        except BaseException:
            self.module_.flat.copy_(flat)
            self.module_.running.copy_(running)
            self.optimizer_.load_state_dict(optimizer)
            del self.history[n_epochs:]
            raise

    def get_split_datasets(
        self, X: Table, y: Any = None, **fit_params: Any
    ) -> tuple[Table, Table | None]:
        """Return the table for training and validation; members define the rows."""
        validates = any(member.valid_rows is not None for member in self.members)
        return X, X if validates else None

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return the table itself: batches are gathered by index."""
        if isinstance(dataset, Table):
            return dataset
        return super().get_iterator(dataset, training=training)

    def run_single_epoch(
        self,
        iterator: Any,
        training: bool,
        prefix: str,
        step_fn: Any,
        **fit_params: Any,
    ) -> None:
        """Train all networks for an epoch, or validate them.

        Parameters
        ----------
        iterator : Table or None
            The table of all members.
        training : bool
            Whether to train.
        prefix, step_fn, **fit_params
            Ignored; passed by skorch.
        """
        try:
            if training:
                self._train_epoch(iterator)
            else:
                self._end_epoch(iterator)
        except KeyboardInterrupt:
            self.interrupted_ = True
            raise

    def _train_epoch(self, table: Table) -> None:
        self._drop_finished()
        members = self.live
        orders = plan_orders(members, self._latest_losses(table))
        plan = plan_epoch(members, orders, table)
        batch_losses = self._train_batches(table, plan)  # (T, K)
        for k, member in enumerate(members):
            if member.done:
                continue
            counts = plan.counts[k]
            losses = batch_losses[: np.count_nonzero(counts), k]
            bad = np.flatnonzero(~np.isfinite(losses))
            if len(bad):
                member.fail(DivergedError.at(member.epochs + 1, f"batch {bad[0] + 1}"))
                continue
            member.record(
                "train_loss", float(losses @ counts[: len(losses)] / counts.sum())
            )
        self._record_means("train_loss")
        self._log_losses(table)

    def _latest_losses(self, table: Table) -> list[Floats]:
        """Return the current losses of each member, if its plan needs them."""
        members = self.live
        rows = [
            NO_ROWS
            if m.latest is not None or not m.needs_losses
            else m.rows
            if m.team_rows is None
            else m.team_rows
            for m in members
        ]
        losses = self.sample_losses(table, rows)
        return [
            computed if member.latest is None else member.latest
            for member, computed in zip(members, losses, strict=True)
        ]

    def _log_losses(self, table: Table) -> None:
        """Record the losses of the epoch in the logs of the members."""
        logs = [None if member.done else member.log for member in self.live]
        if not any(logs):
            return
        rows = [NO_ROWS if log is None else np.arange(log.n_samples) for log in logs]
        losses = self.sample_losses(table, rows)
        for member, log, log_losses in zip(self.live, logs, losses, strict=True):
            if log is not None:
                affected_samples = member.rows[member.selection.affected_samples]
                log.add(member.selection.epoch, log_losses, affected_samples)
                if len(member.rows) == log.n_samples:
                    member.latest = log_losses

    def _drop_finished(self) -> None:
        """Remove groups that are done from the stack, once they are a large part."""
        if not any(member.done for member in self.live):
            return
        groups = self.by_group()
        is_live = [any(not member.done for member in group) for group in groups]
        live = [
            m for group, on in zip(groups, is_live, strict=True) if on for m in group
        ]
        if len(live) <= 0.75 * len(self.live):
            self.module_.set_live_groups(is_live)
            self.live = live

    def _train_batches(self, table: Table, plan: EpochPlan) -> NDArray[np.float64]:
        """Run all steps of the epoch; return the losses of the batches (T, K)."""
        has_listener = self._has_batch_listener()
        if not has_listener:
            self.history.new_batch()  # skorch's Checkpoint requires a batch
        loop = BatchLoop(
            self.module_,
            self.criterion_,
            self.optimizer_,
            self.live,
            table,
            plan,
            self.scheduled,
            self.notify if has_listener else None,
        )
        return loop.run()

    def _has_batch_listener(self) -> bool:
        """Return whether a callback uses batch events."""
        hooks = ("on_batch_begin", "on_batch_end", "on_grad_computed")
        return any(
            getattr(type(callback), hook) is not getattr(Callback, hook)
            for _, callback in self.callbacks_
            for hook in hooks
        )

    def _end_epoch(self, table: Table | None) -> None:
        """Validate, and determine which members are done."""
        members = self.live
        is_best: set[int] = set()  # ids of members for which the epoch is the best
        if table is not None:
            is_best = self._validate(table)
        for scheduled in self.scheduled:
            scheduled.end_epoch()
        for k, member in enumerate(members):
            if not member.done:
                member.end_epoch(self.module_.state_of(k), id(member) in is_best)
        if table is not None:
            self._record_means("valid_loss")

    def _validate(self, table: Table) -> set[int]:
        """Validate the networks; see :func:`record_validation`."""
        rows = [NO_ROWS if m.valid_rows is None else m.valid_rows for m in self.live]
        values = self._evaluate(table, rows, loss_and_prediction)
        history = None if self._only_stopping is None else self.history
        return record_validation(self.live, values, self.criterion_, table, history)

    def _record_means(self, name: str) -> None:
        """Record the mean loss of several networks in the history of the net."""
        if len(self.members) > 1:
            n_epochs = max(len(member.curves["train_loss"]) for member in self.live)
            record_mean(self.history, name, self.live, n_epochs)

    def sample_losses(self, table: Table, rows: list[Indices]) -> list[Floats]:
        """Compute the losses of given rows for each network.

        Parameters
        ----------
        table : Table
        rows : list of K ndarrays of int
            The rows of each network.

        Returns
        -------
        losses : list of K ndarrays, shape (n_k,)
        """
        return self._evaluate(table, rows, loss_alone)

    def _evaluate(
        self, table: Table, rows: list[Indices], value: RowValue
    ) -> list[Floats]:
        """Compute values of given rows for each network; see :func:`evaluate`."""
        return evaluate(self.module_, self.criterion_, self.live, table, rows, value)


def lr_and_decay_of(member: Member) -> tuple[float, float]:
    """Return the settings that can change without a new optimizer."""
    return member.lr, member.weight_decay


def setup_of(member: Member) -> tuple[Any, ...]:
    """Return the settings that require a new optimizer when they change."""
    schedule = () if member.lr_schedule is None else member.lr_schedule.settings[:2]
    return member.optimizer_params, *schedule
