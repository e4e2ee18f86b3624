"""Searches over clusters: processes that come, go and are killed."""

import json
import os
import signal
import sys
from contextlib import contextmanager
from functools import partial

import joblib
import numpy as np
import pytest
from helpers.estimators import SINGLE
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrebatch import FusedGridSearchCV, ReBatchCNNClassifier

NET = "rebatchcnnclassifier__"
GRID = {f"{NET}ratio": [0, 0.15, 0.3], f"{NET}random_state": [0, 1]}
FOLDS = 2
FITS = 6 * FOLDS
SEARCHES = {
    "fused": partial(FusedGridSearchCV, max_stack=3),
    "one by one": GridSearchCV,
}
search_of = pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)


class Table:
    """A table that notes in which process it is pickled, and where it is restored."""

    def __init__(self, array, notes):
        self.array, self.notes = array, notes

    shape = property(lambda self: self.array.shape)

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        return Table(self.array[rows], self.notes)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype=dtype)

    def __sizeof__(self):
        return self.array.nbytes

    def __getstate__(self):
        note(self.notes, "pickled", self.name)
        return vars(self)

    def __setstate__(self, state):
        vars(self).update(state)
        note(self.notes, "restored", self.name)

    @property
    def name(self):
        return [len(self.array), float(self.array[0, 0])]


def note(path, what, value):
    with open(path, "a") as file:
        file.write(json.dumps([what, os.getpid(), value]) + "\n")


def noted(path, what):
    """What was noted: pairs of a process and a value."""
    if not path.exists():
        return []
    lines = map(json.loads, path.read_text().splitlines())
    return [(pid, json.dumps(value)) for kind, pid, value in lines if kind == what]


