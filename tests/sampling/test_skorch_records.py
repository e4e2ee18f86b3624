"""What ReBatch records of the training of a net."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.estimators import (
    FEATURES,
    LR,
    Interrupt,
    N,
    assert_close,
    assert_same_records,
    make,
    make_data,
    records_of,
    validation_split,
)
from helpers.refusals import Fail
from sklearn.base import clone
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import Subset, TensorDataset

from skrebatch import ReBatch, TabularCNN

SEED = int(np.random.RandomState(0).randint(2**31 - 1))  # that of random_state=0


def split_like(train, valid):
    return lambda dataset, y: (Subset(dataset, train), Subset(dataset, valid))


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(
    "task, strategy, repeats",
    [
        ("binary", "min-loss", 1),
        ("binary", "breed", 1),
        ("regression", "max-loss", 0),
        ("multi-target", "random", 2),
    ],
)
def test_records_are_those_of_an_estimator(task, strategy, repeats, early_stopping):
    X, y = make_data(task)
    model = make(
        task,
        strategy=strategy,
        repeats=repeats,
        early_stopping=early_stopping,
        record_losses=True,
        dtype="float64",
    ).fit(X, y)
    targets, rng = y.astype(float), np.random.default_rng(SEED)
    if task != "binary":
        targets = (y - model.target_mean_) / model.target_scale_
        targets = targets.reshape(N, -1)
    split = None
    if early_stopping:
        rng.integers(2**31)  # the seed of the split
        rows = np.arange(N)
        train, valid = validation_split(rows, y, stratify=task == "binary")
        split = split_like(np.sort(train), valid)
    n_outputs = targets.shape[1] if targets.ndim == 2 else 1
    generator = torch.Generator().manual_seed(SEED)
    cls = NeuralNetBinaryClassifier if task == "binary" else NeuralNetRegressor
    rebatch = ReBatch(0.25, strategy, repeats, record_losses=True, random_state=rng)
    cls(
        TabularCNN(FEATURES, n_outputs, generator=generator).double(),
        optimizer=torch.optim.Adam,
        lr=LR,
        batch_size=model.batch_size_,
        max_epochs=4,
        train_split=split,
        callbacks=[rebatch],
        verbose=0,
    ).fit(X, targets)
    epochs, losses, choices, times = records_of(rebatch)
    np.testing.assert_array_equal(epochs, model.recorded_epochs_)
    np.testing.assert_array_equal(choices, model.recorded_choices_)
    np.testing.assert_array_equal(times, model.times_chosen_)
    assert_close(losses, model.recorded_losses_, 1e-6)
    for ours, its in zip(records_of(rebatch), records_of(model), strict=True):
        assert ours.dtype == its.dtype


X, Y = make_data("multiclass")
X = X.astype(np.float32)


class Dropout(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(FEATURES, 8), nn.Dropout(), nn.Linear(8, 3))


def make_net(module=Dropout, callbacks=(), record_losses=True, **params):
    torch.manual_seed(0)
    rebatch = ReBatch(0.25, record_losses=record_losses, random_state=0)
    options = {"max_epochs": 3, "batch_size": 7, "lr": 0.1, "verbose": 0}
    return NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        callbacks=[rebatch, *callbacks],
        **{**options, **params},
    )


# Without chance.
LINEAR = {
    "module": nn.Linear,
    "module__in_features": FEATURES,
    "module__out_features": 3,
}


def records(net):
    return dict(net.callbacks_)["ReBatch"]


def losses_of(net, y=Y):
    return -np.log(net.predict_proba(X)[np.arange(N), y])


@pytest.mark.parametrize("split", [None, ValidSplit(0.3, random_state=0)])
def test_to_record_changes_no_bit(split):
    nets = []
    for record in (True, False):
        net = make_net(record_losses=record, train_split=split)
        nets.append(net.fit(X, Y).partial_fit(X, Y))
    recorded, plain = nets
    np.testing.assert_array_equal(recorded.predict_proba(X), plain.predict_proba(X))
    assert recorded.history[:, "train_loss"] == plain.history[:, "train_loss"]
    assert not hasattr(records(plain), "recorded_losses_")


def test_rows_held_out_are_recorded_and_never_chosen():
    split = ValidSplit(0.3, random_state=0)
    net = make_net(train_split=split).fit(X, Y)
    train, valid = split(net.get_dataset(X, Y), Y)
    found = records(net)
    assert found.recorded_losses_.shape == found.recorded_choices_.shape == (3, N)
    assert_close(found.recorded_losses_[-1], losses_of(net), 1e-5)
    for epoch, loss in enumerate(net.history[:, "valid_loss"]):
        held_out = found.recorded_losses_[epoch, valid.indices]
        assert held_out.mean() == pytest.approx(loss, rel=1e-5)
    assert not found.times_chosen_[valid.indices].any()
    assert found.times_chosen_[train.indices].sum() == 2 * 5  # 28 * .25 / 1.25


def test_a_subset_given_by_the_user_has_its_own_rows():
    data = TensorDataset(torch.tensor(X), torch.tensor(Y))
    net = make_net(train_split=None).fit(Subset(data, [*range(10, 30)]), y=None)
    losses = records(net).recorded_losses_
    assert losses.shape == (3, 20)
    assert_close(losses[-1], losses_of(net)[10:30], 1e-5)


def test_records_go_on_over_calls_with_the_same_rows():
    whole = make_net(**LINEAR, max_epochs=4).fit(X, Y)
    for warm_start in (False, True):
        parts = make_net(**LINEAR, max_epochs=2, warm_start=warm_start).fit(X, Y)
        (parts.fit if warm_start else parts.partial_fit)(X, Y)
        assert_same_records(records(parts), records(whole))
    # The size of the batches is not what the rows are.
    parts.set_params(batch_size=5).partial_fit(X, Y, epochs=1)
    assert records(parts).recorded_epochs_.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("X, y", [(X[::-1].copy(), Y), (X, Y[::-1].copy())])
def test_records_begin_anew_with_other_rows(X, y):
    net = make_net().fit(globals()["X"], Y).partial_fit(X, y, epochs=2)
    assert records(net).recorded_epochs_.tolist() == [4, 5]
    assert records(net).times_chosen_.sum() == 2 * 6  # 33 * .25 / 1.25


def test_records_of_an_earlier_fit_are_dropped():
    fail = Fail()
    plain = make_net(record_losses=False).fit(X, Y)
    net = make_net(callbacks=[fail]).fit(X, Y)
    assert not hasattr(records(clone(net).initialize()), "recorded_losses_")
    net.fit(X, Y)
    assert records(net).recorded_epochs_.tolist() == [1, 2, 3]
    net.set_params(callbacks__ReBatch__record_losses=False).partial_fit(X, Y)
    assert vars(records(net)).keys() == vars(records(plain)).keys()
    net.set_params(callbacks__ReBatch__record_losses=True).partial_fit(X, Y, epochs=1)
    assert records(net).recorded_epochs_.tolist() == [7]
    fail.on = True
    with pytest.raises(OSError, match="disk full"):
        net.fit(X, Y)
    assert not hasattr(records(net), "recorded_epochs_")


def test_a_pickled_net_keeps_its_records_and_goes_on():
    net = make_net(**LINEAR).fit(X, Y)
    twin = pickle.loads(pickle.dumps(net))
    assert_same_records(records(twin), records(net))
    for each in (net, twin):
        each.partial_fit(X, Y, epochs=1)
    assert_same_records(records(twin), records(net))
    assert records(twin).recorded_epochs_.tolist() == [1, 2, 3, 4]


def test_a_copy_made_during_the_training_has_the_records_until_then():
    class Copy(Callback):
        def on_epoch_end(self, net, **kwargs):
            copies.append(pickle.loads(pickle.dumps(records(net))))

    copies = []
    make_net(callbacks=[Copy()]).fit(X, Y)
    assert [len(copy.recorded_losses_) for copy in copies] == [1, 2, 3]


def test_an_interrupted_training_keeps_its_records():
    net = make_net(callbacks=[Interrupt(3, 2)]).fit(X, Y)
    assert records(net).recorded_epochs_.tolist() == [1, 2]
    net.partial_fit(X, Y, epochs=1)
    assert records(net).recorded_epochs_.tolist() == [1, 2, 4]
    net.set_params(callbacks=[records(net), Interrupt(1)]).fit(X, Y)
    assert not hasattr(records(net), "recorded_epochs_")


class Named(nn.Linear):
    def forward(self, a, b=None):
        a, b = a if b is None else (a, b)  # a list is one argument
        return super().forward(torch.cat([a, b], dim=1).float())


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_the_index_of_a_frame_is_kept():
    frame = pd.DataFrame(X[:, :2], columns=["a", "b"])
    frame.index = [f"row {i}" for i in range(N)]
    net = make_net(Named(2, 3)).fit(frame, Y)
    assert records(net).sample_index_.equals(frame.index)
    net.partial_fit(frame, Y)
    assert len(records(net).recorded_epochs_) == 6
    for other in ({"a": X[:, :1], "b": X[:, 1:2]}, [X[:, :1], X[:, 1:2]]):
        net.fit(other, Y).partial_fit(other, Y)
        assert not hasattr(records(net), "sample_index_")
        assert len(records(net).recorded_epochs_) == 6


def test_record_losses_must_be_a_bool():
    with pytest.raises(ValueError, match="record_losses must be"):
        make_net(record_losses="yes").fit(X, Y)
