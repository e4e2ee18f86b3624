"""The fused search against scikit-learn's own, which it must not differ from."""

import contextlib
import gc
import inspect
import io
import pickle
import re
import tracemalloc
import warnings
import weakref

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers.estimators import (
    TASKS,
    First,
    global_state_stays,
    make,
    make_data,
    weights_of,
)
from helpers.searches import assert_same_search, both, described
from joblib._parallel_backends import ThreadingBackend
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer, make_scorer, mean_absolute_error
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    KernelCenterer,
    MinMaxScaler,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC
from skorch.callbacks import EarlyStopping, GradientNormClipping

from skrebatch import (
    OHEM,
    DivergedError,
    FusedGridSearchCV,
    MaxLoss,
    MinLoss,
    ReBatchCNNClassifier,
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressor,
    ReBatchCNNRegressorCV,
    Strategy,
    TabularCNN,
)
from skrebatch.strategies import STRATEGIES

ROWS = 60
RATIOS = {"ratio": [0.1, 0.5]}
NET_RATIOS = {"net__ratio": [0.1, 0.5]}


def net(task="binary", **params):
    """A small estimator whose scores rounding doesn't touch."""
    shared = {"dtype": "float64", "max_epochs": 3, "lr": 0.03, "hidden_size": 8}
    return make(task, **{**shared, **params})


def pipe(task="binary", *steps, **params):
    """A pipeline whose earlier steps change the result if run twice or never."""
    steps = steps or (("poly", PolynomialFeatures(2)), ("scale", MinMaxScaler((-1, 2))))
    return Pipeline([*steps, ("net", net(task, **params))])


def scores_of(search):
    return np.array([v for k, v in search.cv_results_.items() if "split" in k])


# --- the same as scikit-learn's search: estimators and grids ---


def test_an_estimator_by_itself():
    X, y = make_data(n=ROWS)
    search = both(net(max_epochs=8), {**RATIOS, "random_state": [0, 1]}, X, y)
    assert search.n_splits_ == 3
    assert len(np.unique(scores_of(search))) > 3  # the candidates differ


@pytest.mark.parametrize("task", ["multiclass", "regression", "multi-target"])
def test_every_task(task):
    X, y = make_data(task, n=ROWS)
    # The scores of regressors are real numbers, and so are rounded.
    both(net(task, max_epochs=8), RATIOS, X, y, tolerance=1e-10)


def test_what_a_search_may_vary_in_a_stack():
    X, y = make_data(n=ROWS)
    grid = {
        "strategy": ["min-loss", "max-loss"],
        "repeats": [0, 3],
        "batch_size": ["auto", 16],
        "early_stopping": [False, True],
    }
    both(net(max_epochs=6, n_iter_no_change=1), grid, X, y, cv=2)


def test_what_it_must_group_by():
    X, y = make_data(n=ROWS)
    grid = {
        "conv_channels": [(3,), (2, 4)],
        "optimizer": ["adam", "sgd"],
        "lr": [0.01, 0.1],
    }
    search = both(net(), grid, X, y)
    assert search.cv_results_["param_conv_channels"].dtype == object


def test_a_list_of_grids():
    X, y = make_data(n=ROWS)
    grids = [
        {"ratio": [0.1, 0.5], "repeats": [2]},
        {"strategy": ["max-loss"], "ratio": [0.25]},
        {"max_epochs": [1, 5]},
        {},
    ]
    search = both(net(), grids, X, y)
    assert search.cv_results_["param_strategy"].mask.tolist() == [1, 1, 0, 1, 1, 1]


def test_strategies_and_their_parameters():
    X, y = make_data(n=ROWS)
    grids = [
        {"strategy": [MinLoss(), MaxLoss(), First(), "random"], "repeats": [0, 2]},
        {"strategy": [Later()], "strategy__start": [0, 5, 20]},
    ]
    search = both(net(), grids, X, y)
    assert len(np.unique(scores_of(search)[:, -3:])) > 1


@pytest.mark.filterwarnings("ignore:ratio_schedule has no effect")
def test_every_method_and_its_course_may_be_searched():
    X, y = make_data(n=ROWS)
    grids = [
        {"strategy": [*STRATEGIES, "ohem"], "ratio": [0.2, 0.5]},
        {"strategy": [OHEM()], "strategy__share": [0.2, 1.0], "warmup_epochs": [0, 3]},
        {
            "strategy": ["max-loss", "infobatch"],
            "ratio_schedule": ["linear", "step"],
            "loss_smoothing": [0, 0.9],
            "refresh_every": [1, 3],
            "class_balanced": [False, True],
            "record_losses": [True],
        },
    ]
    search = both(net(), grids, X, y)
    assert len(np.unique(scores_of(search))) > 5


class Later(Strategy):
    """Choose the samples from one on."""

    def __init__(self, start=0):
        self.start = start

    def plan(self, losses, epoch):
        return self.start + np.arange(epoch.n_chosen)


@pytest.mark.parametrize("state", [0, "RandomState"])
def test_random_states(state):
    X, y = make_data(n=ROWS)
    if state == "RandomState":
        state = np.random.RandomState(5)
    both(net(random_state=state, max_epochs=6), RATIOS, X, y)
    both(net(max_epochs=6), {"random_state": [3, state, 4]}, X, y)


def test_arrays_as_grids():
    X, y = make_data(n=ROWS)
    grid = {"ratio": np.linspace(0.1, 0.5, 3), "repeats": np.arange(3)}
    both(net(), grid, X, y)


def test_nothing_to_choose_from():
    X, y = make_data(n=ROWS)
    assert both(net(), {}, X, y).best_params_ == {}


# --- pipelines ---


@pytest.mark.parametrize("task", TASKS)
def test_a_pipeline(task):
    X, y = make_data(task, n=ROWS)
    search = both(pipe(task), NET_RATIOS, X * 10 + 3, y, tolerance=1e-10)
    assert isinstance(search.best_estimator_, Pipeline)


def test_earlier_steps_may_be_searched():
    X, y = make_data(n=ROWS)
    model = pipe("binary", ("scale", StandardScaler()), ("pca", PCA()))
    grids = [
        {"pca__n_components": [2, 4], **NET_RATIOS},
        {"pca": ["passthrough"], "net__repeats": [0, 2]},
        {"scale": [MinMaxScaler(), None, StandardScaler(with_std=False)]},
        {"scale": [MinMaxScaler()], "scale__feature_range": [(0, 1), (-5, 5)]},
    ]
    search = both(model, grids, X, y)
    assert len(np.unique(search.cv_results_["mean_test_score"])) > 3


@pytest.mark.parametrize("first", [0, 1])
def test_the_last_step_may_be_searched(first):
    X, y = make_data(n=ROWS)
    grids = [
        NET_RATIOS,
        {"net": [LogisticRegression(), net(random_state=7)], "poly__degree": [1, 2]},
        {"net": [LogisticRegression()]},
        {"net": [net(conv_channels=(3,))], "net__ratio": [0.1, 0.4]},
    ]
    both(pipe(), grids[first:] + grids[:first], X, y)


