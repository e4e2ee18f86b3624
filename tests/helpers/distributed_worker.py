"""What test_distributed.py runs in several processes, and the fits that it compares.

torchrun distributed_worker.py TASK RESULT
"""

import json
import os
import sys
from functools import partial
from pathlib import Path
from pickle import PicklingError
from types import SimpleNamespace
from typing import ClassVar

import joblib
import numpy as np
import pandas as pd
import sklearn
import torch
import torch.distributed as dist
from sklearn.base import clone
from sklearn.datasets import load_iris, make_regression
from sklearn.model_selection import KFold

from skrebatch import (
    DivergedError,
    Epoch,
    Hybrid,
    MaxLoss,
    MinLoss,
    ReBatchCNNClassifier,
    ReBatchCNNRegressor,
    fit_distributed,
)
from skrebatch._engine.tables.sharded import ShardedRows, make_sharded_table
from skrebatch._engine.tables.table import make_table
from skrebatch.strategies._planning import make_plan

TINY = {
    "architecture": "cnn",
    "n_networks": 1,
    "batch_size": "ratio",
    "lr": 1e-3,
    "conv_channels": (4,),  # with 2 a network may give half of the rows one output
    "hidden_size": 8,
    "max_epochs": 6,
    "random_state": 0,
    "dtype": "float64",
}


def make_data():
    """Make tables of rows that all differ, so that their losses do.

    Losses that are equal but for rounding are told apart by where in a table a row
    stands, which is not the same in every process.
    """
    iris = load_iris()
    rng = np.random.default_rng(0)
    # Of no class by its features, so that the losses stay apart.
    X = np.concatenate([iris.data, iris.data[::2]])
    X = X + rng.normal(scale=0.3, size=X.shape)
    y = rng.permutation(iris.target)
    y = np.concatenate([y, y[::2]])
    regression = make_regression(140, 5, n_targets=2, noise=20.0, random_state=0)
    weights = rng.uniform(size=len(X)).round(1)  # some are 0
    return SimpleNamespace(
        binary=(X, y == 0),
        classes=(X, np.array(["setosa", "versicolor", "virginica"])[y]),
        regression=regression,
        weights=weights,
    )


def make_fits():
    """Return estimators and what each is fitted on, by what is looked at."""
    data = make_data()

    def clf(**params):
        return ReBatchCNNClassifier(**TINY | params)

    def reg(**params):
        return ReBatchCNNRegressor(**TINY | params)

    twice = {"repeats": 2, "shuffle": False}
    early = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 30}
    X, y = data.binary
    fits = {
        "none": (clf(ratio=0.0), data.binary),
        "moved": (clf(), data.binary),
        "twice": (clf(ratio=0.3, **twice), data.binary),
        "left out": (clf(strategy="max-loss", repeats=0), data.classes),
        "balanced": (clf(class_balanced=True, repeats=3), data.classes),
        "no weight here": (clf(repeats=2), (*data.binary, np.arange(len(X)) >= 90)),
        "weights": (clf(class_weight="balanced"), (*data.classes, data.weights)),
        "two targets": (reg(lr=0.01), data.regression),
        "two labels": (clf(), (X, np.column_stack([y, X[:, 0] > 0]))),
        "one row a batch": (clf(batch_size=1, max_epochs=2), (X[:60], y[:60])),
        "small batches": (reg(batch_size=3, max_epochs=2), data.regression),
        "early stopping": (clf(**early, lr=0.02), data.binary),
        "validation set": (clf(**early), (X[:150], y[:150], None, X[150:], y[150:])),
        "a network each": (clf(n_networks=3), data.binary),
        "together": (clf(n_networks=3, choose="together"), data.binary),
        "plateau": (clf(lr_schedule="plateau", optimizer="sgd", lr=0.5), data.binary),
        "smoothed": (clf(loss_smoothing=0.5, refresh_every=2), data.binary),
        "recorded": (clf(record_losses=True, architecture="mlp"), data.binary),
        "projection": (clf(architecture="projected-cnn"), data.binary),
        "clipped inputs": (clf(input_clip=1.0), data.binary),
        "float32": (clf(dtype="float32", max_epochs=2), data.binary),
    }
    for strategy in (
        "random",
        "hybrid",
        "self-paced",
        "breed",
        "infobatch",
        "tsw",
        "ohem",
        "welsch",
    ):
        fits[strategy] = clf(strategy=strategy), data.binary
    return fits


def share_of(values, rank, world_size):
    """Cut rows into shares, that of each process larger than the last."""
    if values is None:
        return None
    ends = np.cumsum(np.arange(world_size + 1))
    ends = ends * len(values) // ends[-1]
    return values[ends[rank] : ends[rank + 1]]


