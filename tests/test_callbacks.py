"""ReBatch on skorch nets with modules of their own, followed by hand."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from test_bad_input import Fail
from test_estimators import choose, insert_one_by_one, make, make_data
from torch import nn
from torch.nn import functional as F

from skrebatch import MaxLoss, ReBatch

N, FEATURES = 41, 5
SIZE = 8  # 41 * .25 / 1.25


class MLP(nn.Module):
    """Two layers, with dropout, which losses must be computed without."""

    def __init__(self, n_outputs=3, probabilities=False):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, 16),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(16, n_outputs),
        )
        self.probabilities = probabilities

    def forward(self, X):
        outputs = self.layers(X)
        return outputs.softmax(1) if self.probabilities else outputs


class Follow(Callback):
    """Note the rows of every batch, and compute the losses by hand."""

    def __init__(self, loss):
        self.loss = loss

    def on_train_begin(self, net, **kwargs):
        self.orders_, self.losses_ = [], []

    def on_epoch_begin(self, net, **kwargs):
        self.orders_.append([])

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            self.orders_[-1] += batch[0][:, 0].mul(1000).round().int().tolist()

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        rows = [dataset_train[i] for i in range(len(dataset_train))]
        X = torch.tensor(np.stack([x for x, _ in rows]))
        y = torch.tensor(np.stack([target for _, target in rows]))
        net.module_.eval()
        with torch.no_grad():
            self.losses_.append(self.loss(net.module_(X), y).numpy())


def numbered_data(task):
    """The data of the estimators' tests, with the row's number in column 0."""
    X, y = make_data(task)
    X[:, 0] = np.arange(N) / 1000
    X = X.astype(np.float32)
    if task == "multiclass":
        return X, y
    scale = 1 if task == "binary" else 100
    return X, (y / scale).astype(np.float32)


def of_probabilities(outputs, y):
    return -torch.log(outputs[torch.arange(len(y)), y])


def of_logits(outputs, y):
    return F.cross_entropy(outputs, y, reduction="none")


def of_one_logit(outputs, y):
    return F.binary_cross_entropy_with_logits(outputs[:, 0], y, reduction="none")


def squared_error(outputs, y):
    return ((outputs - y) ** 2).mean(1)


def absolute_error(outputs, y):
    return (outputs - y).abs().mean(1)


TASKS = {
    "NLL of probabilities": (
        NeuralNetClassifier,
        "multiclass",
        {"module__probabilities": True},
        of_probabilities,
    ),
    "cross-entropy": (
        NeuralNetClassifier,
        "multiclass",
        {"criterion": nn.CrossEntropyLoss},
        of_logits,
    ),
    "one target": (
        NeuralNetRegressor,
        "regression",
        {"module__n_outputs": 1},
        squared_error,
    ),
    "two targets": (
        NeuralNetRegressor,
        "multi-target",
        {"module__n_outputs": 2},
        squared_error,
    ),
    "absolute error": (
        NeuralNetRegressor,
        "multi-target",
        {"module__n_outputs": 2, "criterion": nn.L1Loss},
        absolute_error,
    ),
    "one logit": (
        NeuralNetBinaryClassifier,
        "binary",
        {"module__n_outputs": 1},
        of_one_logit,
    ),
}


def make_net(task="NLL of probabilities", callbacks=(), rebatch=None, **params):
    """A net with ReBatch and its data; the followers see what it does."""
    cls, data, own_params, loss = TASKS[task]
    X, y = numbered_data(data)
    if data == "regression":
        y = y[:, None]
    rebatch = ReBatch(0.25, random_state=0) if rebatch is None else rebatch
    follow = Follow(loss)
    defaults = {
        "max_epochs": 4,
        "lr": 0.05,
        "batch_size": 7,
        "train_split": None,
        "verbose": 0,
    }
    torch.manual_seed(0)
    net = cls(
        MLP,
        callbacks=[("rebatch", rebatch), ("follow", follow), *callbacks],
        **{**defaults, **own_params, **params},
    )
    return net, follow, rebatch, X, y


def orders_by_hand(losses, strategy, repeats, shuffle, seed=0):
    """What each epoch's order must have been, given the losses after each."""
    rng = np.random.default_rng(seed)
    n = len(losses[0])
    orders = [rng.permutation(n).tolist()]
    size = n // 5  # the ratio .25
    for after in losses:
        chosen = choose(strategy, after, size, rng)
        remaining = np.setdiff1d(np.arange(n), chosen)
        if shuffle:
            rng.shuffle(remaining)
        orders.append(insert_one_by_one(remaining, chosen, repeats))
    return orders[:-1], chosen


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("repeats", [0, 1, 2])
@pytest.mark.parametrize("strategy", ["min-loss", "max-loss", "random"])
def test_every_order_by_hand(strategy, repeats, shuffle):
    rebatch = ReBatch(0.25, strategy, repeats, shuffle, random_state=0)
    net, follow, _, X, y = make_net(rebatch=rebatch)
    net.fit(X, y)
    expected, chosen = orders_by_hand(follow.losses_, strategy, repeats, shuffle)
    assert follow.orders_ == expected
    np.testing.assert_array_equal(rebatch.chosen_, chosen)


