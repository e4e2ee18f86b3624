"""ReBatch where training ends by an error: the net is as it was, and fits again."""

import contextlib
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV, cross_val_score
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from skrebatch import DivergedError, DynamicBatchSampler, ReBatch

X, Y = make_classification(60, 6, random_state=0)
X = X.astype(np.float32)
SAMPLER = "iterator_train__sampler"
EVENTS = [
    "on_train_begin",
    "on_epoch_begin",
    "on_batch_begin",
    "on_grad_computed",
    "on_batch_end",
    "on_epoch_end",
    "on_train_end",
]


def make_net(callbacks=(), strategy="ohem", **params):
    """A net whose training draws no random numbers but those of ReBatch."""
    torch.manual_seed(0)
    options = {"train_split": None, "verbose": 0, "max_epochs": 3, "batch_size": 16}
    return NeuralNetClassifier(
        nn.Linear,
        module__in_features=6,
        module__out_features=2,
        criterion=nn.CrossEntropyLoss,
        callbacks=[ReBatch(0.3, strategy, random_state=0), *callbacks],
        **{**options, **params},
    )


def raises(event, error):
    """A callback that raises an error at an event, once, in the second epoch."""

    def fail(self, net, **kwargs):
        in_loop = event not in ("on_train_begin", "on_train_end")
        if cls.on and (len(net.history) == 2 or not in_loop):
            cls.on = False
            raise error

    cls = type("Raises", (Callback,), {event: fail, "on": True})
    return cls()


@contextlib.contextmanager
def net_stays(net):
    """Expect that a net has the same parameters afterwards."""
    before = net.get_params(deep=False)
    yield
    after = net.get_params(deep=False)
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    criterion = net.criterion_
    assert criterion.reduction == "mean"
    assert not criterion._forward_hooks and not criterion._forward_pre_hooks


def assert_fits_as_new(net, fit=lambda net: net.fit(X, Y), **params):
    """Expect that a net and its clone end as one that has never been fitted."""
    expected = fit(make_net(**params))
    for again in clone(net), net:
        torch.manual_seed(0)
        fit(again)
        for ours, new in zip(
            again.module_.parameters(), expected.module_.parameters(), strict=True
        ):
            assert torch.equal(ours, new)


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("event", EVENTS)
def test_errors_of_callbacks(event, error, first):
    net = make_net()
    net.callbacks.insert(0 if first else 1, raises(event, error))
    with net_stays(net), contextlib.suppress(error):
        net.fit(X, Y)
    assert_fits_as_new(net)


class Fails(nn.Module):
    """A module that fails in the evaluation of the training rows."""

    def __init__(self, **sizes):
        super().__init__()
        self.layer = nn.Linear(**sizes)

    def forward(self, X):
        if not self.training:
            raise OSError("disk full")
        return self.layer(X)


def refuse(dataset, y):
    raise OSError("disk full")


@pytest.mark.parametrize(
    "data, params, error",
    [
        pytest.param((X.astype(float), Y), {}, RuntimeError, id="dtype"),
        pytest.param((X[:, 1:], Y), {}, RuntimeError, id="features"),
        pytest.param((X, None), {}, ValueError, id="no targets"),
        pytest.param((X, Y[1:]), {}, ValueError, id="too few targets"),
        pytest.param((X, Y + 5), {}, IndexError, id="labels"),
        pytest.param((X * 1e30, Y), {"lr": 1e30}, DivergedError, id="divergence"),
        pytest.param((X, Y), {"train_split": refuse}, OSError, id="split"),
        pytest.param((X, Y), {"module": Fails}, OSError, id="module"),
        pytest.param((X, Y), {"batch_size": 0}, ValueError, id="batch size"),
    ],
)
def test_errors_of_data_and_parts_of_the_net(data, params, error):
    net = make_net()
    good = net.get_params(deep=False)
    net.set_params(**params).initialize()
    with net_stays(net), pytest.raises(error):
        net.partial_fit(*data)
    net.set_params(**{name: good[name] for name in params})
    assert_fits_as_new(net)


def test_after_an_error_a_net_is_scored_searched_and_calibrated():
    net = make_net()
    with pytest.raises(RuntimeError):
        net.fit(X.astype(float), Y)
    expected = cross_val_score(make_net(), X, Y, cv=2)
    torch.manual_seed(0)
    scores = cross_val_score(net, X, Y, cv=2, error_score="raise")
    np.testing.assert_array_equal(scores, expected)
    grid = {"callbacks__ReBatch__ratio": [0.1, 0.5]}
    search = GridSearchCV(net, grid, cv=2, error_score="raise").fit(X, Y)
    assert len(search.cv_results_["params"]) == 2
    assert CalibratedClassifierCV(net, cv=2).fit(X, Y).predict(X).shape == (60,)


def test_a_sampler_that_the_user_has_set_to_none_stays_so():
    net = make_net(**{SAMPLER: None})
    with net_stays(net):
        net.fit(X, Y)
    with net_stays(net), pytest.raises(RuntimeError):
        net.fit(X.astype(float), Y)


class Copies(Callback):
    """Copy the net during its training, as checkpoints do."""

    def on_train_begin(self, net, **kwargs):
        self.copies_ = []

    def on_epoch_end(self, net, **kwargs):
        self.copies_ += [clone(net), pickle.loads(pickle.dumps(net))]


def test_copies_made_during_the_training_fit_as_new():
    copies = Copies()
    net = make_net([copies])
    with net_stays(net):
        net.fit(X, Y)
    assert len(copies.copies_) == 6
    for copy in copies.copies_[2:4]:
        assert SAMPLER not in copy.get_params()
        assert_fits_as_new(copy)


@pytest.mark.parametrize("event", EVENTS)
def test_a_batch_sampler_is_as_it_was(event):
    lengths = np.arange(60) % 7 + 1
    params = {
        "iterator_train__batch_size": 1,
        "iterator_train__batch_sampler": DynamicBatchSampler(
            lengths, 20, random_state=0
        ),
    }
    net = make_net([raises(event, OSError)], **params)
    batches = params["iterator_train__batch_sampler"]
    with net_stays(net), pytest.raises(OSError):
        net.fit(X, Y)
    assert batches.sampler is None
    assert np.isfinite(clone(net).fit(X, Y).history[-1, "train_loss"])


def test_a_callback_may_evaluate_the_net_during_a_batch():
    class Evaluates(Callback):
        def on_grad_computed(self, net, batch=None, **kwargs):
            loss = net.validation_step(batch)["loss"]
            own = nn.functional.cross_entropy(net.infer(batch[0]), batch[1])
            assert torch.equal(loss, own.detach())
            net._set_training(True)

    net = make_net([Evaluates()]).fit(X, Y)
    assert len(net.history) == 3
