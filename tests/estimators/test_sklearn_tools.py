"""The estimators among the tools of scikit-learn."""

import joblib
import numpy as np
import pytest
import sklearn
from helpers.estimators import N, assert_close, assert_same_bits, make, make_data
from sklearn.base import clone
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def scaled(**params):
    return make_pipeline(StandardScaler(), make(**params))


def test_a_pipeline_is_its_steps():
    X, y = make_data()
    X = X * [1, 100, 1e-3, 5, 1] + 7
    model = scaled().fit(X, y)
    expected = make().fit(StandardScaler().fit_transform(X), y)
    assert_same_bits(model[-1], expected)
    np.testing.assert_array_equal(
        model.predict_proba(X),
        expected.predict_proba(StandardScaler().fit_transform(X)),
    )


def score_by_hand(model, X, y, split):
    train, test = split
    return clone(model).fit(X[train], y[train]).score(X[test], y[test])


def test_a_grid_search_over_the_ratio():
    X, y = make_data()
    ratios = [0.03, 0.08, 0.15, 0.3]
    cv = StratifiedKFold(3)
    model = make_pipeline(
        StandardScaler(), make(ratio=0.15, max_epochs=10, lr=0.05, random_state=0)
    )
    search = GridSearchCV(model, {"rebatchcnnclassifier__ratio": ratios}, cv=cv)
    with pytest.warns(UserWarning, match="B = 0"):  # 27 rows and a ratio of .03
        search.fit(X, y)
    for i, split in enumerate(cv.split(X, y)):
        scores = search.cv_results_[f"split{i}_test_score"]
        for ratio, score in zip(ratios[1:], scores[1:], strict=True):
            candidate = clone(model).set_params(rebatchcnnclassifier__ratio=ratio)
            assert score == score_by_hand(candidate, X, y, split)
    assert len(set(search.cv_results_["mean_test_score"])) > 1
    best = clone(model).set_params(**search.best_params_)
    assert_same_bits(search.best_estimator_[-1], best.fit(X, y)[-1])


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_cross_validation(task):
    X, y = make_data(task)
    model, cv = make_pipeline(StandardScaler(), make(task)), KFold(3)
    by_hand = [score_by_hand(model, X, y, split) for split in cv.split(X)]
    assert cross_val_score(model, X, y, cv=cv).tolist() == by_hand


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_in_parallel_the_bits_are_the_same(backend):
    X, y = make_data()
    params = {"cv": 6, "method": "predict_proba"}
    model = scaled(max_epochs=10)
    expected = cross_val_predict(model, X, y, **params)
    with joblib.parallel_backend(backend, n_jobs=2):
        np.testing.assert_array_equal(
            cross_val_predict(model, X, y, n_jobs=2, **params), expected
        )


def test_weights_are_routed():
    X, y = make_data()
    weights = np.random.default_rng(1).integers(0, 4, size=N)
    rows = StandardScaler().fit_transform(X)
    expected = make().fit(rows, y, sample_weight=weights)
    with sklearn.config_context(enable_metadata_routing=True):
        model = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False),
            make().set_fit_request(sample_weight=True),
        )
        assert_same_bits(clone(model).fit(X, y, sample_weight=weights)[-1], expected)
        name = "rebatchcnnclassifier__repeats"
        scoring = get_scorer("accuracy").set_score_request(sample_weight=True)
        grid = {name: [1, 2]}
        search = GridSearchCV(model, grid, scoring=scoring, cv=KFold(2))
        search.fit(X, y, sample_weight=weights)
        best = clone(model).set_params(**search.best_params_)
        best.fit(X, y, sample_weight=weights)
        assert_same_bits(search.best_estimator_[-1], best[-1])
        train, test = next(KFold(2).split(X))
        fold = clone(model).set_params(**{name: 2})
        fold.fit(X[train], y[train], sample_weight=weights[train])
        right = fold.predict(X[test]) == y[test]
        score = np.average(right, weights=weights[test])
        assert search.cv_results_["split0_test_score"][1] == score


def test_a_validation_set_is_routed():
    X, y = make_data()
    X_val, y_val = make_data(n=25)
    scaler = StandardScaler().fit(X)
    with sklearn.config_context(enable_metadata_routing=True):
        steps = StandardScaler(), make().set_fit_request(X_val=True, y_val=True)
        # Scaled as the training rows are, where the pipeline is asked to.
        for names, rows in ((None, X_val), (["X_val"], scaler.transform(X_val))):
            model = make_pipeline(*map(clone, steps), transform_input=names)
            model.fit(X, y, X_val=X_val, y_val=y_val)
            expected = make().fit(scaler.transform(X), y, X_val=rows, y_val=y_val)
            assert_same_bits(model[-1], expected)
            curve = model[-1].validation_loss_curve_
            p = expected.predict_proba(rows)[np.arange(25), y_val]
            assert len(curve) == 4
            assert_close(curve[-1], -np.log(p).mean(), 1e-5)


def test_a_search_with_scikit_learn_s_callbacks():
    callback = pytest.importorskip("sklearn.callback")  # since 1.9
    X, y = make_data()

    class Count:
        """Count the fits of candidates on folds."""

        tasks = 0

        def setup(self, estimator, context):
            self.set_up = True

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            type(self).tasks += 1

        def teardown(self, estimator, context):
            self.torn_down = True

    assert isinstance(Count(), callback.FitCallback)
    name = "rebatchcnnclassifier__ratio"
    search = GridSearchCV(scaled(), {name: [0.1, 0.3]}, cv=3)
    plain = clone(search).fit(X, y)
    search.set_callbacks(Count()).fit(X, y)
    # Two candidates on three folds, at least.
    assert Count.tasks >= 6
    scores = [s.cv_results_["mean_test_score"].tolist() for s in (search, plain)]
    assert scores[0] == scores[1]
    assert_same_bits(search.best_estimator_[-1], plain.best_estimator_[-1])
