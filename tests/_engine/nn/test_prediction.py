"""Predictions of several networks at once: values, bits, threads, and what is kept."""

import copy
import gc
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers.estimators import assert_close, make, make_data
from helpers.stacks import make_networks
from sklearn.base import clone

from skrebatch._engine.nn import prediction
from skrebatch._engine.nn.architecture import build_architecture
from skrebatch._engine.nn.prediction import predict
from skrebatch._engine.nn.tabular_cnn import as_module

K = 3
ARCHITECTURES = {
    "cnn": {"n_features": 30},
    "projected": {"n_features": 5, "projection": (3, 16), "n_outputs": 2},
    "mlp": {
        "n_features": 8,
        "conv_channels": (),
        "hidden_layers": (9, 5),
        "batch_norm": True,
    },
    "clipped": {"n_features": 8, "clips_inputs": True},
    "variable length": {"n_features": 30, "variable_length": True},
}
EACH = pytest.mark.parametrize("name", ARCHITECTURES)


def make_module(name, dtype=torch.float64, K=K):
    architecture = build_architecture(**ARCHITECTURES[name])
    networks = make_networks(architecture, K)
    x = torch.from_numpy(make_rows(name, 50))
    for network in networks:
        network.train()(x)  # moves the running means and variances
        network.eval()
    return as_module(networks).to(dtype)


def make_rows(name, n, dtype=torch.float64):
    rng = np.random.default_rng(0)
    sizes = ARCHITECTURES[name]
    X = rng.normal(size=(n, sizes["n_features"]))
    if sizes.get("variable_length"):
        lengths = rng.integers(1, X.shape[1], size=(n, 1), endpoint=True)
        X[np.arange(X.shape[1]) >= lengths] = np.nan
    return X.astype(str(dtype).removeprefix("torch."))


def side_by_side(outputs):
    """(K, b, O) -> (b, K * O)"""
    return outputs.transpose(1, 0, 2).reshape(outputs.shape[1], -1)


def outputs_of(module, X):
    """What `predict` should return, by the module itself in float64."""
    with torch.no_grad():
        outputs = copy.deepcopy(module).double()(torch.from_numpy(X).double())
    return side_by_side(outputs.view(-1, len(X), outputs.shape[-1]).numpy())


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# --- values ---


@EACH
@pytest.mark.parametrize("n_networks", [1, K])
def test_predictions_are_the_outputs_of_the_module(name, n_networks):
    module, X = make_module(name, K=n_networks), make_rows(name, 140)
    for rows in (X, X[:3]):
        found = predict(module, rows, side_by_side)
        assert_close(found, outputs_of(module, rows), 1e-12)
    module.float()
    X = X.astype(np.float32)
    found = predict(module, X, side_by_side)
    assert found.dtype == np.float64
    # Sums of dozens of products of size 1, in float32.
    assert_close(found, outputs_of(module, X), 1e-5)


def enlarge(module):
    """Make the first sums of large features exceed the range of float32."""
    with torch.no_grad():
        next(module.parameters()).mul_(1000)


@EACH
def test_sums_beyond_float32_are_computed_in_float64(name):
    module, X = make_module(name, torch.float32), make_rows(name, 9, torch.float32)
    enlarge(module)
    expected = predict(module, X, side_by_side)
    large = X.copy()
    large[4] = np.where(np.isnan(X[4]), np.nan, np.sign(X[4]) * 3e38)
    found = predict(module, large, side_by_side)
    assert_close(found[4], outputs_of(module, large)[4], 1e-5)
    others = np.arange(9) != 4
    np.testing.assert_array_equal(found[others], expected[others])


def test_classes_of_features_beyond_float32_sums_have_probabilities():
    X, y = make_data("multiclass")
    model = make("multiclass").fit(X, y)
    enlarge(model.module_)
    X = np.sign(X) * 3e38
    logits = model.decision_function(X)
    assert np.isfinite(logits).all()
    assert (np.abs(logits).max(axis=1) > 3.5e38).any()
    assert np.isfinite(model.predict_log_proba(X)).all()
    assert_close(model.predict_proba(X).sum(axis=1), 1)


