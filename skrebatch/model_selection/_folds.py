"""The folds of a search: their data, and the candidates on them."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import indexable

from skrebatch.estimators._base import BaseReBatchCNN
from skrebatch.estimators._sklearn_callbacks import is_watched
from skrebatch.model_selection._fused import check_rows, reason_not_stackable


@dataclass
class Fold:
    """Training and test data of a fold, and the earlier steps of the pipeline."""

    X: Any  # training data, after the earlier steps; None once they are in jobs
    y: Any
    before: Pipeline | None  # the earlier steps, fitted
    scored: list[tuple[Any, Any, dict[str, Any]]]  # X, y, parameters: test, training


@dataclass
class Task:
    """One candidate on one fold."""

    number: int
    name: str  # of the last step
    estimator: Any  # the last step, if that can share a stack, else the whole
    fuses: bool
    fold: Any  # Fold, its place in the data of a stack, or why it could not be made
    fit_params: dict[str, Any]


class _Keep(BaseEstimator):
    """The last step of a pipeline that keeps what the earlier ones make of the data."""

    def fit(self, X: Any, y: Any = None) -> _Keep:
        self.X_, self.y_ = X, y
        return self


def check_splits(splits: list[Any], X: Any) -> None:
    """Refuse folds of rows that a table doesn't have."""
    for i, (to_train, to_test) in enumerate(splits):
        check_rows(to_train, f"The training rows of split {i} of cv", X)
        check_rows(to_test, f"The test rows of split {i} of cv", X)


class FoldData:
    """The data of the folds, transformed once by each kind of earlier steps."""

    def __init__(
        self,
        estimator: Any,
        X: Any,
        y: Any,
        splits: list[tuple[Any, Any]],
        fit_params: dict[str, Any],
        score_params: dict[str, Any],
        n_scored: int,
    ):
        self.estimator, self.X, self.y, self.splits = estimator, X, y, splits
        self.n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
        self.fit_params, self.score_params = fit_params, score_params
        self.n_scored = n_scored
        self.folds: dict[Any, Fold | Exception] = {}

    def tasks(self, candidates: list[dict[str, Any]]) -> list[Task]:
        """Lay out every candidate on every fold."""
        tasks: list[Task] = []
        for candidate in candidates:
            tasks += self._tasks_of(candidate, len(tasks))
        return tasks

    def _tasks_of(self, candidate: dict[str, Any], first: int) -> Iterator[Task]:
        """Lay out one candidate on every fold, numbered from `first`."""
        params = {n: clone(value, safe=False) for n, value in candidate.items()}
        estimator = clone(self.estimator).set_params(**params)
        steps = estimator.steps if is_pipeline(estimator) else [("", estimator)]
        name, final = steps[-1]
        watched = any(map(is_watched, [estimator, *(step for _, step in steps)]))
        fuses = isinstance(final, BaseReBatchCNN) and not reason_not_stackable(final)
        fuses = fuses and not watched
        early, fit_params = None, self.fit_params
        early_params: dict[str, Any] = {}
        if fuses and len(steps) > 1:
            early = estimator[:-1]
            fit_params, early_params = self._part(estimator, early)
        # Candidates that differ in nothing but the last step share their folds.
        key = None
        if early is not None:
            key = tuple(
                (n, id(value))
                for n, value in candidate.items()
                if n.partition("__")[0] != name
            )
        for fold, (rows, _) in enumerate(self.splits):
            own = self._of_rows(fit_params, rows)
            data = self._fold((fold, key), early, early_params, name)
            fitted = copy.deepcopy(final) if fuses else clone(estimator)
            yield Task(first + fold, name, fitted, fuses, data, own)

    def _part(
        self, pipeline: Pipeline, early: Pipeline
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Part fit parameters into those of the last and of the earlier steps."""
        last = pipeline.steps[-1][0]
        if sklearn.get_config()["enable_metadata_routing"]:
            routed = process_routing(pipeline, "fit", **self.fit_params)
            early_names = early.get_metadata_routing().consumes("fit", self.fit_params)
            return routed[last].fit, {n: self.fit_params[n] for n in early_names}
        own, others = {}, {}
        for name, value in self.fit_params.items():
            step, _, parameter = name.partition("__")
            if step == last and parameter:
                own[parameter] = value
            else:
                others[name] = value
        return own, others

    def _fold(
        self,
        key: tuple[Any, ...],
        early: Pipeline | None,
        early_params: dict[str, Any],
        last: str,
    ) -> Fold | Exception:
        """Cut out the data of a fold and fit the earlier steps on it, once."""
        if key not in self.folds:
            train, test = self.splits[key[0]]
            scored = [
                (
                    _safe_indexing(self.X, rows),
                    None if self.y is None else _safe_indexing(self.y, rows),
                    self._of_rows(self.score_params, rows),
                )
                for rows in (test, train)
            ]
            X, y, _ = scored[1]
            try:
                if early is not None:
                    early = clone(early)
                    # Of imbalanced-learn's samplers a fit alone tells the new labels.
                    early.steps.append((last, _Keep()))
                    early.fit(X, y, **self._of_rows(early_params, train))
                    _, kept = early.steps.pop()
                    X, y = kept.X_, kept.y_
                self.folds[key] = Fold(X, y, early, scored[: self.n_scored])
            except Exception as error:
                self.folds[key] = error
        return self.folds[key]

    def _of_rows(self, params: dict[str, Any], rows: Any) -> dict[str, Any]:
        """Cut parameters that hold a value for each sample."""
        return {
            name: _safe_indexing(indexable(value)[0], rows)
            if self._is_per_sample(value)
            else value
            for name, value in params.items()
        }

    def _is_per_sample(self, value: Any) -> bool:
        if isinstance(value, str | dict):
            return False
        if not hasattr(value, "__len__"):
            value = np.atleast_1d(np.asarray(value))
        return len(value) == self.n_samples


def is_pipeline(estimator: Any) -> bool:
    """Tell scikit-learn's and imbalanced-learn's own pipelines from all else."""
    module = sys.modules.get("imblearn.pipeline")
    known = (Pipeline,) if module is None else (Pipeline, module.Pipeline)
    return type(estimator) in known
