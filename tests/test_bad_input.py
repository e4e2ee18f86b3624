"""What can't be used is refused: by name, before any work, and leaving no trace."""

import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.estimators import (
    CLASSIFICATION,
    FEATURES,
    FULL_BATCH,
    LR,
    TASKS,
    Interrupt,
    N,
    assert_same_bits,
    make,
    make_data,
)
from helpers.options import WEIGHING
from helpers.refusals import Fail, fitted, no_trace, refused
from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EpochScoring, Freezer

from skrebatch import (
    OHEM,
    DivergedError,
    Hybrid,
    MinLoss,
    Plan,
    ReBatch,
    SmallLoss,
    Strategy,
    loss_area,
    loss_trend,
    nrmse,
    row_lengths,
)
from skrebatch.strategies import STRATEGIES

NAMES = list("abcde")
HUGE = 10**400  # which no float holds


def with_cell(value, row=3, column=1):
    """The table with one bad cell."""
    X = make_data()[0]
    X[row, column] = value
    return X


# --- the table ---

BAD_TABLES = {
    "NaN": (
        with_cell(np.nan),
        "NaN",
        "column 1 (non-finite values: 1, first in row 3)",
    ),
    "infinity": (with_cell(np.inf), "infinity", "column 1", "in row 3"),
    "minus infinity": (with_cell(-np.inf), "infinity", "column 1", "in row 3"),
    "too large for float32": (with_cell(1e39), "too large", "float32", "column 1"),
    "NaN by name": (pd.DataFrame(with_cell(np.nan), columns=NAMES), "NaN", "'b'"),
    "missing in a nullable column": (
        pd.DataFrame(with_cell(np.nan), columns=NAMES).astype("Float64"),
        "NaN",
        "'b' (non-finite values: 1, first in row 3)",
    ),
    "None": (with_cell(0).astype(object).tolist(), "NaN", "column 1"),
    "strings": (
        np.full((N, FEATURES), "x"),
        "X must contain numbers, but column 0 contains text ('x' in row 0), column 1",
    ),
    "a column of strings": (
        pd.DataFrame(make_data()[0], columns=NAMES).assign(c="red"),
        "column 'c' contains text ('red' in row 0). Convert",
    ),
    "digits among objects": (
        with_cell(0).astype(object),
        "column 1 contains text ('00700' in row 3). Convert",
    ),
    "digits in a list": (
        with_cell(0).tolist(),
        "column 1 contains text ('00700' in row 3). Convert",
    ),
    "bytes": (
        np.full((N, FEATURES), b"7"),
        "column 4 contains text (b'7' in row 0). Convert",
    ),
    "complex": (make_data()[0] + 1j, "Complex data not supported"),
    "3-D": (make_data()[0][None], "dim 3", "<= 2"),
    "1-D": (make_data()[0][:, 0], "Expected 2D array, got 1D array"),
    "dates": (
        pd.DataFrame(make_data()[0], columns=NAMES).assign(
            b=pd.Timestamp("2025-01-01")
        ),
        "column 'b' contains dates or times (datetime64[",
    ),
    "spans": (
        np.full((N, FEATURES), np.timedelta64(1, "D")),
        "column 0 contains dates or times (timedelta",
    ),
    "dates among objects": (
        with_cell(0).astype(object),
        "column 1 contains dates or times (",
        "2025",
    ),
    "no rows": (np.empty((0, FEATURES)), "0 sample(s)", "minimum of"),
    "no columns": (np.empty((N, 0)), "0 feature(s)", "minimum of 1"),
}
BAD_TABLES["None"][0][3][1] = None
BAD_TABLES["digits among objects"][0][3, 1] = "00700"
BAD_TABLES["digits in a list"][0][3][1] = "00700"
BAD_TABLES["dates among objects"][0][3, 1] = np.datetime64("2025-01-01")
BAD_TABLES["huge"] = with_cell(0).astype(object), "too large to convert", "column 1"
BAD_TABLES["huge"][0][3, 1] = HUGE


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize("name", BAD_TABLES)
def test_tables_that_training_refuses(name):
    X, *words = BAD_TABLES[name]
    y = make_data()[1][: len(X) if name != "3-D" else None]
    refused(lambda model: model.fit(X, y), *words)
    refused(lambda model: model.partial_fit(X, y), *words)


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize("name", BAD_TABLES)
def test_tables_that_prediction_refuses(name):
    X, *words = BAD_TABLES[name]
    words = [word for word in words if word != "minimum of"]
    for method in ("predict", "predict_proba", "predict_log_proba"):
        model = make().fit(*make_data())
        with pytest.raises(ValueError) as raised:
            getattr(model, method)(X)
        for word in words:
            assert word in str(raised.value)


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize("name", BAD_TABLES)
def test_tables_that_validation_refuses(name):
    X, *words = BAD_TABLES[name]
    X_fit, y = make_data()
    y_val = y[: len(X) if name != "3-D" else None]
    words = [word for word in words if word != "minimum of"]
    refused(lambda model: model.fit(X_fit, y, X_val=X, y_val=y_val), "X_val", *words)


def test_several_bad_columns_are_named():
    X, y = make_data()
    X[2, 0] = X[4:, 3] = np.nan
    refused(
        lambda model: model.fit(X, y),
        "Check column 0 (non-finite values: 1, first in row 2), "
        f"3 (non-finite values: {N - 4}, first in row 4).",
    )


