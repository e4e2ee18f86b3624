"""The estimators: the method by the book, and what scikit-learn users rely on."""

import copy
import pickle
from decimal import Decimal

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from helpers.estimators import (
    FEATURES,
    FULL_BATCH,
    LR,
    METHODS,
    TASKS,
    Book,
    First,
    Interrupt,
    N,
    Spy,
    all_once,
    assert_close,
    assert_same_bits,
    global_state_stays,
    infobatch,
    make,
    make_data,
    noisy_data,
    ohem,
    records_of,
    sample_losses,
    standardized,
    weights_of,
)
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    GradientNormClipping,
    LRScheduler,
)

from skrebatch import (
    OHEM,
    InfoBatch,
    MinLoss,
    Plan,
    ReBatchCNNClassifier,
    ReBatchCNNRegressor,
    Strategy,
    TabularCNN,
)


def outputs_of(model, X):
    """The float64 outputs of the fitted module on given rows, in their scale."""
    with torch.no_grad():
        rows = torch.tensor(np.asarray(X), dtype=torch.float64)
        return copy.deepcopy(model.module_).double()(rows).numpy()


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("repeats", [0, 1, 2])
@pytest.mark.parametrize("strategy", ["min-loss", "max-loss", "random"])
@pytest.mark.parametrize("task", TASKS)
def test_a_fit_follows_the_book(task, strategy, repeats, shuffle):
    X, y = make_data(task)
    method = {"strategy": strategy, "repeats": repeats, "shuffle": shuffle}
    model = make(task, dtype="float64", **method).fit(X, y)
    trained_on = y if task in ("binary", "multiclass") else standardized(y)
    book = Book(task, X, trained_on, **method)
    assert book.size == 8
    book.assert_equals(model)


@pytest.mark.parametrize("n_features", [1, 2, 3, 4])
def test_a_few_features_are_enough(n_features):
    X, y = make_data(n_features=n_features)
    model = make(dtype="float64").fit(X, y)
    Book("binary", X, y).assert_equals(model)
    assert model.n_features_in_ == n_features


@pytest.mark.parametrize("shuffle", [True, False])
def test_without_re_batch_every_epoch_is_a_plain_pass(shuffle):
    X, y = make_data()
    model = make(ratio=0, shuffle=shuffle, dtype="float64").fit(X, y)
    Book("binary", X, y, ratio=0, shuffle=shuffle).assert_equals(model)
    assert model.chosen_.size == 0
    assert model.n_redistributed_ == 0


def test_weights_enter_the_loss_and_not_the_choice():
    X, y = make_data()
    weights = np.random.default_rng(1).uniform(0.1, 5, size=N)
    model = make(dtype="float64").fit(X, y, sample_weight=weights)
    Book("binary", X, y, weights=weights / weights.mean()).assert_equals(model)


