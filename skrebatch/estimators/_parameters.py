"""The parameters that the estimators share, and their checks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, LRScheduler, ParamMapper
from skorch.callbacks.scoring import ScoringBase

from skrebatch._engine.nn.clipping import check_input_clip
from skrebatch._engine.optim.lr_schedules import check_lr_schedule
from skrebatch._engine.optim.optimizers import (
    check_optimizer,
    optimizer_options,
    resolve_optimizer,
)
from skrebatch._engine.serialization.checkpoint import check_folder
from skrebatch._utils.dtypes import resolve_device, resolve_dtype, resolve_precision
from skrebatch._utils.user_warnings import warn_user
from skrebatch._utils.validation import (
    check_bool,
    check_integer,
    check_option,
    check_real,
)
from skrebatch.estimators._cv import check_cv
from skrebatch.sampling._ratio_schedules import Schedule
from skrebatch.sampling._selector import check_selection
from skrebatch.sampling._skorch_callback import ReBatch
from skrebatch.strategies import Strategy

_AUTO_LIMIT = 10.0  # of input_clip


class Parameters:
    """Types of the parameters that the estimators share."""

    ratio: float
    strategy: str | Strategy
    repeats: int
    ratio_schedule: Schedule
    warmup_epochs: int
    loss_smoothing: float
    refresh_every: int
    shuffle: bool
    architecture: str
    conv_channels: Sequence[int]
    kernel_size: int | Sequence[int]
    pool_size: int | Sequence[int]
    pool_stride: int | Sequence[int] | None
    padding: int | str
    hidden_size: int | str
    hidden_layers: Sequence[int] | None
    batch_norm: bool
    dropout: float
    input_clip: float | str | None
    variable_length: bool
    max_epochs: int
    batch_size: int | str
    max_elements: int | None
    optimizer: str | type[torch.optim.Optimizer]
    optimizer_params: dict[str, Any] | None
    lr: float
    lr_schedule: str | type[Any] | None
    lr_schedule_params: dict[str, Any] | None
    weight_decay: float
    n_augments: int
    noise_std: float
    warm_start: bool
    random_state: int | np.random.RandomState | None
    early_stopping: bool | str
    n_iter_no_change: int
    stopping_score: str
    validation_fraction: float
    cv: Any
    n_networks: int
    choose: str
    device: str | torch.device
    dtype: str
    precision: str
    checkpoint_dir: str | os.PathLike[str] | None
    checkpoint_every: int
    record_losses: bool
    callbacks: list[Any] | None
    verbose: int


def stops_early(params: Parameters) -> bool:
    """Return whether a fit stops early: "auto" is with several networks."""
    if isinstance(params.early_stopping, str):
        return params.n_networks > 1
    return bool(params.early_stopping)


def architecture_name(params: Parameters) -> str:
    """Return the architecture: "auto" is the projected CNN where that is possible."""
    if params.architecture != "auto":
        return params.architecture
    return "cnn" if params.variable_length else "projected-cnn"


def input_limit(params: Parameters) -> float | None:
    """Return the limit to which inputs are clipped, or None."""
    limit: Any = params.input_clip
    if limit == "auto":
        # A CNN reads sequences, whose values have one unit and seldom outliers.
        limit = None if architecture_name(params) == "cnn" else _AUTO_LIMIT
    return None if limit is None else float(limit)


def check_parameters(params: Parameters) -> None:
    """Raise an error if a parameter of an estimator is invalid."""
    check_selection(params)
    if params.choose not in ("own", "together"):
        raise ValueError(f'choose must be "own" or "together", got {params.choose!r}.')
    check_integer(params.n_augments, "n_augments", at_least=0)
    check_real(params.noise_std, "noise_std", at_least=0)
    if params.noise_std and not params.n_augments:
        warn_user(
            f"noise_std={params.noise_std} has no effect with n_augments=0; set "
            "n_augments to 1 or more to add noisy copies of the rows."
        )
    for name in ("max_epochs", "n_iter_no_change", "n_networks"):
        check_integer(getattr(params, name), name)
    _check_batches(params)
    dtype = resolve_dtype(params.dtype)
    largest = torch.finfo(dtype).max
    check_real(params.lr, "lr", above=0, at_most=largest)
    check_real(params.dropout, "dropout", at_least=0, below=1)
    if params.input_clip != "auto":
        check_input_clip(params.input_clip, dtype)
    check_real(params.weight_decay, "weight_decay", at_least=0, at_most=largest)
    check_real(params.validation_fraction, "validation_fraction", above=0, below=1)
    check_cv(params.cv)
    check_option(
        params.architecture, "architecture", ("auto", "cnn", "projected-cnn", "mlp")
    )
    _check_steps(params)
    _check_checkpoints(params)
    if params.early_stopping != "auto":
        check_bool(params.early_stopping, "early_stopping", 'or "auto"')
    flags = "warm_start", "record_losses", "batch_norm"
    for name in (*flags, "variable_length"):
        check_bool(getattr(params, name), name)
    if not isinstance(params.verbose, bool | np.bool_):
        check_integer(params.verbose, "verbose", at_least=0)
    device = resolve_device(params.device)
    resolve_precision(params.precision, dtype, device)
    if params.variable_length:
        _check_variable_length(params)


def _check_variable_length(params: Parameters) -> None:
    """Raise an error for parameters that don't support rows of variable length."""
    names = "n_augments", "batch_norm", "dropout", "precision", "architecture"
    for name in names:
        value = getattr(params, name)
        if value and value not in ("float32", "auto", "cnn", "mlp"):
            raise ValueError(
                f"{name}={value!r} can't be used with variable_length=True; "
                "set one of them to its default."
            )


