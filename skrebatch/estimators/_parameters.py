"""Checks of the estimators' parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, LRScheduler, ParamMapper
from skorch.callbacks.scoring import ScoringBase

from skrebatch._engine.optim.lr_schedules import check_lr_schedule
from skrebatch._engine.optim.optimizers import (
    check_optimizer,
    optimizer_options,
    resolve_optimizer,
)
from skrebatch._engine.serialization.checkpoint import check_folder
from skrebatch._utils.dtypes import resolve_device, resolve_dtype, resolve_precision
from skrebatch._utils.user_warnings import warn_user
from skrebatch._utils.validation import check_bool, check_integer, check_real
from skrebatch.sampling._selector import check_selection
from skrebatch.sampling._skorch_callback import ReBatch


def check_parameters(asked: Any) -> None:
    """Refuse impossible parameters of an estimator, before any work."""
    check_selection(asked)
    if asked.choose not in ("own", "together"):
        raise ValueError(f'choose must be "own" or "together", got {asked.choose!r}.')
    check_integer(asked.n_augments, "n_augments", at_least=0)
    check_real(asked.noise_std, "noise_std", at_least=0)
    if asked.noise_std and not asked.n_augments:
        warn_user(
            f"noise_std={asked.noise_std} has no effect with n_augments=0, which "
            "makes no copies that could bear noise."
        )
    for name in ("max_epochs", "n_iter_no_change", "n_networks"):
        check_integer(getattr(asked, name), name)
    _check_batches(asked)
    largest = torch.finfo(resolve_dtype(asked.dtype)).max
    check_real(asked.lr, "lr", above=0, at_most=largest)
    check_real(asked.dropout, "dropout", at_least=0, below=1)
    check_real(asked.weight_decay, "weight_decay", at_least=0, at_most=largest)
    check_real(asked.validation_fraction, "validation_fraction", above=0, below=1)
    if asked.architecture not in ("cnn", "mlp"):
        raise ValueError(
            f'architecture must be "cnn" or "mlp", got {asked.architecture!r}.'
        )
    _check_steps(asked)
    _check_checkpoints(asked)
    flags = "early_stopping", "warm_start", "record_losses", "batch_norm"
    for name in (*flags, "variable_length", *asked._own_flags):
        check_bool(getattr(asked, name), name)
    if not isinstance(asked.verbose, bool | np.bool_):
        check_integer(asked.verbose, "verbose", at_least=0)
    device = resolve_device(asked.device)
    resolve_precision(asked.precision, resolve_dtype(asked.dtype), device)
    if asked.variable_length:
        for name in ("n_augments", "batch_norm", "dropout", "precision"):
            value = getattr(asked, name)
            if value and value != "float32":
                raise ValueError(
                    f"{name}={value!r} can't be used with variable_length=True; "
                    "leave one of them at its default."
                )


def _check_batches(asked: Any) -> None:
    if asked.batch_size != "auto":
        check_integer(asked.batch_size, "batch_size", 'or "auto"')
    if asked.max_elements is None:
        return
    check_integer(asked.max_elements, "max_elements", "or None")
    if not asked.variable_length or asked.batch_size != "auto":
        raise ValueError(
            'max_elements needs variable_length=True and batch_size="auto": it '
            "decides itself how many rows make a batch."
        )
    if asked.n_networks > 1:
        raise ValueError(
            "max_elements needs n_networks=1: the batches of networks trained "
            "side by side would differ in their shapes."
        )


def _check_steps(asked: Any) -> None:
    """Check the optimizer, and what moves its learning rate."""
    check_optimizer(
        asked.optimizer, asked.optimizer_params, asked.lr, asked.weight_decay
    )
    check_lr_schedule(
        asked.lr_schedule,
        asked.lr_schedule_params,
        *optimizer_of(asked),
        asked.max_epochs,
    )
    for callback in _check_callbacks(asked.callbacks):
        if asked.lr_schedule is not None and isinstance(callback, LRScheduler):
            raise ValueError(
                "lr_schedule and the callback LRScheduler would both move the "
                "learning rate; leave one of them out."
            )


def _check_callbacks(callbacks: Any) -> Sequence[Any]:
    """Return the callbacks, refusing what skorch could not call."""
    if callbacks is None:
        return []
    if not isinstance(callbacks, list | tuple):
        raise ValueError(
            "callbacks must be a list of skorch.callbacks.Callback or None, got "
            f"{callbacks!r}."
        )
    for callback in callbacks:
        # skorch takes classes, and callbacks with their names, too.
        own = callback[-1] if isinstance(callback, tuple) and callback else callback
        kind = own if isinstance(own, type) else type(own)
        if not issubclass(kind, Callback):
            raise ValueError(f"callbacks holds what is no callback of skorch: {own!r}.")
        if issubclass(kind, ScoringBase | ParamMapper | ReBatch):
            raise ValueError(
                f"callbacks holds {kind.__name__}, which needs the data loader or the "
                "named parameters of a net of skorch's own; ReBatch brings re-Batch to "
                "one. To score each epoch give scikit-learn's ScoringMonitor to "
                "set_callbacks."
            )
    return callbacks


def _check_checkpoints(asked: Any) -> None:
    check_folder(asked.checkpoint_dir)
    check_integer(asked.checkpoint_every, "checkpoint_every")
    if asked.checkpoint_dir is not None and asked.callbacks:
        raise ValueError(
            "checkpoint_dir can't be used with callbacks: a checkpoint doesn't "
            "hold what they remember. Leave one of them out."
        )


def optimizer_of(asked: Any) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Return the class of an estimator's optimizer, and what it is given."""
    cls = resolve_optimizer(asked.optimizer)
    params = asked.optimizer_params
    return cls, optimizer_options(cls, asked.lr, asked.weight_decay, params)
