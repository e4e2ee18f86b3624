"""Optimizers: what torch's own loop finds, in a stack too, or a refusal."""

import pickle

import numpy as np
import pytest
import torch
from helpers.estimators import (
    LR,
    Book,
    assert_close,
    assert_same_bits,
    global_state_stays,
    make,
    make_data,
    weights_of,
)
from helpers.twins import assert_all_twins, fit_alone
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skrebatch import FusedGridSearchCV, fit_fused
from skrebatch._engine.optim.optimizers import check_optimizer, optimizer_options

NAMED = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}
PARAMS = [
    ("adam", {}),
    ("adam", {"betas": (0.5, 0.9), "amsgrad": True}),
    ("adam", {"foreach": True}),
    ("adamw", {"eps": 1e-3}),
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("rmsprop", {}),
    # Centred it divides by a difference, in which rounding shows but for eps.
    ("rmsprop", {"momentum": 0.5, "centered": True, "eps": 1e-3}),
    (torch.optim.Adam, {}),
]
CLASSES = ["Adadelta", "Adagrad", "Adamax", "ASGD", "NAdam", "RAdam", "Rprop"]
PARAMS += [(getattr(torch.optim, name), {}) for name in CLASSES]
IDS = [f"{getattr(name, '__name__', name)} {params}" for name, params in PARAMS]


@pytest.mark.parametrize("optimizer, params", PARAMS, ids=IDS)
def test_a_fit_follows_the_book(optimizer, params):
    X, y = make_data()
    model = make(optimizer=optimizer, optimizer_params=params, dtype="float64")
    cls = NAMED.get(optimizer, optimizer)
    decays = {"weight_decay": 0.0} if cls is torch.optim.AdamW else {}
    book = Book("binary", X, y, optimizer=cls, params={**params, **decays})
    book.assert_equals(model.fit(X, y))


@pytest.mark.parametrize("optimizer, params", PARAMS, ids=IDS)
def test_every_network_of_a_stack_equals_its_twin(optimizer, params):
    X, y = make_data()
    shared = {"optimizer": optimizer, "dtype": "float64", "max_epochs": 8}
    models = [
        make(optimizer_params=params, **{**shared, **own})
        for own in (
            {},
            {"random_state": 1},
            {"lr": 0.003, "ratio": 0.5},
            {"batch_size": 3},
            {"max_epochs": 2},
            {"early_stopping": True, "n_iter_no_change": 2},
            {"n_networks": 2, "random_state": 3},
        )
    ]
    models.append(make(**shared, random_state=4))  # torch's own options
    if optimizer is not torch.optim.Rprop:
        models.append(make(**shared, weight_decay=0.1, optimizer_params=params))
    fit_fused(models, X, y)
    twins = fit_alone(models, X, y)
    # What it remembers of each network has come along.
    for model in models + twins:
        model.set_params(early_stopping=False).partial_fit(X, y)
    assert_all_twins(models, twins, X)


@pytest.mark.parametrize("optimizer, params", PARAMS, ids=IDS)
def test_epochs_one_by_one_end_where_fit_ends(optimizer, params):
    X, y = make_data()
    model = make(optimizer=optimizer, optimizer_params=params, n_networks=2)
    other = clone(model)
    for _ in range(4):
        other.partial_fit(X, y)
    for one, its in zip(
        model.fit(X, y).module_.networks, other.module_.networks, strict=True
    ):
        for weight, expected in zip(one.parameters(), its.parameters(), strict=True):
            assert torch.equal(weight, expected)


def test_what_may_change_between_epochs_and_what_begins_anew():
    X, y = make_data()
    params = {"optimizer": "sgd", "optimizer_params": {"momentum": 0.9}}

    def trained(**changes):
        model = make(**params).fit(X, y)
        net = model.net_
        return model.set_params(**changes).partial_fit(X, y), net

    model, net = trained(lr=1e-12)
    assert model.net_ is net
    assert_close(weights_of(model), weights_of(make(**params).fit(X, y)), 1e-6)
    # Without momentum of old the step is the gradient's own.
    model, net = trained(optimizer_params={})
    assert model.net_ is not net
    # A pickle holds no optimizer.
    forgetful = pickle.loads(pickle.dumps(make(**params).fit(X, y)))
    assert_same_bits(model, forgetful.set_params(optimizer_params={}).partial_fit(X, y))
    assert np.abs(weights_of(model) - weights_of(trained()[0])).max() > 1e-3


