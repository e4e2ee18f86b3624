"""A full disk, locked folders, callbacks that can't be sent, threads, and many fits."""

import itertools
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import abuse
import joblib
import numpy as np
import pytest
import sklearn
import torch
from helpers.estimators import assert_same_bits, make, make_data
from helpers.facts import facts_of
from helpers.memmapped import CHANGES, write
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from skrebatch import FusedGridSearchCV, load_model, save_model
from skrebatch._engine.tables.memmapped import MappedRows

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, sets limits")

# --- a disk that is full, and folders that are locked ---

CHILD = """
import json
import os
import resource
import signal
import sys
import warnings
from pathlib import Path

from helpers.facts import facts_of
from helpers.estimators import make, make_data

from skrebatch import FusedGridSearchCV, load_model, save_model

folder = Path(sys.argv[1])
X, y = make_data()
wide = {"hidden_layers": (64,), "checkpoint_every": 1}
model = make(checkpoint_dir=folder / "first", **wide).fit(X, y)
save_model(model, folder / "old")
search = FusedGridSearchCV(make(), {"ratio": [0.1]}, cv=2)
search.set_params(checkpoint_dir=folder / "search").fit(X, y)
before, files = facts_of(model), sorted(folder.rglob("*"))


def attempt_all():
    told = {}
    for name, call, *args in (
        ("fit", model.fit, X, y),
        ("save_model", save_model, model, folder / "old"),
        ("a new file", save_model, model, folder / "new"),
        ("search", search.fit, X, y),
    ):
        try:
            call(*args)
        except OSError as error:
            told[name] = f"{type(error).__name__}: {error}"
    assert facts_of(model) == before, "the estimator has changed"
    assert hasattr(search, "best_estimator_")
    assert sorted(folder.rglob("*")) == files
    return told


signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python itself does
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200, most))
full = attempt_all()
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
for place in (folder / "first", folder / "search", folder):
    place.chmod(0o555)
if os.geteuid() == 0:
    os.setuid(65534)  # to root nothing is locked
print(json.dumps([full, attempt_all()]))
"""


@LINUX
def test_what_can_t_be_written_leaves_estimator_and_files_as_they_were():
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # for one who is not root, once it is locked
        done = subprocess.run(
            [sys.executable, "-c", CHILD, folder],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
        )
        Path(folder).chmod(0o755)
    assert done.returncode == 0, done.stderr
    for told, words in zip(
        json.loads(done.stdout), ("too large", "denied"), strict=True
    ):
        assert told.keys() == {"fit", "save_model", "a new file", "search"}
        assert all(words in text for text in told.values())


# --- callbacks that can't be pickled ---


class Locked(Callback):
    """Holds what no process can send to another."""

    def __init__(self):
        self.lock_ = threading.Lock()


def test_a_callback_that_can_t_be_pickled_is_named(tmp_path):
    X, y = make_data()
    model = make(callbacks=[Locked()]).fit(X, y)
    twin = make().fit(X, y)
    with pytest.raises(TypeError, match=r"cannot pickle '_thread.lock'"):
        pickle.dumps(model)
    with pytest.raises(ValueError, match=r"callbacks.*set_params\(callbacks"):
        save_model(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())
    with joblib.parallel_config("loky"):
        for search in (GridSearchCV, FusedGridSearchCV):
            grid = search(clone(model), {"ratio": [0.1, 0.2]}, cv=2, n_jobs=2)
            with pytest.raises((TypeError, pickle.PicklingError), match="pickle"):
                grid.fit(X, y)
            assert not hasattr(grid, "best_estimator_")
    assert_same_bits(model, twin)
    assert_same_bits(clone(model).fit(X, y), twin)
    model.set_params(callbacks=None)
    save_model(model, tmp_path / "model")
    assert load_model(tmp_path / "model").loss_curve_ == twin.loss_curve_