class Counted(StandardScaler):
    """A scaler that counts its fits."""

    fits = []

    def fit(self, X, y=None, sample_weight=None):
        self.fits.append(len(X))
        return super().fit(X, y, sample_weight)


@pytest.mark.filterwarnings("ignore:Nothing is redistributed")
def test_earlier_steps_are_fitted_once_a_fold():
    X, y = make_data(n=ROWS)
    model = pipe("binary", ("scale", Counted()))
    Counted.fits.clear()
    grid = {**NET_RATIOS, "net__random_state": [0, 1]}
    FusedGridSearchCV(model, grid, cv=[(np.arange(9), [9]), (np.arange(12), [12])]).fit(
        X, y
    )
    assert Counted.fits == [9, 12, ROWS]
    Counted.fits.clear()
    grid["scale__with_mean"] = [True, False]
    FusedGridSearchCV(model, grid, cv=2, refit=False).fit(X, y)
    assert Counted.fits == [30] * 4


def test_a_pipeline_in_a_pipeline():
    X, y = make_data(n=ROWS)
    inner = make_pipeline(StandardScaler(), net())
    model = make_pipeline(PolynomialFeatures(2), inner)
    both(model, {"pipeline__rebatchcnnclassifier__ratio": [0.1, 0.5]}, X, y)


def test_a_pipeline_of_one_step():
    X, y = make_data(n=ROWS)
    both(Pipeline([("net", net())]), NET_RATIOS, X, y)


# --- scores ---


def both_scores(model, X, y):
    predicted = model.predict(X)
    return {"right": np.mean(predicted == y), "ones": np.mean(predicted == 1)}


@pytest.mark.parametrize("refit", [False, "recall", "accuracy", min])
@pytest.mark.parametrize(
    "scoring",
    [
        ["accuracy", "recall"],
        ("recall", "accuracy"),
        {"recall": "recall", "accuracy": lambda m, X, y: m.score(X, y)},
    ],
    ids=["list", "tuple", "dict"],
)
def test_several_scores(scoring, refit):
    X, y = make_data(n=ROWS)
    if refit is min:

        def refit(results):
            return results["rank_test_recall"].argmax()

    fused = both(
        net(), RATIOS, X, y, scoring=scoring, refit=refit, return_train_score=True
    )
    assert "split2_train_recall" in fused.cv_results_
    assert set(fused.scorer_) == {"accuracy", "recall"}


def test_a_callable_that_gives_several_scores():
    X, y = make_data(n=ROWS)
    for refit in ("ones", False):
        both(net(), RATIOS, X, y, scoring=both_scores, refit=refit)
    for search in (GridSearchCV, FusedGridSearchCV):
        with pytest.raises(ValueError, match="refit"):
            search(net(), RATIOS, scoring=both_scores).fit(X, y)


@pytest.mark.parametrize(
    "scoring",
    ["balanced_accuracy", "roc_auc", "neg_log_loss", get_scorer("f1"), None],
    ids=str,
)
def test_one_score(scoring):
    X, y = make_data(n=ROWS)
    both(
        net(),
        RATIOS,
        X,
        y,
        scoring=scoring,
        return_train_score=True,
        tolerance=1e-10,
    )


def test_an_own_scorer_of_numbers():
    X, y = make_data("regression", n=ROWS)
    scorer = make_scorer(mean_absolute_error, greater_is_better=False)
    fused = both(net("regression"), RATIOS, X, y, scoring=scorer, tolerance=1e-10)
    assert fused.best_score_ < 0
    assert fused.score(X, y) == -mean_absolute_error(y, fused.predict(X))


def test_refit_by_a_callable_sees_all_results():
    X, y = make_data(n=ROWS)
    seen = []

    def middle(results):
        seen.append(results)
        return 1

    fused = both(net(), RATIOS, X, y, refit=middle)
    assert fused.best_params_ == {"ratio": 0.5}
    assert not hasattr(fused, "best_score_")
    plain, own = seen
    assert list(own) == list(plain)
    np.testing.assert_array_equal(
        own["mean_fit_time"], fused.cv_results_["mean_fit_time"]
    )
    assert (own["mean_fit_time"] > 0).all()
    with pytest.raises(IndexError):
        FusedGridSearchCV(net(), RATIOS, cv=2, refit=lambda r: 2).fit(X, y)


def test_times_are_shares_of_the_whole():
    X, y = make_data(n=ROWS)
    slow = FusedGridSearchCV(net(), {"max_epochs": [1, 100]}, cv=2, max_stack=1)
    times = slow.fit(X, y).cv_results_
    assert times["mean_fit_time"][1] > 5 * times["mean_fit_time"][0] > 0
    assert (times["mean_score_time"] > 0).all()
    # In one stack all take the same.
    shared = FusedGridSearchCV(net(), {"random_state": [0, 1]}, cv=2).fit(X, y)
    assert len(set(shared.cv_results_["mean_fit_time"])) == 1
    assert (shared.cv_results_["std_fit_time"] < 1e-12).all()


# --- folds ---

SPLITTERS = {
    "a number": 4,
    "default": None,
    "stratified": StratifiedKFold(3, shuffle=True, random_state=1),
    "plain": KFold(3),
    "repeated": RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0),
    "uneven": ShuffleSplit(3, train_size=0.37, test_size=0.2, random_state=0),
    "a list": [
        (np.arange(20), np.arange(20, 60)),
        (np.arange(10, 60), np.arange(10)),
        (np.arange(0, 60, 3), np.arange(1, 60, 2)),
    ],
    "masks": [(np.arange(60) < 40, np.arange(60) >= 40)],
}


@pytest.mark.parametrize("name", SPLITTERS)
def test_folds(name):
    X, y = make_data(n=ROWS)
    fused = both(net(), RATIOS, X, y, cv=SPLITTERS[name])
    assert fused.n_splits_ == {"a number": 4, "default": 5, "repeated": 4}.get(
        name, 1 if name == "masks" else 3
    )


def test_a_generator_of_folds():
    X, y = make_data(n=ROWS)
    fused = FusedGridSearchCV(net(), RATIOS, cv=KFold(3).split(X)).fit(X, y)
    plain = GridSearchCV(net(), RATIOS, cv=KFold(3).split(X)).fit(X, y)
    assert_same_search(fused, plain)


def test_all_candidates_see_the_same_folds():
    X, y = make_data(n=ROWS)
    search = FusedGridSearchCV(net(), {"ratio": [0.25] * 3}, cv=KFold(3, shuffle=True))
    scores = scores_of(search.fit(X, y))
    assert scores.shape == (3, 3)
    assert (scores == scores[:, :1]).all()


class Miscounts(KFold):
    """A splitter that tells another number of folds than it makes."""

    def get_n_splits(self, *args, **kwargs):
        return self.n_splits + 1


