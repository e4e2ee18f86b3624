"""Arguments of any kind: what is public works, or raises an error of those it names."""

import contextlib
import inspect
import pickle
import tempfile
import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import cache, partial
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from helpers.estimators import FEATURES, N, make, make_cv, make_data
from helpers.long_runs import FOUND, REPEATED, SCALE, tally  # noqa: F401
from helpers.options import OPTIONS, OWN_OPTIONS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.pipeline import Pipeline
from skorch import NeuralNetClassifier

import skrebatch
from skrebatch import (
    DivergedError,
    DynamicBatchSampler,
    Epoch,
    FusedGridSearchCV,
    IntervalInsertionSampler,
    LabelIssuesDisplay,
    LossCurveDisplay,
    Plan,
    RatioCurveDisplay,
    ReBatch,
    ReBatchCNNClassifier,
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressor,
    ReBatchCNNRegressorCV,
    SampleDynamicsDisplay,
    Strategy,
    TabularCNN,
    compare_candidates,
    find_label_issues,
    fit_distributed,
    fit_fused,
    interval_insertion,
    load_model,
    loss_area,
    loss_trend,
    nrmse,
    paper_parameters,
    redistribution_size,
    register_onnx_converters,
    row_lengths,
    save_model,
    to_onnx,
    training_dynamics,
)

X, Y = make_data()
NUMBERS = make_data("regression")[1]
HUGE = 10**400  # which no float holds


def table(value):
    return np.full((N, FEATURES), value)


def column(value, dtype=None):
    return np.full(N, value, dtype=dtype)