@pytest.mark.parametrize(
    "params",
    [
        {"n_augments": 1, "noise_std": 0.05},
        {"n_augments": 3, "noise_std": 0.5, "repeats": 2, "strategy": "max-loss"},
        {"n_augments": 2, "noise_std": 0.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("task", TASKS)
def test_noisy_copies_follow_the_book(task, params):
    X, y = make_data(task)
    model = make(task, dtype="float64", **params)
    if task in ("binary", "multiclass"):
        weights = np.random.default_rng(1).uniform(0.1, 5, size=N)
        book = Book(task, X, y, weights=weights / weights.mean(), **params)
        book.assert_equals(model.fit(X, y, sample_weight=weights))
    else:
        Book(task, X, standardized(y), **params).assert_equals(model.fit(X, y))


def test_strategies_see_the_copies_of_a_batch():
    seen = []

    class Looking(Strategy):
        plans, weighs = False, True

        def batch_weights(self, losses):
            seen.append(losses.shape[-1])
            return torch.ones_like(losses)

    X, y = make_data()
    params = {"batch_size": 10, "max_epochs": 1, "n_augments": 1, "noise_std": 0.1}
    make(strategy=Looking(), **params).fit(X, y)
    assert seen == [10] * 8 + [2]


def test_noise_without_copies_is_warned_of():
    X, y = make_data()
    with pytest.warns(UserWarning, match=r"noise_std=0\.1 has no effect"):
        model = make(noise_std=0.1).fit(X, y)
    assert_same_bits(model, make().fit(X, y))


def test_copies_go_on_epoch_by_epoch():
    X, y = make_data()
    params = {"n_augments": 2, "noise_std": 0.3, "lr_schedule": "one-cycle"}
    model, other = make(**params).fit(X, y), make(**params)
    for _ in range(4):
        other.partial_fit(X, y)
    assert_same_bits(model, other)
    noisier = make(**{**params, "noise_std": 0.31}).fit(X, y)
    assert np.abs(weights_of(noisier) - weights_of(model)).max() > 1e-5


def follows_the_book(task, params, book_params, max_epochs=6, weights=None):
    X, y = make_data(task)
    model = make(
        task, dtype="float64", max_epochs=max_epochs, record_losses=True, **params
    ).fit(X, y, sample_weight=weights)
    trained_on = y if task in ("binary", "multiclass") else standardized(y)
    if weights is not None:
        book_params = {**book_params, "weights": weights / weights.mean()}
    book = Book(task, X, trained_on, max_epochs=max_epochs, **book_params)
    book.assert_equals(model)
    assert_close(model.recorded_losses_, book.log, 1e-6)
    return model, book


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("task", ["binary", "multi-target"])
def test_every_method_follows_the_book(task, name, shuffle):
    strategy, params = METHODS[name]
    model, book = follows_the_book(
        task,
        {"strategy": strategy, "shuffle": shuffle},
        {**params, "shuffle": shuffle},
    )
    if name not in ("ohem", "tsw", "infobatch"):
        assert len(book.chosen) > 0 or name in ("curriculum", "self-paced")
    else:
        assert len(model.chosen_) == 0


def test_weights_of_a_plan_of_the_batch_and_of_the_rows_multiply():
    class Both(InfoBatch):
        def batch_weights(self, losses):
            return OHEM(0.4).batch_weights(losses)

    weights = np.random.default_rng(1).uniform(0.1, 5, size=N)
    follows_the_book(
        "binary",
        {"strategy": Both(0.4, 0.9)},
        {"plan": infobatch, "weigh": ohem},
        weights=weights,
    )


COURSES = [
    ({"warmup_epochs": 3}, {"warmup": 3}),
    ({"loss_smoothing": 0.7}, {"smoothing": 0.7}),
    ({"refresh_every": 2}, {"refresh_every": 2}),
    ({"ratio_schedule": "linear"}, {"schedule": lambda t: t}),
    ({"ratio_schedule": "step"}, {"schedule": lambda t: np.ceil(4 * t) / 4}),
    ({"ratio_schedule": lambda t: 2 - t}, {"schedule": lambda t: 2 - t}),
    (
        {
            "warmup_epochs": 2,
            "loss_smoothing": 0.9,
            "refresh_every": 3,
            "ratio_schedule": "cosine",
        },
        {
            "warmup": 2,
            "smoothing": 0.9,
            "refresh_every": 3,
            "schedule": lambda t: (1 - np.cos(np.pi * t)) / 2,
        },
    ),
]


@pytest.mark.parametrize("params, book_params", COURSES, ids=lambda p: str(list(p)))
@pytest.mark.parametrize("strategy", ["min-loss", "max-loss", "random"])
def test_the_course_of_the_training_follows_the_book(strategy, params, book_params):
    own = {"strategy": strategy, "repeats": 0}
    follows_the_book("binary", {**own, **params}, {**own, **book_params}, max_epochs=9)


@pytest.mark.parametrize("name", ["breed", "infobatch", "ohem"])
def test_methods_follow_the_book_through_warm_up_and_smoothing(name):
    strategy, book_params = METHODS[name]
    follows_the_book(
        "binary",
        {"strategy": strategy, "warmup_epochs": 2, "loss_smoothing": 0.6},
        {**book_params, "warmup": 2, "smoothing": 0.6},
    )


def test_another_seed_draws_from_it_in_the_same_way():
    X, y = make_data()
    model = make(random_state=7, dtype="float64").fit(X, y)
    Book("binary", X, y, random_state=7).assert_equals(model)


def test_float32_stays_near_the_book():
    X, y = make_data()
    X = X.astype(np.float32)
    model = make().fit(X, y)
    assert next(model.module_.parameters()).dtype == torch.float32
    book = Book("binary", X.astype(np.float64), y)
    assert_close(model.loss_curve_, book.curve, 1e-4)


# --- what must make no difference, or one that can be foreseen ---


@pytest.mark.parametrize("strategy", ["min-loss", "max-loss", "random"])
@pytest.mark.parametrize("task", TASKS)
def test_in_a_full_batch_moving_samples_changes_nothing(task, strategy):
    X, y = make_data(task)
    params = {**FULL_BATCH, "max_epochs": 10}
    moved = make(task, ratio=0.3, strategy=strategy, **params).fit(X, y)
    plain = make(task, ratio=0, **params).fit(X, y)
    assert moved.chosen_.size == 9
    assert_close(weights_of(moved), weights_of(plain))
    assert_close(moved.loss_curve_, plain.loss_curve_)


@pytest.mark.parametrize("task", TASKS)
def test_no_repeats_is_training_without_the_chosen(task):
    X, y = make_data(task)
    params = {**FULL_BATCH, "optimizer": "sgd", "lr": 0.1}
    left_out = make(
        task, ratio=0.25, strategy=First(), repeats=0, max_epochs=5, **params
    ).fit(X, y)
    # The first epoch holds every sample, the other four lack the first eight.
    dropped = make(task, ratio=0, max_epochs=1, **params).fit(X, y)
    for _ in range(4):
        dropped.partial_fit(X[8:], y[8:])
    assert_close(weights_of(left_out), weights_of(dropped))
    assert_close(left_out.loss_curve_, dropped.loss_curve_)


def test_an_own_strategy_may_have_parameters_to_search():
    class Skip(Strategy):
        def __init__(self, n_easiest=0):
            self.n_easiest = n_easiest

        def plan(self, losses, epoch):
            return np.argsort(losses)[self.n_easiest :][: epoch.n_chosen]

    X, y = make_data()
    model = make(strategy=Skip())
    assert_same_bits(clone(model).fit(X, y), make(strategy=MinLoss()).fit(X, y))
    model.set_params(strategy__n_easiest=N - 8).fit(X, y)
    hardest = make(strategy="max-loss", max_epochs=2).fit(X, y)
    model.set_params(max_epochs=2).fit(X, y)
    assert set(model.chosen_) == set(hardest.chosen_)


@pytest.mark.parametrize("weight", [2, np.full(N, 2.0), [0.25] * N])
@pytest.mark.parametrize("task", TASKS)
def test_equal_weights_are_no_weights(task, weight):
    X, y = make_data(task)
    weighted = make(task).fit(X, y, sample_weight=weight)
    assert_same_bits(weighted, make(task).fit(X, y))


@pytest.mark.parametrize("params", [{"ratio": 0, **FULL_BATCH}, {}], ids=str)
@pytest.mark.parametrize("task", TASKS)
def test_a_weight_of_zero_drops_the_row(task, params):
    X, y = make_data(task)
    weights = np.random.default_rng(1).integers(0, 3, size=N)
    kept = np.flatnonzero(weights)
    assert 10 < len(kept) < N - 10
    model = make(task, **params).fit(X, y, sample_weight=weights)
    dropped = make(task, **params).fit(X[kept], y[kept], sample_weight=weights[kept])
    assert_close(weights_of(model), weights_of(dropped), 1e-6)
    assert_close(model.loss_curve_, dropped.loss_curve_, 1e-6)
    np.testing.assert_array_equal(model.chosen_, kept[dropped.chosen_])
    assert model.n_redistributed_ == dropped.n_redistributed_
    assert len(model.sample_losses_) == N


def test_in_a_full_batch_a_whole_weight_is_that_many_copies():
    X, y = make_data()
    weights = np.random.default_rng(1).integers(1, 4, size=N)
    params = {"ratio": 0, **FULL_BATCH}
    weighted = make(**params).fit(X, y, sample_weight=weights)
    copied = make(**params).fit(X.repeat(weights, 0), y.repeat(weights))
    assert_close(weights_of(weighted), weights_of(copied))


def test_class_weight_is_a_sample_weight():
    X, y = make_data("multiclass")
    model = make("multiclass", class_weight={0: 1, 1: 3, 2: 0.5}).fit(X, y)
    by_hand = np.array([1, 3, 0.5])[y]
    assert_same_bits(model, make("multiclass").fit(X, y, sample_weight=by_hand))

    balanced = make("multiclass", class_weight="balanced", dtype="float64").fit(X, y)
    by_hand = N / (3 * np.bincount(y)[y])
    expected = make("multiclass", dtype="float64").fit(X, y, sample_weight=by_hand)
    assert_close(weights_of(balanced), weights_of(expected))
    assert not np.allclose(weights_of(balanced), weights_of(model))


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_balanced_classes_have_equal_sums_of_weights(task):
    X, y = make_data(task)
    weights = np.random.default_rng(1).integers(0, 4, size=N)
    weights[y == 0] *= 5
    params = {"class_weight": "balanced", "ratio": 0, **FULL_BATCH}
    model = make(task, **params).fit(X, y, sample_weight=weights)

    sums = np.bincount(y, weights)
    by_hand = {"class_weight": None, "ratio": 0, **FULL_BATCH}
    expected = make(task, **by_hand).fit(X, y, sample_weight=weights / sums[y])
    assert_close(weights_of(model), weights_of(expected))

    copied = make(task, **params).fit(X.repeat(weights, 0), y.repeat(weights))
    assert_close(weights_of(model), weights_of(copied))


def test_a_class_of_weight_zero_takes_no_share_of_balanced_weights():
    X, y = make_data("multiclass")
    without_last = np.where(y == 2, 0.0, 1.0)
    model = make("multiclass", class_weight="balanced")
    model.fit(X, y, sample_weight=without_last)
    shares = np.array([1, 1, 0]) / np.bincount(y)
    expected = make("multiclass").fit(X, y, sample_weight=shares[y])
    assert_close(weights_of(model), weights_of(expected), 1e-6)


@pytest.mark.parametrize("largest", [1e-300, 1e300])
def test_balanced_weights_do_not_depend_on_the_scale_of_the_weights(largest):
    X, y = make_data()
    weights = np.random.default_rng(1).integers(1, 5, size=N) / 4
    models = [
        make(class_weight="balanced").fit(X, y, sample_weight=own)
        for own in (weights, weights * largest)
    ]
    assert_close(*map(weights_of, models), 1e-5)


def test_class_weight_and_sample_weight_multiply():
    X, y = make_data()
    weights = np.random.default_rng(1).uniform(1, 5, size=N)
    both = make(class_weight={0: 1, 1: 3}).fit(X, y, sample_weight=weights)
    product = make().fit(X, y, sample_weight=weights * np.where(y == 1, 3, 1))
    assert_same_bits(both, product)


def test_class_weight_names_the_labels_as_they_are():
    X, y = make_data()
    names = np.array(["no", "yes"])[y]
    named = make(class_weight={"no": 1, "yes": 3}).fit(X, names)
    assert_same_bits(named, make(class_weight={0: 1, 1: 3}).fit(X, y))


# --- labels and targets ---

LABELS = {
    "strings": ["cat", "dog"],
    "objects": np.array(["cat", "dog"], dtype=object),
    "bools": [False, True],
    "negative integers": [-7, -2],
    "-1 and 1": [-1, 1],
    "floats": [1.0, 2.0],
    "unsigned": np.array([3, 200], dtype=np.uint8),
    "three strings": ["ant", "bee", "cat"],
    "three negative integers": [-3, -1, 2],
}


@pytest.mark.parametrize("as_series", [False, True], ids=["array", "series"])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_of_any_type(labels, as_series):
    task = "binary" if len(labels) == 2 else "multiclass"
    X, codes = make_data(task)
    labels = np.asarray(labels)
    y = pd.Series(labels[codes]) if as_series else labels[codes]
    model = make(task, max_epochs=20).fit(X, y)
    twin = make(task, max_epochs=20).fit(X, codes)
    assert_same_bits(model, twin)
    np.testing.assert_array_equal(model.classes_, labels)
    predicted = model.predict(X)
    np.testing.assert_array_equal(predicted, labels[twin.predict(X)])
    assert predicted.dtype.kind == np.asarray(y).dtype.kind
    assert model.score(X, y) == twin.score(X, codes) > 0.7


def test_classes_are_sorted_whatever_comes_first():
    X, y = make_data()
    names = np.array(["b", "a"])[y]
    model = make(max_epochs=30).fit(X, names)
    assert model.classes_.tolist() == ["a", "b"]
    probabilities = model.predict_proba(X)
    winner = model.classes_[probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(model.predict(X), winner)
    assert probabilities[names == "a", 0].mean() > 0.6 > 0.4
    assert probabilities[names == "b", 0].mean() < 0.4


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_probabilities_are_those_of_the_logits(task):
    X, y = make_data(task)
    model = make(task).fit(X, y)
    logits, n_classes = model.decision_function(X), len(np.unique(y))
    if task == "binary":
        assert logits.shape == (N,)
        logits = np.column_stack([np.zeros(N), logits])
    assert logits.shape == (N, n_classes)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert_close(model.predict_proba(X), expected, 1e-12)
    assert_close(model.predict_log_proba(X), np.log(expected), 1e-12)
    np.testing.assert_array_equal(model.predict(X), expected.argmax(axis=1))


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_far_from_the_data_probabilities_stay_finite(task):
    X, y = make_data(task)
    model = make(task, max_epochs=30).fit(X, y)
    far = np.vstack([X * 1e6, -X * 1e6])
    log_probabilities = model.predict_log_proba(far)
    assert np.isfinite(log_probabilities).all()
    assert log_probabilities.min() < -800  # exp of this is 0
    assert_close(model.predict_proba(far).sum(axis=1), 1, 1e-12)


def test_a_standardized_target_moves_with_the_target():
    X, y = make_data("regression")
    params = {"dtype": "float64", "max_epochs": 10}
    model = make("regression", **params).fit(X, y)
    moved = make("regression", **params).fit(X, -1e6 * y + 1e7)
    assert_close(model.target_mean_, [y.mean()], 1e-12)
    assert_close(model.target_scale_, [y.std()], 1e-12)
    assert_close(moved.target_scale_, [1e6 * y.std()], 1e-12)
    # The sign turns the target over, which a network does not do by itself.
    raised = make("regression", **params).fit(X, 1e6 * y + 1e7)
    assert_close(raised.predict(X), 1e6 * model.predict(X) + 1e7, 1e-7)
    assert_close(raised.loss_curve_, model.loss_curve_)
    assert not np.allclose(moved.loss_curve_, model.loss_curve_)


def test_the_scale_of_the_target_is_weighted():
    X, y = make_data("multi-target")
    weights = np.random.default_rng(1).integers(0, 4, size=N)
    model = make("multi-target").fit(X, y, sample_weight=weights)
    copies = y.repeat(weights, axis=0)
    assert_close(model.target_mean_, copies.mean(axis=0))
    assert_close(model.target_scale_, copies.std(axis=0))


def test_without_standardizing_the_target_stays_raw():
    X, y = make_data("regression")
    params = {"dtype": "float64", "max_epochs": 4}
    model = make("regression", standardize_target=False, **params).fit(X, y)
    Book("regression", X, y).assert_equals(model)
    assert_close(model.sample_losses_, (model.predict(X) - y) ** 2)
    assert (model.target_mean_, model.target_scale_) == ([0], [1])


def test_several_targets():
    X, y = make_data("multi-target")
    model = make("multi-target", max_epochs=60).fit(X, y)
    predicted = model.predict(X)
    assert predicted.shape == y.shape
    assert model.n_outputs_ == 2
    errors = (predicted - y) ** 2
    assert (errors.mean(axis=0) < 0.7 * y.var(axis=0)).all()
    assert_close(model.sample_losses_, (errors / y.var(axis=0)).mean(axis=1), 1e-4)


def test_predictions_have_the_shape_of_the_target():
    X, y = make_data("regression")
    flat, column = (make("regression").fit(X, target) for target in (y, y[:, None]))
    assert_same_bits(flat, column)
    assert flat.predict(X).shape == (N,)
    assert column.predict(X).shape == (N, 1)


# --- fitted attributes ---


@pytest.mark.parametrize("task", TASKS)
def test_the_module_is_a_plain_network_that_gives_the_outputs(task):
    X, y = make_data(task)
    model = make(task).fit(X, y)
    assert type(model.module_) is TabularCNN
    assert not model.module_.training
    with torch.no_grad():
        outputs = model.module_(torch.tensor(X, dtype=torch.float32)).numpy()
    if task in ("binary", "multiclass"):
        assert_close(model.decision_function(X), outputs.squeeze(), 1e-5)
        expected = outputs_of(model, X.astype(np.float32))
        assert_close(model.decision_function(X), expected.squeeze(), 1e-12)
    else:
        expected = outputs * y.std(axis=0) + y.mean(axis=0)
        assert_close(model.predict(X), expected.squeeze(), 1e-4)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_sample_losses_are_those_of_the_fitted_network(task, early_stopping):
    X, y = make_data(task)
    weights = np.random.default_rng(1).integers(0, 3, size=N)
    model = make(task, early_stopping=early_stopping).fit(X, y, sample_weight=weights)
    if task in ("binary", "multiclass"):
        expected = -np.log(model.predict_proba(X)[np.arange(N), y])
    else:
        residuals = (model.predict(X) - y).reshape(N, -1)
        expected = ((residuals / model.target_scale_) ** 2).mean(axis=1)
    assert_close(model.sample_losses_, expected, 1e-4)


def test_chosen_are_the_rows_that_the_last_epoch_redistributed():
    X, y = make_data()
    before = make(max_epochs=3).fit(X, y)
    model = make(max_epochs=4).fit(X, y)
    easiest = np.argsort(before.sample_losses_, kind="stable")[:8]
    np.testing.assert_array_equal(model.chosen_, easiest)
    assert make(max_epochs=1).fit(X, y).chosen_.size == 0


@pytest.mark.parametrize("strategy", ["min-loss", "max-loss"])
def test_chosen_are_rows_of_X_where_some_rows_are_left_out(strategy):
    X, y = make_data()
    weights = np.random.default_rng(1).integers(0, 3, size=N)
    params = {"early_stopping": True, "n_iter_no_change": 99, "strategy": strategy}
    model = make(max_epochs=4, **params).fit(X, y, sample_weight=weights)
    train, valid = validation_split(np.flatnonzero(weights), y)
    # To stop after three epochs keeps the best of them: go there without stopping.
    before = make(max_epochs=3, strategy=strategy).fit(
        X[train],
        y[train],
        sample_weight=weights[train],
        X_val=X[valid],
        y_val=y[valid],
    )
    assert model.n_redistributed_ == len(model.chosen_) == int(len(train) / 5)
    assert not set(model.chosen_) & set(valid)
    assert weights[model.chosen_].all()
    assert len(before.sample_losses_) == len(train)


def validation_split(rows, y, random_state=0, stratify=True):
    """The split that a fit with early stopping makes."""
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    split_seed = int(np.random.default_rng(seed).integers(2**31))
    return train_test_split(
        rows,
        test_size=0.2,
        random_state=split_seed,
        stratify=y[rows] if stratify else None,
    )


@pytest.mark.parametrize("task", TASKS)
def test_the_loss_curve_of_full_batches_is_the_loss_before_each_step(task):
    X, y = make_data(task)
    model = make(task, max_epochs=5, **FULL_BATCH).fit(X, y)
    for epochs in range(1, 5):
        shorter = make(task, max_epochs=epochs, **FULL_BATCH).fit(X, y)
        assert_close(model.loss_curve_[epochs], shorter.sample_losses_.mean())


@pytest.mark.parametrize(
    "n, ratio, batch_size, size, expected",
    [
        (41, 0.25, "auto", 8, 8),
        (8, 0.6, "auto", 3, 3),  # 2 in floating point
        (41, 0, "auto", 0, 32),
        (20, 0, "auto", 0, 20),  # more than N is N
        (41, 0.25, 5, 8, 5),
        (41, 0.25, 41, 8, 41),
        (41, 0.25, 10**6, 8, 41),
        (41, 3.0, "auto", 30, 30),
        (2050, 1.0, "auto", 1025, 1024),
    ],
)
def test_sizes_of_choice_and_batch(n, ratio, batch_size, size, expected):
    X, y = make_data(n=n)
    model = make(ratio=ratio, batch_size=batch_size, max_epochs=2).fit(X, y)
    assert (model.n_redistributed_, model.batch_size_) == (size, expected)
    assert model.chosen_.shape == (size,)


def test_sizes_count_the_rows_trained_on():
    X, y = make_data()
    weights = np.ones(N)
    weights[:21] = 0
    model = make(ratio=1.0).fit(X, y, sample_weight=weights)
    assert (model.n_redistributed_, model.batch_size_) == (10, 10)
    model = make(ratio=1.0, early_stopping=True).fit(X, y, sample_weight=weights)
    assert (model.n_redistributed_, model.batch_size_) == (8, 8)  # 16 of 20 rows


@pytest.mark.parametrize("task", TASKS)
def test_what_a_fit_leaves_behind(task):
    X, y = make_data(task)
    model = make(task).fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.history_) == 4
    assert model.history_[:, "train_loss"] == model.loss_curve_
    assert model.net_.history is model.history_
    assert all(type(loss) is float for loss in model.loss_curve_)
    assert model.n_features_in_ == FEATURES
    assert model.sample_losses_.shape == (N,)
    assert not hasattr(model, "feature_names_in_")
    assert not hasattr(model, "validation_loss_curve_")
    with_validation = make(task).fit(X, y, X_val=X, y_val=y)
    history = with_validation.history_
    assert history[:, "valid_loss"] == with_validation.validation_loss_curve_


def test_every_parameter_of_the_network_counts():
    X, y = make_data()
    params = {
        "conv_channels": (4, 6, 3),
        "kernel_size": (2, 3, 1),
        "pool_size": (1, 2, 1),
        "pool_stride": (1, 1, 1),
        "padding": 2,
        "hidden_size": 9,
    }
    model = make(**params, max_epochs=1).fit(X, y)
    expected = TabularCNN(FEATURES, 1, **params).architecture
    assert model.module_.architecture == expected
    shapes = [tuple(p.shape) for p in model.module_.parameters() if p.dim() > 1]
    # 5 + 4 - 2 + 1 = 8; 8 + 4 - 3 + 1 = 10, pooled 9; 9 + 4 = 13.
    assert shapes == [(4, 1, 2), (6, 4, 3), (3, 6, 1), (9, 39), (1, 9)]


@pytest.mark.parametrize(
    "name, optimizer",
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("sgd", torch.optim.SGD),
    ],
)
def test_the_optimizer_is_torch_s(name, optimizer):
    X, y = make_data()
    start = make(**FULL_BATCH, optimizer="sgd", lr=1e-300, max_epochs=1).fit(X, y)
    network = start.module_
    own = optimizer(network.parameters(), lr=0.05, weight_decay=0.3)
    for _ in range(6):
        own.zero_grad()
        outputs = network(torch.tensor(X))
        sample_losses("binary", outputs, torch.tensor(y)).mean().backward()
        own.step()
    params = {"lr": 0.05, "weight_decay": 0.3, "optimizer": name, "max_epochs": 6}
    model = make(**FULL_BATCH, **params).fit(X, y)
    assert_close(weights_of(model), weights_of(start))


STOPPING = {"early_stopping": True, "n_iter_no_change": 4, "max_epochs": 300}


@pytest.mark.parametrize("own_set", [False, True], ids=["split", "X_val"])
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_early_stopping_goes_back_to_the_best_epoch(task, own_set):
    X, y = noisy_data(task)
    train, valid = validation_split(np.arange(60), y, stratify=task == "binary")
    model = make(task, lr=0.05, dtype="float64", **STOPPING)
    if own_set:
        model.fit(X[train], y[train], X_val=X[valid], y_val=y[valid])
        assert len(model.sample_losses_) == 48
    else:
        model.fit(X, y)
        assert_close(
            model.sample_losses_[valid].mean(), min(model.validation_loss_curve_)
        )
    curve = model.validation_loss_curve_
    assert len(curve) == model.n_iter_ < 300
    assert np.argmin(curve) == model.n_iter_ - 1 - 4
    outputs = torch.tensor(outputs_of(model, X[valid]))
    target = y[valid]
    if task == "regression":
        assert_close(model.target_mean_, [y[train].mean()])
        target = (target - y[train].mean()) / y[train].std()
    losses = sample_losses(task, outputs, torch.tensor(target))
    assert_close(losses.mean().item(), min(curve))


def test_a_validation_set_alone_neither_stops_nor_steers():
    X, y = noisy_data("binary")
    watched = make(lr=0.05, max_epochs=30).fit(X, y, X_val=X[:9], y_val=y[:9])
    plain = make(lr=0.05, max_epochs=30).fit(X, y)
    np.testing.assert_array_equal(weights_of(watched), weights_of(plain))
    assert watched.loss_curve_ == plain.loss_curve_
    curve = watched.validation_loss_curve_
    assert len(curve) == 30
    assert_close(curve[-1], watched.sample_losses_[:9].mean(), 1e-6)
    watched.fit(X, y)
    assert not hasattr(watched, "validation_loss_curve_")


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("by_class", [False, True])
def test_the_validation_loss_is_weighted_as_the_training_loss(task, by_class):
    X, y = noisy_data(task)
    weights = np.random.default_rng(1).integers(0, 4, size=60)
    params = {"early_stopping": True, "n_iter_no_change": 99, "dtype": "float64"}
    own = weights
    if by_class and task == "binary":
        params["class_weight"] = {0: 1, 1: 9}
        own = weights * np.array([1, 9])[y]
    model = make(task, **params).fit(X, y, sample_weight=weights)
    rows = np.flatnonzero(weights)
    _, valid = validation_split(rows, y, stratify=task == "binary")
    expected = np.average(model.sample_losses_[valid], weights=own[valid])
    assert_close(min(model.validation_loss_curve_), expected)

    left_out = make(task, **params).fit(X[rows], y[rows], sample_weight=weights[rows])
    assert_close(left_out.validation_loss_curve_, model.validation_loss_curve_)


def test_equal_weights_of_validation_rows_are_no_weights():
    X, y = noisy_data("binary")
    params = {"early_stopping": True, "max_epochs": 9}
    weighted = make(**params).fit(X, y, sample_weight=np.full(60, 0.3))
    assert_same_bits(weighted, make(**params).fit(X, y))


def test_a_validation_set_of_ones_own_has_no_weights():
    X, y = noisy_data("binary")
    weights = np.random.default_rng(1).uniform(1, 9, size=60)
    model = make(class_weight={0: 1, 1: 9}, dtype="float64")
    model.fit(X, y, sample_weight=weights, X_val=X[:9], y_val=y[:9])
    assert_close(model.validation_loss_curve_[-1], model.sample_losses_[:9].mean())


def test_early_stopping_that_never_comes_keeps_the_best_epoch():
    X, y = noisy_data("binary")
    params = {**STOPPING, "n_iter_no_change": 10**6, "max_epochs": 60, "lr": 0.05}
    model = make(**params, dtype="float64").fit(X, y)
    _, valid = validation_split(np.arange(60), y)
    assert model.n_iter_ == 60
    curve = model.validation_loss_curve_
    assert np.argmin(curve) < 50
    assert_close(model.sample_losses_[valid].mean(), min(curve))


def test_a_class_too_rare_to_be_split_is_no_obstacle():
    X, y = make_data()
    y[:] = 0
    y[3] = 1
    model = make(early_stopping=True).fit(X, y)
    assert model.classes_.tolist() == [0, 1]
    assert len(model.validation_loss_curve_) == model.n_iter_


def test_validation_labels_may_lack_a_class():
    X, y = make_data("multiclass")
    valid = np.flatnonzero(y == 2)
    model = make("multiclass").fit(X, y, X_val=X[valid], y_val=y[valid])
    expected = -np.log(model.predict_proba(X[valid])[:, 2]).mean()
    assert_close(model.validation_loss_curve_[-1], expected, 1e-5)


# --- small tables ---


def test_two_rows():
    X, y = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array(["a", "b"])
    model = make(ratio=1.0, max_epochs=100).fit(X, y)
    assert model.predict(X).tolist() == ["a", "b"]
    assert model.n_redistributed_ == 1
    assert model.chosen_.shape == (1,)
    numbers = make("regression", ratio=1.0, max_epochs=300).fit(X, [5.0, 9.0])
    assert_close(numbers.predict(X), [5, 9], 0.1)


def test_two_rows_may_still_stop_early():
    X, y = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1])
    params = {"ratio": 0, "early_stopping": True, "n_iter_no_change": 3}
    model = make(**params, max_epochs=99).fit(X, y)
    [train], [valid] = validation_split(np.arange(2), y, stratify=False)
    # What is learnt from one row alone is ever more wrong of the other.
    curve = model.validation_loss_curve_
    assert model.n_iter_ == len(curve) == np.argmin(curve) + 1 + 3 < 99
    assert_close(model.sample_losses_[valid], min(curve), 1e-6)
    # The same as to name the row that is watched.
    is_trained = np.arange(2) == train
    twin = make(**params, max_epochs=99)
    twin.fit(X, y, is_trained, X_val=X[[valid]], y_val=y[[valid]])
    assert_same_bits(model, twin)