def test_of_many_bad_columns_five_are_named():
    X, y = np.full((N, 8), np.nan), make_data()[1]
    refused(lambda model: model.fit(X, y), "4 (non-finite", "and 3 more.")


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.coo_matrix])
def test_sparse_tables_are_refused(form):
    X, y = make_data()
    words = "Sparse data was passed for X, but dense data is required"
    refused(lambda model: model.fit(form(X), y), words, error=TypeError)
    refused(lambda model: model.partial_fit(form(X), y), words, error=TypeError)
    with pytest.raises(TypeError, match="Sparse data"):
        make().fit(X, y).predict(form(X))


def test_one_row_is_refused():
    X, y = make_data()
    words = ["1 sample(s)", "minimum of 2 is required"]
    refused(lambda model: model.fit(X[:1], y[:1]), *words)
    refused(lambda model: make().partial_fit(X[:1], y[:1]), *words)
    refused(lambda model: make("regression").partial_fit(X[:1], y[:1]), *words)
    assert make().fit(X, y).predict(X[:1]).shape == (1,)


def test_pandas_na_among_objects_is_refused_by_name():
    X, y = make_data()
    frame = pd.DataFrame(X, columns=NAMES, dtype=object)
    frame.loc[3, "b"] = pd.NA
    with pytest.raises(
        TypeError, match=r"NAType.*'b' \(non-finite values: 1, first in row 3"
    ):
        make().fit(frame, y)


def test_polars_nulls_are_refused_by_name():
    polars = pytest.importorskip("polars")
    X, y = make_data()
    columns = {name: X[:, i].tolist() for i, name in enumerate(NAMES)}
    columns["b"][3] = None
    with pytest.raises(ValueError, match=r"NaN[^$]*'b' \(non-finite values: 1"):
        make().fit(polars.DataFrame(columns), y)


# --- the names of parameters ---


@pytest.mark.parametrize(
    "params, words",
    [
        ({"ratoi": 0.1}, "'ratoi' (did you mean 'ratio'?) for estimator ReBatchCNN"),
        ({"lr": 1, "max_epoch": 3, "lr_shedule": "step"}, "'max_epoch' (did you mean "),
        ({"max_epoch": 3, "lr_shedule": "step"}, "'lr_shedule' (did you mean 'lr_sche"),
        ({"xyzzy": 1}, "Invalid parameter 'xyzzy' for estimator"),
        ({"stratgy__share": 0.1}, "'stratgy' (did you mean 'strategy'?)"),
        ({"strategy__shar": 0.1}, "'shar' (did you mean 'share'?) for estimator OHEM"),
    ],
    ids=str,
)
def test_set_params_names_the_nearest_parameter(params, words):
    model = make(strategy=OHEM())
    before = model.get_params()
    with pytest.raises(ValueError) as raised:
        model.set_params(**params)
    assert words in str(raised.value)
    assert model.get_params().keys() == before.keys()
    assert (
        model.lr == before["lr"] and model.strategy.share == before["strategy__share"]
    )
    pipeline = make_pipeline(StandardScaler(), model)
    with pytest.raises(ValueError) as raised:
        pipeline.set_params(
            **{f"{type(model).__name__.lower()}__{n}": v for n, v in params.items()}
        )
    assert words in str(raised.value)


@pytest.mark.parametrize("name", ["strategy__easy", "lr__step", "strategy__"])
def test_parameters_of_what_has_none_are_refused(name):
    model = make(strategy="hybrid")
    with pytest.raises(ValueError, match=f"'{name}' can't be set"):
        model.set_params(lr=0.5, **{name: 1})
    assert model.get_params() == make(strategy="hybrid").get_params()
    with pytest.raises(ValueError, match="easy=0.5 has no parameters"):
        Hybrid().set_params(easy__step=1)


def test_a_name_that_is_wrong_within_a_strategy_leaves_all_as_it_was():
    model = make(strategy=OHEM())
    with pytest.raises(ValueError, match="'shar'"):
        model.set_params(lr=0.5, strategy__share=0.1, strategy__shar=0.2)
    assert (model.lr, model.strategy.share) == (LR, 0.5)
    model.set_params(strategy=Hybrid(), strategy__easy=0.2)
    assert model.strategy.easy == 0.2


# --- the target ---


def test_mismatched_lengths_are_refused():
    X, y = make_data()
    words = ["inconsistent numbers of samples", "[41, 40]"]
    refused(lambda model: model.fit(X, y[1:]), *words)
    refused(lambda model: model.partial_fit(X, y[1:]), *words)
    refused(lambda model: model.fit(X, y, X_val=X, y_val=y[1:]), "X_val", *words)


@pytest.mark.parametrize("value", [0, "a", True, -1.0])
def test_one_class_is_refused(value):
    X = make_data()[0]
    words = ["at least two classes", f"one class: [{value!r}]"]
    refused(lambda model: model.fit(X, np.full(N, value)), *words)
    with pytest.raises(ValueError, match="at least two classes"):
        make().partial_fit(X, np.full(N, value))
    with pytest.raises(ValueError, match="at least two classes"):
        make().partial_fit(X, np.full(N, value), classes=[value])


@pytest.mark.parametrize("labels", [[0, 1, 7], [-1, 0], ["0", "1"]])
def test_unknown_classes_are_refused(labels):
    X = make_data()[0]
    y = np.resize(labels, N)
    unknown = [label for label in labels if label not in (0, 1)]
    words = ["not among the classes", str(unknown), "[0, 1]"]
    refused_once_fitted(lambda model: model.partial_fit(X, y), *words)
    with pytest.raises(ValueError, match="not among the classes"):
        make().partial_fit(X, y, classes=[0, 1])
    fit_X, fit_y = make_data()
    refused(lambda model: model.fit(fit_X, fit_y, X_val=X, y_val=y), "X_val", *words)


