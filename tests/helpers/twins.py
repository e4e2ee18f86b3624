"""Estimators trained side by side, and their twins trained alone."""

import numpy as np
from sklearn.base import clone

from helpers.estimators import First, assert_close, records_of, weights_of

ROWS = 64
# What may differ inside a stack, all of it at once.
VARIED = [
    {"batch_size": "auto"},
    {"ratio": 0},
    {"ratio": 0.05, "batch_size": 16, "random_state": 1},
    {"repeats": 2, "strategy": "max-loss", "lr": 0.003},
    {"repeats": 3, "ratio": 2, "batch_size": 40},
    {"strategy": "random", "random_state": 3, "shuffle": False},
    {"strategy": First(), "repeats": 0, "shuffle": False},
    {"batch_size": 10**6, "weight_decay": 0.01},
    {"strategy": "max-loss", "repeats": 0, "max_epochs": 14},
    {"max_epochs": 1},
    {"early_stopping": True, "n_iter_no_change": 2, "lr": 0.03},
    {"early_stopping": True, "validation_fraction": 0.4, "n_iter_no_change": 99},
    {"early_stopping": True, "n_iter_no_change": 5, "repeats": 2, "random_state": 4},
    {"n_networks": 2, "random_state": 5},
    {"n_networks": 2, "choose": "together", "strategy": "max-loss"},
]
N_VARIED = len(VARIED)


def make_folds(n_folds=N_VARIED, n=ROWS):
    """Training rows of different sizes, two of them the same."""
    rng = np.random.default_rng(1)
    folds = [rng.permutation(n)[: n - 2 * (i // 2)] for i in range(n_folds)]
    folds[2] = folds[1]
    return folds


def fit_alone(models, X, y, indices=None):
    """Every estimator's twin, fitted by itself."""
    if indices is None:
        return [clone(model).fit(X, y) for model in models]
    return [
        clone(model).fit(X[rows], y[rows])
        for model, rows in zip(models, indices, strict=True)
    ]


def predictions_of(model, X):
    if hasattr(model, "predict_proba"):
        return model.predict_proba(X)
    return (model.predict(X) - model.target_mean_) / model.target_scale_


def choices_of(model):
    return model.chosen_by_network_


def assert_twins(model, twin, X, tolerance=1e-10):
    """Expect what two ways of fitting have found out to be the same."""
    assert_close(predictions_of(model, X), predictions_of(twin, X), tolerance)
    assert_close(weights_of(model), weights_of(twin), tolerance)
    assert_close(model.loss_curve_, twin.loss_curve_, tolerance)
    assert_close(model.sample_losses_, twin.sample_losses_, tolerance)
    chosen = zip(choices_of(model), choices_of(twin), strict=True)
    assert all(np.array_equal(own, its) for own, its in chosen)
    assert model.n_iter_ == twin.n_iter_
    assert model.n_redistributed_ == twin.n_redistributed_
    assert model.batch_size_ == twin.batch_size_
    assert vars(model).keys() == vars(twin).keys()
    if hasattr(twin, "validation_loss_curve_"):
        assert_close(
            model.validation_loss_curve_, twin.validation_loss_curve_, tolerance
        )
    if hasattr(twin, "recorded_losses_"):
        epochs, losses, choices, times = records_of(twin)
        np.testing.assert_array_equal(model.recorded_epochs_, epochs)
        np.testing.assert_array_equal(model.recorded_choices_, choices)
        np.testing.assert_array_equal(model.times_chosen_, times)
        assert_close(model.recorded_losses_, losses, max(tolerance, 1e-6))


def assert_all_twins(models, twins, X, tolerance=1e-10):
    for model, twin in zip(models, twins, strict=True):
        assert_twins(model, twin, X, tolerance)