# What nobody should pass, made anew each time.
HOSTILE: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "0": lambda: 0,
    "-1": lambda: -1,
    "1": lambda: 1,
    "2.5": lambda: 2.5,
    "NaN": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "minus infinity": lambda: float("-inf"),
    "nearly infinity": lambda: 1e308,
    "nearly 0": lambda: 1e-320,
    "huge": lambda: HUGE,
    "minus huge": lambda: -HUGE,
    "2**31": lambda: 2**31,
    "2**63": lambda: 2**63,
    "empty text": str,
    "text": lambda: "x",
    "auto": lambda: "auto",
    "text with a null": lambda: "a\0b",
    "bytes": lambda: b"x",
    "a tuple": lambda: (1, 2),
    "no tuple": tuple,
    "an empty list": list,
    "an empty dict": dict,
    "a dict": lambda: {"a": 1},
    "a dict of numbers": lambda: {0: 1, 1: HUGE},
    "a set": lambda: {1, 2},
    "an object": object,
    "a function": lambda: len,
    "a lambda": lambda: lambda *args, **kwargs: None,
    "a type": lambda: int,
    "an iterator": lambda: iter([1, 2]),
    "a range": lambda: range(3),
    "a slice": lambda: slice(2),
    "a ragged list": lambda: [[1], [1, 2]],
    "nested lists": lambda: [[[1, 2]], [[3, 4]]],
    "a list of text": lambda: ["a", "b"],
    "a list of None": lambda: [None, 1],
    "a list of huge": lambda: [HUGE, 1],
    "a path": lambda: Path("x"),
    "a path to nowhere": lambda: Path("no", "folder", "x"),
    "a folder": lambda: Path("."),
    "Decimal": lambda: Decimal("0.5"),
    "Decimal NaN": lambda: Decimal("NaN"),
    "Fraction": lambda: Fraction(1, 3),
    "complex": lambda: 1 + 1j,
    "float64 NaN": lambda: np.float64("nan"),
    "float32": lambda: np.float32(0.5),
    "int8": lambda: np.int8(3),
    "uint64": lambda: np.uint64(2**64 - 1),
    "bool_": lambda: np.True_,
    "a time": lambda: np.datetime64("2020-01-01"),
    "0-D": lambda: np.array(0.5),
    "an empty array": lambda: np.array([]),
    "no rows": lambda: np.empty((0, FEATURES)),
    "no columns": lambda: np.empty((N, 0)),
    "ones": lambda: np.ones(3),
    "ones by ones": lambda: np.ones((3, 2)),
    "3-D": lambda: np.ones((2, 3, 4)),
    "an array of text": lambda: np.array(["a", "b"]),
    "an array of objects": lambda: np.array([None, "a", 1.5], dtype=object),
    "an array of huge": lambda: np.array([HUGE, 1], dtype=object),
    "an array of complex": lambda: np.array([1j, 2]),
    "an array of times": lambda: np.array(["2020-01-01"], dtype="datetime64[D]"),
    "a masked array": lambda: np.ma.masked_equal([1, 2, 3], 2),
    "a sparse matrix": lambda: sparse.csr_matrix(np.eye(3)),
    "a frame": lambda: pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
    "a series": lambda: pd.Series([1.0, np.nan, 3.0]),
    "NA": lambda: pd.NA,
    "a tensor": lambda: torch.ones(2, 3),
    "a tensor of one": lambda: torch.tensor(float("nan")),
    "a tensor with gradient": lambda: torch.ones(3, requires_grad=True),
    "bfloat16": lambda: torch.ones(3, dtype=torch.bfloat16),
    "a module": lambda: torch.nn.Linear(2, 1),
    "not fitted": make,
    "fitted": lambda: fitted(),
    "an empty pipeline": lambda: Pipeline([]),
    "a class": lambda: ReBatchCNNClassifier,
}
TABLES = {
    "NaN in a table": lambda: table(np.nan),
    "a table near infinity": lambda: table(1e308),
    "a table for float32": lambda: X * 1e38,
    "a table near 0": lambda: X * 1e-310,
    "a constant table": lambda: table(1.0),
    "a table of huge": lambda: table(HUGE).astype(object),
    "a table of text": lambda: table("a"),
    "a table of numbers as text": lambda: X.astype(str),
    "a table of complex": lambda: X + 1j,
    "a table of objects": lambda: X.astype(object),
    "a table of times": lambda: table(np.datetime64("2020-01-01")),
    "a table of bool": lambda: X > 0,
    "lists": X.tolist,
    "a table as a frame": lambda: pd.DataFrame(X).add_prefix("x"),
    "a frame of text": lambda: pd.DataFrame(table("a")),
    "a nullable frame": lambda: pd.DataFrame(X).astype("Float64").mask(X > 2),
    "a masked table": lambda: np.ma.masked_greater(X, 1),
    "a table with a mask of nothing": lambda: np.ma.MaskedArray(X),
    "a sparse table": lambda: sparse.coo_matrix(X),
    "a table as a tensor": lambda: torch.tensor(X, requires_grad=True),
    "a wider table": lambda: np.hstack([X, X]),
    "a shorter table": lambda: X[1:],
    "a single row": lambda: X[:1],
    "two rows": lambda: X[:2],
    "a table upside down": lambda: X[::-1],
}
COLUMNS = {
    "NaN in a column": lambda: column(np.nan),
    "one value": lambda: column(1),
    "zeros": lambda: column(0.0),
    "negative": lambda: column(-1.0),
    "a column near infinity": lambda: column(1e308),
    "large values": lambda: NUMBERS * 1e250,
    "a column near 0": lambda: column(1e-320),
    "small values": lambda: NUMBERS * 1e-250,
    "a column of huge": lambda: column(HUGE, object),
    "a column of complex": lambda: column(1j),
    "a column of None": lambda: column(None, object),
    "labels of all kinds": lambda: np.resize(np.array([1, "a", None], object), N),
    "text labels": lambda: np.resize(["low", "high"], N),
    "a list of labels": lambda: np.resize(["low", "high"], N).tolist(),
    "bytes of labels": lambda: np.resize([b"low", b"high"], N),
    "bool labels": lambda: Y > 0,
    "three labels": lambda: np.arange(N) % 3,
    "a label each": lambda: np.arange(N),
    "large labels": lambda: np.resize(np.array([0, 2**64 - 1], np.uint64), N),
    "lists of labels": lambda: np.resize(np.array([[1], [1, 2], []], object), N),
    "numbers": lambda: NUMBERS,
    "times": lambda: np.arange(N).astype("datetime64[D]"),
    "two columns": lambda: np.column_stack([Y, Y]),
    "a column as a table": lambda: Y[:, None],
    "a column too short": lambda: Y[1:],
    "a single value": lambda: Y[:1],
    "a series of labels": lambda: pd.Series(Y).astype("category"),
    "a series with NA": lambda: pd.Series(Y).astype("Int64").where(X[:, 0] > 0),
    "a masked column": lambda: np.ma.masked_equal(Y, 1),
    "a column with a mask of nothing": lambda: np.ma.MaskedArray(Y),
    "a column as a tensor": lambda: torch.tensor(Y * 1.0, requires_grad=True),
}
ROWS = {
    "rows out of range": lambda: [[0, 1, 2, N], range(-N - 1, 0)],
    "rows of floats": lambda: [[0.5, 1.5], [0.0, 1.0]],
    "rows of text": lambda: [["a"], ["b"]],
    "one row": lambda: [[0], [1]],
    "no row": lambda: [[], []],
    "masks too short": lambda: [[True, False], [False, True]],
    "rows of rows": lambda: [[[0, 1]], [[2, 3]]],
    "pairs of rows": lambda: [([0, 1], [N]), ([N], [0])],
    "pairs of floats": lambda: [([0.5], [1.5])],
    "threes of rows": lambda: [([0], [1], [2])],
}
MORE = {
    "X": TABLES | COLUMNS,
    "X_val": TABLES,
    "y": COLUMNS | TABLES,
    "y_val": COLUMNS,
    "classes": COLUMNS,
    "sample_weight": COLUMNS,
    "indices": ROWS,
    "val_indices": ROWS,
    "cv": ROWS,
    "groups": COLUMNS,
    "remaining": COLUMNS,
    "chosen": COLUMNS,
    "lengths": COLUMNS | TABLES,
    "losses": COLUMNS | TABLES,
    "baseline": COLUMNS,
    "y_true": COLUMNS | TABLES,
    "y_pred": COLUMNS | TABLES,
    "sampler": {
        "floats": lambda: [0.5, 1.0],
        "NaN to draw": lambda: [float("nan")],
        "rows out of range": lambda: [N, -1],
    },
    "callbacks": {
        "a list of a callback's class": lambda: [ReBatch],
        "a list of a function": lambda: [len],
        "a list of a module": lambda: [torch.nn.Linear(2, 1)],
    },
    "class_weight": {
        "a weight too few": lambda: {0: 1},
        "negative weights": lambda: {0: -1, 1: 1},
        "weights near infinity": lambda: {0: 1e308, 1: 1e308},
        "weights of text": lambda: {0: "a", 1: "b"},
    },
    "optimizer_params": {
        "large": lambda: {"eps": 1e300},
        "a huge option": lambda: {"eps": HUGE},
        "unknown": lambda: {"a": 1},
        "of a wrong type": lambda: {"betas": "ab"},
    },
    "lr_schedule": {name: lambda name=name: name for name in ("step", "plateau")},
    "lr_schedule_params": {
        "a large gamma": lambda: {"gamma": 1e300},
        "a huge gamma": lambda: {"gamma": HUGE},
        "no gamma": lambda: {"gamma": float("nan")},
        "no step": lambda: {"step_size": 0},
    },
    "param_grid": {
        "a number": lambda: {"ratio": 0.1},
        "nothing to choose from": lambda: {"ratio": []},
        "bad values": lambda: {"ratio": [-1, "x", None]},
        "no parameter": lambda: {"nonsense": [1]},
        "no name": lambda: {1: [1]},
        "a list of grids": lambda: [{"ratio": [0]}, {"lr": [HUGE]}, {}],
    },
}
MORE["candidates"] = MORE["param_grid"]
# What a large number makes long or large, by the very meaning of the parameter.
LONG = "max_epochs", "n_networks", "n_augments", "repeats", "n_samples", "padding"
LARGE = "hidden_size", "hidden_layers", "conv_channels", "n_features", "n_outputs"


