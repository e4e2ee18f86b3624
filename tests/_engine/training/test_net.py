"""The training loop by itself: stacks against plain torch and networks alone."""

import copy

import numpy as np
import pytest
import torch
from helpers.jobs import ALL, FEATURES, N, make_data, make_job, make_member, train
from torch import nn
from torch.nn import functional as F

from skrebatch import DivergedError, TabularCNN
from skrebatch._engine.nn.losses import BinaryCrossEntropy, CrossEntropy, SquaredError
from skrebatch._engine.training.continuation import extract
from skrebatch._engine.training.epoch_plan import stack_table
from skrebatch._engine.training.net import make_net


def weights_of(member):
    return torch.cat([p.detach().ravel() for p in member.network.parameters()])


def assert_twins(member, twin, tolerance=1e-10):
    """Expect that two networks were trained alike."""
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(weights_of(member), weights_of(twin), **close)
    for name in ("train_loss", "valid_loss"):
        np.testing.assert_allclose(member.curves[name], twin.curves[name], **close)
    np.testing.assert_allclose(member.losses, twin.losses, **close)
    assert member.epochs == twin.epochs
    own, its = member.selection.sampler, twin.selection.sampler
    assert (own.chosen is None) == (its.chosen is None)
    if own.chosen is not None:
        np.testing.assert_array_equal(own.chosen, its.chosen)
    np.testing.assert_array_equal(own.drawn, its.drawn)


WEIGHTS = np.random.default_rng(5).uniform(0.2, 3, size=N)
SPECS = {
    "plain": {},
    "another seed": {"seed": 1},
    "another ratio": {"ratio": 0.6},
    "no re-Batch": {"ratio": 0},
    "max-loss": {"strategy": "max-loss"},
    "random": {"strategy": "random"},
    "left out": {"repeats": 0},
    "three times": {"repeats": 3},
    "natural order": {"shuffle": False},
    "small batches": {"batch_size": 3},
    "full batch": {"batch_size": 50},
    "fewer rows": {"rows": ALL[7:40]},
    "few rows": {"rows": ALL[20:25], "batch_size": 5},
    "weights": {"weights": WEIGHTS / WEIGHTS.mean()},
    "another lr": {"lr": 0.05},
    "weight decay": {"weight_decay": 0.1},
    "fewer epochs": {"max_epochs": 3},
    "watching": {"rows": ALL[:40], "valid_rows": ALL[40:]},
    "stopping early": {
        "rows": ALL[:40],
        "valid_rows": ALL[40:],
        "patience": 2,
        "lr": 0.1,
        "max_epochs": 30,
    },
    "copies": {"n_augments": 1, "noise_std": 0.3},
    "more copies": {"n_augments": 3, "noise_std": 0.1, "seed": 1, "repeats": 2},
    "copies of small batches": {"n_augments": 2, "noise_std": 1, "batch_size": 3},
    "copies with weights": {
        "n_augments": 1,
        "noise_std": 0.3,
        "weights": WEIGHTS / WEIGHTS.mean(),
    },
    "copies, stopping early": {
        "n_augments": 1,
        "noise_std": 0.3,
        "rows": ALL[:40],
        "valid_rows": ALL[40:],
        "patience": 2,
    },
    "copies, weighed": {"n_augments": 1, "noise_std": 0.3, "strategy": "ohem"},
    "best epoch": {
        "rows": ALL[:40],
        "valid_rows": ALL[40:],
        "patience": 10**6,
        "lr": 0.1,
    },
}


# --- a stack against torch's own layers, optimizers and gradients ---