@pytest.mark.parametrize("task", TASKS)
def test_losses_and_orders_by_hand(task):
    net, follow, rebatch, X, y = make_net(task)
    net.fit(X, y)
    np.testing.assert_allclose(rebatch.sample_losses_, follow.losses_[-1], rtol=1e-5)
    # To the bit in which order: sort what the callback saw in its last epoch.
    expected, _ = orders_by_hand(follow.losses_, "min-loss", 1, True)
    assert follow.orders_ == expected
    easiest = np.argsort(rebatch.sample_losses_, kind="stable")[:SIZE]
    np.testing.assert_array_equal(rebatch.chosen_, easiest)


def test_rows_are_those_of_the_training_split():
    split = ValidSplit(0.25, stratified=True, random_state=0)
    net, follow, rebatch, X, y = make_net(train_split=split)
    net.fit(X, y)
    train, _ = split(net.get_dataset(X, y), y)
    rows = np.asarray(train.indices)
    assert rebatch.sample_losses_.shape == rows.shape == (30,)
    expected, _ = orders_by_hand(follow.losses_, "min-loss", 1, True)
    assert follow.orders_ == [rows[order].tolist() for order in expected]
    assert len(net.history[:, "valid_loss"]) == 4


def test_an_own_strategy_and_a_generator():
    net, follow, _, X, y = make_net(
        rebatch=ReBatch(0.25, MaxLoss(), random_state=np.random.default_rng(0))
    )
    net.fit(X, y)
    expected, _ = orders_by_hand(follow.losses_, "max-loss", 1, True)
    assert follow.orders_ == expected


@pytest.mark.parametrize("strategy", ["min-loss", "max-loss"])
def test_partial_fits_follow_the_same_orders(strategy):
    rebatch = ReBatch(0.25, strategy, random_state=0)
    net, follow, _, X, y = make_net(rebatch=rebatch, max_epochs=1)
    orders, losses = [], []
    for _ in range(4):
        net.partial_fit(X, y)
        orders += follow.orders_
        losses += follow.losses_
    assert orders == orders_by_hand(losses, strategy, 1, True)[0]
    net.fit(X, y)
    assert follow.orders_ == orders[:1]


def test_a_partial_fit_on_other_rows_chooses_among_them():
    net, follow, rebatch, X, y = make_net(max_epochs=1)
    net.partial_fit(X, y).partial_fit(X[:20], y[:20])
    [order], size = follow.orders_, 4
    with_interval = np.array(order)[4:20:5]  # 16 rows remain: one after every four
    assert sorted(order) == list(range(20))
    before = make_net(max_epochs=1)[0].fit(X, y)
    losses = of_probabilities(
        torch.tensor(before.predict_proba(X[:20])), torch.tensor(y[:20])
    )
    easiest = np.argsort(losses.numpy(), kind="stable")[:size]
    np.testing.assert_array_equal(with_interval, easiest)
    assert rebatch.sample_losses_.shape == (20,)


def test_without_a_ratio_every_epoch_is_a_shuffle():
    net, follow, rebatch, X, y = make_net(rebatch=ReBatch(0, random_state=0))
    net.fit(X, y)
    assert [sorted(order) for order in follow.orders_] == [list(range(N))] * 4
    assert len({tuple(order) for order in follow.orders_}) == 4
    assert rebatch.chosen_.size == 0


def test_a_net_learns_with_it():
    net, _, _, X, y = make_net(module__probabilities=True, max_epochs=150)
    assert net.fit(X, y).score(X, y) > 0.7


# --- the net is as it was ---


def test_a_second_fit_repeats_the_first():
    net, follow, rebatch, X, y = make_net()
    net.fit(X, y)
    first = follow.orders_, rebatch.sample_losses_, rebatch.chosen_
    torch.manual_seed(0)
    net.fit(X, y)
    assert follow.orders_ == first[0]
    np.testing.assert_array_equal(rebatch.sample_losses_, first[1])
    np.testing.assert_array_equal(rebatch.chosen_, first[2])


def test_another_seed_another_order():
    orders = []
    for seed in (0, 0, 1):
        net, follow, _, X, y = make_net(rebatch=ReBatch(0.25, random_state=seed))
        net.fit(X, y)
        orders.append(follow.orders_)
    assert orders[0] == orders[1] != orders[2]


def test_after_a_fit_the_iterator_is_the_net_s_own():
    net, _, _, X, y = make_net()
    net.fit(X, y)
    batches = net.get_iterator(net.get_dataset(X, y), training=True)
    rows = [row for batch, _ in batches for row in batch[:, 0].mul(1000).round()]
    assert rows == list(range(N))
    assert net.get_params().get("iterator_train__sampler") is None


