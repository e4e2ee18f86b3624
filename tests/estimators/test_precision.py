"""Estimators that train in 16 bits."""

import pickle

import numpy as np
import pytest
import torch
from helpers.estimators import (
    TASKS,
    assert_close,
    assert_same_bits,
    global_state_stays,
    make,
    make_data,
    sample_losses,
    weights_of,
)
from helpers.refusals import refused
from helpers.searches import both
from helpers.twins import choices_of, fit_alone

from skrebatch import DivergedError, ScaleWarning, fit_fused
from skrebatch._utils.dtypes import resolve_precision
from skrebatch.strategies import STRATEGIES

HALF = pytest.mark.parametrize("precision", ["bf16", "fp16"])
ALL = {"hidden_layers": (9, 5), "batch_norm": True, "dropout": 0.3}


@HALF
@pytest.mark.parametrize("options", [{}, ALL, {"architecture": "mlp"}])
@pytest.mark.parametrize("task", TASKS)
def test_training_comes_out_near_that_in_32_bits(task, options, precision):
    X, y = make_data(task)
    # Without re-Batch: a choice may tip.
    params = {"ratio": 0, "batch_size": 8, "max_epochs": 8, **options}
    exact = make(task, **params).fit(X, y)
    model = make(task, precision=precision, **params).fit(X, y)
    # In fp16 the steps that overflow are left out, one or two of them.
    tolerance = 0.03 if precision == "bf16" else 0.25
    if options is ALL:
        # Batch norm over 8 rows makes more of rounding: 0.12 at most in 30 seeds.
        tolerance = max(tolerance, 0.15)
    assert_close(model.loss_curve_, exact.loss_curve_, tolerance)
    assert not np.array_equal(weights_of(model), weights_of(exact))


@HALF
def test_all_but_the_products_is_in_32_bits(precision):
    X, y = make_data()
    model = make(precision=precision, **ALL).fit(X, y)
    assert all(p.dtype == torch.float32 for p in model.module_.parameters())
    for state in model.net_.optimizer_.state.values():
        assert all(value.dtype == torch.float32 for value in state.values())
    with torch.no_grad():
        outputs = model.module_(torch.tensor(X, dtype=torch.float32))
    # To seven digits, where 16 bits would give three or four.
    losses = sample_losses("binary", outputs, torch.tensor(y))
    assert_close(model.sample_losses_, losses, 2e-6)


@HALF
@pytest.mark.parametrize("options", [{}, ALL])
@pytest.mark.parametrize("n_networks", [1, 2])
def test_partial_fits_end_where_a_fit_ends(options, n_networks, precision):
    X, y = make_data()
    params = {"max_epochs": 4, "n_networks": n_networks, "precision": precision}
    model, twin = make(**params, **options).fit(X, y), make(**params, **options)
    for _ in range(4):
        twin.partial_fit(X, y)
    assert_same_bits(model, twin)


def wild_data():
    """Features so large that gradients in float16 overflow at first."""
    X, y = make_data()
    return 300 * X, y


def test_steps_that_overflow_are_left_out():
    X, y = wild_data()
    params = {"precision": "fp16", "lr": 1e-5, "max_epochs": 3}
    model = make(**params).fit(X, y)
    scale, steps = model.net_.module_.running[0, -2:].tolist()
    assert scale < 2**16
    assert np.isfinite(model.sample_losses_).all()
    (state,) = model.net_.optimizer_.state.values()
    n_steps = 3 * -(-len(y) // model.batch_size_)
    assert 0 < steps <= state["step"] < n_steps
    # A second network in the stack overflows at its own steps, or never.
    X_tame, _ = make_data()
    table, indices = np.vstack([X, X_tame]), [np.arange(41), np.arange(41, 82)]
    models = [make(**params), make(**params)]
    fit_fused(models, table, np.tile(y, 2), indices)
    assert models[0].net_.module_.running[0, -2:].tolist() == [scale, steps]
    assert models[1].net_.module_.running[0, -2] == 2**16
    assert_close(models[0].loss_curve_, model.loss_curve_, 1e-3)


def test_going_on_after_a_fused_fit_keeps_the_scale():
    X, y = wild_data()
    params = {"precision": "fp16", "lr": 1e-5, "max_epochs": 3}
    models = fit_fused([make(**params), make(random_state=1, **params)], X, y)
    before = models[0].net_.module_.running[0, -2].item()
    assert models[0].partial_fit(X, y).net_.module_.running[0, -2] <= before < 2**16


def test_what_overflows_on_the_way_forward_is_said_to_diverge():
    X, y = make_data()
    model = make(precision="fp16")
    with pytest.warns(ScaleWarning), pytest.raises(DivergedError, match="epoch 1"):
        model.fit(1e6 * X, y)


@HALF
def test_networks_of_another_precision_share_no_stack(precision):
    X, y = make_data()
    models = [
        make(precision=p, ratio=0, **own)
        for p in (precision, "float32")
        for own in ({}, {"random_state": 1}, {"early_stopping": True})
    ]
    fit_fused(models, X, y)
    for model, twin in zip(models, fit_alone(models, X, y), strict=True):
        tolerance = 1e-5 if model.precision == "float32" else 0.02
        assert_close(model.loss_curve_, twin.loss_curve_, tolerance)


@HALF
@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "rmsprop", "optimizer_params": {"momentum": 0.5}},
        {"optimizer": torch.optim.NAdam, "lr_schedule": "one-cycle"},
        {"lr_schedule": "cosine", "n_augments": 1, "noise_std": 0.2},
        {"lr_schedule": "plateau", **ALL},
    ],
)
def test_optimizers_rates_and_noise(options, precision):
    X, y = make_data()
    models = [
        make(precision=precision, ratio=0, lr=lr, random_state=seed, **options)
        for lr in (0.003, 0.01)
        for seed in (0, 1)
    ]
    fit_fused(models, X, y)
    for model, twin in zip(models, fit_alone(models, X, y), strict=True):
        assert_close(model.loss_curve_, twin.loss_curve_, 0.02)
        exact = make(**{**twin.get_params(), "precision": "float32"}).fit(X, y)
        # The first epoch has seen all of noise, masks and rate, but little rounding.
        assert_close(model.loss_curve_[0], exact.loss_curve_[0], 0.02)
        if "lr_schedule" in options:
            rates = [m.net_.history[:, "event_lr"] for m in (model, twin, exact)]
            assert rates[0] == rates[1] == rates[2]
            assert len(set(rates[0])) > 1 or options["lr_schedule"] == "plateau"


