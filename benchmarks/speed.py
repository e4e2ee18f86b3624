"""How long do training and predictions take, beside what, and how much memory?

What is compared runs in turns in one process, on one thread. CPU time counts, that of
worker processes included; on a GPU it is the clock on the wall. Every repetition goes
to benchmarks/results/speed.json. How much is run is in speed.toml.
"""

import gc
import os
import time
import warnings
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import torch
from harness import read_setting, run_and_write, single
from joblib import parallel_config
from joblib.externals.loky import get_reusable_executor
from memory import in_new_process, make_data, measure_memory, peak_of
from roofline import limits_of, rates, time_parts
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from speed_baselines import (
    HAS_LIGHTNING,
    bare_loop,
    flat_size,
    lean_net,
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
    ReBatchCNNClassifier,
    fit_fused,
    redistribution_size,
)

SETTING = read_setting(__file__)
SIZES = [SimpleNamespace(**size) for size in SETTING["sizes"].values()]
RATIOS, FOLDS, LARGE_BATCH = (SETTING[n] for n in ("ratios", "folds", "large_batch"))


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
    for rows, features, ratio in SETTING["cells"]:
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


def fit_stack(k, X, y, ratio, epochs, device="cpu"):
    """Train k networks of different seeds side by side."""
    model = single(ratio=ratio, max_epochs=epochs, device=device)
    fit_fused([clone(model).set_params(random_state=s) for s in range(k)], X, y)


def stacks(plan, device="cpu"):
    """Time K networks trained side by side."""
    cells = []
    for cell, title, data in make_cells("stacks", plan.search_epochs):
        args = *data, cell["ratio"], plan.search_epochs, device
        variants = {str(k): partial(fit_stack, k, *args) for k in plan.stacks}
        seconds = measure(title, variants, plan.slow_repetitions, device)
        cells.append({**cell, "seconds": seconds})
    return cells


def roofline(plan):
    """Measure the share of the arithmetic in the time of stacks."""
    cells = [{"rates": rates()}]
    for cell, title, data in make_cells("roofline", plan.search_epochs):
        for k in tqdm([k for k in plan.stacks if k <= 50], title):
            fit = partial(fit_stack, k, *data, cell["ratio"], plan.search_epochs)
            limits = limits_of(fit)
            times = [time_parts(fit) for _ in range(plan.repetitions)]
            seconds = {part: [time[part] for time in times] for part in times[0]}
            cells.append({**cell, "networks": k, "limits": limits, "seconds": seconds})
    return cells


def search(plan, device="cpu"):
    """Time searches over ratios and seeds with cross-validation."""
    return [
        search_cell(plan, n_features, n_seeds, stops, device)
        for n_features, n_seeds in plan.seeds
        for stops in ((False, True) if device == "cpu" else (False,))
    ]


def search_cell(plan, n_features, n_seeds, stops, device):
    """Time a search by several programs, all with early stopping or none."""
    n_samples, epochs = 615, plan.search_epochs
    X, y = make_data(n_samples, n_features)
    seeds = list(range(n_seeds))
    stopping = {"early_stopping": stops, "n_iter_no_change": epochs}
    stopping |= {"validation_fraction": 0.1}
    ours = single(max_epochs=epochs, device=device, **stopping)
    grid = {"ratio": RATIOS, "random_state": seeds}
    net = lean_net(n_features, epochs, stops, device)
    n_train = n_samples - n_samples // FOLDS
    sizes = [redistribution_size(n_train, ratio) for ratio in RATIOS]
    net_grid = {"n_chosen": sizes, "module__seed": seeds}
    flat = flat_size(n_features)
    mlp = MLPClassifier((flat, 2 * flat), max_iter=epochs, **stopping)
    mlp_grid = {"batch_size": sizes, "random_state": seeds}

    def run(kind, estimator, grid, X, y, n_jobs):
        kind(estimator, grid, cv=FOLDS, n_jobs=n_jobs, refit=False).fit(X, y)
        if n_jobs > 1:  # the time of workers counts once they have ended
            get_reusable_executor().shutdown()

    target = y.astype(np.float32)
    kinds = {
        "GridSearchCV over skorch": (GridSearchCV, net, net_grid, X[:, None], target),
        "GridSearchCV over skrebatch": (GridSearchCV, ours, grid, X, y),
        "GridSearchCV over MLPClassifier": (GridSearchCV, mlp, mlp_grid, X, y),
        "FusedGridSearchCV": (FusedGridSearchCV, ours, grid, X, y),
    }
    variants = {
        f"{name}, n_jobs={n_jobs}": partial(run, *arguments, n_jobs)
        for name, arguments in kinds.items()
        for n_jobs in ((1, 2) if device == "cpu" and not stops else (1,))
    }
    title = f"search, {n_features} columns{', early stopping' * stops}"
    repeats = plan.slow_repetitions
    return {
        "rows": n_samples,
        "features": n_features,
        "ratios": RATIOS,
        "folds": FOLDS,
        "seeds": n_seeds,
        "epochs": epochs,
        "early_stopping": stops,
        "seconds": measure(title, variants, repeats, device, warm_up=False),
    }