class Plain:
    """A member's training in plain torch; of ours it has its start alone."""

    def __init__(self, member, X, targets, loss, optimizer, **method):
        generator = torch.Generator().manual_seed(member.seed)
        sizes = {"n_outputs": targets.shape[1], "hidden_size": 6}
        self.network = layers_of(TabularCNN(FEATURES, **sizes, generator=generator))
        options = {"lr": member.lr, "weight_decay": member.weight_decay}
        self.optimizer = optimizer(self.network.parameters(), **options)
        self.X, self.targets, self.loss = X, targets, LOSSES[loss]
        self.train_loss, self.valid_loss = [], []
        best, rng = None, np.random.default_rng(member.seed)
        stopping = member.early_stopping
        order = rng.permutation(len(member.rows))
        stopping = member.early_stopping
        for epoch in range(1, member.max_epochs + 1):
            self.train_epoch(order, member)
            order = next_order(self.losses(member.rows).numpy(), rng, **method)
            if member.valid_rows is None:
                continue
            self.valid_loss.append(self.losses(member.valid_rows).mean().item())
            if stopping and min(self.valid_loss) == self.valid_loss[-1]:
                best, best_epoch = copy.deepcopy(self.network), epoch
            if stopping and epoch == best_epoch + stopping.patience:
                break
        self.network = best or self.network

    def train_epoch(self, order, member):
        total = 0.0
        for start in range(0, len(order), member.batch_size):
            batch = order[start : start + member.batch_size]
            rows = member.rows[batch]
            outputs = self.network(torch.tensor(self.X[rows]))
            losses = self.loss(outputs, torch.tensor(self.targets[rows]))
            if member.weights is not None:
                losses = losses * torch.tensor(member.weights[batch])
            self.optimizer.zero_grad()
            losses.mean().backward()
            self.optimizer.step()
            total += losses.sum().item()
        self.train_loss.append(total / len(order))

    @torch.no_grad()
    def losses(self, rows):
        outputs = self.network(torch.tensor(self.X[rows]))
        return self.loss(outputs, torch.tensor(self.targets[rows]))


def layers_of(network):
    """Layers of torch with the parameters of a network of four columns."""
    layers = nn.Sequential(
        nn.Unflatten(1, (1, FEATURES)),
        nn.Conv1d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.ConstantPad1d((0, 1), 0.0),  # two positions are left: a kernel of two
        nn.Conv1d(8, 16, 2),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Flatten(),
        nn.Linear(16, 6),
        nn.ReLU(),
        nn.Linear(6, network.architecture.n_outputs),
    )
    nn.utils.vector_to_parameters(
        nn.utils.parameters_to_vector(network.parameters()), layers.parameters()
    )
    return layers.double()


