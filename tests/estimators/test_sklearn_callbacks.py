"""What scikit-learn's own callbacks, from 1.9 on, see of a fit."""

import pickle

import numpy as np
import pytest
from helpers.estimators import TASKS, assert_same_bits, make, make_data
from helpers.refusals import Fail, no_trace
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EarlyStopping

from skrebatch import FusedGridSearchCV, fit_fused

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn is too old")

WEIGHTS = np.linspace(0.5, 1.5, 41)


class Log:
    """Note every call; ask to stop after some tasks of a name."""

    def __init__(self, stop_at=None):
        self.calls, self.fitted, self.metadata = [], [], []
        self.stop_at = stop_at

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        assert (X is not None and y is not None) or context.task_name != "epoch"
        self.calls.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator
    ):
        self.calls.append(("end", context.task_name, context.task_id))
        self.metadata.append(metadata)
        model = fitted_estimator
        if hasattr(model, "predict"):  # and no earlier step of a pipeline
            self.fitted.append(getattr(model, "predict_proba", model.predict)(X))
        return (context.task_name, context.task_id) == self.stop_at


class Everywhere(Log):
    """One that a search or a pipeline hands on to what it fits."""

    max_propagation_depth = None


def epochs(*numbers):
    return [(when, "epoch", n) for n in numbers for when in ("begin", "end")]


