"""What the parameters of the estimators reach."""

from decimal import Decimal

import numpy as np
import pytest
import torch
from helpers.estimators import (
    FEATURES,
    FULL_BATCH,
    N,
    assert_close,
    assert_same_bits,
    make,
    make_data,
    sample_losses,
    weights_of,
)
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skrebatch import MinLoss, ReBatchCNNRegressor, Strategy, TabularCNN


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


def test_a_grid_reaches_every_parameter():
    X, y = make_data("regression")
    wanted = make("regression", repeats=2, hidden_size=7, optimizer="sgd", lr=0.1)
    grid = {name: [value] for name, value in wanted.get_params().items()}
    search = GridSearchCV(ReBatchCNNRegressor(), grid, cv=2).fit(X, y)
    assert_same_bits(search.best_estimator_, wanted.fit(X, y))


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_a_ratio_may_be_a_decimal(schedule):
    X, y = make_data()
    model = make(ratio=Decimal("0.25"), ratio_schedule=schedule).fit(X, y)
    assert_same_bits(model, make(ratio=0.25, ratio_schedule=schedule).fit(X, y))
