"""Whatever is done to an estimator, in any order, it is what has succeeded made it."""

import os
import pickle
import tempfile
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from helpers.estimators import make, make_data
from helpers.facts import repr_of
from helpers.long_runs import FOUND, REPEATED, SCALE, tally  # noqa: F401
from helpers.options import WEIGHING
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skrebatch import DivergedError, Hybrid, Strategy, load_model, save_model

VALID = {
    "ratio": [0.25, 0, 0.6],
    "strategy": ["min-loss", "max-loss", "ohem", "infobatch", Hybrid(easy=0.3)],
    "repeats": [1, 0, 2],
    "ratio_schedule": ["constant", "linear"],
    "warmup_epochs": [0, 1],
    "loss_smoothing": [0.0, 0.7],
    "refresh_every": [1, 2],
    "class_balanced": [False, True],
    "shuffle": [True, False],
    "architecture": ["mlp", "cnn", "projected-cnn"],
    "hidden_layers": [None, (4,)],
    "batch_norm": [False, True],
    "dropout": [0.0, 0.3],
    "input_clip": [None, 2.0],
    "max_epochs": [3, 1, 5],
    "batch_size": ["auto", 8],
    "optimizer": ["adam", "sgd"],
    "lr": [0.01, 0.05],
    "lr_schedule": [None, "step"],
    "weight_decay": [0.0, 0.01],
    "n_augments": [0, 1],
    "early_stopping": [False, True],
    "n_iter_no_change": [10, 1],
    "dtype": ["float32", "float64"],
    "n_networks": [1, 2],
    "choose": ["own", "together"],
    "record_losses": [False, True],
    "warm_start": [True, False],
    "random_state": [0, 1],
}
INVALID = {
    "ratio": [-1, "x"],
    "strategy": ["nonsense", None],
    "repeats": [-1, 1.5],
    "hidden_layers": [()],
    "dropout": [1],
    "input_clip": [0],
    "max_epochs": [0],
    "batch_size": [0],
    "optimizer": ["lion"],
    "lr": [0, "fast", None],
    "early_stopping": ["yes"],
    "dtype": ["float16"],
    "n_networks": [0],
    "checkpoint_dir": [3],
}
# A network that is gone on with has to have the same.
SHAPING = "architecture", "hidden_layers", "batch_norm", "dropout", "input_clip"
SHAPING = *SHAPING, "n_networks"


class Trouble(Strategy):
    """Raise an error where an epoch is planned for the first time."""

    uses_ratio = False

    def __init__(self, error=KeyboardInterrupt):
        self.error = error

    def plan(self, losses, epoch):
        raise self.error("in the midst of a training")


class Broken(Exception):
    """An error of the user's own."""


def facts_of(model):
    """What an estimator has learned, a checksum for each."""
    found = {n: v for n, v in vars(model).items() if n.endswith("_")}
    found.pop("net_", None)  # which a model file doesn't hold
    if "module_" in found:
        found["module_"] = [p.numpy() for p in model.module_.state_dict().values()]
        found["history_"] = [
            {name: value for name, value in row.items() if name != "dur"}
            for row in model.history_
        ]
        state = model._fit_state
        found |= {"rngs": state.rngs, "split seed": state.split_seed}
        found |= {"data": state.data_hash, "course": state.max_epochs}
        found["rates"] = [own and own.state_dict() for own in state.lr_schedules]
        found["logs"] = [log and log.state_dict() for log in state.logs]
    return {name: joblib.hash(repr_of(value)) for name, value in found.items()}


def global_state():
    """What belongs to everybody."""
    return [
        repr_of(np.random.get_state()),  # noqa: NPY002
        repr_of(torch.get_rng_state().numpy()),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        np.geterr(),
        os.getcwd(),
    ]


def texts_of(params):
    return {name: repr(value) for name, value in params.items()}


def bad_calls(X, y):
    """Data that every training refuses, and prediction too if X is to blame."""
    with_nan = X.copy()
    with_nan[3, 1] = np.nan
    return {
        "NaN": (with_nan, y),
        "text": (np.full(X.shape, "a"), y),
        "3-D": (X[None], y),
        "sparse": (sparse.csr_matrix(X), y),
        "nothing": (X[:0], y[:0]),
        "too few labels": (X, y[1:]),
        "no labels": (X, None),
        "negative weights": (X, y, -np.ones(len(y))),
        "too few weights": (X, y, np.ones(3)),
    }


