"""Estimators, data and comparisons for tests."""

import contextlib
import copy
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from skorch.callbacks import Callback
from torch.nn import functional as F

from skrebatch import (
    OHEM,
    TSW,
    Breed,
    Curriculum,
    GeneralizedCrossEntropy,
    Hybrid,
    InfoBatch,
    ReBatchCNNClassifier,
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressor,
    ReBatchCNNRegressorCV,
    SelectiveBackprop,
    SelfPaced,
    SmallLoss,
    Strategy,
    TabularCNN,
    Welsch,
)

N, FEATURES = 41, 5
LR = 0.01
FULL_BATCH = {"batch_size": 10**6, "dtype": "float64"}
CLASSIFICATION = ["binary", "multiclass", "multi-label"]
TASKS = [*CLASSIFICATION, "regression", "multi-target"]


def make_data(task="binary", n=N, n_features=FEATURES):
    """A table whose target is learnable, but not quite."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, n_features))
    score = X[:, 0] - X[:, -1] ** 2 + rng.normal(scale=0.3, size=n)
    y = {
        "binary": (score > np.median(score)).astype(int),
        "multiclass": np.digitize(score, np.quantile(score, [0.3, 0.6])),
        "multi-label": np.column_stack(
            [score > np.median(score), X[:, 0] > 0.3, X[:, -1] > 0]
        ).astype(int),
        "regression": 100 + 20 * score,
        "multi-target": np.column_stack([100 + 20 * score, -3 * X[:, 0]]),
    }[task]
    return X, y


# One network of the paper, which most tests are about.
SINGLE = {
    "architecture": "cnn",
    "batch_size": "ratio",
    "input_clip": None,
    "n_networks": 1,
    "early_stopping": False,
    "n_iter_no_change": 10,
}


def make(task="binary", **params):
    """A small estimator for the task."""
    cls = ReBatchCNNClassifier
    defaults = {"ratio": 0.25, "max_epochs": 4, "lr": LR, "random_state": 0}
    if task not in CLASSIFICATION:
        cls = ReBatchCNNRegressor
        defaults["standardize_target"] = True
    return cls(**{**SINGLE, **defaults, **params})


# Two networks, each of which holds out half of the rows.
HALVES = {"n_networks": 2, "early_stopping": True, "validation_fraction": 0.5}


def make_cv(task="binary", candidates=None, scoring=None, **params):
    """A small estimator that chooses among candidates, two ratios by default."""
    cls = ReBatchCNNClassifierCV if task in CLASSIFICATION else ReBatchCNNRegressorCV
    held = make(task, **{**HALVES, **params})
    return cls(held, candidates or {"ratio": [0, 0.3]}, scoring=scoring)


def weights_of(model):
    """All parameters of the fitted network in one array."""
    return np.concatenate([p.detach().ravel() for p in model.module_.parameters()])


def outputs_of(model, X):
    """The float64 outputs of the fitted module on given rows, in their scale."""
    with torch.no_grad():
        rows = torch.tensor(np.asarray(X), dtype=torch.float64)
        return copy.deepcopy(model.module_).double()(rows).numpy()


def outcome(model):
    """What a fit has found out, one array after another."""
    return [
        weights_of(model),
        np.array(model.loss_curve_),
        np.array(getattr(model, "validation_loss_curve_", [])),
        model.sample_losses_,
        model.chosen_,
        np.array([model.n_iter_, model.n_redistributed_, model.batch_size_]),
    ]


def assert_same_bits(model, other):
    for result, expected in zip(outcome(model), outcome(other), strict=True):
        np.testing.assert_array_equal(result, expected)


def assert_close(result, expected, tolerance=1e-9):
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


# --- the method by the book ---


def sample_losses(task, outputs, y):
    """The loss of each sample, as torch has it."""
    if task == "binary":
        return F.binary_cross_entropy_with_logits(
            outputs[:, 0], y.double(), reduction="none"
        )
    if task == "multi-label":
        return F.binary_cross_entropy_with_logits(
            outputs, y.double(), reduction="none"
        ).sum(1)
    if task == "multiclass":
        return F.cross_entropy(outputs, y, reduction="none")
    return F.mse_loss(outputs, y.reshape(outputs.shape), reduction="none").mean(1)


def choose(strategy, losses, size, rng):
    """The B samples, by a full sort."""
    if strategy == "random":
        return rng.choice(len(losses), size=size, replace=False)
    ranked = np.argsort(losses if strategy == "min-loss" else -losses, kind="stable")
    return ranked[:size]


def insert_one_by_one(remaining, chosen, repeats):
    """Eq. 1, said with list.insert."""
    order, inserted = list(remaining), list(chosen) * repeats
    interval = len(remaining) // max(len(inserted), 1)
    assert interval > 0
    for i, index in enumerate(inserted):
        order.insert((i + 1) * interval + i, index)
    return order


class Turn(NamedTuple):
    """Which of the planned epochs it is, from 1, and how many of them are over."""

    planned: int
    progress: float


class Book:
    """The method in plain torch: autograd, one batch and one sample at a time."""

    def __init__(self, task, X, y, *, ratio=0.25, strategy="min-loss", repeats=1,
                 shuffle=True, weights=None, max_epochs=4, random_state=0,
                 plan=None, weigh=None, schedule=lambda t: 1, warmup=0, smoothing=0,
                 refresh_every=1, optimizer=torch.optim.Adam, params=None,
                 lr_schedule=None, by_batch=False, n_augments=0,
                 noise_std=0.0):  # fmt: skip
        n = len(X)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        rng = np.random.default_rng(seed)
        n_outputs = {"multiclass": 3, "multi-label": 3, "multi-target": 2}.get(task, 1)
        generator = torch.Generator().manual_seed(seed)
        self.network = TabularCNN(X.shape[1], n_outputs, generator=generator).double()
        options = {"lr": LR, **(params or {})}
        optimizer = optimizer(self.network.parameters(), **options)
        scheduler = lr_schedule(optimizer) if lr_schedule else None
        X, y = torch.tensor(X), torch.tensor(y)
        weights = torch.ones(n) if weights is None else torch.tensor(weights)
        share = Fraction(str(ratio))
        self.size = int(n * share / (1 + share))
        batch_size = self.size or 32

        def losses_of(rows, noise=0.0):
            return sample_losses(task, self.network(X[rows] + noise), y[rows])

        def min_max_random(losses, epoch, size, rng):
            return {"chosen": choose(strategy, losses, size, rng)} if size else {}

        plan = min_max_random if plan is None else plan
        self.curve, self.chosen, self.log, self.rates = [], [], [], []
        order = rng.permutation(n)
        planned, mean, until = {}, None, max(1, warmup)
        for epoch in range(1, max_epochs + 1):
            if epoch > 1:
                mean = self.log[-1] + smoothing * (
                    0 if mean is None else mean - self.log[-1]
                )
                if epoch > until and (epoch - until - 1) % refresh_every == 0:
                    t = (epoch - until) / max(1, max_epochs - until)
                    now = share * Fraction(str(schedule(t)))
                    turn = Turn(epoch - until, t)
                    planned = plan(mean, turn, int(n * now / (1 + now)), rng)
                chosen = planned.get("chosen", [])
                remaining = planned.get("remaining", np.setdiff1d(np.arange(n), chosen))
                remaining = np.array(remaining)
                if shuffle:
                    rng.shuffle(remaining)
                times = planned.get("repeats", repeats)
                order = insert_one_by_one(remaining, chosen, times)
                counts = np.bincount(order, minlength=n)
                counts[np.asarray(chosen, dtype=int)] = 1
                self.chosen = [*chosen, *(counts != 1).nonzero()[0]]
            total = 0.0
            # Each batch is followed by its copies; noise is drawn row by row.
            entries = [
                (row, bool(copy and noise_std))
                for start in range(0, len(order), batch_size)
                for copy in range(1 + n_augments)
                for row in order[start : start + batch_size]
            ]
            order = np.array([row for row, _ in entries])
            noises = np.zeros((len(order), X.shape[1]))
            for i, (_, noisy) in enumerate(entries):
                if noisy:
                    noises[i] = noise_std * rng.normal(size=X.shape[1])
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                noise = torch.tensor(noises[start : start + batch_size])
                losses = losses_of(rows, noise)
                factors = weights[rows] * torch.tensor(
                    planned.get("weights", np.ones(n))[rows]
                )
                if weigh is not None and epoch > warmup:
                    factors = factors * torch.tensor(weigh(losses.detach().numpy()))
                loss = (losses * factors).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(rows)
                if scheduler and by_batch:
                    scheduler.step()
            self.curve.append(total / len(order))
            self.rates.append(optimizer.param_groups[0]["lr"])
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                scheduler.step(self.curve[-1])
            elif scheduler and not by_batch:
                scheduler.step()
            with torch.no_grad():
                self.log.append(losses_of(slice(None)).numpy())
        self.sample_losses = self.log[-1]

    def assert_equals(self, model):
        theirs, ours = model.module_.state_dict(), self.network.state_dict()
        assert theirs.keys() == ours.keys()
        for name in ours:
            assert_close(theirs[name], ours[name])
        assert_close(model.loss_curve_, self.curve)
        assert_close(model.sample_losses_, self.sample_losses)
        np.testing.assert_array_equal(model.chosen_, self.chosen)
        assert model.n_redistributed_ == self.size


def standardized(y):
    return (y - y.mean(axis=0)) / y.std(axis=0)


def rank(losses):
    """How many losses are not above each, ties by number: 1 for the lowest."""
    order = sorted(range(len(losses)), key=lambda i: (losses[i], i))
    return np.argsort(order) + 1


def hybrid(losses, epoch, size, rng):
    # Of 8 there are 2 easy ones, each in the middle of its half.
    e, h = np.argsort(losses)[:2], np.argsort(-losses)[:6]
    return {"chosen": [h[0], e[0], h[1], h[2], h[3], e[1], h[4], h[5]]}


def curriculum(losses, epoch, size, rng):
    share = 0.2 + 0.8 * min(epoch.progress / 0.8, 1) ** 2
    return {"remaining": np.argsort(losses)[: round(share * len(losses))]}


def self_paced(losses, epoch, size, rng):
    return {"remaining": (losses < 0.62 * 1.02 ** (epoch.planned - 1)).nonzero()[0]}


def breed(losses, epoch, size, rng):
    n = len(losses)
    by_loss = round(n * (0.2 + 0.6 * min(1, (epoch.planned - 1) / 4)))
    p = (losses - losses.min()) / (losses - losses.min()).sum()
    return {
        "remaining": [
            *np.sort(rng.choice(n, by_loss, p=p)),
            *rng.integers(n, size=n - by_loss),
        ]
    }


def small_loss(losses, epoch, size, rng):
    n_left_out = size * min(epoch.planned, 4) // 4
    return {"chosen": np.argsort(-losses)[:n_left_out], "repeats": 0}


def infobatch(losses, epoch, size, rng):
    if epoch.progress > 0.9:
        return {}
    easy = losses < losses.mean()
    stays = [not (e and u < 0.4) for e, u in zip(easy, rng.random(N), strict=True)]
    return {"remaining": np.flatnonzero(stays), "weights": np.where(easy, 1 / 0.6, 1)}


def selective(losses, epoch, size, rng):
    return {"remaining": np.flatnonzero(rng.random(N) < (rank(losses) / N) ** 0.5)}


def all_once(losses, epoch, size, rng):
    return {}


def ohem(losses):
    k = max(1, round(0.4 * len(losses)))
    return np.where(rank(-losses) <= k, len(losses) / k, 0.0)


def tsw(losses):
    q = max(1, round(0.4 * len(losses)))
    return np.where(rank(-losses) <= q, 3.0, 1.0) * len(losses) / (len(losses) + 2 * q)


def exponential(q):
    return lambda losses: np.exp(-q * losses)


METHODS = {
    "hybrid": (Hybrid(0.25), {"plan": hybrid}),
    "curriculum": (Curriculum("quadratic", 0.2, 0.8), {"plan": curriculum}),
    "self-paced": (SelfPaced(0.62, 1.02), {"plan": self_paced}),
    "breed": (Breed(0.2, 0.8, 4), {"plan": breed}),
    "small-loss": (SmallLoss(4), {"plan": small_loss}),
    "infobatch": (InfoBatch(0.4, 0.9), {"plan": infobatch}),
    "selective-backprop": (SelectiveBackprop(0.5), {"plan": selective}),
    "ohem": (OHEM(0.4), {"plan": all_once, "weigh": ohem}),
    "tsw": (TSW(0.4, 3), {"plan": all_once, "weigh": tsw}),
    "generalized-cross-entropy": (
        GeneralizedCrossEntropy(1.5),
        {"plan": all_once, "weigh": exponential(1.5)},
    ),
    "welsch": (Welsch(0.5), {"plan": all_once, "weigh": exponential(2)}),
}


def follows_the_book(task, params, book_params, max_epochs=6, weights=None):
    """Expect a fit and its records to be those of the book; return both."""
    X, y = make_data(task)
    model = make(
        task, dtype="float64", max_epochs=max_epochs, record_losses=True, **params
    ).fit(X, y, sample_weight=weights)
    trained_on = y if task in CLASSIFICATION else standardized(y)
    if weights is not None:
        book_params = {**book_params, "weights": weights / weights.mean()}
    book = Book(task, X, trained_on, max_epochs=max_epochs, **book_params)
    book.assert_equals(model)
    assert_close(model.recorded_losses_, book.log, 1e-6)
    return model, book


class First(Strategy):
    """Choose the first samples of the table."""

    def plan(self, losses, epoch):
        return np.arange(epoch.n_chosen)


# --- early stopping and validation ---


def noisy_data(task):
    """Two features and a target of chance: what is learnt is soon wrong."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 2))
    y = rng.integers(2, size=60) if task == "binary" else rng.normal(size=60)
    return X, y


