"""Schedules of the learning rate: torch's own loop, alone and in a stack."""

import copy
import pickle
import warnings
from functools import partial

import joblib
import numpy as np
import pytest
import torch
from helpers.estimators import (
    CLASSIFICATION,
    LR,
    TASKS,
    Book,
    N,
    assert_close,
    assert_same_bits,
    make,
    make_data,
    standardized,
    weights_of,
)
from helpers.options import covering_rows
from helpers.twins import assert_all_twins, fit_alone
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import LRScheduler
from skorch.history import History
from torch.optim import lr_scheduler

from skrebatch import FusedGridSearchCV, fit_fused
from skrebatch._engine.optim.lr_schedules import LRSchedule

EPOCHS, STEPS = 12, 6  # an epoch of 41 rows, 8 in a batch


def falling(epoch):
    return 1 / (1 + epoch)


# name: the schedule, its arguments, torch's own scheduler, whether it moves by step
SCHEDULES = {
    "step": (
        "step", {}, partial(lr_scheduler.StepLR, step_size=4, gamma=0.1), False
    ),
    "step of two": (
        "step",
        {"step_size": 2, "gamma": 0.5},
        partial(lr_scheduler.StepLR, step_size=2, gamma=0.5),
        False,
    ),
    "plateau": (
        "plateau", {}, partial(lr_scheduler.ReduceLROnPlateau, patience=5), False
    ),
    "strict plateau": (
        "plateau",
        {"patience": 0, "factor": 0.5, "threshold": 0.05},
        partial(
            lr_scheduler.ReduceLROnPlateau, patience=0, factor=0.5, threshold=0.05
        ),
        False,
    ),
    "cosine": (
        "cosine", {}, partial(lr_scheduler.CosineAnnealingLR, T_max=EPOCHS), False
    ),
    "cosine by step": (
        "cosine",
        {"step_every": "batch", "T_max": EPOCHS * STEPS, "eta_min": 1e-4},
        partial(lr_scheduler.CosineAnnealingLR, T_max=EPOCHS * STEPS, eta_min=1e-4),
        True,
    ),
    "cosine by step by default": (
        "cosine",
        {"step_every": "batch"},
        partial(lr_scheduler.CosineAnnealingLR, T_max=EPOCHS * STEPS),
        True,
    ),
    "exponential by step": (
        "exponential",
        {"step_every": "batch"},
        partial(lr_scheduler.ExponentialLR, gamma=0.01 ** (1 / EPOCHS / STEPS)),
        True,
    ),
    "exponential": (
        "exponential",
        {},
        partial(lr_scheduler.ExponentialLR, gamma=0.01 ** (1 / EPOCHS)),
        False,
    ),
    "one-cycle": (
        "one-cycle",
        {},
        partial(lr_scheduler.OneCycleLR, max_lr=LR, total_steps=EPOCHS * STEPS),
        True,
    ),
    "high one-cycle": (
        "one-cycle",
        {"max_lr": 0.03, "epochs": EPOCHS, "steps_per_epoch": STEPS, "pct_start": 0.5},
        partial(
            lr_scheduler.OneCycleLR,
            max_lr=0.03,
            total_steps=EPOCHS * STEPS,
            pct_start=0.5,
        ),
        True,
    ),
    "one-cycle by epoch": (
        "one-cycle",
        {"step_every": "epoch"},
        partial(lr_scheduler.OneCycleLR, max_lr=LR, total_steps=EPOCHS),
        False,
    ),
    "a class": (
        lr_scheduler.MultiStepLR,
        {"milestones": [2, 3, 7]},
        partial(lr_scheduler.MultiStepLR, milestones=[2, 3, 7]),
        False,
    ),
    "a function": (
        lr_scheduler.LambdaLR,
        {"lr_lambda": falling},
        partial(lr_scheduler.LambdaLR, lr_lambda=falling),
        False,
    ),
    "a class by step": (
        lr_scheduler.CyclicLR,
        {"base_lr": 1e-3, "max_lr": 0.02, "step_size_up": 10, "step_every": "batch"},
        partial(lr_scheduler.CyclicLR, base_lr=1e-3, max_lr=0.02, step_size_up=10),
        True,
    ),
}  # fmt: skip


def scheduled(name, task="binary", **params):
    """A small estimator with one of the schedules."""
    schedule, arguments, *_ = SCHEDULES[name]
    defaults = {"max_epochs": EPOCHS, "dtype": "float64"}
    return make(
        task,
        lr_schedule=schedule,
        lr_schedule_params=arguments,
        **{**defaults, **params},
    )


