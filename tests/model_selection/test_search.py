"""The fused search against scikit-learn's own, which it must not differ from."""

import contextlib
import inspect
import io
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers.estimators import (
    TASKS,
    First,
    global_state_stays,
    make_cv,
    make_data,
    weights_of,
)
from helpers.searches import (
    NET_RATIOS,
    RATIOS,
    ROWS,
    assert_same_search,
    both,
    net,
    pipe,
    scores_of,
)
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, StandardScaler
from skorch.callbacks import EarlyStopping, GradientNormClipping

from skrebatch import (
    OHEM,
    FusedGridSearchCV,
    MaxLoss,
    MinLoss,
    ReBatchCNNClassifier,
    Strategy,
)
from skrebatch.strategies import STRATEGIES

# --- estimators and grids ---


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
    alone(make_cv(), {"estimator__repeats": [0, 2]}, X, y, 6)


class AndMore(Pipeline):
    """A pipeline that does something else than fitting its steps."""

    def fit(self, X, y):
        return super().fit(X[::2], y[::2])


def test_other_pipelines():
    X, y = make_data(n=ROWS)
    alone(AndMore(pipe().steps), NET_RATIOS, X, y, 6)


# --- what is refused ---


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
        ({"cv": []}, "no splits"),
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


@pytest.mark.parametrize("params", [{}, {"refit": False}, {"refit": lambda results: 0}])
def test_nothing_of_an_earlier_fit_survives(params):
    X, y = make_data(n=20)
    scores = {"scoring": ["accuracy", "f1"]}
    search = FusedGridSearchCV(LogisticRegression(), {"C": [1, 2]}, cv=2)
    search.set_params(**scores, refit="f1").fit(pd.DataFrame(X, columns=[*"abcde"]), y)
    search.set_params(**scores, refit="accuracy")
    new = clone(search).set_params(**params).fit(X, y)
    search.set_params(**params).fit(X, y)
    assert vars(search).keys() == vars(new).keys()


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


# --- global state and chance ---


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