class Target(NamedTuple):
    """Something public, and valid values of what it takes."""

    use: Callable[..., Any]
    valid: dict[str, list[Any]]
    needed: tuple[str, ...] = ()
    examples: int = 60


@cache
def models():
    """Fitted estimators, pickled."""
    recorded = make(record_losses=True).fit(X, Y)
    search = FusedGridSearchCV(make(max_epochs=1), {"ratio": [0, 0.3]}, cv=2)
    return {
        "classifier": pickle.dumps(recorded),
        "regressor": pickle.dumps(make("regression").fit(X, NUMBERS)),
        "search": pickle.dumps(search.fit(X, Y)),
    }


def fitted(kind="classifier"):
    return pickle.loads(models()[kind])


def assert_unchanged_on_error(estimator, call, **arguments):
    """Call; what is refused leaves the estimator as it was."""
    before = dict(vars(estimator))
    try:
        return call(**arguments)
    except Exception:
        now = vars(estimator)
        assert now.keys() == before.keys()
        assert all(now[name] is before[name] for name in now)
        raise


DATA = "X", "y", "sample_weight", "X_val", "y_val", "groups", "classes"


def use_estimator(cls):
    """Fit one, and predict: what works leads to predictions."""

    def use(**arguments):
        data = {n: arguments.pop(n) for n in DATA if n in arguments}
        model = cls(**arguments)
        assert_unchanged_on_error(model, model.fit, **data)
        with np.errstate(all="raise", under="ignore"):
            assert np.isfinite(predictions_of(model, data["X"])).all()

    return use


