"""The folds of a search: their data, and the candidates on them."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params

from skrebatch.estimators._base import BaseReBatchCNN
from skrebatch.estimators._sklearn_callbacks import is_watched
from skrebatch.model_selection._fused import check_rows, reason_not_stackable


@dataclass
class Fold:
    """Training and test data of a fold, and the earlier steps of the pipeline."""

    X: Any  # training data, after the earlier steps; None once they are in jobs
    y: Any
    fit_params: dict[str, Any]  # of the last step, or of what is fitted alone
    pipeline: Any  # with its earlier steps fitted and without its last; None if alone
    scored: list[tuple[Any, Any, dict[str, Any]]]  # X, y, parameters: test, training


@dataclass
class Task:
    """One candidate on one fold."""

    number: int
    name: str  # of the last step
    estimator: Any  # the last step, if that can share a stack, else the whole
    fuses: bool
    fold: Any  # Fold, its place in the data of a stack, or why it could not be made


class _LastStep(BaseEstimator):
    """Stands in for the last step of a pipeline and keeps what its fit is given."""

    def __init__(self, step: Any):
        self.step = step

    def get_metadata_routing(self) -> Any:
        """Request what the step requests."""
        return self.step.get_metadata_routing()

    def fit(self, X: Any, y: Any = None, **params: Any) -> _LastStep:
        self.given_ = X, y, params
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
        key: Any = get_tags(estimator).input_tags.pairwise
        pipeline = estimator if fuses and len(steps) > 1 else None
        if pipeline is not None:
            # Candidates that differ in nothing but the last step share their folds,
            # if it requests the same of the pipeline.
            early = [
                (n, id(value))
                for n, value in candidate.items()
                if n.partition("__")[0] != name
            ]
            key = *early, str(final.get_metadata_routing())
        for fold in range(len(self.splits)):
            if (fold, key) not in self.folds:
                self.folds[fold, key] = self._cut(fold, estimator, pipeline)
            fitted = copy.deepcopy(final) if fuses else clone(estimator)
            yield Task(first + fold, name, fitted, fuses, self.folds[fold, key])

    def _cut(self, fold: int, estimator: Any, pipeline: Any) -> Fold | Exception:
        """Cut out the data of a fold and fit the earlier steps on it."""
        train, test = self.splits[fold]
        X, y = _safe_split(estimator, self.X, self.y, train)
        scored = [
            (*_safe_split(estimator, self.X, self.y, test, train), self._score(test)),
            (X, y, self._score(train)),
        ][: self.n_scored]
        params = _check_method_params(self.X, self.fit_params, train)
        if pipeline is None:
            return Fold(X, y, params, None, scored)
        pipeline = clone(pipeline)
        name, final = pipeline.steps.pop()
        pipeline.steps.append((name, _LastStep(final)))
        try:
            pipeline.fit(X, y, **params)
        except Exception as error:
            return error
        _, last = pipeline.steps.pop()
        X, y, params = last.given_
        return Fold(X, y, params, pipeline, scored)

    def _score(self, rows: Any) -> dict[str, Any]:
        """Return the parameters of the scorer for some rows."""
        return _check_method_params(self.X, self.score_params, rows)


def is_pipeline(estimator: Any) -> bool:
    """Tell scikit-learn's and imbalanced-learn's own pipelines from all else."""
    module = sys.modules.get("imblearn.pipeline")
    known = (Pipeline,) if module is None else (Pipeline, module.Pipeline)
    return type(estimator) in known