def test_a_splitter_that_miscounts_its_folds():
    X, y = make_data(n=ROWS)
    with pytest.raises(ValueError, match="cv makes 2 splits, but its get_n_splits"):
        FusedGridSearchCV(net(), RATIOS, cv=Miscounts(2)).fit(X, y)


def test_groups():
    X, y = make_data(n=ROWS)
    groups = np.random.default_rng(0).integers(5, size=ROWS)
    both(net(), RATIOS, X, y, fit={"groups": groups}, cv=GroupKFold(4))
    with pytest.raises(ValueError, match="groups"):
        FusedGridSearchCV(net(), RATIOS, cv=GroupKFold(4)).fit(X, y)


# --- fit parameters ---


def weights(n=ROWS):
    return np.random.default_rng(2).uniform(0, 1, size=n) ** 6 + 1e-3


@pytest.mark.parametrize(
    "form", [np.asarray, list, pd.Series], ids=lambda f: f.__name__
)
def test_sample_weight(form):
    X, y = make_data(n=ROWS)
    grid = {**RATIOS, "max_epochs": [10]}
    fused = both(net(), grid, X, y, fit={"sample_weight": form(weights())})
    without = both(net(), grid, X, y)
    assert (scores_of(fused) != scores_of(without)).any()


def test_sample_weight_of_a_step():
    X, y = make_data(n=ROWS)
    fit = {"net__sample_weight": weights()}
    one = both(pipe(max_epochs=10), NET_RATIOS, X, y, fit=fit)
    # The weights of an earlier step are its own.
    model = pipe("binary", ("scale", StandardScaler()), max_epochs=10)
    fit["scale__sample_weight"] = weights()[::-1]
    grids = [NET_RATIOS, {"net": [LogisticRegression()]}]
    other = both(model, grids, X, y, fit=fit)
    assert (scores_of(one) != scores_of(other)[:, :2]).any()
    assert_array_of_means(
        other.best_estimator_[0].mean_, X, fit["scale__sample_weight"]
    )


def assert_array_of_means(means, X, sample_weight):
    expected = np.average(X, axis=0, weights=sample_weight)
    np.testing.assert_allclose(means, expected)


def test_a_validation_set_is_every_fit_s():
    X, y = make_data(n=ROWS)
    X_val, y_val = make_data(n=25)
    fit = {"X_val": X_val, "y_val": y_val}
    both(net(early_stopping=True, max_epochs=6), RATIOS, X, y, fit=fit)


@contextlib.contextmanager
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def requests(model, score=None):
    model = model.set_fit_request(sample_weight=True)
    return model.set_score_request(sample_weight=score) if score is not None else model


def test_routed_weights():
    X, y = make_data(n=ROWS)
    fit = {"sample_weight": weights()}
    with routing():
        weighted = both(requests(net(), score=True), RATIOS, X, y, fit=fit)
        not_scored = both(requests(net(), score=False), RATIOS, X, y, fit=fit)
        assert (scores_of(weighted) != scores_of(not_scored)).any()
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        both(requests(net()), RATIOS, X, y, fit=fit, scoring=scorer)
        with pytest.raises(Exception, match="sample_weight"):
            FusedGridSearchCV(net(), RATIOS).fit(X, y, **fit)


def test_routed_weights_of_a_pipeline():
    X, y = make_data(n=ROWS)
    fit = {"sample_weight": weights()}
    with routing():
        scorer = get_scorer("accuracy").set_score_request(sample_weight=False)
        scaler = requests(StandardScaler())
        grids = [NET_RATIOS, {"net": [requests(LogisticRegression(), score=False)]}]
        for first in (scaler, StandardScaler().set_fit_request(sample_weight=False)):
            model = Pipeline([("scale", first), ("net", requests(net(), score=False))])
            search = both(model, grids, X, y, fit=fit, scoring=scorer)
            own = weights() if first is scaler else None
            assert_array_of_means(search.best_estimator_[0].mean_, X, own)