def predictions_of(model, rows):
    return getattr(model, "predict_proba", model.predict)(rows)


def use_fitted(method, kind="classifier"):
    """Call a method of a fitted estimator; after an error it predicts as before."""

    def use(**arguments):
        model = fitted(kind)
        expected = predictions_of(model, X)
        try:
            assert_unchanged_on_error(model, getattr(model, method), **arguments)
        except Exception:
            np.testing.assert_array_equal(predictions_of(model, X), expected)
            raise

    return use


def set_parameters(estimator):
    """Set parameters of one that has nested ones, too."""

    def use(**arguments):
        model = estimator()
        assert_unchanged_on_error(model, model.set_params, **arguments)

    return use


def valid_parameters(cls, **others):
    """Valid values of all parameters of an estimator."""
    kind = "classifier" if issubclass(cls, ReBatchCNNClassifier) else "regressor"
    options = {**OPTIONS, **OWN_OPTIONS[kind]}
    valid = {
        name: options.get(name, [parameter.default])
        for name, parameter in inspect.signature(cls).parameters.items()
    }
    small = {"max_epochs": [2], "random_state": [0], "batch_size": [8], "lr": [0.01]}
    return {**valid, **small, **others}


def estimator_target(cls, y, examples, **others):
    data = {"X": [X], "y": [y], "sample_weight": [None, np.ones(N)]}
    data |= {"X_val": [None, X], "y_val": [None, y], "groups": [None]}
    return Target(
        use_estimator(cls),
        {**valid_parameters(cls, **others), **data},
        ("X", "y", "max_epochs", "random_state", *others),
        examples,
    )


def cv_target(cls, y, task, examples):
    """An estimator that chooses between two candidates."""
    return Target(
        use_estimator(cls),
        {
            "estimator": [make_cv(task, max_epochs=2).estimator],
            "candidates": [{"ratio": [0, 0.3]}],
            "scoring": [None],
            "random_state": [0],
            "verbose": [0],
            "X": [X],
            "y": [y],
            "sample_weight": [None, np.ones(N)],
            "groups": [None],
        },
        ("estimator", "candidates", "X", "y"),
        examples,
    )