# --- alone ---


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_fit_follows_the_book(name):
    X, y = make_data()
    _, _, scheduler, by_batch = SCHEDULES[name]
    book = Book(
        "binary", X, y, max_epochs=EPOCHS, lr_schedule=scheduler, by_batch=by_batch
    )
    model = scheduled(name).fit(X, y)
    book.assert_equals(model)
    # The last step of all moves the rate of none.
    last = -1 if by_batch else None
    assert_close(model.history_[:last, "event_lr"], book.rates[:last])
    assert len(set(book.rates)) > 1 or name == "plateau"


@pytest.mark.parametrize("task", TASKS)
def test_one_cycle_moves_the_momentum_too(task):
    X, y = make_data(task)
    trained_on = y if task in CLASSIFICATION else standardized(y)
    book = Book(
        task,
        X,
        trained_on,
        optimizer=torch.optim.SGD,
        params={"momentum": 0.9},
        lr_schedule=partial(lr_scheduler.OneCycleLR, max_lr=LR, total_steps=4 * STEPS),
        by_batch=True,
    )
    params = {"optimizer": "sgd", "optimizer_params": {"momentum": 0.9}}
    model = scheduled("one-cycle", task, max_epochs=4, **params).fit(X, y)
    book.assert_equals(model)


def test_one_cycle_of_an_optimizer_without_momentum():
    model = scheduled("one-cycle", optimizer=torch.optim.Adagrad).fit(*make_data())
    rates = model.history_[:, "event_lr"]
    assert max(rates) > 0.9 * LR > 0.01 * LR > rates[-1]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("step", [1] * 4 + [0.1] * 4 + [0.01] * 4),
        ("cosine", [(1 + np.cos(np.pi * t / EPOCHS)) / 2 for t in range(EPOCHS)]),
        ("exponential", [10 ** (-t / 6) for t in range(EPOCHS)]),
    ],
)
def test_rates_of_named_schedules_by_hand(name, expected):
    model = scheduled(name).fit(*make_data())
    assert_close(model.history_[:, "event_lr"], LR * np.array(expected))


@pytest.mark.parametrize("max_epochs", [1, 2, 3, 5, 20])
def test_steps_come_after_each_of_two_thirds(max_epochs):
    model = make(lr_schedule="step", max_epochs=max_epochs).fit(*make_data())
    thirds = np.arange(max_epochs) // -(-max_epochs // 3)
    assert_close(model.history_[:, "event_lr"], LR * 0.1**thirds, 1e-12)
    assert max(thirds) == min(max_epochs, 3) - 1


@pytest.mark.filterwarnings("ignore:lr_schedule=.* is finished")
def test_a_training_of_few_epochs_has_a_schedule_too():
    for name in ("step", "plateau", "cosine", "exponential", "one-cycle"):
        model = make(lr_schedule=name, max_epochs=1, batch_size=50).fit(*make_data())
        assert 0 <= model.history_[-1, "event_lr"] <= LR


@pytest.mark.parametrize(
    "params",
    [
        {"repeats": 0, "ratio": 1},
        {"repeats": 3, "ratio": 0.5},
        {"strategy": "small-loss", "ratio": 0.8},
        {"strategy": "self-paced"},
        {"repeats": 0, "ratio": 1, "warmup_epochs": 3},
        {"n_augments": 2, "noise_std": 0.1},
    ],
    ids=str,
)
def test_one_cycle_is_over_in_time_whatever_the_epochs_hold(params):
    X, y = make_data()
    model = scheduled("one-cycle", batch_size=4, **params).fit(X, y)
    steps = -(-N * (1 + params.get("n_augments", 0)) // 4)
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler = lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps * EPOCHS)
    optimizer.step()
    expected = []
    for _ in range(EPOCHS):
        for _ in range(steps):
            if scheduler.last_epoch < steps * EPOCHS - 1:
                scheduler.step()
        expected += scheduler.get_last_lr()
    assert_close(model.history_[:, "event_lr"], expected)


# --- which loss a plateau is of ---


def drops_of(losses, patience):
    """By hand: after which epochs a plateau divides the rate, and by how much."""
    rates, best, bad = [LR], np.inf, 0
    for loss in losses:
        best, bad = (loss, 0) if loss < best * (1 - 1e-4) else (best, bad + 1)
        rates.append(rates[-1] * (0.1 if bad > patience else 1))
        bad = 0 if bad > patience else bad
    return rates[:-1]