def _check_batches(params: Parameters) -> None:
    is_named = isinstance(params.batch_size, str)
    if not is_named or params.batch_size not in ("auto", "ratio"):
        check_integer(params.batch_size, "batch_size", 'or "auto" or "ratio"')
    if params.max_elements is None:
        return
    check_integer(params.max_elements, "max_elements", "or None")
    if not params.variable_length or not isinstance(params.batch_size, str):
        raise ValueError(
            'max_elements needs variable_length=True and batch_size="auto", because '
            "it determines the number of rows of each batch."
        )
    if params.n_networks > 1:
        raise ValueError(
            "max_elements needs n_networks=1, because networks trained side by side "
            "need batches of the same shape."
        )


def _check_steps(params: Parameters) -> None:
    """Check the optimizer and the learning-rate schedule."""
    check_optimizer(
        params.optimizer, params.optimizer_params, params.lr, params.weight_decay
    )
    check_lr_schedule(
        params.lr_schedule,
        params.lr_schedule_params,
        *optimizer_of(params),
        params.max_epochs,
    )
    for callback in _check_callbacks(params.callbacks):
        if params.lr_schedule is not None and isinstance(callback, LRScheduler):
            raise ValueError(
                "lr_schedule and the callback LRScheduler would both change the "
                "learning rate; use only one of them."
            )


def _check_callbacks(callbacks: Any) -> Sequence[Any]:
    """Return the callbacks; raise an error for unsupported ones."""
    if callbacks is None:
        return []
    if not isinstance(callbacks, list | tuple):
        raise ValueError(
            "callbacks must be a list of skorch.callbacks.Callback or None, got "
            f"{callbacks!r}."
        )
    for callback in callbacks:
        # skorch also accepts classes, and tuples of a name and a callback.
        unnamed = callback[-1] if isinstance(callback, tuple) and callback else callback
        cls = unnamed if isinstance(unnamed, type) else type(unnamed)
        if not issubclass(cls, Callback):
            raise ValueError(f"callbacks must be skorch callbacks, got {unnamed!r}.")
        if issubclass(cls, ScoringBase | ParamMapper | ReBatch):
            raise ValueError(
                f"callbacks can't include {cls.__name__}, which needs the data loader "
                "or the named parameters of a plain skorch net. To score each epoch, "
                "pass scikit-learn's ScoringMonitor to set_callbacks. To use ReBatch, "
                "train a skorch net."
            )
    return callbacks


def _check_checkpoints(params: Parameters) -> None:
    check_folder(params.checkpoint_dir)
    check_integer(params.checkpoint_every, "checkpoint_every")
    if params.checkpoint_dir is not None and params.callbacks:
        raise ValueError(
            "checkpoint_dir can't be used with callbacks, because a checkpoint does "
            "not save their state. Set one of them to None."
        )


def optimizer_of(
    params: Parameters,
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Return the class and the arguments of the optimizer."""
    cls = resolve_optimizer(params.optimizer)
    options = optimizer_options(
        cls, params.lr, params.weight_decay, params.optimizer_params
    )
    return cls, options
