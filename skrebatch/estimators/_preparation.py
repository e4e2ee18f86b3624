"""From data and parameters to the networks of a fit, step by step."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
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
from skrebatch._engine.training.members import Member
from skrebatch._utils.padding import row_lengths
from skrebatch._utils.typing import Floats, Indices
from skrebatch.estimators._parameters import optimizer_of
from skrebatch.sampling._by_length import check_lengths
from skrebatch.sampling._interval import redistribution_size
from skrebatch.sampling._loss_log import LossLog
from skrebatch.sampling._selector import Selection
from skrebatch.strategies import check_strategy

# What checking the data teaches an estimator.
_SEEN = ("n_features_in_", "feature_names_in_", "classes_", "n_outputs_", "_is_1d")


@dataclass(frozen=True)
class Rows:
    """The rows of a fit: which they are, what they weigh, how many make a batch."""

    n_samples: int  # those that `fit` was given
    train: Indices  # (N,), of these
    valid: Indices | None  # of these, or of a set that follows them in the table
    weights: Floats | None  # (N,), of mean 1
    batch_size: int
    lengths: Indices | None  # (N,), where batches have a budget of elements


def check_data(
    estimator: Any,
    X: Any,
    y: Any,
    X_val: Any,
    y_val: Any,
    continues: bool,
    classes: Any,
    cache: dict[Any, Any],
    min_samples: int,
) -> tuple[tuple[Any, ...], list[Any], list[NDArray[Any]], Indices]:
    """Check the data, and let the estimator learn what they are.

    Returns
    -------
    key : tuple
        Tells these data from others in the cache.
    X, y : list
        The data, and the validation set where one is given.
    rows : ndarray of int, shape (n_samples,)
        Every row of X; the same object for the same data.
    """
    variable_length = estimator.variable_length
    key: tuple[Any, ...] = type(estimator), id(X), id(y), str(estimator.dtype)
    key = *key, bool(variable_length)
    if key not in cache:
        checked_X, checked_y = estimator._check_X(
            X,
            variable_length,
            y=y,
            reset=not continues,
            ensure_min_samples=min_samples,
            **estimator._y_checks,
        )
        targets = estimator._learn_targets(checked_y, continues, classes)
        learned = vars(estimator)
        seen = {name: learned[name] for name in _SEEN if name in learned}
        cache[key] = checked_X, targets, seen, np.arange(len(checked_X))
    X, y, seen, rows = cache[key]
    estimator.__dict__.update(seen)
    if X_val is None:
        return key, [X], [y], rows
    key = *key, id(X_val), id(y_val)
    if key not in cache:
        cache[key] = estimator._check_validation_set(X_val, y_val)
    X_val, y_val = cache[key]
    return key, [X, X_val], [y, y_val], rows


def draw_seeds(
    estimator: Any, stand_in: int | None, continues: bool
) -> tuple[NDArray[np.int_], list[np.random.Generator]]:
    """Draw each network's seed, and give it the generator that it goes by.

    A seed stands in for a `random_state` of None.
    """
    random_state = estimator.random_state
    if random_state is None:  # not numpy's global one, which stays as it is
        random_state = np.random.RandomState(stand_in)
    seeds = check_random_state(random_state).randint(
        2**31 - 1, size=estimator.n_networks
    )
    if continues:
        return seeds, copy.deepcopy(estimator._rngs)
    return seeds, [np.random.default_rng(int(seed)) for seed in seeds]


def choose_rows(
    estimator: Any,
    X: list[Any],
    y: NDArray[Any],
    rows: Indices,
    weights: Floats | None,
    continues: bool,
    rng: np.random.Generator,
) -> Rows:
    """Leave out what has no weight, set rows for validation aside, size the batches."""
    n_samples = len(rows)
    if weights is not None:
        rows = np.flatnonzero(weights > 0)
    valid = None
    if len(X) > 1:
        valid = np.arange(n_samples, n_samples + len(X[1]))
    elif estimator.early_stopping:
        if not (continues and hasattr(estimator, "_split_seed")):
            estimator._split_seed = int(rng.integers(2**31))
        rows, valid = _split(
            rows,
            estimator._strata(y[rows]),
            estimator.validation_fraction,
            estimator._split_seed,
        )
    elif (estimator.lr_schedule_params or {}).get("monitor") == "valid_loss":
        raise ValueError(
            'lr_schedule_params={"monitor": "valid_loss"} needs a validation set: '
            "set early_stopping=True or pass X_val and y_val."
        )
    if weights is not None:
        weights = weights[rows] / weights[rows].mean()
    return Rows(n_samples, rows, valid, weights, *_size_batches(estimator, X[0], rows))


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


def _size_batches(estimator: Any, X: Any, rows: Indices) -> tuple[int, Indices | None]:
    """Return the rows of a batch, and the lengths of all rows where they decide."""
    lengths = None
    batch_size = estimator.batch_size
    if batch_size == "auto":
        batch_size = min(redistribution_size(len(rows), estimator.ratio), 1024) or 32
    if estimator.max_elements is not None:
        lengths = check_lengths(row_lengths(X), estimator.max_elements)[rows]
        batch_size = max(1, int(estimator.max_elements / lengths.mean()))
    batch_size = min(int(batch_size), len(rows))
    if estimator.batch_norm and batch_size < 2:
        raise ValueError(
            f"batch_norm needs mini-batches of at least 2 rows, but batch_size="
            f"{estimator.batch_size!r} makes them of {batch_size}; set a larger "
            "batch_size."
        )
    return batch_size, lengths


def encode(
    estimator: Any,
    key: tuple[Any, ...],
    y: list[NDArray[Any]],
    rows: Indices,
    cache: dict[Any, Any],
) -> tuple[list[Floats], NDArray[Any]]:
    """Return the targets as a network learns them, and the labels of some rows."""
    key = "targets", *key, estimator._encoding()
    if key not in cache:
        cache[key] = [estimator._encode(part) for part in y]
    targets = cache[key]
    # With its rows, which so keep their identity.
    key = "labels", *key, id(rows)
    if key not in cache:
        cache[key] = rows, estimator._labels(targets[0])[rows]
    _, labels = cache[key]
    return targets, labels


def architecture_of(estimator: Any, n_outputs: int) -> Architecture:
    """Return the architecture that an estimator asks for."""
    blocks = {
        "conv_channels": estimator.conv_channels,
        "kernel_size": estimator.kernel_size,
        "pool_size": estimator.pool_size,
        "pool_stride": estimator.pool_stride,
        "padding": estimator.padding,
    }
    channels = estimator.conv_channels
    if estimator.architecture == "mlp":
        blocks = {"conv_channels": ()}
    elif isinstance(channels, list | tuple) and not channels:
        raise ValueError(
            "conv_channels must be a tuple with the channels of each block, such "
            f"as (8, 16), got {channels!r}; without blocks it is "
            'architecture="mlp".'
        )
    return build_architecture(
        estimator.n_features_in_,
        n_outputs,
        hidden_size=estimator.hidden_size,
        hidden_layers=estimator.hidden_layers,
        batch_norm=estimator.batch_norm,
        dropout=estimator.dropout,
        variable_length=estimator.variable_length,
        **blocks,
    )


def networks_before(estimator: Any, architecture: Architecture) -> list[TabularCNN]:
    """Return the networks to go on from, if they are as asked for now."""
    networks = estimator._networks()
    asked = architecture, estimator.n_networks
    if (networks[0].architecture, len(networks)) != asked:
        raise ValueError(
            "The network's parameters (architecture, conv_channels, "
            "kernel_size, pool_size, pool_stride, padding, hidden_size, "
            "hidden_layers, batch_norm, dropout, variable_length, n_networks) "
            "changed since the last fit; training can't go on from it. Use "
            "warm_start=False."
        )
    return networks


def recognise(
    estimator: Any, X: Any, y: Any, rows: Indices, continues: bool
) -> tuple[str | None, bool]:
    """Tell whether the data are those of the fit that this one goes on from.

    Only then do running means, plans and records of single samples go on.
    """
    remembers = (
        estimator.record_losses
        or estimator.loss_smoothing
        or estimator.refresh_every > 1
    )
    if not remembers:
        return None, False
    data = joblib.hash((X, y, rows))
    return data, continues and data == estimator._data_seen


def make_members(
    estimator: Any,
    rows: Rows,
    labels: NDArray[Any],
    networks: Sequence[TabularCNN | None],
    seeds: NDArray[np.int_],
    rngs: list[np.random.Generator],
    *,
    continues: bool,
    known: bool,
    incremental: bool,
) -> list[Member]:
    """Lay out what each network learns, and how it does.

    Parameters
    ----------
    estimator : estimator
        Whose parameters hold for all.
    rows : Rows
    labels : ndarray of shape (N, ...)
        Of the training rows.
    networks : sequence of TabularCNN or None
        None is made from its seed, when training begins.
    seeds : ndarray of int, shape (K,)
    rngs : list of numpy.random.Generator
    continues : bool
        Whether from an earlier fit.
    known : bool
        Whether from one on the same data.
    incremental : bool
        Whether for one epoch.
    """
    strategy = check_strategy(estimator.strategy)
    n_before = estimator.n_iter_ if continues else 0
    together = estimator.n_networks > 1 and estimator.choose == "together"
    patience = int(estimator.n_iter_no_change) if estimator.early_stopping else None
    members = []
    for k, network in enumerate(networks):
        selection = Selection(
            n_samples=len(rows.train),
            strategy=clone(strategy),
            rng=rngs[k],
            ratio=estimator.ratio,
            repeats=estimator.repeats,
            shuffle=estimator.shuffle,
            max_epochs=int(estimator.max_epochs) + (0 if incremental else n_before),
            schedule=estimator.ratio_schedule,
            warmup_epochs=estimator.warmup_epochs,
            smoothing=estimator.loss_smoothing,
            refresh_every=estimator.refresh_every,
            class_balanced=getattr(estimator, "class_balanced", False),
            labels=labels,
            epoch=n_before,
        )
        log = LossLog(rows.n_samples) if estimator.record_losses else None
        if known:
            selection.remember(estimator._memories[k])
            if log is not None:
                log = copy.deepcopy(estimator._logs[k]) or log
        member = Member(
            network=network,
            rows=rows.train,
            selection=selection,
            batch_size=rows.batch_size,
            max_epochs=1 if incremental else int(estimator.max_epochs),
            lr=float(estimator.lr),
            weight_decay=float(estimator.weight_decay),
            optimizer_params=estimator.optimizer_params or {},
            lr_schedule=_lr_schedule(
                estimator, estimator._rates[k] if continues else None, rows
            ),
            n_augments=int(estimator.n_augments),
            noise_std=estimator.noise_std,
            weights=rows.weights,
            valid_rows=rows.valid,
            patience=patience,
            seed=int(seeds[k]),
            may_skip=estimator.precision == "fp16",
            team=id(estimator) if together else None,
            log=log,
            lengths=rows.lengths,
            max_elements=int(estimator.max_elements or 0),
        )
        members.append(member)
    return members


def _lr_schedule(
    estimator: Any, before: LRSchedule | None, rows: Rows
) -> LRSchedule | None:
    """Return the learning rate that moves: the last fit's, if it can go on."""
    if estimator.lr_schedule is None:
        return None
    params = estimator.lr_schedule_params or {}
    asked = estimator.lr_schedule, params, *optimizer_of(estimator)
    if before is not None and before.asked == asked:
        return copy.deepcopy(before)
    steps = -(-len(rows.train) * (1 + int(estimator.n_augments)) // rows.batch_size)
    return LRSchedule(*asked, int(estimator.max_epochs), steps)