@pytest.mark.parametrize("monitor", ["train_loss", "valid_loss", None])
def test_a_plateau_is_of_the_validation_loss_where_there_is_one(monitor):
    X, y = make_data()
    params = {"patience": 1, **({"monitor": monitor} if monitor else {})}
    model = make(
        lr_schedule="plateau", lr_schedule_params=params, lr=0.05, max_epochs=60
    )
    model.fit(X[:30], y[:30], X_val=X[30:], y_val=y[30:])
    watched = model.loss_curve_
    if monitor != "train_loss":
        watched = model.validation_loss_curve_
    rates = np.array(drops_of(watched, 1)) / LR * 0.05
    # By default a drop of less than 1e-8 is none.
    assert_close(model.history_[:40, "event_lr"], rates[:40], 1e-7)
    assert len(set(rates)) > 1


def test_without_a_validation_set_none_can_be_watched():
    params = {"lr_schedule": "plateau", "lr_schedule_params": {"monitor": "valid_loss"}}
    X, y = make_data()
    with pytest.raises(ValueError, match="needs a validation set"):
        make(**params).fit(X, y)
    model = make(**params, early_stopping=True).fit(X, y)
    assert len(model.history_[:, "event_lr"]) == model.n_iter_


# --- in a stack ---

# What may differ beside the schedule.
METHODS = {
    "min-loss": {},
    "twice": {"ratio": 0.5, "repeats": 2},
    "left out": {"repeats": 0, "strategy": "max-loss", "ratio": 1},
    "self-paced": {"strategy": "self-paced"},
}
BESIDE = {
    "schedule": [None, *SCHEDULES],
    "method": list(METHODS),
    "optimizer": ["adam", "sgd"],
    "lr": [LR, 0.05],
    "random_state": [0, 1],
    "batch_size": ["ratio", 5],
    "max_epochs": [9, 5],
    "early_stopping": [False, True],
    "n_networks": [1, 2],
}


def make_pairwise():
    """Make estimators among which any two values of two options stand together."""
    for row in covering_rows(BESIDE, set()):
        name, method = row.pop("schedule"), METHODS[row.pop("method")]
        own = {"dtype": "float64", "n_iter_no_change": 2, **method, **row}
        yield make(**own) if name is None else scheduled(name, **own)


@pytest.mark.filterwarnings("ignore:lr_schedule=.* is finished")
def test_networks_of_any_schedule_equal_their_twins():
    X, y = make_data()
    models = list(make_pairwise())
    fit_fused(models, X, y)
    twins = fit_alone(models, X, y)
    assert_all_twins(models, twins, X)
    for model, twin in zip(models, twins, strict=True):
        if model.lr_schedule and model.n_networks == 1:
            names = model.history_[:, "event_lr"], twin.history_[:, "event_lr"]
            assert_close(*names)
    # They go on alike.
    for model in models + twins:
        model.set_params(early_stopping=False).partial_fit(X, y)
    assert_all_twins(models, twins, X)


def test_each_network_has_its_own_plateau():
    X, y = make_data()
    plateau = {"patience": 1, "threshold": 0.1, "factor": 0.5}
    shared = {"dtype": "float64", "lr": 0.05, "max_epochs": 20}
    shared |= {"lr_schedule": "plateau", "lr_schedule_params": plateau}
    ensemble = make(n_networks=4, **shared).fit(X, y)
    rates = [rate.options["lr"] for rate in ensemble._fit_state.lr_schedules]
    assert len(set(rates)) > 1
    weights = weights_of(make(**shared).fit(X, y))
    first = ensemble.module_.networks[0].parameters()
    assert_close(np.concatenate([p.detach().ravel() for p in first]), weights, 1e-10)


class Breaking(lr_scheduler.StepLR):
    """A scheduler that fails in the third epoch."""

    def get_lr(self):
        if self.last_epoch == 3:
            raise RuntimeError("no rate for you")
        return super().get_lr()


def test_a_scheduler_that_fails_harms_nobody_else():
    X, y = make_data()
    models = [make(dtype="float64"), make(lr_schedule="step", dtype="float64")]
    breaking = {"lr_schedule": Breaking, "lr_schedule_params": {"step_size": 1}}
    broken = make(**breaking, dtype="float64")
    with pytest.raises(RuntimeError, match="no rate for you"):
        fit_fused([*models, broken], X, y)
    assert_all_twins(models, fit_alone(models, X, y), X)
    with pytest.raises(RuntimeError, match="no rate for you"):
        broken.fit(X, y)
    assert not hasattr(broken, "module_")