@HALF
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy(strategy, precision):
    X, y = make_data()
    weights = np.random.default_rng(0).uniform(0.5, 2, size=len(y))
    params = {"strategy": strategy, "n_networks": 2, "hidden_layers": (9, 5)}
    params |= {"dropout": 0.3, "optimizer": "sgd", "lr": 0.02, "warm_start": True}
    model, exact = (
        make(precision=precision, max_epochs=3, **params).fit(X, y, weights)
        for _ in range(2)
    )
    before = weights_of(model)
    # In an epoch from here on they have the same losses and chance, but for rounding.
    for each in (model, exact.set_params(precision="float32")):
        each.set_params(max_epochs=1).fit(X, y, weights)
    for own, its in zip(choices_of(model), choices_of(exact), strict=True):
        np.testing.assert_array_equal(own, its)
    assert_close(model.loss_curve_[3], exact.loss_curve_[3], 0.003)
    moved, off = weights_of(exact) - before, weights_of(model) - weights_of(exact)
    assert 0 < np.linalg.norm(off) < 0.1 * np.linalg.norm(moved)
    # The losses that choose next are those of the networks, in 32 bits.
    losses = []
    for network in model.module_.networks:
        with torch.no_grad():
            outputs = network(torch.tensor(X, dtype=torch.float32))
        losses.append(sample_losses("binary", outputs, torch.tensor(y)))
    assert_close(model.sample_losses_, torch.stack(losses).mean(0), 2e-6)


@HALF
def test_a_search(precision):
    X, y = make_data()
    grid = {"precision": ["float32", precision], "hidden_size": [6, 9]}
    both(make(max_epochs=3), grid, X, y, max_stack=1)


@HALF
def test_a_pickle_goes_on(precision):
    X, y = make_data()
    model = make(precision=precision, optimizer="sgd").fit(X, y)
    twin = pickle.loads(pickle.dumps(model))
    assert_same_bits(twin.partial_fit(X, y), model.partial_fit(X, y))


@HALF
def test_partial_fit_heeds_a_changed_precision(precision):
    X, y = make_data()
    model = make(optimizer="sgd").fit(X, y).set_params(precision=precision)
    twin = make(optimizer="sgd", warm_start=True).fit(X, y)
    twin.set_params(precision=precision, max_epochs=1)
    assert_same_bits(model.partial_fit(X, y), twin.fit(X, y))


@HALF
def test_global_state_stays_as_it_is(precision):
    X, y = make_data()
    with global_state_stays():
        make(precision=precision, **ALL).fit(X, y).partial_fit(X, y).predict(X)


# --- what is refused ---


@pytest.mark.parametrize("value", ["float16", "half", None, 16, torch.float16])
def test_other_precisions_are_refused(value):
    X, y = make_data()
    words = ["precision", '"float32", "bf16", "fp16"']
    refused(lambda model: model.fit(X, y), *words, precision=value)


@HALF
def test_precisions_are_for_float32(precision):
    X, y = make_data()
    words = [f'precision="{precision}"', 'dtype="float64"']
    params = {"precision": precision, "dtype": "float64"}
    refused(lambda model: model.fit(X, y), *words, **params)


def test_a_precision_that_a_device_lacks_is_refused(monkeypatch):
    def bmm(*args):
        raise RuntimeError('"bmm" not implemented for "Half"\nmore')

    monkeypatch.setattr(torch, "bmm", bmm)
    with pytest.raises(ValueError, match='precision="fp16" is not supported .* "Half"'):
        resolve_precision("fp16", torch.float32, torch.device("cpu"))
    assert resolve_precision("float32", torch.float32, torch.device("cpu")) is None