def test_an_interrupted_fit_leaves_the_iterator_too():
    class CtrlC(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    net, _, _, X, y = make_net(callbacks=[("stop", CtrlC())])
    net.fit(X, y)
    assert len(net.history) == 2
    assert net.get_params().get("iterator_train__sampler") is None


def test_after_an_error_the_net_fits_again():
    fail = Fail()
    fail.on = True
    net, follow, _, X, y = make_net(callbacks=[("fail", fail)])
    with pytest.raises(OSError, match="disk full"):
        net.fit(X, y)
    fail.on = False
    net.fit(X, y)
    expected, _ = orders_by_hand(follow.losses_, "min-loss", 1, True)
    assert follow.orders_ == expected


def test_a_pickled_net_predicts_and_fits():
    net, _, rebatch, X, y = make_net("cross-entropy")
    net.fit(X, y)
    twin = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(twin.predict_proba(X), net.predict_proba(X))
    copied = dict(twin.callbacks_)["rebatch"]
    np.testing.assert_array_equal(copied.chosen_, rebatch.chosen_)
    torch.manual_seed(0)
    twin.fit(X, y)
    np.testing.assert_array_equal(twin.predict_proba(X), net.predict_proba(X))


def test_a_cloned_net_repeats_the_fit():
    net, follow, rebatch, X, y = make_net()
    net.fit(X, y)
    twin = clone(net)
    torch.manual_seed(0)
    twin.fit(X, y)
    copied = dict(twin.callbacks_)
    assert copied["follow"].orders_ == follow.orders_
    np.testing.assert_array_equal(copied["rebatch"].chosen_, rebatch.chosen_)


def test_its_parameters_are_within_reach():
    net, follow, _, X, y = make_net()
    net.set_params(callbacks__rebatch__repeats=2, callbacks__rebatch__ratio=0.25)
    net.fit(X, y)
    assert [len(order) for order in follow.orders_] == [N] + [N + SIZE] * 3


def test_the_criterion_is_as_it_was():
    net, _, _, X, y = make_net("cross-entropy", criterion__reduction="sum", lr=1e-3)
    net.fit(X, y)
    assert net.criterion_.reduction == "sum"


# --- bad input ---


class OwnLoss(nn.Module):
    def forward(self, outputs, y):
        return F.nll_loss(outputs.log(), y)


def test_a_criterion_without_reduction_is_refused():
    net, _, _, X, y = make_net(criterion=OwnLoss)
    with pytest.raises(TypeError, match=r"OwnLoss\(\) has no `reduction`"):
        net.fit(X, y)


@pytest.mark.parametrize(
    "name, value",
    [
        ("shuffle", True),
        ("sampler", torch.utils.data.RandomSampler(range(N))),
        (
            "batch_sampler",
            torch.utils.data.BatchSampler(range(N), batch_size=7, drop_last=False),
        ),
    ],
)
def test_an_iterator_with_an_order_of_its_own_is_refused(name, value):
    net, _, _, X, y = make_net(**{f"iterator_train__{name}": value})
    with pytest.raises(ValueError, match=f"remove iterator_train__{name}"):
        net.fit(X, y)
    # It's refused again, and still the user's.
    assert net.get_params()[f"iterator_train__{name}"] is value
    with pytest.raises(ValueError, match=f"remove iterator_train__{name}"):
        net.fit(X, y)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"ratio": -1}, "ratio must be a finite number of at least 0"),
        ({"ratio": np.nan}, "ratio must be a finite number"),
        ({"repeats": 1.5}, "repeats must be a whole number"),
        ({"strategy": "hardest"}, "strategy must be one of"),
    ],
)
def test_bad_parameters_are_refused(params, message):
    net, follow, _, X, y = make_net(rebatch=ReBatch(**params))
    with pytest.raises(ValueError, match=message):
        net.fit(X, y)
    assert not getattr(follow, "orders_", [])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_losses_that_are_not_finite_are_refused():
    net, _, _, X, y = make_net("one target", lr=1e30)
    with pytest.raises(ValueError, match=r"NaN or infinite after epoch \d"):
        net.fit(X, y)


def test_a_ratio_that_redistributes_nothing_is_warned_of():
    net, follow, _, X, y = make_net(rebatch=ReBatch(0.02, random_state=0))
    with pytest.warns(UserWarning, match="41 training samples.* B = 0") as record:
        net.fit(X, y)
    assert len(record) == 1
    assert [sorted(order) for order in follow.orders_] == [list(range(N))] * 4


# --- the progress bar ---


def test_the_progress_bar_is_no_obstacle_to_a_pickle(capsys):
    X, y = make_data()
    fail = Fail()
    model = make(verbose=1, callbacks=[fail]).partial_fit(X, y)
    fail.on = True
    with pytest.raises(OSError, match="disk full"):
        model.partial_fit(X, y)  # leaves a bar open
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
    assert "train_loss" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["shuffle", "drop_last"])
def test_losses_must_come_in_the_order_of_the_samples(option):
    net = NeuralNetRegressor(
        torch.nn.Linear(2, 1),
        train_split=None,
        verbose=0,
        callbacks=[ReBatch()],
        **{f"iterator_valid__{option}": True},
    )
    X = np.arange(40, dtype="float32").reshape(20, 2)
    with pytest.raises(ValueError, match=f"remove iterator_valid__{option}"):
        net.fit(X, X[:, :1])
