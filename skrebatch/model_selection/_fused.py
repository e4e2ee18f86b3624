"""Estimators trained side by side, with the results of separate fits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, indexable

from skrebatch._engine.training.members import Job
from skrebatch._engine.training.progress import epoch_reports
from skrebatch._engine.training.run import run_jobs
from skrebatch._utils.arrays import as_array, keep_integers
from skrebatch._utils.rollback import unchanged_on_error
from skrebatch._utils.settings import with_default_settings
from skrebatch._utils.validation import (
    check_integer,
    check_weights,
)
from skrebatch.estimators._base import BaseReBatchCNN
from skrebatch.estimators._classifier import ReBatchCNNClassifier
from skrebatch.estimators._fit_data import PreparedFit
from skrebatch.estimators._regressor import ReBatchCNNRegressor
from skrebatch.estimators._scales import one_scale_warning
from skrebatch.estimators._sklearn_callbacks import is_watched
from skrebatch.model_selection._tabulate import Outcome

# How many numbers of a stack fit in the cache of a core. Counted are parameters, with
# gradient and two moments, and the rows of a batch, with activations and gradients.
_CACHED_NUMBERS = 1_600_000
_MOST_NETWORKS = 50
_FITS = ReBatchCNNClassifier.fit, ReBatchCNNRegressor.fit


def check_rows(rows: Any, name: str, X: Any) -> Any:
    """Return row indices of X, or a mask, as an array; raise an error if invalid."""
    if isinstance(rows, slice):
        return rows
    n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
    found = np.asarray(keep_integers(as_array(rows, name)))
    is_mask = found.dtype == bool and found.shape == (n_samples,)
    is_list = found.ndim == 1 and (found.dtype.kind in "iu" or not len(found))
    if not (is_mask or is_list):
        raise ValueError(
            f"{name} must be row indices or a mask of {n_samples} rows, got an array "
            f"of shape {found.shape} and dtype {found.dtype}."
        )
    if is_mask or not len(found):
        return found
    if not -n_samples <= found.min() <= found.max() < n_samples:
        raise ValueError(
            f"{name} must be between {-n_samples} and {n_samples - 1}, because X has "
            f"{n_samples} rows; got {found.min()} to {found.max()}."
        )
    return found


def check_max_stack(max_stack: Any) -> None:
    """Raise an error unless `max_stack` is "auto" or an integer of at least 1."""
    if max_stack != "auto":
        check_integer(max_stack, "max_stack", 'or "auto"')


def _networks_per_stack(job: Job, max_stack: int | str) -> int:
    """Return how many networks like the job's fit in one stack."""
    if job.members[0].lengths is not None:
        return 1  # batch shapes differ between networks
    if max_stack != "auto":
        return int(max_stack)
    sizes = job.architecture
    numbers = 4 * sizes.n_parameters + 7 * job.members[0].batch_size * sizes.width
    return max(1, min(_MOST_NETWORKS, _CACHED_NUMBERS // numbers))


def cut_into_stacks(jobs: list[Job], max_stack: int | str) -> list[list[int]]:
    """Group jobs with the same `stack_key` into stacks of limited size.

    Jobs with the same number of steps are put in the same stack where possible. The
    stacks depend on the jobs and `max_stack` only, not on where they are trained.
    """
    by_key: dict[Any, list[int]] = {}
    for i, job in enumerate(jobs):
        by_key.setdefault(job.stack_key, []).append(i)
    stacks: list[list[int]] = []
    for indices in by_key.values():
        indices.sort(key=lambda i: jobs[i].members[0].step_group_key)
        size, steps = 0, None
        for i in indices:
            most = _networks_per_stack(jobs[i], max_stack)
            n_networks = len(jobs[i].members)
            new_steps = jobs[i].members[0].step_group_key[:2]
            is_full = size + n_networks > most
            if steps is None or is_full or (new_steps != steps and 2 * size >= most):
                stacks.append([])
                size = 0
            stacks[-1].append(i)
            size, steps = size + n_networks, new_steps
    return stacks


def reason_not_stackable(estimator: BaseReBatchCNN) -> str:
    """Return why an estimator can't be trained in a stack; "" if it can."""
    if type(estimator).fit not in _FITS:
        return "has a custom fit method"
    if estimator.callbacks or is_watched(estimator):
        return "has callbacks, which expect a single network"
    if estimator.warm_start and hasattr(estimator, "module_"):
        return "continues an earlier fit"
    return ""


@with_default_settings
def fit_fused(
    estimators: Sequence[BaseReBatchCNN],
    X: ArrayLike,
    y: ArrayLike,
    indices: Sequence[ArrayLike] | None = None,
    *,
    sample_weight: ArrayLike | Sequence[ArrayLike | None] | None = None,
    val_indices: Sequence[ArrayLike] | None = None,
    groups: ArrayLike | None = None,
    max_stack: int | str = "auto",
) -> list[BaseReBatchCNN]:
    """Fit estimators side by side, with the results of separate fits.

    Networks of the same architecture, loss, optimizer and precision are trained
    in one stack; all other settings may differ between them. In float64, the fitted
    parameters equal those of a separate `fit` up to rounding. In float32, differences
    can grow over the epochs, because rounding can change which samples are chosen.
    If an estimator of a stack is verbose, a progress bar or a table shows the mean
    losses of the stack.

    Parameters
    ----------
    estimators : sequence of ReBatchCNNClassifier and ReBatchCNNRegressor
        Fitted in place.
    X : array-like of shape (n_samples, n_features)
        Training data, shared by all estimators.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels or targets.
    indices : sequence of array-like of int, default=None
        Row indices that each estimator is fitted on. If None, all rows.
    sample_weight : array-like of shape (n_samples,), or list of them, default=None
        Weights of the rows of X in the loss. An array is used for all estimators. A
        list has one entry for each estimator: an array, or None for equal weights. The
        weights of the rows in `indices` are used; validation rows are not weighted.
    val_indices : sequence of array-like of int, default=None
        Row indices that each estimator is validated on, as with ``X_val`` and
        ``y_val`` of its `fit`. If entries are the same object, their rows are copied
        only once.
    groups : array-like of shape (n_samples,), default=None
        Groups of the rows of X, for estimators whose `cv` splits by them.
    max_stack : int or "auto", default="auto"
        Maximum number of networks in a stack. "auto" chooses it such that a stack fits
        in the cache of a processor core.

    Returns
    -------
    estimators : list
        The same estimators.

    Raises
    ------
    ValueError
        If `indices`, `val_indices` or a list of weights don't have one entry per
        estimator, or an estimator has callbacks or continues an earlier fit. Also if an
        estimator can't be fitted on the data; the other estimators are then fitted.
    DivergedError
        If a loss becomes NaN or infinite; the other estimators are fitted.

    See Also
    --------
    FusedGridSearchCV : A grid search whose fits are trained in this way.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skrebatch import ReBatchCNNClassifier, fit_fused
    >>> X, y = load_iris(return_X_y=True)
    >>> models = [
    ...     ReBatchCNNClassifier(ratio=r, max_epochs=20, random_state=0)
    ...     for r in (0.03, 0.15, 0.3)
    ... ]
    >>> [model.n_redistributed_ for model in fit_fused(models, X, y)]
    [3, 15, 27]
    """
    check_max_stack(max_stack)
    estimators = list(estimators)
    _check_estimators(estimators)
    # Lists hold the sets of rows, which are distinguished by identity.
    indices, val_indices = (
        None if sets is None else list(sets) for sets in (indices, val_indices)
    )
    weights = _weights_of_each(sample_weight, len(estimators))
    for name, sets in (
        ("indices", indices),
        ("val_indices", val_indices),
        ("sample_weight", weights),
    ):
        if sets is not None and len(sets) != len(estimators):
            raise ValueError(
                f"There are {len(estimators)} estimators, but {len(sets)} sets of "
                f"{name}; pass one for each estimator."
            )
    X, y, groups = indexable(X, y, as_array(groups, "groups"))
    parts: dict[int, tuple[Any, Any]] = {}

    def part_of(name: str, i: int, whole: tuple[Any, Any]) -> Any:
        """Return X and y of a set of rows, which are indexed once."""
        sets = {"indices": indices, "val_indices": val_indices}[name]
        if sets is None:
            return whole
        if id(sets[i]) not in parts:
            rows = check_rows(sets[i], f"{name}[{i}]", X)
            parts[id(sets[i])] = _safe_indexing(X, rows), _safe_indexing(y, rows)
        return parts[id(sets[i])]

    cache: dict[Any, Any] = {}

    def prepare(i: int) -> PreparedFit:
        rows_X, rows_y = part_of("indices", i, (X, y))
        X_val, y_val = part_of("val_indices", i, (None, None))
        per_row: Any = check_weights(weights[i], _num_samples(X)), groups
        if indices is not None:
            rows = check_rows(indices[i], f"indices[{i}]", X)
            per_row = tuple(
                v if v is None else _safe_indexing(v, rows) for v in per_row
            )
        return estimators[i].__rebatch_prepare__(
            rows_X, rows_y, per_row[0], X_val, y_val, per_row[1], cache=cache
        )

    with one_scale_warning():
        outcomes, _ = fit_side_by_side(estimators, prepare, max_stack)
    errors = {i: o.error for i, o in enumerate(outcomes) if o.error is not None}
    if errors:
        first = min(errors)
        errors[first].add_note(
            f"This was estimators[{first}]; {len(estimators) - len(errors)} of the "
            f"{len(estimators)} estimators are fitted."
        )
        raise errors[first]
    return estimators


def fit_side_by_side(
    estimators: Sequence[BaseReBatchCNN],
    prepare: Callable[[int], PreparedFit],
    max_stack: int | str = "auto",
) -> tuple[list[Outcome], dict[int, PreparedFit]]:
    """Prepare estimators, train them in stacks, and set their fitted attributes.

    Parameters
    ----------
    estimators : sequence of estimator
    prepare : callable
        Returns the prepared fit of the estimator at a position.
    max_stack : int or "auto", default="auto"

    Returns
    -------
    outcomes : list of Outcome
        The error or the time of each fit. A failed fit does not affect the others.
    prepared : dict of int to PreparedFit
        The fits that were trained, by position.
    """
    outcomes = [Outcome() for _ in estimators]
    prepared: dict[int, PreparedFit] = {}
    for i, outcome in enumerate(outcomes):
        try:
            prepared[i] = prepare(i)
        except Exception as error:
            outcome.error = error
    with unchanged_on_error(*estimators):
        owners, jobs = list(prepared), [fit.job for fit in prepared.values()]
        for stack in cut_into_stacks(jobs, max_stack):
            start = time.perf_counter()
            verbose = max(estimators[owners[j]].verbose for j in stack)
            results = run_jobs([jobs[j] for j in stack], epoch_reports(verbose))
            seconds = (time.perf_counter() - start) / len(stack)
            for i, result in zip([owners[j] for j in stack], results, strict=True):
                if result.interrupted:
                    raise KeyboardInterrupt  # again: skorch caught the first one
                outcomes[i].fit_time = seconds
                try:
                    net = None if result.error else result.net()
                    estimators[i].__rebatch_finish__(prepared[i], result, net)
                except Exception as error:
                    outcomes[i].error = error
    return outcomes, prepared


def _weights_of_each(sample_weight: Any, n_estimators: int) -> list[Any]:
    """Return a list with the weights for each estimator."""
    is_list = isinstance(sample_weight, list | tuple) and len(sample_weight) > 0
    if is_list and (sample_weight[0] is None or np.ndim(sample_weight[0]) > 0):
        return list(sample_weight)
    return [sample_weight] * n_estimators


def _check_estimators(estimators: list[Any]) -> None:
    """Raise an error for estimators that can't be trained side by side."""
    for i, estimator in enumerate(estimators):
        if not isinstance(estimator, BaseReBatchCNN):
            raise ValueError(
                f"estimators[{i}] is not a re-Batch estimator: {estimator!r}."
            )
        if reason := reason_not_stackable(estimator):
            raise ValueError(f"estimators[{i}] {reason}; call its fit instead.")
        if estimator.checkpoint_dir is not None:
            raise ValueError(
                f"estimators[{i}] has a checkpoint_dir, which fit_fused does not "
                "support; set it to None, or call its fit instead."
            )
    if len({id(estimator) for estimator in estimators}) < len(estimators):
        raise ValueError("The same estimator occurs twice; pass clones of it.")
