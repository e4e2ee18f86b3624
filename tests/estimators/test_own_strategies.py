"""Strategies that users write, in a fit."""

import numpy as np
import pytest
import torch
from helpers.estimators import (
    TASKS,
    all_once,
    assert_close,
    assert_same_bits,
    follows_the_book,
    make,
    make_data,
    weights_of,
)

from skrebatch import Plan, Strategy


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