# --- going on ---

EPOCHS = 4


def fit_in_steps(model, X, y, between=lambda model: model, **kwargs):
    """As many partial fits as a fit has epochs."""
    for _ in range(EPOCHS):
        model = between(model.partial_fit(X, y, **kwargs))
    return model


@pytest.mark.parametrize("repeats", [0, 1, 2])
@pytest.mark.parametrize("strategy", ["min-loss", "max-loss", "random"])
def test_partial_fits_end_where_a_fit_ends(strategy, repeats):
    X, y = make_data()
    params = {"strategy": strategy, "repeats": repeats, "max_epochs": EPOCHS}
    stepwise = fit_in_steps(make(**params), X, y)
    assert_same_bits(stepwise, make(**params).fit(X, y))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("task", TASKS)
def test_partial_fits_end_where_a_fit_ends_for_every_task(task, optimizer):
    X, y = make_data(task)
    weights = np.random.default_rng(1).uniform(1, 5, size=N)
    params = {"optimizer": optimizer, "max_epochs": EPOCHS, "weight_decay": 0.1}
    stepwise = fit_in_steps(make(task, **params), X, y, sample_weight=weights)
    whole = make(task, **params).fit(X, y, sample_weight=weights)
    assert_same_bits(stepwise, whole)
    assert len(stepwise.history_) == EPOCHS
    assert stepwise.history_[:, "train_loss"] == whole.history_[:, "train_loss"]