def test_changed_classes_are_refused():
    X, y = make_data()
    words = ["classes=[0, 1, 2] differ", "first call, [0, 1]"]
    model = make().fit(X, y)
    with no_trace(model, lambda: make().fit(X, y)):
        with pytest.raises(ValueError) as raised:
            model.partial_fit(X, y, classes=[0, 1, 2])
        assert all(word in str(raised.value) for word in words)


def test_a_warm_start_refuses_new_classes():
    X, y = make_data()
    model = make(warm_start=True).fit(X, y)
    expected = make(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"not among the classes: \[2\]"):
        model.fit(X, y + 1)
    assert_same_bits(model.fit(X, y), expected.fit(X, y))


@pytest.mark.parametrize(
    "value, words",
    [
        (np.nan, ["y contains NaN"]),
        (np.inf, ["y contains infinity"]),
        (None, ["y contains NaN"]),
    ],
)
def test_a_target_that_is_not_finite_is_refused(value, words):
    X, y = make_data("regression")
    y[5] = value
    refused(lambda model: model.fit(X, y), *words, task="regression")
    refused(lambda model: model.partial_fit(X, y), *words, task="regression")


@pytest.mark.parametrize(
    "missing, dtype",
    [
        (None, object),
        (np.nan, object),
        (pd.NA, "string"),
        (pd.NaT, "datetime64[ns]"),
    ],
)
def test_missing_labels_are_refused_by_row(missing, dtype):
    X, y = make_data()
    labels = pd.Series(y).astype(dtype)
    labels[5] = missing
    words = "y has missing values in 1 rows, first in row 5."
    refused(lambda model: model.fit(X, labels), words)
    refused(
        lambda model: model.fit(X, y, None, X, labels), f"In X_val and y_val: {words}"
    )


def test_a_target_of_dates_is_refused():
    X, y = make_data("regression")
    dates = pd.date_range("2025-01-01", periods=len(y))
    words = "y must contain numbers, but it contains dates or times (datetime64["
    refused(lambda model: model.fit(X, dates), words, task="regression")


def test_a_target_of_text_is_refused():
    X = make_data()[0]
    y = np.resize(["low", "high"], N)
    words = "y must contain numbers, but it contains text ('low' in row 0)"
    refused(lambda model: model.fit(X, y), words, task="regression")


DIGITS = [f"{i:05d}" for i in range(N)]
TEXTS = {
    "a list": DIGITS,
    "an array": np.array(DIGITS),
    "bytes": np.array(DIGITS, dtype="S"),
    "objects": np.array(DIGITS, dtype=object),
    "a series": pd.Series(DIGITS),
    "a series of objects": pd.Series(DIGITS, dtype=object),
    "a series of strings": pd.Series(DIGITS, dtype="string"),
    "categories": pd.Series(DIGITS, dtype="category"),
    "text below numbers": pd.Series([*range(N - 1), "00700"], dtype=object),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_that_looks_like_numbers_is_refused(name):
    X, y = make_data("regression")
    digits = TEXTS[name]
    frame = pd.DataFrame(X, columns=NAMES)
    words = "contains text ("
    with_digits = frame.assign(zip=np.asarray(digits) if name == "bytes" else digits)
    in_X = f"X must contain numbers, but column 'zip' {words}"
    in_y = f"y must contain numbers, but it {words}"
    task = "regression"
    refused(lambda model: model.fit(with_digits, y), in_X, task=task)
    refused(lambda model: model.partial_fit(with_digits, y), in_X, task=task)
    refused(lambda model: model.fit(X, digits), in_y, task=task)
    refused(lambda model: model.partial_fit(X, digits), in_y, task=task)
    refused(
        lambda model: model.fit(X, y, None, X, digits),
        "In X_val and y_val: y must",
        task=task,
    )
    both = pd.DataFrame({"price": y, "zip": with_digits["zip"]})
    with pytest.raises(ValueError, match="y must contain numbers, but column 'zip'"):
        make("regression").fit(X, both)
    model = make("regression").fit(frame.assign(zip=np.arange(N)), y)
    with pytest.raises(ValueError, match="but column 'zip' contains text"):
        model.predict(with_digits)
    with pytest.raises(ValueError, match="y must contain numbers"):
        model.score(frame.assign(zip=np.arange(N)), digits)
    with pytest.raises(ValueError, match="sample_weight must contain numbers"):
        model.fit(X, y, sample_weight=digits)


def test_text_in_polars_is_refused_by_name():
    polars = pytest.importorskip("polars")
    X, y = make_data("regression")
    frame = polars.DataFrame({name: X[:, i] for i, name in enumerate(NAMES)})
    for kind in (polars.String, polars.Categorical):
        column = polars.Series("zip", DIGITS).cast(kind)
        with pytest.raises(
            ValueError, match=r"X must .* column 'zip' contains text \("
        ):
            make("regression").fit(frame.with_columns(column), y)
        with pytest.raises(ValueError, match=r"y must .* it contains text \("):
            make("regression").fit(frame, column)


def test_numbers_among_objects_are_used():
    X, y = make_data("regression")
    expected = make("regression", dtype="float64").fit(X, y)
    objects = pd.DataFrame(X, columns=NAMES).astype(object)
    objects["a"] = [Fraction(value) for value in X[:, 0]]
    objects["b"] = [Decimal(value) for value in X[:, 1]]
    for form in (objects.to_numpy(), objects.to_numpy().tolist()):
        model = make("regression", dtype="float64").fit(form, y.astype(object))
        assert_same_bits(model, expected)
    assert_same_bits(make("regression", dtype="float64").fit(objects, y), expected)


def test_labels_of_a_classifier_may_be_text_that_looks_like_numbers():
    X, y = make_data()
    labels = np.where(y == 1, "00700", "00800")
    model = make().fit(X, labels)
    assert model.classes_.tolist() == ["00700", "00800"]
    assert set(model.predict(X)) <= {"00700", "00800"}


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda text: loss_area(text, [1, 2]), "baseline"),
        (lambda text: loss_area([1, 2], text), "losses"),
        (loss_trend, "losses"),
        (lambda text: nrmse(text, [1, 2]), "y_true"),
        (lambda text: nrmse([1, 2], text), "y_pred"),
        (lambda text: row_lengths([text, text]), "X"),
    ],
)
def test_text_is_refused_in_losses_and_measures(call, name):
    with pytest.raises(ValueError, match=f"^{name} must contain numbers"):
        call(["1", "2"])


