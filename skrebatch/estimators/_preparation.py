"""Prepare a fit: from data and parameters to the job that is trained.

Nothing here changes an estimator. The fitted attributes are returned, and set when
the training has succeeded.
"""

from __future__ import annotations

import copy
from typing import Any

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import check_random_state

from skrebatch._engine.nn.architecture import Architecture, build_architecture
from skrebatch._engine.nn.tabular_cnn import TabularCNN
from skrebatch._engine.optim.lr_schedules import LRSchedule
from skrebatch._engine.optim.optimizers import resolve_optimizer
from skrebatch._engine.training.early_stopping import EarlyStopping
from skrebatch._engine.training.members import Job, Member
from skrebatch._utils.dtypes import resolve_device, resolve_dtype, resolve_precision
from skrebatch._utils.typing import Floats, Indices
from skrebatch._utils.user_warnings import warn_user
from skrebatch.estimators._cv import Splitting
from skrebatch.estimators._fit_data import (
    CheckedData,
    EarlierFit,
    FitState,
    PreparedFit,
)
from skrebatch.estimators._parameters import (
    Parameters,
    architecture_name,
    input_limit,
    optimizer_of,
    stops_early,
)
from skrebatch.estimators._rows import Rows, choose_rows
from skrebatch.estimators._splitting import mean_one
from skrebatch.estimators._targets import Targets
from skrebatch.sampling._loss_log import LossLog
from skrebatch.sampling._selector import Selection
from skrebatch.strategies import check_strategy
from skrebatch.strategies._planning import check_class_labels, is_builtin

# Channels and positions to which "projected-cnn" projects the columns.
_PROJECTION = 8, 16


def prepare_fit(
    params: Parameters,
    data: CheckedData,
    weights: Floats | None,
    earlier: EarlierFit | None = None,
    *,
    splitting: Splitting | None = None,
    incremental: bool = False,
    class_balanced: bool = False,
    standardize: bool | str = False,
    cache: dict[Any, Any] | None = None,
    seed: int | None = None,
) -> PreparedFit:
    """Prepare a fit.

    Parameters
    ----------
    params : Parameters
    data : CheckedData
    weights : ndarray of shape (n_samples,) or None
        Weights of the training data.
    earlier : EarlierFit or None, default=None
        The fit to continue.
    splitting : Splitting or None, default=None
        How the rows are split, if by a splitter or an iterable.
    incremental : bool, default=False
        Whether to train one epoch.
    class_balanced : bool, default=False
        Whether to choose samples within each class.
    standardize : bool or "robust", default=False
        Whether and how to standardise numeric targets.
    cache : dict, default=None
        Shared by fits of the same data, so that they are encoded and stored once.
    seed : int, default=None
        Used if `random_state` is None.

    Returns
    -------
    prepared : PreparedFit
    """
    cache = {} if cache is None else cache
    state = None if earlier is None else earlier.state
    seeds, rngs = _draw_seeds(params, seed, state)
    stops = stops_early(params) and not incremental
    if params.cv is not None and not stops and not incremental:
        warn_user(
            "cv has no effect without early stopping. Set early_stopping=True, or cv "
            "to None."
        )
    rows = choose_rows(
        params,
        data,
        weights,
        stops=stops,
        seeds=seeds,
        rng=rngs[0],
        split_seed=None if state is None else state.split_seed,
        splitting=splitting,
    )
    targets = data.targets
    if earlier is None:
        used_weights = mean_one(weights, rows.used)
        targets = targets.scale_to(data.y[0][rows.used], used_weights, standardize)
    encoded = _encode(data, targets, cache)
    architecture = _architecture_of(
        params, data.learned["n_features_in_"], encoded[0].shape[1]
    )
    if earlier is not None:
        _check_networks(earlier.networks, architecture, params)
    data_hash, is_same_data = None, False
    if (
        params.record_losses
        or params.loss_smoothing
        or params.refresh_every > 1
        or not is_builtin(check_strategy(params.strategy))
        # Reading a whole file takes long.
        or (rows.rotates and (params.warm_start or isinstance(data.X[0], np.ndarray)))
    ):
        # Running means, plans and records of samples, what a user-defined strategy has
        # stored, and out-of-fold predictions are valid for the same data only.
        hashed: tuple[Any, ...] = (data.X[0], data.y[0], rows.used)
        if rows.rotates:
            hashed = *hashed, [split.train for split in rows.splits]
        data_hash = joblib.hash(hashed)
        is_same_data = state is not None and data_hash == state.data_hash
    leaks = earlier is not None and rows.rotates and not is_same_data
    if leaks:
        warn_user(
            "The networks were trained on other rows or with other folds before, "
            "perhaps on rows that they hold out now. Therefore early stopping may come "
            "too late, and there are no out-of-fold predictions."
        )
    max_epochs = int(params.max_epochs)
    if state is not None:
        max_epochs = state.max_epochs or max_epochs
    stopping = _early_stopping(params, data, rows, targets) if stops else None
    labels = [
        _labels_of(data, targets, encoded[0], split.train, cache)
        for split in rows.splits
    ]
    members = [
        _make_member(
            params,
            rows,
            labels[k],
            targets.constants(labels[k]),
            stopping,
            class_balanced=class_balanced,
            earlier=earlier,
            is_same_data=is_same_data,
            k=k,
            seed=int(seeds[k]),
            rng=rngs[k],
            max_epochs=max_epochs,
            incremental=incremental,
        )
        for k in range(params.n_networks)
    ]
    members[0].selection.warn_of_no_effect()
    if members[0].lr_schedule is not None:
        members[0].lr_schedule.warn_if_over()
    dtype, device = resolve_dtype(params.dtype), resolve_device(params.device)
    job = Job(
        X=data.X,
        targets=encoded,
        members=members,
        architecture=architecture,
        loss=targets.loss,
        optimizer=resolve_optimizer(params.optimizer),
        dtype=dtype,
        device=device,
        precision=resolve_precision(params.precision, dtype, device),
    )
    return PreparedFit(
        job,
        {**data.learned, **targets.fitted_attributes},
        targets,
        rows.seed,
        data_hash,
        max_epochs,
        earlier,
        leaks,
    )


