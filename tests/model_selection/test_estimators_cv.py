"""Estimators that choose among candidates by out-of-fold predictions."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers.estimators import (
    CLASSIFICATION,
    TASKS,
    assert_same_bits,
    make,
    make_cv,
    make_data,
    weights_of,
)
from scipy.special import expit, softmax
from sklearn import metrics
from sklearn.base import clone, is_classifier
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, ParameterGrid
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from skrebatch import (
    DivergedError,
    ReBatchCNNClassifier,
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressor,
    ReBatchCNNRegressorCV,
    Strategy,
    fit_fused,
)
from skrebatch.model_selection._estimators_cv import _find_best

RATIOS = (0, 0.3, 0.8)
GRID = {"ratio": RATIOS}
DIVERGES = {"optimizer": ["sgd"], "lr": [1e30]}


def twins_of(model, X, y, **params):
    """The candidates of a CV form, fitted without it."""
    twins = [
        clone(model.estimator).set_params(**own)
        for own in ParameterGrid(model.candidates)
    ]
    return fit_fused(twins, X, y, **params)


def held_out_by(twin, y, weights=None):
    """The default score of a fitted estimator, by scikit-learn."""
    if not is_classifier(twin):
        return -metrics.mean_absolute_error(
            y, twin.oof_prediction_, sample_weight=weights
        )
    probabilities = twin.oof_decision_function_
    if probabilities.shape[1] == 2:
        probabilities = probabilities[:, 1]
    params = {"multi_class": "ovr", "sample_weight": weights}
    return metrics.roc_auc_score(y, probabilities, **params)


@pytest.mark.parametrize("task", [*CLASSIFICATION, "regression"])
def test_the_best_of_the_candidates_is_kept_with_its_networks(task):
    X, y = make_data(task)
    model = make_cv(task, GRID, max_epochs=6).fit(X, y)
    twins = twins_of(model, X, y)
    scores = [held_out_by(twin, y) for twin in twins]
    assert len(set(scores)) == 3
    np.testing.assert_allclose(model.cv_results_["mean_test_score"], scores)
    best = int(np.argmax(scores))
    assert (model.best_index_, model.best_params_) == (best, {"ratio": RATIOS[best]})
    assert model.best_score_ == pytest.approx(scores[best])
    assert model.best_estimator_.get_params() == twins[best].get_params()
    assert_same_bits(model.best_estimator_, twins[best])


@pytest.mark.parametrize("task", ["binary", "multi-target"])
def test_a_candidate_ends_as_if_it_were_fitted_alone(task):
    X, y = make_data(task)
    model = make_cv(task, GRID, dtype="float64").fit(X, y)
    alone = clone(model.estimator).set_params(**model.best_params_).fit(X, y)
    np.testing.assert_allclose(weights_of(model.best_estimator_), weights_of(alone))


def test_errors_of_several_targets_count_in_units_of_their_scale():
    X, y = make_data("multi-target")
    model = make_cv("multi-target", GRID).fit(X, y)
    rescaled = clone(model).fit(X, y * [1, 1000])
    factor = (1 / model.best_estimator_.target_scale_).sum()
    scores = model.cv_results_["mean_test_score"] * factor
    factor = (1 / rescaled.best_estimator_.target_scale_).sum()
    np.testing.assert_allclose(
        rescaled.cv_results_["mean_test_score"] * factor, scores, rtol=1e-3
    )


class Counting(Strategy):
    """Counts the epochs that are planned, of all networks."""

    n_epochs = 0

    def plan(self, losses, epoch):
        Counting.n_epochs += 1
        return []


def test_it_costs_the_fits_of_the_candidates_and_nothing_else():
    X, y = make_data()
    Counting.n_epochs = 0
    make_cv(candidates=GRID, strategy=Counting(), ratio=0.3).fit(X, y)
    # Ratio 0 plans nothing, and the first of four epochs is not planned.
    assert Counting.n_epochs == 2 * 2 * 3


def test_the_results_are_those_of_a_search():
    X, y = make_data(n=40)  # each network holds out 20 of them
    grid = [{"ratio": [0.3, 0.1]}, {"repeats": [2], "conv_channels": [(2, 3)]}]
    model = make_cv(candidates=grid, scoring="accuracy").fit(X, y)
    results = model.cv_results_
    search = GridSearchCV(make(), grid, cv=2, refit=False).fit(X, y)
    missing = {"mean_score_time", "std_score_time", "std_fit_time"}
    assert results.keys() == search.cv_results_.keys() - missing
    assert results["params"] == search.cv_results_["params"]
    assert list(results["param_ratio"]) == [0.3, 0.1, np.ma.masked]
    assert results["param_conv_channels"][2] == (2, 3)
    by_network = [results["split0_test_score"], results["split1_test_score"]]
    np.testing.assert_allclose(results["mean_test_score"], np.mean(by_network, axis=0))
    np.testing.assert_allclose(results["std_test_score"], np.std(by_network, axis=0))
    assert results["rank_test_score"].min() == 1
    assert (results["mean_fit_time"] > 0).all()
    assert len(pd.DataFrame(results)) == 3


def test_of_equal_candidates_the_first_is_the_best():
    X, y = make_data()
    model = make_cv(candidates=[{"verbose": [0]}, {"max_epochs": [4]}]).fit(X, y)
    assert model.best_params_ == {"verbose": 0}
    assert list(model.cv_results_["rank_test_score"]) == [1, 1]


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_weights_count_in_the_score_and_rows_of_weight_0_nowhere(task):
    X, y = make_data(task)
    weights = np.arange(len(X)) % 3 / 1.0
    model = make_cv(task, GRID).fit(X, y, sample_weight=weights)
    counts = weights > 0
    other = np.where(counts, y, np.roll(y, 1))
    np.testing.assert_array_equal(
        weights_of(clone(model).fit(X, other, weights).best_estimator_),
        weights_of(model.best_estimator_),
    )
    scores = []
    for twin in twins_of(model, X, y, sample_weight=weights):
        for name in ("oof_prediction_", "oof_decision_function_"):
            if hasattr(twin, name):
                assert np.isnan(getattr(twin, name)[~counts]).all()
                setattr(twin, name, getattr(twin, name)[counts])
        scores.append(held_out_by(twin, y[counts], weights[counts]))
    np.testing.assert_allclose(model.cv_results_["mean_test_score"], scores)


WORDS = np.array(["b", "a", "c"])  # sorted, the first comes second
SCORES = {
    "accuracy": (
        "binary",
        lambda y, p: metrics.accuracy_score(y, np.sort(WORDS[:2])[p.argmax(axis=1)]),
    ),
    "neg_log_loss": ("multiclass", lambda y, p: -metrics.log_loss(y, p)),
    "roc_auc": ("multi-label", metrics.roc_auc_score),
    "f1_macro": (
        "multi-label",
        lambda y, p: metrics.f1_score(y, p > 0.5, average="macro"),
    ),
    "balanced_accuracy": (
        "multiclass",
        lambda y, p: metrics.balanced_accuracy_score(
            y, np.sort(WORDS)[p.argmax(axis=1)]
        ),
    ),
    "r2": ("regression", metrics.r2_score),
    "neg_mean_absolute_error": (
        "multi-target",
        lambda y, p: -metrics.mean_absolute_error(y, p),
    ),
}


@pytest.mark.parametrize("name", SCORES)
def test_scorers_of_scikit_learn(name):
    task, metric = SCORES[name]
    X, y = make_data(task)
    y = WORDS[y] if task in ("binary", "multiclass") else y
    model = make_cv(task, scoring=name).fit(X, y)
    expected = [
        metric(y, getattr(twin, "oof_decision_function_", None))
        if task in CLASSIFICATION
        else metric(y, twin.oof_prediction_)
        for twin in twins_of(model, X, y)
    ]
    np.testing.assert_allclose(model.cv_results_["mean_test_score"], expected)


@pytest.mark.parametrize("task", CLASSIFICATION)
def test_a_scorer_gets_rows_and_all_kinds_of_predictions_of_them(task):
    X, y = make_data(task)
    table = pd.DataFrame(X).add_prefix("x")
    seen = []

    def scorer(estimator, rows, labels):
        np.testing.assert_array_equal(y[rows.index], labels)
        p = estimator.predict_proba(rows)
        np.testing.assert_allclose(np.exp(estimator.predict_log_proba(rows)), p)
        logits = estimator.decision_function(rows)
        if task == "multiclass":
            np.testing.assert_allclose(softmax(logits, axis=1), p)
        else:
            own = p[:, 1] if task == "binary" else p
            np.testing.assert_allclose(expit(logits), own)
            np.testing.assert_array_equal(
                estimator.predict(rows).astype(bool), logits > 0
            )
        assert is_classifier(estimator)
        seen.append(len(rows))
        return 1.0

    make_cv(task, {"ratio": [0]}, scorer).fit(table, y)
    assert seen[0] == len(X) == sum(seen[1:])


def test_a_score_that_takes_no_weights():
    X, y = make_data("regression")
    weights = np.where(np.arange(len(y)) == 5, 0, 2.0)
    y[5] = 1e4
    model = make_cv("regression", scoring="neg_max_error")
    with pytest.warns(UserWarning, match="does not count the sample weights"):
        model.fit(X, y, weights)
    assert model.best_score_ > -1000


@pytest.mark.parametrize("order", [1, -1])
def test_a_candidate_that_diverges_leaves_the_others_alone(order):
    X, y = make_data()
    grid = [GRID, DIVERGES][::order]
    with pytest.warns(FitFailedWarning, match=r"'lr': 1e\+30.*DivergedError"):
        model = make_cv(candidates=grid).fit(X, y)
    other = make_cv(candidates=GRID).fit(X, y)
    results = model.cv_results_["mean_test_score"]
    assert np.isnan(results).sum() == 1 and np.isnan(results[3 if order > 0 else 0])
    assert model.cv_results_["rank_test_score"][np.isnan(results)] == [4]
    assert_same_bits(model.best_estimator_, other.best_estimator_)


def test_if_all_candidates_fail_so_does_the_fit():
    X, y = make_data()
    model = make_cv().fit(X, y)
    before = dict(vars(model))
    model.set_params(candidates=DIVERGES)
    with pytest.raises(DivergedError):
        model.fit(X, y)
    model.set_params(candidates=before["candidates"])
    assert vars(model) == before


def test_a_fold_without_some_class_has_no_score():
    X, y = make_data("multiclass")
    y[y == 2] = 1
    y[0] = 2  # in one fold
    model = make_cv("multiclass", scoring="neg_log_loss").fit(X, y)
    folds = [model.cv_results_[f"split{k}_test_score"] for k in (0, 1)]
    assert np.isnan(folds).any(axis=1).sum() == 1
    assert np.isfinite(model.cv_results_["mean_test_score"]).all()
    default = make_cv("multiclass").fit(X, y)
    assert np.isfinite(default.cv_results_["split0_test_score"]).all()


def test_rows_that_no_network_holds_out_are_not_scored():
    X, y = make_data("regression", n=40)
    model = make_cv("regression", validation_fraction=0.25)
    with pytest.warns(UserWarning, match="no network holds out 20 of 40 rows"):
        model.fit(X, y)
    assert np.isnan(model.oof_prediction_).sum() == 20
    assert np.isfinite(model.cv_results_["mean_test_score"]).all()


def refused(model, *words):
    X, y = make_data()
    before = dict(vars(model))
    with pytest.raises(ValueError) as raised:
        model.fit(X, y)
    assert all(word in str(raised.value) for word in words), raised.value
    assert vars(model) == before


@pytest.mark.parametrize(
    "params", [{"n_networks": 1}, {"early_stopping": False}], ids=str
)
def test_estimators_without_out_of_fold_predictions(params):
    refused(make_cv(**params), "n_networks to 2 or more", "early_stopping to True")


@pytest.mark.parametrize(
    "params",
    [
        {"random_state": 1},
        {"n_networks": 3},
        {"validation_fraction": 0.25},
        {"class_weight": {0: 1, 1: 0}},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:With n_networks")
def test_a_candidate_that_holds_out_other_rows_is_not_compared(params):
    X, y = make_data()
    grid = [{}, {name: [value] for name, value in params.items()}]
    with pytest.warns(FitFailedWarning, match="does not hold out the same rows"):
        model = make_cv(candidates=grid).fit(X, y)
    assert list(np.isnan(model.cv_results_["mean_test_score"])) == [False, True]


@pytest.mark.parametrize(
    "model, words",
    [
        (ReBatchCNNClassifierCV(LogisticRegression()), "must be a ReBatchCNNClassi"),
        (ReBatchCNNClassifierCV(ReBatchCNNRegressor()), "must be a ReBatchCNNClassi"),
        (ReBatchCNNRegressorCV(make_pipeline(ReBatchCNNRegressor())), "the last step"),
        (ReBatchCNNClassifierCV(candidates="ratio"), "'robust' or 'ratios'"),
        (ReBatchCNNClassifierCV(candidates=[]), "empty grid"),
        (ReBatchCNNClassifierCV(candidates={"ration": [0]}), "did you mean 'ratio'"),
        (ReBatchCNNClassifierCV(scoring=["accuracy"]), "name of a score, a callable"),
        (ReBatchCNNClassifierCV(verbose=-1), "verbose"),
        (make_cv(callbacks=[Callback()]), "has callbacks"),
        (make_cv(checkpoint_dir="folder"), "has a checkpoint_dir"),
        (make_cv(lr=-1), "lr must"),
        (make_cv(scoring=lambda *args: np.nan), "score of every candidate is NaN"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_refused(model, words):
    refused(model, words)


def test_nested_parameters_need_an_estimator():
    model = ReBatchCNNClassifierCV()
    with pytest.raises(ValueError, match=r"'estimator__lr' can't be set"):
        model.set_params(estimator__lr=0.1)
    with pytest.raises(ValueError, match="did you mean 'candidates'"):
        model.set_params(candidate="ratios")
    model.set_params(estimator=ReBatchCNNClassifier(), estimator__lr=0.1)
    assert model.estimator.lr == 0.1


def test_the_estimator_stays_as_it_was():
    X, y = make_data()
    model = make_cv(strategy=Counting())
    held, params = model.estimator, repr(model.get_params())
    model.fit(X, y)
    assert model.estimator is held and repr(model.get_params()) == params
    assert not hasattr(held, "module_")
    assert model.best_estimator_.strategy is not held.strategy


def test_the_default_estimator():
    model = ReBatchCNNRegressorCV(candidates={"max_epochs": [1]})
    X, y = make_data("regression")
    model.fit(X, y)
    expected = ReBatchCNNRegressor(max_epochs=1).get_params()
    expected["random_state"] = model.best_estimator_.random_state
    assert model.best_estimator_.get_params() == expected


@pytest.mark.filterwarnings("ignore:Nothing is redistributed")
@pytest.mark.parametrize("name, n_candidates", [("robust", 3), ("ratios", 5)])
def test_candidates_by_name(name, n_candidates):
    X, y = make_data()
    model = make_cv(candidates=name, ratio=0.4, strategy="random").fit(X, y)
    params = model.cv_results_["params"]
    assert len(params) == n_candidates
    plain = make(**{**model.estimator.get_params(), **params[0]}).fit(X, y)
    assert plain.n_redistributed_ == 0
    assert len(set(model.cv_results_["mean_test_score"])) > 1


@pytest.mark.parametrize(
    "scores, best, preferred",
    [
        ([[0.5, 0.4, 0.6], [0.6, 0.5, 0.7]], 1, 1),  # better by as much in each fold
        ([[0.5, 0.4, 0.6], [0.6, 0.8, 0.4]], 1, 0),  # a difference of 0.1 +- 0.3
        ([[np.nan] * 3, [0.2, 0.1, 0.3]], 1, 1),
        ([[0.5, 0.4, 0.6], [np.nan] * 3], 0, 0),
        ([[0.5, 0.4, 0.6], [0.5, 0.4, 0.6]], 0, 0),
        # A fold without a score says nothing of the difference.
        ([[0.5, 0.4, 0.6, np.nan], [0.6, 0.5, 0.7, np.nan]], 1, 1),
        ([[0.5, 0.4, 0.6, np.nan], [0.6, 0.8, 0.4, np.nan]], 1, 0),
        ([[0.5, 0.4, 0.6, np.nan], [0.6, 0.5, 0.7, 0.1]], 1, 1),
    ],
)
def test_plain_training_is_kept_unless_another_is_clearly_better(
    scores, best, preferred
):
    scores = np.array(scores)
    n_folds = scores.shape[1] - 1
    assert _find_best(scores, n_folds, prefer_first=False) == best
    assert _find_best(scores, n_folds, prefer_first=True) == preferred


def test_folds_that_split_the_same_predictions_again_are_not_independent():
    scores = np.array([[0.5, 0.4, 0.5, 0.6], [0.53, 0.43, 0.48, 0.68]])
    differences = scores[1, 1:] - scores[0, 1:]
    error = differences.std(ddof=1) / np.sqrt(3)
    assert error < 0.03 / 1.01
    assert _find_best(scores, 3, prefer_first=True) == 1
    # Each score twice: the same deviation, and the same three independent folds.
    twice = np.hstack([scores, scores[:, 1:]])
    assert _find_best(twice, 3, prefer_first=True) == 1
    assert _find_best(twice, 1, prefer_first=True) == 0


def test_a_candidate_whose_predictions_have_no_score_leaves_the_others_alone():
    X, y = make_data("regression")
    calls = []

    def fails_first(y, predicted):
        calls.append(len(y))
        if len(calls) == 1 or fails_always:
            raise ValueError("not these predictions")
        return -float(np.abs(y - predicted).mean())

    fails_always = False
    scoring = make_scorer(fails_first)
    model = make_cv("regression", candidates={"ratio": [0, 0.3, 0.5]}, scoring=scoring)
    with pytest.warns(
        UserWarning, match=r"'ratio': 0} is NaN, because the scorer fail"
    ):
        model.fit(X, y)
    scores = model.cv_results_["mean_test_score"]
    assert np.isnan(scores).tolist() == [True, False, False]
    assert model.best_index_ == 1 + np.argmax(scores[1:])
    fails_always = True
    with pytest.raises(ValueError, match="not these predictions"):
        model.fit(X, y)


def test_groups_are_held_out_together():
    X, y = make_data(n=40)
    groups = np.arange(40) // 4
    model = make_cv(cv=GroupKFold(2))
    model.fit(X, y, groups=groups)
    (twin, _) = twins_of(model, X, y, groups=groups)
    assert model.cv_results_["mean_test_score"][0] == pytest.approx(
        held_out_by(twin, y)
    )


class TestRandomState:
    """Candidates share their folds and initial weights."""

    def fit(self, held, own):
        X, y = make_data()
        model = ReBatchCNNClassifierCV(
            make_cv().estimator.set_params(random_state=held), GRID, random_state=own
        )
        return weights_of(model.fit(X, y).best_estimator_), model

    def test_numbers(self):
        by_held, _ = self.fit(3, None)
        by_own, model = self.fit(0, 3)
        np.testing.assert_array_equal(by_held, by_own)
        assert model.best_estimator_.random_state == 3
        assert not np.array_equal(by_held, self.fit(4, None)[0])

    def test_generators(self):
        rng = np.random.RandomState(0)
        first, second = self.fit(0, rng)[0], self.fit(0, rng)[0]
        assert not np.array_equal(first, second)
        np.testing.assert_array_equal(first, self.fit(0, np.random.RandomState(0))[0])

    def test_none(self):
        (first, model), (second, _) = self.fit(None, None), self.fit(None, None)
        assert not np.array_equal(first, second)
        X, y = make_data()
        twins = [
            clone(model.best_estimator_).set_params(ratio=ratio) for ratio in RATIOS
        ]
        fit_fused(twins, X, y)
        assert_same_bits(model.best_estimator_, twins[model.best_index_])


@pytest.mark.parametrize("task", TASKS)
def test_attributes_and_methods_are_those_of_the_best(task):
    X, y = make_data(task)
    table = pd.DataFrame(X).add_prefix("x")
    model = make_cv(task)
    names = ["n_features_in_", "feature_names_in_", "n_iter_", "loss_curve_"]
    names += ["validation_loss_curve_", "sample_losses_", "oof_score_"]
    methods = ["predict"]
    if task in CLASSIFICATION:
        names += ["classes_", "oof_decision_function_"]
        methods += ["predict_proba", "predict_log_proba", "decision_function"]
    else:
        names += ["oof_prediction_"]
    assert not any(hasattr(model, name) for name in names)
    for name in methods:
        with pytest.raises(NotFittedError):
            getattr(model, name)(table)
    best = model.fit(table, y).best_estimator_
    for name in names:
        np.testing.assert_array_equal(getattr(model, name), getattr(best, name))
    for name in methods:
        own, expected = getattr(model, name)(table), getattr(best, name)(table)
        np.testing.assert_array_equal(own, expected)
    weights = np.arange(len(y))
    assert model.score(table, y, weights) == best.score(table, y, weights)
    assert not hasattr(model, "partial_fit")
    for twin in (pickle.loads(pickle.dumps(model)), clone(model).fit(table, y)):
        np.testing.assert_array_equal(twin.predict(table), model.predict(table))


def test_in_a_search_over_parameters_of_its_estimator():
    X, y = make_data(n=60)
    search = GridSearchCV(make_cv(), {"estimator__lr": [1e-3, 3e-2]}, cv=2).fit(X, y)
    assert search.best_estimator_.best_estimator_.lr == search.best_params_.get(
        "estimator__lr"
    )
    assert len(set(search.cv_results_["mean_test_score"])) == 2


def test_weights_are_routed_to_it():
    X, y = make_data()
    weights = np.arange(len(y)) % 3
    model = make_cv()
    expected = clone(model).fit(X, y, weights)
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(sample_weight=True)
        routed = make_pipeline(model).fit(X, y, sample_weight=weights)[-1]
    assert_same_bits(routed.best_estimator_, expected.best_estimator_)


def test_a_ratio_of_0_does_not_turn_off_the_robust_candidates():
    X, y = make_data()
    base = make(ratio=0, n_networks=2, cv=2, max_epochs=8, early_stopping=True)
    model = ReBatchCNNClassifierCV(base, random_state=0).fit(X, y)
    plain, soft, _ = model.cv_results_["mean_test_score"]
    assert plain != soft
    other = ReBatchCNNClassifierCV(base.set_params(ratio=0.2), random_state=0).fit(X, y)
    scores = other.cv_results_["mean_test_score"]
    np.testing.assert_array_equal(model.cv_results_["mean_test_score"], scores)


def test_targets_have_the_same_weights_in_the_scores_of_all_candidates():
    X, y = make_data("multi-target")
    y[::10, 1] += 1000
    grid = {"standardize_target": ["robust", True]}
    model = make_cv("multi-target", grid).fit(X, y)
    twins = twins_of(model, X, y)
    scale = twins[0].target_scale_
    assert (scale != twins[1].target_scale_).any()
    errors = [np.abs(y - twin.oof_prediction_).mean(axis=0) for twin in twins]
    expected = [-np.average(error, weights=1 / scale) for error in errors]
    np.testing.assert_allclose(model.cv_results_["mean_test_score"], expected)