COURSE = [
    {"loss_smoothing": 0.8},
    {"refresh_every": 3},
    {"warmup_epochs": 2},
    {"record_losses": True},
    {"ratio_schedule": "cosine", "strategy": "max-loss", "repeats": 0},
    {"class_balanced": True, "strategy": "max-loss"},
    {"n_networks": 3, "choose": "together", "loss_smoothing": 0.5},
    *({"strategy": strategy} for strategy, _ in METHODS.values()),
]


@pytest.mark.parametrize("params", COURSE, ids=str)
def test_partial_fits_end_where_a_fit_ends_whatever_the_method(params):
    X, y = make_data()
    everything = {"loss_smoothing": 0.6, "refresh_every": 2, "record_losses": True}
    for own in (params, {**everything, **params}):
        own = {"max_epochs": EPOCHS, **own}
        stepwise, whole = fit_in_steps(make(**own), X, y), make(**own).fit(X, y)
        if own.get("n_networks"):
            assert_close(stepwise.loss_curve_, whole.loss_curve_, 1e-6)
            np.testing.assert_array_equal(stepwise.chosen_, whole.chosen_)
        else:
            assert_same_bits(stepwise, whole)
        assert_same_records(stepwise, whole)


def test_other_data_in_between_start_everything_anew():
    # By hand: the same networks, with the memory of other samples wiped out.
    X, y = make_data()
    params = {"strategy": "max-loss", "ratio": 0.5, "optimizer": "sgd", "lr": 0.1}
    course = {"loss_smoothing": 0.9, "refresh_every": 5, "record_losses": True}
    model = make(**params, **course).partial_fit(X, y).partial_fit(X, y)
    model.partial_fit(X, y)
    kept = model.chosen_
    np.testing.assert_array_equal(model.recorded_epochs_, [1, 2, 3])

    model.partial_fit(X[::-1], y[::-1])  # the same rows, but other samples
    assert model.recorded_epochs_.tolist() == [4]
    assert model.times_chosen_.sum() == 13
    hardest = pickle.loads(pickle.dumps(model))
    model.partial_fit(X, y)
    assert model.recorded_epochs_.tolist() == [5]
    expected = outputs_of(hardest, X)
    losses = sample_losses("binary", torch.tensor(expected), torch.tensor(y)).numpy()
    np.testing.assert_array_equal(model.chosen_, np.argsort(-losses)[:13])
    assert not np.array_equal(model.chosen_, kept)


