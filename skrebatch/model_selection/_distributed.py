"""One fit in several processes, each holding some of the rows."""

from __future__ import annotations

import pickle
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar

import joblib
import numpy as np
import torch.distributed as dist
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _num_samples

from skrebatch._engine.serialization.checkpoint import Checkpoint
from skrebatch._engine.tables.sharded import ShardedRows, translate_lost_peer
from skrebatch._engine.training.progress import epoch_reports
from skrebatch._utils.arrays import as_array, keep_integers
from skrebatch._utils.dtypes import resolve_device
from skrebatch._utils.settings import with_default_settings
from skrebatch.estimators._base import BaseReBatchCNN
from skrebatch.estimators._fit_data import PreparedFit
from skrebatch.estimators._fitting import (
    fingerprint_of,
    open_checkpoint,
    train_and_finish,
)
from skrebatch.model_selection._fused import reason_not_stackable

T = TypeVar("T")
Estimator = TypeVar("Estimator", bound=BaseReBatchCNN)

# Parameters that may differ between the processes.
_LOCAL = "device", "verbose", "random_state"
# Other values would need all rows of a batch, or random numbers for all of them.
_REQUIRED = {
    "batch_norm": False,
    "dropout": 0,
    "n_augments": 0,
    "variable_length": False,
}