# --- a file that changes under a prediction ---


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps open files as they are")
@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_changes_under_a_prediction_is_refused(name, tmp_path, monkeypatch):
    act, words = CHANGES[name]
    # More rows than are read at once.
    X = np.random.default_rng(0).normal(size=(9000, 5)).astype("float32")
    model = make().fit(X[:40], np.arange(40) % 2)
    expected, before = model.predict_proba(X), dict(vars(model))
    path = tmp_path / "X.npy"
    with sklearn.config_context(working_memory=0):
        mapped = write(path, X)
        np.testing.assert_array_equal(model.predict_proba(mapped), expected)
        read = MappedRows.__getitem__

        def read_then_act(self, block):
            rows = read(self, block)
            if block.start == 0:
                monkeypatch.undo()
                act(path)
            return rows

        monkeypatch.setattr(MappedRows, "__getitem__", read_then_act)
        with pytest.raises(OSError, match=words):
            model.predict_proba(mapped)
    assert vars(model) == before
    np.testing.assert_array_equal(model.predict_proba(X), expected)


# --- threads ---


def test_fits_in_threads_end_at_the_same_bits():
    X, y = make_data(n=80)
    models = [
        make(**params, random_state=i)
        for i in range(2)
        for params in (
            {},
            {"strategy": "breed", "dtype": "float64"},
            {"n_networks": 3, "choose": "together", "dropout": 0.2},
            {"early_stopping": True, "lr_schedule": "cosine", "batch_norm": True},
            {"precision": "bf16", "n_augments": 1, "noise_std": 0.1},
            {"record_losses": True, "optimizer": "rmsprop", "weight_decay": 0.1},
        )
    ]
    expected = [facts_of(clone(model).fit(X, y)) for model in models]
    before, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(6) as pool:
            fitted = list(pool.map(lambda model: clone(model).fit(X, y), models * 2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert [facts_of(model) for model in fitted] == expected * 2
    assert torch.equal(torch.get_rng_state(), state)


def test_searches_in_threads_end_at_the_same_bits():
    X, y = make_data(n=80)
    searches = [
        FusedGridSearchCV(
            make(max_epochs=2, random_state=i), {"ratio": [0, 0.2, 0.4]}, cv=3
        )
        for i in range(4)
    ]

    def scores_of(search):
        results = clone(search).fit(X, y).cv_results_
        return np.array([results[name] for name in results if "_test_score" in name])

    expected = [scores_of(search) for search in searches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(scores_of, searches))
    np.testing.assert_array_equal(found, expected)


# --- many fits ---

N_FITS = 120


def fit_many(n_fits, folder):
    """Fit estimators of each kind in turn."""
    for kind in itertools.islice(itertools.cycle(abuse.KINDS), n_fits):
        abuse.end_of(kind, folder)


@LINUX
def test_fits_leave_nothing_behind(tmp_path):
    fit_many(36, tmp_path)  # three of each kind
    first = abuse.look()
    fit_many(N_FITS, tmp_path)
    last = abuse.look()
    assert last["threads"] <= first["threads"]
    assert last["files"] <= first["files"]
    assert not list(tmp_path.iterdir())
    # An estimator that was kept would be dozens of objects.
    assert last["objects"] - first["objects"] < N_FITS
    # What is kept without them shows from 64 kB a fit on, above what the memory of the
    # process varies by; the benchmark, with more fits, sees a hundredth of it.
    assert last["bytes"] - first["bytes"] < N_FITS * 2**16


def test_slopes_begin_after_the_warm_up():
    # A jump in the first fifth doesn't count, a straight line after it does.
    readings = [{"fits": 10 * i, "bytes": 50 + 30 * i} for i in range(10)]
    readings[0]["bytes"] = readings[1]["bytes"] = -1000
    assert abuse.slope(readings, "bytes") == pytest.approx([3, 3, 3])
    level = [{"fits": i, "bytes": 7} for i in range(10)]
    assert abuse.slope(level, "bytes") == [0, 0, 0]