def predict(plan):
    """Time the predictions of ten networks, of many rows and of one."""
    n_features = 30
    X, y = make_data(1000, n_features)
    many, _ = make_data(max(plan.predicted_rows), n_features)
    calls = {n: 1 for n in plan.predicted_rows} | {1: 1000}
    cells = []
    for title, options in {
        "architecture of the paper": {"architecture": "cnn", "input_clip": None},
        "default architecture": {},
    }.items():
        ours = ReBatchCNNClassifier(max_epochs=2, random_state=0, **options)
        ours.fit(X, y)
        first = ours.module_.members()[0]
        layers = first.architecture.flat_size, *first.architecture.hidden_sizes
        mlps = [
            MLPClassifier(layers, max_iter=2, random_state=seed).fit(X, y)
            for seed in range(ours.n_networks)
        ]

        def repeat(models, rows, times):
            for _ in range(times):
                for model in models:
                    model.predict_proba(rows)

        for n_rows, times in calls.items():
            variants = {
                "skrebatch": partial(repeat, [ours], many[:n_rows], times),
                "scikit-learn MLP": partial(repeat, mlps, many[:n_rows], times),
            }
            seconds = measure(f"predict, {title}", variants, plan.repetitions)
            cell = {"model": title, "layers": layers, "rows": n_rows, "calls": times}
            cells.append({**cell, "features": n_features, "seconds": seconds})
    return cells


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
        ten = ReBatchCNNClassifier(max_epochs=1, random_state=0)
        variants = {
            "bare loop": partial(bare_loop, X, y, LARGE_BATCH, epochs),
            "skrebatch": partial(ours.fit, X, y),
            "selection and order": partial(
                select_and_order,
                np.random.default_rng(1).random(n_samples, dtype=np.float32),
                redistribution_size(n_samples, ratio),
                IntervalInsertionSampler(n_samples, random_state=0),
            ),
            "ten networks": partial(ten.fit, X, y),
        }
        with TemporaryDirectory() as folder:
            path = Path(folder) / "X.npy"
            np.save(path, X)
            mapped = np.load(path, mmap_mode="r")
            variants["ten networks, mapped"] = partial(ten.fit, mapped, y)
            repeats = plan.slow_repetitions
            cell["seconds"] = measure(f"large, {n_samples} rows", variants, repeats)
        cell["bytes"] = in_new_process(peak_of, "fit, one network", n_samples)
        cells.append(cell)
    return cells


def select_and_order(losses, n_chosen, sampler):
    """Choose the samples of an epoch, and put them into its order."""
    epoch = Epoch(2, 10, n_chosen, np.random.default_rng(0))
    sampler.redistribute(MinLoss().plan(losses, epoch))
    sampler.order()


def memory(plan):
    """Measure the memory of all that takes a table."""
    return measure_memory(plan.memory_rows, plan.large_rows[-1], plan.mapped_rows)


def gpu(plan):
    """Time the other sections on a GPU; None where there is none."""
    if not torch.cuda.is_available():
        return None
    sections = one_fit, stacks, search
    return {section.__name__: section(plan, "cuda") for section in sections}


CPU = one_fit, stacks, roofline, search, predict, large, memory
SECTIONS = {function.__name__: function for function in (*CPU, gpu)}


def run_section(name, plan):
    """Run a section; None where it needs a GPU and there is none."""
    with parallel_config("loky", inner_max_num_threads=1):
        cells = SECTIONS[name](plan)
    return cells and {"cells": cells}


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)  # all train for all epochs
    sections = {name: partial(run_section, name) for name in SECTIONS}
    run_and_write(__doc__, "speed", sections, write_page, plans=SIZES)
