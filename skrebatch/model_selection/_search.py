"""Searches whose fits are trained side by side."""

from __future__ import annotations

import copy
import os
import time
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from joblib import parallel_config
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone, is_classifier
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import GridSearchCV, ParameterGrid, check_cv
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_method_params, indexable
from tqdm.auto import tqdm

from skrebatch._engine.nn.prediction import shared_predictors
from skrebatch._engine.serialization.checkpoint import (
    Checkpoint,
    check_folder,
    fingerprint,
)
from skrebatch._engine.serialization.json_values import is_plain
from skrebatch._engine.training.progress import epoch_reports
from skrebatch._engine.training.run import Result, run_jobs
from skrebatch._utils.arrays import as_array, refuse_masked
from skrebatch._utils.doc_links import LinkedMixin
from skrebatch._utils.rollback import unchanged_on_error
from skrebatch._utils.user_warnings import warn_user
from skrebatch.estimators._fit_data import PreparedFit
from skrebatch.estimators._fitting import interrupts_raised
from skrebatch.estimators._scales import one_scale_warning
from skrebatch.estimators._sklearn_callbacks import is_watched
from skrebatch.model_selection._folds import FoldData, Task, check_splits
from skrebatch.model_selection._fused import check_max_stack, cut_into_stacks
from skrebatch.model_selection._placement import RemoteData, put_back
from skrebatch.model_selection._tabulate import Outcome, Replay, recall_scores