def use_strategy(cls):
    """Make one, and let it do its work if it finds its parameters possible."""

    def use(**arguments):
        strategy = cls(**arguments)
        strategy.check()
        losses = np.random.default_rng(0).random(12)
        for number in (2, 5, 9):
            epoch = Epoch(number, 9, 4, np.random.default_rng(0), first=2)
            if strategy.plans:
                plan = strategy.plan(losses, epoch)
                for part in (getattr(plan, "chosen", plan), plan):
                    rows = getattr(part, "remaining", part)
                    assert rows is None or set(np.asarray(rows)) <= set(range(12))
        if strategy.weights_batches:
            weights = strategy.batch_weights(torch.tensor(losses)[None])
            assert torch.isfinite(weights).all() and (weights >= 0).all()

    return use


def strategy_target(cls):
    parameters = inspect.signature(cls).parameters.items()
    valid = {name: [parameter.default] for name, parameter in parameters}
    return Target(use_strategy(cls), valid, examples=60 if valid else 1)


def use_interval_sampler(**arguments):
    to_insert = {n: arguments.pop(n) for n in ("chosen",) if n in arguments}
    sampler = IntervalInsertionSampler(**arguments)
    assert len(list(sampler)) == len(sampler)
    sampler.redistribute(**to_insert)
    assert len(list(sampler)) == len(sampler)


def use_dynamic_sampler(**arguments):
    sampler = DynamicBatchSampler(**arguments)
    batches = list(sampler)
    assert all(batches)
    most = max((max(sampler.lengths[b]) * len(b) for b in batches), default=0)
    assert most <= sampler.max_elements


def use_network(**arguments):
    network = TabularCNN(**arguments)
    n_features = int(arguments["n_features"])
    outputs = network(torch.zeros(3, n_features))
    assert outputs.shape == (3, arguments.get("n_outputs", 1))


def use_callback(**arguments):
    net = NeuralNetClassifier(
        torch.nn.Linear(FEATURES, 2),
        criterion=torch.nn.CrossEntropyLoss,
        max_epochs=3,
        verbose=0,
        callbacks=[ReBatch(**arguments)],
        train_split=None,
        iterator_train__batch_size=16,
    )
    net.fit(X.astype("f4"), Y)


def use_fused(**arguments):
    estimators = arguments.pop("estimators")
    if estimators == "three":
        estimators = [make(random_state=i, max_epochs=1) for i in range(2)]
    for model in fit_fused(estimators, **arguments):
        assert np.isfinite(predictions_of(model, X)).all()


def use_distributed(**arguments):
    if arguments["estimator"] == "one":
        arguments["estimator"] = make(max_epochs=1)
    model = arguments["estimator"]
    if not dist.is_initialized():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    if isinstance(model, ReBatchCNNClassifier):
        assert_unchanged_on_error(model, fit_distributed, **arguments)
        assert np.isfinite(predictions_of(model, X)).all()
    else:
        fit_distributed(**arguments)


@pytest.fixture(scope="module", autouse=True)
def no_group_left():
    """Destroy the process group once, in which torch 2.6 now and then hangs."""
    yield
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def use_search(**arguments):
    data = {n: arguments.pop(n) for n in DATA if n in arguments}
    search = FusedGridSearchCV(**arguments)
    assert_unchanged_on_error(search, search.fit, **data)


def use_epoch(**arguments):
    epoch = Epoch(**arguments)  # a record, as Plan is: it holds what it is given
    numbers = epoch.number, epoch.max_epochs, epoch.first
    possible = all(isinstance(own, int) and own > 0 for own in numbers)
    if possible and epoch.first <= epoch.number:
        assert epoch.progress <= 1


