"""What does each way to choose bring, and what does it cost?

Arms train the same network from the same initial weights on the same splits, at the
same batch size and for equally many epochs. They are in methods.toml.
All sections take some ten minutes. The page is docs/methods.md.
"""

import gc
import itertools
from functools import partial

import numpy as np
import torch
from datasets import ENTRIES, SEED, as_dataset, folder_of, load
from harness import read_setting, run_and_write, score, single
from memory import make_data
from methods_report import PLAIN, write_page
from sklearn.datasets import make_classification
from speed import measure
from tqdm import tqdm

from skrebatch import (
    Epoch,
    IntervalInsertionSampler,
    Plan,
    fit_fused,
    redistribution_size,
)
from skrebatch.strategies import STRATEGIES, check_strategy
from skrebatch.strategies._planning import make_plan, plan_by_class

SETTING = read_setting(__file__)
METHODS = SETTING["methods"] | {n: {"strategy": n} for n in list(STRATEGIES)[3:]}
BALANCED = SETTING["balanced"]
LEFT_OUT = METHODS["max-loss, left out"]
SCHEDULES = {
    PLAIN: {"ratio": 0},
    "plain training, early stopping": {"ratio": 0, "early_stopping": True},
}
for values in itertools.product(*SETTING["schedules"].values()):
    name = "{}, warm-up {}, smoothing {}".format(*values)
    schedule = dict(zip(SETTING["schedules"], values, strict=True))
    SCHEDULES[name] = {**LEFT_OUT, "ratio": 0.3, **schedule}
TWO, RARE = SETTING["scorers"]["always"], SETTING["scorers"]["rare"]


def is_here(name):
    """Tell whether a data set needs no download."""
    file = ENTRIES.get(name, {}).get("file")
    return file is None or folder_of(file) is not None


def find(name):
    """Generate a data set, or load one of datasets.py."""
    generated = SETTING["generated"]
    if name not in generated:
        return load(name)
    X, y = make_classification(**generated[name], flip_y=0, random_state=SEED)
    return as_dataset(name, X, y, "scikit-learn's make_classification")


def flip(y, rate, seed):
    """Flip a share of the labels 0 and 1."""
    size = round(rate * len(y))
    rows = np.random.default_rng(seed).choice(len(y), size, replace=False)
    flipped = y.copy()
    flipped[rows] = 1 - y[rows]
    return flipped


def compare(data, arms, scorers, size):
    """Fit all arms on every split, side by side, and score them on the test rows."""
    found = {arm: {name: [] for name in scorers} for arm in arms}
    splits = list(enumerate(data.splits(size["folds"], size["repeats"])))
    for split, (train, test) in tqdm(splits, data.name):
        X, X_test = data.prepare(train, test)
        y = data.y[train]
        if data.name == "wrong labels":
            y = flip(y, SETTING["wrong"], [SEED, split])
        fixed = {"batch_size": size["batch_size"], "max_epochs": size["epochs"]}
        models = {
            arm: single(**fixed, random_state=split, **parameters)
            for arm, parameters in arms.items()
        }
        fit_fused(list(models.values()), X, y)
        for arm, model in models.items():
            for name, value in score(model, X_test, data.y[test], scorers).items():
                found[arm][name].append(round(float(value), 5))
    return {
        "data": data.name,
        "source": data.source,
        "rows": len(data.X),
        "features": int(X.shape[1]),
        "positive": round(float(np.mean(data.y)), 3),
        "epochs": size["epochs"],
        "scores": found,
    }


def cost(size):
    """Time fits, and what plans one epoch of a large table."""
    gc.freeze()  # else most of the time goes by collecting garbage between the turns
    cells = []
    for rows, features, batch_size, epochs, repetitions in size["costs"]:
        X, y = make_data(rows, features)
        fixed = {"batch_size": batch_size, "max_epochs": epochs, "random_state": 0}
        variants = {
            arm: partial(single(**fixed, **parameters).fit, X, y)
            for arm, parameters in METHODS.items()
        }
        title = f"fits, {rows} x {features}"
        seconds = measure(title, variants, repetitions, warm_up=False)
        cell = {"rows": rows, "features": features, "batch_size": batch_size}
        cells.append({**cell, "epochs": epochs, "seconds": seconds})
    cells.append(time_plans(size))
    gc.unfreeze()
    return cells


def time_plans(size):
    """Time the plan and the order of an epoch, or the weights of its mini-batches."""
    rows, (_, _, batch_size, *_) = size["plan_rows"], size["costs"][-1]
    rng = np.random.default_rng(SEED)
    losses = rng.standard_exponential(rows, dtype=np.float32)
    labels = rng.integers(2, size=rows)
    batch = torch.from_numpy(losses[:batch_size])[None]  # (1, b)
    epoch = Epoch(20, 50, redistribution_size(rows, 0.15), rng, labels)

    def plan_and_order(repeats, planning, *arguments):
        plan = planning(*arguments)
        sampler = IntervalInsertionSampler(rows, repeats, random_state=0)
        sampler.redistribute(plan.chosen, plan.remaining, plan.repeats)
        sampler.order()

    def weigh(strategy):
        for _ in range(-(-rows // batch_size)):
            strategy.batch_weights(batch)

    variants = {PLAIN: partial(plan_and_order, 1, Plan)}
    for arm, parameters in METHODS.items():
        if arm == PLAIN:
            continue
        strategy = check_strategy(parameters["strategy"])
        time_it = partial(plan_and_order, parameters.get("repeats", 1))
        if strategy.weights_batches:
            variants[arm] = partial(weigh, strategy)
        else:
            variants[arm] = partial(time_it, make_plan, strategy, losses, epoch)
        if parameters == LEFT_OUT:
            by_class = partial(time_it, plan_by_class, strategy, losses, epoch)
            variants[f"{arm}, class_balanced"] = by_class
    seconds = measure(f"plans, {rows} rows", variants, size["plan_repetitions"])
    return {"rows": rows, "batch_size": batch_size, "seconds": seconds}


def compare_all(names, arms, scorers, size):
    """Compare arms on those of the data sets that need no download."""
    data_sets = map(find, filter(is_here, names))
    return [compare(data, arms, scorers, size) for data in data_sets]


SECTIONS = {
    "effect": lambda size: compare_all(size["data"], METHODS, TWO, size),
    # Leaves out hard samples where one class is rare, and where labels are wrong.
    "balanced": lambda size: compare_all(["imbalanced"], BALANCED, RARE | TWO, size),
    "schedules": lambda size: compare_all(
        ["wrong labels"], SCHEDULES, TWO, size | {"epochs": size["schedule_epochs"]}
    ),
    "cost": cost,
}


def run_section(name, size):
    """Run a section, and say how."""
    return {"seed": SEED, "size": size, "cells": SECTIONS[name](size)}


def main(arguments=None):
    """Run what the command line asks for."""
    sections = {name: partial(run_section, name) for name in SECTIONS}
    plans = SETTING["sizes"]["full"], SETTING["sizes"]["quick"]
    run_and_write(__doc__, "methods", sections, write_page, plans, arguments)


if __name__ == "__main__":
    main()
