"""How much memory do a fit, a search, a list of suspects and a prediction take?

Each is measured in a process of its own: the peak of the resident memory, without what
the process held after the same call on 100 rows, and without the data.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import sklearn
import torch
from harness import single
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold
from tqdm import tqdm

from skrebatch import FusedGridSearchCV, ReBatchCNNClassifier, find_label_issues

N_FEATURES = 30
RATIOS = (0.03, 0.08, 0.15, 0.3)


def in_new_process(function, *arguments):
    """Call a function in a process whose memory holds nothing else."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(function, *arguments).result()


def memory(name):
    """Read a figure of this process's memory in bytes; on Linux alone."""
    # getrusage would start with what the parent process has used.
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def make_data(n_samples, n_features=N_FEATURES):
    """Draw a table whose first feature tells the class, with errors."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features), dtype=np.float32)
    noise = rng.standard_normal(n_samples, dtype=np.float32)
    return X, (X[:, 0] + noise > 0).astype(np.int64)


def predict(X, y):
    """Predict all rows with ten networks that were fitted on few."""
    clone(TEN).fit(X[:100], y[:100]).predict_proba(X)


ONE = single(max_epochs=2, random_state=0)
TEN = ReBatchCNNClassifier(max_epochs=2, random_state=0)
CV = StratifiedKFold(5)
CALLS = {
    "fit, one network": clone(ONE).set_params(batch_size=1024).fit,
    "fit, ten networks": clone(TEN).fit,
    "FusedGridSearchCV, 4 ratios, 5 folds": FusedGridSearchCV(
        ONE, {"ratio": RATIOS}, cv=CV, refit=False
    ).fit,
    "find_label_issues": partial(find_label_issues, estimator=TEN),
    "predict_proba, ten networks": predict,
}


def peak_of(name, n_samples, folder=None):
    """Return the bytes of the data and the peak beside them, in this process.

    With a folder, the table is read from a file in it, memory-mapped.
    """
    torch.set_num_threads(1)
    call = CALLS[name]
    X, y = make_data(n_samples)
    n_bytes = X.nbytes
    if folder is not None:
        path = Path(folder) / "X.npy"
        np.save(path, X)
        X = np.load(path, mmap_mode="r")
    call(X[:100], y[:100])  # loads what a first call loads
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # a new peak
    with sklearn.config_context(working_memory=1 if folder else 1024):
        call(X, y)
    return {"data": n_bytes, "beside data": memory("VmHWM") - before}


def measure_memory(sizes, large, mapped):
    """Measure all calls on tables of some sizes, and ten networks on more rows.

    They are fitted on `large` rows in memory and in a file, and predict `mapped` rows
    in a file.
    """
    fit, predictions = "fit, ten networks", "predict_proba, ten networks"
    cases = [(name, n, False) for name in CALLS for n in sizes]
    cases += [(fit, large, False), (fit, large, True), (predictions, mapped, True)]
    cells = []
    for name, n_samples, is_mapped in tqdm(cases, "memory"):
        with TemporaryDirectory() as folder:
            arguments = name, n_samples, folder if is_mapped else None
            found = in_new_process(peak_of, *arguments)
        cell = {"call": name, "rows": n_samples, "features": N_FEATURES}
        cells.append({**cell, "mapped": is_mapped, "bytes": found})
    return cells
