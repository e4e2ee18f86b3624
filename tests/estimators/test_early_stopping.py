"""Validation rows, and to stop by their losses."""

import numpy as np
import pytest
import torch
from helpers.estimators import (
    assert_close,
    assert_same_bits,
    make,
    make_data,
    noisy_data,
    outputs_of,
    sample_losses,
    validation_split,
    weights_of,
)

STOPPING = {"early_stopping": True, "n_iter_no_change": 4, "max_epochs": 300}


@pytest.mark.parametrize("own_set", [False, True], ids=["split", "X_val"])
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_early_stopping_goes_back_to_the_best_epoch(task, own_set):
    X, y = noisy_data(task)
    train, valid = validation_split(np.arange(60), y, stratify=task == "binary")
    model = make(task, lr=0.05, dtype="float64", **STOPPING)
    if own_set:
        model.fit(X[train], y[train], X_val=X[valid], y_val=y[valid])
        assert len(model.sample_losses_) == 48
    else:
        model.fit(X, y)
        assert_close(
            model.sample_losses_[valid].mean(), min(model.validation_loss_curve_)
        )
    curve = model.validation_loss_curve_
    assert len(curve) == model.n_iter_ < 300
    assert np.argmin(curve) == model.n_iter_ - 1 - 4
    outputs = torch.tensor(outputs_of(model, X[valid]))
    target = y[valid]
    if task == "regression":
        assert_close(model.target_mean_, [y[train].mean()])
        target = (target - y[train].mean()) / y[train].std()
    losses = sample_losses(task, outputs, torch.tensor(target))
    assert_close(losses.mean().item(), min(curve))


def test_a_validation_set_alone_neither_stops_nor_steers():
    X, y = noisy_data("binary")
    watched = make(lr=0.05, max_epochs=30).fit(X, y, X_val=X[:9], y_val=y[:9])
    plain = make(lr=0.05, max_epochs=30).fit(X, y)
    np.testing.assert_array_equal(weights_of(watched), weights_of(plain))
    assert watched.loss_curve_ == plain.loss_curve_
    curve = watched.validation_loss_curve_
    assert len(curve) == 30
    assert_close(curve[-1], watched.sample_losses_[:9].mean(), 1e-6)
    watched.fit(X, y)
    assert not hasattr(watched, "validation_loss_curve_")


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("by_class", [False, True])
def test_the_validation_loss_is_weighted_as_the_training_loss(task, by_class):
    X, y = noisy_data(task)
    weights = np.random.default_rng(1).integers(0, 4, size=60)
    params = {"early_stopping": True, "n_iter_no_change": 99, "dtype": "float64"}
    own = weights
    if by_class and task == "binary":
        params["class_weight"] = {0: 1, 1: 9}
        own = weights * np.array([1, 9])[y]
    model = make(task, **params).fit(X, y, sample_weight=weights)
    rows = np.flatnonzero(weights)
    _, valid = validation_split(rows, y, stratify=task == "binary")
    expected = np.average(model.sample_losses_[valid], weights=own[valid])
    assert_close(min(model.validation_loss_curve_), expected)

    left_out = make(task, **params).fit(X[rows], y[rows], sample_weight=weights[rows])
    assert_close(left_out.validation_loss_curve_, model.validation_loss_curve_)


def test_equal_weights_of_validation_rows_are_no_weights():
    X, y = noisy_data("binary")
    params = {"early_stopping": True, "max_epochs": 9}
    weighted = make(**params).fit(X, y, sample_weight=np.full(60, 0.3))
    assert_same_bits(weighted, make(**params).fit(X, y))


def test_a_validation_set_of_ones_own_has_no_weights():
    X, y = noisy_data("binary")
    weights = np.random.default_rng(1).uniform(1, 9, size=60)
    model = make(class_weight={0: 1, 1: 9}, dtype="float64")
    model.fit(X, y, sample_weight=weights, X_val=X[:9], y_val=y[:9])
    assert_close(model.validation_loss_curve_[-1], model.sample_losses_[:9].mean())


def test_early_stopping_that_never_comes_keeps_the_best_epoch():
    X, y = noisy_data("binary")
    params = {**STOPPING, "n_iter_no_change": 10**6, "max_epochs": 60, "lr": 0.05}
    model = make(**params, dtype="float64").fit(X, y)
    _, valid = validation_split(np.arange(60), y)
    assert model.n_iter_ == 60
    curve = model.validation_loss_curve_
    assert np.argmin(curve) < 50
    assert_close(model.sample_losses_[valid].mean(), min(curve))


def test_a_class_too_rare_to_be_split_is_no_obstacle():
    X, y = make_data()
    y[:] = 0
    y[3] = 1
    model = make(early_stopping=True).fit(X, y)
    assert model.classes_.tolist() == [0, 1]
    assert len(model.validation_loss_curve_) == model.n_iter_


def test_validation_labels_may_lack_a_class():
    X, y = make_data("multiclass")
    valid = np.flatnonzero(y == 2)
    model = make("multiclass").fit(X, y, X_val=X[valid], y_val=y[valid])
    expected = -np.log(model.predict_proba(X[valid])[:, 2]).mean()
    assert_close(model.validation_loss_curve_[-1], expected, 1e-5)


def test_three_rows_may_still_stop_early():
    """The only row of class 1 is not held out."""
    X, y = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 1, 0])
    params = {"ratio": 0, "early_stopping": True, "n_iter_no_change": 3}
    model = make(**params, max_epochs=99).fit(X, y)
    _, [valid] = validation_split(np.array([0, 2]), y)
    curve = model.validation_loss_curve_
    assert model.n_iter_ == len(curve) == min(np.argmin(curve) + 1 + 3, 99)
    assert_close(model.sample_losses_[valid], min(curve), 1e-6)
    # The same as to name the row that is watched.
    twin = make(**params, max_epochs=99)
    twin.fit(X, y, np.arange(3) != valid, X_val=X[[valid]], y_val=y[[valid]])
    assert_close(twin.validation_loss_curve_, curve, 1e-5)
