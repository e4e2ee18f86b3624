"""What do estimators stand: many fits in a process, any order, any argument, threads?

All sections take some six minutes. docs/promises.md has the results.
"""

import gc
import itertools
import json
import operator
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import promises
import torch
from harness import ROOT, read_setting, run_and_write, single
from kills import digest_of
from memory import memory
from scipy import stats
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning

from skrebatch import (
    DivergedError,
    FusedGridSearchCV,
    ReBatchCNNRegressor,
    Strategy,
    fit_fused,
)

X, Y = make_classification(40, 4, random_state=0)
NUMBERS = make_regression(40, 4, random_state=0)[1]
SETTING = read_setting(__file__)


class Interrupting(Strategy):
    """Press Ctrl-C before the second epoch."""

    uses_ratio = False

    def plan(self, losses, epoch):
        raise KeyboardInterrupt


def classifier(**params):
    return single(**{"max_epochs": 2, "batch_size": 16, **params})


def fit(X=X, **params):
    return classifier(**params).fit(X, Y)


def predict():
    model = fit(record_losses=True, loss_smoothing=0.5)
    model.predict_proba(X)
    return model


# Each takes a folder for checkpoints.
KINDS = {
    "classifier": lambda _: fit(),
    "regressor": lambda _: single(ReBatchCNNRegressor, max_epochs=2).fit(X, NUMBERS),
    "several networks": lambda _: fit(n_networks=3),
    "early stopping": lambda _: fit(early_stopping=True),
    "multilayer perceptron": lambda _: fit(
        architecture="mlp", dropout=0.2, batch_norm=True, optimizer="sgd"
    ),
    "with checkpoints": lambda folder: fit(
        checkpoint_dir=folder, checkpoint_every=1, random_state=0
    ),
    "gone on with": lambda _: fit().partial_fit(X, Y),
    "records, and predictions": lambda _: predict(),
    "side by side": lambda _: fit_fused([classifier(), classifier(ratio=0)], X, Y)[0],
    "refused": lambda folder: fit(np.full_like(X, np.nan), checkpoint_dir=folder),
    "diverging": lambda _: fit(lr=1e30),
    "interrupted": lambda _: fit(strategy=Interrupting()),
}


def end_of(kind, folder):
    """Fit; tell how that ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            return "interrupted" if KINDS[kind](folder).interrupted_ else "done"
        except (ValueError, DivergedError) as error:
            return type(error).__name__


def look():
    """Return what this process holds: bytes, threads, open files and objects."""
    gc.collect()
    return {
        "bytes": memory("VmRSS"),
        "threads": len(os.listdir("/proc/self/task")),
        "files": len(os.listdir("/proc/self/fd")),
        "objects": len(gc.get_objects()),
    }


def slope(readings, name):
    """Fit a straight line through readings; give its slope and a 95 % interval."""
    kept = readings[int(SETTING["fits"]["warm_up"] * len(readings)) :]
    values = [r[name] for r in kept]
    if len(set(values)) == 1:
        return [0.0, 0.0, 0.0]
    line = stats.linregress([r["fits"] for r in kept], values)
    half = stats.t.ppf(0.975, len(kept) - 2) * line.stderr
    return [float(line.slope + side * half) for side in (0, -1, 1)]


def fits(quick):
    """Fit many times in this process, and look now and then at what it holds.

    After a warm-up, the slope of the memory is taken with its 95 % interval.
    """
    if not sys.platform.startswith("linux"):
        return None
    n_fits = 600 if quick else SETTING["fits"]["number"]
    every = n_fits // (10 if quick else SETTING["fits"]["readings"])
    readings, ends = [{"fits": 0, **look()}], Counter()
    kinds = itertools.cycle(KINDS)
    with tempfile.TemporaryDirectory() as folder:
        for done in range(1, n_fits + 1):
            ends[end_of(next(kinds), folder)] += 1
            if done % every == 0:
                readings.append({"fits": done, **look()})
        left_over = len(os.listdir(folder))
    return {
        "kinds": list(KINDS),
        "fits": readings[-1]["fits"],
        "ends": ends,
        "files_left_over": left_over,
        "slopes": {name: slope(readings, name) for name in ("bytes", "objects")},
        "readings": readings,
    }


def long_run(name, quick):
    """Run tests of the suite with more examples, in a process of its own."""
    tests = SETTING["tests"][name]
    times = 1 if quick else tests["times"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "tally.json")
        more = {"SKREBATCH_FUZZ": str(times), "SKREBATCH_TALLY": str(file)}
        options = ["-q", "-x", "-p", "no:cacheprovider"]
        command = [sys.executable, "-m", "pytest", *options, f"tests/{tests['file']}"]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, **more})
        found = json.loads(file.read_text("utf-8"))
    ends = Counter()
    for *_, end, n in found:
        ends[end] += n
    return {"times_as_many_as_in_the_suite": times, "ends": ends, "found": found}


def threads(quick):
    """Compare fits and searches in threads with the same one after the other."""
    at_once, options = SETTING["threads"]["at_once"], SETTING["threads"]["options"]
    n_fits = 12 if quick else SETTING["threads"]["fits"]
    work = [
        classifier(max_epochs=5, random_state=i, **options[i % len(options)])
        for i in range(n_fits)
    ]
    work += [
        FusedGridSearchCV(classifier(random_state=i), {"ratio": [0, 0.3]}, cv=3)
        for i in range(n_fits // 10)
    ]

    def result(model):
        return digest_of(model.fit(X, Y), X)

    expected = list(map(result, work))
    before = torch.get_num_threads()
    with ThreadPoolExecutor(at_once) as pool:
        found = list(pool.map(result, work))
    return {
        "at_once": at_once,
        "fits": n_fits,
        "searches": len(work) - n_fits,
        "equal_to_the_bit": sum(map(operator.eq, found, expected)),
        "number_of_threads_restored": torch.get_num_threads() == before,
    }


SECTIONS = {
    "fits": fits,
    **{name: partial(long_run, name) for name in SETTING["tests"]},
    "threads": threads,
}


def run_section(name, quick):
    """Run a section and time it; None where it can't be run."""
    start = time.perf_counter()
    section = SECTIONS[name](quick)
    return section and {**section, "seed": 0, "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    sections = {name: partial(run_section, name) for name in SECTIONS}
    run_and_write(__doc__, "abuse", sections, promises.write_page, plans=(False, True))