def test_routed_groups_and_weights():
    X, y = make_data(n=ROWS)
    fit = {"groups": np.arange(ROWS) // 7, "sample_weight": weights()}
    with routing():
        model = requests(net(), score=False)
        cv = GroupKFold(3).set_split_request(groups=True)
        both(model, RATIOS, X, y, fit=fit, cv=cv)


def watches_validation(**params):
    """A net that asks for validation data and stops by them."""
    params = {"early_stopping": True, "n_iter_no_change": 1, "max_epochs": 8, **params}
    return net(**params).set_fit_request(X_val=True, y_val=True)


def test_validation_data_go_through_the_earlier_steps():
    X, y = make_data(n=ROWS)
    X_val, y_val = make_data(n=25)
    fit = {"X_val": X_val * 10 + 3, "y_val": y_val}
    with routing():
        last = watches_validation()
        steps = [("scale", StandardScaler()), ("net", last)]
        model = Pipeline(steps, transform_input=["X_val"])
        scaled = both(model, NET_RATIOS, X * 10 + 3, y, fit=fit)
        grid = {"transform_input": [["X_val"], None], **NET_RATIOS}
        choice = both(model, grid, X * 10 + 3, y, fit=fit)
    own, without = scores_of(choice)[:, ::2], scores_of(choice)[:, 1::2]
    np.testing.assert_array_equal(own, scores_of(scaled))
    assert (own != without).any()


def test_validation_data_are_transformed_as_the_earlier_steps_ask():
    X, y = make_data(n=ROWS)
    X_val, y_val = make_data(n=25)
    fit = {"X_val": X_val, "y_val": y_val, "shift": 2.0}
    with routing():
        shifts = Shifts().set_fit_request(shift=True)
        shifts.set_transform_request(shift=True)
        model = Pipeline(
            [
                ("shift", shifts),
                ("scale", MinMaxScaler()),
                ("net", watches_validation()),
            ],
            transform_input=["X_val"],
        )
        both(model, NET_RATIOS, X, y, fit=fit)


class Shifts(TransformerMixin, BaseEstimator):
    """Move a table by a number that comes with it."""

    def fit(self, X, y=None, shift=0.0):
        self.shift_ = shift
        return self

    def transform(self, X, shift=0.0):
        return X + shift + self.shift_

    def fit_transform(self, X, y=None, shift=0.0):
        return self.fit(X, y, shift).transform(X, shift)


def test_last_steps_that_ask_for_different_things():
    X, y = make_data(n=ROWS)
    fit = {"sample_weight": weights()}
    with routing():
        asks, declines = (net(max_epochs=10) for _ in range(2))
        asks.set_fit_request(sample_weight=True)
        declines.set_fit_request(sample_weight=False)
        scale = requests(StandardScaler())
        scorer = get_scorer("accuracy").set_score_request(sample_weight=False)
        model = Pipeline([("scale", scale), ("net", asks)])
        search = both(model, {"net": [asks, declines]}, X, y, fit=fit, scoring=scorer)
    asked, declined = scores_of(search)[:3].T
    assert (asked != declined).any()


def test_the_scorer_sees_the_pipeline_as_it_is():
    X, y = make_data(n=ROWS)
    seen = []

    def scorer(estimator, X, y):
        seen.append((type(estimator), estimator.get_params(), len(estimator)))
        return estimator.score(X, y)

    model = pipe().set_params(transform_input=None, memory=None, verbose=False)
    model.set_output(transform="pandas")
    both(model, NET_RATIOS, X, y, scoring=scorer)
    plain, fused = seen[:6], seen[6:]
    assert list(map(described, plain)) == list(map(described, fused))


# --- kernels: tables whose columns are the training rows ---


def test_kernels():
    X, y = make_data(n=ROWS)
    model, grid = SVC(kernel="precomputed"), {"C": [0.1, 1]}
    both(model, grid, X @ X.T, y, return_train_score=True)


def test_kernels_before_a_network():
    X, y = make_data(n=ROWS)
    model = Pipeline([("center", KernelCenterer()), ("net", net())])
    grids = [
        NET_RATIOS,
        {"net": [SVC(kernel="precomputed")]},
        {"center": [StandardScaler()], **NET_RATIOS},  # on the whole kernel
    ]
    search = both(model, grids, X @ X.T, y, return_train_score=True)
    assert len(np.unique(scores_of(search))) > 3


def test_whether_a_table_is_a_kernel_may_be_searched():
    X, y = make_data(n=ROWS)
    both(SVC(), {"kernel": ["rbf", "precomputed"]}, X @ X.T, y)


def test_kernels_must_be_square():
    X, y = make_data(n=ROWS)
    model = Pipeline([("center", KernelCenterer()), ("net", net())])
    with pytest.raises(ValueError, match="square"):
        FusedGridSearchCV(model, NET_RATIOS).fit(X, y)


# --- tables of any kind ---


def test_frames():
    X, y = make_data(n=ROWS)
    frame = pd.DataFrame(X, columns=list("abcde"), index=np.arange(ROWS)[::-1])
    labels = pd.Series(np.where(y == 1, "yes", "no"), index=frame.index)
    for model, grid in (net(), RATIOS), (pipe(), NET_RATIOS):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of names that are missing or unknown
            search = both(model, grid, frame, labels)
            search.predict(frame)
        assert search.feature_names_in_.tolist() == list("abcde")
        assert search.classes_.tolist() == ["no", "yes"]
        expected = FusedGridSearchCV(model, grid, cv=3).fit(X, y)
        np.testing.assert_array_equal(scores_of(search), scores_of(expected))
        assert not hasattr(expected, "feature_names_in_")


def test_frames_between_steps():
    X, y = make_data(n=ROWS)
    frame = pd.DataFrame(X, columns=list("abcde"))
    model = pipe().set_output(transform="pandas")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search = both(model, NET_RATIOS, frame, y)
    assert "a b" in search.best_estimator_[-1].feature_names_in_


def test_polars():
    polars = pytest.importorskip("polars")
    X, y = make_data(n=ROWS)
    frame = polars.DataFrame({name: X[:, i] for i, name in enumerate("abcde")})
    search = both(net(), RATIOS, frame, polars.Series(y))
    # Old versions of scikit-learn don't see the names of new versions of polars.
    if hasattr(StandardScaler().fit(frame), "feature_names_in_"):
        assert search.feature_names_in_.tolist() == list("abcde")


def test_lists():
    X, y = make_data(n=ROWS)
    fit = {"sample_weight": weights().tolist()}
    both(net(), RATIOS, X.tolist(), y.tolist(), fit=fit)
    both(pipe(), NET_RATIOS, X.tolist(), y.tolist())


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [-1, 1], [7.0, 2.0]])
def test_labels_of_any_type(labels):
    X, y = make_data(n=ROWS)
    search = both(net(), RATIOS, X, np.array(labels)[y])
    assert set(search.classes_.tolist()) == set(labels)


# --- what can't share a stack ---


def alone(model, grid, X, y, n_alone, **options):
    """Search in both ways, and expect a note of how many are fitted alone."""
    fused = both(model, grid, X, y, **options)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        clone(fused).set_params(verbose=1).fit(X, y)
    n_fits = fused.n_splits_ * len(fused.cv_results_["params"])
    assert f"{n_alone} of {n_fits} fits" in out.getvalue()
    assert len(out.getvalue().splitlines()) == 1
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        clone(fused).set_params(verbose=0).fit(X, y)
    assert out.getvalue() == ""
    return fused


class Doubled(ReBatchCNNClassifier):
    """A user's own way to fit."""

    def fit(self, X, y):
        return super().fit(np.concatenate([X, X]), np.concatenate([y, y]))


def test_estimators_with_callbacks():
    X, y = make_data(n=ROWS)
    stop = EarlyStopping("train_loss", patience=1, threshold=0.5)
    grid = {"callbacks": [None, [], [stop], (stop, GradientNormClipping(1e-9))]}
    search = alone(net(max_epochs=20, lr=0.1), grid, X, y, 6)
    # They have their say: training ends after two epochs.
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] == scores[1] != scores[2]


class TaskLog:
    """A callback of scikit-learn's that logs the tasks of a search."""

    log = []

    def setup(self, estimator, context):
        self.log.append("setup")

    def teardown(self, estimator, context):
        self.log.append("teardown")

    def on_fit_task_begin(self, estimator, context, X=None, y=None):
        shape = None if X is None else X.shape
        self.log.append(("begin", context.task_name, context.task_id, shape))

    def on_fit_task_end(self, estimator, context, X=None, y=None):
        shape = None if X is None else X.shape
        self.log.append(("end", context.task_name, context.task_id, shape))


@pytest.mark.skipif(
    not hasattr(GridSearchCV, "set_callbacks"), reason="scikit-learn has no callbacks"
)
def test_callbacks_of_scikit_learn():
    X, y = make_data(n=ROWS)
    plain = GridSearchCV(net(), RATIOS, cv=3).set_callbacks(TaskLog()).fit(X, y)
    expected = list(TaskLog.log)
    assert len(expected) > 2 * 2 * 3
    TaskLog.log.clear()
    fused = FusedGridSearchCV(net(), RATIOS, cv=3).set_callbacks(TaskLog())
    with pytest.warns(UserWarning, match="fit by fit"):
        assert fused.fit(X, y) is fused
    assert TaskLog.log == expected
    assert_same_search(fused, plain)
    TaskLog.log.clear()
    assert_same_search(fused.set_callbacks().fit(X, y), plain)
    assert TaskLog.log == []


def test_other_estimators():
    X, y = make_data(n=ROWS)
    alone(LogisticRegression(), {"C": [0.1, 1]}, X, y, 6)
    alone(make_pipeline(PCA(), LogisticRegression()), {"pca__whiten": [True]}, X, y, 3)
    alone(pipe(), [NET_RATIOS, {"net": [LogisticRegression()]}], X, y, 3)