@with_default_settings
def fit_distributed(
    estimator: Estimator,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    X_val: ArrayLike | None = None,
    y_val: ArrayLike | None = None,
) -> Estimator:
    """Fit an estimator in several processes, each holding some of the rows.

    Every process calls this function at the same time, with the same parameters and
    with different rows. The processes train the networks as `fit` would on all rows,
    in the order of the ranks. The mini-batches are the same; each process computes the
    gradient of the rows that it holds, and the gradients are summed. The samples are
    chosen by the losses of all rows. The result equals that of `fit` up to rounding,
    and is bit-identical in all processes.

    The rows are not sent to other processes. Targets, weights and losses, a few bytes
    per row, are sent to all of them.

    Parameters
    ----------
    estimator : ReBatchCNNClassifier or ReBatchCNNRegressor
        Fitted in place. Its parameters must be the same in every process, except
        `device`, `verbose` and a `random_state` of None. Its `checkpoint_dir` must be
        a folder that all processes can read; the process of rank 0 writes to it.
    X : array-like of shape (n_local, n_features)
        Rows of this process, at least one. Large data can be memory-mapped.
    y : array-like of shape (n_local,) or (n_local, n_outputs)
        Labels or targets of these rows.
    sample_weight : array-like of shape (n_local,), default=None
        Weights of these rows. Given in every process or in none.
    X_val : array-like of shape (n_local_val, n_features), default=None
        Validation rows of this process, at least one. Given in every process or in
        none.
    y_val : array-like of shape (n_local_val,) or (n_local_val, n_outputs), default=None
        Labels or targets of the validation rows.

    Returns
    -------
    estimator : estimator
        The same estimator. Attributes such as `sample_losses_` and `chosen_` cover all
        rows, in the order of the ranks.

    Raises
    ------
    RuntimeError
        If there is no process group.
    ValueError
        If the data or parameters of any process can't be used, or if its parameters or
        its plan of an epoch differ from those of rank 0. All processes raise this
        error. Also if `batch_norm`, `dropout`, `n_augments`, `variable_length`,
        callbacks or a splitter as `cv` are used, or if the fit would continue an
        earlier one.
    CheckpointError
        If `checkpoint_dir` contains a checkpoint that the fit can't resume from. All
        processes raise this error.
    ConnectionError
        If another process is lost. The estimator is left unchanged. If a custom
        strategy raises an error in one process only, that process raises it and the
        others raise ConnectionError.

    See Also
    --------
    fit_fused : Many fits in one process.
    FusedGridSearchCV : A search whose fits joblib distributes over processes.

    Notes
    -----
    Gradients are summed by all-reduce after each step, as data-parallel training does:
    S. Li et al., "PyTorch Distributed", VLDB 2020.

    Examples
    --------
    A process started by ``torchrun`` reads its rank and the number of processes from
    its environment. In this example there is only one process.

    >>> import torch.distributed as dist
    >>> from sklearn.datasets import load_iris
    >>> from skrebatch import ReBatchCNNClassifier, fit_distributed
    >>> dist.init_process_group(
    ...     "gloo", store=dist.HashStore(), rank=0, world_size=1
    ... )
    >>> X, y = load_iris(return_X_y=True)
    >>> rank, n_processes = dist.get_rank(), dist.get_world_size()
    >>> local = slice(rank, None, n_processes)
    >>> clf = ReBatchCNNClassifier(max_epochs=20, random_state=0)
    >>> fit_distributed(clf, X[local], y[local]).sample_losses_.shape
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
    _, shares = gather_or_raise(partial(_share, *given), lambda share: share)
    _check_equal([share["settings"] for share in shares])
    data, seed = _join_shares(shares, X, X_val), shares[0]["seed"]
    del shares  # before the training, since they are large
    checkpoint, seed = open_checkpoint(estimator.checkpoint_dir, seed, _open)
    prepared = _prepare(estimator, data, seed, checkpoint)
    del data
    shown = epoch_reports(estimator.verbose) if _is_first() else []
    train_and_finish(estimator, prepared, shown, checkpoint, seed)
    return estimator


class _SharedCheckpoint(Checkpoint):
    """A checkpoint that all processes resume from, and rank 0 writes."""

    def write(self, *content: Any) -> None:
        """Replace the file atomically."""
        gather_or_raise(
            partial(super().write, *content) if _is_first() else _do_nothing
        )

    def remove(self) -> None:
        """Remove the file, before any process looks for it again."""
        gather_or_raise(super().remove if _is_first() else _do_nothing)


def _open(path: Path) -> _SharedCheckpoint:
    """Read a checkpoint and check that all processes read the same."""
    checkpoint, hashes = gather_or_raise(
        partial(_SharedCheckpoint, path),
        lambda file: {"checkpoint": joblib.hash((file.content, file.tensors))},
    )
    _check_equal(hashes)
    return checkpoint


def _is_first() -> bool:
    return bool(dist.get_rank() == 0)


def _do_nothing() -> None:
    """Do nothing; the process of rank 0 does the work."""


def _prepare(
    estimator: BaseReBatchCNN,
    data: dict[str, Any],
    seed: int,
    checkpoint: Checkpoint | None,
) -> PreparedFit:
    """Prepare the fit in every process, and check that all fits are the same."""

    def summarize(prepared: PreparedFit) -> tuple[dict[str, Any], dict[str, str]]:
        learned = prepared.learned
        shared = {
            "number of features": learned["n_features_in_"],
            "names of features": list(learned.get("feature_names_in_", [])),
            "random_state": [
                (member.seed, member.selection.rng.bit_generator.state)
                for member in prepared.job.members
            ],
        }
        with_checkpoint = checkpoint is not None
        return shared, fingerprint_of(estimator, prepared) if with_checkpoint else {}

    prepared, summaries = gather_or_raise(
        partial(estimator.__rebatch_prepare__, **data, seed=seed), summarize
    )
    _check_equal([shared for shared, _ in summaries])
    if checkpoint is not None:
        fingerprints = [each for _, each in summaries]
        # Fingerprints differ between processes, since the rows do.
        combined = {
            name: joblib.hash([each[name] for each in fingerprints])
            for name in fingerprints[0]
        }
        checkpoint.claim(combined)
    return prepared


def gather_or_raise(
    do: Callable[[], T], summarize: Callable[[T], Any] = lambda result: None
) -> tuple[T, list[Any]]:
    """Call `do` in every process; if it fails in one, raise an error in all.

    Returns
    -------
    result : object
        What `do` returned in this process.
    summaries : list
        What `summarize` returned in each process, by rank.
    """
    error, summary = None, b""
    try:
        result = do()
        summary = pickle.dumps(summarize(result))
    except Exception as raised:
        error = raised
    gathered: list[Any] = [None] * dist.get_world_size()
    message = None if error is None else f"{type(error).__name__}: {error}"
    with translate_lost_peer():
        dist.all_gather_object(gathered, (summary, message))
    if error is not None:
        raise error
    for rank, (_, message) in enumerate(gathered):
        if message is not None:
            raise ValueError(f"Process {rank} can't take part in the fit. {message}")
    return result, [pickle.loads(each) for each, _ in gathered]


def _check_equal(by_rank: list[dict[str, Any]]) -> None:
    """Raise an error if a process has other values than the one of rank 0."""
    for rank, values in enumerate(by_rank):
        for name, expected in by_rank[0].items():
            if values[name] != expected:
                raise ValueError(
                    f"Process {rank} differs from process 0 in {name}; it must be the "
                    "same in all processes."
                )


def _share(
    estimator: Any, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any
) -> dict[str, Any]:
    """Check this process's arguments; return what all processes need of them."""
    if not isinstance(estimator, BaseReBatchCNN):
        raise ValueError(f"estimator is not a re-Batch estimator: {estimator!r}.")
    if reason := reason_not_stackable(estimator):
        raise ValueError(
            f"fit_distributed does not support an estimator that {reason}."
        )
    for name, value in _REQUIRED.items():
        if getattr(estimator, name) != value:
            raise ValueError(
                f"fit_distributed needs {name}={value!r}, got "
                f"{getattr(estimator, name)!r}: a process doesn't have all rows of a "
                "mini-batch."
            )
    if not (estimator.cv is None or isinstance(estimator.cv, Integral)):
        raise ValueError(
            "fit_distributed needs a cv that is None or a number of folds, got "
            f"{estimator.cv!r:.200}: a process doesn't have all rows and groups."
        )
    device = resolve_device(estimator.device)
    if dist.get_backend() == "nccl" and device.type != "cuda":
        raise ValueError(
            f'The backend "nccl" of the process group needs GPUs, but device is '
            f'"{device}". Set device="cuda", or call init_process_group("gloo").'
        )
    if X is None:
        raise ValueError("X is None: each process needs at least one row.")
    if X_val is None and y_val is not None:
        raise ValueError("X_val and y_val must be passed together.")
    weights = None
    if sample_weight is not None:
        weights = np.asarray(as_array(sample_weight, "sample_weight"))
        if weights.ndim == 0:
            weights = np.full(_num_samples(X), weights)
        check_consistent_length(X, weights)
    parameters = estimator.get_params(deep=False)
    cls = type(estimator)
    # The class comes first, since another class has other parameters.
    settings: dict[str, Any] = {"class": f"{cls.__module__}.{cls.__qualname__}"}
    settings |= {n: _digest(v) for n, v in parameters.items() if n not in _LOCAL}
    targets = _targets(X, y, "y")
    validation_targets = _targets(X_val, y_val, "y_val")
    settings |= {
        "kind of y": _kind(targets),
        "kind of y_val": _kind(validation_targets),
        "kind of sample_weight": _kind(weights),
    }
    index = None
    if estimator.record_losses and not isinstance(X, list | tuple):
        index = getattr(X, "index", None)
    return {
        "settings": settings,
        "index": index,
        "y": targets,
        "y_val": validation_targets,
        "sample_weight": weights,
        "seed": secrets.randbits(32),
    }