def draw(method, **estimators):
    """Draw a picture of estimators that are fitted."""

    def use(**arguments):
        pyplot = pytest.importorskip("matplotlib.pyplot")
        for name, kind in estimators.items():
            if arguments.get(name) == "fitted":
                arguments[name] = fitted(kind)
        try:
            method(**arguments)
        finally:
            pyplot.close("all")

    return use


def use_fitted_as_argument(function):
    """Call a function of a fitted estimator."""

    def use(estimator, **arguments):
        estimator = fitted() if isinstance(estimator, str) else estimator
        function(estimator, **arguments)

    return use


def use_load(path):
    if path == "saved":
        save_model(fitted(), path)
    load_model(path)


def make_error(error, message):
    assert isinstance(str(error(message)), str)


ISSUES = pd.DataFrame(
    {
        "is_label_issue": [True, False],
        "label_quality": [0.1, 0.9],
        "given_label": [0, 1],
        "predicted_label": [1, 1],
    }
)
ISSUE_FINDER = ReBatchCNNClassifier(n_networks=1, max_epochs=2)
ERRORS = {name for name in skrebatch.__all__ if name.endswith(("Error", "Warning"))}
STRATEGIES = [
    each
    for each in vars(skrebatch).values()
    if isinstance(each, type) and issubclass(each, Strategy) and each is not Strategy
]
TARGETS = {
    "ReBatchCNNClassifier": estimator_target(ReBatchCNNClassifier, Y, 200),
    "ReBatchCNNRegressor": estimator_target(ReBatchCNNRegressor, NUMBERS, 120),
    "ReBatchCNNClassifierCV": cv_target(ReBatchCNNClassifierCV, Y, "binary", 20),
    "ReBatchCNNRegressorCV": cv_target(
        ReBatchCNNRegressorCV, NUMBERS, "regression", 15
    ),
    "ReBatchCNNClassifier.predict": Target(use_fitted("predict"), {"X": [X]}, ("X",)),
    "ReBatchCNNClassifier.predict_proba": Target(
        use_fitted("predict_proba"), {"X": [X]}, ("X",)
    ),
    "ReBatchCNNClassifier.partial_fit": Target(
        use_fitted("partial_fit"),
        {"X": [X], "y": [Y], "sample_weight": [None], "classes": [None, [0, 1]]},
        ("X", "y"),
        100,
    ),
    "ReBatchCNNRegressor.partial_fit": Target(
        use_fitted("partial_fit", "regressor"),
        {"X": [X], "y": [NUMBERS], "sample_weight": [None]},
        ("X", "y"),
    ),
    "ReBatchCNNClassifier.set_params": Target(
        set_parameters(fitted),
        valid_parameters(ReBatchCNNClassifier, strategy__easy=[0.1], a=[1], lr__a=[1]),
        examples=100,
    ),
    "Hybrid.set_params": Target(
        set_parameters(skrebatch.Hybrid),
        {"easy": [0.2], "hard": [0.1], "easy__a": [1]},
    ),
    "Strategy": Target(
        lambda **arguments: Strategy().set_params(**arguments), {"a": [1]}
    ),
    "FusedGridSearchCV": Target(
        use_search,
        {
            "estimator": [make(max_epochs=1)],
            "param_grid": [{"ratio": [0, 0.3]}],
            "X": [X],
            "y": [Y],
            "scoring": [None, "accuracy", ["accuracy", "recall"]],
            "n_jobs": [None],
            "refit": [True, False],
            "cv": [2],
            "verbose": [0],
            "pre_dispatch": ["2*n_jobs"],
            "error_score": [np.nan, "raise"],
            "return_train_score": [False, True],
            "max_stack": ["auto", 1],
            "checkpoint_dir": [None],
            "sample_weight": [None, np.ones(N)],
        },
        ("estimator", "param_grid", "X", "y", "cv"),
        100,
    ),
    "fit_distributed": Target(
        use_distributed,
        {
            "estimator": ["one"],
            "X": [X],
            "y": [Y],
            "sample_weight": [None, np.ones(N)],
            "X_val": [None, X],
            "y_val": [None, Y],
        },
        ("estimator", "X", "y"),
        100,
    ),
    "fit_fused": Target(
        use_fused,
        {
            "estimators": ["three"],
            "X": [X],
            "y": [Y],
            "indices": [None, [range(20), range(10, 30)]],
            "sample_weight": [None, np.ones(N), [np.ones(N), None]],
            "val_indices": [None, [range(20, 40), range(10)]],
            "groups": [None],
            "max_stack": ["auto", 1],
        },
        ("estimators", "X", "y"),
        100,
    ),
    "ReBatch": Target(
        use_callback,
        {
            name: OPTIONS.get(name, [parameter.default])
            for name, parameter in inspect.signature(ReBatch).parameters.items()
        },
        examples=60,
    ),
    "TabularCNN": Target(
        use_network,
        {
            name: [4] if name == "n_features" else [parameter.default]
            for name, parameter in inspect.signature(TabularCNN).parameters.items()
        },
        ("n_features",),
        100,
    ),
    "IntervalInsertionSampler": Target(
        use_interval_sampler,
        {
            "n_samples": [12],
            "repeats": [0, 1, 3],
            "shuffle": [True, False],
            "random_state": [None, 0, np.random.default_rng(0)],
            "chosen": [[3, 1]],
        },
        ("n_samples", "chosen"),
        100,
    ),
    "DynamicBatchSampler": Target(
        use_dynamic_sampler,
        {
            "lengths": [np.arange(1, N + 1), [1, 2, 3]],
            "max_elements": [50],
            "sampler": [None, [0, 1, 2]],
            "stretch": ["auto", 5],
            "random_state": [None, 0],
        },
        ("lengths", "max_elements"),
        100,
    ),
    "redistribution_size": Target(
        redistribution_size,
        {"n_samples": [614], "ratio": [0.15]},
        ("n_samples", "ratio"),
    ),
    "interval_insertion": Target(
        interval_insertion,
        {"remaining": [range(5)], "chosen": [[8, 9]], "repeats": [1, 2]},
        ("remaining", "chosen"),
        100,
    ),
    "row_lengths": Target(row_lengths, {"X": [X]}, ("X",)),
    "loss_area": Target(
        loss_area,
        {"baseline": [[3.0, 2.0]], "losses": [[2.0, np.nan]]},
        ("baseline", "losses"),
        100,
    ),
    "loss_trend": Target(loss_trend, {"losses": [[3.0, 2.0]]}, ("losses",)),
    "nrmse": Target(
        nrmse,
        {"y_true": [NUMBERS], "y_pred": [NUMBERS + 1], "normalization": ["mean"]},
        ("y_true", "y_pred"),
        100,
    ),
    "paper_parameters": Target(
        paper_parameters, {"dataset": ["pid"]}, ("dataset",), 30
    ),
    "find_label_issues": Target(
        lambda **arguments: find_label_issues(**arguments),
        {"X": [X], "y": [Y], "estimator": [ISSUE_FINDER], "random_state": [None, 0]},
        ("X", "y"),
        10,
    ),
    "compare_candidates": Target(
        draw(compare_candidates, search="search"),
        {
            "search": ["fitted"],
            "baseline": [{"ratio": 0}],
            "scoring": [None],
            "test_train_ratio": [None, 0.5],
            "confidence": [0.95],
        },
        ("search", "baseline"),
        40,
    ),
    "training_dynamics": Target(
        use_fitted_as_argument(training_dynamics), {"estimator": ["f"]}, ("estimator",)
    ),
    "save_model": Target(
        use_fitted_as_argument(save_model),
        {"estimator": ["fitted"], "path": ["file"]},
        ("estimator", "path"),
    ),
    "load_model": Target(use_load, {"path": ["saved"]}, ("path",)),
    "to_onnx": Target(
        use_fitted_as_argument(to_onnx),
        {"estimator": ["fitted"], "path": ["file"]},
        ("estimator", "path"),
    ),
    "register_onnx_converters": Target(register_onnx_converters, {}, (), 1),
    "LossCurveDisplay": Target(
        draw(LossCurveDisplay.from_estimator, estimators="classifier"),
        {
            "estimators": ["fitted"],
            "baseline": [None],
            "fit_line": [False, True],
            "ax": [None],
        },
        ("estimators",),
        40,
    ),
    "RatioCurveDisplay": Target(
        draw(RatioCurveDisplay.from_search, search="search"),
        {
            "search": ["fitted"],
            "scoring": [None],
            "test_train_ratio": [None, 0.5],
            "max_lines": [6],
            "ax": [None],
        },
        ("search",),
        40,
    ),
    "LabelIssuesDisplay": Target(
        draw(LabelIssuesDisplay.from_frame), {"issues": [ISSUES]}, ("issues",)
    ),
    "SampleDynamicsDisplay": Target(
        draw(SampleDynamicsDisplay.from_estimator, estimator="classifier"),
        {"estimator": ["fitted"], "kind": ["map", "choices"], "ax": [None]},
        ("estimator",),
        40,
    ),
    "Epoch": Target(
        use_epoch,
        {
            "number": [2],
            "max_epochs": [10],
            "n_chosen": [3],
            "rng": [np.random.default_rng(0)],
            "labels": [None],
            "first": [1, 2],
        },
        ("number", "max_epochs", "n_chosen", "rng"),
    ),
    "Plan": Target(
        Plan,
        {"chosen": [[1]], "remaining": [None], "repeats": [None], "weights": [None]},
    ),
}
TARGETS |= {each.__name__: strategy_target(each) for each in STRATEGIES}
TARGETS |= {
    name: Target(
        partial(make_error, getattr(skrebatch, name)),
        {"message": ["what is wrong"]},
        ("message",),
        10,
    )
    for name in ERRORS
}


