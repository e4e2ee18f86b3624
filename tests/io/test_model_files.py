"""Model files: what they keep, what they refuse, and that old ones load for ever."""

import ast
import datetime
import functools
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from dateutil.tz import tzoffset
from helpers.estimators import HALVES, TASKS, assert_same_bits, make, make_cv, make_data
from helpers.options import models_of
from helpers.saved import assert_same_state
from hypothesis import given
from hypothesis import strategies as st
from make_model_files import FOLDER, predictions_of
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from torch.nn.utils import prune

from skrebatch import (
    FusedGridSearchCV,
    Hybrid,
    ModelFileError,
    ReBatchCNNRegressorCV,
    SmallLoss,
    Strategy,
    load_model,
    save_model,
    training_dynamics,
)
from skrebatch._engine.nn.architecture import build_architecture
from skrebatch._engine.serialization.json_text import MAX_BYTES
from skrebatch.estimators._plain_state import sizes_of
from skrebatch.io._model_files import FORMAT_VERSION

safetensors = pytest.importorskip("safetensors.numpy")

ROOT = Path(__file__).parents[2]


def through_file(model, folder):
    save_model(model, folder / "model.safetensors")
    return load_model(folder / "model.safetensors")


# --- what a file keeps ---


@pytest.mark.filterwarnings("ignore:lr_schedule=.* is finished")
@pytest.mark.parametrize("task", TASKS)
def test_options_of_every_kind_go_on_as_an_unpickled_model_does(task, tmp_path):
    X, y = make_data(task)
    for model in models_of(task):
        model.fit(X, y)
        loaded = through_file(model, tmp_path)
        unpickled = pickle.loads(pickle.dumps(model))
        assert_same_state(model, loaded)
        np.testing.assert_array_equal(
            predictions_of(loaded, X), predictions_of(model, X)
        )
        assert loaded.score(X, y) == model.score(X, y)
        for twin in (loaded, unpickled):
            twin.set_params(early_stopping=False).partial_fit(X, y).partial_fit(X, y)
        assert_same_state(unpickled, loaded)
        for twin in (loaded, unpickled):
            twin.set_params(warm_start=True, max_epochs=2).fit(X, y)
        assert_same_state(unpickled, loaded)
        assert_same_state(unpickled, through_file(loaded, tmp_path))