# --- bits ---


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_the_bits_of_a_prediction_depend_on_its_row_alone(name, dtype, set_threads):
    module = make_module(name, dtype)
    X = make_rows(name, 32 * 128 + 5, dtype)  # a part for each of two threads
    set_threads(1)
    expected = predict(module, X, side_by_side)
    for n in (1, 2, 3, 4, 5, 100, 128, 131):
        for start in (0, 7):
            rows = slice(start, start + n)
            found = predict(module, X[rows], side_by_side)
            np.testing.assert_array_equal(found, expected[rows])
    order = np.random.default_rng(1).permutation(len(X))
    for n_threads in (1, 2):
        set_threads(n_threads)
        found = predict(module, X[order], side_by_side)
        np.testing.assert_array_equal(found, expected[order])
        assert torch.get_num_threads() == n_threads


def test_threads_may_predict_at_once():
    module, X = make_module("cnn", torch.float32), make_rows("cnn", 300, torch.float32)
    expected = predict(module, X, side_by_side)
    both = threading.Barrier(2)

    def run(_):
        both.wait()
        return [predict(module, X[:n], side_by_side) for n in (3, 300, 2, 150)]

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(run, range(2)):
            for part in found:
                np.testing.assert_array_equal(part, expected[: len(part)])


# --- what is kept between predictions ---


def set_data(tensor):
    tensor.data = tensor.data * 1.5 + 0.1


def write_in_place(tensor):
    with torch.no_grad():
        tensor.mul_(1.5).add_(0.1)


def write_by_numpy(tensor):
    values = tensor.detach().numpy()
    values *= 1.5
    values += 0.1


@pytest.mark.parametrize("change", [set_data, write_in_place, write_by_numpy])
def test_the_next_prediction_sees_a_change_of_the_module(change):
    module, X = make_module("mlp"), make_rows("mlp", 3)
    tensors = [*module.parameters(), *module.buffers()]
    for tensor in (t for t in tensors if t.is_floating_point()):
        before = predict(module, X, side_by_side)
        change(tensor)
        after = predict(module, X, side_by_side)
        assert_close(after, outputs_of(module, X), 1e-12)
        assert (after != before).any()


def test_copies_and_files_hold_nothing_that_predictions_keep():
    X, y = make_data()
    model = make(n_networks=2).fit(X, y)
    sizes = len(pickle.dumps(model)), len(pickle.dumps(model.module_))
    facts = dict(vars(model))
    expected = model.predict_proba(X)
    assert vars(model).keys() == facts.keys()
    assert all(value is facts[name] for name, value in vars(model).items())
    assert sizes == (len(pickle.dumps(model)), len(pickle.dumps(model.module_)))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.module_ not in prediction._idle
        np.testing.assert_array_equal(other.predict_proba(X), expected)
    assert not hasattr(clone(model), "module_")


def test_what_is_kept_goes_with_the_module():
    module, X = make_module("mlp"), make_rows("mlp", 3)
    predict(module, X, side_by_side)
    kept = weakref.ref(prediction._idle[module][0])
    assert kept() is not None
    del module
    gc.collect()
    assert kept() is None


@EACH
@pytest.mark.parametrize("n_rows", [3, 20, 300])
def test_modules_that_share_a_predictor_predict_the_same_bits(name, n_rows):
    modules = [make_module(name), make_module(name, K=2), make_module(name)]
    with torch.no_grad():
        for factor, module in enumerate(modules, start=1):
            for parameter in module.parameters():
                parameter.mul_(factor)
    X = make_rows(name, n_rows)
    alone = [predict(module, X, side_by_side) for module in modules]
    with prediction.shared_predictors():
        for turn in range(2):
            for module, expected in zip(modules, alone, strict=True):
                found = predict(module, X, side_by_side)
                np.testing.assert_array_equal(found, expected, err_msg=f"turn {turn}")
    assert (alone[0] != alone[2]).any()