def hostile_for(name):
    """What to pass for an argument, by what it is called in a report."""
    found = HOSTILE | MORE.get(name, {})
    if name in LONG:
        found = {label: f for label, f in found.items() if not is_large(f())}
    if name in LARGE:
        found = {label: f for label, f in found.items() if label != "2**31"}
    if name == "n_jobs":  # which would start as many processes
        found = {label: f for label, f in found.items() if not is_many(f())}
    return found


def is_large(value):
    return isinstance(value, Integral) and value > 1000


def is_many(value):
    return isinstance(value, Integral) and value not in (0, 1)


def test_everything_public_is_tried():
    assert {name.partition(".")[0] for name in TARGETS} == set(skrebatch.__all__)


def several(names, at_least):
    """Up to three names."""
    if not names:
        return st.just([])
    most = min(3, len(names))
    own = st.sampled_from(names)
    return st.lists(own, min_size=min(at_least, most), max_size=most, unique=True)


def outcome_of(target, arguments):
    """What comes of a call: "works", or the name of an error that is documented."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        try:
            target.use(**arguments)
        except (ValueError, TypeError, OSError, DivergedError) as error:
            return type(error).__name__
        except ImportError as error:
            assert 'pip install "skrebatch[' in str(error)
            return type(error).__name__
    numeric = [str(w.message) for w in record if issubclass(w.category, RuntimeWarning)]
    assert not numeric, "it works, but not as it should"
    return "works"


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_arguments_of_any_kind(name):
    target = TARGETS[name]
    names = sorted(target.valid)

    @settings(max_examples=target.examples * SCALE, **REPEATED)
    @given(data=st.data())
    def try_some(data):
        asked = [*target.needed, *data.draw(several(names, 0))]
        arguments = {n: data.draw(st.sampled_from(target.valid[n])) for n in asked}
        for own in data.draw(several(names, 1)):
            hostile = hostile_for(own)
            arguments[own] = hostile[data.draw(st.sampled_from(sorted(hostile)))]()
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            FOUND[name, outcome_of(target, arguments)] += 1

    try_some()