def _draw_seeds(
    params: Parameters, default: int | None, state: FitState | None
) -> tuple[NDArray[np.int_], list[np.random.Generator]]:
    """Draw a seed for each network, and return the generator of each network."""
    random_state = params.random_state
    if random_state is None:  # leave numpy's global generator unchanged
        random_state = np.random.RandomState(default)
    seeds = check_random_state(random_state).randint(2**31 - 1, size=params.n_networks)
    if state is not None:
        return seeds, copy.deepcopy(state.rngs)
    return seeds, [np.random.default_rng(int(seed)) for seed in seeds]


def _early_stopping(
    params: Parameters, data: CheckedData, rows: Rows, targets: Targets
) -> EarlyStopping:
    """Return the early stopping that the networks of a fit share."""
    valid = [split.valid for split in rows.splits if split.valid is not None]
    score = params.stopping_score
    if score == "auto":
        score = "loss" if params.n_networks == 1 else targets.stopping_score
    return EarlyStopping(
        patience=int(params.n_iter_no_change),
        score=score,
        n_networks=int(params.n_networks),
        valid_rows=np.unique(np.concatenate(valid)),
        # A validation set that is passed has no weights.
        weights=rows.weights if len(data.X) == 1 else None,
    )


def _encode(data: CheckedData, targets: Targets, cache: dict[Any, Any]) -> list[Floats]:
    """Return the targets as the networks are trained on them."""
    key = "targets", *data.key, targets.key
    if key not in cache:
        cache[key] = [targets.encode(part) for part in data.y]
    encoded: list[Floats] = cache[key]
    return encoded


def _labels_of(
    data: CheckedData,
    targets: Targets,
    encoded: Floats,
    rows: Indices,
    cache: dict[Any, Any],
) -> NDArray[Any]:
    """Return the labels of the given rows, which strategies receive."""
    # The rows are stored too, since their id would be reused once they are freed.
    key = "labels", *data.key, targets.key, id(rows)
    if key not in cache:
        cache[key] = rows, targets.labels(encoded)[rows]
    labels: NDArray[Any] = cache[key][1]
    return labels


def _architecture_of(
    params: Parameters, n_features: int, n_outputs: int
) -> Architecture:
    """Return the architecture that the parameters describe."""
    blocks: dict[str, Any] = {
        "conv_channels": params.conv_channels,
        "kernel_size": params.kernel_size,
        "pool_size": params.pool_size,
        "pool_stride": params.pool_stride,
        "padding": params.padding,
    }
    channels = params.conv_channels
    if architecture_name(params) == "mlp":
        blocks = {"conv_channels": ()}
    elif isinstance(channels, list | tuple) and not channels:
        raise ValueError(
            "conv_channels must be a tuple with the channels of each block, such "
            f'as (8, 16), got {channels!r}; use architecture="mlp" for a network '
            "without blocks."
        )
    if architecture_name(params) == "projected-cnn":
        blocks["projection"] = _PROJECTION
    return build_architecture(
        n_features,
        n_outputs,
        hidden_size=params.hidden_size,
        hidden_layers=params.hidden_layers,
        batch_norm=params.batch_norm,
        dropout=params.dropout,
        clips_inputs=input_limit(params) is not None,
        variable_length=params.variable_length,
        **blocks,
    )


