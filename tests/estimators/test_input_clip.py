"""Estimators that clip their inputs, against tables that were clipped by hand."""

import numpy as np
import pytest
import torch
from helpers.estimators import (
    FEATURES,
    TASKS,
    assert_close,
    assert_same_bits,
    make,
    make_data,
    noisy_data,
    weights_of,
)
from helpers.refusals import refused
from helpers.searches import both
from helpers.twins import ROWS, assert_all_twins, assert_twins, fit_alone
from torch import nn

from skrebatch import FusedGridSearchCV, fit_fused, load_model, save_model
from skrebatch._engine.training.epoch_plan import stack_table

ARCHITECTURES = pytest.mark.parametrize("architecture", ["cnn", "projected-cnn", "mlp"])


def clipped(X, limit):
    return X / np.sqrt(1 + (X / limit) ** 2)


def outliers(task="binary", n=ROWS):
    """A table of which some values are far from the others."""
    X, y = make_data(task, n=n)
    X[::7] *= 100
    return X, y


@ARCHITECTURES
@pytest.mark.parametrize("task", TASKS)
def test_a_fit_is_that_of_the_table_clipped_by_hand(task, architecture):
    X, y = outliers(task)
    params = {"dtype": "float64", "architecture": architecture}
    model = make(task, input_clip=1.5, **params).fit(X, y)
    twin = make(task, **params).fit(clipped(X, 1.5), y)
    assert_close(weights_of(model), weights_of(twin))
    assert_close(model.loss_curve_, twin.loss_curve_)
    assert_close(model.sample_losses_, twin.sample_losses_)
    assert_close(model.predict(X), twin.predict(clipped(X, 1.5)))


@pytest.mark.parametrize(
    "architecture, limit, expected",
    [
        # 7.5 / 1.25, 10 / sqrt(2) and -24 / 2.6
        ("auto", 10, [6, 50**0.5, -120 / 13]),
        ("mlp", 10, [6, 50**0.5, -120 / 13]),
        ("cnn", None, [7.5, 10, -24]),
    ],
)
def test_auto_clips_at_10_but_not_before_the_cnn(
    architecture, limit, expected, tmp_path
):
    X, y = outliers()
    params = {"architecture": architecture, "dtype": "float64", "max_epochs": 2}
    model = make(input_clip="auto", **params).fit(X, y)
    assert_same_bits(model, make(input_clip=limit, **params).fit(X, y))
    save_model(model, tmp_path / "model")
    for own in (model, load_model(tmp_path / "model")):
        assert own.input_clip == "auto"
        layers = own.module_.modules()
        first = next(m for m in layers if isinstance(m, nn.Conv1d | nn.Linear))
        reached = []
        first.register_forward_pre_hook(lambda _, args, to=reached: to.append(args[0]))
        own.module_(torch.tensor([[7.5, 10.0, -24.0, 0.0, 0.0]], dtype=torch.float64))
        assert_close(reached[0][reached[0] != 0], expected)  # a CNN pads with zeros


def test_validation_rows_are_clipped_too():
    X, y = noisy_data("binary")
    X[::5] *= 100
    params = {"dtype": "float64", "early_stopping": True, "max_epochs": 30}
    model = make(input_clip=2, **params).fit(X, y)
    twin = make(**params).fit(clipped(X, 2), y)
    assert_close(model.validation_loss_curve_, twin.validation_loss_curve_)
    assert model.n_iter_ == twin.n_iter_


@pytest.mark.parametrize("max_elements", [None, 12])
def test_padding_stays_padding(max_elements):
    X, y = outliers()
    X[::2, 3:] = np.nan
    X[1::4, 4:] = np.nan
    params = {"dtype": "float64", "variable_length": True, "max_elements": max_elements}
    model = make(input_clip=1.5, **params).fit(X, y)
    twin = make(**params).fit(clipped(X, 1.5), y)
    assert_close(weights_of(model), weights_of(twin))
    assert_close(model.predict_proba(X), twin.predict_proba(clipped(X, 1.5)))
    # Narrower, without the padding.
    assert_close(model.predict_proba(X[::2, :3]), model.predict_proba(X[::2]))


def test_long_rows_of_which_few_reach_the_end():
    # Batches of short rows are computed by a smaller stack.
    X, y = make_data(n_features=40)
    X[:, 10:] = np.nan
    X[3] = 50.0
    params = {"dtype": "float64", "variable_length": True, "batch_size": 4}
    models = [make(input_clip=limit, **params) for limit in (0.5, 3)]
    fit_fused(models, X, y)
    for model, limit in zip(models, (0.5, 3), strict=True):
        twin = make(**params).fit(clipped(X, limit), y)
        assert_close(weights_of(model), weights_of(twin))