def test_other_regressors():
    X, y = make_data("regression", n=ROWS)
    grids = [NET_RATIOS, {"net": [Ridge()], "net__alpha": [0.1, 1]}]
    alone(pipe("regression"), grids, X, y, 6, tolerance=1e-10)


def test_estimators_with_a_fit_of_their_own():
    X, y = make_data(n=ROWS)
    params = {"dtype": "float64", "max_epochs": 3, "random_state": 0, "lr": 0.03}
    alone(Doubled(**params), RATIOS, X, y, 6)
    model = ReBatchCNNClassifierCV(ratios=(0.2, 0.5), cv=2, **params)
    alone(model, {"repeats": [(0,), (0, 2)]}, X, y, 6)


def test_weights_are_for_the_fits_of_its_search_where_metadata_are_routed():
    X, y = make_data(n=ROWS)
    weights = np.random.default_rng(0).uniform(size=ROWS)
    params = {"dtype": "float64", "max_epochs": 3, "random_state": 0, "lr": 0.03}
    model = ReBatchCNNClassifierCV(
        ratios=(0.2, 0.5), cv=2, scoring="accuracy", **params
    )
    expected = clone(model).fit(X, y, weights)
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(sample_weight=True)
        routed = make_pipeline(model).fit(X, y, sample_weight=weights)[-1]
    np.testing.assert_array_equal(routed.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_array_equal(scores_of(routed), scores_of(expected))


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize(
    "cls, task",
    [(ReBatchCNNClassifierCV, "binary"), (ReBatchCNNRegressorCV, "regression")],
)
def test_groups_are_kept_together_in_a_search_of_its_own(cls, task, routing):
    X, y = make_data(task, n=ROWS)
    groups = np.arange(ROWS) % 8
    weights = np.random.default_rng(0).uniform(size=ROWS)
    params = {"dtype": "float64", "max_epochs": 3, "random_state": 0}
    model = cls(ratios=(0.2, 0.5), cv=GroupKFold(4), **params)
    with sklearn.config_context(enable_metadata_routing=routing):
        model.fit(X, y, sample_weight=weights, groups=groups.tolist())
    folds = list(GroupKFold(4).split(X, y, groups))
    expected = clone(model).set_params(cv=folds).fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(scores_of(model), scores_of(expected))
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))
    with pytest.raises(ValueError, match="groups"):
        model.fit(X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y, groups=groups[1:])


class AndMore(Pipeline):
    """A pipeline that does something else than fitting its steps."""

    def fit(self, X, y):
        return super().fit(X[::2], y[::2])


def test_other_pipelines():
    X, y = make_data(n=ROWS)
    alone(AndMore(pipe().steps), NET_RATIOS, X, y, 6)


# --- failures ---


def failing(model, grid, X, y, *, n_failed, **options):
    """Search in both ways, and expect warnings of so many failed fits."""
    searches = []
    for search in (GridSearchCV, FusedGridSearchCV):
        with pytest.warns() as caught:
            searches.append(search(model, grid, cv=3, **options).fit(X, y))
        texts = [str(w.message) for w in caught if w.category is FitFailedWarning]
        assert len(texts) == 1
        assert f"{n_failed} fits failed out of a total of" in texts[0]
    plain, fused = searches
    assert_same_search(fused, plain)
    return fused, texts[0]


BAD = {
    "a parameter out of range": ({"ratio": [0.1, -1, 0.5]}, "ratio must be"),
    "an unknown name": ({"strategy": ["min-loss", "best", "random"]}, "strategy must"),
    "a diverging loss": ({"lr": [0.01, 1e200, 0.1]}, "DivergedError"),
}


@pytest.mark.parametrize("error_score", [np.nan, 0, np.float64(-7.5)])
@pytest.mark.parametrize("name", BAD)
def test_a_failing_candidate_spoils_no_neighbour(name, error_score):
    X, y = make_data(n=ROWS)
    grid, word = BAD[name]
    fused, text = failing(
        net(), grid, X, y, n_failed=3, error_score=error_score, return_train_score=True
    )
    assert word in text
    assert (scores_of(fused)[:, 1] == error_score).all() or np.isnan(error_score)
    ((param, values),) = grid.items()
    good = FusedGridSearchCV(
        net(), {param: [values[0], values[2]]}, cv=3, return_train_score=True
    ).fit(X, y)
    np.testing.assert_array_equal(scores_of(fused)[:, [0, 2]], scores_of(good))
    if np.isnan(error_score):
        assert fused.cv_results_["rank_test_score"][1] == 3
        assert np.isnan(scores_of(fused)[:, 1]).all()


def test_failures_where_there_are_several_scores():
    X, y = make_data(n=ROWS)
    for scoring in (["accuracy", "recall"], both_scores):
        options = {"scoring": scoring, "refit": False}
        fused, _ = failing(net(), {"ratio": [-1, 0.1]}, X, y, n_failed=3, **options)
        assert np.isnan(scores_of(fused)[:, 0]).all()
        assert np.isfinite(scores_of(fused)[:, 1]).all()


def test_failures_of_earlier_steps_and_of_others():
    X, y = make_data(n=ROWS)
    model = pipe("binary", ("pca", PCA()))
    fused, _ = failing(
        model, {"pca__n_components": [2, 99], "net__ratio": [0.1, 9]}, X, y, n_failed=6
    )
    assert np.isnan(fused.cv_results_["mean_test_score"]).tolist() == [0, 1, 0, 1]
    grids = [NET_RATIOS, {"net": [LogisticRegression()], "net__C": [-1, 1]}]
    failing(pipe(), grids, X, y, n_failed=3)


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_fold_that_can_t_be_fitted():
    X, y = make_data(n=ROWS)
    ones = np.flatnonzero(y == 1)
    cv = [(ones, np.arange(60)), (np.arange(40), np.arange(40, 60))]
    for search in (GridSearchCV, FusedGridSearchCV):
        with pytest.warns(FitFailedWarning, match="one class"):
            results = search(net(), RATIOS, cv=cv).fit(X, y).cv_results_
        assert np.isnan(results["split0_test_score"]).all()
        assert np.isfinite(results["split1_test_score"]).all()


@pytest.mark.parametrize(
    "grid, error",
    [
        ({"ratio": [0.1, -1]}, ValueError),
        ({"lr": [0.01, 1e200]}, DivergedError),
        ({"callbacks": [None, [1]]}, Exception),
    ],
    ids=str,
)
def test_errors_may_be_raised(grid, error):
    X, y = make_data(n=ROWS)
    messages = []
    for search in (GridSearchCV, FusedGridSearchCV):
        with pytest.raises(error) as raised:
            search(net(), grid, cv=3, error_score="raise").fit(X, y)
        messages.append((raised.type, str(raised.value)))
    assert messages[0] == messages[1]


def test_when_all_fail():
    X, y = make_data(n=ROWS)
    for search in (GridSearchCV, FusedGridSearchCV):
        with pytest.raises(ValueError, match="All the 6 fits failed"):
            search(net(), {"ratio": [-1, -2]}, cv=3).fit(X, y)


