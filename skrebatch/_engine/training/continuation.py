"""Nets that continue with a new job, or that hold one job of a stack."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from skrebatch._engine.training.history import mean_history
from skrebatch._engine.training.members import Job, group_by_steps
from skrebatch._engine.training.net import (
    ReBatchNet,
    lr_and_decay_of,
    make_net,
    setup_of,
)
from skrebatch._engine.training.progress import EpochProgress, EpochTable


def continue_training(
    net: ReBatchNet, job: Job, callbacks: list[Any] | None = None
) -> ReBatchNet:
    """Return a net that continues with a job: this one if possible, else a new one.

    Its networks start with the networks of the job's members.
    """
    if not _can_continue(net, job):
        new = make_net([job], callbacks).initialize()
        new.history = net.history
        return new
    net.members = [job.members[i] for i in net.order]
    for k, member in enumerate(net.members):
        if member.network is not None:
            net.module_.write(k, member.network)
    _replace_callbacks(net, callbacks or [])
    lr_and_decay = lr_and_decay_of(net.members[0])
    if net.lr_and_decay_ != lr_and_decay:
        # Otherwise keep a learning rate that a user's callback has changed.
        net.lr_and_decay_ = net.lr, _ = lr_and_decay
        for group in net.optimizer_.param_groups:
            group["lr"], group["weight_decay"] = lr_and_decay
    groups = [{id(m) for m in group} for group in net.by_group()]
    wanted = [{id(m) for m in group} for group in group_by_steps(job.members)]
    if all(any(group <= other for other in wanted) for group in groups):
        return net
    # Networks that took steps together may now have different numbers of steps.
    new = extract(net, job, callbacks)
    new.history = net.history
    return new


def _can_continue(net: ReBatchNet, job: Job) -> bool:
    """Return whether module and optimizer of a net can be used for a job."""
    optimizer, flat = getattr(net, "optimizer_", None), net.module_.flat
    return (
        optimizer is not None
        and type(optimizer) is job.optimizer
        and flat.dtype == job.dtype
        and flat.device == torch.empty(0, device=job.device).device
        and net.module_.precision == job.precision
        and net.setup_ == setup_of(job.members[0])
    )


def _replace_callbacks(net: ReBatchNet, callbacks: list[Any]) -> None:
    """Set the callbacks unless they are those of the last training."""

    def key(callback: Any) -> Any:
        # Each training has a new progress bar or table, which is equivalent.
        cls = type(callback)
        return cls if cls in (EpochProgress, EpochTable) else id(callback)

    if list(map(key, callbacks)) != list(map(key, net.callbacks or [])):
        net.callbacks = callbacks
        net.initialize_callbacks()


def extract(
    stack: ReBatchNet, job: Job, callbacks: list[Any] | None = None
) -> ReBatchNet:
    """Return a net as if one job of a stack had been trained alone."""
    net = make_net([job], callbacks).initialize()
    net.history = mean_history(job.members)
    net.interrupted_ = stack.interrupted_
    row_of = {id(member): k for k, member in enumerate(stack.members)}
    ends = np.cumsum([len(group) for group in stack.module_.groups])
    for group, members in zip(net.module_.groups, net.by_group(), strict=True):
        rows = [row_of[id(member)] for member in members]
        i = int(np.searchsorted(ends, rows[0], side="right"))
        old = stack.module_.groups[i]
        start = ends[i] - len(old)
        rows_of_group = [row - start for row in rows]
        net.optimizer_.state[group] = {
            name: _take(value, rows_of_group, old.shape)
            for name, value in stack.optimizer_.state[old].items()
        }
    for k, member in enumerate(net.members):
        net.module_.running[k] = stack.module_.running[row_of[id(member)]]
    return net


def _take(value: Any, rows: list[int], shape: torch.Size) -> Any:
    """Copy the given rows of an optimizer state value; copy other values whole."""
    if not isinstance(value, torch.Tensor):
        return copy.deepcopy(value)
    return value[rows] if value.shape == shape else value.clone()
