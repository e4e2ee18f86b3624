"""Where the stacks of a search are trained, and what they hold of memory."""

import gc
import pickle
import tracemalloc
import weakref

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers.estimators import make_data
from helpers.searches import (
    NET_RATIOS,
    ROWS,
    assert_same_search,
    both,
    net,
    pipe,
    requests,
    routing,
    scores_of,
    weights,
)
from joblib._parallel_backends import ThreadingBackend
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EarlyStopping

from skrebatch import DivergedError, FusedGridSearchCV

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
    model = pipe(dtype="float32", max_epochs=3)

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


# --- memory ---


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