class Picky:
    """A scorer that refuses some tables."""

    def __init__(self, refused):
        self.refused = refused

    def __call__(self, model, X, y):
        if X[0, 0] in self.refused:
            raise RuntimeError("not these")
        return model.score(X, y)


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
@pytest.mark.parametrize("several", [False, True])
def test_a_failing_scorer(several):
    X, y = make_data(n=ROWS)
    cv = KFold(3)
    picky = Picky([X[test[0], 0] for _, test in list(cv.split(X))[1:]])
    options = {"scoring": picky, "cv": cv, "refit": False}
    if several:
        options["scoring"] = {"picky": picky, "accuracy": "accuracy"}
    for error_score in (np.nan, 0.5):
        searches = []
        for search in (GridSearchCV, FusedGridSearchCV):
            with pytest.warns(UserWarning, match="Scoring failed") as caught:
                searches.append(
                    search(net(), RATIOS, error_score=error_score, **options).fit(X, y)
                )
            failed = [w for w in caught if "Scoring failed" in str(w.message)]
            assert len(failed) == 4
            assert "not these" in str(failed[0].message)
        assert_same_search(*searches[::-1])
        name = "picky" if several else "score"
        results = searches[1].cv_results_
        np.testing.assert_array_equal(results[f"split1_test_{name}"], error_score)
        assert np.isfinite(results[f"split0_test_{name}"]).all()
    for search in (GridSearchCV, FusedGridSearchCV):
        with pytest.raises(RuntimeError, match="not these"):
            search(net(), RATIOS, error_score="raise", **options).fit(X, y)


def n_networks_alive():
    return sum(type(thing) is TabularCNN for thing in gc.get_objects())


class Refusing:
    """A scorer that fails, and counts the networks alive."""

    def __init__(self):
        self.counts = []

    def __call__(self, model, X, y):
        self.counts.append(n_networks_alive())
        try:
            model.predict(X[:, :1])
        except ValueError as error:
            raise RuntimeError("no score") from error


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_failing_scorers_let_go_of_the_networks():
    X, y = make_data(n=ROWS)
    scorer = Refusing()
    options = {"cv": 2, "scoring": scorer, "refit": False, "max_stack": 1}
    before = n_networks_alive()
    # The warning says where it failed.
    with pytest.warns(UserWarning, match="model.predict"):
        FusedGridSearchCV(net(), {"random_state": range(6)}, **options).fit(X, y)
    assert len(scorer.counts) == 12
    assert max(scorer.counts) <= before + 2


@pytest.mark.filterwarnings(
    "ignore:One or more of the test scores are non-finite", "ignore:Scoring failed"
)
def test_failing_fits_let_go_of_the_networks():
    X, y = make_data(n=ROWS)
    scorer = Refusing()
    grid = {"lr": [1e200, 0.01], "random_state": range(6)}
    options = {"cv": 2, "scoring": scorer, "refit": False, "max_stack": 1}
    before = n_networks_alive()
    with pytest.warns(FitFailedWarning, match="DivergedError"):
        FusedGridSearchCV(net(), grid, **options).fit(X, y)
    assert len(scorer.counts) == 12
    assert max(scorer.counts) <= before + 2


class InterruptedOn(Strategy):
    """Press Ctrl-C where so many samples are trained on."""

    def __init__(self, n_samples):
        self.n_samples = n_samples

    def plan(self, losses, epoch):
        if len(losses) == self.n_samples:
            raise KeyboardInterrupt
        return np.arange(epoch.n_chosen)


FOLD = ROWS - ROWS // 3
INTERRUPTED = {
    "in a stack": (net(strategy=InterruptedOn(FOLD)), {"random_state": [0, 1]}),
    "alone": (
        net(strategy=InterruptedOn(FOLD), callbacks=[EarlyStopping("train_loss")]),
        {"random_state": [0, 1]},
    ),
    "inside another": (
        TransformedTargetRegressor(net("regression", strategy=InterruptedOn(FOLD))),
        {"regressor__random_state": [0, 1]},
    ),
    "in the last fit": (net(strategy=InterruptedOn(ROWS)), {"random_state": [0, 1]}),
}


@pytest.mark.parametrize("fitted_before", [False, True])
@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_interrupt_ends_the_search(name, fitted_before):
    model, grid = INTERRUPTED[name]
    search = FusedGridSearchCV(model, grid, cv=3)
    if fitted_before:
        search.fit(*make_data(n=2 * ROWS))
    before = dict(vars(search))
    X, y = make_data(n=ROWS)
    with warnings.catch_warnings(), pytest.raises(KeyboardInterrupt):
        warnings.simplefilter("error")
        search.fit(X, y)
    assert vars(search) == before


class Nothing(BaseEstimator, TransformerMixin):
    """A step that must not be reached."""

    def fit(self, X, y=None):
        raise AssertionError("no work before the parameters are checked")

    transform = None


@pytest.mark.parametrize(
    "params, word",
    [
        ({"max_stack": 0}, "max_stack"),
        ({"max_stack": "all"}, "max_stack"),
        ({"error_score": "rise"}, "error_score"),
        ({"error_score": None}, "error_score"),
        ({"scoring": "best"}, "best"),
        ({"scoring": ["accuracy", "recall"]}, "refit"),
        ({"scoring": ["accuracy"], "refit": "recall"}, "recall"),
        ({"cv": 1}, "cv"),
        ({"cv": []}, "no folds"),
        ({"cv": [([0], [1]), ([0, 1], [ROWS])]}, "test rows of split 1 of cv"),
        ({"cv": [([0.5], [1])]}, "training rows of split 0 of cv"),
        ({"estimator": None}, "estimator"),
        ({"n_jobs": "all"}, "n_jobs"),
        ({"refit": []}, "refit"),
        ({"return_train_score": "yes"}, "return_train_score"),
        ({"verbose": -1}, "verbose"),
        ({"param_grid": {"net__ratio": 0.1}}, "net__ratio"),
        ({"param_grid": {"net__rate": [0.1]}}, "rate"),
        ({"param_grid": {"net__ratio": []}}, "net__ratio"),
    ],
    ids=str,
)
def test_bad_parameters_are_refused_before_any_work(params, word):
    X, y = make_data(n=ROWS)
    model = Pipeline([("nothing", Nothing()), ("net", net())])
    search = FusedGridSearchCV(model, NET_RATIOS, error_score="raise")
    with pytest.raises((ValueError, TypeError), match=word):
        search.set_params(**params).fit(X, y)
    assert not hasattr(search, "cv_results_")


# --- in parallel ---


class AllAtOnce(ThreadingBackend):
    """A backend that gives results only when all are there."""

    supports_return_generator = False


