"""The scores of a search on each split, and the sizes of the splits."""

from __future__ import annotations

from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)

from skrebatch._utils.user_warnings import warn_user
from skrebatch.model_selection._estimators_cv import (
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressorCV,
)

Floats = NDArray[np.float64]

_K_FOLD_CV = (
    Integral,
    GroupKFold,
    KFold,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    StratifiedGroupKFold,
    StratifiedKFold,
)


class SearchScores(NamedTuple):
    """The scores of the candidates of a search, higher is better."""

    by_split: Floats  # (n_candidates, n_splits)
    mean: Floats  # (n_candidates,)
    name: str  # for readers, without "neg_"
    sign: int  # -1 for a loss, else 1


def find_scores(search: Any, scoring: str | None) -> SearchScores:
    """Return the scores of a search.

    Parameters
    ----------
    search : estimator with `cv_results_`
    scoring : str or None
        Name of the score if there are several; None is the one given by `refit`.
    """
    if not hasattr(search, "cv_results_"):
        raise ValueError(
            f"This {type(search).__name__} has no cv_results_: it is not fitted, "
            "or it is not a search."
        )
    results = search.cv_results_
    if "iter" in results:
        raise ValueError(
            f"The scores of this {type(search).__name__} can't be compared, "
            "because its candidates use different amounts of data or epochs."
        )
    parts = [key.partition("_test_") for key in results if key.startswith("split")]
    names = list(dict.fromkeys(name for _, found, name in parts if found))
    if scoring is None:
        scoring = names[0] if len(names) == 1 else search.refit
    elif names == ["score"] and scoring == search.scoring:
        scoring = "score"
    if scoring not in names:
        raise ValueError(
            f"scoring must be one of the scores of the search, {names}, got "
            f"{scoring!r}."
        )
    n_splits = sum(name == scoring for _, _, name in parts)
    by_split = np.column_stack(
        [results[f"split{i}_test_{scoring}"] for i in range(n_splits)]
    )
    mean = by_split.mean(axis=1)
    if _is_cv_form(search):
        mean = results["mean_test_score"]  # of all rows
        by_split = _independent_folds(by_split, _count_folds(search.best_estimator_))
    if scoring == "score":
        scoring = search.scoring
        if scoring is None:
            scoring = _default_scoring(search)
        elif not isinstance(scoring, str):
            scoring = "score"
    is_loss = scoring.startswith("neg_")
    name = scoring.removeprefix("neg_").replace("_", " ")
    return SearchScores(by_split, mean, name, -1 if is_loss else 1)


def _is_cv_form(search: Any) -> bool:
    return isinstance(search, ReBatchCNNClassifierCV | ReBatchCNNRegressorCV)


def _independent_folds(scores: Floats, n_folds: int | None) -> Floats:
    """Return the scores (n_candidates, n_splits) of the first folds of a CV form.

    With more networks than folds, the rows are split again. The later folds hold the
    same predictions of the same rows, so they say nothing new. Folds whose score is not
    defined are left out, too.
    """
    scores = scores[:, :n_folds]
    has_failed = np.isnan(scores).all(axis=1)
    is_defined = ~np.isnan(scores[~has_failed]).any(axis=0)
    if not is_defined.all():
        warn_user(
            f"{np.sum(~is_defined)} of {is_defined.size} folds are left out, because "
            "the score is not defined for their rows."
        )
    return scores[:, is_defined]


def _default_scoring(search: Any) -> str:
    """Return the name of the score that a search has without `scoring`."""
    if isinstance(search, ReBatchCNNClassifierCV):
        return "area under the ROC curve"
    if isinstance(search, ReBatchCNNRegressorCV):
        return "neg_mean_absolute_error"
    return "R²" if is_regressor(search) else "accuracy"


def find_test_train_ratio(search: Any, n_splits: int) -> float:
    """Return the number of test rows of a split divided by that of training rows."""
    if _is_cv_form(search):
        cv, n_folds = search.best_estimator_.cv, _count_folds(search.best_estimator_)
    else:
        cv, n_folds = search.cv, _count_k_folds(search.cv, n_splits)
    if n_folds is None:
        raise ValueError(
            f"The size of the test sets can't be determined from cv={cv!r}. Pass "
            "test_train_ratio, the number of test rows divided by the number of "
            "training rows."
        )
    return 1 / (n_folds - 1)


def _count_folds(model: Any) -> int | None:
    """Return into how many folds an estimator splits its rows, if by k folds."""
    if model.cv is None:
        return max(2, round(1 / model.validation_fraction))
    if not isinstance(model.cv, _K_FOLD_CV):
        return None
    return _count_k_folds(model.cv, check_cv(model.cv).get_n_splits())


def _count_k_folds(cv: Any, n_splits: int) -> int | None:
    """Return the number of folds of each repetition, or None for other splits."""
    if not (cv is None or isinstance(cv, _K_FOLD_CV)):
        return None
    return n_splits // getattr(cv, "n_repeats", 1)


def is_called(name: str, parameter: str) -> bool:
    """Return whether a parameter, possibly nested, has this name."""
    return name == parameter or name.endswith(f"__{parameter}")