def test_a_search_over_schedules():
    X, y = make_data()
    strict = {"lr_schedule": ["plateau"], "lr_schedule_params": [{"patience": 0}]}
    grid = [{"lr_schedule": [None, "step", "one-cycle"], "lr": [0.01, 0.1]}, strict]
    estimator = make(dtype="float64", max_epochs=10)
    fused = FusedGridSearchCV(estimator, grid, cv=2, scoring="neg_log_loss")
    one_by_one = GridSearchCV(estimator, grid, cv=2, scoring="neg_log_loss")
    scores = fused.fit(X, y).cv_results_["mean_test_score"]
    expected = one_by_one.fit(X, y).cv_results_["mean_test_score"]
    assert_close(scores, expected)
    assert len(set(scores)) == 7


# --- going on ---


@pytest.mark.filterwarnings("ignore:lr_schedule=.* is finished")
@pytest.mark.parametrize("n_networks", [1, 2])
@pytest.mark.parametrize("name", SCHEDULES)
def test_epochs_one_by_one_end_where_fit_ends(name, n_networks):
    X, y = make_data()
    model = scheduled(name, optimizer="sgd", n_networks=n_networks)
    other = clone(model)
    for _ in range(EPOCHS):
        other.partial_fit(X, y)
    model.fit(X, y)
    assert_close(other.predict_proba(X), model.predict_proba(X), 1e-12)
    if n_networks == 1:
        rates = model.history_[:, "event_lr"]
        assert_close(other.history_[:, "event_lr"], rates, 1e-15)
        # Without momentum there is nothing but the schedule to remember, and a
        # pickle holds that.
        loaded = pickle.loads(pickle.dumps(other))
        if "cycle" not in name and name != "a class by step":
            assert_same_bits(loaded.partial_fit(X, y), other.partial_fit(X, y))


def test_networks_that_have_stopped_continue_in_their_schedule():
    X, y = make_data()
    params = {"lr_schedule": "step", "lr_schedule_params": {"step_size": 9}}
    params |= {"optimizer": "sgd", "lr": 0.1, "n_networks": 4, "random_state": 1}
    stops = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 30}
    model = make(**params, **stops).fit(X, y)
    epochs = [rate._position for rate in model._fit_state.lr_schedules]
    assert len(set(epochs)) == 1
    model.set_params(early_stopping=False)
    # The loaded one makes a new optimizer, and SGD has nothing to forget.
    loaded = pickle.loads(pickle.dumps(model))
    for _ in range(12):
        model.partial_fit(X, y)
        loaded.partial_fit(X, y)
    assert_close(loaded.predict_proba(X), model.predict_proba(X), 1e-5)
    assert [rate._position for rate in loaded._fit_state.lr_schedules] == [
        e + 12 for e in epochs
    ]


def test_a_warm_start_goes_on_in_the_schedule():
    X, y = make_data()
    params = {"lr_schedule": "step", "lr_schedule_params": {"step_size": 3}}
    model = make(**params, max_epochs=4).fit(X, y)
    assert_close(model.history_[:, "event_lr"], LR * np.array([1, 1, 1, 0.1]))
    # Fewer epochs now lay out no other course.
    model.set_params(warm_start=True, max_epochs=3).fit(X, y)
    assert_close(model.history_[:, "event_lr"], LR * np.array([0.1, 0.1, 0.01]))


@pytest.mark.parametrize("name", ["cosine", "one-cycle"])
def test_after_its_course_a_rate_stays(name):
    X, y = make_data()
    model = make(lr_schedule=name, max_epochs=5).fit(X, y)
    for _ in range(3):
        with pytest.warns(UserWarning, match="is finished") as caught:
            model.partial_fit(X, y)
        assert caught[0].filename == __file__
    rates = model.history_[:, "event_lr"]
    assert len(rates) == 8
    assert len(set(rates[-2:])) == 1
    assert rates[-1] < 1e-3 * LR


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, 0.01 * LR),
        ({"lr": 1.0}, 1.0),
        ({"lr_schedule_params": {"step_size": 1, "gamma": 0.5}}, LR),
        ({"lr_schedule": "cosine", "lr_schedule_params": None}, LR),
        ({"optimizer": "sgd"}, LR),
        ({"max_epochs": 30}, 0.01 * LR),
    ],
    ids=str,
)
def test_a_schedule_of_other_parameters_begins_anew(changes, expected):
    X, y = make_data()
    params = {"lr_schedule": "step", "lr_schedule_params": {"step_size": 2}}
    model = make(**params, max_epochs=4).fit(X, y)
    model.set_params(**changes).partial_fit(X, y)
    assert_close(model.history_[-1, "event_lr"], expected)


