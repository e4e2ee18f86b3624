"""A training that is cut off and gone on with ends where it would have, to the bit."""

import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from helpers.estimators import TASKS, make, make_data
from helpers.facts import facts_of, repr_of
from helpers.options import models_of
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import EarlyStopping

from skrebatch import (
    CheckpointError,
    DivergedError,
    FusedGridSearchCV,
    Hybrid,
    Strategy,
    fit_fused,
    load_model,
    save_model,
)
from skrebatch._engine.serialization.checkpoint import Checkpoint

pytest.importorskip("safetensors")

ROOT = Path(__file__).parents[3]
FILE = "fit.safetensors"


@pytest.fixture
def written(monkeypatch):
    """Every checkpoint that is written, as bytes."""
    contents = []
    replace = os.replace

    def replace_and_look(source, target):
        with open(source, "rb") as file:
            contents.append(file.read())
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_and_look)
    return contents


def assert_resumed(model, X, y, tmp_path, written, every=1, first=0, **data):
    """Fit; go on from the checkpoints, as after a kill; end the same each time."""
    model.set_params(checkpoint_dir=tmp_path, checkpoint_every=every)
    whole = clone(model).fit(X, y, **data)
    expected = facts_of(whole)
    contents = written[:]
    assert contents and not os.listdir(tmp_path)
    for content in contents[first:]:
        (tmp_path / FILE).write_bytes(content)
        resumed = clone(model).fit(X, y, **data)
        assert facts_of(resumed) == expected
        assert not os.listdir(tmp_path)
    return whole, resumed, contents


@pytest.mark.filterwarnings("ignore:lr_schedule.*is finished")
@pytest.mark.parametrize("task", TASKS)
def test_with_any_two_options(task, tmp_path, written):
    X, y = make_data(task)
    for i, model in enumerate(models_of(task)):
        model.set_params(dtype=("float32", "float64")[i % 2])
        # From the middle alone: from all epochs in the test below.
        whole, resumed, _ = assert_resumed(model, X, y, tmp_path, written, 2, 1)
        written.clear()
        for each in (whole, resumed):
            each.set_params(early_stopping=False).partial_fit(X, y)
        assert facts_of(resumed) == facts_of(whole)


EARLY = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 12, "lr": 0.1}
OTHERS = {
    "16 bits": {"precision": "bf16"},
    "16 bits, scaled": {"precision": "fp16", "max_epochs": 6},
    "elements": {"variable_length": True, "max_elements": 40},
    "networks that stop early": {**EARLY, "n_networks": 5, "random_state": 1},
    "weights of classes": {"class_weight": "balanced", "class_balanced": True},
    "a schedule by steps": {"lr_schedule": "one-cycle", "ratio_schedule": np.sqrt},
    "many batches of dropout": {"dropout": 0.5, "batch_size": 3, "batch_norm": True},
    "a strategy with parameters": {"strategy": Hybrid(easy=0.2)},
    "records of many epochs": {"record_losses": True, "max_epochs": 105},
    "momentum": {"optimizer": "sgd", "optimizer_params": {"momentum": 0.9}},
}