def test_weight_decay_is_the_estimator_s_own():
    # AdamW decays by 0.01 if not told; Rprop can't.
    assert optimizer_options(torch.optim.AdamW, 0.1)["weight_decay"] == 0
    assert "weight_decay" not in optimizer_options(torch.optim.Rprop, 0.1)
    with pytest.raises(ValueError, match=r"Rprop can't.*weight_decay=0\.1.*'weight_d"):
        make(optimizer=torch.optim.Rprop, weight_decay=0.1).fit(*make_data())


def test_a_search_may_hold_them_all():
    X, y = make_data()
    grid = {
        "optimizer": ["sgd", "rmsprop", torch.optim.NAdam],
        "optimizer_params": [None, {"weight_decay": 1}, {"momentum_decay": 0.1}],
    }
    estimator = make(dtype="float64", max_epochs=3)
    options = {"cv": 2, "error_score": -1.0}
    with pytest.warns(match="fits failed"):
        fused = FusedGridSearchCV(estimator, grid, **options).fit(X, y)
    with pytest.warns(match="fits failed"):
        one_by_one = GridSearchCV(estimator, grid, **options).fit(X, y)
    scores = fused.cv_results_["mean_test_score"]
    assert_close(scores, one_by_one.cv_results_["mean_test_score"])
    # Of each optimizer the one without arguments, and one for NAdam alone.
    assert (scores >= 0).tolist() == [True, False, False] * 2 + [True, False, True]


class Counting(torch.optim.SGD):
    """Say how often it took a step, which a wrapper may want to know."""

    steps = 0

    def step(self, closure=None):
        type(self).steps += 1
        return super().step(closure)


def test_a_class_of_the_user_s_own():
    X, y = make_data()
    model = make(optimizer=Counting, ratio=0, batch_size=10)
    Counting.steps = 0
    with global_state_stays():
        model.fit(X, y)
    assert_same_bits(model, make(optimizer="sgd", ratio=0, batch_size=10).fit(X, y))
    tried = 9  # three steps on the whole and on two parts
    assert Counting.steps == 4 * 5 + tried
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


class Own(torch.optim.Optimizer):
    """An optimizer by its rule for one parameter."""

    def __init__(self, params, lr, rule=None):
        super().__init__(params, {"lr": lr, "rule": rule})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            live = [p for p in group["params"] if p.grad is not None]
            for parameter in live:
                group["rule"](parameter, group["lr"], live)


def by_sign(parameter, lr, live):
    parameter.sub_(lr * parameter.grad.sign())


def by_norm(parameter, lr, live):
    parameter.sub_(lr * parameter.grad / parameter.grad.norm().clamp(min=1))


def by_large_norm(parameter, lr, live):
    parameter.sub_(lr * parameter.grad / parameter.grad.norm().clamp(min=100))


def by_small_norm(parameter, lr, live):
    parameter.sub_(lr * parameter.grad / parameter.grad.norm().clamp(max=0.5))


def by_chance(parameter, lr, live):
    parameter.sub_(lr * parameter.grad * torch.rand(()))


def replacing(parameter, lr, live):
    parameter.data = parameter - lr * parameter.grad


def by_matrix(parameter, lr, live):
    if parameter.ndim != 2:
        raise ValueError("only matrices")
    parameter.sub_(lr * parameter.grad / parameter.grad.shape[1])


def upwards(parameter, lr, live):
    parameter.add_(lr)


@pytest.mark.parametrize(
    "rule, words",
    [
        (by_norm, "each weight independently"),
        (by_large_norm, "each weight independently"),
        (by_small_norm, "each weight independently"),
        (by_chance, "each weight independently"),
        (by_matrix, "each weight independently"),
        (replacing, "does not update the weights"),
        (upwards, "a weight of 0 that has a gradient of 0"),
    ],
)
def test_what_would_mix_networks_is_refused(rule, words):
    check_optimizer(Own, {"rule": by_sign}, LR, 0.0)
    model = make(optimizer=Own, optimizer_params={"rule": rule})
    with global_state_stays(), pytest.raises(ValueError) as raised:
        model.fit(*make_data())
    assert "optimizer=Own" in str(raised.value)
    assert words in str(raised.value)


def test_a_rule_of_the_user_s_own_trains_a_stack():
    X, y = make_data()
    params = {"optimizer": Own, "optimizer_params": {"rule": by_sign}}
    models = [make(dtype="float64", ratio=r, **params) for r in (0.1, 0.3, 0.3)]
    fit_fused(models, X, y)
    assert_all_twins(models, fit_alone(models, X, y), X)