class AnyOrder(RuleBasedStateMachine):
    """An estimator, and what is known of it.

    `log` holds the trainings and round trips that have succeeded since the network was
    begun, each with the parameters that it had.
    """

    task: str
    tasks: dict

    def __init__(self):
        super().__init__()
        self.threads = torch.get_num_threads()
        torch.set_num_threads(2)  # so that going back to it shows
        self.folder = tempfile.TemporaryDirectory()
        self.data = {
            name: make_data(task, n=n, n_features=n_features)
            for name, (task, n, n_features) in self.tasks.items()
        }
        self.model = make(self.task, ratio=0.25, max_epochs=3)
        self.params = self.model.get_params(deep=False)
        self.forget()

    def teardown(self):
        torch.set_num_threads(self.threads)
        self.folder.cleanup()

    def forget(self):
        """The estimator is not fitted."""
        self.log, self.n_iter, self.learned, self.expected = [], 0, None, None
        self.is_wild = False  # trained with a rate at which anything may happen

    # --- what is done to it ---

    @initialize()
    def look_around(self):
        self.surroundings = global_state()

    @rule(data=st.data())
    def set_parameters(self, data):
        names = st.sampled_from(sorted(VALID.keys() & self.params.keys()))
        names = data.draw(st.lists(names, min_size=1, max_size=6, unique=True))
        values = {name: data.draw(st.sampled_from(VALID[name])) for name in names}
        assert self.model.set_params(**values) is self.model
        self.params |= values

    @rule(data=st.data())
    def set_a_bad_parameter(self, data):
        name = data.draw(st.sampled_from(sorted(INVALID)))
        self.params[name] = data.draw(st.sampled_from(INVALID[name]))
        self.model.set_params(**{name: self.params[name]})

    def mend_the_parameters(self):
        for name in self.bad_parameters():
            self.params[name] = VALID.get(name, [None])[0]
        self.model.set_params(**self.params)

    @rule(name=st.sampled_from(["ratoi", "strategy__nonsense", "lr__nonsense"]))
    def set_a_parameter_that_is_none(self, name):
        with pytest.raises(ValueError, match="Invalid parameter|has no parameters"):
            self.model.set_params(lr=0.123, **{name: 1})

    @rule(
        data=st.data(),
        method=st.sampled_from(["fit", "fit", "partial_fit"]),
        mended=st.booleans(),
    )
    def train(self, data, method, mended):
        if mended:
            self.mend_the_parameters()
        name = data.draw(st.sampled_from(sorted(self.data)))
        self.attempt(method, name, self.is_refused(method, name))

    @rule(
        data=st.data(),
        method=st.sampled_from(["fit", "fit", "partial_fit"]),
        error=st.sampled_from([KeyboardInterrupt, Broken]),
    )
    def train_into_trouble(self, data, method, error):
        name = data.draw(st.sampled_from(sorted(self.data)))
        asked, self.params["strategy"] = self.params["strategy"], Trouble(error)
        self.model.set_params(strategy=self.params["strategy"])
        refused = self.is_refused(method, name)
        before = self.n_iter if self.continues(method) else 0
        epochs = 1 if method == "partial_fit" else self.params["max_epochs"]
        # The first epoch of all is not planned, nor is a warm-up.
        planned = max(self.params["warmup_epochs"] + 1, before + 1, 2)
        if not refused and self.params["ratio"] and planned <= before + epochs:
            if error is Broken or planned == before + 1:
                self.attempt(method, name, None if self.stops_early() else True)
            else:
                self.attempt(method, name, False, n_iter=planned - 1)
        else:
            self.attempt(method, name, refused)
        self.params["strategy"] = asked
        self.model.set_params(strategy=asked)

    @rule(data=st.data(), method=st.sampled_from(["fit", "partial_fit"]))
    def train_too_fast(self, data, method):
        name = data.draw(st.sampled_from(sorted(self.data)))
        asked, self.params["lr"] = self.params["lr"], 1e30
        self.model.set_params(lr=1e30)
        refused = self.is_refused(method, name) or None  # mostly it diverges
        self.attempt(method, name, refused)
        self.params["lr"] = asked
        self.model.set_params(lr=asked)

    @rule(data=st.data(), method=st.sampled_from(["fit", "partial_fit"]))
    def train_on_bad_data(self, data, method):
        X, y = self.data[data.draw(st.sampled_from(sorted(self.data)))]
        bad = bad_calls(X, y)
        X, y, *weights = bad[data.draw(st.sampled_from(sorted(bad)))]
        keywords = {"sample_weight": weights[0]} if weights else {}
        if not hasattr(self.model, method):
            return
        with self.no_trace():
            getattr(self.model, method)(X, y, **keywords)

    @rule(data=st.data())
    def predict_bad_data(self, data):
        X, y = self.data["plain"]
        names = ["NaN", "text", "3-D", "sparse", "nothing"]
        X = bad_calls(X, y)[data.draw(st.sampled_from(names))][0]
        with self.no_trace():
            self.model.predict(X)

    @rule()
    def pickle_and_load(self):
        self.exchange(pickle.loads(pickle.dumps(self.model)), "pickle")

    @rule()
    def save_and_load(self):
        path = Path(self.folder.name, "model")
        path.unlink(missing_ok=True)
        if self.learned is None:
            with pytest.raises(NotFittedError):
                save_model(self.model, path)
            assert not path.exists()
        else:
            save_model(self.model, path)
            self.exchange(load_model(path), "save")

    @rule()
    def take_a_clone(self):
        self.model = clone(self.model)
        self.forget()

    # --- what must hold ---

    @precondition(lambda self: self.log)
    @rule()
    def what_failed_has_left_no_trace(self):
        """Another estimator that does what succeeded, and nothing else, is the same."""
        twin = type(self.model)()
        for how, params, name in self.log:
            twin.set_params(**params)
            if how in ("pickle", "save"):  # each in the place of the other
                twin = self.through(twin, "save" if how == "pickle" else "pickle")
            else:
                with quietly():
                    getattr(twin, how)(*self.data[name])
        assert facts_of(twin) == facts_of(self.model)
        FOUND["replay", "done"] += 1
        assert repr_of(self.predictions(twin)) == repr_of(self.expected)

    @invariant()
    def parameters_are_as_set(self):
        found = self.model.get_params(deep=False)
        assert texts_of(found) == texts_of(self.params)

    @invariant()
    def it_predicts_as_before_or_says_that_it_can_t(self):
        if self.learned is None:
            with pytest.raises(NotFittedError):
                self.model.predict(self.data["plain"][0])
        else:
            assert repr_of(self.predictions(self.model)) == repr_of(self.expected)
            assert self.model.n_iter_ == self.n_iter == len(self.model.loss_curve_)

    @invariant()
    def nothing_global_has_changed(self):
        FOUND["any", "step"] += 1
        assert global_state() == self.surroundings

    # --- the model of it ---

    def stops_early(self):
        return self.params["early_stopping"] is True

    def bad_parameters(self):
        return [
            name
            for name in INVALID
            if repr(self.params[name]) in map(repr, INVALID[name])
        ]

    def continues(self, method):
        warm = method == "partial_fit" or self.params["warm_start"]
        return self.learned is not None and warm

    def is_refused(self, method, name):
        """Whether a training must be refused, by what its documentation says."""
        params = self.params
        if self.bad_parameters():
            return True
        if params.get("class_balanced") and params["strategy"] in WEIGHING:
            return True
        if method == "partial_fit" and params["early_stopping"]:
            return True
        if not self.continues(method):
            return False
        shape, width, targets = self.learned
        own_width, own_targets = self.described(name)
        return (
            shape != [params[n] for n in SHAPING]
            or width != own_width
            or not self.fits(own_targets, targets)
        )

    def described(self, name):
        """Width of a table, and what the targets are."""
        X, y = self.data[name]
        return X.shape[1], self.targets_of(y)

    def predictions(self, model):
        X = next(X for X, _ in self.data.values() if X.shape[1] == self.learned[1])
        probabilities = getattr(model, "predict_proba", model.predict)
        return [model.predict(X), probabilities(X)]

    def attempt(self, method, name, refused, n_iter=None):
        """Train; what is refused changes nothing (None: either may happen)."""
        continues, params = self.continues(method), dict(self.params)
        if continues and self.is_wild:
            refused = refused or None
        before, facts = dict(vars(self.model)), facts_of(self.model)
        try:
            with quietly():
                assert getattr(self.model, method)(*self.data[name]) is self.model
        except (
            AttributeError,  # there is no partial_fit
            ValueError,
            DivergedError,
            Broken,
            KeyboardInterrupt,
        ):
            assert refused is not False
            self.assert_same(before, facts)
            FOUND[method, "refused or failed"] += 1
            return
        assert not refused
        if not continues:
            self.log, self.n_iter = [], 0
            self.learned = [params[n] for n in SHAPING], *self.described(name)
            self.is_wild = False
        self.is_wild |= params["lr"] > 1
        self.log.append((method, params, name))
        epochs = 1 if method == "partial_fit" else params["max_epochs"]
        expected = self.n_iter + epochs if n_iter is None else n_iter
        if self.stops_early():
            assert self.n_iter < self.model.n_iter_ <= expected
            expected = self.model.n_iter_
        else:
            assert self.model.interrupted_ == (n_iter is not None)
        self.n_iter = expected
        FOUND[method, "interrupted" if self.model.interrupted_ else "done"] += 1
        self.expected = self.predictions(self.model)

    def assert_same(self, before, facts):
        now = vars(self.model)
        assert now.keys() == before.keys()
        assert all(now[name] is before[name] for name in now)
        assert facts_of(self.model) == facts

    def no_trace(self):
        return NoTrace(self)

    def through(self, model, how):
        """The estimator that comes out of a pickle or a file."""
        if how == "pickle":
            return pickle.loads(pickle.dumps(model))
        path = Path(self.folder.name, "twin")
        save_model(model, path)
        return load_model(path)

    def exchange(self, other, how):
        """Go on with an estimator that has to be the same."""
        assert other is not self.model
        assert facts_of(other) == facts_of(self.model)
        FOUND[how, "done"] += 1
        self.model = other
        if self.learned is not None:
            self.log.append((how, dict(self.params), None))


