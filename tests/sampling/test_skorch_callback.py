"""ReBatch on skorch nets with modules of their own, followed by hand."""

import pickle

import numpy as np
import pytest
import torch
from helpers.estimators import (
    METHODS,
    Interrupt,
    Turn,
    choose,
    insert_one_by_one,
    make,
    make_data,
)
from helpers.refusals import Fail
from sklearn.base import clone
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from torch import nn
from torch.nn import functional as F

from skrebatch import (
    OHEM,
    DivergedError,
    InfoBatch,
    MaxLoss,
    ReBatch,
    Strategy,
    redistribution_size,
)

N, FEATURES = 41, 5
SIZE = 8  # 41 * .25 / 1.25


class MLP(nn.Module):
    """Two layers, with dropout, which losses must be computed without."""

    def __init__(self, n_outputs=3, probabilities=False, dropout=0.5):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, 16),
            nn.ReLU(),
            nn.Dropout(dropout),
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


def test_a_schedule_runs_its_course_over_all_partial_fits():
    sizes = []
    rebatch = ReBatch(1, ratio_schedule="linear", random_state=0)
    net, _, _, X, y = make_net(rebatch=rebatch, max_epochs=5)
    for n_epochs in (2, 3, 5):
        for _ in range(n_epochs):
            net.partial_fit(X, y, epochs=1)
            sizes.append(len(rebatch.chosen_))
    shares = [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]  # of the ratio, in the next epoch
    assert sizes == [redistribution_size(N, share) for share in shares]


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


# --- weights, schedules and classes ---


def min_loss(losses, epoch, size, rng):
    return {"chosen": np.argsort(losses, kind="stable")[:size]}


class ByHand:
    """The net's training in plain torch, one batch at a time."""

    def __init__(self, net, loss, X, y, *, plan=min_loss, weigh=None, warmup=0,
                 smoothing=0, refresh_every=1, schedule=lambda t: 1,
                 factor=0):  # fmt: skip
        torch.manual_seed(0)
        self.module = MLP(**net.get_params_for("module"))
        optimizer = torch.optim.SGD(self.module.parameters(), lr=net.lr)
        X, y, rng = torch.tensor(X), torch.tensor(y), np.random.default_rng(0)
        order, planned, mean, until = rng.permutation(N), {}, None, max(1, warmup)
        self.orders, self.curve = [], []
        for epoch in range(1, net.max_epochs + 1):
            if epoch > 1:
                old = self.after if mean is None else mean
                mean = smoothing * old + (1 - smoothing) * self.after
                if epoch > until and (epoch - until - 1) % refresh_every == 0:
                    t = (epoch - until) / (net.max_epochs - until)
                    ratio = 0.25 * schedule(t)
                    size = int(N * ratio / (1 + ratio) + 1e-9)
                    planned = plan(mean, Turn(epoch - until, t), size, rng)
                chosen = list(planned.get("chosen", []))
                remaining = np.setdiff1d(np.arange(N), chosen)
                remaining = np.array(planned.get("remaining", remaining))
                rng.shuffle(remaining)
                times = planned.get("repeats", 1)
                order = insert_one_by_one(remaining, chosen, times)
            total = 0.0
            for start in range(0, len(order), 7):
                rows = order[start : start + 7]
                losses = loss(self.module(X[rows]), y[rows])
                factors = np.asarray(planned.get("weights", np.ones(N)))[rows]
                if weigh is not None and epoch > warmup:
                    factors = factors * weigh(losses.detach().numpy())
                weighted = losses * torch.tensor(factors, dtype=torch.float32)
                value = factor * weighted.sum() if factor else weighted.mean()
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                total += value.item() * len(rows)
            self.orders.append([int(i) for i in order])
            self.curve.append(total / len(order))
            with torch.no_grad():
                self.after = loss(self.module(X), y).numpy()

    def assert_equals(self, net):
        rebatch, follow = (dict(net.callbacks_)[n] for n in ("rebatch", "follow"))
        assert follow.orders_ == self.orders
        close = {"rtol": 1e-4, "atol": 1e-5}
        ours, theirs = self.module.state_dict(), net.module_.state_dict()
        for name in ours:
            np.testing.assert_allclose(theirs[name], ours[name], **close)
        np.testing.assert_allclose(rebatch.sample_losses_, self.after, **close)
        np.testing.assert_allclose(net.history[:, "train_loss"], self.curve, **close)


