"""ReBatch on nets that do more than the usual: it takes whatever they train on."""

import numpy as np
import pytest
import torch
from skorch import NeuralNet, NeuralNetRegressor
from torch import nn
from torch.nn import functional as F

from skrebatch import ReBatch

N = 20
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
Y = X[:, :1] * 2 - X[:, 1:2]


def make_net(cls=NeuralNet, module=nn.Linear, rebatch=None, **params):
    torch.manual_seed(0)
    options = {"criterion": nn.MSELoss, "train_split": None, "verbose": 0, "lr": 0.05}
    sizes = {"module__in_features": 3, "module__out_features": 1}
    callbacks = [rebatch or ReBatch(0.5, random_state=0)]
    options |= {"max_epochs": 3, "batch_size": 4, "callbacks": callbacks}
    return cls(module, **{**options, **sizes, **params})


def rebatch_of(net):
    return dict(net.callbacks_)["ReBatch"]


def assert_losses(net, expected):
    losses = rebatch_of(net).sample_losses_
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-7)
    easiest = np.argsort(losses, kind="stable")[:6]  # 20 * .5 / 1.5
    np.testing.assert_array_equal(rebatch_of(net).chosen_, easiest)


# --- targets of any kind ---


class Sequences(torch.utils.data.Dataset):
    """Rows whose targets are as long as their number tells, one to three steps."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        return X[i], torch.full((1 + i // 7,), float(Y[i, 0]))


def pad(batch):
    """Pad the targets to the longest in the batch."""
    longest = max(len(target) for _, target in batch)
    targets = [F.pad(t, (0, longest - len(t)), value=torch.nan) for _, t in batch]
    return torch.tensor(np.stack([x for x, _ in batch])), torch.stack(targets)


class PaddedMSE(nn.MSELoss):
    """The squared error of each step, that of padding left out."""

    def forward(self, outputs, targets):
        known = ~targets.isnan()
        error = super().forward(outputs.expand_as(targets), targets.nan_to_num())
        if self.reduction == "none":
            return (error * known).sum(1) / known.sum(1)
        return error


COLLATE = {"iterator_train__collate_fn": pad, "iterator_valid__collate_fn": pad}


def test_targets_whose_length_differs_between_batches():
    net = make_net(criterion=PaddedMSE, **COLLATE).fit(Sequences())
    assert rebatch_of(net).selection_.labels is None
    outputs = net.module_(torch.tensor(X)).detach().numpy()
    assert_losses(net, (outputs - Y)[:, 0] ** 2)


def test_such_targets_are_no_classes():
    rebatch = ReBatch(0.5, class_balanced=True)
    net = make_net(criterion=PaddedMSE, rebatch=rebatch, **COLLATE)
    with pytest.raises(ValueError, match="one label for each sample, but none are"):
        net.fit(Sequences())


def keep_texts(batch):
    return torch.tensor(np.stack([x for x, _ in batch])), [t for _, t in batch]


class TextLoss(nn.MSELoss):
    """The squared error of targets that come as texts."""

    def forward(self, outputs, targets):
        return super().forward(outputs[:, 0], torch.tensor(list(map(float, targets))))


class ToTheCriterion(NeuralNet):
    def get_loss(self, y_pred, y_true, X=None, training=False):
        return self.criterion_(y_pred, y_true)


def test_targets_that_are_not_tensors():
    net = make_net(
        ToTheCriterion,
        criterion=TextLoss,
        iterator_train__collate_fn=keep_texts,
        iterator_valid__collate_fn=keep_texts,
    )
    net.fit(TextRows())
    outputs = net.module_(torch.tensor(X)).detach().numpy()
    assert_losses(net, (outputs - Y)[:, 0] ** 2)


class TextRows(torch.utils.data.Dataset):
    def __len__(self):
        return N

    def __getitem__(self, i):
        return X[i], " " * i + str(Y[i, 0])


# --- nets with parts of their own ---


class OwnNames(NeuralNetRegressor):
    """A net whose criterion has a name of its own."""

    def __init__(self, *args, distance=nn.L1Loss, **kwargs):
        self.distance = distance
        super().__init__(*args, **kwargs)

    def initialize_criterion(self):
        params = self.get_params_for("distance")
        self.distance_ = self.initialized_instance(self.distance, params)
        return self

    def get_loss(self, y_pred, y_true, *args, **kwargs):
        return self.distance_(y_pred, y_true)


class TwoCriteria(OwnNames):
    """A net whose loss is the sum of two criteria."""

    def initialize_criterion(self):
        super().initialize_criterion()
        self.square_ = nn.MSELoss()
        return self

    def get_loss(self, y_pred, y_true, *args, **kwargs):
        return self.distance_(y_pred, y_true) + self.square_(y_pred, y_true)


@pytest.mark.parametrize(
    "cls, power", [(OwnNames, 0), (TwoCriteria, 1)], ids=["own name", "two criteria"]
)
def test_criteria_of_any_name(cls, power):
    net = make_net(cls).fit(X, Y)
    error = np.abs(net.predict(X) - Y)[:, 0]
    assert_losses(net, error + power * error**2)
    assert net.distance_.reduction == "mean"


def test_criteria_of_any_name_may_be_weighed():
    plain, weighed = (
        make_net(OwnNames, rebatch=ReBatch(0.5, strategy, random_state=0)).fit(X, Y)
        for strategy in ("min-loss", "ohem")
    )
    assert (plain.predict(X) != weighed.predict(X)).any()
    assert not weighed.distance_._forward_hooks


def test_two_criteria_are_not_weighed():
    net = make_net(TwoCriteria, rebatch=ReBatch(0.5, "ohem"))
    with pytest.raises(ValueError, match="Use one criterion.* got 2"):
        net.fit(X, Y)


class NoCriterion(NeuralNetRegressor):
    def initialize_criterion(self):
        return self

    def get_loss(self, y_pred, y_true, *args, **kwargs):
        return F.mse_loss(y_pred, y_true)


def test_a_net_without_a_criterion_is_refused():
    with pytest.raises(TypeError, match="the net has no `reduction`"):
        make_net(NoCriterion).fit(X, Y)


class Scaled(nn.Linear):
    """A module that needs to be told a scale."""

    def forward(self, X, scale):
        return super().forward(X) * scale


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_fit_parameters_reach_the_module_in_the_loss_pass(method):
    net = make_net(module=Scaled)
    getattr(net, method)(X, Y, epochs=2, scale=3.0)
    assert len(net.history) == 2
    outputs = net.module_(torch.tensor(X), 3.0).detach().numpy()
    assert_losses(net, (outputs - Y)[:, 0] ** 2)


class OwnStep(NeuralNetRegressor):
    """A net that evaluates in a way of its own."""

    def validation_step(self, batch, **fit_params):
        inputs, targets = batch
        return super().validation_step((inputs * 2, targets), **fit_params)


def test_losses_are_those_of_the_net_s_own_validation():
    net = make_net(OwnStep).fit(X, Y)
    assert_losses(net, ((net.predict(X * 2) - Y) ** 2)[:, 0])


class Named(nn.Linear):
    def forward(self, a, b):
        return super().forward(torch.cat([a, b], dim=1))


def test_inputs_of_several_parts():
    parts = {"a": X[:, :1], "b": X[:, 1:]}
    net = make_net(NeuralNetRegressor, module=Named).fit(parts, Y)
    assert_losses(net, ((net.predict(parts) - Y) ** 2)[:, 0])
    plain = make_net(NeuralNetRegressor).fit(X, Y)
    np.testing.assert_array_equal(net.predict(parts), plain.predict(X))


def test_losses_in_bfloat16():
    net = make_net(module__dtype=torch.bfloat16)
    tensors = [torch.tensor(array, dtype=torch.bfloat16) for array in (X, Y)]
    net.fit(*tensors)
    assert rebatch_of(net).sample_losses_.dtype == np.float32
    outputs = net.module_(tensors[0]).detach()
    assert_losses(net, ((outputs - tensors[1]) ** 2)[:, 0].float())


class Flat(nn.MSELoss):
    """A criterion that forgets which loss is whose."""

    def forward(self, outputs, targets):
        return super().forward(outputs.repeat(2, 1), targets.repeat(2, 1))


def test_losses_that_belong_to_no_sample_are_refused():
    with pytest.raises(TypeError, match=r"of 4 samples has the shape \(8, 1\)"):
        make_net(criterion=Flat).fit(X, Y)