def summarise(model):
    """Return what a fit has found, as arrays."""
    found = {
        "parameters": [p.detach().numpy().ravel() for p in model.module_.parameters()],
        "losses": model.sample_losses_,
        "curve": model.loss_curve_,
        "validation": getattr(model, "validation_loss_curve_", []),
        "recorded": getattr(model, "recorded_losses_", np.empty(0)).ravel(),
    }
    chosen = model.chosen_by_network_
    return {
        **{
            name: np.hstack([np.empty(0), *map(np.ravel, v)])
            for name, v in found.items()
        },
        "chosen": np.concatenate(chosen).astype(float),
    }


def rng_states():
    """Return the states of the generators that are not for us to touch."""
    own = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), own[1].tolist(), own[2:]


def pick(losses, sets):
    """Return the losses of sets of rows."""
    return [losses[rows] for rows in sets]


def choose_among_equals(rank, world_size):
    """Choose by losses of which each process has computed some, most of them equal.

    Tell for each choice whether one process would make the same.
    """
    rng = np.random.default_rng(0)
    agree = []
    for n_rows in (7, 100, 10_001):
        losses = rng.integers(5, size=n_rows) / 8
        own = share_of(np.zeros((n_rows, 1)), rank, world_size)
        before = [share_of(losses, other, world_size) for other in range(rank)]
        rows = ShardedRows(own, sum(map(len, before)), n_rows)
        part = make_table([own], [own], torch.float64, torch.device("cpu"))
        table = make_sharded_table([rows], [losses[:, None]], part)
        asked = rng.permutation(n_rows)[: n_rows - 2]
        (gathered,) = table.per_row(partial(pick, losses), [asked])
        for strategy in (MinLoss(), MaxLoss(), Hybrid()):
            epoch = Epoch(2, 9, n_rows // 3, rng, None)
            alone, shared = (
                make_plan(strategy, values, epoch).chosen.tolist()
                for values in (losses[asked], gathered)
            )
            agree.append(alone == shared)
    return agree


def fit_all(rank, world_size, result):
    """Fit everything; return what was found, and whether all processes found it."""
    found = {}
    for name, (model, data) in make_fits().items():
        fit_distributed(model, *(share_of(part, rank, world_size) for part in data))
        for what, values in summarise(model).items():
            found[f"{name}: {what}"] = values
        everyone = [None] * world_size
        dist.all_gather_object(everyone, joblib.hash(summarise(model)))
        found[f"{name}: alike"] = np.array(len(set(everyone)) == 1)
    X, y = (share_of(part, rank, world_size) for part in make_data().binary)
    path = Path(f"{result}.{rank}.npy")
    np.save(path, X)
    indexed = pd.DataFrame(X, index=[f"{rank}.{i}" for i in range(len(X))])
    model = ReBatchCNNClassifier(**TINY, record_losses=True)
    with sklearn.config_context(working_memory=0):
        fit_distributed(model, np.load(path, mmap_mode="r"), y)
    from_file = summarise(model)
    fit_distributed(model, indexed, y)
    found["from a file: alike"] = joblib.hash(from_file) == joblib.hash(
        summarise(model)
    )
    sizes = [len(share_of(range(225), r, world_size)) for r in range(world_size)]
    names = [f"{r}.{i}" for r, size in enumerate(sizes) for i in range(size)]
    found["index: alike"] = model.sample_index_.tolist() == names
    everyone = [None] * world_size
    dist.all_gather_object(everyone, choose_among_equals(rank, world_size))
    found["equal losses: alike"] = np.all(everyone) and np.shape(everyone)[1] == 9
    unseeded = ReBatchCNNClassifier(**TINY | {"random_state": None})
    before = rng_states()
    fit_distributed(unseeded, X, y)
    after = rng_states()
    untouched = before == after
    everyone = [None] * world_size
    dist.all_gather_object(everyone, (joblib.hash(summarise(unseeded)), untouched))
    found["no seed: alike"] = np.array(len(set(everyone)) == 1 and untouched)
    return found


class OfItsOwn(MinLoss):
    """A strategy that draws from no generator of the fit."""

    def plan(self, losses, epoch):
        return np.random.default_rng().permutation(len(losses))[: epoch.n_chosen]


def make_unpicklable(y):
    """Return labels that can't be sent."""
    labels = np.empty(len(y), dtype=object)
    labels[:] = [lambda: None] * len(y)
    return labels


def refuse_all(rank, world_size, result):
    """Give the last process, or all, what is refused; return the messages."""
    last = rank == world_size - 1
    X, y = (share_of(part, rank, world_size) for part in make_data().binary)
    holey = np.where(np.arange(len(X))[:, None] == 1, np.nan, X)
    names = list("abcd")

    def attempt(model, *data):
        before = dict(getattr(model, "__dict__", {}))
        try:
            fit_distributed(model, *data)
        except (AttributeError, DivergedError, PicklingError, ValueError) as error:
            assert getattr(model, "__dict__", {}) == before
            return f"{type(error).__name__}: {error}"
        return "fitted"

    def clf(**params):
        return ReBatchCNNClassifier(**TINY | params)

    return {
        "NaN": attempt(clf(), holey if last else X, y),
        "no rows": attempt(clf(), X[:0] if last else X, y[:0] if last else y),
        "lengths": attempt(clf(), X, y[1:] if last else y),
        "no targets": attempt(clf(), X, None if last else y),
        "no estimator": attempt(None, X, y),
        "weight": attempt(clf(), X, y, np.ones(3 if last else len(X))),
        "no X": attempt(clf(), None, None),
        "class": attempt(ReBatchCNNRegressor() if last else clf(), X, y),
        "times": attempt(clf(), X, y.astype("M8[s]") if last else y),
        "unpicklable": attempt(clf(), X, make_unpicklable(y) if last else y),
        "chance": attempt(clf(strategy=OfItsOwn()), X, y),
        "ratio": attempt(clf(ratio=0.3 if last else 0.1), X, y),
        "columns": attempt(clf(), X[:, :3] if last else X, y),
        "names": attempt(clf(), pd.DataFrame(X, columns=names[:: 1 - 2 * last]), y),
        "labels": attempt(clf(), X, y.astype(str) if last else y),
        "weights": attempt(clf(), X, y, np.ones(len(X)) if last else None),
        "seed": attempt(clf(random_state=np.random.RandomState(rank)), X, y),
        "batch_norm": attempt(clf(batch_norm=True), X, y),
        "dropout": attempt(clf(dropout=0.5), X, y),
        "splitter": attempt(clf(cv=KFold(2)), X, y),
        "copies": attempt(clf(n_augments=1, noise_std=0.1), X, y),
        "lengths vary": attempt(clf(variable_length=True), X, y),
        "checkpoint": attempt(clf(checkpoint_dir=f"{result}.run"), X, y),
        "folder": attempt(clf(checkpoint_dir=3), X, y),
        "lr": attempt(clf(lr=-1.0), X, y),
        "diverged": attempt(clf(lr=1e200, optimizer="sgd"), X, y),
        "lambda": attempt(clf(ratio_schedule=lambda share: share), X, y),
    }


LOSING = "killed", "interrupted", "failing"


class Stopping(MinLoss):
    """A strategy at which a process ends, or is interrupted, in the fourth epoch."""

    how = ""
    planned: ClassVar[list[int]] = []

    def plan(self, losses, epoch):
        Stopping.planned.append(epoch.number)
        if epoch.number == 4 and Stopping.how == "killed":
            os._exit(1)
        if epoch.number == 4 and Stopping.how == "interrupted":
            raise KeyboardInterrupt
        if epoch.number == 4 and Stopping.how == "failing":
            raise OSError("gone")
        return super().plan(losses, epoch)


def lose_one(rank, world_size, how):
    """Let the last process end in the middle; return what the others say."""
    X, y = (share_of(part, rank, world_size) for part in make_data().binary)
    model = fit_distributed(ReBatchCNNClassifier(**TINY), X, y)
    before = model.predict_proba(X)
    if rank == world_size - 1:
        Stopping.how = how
    model.set_params(strategy=Stopping(), random_state=1)
    said = "fitted"
    try:
        fit_distributed(model, X, y)
    except (OSError, KeyboardInterrupt) as error:
        said = f"{type(error).__name__}: {error}"
    return {"said": said, "as before": bool((model.predict_proba(X) == before).all())}


def resume(rank, world_size, result):
    """Fit with checkpoints; lose a process the first time that torchrun calls."""
    X, y = (share_of(part, rank, world_size) for part in make_data().binary)
    clf = ReBatchCNNClassifier(**TINY, strategy=Stopping())
    folder = Path(f"{result}.run")
    is_first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    Stopping.how = "killed" if is_first and rank == world_size - 1 else ""
    resumed = clone(clf).set_params(checkpoint_dir=folder, checkpoint_every=2)
    fit_distributed(resumed, X, y)
    planned, Stopping.planned = Stopping.planned, []
    fit_distributed(clf, X, y)
    return {
        "planned": [planned, Stopping.planned],
        "alike": joblib.hash(summarise(resumed)) == joblib.hash(summarise(clf)),
        "files": len(list(folder.iterdir())),
    }


def main(task, result, store=None, rank=None, world_size=None):
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"
    if store is None:
        dist.init_process_group("gloo")
    else:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{store}",
            rank=rank,
            world_size=world_size,
        )
    rank, world_size = dist.get_rank(), dist.get_world_size()
    if task == "fit":
        found = fit_all(rank, world_size, result)
        if rank == 0:
            np.savez(result, **found)
    else:
        own = (rank, world_size)
        tasks = {
            "refuse": partial(refuse_all, result=result),
            "resume": partial(resume, result=result),
        }
        found = tasks.get(task, partial(lose_one, how=task))(*own)
        Path(f"{result}.{rank}").write_text(json.dumps(found), "utf-8")
    if task not in LOSING:
        dist.barrier()
    # Where a thread of torch's outlives its group, the end of Python would be an abort.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
