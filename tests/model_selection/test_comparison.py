"""Differences between the candidates of a search."""

import numpy as np
import pandas as pd
import pytest
from helpers.estimators import make_cv, make_data
from scipy import stats
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
)

from skrebatch import ReBatchCNNClassifier, compare_candidates

SPLITS = np.array([0.1, 0.3, 0.2])


def search_of(*candidates, cv=3, **options):
    """A search of which only the results are there: parameters and scores by split."""
    search = GridSearchCV(ReBatchCNNClassifier(), {}, cv=cv, **options)
    scores = np.array([scores for _, scores in candidates], dtype=float)
    search.cv_results_ = {
        "params": [params for params, _ in candidates],
        **{f"split{i}_test_score": own for i, own in enumerate(scores.T)},
    }
    return search


def test_differences_are_paired_by_split():
    gain = np.array([0.01, 0.03, 0.02])
    search = search_of(
        ({"ratio": 0}, SPLITS),
        ({"ratio": 0.3}, SPLITS + gain),
        ({"ratio": 0.1}, SPLITS),
    )
    comparison = compare_candidates(search, {"ratio": 0})
    assert comparison["ratio"].tolist() == [0.3, 0.1]
    np.testing.assert_allclose(comparison["mean_score"], [0.22, 0.2])
    np.testing.assert_allclose(comparison["difference"], [0.02, 0])
    # Three folds: 1/3 + 1/2 of the variance of the gains.
    error = np.sqrt((1 / 3 + 1 / 2) * gain.var(ddof=1))
    half = stats.t(2).ppf(0.975) * error
    np.testing.assert_allclose(comparison["low"], [0.02 - half, 0])
    np.testing.assert_allclose(comparison["high"], [0.02 + half, 0])
    p_value = 2 * stats.t(2).sf(0.02 / error)
    np.testing.assert_allclose(comparison["p_value"], [p_value, 1])
    np.testing.assert_allclose(comparison["p_holm"], [2 * p_value, 1])
    assert comparison.attrs["baseline_score"] == pytest.approx(0.2)


def test_seeds_are_averaged_before_the_splits_are_compared():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4, 3))
    params = [
        {"net__ratio": ratio, "net__random_state": seed}
        for ratio in (0, 0.3)
        for seed in (0, 1)
    ]
    search = search_of(*zip(params, scores, strict=True))
    comparison = compare_candidates(search, {"ratio": 0})
    means = scores[:2].mean(axis=0), scores[2:].mean(axis=0)
    merged = search_of(({"net__ratio": 0}, means[0]), ({"net__ratio": 0.3}, means[1]))
    pd.testing.assert_frame_equal(
        comparison, compare_candidates(merged, {"net__ratio": 0})
    )
    assert comparison.columns[0] == "net__ratio"


def test_a_baseline_of_several_candidates_is_their_mean():
    search = search_of(
        ({"ratio": 0, "repeats": 1}, SPLITS),
        ({"ratio": 0, "repeats": 2}, SPLITS + 0.2),
        ({"ratio": 0.3}, SPLITS + 0.4),
    )
    comparison = compare_candidates(search, {"ratio": 0})
    np.testing.assert_allclose(comparison["difference"], [0.3])
    assert comparison["repeats"].tolist() == [None]
    comparison = compare_candidates(search, {"ratio": 0, "repeats": 2})
    np.testing.assert_allclose(comparison["difference"], [0.2, -0.2])


def test_a_candidate_that_failed_has_no_difference():
    search = search_of(
        ({"lr": 1}, SPLITS), ({"lr": 2}, SPLITS + 0.1), ({"lr": 9}, [np.nan] * 3)
    )
    comparison = compare_candidates(search, {"lr": 1})
    assert comparison["lr"].tolist() == [2, 9]
    assert comparison.loc[1, ["difference", "low", "high", "p_holm"]].isna().all()
    assert comparison.loc[0, "p_holm"] == pytest.approx(comparison.loc[0, "p_value"])