@pytest.mark.parametrize("name", OTHERS)
def test_from_every_epoch(name, tmp_path, written):
    X, y = make_data(n=60)
    if "elements" in name:
        X[::3, 3:] = np.nan
    model = make(**OTHERS[name])
    every = 50 if "records" in name else 1
    plain = clone(model).fit(X, y)
    whole, _, contents = assert_resumed(model, X, y, tmp_path, written, every)
    assert facts_of(plain) == facts_of(whole)
    # The curves of several networks end with the best epoch, the training later.
    n_epochs = whole.n_iter_ + (model.n_iter_no_change if "stop" in name else 0)
    assert n_epochs <= model.max_epochs
    assert len(contents) == -(-n_epochs // every)  # the first at the very start


def test_with_weights_and_a_validation_set(tmp_path, written):
    X, y = make_data()
    weights = np.arange(len(y)) % 4
    data = {"sample_weight": weights, "X_val": X[::-2] + 1, "y_val": y[::-2]}
    model = make(**EARLY)
    assert_resumed(model, X, y, tmp_path, written, 3, **data)


def test_after_an_earlier_fit(tmp_path, written):
    X, y = make_data()
    first = make(warm_start=True, loss_smoothing=0.5, lr_schedule="step", max_epochs=3)
    first.fit(X, y)
    model = pickle.loads(pickle.dumps(first))
    model.set_params(checkpoint_dir=tmp_path, checkpoint_every=1).fit(X, y)
    expected = facts_of(model)
    assert model.n_iter_ == 6
    for content in written[:]:
        (tmp_path / FILE).write_bytes(content)
        resumed = pickle.loads(pickle.dumps(first))
        resumed.set_params(checkpoint_dir=tmp_path, checkpoint_every=1).fit(X, y)
        assert facts_of(resumed) == expected
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match="random_state"):
        clone(model).fit(X, y)  # from the beginning


def test_without_a_random_state_the_seed_is_in_the_checkpoint(tmp_path, written):
    X, y = make_data()
    model = make(random_state=None, **{**EARLY, "max_epochs": 5, "n_networks": 2})
    model.set_params(checkpoint_dir=tmp_path, checkpoint_every=2)
    whole = clone(model).fit(X, y)
    expected, contents = facts_of(whole), written[:]
    for content in contents:
        (tmp_path / FILE).write_bytes(content)
        assert facts_of(clone(model).fit(X, y)) == expected
    assert facts_of(clone(model).fit(X, y)) != expected


def test_with_a_generator_as_random_state(tmp_path, written):
    X, y = make_data()

    def fit_twice():
        rng = np.random.RandomState(3)
        params = {"random_state": rng, "checkpoint_dir": tmp_path}
        return [facts_of(make(**params).fit(X, y)) for _ in range(2)]

    expected = fit_twice()
    for content in written[:1]:
        (tmp_path / FILE).write_bytes(content)
        assert fit_twice() == expected
    (tmp_path / FILE).write_bytes(written[1])
    with pytest.raises(CheckpointError, match="random_state"):
        fit_twice()


def test_how_often_it_is_written(tmp_path, written):
    X, y = make_data()
    epochs = []
    make(max_epochs=9, checkpoint_dir=tmp_path, checkpoint_every=4).fit(X, y)
    for content in written[:]:
        (tmp_path / FILE).write_bytes(content)
        training = Checkpoint(tmp_path / FILE).content["training"]
        epochs.append(training["members"][0]["epochs"])
    assert epochs == [0, 4, 8]


class Counting(Strategy):
    """It remembers, which a strategy need not."""

    def plan(self, losses, epoch):
        self.seen = getattr(self, "seen", 0) + 1
        return np.argsort(losses)[self.seen : self.seen + epoch.n_chosen]


def test_what_a_strategy_remembers_is_in_the_checkpoint(tmp_path, written):
    X, y = make_data()
    assert_resumed(make(strategy=Counting()), X, y, tmp_path, written)


class Collecting(Strategy):
    def plan(self, losses, epoch):
        self.seen = {1, 2}
        return np.arange(epoch.n_chosen)


def test_what_a_file_cannot_hold_is_named(tmp_path):
    X, y = make_data()
    params = {"checkpoint_dir": tmp_path, "checkpoint_every": 1}
    with pytest.raises(ValueError, match=r"checkpoint_dir .*of type set"):
        make(strategy=Collecting(), **params).fit(X, y)
    with pytest.raises(ValueError, match="checkpoint_dir .*ratio_schedule=<function"):
        make(ratio_schedule=lambda progress: progress, **params).fit(X, y)


class Pressing(Strategy):
    """Press Ctrl-C in an epoch."""

    epoch = 3

    def plan(self, losses, epoch):
        if epoch.number == Pressing.epoch:
            signal.raise_signal(signal.SIGINT)
        return np.arange(epoch.n_chosen)


