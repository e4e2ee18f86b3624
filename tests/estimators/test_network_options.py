"""Estimators with batch norm, dropout, more hidden layers, or no convolution."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from helpers.estimators import (
    CLASSIFICATION,
    FULL_BATCH,
    TASKS,
    N,
    assert_close,
    assert_same_bits,
    global_state_stays,
    make,
    make_data,
    noisy_data,
    sample_losses,
    weights_of,
)
from helpers.refusals import refused
from helpers.searches import both
from helpers.twins import (
    ROWS,
    VARIED,
    assert_all_twins,
    assert_twins,
    fit_alone,
    make_folds,
)
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

from skrebatch import (
    fit_fused,
)
from skrebatch._engine.nn.tabular_cnn import networks_of
from skrebatch.strategies import STRATEGIES

OPTIONS = {
    "mlp": {"architecture": "mlp"},
    "projection": {"architecture": "projected-cnn"},
    "input clip": {"input_clip": 1.5},
    "hidden layers": {"hidden_layers": (6, 4)},
    "batch norm": {"batch_norm": True},
    "dropout": {"dropout": 0.3},
    "the lecture's": {
        "architecture": "mlp",
        "hidden_layers": (9, 5),
        "batch_norm": True,
        "dropout": 0.3,
    },
    "all with blocks": {"hidden_layers": (9, 5), "batch_norm": True, "dropout": 0.3},
    "all with a projection": {
        **{"architecture": "projected-cnn", "conv_channels": (3,)},
        **{"hidden_layers": (9, 5), "batch_norm": True, "dropout": 0.3},
    },
    "all with a clip": {
        **{"architecture": "mlp", "hidden_layers": (9, 5), "input_clip": 3},
        **{"batch_norm": True, "dropout": 0.3},
    },
}
options = pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
EVERY = OPTIONS["all with blocks"]


def state_of(model):
    """Parameters and running statistics of the fitted network in one array."""
    values = model.module_.state_dict().values()
    return np.concatenate([value.numpy().ravel() for value in values])


# --- what network it is ---


def test_the_network_of_the_lecture():
    X, y = make_data("multiclass")
    model = make("multiclass", max_epochs=1, **OPTIONS["the lecture's"]).fit(X, y)
    assert not model.module_.training
    assert len(model.module_.features) == 0
    kinds = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout] * 2 + [nn.Linear]
    assert len(model.module_.head) == len(kinds)
    for layer, kind in zip(model.module_.head, kinds, strict=True):
        assert isinstance(layer, kind)
    shapes = [tuple(p.shape) for p in model.module_.parameters() if p.dim() > 1]
    assert shapes == [(9, 5), (5, 9), (3, 5)]
    assert model.module_.head[3].p == 0.3


def test_the_fitted_network_is_torchs():
    # Its weights give the same predictions in a network put together by hand.
    X, y = make_data()
    model = make(dtype="float64", **OPTIONS["the lecture's"]).fit(X, y)
    own = nn.Sequential(
        *(nn.Linear(5, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout(0.3)),
        *(nn.Linear(9, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.3)),
        nn.Linear(5, 1),
    )
    own.double().load_state_dict(model.module_.head.state_dict())
    with torch.no_grad():
        logits = own.eval()(torch.tensor(X))[:, 0]
    assert_close(model.decision_function(X), logits)


def test_without_blocks_auto_is_twice_the_features():
    X, y = make_data()
    model = make(architecture="mlp", max_epochs=1).fit(X, y)
    assert model.module_.architecture.hidden_sizes == (10,)
    # The parameters of the blocks have no meaning for it.
    other = make(architecture="mlp", max_epochs=1, conv_channels=(), padding=-3)
    assert_same_bits(model, other.fit(X, y))


def test_a_fitted_projection_is_torchs():
    # Its weights give the same predictions in a network put together by hand.
    X, y = make_data()
    model = make(dtype="float64", architecture="projected-cnn").fit(X, y)
    own = nn.Sequential(
        *(nn.Linear(5, 8 * 16), nn.ReLU(), nn.Unflatten(1, (16, 8))),
        *(Transpose(), nn.Conv1d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Conv1d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten()),
        *(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 1)),
    )
    own = own.double()
    nn.utils.vector_to_parameters(
        nn.utils.parameters_to_vector(model.module_.parameters()), own.parameters()
    )
    with torch.no_grad():
        logits = own(torch.tensor(X))[:, 0]
    assert_close(model.decision_function(X), logits)


class Transpose(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("architecture", ["cnn", "projected-cnn", "mlp"])
def test_training_is_torchs(task, architecture):
    # Full batches, so that neither the order of the rows nor that of chance counts.
    X, y = make_data(task)
    params = {
        "architecture": architecture,
        "hidden_layers": (7, 6),
        "batch_norm": True,
        "optimizer": "sgd",
        "standardize_target": False,
    }
    if task in CLASSIFICATION:
        del params["standardize_target"]
    else:
        y = (y - y.mean(0)) / y.std(0)
    start = make(task, **FULL_BATCH, **params, lr=1e-300, max_epochs=1).fit(X, y)
    network = start.module_
    for norm in network.norms():
        norm.reset_running_stats()
    own = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(6):
        own.zero_grad()
        outputs = network.train()(torch.tensor(X))
        sample_losses(task, outputs, torch.tensor(y)).mean().backward()
        own.step()
    model = make(task, **FULL_BATCH, **params, lr=0.05, max_epochs=6).fit(X, y)
    assert_close(weights_of(model), weights_of(start))
    for norm, its in zip(model.module_.norms(), network.norms(), strict=True):
        assert_close(norm.running_mean, its.running_mean)
        assert_close(norm.running_var, its.running_var)
    network.eval()
    assert_close(model.predict(X), start.predict(X))


@options
def test_losses_of_samples_are_those_of_the_evaluated_network(option):
    X, y = make_data()
    model = make(dtype="float64", **option).fit(X, y)
    with torch.no_grad():
        outputs = model.module_(torch.tensor(X))
    assert_close(
        model.sample_losses_, sample_losses("binary", outputs, torch.tensor(y))
    )


def test_dropout_is_in_the_losses_of_training_alone():
    # One step on all rows at a rate of nothing: what differs is the dropout.
    X, y = make_data()
    params = {"lr": 1e-300, "max_epochs": 1, **FULL_BATCH}
    with_dropout = make(dropout=0.9, **params).fit(X, y)
    without = make(**params).fit(X, y)
    assert_close(with_dropout.sample_losses_, without.sample_losses_)
    assert abs(with_dropout.loss_curve_[0] - without.loss_curve_[0]) > 1e-3


# --- stacks ---


def exact(option):
    """Choose an optimizer with which rounding stays small.

    Where a channel of the last block is above 0 in all rows, batch norm takes its
    bias away again. The gradient of that bias is rounding alone, and Adam divides it
    by its own size. (For a layer right before a norm the engine knows that it is 0.)
    """
    has_both = option.get("batch_norm") and option.get("architecture") != "mlp"
    return {**option, "optimizer": "sgd" if has_both else "adam"}


@pytest.mark.parametrize(
    "task, option",
    [*zip(itertools.cycle(["binary", "multi-target"]), OPTIONS.values())],
    ids=OPTIONS,
)
def test_every_network_of_a_stack_equals_its_twin(task, option):
    X, y = make_data(task, n=ROWS)
    folds = make_folds()
    shared = {"dtype": "float64", "max_epochs": 8, "batch_size": 24, **exact(option)}
    models = [make(task, **{**shared, **own}) for own in VARIED]
    fit_fused(models, X, y, folds)
    twins = fit_alone(models, X, y, folds)
    assert_all_twins(models, twins, X)
    for model, twin in zip(models, twins, strict=True):
        networks = networks_of(model.module_), networks_of(twin.module_)
        for own, its in zip(*networks, strict=True):
            for name, values in own.state_dict().items():
                assert_close(values, its.state_dict()[name], 1e-10)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_in_a_stack(strategy):
    X, y = make_data(n=ROWS)
    weights = np.random.default_rng(0).uniform(0.5, 2, size=ROWS)
    weights[:5] = 0
    shared = {"strategy": strategy, "dtype": "float64", "batch_size": 9, **exact(EVERY)}
    model = make(n_networks=3, **shared).fit(X, y, sample_weight=weights)
    assert np.isfinite(model.sample_losses_).all()
    models = [make(random_state=seed, **shared) for seed in range(3)]
    fit_fused(models, X, y)
    assert_all_twins(models, fit_alone(models, X, y), X)


@options
def test_networks_of_other_options_share_no_stack(option):
    X, y = make_data()
    models = [
        make(dtype="float64", **own) for own in ({}, exact(option), {}, exact(option))
    ]
    fit_fused(models, X, y)
    assert_all_twins(models, fit_alone(models, X, y), X)


def test_a_last_batch_of_one_row():
    # 41 rows: the batches of one network end in a single row, another's don't.
    X, y = make_data()
    shared = {"dtype": "float64", "max_epochs": 6, "ratio": 0, **exact(EVERY)}
    models = [make(batch_size=size, **shared) for size in (20, 7, 40)]
    fit_fused(models, X, y)
    assert_all_twins(models, fit_alone(models, X, y), X)
    assert all(np.isfinite(state_of(model)).all() for model in models)


def test_a_search_over_the_options():
    X, y = make_data("regression")
    grid = {
        "architecture": ["cnn", "projected-cnn", "mlp"],
        "hidden_layers": [None, (6, 3)],
        "batch_norm": [False, True],
        "dropout": [0.0, 0.4],
    }
    params = {"optimizer": "sgd", "dtype": "float64", "max_epochs": 3, "ratio": 0.5}
    model = make("regression", **params)
    search = both(model, grid, X, y, tolerance=1e-8)
    assert len(set(search.cv_results_["mean_test_score"].round(9))) == 24


# --- going on, stopping, pickling ---


@options
@pytest.mark.parametrize("n_networks", [1, 3])
def test_partial_fits_end_where_a_fit_ends(option, n_networks):
    X, y = make_data()
    params = {"max_epochs": 5, "n_networks": n_networks, **option}
    model = make(**params).fit(X, y)
    twin = make(**params)
    for _ in range(5):
        twin.partial_fit(X, y, classes=[0, 1])
    assert_same_bits(model, twin)
    np.testing.assert_array_equal(state_of(model), state_of(twin))


@options
def test_partial_fit_goes_on_after_a_fused_fit(option):
    X, y = make_data(n=ROWS)
    params = {"dtype": "float64", **exact(option)}
    models = [make(random_state=s, **params) for s in range(3)]
    fit_fused(models, X, y)
    twins = fit_alone(models, X, y)
    for model in models + twins:
        model.partial_fit(X, y).partial_fit(X, y)
    assert_all_twins(models, twins, X)


def test_a_warm_start_goes_on_from_the_statistics():
    X, y = make_data()
    params = {"optimizer": "sgd", **EVERY}
    model = make(warm_start=True, max_epochs=3, **params).fit(X, y).fit(X, y)
    np.testing.assert_array_equal(
        state_of(model), state_of(make(max_epochs=6, **params).fit(X, y))
    )


@options
def test_early_stopping_goes_back_to_the_best_epoch(option):
    X, y = noisy_data("binary")
    stops = {"early_stopping": True, "n_iter_no_change": 6, "lr": 0.02, **option}
    model = make(max_epochs=200, **stops).fit(X, y)
    best = 1 + int(np.argmin(model.validation_loss_curve_))
    assert 1 < best < model.n_iter_ < 200
    twin = make(max_epochs=best, **stops).fit(X, y)
    np.testing.assert_array_equal(state_of(model), state_of(twin))
    assert_close(model.sample_losses_, twin.sample_losses_, 1e-12)


@options
def test_a_pickle_predicts_the_same_bits_and_goes_on(option):
    X, y = make_data()
    model = make(optimizer="sgd", **option).fit(X, y)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
    assert_same_bits(twin.partial_fit(X, y), model.partial_fit(X, y))
    np.testing.assert_array_equal(state_of(twin), state_of(model))


class BreakIn(Callback):
    """Ends the training with an error after an epoch."""

    epoch = 5

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise RuntimeError("broken")


def test_a_partial_fit_that_fails_leaves_the_statistics():
    X, y = make_data()
    breaking = BreakIn()
    model = make(callbacks=[breaking], **EVERY).fit(X, y)
    twin = make(**EVERY).fit(X, y)
    with pytest.raises(RuntimeError, match="broken"):
        model.partial_fit(X, y)
    np.testing.assert_array_equal(state_of(model), state_of(twin))
    breaking.epoch = None
    model.partial_fit(X, y)
    np.testing.assert_array_equal(state_of(model), state_of(twin.partial_fit(X, y)))


@pytest.mark.parametrize("random_state", [0, None])
def test_global_state_stays_as_it_is(random_state):
    X, y = make_data()
    with global_state_stays():
        model = make(random_state=random_state, **EVERY).fit(X, y)
        model.partial_fit(X, y).predict(X)
        fit_fused([clone(model), clone(model)], X, y)


def test_without_a_seed_the_masks_differ():
    X, y = make_data()
    params = {"random_state": None, "lr": 1e-300, "max_epochs": 1, **FULL_BATCH}
    curves = [make(dropout=0.5, **params).fit(X, y).loss_curve_ for _ in range(2)]
    assert curves[0] != curves[1]


# --- what is refused ---


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("architecture", "rnn", '"projected-cnn", "mlp", got \'rnn\''),
        ("architecture", None, '"projected-cnn", "mlp"'),
        ("hidden_layers", (), "width of each hidden layer"),
        ("hidden_layers", 64, "width of each hidden layer"),
        ("hidden_layers", (8, 0), "hidden_layers[1] must be an integer"),
        ("hidden_layers", (8.0,), "hidden_layers[0] must be an integer"),
        ("batch_norm", "yes", "True or False, got 'yes'"),
        ("batch_norm", 1, "True or False, got 1"),
        ("dropout", 1.0, "of at least 0 and below 1, got 1.0"),
        ("dropout", -0.1, "of at least 0 and below 1"),
        ("dropout", np.nan, "finite number"),
        ("dropout", "some", "finite number"),
    ],
)
def test_parameters_that_are_refused(name, value, words):
    X, y = make_data()
    refused(lambda model: model.fit(X, y), name, words, **{name: value})


def test_two_widths_are_refused():
    X, y = make_data()
    params = {"hidden_size": 7, "hidden_layers": (6, 4)}
    words = ["hidden_size=7", "hidden_layers=(6, 4)", "leave one of them"]
    refused(lambda model: model.fit(X, y), *words, **params)


def test_no_channels_is_a_word_for_mlp():
    X, y = make_data()
    words = ["conv_channels", 'architecture="mlp"']
    refused(lambda model: model.fit(X, y), *words, conv_channels=())


@pytest.mark.parametrize("params", [{"batch_size": 1}, {"ratio": 0.03}])
def test_batch_norm_refuses_batches_of_one_row(params):
    X, y = make_data()
    assert int(N * 0.03 / 1.03) == 1
    words = ["batch_norm", "batch_size", "at least 2 rows"]
    refused(lambda model: model.fit(X, y), *words, batch_norm=True, **params)


@options
def test_a_warm_start_refuses_another_network(option):
    X, y = make_data()
    model = make(warm_start=True).fit(X, y).set_params(**option)
    with pytest.raises(ValueError, match=r"changed since the last fit"):
        model.fit(X, y)


def test_twins_would_be_told_apart():
    # The comparisons above see a difference in the statistics alone.
    X, y = make_data(n=ROWS)
    model, twin = (make(dtype="float64", **EVERY).fit(X, y) for _ in range(2))
    twin.module_.norms()[0].running_mean += 0.1
    with pytest.raises(AssertionError):
        assert_twins(model, twin, X)


@options
@pytest.mark.parametrize("n_augments", [1, 2])
def test_noise_and_masks_are_in_a_stack_as_alone(option, n_augments, monkeypatch):
    # A table so large that its noise is drawn some steps at a time.
    monkeypatch.setattr("skrebatch._engine.training.epoch_plan._NOISE_NUMBERS", 300)
    monkeypatch.setattr("skrebatch._engine.nn.dropout._MOST_VALUES", 1000)
    X, y = make_data()
    params = {"n_augments": n_augments, "noise_std": 0.3, "optimizer": "sgd", **option}
    # So different in length that the stack cuts its steps elsewhere.
    models = [
        make(batch_size=size, random_state=size, lr=0.02, dtype="float64", **params)
        for size in (5, 7, 40)
    ]
    fit_fused(models, X, y)
    twins = [clone(model).fit(X, y) for model in models]
    assert_all_twins(models, twins, X, 1e-10)


@pytest.mark.parametrize(
    "name, value",
    [
        *(("batch_norm", True), ("dropout", 0.3), ("precision", "bf16")),
        ("architecture", "projected-cnn"),
    ],
)
def test_what_rows_of_any_length_do_not_go_with(name, value):
    X, y = make_data()
    params = {name: value, "variable_length": True}
    words = f"{name}={value!r} can't be used with variable_length=True; set one"
    refused(lambda model: model.fit(X, y), words, **params)


def test_a_perceptron_reads_zeros_beyond_a_row_s_end():
    X, y = make_data()
    padded, filled = X.copy(), X.copy()
    padded[::2, 3:], filled[::2, 3:] = np.nan, 0
    params = {"architecture": "mlp", "hidden_layers": (6, 4), "dtype": "float64"}
    model = make(variable_length=True, **params).fit(padded, y)
    twin = make(**params).fit(filled, y)
    assert_close(weights_of(model), weights_of(twin))
    assert_close(model.predict_proba(padded), twin.predict_proba(filled))


@pytest.mark.parametrize(
    "params, name",
    [
        ({"batch_norm": "no", "batch_size": 1}, "batch_norm"),
        ({"dropout": "x", "variable_length": True}, "dropout"),
    ],
    ids=str,
)
def test_an_impossible_option_is_named_before_what_it_would_not_go_with(params, name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        make(**params).fit(None, None)
