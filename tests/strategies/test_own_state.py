"""User-defined strategies that store something between their calls."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from skorch import NeuralNetRegressor

from skrebatch import (
    Plan,
    ReBatch,
    ReBatchCNNClassifier,
    Strategy,
    fit_fused,
)
from skrebatch.sampling._selector import Selection
from skrebatch.strategies._planning import batch_weights_of

X, Y = make_classification(120, 6, random_state=0)
ONE = {
    "n_networks": 1,
    "architecture": "mlp",
    "dtype": "float64",
    "batch_size": 32,
    "max_epochs": 6,
    "random_state": 0,
}


class Annealed(Strategy):
    """Weights by a power of the loss that `plan` sets."""

    uses_ratio = False

    def plan(self, losses, epoch):
        self.power_ = epoch.progress
        return Plan()

    def batch_weights(self, losses):
        return losses.clamp_min(1e-9) ** getattr(self, "power_", 0.0)


class AboveMean(Strategy):
    """Weights by a running mean that only `batch_weights` knows."""

    def batch_weights(self, losses):
        mean = losses.mean()
        self.mean_ = 0.9 * getattr(self, "mean_", mean) + 0.1 * mean
        return 0.5 + (losses > self.mean_).to(losses.dtype)


class LossChange(Strategy):
    """Chooses the samples whose loss has changed most."""

    def plan(self, losses, epoch):
        last = getattr(self, "last_", np.zeros_like(losses))
        self.last_ = losses
        return np.argsort(-np.abs(losses - last), kind="stable")[: epoch.n_chosen]


class InPlace(Strategy):
    """Sorts the losses that it gets."""

    def plan(self, losses, epoch):
        order = np.argsort(losses, kind="stable")
        losses.sort()
        return order[: epoch.n_chosen]


@pytest.mark.parametrize("strategy", [Annealed(), AboveMean()])
def test_a_stack_weights_by_the_state_of_each_network(strategy):
    settings = [{"max_epochs": 3}, {"max_epochs": 8}, {"lr": 0.1}]
    models = [
        ReBatchCNNClassifier(**{**ONE, "strategy": strategy, **own}) for own in settings
    ]
    alone = [
        ReBatchCNNClassifier(**model.get_params(deep=False)).fit(X, Y)
        for model in models
    ]
    for fused, single in zip(fit_fused(models, X, Y), alone, strict=True):
        np.testing.assert_allclose(
            fused.decision_function(X), single.decision_function(X), rtol=1e-7
        )


def test_networks_that_choose_together_weight_by_the_plan_of_the_first():
    powers = []

    class Recorded(Annealed):
        def batch_weights(self, losses):
            powers.append(vars(self).get("power_"))
            return super().batch_weights(losses)

    params = {**ONE, "n_networks": 3, "early_stopping": False, "choose": "together"}
    ReBatchCNNClassifier(**params, strategy=Recorded()).fit(X, Y)
    planned = powers[powers.index(0.2) :]  # the first epoch is not planned
    assert None not in planned
    assert sorted(set(planned)) == [0.2, 0.4, 0.6, 0.8, 1.0]


def test_partial_fit_continues_with_what_the_strategy_has_stored():
    whole = ReBatchCNNClassifier(**ONE, strategy=LossChange()).fit(X, Y)
    parts = ReBatchCNNClassifier(**ONE, strategy=LossChange())
    for _ in range(ONE["max_epochs"]):
        parts.partial_fit(X, Y, classes=[0, 1])
    np.testing.assert_array_equal(whole.chosen_, parts.chosen_)
    np.testing.assert_allclose(
        whole.decision_function(X), parts.decision_function(X), rtol=1e-9
    )
    # For other rows, what was stored would be of the wrong samples.
    parts.partial_fit(X[:100], Y[:100])


def test_a_strategy_with_state_cannot_choose_within_classes():
    model = ReBatchCNNClassifier(**ONE, strategy=LossChange(), class_balanced=True)
    with pytest.raises(ValueError, match=r"stores the attribute 'last_', but `plan`"):
        model.fit(X, Y)


def test_a_plan_may_change_its_losses_in_place():
    inputs = X.astype(np.float32)
    targets = inputs[:, :1]
    records = []
    for strategy in ("min-loss", InPlace()):
        torch.manual_seed(0)
        rebatch = ReBatch(0.3, strategy, record_losses=True, random_state=0)
        net = NeuralNetRegressor(
            torch.nn.Linear(6, 1), max_epochs=3, verbose=0, callbacks=[rebatch]
        )
        net.fit(inputs, targets)
        records.append((rebatch.recorded_losses_, rebatch.sample_losses_))
    for plain, changed in zip(*records, strict=True):
        np.testing.assert_array_equal(plain, changed)


def test_a_strategy_may_keep_its_losses():
    losses = np.arange(4.0)
    selection = Selection(4, LossChange(), np.random.default_rng(0), ratio=0.5)
    selection.begin_epoch(None)
    selection.begin_epoch(losses)
    losses += 1
    np.testing.assert_array_equal(selection.strategy.last_, np.arange(4.0))


def test_a_restored_state_has_nothing_that_came_later():
    selection = Selection(4, LossChange(), np.random.default_rng(0), ratio=0.5)
    selection.begin_epoch(None)
    before = selection.state_dict()
    selection.begin_epoch(np.arange(4.0))
    between = selection.state_dict()
    selection.strategy.last_ += 1
    selection.load_state_dict(between)
    np.testing.assert_array_equal(selection.strategy.last_, np.arange(4.0))
    selection.load_state_dict(before)
    assert not hasattr(selection.strategy, "last_")


class Teacher(Strategy):
    """Leaves out the rows that a list names, whatever the losses are."""

    uses_ratio = False

    def __init__(self, bad):
        self.bad = bad

    def plan(self, losses, epoch):
        return Plan(np.flatnonzero(np.isin(epoch.rows, self.bad)), repeats=0)


@pytest.mark.parametrize("balanced", [False, True])
def test_a_strategy_knows_the_rows_of_its_samples(balanced):
    bad = np.arange(0, 120, 7)
    model = ReBatchCNNClassifier(
        **{**ONE, "n_networks": 3}, strategy=Teacher(bad), class_balanced=balanced
    ).fit(X, Y)
    for network in model.chosen_by_network_:
        assert set(network) <= set(bad)
    # Each row is held out by one of five folds, and so by at most one network.
    assert set(bad) == set(np.concatenate(model.chosen_by_network_))


def test_a_strategy_of_a_net_knows_the_rows_of_its_samples():
    bad = np.arange(0, 120, 7)
    rebatch = ReBatch(0.15, Teacher(bad), random_state=0)
    net = NeuralNetRegressor(
        torch.nn.Linear(6, 1), max_epochs=2, verbose=0, callbacks=[rebatch]
    )
    inputs = X.astype(np.float32)
    net.fit(inputs, inputs[:, :1])
    train, _ = net.get_split_datasets(inputs, inputs[:, :1])
    rows = np.asarray(train.indices)
    assert set(rows[rebatch.chosen_]) == set(bad) & set(rows)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_weights_of_a_batch_are_finite_and_not_negative(value):
    class Constant(Strategy):
        def batch_weights(self, losses):
            return torch.full_like(losses, value)

    with pytest.raises(ValueError, match="negative, NaN or infinite"):
        batch_weights_of(Constant(), torch.ones(1, 3))
    model = ReBatchCNNClassifier(**ONE, strategy=Constant())
    with pytest.raises(ValueError, match="negative, NaN or infinite"):
        model.fit(X, Y)