LABELS = {
    "words": np.array(["no", "yes"]),
    "words as objects": np.array(["no", "yes"], dtype=object),
    "booleans": np.array([False, True]),
    "small numbers": np.array([3, 200], dtype="uint8"),
    "whole floats": np.array([-1.0, 1.0]),
    "letters beyond": np.array(["Ω", "🙂"]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_any_kind(name, tmp_path):
    X, y = make_data()
    y = LABELS[name][y]
    model = make(class_weight={LABELS[name][0]: 2.0, LABELS[name][1]: 1}).fit(X, y)
    loaded = through_file(model, tmp_path)
    assert loaded.classes_.dtype == model.classes_.dtype
    assert loaded.class_weight == model.class_weight
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert_same_bits(loaded.fit(X, y), model)


def test_names_of_features_and_rows(tmp_path):
    X, y = make_data("regression")
    index = [f"row {i}" for i in range(len(X))]
    table = pd.DataFrame(X, columns=list("abcde"), index=index)
    model = make("regression", record_losses=True, n_networks=2).fit(table, y)
    loaded = through_file(model, tmp_path)
    assert loaded.get_params() == model.get_params()
    np.testing.assert_array_equal(loaded.predict(table), model.predict(table))
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(table[list("edcba")])
    pd.testing.assert_frame_equal(training_dynamics(loaded), training_dynamics(model))


@pytest.mark.parametrize(
    "task, held", [("multiclass", True), ("regression", True), ("regression", False)]
)
def test_estimators_that_choose_among_candidates(task, held, tmp_path):
    X, y = make_data(task, n=60)
    grid = [{"ratio": np.array([0.1, 0.3])}, {"strategy": ("max-loss", SmallLoss(3))}]
    model = make_cv(task, grid, scoring=None if held else "r2", max_epochs=2)
    if not held:
        changed = {n: [own] for n, own in HALVES.items()} | {"max_epochs": [2]}
        model.set_params(estimator=None, random_state=0, candidates=changed)
    model.fit(X, y)
    loaded = through_file(model, tmp_path)
    assert type(loaded) is type(model)
    assert_same_state(model.best_estimator_, loaded.best_estimator_)
    assert repr(loaded.get_params()) == repr(model.get_params())
    for name in ("best_params_", "best_index_", "best_score_"):
        assert repr(getattr(loaded, name)) == repr(getattr(model, name))
    assert loaded.cv_results_.keys() == model.cv_results_.keys()
    for name, column in model.cv_results_.items():
        assert repr(loaded.cv_results_[name]) == repr(column), name
    loaded.fit(X, y)
    assert_same_bits(loaded.best_estimator_, model.best_estimator_)


def test_parameters_of_every_kind(tmp_path):
    X, y = make_data()
    params = {
        "ratio": np.float32(0.1),
        "strategy": Hybrid(),
        "hidden_layers": [5, 4],
        "kernel_size": (2,),
        "conv_channels": (3,),
        "optimizer": torch.optim.NAdam,
        "optimizer_params": {"betas": (0.8, 0.9)},
        "lr_schedule": torch.optim.lr_scheduler.StepLR,
        "lr_schedule_params": {"step_size": 2},
        "device": torch.device("cpu"),
        "random_state": None,
    }
    model = make(**params).fit(X, y)
    loaded = through_file(model, tmp_path)
    assert_same_state(model, loaded)
    assert loaded.optimizer is torch.optim.NAdam
    assert type(loaded.ratio) is np.float32
    assert loaded.get_params().keys() == model.get_params().keys()


def test_a_machine_without_the_device(tmp_path):
    X, y = make_data()
    model = make().fit(X, y).set_params(device="cuda:7")
    loaded = through_file(model, tmp_path)
    assert loaded.device == "cuda:7"
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_a_file_says_what_it_is_and_is_the_same_each_time(tmp_path):
    model = make().fit(*make_data())
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first, second):
        save_model(model, path)
    assert first.read_bytes() == second.read_bytes()
    content, _ = state_dict(first.read_bytes())
    assert content["format_version"] == FORMAT_VERSION
    assert content["class"] == "ReBatchCNNClassifier"
    assert content["versions"]["torch"] == torch.__version__
    with safetensors_open(first) as file:  # any reader of the format can read it
        weight = file.get_tensor("network.0.head.2.weight")
    np.testing.assert_array_equal(weight, model.module_.head[2].weight.detach())


def safetensors_open(path):
    from safetensors import safe_open

    return safe_open(path, framework="np")


sizes = st.fixed_dictionaries(
    {
        "n_features": st.integers(1, 12),
        "n_outputs": st.integers(1, 3),
        "conv_channels": st.just((2, 3)) | st.just((2, 3, 1)) | st.just(()),
        "kernel_size": st.integers(1, 5),
        "pool_size": st.integers(1, 4),
        "pool_stride": st.none() | st.integers(1, 3),
        "padding": st.just("same") | st.integers(0, 2),
        "hidden_layers": st.sampled_from([None, (3,), (4, 2)]),
        "batch_norm": st.booleans(),
        "dropout": st.sampled_from([0.0, 0.25]),
        "variable_length": st.booleans(),
        "clips_inputs": st.booleans(),
        "projection": st.none() | st.tuples(st.integers(1, 3), st.integers(1, 9)),
    }
).filter(
    lambda sizes: (
        not sizes["projection"]
        or (sizes["conv_channels"] and not sizes["variable_length"])
    )
)


@given(sizes)
def test_sizes_make_the_same_architecture(sizes):
    architecture = build_architecture(**sizes)
    assert build_architecture(**sizes_of(architecture)) == architecture


# --- what can't be saved ---


class Own(Strategy):
    def plan(self, losses, epoch):
        return np.argsort(losses)[: epoch.n_chosen]


class OwnOptimizer(torch.optim.SGD):
    pass


def half(progress):
    return 0.5


UNSAVABLE = {
    "callbacks": [Callback()],
    "strategy": Own(),
    "optimizer": OwnOptimizer,
    "ratio_schedule": half,
    "random_state": np.random.RandomState(0),
    "lr_schedule_params": {"lr_lambda": half},
}


@pytest.mark.parametrize("name", UNSAVABLE)
def test_a_parameter_that_no_file_can_hold(name, tmp_path):
    X, y = make_data()
    params = {name: UNSAVABLE[name], "refresh_every": 2}
    if name == "lr_schedule_params":
        params["lr_schedule"] = torch.optim.lr_scheduler.LambdaLR
    model = make(**params, loss_smoothing=0.9, lr=0.1).fit(X, y)
    path = tmp_path / "model"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=rf"^{name}.* Before saving.*pickle") as raised:
        save_model(model, path)
    assert f"set_params({name}=...)" in str(raised.value)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model"]
    # The way out that the message names.
    defaults = make().get_params()
    model.set_params(**{key: defaults[key] for key in params})
    loaded = through_file(model, tmp_path)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    # The mean of the losses so far is kept, whatever made the last plan.
    unpickled = pickle.loads(pickle.dumps(model))
    assert_same_bits(loaded.partial_fit(X, y), unpickled.partial_fit(X, y))


