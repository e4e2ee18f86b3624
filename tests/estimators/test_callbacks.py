"""Callbacks of skorch, interruptions, the progress bar and the table."""

import re

import numpy as np
import pytest
import torch
from helpers.estimators import (
    FULL_BATCH,
    LR,
    Interrupt,
    assert_close,
    assert_same_bits,
    make,
    make_data,
    noisy_data,
    weights_of,
)
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    GradientNormClipping,
    LRScheduler,
)

from skrebatch import fit_fused

# --- skorch's callbacks ---


def test_skorch_early_stopping_stops():
    X, y = make_data()
    stop = EarlyStopping("train_loss", patience=3, threshold=1e9, threshold_mode="abs")
    with np.testing.assert_no_warnings():
        model = make(max_epochs=50, callbacks=[stop]).fit(X, y)
    # Only the first epoch counts as an improvement.
    assert model.n_iter_ == len(model.history_) == 4
    assert_same_bits(model, make(max_epochs=4).fit(X, y))


def test_skorch_early_stopping_on_the_validation_loss_loads_the_best():
    X, y = noisy_data("binary")
    stop = EarlyStopping(patience=4, load_best=True, threshold=0)
    params = {"lr": 0.05, "max_epochs": 300, "dtype": "float64"}
    model = make(callbacks=[stop], **params).fit(X[:48], y[:48], None, X[48:], y[48:])
    own = make(early_stopping=True, n_iter_no_change=4, **params)
    own.fit(X[:48], y[:48], None, X[48:], y[48:])
    assert model.n_iter_ == own.n_iter_ < 300
    np.testing.assert_array_equal(weights_of(model), weights_of(own))


def test_skorch_checkpoint_saves_the_best_epoch(tmp_path):
    X, y = noisy_data("binary")
    checkpoint = Checkpoint(dirname=tmp_path, f_optimizer=None, f_history="h.json")
    params = {"lr": 0.05, "max_epochs": 40, "dtype": "float64"}
    model = make(callbacks=[checkpoint], **params)
    model.fit(X[:48], y[:48], X_val=X[48:], y_val=y[48:])
    best = int(np.argmin(model.validation_loss_curve_))
    assert best < 30
    expected = make(**{**params, "max_epochs": best + 1}).fit(X[:48], y[:48])
    model.net_.load_params(checkpoint=checkpoint)
    np.testing.assert_array_equal(
        weights_of_network(model.net_.module_.read_all()[0]), weights_of(expected)
    )
    assert (tmp_path / "h.json").exists()

    checkpoint = Checkpoint(dirname=tmp_path, f_optimizer=None, load_best=True)
    model.set_params(callbacks=[checkpoint])
    model.fit(X[:48], y[:48], X_val=X[48:], y_val=y[48:])
    np.testing.assert_array_equal(weights_of(model), weights_of(expected))


@pytest.mark.parametrize("params", [{}, {"batch_norm": True}, {"n_networks": 2}])
def test_skorch_early_stopping_restores_the_best_epoch(params):
    X, y = noisy_data("binary")
    stop = EarlyStopping("valid_loss", patience=5, load_best=True, sink=str)
    params = {"lr": 0.05, "max_epochs": 60, "batch_size": 16, **params}
    model = make(callbacks=[stop], **params)
    model.fit(X[:48], y[:48], X_val=X[48:], y_val=y[48:])
    best = int(np.argmin(model.validation_loss_curve_))
    assert model.n_iter_ == best + 6 < 60
    expected = make(**{**params, "max_epochs": best + 1}).fit(X[:48], y[:48])
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_allclose(
        model.sample_losses_, expected.sample_losses_, rtol=1e-5, atol=1e-7
    )


def weights_of_network(network):
    return np.concatenate([p.detach().ravel() for p in network.parameters()])


def test_skorch_learning_rates_by_epoch():
    X, y = make_data()
    frozen = LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0)
    model = make(max_epochs=5, callbacks=[frozen]).fit(X, y)
    assert model.history_[:, "event_lr"] == [LR, LR, 0, 0, 0]
    # With a learning rate of 0 nothing moves.
    stopped = make(max_epochs=2).fit(X, y)
    np.testing.assert_array_equal(weights_of(model), weights_of(stopped))


def test_skorch_learning_rates_by_batch():
    X, y = make_data()
    halve = LRScheduler(
        torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5, step_every="batch"
    )
    model = make(max_epochs=2, callbacks=[halve], dtype="float64").fit(X, y)
    rates = [b["event_lr"] for row in model.history_ for b in row["batches"]]
    assert rates == [LR / 2**i for i in range(12)]  # 41 rows by 8, twice


def test_skorch_learning_rate_on_a_plateau():
    X, y = make_data()
    plateau = LRScheduler(
        torch.optim.lr_scheduler.ReduceLROnPlateau,
        monitor="train_loss",
        patience=0,
        threshold=1e9,
        threshold_mode="abs",
        factor=0.1,
    )
    model = make(max_epochs=4, callbacks=[plateau]).fit(X, y)
    assert_close(model.history_[:, "event_lr"], [LR, LR, LR / 10, LR / 100])


