"""From data and parameters to the networks of a fit, step by step.

Nothing here changes an estimator: what a fit learns is returned, and the estimator
takes it over when the training has ended well.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from skrebatch._engine.nn.architecture import Architecture, build_architecture
from skrebatch._engine.nn.tabular_cnn import TabularCNN
from skrebatch._engine.optim.lr_schedules import LRSchedule
from skrebatch._engine.optim.optimizers import resolve_optimizer
from skrebatch._engine.training.members import Job, Member
from skrebatch._utils.dtypes import resolve_device, resolve_dtype, resolve_precision
from skrebatch._utils.padding import row_lengths
from skrebatch._utils.typing import Floats, Indices
from skrebatch.estimators._parameters import Parameters, optimizer_of
from skrebatch.estimators._targets import Targets
from skrebatch.sampling._by_length import check_lengths
from skrebatch.sampling._interval import redistribution_size
from skrebatch.sampling._loss_log import LossLog
from skrebatch.sampling._selector import Selection
from skrebatch.strategies import check_strategy

# Channels and positions to which "projected-cnn" projects the columns.
_PROJECTION = 8, 16


@dataclass
class FitState:
    """What a fit leaves for one that continues it, beside the networks.

    Each list has an entry for each network.
    """

    rngs: list[np.random.Generator]
    lr_schedules: list[LRSchedule | None]
    memories: list[Any]  # of selections
    logs: list[LossLog | None]
    split_seed: int | None = None  # of the validation split
    data_hash: str | None = None  # of the data, where single samples are remembered
    max_epochs: int | None = (
        None  # in which ratio schedule and strategy run their course
    )


@dataclass(frozen=True)
class EarlierFit:
    """What a fit continues."""

    networks: list[TabularCNN]
    n_epochs: int
    state: FitState


@dataclass(frozen=True)
class CheckedData:
    """The data of a fit, and what checking them has taught."""

    key: tuple[Any, ...]  # tells them from other data in a cache
    X: list[Any]  # training data, and the validation set where one is given
    y: list[NDArray[Any]]
    rows: Indices  # every row of the training data; the same object for the same data
    targets: Targets
    learned: dict[str, Any]  # fitted attributes


@dataclass(frozen=True)
class Split:
    """The training and the validation rows of a fit, and its batches."""

    n_samples: int  # of the training data, before the split
    train: Indices  # (N,)
    valid: Indices | None  # of the same data, or of a set that follows them
    weights: Floats | None  # (N,), of mean 1
    valid_weights: Floats | None  # of mean 1; None for a set that follows
    batch_size: int
    lengths: Indices | None  # (N,), where batches have a budget of elements
    seed: int | None  # of the split


@dataclass
class PreparedFit:
    """A fit that is ready to be trained: its job, and what was learned before."""

    job: Job
    learned: dict[str, Any]  # fitted attributes
    split_seed: int | None
    data_hash: str | None
    max_epochs: int  # in which ratio schedule and strategy run their course
    continues: EarlierFit | None = field(default=None, repr=False)


def prepare_fit(
    params: Parameters,
    data: CheckedData,
    weights: Floats | None,
    earlier: EarlierFit | None = None,
    *,
    incremental: bool = False,
    class_balanced: bool = False,
    standardize: bool = False,
    cache: dict[Any, Any] | None = None,
    seed: int | None = None,
) -> PreparedFit:
    """Lay out what a fit needs.

    Parameters
    ----------
    params : Parameters
    data : CheckedData
    weights : ndarray of shape (n_samples,) or None
        Weights of the training data.
    earlier : EarlierFit or None, default=None
        The fit to continue.
    incremental : bool, default=False
        Whether to train one epoch.
    class_balanced : bool, default=False
        Whether to choose samples within each class.
    standardize : bool, default=False
        Whether to standardise numeric targets.
    cache : dict, default=None
        Shared by fits of the same data, which are encoded and stored once.
    seed : int, default=None
        Stands in for a `random_state` of None.

    Returns
    -------
    prepared : PreparedFit
    """
    cache = {} if cache is None else cache
    state = None if earlier is None else earlier.state
    seeds, rngs = _draw_seeds(params, seed, state)
    split = _choose_rows(params, data, weights, state, rngs[0])
    targets = data.targets
    if earlier is None:
        targets = targets.scale_to(data.y[0][split.train], split.weights, standardize)
    encoded, labels = _encode(data, targets, split.train, cache)
    architecture = _architecture_of(
        params, data.learned["n_features_in_"], encoded[0].shape[1]
    )
    if earlier is not None:
        _check_networks(earlier.networks, architecture, params.n_networks)
    data_hash, is_same_data = None, False
    if params.record_losses or params.loss_smoothing or params.refresh_every > 1:
        # Running means, plans and records of single samples hold for the same data.
        data_hash = joblib.hash((data.X[0], data.y[0], split.train))
        is_same_data = state is not None and data_hash == state.data_hash
    max_epochs = int(params.max_epochs)
    if state is not None:
        max_epochs = state.max_epochs or max_epochs
    members = [
        _make_member(
            params,
            split,
            labels,
            class_balanced=class_balanced,
            earlier=earlier,
            remembers=is_same_data,
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
        split.seed,
        data_hash,
        max_epochs,
        earlier,
    )


def _draw_seeds(
    params: Parameters, stand_in: int | None, state: FitState | None
) -> tuple[NDArray[np.int_], list[np.random.Generator]]:
    """Draw the seed of each network, and make the generator that it uses."""
    random_state = params.random_state
    if random_state is None:  # not numpy's global one, which stays as it is
        random_state = np.random.RandomState(stand_in)
    seeds = check_random_state(random_state).randint(2**31 - 1, size=params.n_networks)
    if state is not None:
        return seeds, copy.deepcopy(state.rngs)
    return seeds, [np.random.default_rng(int(seed)) for seed in seeds]


def _choose_rows(
    params: Parameters,
    data: CheckedData,
    weights: Floats | None,
    state: FitState | None,
    rng: np.random.Generator,
) -> Split:
    """Leave out rows without weight, set rows aside for validation, size batches."""
    rows, n_samples = data.rows, len(data.rows)
    seed = None if state is None else state.split_seed
    if weights is not None:
        rows = np.flatnonzero(weights > 0)
    valid = valid_weights = None
    if len(data.X) > 1:
        valid = np.arange(n_samples, n_samples + len(data.X[1]))
    elif params.early_stopping:
        if seed is None:
            seed = int(rng.integers(2**31))
        strata = data.targets.strata(data.y[0][rows])
        rows, valid = _split(rows, strata, params.validation_fraction, seed)
        valid_weights = _scaled(weights, valid)
    elif (params.lr_schedule_params or {}).get("monitor") == "valid_loss":
        raise ValueError(
            'lr_schedule_params={"monitor": "valid_loss"} needs a validation set: '
            "set early_stopping=True or pass X_val and y_val."
        )
    return Split(
        n_samples,
        rows,
        valid,
        _scaled(weights, rows),
        valid_weights,
        *_size_batches(params, data.X[0], rows),
        seed,
    )


def _scaled(weights: Floats | None, rows: Indices) -> Floats | None:
    """Return the weights of some rows, scaled to mean 1."""
    return None if weights is None else weights[rows] / weights[rows].mean()


def _split(
    rows: Indices, strata: NDArray[Any] | None, fraction: float, seed: int
) -> tuple[Indices, Indices]:
    """Set validation rows aside."""
    options = {"test_size": float(fraction), "random_state": seed}
    try:
        train, valid = train_test_split(rows, stratify=strata, **options)
    except ValueError:
        # A class too small to be split, or more classes than validation rows.
        try:
            train, valid = train_test_split(rows, **options)
        except ValueError as error:
            raise ValueError(
                f"early_stopping can't set validation_fraction={fraction} of "
                f"{len(rows)} rows aside: no row would be left to train on."
            ) from error
    return np.sort(train), np.sort(valid)


def _size_batches(
    params: Parameters, X: Any, rows: Indices
) -> tuple[int, Indices | None]:
    """Return the rows of a batch, and the lengths of all rows where they decide."""
    lengths = None
    batch_size = params.batch_size
    if batch_size == "auto":
        batch_size = min(redistribution_size(len(rows), params.ratio), 1024) or 32
    if params.max_elements is not None:
        lengths = check_lengths(row_lengths(X), params.max_elements)[rows]
        batch_size = max(1, int(params.max_elements / lengths.mean()))
    batch_size = min(int(batch_size), len(rows))
    if params.batch_norm and batch_size < 2:
        raise ValueError(
            f"batch_norm needs mini-batches of at least 2 rows, but batch_size="
            f"{params.batch_size!r} makes them of {batch_size}; set a larger "
            "batch_size."
        )
    return batch_size, lengths


def _encode(
    data: CheckedData, targets: Targets, rows: Indices, cache: dict[Any, Any]
) -> tuple[list[Floats], NDArray[Any]]:
    """Return the targets as a network learns them, and the labels of some rows."""
    key = "targets", *data.key, targets.key
    if key not in cache:
        cache[key] = [targets.encode(part) for part in data.y]
    encoded = cache[key]
    # With the rows, which keep their identity that way.
    key = "labels", *key, id(rows)
    if key not in cache:
        cache[key] = rows, targets.labels(encoded[0])[rows]
    _, labels = cache[key]
    return encoded, labels


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
    if params.architecture == "mlp":
        blocks = {"conv_channels": ()}
    elif isinstance(channels, list | tuple) and not channels:
        raise ValueError(
            "conv_channels must be a tuple with the channels of each block, such "
            f"as (8, 16), got {channels!r}; without blocks it is "
            'architecture="mlp".'
        )
    if params.architecture == "projected-cnn":
        blocks["projection"] = _PROJECTION
    return build_architecture(
        n_features,
        n_outputs,
        hidden_size=params.hidden_size,
        hidden_layers=params.hidden_layers,
        batch_norm=params.batch_norm,
        dropout=params.dropout,
        variable_length=params.variable_length,
        **blocks,
    )


def _check_networks(
    networks: list[TabularCNN], architecture: Architecture, n_networks: int
) -> None:
    """Refuse to continue with networks that are not those of the parameters."""
    if (networks[0].architecture, len(networks)) != (architecture, n_networks):
        raise ValueError(
            "The network's parameters (architecture, conv_channels, "
            "kernel_size, pool_size, pool_stride, padding, hidden_size, "
            "hidden_layers, batch_norm, dropout, variable_length, n_networks) "
            "changed since the last fit; training can't go on from it. Use "
            "warm_start=False."
        )


def _make_member(
    params: Parameters,
    split: Split,
    labels: NDArray[Any],
    *,
    class_balanced: bool,
    earlier: EarlierFit | None,
    remembers: bool,
    k: int,
    seed: int,
    rng: np.random.Generator,
    max_epochs: int,
    incremental: bool,
) -> Member:
    """Lay out what network `k` learns, and how.

    Parameters
    ----------
    params : Parameters
    split : Split
    labels : ndarray of shape (N, ...)
        Of the training rows.
    class_balanced : bool
        Whether to choose samples within each class.
    earlier : EarlierFit or None
        The fit to continue; without one the network is made from its seed when
        training begins.
    remembers : bool
        Whether the earlier fit was on the same data.
    k : int
        Index of the network.
    seed : int
    rng : numpy.random.Generator
    max_epochs : int
        In which the ratio schedule and the strategy run their course.
    incremental : bool
        Whether to train one epoch.
    """
    state = None if earlier is None else earlier.state
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
        epoch=0 if earlier is None else earlier.n_epochs,
    )
    log = LossLog(split.n_samples) if params.record_losses else None
    if state is not None and remembers:
        selection.remember(state.memories[k])
        if log is not None:
            log = copy.deepcopy(state.logs[k]) or log
    together = params.n_networks > 1 and params.choose == "together"
    return Member(
        network=None if earlier is None else earlier.networks[k],
        rows=split.train,
        selection=selection,
        batch_size=split.batch_size,
        max_epochs=1 if incremental else int(params.max_epochs),
        lr=float(params.lr),
        weight_decay=float(params.weight_decay),
        optimizer_params=params.optimizer_params or {},
        lr_schedule=_lr_schedule(
            params, None if state is None else state.lr_schedules[k], split
        ),
        n_augments=int(params.n_augments),
        noise_std=params.noise_std,
        weights=split.weights,
        valid_rows=split.valid,
        valid_weights=split.valid_weights,
        patience=int(params.n_iter_no_change) if params.early_stopping else None,
        seed=seed,
        may_skip=params.precision == "fp16",
        team=id(params) if together else None,
        log=log,
        lengths=split.lengths,
        max_elements=int(params.max_elements or 0),
    )


def _lr_schedule(
    params: Parameters, before: LRSchedule | None, split: Split
) -> LRSchedule | None:
    """Return the schedule of the learning rate: that of the last fit if it holds."""
    if params.lr_schedule is None:
        return None
    settings = (
        params.lr_schedule,
        params.lr_schedule_params or {},
        *optimizer_of(params),
    )
    if before is not None and before.asked == settings:
        return copy.deepcopy(before)
    n_entries = len(split.train) * (1 + int(params.n_augments))
    n_steps = -(-n_entries // split.batch_size)
    return LRSchedule(*settings, int(params.max_epochs), n_steps)
