"""Estimators that choose among candidates by out-of-fold predictions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.base import ClassifierMixin, RegressorMixin, clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import ParameterGrid
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skrebatch._utils.doc_links import LinkedMixin
from skrebatch._utils.rollback import CheckedParams, unchanged_on_error
from skrebatch._utils.settings import with_default_settings
from skrebatch._utils.typing import Floats, Indices
from skrebatch._utils.user_warnings import warn_user
from skrebatch._utils.validation import check_integer
from skrebatch.estimators._classifier import ReBatchCNNClassifier
from skrebatch.estimators._docstrings import fill_in
from skrebatch.estimators._fit_data import PreparedFit
from skrebatch.estimators._regressor import ReBatchCNNRegressor
from skrebatch.estimators._scales import one_scale_warning
from skrebatch.model_selection._fused import fit_side_by_side, reason_not_stackable
from skrebatch.model_selection._out_of_fold import OutOfFoldScore

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

# Chosen on the data sets of `benchmarks/label_noise.py --choose`, and for regression on
# generated tables, California housing and insurance charges.
_PLAIN = {"strategy": ["min-loss"], "ratio": [0]}
_LEFT_OUT = {
    "strategy": ["max-loss"],
    "repeats": [0],
    "ratio": [0.15],
    "ratio_schedule": ["constant"],
    "warmup_epochs": [5],
}


_PARAMETERS = """estimator : {held} or None, default=None
        The estimator whose parameters the candidates change; None is
        ``{held}()``. It must have several networks and early stopping, as
        by default, and neither `callbacks` nor `checkpoint_dir`. A clone of it is
        fitted; the estimator itself is left unchanged.
    candidates : {{"robust", "ratios"}}, dict or list of dict, default="robust"
        "robust" is three candidates: plain training (``ratio=0``), the strategy
        "{soft}", and leaving out the samples of highest loss. Plain training is kept
        unless the score of a different candidate is higher by more than the standard
        error of the difference over the folds. "ratios" is the ratios 0, 0.03, 0.08,
        0.15 and 0.3: those of the paper [1]_, and 0. A dict or a list of dicts is a
        grid of parameters of the estimator, as for
        :class:`~sklearn.model_selection.GridSearchCV`. All candidates must hold out the
        same rows.
    scoring : str, callable or None, default=None
        Score of the out-of-fold predictions, as for ``GridSearchCV``. None is a score
        that can rank candidates in spite of wrong {labels}: {score}.
    random_state : int, numpy.random.RandomState or None, default=None
        `random_state` of all candidates, so that they have the same folds and initial
        weights. None is that of `estimator`.
    verbose : int, default=0
        0 is silent, unless `estimator` is verbose. 1 shows a progress bar with the mean
        losses of each stack of networks. 2 shows a table with a row for each epoch."""

_ATTRIBUTES = """best_estimator_ : {held}
        The best candidate, fitted.
    best_params_ : dict
        The parameters of the best candidate.
    best_index_ : int
        The position of the best candidate in `cv_results_`. Of candidates with equal
        scores, the first is the best.
    best_score_ : float
        The score of the best candidate.
    cv_results_ : dict of str to ndarray
        Parameters, times and scores, as of ``GridSearchCV``. ``mean_test_score`` is the
        score of the out-of-fold predictions of all rows, and ``split<k>_test_score`` is
        the score of the rows that network k holds out, or NaN if it is not defined. A
        candidate whose fit failed has the score NaN. The fit time of a stack is divided
        among its fits.
    n_features_in_, feature_names_in_, oof_score_, loss_curve_, ...
        {own}, `n_features_in_`, `feature_names_in_`, `oof_score_`, `loss_curve_`,
        `validation_loss_curve_`, `sample_losses_` and `n_iter_` are those of
        `best_estimator_`, which has further attributes."""


def _delegate_attributes(*names: str) -> Callable[[type[T]], type[T]]:
    """Return a decorator that adds read-only attributes of `best_estimator_`."""

    def attribute(name: str) -> property:
        return property(lambda self: getattr(self.best_estimator_, name))

    def add(cls: type[T]) -> type[T]:
        for name in names:
            setattr(cls, name, attribute(name))
        return cls

    return add


def _documented_as(method: Callable[..., Any]) -> Callable[[F], F]:
    """Return a decorator that sets the docstring to that of another method."""

    def document(own: F) -> F:
        own.__doc__ = method.__doc__
        return own

    return document


@_delegate_attributes(
    *("n_features_in_", "feature_names_in_", "n_iter_", "loss_curve_"),
    *("validation_loss_curve_", "sample_losses_", "oof_score_"),
)
class _BaseCandidateCV(LinkedMixin, CheckedParams):
    """Base class of the classifier and the regressor."""

    _estimator_class: type[Any]
    _robust_strategy: str  # among the robust candidates

    cv_results_: dict[str, Any]
    best_index_: int
    best_params_: dict[str, Any]
    best_score_: float
    best_estimator_: Any

    def __init__(
        self,
        estimator: Any = None,
        candidates: Any = "robust",
        *,
        scoring: Any = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.estimator = estimator
        self.candidates = candidates
        self.scoring = scoring
        self.random_state = random_state
        self.verbose = verbose

    @with_default_settings
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Train all candidates side by side, and keep the best one.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels or targets, as for `fit` of the estimator.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss and in the score. A weight of 0 excludes
            the row.
        groups : array-like of shape (n_samples,), default=None
            Groups of the samples, for an estimator whose `cv` splits by them.

        Returns
        -------
        self : estimator
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, or all fits fail. The estimator is
            left unchanged.
        DivergedError
            If the losses of all candidates become NaN or infinite.

        Warns
        -----
        FitFailedWarning
            If the fits of some candidates fail.
        """
        with unchanged_on_error(self), one_scale_warning():
            self._choose(X, y, sample_weight, groups)
        return self

    def _choose(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> None:
        """Set the fitted attributes."""
        candidates = list(ParameterGrid(self._grid()))
        models = self._make_models(candidates)
        score = OutOfFoldScore(self.scoring, models[0], X, y, sample_weight)
        cache: dict[Any, Any] = {}
        folds: list[Indices] = []

        def prepare(i: int) -> PreparedFit:
            fit = models[i].__rebatch_prepare__(
                X, y, sample_weight, groups=groups, cache=cache
            )
            held_out = _rows_held_out(fit)
            if not folds:
                folds.extend(held_out)
            if list(map(len, folds)) != list(map(len, held_out)) or not all(
                map(np.array_equal, folds, held_out)
            ):
                raise ValueError(
                    "The candidate does not hold out the same rows as the others, so "
                    "its score can't be compared with theirs. Give random_state, "
                    "n_networks, cv and validation_fraction to the estimator."
                )
            return fit

        outcomes, fits = fit_side_by_side(models, prepare)
        errors = {i: o.error for i, o in enumerate(outcomes) if o.error is not None}
        if len(errors) == len(models):
            raise errors[0]
        for i, error in errors.items():
            warn_user(
                f"The fit of {candidates[i]} failed, and its score is NaN: "
                f"{type(error).__name__}: {error}",
                FitFailedWarning,
            )
        # Scores of all rows, and of those that each network holds out.
        scores = np.full((len(models), 1 + len(folds)), np.nan)
        every_row = np.unique(np.concatenate(folds))
        failures: dict[int, ValueError] = {}
        for i in fits.keys() - errors.keys():
            try:
                scores[i, 0] = score(models[i], fits[i], every_row)
            except ValueError as error:
                failures[i] = error
            for k, rows in enumerate(folds):
                # Of a fold without some class, not all scores are defined.
                with contextlib.suppress(ValueError):
                    scores[i, 1 + k] = score(models[i], fits[i], rows)
        if np.isnan(scores[:, 0]).all():
            if failures:
                raise next(iter(failures.values()))
            raise ValueError("The score of every candidate is NaN.")
        for i, failure in failures.items():
            warn_user(
                f"The score of {candidates[i]} is NaN, because the scorer failed: "
                f"{failure}"
            )
        self.cv_results_ = _tabulate(
            candidates, scores, [outcome.fit_time for outcome in outcomes]
        )
        is_robust = isinstance(self.candidates, str) and self.candidates == "robust"
        n_times = sum(map(len, folds)) / len(every_row)  # that a row is held out
        self.best_index_ = _find_best(scores, len(folds) / n_times, is_robust)
        self.best_params_ = candidates[self.best_index_]
        self.best_score_ = float(scores[self.best_index_, 0])
        self.best_estimator_ = models[self.best_index_]

    def _grid(self) -> Any:
        """Return the grid of the candidates."""
        grid = self.candidates
        if not isinstance(grid, str):
            return grid
        if grid == "robust":
            # A ratio of 0 would turn the strategy off.
            soft = {"strategy": [self._robust_strategy], "ratio": [0.15]}
            return [_PLAIN, soft, _LEFT_OUT]
        if grid == "ratios":
            return {"ratio": [0, 0.03, 0.08, 0.15, 0.3]}
        raise ValueError(
            f"candidates must be 'robust' or 'ratios' or a grid of parameters, got "
            f"{grid!r}."
        )

    def _make_models(self, candidates: list[dict[str, Any]]) -> list[Any]:
        """Return an unfitted estimator for each candidate."""
        check_integer(self.verbose, "verbose", at_least=0)
        base = self._base_estimator()
        if not isinstance(base, self._estimator_class):
            raise ValueError(
                f"estimator must be a {self._estimator_class.__name__}, got {base!r}. "
                f"In a pipeline, {type(self).__name__} is the last step."
            )
        base = clone(base)
        reason = reason_not_stackable(base)
        if base.checkpoint_dir is not None:
            reason = "has a checkpoint_dir"
        if reason:
            raise ValueError(
                f"The estimator {reason}, which {type(self).__name__} does not support."
            )
        base.verbose = max(self.verbose, base.verbose)
        seed = base.random_state if self.random_state is None else self.random_state
        if not isinstance(seed, int | np.integer):
            # One number for all candidates, without numpy's global generator.
            rng = np.random.RandomState() if seed is None else check_random_state(seed)
            seed = int(rng.randint(2**31 - 1))
        base.random_state = seed
        models = [
            clone(base).set_params(**clone(params, safe=False)) for params in candidates
        ]
        if not models:
            raise ValueError("candidates is an empty grid.")
        return models

    def _fitted(self) -> Any:
        """Return the best candidate; raise an error before the fit."""
        check_is_fitted(self)
        return self.best_estimator_

    def _base_estimator(self) -> Any:
        return self._estimator_class() if self.estimator is None else self.estimator

    def __sklearn_tags__(self) -> Any:
        """Return the tags of the estimator."""
        return self._base_estimator().__sklearn_tags__()


def _rows_held_out(fit: PreparedFit) -> list[Indices]:
    """Return the rows that each network holds out; raise an error if there are none."""
    rows = [m.valid_rows for m in fit.job.members if m.valid_rows is not None]
    if len(rows) < 2:
        raise ValueError(
            "Candidates are compared by out-of-fold predictions, for which an "
            "estimator must have several networks and stop early: set n_networks to 2 "
            'or more and early_stopping to True or "auto".'
        )
    return rows


def _find_best(scores: Floats, n_independent: float, prefer_first: bool) -> int:
    """Return the index of the best candidate.

    Parameters
    ----------
    scores : ndarray of shape (n_candidates, 1 + n_folds)
        The score of all rows and of each fold. NaN for candidates that failed.
    n_independent : float
        Number of folds, divided by how often a row is held out. Folds that hold the
        same predictions in another order say nothing new.
    prefer_first : bool
        Whether another candidate must be better than the first by more than one
        standard error of the difference.
    """
    overall, by_fold = scores[:, 0], scores[:, 1:]
    if prefer_first and not np.isnan(overall[0]):
        differences = np.ma.masked_invalid(by_fold - by_fold[0])
        n_folds = differences.count(axis=1) * n_independent / by_fold.shape[1]
        errors = differences.std(axis=1, ddof=1) / np.sqrt(n_folds)
        is_clear = overall - overall[0] > errors.filled(np.nan)
        is_clear[0] = True
        overall = np.where(is_clear, overall, np.nan)
    return int(np.nanargmax(overall))


def _tabulate(
    candidates: list[dict[str, Any]], scores: Floats, times: list[float]
) -> dict[str, Any]:
    """Return `cv_results_` from the scores of all rows and of each fold."""
    overall, by_fold = scores[:, 0], scores[:, 1:]
    results: dict[str, Any] = {"mean_fit_time": np.array(times)}
    for name in sorted({name for params in candidates for name in params}):
        values = np.ma.masked_all(len(candidates), dtype=object)
        for i, params in enumerate(candidates):
            if name in params:
                values[i] = params[name]
        results[f"param_{name}"] = values
    results["params"] = candidates
    results |= {f"split{k}_test_score": fold for k, fold in enumerate(by_fold.T)}
    results["mean_test_score"] = overall
    results["std_test_score"] = by_fold.std(axis=1)
    ranks = rankdata(-np.nan_to_num(overall, nan=-np.inf), method="min")
    results["rank_test_score"] = ranks.astype(np.int32)
    return results


@_delegate_attributes("classes_", "oof_decision_function_")
@fill_in(
    parameters=_PARAMETERS.format(
        held="ReBatchCNNClassifier",
        soft="generalized-cross-entropy",
        score="the area under\n        the ROC curve, for several classes the mean "
        "of one against the rest",
        labels="labels",
    ),
    attributes=_ATTRIBUTES.format(
        held="ReBatchCNNClassifier", own="`classes_`, `oof_decision_function_`"
    ),
)
class ReBatchCNNClassifierCV(ClassifierMixin, _BaseCandidateCV):
    """Classifier that chooses among candidates by out-of-fold predictions.

    All candidates are trained side by side, with the same folds and the same
    initial weights. Within a candidate, each network holds out a different fold. The
    candidate with the best predictions for the rows that its networks did not train on
    is kept, and it is not fitted again. By default, the candidates are plain training
    and methods that withstand wrong labels.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    ReBatchCNNClassifier : The estimator.
    FusedGridSearchCV : Search with any splitter and for pipelines, which fits the best
        candidate again.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skrebatch import ReBatchCNNClassifierCV
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = ReBatchCNNClassifierCV(candidates="ratios", random_state=0)
    >>> model.fit(scale(X), y).best_params_["ratio"] in (0, 0.03, 0.08, 0.15, 0.3)
    True
    """

    _estimator_class = ReBatchCNNClassifier
    _robust_strategy = "generalized-cross-entropy"

    @_documented_as(ReBatchCNNClassifier.predict)
    def predict(self, X: ArrayLike) -> NDArray[Any]:
        return self._fitted().predict(X)

    @_documented_as(ReBatchCNNClassifier.predict_proba)
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        return self._fitted().predict_proba(X)

    @_documented_as(ReBatchCNNClassifier.predict_log_proba)
    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        return self._fitted().predict_log_proba(X)

    @_documented_as(ReBatchCNNClassifier.decision_function)
    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        return self._fitted().decision_function(X)

    @_documented_as(ReBatchCNNClassifier.score)
    def score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        return self._fitted().score(X, y, sample_weight)


@_delegate_attributes("oof_prediction_")
@fill_in(
    parameters=_PARAMETERS.format(
        held="ReBatchCNNRegressor",
        soft="welsch",
        score="minus the mean\n        absolute error, for several targets "
        "with the weights 1 / `target_scale_`\n        of the first candidate",
        labels="targets",
    ),
    attributes=_ATTRIBUTES.format(held="ReBatchCNNRegressor", own="`oof_prediction_`"),
)
class ReBatchCNNRegressorCV(RegressorMixin, _BaseCandidateCV):
    """Regressor that chooses among candidates by out-of-fold predictions.

    All candidates are trained side by side, with the same folds and the same
    initial weights. Within a candidate, each network holds out a different fold. The
    candidate with the best predictions for the rows that its networks did not train on
    is kept, and it is not fitted again. By default, the candidates are plain training
    and methods that withstand wrong targets.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    ReBatchCNNRegressor : The estimator.
    FusedGridSearchCV : Search with any splitter and for pipelines, which fits the best
        candidate again.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from skrebatch import ReBatchCNNRegressorCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = ReBatchCNNRegressorCV(random_state=0).fit(scale(X), y)
    >>> model.best_params_["strategy"] in ("min-loss", "welsch", "max-loss")
    True
    """

    _estimator_class = ReBatchCNNRegressor
    _robust_strategy = "welsch"

    @_documented_as(ReBatchCNNRegressor.predict)
    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        return self._fitted().predict(X)

    @_documented_as(ReBatchCNNRegressor.score)
    def score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        return self._fitted().score(X, y, sample_weight)