def _digest(value: Any) -> str:
    """Return a text that is the same for equal values in every process."""
    try:
        return str(joblib.hash(value))
    except Exception:  # the value can't be pickled; a lambda, for example
        return type(value).__name__


def _targets(X: Any, y: Any, name: str) -> NDArray[Any] | None:
    """Return the targets of this process's rows as an array; None without rows."""
    if X is None:
        return None
    if y is None:
        raise ValueError("y or y_val is None, but its X or X_val is not; pass both.")
    check_consistent_length(X, y)
    if issparse(y):
        return y.toarray()
    return np.asarray(keep_integers(as_array(y, name)))


def _kind(values: NDArray[Any] | None) -> Any:
    """Return the properties in which arrays to be concatenated must agree."""
    if values is None:
        return None
    kinds = {"text": "OSU", "times": "mM"}
    kind = [name for name, letters in kinds.items() if values.dtype.kind in letters]
    return values.shape[1:], kind


def _concatenate(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Concatenate arrays; integers of different types remain integers."""
    if {part.dtype.kind for part in parts} == {"i", "u"}:
        parts = [part.astype(object) for part in parts]
    whole: NDArray[Any] = keep_integers(np.concatenate(parts))
    return whole


def _join_shares(shares: list[dict[str, Any]], X: Any, X_val: Any) -> dict[str, Any]:
    """Return the arguments of `fit`: X and X_val sharded, the others complete."""
    data: dict[str, Any] = {
        name: _concatenate([share[name] for share in shares])
        for name in ("y", "sample_weight", "y_val")
        if shares[0][name] is not None
    }
    rank = dist.get_rank()
    for name, rows, targets in (("X", X, "y"), ("X_val", X_val, "y_val")):
        if rows is not None:
            start = sum(len(share[targets]) for share in shares[:rank])
            data[name] = ShardedRows(rows, start, len(data[targets]))
    indices = [share["index"] for share in shares]
    if all(index is not None for index in indices):
        data["X"] = replace(data["X"], index=indices[0].append(indices[1:]))
    return data