def test_a_classifier_refuses_continuous_labels():
    X, y = make_data("regression")
    refused(lambda model: model.fit(X, y), "continuous", "classifier")


def test_a_classifier_refuses_several_targets():
    X, y = make_data("multiclass")
    words = "(multi-label), it must contain only 0 and 1, got [2]"
    refused(lambda model: model.fit(X, np.column_stack([y, y])), words)


@pytest.mark.parametrize("n_networks", [1, 2])
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_too_few_rows_to_set_some_aside(task, n_networks):
    X, y = make_data(task)
    y = np.array([0, 1]) if task == "binary" else y[:2]
    is_empty = task == "binary" and n_networks == 1  # each class has one row
    sizes = (2, 0) if is_empty else (1, 1)
    words = "a training split of {} and a validation split of {} rows".format(*sizes)
    refused(
        lambda model: model.fit(X[:2], y),
        words,
        task=task,
        early_stopping=True,
        n_networks=n_networks,
    )


@pytest.mark.parametrize("factor", [1e200, 1e-200])
def test_a_target_that_can_t_be_standardised_is_refused(factor):
    X, y = make_data("regression")
    words = "y can't be standardised", "range of float64"
    refused(lambda model: model.fit(X, y * factor), *words, task="regression")


def test_another_number_of_targets_is_refused():
    X, y = make_data("regression")
    both = np.column_stack([y, y])
    words = ["y has 2 targets", "regressor has 1"]
    call = lambda model: model.partial_fit(X, both)  # noqa: E731
    refused_once_fitted(call, *words, task="regression")
    refused(
        lambda model: model.fit(X, y, X_val=X, y_val=both),
        "X_val",
        "2 targets",
        task="regression",
    )


# --- features at predict ---


@pytest.mark.parametrize("n_features", [1, FEATURES - 1, FEATURES + 1])
def test_another_number_of_features_is_refused(n_features):
    X, y = make_data(n_features=n_features)
    words = f"X has {n_features} features, but ReBatchCNNClassifier is expecting 5"
    refused_once_fitted(lambda model: model.predict(X), words)
    refused_once_fitted(lambda model: model.partial_fit(X, y), words)
    good_X, good_y = make_data()
    refused(lambda model: model.fit(good_X, good_y, X_val=X, y_val=y), "X_val", words)


def refused_once_fitted(call, *words, task="binary"):
    """Expect that a fitted estimator refuses what another would take."""

    def refit():
        return make(task).fit(*make_data(task))

    model = refit()
    with no_trace(model, refit):
        with pytest.raises(ValueError) as raised:
            call(model)
        for word in words:
            assert word in str(raised.value)


@pytest.mark.parametrize(
    "names, words",
    [
        (list("abcdX"), ["unseen at fit time", "- X", "now missing", "- e"]),
        (list("edcba"), ["same order"]),
    ],
)
def test_other_names_of_features_are_refused(names, words):
    X, y = make_data()
    model = make().fit(pd.DataFrame(X, columns=NAMES), y)
    other = pd.DataFrame(X, columns=names)
    for call in (
        lambda: model.predict(other),
        lambda: model.partial_fit(other, y),
        lambda: model.fit(pd.DataFrame(X, columns=NAMES), y, X_val=other, y_val=y),
    ):
        with pytest.raises(ValueError) as raised:
            call()
        for word in ["feature names should match", *words]:
            assert word in str(raised.value)
    assert model.feature_names_in_.tolist() == NAMES
    assert model.n_iter_ == 4


def test_a_validation_set_comes_whole():
    X, y = make_data()
    words = "X_val and y_val must be passed together"
    refused(lambda model: model.fit(X, y, X_val=X), words)
    refused(lambda model: model.fit(X, y, y_val=y), words)


# --- parameters ---

