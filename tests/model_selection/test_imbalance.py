"""Samplers of imbalanced-learn before the estimator: the recipe of the docs."""

import numpy as np
import pytest
from helpers.estimators import assert_close, assert_same_bits, make
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from skrebatch import FusedGridSearchCV

pytest.importorskip("imblearn")
from imblearn.combine import SMOTETomek
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import make_pipeline
from imblearn.under_sampling import RandomUnderSampler

SAMPLERS = {
    "over": SMOTE(random_state=0),
    "over by repeating": RandomOverSampler(random_state=0),
    "under": RandomUnderSampler(random_state=0),
    "mixed": SMOTETomek(random_state=0),
}
WEIGHTS = "rebatchcnnclassifier__sample_weight"


def make_uneven(n=90, n_rare=15):
    """A table with a rare class."""
    rng = np.random.default_rng(0)
    y = (np.arange(n) < n_rare).astype(int)
    X = rng.normal(size=(n, 5)) + y[:, None]
    order = rng.permutation(n)
    return X[order], y[order]


def pipeline(sampler, **params):
    return make_pipeline(StandardScaler(), clone(sampler), make(**params))


@pytest.mark.parametrize("n_augments", [0, 1])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_pipeline_samples_then_augments_and_predicts_every_row(name, n_augments):
    X, y = make_uneven()
    params = {"n_augments": n_augments, "noise_std": 0.1 * n_augments}
    model = pipeline(SAMPLERS[name], **params).fit(X, y)
    scaler = StandardScaler().fit(X)
    X_sampled, y_sampled = clone(SAMPLERS[name]).fit_resample(scaler.transform(X), y)
    by_hand = make(**params).fit(X_sampled, y_sampled)
    assert_same_bits(model[-1], by_hand)
    assert len(by_hand.sample_losses_) == len(y_sampled) != len(y)
    expected = by_hand.predict_proba(scaler.transform(X))
    np.testing.assert_array_equal(model.predict_proba(X), expected)


def test_class_weights_count_the_rows_that_a_sampler_leaves():
    X, y = make_uneven()
    even = SMOTE(random_state=0)
    model = pipeline(even, class_weight="balanced").fit(X, y)
    assert_same_bits(model[-1], pipeline(even).fit(X, y)[-1])
    partly = SMOTE(sampling_strategy=0.5, random_state=0)
    model = pipeline(partly, class_weight="balanced").fit(X, y)
    # 75 and 37 rows, each class with half of the weight.
    sizes = {0: 75, 1: 37}
    by_hand = {c: 112 / (2 * size) for c, size in sizes.items()}
    assert_same_bits(model[-1], pipeline(partly, class_weight=by_hand).fit(X, y)[-1])


def test_choosing_by_class_keeps_the_shares_that_a_sampler_leaves():
    X, y = make_uneven()
    partly = RandomUnderSampler(sampling_strategy=0.5, random_state=0)
    params = {"ratio": 0.5, "strategy": "max-loss", "class_balanced": True}
    model = pipeline(partly, **params).fit(X, y)
    _, sampled = clone(partly).fit_resample(X, y)
    assert np.bincount(sampled).tolist() == [30, 15]
    assert np.bincount(sampled[model[-1].chosen_]).tolist() == [10, 5]


def test_a_search_resamples_training_parts_alone(capsys):
    X, y = make_uneven()
    grid = {"rebatchcnnclassifier__ratio": [0, 0.3], "smote__k_neighbors": [2, 5]}
    options = {"cv": StratifiedKFold(3), "scoring": "neg_log_loss"}
    options["return_train_score"] = True
    model = pipeline(SMOTE(random_state=0), dtype="float64")
    fused = FusedGridSearchCV(model, grid, verbose=1, **options).fit(X, y)
    assert "alone" not in capsys.readouterr().out
    one_by_one = GridSearchCV(model, grid, **options).fit(X, y)
    scores = fused.cv_results_["mean_test_score"]
    for name in ("mean_test_score", "mean_train_score"):
        assert_close(fused.cv_results_[name], one_by_one.cv_results_[name])
    assert len(set(scores)) == 4
    assert type(fused.best_estimator_) is type(model)


class Counting(RandomOverSampler):
    calls = 0

    def fit_resample(self, X, y, **params):
        type(self).calls += 1
        return super().fit_resample(X, y, **params)


def test_a_search_resamples_once_a_fold():
    X, y = make_uneven()
    Counting.calls = 0
    model = pipeline(Counting(random_state=0))
    grid = {"rebatchcnnclassifier__ratio": [0, 0.1, 0.2, 0.3]}
    FusedGridSearchCV(model, grid, cv=3, refit=False).fit(X, y)
    assert Counting.calls == 3


def test_a_search_over_samplers():
    X, y = make_uneven()
    grid = {"smote": ["passthrough", *SAMPLERS.values()]}
    options = {"cv": StratifiedKFold(3), "scoring": "neg_log_loss"}
    model = pipeline(SMOTE(random_state=0), dtype="float64")
    fused = FusedGridSearchCV(model, grid, **options).fit(X, y)
    one_by_one = GridSearchCV(model, grid, **options).fit(X, y)
    name = "mean_test_score"
    assert_close(fused.cv_results_[name], one_by_one.cv_results_[name])


def test_a_search_refuses_weights_of_the_old_rows():
    X, y = make_uneven()
    model = pipeline(SMOTE(random_state=0))
    grid = {"rebatchcnnclassifier__ratio": [0, 0.3]}
    search = FusedGridSearchCV(model, grid, cv=3, error_score="raise")
    with pytest.raises(ValueError, match=r"\(60,\), expected \(100,\)"):
        search.fit(X, y, **{WEIGHTS: np.ones(90)})


def test_weights_of_the_old_rows_are_refused():
    X, y = make_uneven()
    model = pipeline(SMOTE(random_state=0))
    with pytest.raises(ValueError, match=r"\(90,\), expected \(150,\)"):
        model.fit(X, y, **{WEIGHTS: np.ones(90)})


def test_where_lengths_agree_weights_are_those_of_other_rows():
    # What the docs warn of; should a release of imbalanced-learn mend it, mend them.
    X, y = make_uneven(n_rare=45)
    weights = np.random.default_rng(1).uniform(1, 9, size=90)
    sampler = RandomUnderSampler(random_state=0)
    model = pipeline(sampler).fit(X, y, **{WEIGHTS: weights})
    scaled = StandardScaler().fit_transform(X)
    X_sampled, y_sampled = sampler.fit_resample(scaled, y)
    assert len(y_sampled) == 90
    wrong = make().fit(X_sampled, y_sampled, sample_weight=weights)
    assert_same_bits(model[-1], wrong)
    rows = sampler.sample_indices_
    np.testing.assert_array_equal(scaled[rows], X_sampled)
    right = make().fit(X_sampled, y_sampled, sample_weight=weights[rows])
    assert np.abs(right.sample_losses_ - wrong.sample_losses_).max() > 1e-3