def validation_split(rows, y, random_state=0, stratify=True):
    """The split that a fit with early stopping makes."""
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    split_seed = int(np.random.default_rng(seed).integers(2**31))
    return train_test_split(
        rows,
        test_size=0.2,
        random_state=split_seed,
        stratify=y[rows] if stratify else None,
    )


# --- records of the losses ---


def records_of(model):
    names = "recorded_epochs_", "recorded_losses_", "recorded_choices_", "times_chosen_"
    return [getattr(model, name, None) for name in names]


def assert_same_records(model, other):
    for one, its in zip(records_of(model), records_of(other), strict=True):
        np.testing.assert_array_equal(one, its)


class Spy(Callback):
    """Note the number of threads, at the end of every epoch."""

    def __init__(self):
        self.seen = []

    def on_epoch_end(self, net, **kwargs):
        self.seen.append(torch.get_num_threads())


@contextlib.contextmanager
def global_state_stays():
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    try:
        numpy_state = np.random.get_state()  # noqa: NPY002
        torch_state = torch.get_rng_state()
        yield
        np.testing.assert_equal(np.random.get_state(), numpy_state)  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), torch_state)
        assert torch.get_num_threads() == 2
        assert torch.get_default_dtype() == torch.float64
        assert torch.is_grad_enabled()
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)


class Interrupt(Callback):
    """Press Ctrl-C before the given batch of the given epoch."""

    def __init__(self, epoch, batch=1):
        self.epoch, self.batch = epoch, batch
        self.seen = 0

    def on_epoch_begin(self, net, **kwargs):
        self.seen = 0

    def on_batch_begin(self, net, **kwargs):
        self.seen += 1
        if (len(net.history), self.seen) == (self.epoch, self.batch):
            raise KeyboardInterrupt