def test_sizes_of_splits_that_are_not_folds_are_asked_for():
    search = search_of(
        ({"ratio": 0}, SPLITS), ({"ratio": 0.3}, SPLITS[::-1]), cv=ShuffleSplit(3)
    )
    with pytest.raises(ValueError, match="Pass test_train_ratio"):
        compare_candidates(search, {"ratio": 0})
    wide, narrow = (
        compare_candidates(search, {"ratio": 0}, test_train_ratio=ratio)
        for ratio in (1.0, 0.1)
    )
    assert wide.loc[0, "high"] > narrow.loc[0, "high"]


@pytest.mark.parametrize("cv", [2, RepeatedStratifiedKFold(n_splits=2, n_repeats=2)])
def test_of_a_cv_form_the_folds_that_hold_out_each_row_once_are_compared(cv):
    X, y = make_data()
    model = make_cv(n_networks=4, cv=cv).fit(X, y)
    comparison = compare_candidates(model, {"ratio": 0})
    results = model.cv_results_
    first, second = (results[f"split{i}_test_score"] for i in range(2))
    gains = first[1] - first[0], second[1] - second[0]
    assert comparison.loc[0, "difference"] == pytest.approx(np.mean(gains))
    # Nadeau and Bengio, by hand: two splits, as many test rows as training rows.
    error = np.std(gains, ddof=1) * np.sqrt(1 / 2 + 1)
    half_width = stats.t.ppf(0.975, 1) * error
    assert comparison.loc[0, "high"] == pytest.approx(np.mean(gains) + half_width)
    assert comparison.loc[0, "mean_score"] == results["mean_test_score"][1]
    assert comparison.attrs["baseline_score"] == results["mean_test_score"][0]


def test_folds_of_a_cv_form_without_a_score_are_left_out():
    X, y = make_data(n=90)
    groups = np.arange(90) % 3
    y = np.where(groups == 2, 0, y)
    model = make_cv(n_networks=3, cv=GroupKFold(3)).fit(X, y, groups=groups)
    results = model.cv_results_
    scores = np.array([results[f"split{i}_test_score"] for i in range(3)])
    (undefined,) = np.flatnonzero(np.isnan(scores).all(axis=1))
    with pytest.warns(UserWarning, match="1 of 3 folds are left out"):
        (difference,) = compare_candidates(model, {"ratio": 0})["difference"]
    gains = np.delete(scores[:, 1] - scores[:, 0], undefined)
    assert difference == pytest.approx(gains.mean())


def test_sizes_of_other_splits_of_a_cv_form_are_asked_for():
    X, y = make_data()
    splitter = ShuffleSplit(3, test_size=0.5, random_state=0)
    model = make_cv(n_networks=3, cv=splitter).fit(X, y)
    with pytest.raises(ValueError, match="Pass test_train_ratio"):
        compare_candidates(model, {"ratio": 0})
    comparison = compare_candidates(model, {"ratio": 0}, test_train_ratio=1)
    assert comparison["low"].notna().all()


@pytest.mark.parametrize(
    "baseline, words",
    [
        ({"ratio": 0.5}, "no candidate of the search has the values of baseline"),
        ({"strategy": "random"}, r"no candidate .* parameters \['ratio'\]"),
        ({}, "every candidate"),
    ],
)
def test_a_baseline_is_some_of_the_candidates(baseline, words):
    search = search_of(({"ratio": 0}, SPLITS), ({"ratio": 0.3}, SPLITS))
    with pytest.raises(ValueError, match=words):
        compare_candidates(search, baseline)


def test_a_baseline_is_a_dict():
    search = search_of(({"ratio": 0}, SPLITS), ({"ratio": 0.3}, SPLITS))
    with pytest.raises(TypeError, match="baseline must be a dict"):
        compare_candidates(search, "ratio")


def test_a_search_that_is_not_fitted_is_refused():
    search = GridSearchCV(ReBatchCNNClassifier(), {"ratio": [0, 0.1]})
    with pytest.raises(ValueError, match="no cv_results_"):
        compare_candidates(search, {"ratio": 0})
