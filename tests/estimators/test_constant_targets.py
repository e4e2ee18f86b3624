"""A target that does not vary is predicted, as by scikit-learn's regressors."""

import numpy as np
import pytest
from helpers.estimators import assert_close, assert_same_bits, make, make_cv, make_data
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.preprocessing import scale

from skrebatch import (
    FusedGridSearchCV,
    fit_fused,
    load_model,
    save_model,
    training_dynamics,
)
from skrebatch.strategies import STRATEGIES

X, Y = make_data("regression")
N = len(Y)
# Its mean, computed by a sum, is not 0.1.
CONSTANT = np.full(N, 0.1)

SETTINGS = {
    "plain": {},
    "early stopping": {"early_stopping": True},
    "several networks": {"n_networks": 3},
    "several networks, stopped": {"n_networks": 3, "early_stopping": True},
    "float64": {"dtype": "float64"},
    "bf16": {"precision": "bf16"},
    "perceptron": {"architecture": "mlp", "batch_norm": True, "dropout": 0.5},
    "copies": {"n_augments": 1, "noise_std": 0.1},
    "decay": {"weight_decay": 0.1},
    "sgd": {"optimizer": "sgd", "optimizer_params": {"momentum": 0.9}},
    "schedule": {"lr_schedule": "plateau"},
    "smoothed": {"loss_smoothing": 0.5, "record_losses": True},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_constant_is_predicted(name):
    model = make("regression", **SETTINGS[name]).fit(X, CONSTANT)
    assert (model.predict(X) == 0.1).all()
    assert (model.predict(1e6 * X[:3]) == 0.1).all()
    assert model.loss_curve_ == [0] * len(model.loss_curve_)
    assert not model.sample_losses_.any()
    assert model.score(X, CONSTANT) == 1
    assert (model.target_mean_, model.target_scale_) == (0.1, 1)


def test_a_constant_is_predicted_without_standardising():
    model = make("regression", standardize_target=False).fit(X, CONSTANT)
    np.testing.assert_array_equal(model.predict(X), np.float64(np.float32(0.1)))
    assert model.loss_curve_ == [0] * 4
    model = make("regression", standardize_target=False, dtype="float64")
    assert (model.fit(X, CONSTANT).predict(X) == 0.1).all()
    assert (model.target_mean_, model.target_scale_) == (0, 1)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_takes_losses_of_zero(strategy):
    model = make("regression", strategy=strategy, record_losses=True)
    assert (model.fit(X, CONSTANT).predict(X) == 0.1).all()
    assert (training_dynamics(model)["confidence"] == 1).all()


@pytest.mark.parametrize("standardize", [True, False])
def test_one_of_several_targets_is_constant(standardize):
    params = {"standardize_target": standardize, "dtype": "float64", "max_epochs": 30}
    both = np.column_stack([CONSTANT, Y / 100])
    model = make("regression", **params).fit(X, both)
    assert (model.predict(X)[:, 0] == 0.1).all()
    start = make("regression", **{**params, "max_epochs": 1}).fit(X, both)
    assert model.loss_curve_[-1] < start.loss_curve_[0] / 2
    error = model.predict(X)[:, 1] - Y / 100
    assert_close(model.sample_losses_, (error / model.target_scale_[1]) ** 2 / 2)


def test_rows_without_weight_do_not_count():
    y, weights = CONSTANT.copy(), np.ones(N)
    y[0], weights[0] = 7, 0
    model = make("regression").fit(X, y, sample_weight=weights)
    assert (model.predict(X) == 0.1).all()


def test_a_stack_takes_constant_and_other_targets():
    """Networks of one seed start at the same weights, but for the fixed outputs."""
    rows = [np.arange(20), np.arange(20, N)]
    y = np.where(np.arange(N) < 20, 0.1, Y)
    for order in ([0, 1], [1, 0]):
        models = [make("regression", dtype="float64") for _ in order]
        fit_fused(models, X, y, [rows[i] for i in order])
        for i, model in zip(order, models, strict=True):
            alone = make("regression", dtype="float64").fit(X[rows[i]], y[rows[i]])
            assert_close(model.predict(X), alone.predict(X))
        assert (models[order.index(0)].predict(X) == 0.1).all()


def test_searches():
    params = {"ratio": [0, 0.25], "standardize_target": [True, False]}
    search = FusedGridSearchCV(make("regression"), params, cv=2).fit(X, CONSTANT + 7.4)
    # Which float32 holds, so that the error is 0 without standardising, too.
    assert (search.cv_results_["mean_test_score"] == 1).all()
    assert (search.predict(X) == 7.5).all()
    model = make_cv("regression").fit(X, CONSTANT)
    assert (model.predict(X) == 0.1).all() and model.best_score_ == 0


def test_a_first_batch_without_variation_does_not_end_learning():
    model = make("regression").partial_fit(X, CONSTANT)
    assert (model.predict(X) == 0.1).all()
    y = scale(Y)
    before = np.mean((y - model.predict(X)) ** 2)
    for _ in range(30):
        model.partial_fit(X, y)
    assert np.mean((y - model.predict(X)) ** 2) < before / 2


def test_a_constant_continues():
    model = make("regression", warm_start=True).fit(X, CONSTANT)
    assert (model.fit(X, CONSTANT).predict(X) == 0.1).all()
    assert (model.partial_fit(X, CONSTANT).predict(X) == 0.1).all()


def test_a_constant_in_a_model_file(tmp_path):
    pytest.importorskip("safetensors")
    model = make("regression").fit(X, CONSTANT)
    save_model(model, tmp_path / "model.safetensors")
    twin = load_model(tmp_path / "model.safetensors")
    assert_same_bits(twin, model)
    assert (twin.predict(X) == 0.1).all()


@pytest.mark.filterwarnings("ignore:.*Early stopping criterion not reached")
def test_an_imputer_fills_in_a_constant_column():
    table = X.copy()
    table[:, 2] = 0.1
    missing = np.random.default_rng(0).random(X.shape) < 0.1
    table[missing] = np.nan
    imputer = IterativeImputer(make("regression"), max_iter=1)
    filled = imputer.fit_transform(table)
    assert (filled[:, 2] == 0.1).all()
    assert np.isfinite(filled).all()
