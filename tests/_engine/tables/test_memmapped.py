"""Tables that stay in their file: same bits, bounded memory, files that change."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.memmapped import CHANGES, write
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from sklearn import config_context
from skorch.callbacks import Callback

from skrebatch import (
    FusedGridSearchCV,
    ReBatchCNNClassifier,
    ReBatchCNNRegressor,
    fit_fused,
)
from skrebatch._engine.tables.memmapped import MappedTable, map_rows
from skrebatch._engine.training.epoch_plan import stack_table

N, FEATURES = 300, 7
FLOAT32 = np.dtype("float32")


@pytest.fixture(autouse=True)
def _no_table_fits_memory():
    with config_context(working_memory=0):
        yield


def make_data(dtype="float32"):
    X = np.random.default_rng(0).standard_normal((N, FEATURES))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    return (10 * X).astype(dtype), y


def make(**params):
    return ReBatchCNNClassifier(max_epochs=3, random_state=0, **params)


def assert_same_bits(one, other):
    for name in ("sample_losses_", "loss_curve_", "chosen_"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for own, theirs in zip(
        one.module_.parameters(), other.module_.parameters(), strict=True
    ):
        assert torch.equal(own, theirs)


# --- the same bits as in memory ---


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"dtype": "float64"},
        {"early_stopping": True},
        {"n_augments": 2, "noise_std": 0.1, "dropout": 0.2},
        {"n_networks": 3, "choose": "together", "strategy": "max-loss", "repeats": 0},
        {"record_losses": True, "refresh_every": 2, "loss_smoothing": 0.5},
        {"architecture": "mlp", "batch_norm": True, "precision": "bf16"},
        {"architecture": "projected-cnn", "input_clip": 1.5},
    ],
    ids=lambda params: ",".join(params) or "default",
)
def test_a_fit_of_a_file_ends_as_that_of_the_array(tmp_path, params):
    X, y = make_data()
    mapped = write(tmp_path / "X.npy", X)
    assert map_rows(mapped, FLOAT32, False) is not None
    weights = np.arange(N) % 4
    one = make(**params).fit(X, y, sample_weight=weights)
    other = make(**params).fit(mapped, y, sample_weight=weights)
    assert_same_bits(one, other)
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(mapped))
    assert one.score(X, y) == other.score(mapped, y)


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4", "int8", "int64"])
def test_files_of_other_dtypes_are_converted_batch_by_batch(tmp_path, dtype):
    X, y = make_data(dtype)
    mapped = write(tmp_path / "X.npy", X)
    assert_same_bits(make().fit(X, y), make().fit(mapped, y))


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_file_without_a_header(tmp_path, mode):
    X, y = make_data()
    (tmp_path / "X.bin").write_bytes(b"head" + X.tobytes())
    mapped = np.memmap(tmp_path / "X.bin", "f4", mode, 4, X.shape)
    assert_same_bits(make().fit(X, y), make().fit(mapped, y))


VIEWS = {
    "rows": lambda X: X[20:],
    "every third row": lambda X: X[1::3],
    "columns": lambda X: X[:, 2:5],
    "a view of a view": lambda X: X[5:][::2, 1:][3:],
    "as an array": lambda X: np.asarray(X)[10:],
    "strided": lambda X: as_strided(X, shape=(N // 2, FEATURES)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_read_where_they_begin(tmp_path, name):
    X, y = make_data()
    mapped, X = VIEWS[name](write(tmp_path / "X.npy", X)), VIEWS[name](X)
    assert map_rows(mapped, FLOAT32, False) is not None
    assert_same_bits(make().fit(X, y[: len(X)]), make().fit(mapped, y[: len(X)]))


@pytest.mark.parametrize("maps", [(True, False), (False, True), (True, True)])
def test_validation_sets(tmp_path, maps):
    X, y = make_data()
    arrays = X[:200], X[200:]
    mapped = [
        write(tmp_path / f"{i}.npy", part) if is_mapped else part
        for i, (part, is_mapped) in enumerate(zip(arrays, maps, strict=True))
    ]
    model = make(early_stopping=True, n_iter_no_change=2)
    one = model.fit(arrays[0], y[:200], X_val=arrays[1], y_val=y[200:])
    curve = one.validation_loss_curve_
    other = make(early_stopping=True, n_iter_no_change=2)
    other.fit(mapped[0], y[:200], X_val=mapped[1], y_val=y[200:])
    assert curve == other.validation_loss_curve_
    assert_same_bits(one, other)


def test_going_on_and_regression(tmp_path):
    X, y = make_data()
    mapped = write(tmp_path / "X.npy", X)

    def train(X):
        model = ReBatchCNNRegressor(
            max_epochs=2, warm_start=True, loss_smoothing=0.5, random_state=0
        )
        model.fit(X, y + 0.5).fit(X, y + 0.5)
        return model.partial_fit(X, y + 0.5)

    one, other = train(X), train(mapped)
    assert_same_bits(one, other)
    np.testing.assert_array_equal(one.predict(X), other.predict(mapped))


@pytest.mark.filterwarnings("ignore:The networks were trained on other rows")
def test_running_means_go_on_with_the_same_file_alone(tmp_path):
    X, y = make_data()
    files = [write(tmp_path / f"{i}.npy", X + i) for i in range(2)]

    def train(first, second):
        model = make(warm_start=True, loss_smoothing=0.9)
        return model.fit(first, y).fit(second, y)

    assert_same_bits(train(X, X), train(files[0], files[0]))
    assert_same_bits(train(X, X + 1), train(*files))


def test_stacks_read_one_file_for_all(tmp_path):
    X, y = make_data()
    mapped = write(tmp_path / "X.npy", X)
    ratios = 0.1, 0.3
    jobs = [make(ratio=r).__rebatch_prepare__(mapped, y, cache={}).job for r in ratios]
    table = stack_table(jobs)
    assert isinstance(table, MappedTable)
    assert len(table.features) == 0
    one = fit_fused([make(ratio=r, dtype="float64") for r in ratios], X, y)
    other = fit_fused([make(ratio=r, dtype="float64") for r in ratios], mapped, y)
    for a, b in zip(one, other, strict=True):
        assert_same_bits(a, b)


def test_a_search_scores_a_file_as_the_array(tmp_path):
    X, y = make_data()
    mapped = write(tmp_path / "X.npy", X)
    one, other = (
        FusedGridSearchCV(make(), {"ratio": [0.1, 0.3]}, cv=3).fit(table, y)
        for table in (X, mapped)
    )
    name = "mean_test_score"
    np.testing.assert_array_equal(one.cv_results_[name], other.cv_results_[name])
    assert_same_bits(one.best_estimator_, other.best_estimator_)


# --- reading ---


@given(
    rows=st.lists(st.integers(0, 39), max_size=60),
    n_features=st.sampled_from([1, 3, 500, 3000]),
    view=st.sampled_from([np.s_[:], np.s_[::2], np.s_[:, :1], np.s_[5:, 1:]]),
)
def test_rows_in_any_order(tmp_path_factory, rows, n_features, view):
    X = np.arange(80.0 * n_features, dtype="f4").reshape(80, n_features)
    mapped = write(tmp_path_factory.mktemp("rows") / "X.npy", X)[view]
    if not mapped.size:
        return
    asked = np.array(rows, dtype=np.intp)
    read = map_rows(mapped, np.dtype("f8"), False).read(asked)
    assert read.dtype == np.dtype("f8")
    np.testing.assert_array_equal(read, X[view][asked])


# --- what stays in its file, and what is loaded ---


def test_only_what_is_larger_than_the_working_memory_stays_in_its_file(tmp_path):
    X = np.zeros((2**17, 2), "f4")  # 1 MiB
    mapped = write(tmp_path / "X.npy", X)
    for n_mebibytes, stays in ((1, False), (0.99, True)):
        with config_context(working_memory=n_mebibytes):
            assert (map_rows(mapped, FLOAT32, False) is not None) == stays
            # The size is that of the tensor, whatever the file holds.
            assert map_rows(mapped, np.dtype("f8"), False) is not None
    assert map_rows(X, FLOAT32, False) is None


LOADED = {
    "by column": (lambda path: np.load(path, mmap_mode="r").T, {}, "row by row"),
    "every second column": (
        lambda path: np.load(path, mmap_mode="r")[:, ::2],
        {},
        "row by row",
    ),
    "rows upside down": (
        lambda path: np.load(path, mmap_mode="r")[::-1],
        {},
        "row by row",
    ),
    "copy on write": (lambda path: np.load(path, mmap_mode="c"), {}, "mode 'c'"),
    "a length for each row": (
        lambda path: np.load(path, mmap_mode="r"),
        {"variable_length": True},
        "variable_length=True",
    ),
}


@pytest.mark.parametrize("name", LOADED)
def test_what_can_t_be_read_by_rows_is_loaded_with_a_warning(tmp_path, name):
    load, params, reason = LOADED[name]
    X = np.random.default_rng(0).standard_normal((40, 40)).astype("f4")
    write(tmp_path / "X.npy", X)
    mapped, y = load(tmp_path / "X.npy"), np.arange(40) % 2
    message = f"must be loaded into memory.*{reason}"
    with pytest.warns(UserWarning, match=message) as warned:
        model = make(**params).fit(mapped, y)
    assert warned[0].filename == __file__
    assert_same_bits(model, make(**params).fit(np.array(mapped), y))


def test_values_changed_in_a_copy_on_write_mapping_are_trained_on(tmp_path):
    X, y = make_data()
    write(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="c")
    mapped[:, 0] = 1
    X[:, 0] = 1
    with pytest.warns(UserWarning, match="mode 'c'"):
        assert_same_bits(make().fit(mapped, y), make().fit(X, y))


# --- bad input ---


@pytest.mark.parametrize("dtype, value", [("f4", np.nan), ("f4", np.inf), ("f8", 1e39)])
def test_values_that_are_not_finite_are_named(tmp_path, dtype, value):
    X, y = make_data(dtype)
    model = make().fit(X, y)
    X[123, 4] = value
    mapped = write(tmp_path / "X.npy", X)
    before = dict(vars(model))
    for call in (
        lambda: model.fit(mapped, y),
        lambda: model.predict(mapped),
        lambda: model.partial_fit(mapped[20:], y[20:]),
    ):
        with pytest.raises(ValueError, match=r"row 1[02]3, column 4 of .*X\.npy"):
            call()
    assert vars(model) == before


def test_tables_of_the_wrong_shape_are_refused(tmp_path):
    X, y = make_data()
    mapped = write(tmp_path / "X.npy", X)
    model = make().fit(mapped, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        make().fit(mapped, y[1:])
    with pytest.raises(ValueError, match="expecting 7 features"):
        model.predict(mapped[:, 1:])
    with pytest.raises(ValueError, match="minimum of 2"):
        make().fit(mapped[:1], y[:1])


# --- files that change ---


class After(Callback):
    """Do something to a file after an epoch."""

    def __init__(self, epoch, act):
        self.epoch, self.act = epoch, act

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            self.act()


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps open files as they are")
@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_changes_under_a_fit_is_refused(tmp_path, name):
    act, words = CHANGES[name]
    X, y = make_data()
    path = tmp_path / "X.npy"
    mapped = write(path, X)
    model = make().fit(mapped, y)
    before = dict(vars(model))
    model.set_params(callbacks=[After(2, lambda: act(path))])
    with pytest.raises(OSError, match=words):
        model.fit(mapped, y)
    assert vars(model) == {**before, "callbacks": model.callbacks}


class Changing(ReBatchCNNClassifier):
    """A classifier whose file is cut short once it has been checked."""

    def __rebatch_prepare__(self, *args, **kwargs):
        prepared = super().__rebatch_prepare__(*args, **kwargs)
        os.truncate(self.path, 1000)
        return prepared


def test_stacks_are_left_as_they_were(tmp_path):
    X, y = make_data()
    mapped = write(tmp_path / "X.npy", X)
    models = [make(), Changing(max_epochs=3, random_state=0)]
    models[1].path = tmp_path / "X.npy"
    before = [dict(vars(model)) for model in models]
    with pytest.raises(OSError, match="has changed"):
        fit_fused(models, mapped, y)
    assert [vars(model) for model in models] == before


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps open files as they are")
@pytest.mark.parametrize(
    "act",
    [
        lambda path: os.truncate(path, 1000),
        Path.unlink,
        lambda path: (path.unlink(), np.save(path, 2 * make_data()[0])),
    ],
    ids=["cut short", "removed", "exchanged"],
)
def test_a_file_that_has_changed_since_it_was_mapped_is_refused(tmp_path, act):
    X, y = make_data()
    mapped = write(tmp_path / "X.npy", X)
    act(tmp_path / "X.npy")
    with pytest.raises(OSError, match="deleted, truncated or changed"):
        make().fit(mapped, y)


# --- memory ---

TRAIN = """
import sys

