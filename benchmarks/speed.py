"""How long does training take, and beside what?

    python benchmarks/speed.py                  # all sections, half an hour
    python benchmarks/speed.py --only search    # one section anew
    python benchmarks/speed.py --page           # docs/speed.md from the results

What is compared runs in turns in one process, on one thread. CPU time counts, that of
worker processes included; on a GPU it is the clock on the wall. Every repetition goes
to benchmarks/results/speed.json.
"""

import gc
import multiprocessing
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from harness import run_and_write, single
from joblib import parallel_config
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from speed_baselines import (
    HAS_LIGHTNING,
    bare_loop,
    flat_size,
    lightning_fit,
    minimal_loop,
    skorch_net,
)
from speed_report import write_page
from tqdm import tqdm

from skrebatch import (
    Epoch,
    FusedGridSearchCV,
    IntervalInsertionSampler,
    MinLoss,
    fit_fused,
    redistribution_size,
)

# rows, features, ratio
CELLS = [(614, 8, 0.03), (614, 8, 0.15), (1000, 30, 0.03), (1000, 30, 0.3)]
RATIOS = (0.03, 0.08, 0.15, 0.3)
FOLDS = 5
LARGE_BATCH = 1024


@dataclass(frozen=True)
class Plan:
    """How much is run."""

    epochs: int = 50
    repetitions: int = 7
    stacks: tuple[int, ...] = (1, 8, 20, 50, 200)
    seeds: int = 10
    search_epochs: int = 10
    large_rows: tuple[int, ...] = (100_000, 1_000_000)
    large_epochs: int = 3
    slow_repetitions: int = 3  # of all but one fit


QUICK = Plan(
    epochs=10,
    repetitions=3,
    stacks=(1, 5, 20),
    seeds=2,
    large_rows=(100_000,),
    slow_repetitions=1,
)


def make_data(n_samples, n_features):
    """Draw a table whose first feature tells the class, with errors."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features), dtype=np.float32)
    noise = rng.standard_normal(n_samples, dtype=np.float32)
    return X, (X[:, 0] + noise > 0).astype(np.int64)


def measure(title, variants, repetitions, device="cpu", warm_up=True):
    """Run the variants in turns, every round from another one on.

    Returns the seconds of each repetition by variant, "cpu" and "wall".
    """
    names = list(variants)
    times = {name: {"cpu": [], "wall": []} for name in names}
    rounds = range(-warm_up, repetitions)
    turns = [(i, name) for i in rounds for name in np.roll(names, -i).tolist()]
    for i, name in tqdm(turns, title):
        gc.collect()
        cpu, wall = cpu_seconds(), time.perf_counter()
        variants[name]()
        if device != "cpu":
            torch.cuda.synchronize()
        if i >= 0:
            times[name]["cpu"].append(cpu_seconds() - cpu)
            times[name]["wall"].append(time.perf_counter() - wall)
    return times


def cpu_seconds():
    """Return the CPU time of this process and of its children that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def make_cells(title, epochs):
    """Describe each of the cells, with a title and its data."""
    for rows, features, ratio in CELLS:
        size = redistribution_size(rows, ratio)
        cell = {"rows": rows, "features": features, "ratio": ratio}
        cell |= {"batch_size": size, "epochs": epochs}
        yield cell, f"{title}, {rows} x {features}, B={size}", make_data(rows, features)


def one_fit(plan, device="cpu"):
    """Time one fit in different hands."""
    cells = []
    for cell, title, (X, y) in make_cells("one fit", plan.epochs):
        size, ratio, features = cell["batch_size"], cell["ratio"], cell["features"]
        ours = single(
            ratio=ratio, max_epochs=plan.epochs, device=device, random_state=0
        )
        net = skorch_net(features, ratio, size, plan.epochs, device)
        variants = {
            "minimal loop": partial(minimal_loop, X, y, size, plan.epochs, device),
            "skrebatch": partial(ours.fit, X, y),
            "skorch": partial(net.fit, X[:, None], y.astype(np.float32)),
        }
        if device == "cpu":
            layers = flat_size(features), 2 * flat_size(features)
            mlp = MLPClassifier(
                layers,
                batch_size=size,
                max_iter=plan.epochs,
                n_iter_no_change=plan.epochs,
                random_state=0,
            )
            same = clone(ours).set_params(architecture="mlp", hidden_layers=layers)
            variants["scikit-learn MLP"] = partial(mlp.fit, X, y)
            variants["skrebatch MLP"] = partial(same.fit, X, y)
            if HAS_LIGHTNING:
                variants["Lightning"] = partial(lightning_fit, X, y, size, plan.epochs)
        seconds = measure(title, variants, plan.repetitions, device)
        cells.append({**cell, "seconds": seconds})
    return cells


def stacks(plan, device="cpu"):
    """Time K networks trained side by side."""

    def fit(k, X, y, ratio):
        model = single(ratio=ratio, max_epochs=plan.search_epochs, device=device)
        fit_fused([clone(model).set_params(random_state=s) for s in range(k)], X, y)

    cells = []
    for cell, title, (X, y) in make_cells("stacks", plan.search_epochs):
        variants = {str(k): partial(fit, k, X, y, cell["ratio"]) for k in plan.stacks}
        seconds = measure(title, variants, plan.slow_repetitions, device)
        cells.append({**cell, "seconds": seconds})
    return cells