BAD_PARAMETERS = [
    ("ratio", -0.1, "at least 0"),
    ("ratio", np.nan, "finite number"),
    ("ratio", np.inf, "finite number"),
    ("ratio", "0.3", "finite number of at least 0, got '0.3'"),
    ("ratio", None, "finite number"),
    ("ratio", True, "finite number"),
    ("repeats", -1, "integer of at least 0"),
    ("repeats", 1.5, "integer of at least 0"),
    ("repeats", 2.0, "integer of at least 0"),
    ("repeats", "1", "integer of at least 0"),
    ("repeats", np.nan, "integer of at least 0"),
    ("strategy", "min", '"min-loss", "max-loss", "random"'),
    ("strategy", None, "subclass of skrebatch.Strategy"),
    ("strategy", MinLoss, "an instance of a subclass"),
    ("strategy", len, "an instance of a subclass"),
    ("shuffle", "yes", "True or False"),
    ("shuffle", None, "True or False"),
    ("conv_channels", (), "channels of each block"),
    ("conv_channels", 8, "channels of each block"),
    ("conv_channels", (8, 0), "conv_channels[1] must be an integer of at least 1"),
    ("kernel_size", 0, "at least 1"),
    ("kernel_size", (3, 0), "kernel_size[1] must be an integer of at least 1"),
    ("kernel_size", (3, 3, 3), "3 entries, but conv_channels makes 2 blocks"),
    ("kernel_size", 2.5, "integer"),
    ("pool_size", (0, 2), "pool_size[0] must be an integer of at least 1"),
    ("pool_stride", (1, 0), "pool_stride[1] must be an integer of at least 1"),
    ("pool_stride", [2], "1 entries, but conv_channels makes 2 blocks"),
    ("padding", -1, "at least 0"),
    ("padding", "valid", 'must be "same" or an int'),
    ("hidden_size", 0, "at least 1"),
    ("hidden_size", "big", 'must be "auto" or an int'),
    ("max_epochs", 0, "at least 1"),
    ("max_epochs", 1.5, "integer"),
    ("batch_size", 0, 'or "auto" or "ratio", got 0'),
    ("batch_size", -5, "at least 1"),
    ("batch_size", 2.5, "integer"),
    ("batch_size", "big", "\"ratio\", got 'big'"),
    ("batch_size", None, "integer"),
    ("optimizer", "lion", '"adam", "adamw", "sgd", "rmsprop"'),
    ("optimizer", ["adam"], "a subclass of torch.optim.Optimizer"),
    ("optimizer", torch.nn.Linear, "a subclass of torch.optim.Optimizer"),
    ("optimizer", torch.optim.Optimizer, "unexpected keyword argument 'lr'"),
    ("optimizer", torch.optim.LBFGS, "LBFGS can't be used: it needs a closure"),
    ("optimizer", torch.optim.Adafactor, "each weight independently"),
    ("optimizer", torch.optim.SparseAdam, "does not support dense gradients"),
    ("optimizer_params", "momentum", "a dict of Adam's arguments"),
    ("optimizer_params", {"momentum": 0.9}, "unexpected keyword argument 'momentum'"),
    ("optimizer_params", {"betas": (0.9, 1)}, "Invalid beta parameter"),
    ("optimizer_params", {"betas": (0.9,)}, "can't be used"),
    ("optimizer_params", {"lr": 0.1}, "set lr instead"),
    ("optimizer_params", {"weight_decay": 0.1}, "set weight_decay instead"),
    ("optimizer_params", {1: 2}, "keywords must be strings"),
    ("optimizer_params", {"eps": 0.0}, "a weight of 0 that has a gradient of 0"),
    ("lr_schedule", "linear", '"step", "plateau", "cosine"'),
    ("lr_schedule", ["step"], "a class of torch.optim.lr_scheduler"),
    ("lr_schedule", torch.optim.Adam, "a class of torch.optim.lr_scheduler"),
    ("lr_schedule", torch.optim.lr_scheduler.MultiStepLR, "'milestones'"),
    ("lr_schedule_params", {"gamma": 0.1}, "can be set only with lr_schedule"),
    ("lr_schedule_params", 0.1, "a dict of the schedule's arguments"),
    ("n_augments", -1, "at least 0"),
    ("n_augments", 1.5, "integer"),
    ("noise_std", -0.1, "at least 0"),
    ("noise_std", np.inf, "finite number"),
    ("lr", 0, "above 0"),
    ("lr", -0.1, "above 0"),
    ("lr", np.nan, "finite number"),
    ("lr", np.inf, "finite number"),
    ("lr", "fast", "finite number"),
    ("lr", 1e39, "at most 3.40282e+38"),
    ("weight_decay", 1e39, "at most 3.40282e+38"),
    ("weight_decay", -1, "at least 0"),
    ("weight_decay", np.nan, "finite number"),
    ("early_stopping", "yes", "True or False"),
    ("validation_fraction", 0.0, "above 0 and below 1"),
    ("validation_fraction", 1.0, "above 0 and below 1"),
    ("validation_fraction", np.nan, "above 0 and below 1"),
    ("cv", 1, "integer of at least 2"),
    ("cv", "5", "a splitter of scikit-learn or an iterable of splits"),
    ("n_iter_no_change", 0, "at least 1"),
    ("ratio_schedule", "fast", '"constant", "linear", "cosine", "step"'),
    ("ratio_schedule", ["linear"], "or a callable"),
    ("ratio_schedule", None, "or a callable"),
    ("warmup_epochs", -1, "integer of at least 0"),
    ("warmup_epochs", 1.5, "integer of at least 0"),
    ("loss_smoothing", 1, "of at least 0 and below 1"),
    ("loss_smoothing", -0.1, "of at least 0 and below 1"),
    ("loss_smoothing", np.nan, "finite number"),
    ("refresh_every", 0, "integer of at least 1"),
    ("refresh_every", 2.0, "integer of at least 1"),
    ("class_balanced", "yes", "True or False"),
    ("class_balanced", None, "True or False"),
    ("record_losses", 1, "True or False"),
    ("record_losses", None, "True or False"),
    ("warm_start", None, "True or False"),
    ("verbose", -1, "integer of at least 0"),
    ("verbose", "yes", "integer of at least 0"),
    ("device", "nonsense", "can't be used"),
    ("device", None, "can't be used"),
    ("dtype", "float16", '"float32" or "float64"'),
    ("callbacks", "EarlyStopping", "list of skorch.callbacks.Callback"),
    ("callbacks", [len], "must be skorch callbacks, got <built-in function len>"),
    ("callbacks", [("name", MinLoss)], "must be skorch callbacks, got <class"),
    ("callbacks", [EpochScoring("accuracy")], "include EpochScoring"),
    ("callbacks", [("frozen", Freezer("*"))], "include Freezer"),
    ("callbacks", [ReBatch()], "include ReBatch"),
    ("hidden_size", 2**50, "does not fit into memory"),
    ("max_epochs", 2**63, "max_epochs is too large"),
    ("repeats", 2**63, "repeats is too large"),
    ("dtype", None, '"float32" or "float64"'),
]