class FusedGridSearchCV(LinkedMixin, GridSearchCV):
    """Grid search whose fits are trained side by side.

    A drop-in replacement for :class:`sklearn.model_selection.GridSearchCV`, for a
    re-Batch estimator or a Pipeline (also imbalanced-learn's) that ends in one. It has
    the same candidates, folds, scores and attributes, and takes a fraction of the time.
    The earlier steps of a pipeline are fitted once for each fold and each setting of
    their parameters. Estimators that can't be trained in a stack, such as those with
    callbacks or of another kind, are fitted one by one, with the same result. After
    ``set_callbacks`` (scikit-learn 1.9 or newer) all estimators are fitted one by one.

    In float64 the scores are those of ``GridSearchCV``. In float32 some scores may
    differ, because rounding can change which samples are chosen.

    Parameters
    ----------
    estimator : estimator
        ReBatchCNNClassifier, ReBatchCNNRegressor, or a Pipeline ending in one.
    param_grid : dict or list of dict
        Candidates, as for ``GridSearchCV``.
    scoring : str, callable, list, tuple, dict or None, default=None
        Score or scores to evaluate, as for ``GridSearchCV``.
    n_jobs : int or None, default=None
        Number of stacks to train in parallel, with any joblib backend. The results do
        not depend on this number.
    refit : bool, str or callable, default=True
        Whether to fit the best candidate on all data, and how to choose it, as for
        ``GridSearchCV``.
    cv : int, splitter, iterable or None, default=None
        Cross-validation splitter. None is five folds.
    verbose : int, default=0
        0 is silent. 1 or more shows a progress bar over all fits and the number of
        fits that can't share a stack. `verbose` of the estimator shows the mean
        losses of each stack.
    pre_dispatch : int or str, default="2*n_jobs"
        Number of stacks to dispatch to the workers ahead of time.
    error_score : "raise" or float, default=np.nan
        Score of a candidate whose fit fails, with a warning. Other candidates are not
        affected. "raise" raises the error.
    return_train_score : bool, default=False
        Whether to score the training data, too.
    max_stack : int or "auto", default="auto"
        Maximum number of networks in a stack. "auto" chooses it such that a stack fits
        in the cache of a processor core.
    checkpoint_dir : str or path-like, default=None
        Folder in which `fit` saves the scores of each finished stack. A search that is
        interrupted and called again with the same arguments trains only the stacks that
        are not finished. None saves nothing. Needs the extra ``files``. The estimator's
        `checkpoint_dir` is used by the final fit on all data, not by the stacks.

    Attributes
    ----------
    cv_results_ : dict of str to ndarray
        As of ``GridSearchCV``. The fit time of a stack is divided among its fits.
    best_estimator_, best_params_, best_score_, best_index_
        The best candidate.
    scorer_, n_splits_, refit_time_, multimetric_, feature_names_in_
        As of ``GridSearchCV``.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    CheckpointError
        If `checkpoint_dir` contains files of a different search or of a fit.

    See Also
    --------
    ReBatchCNNClassifierCV : Classifier that selects from a few candidates.
    fit_fused : The same training for any list of estimators.
    RatioCurveDisplay : Plot of a search over the ratio.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrebatch import FusedGridSearchCV, ReBatchCNNClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> search = FusedGridSearchCV(
    ...     make_pipeline(
    ...         StandardScaler(),
    ...         ReBatchCNNClassifier(n_networks=1, max_epochs=10, random_state=0),
    ...     ),
    ...     {"rebatchcnnclassifier__ratio": [0.03, 0.08, 0.15, 0.3]},
    ... )
    >>> search = search.fit(X, y)
    >>> len(search.cv_results_["params"])
    4
    """

    scorer_: Any
    best_estimator_: Any
    refit_time_: float
    feature_names_in_: NDArray[np.object_]

    def __init__(
        self,
        estimator: Any,
        param_grid: dict[str, Any] | list[dict[str, Any]],
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        max_stack: int | str = "auto",
        checkpoint_dir: str | os.PathLike[str] | None = None,
    ):
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.max_stack = max_stack
        self.checkpoint_dir = checkpoint_dir

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, **params: Any) -> Self:
        """Fit all candidates on all folds, and the best one on all data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels or targets.
        **params : dict
            Parameters of the estimator's ``fit``, the splitter and the scorer;
            array-likes of length n_samples are split with the data.

        Returns
        -------
        self : FusedGridSearchCV
            The search itself.
        """
        self._validate_params()
        check_max_stack(self.max_stack)
        check_folder(self.checkpoint_dir)
        for name, values in {"X": X, "y": y, **params}.items():
            refuse_masked(values, name)
        with unchanged_on_error(self), interrupts_raised(), one_scale_warning():
            for name in [name for name in vars(self) if name.endswith("_")]:
                delattr(self, name)  # GridSearchCV would keep some of an earlier fit
            if is_watched(self):
                if self.checkpoint_dir is not None:
                    raise ValueError(
                        "checkpoint_dir can't be used with callbacks of scikit-learn. "
                        "Set checkpoint_dir=None, or don't use set_callbacks."
                    )
                warn_user(
                    "Callbacks of scikit-learn follow single fits, so the candidates "
                    "are trained fit by fit. Without set_callbacks the search is many "
                    "times faster; verbose=1 shows its progress."
                )
                return super().fit(X, y, **params)
            return self._fit_side_by_side(X, y, params)

    def _fit_side_by_side(self, X: Any, y: Any, params: dict[str, Any]) -> Self:
        scorer, _ = self._get_scorers()
        several = isinstance(scorer, _MultimetricScorer)
        self.scorer_ = scorer._scorers if several else scorer
        X, y = indexable(X, y)
        params = _check_method_params(X, params)
        routed = self._get_routed_params_for_fit(params)
        fit_params, split_params = routed.estimator.fit, routed.splitter.split
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        n_splits = cv.get_n_splits(X, y, **split_params)
        splits = list(cv.split(X, y, **split_params))
        if len(splits) != n_splits:
            raise ValueError(
                f"cv yields {len(splits)} splits, but its get_n_splits returns "
                f"{n_splits}."
            )
        if not splits:
            raise ValueError("cv yields no splits; it must yield at least one.")
        splits = check_splits(splits, X)
        n_scored = 1 + self.return_train_score
        data = FoldData(
            self.estimator, X, y, splits, fit_params, routed.scorer.score, n_scored
        )
        candidates = list(ParameterGrid(self.param_grid))
        mark = None
        if self.checkpoint_dir is not None:
            mark = fingerprint(
                estimator=clone(self.estimator),
                candidates=candidates,
                X=as_array(X, "X"),
                y=as_array(y, "y"),
                cv=splits,
                params=params,
                scoring=self.scoring,
                return_train_score=self.return_train_score,
                error_score=self.error_score,
                max_stack=self.max_stack,
            )
        outcomes, files = self._run(data.tasks(candidates), scorer, mark)
        self._tabulate(outcomes, len(splits))
        if self.refit:
            start = time.time()
            best = clone(self.estimator).set_params(
                **clone(self.best_params_, safe=False)
            )
            _fit(best, X, y, fit_params)
            self.best_estimator_ = best
            self.refit_time_ = time.time() - start
            if hasattr(best, "feature_names_in_"):
                self.feature_names_in_ = best.feature_names_in_
        for file in files:
            if file is not None:
                file.remove()
        return self

    def _run(
        self, tasks: list[Task], scorer: Any, mark: dict[str, str] | None
    ) -> tuple[list[Outcome], list[Checkpoint | None]]:
        """Train the stacks in parallel and score the fitted estimators.

        Stacks whose scores are in a checkpoint are not trained again.
        """
        outcomes = [Outcome() for _ in tasks]
        stacked: list[Task] = []
        prepared: list[PreparedFit] = []
        alone: list[Task] = []
        cache: dict[Any, Any] = {}
        for task in tasks:
            try:
                if isinstance(task.fold, Exception):
                    raise task.fold
                if not task.fuses:
                    alone.append(task)
                    continue
                fold = task.fold
                prepared.append(
                    task.estimator.__rebatch_prepare__(
                        fold.X, fold.y, cache=cache, **fold.fit_params
                    )
                )
                stacked.append(task)
            except Exception as error:
                outcomes[task.number].error = error
        if alone and self.verbose:
            print(
                f"{len(alone)} of {len(tasks)} fits can't share a stack; they are "
                "trained one by one."
            )
        # The jobs hold the training data of stacks; folds would send them again.
        read = {id(task.fold) for task in alone}
        for task in stacked:
            if id(task.fold) not in read:
                task.fold.X = task.fold.y = None
                task.fold.fit_params = {}
        jobs = [fit.job for fit in prepared]
        stacks: list[tuple[list[Task], list[PreparedFit] | None]] = [
            ([stacked[i] for i in stack], [prepared[i] for i in stack])
            for stack in cut_into_stacks(jobs, self.max_stack)
        ]
        stacks += [([task], None) for task in alone]
        files = self._open_files(len(stacks), mark)
        shared = RemoteData()
        work = []
        n_done = 0
        for (stack_tasks, fits), file in zip(stacks, files, strict=True):
            if file is not None and file.content is not None:
                n_done += len(stack_tasks)
                for number, state in file.content["outcomes"]:
                    outcomes[number] = Outcome.from_state(state)
                continue
            args = stack_tasks, fits, *shared.take_from(stack_tasks, fits)
            work.append(delayed(_train_and_score)(scorer, file, *args))
        options = {"n_jobs": self.n_jobs, "pre_dispatch": self.pre_dispatch}
        try:
            parallel = Parallel(**options, return_as="generator")
        except ValueError:  # some backends can't return results as a generator
            parallel = Parallel(**options)
        n_fits = len(stacked) + len(alone)
        silent = not self.verbose
        with tqdm(total=n_fits, initial=n_done, unit="fit", disable=silent) as bar:
            for done in parallel(work):
                for number, outcome in done:
                    outcomes[number] = outcome
                    if self.error_score != "raise":
                        outcome.drop_frames()
                bar.update(len(done))
        return outcomes, files

    def _open_files(
        self, n_stacks: int, mark: dict[str, str] | None
    ) -> list[Checkpoint | None]:
        """Open a checkpoint for each stack; None without `checkpoint_dir`."""
        if self.checkpoint_dir is None or mark is None:
            return [None] * n_stacks
        folder = Path(self.checkpoint_dir)
        files: list[Checkpoint | None] = []
        for i in range(n_stacks):
            file = Checkpoint(folder / f"stack-{i}.safetensors")
            file.claim(mark)
            files.append(file)
        return files

    def _tabulate(self, outcomes: list[Outcome], n_splits: int) -> None:
        """Tabulate the scores and find the best candidate, by a GridSearchCV."""
        times = {}
        for name in ("fit_time", "score_time"):
            seconds = np.reshape([getattr(o, name) for o in outcomes], (-1, n_splits))
            times[f"mean_{name}"] = seconds.mean(axis=1)
            times[f"std_{name}"] = seconds.std(axis=1)

        def choose(results: dict[str, Any]) -> Any:
            results.update(times)
            return self.refit(results)

        scoring: Any = recall_scores
        if isinstance(self.scorer_, dict):
            scoring = {name: partial(recall_scores, name=name) for name in self.scorer_}
        table = GridSearchCV(
            Replay(iter(outcomes)),
            self.param_grid,
            scoring=scoring,
            refit=choose if callable(self.refit) else self.refit,
            cv=[([0], [1])] * n_splits,
            error_score=self.error_score,
            return_train_score=self.return_train_score,
        )
        # Outcomes must be read in order; Dask would ignore n_jobs=1.
        with parallel_config("sequential"):
            table.fit([[0], [1]])
        table.cv_results_.update(times)
        for name in (
            "cv_results_",
            "best_index_",
            "best_params_",
            "best_score_",
            "multimetric_",
            "n_splits_",
        ):
            if hasattr(table, name):
                setattr(self, name, getattr(table, name))