def of_a_fit(*within):
    return ["setup", ("begin", "fit", 0), *within, ("end", "fit", 0), "teardown"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("n_networks", [1, 3])
def test_epochs_are_tasks_within_a_fit(task, n_networks):
    X, y = make_data(task)
    log = Log()
    model = make(task, n_networks=n_networks).set_callbacks(log).fit(X, y)
    assert log.calls == of_a_fit(*epochs(0, 1, 2, 3))
    plain = make(task, n_networks=n_networks).fit(X, y)
    assert_same_bits(model, plain)
    # After an epoch the estimator predicts as if the fit had ended there.
    for n_epochs, seen in enumerate(log.fitted[:-1], 1):
        part = make(task, n_networks=n_networks, max_epochs=n_epochs).fit(X, y)
        predict = getattr(part, "predict_proba", part.predict)
        np.testing.assert_allclose(seen, predict(X), rtol=1e-12)
    np.testing.assert_allclose(log.fitted[-1], log.fitted[-2], rtol=1e-12)


def test_weights_are_metadata():
    X, y = make_data()
    log = Log()
    make(max_epochs=1).set_callbacks(log).fit(X, y).fit(X, y, sample_weight=WEIGHTS)
    assert log.metadata[:2] == [None, None]
    for metadata in log.metadata[2:]:
        assert list(metadata) == ["sample_weight"]
        assert metadata["sample_weight"] is WEIGHTS


@pytest.mark.parametrize("n_networks", [1, 2])
def test_early_stopping_shows_the_best_network_so_far(n_networks):
    X, y = make_data()
    log = Log()
    params = {"early_stopping": True, "n_iter_no_change": 3, "n_networks": n_networks}
    model = make(lr=0.1, max_epochs=100, **params).set_callbacks(log).fit(X, y)
    assert model.n_iter_ < 100
    # Of several networks the curves end with the best epoch.
    n_epochs = model.n_iter_ if n_networks == 1 else model.n_iter_ + 3
    assert len(log.fitted) == n_epochs + 1
    np.testing.assert_allclose(log.fitted[-2], model.predict_proba(X), rtol=1e-12)


def test_a_callback_may_end_the_training():
    X, y = make_data()
    log = Log(stop_at=("epoch", 1))
    model = make().set_callbacks(log).fit(X, y)
    assert log.calls == of_a_fit(*epochs(0, 1))
    assert_same_bits(model, make(max_epochs=2).fit(X, y))


def test_beside_skorch_s_callbacks():
    X, y = make_data()
    log, stop = Log(), EarlyStopping("train_loss", patience=1, threshold=0.9)
    model = make(callbacks=[stop]).set_callbacks(log).fit(X, y)
    assert model.n_iter_ == 2
    assert log.calls == of_a_fit(*epochs(0, 1))


def test_a_net_goes_on_without_them():
    X, y = make_data()
    log = Log()
    model = make().set_callbacks(log).fit(X, y)
    n_calls = len(log.calls)
    model.partial_fit(X, y)
    assert len(log.calls) == n_calls
    assert_same_bits(model, make().fit(X, y).partial_fit(X, y))
    loaded = pickle.loads(pickle.dumps(model.set_callbacks()))
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert b"Log" not in pickle.dumps(model)


@pytest.mark.parametrize(
    "params",
    [{"lr": 1e30}, {"ratio": -1}, {"callbacks": [Fail()]}],
    ids=["diverges", "impossible", "callback fails"],
)
def test_after_an_error_they_are_let_go_of(params):
    X, y = make_data()
    for fail in params.get("callbacks", []):
        fail.on = True
    log = Log()
    model = make(**params).set_callbacks(log)
    before = set(vars(model))
    with pytest.raises((ArithmeticError, ValueError, OSError)):
        model.fit(X, y)
    assert set(vars(model)) == before
    assert log.calls.count("setup") == log.calls.count("teardown")


def test_an_error_of_a_callback_leaves_no_trace():
    class Broken(Log):
        def on_fit_task_end(self, estimator, context):
            raise OSError("disk full")

    def refit():
        return make().fit(*make_data())

    model = refit()
    with no_trace(model, refit):
        with pytest.raises(OSError, match="disk full"):
            model.set_callbacks(Broken()).fit(*make_data())
        model.set_callbacks()


def test_a_search_and_a_pipeline_hand_them_on():
    X, y = make_data()
    log = Everywhere()
    model = make_pipeline(StandardScaler(), make(max_epochs=2))
    grid = {"rebatchcnnclassifier__ratio": [0, 0.3]}
    GridSearchCV(model, grid, cv=2).set_callbacks(log).fit(X, y)
    n_epochs = sum(call[1] == "epoch" for call in log.calls if call[0] == "begin")
    assert n_epochs == 2 * (2 * 2 + 1)


def test_fits_that_are_watched_are_fitted_alone():
    X, y = make_data()
    log = Log()
    with pytest.raises(ValueError, match="has callbacks"):
        fit_fused([make().set_callbacks(log)], X, y)
    assert log.calls == []
    own = make(max_epochs=2)
    for model, prefix in (
        (clone(own).set_callbacks(log), ""),
        (make_pipeline(StandardScaler(), clone(own)), "rebatchcnnclassifier__"),
        (make_pipeline(StandardScaler(), clone(own)), "rebatchcnnclassifier__"),
    ):
        if prefix:
            (model if log.calls else model[-1]).set_callbacks(log)
        log.calls.clear()
        grid = {f"{prefix}ratio": [0, 0.3]}
        FusedGridSearchCV(model, grid, cv=2, refit=False).fit(X, y)
        assert log.calls.count("setup") == log.calls.count("teardown") == 4


def test_scikit_learn_s_own(capsys):
    X, y = make_data()
    monitor = callback.ScoringMonitor(scoring="neg_log_loss")
    model = make().set_callbacks(monitor).fit(X, y)
    rows = monitor.get_logs().data  # the fit, then its epochs
    assert [row["task_name"] for row in rows] == ["fit", *["epoch"] * 4]
    part = make(max_epochs=1).fit(X, y)
    expected = np.log(part.predict_proba(X)[np.arange(41), y]).mean()
    assert rows[1]["neg_log_loss"] == pytest.approx(expected)
    pytest.importorskip("rich")
    model.set_callbacks(callback.ProgressBar()).fit(X, y)
    assert "100%" in capsys.readouterr().out
