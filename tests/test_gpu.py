"""What holds on a GPU beside what holds everywhere; skipped where there is none."""

import pickle

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone

from skrebatch import (
    FusedGridSearchCV,
    ReBatchCNNClassifier,
    ReBatchCNNRegressor,
    fit_fused,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="torch finds no CUDA device"
    ),
]

ESTIMATORS = pytest.mark.parametrize(
    "estimator",
    [
        ReBatchCNNClassifier(max_epochs=5, random_state=0),
        ReBatchCNNClassifier(max_epochs=5, random_state=0, repeats=2, n_networks=3),
        ReBatchCNNRegressor(max_epochs=5, random_state=0, repeats=0),
        ReBatchCNNClassifier(max_epochs=5, random_state=0, strategy="ohem"),
        ReBatchCNNRegressor(max_epochs=5, random_state=0, strategy="infobatch"),
    ],
    ids=["classifier", "several networks", "regressor", "ohem", "infobatch"],
)


# Blocks are read whole with 6 features and in windows with 30.
@pytest.fixture(scope="module", params=[6, 30])
def data(request):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, request.param))
    return X, (X[:, 0] - X[:, 1] > 0).astype(int)


def fit(estimator, data, **parameters):
    return clone(estimator).set_params(**parameters).fit(*data)


def predictions(model, X):
    predict = getattr(model, "predict_proba", model.predict)
    return predict(X)


@ESTIMATORS
def test_gpu_and_cpu_train_the_same_network(estimator, data):
    # Selections depend on rounding, so in float64.
    on_cpu = fit(estimator, data, dtype="float64")
    on_gpu = fit(estimator, data, dtype="float64", device="cuda")
    assert next(on_gpu.module_.parameters()).is_cuda
    np.testing.assert_allclose(
        predictions(on_gpu, data[0]), predictions(on_cpu, data[0]), atol=1e-9
    )
    np.testing.assert_allclose(
        on_gpu.sample_losses_, on_cpu.sample_losses_, rtol=1e-7, atol=1e-9
    )
    np.testing.assert_array_equal(on_gpu.chosen_, on_cpu.chosen_)