def _fit(estimator: Any, X: Any, y: Any, params: dict[str, Any]) -> None:
    """Fit an estimator, without the argument y if it is None."""
    estimator.fit(X, *(() if y is None else (y,)), **params)


def _train_and_score(
    scorer: Any,
    file: Checkpoint | None,
    tasks: list[Task],
    fits: list[PreparedFit] | None,
    *data: Any,
) -> list[tuple[int, Outcome]]:
    """Train a stack or a single estimator, and score each on its fold."""
    put_back(tasks, fits, data)
    start = time.perf_counter()
    results: list[Result] = []
    if fits is not None:
        verbose = max(task.estimator.verbose for task in tasks)
        results = run_jobs([fit.job for fit in fits], epoch_reports(verbose))
        if any(result.interrupted for result in results):
            raise KeyboardInterrupt  # again: skorch caught the first one
        for result in results:
            result.stack = None  # would hold all networks until the last is scored
    fit_time = (time.perf_counter() - start) / len(tasks)
    outcomes = []
    with shared_predictors():
        for i, task in enumerate(tasks):
            # Only scores are returned, so the networks can be freed one by one.
            estimator, task.estimator = task.estimator, None
            outcome = Outcome(fit_time=fit_time)
            outcomes.append((task.number, outcome))
            try:
                if fits is None:
                    with interrupts_raised():
                        _fit(estimator, task.fold.X, task.fold.y, task.fold.fit_params)
                    outcome.fit_time = time.perf_counter() - start
                else:
                    estimator.__rebatch_finish__(fits[i], results[i])
                    fits[i].job.members.clear()
            except Exception as error:
                outcome.error = error
                continue
            _score(scorer, task, estimator, outcome)
    if file is not None:
        states = [[number, outcome.state_dict()] for number, outcome in outcomes]
        if is_plain(states):  # stacks with errors other than divergence are retrained
            file.write({"outcomes": states})
    return outcomes


def _score(scorer: Any, task: Task, estimator: Any, outcome: Outcome) -> None:
    """Score a fitted estimator on its fold; an error takes the place of the scores."""
    if task.fold.pipeline is not None:
        pipeline = copy.copy(task.fold.pipeline)
        pipeline.steps = [*pipeline.steps, (task.name, estimator)]
        estimator = pipeline
    begin = time.perf_counter()
    for X, y, params in task.fold.scored:
        try:
            args = (X,) if y is None else (X, y)
            outcome.scores.append(scorer(estimator, *args, **params))
        except Exception as error:
            # Several scorers keep their own errors; others are raised, as in
            # GridSearchCV: for example that metadata are not requested.
            if isinstance(scorer, _MultimetricScorer):
                raise
            outcome.scores.append(error)
    outcome.score_time = time.perf_counter() - begin