@pytest.fixture
def ctrl_c():
    """Ctrl-C raises, also where a shell in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_marks_the_model_and_leaves_the_checkpoint(tmp_path, monkeypatch):
    X, y = make_data()
    model = make(strategy=Pressing(), checkpoint_dir=tmp_path, checkpoint_every=1)
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 3"):
        cut = clone(model).fit(X, y)
    assert cut.interrupted_ and cut.n_iter_ == 2
    assert cut.predict(X).shape == y.shape
    cut.set_params(strategy="min-loss", checkpoint_dir=None)
    save_model(cut, tmp_path / "cut.safetensors")
    assert load_model(tmp_path / "cut.safetensors").interrupted_
    assert (tmp_path / FILE).exists()
    monkeypatch.setattr(Pressing, "epoch", None)
    whole = clone(model).set_params(checkpoint_dir=None).fit(X, y)
    assert not whole.interrupted_
    assert facts_of(model.fit(X, y)) == facts_of(whole)
    assert not (tmp_path / FILE).exists()


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_between_two_epochs(tmp_path, monkeypatch):
    X, y = make_data()
    model = make(checkpoint_dir=tmp_path, checkpoint_every=1)
    replace, n_files = os.replace, itertools.count()

    def press(source, target):
        if next(n_files) == 2:
            signal.raise_signal(signal.SIGINT)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", press)
        with pytest.warns(ConvergenceWarning, match="interrupted in epoch 2"):
            cut = clone(model).fit(X, y)
    assert cut.interrupted_ and cut.n_iter_ == 2
    assert os.listdir(tmp_path) == [FILE]
    whole = clone(model).set_params(checkpoint_dir=None).fit(X, y)
    assert facts_of(model.fit(X, y)) == facts_of(whole)


@pytest.mark.parametrize(
    "change, names",
    [
        ({"ratio": 0.3, "lr": 0.5}, "lr, ratio"),
        ({"strategy": Hybrid(easy=0.4)}, "strategy"),
        ({"random_state": 1}, "random_state"),
        ({"X": 1}, "X"),
        ({"y": 1}, "y"),
        ({"sample_weight": 1}, "sample_weight"),
        ({"X_val": 1}, "X_val"),
        ({"y_val": 1}, "y_val"),
    ],
)
def test_another_fit_is_refused(change, names, tmp_path, written):
    X, y = make_data()
    data = {"X": X, "y": y, "sample_weight": np.ones(len(y)), "X_val": X, "y_val": y}
    model = make(strategy=Hybrid(), checkpoint_dir=tmp_path).fit(**data)
    (tmp_path / FILE).write_bytes(written[0])
    for name in data.keys() & change:
        data[name] = data[name].copy()
        data[name][:3] = 1 - data[name][:3] if "y" in name else change[name] + 1
        if name == "sample_weight":
            data[name][0] = 5
    other = {name: value for name, value in change.items() if name not in data}
    with pytest.raises(CheckpointError, match=f"inputs differ: {names}\\. .* delete"):
        clone(model).set_params(**other).fit(**data)
    assert (tmp_path / FILE).read_bytes() == written[0]


def test_what_changes_nothing_is_not_refused(tmp_path, written):
    X, y = make_data()
    model = make(checkpoint_dir=tmp_path).fit(X, y)
    (tmp_path / FILE).write_bytes(written[0])
    other = clone(model).set_params(verbose=1, checkpoint_every=3)
    assert facts_of(other.fit(np.asfortranarray(X).tolist(), y)) == facts_of(model)


def test_damage_is_refused(tmp_path, written):
    X, y = make_data()
    model = make(checkpoint_dir=tmp_path, checkpoint_every=1).fit(X, y)
    content = written[2]
    rng = np.random.default_rng(0)
    cuts = [content[:n] for n in rng.integers(len(content), size=20)]
    flips = []
    for place in rng.integers(len(content), size=60):
        flips.append(bytearray(content))
        flips[-1][place] ^= 1 << rng.integers(8)
    save_model(model.set_params(checkpoint_dir=None), tmp_path / "model")
    foreign = (tmp_path / "model").read_bytes()
    model.set_params(checkpoint_dir=str(tmp_path))
    for bad in [*cuts, *flips, content + b" ", b"", foreign]:
        (tmp_path / FILE).write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"damaged.*Delete"):
            model.fit(X, y)
        assert (tmp_path / FILE).read_bytes() == bad
    (tmp_path / FILE).write_bytes(content)
    expected = facts_of(model)
    assert facts_of(clone(model).fit(X, y)) == expected


def test_a_fit_that_diverges_leaves_nothing(tmp_path):
    X, y = make_data()
    model = make(checkpoint_dir=tmp_path, checkpoint_every=1, record_losses=True)
    with pytest.raises(DivergedError):
        model.set_params(optimizer="sgd", lr=1e20).fit(X, y)
    assert not os.listdir(tmp_path)


def test_drafts_of_its_own_are_removed(tmp_path):
    X, y = make_data()
    names = [f".{FILE}.0123456789abcdef.tmp", ".other.0123456789abcdef.tmp"]
    for name in names:
        (tmp_path / name).touch()
    make(checkpoint_dir=tmp_path).fit(X, y)
    assert os.listdir(tmp_path) == names[1:]


@pytest.mark.parametrize(
    "params, error, match",
    [
        ({"checkpoint_dir": 3}, ValueError, "checkpoint_dir must be"),
        ({"checkpoint_dir": ""}, ValueError, "checkpoint_dir must be"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every must be"),
        ({"callbacks": [EarlyStopping("train_loss")]}, ValueError, "callbacks"),
        ({"checkpoint_dir": __file__}, OSError, "test_checkpoint"),
    ],
)
def test_bad_parameters(params, error, match, tmp_path):
    X, y = make_data()
    model = make(**{"checkpoint_dir": tmp_path, **params})
    with pytest.raises(error, match=match):
        model.fit(X, y)
    assert not os.listdir(tmp_path) and not hasattr(model, "module_")


def test_without_the_package_for_files(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"checkpoint_dir needs .*skrebatch\[files\]"):
        make(checkpoint_dir=tmp_path).fit(*make_data())


def test_a_pickled_model_and_partial_fit_leave_the_folder_alone(tmp_path):
    X, y = make_data()
    model = make(checkpoint_dir=tmp_path, checkpoint_every=1).fit(X, y)
    twin = pickle.loads(pickle.dumps(model))
    plain = make().fit(X, y)
    plain_twin = pickle.loads(pickle.dumps(plain))  # whose optimizer is new
    os.rmdir(tmp_path)
    for each, other in ((model, plain), (twin, plain_twin)):
        each.partial_fit(X, y)
        assert each.loss_curve_ == other.partial_fit(X, y).loss_curve_
    assert not tmp_path.exists()


def test_side_by_side_is_without_checkpoints(tmp_path):
    X, y = make_data()
    with pytest.raises(ValueError, match=r"estimators\[1\] has a checkpoint_dir"):
        fit_fused([make(), make(checkpoint_dir=tmp_path)], X, y)


# --- searches ---

SCORED = []


def count_and_score(model, X, y):
    SCORED.append(model)
    return model.score(X, y)


def results_of(search):
    found = {
        name: value
        for name, value in search.cv_results_.items()
        if "time" not in name and name != "params"
    }
    found["best"] = facts_of(search.best_estimator_)
    return {name: joblib.hash(repr_of(value)) for name, value in found.items()}


def files_of(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def stacks(monkeypatch):
    """Every file of a stack that is written, by its name."""
    contents = {}
    replace = os.replace

    def replace_and_look(source, target):
        with open(source, "rb") as file:
            contents[os.path.basename(target)] = file.read()
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_and_look)
    return contents


@pytest.mark.parametrize("backend", ["sequential", "threading"])
def test_stacks_that_are_done_are_not_trained_again(backend, tmp_path, stacks):
    X, y = make_data()
    grid = {"ratio": [0, 0.1, 0.2, 0.3, 0.4], "lr": [0.01, 1e30]}
    search = FusedGridSearchCV(
        make(optimizer="sgd"), grid, cv=2, scoring=count_and_score, max_stack=4,
        checkpoint_dir=tmp_path / "search", return_train_score=True, n_jobs=2,
    )  # fmt: skip
    plain = clone(search).set_params(checkpoint_dir=None)
    with warnings.catch_warnings(), joblib.parallel_config(backend):
        warnings.simplefilter("ignore")  # of those that diverge
        expected = results_of(plain.fit(X, y))
        whole = clone(search).fit(X, y)
        assert results_of(whole) == expected
        assert not files_of(tmp_path / "search")
        names = sorted(stacks)
        assert len(names) >= 5
        for n_done in range(len(names) + 1):
            for name in names[:n_done]:
                (tmp_path / "search" / name).write_bytes(stacks[name])
            SCORED.clear()
            assert results_of(clone(search).fit(X, y)) == expected
            left = 2 * 5 * 2 * (1 - n_done / len(names))
            assert len(SCORED) == pytest.approx(left, abs=4)
            assert not files_of(tmp_path / "search")
    assert np.isnan(whole.cv_results_["mean_test_score"]).sum() == 5


def refuse_large_rates(model, X, y):
    SCORED.append(model)
    if model.lr > 0.1:
        raise RuntimeError("too large")
    return 1.0


def test_what_fails_otherwise_is_tried_again(tmp_path, stacks):
    X, y = make_data()
    search = FusedGridSearchCV(
        make(), {"lr": [0.1, 0.2]}, cv=2, max_stack=1, checkpoint_dir=tmp_path,
        scoring=refuse_large_rates, refit=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(X, y)
        assert not files_of(tmp_path)
        assert len(stacks) == 2
        for name, content in stacks.items():
            (tmp_path / name).write_bytes(content)
        SCORED.clear()
        search.fit(X, y)
    assert [model.lr for model in SCORED] == [0.2, 0.2]
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]


@pytest.mark.parametrize(
    "change, name",
    [
        ({"param_grid": {"ratio": [0, 0.2]}}, "candidates"),
        ({"estimator__lr": 0.5}, "estimator"),
        ({"cv": 3}, "cv"),
        ({"scoring": "balanced_accuracy"}, "scoring"),
        ({"max_stack": 1}, "max_stack"),
        ({"X": 1}, "X"),
        ({"y": 1}, "y"),
    ],
)
def test_another_search_is_refused(change, name, tmp_path, stacks):
    X, y = make_data()
    search = FusedGridSearchCV(
        make(), {"ratio": [0, 0.1]}, cv=2, checkpoint_dir=tmp_path
    ).fit(X, y)
    (file, content) = stacks.popitem()
    (tmp_path / file).write_bytes(content)
    other = clone(search)
    if name in ("X", "y"):
        X, y = (1 - X, y) if name == "X" else (X, 1 - y)
    else:
        other.set_params(**change)
    with pytest.raises(CheckpointError, match=rf"inputs differ: (.*, )?{name}\b"):
        other.fit(X, y)
    assert files_of(tmp_path) == [file]


def test_a_search_refuses_a_bad_folder(tmp_path):
    X, y = make_data()
    search = FusedGridSearchCV(make(), {"ratio": [0.1]}, cv=2, checkpoint_dir=3)
    with pytest.raises(ValueError, match="checkpoint_dir must be"):
        search.fit(X, y)


# --- SIGKILL ---


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments(tmp_path):
    script = ROOT / "benchmarks/kills.py"
    command = [sys.executable, script, "--kills", "6", "--output", tmp_path]
    command += ["--only", "infobatch, records", "search"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    total = json.loads((tmp_path / "kills.json").read_text("utf-8"))["total"]
    assert total["kills"] >= 6
    assert total["runs_equal_to_the_bit"] == total["runs"] >= 2
    assert total["files_torn"] == total["files_left_over"] == 0