def test_a_table_that_stays_in_its_file(data, tmp_path):
    X, y = data
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = ReBatchCNNClassifier(max_epochs=5, random_state=0, device="cuda")
    losses = fit(model, (X, y)).sample_losses_
    with config_context(working_memory=0):
        from_file = fit(model, (mapped, y))
        predicted = from_file.predict_proba(mapped)
    np.testing.assert_allclose(from_file.sample_losses_, losses, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(predicted, from_file.predict_proba(X))


def test_tensors_on_the_gpu_are_a_table_like_any_other(data):
    X, y = (torch.tensor(values, device="cuda") for values in data)
    for device in ("cpu", "cuda"):
        estimator = ReBatchCNNClassifier(max_epochs=5, random_state=0, device=device)
        expected = fit(estimator, data)
        np.testing.assert_array_equal(
            fit(estimator, (X, y)).predict_proba(X), expected.predict_proba(data[0])
        )


@ESTIMATORS
def test_same_seed_same_bits(estimator, data):
    first, second = (fit(estimator, data, device="cuda") for _ in range(2))
    assert first.loss_curve_ == second.loss_curve_
    np.testing.assert_array_equal(
        predictions(first, data[0]), predictions(second, data[0])
    )


@ESTIMATORS
def test_pickle_holds_the_network_on_the_cpu(estimator, data):
    model = fit(estimator, data, device="cuda")
    loaded = pickle.loads(pickle.dumps(model))
    assert not any(p.is_cuda for p in loaded.module_.parameters())
    assert next(model.module_.parameters()).is_cuda
    np.testing.assert_allclose(
        predictions(loaded, data[0]), predictions(model, data[0]), atol=1e-12
    )


@ESTIMATORS
def test_a_loaded_model_goes_on_where_it_stopped(estimator, data):
    model = fit(estimator, data, device="cuda", dtype="float64", warm_start=True)
    loaded = pickle.loads(pickle.dumps(model))
    before = loaded.loss_curve_[-1]
    loaded.fit(*data)
    assert loaded.n_iter_ == 2 * estimator.max_epochs
    assert loaded.loss_curve_[-1] < before


def test_fit_on_the_gpu_leaves_the_generators_alone(data):
    torch.cuda.manual_seed(0)
    expected = torch.rand(3, device="cuda")
    torch.cuda.manual_seed(0)
    fit(ReBatchCNNClassifier(max_epochs=1, random_state=1), data, device="cuda")
    assert torch.equal(torch.rand(3, device="cuda"), expected)


def test_a_stack_ends_as_its_networks_do_alone(data):
    models = [
        ReBatchCNNClassifier(
            ratio=ratio,
            repeats=repeats,
            max_epochs=20,
            dtype="float64",
            device="cuda",
            random_state=0,
        )
        for ratio in (0.03, 0.3)
        for repeats in (0, 1, 2)
    ]
    alone = [fit(model, data) for model in models]
    for together, one in zip(fit_fused(models, *data), alone, strict=True):
        np.testing.assert_allclose(
            together.sample_losses_, one.sample_losses_, rtol=1e-7, atol=1e-9
        )


def test_a_search_finds_on_the_gpu_what_it_finds_on_the_cpu(data):
    results = {}
    for device in ("cpu", "cuda"):
        model = ReBatchCNNClassifier(
            max_epochs=5, dtype="float64", device=device, random_state=0
        )
        search = FusedGridSearchCV(model, {"ratio": [0.03, 0.3]}, cv=3)
        results[device] = search.fit(*data).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(results["cpu"], results["cuda"])


@pytest.mark.parametrize("max_elements", [None, 90])
def test_padded_rows_train_the_same_network(data, max_elements):
    X, y = data
    X = X.copy()
    lengths = np.random.default_rng(0).integers(2, X.shape[1] + 1, len(X))
    X[np.arange(X.shape[1]) >= lengths[:, None]] = np.nan
    estimator = ReBatchCNNClassifier(
        variable_length=True,
        max_elements=max_elements,
        max_epochs=5,
        dtype="float64",
        random_state=0,
    )
    on_cpu, on_gpu = (fit(estimator, (X, y), device=d) for d in ("cpu", "cuda"))
    np.testing.assert_allclose(
        predictions(on_gpu, X), predictions(on_cpu, X), atol=1e-9
    )


def test_a_device_that_is_not_there_is_named(data):
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ValueError, match=absent):
        ReBatchCNNClassifier(device=absent).fit(*data)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_training_in_16_bits_comes_out_near_that_in_32(precision, data):
    params = {"ratio": 0, "batch_size": 32, "device": "cuda"}
    options = {"hidden_layers": (16, 8), "batch_norm": True, "dropout": 0.2}
    exact, model = (
        fit(ReBatchCNNClassifier(max_epochs=5, random_state=0), data, **p)
        for p in ({**params, **options}, {**params, **options, "precision": precision})
    )
    # In fp16 the steps that overflow are left out.
    np.testing.assert_allclose(model.loss_curve_, exact.loss_curve_, atol=0.1)


@pytest.mark.parametrize("architecture", ["mlp", "projected-cnn"])
def test_options_of_the_network_on_a_gpu_are_those_on_a_cpu(data, architecture):
    estimator = ReBatchCNNClassifier(
        max_epochs=5,
        random_state=0,
        architecture=architecture,
        input_clip=2.0,
        hidden_layers=(16, 8),
        batch_norm=True,
        dropout=0.2,
        dtype="float64",
    )
    on_cpu, on_gpu = fit(estimator, data), fit(estimator, data, device="cuda")
    np.testing.assert_allclose(
        predictions(on_gpu, data[0]), predictions(on_cpu, data[0]), atol=1e-9
    )