def next_order(losses, rng, ratio=0.25, strategy="min-loss", repeats=1, shuffle=True):
    """The chosen at equal distances among the others, by list.insert."""
    size = int(len(losses) * ratio / (1 + ratio) + 1e-9)
    if strategy == "random":
        chosen = rng.choice(len(losses), size=size, replace=False)
    else:
        sign = {"min-loss": 1, "max-loss": -1}[strategy]
        chosen = np.argsort(sign * losses, kind="stable")[:size]
    others = np.setdiff1d(np.arange(len(losses)), chosen)
    if shuffle:
        rng.shuffle(others)
    order, inserted = list(others), list(chosen) * repeats
    for i, index in enumerate(inserted):
        order.insert((i + 1) * (len(others) // len(inserted)) + i, index)
    return np.array(order)


LOSSES = {
    SquaredError: lambda outputs, y: ((outputs - y) ** 2).mean(1),
    BinaryCrossEntropy: lambda outputs, y: F.binary_cross_entropy(
        outputs.sigmoid(), y, reduction="none"
    )[:, 0],
    CrossEntropy: lambda outputs, y: F.cross_entropy(
        outputs, y.argmax(1), reduction="none"
    ),
}
# Noisy copies and weighted batches are followed by the estimators' tests.
FOLLOWED = [spec for name, spec in SPECS.items() if "copies" not in name]
METHOD = {"ratio", "strategy", "repeats", "shuffle"}


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "SGD"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_network_of_a_stack_equals_one_of_plain_torch(loss, optimizer):
    X, targets = make_data(loss)
    members = [make_member(**spec) for spec in FOLLOWED]
    train([make_job(members, X, targets, loss, optimizer)])
    for spec, member in zip(FOLLOWED, members, strict=True):
        method = {name: spec[name] for name in METHOD & spec.keys()}
        optimizer_class = getattr(torch.optim, optimizer)
        plain = Plain(member, X, targets, loss, optimizer_class, **method)
        close = {"rtol": 1e-9, "atol": 1e-9}
        weights = nn.utils.parameters_to_vector(plain.network.parameters())
        torch.testing.assert_close(weights_of(member), weights.detach(), **close)
        for name in ("train_loss", "valid_loss"):
            curve = getattr(plain, name)
            np.testing.assert_allclose(member.curves[name], curve, **close)
        np.testing.assert_allclose(member.losses, plain.losses(ALL), **close)


# --- a stack against its networks alone ---


@pytest.mark.parametrize(
    "loss, optimizer",
    [(SquaredError, "Adam"), (BinaryCrossEntropy, "AdamW"), (CrossEntropy, "SGD")],
)
def test_every_network_of_a_stack_equals_its_twin_alone(loss, optimizer):
    members = [make_member(**spec) for spec in SPECS.values()]
    net = train([make_job(members, loss=loss, optimizer=optimizer)])
    assert len(net.module_.flat) == len(SPECS)
    for spec, member in zip(SPECS.values(), members, strict=True):
        twin = make_member(**spec)
        train([make_job([twin], loss=loss, optimizer=optimizer)])
        assert_twins(member, twin)
    stopped = members[list(SPECS).index("stopping early")]
    assert stopped.epochs < 30


@pytest.mark.parametrize("name", SPECS)
def test_two_networks_equal_their_twins(name):
    members = [make_member(seed=3), make_member(**SPECS[name])]
    train([make_job(members)])
    for member, spec in zip(members, [{"seed": 3}, SPECS[name]], strict=True):
        twin = make_member(**spec)
        train([make_job([twin])])
        assert_twins(member, twin)


def test_jobs_on_other_data_equal_their_twins():
    X, targets = make_data()
    tables = [(X, targets), (X, -targets), (make_data(seed=1)[0], targets)]
    jobs = [make_job([make_member(), make_member(seed=1)], *data) for data in tables]
    train(jobs)
    for job, data in zip(jobs, tables, strict=True):
        twins = make_job([make_member(), make_member(seed=1)], *data)
        train([twins])
        for member, twin in zip(job.members, twins.members, strict=True):
            assert_twins(member, twin)


def test_every_network_has_its_own_rate():
    specs = [{}, {"lr": 0.05}, {"weight_decay": 0.1}, {"batch_size": 3}]
    net = make_net([make_job([make_member(**spec) for spec in specs])]).initialize()
    rates = [(group["lr"], group["weight_decay"]) for group in groups_of(net)]
    assert rates == [(member.lr, member.weight_decay) for member in net.members]


def groups_of(net):
    """The optimizer's options for each parameter of the module."""
    options = {
        id(parameter): group
        for group in net.optimizer_.param_groups
        for parameter in group["params"]
    }
    return [options[id(parameter)] for parameter in net.module_.groups]


def test_a_finished_network_stays_as_it_was_when_it_finished():
    # Adam moves parameters that have no gradient any more; SGD with decay does too.
    for optimizer in ("Adam", "AdamW", "SGD"):
        spec = {"weight_decay": 0.5, "max_epochs": 2}
        short, long = make_member(**spec), make_member(seed=1, max_epochs=20)
        net = train([make_job([short, long], optimizer=optimizer)])
        twin = make_member(**spec)
        train([make_job([twin], optimizer=optimizer)])
        assert_twins(short, twin)
        k = net.members.index(short)
        assert torch.equal(net.module_.flat[k], short.final)
        assert (short.epochs, long.epochs, len(net.history)) == (2, 20, 20)


def test_every_network_has_a_history_of_its_own():
    members = [make_member(max_epochs=3), make_member(max_epochs=5, seed=1)]
    train([make_job(members)])
    for member, epochs in zip(members, (3, 5), strict=True):
        assert member.history[:, "epoch"] == list(range(1, epochs + 1))
        assert member.history[:, "train_loss"] == member.curves["train_loss"]
        curve = np.array(member.curves["train_loss"])
        best = curve == np.minimum.accumulate(curve)
        assert member.history[:, "train_loss_best"] == best.tolist()


def test_a_team_chooses_by_its_mean_losses():
    members = [make_member(seed=seed, team=7, max_epochs=3) for seed in (0, 1)]
    loner = make_member(seed=0, max_epochs=3)
    train([make_job([*members, loner])])
    # The losses that the last epoch chose by are those after two epochs.
    before = [make_member(seed=seed, team=7, max_epochs=2) for seed in (0, 1)]
    train([make_job(before)])
    mean = np.mean([member.losses for member in before], axis=0)
    easiest = np.argsort(mean, kind="stable")[:10]
    for member in members:
        np.testing.assert_array_equal(member.selection.sampler.chosen, easiest)
    twin = make_member(seed=0, max_epochs=3)
    train([make_job([twin])])
    assert_twins(loner, twin)
    assert loner.selection.sampler.chosen.tolist() != easiest.tolist()


def test_an_extracted_net_is_the_one_that_had_trained_alone():
    specs = [{"seed": 1}, {"repeats": 2, "lr": 0.05}, {"seed": 2}]
    jobs = [make_job([make_member(**spec)]) for spec in specs]
    together = train(jobs)
    for spec, job in zip(specs, jobs, strict=True):
        twin = train([make_job([make_member(**spec)])])
        net = extract(together, job)
        close = {"rtol": 1e-10, "atol": 1e-10}
        torch.testing.assert_close(net.module_.flat, twin.module_.flat, **close)
        ours, theirs = (n.optimizer_.state_dict()["state"][0] for n in (net, twin))
        torch.testing.assert_close(ours, theirs, **close)
        assert len(net.history) == len(twin.history)


# --- what a network costs and gives ---


@pytest.mark.parametrize("loss", [SquaredError, BinaryCrossEntropy, CrossEntropy])
def test_sample_losses_are_those_of_each_network(loss):
    members = [make_member(seed=seed, max_epochs=2) for seed in (0, 1, 2)]
    X, targets = make_data(loss)
    job = make_job(members, X, targets, loss)
    net, table = train([job]), stack_table([job])
    rows = [np.array([3, 1]), np.empty(0, dtype=int), np.arange(N)[::-1]]
    losses = net.sample_losses(table, rows)
    for member, own, result in zip(net.members, rows, losses, strict=True):
        with torch.no_grad():
            network = member.network.double()
            outputs = network(torch.tensor(X[own]))
        expected = loss().per_sample(outputs, torch.tensor(targets[own]))
        np.testing.assert_allclose(result, expected, rtol=1e-10, atol=1e-12)


# --- divergence ---


def test_a_network_that_diverges_spoils_no_neighbour():
    specs = [{"seed": 1}, {"lr": 1e300}, {"seed": 2, "repeats": 2}]
    members = [make_member(**spec) for spec in specs]
    train([make_job(members)])
    good, bad, other = members
    assert isinstance(bad.error, DivergedError)
    assert "epoch 1, batch 2" in str(bad.error)
    for member, spec in ((good, specs[0]), (other, specs[2])):
        assert member.error is None
        twin = make_member(**spec)
        train([make_job([twin])])
        assert_twins(member, twin)


def test_a_network_that_diverges_spoils_no_neighbour_in_lockstep():
    # Both take their steps in one group; one has a row that no network can take.
    X, targets = make_data()
    X[0] = 1e200
    specs = [{"rows": ALL[1:41]}, {"rows": ALL[:40], "seed": 1}]
    members = [make_member(**spec) for spec in specs]
    net = train([make_job(members, X, targets)])
    assert [len(group) for group in net.module_.groups] == [2]
    good, bad = members
    assert bad.error is not None
    twin = make_member(**specs[0])
    train([make_job([twin], X, targets)])
    assert good.curves["train_loss"] == pytest.approx(twin.curves["train_loss"])
    torch.testing.assert_close(weights_of(good), weights_of(twin))


def test_rows_of_others_are_no_part_of_a_batch():
    # Where batches are of unequal size something must fill the shorter ones; it must
    # not be a row that the network doesn't learn from.
    X, targets = make_data()
    X[0] = 1e200
    specs = [{"rows": ALL[1:41]}, {"rows": ALL[2:41], "seed": 1}]
    members = [make_member(**spec) for spec in specs]
    net = train([make_job(members, X, targets)])
    assert [len(group) for group in net.module_.groups] == [2]
    for member, spec in zip(members, specs, strict=True):
        twin = make_member(**spec)
        train([make_job([twin], X, targets)])
        assert member.curves["train_loss"] == pytest.approx(twin.curves["train_loss"])
        torch.testing.assert_close(weights_of(member), weights_of(twin))


def test_when_all_diverge_training_ends():
    members = [make_member(lr=1e300, max_epochs=10**9, seed=seed) for seed in (0, 1)]
    net = train([make_job(members)])
    assert all("epoch 1, batch 2" in str(member.error) for member in members)
    assert len(net.history) == 1