def test_partial_fit_goes_on_after_fit():
    X, y = make_data()
    model = make(max_epochs=EPOCHS - 2).fit(X, y)
    model.partial_fit(X, y).partial_fit(X, y)
    assert_same_bits(model, make(max_epochs=EPOCHS).fit(X, y))


@pytest.mark.parametrize("task", TASKS)
def test_partial_fits_go_on_across_a_pickle(task):
    # The optimizer is not in the pickle, and plain SGD has no state to lose.
    X, y = make_data(task)
    params = {"optimizer": "sgd", "max_epochs": EPOCHS}
    stepwise = fit_in_steps(
        make(task, **params), X, y, between=lambda m: pickle.loads(pickle.dumps(m))
    )
    assert_same_bits(stepwise, make(task, **params).fit(X, y))


def test_partial_fit_takes_other_rows_and_the_classes_to_come():
    X, y = make_data("multiclass")
    first = y < 2
    model = make("multiclass").partial_fit(X[first], y[first], classes=[2, 0, 1])
    assert model.classes_.tolist() == [0, 1, 2]
    assert len(model.sample_losses_) == first.sum()
    model.partial_fit(X, y, classes=[0, 1, 2])
    assert len(model.sample_losses_) == N
    # The second epoch redistributes by the losses of its own rows.
    assert model.n_redistributed_ == len(model.chosen_) == 8
    assert model.n_iter_ == 2


@pytest.mark.filterwarnings("ignore:Nothing is redistributed")
def test_partial_fit_takes_a_single_row():
    X, y = make_data()
    model = make().fit(X, y)
    loss = -np.log(model.predict_proba(X[:1])[0, int(y[0])])
    model.partial_fit(X[:1], y[:1])
    assert model.loss_curve_[-1] == pytest.approx(loss, rel=1e-5)
    assert model.sample_losses_[0] < loss


def test_the_first_partial_fit_takes_a_single_row_where_classes_are_given():
    X, y = make_data("multiclass")
    model = make("multiclass", ratio=0)
    model.partial_fit(X[:1], y[:1], classes=[0, 1, 2])
    assert model.classes_.tolist() == [0, 1, 2]
    one_of_two = make("multiclass", ratio=0)
    weights = [1, 0]
    one_of_two.partial_fit(X[:2], y[:2], classes=[0, 1, 2], sample_weight=weights)
    np.testing.assert_array_equal(weights_of(model), weights_of(one_of_two))
    assert model.loss_curve_ == one_of_two.loss_curve_


@pytest.mark.parametrize("class_weight", [{2: 5.0}, {0: 2, 2: 5.0}, {0: 2, 1: 1, 2: 5}])
def test_a_batch_may_lack_a_class_that_class_weight_names(class_weight):
    X, y = make_data("multiclass")
    rest = y < 2
    by_class = np.array([class_weight.get(label, 1.0) for label in range(3)])
    params = {"optimizer": "sgd", "lr": 0.1}
    model = make("multiclass", class_weight=class_weight, **params)
    model.partial_fit(X, y).partial_fit(X[rest], y[rest])
    by_hand = make("multiclass", **params)
    by_hand.partial_fit(X, y, sample_weight=by_class[y])
    by_hand.partial_fit(X[rest], y[rest], sample_weight=by_class[y[rest]])
    assert_same_bits(model, by_hand)

    params["warm_start"] = True
    model = make("multiclass", class_weight=class_weight, **params)
    model.fit(X, y).fit(X[rest], y[rest])
    by_hand = make("multiclass", **params).fit(X, y, sample_weight=by_class[y])
    by_hand.fit(X[rest], y[rest], sample_weight=by_class[y[rest]])
    assert_same_bits(model, by_hand)


def test_balanced_weights_in_partial_fit_count_the_classes_of_the_call():
    X, y = make_data("multiclass")
    rest = y < 2
    counts = np.bincount(y[rest], minlength=3)
    model = make("multiclass", class_weight="balanced", dtype="float64")
    model.partial_fit(X[rest], y[rest], classes=[0, 1, 2])
    by_hand = make("multiclass", dtype="float64")
    weights = 1 / counts[y[rest]]
    by_hand.partial_fit(X[rest], y[rest], classes=[0, 1, 2], sample_weight=weights)
    assert_close(weights_of(model), weights_of(by_hand))


def test_partial_fit_keeps_the_scale_of_the_first_target():
    X, y = make_data("regression")
    model = make("regression").partial_fit(X, y).partial_fit(X, 3 * y)
    assert_close(model.target_mean_, [y.mean()])
    assert_close(model.target_scale_, [y.std()])


@pytest.mark.parametrize(
    "name, value",
    [("lr", 1e-3), ("weight_decay", 0.3), ("optimizer", "adamw"), ("dtype", "float32")],
)
def test_partial_fit_heeds_changed_parameters(name, value):
    X, y = make_data()
    start = {**FULL_BATCH, "optimizer": "sgd", "lr": 0.5, "ratio": 0, "max_epochs": 1}
    model = make(**start).fit(X, y).set_params(**{name: value}).partial_fit(X, y)
    # A warm start makes its net anew, with the parameters as they are.
    warm = make(**start, warm_start=True).fit(X, y).set_params(**{name: value})
    warm.fit(X, y)
    assert_close(weights_of(model), weights_of(warm), 1e-6)
    assert weights_of(model).dtype == weights_of(warm).dtype


def test_warm_start_goes_on():
    X, y = make_data()
    model = make(warm_start=True, optimizer="sgd", max_epochs=3)
    model.fit(X, y, X_val=X[:9], y_val=y[:9])
    curve = list(model.loss_curve_)
    valid_curve = list(model.validation_loss_curve_)
    model.set_params(max_epochs=2).fit(X, y, X_val=X[:9], y_val=y[:9])
    assert model.loss_curve_[:3] == curve
    assert model.validation_loss_curve_[:3] == valid_curve
    whole = make(optimizer="sgd", max_epochs=5).fit(X, y, X_val=X[:9], y_val=y[:9])
    assert_same_bits(model, whole)


@pytest.mark.parametrize("n_networks", [1, 2])
def test_validation_losses_keep_the_place_of_their_epochs(n_networks):
    X, y = make_data()
    valid = {"X_val": X[:9], "y_val": y[:9]}
    model = make(warm_start=True, max_epochs=2, n_networks=n_networks).fit(X, y)
    assert not hasattr(model, "validation_loss_curve_")
    model.fit(X, y, **valid).fit(X, y).partial_fit(X, y).fit(X, y, **valid)
    assert len(model.validation_loss_curve_) == len(model.loss_curve_) == 9
    known = np.flatnonzero(np.isfinite(model.validation_loss_curve_))
    assert known.tolist() == [2, 3, 7, 8]
    assert model.validation_loss_curve_[-2:] == model.history_[:, "valid_loss"]


def test_without_warm_start_a_fit_begins_anew():
    X, y = make_data()
    model = make()
    assert_same_bits(model.fit(X, y).fit(X, y), make().fit(X, y))
    model.fit(X[:, :2], y == 1)
    assert model.classes_.tolist() == [False, True]
    assert model.n_features_in_ == 2


def assert_same_records(model, other):
    for one, its in zip(records_of(model), records_of(other), strict=True):
        np.testing.assert_array_equal(one, its)


@pytest.mark.parametrize("task", TASKS)
def test_records_are_the_losses_of_fits_that_end_there(task):
    X, y = make_data(task)
    params = {"strategy": "max-loss", "ratio": 0.5}
    model = make(task, record_losses=True, max_epochs=6, **params).fit(X, y)
    times = np.zeros(N)
    for epoch in range(1, 7):
        shorter = make(task, max_epochs=epoch, **params).fit(X, y)
        row = model.recorded_losses_[epoch - 1]
        np.testing.assert_array_equal(row, shorter.sample_losses_)
        chosen = np.flatnonzero(model.recorded_choices_[epoch - 1])
        assert chosen.tolist() == sorted(shorter.chosen_)
        times[shorter.chosen_] += 1
    assert model.recorded_epochs_.tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(model.times_chosen_, times)
    assert model.recorded_losses_.shape == model.recorded_choices_.shape == (6, N)
    assert model.times_chosen_.dtype.kind == "i"


RECORDED = [
    {},
    {"early_stopping": True},
    {"n_networks": 3},
    {"n_networks": 3, "choose": "together"},
    {"loss_smoothing": 0.5, "refresh_every": 2},
    {"ratio": 0},
    {"strategy": "breed"},
    {"strategy": "ohem"},
]


