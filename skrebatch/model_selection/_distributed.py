"""One fit by several processes, each of which holds some of the rows."""

from __future__ import annotations

import pickle
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import joblib
import numpy as np
import torch.distributed as dist
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _num_samples

from skrebatch._engine.serialization.checkpoint import Checkpoint
from skrebatch._engine.tables.sharded import ShardedRows, translate_lost_peer
from skrebatch._engine.training.progress import EpochProgress
from skrebatch._utils.dtypes import resolve_device
from skrebatch._utils.validation import as_array
from skrebatch.estimators._base import BaseReBatchCNN
from skrebatch.estimators._fitting import (
    fingerprint_of,
    open_checkpoint,
    train_and_finish,
)
from skrebatch.estimators._preparation import PreparedFit
from skrebatch.model_selection._fused import reason_not_stackable

T = TypeVar("T")
Estimator = TypeVar("Estimator", bound=BaseReBatchCNN)

# What may differ between the processes.
_OWN = "device", "verbose", "random_state"
# What would need the other rows of a batch, or numbers drawn for them.
_WITHOUT = {
    "batch_norm": False,
    "dropout": 0,
    "n_augments": 0,
    "variable_length": False,
}


def fit_distributed(
    estimator: Estimator,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    X_val: ArrayLike | None = None,
    y_val: ArrayLike | None = None,
) -> Estimator:
    """Fit an estimator by several processes, each of which holds some of the rows.

    Each process calls it at the same time, with the same parameters and its own rows.
    They train one network as one process would that had all rows, in the order of the
    ranks: with the same mini-batches, of which each process computes its rows' share of
    the gradient; with the same choice of samples, by the losses of all rows. So the
    result is that of `fit` up to rounding, and the same bits in every process.

    The rows themselves stay where they are. Targets, weights and losses, a few bytes a
    row, go to every process.

    Parameters
    ----------
    estimator : ReBatchCNNClassifier or ReBatchCNNRegressor
        Fitted in place, with the same parameters in every process, but for `device`,
        `verbose` and a `random_state` that is None. Its `checkpoint_dir` must be a
        folder that all processes see; the first one writes to it.
    X : array-like of shape (n_own, n_features)
        Rows of this process, at least one; memory-mapped, if they are many.
    y : array-like of shape (n_own,) or (n_own, n_outputs)
        Their labels or targets.
    sample_weight : array-like of shape (n_own,), default=None
        Their weights, in every process or in none.
    X_val : array-like of shape (n_val, n_features), default=None
        This process's share of a validation set, at least one row, in every process or
        in none.
    y_val : array-like of shape (n_val,) or (n_val, n_outputs), default=None
        Its labels or targets.

    Returns
    -------
    estimator : estimator
        The same estimator. Its attributes, such as `sample_losses_` and `chosen_`, are
        those of all rows, counted in the order of the ranks.

    Raises
    ------
    RuntimeError
        If there is no process group yet.
    ValueError
        In every process, if one of them was given what can't be fitted, or parameters
        other than the first one, or plans another epoch; also for `batch_norm`,
        `dropout`, `n_augments`, `variable_length`, callbacks and a fit that goes on.
    CheckpointError
        In every process, if there is a checkpoint in `checkpoint_dir` that can't be
        gone on from.
    ConnectionError
        If another process is lost. The estimator is as it was. What a strategy of your
        own raises in one process alone is raised there; its end is the others' loss.

    See Also
    --------
    fit_fused : Many fits in one process.
    FusedGridSearchCV : A search, whose fits joblib spreads over processes.

    Notes
    -----
    Gradients are summed by all-reduce after each step, as data-parallel training does:
    S. Li et al., "PyTorch Distributed", VLDB 2020.

    Examples
    --------
    Started by ``torchrun``, a process finds in its environment which one of how many it
    is. Here it is the only one.

    >>> import torch.distributed as dist
    >>> from sklearn.datasets import load_iris
    >>> from skrebatch import ReBatchCNNClassifier, fit_distributed
    >>> dist.init_process_group(
    ...     "gloo", store=dist.HashStore(), rank=0, world_size=1
    ... )
    >>> X, y = load_iris(return_X_y=True)
    >>> rank, n_processes = dist.get_rank(), dist.get_world_size()
    >>> own = slice(rank, None, n_processes)
    >>> clf = ReBatchCNNClassifier(max_epochs=20, random_state=0)
    >>> fit_distributed(clf, X[own], y[own]).sample_losses_.shape
    (150,)
    >>> dist.destroy_process_group()
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(
            "fit_distributed needs a process group: call torch.distributed."
            'init_process_group("gloo") first ("nccl" on GPUs), in a script that '
            "torchrun starts."
        )
    given = estimator, X, y, sample_weight, X_val, y_val
    _, shares = gather_or_raise(partial(_share, *given), lambda own: own)
    _refuse_differences([share["asked"] for share in shares])
    data, seed = _put_together(shares, X, X_val), shares[0]["seed"]
    del shares  # before the training, since they are large
    checkpoint, seed = open_checkpoint(estimator.checkpoint_dir, seed, _open)
    prepared = _prepare(estimator, data, seed, checkpoint)
    del data
    shown = [EpochProgress()] if estimator.verbose and _is_first() else []
    train_and_finish(estimator, prepared, shown, checkpoint, seed)
    return estimator


class _SharedCheckpoint(Checkpoint):
    """A checkpoint that all processes go on from, and the first one writes."""

    def write(self, *content: Any) -> None:
        """Write the file anew, whole or not at all."""
        gather_or_raise(
            partial(super().write, *content) if _is_first() else _do_nothing
        )

    def remove(self) -> None:
        """Remove the file, before any process looks for it again."""
        gather_or_raise(super().remove if _is_first() else _do_nothing)


def _open(path: Path) -> _SharedCheckpoint:
    """Read a checkpoint, which must be the same for all processes."""
    checkpoint, told = gather_or_raise(
        partial(_SharedCheckpoint, path),
        lambda own: {"checkpoint": joblib.hash((own.content, own.tensors))},
    )
    _refuse_differences(told)
    return checkpoint


def _is_first() -> bool:
    return bool(dist.get_rank() == 0)


def _do_nothing() -> None:
    """Wait while the first process does something."""


def _prepare(
    estimator: BaseReBatchCNN,
    data: dict[str, Any],
    seed: int,
    checkpoint: Checkpoint | None,
) -> PreparedFit:
    """Check everything in every process, and that all mean the same fit."""

    def tell(prepared: PreparedFit) -> tuple[dict[str, Any], dict[str, str]]:
        learned = prepared.learned
        alike = {
            "number of features": learned["n_features_in_"],
            "names of features": list(learned.get("feature_names_in_", [])),
            "random_state": [
                (member.seed, member.selection.rng.bit_generator.state)
                for member in prepared.job.members
            ],
        }
        with_checkpoint = checkpoint is not None
        return alike, fingerprint_of(estimator, prepared) if with_checkpoint else {}

    prepared, told = gather_or_raise(
        partial(estimator.__rebatch_prepare__, **data, seed=seed), tell
    )
    _refuse_differences([alike for alike, _ in told])
    if checkpoint is not None:
        fingerprints = [own for _, own in told]
        # The rows differ from process to process.
        together = {
            name: joblib.hash([own[name] for own in fingerprints])
            for name in fingerprints[0]
        }
        checkpoint.claim(together)
    return prepared


def gather_or_raise(
    do: Callable[[], T], tell: Callable[[T], Any] = lambda own: None
) -> tuple[T, list[Any]]:
    """Do something in every process, or raise in all if one of them can't.

    Returns
    -------
    done : object
        What came of it here.
    told : list
        What each process tells of that, by rank.
    """
    error, own = None, b""
    try:
        done = do()
        own = pickle.dumps(tell(done))
    except Exception as raised:
        error = raised
    everyone: list[Any] = [None] * dist.get_world_size()
    said = None if error is None else f"{type(error).__name__}: {error}"
    with translate_lost_peer():
        dist.all_gather_object(everyone, (own, said))
    if error is not None:
        raise error
    for rank, (_, said) in enumerate(everyone):
        if said is not None:
            raise ValueError(f"Process {rank} can't take part in the fit. {said}")
    return done, [pickle.loads(told) for told, _ in everyone]


def _refuse_differences(everyone: list[dict[str, Any]]) -> None:
    for rank, own in enumerate(everyone):
        for name, value in everyone[0].items():
            if own[name] != value:
                raise ValueError(
                    f"Process {rank} has another {name} than process 0; it must be the "
                    "same in all."
                )


def _share(
    estimator: Any, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any
) -> dict[str, Any]:
    """Check what needs no other process; return what the others are to know."""
    if not isinstance(estimator, BaseReBatchCNN):
        raise ValueError(f"estimator is not a re-Batch estimator: {estimator!r}.")
    if reason := reason_not_stackable(estimator):
        raise ValueError(f"estimator {reason}, which fit_distributed can't do.")
    for name, value in _WITHOUT.items():
        if getattr(estimator, name) != value:
            raise ValueError(
                f"fit_distributed needs {name}={value!r}: no process has all rows of a "
                f"mini-batch, got {getattr(estimator, name)!r}."
            )
    device = resolve_device(estimator.device)
    if dist.get_backend() == "nccl" and device.type != "cuda":
        raise ValueError(
            f'The process group is one of "nccl", between GPUs, but device="{device}". '
            'Set the device, or call init_process_group("gloo").'
        )
    if X is None:
        raise ValueError("X is None: each process needs rows of its own.")
    if X_val is None and y_val is not None:
        raise ValueError("X_val and y_val belong together: pass both or neither.")
    weights = None
    if sample_weight is not None:
        weights = np.asarray(as_array(sample_weight))
        if weights.ndim == 0:
            weights = np.full(_num_samples(X), weights)
        check_consistent_length(X, weights)
    parameters = estimator.get_params(deep=False)
    cls = type(estimator)
    # First: others have other parameters.
    asked: dict[str, Any] = {"class": f"{cls.__module__}.{cls.__qualname__}"}
    asked |= {n: _digest(v) for n, v in parameters.items() if n not in _OWN}
    targets, validation_targets = _targets(X, y), _targets(X_val, y_val)
    asked |= {
        "kind of y": _kind(targets),
        "kind of y_val": _kind(validation_targets),
        "kind of sample_weight": _kind(weights),
    }
    index = None
    if estimator.record_losses and not isinstance(X, list | tuple):
        index = getattr(X, "index", None)
    return {
        "asked": asked,
        "index": index,
        "y": targets,
        "y_val": validation_targets,
        "sample_weight": weights,
        "seed": secrets.randbits(32),
    }


def _digest(value: Any) -> str:
    """Return what is the same for equal values in every process."""
    try:
        return str(joblib.hash(value))
    except Exception:  # of a function without a name, say, which can't be pickled
        return type(value).__name__


def _targets(X: Any, y: Any) -> NDArray[Any] | None:
    """Return the targets of this process's rows, if there are any to be had."""
    if X is None:
        return None
    if y is None:
        raise ValueError("Rows were given without targets: y or y_val is None.")
    check_consistent_length(X, y)
    return np.asarray(as_array(y))


def _kind(values: NDArray[Any] | None) -> Any:
    """Tell targets that numpy would not put together as they are."""
    if values is None:
        return None
    kinds = {"text": "OSU", "times": "mM"}
    kind = [name for name, letters in kinds.items() if values.dtype.kind in letters]
    return values.shape[1:], kind


def _put_together(shares: list[dict[str, Any]], X: Any, X_val: Any) -> dict[str, Any]:
    """Return the arguments of `fit`: the rows sharded, all else whole."""
    data: dict[str, Any] = {
        name: np.concatenate([share[name] for share in shares])
        for name in ("y", "sample_weight", "y_val")
        if shares[0][name] is not None
    }
    rank = dist.get_rank()
    for name, own, targets in (("X", X, "y"), ("X_val", X_val, "y_val")):
        if own is not None:
            start = sum(len(share[targets]) for share in shares[:rank])
            data[name] = ShardedRows(own, start, len(data[targets]))
    indices = [share["index"] for share in shares]
    if all(index is not None for index in indices):
        data["X"] = replace(data["X"], index=indices[0].append(indices[1:]))
    return data