def test_n_jobs_and_backend_change_no_bit():
    X, y = make_data(n=ROWS)
    grid = {"net__ratio": [0.1, 0.5], "net__random_state": [0, 1], "net__repeats": [2]}
    grids = [
        grid,
        {"net": [LogisticRegression()]},
        {"net__callbacks": [[EarlyStopping("train_loss", patience=2)]]},
    ]
    options = {"cv": 3, "max_stack": 5, "scoring": "neg_log_loss"}
    model = pipe(dtype="float32", max_epochs=10)

    def search(n_jobs=None):
        return FusedGridSearchCV(model, grids, n_jobs=n_jobs, **options).fit(X, y)

    expected = search(n_jobs=1)
    assert len(np.unique(scores_of(expected))) > 12
    joblib.register_parallel_backend("all at once", AllAtOnce)
    for backend in ("loky", "threading", "all at once"):
        with joblib.parallel_config(backend=backend, n_jobs=2):
            assert_same_search(search(), expected)
            assert_same_search(search(n_jobs=1), expected)
    assert_same_search(search(n_jobs=2), expected)


class Counting(ThreadingBackend):
    """A backend that sends nothing, but counts what a cluster's would send."""

    def count(self, func):
        for _, (scorer, tasks, jobs, *data), _ in func.items:
            self.sizes.append(len(pickle.dumps([scorer, tasks, jobs])))
            for one in data:
                self.kept[id(one)] = one, len(pickle.dumps(one))

    def submit(self, func, callback=None):
        self.count(func)
        return super().submit(func, callback)

    def apply_async(self, func, callback=None):  # what joblib before 1.5 calls
        self.count(func)
        return super().apply_async(func, callback)


def test_data_are_sent_apart_from_stacks():
    X, y = make_data(n=5000)
    Counting.kept, Counting.sizes = {}, []
    joblib.register_parallel_backend("counting", Counting)
    grids = [{"ratio": [0.1, 0.5]}, {"random_state": range(4)}]
    model = net(max_epochs=1, batch_size=1000)
    options = {"cv": 2, "max_stack": 2, "refit": False}
    with joblib.parallel_config("counting", n_jobs=2):
        FusedGridSearchCV(model, grids, **options).fit(X, y)
    assert len(Counting.sizes) == 6  # stacks
    assert max(Counting.sizes) < X.nbytes / 20
    kept = sum(size for _, size in Counting.kept.values())
    # What a fold is trained on, with the targets' codes and the rows; its test data.
    row = (X[0].nbytes + 3 * 8) + (X[0].nbytes + 8)
    assert kept == pytest.approx(len(X) * row, rel=0.05)


def test_settings_reach_the_workers():
    X, y = make_data(n=ROWS)
    fit = {"sample_weight": weights()}
    with routing():
        model = Pipeline([("scale", StandardScaler()), ("net", requests(net()))])
        model[0].set_fit_request(sample_weight=True)
        grids = [NET_RATIOS, {"net": [requests(LogisticRegression())]}]
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        options = {"scoring": scorer, "cv": 3, "refit": False}
        search = FusedGridSearchCV(model, grids, n_jobs=2, **options).fit(X, y, **fit)
        plain = GridSearchCV(model, grids, **options).fit(X, y, **fit)
    assert_same_search(search, plain)
    frame = pd.DataFrame(X, columns=list("abcde"))
    with sklearn.config_context(transform_output="pandas"):
        model = FusedGridSearchCV(pipe(), NET_RATIOS, n_jobs=2, scoring=names)
        assert model.fit(frame, y).cv_results_["mean_test_score"].tolist() == [21, 21]


def names(model, X, y):
    """How many names the last step has seen; it is given as many."""
    assert list(model[:-1].transform(X)) == model[-1].feature_names_in_.tolist()
    return len(model[-1].feature_names_in_)


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_errors_come_back_from_workers():
    X, y = make_data(n=ROWS)
    for n_jobs in (1, 2):
        search = FusedGridSearchCV(net(), {"lr": [0.01, 1e200]}, cv=3, n_jobs=n_jobs)
        with pytest.warns(FitFailedWarning, match="DivergedError"):
            search.fit(X, y)
        assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [0, 1]
        with pytest.raises(DivergedError):
            search.set_params(error_score="raise").fit(X, y)


@pytest.mark.parametrize("max_stack", [1, 2, np.int64(7)])
def test_the_size_of_stacks_changes_nothing(max_stack):
    X, y = make_data(n=ROWS)
    grid = {**NET_RATIOS, "net__early_stopping": [True, False]}
    both(pipe(), grid, X, y, max_stack=max_stack)


# --- what is shown ---


def test_a_progress_bar_over_all_fits(capsys):
    X, y = make_data(n=ROWS)
    grids = [NET_RATIOS, {"net": [LogisticRegression()]}]
    FusedGridSearchCV(pipe(), grids, cv=4, verbose=1, max_stack=3).fit(X, y)
    shown = capsys.readouterr()
    assert "100%" in shown.err and "12/12" in shown.err
    assert "4 of 12 fits can't share a stack" in shown.out
    # It moves in between.
    seen = [int(done) for done in re.findall(r"(\d+)/12", shown.err)]
    assert seen[0] == 0 and seen == sorted(seen)


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_the_progress_bar_ends_where_some_fail(capsys):
    X, y = make_data(n=ROWS)
    search = FusedGridSearchCV(net(), {"ratio": [0.1, -1]}, cv=4, verbose=1)
    with pytest.warns(FitFailedWarning):
        search.fit(X, y)
    assert "100%" in capsys.readouterr().err


def test_a_verbose_estimator_shows_its_losses(capsys):
    X, y = make_data(n=ROWS)
    FusedGridSearchCV(net(verbose=1), RATIOS, cv=2, refit=False).fit(X, y)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "3/3" in shown.err and "train_loss=" in shown.err


def test_without_verbose_nothing_is_shown(capsys):
    X, y = make_data(n=ROWS)
    grids = [NET_RATIOS, {"net": [LogisticRegression()]}]
    FusedGridSearchCV(pipe(), grids, cv=2).fit(X, y)
    assert capsys.readouterr() == ("", "")


# --- the search as an estimator ---


def test_the_constructor_is_that_of_scikit_learn():
    own, theirs = (
        dict(inspect.signature(search.__init__).parameters)
        for search in (FusedGridSearchCV, GridSearchCV)
    )
    assert own.pop("max_stack").default == "auto"
    assert own.pop("checkpoint_dir").default is None
    assert list(own) == list(theirs)
    for name, parameter in theirs.items():
        assert own[name].kind == parameter.kind
        assert repr(own[name].default) == repr(parameter.default)


def test_clone_and_parameters():
    X, y = make_data(n=ROWS)
    search = FusedGridSearchCV(pipe(), NET_RATIOS, cv=2, max_stack=3, refit="x")
    assert search.get_params()["estimator__net__ratio"] == 0.25
    search.set_params(estimator__net__ratio=0.4, refit=True)
    twin = clone(search.fit(X, y))
    assert not hasattr(twin, "cv_results_")
    assert repr(twin.get_params()) == repr(search.get_params())
    # What was searched over is as it was.
    assert not hasattr(search.estimator[-1], "module_")
    assert not hasattr(search.estimator[0], "n_features_in_")
    assert_same_search(twin.fit(X, y), search)