def fit_by_hand(task, rebatch, factor=0, max_epochs=6, callbacks=(), **params):
    """Fit a net without chance in its module, and its training by hand."""
    reduction = "sum" if factor else "mean"
    net, _, _, X, y = make_net(
        task,
        rebatch=rebatch,
        callbacks=callbacks,
        max_epochs=max_epochs,
        module__dropout=0.0,
        criterion__reduction=reduction,
        lr=0.005 if factor else 0.05,
    )
    torch.manual_seed(0)
    net.fit(X, y)
    return net, ByHand(net, TASKS[task][3], X, y, factor=factor, **params)


# How often a criterion that sums counts a sample: once for each output.
REDUCTIONS = [
    ("NLL of probabilities", 0),
    ("NLL of probabilities", 1),
    ("cross-entropy", 0),
    ("two targets", 0),
    ("two targets", 2),
    ("absolute error", 2),
    ("one logit", 0),
    ("one logit", 1),
]


@pytest.mark.parametrize("task, factor", REDUCTIONS)
@pytest.mark.parametrize("name", ["ohem", "tsw", "welsch", "infobatch"])
def test_weighted_losses_by_hand(name, task, factor):
    strategy, book = METHODS[name]
    rebatch = ReBatch(0.25, strategy, random_state=0)
    net, by_hand = fit_by_hand(task, rebatch, factor, **book)
    by_hand.assert_equals(net)
    assert net.criterion_.reduction == ("sum" if factor else "mean")
    plain = make_net(
        task,
        rebatch=ReBatch(0, random_state=0),
        max_epochs=6,
        module__dropout=0.0,
        criterion__reduction=net.criterion_.reduction,
        lr=net.lr,
    )
    torch.manual_seed(0)
    plain[0].fit(*plain[3:])
    assert plain[0].history[-1, "train_loss"] != net.history[-1, "train_loss"]


@pytest.mark.parametrize("task", TASKS)
def test_a_net_learns_with_it_as_by_hand(task):
    rebatch = ReBatch(0.25, random_state=0)
    net, by_hand = fit_by_hand(task, rebatch, max_epochs=40)
    by_hand.assert_equals(net)
    curve = net.history[:, "train_loss"]
    assert curve[-1] < 0.8 * curve[0]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_by_hand(name):
    strategy, book = METHODS[name]
    rebatch = ReBatch(0.25, strategy, random_state=0)
    net, by_hand = fit_by_hand("one logit", rebatch, **book)
    by_hand.assert_equals(net)


COURSES = [
    ({"warmup_epochs": 3}, {"warmup": 3}),
    ({"loss_smoothing": 0.7}, {"smoothing": 0.7}),
    ({"refresh_every": 2}, {"refresh_every": 2}),
    ({"ratio_schedule": "linear"}, {"schedule": lambda t: t}),
    (
        {"ratio_schedule": lambda t: 2 - t, "warmup_epochs": 2, "loss_smoothing": 0.5},
        {"schedule": lambda t: 2 - t, "warmup": 2, "smoothing": 0.5},
    ),
]


@pytest.mark.filterwarnings("ignore:ratio_schedule has no effect")
@pytest.mark.parametrize("params, book", COURSES, ids=lambda p: str(list(p)))
@pytest.mark.parametrize("name", ["min-loss", "small-loss", "ohem", "infobatch"])
def test_the_course_of_the_training_by_hand(name, params, book):
    strategy, own = METHODS.get(name, (name, {}))
    rebatch = ReBatch(0.25, strategy, random_state=0, **params)
    net, by_hand = fit_by_hand("cross-entropy", rebatch, **own, **book)
    by_hand.assert_equals(net)


@pytest.mark.parametrize("task", ["NLL of probabilities", "one logit"])
def test_each_class_is_chosen_from_in_proportion(task):
    rebatch = ReBatch(0.25, "max-loss", 0, class_balanced=True, random_state=0)
    net, follow, _, X, y = make_net(task, rebatch=rebatch)
    net.fit(X, y)
    for order, losses in zip(follow.orders_[1:], follow.losses_, strict=False):
        left_out = np.setdiff1d(np.arange(N), order)
        assert len(left_out) == SIZE
        for label in np.unique(y):
            members = np.flatnonzero(y == label)
            own = np.intersect1d(left_out, members)
            assert abs(len(own) - SIZE * len(members) / N) < 1
            hardest = members[np.argsort(-losses[members], kind="stable")]
            assert set(own) == set(hardest[: len(own)])