@pytest.mark.parametrize("params", RECORDED, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_to_record_changes_no_bit(params, dtype):
    X, y = make_data(n=300)
    weights = np.random.default_rng(1).integers(0, 3, size=300)
    for sample_weight in (None, weights):
        model, plain = (
            make(dtype=dtype, record_losses=record, **params).fit(X, y, sample_weight)
            for record in (True, False)
        )
        assert_same_bits(model, plain)
        assert model.recorded_losses_.shape == (4, 300)
        assert model.recorded_losses_.dtype == np.float32
        assert not hasattr(plain, "recorded_losses_")


def test_at_most_100_epochs_are_recorded():
    X, y = make_data()
    model = make(record_losses=True, max_epochs=130, strategy="max-loss").fit(X, y)
    assert model.recorded_epochs_.tolist() == list(range(2, 131, 2))
    assert model.recorded_losses_.shape == (65, N)
    np.testing.assert_array_equal(model.recorded_losses_[-1], model.sample_losses_)
    # The first epoch chooses nobody, each of the others eight.
    assert model.times_chosen_.sum() == 129 * 8
    assert model.recorded_choices_.sum() == 65 * 8


def test_records_hold_the_rows_that_are_not_trained_on_too():
    X, y = noisy_data("binary")
    weights = np.random.default_rng(1).integers(0, 4, size=60)
    params = {"lr": 0.05, "early_stopping": True, "n_iter_no_change": 4}
    model = make(record_losses=True, max_epochs=99, **params)
    model.fit(X, y, sample_weight=weights)
    train, valid = validation_split(np.flatnonzero(weights), y)
    assert model.recorded_losses_.shape == (model.n_iter_, 60)
    best = np.argmin(model.validation_loss_curve_)
    assert best < model.n_iter_ - 1 < 98
    np.testing.assert_array_equal(model.recorded_losses_[best], model.sample_losses_)
    assert_close(
        model.recorded_losses_[:, valid].mean(axis=1),
        model.validation_loss_curve_,
        1e-6,
    )
    assert not model.recorded_choices_[:, weights == 0].any()
    assert not model.recorded_choices_[:, valid].any()
    assert model.times_chosen_.sum() == (model.n_iter_ - 1) * model.n_redistributed_
    assert model.times_chosen_[train].sum() == model.times_chosen_.sum()


def test_rows_that_an_epoch_holds_not_just_once_count_as_chosen():
    X, y = make_data()
    model = make(record_losses=True, strategy="breed", max_epochs=3).fit(X, y)
    held = np.sort(model.chosen_)
    assert np.flatnonzero(model.recorded_choices_[2]).tolist() == held.tolist()
    assert 0 < len(held) < N
    plain = make(record_losses=True, strategy="ohem").fit(X, y)
    assert not plain.recorded_choices_.any()
    assert not plain.times_chosen_.any()


def test_records_go_with_a_fit_that_keeps_none():
    X, y = make_data()
    frame = pd.DataFrame(X)
    for params in ({}, {"loss_smoothing": 0.5}):
        model = make(record_losses=True, **params)
        names = set(vars(make(**params).fit(X, y)))
        for refit in (model.fit, model.partial_fit):
            model.set_params(record_losses=True).fit(frame, y)
            assert model.sample_index_.tolist() == list(range(N))
            model.set_params(record_losses=False)
            refit(frame, y)
            assert set(vars(model)) == names


def test_records_begin_where_they_are_asked_for():
    X, y = make_data()
    model = make().fit(X, y).set_params(record_losses=True)
    model.partial_fit(X, y).partial_fit(X, y)
    assert model.recorded_epochs_.tolist() == [5, 6]
    whole = make(max_epochs=6, record_losses=True).fit(X, y)
    np.testing.assert_array_equal(model.recorded_losses_, whole.recorded_losses_[4:])


def test_records_go_on_over_warm_starts():
    X, y = make_data()
    params = {"optimizer": "sgd", "record_losses": True, "loss_smoothing": 0.5}
    model = make(warm_start=True, max_epochs=2, **params).fit(X, y).fit(X, y)
    whole = make(max_epochs=4, **params).fit(X, y)
    assert_same_bits(model, whole)
    assert_same_records(model, whole)


@pytest.mark.parametrize(
    "first, second",
    [
        ({"early_stopping": True}, {"early_stopping": False}),
        ({"early_stopping": False}, {"early_stopping": True}),
        ({"class_weight": {0: 1, 1: 0}}, {"class_weight": None}),
    ],
)
def test_where_other_rows_are_trained_on_the_running_mean_begins_anew(first, second):
    X, y = make_data()
    params = {"loss_smoothing": 0.9, "refresh_every": 9, "strategy": "max-loss"}
    model = make(warm_start=True, **params, **first).fit(X, y)
    n_before = len(model.loss_curve_)
    before = model.sample_losses_
    model.set_params(max_epochs=1, **second).fit(X, y)
    assert len(model.loss_curve_) == n_before + 1
    if first.get("early_stopping"):
        np.testing.assert_array_equal(
            model.chosen_, np.argsort(-before, kind="stable")[:8]
        )


@pytest.mark.parametrize(
    "index",
    [pd.RangeIndex(5, 5 + N), pd.Index([f"row {i}" for i in range(N)][::-1])],
    ids=["numbers", "names"],
)
def test_the_index_of_a_frame_is_kept(index):
    X, y = make_data()
    frame = pd.DataFrame(X, index=index)
    for target in (y, pd.Series(y, index=index)):
        model = make(record_losses=True).fit(frame, target)
        pd.testing.assert_index_equal(model.sample_index_, index)
        model.partial_fit(frame, target)
        pd.testing.assert_index_equal(model.sample_index_, index)
        assert len(model.recorded_epochs_) == 5
    for table in (X, X.tolist()):
        assert not hasattr(model.fit(table, y), "sample_index_")
    assert not hasattr(make().fit(frame, y), "sample_index_")


def test_an_interrupted_fit_keeps_its_records():
    X, y = make_data()
    params = {"record_losses": True, "max_epochs": 9}
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 4"):
        model = make(callbacks=[Interrupt(4, 2)], **params).fit(X, y)
    whole = make(**params).fit(X, y)
    assert model.recorded_epochs_.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(model.recorded_losses_, whole.recorded_losses_[:3])


# --- strategies of users ---


class Middle(Strategy):
    """Leave out what is neither easy nor hard: ten lines of a user's."""

    def __init__(self, center=0.5):
        self.center = center

    def plan(self, losses, epoch):
        distance = np.abs(losses - np.quantile(losses, self.center))
        return Plan(np.argsort(distance, kind="stable")[: epoch.n_chosen], repeats=0)


class Recent(Strategy):
    """Hold every sample once, and weigh it by its loss."""

    uses_ratio = False

    def plan(self, losses, epoch):
        return Plan(weights=losses / losses.mean())


class Focal(Strategy):
    """Weigh a batch by its losses."""

    uses_ratio = False

    def batch_weights(self, losses):
        return 1 - torch.exp(-losses)


class Both(Middle):
    """Do both at once."""

    def batch_weights(self, losses):
        return 1 - torch.exp(-losses)


def middle(losses, epoch, size, rng):
    distance = abs(losses - np.quantile(losses, 0.5))
    return {"chosen": np.argsort(distance, kind="stable")[:size], "repeats": 0}


def recent(losses, epoch, size, rng):
    return {"weights": losses / losses.mean()}


def focal(losses):
    return 1 - np.exp(-losses)


OWN = {
    "a plan": (Middle(), {"plan": middle}),
    "weights": (Recent(), {"plan": recent}),
    "batch weights": (Focal(), {"plan": all_once, "weigh": focal}),
    "both": (Both(), {"plan": middle, "weigh": focal}),
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", OWN)
def test_strategies_of_users_follow_the_book(name, task):
    strategy, book_params = OWN[name]
    follows_the_book(task, {"strategy": strategy}, book_params)


@pytest.mark.filterwarnings("ignore:Nothing is redistributed")
@pytest.mark.parametrize("name", OWN)
def test_where_b_is_0_only_strategies_that_use_the_ratio_rest(name):
    X, y = make_data()
    strategy, _ = OWN[name]
    plain = make(ratio=0, batch_size=8).fit(X, y)
    small = make(ratio=0.02, batch_size=8, strategy=strategy).fit(X, y)
    none = make(ratio=0, batch_size=8, strategy=strategy).fit(X, y)
    assert_same_bits(none, plain)
    rests = np.array_equal(weights_of(small), weights_of(plain))
    assert rests == strategy.uses_ratio


def test_what_a_small_ratio_does_not_stop_is_no_reason_to_warn():
    X, y = make_data()
    with np.testing.assert_no_warnings():
        make(ratio=0.02, strategy="infobatch").fit(X, y)
        make(ratio=0.02, ratio_schedule=lambda t: 20).fit(X, y)
    for params in ({"strategy": "hybrid"}, {"ratio_schedule": "linear"}):
        with pytest.warns(UserWarning, match="B = 0"):
            make(ratio=0.02, **params).fit(X, y)


def test_weights_of_another_precision_are_taken():
    class Double(Focal):
        def batch_weights(self, losses):
            return super().batch_weights(losses.double())

    class Counts(Focal):
        def batch_weights(self, losses):
            return (losses > losses.mean()).long()

    X, y = make_data()
    single, double = (make(strategy=s()).fit(X, y) for s in (Focal, Double))
    assert_close(single.loss_curve_, double.loss_curve_, 1e-5)
    assert np.isfinite(make(strategy=Counts()).fit(X, y).loss_curve_).all()


def test_a_strategy_may_hold_a_function_without_a_name():
    class Power(Strategy):
        uses_ratio = False

        def __init__(self, function):
            self.function = function

        def batch_weights(self, losses):
            return self.function(losses)

    X, y = make_data()
    model = make(strategy=Power(lambda losses: 1 - torch.exp(-losses)))
    assert_same_bits(model.fit(X, y), make(strategy=Focal()).fit(X, y))


# --- chance and global state ---


def test_same_seed_same_bits_other_seed_other_bits():
    X, y = make_data()
    assert_same_bits(make(random_state=3).fit(X, y), make(random_state=3).fit(X, y))
    other = make(random_state=4).fit(X, y)
    assert not np.isin(
        weights_of(make(random_state=3).fit(X, y)), weights_of(other)
    ).any()


def test_a_random_state_is_drawn_from():
    X, y = make_data()
    state = np.random.RandomState(3)
    first, second = (make(random_state=state).fit(X, y) for _ in range(2))
    assert_same_bits(first, make(random_state=3).fit(X, y))
    assert np.isin(weights_of(first), weights_of(second)).mean() < 0.05


def test_without_a_seed_fits_differ():
    X, y = make_data()
    first, second = (make(random_state=None).fit(X, y) for _ in range(2))
    assert np.isin(weights_of(first), weights_of(second)).mean() < 0.05


class Break(Callback):
    """Raise an error in the midst of training."""

    def on_batch_end(self, net, **kwargs):
        raise RuntimeError("broken on purpose")


@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize("task", TASKS)
def test_global_state_stays_as_it_is(task, random_state):
    X, y = make_data(task)
    spy = Spy()
    model = make(task, random_state=random_state, callbacks=[spy])
    with global_state_stays():
        model.fit(X, y)
        model.set_params(early_stopping=True).fit(X, y)
        model.set_params(early_stopping=False).partial_fit(X, y)
        model.predict(X)
        model.score(X, y)
        if hasattr(model, "predict_proba"):
            model.predict_proba(X)
    assert set(spy.seen) == {1}


def test_global_state_stays_as_it_is_after_errors():
    X, y = make_data()
    with global_state_stays():
        with pytest.raises(RuntimeError, match="on purpose"):
            make(callbacks=[Break()]).fit(X, y)
        with pytest.raises(RuntimeError, match="on purpose"):
            make(callbacks=[Break()]).partial_fit(X, y)
        with pytest.raises(ValueError, match="ratio"):
            make(ratio=-1).fit(X, y)
        model = make().fit(X, y)
        with pytest.raises(ValueError, match="features"):
            model.predict(X[:, :2])


def test_the_global_state_has_no_say():
    X, y = make_data()
    expected = make().fit(X, y)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(99)
        assert_same_bits(make().fit(X, y), expected)


def test_the_default_dtype_has_no_say():
    X, y = make_data()
    expected = make().fit(X, y)
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model = make().fit(X, y)
    finally:
        torch.set_default_dtype(dtype)
    assert_same_bits(model, expected)


# --- scikit-learn's tools ---


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
        StandardScaler(), ReBatchCNNClassifier(max_epochs=10, lr=0.05, random_state=0)
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


def test_a_grid_reaches_every_parameter():
    X, y = make_data("regression")
    wanted = make("regression", repeats=2, hidden_size=7, optimizer="sgd", lr=0.1)
    grid = {name: [value] for name, value in wanted.get_params().items()}
    search = GridSearchCV(ReBatchCNNRegressor(), grid, cv=2).fit(X, y)
    assert_same_bits(search.best_estimator_, wanted.fit(X, y))


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


def test_a_clone_fits_to_the_same_bits():
    X, y = make_data()
    model = make(strategy=First(), conv_channels=[3, 4], kernel_size=[2, 3]).fit(X, y)
    twin = clone(model)
    assert not hasattr(twin, "module_")
    assert_same_bits(twin.fit(X, y), model)


@pytest.mark.parametrize("task", TASKS)
def test_a_pickle_predicts_the_same_bits(task):
    X, y = make_data(task)
    callbacks = [EarlyStopping("train_loss"), LRScheduler()]
    model = make(task, verbose=1, callbacks=callbacks).fit(X, y, X_val=X, y_val=y)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    assert_same_bits(twin, model)
    assert twin.history_ == model.history_
    assert not twin.module_.training
    assert_same_bits(twin.fit(X, y), make(task, callbacks=callbacks).fit(X, y))


def test_a_pickle_holds_no_rows_and_no_optimizer():
    X, y = make_data(n=2000)
    params = {"max_epochs": 1, "batch_size": 50, "hidden_size": 1000}
    small, large = make(**params).fit(X[:50], y[:50]), make(**params).fit(X, y)
    size, more = (len(pickle.dumps(model)) for model in (small, large))
    results = large.sample_losses_.nbytes + large.chosen_.nbytes
    assert more - size < 1.1 * results < X.astype(np.float32).nbytes / 2
    # The network is held twice, as module_ and in net_; an optimizer would be two more.
    assert size < 2.5 * weights_of(small).nbytes


def test_feature_names():
    X, y = make_data()
    frame = pd.DataFrame(X, columns=list("abcde"))
    model = make().fit(frame, y)
    assert model.feature_names_in_.tolist() == list("abcde")
    assert_same_bits(model, make().fit(X, y))
    np.testing.assert_array_equal(
        model.predict_proba(frame), make().fit(X, y).predict_proba(X)
    )
    model.fit(X, y)
    assert not hasattr(model, "feature_names_in_")


def test_nullable_pandas_types():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "real": rng.normal(size=N),
            "whole": rng.integers(9, size=N),
            "flag": rng.integers(2, size=N).astype(bool),
            "small": rng.normal(size=N).astype(np.float32),
        }
    )
    y = (frame["real"] > 0).astype(int)
    expected = make().fit(frame.to_numpy(dtype=np.float64), y.to_numpy())
    nullable = frame.astype(
        {"real": "Float64", "whole": "Int64", "flag": "boolean", "small": "Float32"}
    )
    model = make().fit(nullable, y.astype("Int64"))
    assert_same_bits(model, expected)
    assert model.feature_names_in_.tolist() == list(frame)
    predicted = expected.predict(frame.to_numpy(dtype=np.float64))
    np.testing.assert_array_equal(model.predict(nullable), predicted)
    named = make().fit(nullable, y.map({0: "no", 1: "yes"}).astype("string"))
    assert_same_bits(named, expected)
    assert named.predict(nullable)[0] in ("no", "yes")
    categories = make().fit(nullable, y.map({0: "no", 1: "yes"}).astype("category"))
    assert_same_bits(categories, expected)