@pytest.mark.parametrize("name, value, words", BAD_PARAMETERS)
def test_parameters_that_are_refused(name, value, words):
    X, y = make_data()
    refused(lambda model: model.fit(X, y), name, words, **{name: value})
    model = fitted()
    with no_trace(model, fitted):
        with pytest.raises(ValueError, match=name):
            model.set_params(**{name: value}).partial_fit(X, y)
        model.set_params(**make().get_params())


def test_numbers_that_no_float_holds_are_refused():
    X, y = make_data()
    for name in ("lr", "ratio", "weight_decay", "noise_std", "loss_smoothing"):
        words = name, "must be a finite number"
        refused(lambda model: model.fit(X, y), *words, **{name: HUGE})


@pytest.mark.parametrize("strategy", WEIGHING)
def test_strategies_that_choose_nobody_can_t_balance_classes(strategy):
    X, y = make_data()
    words = ["class_balanced=True can't be used", "weights the samples of mini-batches"]
    params = {"strategy": strategy, "class_balanced": True}
    refused(lambda model: model.fit(X, y), *words, **params)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_loss_that_diverges_is_named_whatever_the_method(name):
    # A network that is far off before its second epoch: there is nothing to plan by.
    X, y = make_data("regression")
    params = {"lr": 1e30, "batch_size": N, "max_epochs": 3, "strategy": name}
    for own in ({}, {"n_networks": 2, "choose": "together"}):
        with pytest.raises(DivergedError, match="epoch 2, b"):
            make("regression", **params, **own).fit(X, y)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", torch.optim.NAdam])
def test_a_rate_that_outgrows_the_dtype_diverges(optimizer):
    X, y = make_data()
    params = {"lr_schedule": "step", "lr_schedule_params": {"gamma": 1e300}}
    with pytest.raises(DivergedError):
        make(optimizer=optimizer, max_epochs=9, **params).fit(X, y)


def test_fractions_are_numbers():
    X, y = make_data()
    for optimizer in ("adam", "rmsprop"):
        params = {"lr": Fraction(1, 64), "weight_decay": Fraction(1, 8)}
        floats = {name: float(value) for name, value in params.items()}
        models = [make(optimizer=optimizer, **own) for own in (params, floats)]
        assert_same_bits(*[model.fit(X, y) for model in models])


@pytest.mark.parametrize(
    "value",
    [
        "even",
        3.0,
        {0: -1, 1: 1},
        {0: np.nan},
        {0: "1", 1: "2"},
        {0: HUGE, 1: 1},
        {0: np.ma.masked, 1: 1},
    ],
)
def test_class_weights_that_are_refused(value):
    X, y = make_data()
    refused(lambda model: model.fit(X, y), "weight", class_weight=value)


@pytest.mark.parametrize("value", ["yes", None, 1])
def test_standardize_target_is_true_or_false(value):
    X, y = make_data("regression")
    words = ['standardize_target must be True or False or "robust"', repr(value)]
    params = {"task": "regression", "standardize_target": value}
    refused(lambda model: model.fit(X, y), *words, **params)


def test_a_device_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    X, y = make_data()
    words = ["device='cuda' can't be used", 'device="auto"']
    refused(lambda model: model.fit(X, y), *words, device="cuda")


