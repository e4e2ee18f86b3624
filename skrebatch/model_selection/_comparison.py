"""Differences between the candidates of a search, with intervals and p-values."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skrebatch._utils.extras import import_extra
from skrebatch._utils.validation import check_real
from skrebatch.inspection._intervals import (
    adjust_by_holm,
    corrected_intervals,
    corrected_p_values,
)
from skrebatch.model_selection._scores import (
    Floats,
    find_scores,
    find_test_train_ratio,
    is_called,
)

if TYPE_CHECKING:
    import pandas as pd


def compare_candidates(
    search: Any,
    baseline: Mapping[str, Any],
    *,
    scoring: str | None = None,
    test_train_ratio: float | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare the candidates of a search with a baseline, split by split.

    A difference is the score of a candidate minus the score of the baseline on the same
    split. The splits of a CV form are the folds of its first networks, which hold out
    each row once. The intervals and p-values are those of Nadeau and Bengio [1]_, which
    account for the overlap of the training sets of the splits. Candidates that differ
    only in `random_state` are treated as one: their scores are averaged within each
    split first, because they are not independent.

    Parameters
    ----------
    search : GridSearchCV, FusedGridSearchCV or CV form
        Fitted search, or a fitted :class:`ReBatchCNNClassifierCV` or
        :class:`ReBatchCNNRegressorCV`.
    baseline : dict
        Parameter values of the baseline, for example ``{"ratio": 0}``. The names may
        leave out the steps of a pipeline. If several candidates have these values, the
        baseline is the mean of their scores.
    scoring : str, default=None
        Name of the score if the search has several. If None, the score given by
        `refit`.
    test_train_ratio : float, default=None
        Number of test rows divided by number of training rows of a split. If None,
        1 / (k - 1) for k folds, repeated or not. It is required for other splits.
    confidence : float, default=0.95
        Confidence level of the intervals.

    Returns
    -------
    comparison : pandas.DataFrame
        One row for each candidate that is not part of the baseline, the largest
        difference first. There is one column for each parameter in which the candidates
        differ; it contains None where a candidate does not set the parameter.
        ``comparison.attrs["baseline_score"]`` is the mean score of the baseline. The
        other columns are:

        mean_score : float
            ``mean_test_score`` of `cv_results_`: higher is better.
        difference : float
            Mean difference from the baseline over the splits; above 0 if the candidate
            is better.
        low, high : float
            Ends of the confidence interval of the difference; NaN for a single split.
        p_value : float
            Two-sided p-value of a difference of 0.
        p_holm : float
            p-value adjusted for the number of candidates by the method of Holm [2]_.

    Raises
    ------
    ValueError
        If the search is not fitted or uses successive halving; if no candidate, or
        every candidate, belongs to the baseline; if the search has several scores and
        `scoring` does not name one; if `test_train_ratio` is required but None; or if a
        parameter is out of range.
    TypeError
        If `baseline` is not a dict.
    ImportError
        If pandas is not installed.

    See Also
    --------
    RatioCurveDisplay : Plot of the scores by ratio, with intervals.
    FusedGridSearchCV : A search whose candidates are trained side by side.

    References
    ----------
    .. [1] C. Nadeau and Y. Bengio, "Inference for the generalization error",
       Machine Learning 52, 2003, 239-281.
    .. [2] S. Holm, "A simple sequentially rejective multiple test procedure",
       Scandinavian Journal of Statistics 6, 1979, 65-70.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skrebatch import (
    ...     FusedGridSearchCV,
    ...     ReBatchCNNClassifier,
    ...     compare_candidates,
    ... )
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> search = FusedGridSearchCV(
    ...     ReBatchCNNClassifier(n_networks=1, max_epochs=5),
    ...     {"ratio": [0, 0.15, 0.3], "random_state": [0, 1]},
    ...     scoring="neg_log_loss",
    ... )
    >>> comparison = compare_candidates(search.fit(scale(X), y), {"ratio": 0})
    >>> comparison.columns.tolist()
    ['ratio', 'mean_score', 'difference', 'low', 'high', 'p_value', 'p_holm']
    >>> sorted(comparison["ratio"])
    [0.15, 0.3]
    """
    pandas = import_extra("pandas", "compare_candidates")
    if not isinstance(baseline, Mapping):
        raise TypeError(f"baseline must be a dict, got {baseline!r:.100}.")
    check_real(confidence, "confidence", above=0, below=1)
    scores = find_scores(search, scoring)
    if test_train_ratio is None:
        test_train_ratio = find_test_train_ratio(search, scores.by_split.shape[1])
    check_real(test_train_ratio, "test_train_ratio", above=0)
    # (n_candidates, 1 + n_splits): the mean score, and that of each split
    table = np.column_stack([scores.mean, scores.by_split])
    candidates, table = _average_seeds(search.cv_results_["params"], table)
    is_baseline = _find_baseline(candidates, baseline)
    base, others = table[is_baseline].mean(axis=0), table[~is_baseline]
    differences = others[:, 1:] - base[1:]
    intervals = corrected_intervals(differences, test_train_ratio, confidence)
    p_values = corrected_p_values(differences, test_train_ratio)
    compared = list(itertools.compress(candidates, ~is_baseline))
    columns: dict[str, Any] = {
        name: [params.get(name) for params in compared]
        for name in dict.fromkeys(name for params in candidates for name in params)
        if len({repr(params.get(name)) for params in candidates}) > 1
    }
    comparison = pandas.DataFrame(
        {
            **columns,
            "mean_score": others[:, 0],
            "difference": intervals[:, 0],
            "low": intervals[:, 1],
            "high": intervals[:, 2],
            "p_value": p_values,
            "p_holm": adjust_by_holm(p_values),
        }
    )
    comparison = comparison.sort_values(
        "difference", ascending=False, kind="stable", ignore_index=True
    )
    comparison.attrs["baseline_score"] = float(base[0])
    return comparison


def _average_seeds(
    candidates: list[dict[str, Any]], scores: Floats
) -> tuple[list[dict[str, Any]], Floats]:
    """Merge candidates that differ only in `random_state`; average their scores."""
    merged: dict[str, tuple[dict[str, Any], list[int]]] = {}
    for i, params in enumerate(candidates):
        own = {n: v for n, v in params.items() if not is_called(n, "random_state")}
        key = repr(sorted(own.items(), key=lambda item: item[0]))
        merged.setdefault(key, (own, []))[1].append(i)
    means = [scores[rows].mean(axis=0) for _, rows in merged.values()]
    return [params for params, _ in merged.values()], np.array(means)


def _find_baseline(
    candidates: list[dict[str, Any]], baseline: Mapping[str, Any]
) -> NDArray[np.bool_]:
    """Return which candidates have all values of the baseline."""
    is_baseline = np.array(
        [
            all(
                any(is_called(n, name) and v == value for n, v in params.items())
                for name, value in baseline.items()
            )
            for params in candidates
        ]
    )
    if not is_baseline.any() or is_baseline.all():
        found = "every candidate" if is_baseline.all() else "no candidate"
        names = sorted({name for params in candidates for name in params})
        raise ValueError(
            f"{found} of the search has the values of baseline={dict(baseline)!r}; it "
            f"must be some of them. The search has the parameters {names}."
        )
    return is_baseline
