"""What users write, with the types that it has."""

from typing import Any, assert_type

import numpy as np
import torch
from numpy.typing import NDArray

from skrebatch import (
    Epoch,
    FusedGridSearchCV,
    IntervalInsertionSampler,
    LossCurveDisplay,
    MaxLoss,
    Plan,
    ReBatch,
    ReBatchCNNClassifier,
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressor,
    Strategy,
    TabularCNN,
    fit_fused,
    interval_insertion,
    redistribution_size,
    training_dynamics,
)

Floats = NDArray[np.float64]


class Middle(Strategy):
    def plan(self, losses: NDArray[np.floating[Any]], epoch: Epoch) -> Plan:
        distance = np.abs(losses - np.median(losses))
        return Plan(np.argsort(distance)[: epoch.n_chosen], repeats=2)


def classify(X: Floats, y: NDArray[np.int64]) -> None:
    model = ReBatchCNNClassifier(ratio=0.3, strategy=Middle(), hidden_layers=[8])
    assert_type(model.fit(X, y, sample_weight=np.ones(len(y))), ReBatchCNNClassifier)
    assert_type(model.predict_proba(X), Floats)
    assert_type(model.predict(X), NDArray[Any])
    assert_type(model.loss_curve_, list[float])
    model.set_params(lr=0.01).partial_fit(X, y, classes=[0, 1])
    grid = {"strategy": [MaxLoss(), "ohem"]}
    found = ReBatchCNNClassifierCV(model, grid, scoring="accuracy", random_state=0)
    assert_type(found.fit(X, y, sample_weight=np.ones(len(y))), ReBatchCNNClassifierCV)
    assert_type(found.predict_proba(X), Floats)
    search = FusedGridSearchCV(model, {"ratio": [0, 0.3]}, cv=3)
    assert_type(search.fit(X, y), FusedGridSearchCV)
    both = [ReBatchCNNClassifier(), ReBatchCNNClassifier()]
    fit_fused(both, X.tolist(), y, sample_weight=np.ones(len(y)))
    fit_fused(both, X, y, sample_weight=[np.ones(len(y)), None])
    dynamics = training_dynamics(model)
    print(dynamics["mean_loss"].max(), LossCurveDisplay.from_estimator(model).areas_)


def regress(X: torch.Tensor, y: list[float]) -> None:
    model = ReBatchCNNRegressor(
        optimizer=torch.optim.SGD, optimizer_params={"momentum": 0.9}, device="cpu"
    ).fit(X, y, X_val=X, y_val=y)
    assert_type(model, ReBatchCNNRegressor)
    assert_type(model.predict(X), Floats)


def pieces() -> None:
    assert_type(redistribution_size(100, ratio=0.15), int)
    assert_type(interval_insertion([0, 1], [2]), NDArray[np.intp])
    sampler = IntervalInsertionSampler(8, random_state=np.random.default_rng(0))
    sampler.redistribute([7, 2])
    order: list[int] = list(sampler)
    print(order, ReBatch(ratio=0.1, ratio_schedule=lambda progress: progress**2))
    network = TabularCNN(8, 1)
    print(network(torch.zeros(2, 8)).shape)