def test_noise_is_added_before_clipping():
    # So much noise that without clipping the training would diverge.
    X, y = make_data()
    params = {"n_augments": 2, "noise_std": 1e20, "dtype": "float64"}
    model = make(input_clip=1.0, **params).fit(X, y)
    assert np.isfinite(model.loss_curve_).all()
    assert max(model.loss_curve_) < 5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outliers_of_any_size(dtype):
    X, y = make_data()
    largest = float(np.finfo(dtype).max)
    X[:4] = [[1e10], [-1e25], [largest], [-largest]]
    model = make(input_clip=3, dtype=dtype).fit(X, y)
    proba = model.predict_proba(X)
    assert np.isfinite(proba).all()
    assert_close(proba[0], proba[2], 1e-6)
    assert_close(proba[1], proba[3], 1e-6)


# --- stacks and searches ---


def test_networks_of_one_stack_have_their_own_limits():
    X, y = outliers()
    limits = [0.7, 3, 3, 20]
    models = [
        make(input_clip=limit, dtype="float64", batch_size=size, random_state=0)
        for limit, size in zip(limits, (9, 9, 20, 9), strict=True)
    ]
    cache = {}
    jobs = [model.__rebatch_prepare__(X, y, cache=cache).job for model in models]
    assert len({job.stack_key for job in jobs}) == 1
    assert len(stack_table(jobs).features) == ROWS  # which they share
    fit_fused(models, X, y)
    assert_all_twins(models, fit_alone(models, X, y), X)
    assert [model.module_.input_clip.item() for model in models] == limits
    others = [make(dtype="float64", batch_size=9), *models]
    plain, *_ = fit_fused(others, X, y)
    assert_twins(plain, make(dtype="float64", batch_size=9).fit(X, y), X)


def test_a_search_over_the_limit():
    X, y = outliers("regression")
    grid = {"input_clip": [None, 0.5, 2.0], "architecture": ["cnn", "projected-cnn"]}
    model = make("regression", dtype="float64", ratio=0.5)
    search = both(model, grid, X, y, tolerance=1e-8)
    assert len(set(search.cv_results_["mean_test_score"].round(9))) == 6


def test_every_network_of_an_estimator_is_clipped():
    X, y = outliers()
    params = {"n_networks": 3, "choose": "together", "dtype": "float64"}
    model = make(input_clip=1.5, **params).fit(X, y)
    twin = make(**params).fit(clipped(X, 1.5), y)
    assert_close(model.predict_proba(X), twin.predict_proba(clipped(X, 1.5)))


# --- the fitted network, files, going on ---


def test_predictions_are_those_of_the_module():
    X, y = outliers("regression")
    model = make("regression", input_clip=1.5, dtype="float64").fit(X, y)
    assert model.module_.input_clip == 1.5
    with torch.no_grad():
        outputs = model.module_(torch.tensor(X))[:, 0].numpy()
    expected = outputs * model.target_scale_ + model.target_mean_
    assert_close(model.predict(X), expected, 1e-12)


@pytest.mark.parametrize("n_networks", [1, 2])
def test_a_model_file_keeps_the_limit(n_networks, tmp_path):
    X, y = outliers()
    params = {"input_clip": 0.1, "n_networks": n_networks}  # 0.1 is no binary number
    model = make(**params).fit(X, y)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.input_clip == 0.1
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    for own in (model, loaded):
        own.set_params(warm_start=True).fit(X, y)
    assert_same_bits(loaded, model)


@pytest.mark.parametrize("limit", [0.0, -2.0])
def test_a_model_file_of_an_impossible_limit(limit, tmp_path):
    model = make(input_clip=2).fit(*make_data())
    model.module_.input_clip.fill_(limit)
    with pytest.raises(ValueError, match="network.0.input_clip is"):
        save_model(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("before, after", [(2, 3), (2, None), (None, 2)])
def test_a_warm_start_refuses_another_limit(before, after):
    X, y = make_data()
    model = make(input_clip=before, warm_start=True).fit(X, y)
    model.fit(X, y).set_params(input_clip=after)
    with pytest.raises(ValueError, match="input_clip.* changed since the last fit"):
        model.fit(X, y)


def test_a_checkpoint_goes_on_with_the_limits(tmp_path):
    X, y = outliers()
    model = make(input_clip=1.5, max_epochs=6, checkpoint_dir=tmp_path)
    grid = {"input_clip": [1.5, 4]}
    search = FusedGridSearchCV(
        make(max_epochs=3), grid, cv=2, checkpoint_dir=tmp_path / "search"
    )
    for own in (model, search):
        first = own.fit(X, y).predict_proba(X)
        np.testing.assert_array_equal(own.fit(X, y).predict_proba(X), first)


@pytest.mark.parametrize("value", [0, -1, np.inf, np.nan, "3", True, 1e-60])
def test_limits_that_are_refused(value):
    X, y = make_data()
    refused(lambda model: model.fit(X, y), "input_clip must be", input_clip=value)


def test_the_training_rows_stay_as_they_are():
    X, y = outliers()
    before = X.copy()
    make(input_clip=1.5, dtype="float64").fit(X, y).predict(X)
    np.testing.assert_array_equal(X, before)
    assert X.shape[1] == FEATURES
