"""What does it cost to leave a table in its file, and how much memory does it take?

python benchmarks/mapped.py                # all sections, some ten minutes
python benchmarks/mapped.py --only rows    # one of them anew
python benchmarks/mapped.py --page         # docs/large_tables.md from the results
"""

import itertools
import os
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import sklearn
import torch
from harness import DOCS, run_and_write, single
from memory import in_new_process, memory
from pages import fill_blocks
from speed import measure

from skrebatch import ReBatchCNNClassifier, ReBatchCNNRegressor

NARROW = {"architecture": "mlp", "hidden_layers": (4,)}
MLP = {"architecture": "mlp", "hidden_layers": (32,)}
TABLES = [
    {"rows": 100_000, "features": 30, "params": {}},
    {"rows": 20_000, "features": 1000, "params": MLP},
]
GIBIBYTES = 1, 4, 20
WIDE = 4096  # float32 features of a row of 16 KiB
ROWS = 200_000, 600_000
KINDS = {
    "classifier, 2 classes": (ReBatchCNNClassifier, 2),
    "classifier, 10 classes": (ReBatchCNNClassifier, 10),
    "regressor": (ReBatchCNNRegressor, 100),
}
REPETITIONS = 5


def fit_uncached(model, path, y):
    """Fit on a file of which the system has forgotten the values."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    model.fit(np.load(path, mmap_mode="r"), y)


def times(folder):
    """Time fits in memory and from a file, in turns on one thread.

    CPU time counts while the file is in the system's cache; with a cache that was
    emptied before each fit, the time on the clock does.
    """
    cells = []
    for table in TABLES:
        rng = np.random.default_rng(0)
        X = rng.standard_normal((table["rows"], table["features"]), dtype=np.float32)
        y = (X[:, 0] > 0).astype(int)
        path = folder / "X.npy"
        np.save(path, X)
        model = single(batch_size=1024, max_epochs=2, random_state=0, **table["params"])
        variants = {
            "memory": partial(model.fit, X, y),
            "file": partial(model.fit, np.load(path, mmap_mode="r"), y),
            "file, not cached": partial(fit_uncached, model, path, y),
        }
        title = f"{table['rows']} × {table['features']}"
        with sklearn.config_context(working_memory=1):
            cells.append({**table, "seconds": measure(title, variants, REPETITIONS)})
    return {"cells": cells}


def peak_of(path, shape, kind, params):
    """Measure the peak of a process that fits on a sparse file and predicts all of it.

    What it took after a fit on 100 rows is taken off.
    """
    torch.set_num_threads(1)
    sklearn.set_config(working_memory=1)
    np.lib.format.open_memmap(path, "w+", np.float32, shape)[:1] = 1
    X = np.load(path, mmap_mode="r")
    estimator, n_values = KINDS[kind]
    y = np.arange(len(X)) % n_values
    model = single(estimator, **NARROW, random_state=0, **params)
    model.fit(X[:100], y[:100]).predict(X[:100])  # loads what a first fit loads
    before, start = memory("VmHWM"), time.perf_counter()
    model.fit(X, y).predict(X)
    clock = time.perf_counter() - start
    path.unlink()
    return {"bytes": memory("VmHWM") - before, "clock": clock}


def peak(folder):
    """Measure the peak of fits on ever larger files."""
    cells = []
    for size in GIBIBYTES:
        shape = size * 2**30 // (4 * WIDE), WIDE
        params = {"batch_size": 256, "max_epochs": 1}
        kind = "classifier, 2 classes"
        found = in_new_process(peak_of, folder / "X.npy", shape, kind, params)
        cells.append({"gibibytes": size, "shape": shape, **found})
        print(cells[-1])
    return {"cells": cells}


def per_row(folder):
    """Measure peaks on files of narrow rows, whose slope is the bytes of a row."""
    found = {kind: [] for kind in KINDS}
    params = {"batch_size": 1024, "max_epochs": 3}
    for kind, n in itertools.product(KINDS, ROWS):
        peak = in_new_process(peak_of, folder / "X.npy", (n, 8), kind, params)
        found[kind].append(peak["bytes"])
    return {"n_rows": ROWS, "bytes": found}


SECTIONS = {"time": times, "peak": peak, "rows": per_row}


def write_page(results):
    """Write the tables into the page."""
    fill_blocks(DOCS / "large_tables.md", "mapped", **results)


def run_section(name):
    with tempfile.TemporaryDirectory() as folder:
        return SECTIONS[name](Path(folder))


if __name__ == "__main__":
    sections = {name: partial(run_section, name) for name in SECTIONS}
    run_and_write(__doc__, "mapped", sections, write_page)