def test_skorch_gradient_clipping():
    X, y = make_data()
    params = {**FULL_BATCH, "optimizer": "sgd", "max_epochs": 1}
    start = make(lr=1e-300, **params).fit(X, y)
    clip = GradientNormClipping(1e-3)
    model = make(lr=0.5, callbacks=[clip], **params).fit(X, y)
    moved = np.linalg.norm(weights_of(model) - weights_of(start))
    free = make(lr=0.5, **params).fit(X, y)
    direction = weights_of(free) - weights_of(start)
    assert_close(moved, 0.5 * 1e-3, 1e-5)
    assert_close(
        (weights_of(model) - weights_of(start)) / moved,
        direction / np.linalg.norm(direction),
        1e-5,
    )


def test_a_callback_that_only_listens_changes_no_bit():
    class Listen(Callback):
        batches = 0

        def on_batch_begin(self, net, batch=None, training=None, **kwargs):
            self.batches += bool(training)

        def on_batch_end(self, net, loss=None, **kwargs):
            self.last_loss = float(loss)

    X, y = make_data()
    listen = Listen()
    model = make(callbacks=[listen]).fit(X, y)
    assert listen.batches == 4 * 6
    assert listen.last_loss > 0
    assert_same_bits(model, make().fit(X, y))


# --- interruptions ---


def test_an_interrupted_fit_keeps_what_it_has():
    X, y = make_data()
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 3") as record:
        model = make(callbacks=[Interrupt(3)], max_epochs=9).fit(X, y)
    assert record[0].filename == __file__
    shorter = make(max_epochs=2).fit(X, y)
    assert model.n_iter_ == 2
    assert model.loss_curve_ == shorter.loss_curve_
    np.testing.assert_array_equal(weights_of(model), weights_of(shorter))
    np.testing.assert_array_equal(model.predict_proba(X), shorter.predict_proba(X))
    np.testing.assert_array_equal(model.sample_losses_, shorter.sample_losses_)
    assert_same_bits(
        model.set_params(callbacks=None).fit(X, y), make(max_epochs=9).fit(X, y)
    )


def test_an_interrupted_ensemble_names_the_epoch_that_it_keeps():
    X, y = noisy_data("binary")
    with pytest.warns(ConvergenceWarning) as record:
        model = make(
            callbacks=[Interrupt(41)],
            n_networks=5,
            lr=0.05,
            max_epochs=99,
            n_iter_no_change=10**6,
            early_stopping=True,
        ).fit(X, y)
    assert model.n_iter_ < 40
    assert str(record[0].message) == (
        f"Training was interrupted; the networks of epoch {model.n_iter_}, the best, "
        "are kept."
    )


def test_an_interrupted_fit_that_watches_keeps_its_best_epoch():
    X, y = noisy_data("binary")
    params = {"lr": 0.05, "n_iter_no_change": 10**6, "early_stopping": True}
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 41"):
        model = make(callbacks=[Interrupt(41, 2)], max_epochs=99, **params).fit(X, y)
    shorter = make(max_epochs=40, **params).fit(X, y)
    assert np.argmin(shorter.validation_loss_curve_) < 30
    assert model.validation_loss_curve_ == shorter.validation_loss_curve_
    np.testing.assert_array_equal(weights_of(model), weights_of(shorter))


# --- verbose ---


def test_verbose_shows_the_losses(capsys):
    X, y = make_data()
    make(verbose=1).fit(X, y, X_val=X, y_val=y)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "4/4" in shown.err
    last = shown.err.splitlines()[-1].split("\r")[-1]
    model = make().fit(X, y, X_val=X, y_val=y)
    assert f"train_loss={model.loss_curve_[-1]:.4g}" in last
    assert f"valid_loss={model.validation_loss_curve_[-1]:.4g}" in last


@pytest.mark.parametrize("n_networks", [1, 2])
@pytest.mark.parametrize("score", ["loss", "brier"])
def test_verbose_2_shows_a_table_of_epochs(n_networks, score, capsys):
    X, y = make_data()
    options = {"early_stopping": True, "stopping_score": score, "max_epochs": 3}
    options |= {"validation_fraction": 0.5, "n_networks": n_networks}
    model = make(verbose=2, **options).fit(X, y)
    out, err = capsys.readouterr()
    assert err == ""
    header, line, *rows = re.sub(r"\x1b\[\d+m", "", out).splitlines()
    names = ["epoch", "train_loss", "valid_loss", "dur"]
    if n_networks == 2 or score == "brier":
        names.insert(1, "stopping_score")
    assert header.split() == names
    assert set(line) == {"-", " "}
    assert len(rows) == 3
    for shown, row in zip(rows, model.history_, strict=False):
        for name, value in zip(names[:-1], shown.split(), strict=False):
            assert float(value) == pytest.approx(row[name], abs=1e-4)
    assert [row["train_loss"] for row in model.history_] == model.loss_curve_
    (fused,) = fit_fused([make(**options)], X, y)
    capsys.readouterr()
    for row, twin in zip(model.history_, fused.history_, strict=True):
        for name in [*names[:-1], *(f"{name}_best" for name in names[1:-1])]:
            assert row[name] == pytest.approx(twin[name]), name


def test_parts_of_a_training_share_the_header_of_the_table(capsys):
    X, y = make_data()
    model = make(verbose=2)
    for _ in range(3):
        model.partial_fit(X, y)
    assert len(capsys.readouterr().out.splitlines()) == 2 + 3


def test_without_verbose_nothing_is_shown(capsys):
    X, y = make_data()
    make().fit(X, y)
    assert capsys.readouterr() == ("", "")