def _check_networks(
    networks: list[TabularCNN], architecture: Architecture, params: Parameters
) -> None:
    """Raise an error if networks to continue do not match the parameters."""
    first, n_networks = networks[0], params.n_networks
    is_same = (first.architecture, len(networks)) == (architecture, n_networks)
    limit = input_limit(params)
    if is_same and limit is not None:
        is_same = torch.equal(
            first.input_clip, torch.full_like(first.input_clip, limit)
        )
    if not is_same:
        raise ValueError(
            "The network's parameters (architecture, conv_channels, "
            "kernel_size, pool_size, pool_stride, padding, hidden_size, "
            "hidden_layers, batch_norm, dropout, input_clip, variable_length, "
            "n_networks) changed since the last fit, so training can't continue. Set "
            "warm_start=False to train a new network."
        )


def _make_member(
    params: Parameters,
    rows: Rows,
    labels: NDArray[Any],
    constants: Floats | None,
    stopping: EarlyStopping | None,
    *,
    class_balanced: bool,
    earlier: EarlierFit | None,
    is_same_data: bool,
    k: int,
    seed: int,
    rng: np.random.Generator,
    max_epochs: int,
    incremental: bool,
) -> Member:
    """Return the data, selection and settings that train network `k`.

    Parameters
    ----------
    params : Parameters
    rows : Rows
    labels : ndarray of shape (N, ...)
        Labels of the training rows.
    constants : ndarray of shape (n_outputs,) or None
        Outputs for constant targets, at which a new network starts.
    stopping : EarlyStopping or None
        Shared by the networks of a fit.
    class_balanced : bool
        Whether to choose samples within each class.
    earlier : EarlierFit or None
        The fit to continue. If None, the network is initialised from its seed when
        training begins.
    is_same_data : bool
        Whether the earlier fit was on the same data.
    k : int
        Index of the network.
    seed : int
    rng : numpy.random.Generator
    max_epochs : int
        Length of the ratio schedule and of the strategy.
    incremental : bool
        Whether to train one epoch.
    """
    if class_balanced:
        check_class_labels(labels)
    state = None if earlier is None else earlier.state
    split = rows.splits[k]
    selection = Selection(
        n_samples=len(split.train),
        strategy=clone(check_strategy(params.strategy)),
        rng=rng,
        ratio=params.ratio,
        repeats=params.repeats,
        shuffle=params.shuffle,
        max_epochs=max_epochs,
        schedule=params.ratio_schedule,
        warmup_epochs=params.warmup_epochs,
        smoothing=params.loss_smoothing,
        refresh_every=params.refresh_every,
        class_balanced=class_balanced,
        labels=labels,
        rows=split.train,
        epoch=0 if earlier is None else earlier.n_epochs,
    )
    log = LossLog(rows.n_samples) if params.record_losses else None
    if state is not None and is_same_data:
        selection.load_warm_start_state(state.selection_states[k])
        if log is not None:
            log = copy.deepcopy(state.logs[k]) or log
    together = params.n_networks > 1 and params.choose == "together"
    return Member(
        network=None if earlier is None else earlier.networks[k],
        rows=split.train,
        selection=selection,
        batch_size=rows.batch_sizes[k],
        max_epochs=1 if incremental else int(params.max_epochs),
        lr=float(params.lr),
        weight_decay=float(params.weight_decay),
        optimizer_params=params.optimizer_params or {},
        input_clip=input_limit(params),
        lr_schedule=_lr_schedule(
            params, None if state is None else state.lr_schedules[k], rows, k
        ),
        n_augments=int(params.n_augments),
        noise_std=params.noise_std,
        weights=split.weights,
        valid_rows=split.valid,
        valid_weights=split.valid_weights,
        early_stopping=stopping,
        seed=seed,
        may_skip=params.precision == "fp16",
        constants=constants,
        team=id(params) if together else None,
        team_rows=np.arange(rows.n_samples) if together and rows.rotates else None,
        log=log,
        lengths=rows.lengths,
        max_elements=int(params.max_elements or 0),
    )


def _lr_schedule(
    params: Parameters, before: LRSchedule | None, rows: Rows, k: int
) -> LRSchedule | None:
    """Return the learning-rate schedule; that of the last fit if still the same."""
    if params.lr_schedule is None:
        return None
    settings = (
        params.lr_schedule,
        params.lr_schedule_params or {},
        *optimizer_of(params),
    )
    if before is not None and before.settings == settings:
        return copy.deepcopy(before)
    n_entries = len(rows.splits[k].train) * (1 + int(params.n_augments))
    n_steps = -(-n_entries // rows.batch_sizes[k])
    return LRSchedule(*settings, int(params.max_epochs), n_steps)