import numpy as np
import sklearn

from skrebatch import ReBatchCNNClassifier

path, shape = sys.argv[1], (16_384, 4096)  # 256 MiB
np.lib.format.open_memmap(path, "w+", np.float32, shape)[:1] = 1
X, y = np.load(path, mmap_mode="r"), np.arange(shape[0]) % 2
model = ReBatchCNNClassifier(
    architecture="mlp",
    hidden_layers=(4,),
    batch_size=256,
    max_epochs=1,
    n_networks=1,
    early_stopping=True,
    random_state=0,
)


def peak():
    with open("/proc/self/status") as status:
        return next(int(l.split()[1]) for l in status if l.startswith("VmHWM"))


sklearn.set_config(working_memory=1)
model.fit(X[:1000], y[:1000]).predict(X[:1000])
before = peak()
model.fit(X, y).predict(X)
print((peak() - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, wants sparse files")
def test_a_file_is_trained_on_in_a_fraction_of_its_size(tmp_path):
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "X.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 256 / 8


def test_a_fit_on_a_file_has_checkpoints_too(tmp_path):
    X = np.random.default_rng(0).standard_normal((40, 40)).astype("f4")
    write(tmp_path / "X.npy", X)
    mapped, y = np.load(tmp_path / "X.npy", mmap_mode="r"), np.arange(40) % 2
    folder = tmp_path / "checkpoints"
    model = make(checkpoint_dir=folder).fit(mapped, y)
    assert model.loss_curve_ == make().fit(X, y).loss_curve_
    assert not list(folder.iterdir())