def test_polars():
    polars = pytest.importorskip("polars")
    X, y = make_data()
    frame = polars.DataFrame({name: X[:, i] for i, name in enumerate("abcde")})
    model = make().fit(frame, polars.Series(y))
    expected = make().fit(X, y)
    assert_same_bits(model, expected)
    # Old versions of scikit-learn don't see the names of new versions of polars.
    if hasattr(StandardScaler().fit(frame), "feature_names_in_"):
        assert model.feature_names_in_.tolist() == list("abcde")
    np.testing.assert_array_equal(model.predict_proba(frame), expected.predict_proba(X))


@pytest.mark.parametrize("task", TASKS)
def test_tensors(task):
    X, y = make_data(task)
    weights = np.linspace(0.5, 1.5, N)
    expected = make(task).fit(X, y, weights, X_val=X[:9], y_val=y[:9])
    tensors = torch.tensor(X, requires_grad=True), torch.tensor(y)
    if y.dtype == np.float64:
        tensors[1].requires_grad_()
    valid = {"X_val": tensors[0][:9], "y_val": tensors[1][:9]}
    model = make(task).fit(*tensors, torch.tensor(weights), **valid)
    assert_same_bits(model, expected)
    np.testing.assert_array_equal(model.predict(tensors[0]), expected.predict(X))
    once = make(task).partial_fit(*tensors)
    assert_same_bits(once, make(task).partial_fit(X, y))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8])
def test_tensors_of_any_type(dtype):
    X, y = make_data()
    short = torch.tensor(4 * X).to(dtype)
    model, expected = make().fit(short, y), make().fit(short.float().numpy(), y)
    assert_same_bits(model, expected)


@pytest.mark.parametrize("form", ["list", "fortran", "int", "strided", "read-only"])
def test_any_layout_of_the_table(form):
    X, y = make_data()
    X = np.round(X * 4)
    given = {
        "list": X.tolist(),
        "fortran": np.asfortranarray(X),
        "int": X.astype(np.int16),
        "strided": np.repeat(X, 2, axis=1)[:, ::2],
        "read-only": X.copy(),
    }[form]
    if form == "read-only":
        given.flags.writeable = False
    model = make().fit(given, y)
    assert_same_bits(model, make().fit(X, y))
    np.testing.assert_array_equal(model.predict(given), model.predict(X))


def test_the_table_is_not_changed():
    X, y = make_data()
    X_before, y_before = X.copy(), y.copy()
    make(dtype="float64").fit(X, y).predict(X)
    np.testing.assert_array_equal(X, X_before)
    np.testing.assert_array_equal(y, y_before)


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


# --- skorch's callbacks ---


def test_skorch_early_stopping_stops():
    X, y = make_data()
    stop = EarlyStopping("train_loss", patience=3, threshold=1e9, threshold_mode="abs")
    with np.testing.assert_no_warnings():
        model = make(max_epochs=50, callbacks=[stop]).fit(X, y)
    # Only the first epoch counts as an improvement.
    assert model.n_iter_ == len(model.history_) == 4
    assert_same_bits(model, make(max_epochs=4).fit(X, y))


