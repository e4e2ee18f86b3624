"""How much padding, and how much time, do dynamic batches save?

Rows are of log-uniform lengths. Batches of a fixed number of rows, and of a budget of
elements, are made of the same orders and padded to their longest row. It takes some
minutes; the page is docs/lengths.md.
"""

import itertools
from functools import partial

import numpy as np
import pandas as pd
import torch
from harness import DOCS, run_and_write, single
from pages import fill_blocks
from skorch import NeuralNetBinaryClassifier
from speed import measure

import skrebatch

N_ROWS, SHORTEST, LONGEST, ROWS = 2000, 8, 512, 32
RATIO, EPOCHS, REPETITIONS = 0.15, 2, 5
STRETCHES = (4, 16, 64)  # in full batches
SEEDS = range(10)
NETWORKS = (8, 16), (32, 64)  # channels
TIMED_ROWS = (32, 128)


def draw_lengths(seed):
    """Draw whole lengths, log-uniform between the shortest and the longest."""
    rng = np.random.default_rng(seed)
    logs = rng.uniform(np.log(SHORTEST), np.log(LONGEST + 1), N_ROWS)
    return np.minimum(np.exp(logs).astype(int), LONGEST)


def make_data(seed=0):
    """Draw rows whose mean tells the class, with errors, padded with NaN."""
    rng = np.random.default_rng(seed)
    lengths = draw_lengths(seed)
    X = rng.standard_normal((N_ROWS, LONGEST), dtype=np.float32)
    label = rng.integers(2, size=N_ROWS)
    X += 0.2 * (2 * label[:, None] - 1)
    X[np.arange(LONGEST) >= lengths[:, None]] = np.nan
    return X, label


def count(lengths, batches):
    """Count batches, their elements and how many of these are padding."""
    elements = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    padding = elements - sum(int(lengths[batch].sum()) for batch in batches)
    return {"batches": len(batches), "elements": elements, "padding": padding}


def padding():
    """Count the padding of one epoch of re-Batch, seed by seed."""
    seeds = []
    for seed in SEEDS:
        lengths = draw_lengths(seed)
        source = skrebatch.IntervalInsertionSampler(N_ROWS, random_state=seed)
        n_chosen = skrebatch.redistribution_size(N_ROWS, RATIO)
        source.redistribute(np.random.default_rng(seed).permutation(N_ROWS)[:n_chosen])
        order = source.order()
        fixed = [order[i : i + ROWS] for i in range(0, N_ROWS, ROWS)]
        cell = {"fixed": count(lengths, fixed)}
        budget = round(ROWS * lengths.mean())
        for n in STRETCHES:
            sampler = skrebatch.DynamicBatchSampler(
                lengths, budget, sampler=order, stretch=n * ROWS, random_state=seed
            )
            cell[str(n)] = count(lengths, list(sampler))
        seeds.append(cell)
    return {"seeds": seeds}


def times():
    """Time fits of the estimator, and of a skorch net with the callback."""
    X, y = make_data()
    lengths = skrebatch.row_lengths(X)
    cells = []
    for channels, rows in itertools.product(NETWORKS, TIMED_ROWS):
        network = {"conv_channels": channels, "pool_size": 4, "hidden_size": 64}
        budget = round(rows * lengths.mean())
        sampler = skrebatch.DynamicBatchSampler(lengths, budget, random_state=0)
        iterator = {"batch_sampler": sampler, "batch_size": 1}
        dynamic = {f"iterator_train__{name}": iterator[name] for name in iterator}
        fits = {
            "estimator": (make_estimator, y, {"max_elements": budget}),
            "skorch": (make_net, y.astype(np.float32), {"batch_size": rows, **dynamic}),
        }
        for name, (make, target, options) in fits.items():
            pair = {
                "fixed": partial(make(network, batch_size=rows).fit, X, target),
                "dynamic": partial(make(network, **options).fit, X, target),
            }
            seconds = measure(f"{name}, {channels}, {rows} rows", pair, REPETITIONS)
            cell = {"training": name, "channels": channels, "rows": rows}
            cells.append({**cell, "seconds": seconds})
    return {"cells": cells}


def make_estimator(network, **options):
    fixed = {"ratio": RATIO, "max_epochs": EPOCHS, "variable_length": True}
    return single(random_state=0, **fixed, **network, **options)


def make_net(network, **options):
    module = {"n_features": LONGEST, "variable_length": True, **network}
    return NeuralNetBinaryClassifier(
        skrebatch.TabularCNN,
        **{f"module__{name}": value for name, value in module.items()},
        optimizer=torch.optim.Adam,
        lr=1e-3,
        max_epochs=EPOCHS,
        train_split=None,
        callbacks=[skrebatch.ReBatch(RATIO, random_state=0)],
        verbose=0,
        **options,
    )


def write_page(results):
    """Put the tables into the page."""
    seeds = results["padding"]["seeds"]
    kinds = {kind: pd.DataFrame([seed[kind] for seed in seeds]) for kind in seeds[0]}
    page, template = DOCS / "lengths.md", "dynamic_batching"
    fill_blocks(page, template, np.median, **results, kinds=kinds, rows=ROWS)


if __name__ == "__main__":
    sections = {"padding": padding, "times": times}
    run_and_write(__doc__, "dynamic_batching", sections, write_page)
