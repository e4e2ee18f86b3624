"""The data of the folds of a search, and the fits of the candidates on them."""

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

    X: Any  # training data, after the earlier steps; None once the jobs hold them
    y: Any
    fit_params: dict[str, Any]  # for the last step, or for an estimator fitted alone
    pipeline: Any  # fitted, without its last step; None for an estimator fitted alone
    # X, y and parameters of the scorer, for the test and the training data
    scored: list[tuple[Any, Any, dict[str, Any]]]


@dataclass
class Task:
    """One candidate on one fold."""

    number: int
    name: str  # name of the last step
    estimator: Any  # the last step if it can share a stack, else the whole pipeline
    fuses: bool
    fold: Any  # Fold, its position in the data of a stack, or the error in making it


class _LastStep(BaseEstimator):
    """Replaces the last step of a pipeline and stores the arguments of its fit."""

    def __init__(self, step: Any):
        self.step = step

    def get_metadata_routing(self) -> Any:
        """Return the metadata requests of the step."""
        return self.step.get_metadata_routing()

    def fit(self, X: Any, y: Any = None, **params: Any) -> _LastStep:
        self.given_ = X, y, params
        return self


def check_splits(splits: list[Any], X: Any) -> list[tuple[Any, Any]]:
    """Return the rows of the folds; raise an error for rows that X does not have."""
    return [
        (
            check_rows(to_train, f"The training rows of split {i} of cv", X),
            check_rows(to_test, f"The test rows of split {i} of cv", X),
        )
        for i, (to_train, to_test) in enumerate(splits)
    ]


class FoldData:
    """The data of the folds, transformed once by each setting of the earlier steps."""

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
        """Return a task for every candidate and every fold."""
        tasks: list[Task] = []
        for candidate in candidates:
            tasks += self._tasks_of(candidate, len(tasks))
        return tasks

    def _tasks_of(self, candidate: dict[str, Any], first: int) -> Iterator[Task]:
        """Yield the tasks of one candidate, numbered from `first`."""
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
            # Candidates that differ only in the last step share their folds, if the
            # metadata requests of that step are the same.
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
        """Return a fold, with the earlier steps fitted on its training data."""
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
        """Return the parameters of the scorer for the given rows."""
        return _check_method_params(self.X, self.score_params, rows)


def is_pipeline(estimator: Any) -> bool:
    """Whether an estimator is a Pipeline of scikit-learn or imbalanced-learn."""
    module = sys.modules.get("imblearn.pipeline")
    known = (Pipeline,) if module is None else (Pipeline, module.Pipeline)
    return type(estimator) in known