class NoTrace:
    """Expect that data or estimator are refused, and that nothing changes."""

    def __init__(self, machine):
        self.machine = machine

    def __enter__(self):
        model = self.machine.model
        self.before, self.facts = dict(vars(model)), facts_of(model)

    def __exit__(self, kind, error, trace):
        if not isinstance(error, ValueError | TypeError):
            assert error is not None, "it was not refused"
            return False
        self.machine.assert_same(self.before, self.facts)
        FOUND["bad data", "refused or failed"] += 1
        return True


def quietly():
    """Without the warnings of a training, which other tests look at."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)


class ClassifierMachine(AnyOrder):
    task = "binary"
    tasks = {
        "plain": ("binary", 40, 5),
        "other rows": ("binary", 30, 5),
        "narrow": ("binary", 40, 3),
        "three classes": ("multiclass", 40, 5),
    }
    targets_of = staticmethod(lambda y: set(y.tolist()))
    fits = staticmethod(lambda own, known: own <= known)


class RegressorMachine(AnyOrder):
    task = "regression"
    tasks = {
        "plain": ("regression", 40, 5),
        "other rows": ("regression", 30, 5),
        "narrow": ("regression", 40, 3),
        "two targets": ("multi-target", 40, 5),
    }
    targets_of = staticmethod(lambda y: y[0].size)
    fits = staticmethod(lambda own, known: own == known)


TestClassifier = ClassifierMachine.TestCase
TestClassifier.settings = settings(
    max_examples=40 * SCALE, stateful_step_count=25, **REPEATED
)
TestRegressor = RegressorMachine.TestCase
TestRegressor.settings = settings(
    max_examples=20 * SCALE, stateful_step_count=25, **REPEATED
)