def test_skorch_early_stopping_on_the_validation_loss_loads_the_best():
    X, y = noisy_data("binary")
    stop = EarlyStopping(patience=4, load_best=True, threshold=0)
    params = {"lr": 0.05, "max_epochs": 300, "dtype": "float64"}
    model = make(callbacks=[stop], **params).fit(X[:48], y[:48], None, X[48:], y[48:])
    own = make(early_stopping=True, n_iter_no_change=4, **params)
    own.fit(X[:48], y[:48], None, X[48:], y[48:])
    assert model.n_iter_ == own.n_iter_ < 300
    np.testing.assert_array_equal(weights_of(model), weights_of(own))


def test_skorch_checkpoint_saves_the_best_epoch(tmp_path):
    X, y = noisy_data("binary")
    checkpoint = Checkpoint(dirname=tmp_path, f_optimizer=None, f_history="h.json")
    params = {"lr": 0.05, "max_epochs": 40, "dtype": "float64"}
    model = make(callbacks=[checkpoint], **params)
    model.fit(X[:48], y[:48], X_val=X[48:], y_val=y[48:])
    best = int(np.argmin(model.validation_loss_curve_))
    assert best < 30
    expected = make(**{**params, "max_epochs": best + 1}).fit(X[:48], y[:48])
    model.net_.load_params(checkpoint=checkpoint)
    np.testing.assert_array_equal(
        weights_of_network(model.net_.module_.read_all()[0]), weights_of(expected)
    )
    assert (tmp_path / "h.json").exists()

    checkpoint = Checkpoint(dirname=tmp_path, f_optimizer=None, load_best=True)
    model.set_params(callbacks=[checkpoint])
    model.fit(X[:48], y[:48], X_val=X[48:], y_val=y[48:])
    np.testing.assert_array_equal(weights_of(model), weights_of(expected))


@pytest.mark.parametrize("params", [{}, {"batch_norm": True}, {"n_networks": 2}])
def test_skorch_early_stopping_restores_the_best_epoch(params):
    X, y = noisy_data("binary")
    stop = EarlyStopping("valid_loss", patience=5, load_best=True, sink=str)
    params = {"lr": 0.05, "max_epochs": 60, "batch_size": 16, **params}
    model = make(callbacks=[stop], **params)
    model.fit(X[:48], y[:48], X_val=X[48:], y_val=y[48:])
    best = int(np.argmin(model.validation_loss_curve_))
    assert model.n_iter_ == best + 6 < 60
    expected = make(**{**params, "max_epochs": best + 1}).fit(X[:48], y[:48])
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_allclose(
        model.sample_losses_, expected.sample_losses_, rtol=1e-5, atol=1e-7
    )


def weights_of_network(network):
    return np.concatenate([p.detach().ravel() for p in network.parameters()])


def test_skorch_learning_rates_by_epoch():
    X, y = make_data()
    frozen = LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0)
    model = make(max_epochs=5, callbacks=[frozen]).fit(X, y)
    assert model.history_[:, "event_lr"] == [LR, LR, 0, 0, 0]
    # With a learning rate of 0 nothing moves.
    stopped = make(max_epochs=2).fit(X, y)
    np.testing.assert_array_equal(weights_of(model), weights_of(stopped))


def test_skorch_learning_rates_by_batch():
    X, y = make_data()
    halve = LRScheduler(
        torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5, step_every="batch"
    )
    model = make(max_epochs=2, callbacks=[halve], dtype="float64").fit(X, y)
    rates = [b["event_lr"] for row in model.history_ for b in row["batches"]]
    assert rates == [LR / 2**i for i in range(12)]  # 41 rows by 8, twice


def test_skorch_learning_rate_on_a_plateau():
    X, y = make_data()
    plateau = LRScheduler(
        torch.optim.lr_scheduler.ReduceLROnPlateau,
        monitor="train_loss",
        patience=0,
        threshold=1e9,
        threshold_mode="abs",
        factor=0.1,
    )
    model = make(max_epochs=4, callbacks=[plateau]).fit(X, y)
    assert_close(model.history_[:, "event_lr"], [LR, LR, LR / 10, LR / 100])


def test_skorch_gradient_clipping():
    X, y = make_data()
    params = {**FULL_BATCH, "optimizer": "sgd", "max_epochs": 1}
    start = make(lr=1e-300, **params).fit(X, y)
    clip = GradientNormClipping(1e-3)
    model = make(lr=0.5, callbacks=[clip], **params).fit(X, y)
    moved = np.linalg.norm(weights_of(model) - weights_of(start))
    free = make(lr=0.5, **params).fit(X, y)
    direction = weights_of(free) - weights_of(start)
    assert_close(moved, 0.5 * 1e-3, 1e-5)
    assert_close(
        (weights_of(model) - weights_of(start)) / moved,
        direction / np.linalg.norm(direction),
        1e-5,
    )


def test_a_callback_that_only_listens_changes_no_bit():
    class Listen(Callback):
        batches = 0

        def on_batch_begin(self, net, batch=None, training=None, **kwargs):
            self.batches += bool(training)

        def on_batch_end(self, net, loss=None, **kwargs):
            self.last_loss = float(loss)

    X, y = make_data()
    listen = Listen()
    model = make(callbacks=[listen]).fit(X, y)
    assert listen.batches == 4 * 6
    assert listen.last_loss > 0
    assert_same_bits(model, make().fit(X, y))


def test_an_interrupted_fit_keeps_what_it_has():
    X, y = make_data()
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 3") as record:
        model = make(callbacks=[Interrupt(3)], max_epochs=9).fit(X, y)
    assert record[0].filename == __file__
    shorter = make(max_epochs=2).fit(X, y)
    assert model.n_iter_ == 2
    assert model.loss_curve_ == shorter.loss_curve_
    np.testing.assert_array_equal(weights_of(model), weights_of(shorter))
    np.testing.assert_array_equal(model.predict_proba(X), shorter.predict_proba(X))
    np.testing.assert_array_equal(model.sample_losses_, shorter.sample_losses_)
    assert_same_bits(
        model.set_params(callbacks=None).fit(X, y), make(max_epochs=9).fit(X, y)
    )


def test_an_interrupted_fit_that_watches_keeps_its_best_epoch():
    X, y = noisy_data("binary")
    params = {"lr": 0.05, "n_iter_no_change": 10**6, "early_stopping": True}
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 41"):
        model = make(callbacks=[Interrupt(41, 2)], max_epochs=99, **params).fit(X, y)
    shorter = make(max_epochs=40, **params).fit(X, y)
    assert np.argmin(shorter.validation_loss_curve_) < 30
    assert model.validation_loss_curve_ == shorter.validation_loss_curve_
    np.testing.assert_array_equal(weights_of(model), weights_of(shorter))


# --- verbose ---


def test_verbose_shows_the_losses(capsys):
    X, y = make_data()
    make(verbose=1).fit(X, y, X_val=X, y_val=y)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "4/4" in shown.err
    last = shown.err.splitlines()[-1].split("\r")[-1]
    model = make().fit(X, y, X_val=X, y_val=y)
    assert f"train_loss={model.loss_curve_[-1]:.4g}" in last
    assert f"valid_loss={model.validation_loss_curve_[-1]:.4g}" in last


def test_without_verbose_nothing_is_shown(capsys):
    X, y = make_data()
    make().fit(X, y)
    assert capsys.readouterr() == ("", "")


def test_warm_start_keeps_the_validation_rows():
    # At ratio 30 nearly all training rows are chosen, and no validation row ever.
    X, y = make_data()
    model = make(warm_start=True, early_stopping=True, n_iter_no_change=99)
    chosen = set()
    for _ in range(4):
        model.set_params(ratio=30.0, max_epochs=2).fit(X, y)
        chosen |= set(model.chosen_)
    assert len(chosen) <= len(y) - np.ceil(0.2 * len(y))


def test_a_schedule_goes_on_over_partial_fits():
    X, y = make_data()
    model = make(max_epochs=1).fit(X, y)
    for group in model.net_.optimizer_.param_groups:
        group["lr"] = 0.0  # as a schedule would
    before = weights_of(model)
    model.partial_fit(X, y)
    np.testing.assert_array_equal(weights_of(model), before)
    model.set_params(lr=2 * model.lr).partial_fit(X, y)
    assert not np.array_equal(weights_of(model), before)


@pytest.mark.parametrize(
    "change",
    [
        {"ratio": 0},
        {"strategy": "tsw"},
        {"strategy": "max-loss"},
        {"ratio": 0.6},
        {"warmup_epochs": 50},
    ],
    ids=str,
)
def test_a_plan_that_stands_falls_with_what_it_was_made_for(change):
    X, y = make_data()
    params = {"repeats": 0, "refresh_every": 50, "warm_start": True, "batch_size": 9}
    model = make(max_epochs=3, **params).fit(X, y)
    before = model.chosen_
    np.testing.assert_array_equal(model.fit(X, y).chosen_, before)
    after = model.set_params(**change).fit(X, y).chosen_
    assert set(after) != set(before)


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_a_ratio_may_be_a_decimal(schedule):
    X, y = make_data()
    model = make(ratio=Decimal("0.25"), ratio_schedule=schedule).fit(X, y)
    assert_same_bits(model, make(ratio=0.25, ratio_schedule=schedule).fit(X, y))
