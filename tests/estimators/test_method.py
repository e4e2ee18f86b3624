"""The method by the book, in a fit of either estimator."""

import numpy as np
import pytest
import torch
from helpers.estimators import (
    CLASSIFICATION,
    FULL_BATCH,
    METHODS,
    TASKS,
    Book,
    First,
    N,
    assert_close,
    assert_same_bits,
    follows_the_book,
    infobatch,
    make,
    make_data,
    ohem,
    standardized,
    weights_of,
)
from helpers.options import WEIGHING

from skrebatch import OHEM, InfoBatch, Strategy


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("repeats", [0, 1, 2])
@pytest.mark.parametrize("strategy", ["min-loss", "max-loss", "random"])
@pytest.mark.parametrize("task", TASKS)
def test_a_fit_follows_the_book(task, strategy, repeats, shuffle):
    X, y = make_data(task)
    method = {"strategy": strategy, "repeats": repeats, "shuffle": shuffle}
    model = make(task, dtype="float64", **method).fit(X, y)
    trained_on = y if task in CLASSIFICATION else standardized(y)
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
    if task in CLASSIFICATION:
        weights = np.random.default_rng(1).uniform(0.1, 5, size=N)
        book = Book(task, X, y, weights=weights / weights.mean(), **params)
        book.assert_equals(model.fit(X, y, sample_weight=weights))
    else:
        Book(task, X, standardized(y), **params).assert_equals(model.fit(X, y))


def test_strategies_see_the_copies_of_a_batch():
    seen = []

    class Looking(Strategy):
        plans, weights_batches = False, True

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
    if name not in (*WEIGHING, "infobatch"):
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