def test_what_was_chosen_may_not_fit_either(tmp_path):
    model = make_cv(candidates={"strategy": [Own()]}, scoring=lambda *args: 1.0)
    model.fit(*make_data())
    with pytest.raises(ValueError, match=r"^candidates\[0\]\[1\]\[0\] is of type Own"):
        save_model(model, tmp_path / "model")
    model.set_params(candidates="ratios")
    with pytest.raises(ValueError, match=r"^scoring is of type function"):
        save_model(model, tmp_path / "model")
    model.set_params(scoring=None)
    with pytest.raises(ValueError, match=r"^best_params_.*Pickle the estimator"):
        save_model(model, tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_what_is_no_estimator_of_ours(tmp_path):
    X, y = make_data()
    pipeline = make_pipeline(StandardScaler(), make()).fit(X, y)
    search = FusedGridSearchCV(make(), {"ratio": [0, 0.2]}, cv=2).fit(X, y)
    own = type("Own", (type(make()),), {})().fit(X, y)
    for other in (pipeline, search, own, "model", None):
        with pytest.raises(
            TypeError, match="last step or best_estimator_, or save it whole .*; got"
        ):
            save_model(other, tmp_path / "model")
    with pytest.raises(NotFittedError):
        save_model(make(), tmp_path / "model")
    assert os.listdir(tmp_path) == []
    save_model(pipeline[-1], tmp_path / "model")
    save_model(search.best_estimator_, tmp_path / "model")


def test_a_network_that_is_not_finite_is_not_saved(tmp_path):
    model = make().fit(*make_data())
    with torch.no_grad():
        model.module_.head[2].bias[0] = torch.inf
    with pytest.raises(ValueError, match=r"network\.0\.head\.2\.bias contains NaN"):
        save_model(model, tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_a_description_that_no_file_can_hold_is_not_saved(tmp_path):
    model = make().fit(*make_data())
    model.set_params(optimizer_params={"note": "x" * MAX_BYTES})
    words = r"header of the model file is too large .* because of `optimizer_params`"
    with pytest.raises(ValueError, match=words):
        save_model(model, tmp_path / "model")
    assert os.listdir(tmp_path) == []


CHANGES = {
    "classes_": (list, "classes_ has type list"),
    "n_features_in_": (lambda n: n + 1, "n_features_in_ does not match"),
    "n_iter_": (str, "n_iter_ has type str"),
    "loss_curve_": (np.array, "loss_curve_ has type ndarray"),
    "history_": (list, "history_ has type list"),
    "interrupted_": (np.bool_, "interrupted_ has type bool"),
    "feature_names_in_": (lambda names: names[1:], "feature_names_in_ does not have"),
    "sample_losses_": (list, "sample_losses_ has type list"),
    "sample_index_": (lambda index: index[1:], "sample_index_ does not have"),
    "recorded_weights_": (lambda w: w[1:], "recorded_weights_ does not have shape"),
    "chosen_": (tuple, "chosen_ has type tuple"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_file_could_not_be_loaded_with_is_not_saved(name, tmp_path):
    change, words = CHANGES[name]
    X, y = make_data()
    frame, weights = pd.DataFrame(X, columns=list("abcde")), np.ones(len(y))
    model = make(record_losses=True).fit(frame, y, weights)
    save_model(model, tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    setattr(model, name, change(getattr(model, name)))
    with pytest.raises(
        ValueError, match=f"load_model would refuse the file: .*{words}"
    ):
        save_model(model, tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before


@pytest.mark.parametrize("change", ["half", "prune", "other"])
def test_a_network_that_could_not_be_loaded_is_not_saved(change, tmp_path):
    model = make(n_networks=2).fit(*make_data())
    first = model.module_.networks[0]
    if change == "half":
        first.half()
    elif change == "prune":
        prune.random_unstructured(first.head[0], "weight", 0.5)
    else:
        other = make(conv_channels=(3,)).fit(*make_data())
        model.module_.networks[1] = other.module_
    with pytest.raises(ValueError, match="load_model would refuse the file"):
        save_model(model, tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_a_parameter_without_end_is_not_saved(tmp_path):
    model = make().fit(*make_data())
    model.lr_schedule_params = endless = {}
    endless["again"] = endless
    with pytest.raises(ValueError, match=r"set_params\(lr_schedule_params="):
        save_model(model, tmp_path / "model")


# --- the index of the rows ---


def indexed(index):
    """An estimator that keeps the index of its rows."""
    X, y = make_data(n=len(index))
    table = pd.DataFrame(X, index=index)
    return make(record_losses=True, max_epochs=1).fit(table, y)


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(5, 85, 2),
        pd.date_range("2025", periods=40, tz="Europe/Paris"),
        pd.period_range("2025", periods=40, freq="M"),
        pd.interval_range(0, 40),
        pd.Index(range(40), dtype="Int64"),
        pd.CategoricalIndex(list("ab") * 20),
        pd.MultiIndex.from_product([pd.date_range("2025", periods=20), ["a", "b"]]),
    ],
    ids=lambda index: type(index).__name__,
)
def test_the_index_of_the_rows_comes_back(index, tmp_path):
    model = indexed(index)
    loaded = through_file(model, tmp_path)
    pd.testing.assert_index_equal(loaded.sample_index_, index, exact=True)
    pd.testing.assert_frame_equal(training_dynamics(loaded), training_dynamics(model))


def test_a_large_index_of_several_levels_comes_back(tmp_path):
    index = pd.MultiIndex.from_product([range(1000), range(100)], names=["c", "m"])
    X = np.random.default_rng(0).normal(size=(len(index), 2))
    model = make(
        record_losses=True, max_epochs=1, ratio=0, batch_size=8192, architecture="mlp"
    ).fit(pd.DataFrame(X, index=index), X[:, 0] > 0)
    loaded = through_file(model, tmp_path)
    pd.testing.assert_index_equal(loaded.sample_index_, index, exact=True)


OTHER = {
    "dates": pd.Index([datetime.date(2025, 1, 1)] * 40),
    "times of any zone": pd.Index([pd.Timestamp("2025"), "a"] * 20, dtype=object),
    "a zone of dateutil": pd.date_range("2025", periods=40, tz=tzoffset(None, 3600)),
    "a name of no file": pd.Index(range(40), name=pd.Timestamp("2025")),
    "complex numbers": pd.Index([1j] * 40),
    "levels of dates": pd.MultiIndex.from_product(
        [[datetime.date(2025, 1, i + 1) for i in range(20)], [0, 1]]
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_an_index_that_no_file_holds_is_left_out(name, tmp_path):
    model = indexed(OTHER[name])
    with pytest.warns(UserWarning, match="`sample_index_` is left out"):
        save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert not hasattr(loaded, "sample_index_")
    assert hasattr(model, "sample_index_")
    assert_same_bits(loaded, model)
    expected = training_dynamics(model).reset_index(drop=True)
    pd.testing.assert_frame_equal(training_dynamics(loaded), expected)


def test_an_index_too_large_for_the_header_is_left_out(tmp_path):
    """Objects of several types are described one by one."""
    model = indexed(
        pd.Index([(i, "x" * 1000) for i in range(2000)], tupleize_cols=False)
    )
    with pytest.warns(UserWarning, match="`sample_index_` is left out"):
        loaded = through_file(model, tmp_path)
    assert_same_bits(loaded, model)


def test_a_training_of_very_many_epochs_is_saved(tmp_path):
    model = make().fit(*make_data())
    model.history_ *= 10_000
    model.loss_curve_ *= 10_000
    assert len(through_file(model, tmp_path).history_) == 40_000


@pytest.mark.parametrize("call", [functools.partial(save_model, None), load_model])
def test_a_missing_package_is_named(call, hide):
    hide("safetensors")
    with pytest.raises(ImportError, match='installed with the extra "files": pip inst'):
        call("x")


def test_an_index_of_rows_needs_pandas(hide):
    hide("pandas")
    with pytest.raises(ImportError, match="index of the rows in a model file needs pa"):
        load_model(FOLDER / "words.safetensors")


# --- what is refused ---


def state_dict(data):
    """The description and the arrays of a model file."""
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    return json.loads(header["__metadata__"]["skrebatch"]), safetensors.load(data)


def forge(content, arrays):
    """A file of any content whose checksum is right."""
    text = json.dumps({**content, "sha256": "0" * 64}, separators=(",", ":"))
    return sign(safetensors.save(arrays, {"skrebatch": text}))


def sign(data):
    digest = hashlib.sha256(data).hexdigest().encode()
    return data.replace(b"0" * 64, digest, 1)


def with_header(header, rest=b""):
    """A file with the given bytes as its header."""
    return len(header).to_bytes(8, "little") + header + rest


@functools.cache
def good_files():
    return {path.stem: path.read_bytes() for path in FOLDER.glob("*.safetensors")}


def damaged_files():
    """Files with chance damage."""
    rng = np.random.default_rng(0)
    for name, data in good_files().items():
        n = len(data)
        for at in (0, 1, 7, 8, 9, 200, n - 1, *rng.integers(n, size=10)):
            yield f"{name} cut at {at}", data[:at]
        # Every bit of the length, then bits anywhere.
        for bit in (*range(64), *rng.integers(64, 8 * n, size=60)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << (bit % 8)
            yield f"{name} with bit {bit} flipped", bytes(flipped)
        for at in rng.integers(8, n, size=6):
            yield f"{name} without byte {at}", data[:at] + data[at + 1 :]
            yield f"{name} with a byte at {at}", data[:at] + b"\0" + data[at:]
        yield f"{name} and more", data + bytes(100)
        yield f"{name} twice", data + data
        for other, its in good_files().items():
            if other != name:
                end, its_end = (
                    8 + int.from_bytes(d[:8], "little") for d in (data, its)
                )
                yield f"{name} with header of {other}", its[:its_end] + data[end:]
                common = min(len(data), len(its)) // 2
                yield f"{name} ending as {other}", data[:common] + its[common:]


def hostile_files():
    """Files that somebody made up, with checksums where they can have them."""
    content, arrays = state_dict(good_files()["words"])
    assert forge(content, arrays) == good_files()["words"]

    def other(**changes):
        return forge({**content, **changes}, arrays)

    def array(name, value):
        return forge(content, {**arrays, name: value})

    def learned(**changes):
        return other(learned={**content["learned"], **changes})

    def sizes(**changes):
        return other(sizes={**content["sizes"], **changes})

    weight, norm = "network.1.head.0.weight", "network.0.head.1.running_var"
    yield "NaN", array(weight, np.full_like(arrays[weight], np.nan))
    yield "infinity", array(norm, np.full_like(arrays[norm], np.inf))
    yield "transposed", array(weight, arrays[weight].T.copy())
    longer = np.vstack([arrays[weight], arrays[weight][:1]])
    yield "one row more", array(weight, longer)
    yield "no rows", array(weight, arrays[weight][:0])
    yield "no dimensions", array(weight, np.array(1, dtype="float32"))
    yield "whole numbers", array(weight, arrays[weight].astype(int))
    yield "float64 among float32", array(weight, arrays[weight].astype(float))
    yield "float16", array(weight, arrays[weight].astype("float16"))
    yield "a tensor more", array("network.2.head.0.weight", arrays[weight])
    yield "a tensor less", forge(content, {k: arrays[k] for k in arrays if k != weight})
    yield "no tensors", forge(content, {})
    yield (
        "empty tensors",
        forge(
            {**content, "sizes": content["sizes"] | {"hidden_layers": [1] * 3000}},
            {
                **arrays,
                **{f"network.0.{i}": np.empty(0, "float32") for i in range(6000)},
            },
        ),
    )

    yield "no sizes", other(sizes={})
    yield "an unknown size", sizes(unknown=1)
    for name, value in {
        "n_features": 10**18,
        "n_outputs": 10**18,
        "conv_channels": [10**9],
        "hidden_layers": [10**18],
        "kernel_size": [0],
        "pool_size": [2**70],
        "pool_stride": [-1],
        "padding": 10**15,
        "dropout": 2.0,
        "projection": [10**9, 10**9],
        "batch_norm": False,
    }.items():
        yield f"{name}={value}", sizes(**{name: value})
    for wrong in ("hidden_layers", "conv_channels"):
        yield f"very many {wrong}", sizes(**{wrong: [1] * 100_000})
    for k in (0, -1, 1, 3, 10**12, "2", None, 2.0):
        yield f"{k!r} networks", other(n_networks=k)

    yield "a newer format", other(format_version=FORMAT_VERSION + 1)
    yield "a much newer format", forge({"format_version": 10**9}, arrays)
    for found in (0, -1, "1", 1.0, True, None, [1]):
        yield f"format {found!r}", other(format_version=found)
    for name in content:
        partial = {key: value for key, value in content.items() if key != name}
        if name not in ("versions", "sha256"):
            yield f"without {name}", forge(partial, arrays)
            for value in (None, [], {}, "os.system"):
                if (name, value) != ("parameters", {}):  # which means the defaults
                    yield f"{name} is {value!r}", other(**{name: value})
    for name in ("builtins.eval", "Pipeline", "BaseReBatchCNN", "FusedGridSearchCV"):
        yield f"class {name}", other(**{"class": name})
    yield "an unknown parameter", other(parameters={"unknown": 1})

    for name, value in {
        "classes_": ["a", "b", "c"],
        "n_outputs_": 2,
        "out_activation_": "identity",
        "predict": 1,
        "__class__": "object",
        "__reduce__": {"class": "MinLoss"},
        "n_features_in_": 7,
        "feature_names_in_": {"strings": {"array": "array.0"}},
        "history_": {"history": {"dict": [["epoch", [[10**15], [1]]]]}},
        "loss_curve_": "long",
        "_rngs": [],
        "_rates": None,
        "_logs": [{"log": {"dict": [["n_samples", 10**15]]}}],
        "_memories": {"tuple": []},
        "chosen_": {"pickle": "gASVKAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOU"},
        "sample_index_": {"class": "os.system"},
    }.items():
        yield f"learned {name}", learned(**{name: value})

    zeros = json.dumps({**content, "sha256": "0" * 64}, separators=(",", ":"))
    for name, text in {
        "deep lists": "[" * 100_000,
        "deep objects": '{"a":' * 50_000,
        "closed deep lists": "[" * 50_000 + "]" * 50_000,
        "very many lists": "[" + "[]," * 1_000_000 + "[]]",
        "very many numbers": "[" + "1," * 1_500_000 + "1]",
        "long number": "1" * 1_000_000,
        "NaN": zeros.replace(
            f'"format_version":{FORMAT_VERSION}', '"format_version":NaN'
        ),
        "said twice": zeros[:-1] + ',"n_networks":2}',
        "cut": zeros[:-1],
        "empty": "",
        "null": "null",
    }.items():
        yield (
            f"{name} as description",
            sign(safetensors.save(arrays, {"skrebatch": text})),
        )
        yield f"{name} as header", with_header(text.encode())
        yield f"{name} as metadata", with_header(b'{"__metadata__":%s}' % text.encode())
    deep = functools.reduce(lambda inner, _: {"tuple": [inner]}, range(400), 1)
    yield "deep values", learned(_data_seen=deep)
    yield "other metadata", safetensors.save(arrays, {"format": "pt"})
    yield "no metadata", safetensors.save(arrays)

    raw = sign(safetensors.save(arrays, {"skrebatch": zeros}))
    end = 8 + int.from_bytes(raw[:8], "little")
    header, rest = raw[8:end], raw[end:]
    shape = json.dumps(list(arrays[weight].shape), separators=(",", ":")).encode()
    assert shape in header

    def signed(header, rest=rest):
        mark = header.index(b'sha256\\":\\"') + 11
        blank = header[:mark] + b"0" * 64 + header[mark + 64 :]
        return sign(with_header(blank, rest))

    assert signed(header) == raw
    for dims in (
        b"[1000000000000]",
        b"[99999999999,99999999999]",
        b"[-1]",
        b"[]",
        b"{}",
    ):
        yield f"shape {dims}", signed(header.replace(shape, dims, 1))
    first = header.index(b'"data_offsets":[0,')
    for start in (b"8,", b"-8,", b"99999999999,", b"null,", b"0.0,"):
        changed = header[:first] + b'"data_offsets":[' + start + header[first + 18 :]
        yield f"start {start}", signed(changed)
    text = re.sub(rb'offsets":\[0,(\d+)', rb'offsets":[0,"\1"', header, count=1)
    yield "an end that is text", signed(text)
    yield "a tensor twice", signed(header.rstrip()[:-1] + b',"a":{},"a":{}}')
    yield (
        "a large tensor",
        signed(
            header.rstrip()[:-1]
            + b',"a":{"dtype":"F32","shape":[1000000000000],'
            + b'"data_offsets":[%d,%d]}}' % (len(rest), len(rest) + 4 * 10**12)
        ),
    )
    yield "an unknown dtype", signed(header.replace(b'"F32"', b'"X32"', 1))
    yield "an unused gap", signed(header, rest + bytes(64))
    yield "largest header", with_header(b" " * MAX_BYTES)
    yield "larger header", with_header(b" " * (MAX_BYTES + 1))
    yield "longest header", b"\xff" * 8 + header

    yield "a pickle", pickle.dumps(make())
    yield "a pickle that runs", b"cos\nsystem\n(S'touch ran'\ntR."
    yield "an archive", b"PK\x03\x04" + bytes(200)
    yield "text", b"{}" * 100
    yield "nothing", b""
    yield "zeros", bytes(10_000)


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    """A folder of the files, and what each is called."""
    folder = tmp_path_factory.mktemp("bad")
    names = {}
    for i, (name, data) in enumerate([*damaged_files(), *hostile_files()]):
        path = folder / f"{i}.safetensors"
        path.write_bytes(data)
        names[path] = name
    return names


def test_every_bad_file_is_refused_by_name(bad_files):
    assert len(bad_files) > 700
    wrong = []
    before = torch.random.get_rng_state()
    for path, name in bad_files.items():
        try:
            load_model(path)
            wrong.append(f"{name}: loaded")
        except ModelFileError as error:
            words = "is damaged: ", "is not a model file of skrebatch", "format version"
            if str(path) not in str(error) or not any(w in str(error) for w in words):
                wrong.append(f"{name}: {error}")
    assert wrong == []
    assert torch.equal(torch.random.get_rng_state(), before)


MEASURE = """
import sys
from pathlib import Path
from skrebatch import ModelFileError, load_model

def megabytes(name):
    status = Path("/proc/self/status").read_text()
    return int(status.split(name + ":")[1].split()[0]) / 1024

models, folder = map(Path, sys.argv[1:])
# torch imports parts of itself when they are first used.
for good in models.glob("*.safetensors"):
    load_model(good)
load_model(models / "default.safetensors").predict([[0] * 5])
bad = sorted(folder.iterdir())
before = megabytes("VmRSS")
seen = set()
def note(event, args):
    seen.add((event, args[1]) if event == "open" else (event,))
sys.addaudithook(note)
for path in bad:
    try:
        load_model(path)
    except ModelFileError:
        continue
    print(path, "was loaded")
events = sorted(seen)
print(megabytes("VmHWM") - before)
print(events)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux reports it")
def test_bad_files_take_little_memory_and_run_nothing(bad_files):
    folder = next(iter(bad_files)).parent
    command = [sys.executable, "-c", MEASURE, FOLDER, folder]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    megabytes, events = result.stdout.splitlines()
    assert float(megabytes) < 100
    # No import, exec, compile, find_class, system call: files are opened to be read.
    harmless = {("open", "r"), ("open", "rb")}
    if torch.__version__ < (2, 13):  # torch 2.6 asks for a function's signature
        harmless |= {("builtins.id",), ("object.__getattr__",)}
    assert set(ast.literal_eval(events)) <= harmless


def test_a_newer_format_is_told_from_damage(tmp_path):
    path = tmp_path / "model"
    newer = {"format_version": FORMAT_VERSION + 1}
    path.write_bytes(forge(newer, {"any": np.zeros(1)}))
    with pytest.raises(ModelFileError, match="Install a newer skrebatch"):
        load_model(path)
    path.write_bytes(pickle.dumps(make()))
    with pytest.raises(ModelFileError, match="not a model file of skrebatch"):
        load_model(path)
    path.write_bytes(good_files()["default"][:-1])
    with pytest.raises(ModelFileError, match="is damaged: its size of"):
        load_model(path)
    flipped = bytearray(good_files()["default"])
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ModelFileError, match="damaged: its checksum does not"):
        load_model(path)
    content, arrays = state_dict(good_files()["default"])
    content["parameters"]["newer"], content["versions"]["skrebatch"] = 1, "99.9"
    path.write_bytes(forge(content, arrays))
    with pytest.raises(ModelFileError, match=r"'newer' \(written with .*99\.9"):
        load_model(path)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "missing")


# --- files of old formats ---


@pytest.mark.parametrize("folder", sorted(FOLDER.parent.glob("format*")), ids=str)
def test_files_of_every_format_load_and_predict_as_they_did(folder):
    expected = json.loads((folder / "expected.json").read_text("utf-8"))
    assert {path.stem for path in folder.glob("*.safetensors")} == expected.keys()
    for name, own in expected.items():
        model = load_model(folder / f"{name}.safetensors")
        X = np.array(own["X"], dtype=float)
        if own["columns"]:
            X = pd.DataFrame(X, columns=own["columns"])
        # Recorded when predictions were computed in float64; now they are in float32.
        np.testing.assert_allclose(predictions_of(model, X), own["predictions"], 1e-6)
        if hasattr(model, "classes_"):
            assert model.predict(X).tolist() == own["labels"]


def test_the_cv_form_of_the_first_format():
    """It searched for the ratio by cross-validation, with its own parameters."""
    model = load_model(FOLDER.parent / "format1" / "search.safetensors")
    assert type(model) is ReBatchCNNRegressorCV
    assert model.candidates == {
        "ratio": (0, 0.3),
        "strategy": ("min-loss",),
        "repeats": (1,),
    }
    held, best = model.estimator, model.best_estimator_
    assert (held.n_networks, held.max_epochs, held.conv_channels) == (1, 3, (3,))
    assert {**held.get_params(), **model.best_params_} == best.get_params()
    assert (held.standardize_target, held.input_clip) == (True, None)
    results = model.cv_results_
    assert results["params"][model.best_index_] == model.best_params_
    assert results["mean_test_score"][model.best_index_] == model.best_score_
    X, y = make_data("regression")
    with pytest.raises(ValueError, match="set n_networks to 2 or more"):
        model.fit(X, y)
    held.set_params(**HALVES)
    assert len(model.fit(X, y).best_estimator_.module_.networks) == 2


def test_a_path_is_saved_as_text(tmp_path):
    X, y = make_data()
    model = make(checkpoint_dir=tmp_path / "checkpoints").fit(X, y)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.checkpoint_dir == str(tmp_path / "checkpoints")
    assert_same_bits(loaded.fit(X, y), model)