def search(plan, device="cpu"):
    """Time a search over ratios and seeds with cross-validation."""
    n_samples, n_features = 615, 8
    X, y = make_data(n_samples, n_features)
    seeds = list(range(plan.seeds))
    ours = single(max_epochs=plan.search_epochs, device=device)
    grid = {"ratio": RATIOS, "random_state": seeds}
    net = skorch_net(n_features, RATIOS[0], 1, plan.search_epochs, device)
    n_train = n_samples - n_samples // FOLDS
    net_grid = [
        {
            "callbacks__rebatch__ratio": [ratio],
            "batch_size": [redistribution_size(n_train, ratio)],
            "module__seed": seeds,
        }
        for ratio in RATIOS
    ]

    def run(kind, estimator, grid, X, y, n_jobs):
        kind(estimator, grid, cv=FOLDS, n_jobs=n_jobs, refit=False).fit(X, y)
        if n_jobs > 1:  # the time of workers counts once they have ended
            get_reusable_executor().shutdown()

    target = y.astype(np.float32)
    kinds = {
        "GridSearchCV over skorch": (GridSearchCV, net, net_grid, X[:, None], target),
        "GridSearchCV over skrebatch": (GridSearchCV, ours, grid, X, y),
        "FusedGridSearchCV": (FusedGridSearchCV, ours, grid, X, y),
    }
    variants = {
        f"{name}, n_jobs={n_jobs}": partial(run, *arguments, n_jobs)
        for name, arguments in kinds.items()
        for n_jobs in ((1, 2) if device == "cpu" else (1,))
    }
    repeats = plan.slow_repetitions
    cell = {
        "rows": n_samples,
        "features": n_features,
        "ratios": RATIOS,
        "folds": FOLDS,
        "seeds": plan.seeds,
        "epochs": plan.search_epochs,
        "seconds": measure("search", variants, repeats, device, warm_up=False),
    }
    return [cell]


def large(plan):
    """Time epochs over large tables, and measure the memory of a fit."""
    cells = []
    for n_samples in plan.large_rows:
        cell = {
            "rows": n_samples,
            "features": 30,
            "ratio": 0.15,
            "batch_size": LARGE_BATCH,
            "epochs": plan.large_epochs,
        }
        X, y = make_data(n_samples, cell["features"])
        ratio, epochs = cell["ratio"], cell["epochs"]
        options = {"ratio": ratio, "batch_size": LARGE_BATCH, "max_epochs": epochs}
        ours = single(**options, random_state=0)
        variants = {
            "bare loop": partial(bare_loop, X, y, LARGE_BATCH, epochs),
            "skrebatch": partial(ours.fit, X, y),
            "selection and order": partial(
                select_and_order,
                np.random.default_rng(1).random(n_samples, dtype=np.float32),
                redistribution_size(n_samples, ratio),
                IntervalInsertionSampler(n_samples, random_state=0),
            ),
        }
        repeats = plan.slow_repetitions
        cell["seconds"] = measure(f"large, {n_samples} rows", variants, repeats)
        cell["bytes"] = in_new_process(peak_memory, n_samples)
        cells.append(cell)
    return cells


def select_and_order(losses, n_chosen, sampler):
    """Choose the samples of an epoch, and put them into its order."""
    epoch = Epoch(2, 10, n_chosen, np.random.default_rng(0))
    sampler.redistribute(MinLoss().plan(losses, epoch))
    sampler.order()


def in_new_process(function, *arguments):
    """Call a function in a process whose memory holds nothing else."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(function, *arguments).result()


def peak_memory(n_samples):
    """Measure what a fit takes beside its data; for a process of its own."""
    torch.set_num_threads(1)
    X, y = make_data(n_samples, 30)
    model = single(batch_size=LARGE_BATCH, max_epochs=2, random_state=0)
    model.fit(X[:100], y[:100])  # loads what a first fit loads
    before = memory("VmRSS")
    model.fit(X, y)
    return {"data": X.nbytes, "beside data": memory("VmHWM") - before}


def memory(name):
    """Read a figure of this process's memory in bytes; on Linux alone."""
    # getrusage would start with what the parent process has used.
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def gpu(plan):
    """Time the other sections on a GPU; None where there is none."""
    if not torch.cuda.is_available():
        return None
    sections = {"one_fit": one_fit, "stacks": stacks, "search": search}
    return {name: section(plan, "cuda") for name, section in sections.items()}


SECTIONS = {f.__name__: f for f in (one_fit, stacks, search, large, gpu)}


def run_section(name, plan):
    """Run a section; None where it needs a GPU and there is none."""
    with parallel_config("loky", inner_max_num_threads=1):
        cells = SECTIONS[name](plan)
    return cells and {"cells": cells}


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)  # all train for all epochs
    sections = {name: partial(run_section, name) for name in SECTIONS}
    run_and_write(__doc__, "speed", sections, write_page, plans=(Plan(), QUICK))
