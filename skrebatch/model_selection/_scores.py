"""The scores of a search on each split, and the sizes of the splits."""

from __future__ import annotations

from numbers import Integral
from typing import Any

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
)

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


def find_scores(search: Any, scoring: str | None) -> tuple[Floats, str, int]:
    """Return the scores of a search, their name and their sign.

    Parameters
    ----------
    search : estimator with `cv_results_`
    scoring : str or None
        Name of the score if there are several; None is the one given by `refit`.

    Returns
    -------
    scores : ndarray of shape (n_candidates, n_splits)
    name : str
        The name for readers, without ``neg_``.
    sign : int
        -1 for a loss, else 1.
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
    scores = [results[f"split{i}_test_{scoring}"] for i in range(n_splits)]
    if scoring == "score":
        scoring = search.scoring
        if scoring is None:
            scoring = _default_scoring(search)
        elif not isinstance(scoring, str):
            scoring = "score"
    is_loss = scoring.startswith("neg_")
    name = scoring.removeprefix("neg_").replace("_", " ")
    return np.column_stack(scores), name, -1 if is_loss else 1


def _default_scoring(search: Any) -> str:
    """Return the name of the score that a search has without `scoring`."""
    if isinstance(search, ReBatchCNNClassifierCV):
        return "area under the ROC curve"
    if isinstance(search, ReBatchCNNRegressorCV):
        return "neg_mean_absolute_error"
    return "R²" if is_regressor(search) else "accuracy"


def find_test_train_ratio(search: Any, n_splits: int) -> float:
    """Return the number of test rows of a split divided by that of training rows."""
    if isinstance(search, ReBatchCNNClassifierCV | ReBatchCNNRegressorCV):
        return _held_out_ratio(search.best_estimator_)
    return _k_fold_ratio(search.cv, n_splits)


def _k_fold_ratio(cv: Any, n_splits: int) -> float:
    """Return the ratio of test rows to training rows for k folds."""
    if not (cv is None or isinstance(cv, _K_FOLD_CV)):
        raise ValueError(
            f"The size of the test sets can't be determined from cv={cv!r}. Pass "
            "test_train_ratio, the number of test rows divided by the number of "
            "training rows."
        )
    return 1 / (n_splits // getattr(cv, "n_repeats", 1) - 1)


def _held_out_ratio(model: Any) -> float:
    """Return the ratio of held-out rows to training rows of a network."""
    n_folds = model.cv
    if n_folds is None:
        n_folds = max(2, round(1 / model.validation_fraction))
    n_folds = getattr(n_folds, "n_splits", n_folds)
    if not isinstance(n_folds, Integral):
        raise ValueError(
            f"The size of the held-out sets can't be determined from cv={n_folds!r}. "
            "Pass test_train_ratio, the number of test rows divided by the number of "
            "training rows."
        )
    return 1 / (int(n_folds) - 1)


def is_called(name: str, parameter: str) -> bool:
    """Return whether a parameter, possibly nested, has this name."""
    return name == parameter or name.endswith(f"__{parameter}")