def test_a_second_fit_begins_anew():
    X, y = make_data(n=ROWS)
    search = FusedGridSearchCV(net(), RATIOS, cv=3)
    search.fit(X[:, :2], np.where(y, "a", "b")).fit(X, y)
    assert_same_search(search, GridSearchCV(net(), RATIOS, cv=3).fit(X, y))
    assert search.n_features_in_ == 5


def test_pickle():
    X, y = make_data(n=ROWS)
    search = FusedGridSearchCV(
        pipe(), NET_RATIOS, cv=2, scoring=["accuracy", "recall"], refit="recall"
    )
    twin = pickle.loads(pickle.dumps(search.fit(X, y)))
    assert_same_search(twin, search)
    np.testing.assert_array_equal(twin.predict_proba(X), search.predict_proba(X))
    unfitted = pickle.loads(pickle.dumps(clone(search)))
    assert_same_search(unfitted.fit(X, y), search)


def test_it_passes_on_to_the_best_estimator():
    X, y = make_data(n=ROWS)
    search = FusedGridSearchCV(pipe(), NET_RATIOS, cv=3)
    with pytest.raises(NotFittedError):
        search.predict(X)
    search.fit(X, y)
    best = search.best_estimator_
    expected = clone(pipe().set_params(**search.best_params_)).fit(X, y)
    np.testing.assert_array_equal(weights_of(best[-1]), weights_of(expected[-1]))
    for method in ("predict", "predict_proba", "predict_log_proba"):
        np.testing.assert_array_equal(
            getattr(search, method)(X), getattr(expected, method)(X)
        )
    np.testing.assert_array_equal(
        search.decision_function(X), expected.decision_function(X)
    )
    assert search.score(X, y) == expected.score(X, y)
    assert search.classes_.tolist() == [0, 1]
    assert search.n_features_in_ == 5
    regressor = FusedGridSearchCV(net("regression"), RATIOS, cv=2)
    assert not hasattr(regressor, "predict_proba")
    assert sklearn.base.is_regressor(regressor) and sklearn.base.is_classifier(search)


def test_without_refit_there_is_nothing_to_predict_with():
    X, y = make_data(n=ROWS)
    search = FusedGridSearchCV(net(), RATIOS, cv=3, refit=False).fit(X, y)
    assert search.best_params_ in search.cv_results_["params"]
    for method in ("predict", "predict_proba", "score", "classes_"):
        assert not hasattr(search, method) or method == "score"
    with pytest.raises(AttributeError, match="refit"):
        search.score(X, y)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_nested_in_a_cross_validation(n_jobs):
    X, y = make_data(n=ROWS)
    fused, plain = (
        cross_val_score(search(pipe(), NET_RATIOS, cv=3), X, y, cv=3, n_jobs=n_jobs)
        for search in (FusedGridSearchCV, GridSearchCV)
    )
    np.testing.assert_array_equal(fused, plain)


def test_a_search_in_a_search():
    X, y = make_data(n=ROWS)
    inner, other = (
        search(net(), RATIOS, cv=2) for search in (FusedGridSearchCV, GridSearchCV)
    )
    grid = {"estimator__repeats": [0, 2]}
    outer = FusedGridSearchCV(inner, grid, cv=2).fit(X, y)
    plain = GridSearchCV(other, grid, cv=2).fit(X, y)
    np.testing.assert_array_equal(scores_of(outer), scores_of(plain))


def test_inside_a_pipeline():
    X, y = make_data(n=ROWS)
    model = make_pipeline(StandardScaler(), FusedGridSearchCV(net(), RATIOS, cv=3))
    expected = FusedGridSearchCV(net(), RATIOS, cv=3)
    expected.fit(StandardScaler().fit_transform(X), y)
    assert_same_search(model.fit(X, y)[-1], expected)


# --- global state and memory ---


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_global_state_stays_as_it_is(task):
    X, y = make_data(task, n=ROWS)
    grid = {"net__ratio": [0.1, -1], "net__random_state": [0, None]}
    with global_state_stays(), pytest.warns(FitFailedWarning):
        search = FusedGridSearchCV(pipe(task), grid, cv=2).fit(X, y)
        search.predict(X)


def test_without_a_seed_candidates_differ():
    X, y = make_data("regression", n=ROWS)
    search = FusedGridSearchCV(net("regression", random_state=None), RATIOS, cv=2)
    one, other = (scores_of(clone(search).fit(X, y)) for _ in range(2))
    assert np.isin(one, other).mean() < 0.05
    assert len(np.unique(one)) == one.size


class Census:
    """A scorer that counts which of the networks it has seen are still alive."""

    def __init__(self):
        self.seen, self.counts = weakref.WeakSet(), []

    def __call__(self, model, X, y):
        last = model[-1] if isinstance(model, Pipeline) else model
        self.seen.add(last.module_)
        self.counts.append(len(self.seen))
        return model.score(X, y)


@pytest.mark.parametrize("pipeline", [False, True])
@pytest.mark.parametrize("max_stack", [1, 4])
def test_networks_are_let_go_of_once_scored(max_stack, pipeline):
    X, y = make_data(n=ROWS)
    census = Census()
    model, name = (pipe(), "net__random_state") if pipeline else (net(), "random_state")
    options = {"scoring": census, "max_stack": max_stack, "refit": False}
    FusedGridSearchCV(model, {name: range(6)}, cv=2, **options).fit(X, y)
    assert len(census.counts) == 12
    assert max(census.counts) <= 2  # the last one may wait for the next
    gc.collect()
    assert len(census.seen) == 0


class Heavy(StandardScaler):
    """A scaler that makes a thousand columns of few."""

    def transform(self, X, copy=None):
        return np.tile(super().transform(X), 200)


def test_candidates_share_the_data_of_their_folds():
    # Eight candidates hold hardly more than one.
    X, y = make_data(n=ROWS)
    model = Pipeline(
        [
            ("heavy", Heavy()),
            ("net", net(pool_size=100, conv_channels=(1,), max_epochs=1)),
        ]
    )
    peaks = []
    for n in (1, 1, 8):
        search = FusedGridSearchCV(
            model, {"net__random_state": range(n)}, cv=2, refit=False, max_stack=1
        )
        tracemalloc.start()
        search.fit(X, y)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    table = 2 * 30 * 1000 * 8
    assert peaks[1] > table
    assert peaks[2] - peaks[1] < table


def test_regressors_are_searched_by_their_own_scale():
    # Each fold's target is scaled by its own training rows.
    X, y = make_data("regression", n=ROWS)
    model = ReBatchCNNRegressor(
        dtype="float64", max_epochs=3, lr=0.03, random_state=0, ratio=0.25
    )
    y = np.where(np.arange(ROWS) < 20, 100 * y, y)
    fused = both(model, RATIOS, X, y, cv=KFold(3), tolerance=1e-10)
    assert fused.cv_results_["split1_test_score"].max() < 1