class Both(Strategy):
    """Move the first, and weigh a batch by its losses."""

    def plan(self, losses, epoch):
        return np.arange(epoch.n_chosen)

    def batch_weights(self, losses):
        return losses


def test_a_strategy_with_both_methods():
    net, by_hand = fit_by_hand(
        "one target",
        ReBatch(0.25, Both(), random_state=0),
        plan=lambda losses, epoch, size, rng: {"chosen": range(size)},
        weigh=lambda losses: losses,
    )
    by_hand.assert_equals(net)


class Look(Callback):
    """Note the hooks on the criterion between the batches."""

    def __init__(self, pickle_net=False):
        self.pickle_net = pickle_net

    def on_train_begin(self, net, **kwargs):
        self.seen_, self.pickles_ = [], []

    def on_epoch_end(self, net, **kwargs):
        self.seen_.append(hooks_of(net))
        if self.pickle_net:
            self.pickles_.append(pickle.dumps(net))


def hooks_of(net):
    criterion = net.criterion_
    return len(criterion._forward_hooks) + len(criterion._forward_pre_hooks)


@pytest.mark.parametrize("strategy", [OHEM(), InfoBatch(), Both()], ids=str)
def test_no_hook_is_left_on_the_criterion(strategy):
    look, fail = Look(), Fail()
    rebatch = ReBatch(0.25, strategy, random_state=0)
    net, _, _, X, y = make_net(
        "cross-entropy", [("look", look), ("fail", fail)], rebatch
    )
    for train in (net.fit, net.partial_fit, net.fit):
        train(X, y)
        assert look.seen_ == [0] * 4
        assert hooks_of(net) == 0
    fail.on = True
    with pytest.raises(OSError, match="disk full"):
        net.partial_fit(X, y)
    assert hooks_of(net) == 0
    fail.on = False
    outputs, targets = net.forward(X), torch.tensor(y)
    plain = net.validation_step((torch.tensor(X), targets))["loss"]
    assert plain == F.cross_entropy(outputs, targets)
    net.partial_fit(X, y)
    assert hooks_of(net) == 0
    assert net.criterion_.reduction == "mean"
    assert net.score(X, y) >= 0


def test_ctrl_c_in_the_midst_of_a_batch_leaves_no_hook():
    net, _, _, X, y = make_net(
        "cross-entropy",
        [("stop", Interrupt(2, 3))],
        ReBatch(0.25, "ohem", random_state=0),
    )
    net.fit(X, y)
    assert len(net.history) == 2
    assert hooks_of(net) == 0


def test_a_criterion_that_fails_keeps_its_reduction():
    net, _, _, X, y = make_net(
        "cross-entropy", rebatch=ReBatch(0.25, "ohem", random_state=0)
    )
    with pytest.raises(IndexError):
        net.fit(X, y + 5)
    assert net.criterion_.reduction == "mean"


@pytest.mark.parametrize("name", ["ohem", "infobatch", "selective-backprop"])
def test_a_net_pickled_in_the_midst_of_training_goes_on(name):
    # Its optimizer has no state, and its module no chance.
    look = Look(pickle_net=True)
    rebatch = ReBatch(0.25, METHODS[name][0], random_state=0)
    net, _, _, X, y = make_net(
        "cross-entropy",
        [("look", look)],
        rebatch,
        max_epochs=6,
        module__dropout=0.0,
    )
    torch.manual_seed(0)
    net.fit(X, y)
    half, after = (pickle.loads(look.pickles_[i]) for i in (2, 5))
    assert hooks_of(half) == hooks_of(after) == 0
    # From where it ended the copy goes on as the net does.
    after.partial_fit(X, y, epochs=3)
    net.partial_fit(X, y, epochs=3)
    np.testing.assert_array_equal(after.predict_proba(X), net.predict_proba(X))
    half.partial_fit(X, y, epochs=1)
    assert np.isfinite(half.history[-1, "train_loss"])
    assert hooks_of(half) == hooks_of(after) == hooks_of(net) == 0


