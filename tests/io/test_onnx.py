import os
import warnings

import numpy as np
import pytest
import torch
from helpers.estimators import FEATURES, TASKS, make, make_cv, make_data
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrebatch import to_onnx
from skrebatch._engine.nn.tabular_cnn import networks_of

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

TOLERANCE = 1e-5
OPTIONS = {
    "default": {},
    "blocks": {"conv_channels": (3, 2, 2), "kernel_size": (4, 3, 2), "pool_size": 2},
    "strides": {"pool_size": 3, "pool_stride": 1, "padding": 2, "kernel_size": 2},
    "gaps": {"pool_size": 1, "pool_stride": 2, "padding": 0},
    "perceptron": {"architecture": "mlp", "hidden_layers": (7, 5)},
    "projection": {"architecture": "projected-cnn", "kernel_size": (4, 3)},
    "clip": {"input_clip": 1.5},
    "clipped perceptron": {"architecture": "mlp", "input_clip": 0.5},
    "batch norm": {"batch_norm": True, "batch_size": 8},
    "dropout": {"dropout": 0.3, "hidden_layers": (6, 4)},
    "networks": {"n_networks": 3, "choose": "together"},
    "all": {
        **{"n_networks": 2, "batch_norm": True, "dropout": 0.2, "dtype": "float64"},
        **{"hidden_layers": (5, 4), "record_losses": True, "batch_size": 8},
        **{"architecture": "projected-cnn", "input_clip": 2.0},
    },
}


def session_of(model, folder):
    to_onnx(model, folder / "model.onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(
        folder / "model.onnx", options, providers=["CPUExecutionProvider"]
    )


def run(session, X):
    names = [output.name for output in session.get_outputs()]
    results = session.run(None, {"X": np.asarray(X, dtype=np.float32)})
    return dict(zip(names, results, strict=True))


def assert_same_predictions(model, session, X):
    """Expect what the graph gives to be what the estimator predicts."""
    X = np.asarray(X, dtype=np.float32)
    results = run(session, X)
    if hasattr(model, "classes_"):
        assert list(results) == ["label", "probabilities"]
        proba = model.predict_proba(X)
        np.testing.assert_allclose(results["probabilities"], proba, atol=TOLERANCE)
        # Where rounding may decide, either label will do.
        first, second = np.sort(proba, axis=1)[:, -2:].T
        clear = second - first > TOLERANCE
        if model.predict(X).ndim == 2:
            clear = abs(proba - 0.5) > TOLERANCE
            assert results["label"].dtype == np.int64
        assert clear.mean() > 0.9
        assert (results["label"][clear] == model.predict(X)[clear]).all()
    else:
        assert list(results) == ["variable"]
        expected = model.predict(X).reshape(len(X), -1)
        assert results["variable"].shape == expected.shape
        error = (results["variable"] - expected) / model.target_scale_
        np.testing.assert_allclose(error, 0, atol=TOLERANCE)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("task", TASKS)
def test_predictions_are_those_of_the_estimator(task, option, tmp_path):
    X, y = make_data(task)
    model = make(task, **OPTIONS[option], lr=0.05).fit(X, y)
    rows = np.random.default_rng(1).normal(scale=3, size=(300, FEATURES))
    assert_same_predictions(model, session_of(model, tmp_path), rows)


@pytest.mark.parametrize("architecture", ["cnn", "projected-cnn"])
@pytest.mark.parametrize("n_features", [1, 2, 9, 40])
def test_tables_of_any_width_and_length(n_features, architecture, tmp_path):
    X, y = make_data("multiclass", n_features=n_features)
    model = make("multiclass", architecture=architecture).fit(X, y)
    session = session_of(model, tmp_path)
    (table,) = session.get_inputs()
    assert (table.name, table.type) == ("X", "tensor(float)")
    assert table.shape == ["n_samples", n_features]
    assert [output.shape for output in session.get_outputs()] == [
        ["n_samples"],
        ["n_samples", 3],
    ]
    for n in (1, 2, 41):
        assert_same_predictions(model, session, X[:n])
    assert run(session, X[:0])["probabilities"].shape == (0, 3)


@pytest.mark.parametrize("architecture", ["cnn", "projected-cnn", "mlp"])
def test_pools_that_hold_ties(architecture, tmp_path):
    X, y = make_data()
    rows = np.round(X).clip(-1, 1)  # many equal values
    model = make(architecture=architecture, pool_size=3).fit(rows, y)
    assert_same_predictions(model, session_of(model, tmp_path), rows)


def test_clipped_outliers_of_any_size(tmp_path):
    X, y = make_data()
    model = make(input_clip=2.0, lr=0.05).fit(X, y)
    rows = np.outer([1e3, -1e10, 1e25, -3e38, 3e38], np.ones(FEATURES))
    assert_same_predictions(model, session_of(model, tmp_path), rows)


@pytest.mark.parametrize("n_networks", [1, 2])
def test_a_tie_of_two_classes_is_the_first(n_networks, tmp_path):
    X, y = make_data()
    model = make(n_networks=n_networks).fit(X, y)
    with torch.no_grad():
        for network in networks_of(model.module_):
            network.head[-1].weight.zero_()
            network.head[-1].bias.zero_()
    results = run(session_of(model, tmp_path), X)
    assert (results["probabilities"] == 0.5).all()
    assert (results["label"] == model.predict(X)).all()
    assert (results["label"] == 0).all()


LABELS = {
    "words": np.array(["no", "yes"]),
    "words as objects": np.array(["no", "yes"], dtype=object),
    "numbers": np.array([-3, 2**40]),
    "booleans": np.array([False, True]),
    "whole floats": np.array([1.0, 2.0]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_strings_or_int64(name, tmp_path):
    X, y = make_data()
    model = make().fit(X, LABELS[name][y])
    labels = run(session_of(model, tmp_path), X)["label"]
    assert labels.dtype == (object if "words" in name else np.int64)
    assert (labels == model.predict(X)).all()


def test_labels_that_a_graph_cannot_hold(tmp_path):
    X, y = make_data()
    model = make().fit(X, np.array([0, 2**64 - 1], dtype=np.uint64)[y])
    with pytest.raises(ValueError, match="64-bit integers, got"):
        to_onnx(model, tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == []


def test_rows_of_any_length_are_refused(tmp_path):
    model = make(variable_length=True).fit(*make_data())
    with pytest.raises(ValueError, match="variable_length=True.*save_model"):
        to_onnx(model, tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == []


def test_what_is_no_fitted_estimator_of_ours(tmp_path):
    pipeline = make_pipeline(StandardScaler(), make()).fit(*make_data())
    with pytest.raises(TypeError, match="last step or best_estimator_"):
        to_onnx(pipeline, tmp_path / "model.onnx")
    with pytest.raises(NotFittedError):
        to_onnx(make(), tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == []


def test_an_estimator_that_chose_among_candidates(tmp_path):
    X, y = make_data("regression")
    model = make_cv("regression").fit(X, y)
    assert_same_predictions(model.best_estimator_, session_of(model, tmp_path), X)


def test_nothing_is_warned_of_and_the_model_stays_as_it_was(tmp_path):
    X, y = make_data()
    model = make(batch_norm=True, dropout=0.2, batch_size=8).fit(X, y)
    before = {k: v.clone() for k, v in model.module_.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_onnx(model, tmp_path / "model.onnx")
    after = model.module_.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    saved = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(saved, full_check=True)
    assert saved.producer_name == "skrebatch"


def test_a_missing_package_is_named(hide):
    hide("onnx")
    with pytest.raises(ImportError, match='installed with the extra "onnx": pip inst'):
        to_onnx(None, "x")