def made(path):
    """Make a file; say whether this process was the one that did."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def score(model, X, y, driver, notes, kills=None):
    """Score, and note which fit it was; kill the worker that is the first to do so."""
    note(notes, "scored", [model[-1].ratio, model[-1].random_state, X.name])
    if kills is not None and os.getpid() != driver and made(kills):
        os.kill(os.getpid(), signal.SIGKILL)
    return get_scorer("neg_log_loss")(model, X, y)


def make_data(notes, n=300):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 4))
    y = (X[:, 0] + rng.standard_normal(n) > 0).astype(int)
    return Table(X, notes), y


def run(search, X, y, notes, kills=None):
    model = make_pipeline(
        StandardScaler(),
        ReBatchCNNClassifier(**{**SINGLE, "batch_size": 32, "max_epochs": 3}),
    )
    scoring = partial(score, driver=os.getpid(), notes=notes, kills=kills)
    return search(model, GRID, cv=FOLDS, scoring=scoring).fit(X, y)


def assert_same(found, expected):
    """Assert that two searches agree to the bit, and did what they are for."""
    names = [name for name in expected.cv_results_ if name.endswith("test_score")]
    for name in names:
        scores = expected.cv_results_[name]
        np.testing.assert_array_equal(found.cv_results_[name], scores)
    assert len(np.unique(expected.cv_results_["split0_test_score"])) == 6
    assert found.best_params_ == expected.best_params_
    pair = [s.best_estimator_[-1].module_.state_dict() for s in (found, expected)]
    for one, other in zip(*(state.values() for state in pair), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def dask_of(tmp_path_factory):
    """A function that starts worker processes of Dask on this machine."""
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")

    @contextmanager
    def start(n_workers, n_threads=1):
        with (
            distributed.LocalCluster(
                n_workers=n_workers,
                threads_per_worker=n_threads,
                host="127.0.0.1",
                scheduler_kwargs={
                    "dashboard": False,
                    "dashboard_address": "127.0.0.1:0",
                },
                memory_limit=0,
                local_directory=str(tmp_path_factory.mktemp("dask")),
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client

    return start


@pytest.fixture(scope="module")
def dask(dask_of):
    """Two worker processes of Dask."""
    with dask_of(n_workers=2) as client:

        def over(search, X, y):
            client.wait_for_workers(2, timeout=60)  # one that was killed comes back
            # All workers get scikit-learn's tables: none is lost with the only one.
            scatter = [X, y] if search is GridSearchCV else None
            return joblib.parallel_config("dask", scatter=scatter)

        yield over


@pytest.fixture(scope="module")
def ray():
    """Two worker processes of Ray on this machine."""
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    from joblib.pool import PicklingPool
    from ray.util.joblib import register_ray

    register_ray()
    bases = PicklingPool.__bases__  # which the backend changes
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100_000_000)
    again = {"max_restarts": -1, "max_task_retries": -1}
    yield lambda *_: joblib.parallel_config("ray", n_jobs=2, ray_remote_args=again)
    ray.shutdown()
    monkeypatch.undo()
    PicklingPool.__bases__ = bases


@pytest.fixture(params=["dask", "ray"])
def over(request):
    """A function that has a search over some data run by a cluster."""
    return request.getfixturevalue(request.param)


@search_of
def test_a_search_over_a_cluster_is_the_sequential_one(search, over, tmp_path):
    expected = run(search, *make_data(tmp_path / "here"), tmp_path / "expected")
    X, y = make_data(tmp_path / "data")
    with over(search, X, y):
        found = run(search, X, y, tmp_path / "notes")
    assert_same(found, expected)
    workers = {pid for pid, _ in noted(tmp_path / "notes", "scored")}
    assert len(workers) == 2 and os.getpid() not in workers


def test_one_thread_alone(dask_of, tmp_path):
    X, y = make_data(tmp_path / "data")
    expected = run(SEARCHES["fused"], X, y, tmp_path / "expected")
    with dask_of(n_workers=1), joblib.parallel_config("dask"):
        assert_same(run(SEARCHES["fused"], X, y, tmp_path / "notes"), expected)
    pids = {pid for pid, _ in noted(tmp_path / "notes", "scored")}
    assert pids == {os.getpid()}  # joblib goes by the number of threads


def test_the_only_holder_of_the_data_is_killed(dask_of, tmp_path):
    X, y = make_data(tmp_path / "data")
    expected = run(SEARCHES["fused"], X, y, tmp_path / "expected")
    kills = tmp_path / "killed"
    with dask_of(n_workers=1, n_threads=2), joblib.parallel_config("dask"):
        found = run(SEARCHES["fused"], X, y, tmp_path / "notes", kills)
    assert kills.exists()
    assert_same(found, expected)
    pids = {pid for pid, _ in noted(tmp_path / "notes", "scored")}
    assert len(pids) == 2 and os.getpid() not in pids


@search_of
def test_dask_sends_data_once_to_a_worker(search, dask, tmp_path):
    X, y = make_data(tmp_path / "data")
    with dask(search, X, y):
        run(search, X, y, tmp_path / "notes")
    restored = noted(tmp_path / "data", "restored")
    at_workers = [note for note in restored if note[0] != os.getpid()]
    assert len(set(at_workers)) == len(at_workers) >= 2


def test_ray_puts_data_once_into_its_store(ray, tmp_path):
    X, y = make_data(tmp_path / "data")
    with ray():
        run(SEARCHES["fused"], X, y, tmp_path / "notes")
    pickled = noted(tmp_path / "data", "pickled")
    assert len(set(pickled)) == len(pickled) == FOLDS


@search_of
def test_a_killed_worker_costs_its_stack(search, over, tmp_path):
    # So few rows for single fits that the numbers of a fold's rows travel with each:
    # joblib leaves larger ones with one worker, which may be the one that is lost.
    X, y = make_data(tmp_path / "data", 300 if search is SEARCHES["fused"] else 120)
    expected = run(search, X, y, tmp_path / "expected")
    with over(search, X, y):
        found = run(search, X, y, tmp_path / "notes", tmp_path / "killed")
    assert (tmp_path / "killed").exists()
    assert_same(found, expected)
    scored = [fit for _, fit in noted(tmp_path / "notes", "scored")]
    assert len(set(scored)) == FITS
    # The worker died at the first score of its stack: nothing else was done again. Of
    # single fits joblib may have sent it several at once.
    assert 1 <= len(scored) - FITS <= (1 if search is SEARCHES["fused"] else 4)
