"""How much memory do a fit, a search, a list of suspects and a prediction take?

Each is measured in a process of its own: the peak of the resident memory, without what
the process held after the same call on 100 rows, and without the data.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import sklearn
import torch
from harness import single
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


def fit_one(X, y):
    """Fit one network, as in the paper, with large batches."""
    single(batch_size=1024, max_epochs=2, random_state=0).fit(X, y)


def fit_default(X, y):
    """Fit the ten networks of the defaults."""
    ReBatchCNNClassifier(max_epochs=2, random_state=0).fit(X, y)


def search(X, y):
    """Search over ratios, with single networks."""
    model = single(max_epochs=2, random_state=0)
    cv = StratifiedKFold(5)
    FusedGridSearchCV(model, {"ratio": RATIOS}, cv=cv, refit=False).fit(X, y)


def find_issues(X, y):
    """Find the suspects with ten networks."""
    find_label_issues(X, y, ReBatchCNNClassifier(max_epochs=2, random_state=0))


def predict(X, y):
    """Predict all rows with ten networks that were fitted on few."""
    fitted = ReBatchCNNClassifier(max_epochs=2, random_state=0).fit(X[:100], y[:100])
    fitted.predict_proba(X)


CALLS = {
    "fit, one network": fit_one,
    "fit, ten networks": fit_default,
    "FusedGridSearchCV, 4 ratios, 5 folds": search,
    "find_label_issues": find_issues,
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
    """Measure all calls on tables of some sizes, and some on tables in a file.

    Parameters
    ----------
    sizes : sequence of int
        Rows of the tables of all calls.
    large : int
        Rows of the table that ten networks are fitted on, in memory and in a file.
    mapped : int
        Rows of the table in a file that ten networks predict.
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