@pytest.mark.parametrize(
    "params",
    [
        {"lr_schedule": "cosine", "lr_schedule_params": {"eta_min": LR / 10}},
        {"lr_schedule": "step"},
        {"lr_schedule": "cosine", "max_epochs": 30},
    ],
    ids=str,
)
def test_going_on_with_a_learning_rate_is_no_reason_to_warn(params, recwarn):
    X, y = make_data()
    model = make(**{"max_epochs": 3, "warm_start": True, **params})
    for _ in range(3 if "max_epochs" in params else 1):
        model.partial_fit(X, y)
    model.set_params(max_epochs=3).fit(X, y).fit(X, y)
    assert not recwarn.list


@pytest.mark.parametrize("name", ["plateau", "cosine", "one-cycle"])
@pytest.mark.parametrize("n_moves", [0, 2])
def test_a_rate_survives_a_pickle_without_a_warning(name, n_moves, recwarn):
    optimizer, options = torch.optim.SGD, {"lr": LR, "momentum": 0.5}
    rate = LRSchedule(name, {}, optimizer, options, 10, 3)

    def move(rate):
        history = History()
        history.new_epoch()
        history.record("train_loss", 1.0)
        if rate.by_batch:
            rate.end_step(1, 3)
        else:
            rate.end_epoch(history)
        return rate.options

    for _ in range(n_moves):
        move(rate)
    again, copied = pickle.loads(pickle.dumps(rate)), copy.deepcopy(rate)
    assert again.key == copied.key == rate.key
    assert move(again) == move(copied) == move(rate)
    assert not recwarn.list


def test_a_search_in_processes_warns_of_no_schedule():
    X, y = make_data()
    search = FusedGridSearchCV(
        make(lr_schedule="step"), {"ratio": [0, 0.3]}, cv=2, n_jobs=2, max_stack=1
    )
    with joblib.parallel_config(backend="loky"), warnings.catch_warnings():
        warnings.simplefilter("error")
        search.fit(X, y)


def test_without_a_schedule_again_the_rate_is_lr():
    X, y = make_data()
    model = make(lr_schedule="exponential", optimizer="sgd").fit(X, y)
    before = weights_of(model)
    model.set_params(lr_schedule=None, lr=1e-9).partial_fit(X, y)
    assert np.abs(weights_of(model) - before).max() < 1e-7
    assert "event_lr" not in model.history_[-1]


@pytest.mark.parametrize(
    "params, words",
    [
        ({"step_size": "two"}, "'step' can't be used.*step_size.*two.*unsupported"),
        ({"size": 2}, "unexpected keyword argument 'size'"),
        ({"epochs": 2, "steps_per_epoch": 3}, "unexpected keyword argument 'epochs'"),
        (
            {"monitor": "valid_loss"},
            "monitor='valid_loss'.*is not supported for.*'step'",
        ),
        ({"step_every": "hour"}, "step_every in lr_schedule_params must be one of"),
    ],
)
def test_arguments_that_are_refused(params, words):
    model = make(lr_schedule="step", lr_schedule_params=params)
    with pytest.raises(ValueError, match=words):
        model.fit(*make_data())
    assert not hasattr(model, "module_")


@pytest.mark.parametrize(
    "params, words",
    [
        ({"monitor": "accuracy"}, "monitor in lr_schedule_params must be one of"),
        ({"step_every": "batch"}, r"must be one of \('epoch',\)"),
    ],
)
def test_what_a_plateau_can_t_watch(params, words):
    model = make(lr_schedule="plateau", lr_schedule_params=params)
    with pytest.raises(ValueError, match=words):
        model.fit(*make_data())


def test_two_that_move_the_learning_rate_are_refused():
    X, y = make_data()
    model = make(
        lr_schedule="step", callbacks=[LRScheduler("ExponentialLR", gamma=0.5)]
    )
    with pytest.raises(ValueError, match="both change the learning rate"):
        model.fit(X, y)