@pytest.mark.parametrize(
    "params, reason",
    [
        ({"early_stopping": True}, "early_stopping=False"),
        ({"early_stopping": np.True_}, "early_stopping=False"),
        (
            {"lr_schedule": "plateau", "lr_schedule_params": {"monitor": "valid_loss"}},
            "needs a validation set",
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_there_is_no_partial_fit_where_it_can_t_be_used(task, params, reason):
    X, y = make_data(task)
    words = ["has no attribute 'partial_fit'"]
    refused(
        lambda model: model.partial_fit(X, y),
        *words,
        task=task,
        error=AttributeError,
        **params,
    )
    model = make(task, **params)
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError) as raised:
        type(model).partial_fit(model, X, y)
    assert reason in str(raised.value.__cause__)
    assert hasattr(make(task), "partial_fit")


def test_a_warm_start_refuses_another_network():
    X, y = make_data()
    model = make(warm_start=True).fit(X, y)
    model.set_params(hidden_size=7)
    with pytest.raises(ValueError, match=r"hidden_size.*changed.*warm_start=False"):
        model.fit(X, y)
    with pytest.raises(ValueError, match=r"hidden_size.*changed"):
        model.partial_fit(X, y)
    model.set_params(hidden_size="auto")
    twin = make(warm_start=True).fit(X, y).fit(X, y)
    assert_same_bits(model.fit(X, y), twin)


def test_a_split_that_leaves_no_row_is_refused():
    X = make_data()[0][:2]
    params = {"early_stopping": True, "validation_fraction": 0.99, "ratio": 0}
    refused(lambda model: model.fit(X, [0, 1]), "validation_fraction=0.99", **params)


# --- weights ---

BAD_WEIGHTS = {
    "negative": (np.r_[1, -2, np.ones(N - 2)], "negative", "row 1", "-2.0"),
    "NaN": (np.r_[np.nan, np.ones(N - 1)], "sample_weight", "NaN or infinity"),
    "infinity": (np.r_[np.inf, np.ones(N - 1)], "sample_weight", "NaN or infinity"),
    "all zero": (np.zeros(N), "sample_weight is zero for every row"),
    "a zero": (0.0, "sample_weight is zero for every row"),
    "too few": (np.ones(N - 1), "(40,)", "(41,)", "one weight for each row"),
    "too many": (np.ones(N + 1), "(42,)", "(41,)", "one weight for each row"),
    "a column": (np.ones((N, 1)), "(41, 1)", "(41,)", "one weight for each row"),
    "text": (["heavy"] * N, "sample_weight must contain numbers", "heavy"),
    "huge": ([HUGE] * N, "sample_weight must contain numbers", "too large"),
    "complex": (np.full(N, 1j), "must contain real numbers", "complex128"),
    "infinite in sum": (np.full(N, 1e308), "sample_weight is too large", "infinite"),
}


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_weights_that_are_refused(name, task):
    weights, *words = BAD_WEIGHTS[name]
    X, y = make_data(task)
    words = ["sample_weight", *words]
    refused(lambda model: model.fit(X, y, sample_weight=weights), *words, task=task)
    refused(
        lambda model: model.partial_fit(X, y, sample_weight=weights), *words, task=task
    )


# --- nothing to redistribute ---


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_ratio_that_redistributes_nothing_warns_where_it_is_called(method):
    X, y = make_data()
    with pytest.warns(UserWarning, match=r"41 training samples, ratio=0\.02") as record:
        model = getattr(make(ratio=0.02), method)(X, y)
    assert [warning.filename for warning in record] == [__file__]
    assert "B = 0" in str(record[0].message)
    assert model.n_redistributed_ == 0
    assert model.batch_size_ == 32
    expected = getattr(make(ratio=0), method)(X, y)
    assert_same_bits(model, expected)


def test_no_ratio_is_no_reason_to_warn():
    X, y = make_data()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(ratio=0).fit(X, y)


# --- losses that are no longer finite ---


@pytest.mark.parametrize(
    "params, place",
    [
        # The first loss is that of the initial network; the step after it is too far.
        ({"batch_size": 8, "max_epochs": 3}, "epoch 1, batch 2"),
        ({"batch_size": N, "max_epochs": 3}, "epoch 2, before its first batch"),
        ({"batch_size": N, "max_epochs": 3, "ratio": 0}, "epoch 2, batch 1"),
        ({"batch_size": N, "max_epochs": 1}, "epoch 1, after its last batch"),
    ],
)
@pytest.mark.parametrize("task", TASKS)
def test_a_loss_that_diverges_is_named_by_epoch_and_batch(task, params, place):
    X, y = make_data(task)
    with pytest.raises(DivergedError) as raised:
        make(task, lr=1e30, **params).fit(X, y)
    for word in ["NaN or infinite", place, "StandardScaler", "lower lr"]:
        assert word in str(raised.value)


def huge_table():
    """Rows that float32 just holds."""
    X = make_data()[0]
    return X / np.abs(X).max() * 3e38


@pytest.mark.filterwarnings("ignore:The scale of these columns of X")
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_fit_that_diverges_leaves_no_trace(task):
    X, y = make_data(task)
    kwargs = {"task": task, "error": DivergedError, "optimizer": "sgd"}
    refused(lambda model: model.fit(X, y), "epoch 1, batch 2", **kwargs, lr=1e30)
    refused(lambda model: model.fit(huge_table(), y), "epoch 1, batch", **kwargs)


def test_a_raw_target_that_is_too_large_has_its_own_remedy():
    X, y = make_data("regression")
    with pytest.raises(DivergedError, match="standardize_target=True"):
        make("regression", standardize_target=False).fit(X, y * 1e30)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_partial_fit_that_diverges_leaves_no_trace(optimizer):
    X, y = make_data("regression")
    params = {"task": "regression", "optimizer": optimizer, "lr": 1e-3}

    def refit():
        return make(**params).fit(X, y)

    model = refit()
    with (
        no_trace(model, refit),
        pytest.raises(DivergedError, match="epoch 1, before its"),
    ):
        model.partial_fit(huge_table(), y)
    with pytest.raises(DivergedError, match="epoch 1, batch 2"):
        make("regression", lr=1e30).partial_fit(X, y)


def test_a_validation_loss_that_diverges_is_named():
    X, y = make_data("regression")
    refused(
        lambda model: model.fit(X, y, X_val=X * 1e30, y_val=y),
        "epoch 1, on the validation set",
        task="regression",
        error=DivergedError,
    )


# --- errors and Ctrl-C in the midst of training ---


class Fragile(Strategy):
    """Fail in a given epoch."""

    def __init__(self, epoch=2):
        self.epoch = epoch

    def plan(self, losses, epoch):
        if self.epoch == 2:
            raise RuntimeError("the strategy is broken")
        self.epoch -= 1
        return np.arange(epoch.n_chosen)


class Twice(Strategy):
    """Choose a sample twice."""

    def plan(self, losses, epoch):
        return np.zeros(epoch.n_chosen, dtype=int)


class Planned(Strategy):
    """Plan what the test says."""

    def __init__(self, **plan):
        self.planned = plan

    def get_params(self, deep=True):
        return self.planned

    def plan(self, losses, epoch):
        return Plan(**self.planned)


class Weighed(Strategy):
    """Give a batch a weight too many."""

    uses_ratio = False

    def batch_weights(self, losses):
        return torch.ones(1, losses.shape[1] + 1)


@pytest.mark.parametrize(
    "strategy, words",
    [
        (Fragile(), "the strategy is broken"),
        (Fragile(epoch=4), "the strategy is broken"),
        (Twice(), "chosen must not contain duplicate indices"),
        (Planned(chosen=[41]), "chosen must contain indices in [0, 41)"),
        (Planned(remaining=[-1]), "remaining must contain indices in [0, 41)"),
        (Planned(remaining=[]), "The next epoch would contain no samples"),
        (Planned(chosen=[1], repeats=-1), "repeats must be an integer"),
        (Planned(weights=[1.0]), "planned weights of shape (1,)"),
        (Planned(weights=np.full(41, np.nan)), "must be finite"),
        (Weighed(), "returned weights of shape (1, 9) for losses of shape (1, 8)"),
        (Strategy(), "Strategy defines neither plan() nor batch_weights()"),
        (SmallLoss(ramp_epochs=0), "ramp_epochs must be an integer"),
    ],
    ids=str,
)
def test_a_strategy_that_fails_leaves_no_trace(strategy, words):
    X, y = make_data()
    refused(lambda model: model.fit(X, y), words, error=Exception, strategy=strategy)


@pytest.mark.parametrize("batch", [1, 2, 6])
def test_ctrl_c_in_the_first_epoch_leaves_no_trace(batch):
    X, y = make_data()
    refused(
        lambda model: model.fit(X, y),
        error=KeyboardInterrupt,
        callbacks=[Interrupt(1, batch)],
    )


@pytest.mark.parametrize("batch", [1, 2, 6])
def test_ctrl_c_in_the_first_partial_fit_leaves_no_trace(batch):
    X, y = make_data()
    model = make(callbacks=[Interrupt(1, batch)])
    before = set(vars(model))
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, y)
    assert set(vars(model)) == before


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("batch", [1, 2, 6])
def test_ctrl_c_in_a_later_partial_fit_leaves_no_trace(batch, optimizer):
    X, y = make_data()
    interrupt = Interrupt(3, batch)
    params = {"optimizer": optimizer, "weight_decay": 0.1}
    model = make(callbacks=[interrupt], **params)
    twin = make(**params)
    for _ in range(2):
        model.partial_fit(X, y)
        twin.partial_fit(X, y)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, y)
    assert_same_bits(model, twin)
    assert len(model.history_) == 2
    interrupt.epoch = None
    assert_same_bits(model.partial_fit(X, y), twin.partial_fit(X, y))