@pytest.mark.parametrize("name", METHODS)
def test_clones_repeat_the_fit_of_every_method(name):
    rebatch = ReBatch(0.25, METHODS[name][0], random_state=0)
    net, follow, _, X, y = make_net(rebatch=rebatch)
    torch.manual_seed(0)
    net.fit(X, y)
    for twin in (clone(net), pickle.loads(pickle.dumps(net))):
        torch.manual_seed(0)
        twin.fit(X, y)
        assert dict(twin.callbacks_)["follow"].orders_ == follow.orders_
        np.testing.assert_array_equal(twin.predict_proba(X), net.predict_proba(X))


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


def test_a_second_one_is_refused():
    net, _, _, X, y = make_net()
    net.set_params(callbacks=[("first", ReBatch()), ("second", ReBatch())])
    with pytest.raises(ValueError, match="only one ReBatch callback"):
        net.fit(X, y)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"ratio": -1}, "ratio must be a finite number of at least 0"),
        ({"ratio": np.nan}, "ratio must be a finite number"),
        ({"repeats": 1.5}, "repeats must be an integer"),
        ({"strategy": "hardest"}, "strategy must be one of"),
        ({"strategy": OHEM(0)}, "share must be"),
        ({"ratio_schedule": "fast"}, "ratio_schedule must be one of"),
        ({"warmup_epochs": -1}, "warmup_epochs must be an integer of at least 0"),
        ({"loss_smoothing": 1}, "loss_smoothing must be a finite number"),
        ({"refresh_every": 0}, "refresh_every must be an integer of at least 1"),
        ({"strategy": "ohem", "class_balanced": True}, "can't be used with OHEM"),
    ],
)
def test_bad_parameters_are_refused(params, message):
    net, follow, _, X, y = make_net(rebatch=ReBatch(**params))
    with pytest.raises(ValueError, match=message):
        net.fit(X, y)
    assert not getattr(follow, "orders_", [])


def test_classes_of_several_targets_are_refused():
    rebatch = ReBatch(0.25, "max-loss", class_balanced=True)
    net, _, _, X, y = make_net("two targets", rebatch=rebatch)
    with pytest.raises(ValueError, match="one label for each sample.*got 2"):
        net.fit(X, y)


def test_classes_of_real_targets_are_refused():
    rebatch = ReBatch(0.25, "max-loss", class_balanced=True)
    net, _, _, X, y = make_net("one target", rebatch=rebatch)
    with pytest.raises(ValueError, match="the targets are real numbers"):
        net.fit(X, y)


class Short(Strategy):
    """Give a weight too few."""

    def batch_weights(self, losses):
        return losses[:, 1:]


def test_weights_of_another_shape_are_refused():
    net, _, _, X, y = make_net(rebatch=ReBatch(0.25, Short(), random_state=0))
    with pytest.raises(
        ValueError, match=r"shape \(1, 6\) for losses of shape \(1, 7\)"
    ):
        net.fit(X, y)
    assert net.criterion_.reduction == "mean"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_losses_that_are_not_finite_are_refused():
    net, _, _, X, y = make_net("one target", lr=1e30)
    with pytest.raises(DivergedError, match=r"NaN or infinite after epoch \d"):
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


@pytest.mark.filterwarnings("ignore:You set iterator_valid__shuffle")
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


def test_what_is_no_plain_mean_is_not_weighed():
    for strategy in ("ohem", "infobatch"):
        net, _, _, X, y = make_net(
            "cross-entropy",
            rebatch=ReBatch(0.25, strategy, random_state=0),
            criterion__weight=torch.ones(3),
        )
        with pytest.raises(ValueError, match="plain mean or sum"):
            net.fit(X, y)


class OneLoss(nn.MSELoss):
    """A criterion that only pretends to have a reduction."""

    def forward(self, outputs, targets):
        return ((outputs - targets) ** 2).mean()


def test_a_criterion_that_ignores_its_reduction_is_refused():
    net, _, _, X, y = make_net("one target", criterion=OneLoss)
    with pytest.raises(TypeError, match=r"of 7 samples has the shape \(\)"):
        net.fit(X, y)