def test_ctrl_c_in_the_first_epoch_of_a_warm_start_leaves_no_trace():
    X, y = make_data()
    interrupt = Interrupt(None, 2)
    model = make(warm_start=True, callbacks=[interrupt]).fit(X, y)
    twin = make(warm_start=True).fit(X, y)
    interrupt.epoch = 1
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert_same_bits(model, twin)
    interrupt.epoch = None
    assert_same_bits(model.fit(X, y), twin.fit(X, y))


def test_a_callback_that_fails_leaves_no_trace():
    X, y = make_data()
    fail = Fail()
    model, twin = make(callbacks=[fail]), make()
    for estimator in (model, twin):
        estimator.partial_fit(X, y)
    fail.on = True
    for method in (model.partial_fit, model.fit):
        with pytest.raises(OSError, match="disk full"):
            method(X, y)
        assert_same_bits(model, twin)
    fail.on = False
    assert_same_bits(model.partial_fit(X, y), twin.partial_fit(X, y))


@pytest.mark.parametrize("task", TASKS)
def test_what_is_not_fitted_says_so(task):
    X, y = make_data(task)
    model = make(task, **FULL_BATCH)
    methods = ["predict", "predict_proba", "predict_log_proba", "decision_function"]
    for method in methods if task in CLASSIFICATION else methods[:1]:
        with pytest.raises(Exception, match="is not fitted yet"):
            getattr(model, method)(X)
    with pytest.raises(Exception, match="is not fitted yet"):
        model.score(X, y)


@pytest.mark.parametrize("dtype", ["float64", "nonsense"])
def test_predictions_don_t_depend_on_what_dtype_is_set_to_afterwards(dtype):
    X, y = make_data()
    model = make().fit(X, y)
    expected = model.predict_proba(X)
    model.set_params(dtype=dtype)
    np.testing.assert_array_equal(model.predict_proba(X), expected)
