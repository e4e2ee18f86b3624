"""Ensembles whose networks hold out different rows and stop together."""

import warnings

import numpy as np
import pytest
import torch
from helpers.estimators import (
    CLASSIFICATION,
    TASKS,
    assert_close,
    assert_same_bits,
    make,
    make_data,
)
from sklearn.base import clone
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import TimeSeriesSplit
from skorch.callbacks import Callback

from skrebatch import fit_fused, load_model, save_model
from skrebatch._engine.nn.losses import BinaryCrossEntropy, SquaredError
from skrebatch._engine.serialization.checkpoint import Checkpoint
from skrebatch._engine.training.checkpointing import CheckpointWriter
from skrebatch._engine.training.early_stopping import EarlyStopping
from skrebatch._engine.training.run import run_jobs

K = 4
STOP = {"early_stopping": True, "validation_fraction": 0.25, "n_iter_no_change": 3}


def ensemble(task="binary", **params):
    options = {"n_networks": K, "dtype": "float64", "lr": 0.02, "max_epochs": 40}
    return make(task, **{**options, **STOP, **params})


def rows_of(model, X, y):
    """The training and the held-out rows of each network."""
    job = clone(model).__rebatch_prepare__(X, y).job
    return [(member.rows, member.valid_rows) for member in job.members]


def networks_alone(model, X, y, **params):
    """Each network of an ensemble, trained alone on its rows to the best epoch."""
    for k, (train, valid) in enumerate(rows_of(model, X, y)):
        state = np.random.RandomState(0)
        state.randint(2**31 - 1, size=k)
        options = {**model.get_params(deep=False), "n_networks": 1, **params}
        options |= {"early_stopping": False, "max_epochs": model.n_iter_}
        alone = type(model)(**{**options, "random_state": state})
        yield alone.fit(X[train], y[train]), train, valid


def predictions_of(model, X):
    if hasattr(model, "predict_proba"):
        return model.predict_proba(X)
    return model.predict(X).reshape(len(X), -1)


def mean_out_of_fold(model, X, y):
    """Average what networks trained alone predict for the rows they hold out."""
    sums, counts = 0.0, np.zeros((len(X), 1))
    for alone, _, valid in networks_alone(model, X, y):
        own = predictions_of(alone, X)
        is_held_out = np.isin(np.arange(len(X)), valid)[:, None]
        sums, counts = sums + own * is_held_out, counts + is_held_out
    return sums / counts


@pytest.mark.parametrize("n_networks", [4, 6, 8])
@pytest.mark.parametrize("task", TASKS)
def test_out_of_fold_predictions_are_those_of_networks_trained_alone(task, n_networks):
    X, y = make_data(task, n=64)
    classifies = task in CLASSIFICATION
    # The scale of the targets is that of all rows.
    params = {} if classifies else {"standardize_target": False}
    model = ensemble(task, n_networks=n_networks, **params).fit(X, y)
    expected = mean_out_of_fold(model, X, y)
    if classifies:
        assert_close(model.oof_decision_function_, expected, 1e-10)
        labels = model.classes_[expected.argmax(axis=1)]
        labels = expected > 0.5 if task == "multi-label" else labels
        assert model.oof_score_ == accuracy_score(y, labels)
    else:
        assert model.oof_prediction_.shape == y.shape
        assert_close(model.oof_prediction_.reshape(len(y), -1), expected, 1e-10)
        assert_close(model.oof_score_, r2_score(y, expected))


@pytest.mark.parametrize("strategy", ["max-loss", "ohem", "random"])
def test_strategies_choose_among_the_rows_of_each_network(strategy):
    X, y = make_data(n=64)
    model = ensemble(strategy=strategy, repeats=0, ratio=0.3).fit(X, y)
    assert_close(model.oof_decision_function_, mean_out_of_fold(model, X, y), 1e-10)
    for chosen, (train, _) in zip(
        model.chosen_by_network_, rows_of(model, X, y), strict=True
    ):
        assert np.isin(chosen, train).all()
    times = np.zeros(64, dtype=int)
    for chosen in model.chosen_by_network_:
        times[chosen] += 1
    # Each row has been held out once, by one of the four networks.
    np.testing.assert_array_equal(model.chosen_, np.flatnonzero(times >= 1.5))


def test_the_fit_ends_with_the_best_epoch_of_the_out_of_fold_score():
    X, y = make_data(n=64)
    model = ensemble(lr=0.05, n_iter_no_change=5).fit(X, y)
    scores = []
    for epoch in range(1, model.n_iter_ + 6):
        part = ensemble(lr=0.05, max_epochs=epoch)
        members = clone(part).__rebatch_prepare__(X, y).job.members
        probability = np.zeros(64)
        for k, member in enumerate(members):
            state = np.random.RandomState(0)
            state.randint(2**31 - 1, size=k)
            alone = make(
                dtype="float64", lr=0.05, max_epochs=epoch, random_state=state
            ).fit(X[member.rows], y[member.rows])
            held_out = member.valid_rows
            probability[held_out] = alone.predict_proba(X[held_out])[:, 1]
        scores.append(np.mean((probability - y) ** 2))
    running = [scores[0]]
    for score in scores[1:]:
        running.append((running[-1] + score) / 2)
    assert model.n_iter_ == 1 + np.argmin(running)
    assert 1 < model.n_iter_ < 35
    for curve in (model.loss_curve_, model.validation_loss_curve_, model.history_):
        assert len(curve) == model.n_iter_


@pytest.mark.parametrize(
    "scores, best, epochs",
    [
        ([4, 2, 1, 1, 1], 5, 5),  # running means 4, 3, 2, 1.5, 1.25
        ([4, 2, 6, 0, 9], 4, 5),  # 4, 3, 4.5, 2.25, 5.6
        ([4, 2, 6, 9, 0], 2, 4),  # 4, 3, 4.5, 6.75
        ([1, 1, 1, 0, 0], 1, 3),  # an equal mean is not an improvement
    ],
)
def test_running_means_by_hand(scores, best, epochs):
    stopping = EarlyStopping(2, "brier", 2, np.arange(5))
    for score in scores:
        stopping.add(score)
        if stopping.is_over:
            break
    assert (stopping.best_epoch, len(stopping.scores)) == (best, epochs)


def test_the_score_is_of_the_mean_prediction():
    rows = [np.array([0, 1]), np.array([1, 2])]
    predictions = [np.array([[0.2], [0.6]]), np.array([[0.2], [0.9]])]
    targets = torch.tensor([[0.0], [1.0], [1.0]])
    means, labels = np.array([0.2, 0.4, 0.9]), np.array([0, 1, 1])
    weights = np.array([1.0, 3.0, 1.0])
    for score, expected in (
        ("brier", (means - labels) ** 2),
        ("absolute_error", abs(means - labels)),
        ("loss", -np.log(np.where(labels, means, 1 - means))),
    ):
        for given_weights in (None, weights):
            stopping = EarlyStopping(1, score, 2, np.arange(3), given_weights)
            result = stopping.score_of(BinaryCrossEntropy(), predictions, rows, targets)
            assert_close(result, np.average(expected, weights=given_weights))
    stopping = EarlyStopping(1, "loss", 2, np.arange(3))
    result = stopping.score_of(SquaredError(), predictions, rows, targets)
    assert_close(result, np.mean((means - labels) ** 2))


def test_wrong_labels_stop_the_loss_earlier_than_the_brier_score():
    X, y = make_data(n=100)
    y = np.where(np.arange(100) % 5 == 3, 1 - y, y)
    options = {"lr": 0.03, "n_iter_no_change": 8}
    brier, loss = (
        ensemble(stopping_score=score, **options).fit(X, y)
        for score in ("brier", "loss")
    )
    assert loss.n_iter_ < brier.n_iter_
    assert_same_bits(brier, ensemble(**options).fit(X, y))


@pytest.mark.parametrize("task", TASKS)
def test_a_stack_of_several_estimators_changes_nothing(task):
    X, y = make_data(task, n=64)
    models = [ensemble(task, random_state=s, ratio=r) for s, r in ((0, 0), (1, 0.3))]
    models.append(make(task, dtype="float64", lr=0.02))
    alone = [clone(model).fit(X, y) for model in models]
    fit_fused(models, X, y)
    for model, twin in zip(models, alone, strict=True):
        assert model.n_iter_ == twin.n_iter_
        assert len(model.history_) == len(twin.history_)
        assert_close(predictions_of(model, X), predictions_of(twin, X), 1e-10)


def test_rows_of_weight_0_count_nowhere():
    X, y = make_data(n=64)
    weights = np.ones(64)
    weights[::7] = 0
    model = ensemble().fit(X, y, sample_weight=weights)
    kept = weights > 0
    dropped = ensemble().fit(X[kept], y[kept])
    assert model.n_iter_ == dropped.n_iter_
    assert_close(model.predict_proba(X), dropped.predict_proba(X), 1e-10)
    assert_close(
        model.oof_decision_function_[kept], dropped.oof_decision_function_, 1e-10
    )
    assert np.isnan(model.oof_decision_function_[~kept]).all()
    assert model.oof_score_ == dropped.oof_score_


def test_rows_that_no_network_holds_out_are_told_of():
    X, y = make_data(n=64)
    model = ensemble(n_networks=3)
    with pytest.warns(UserWarning, match="no network holds out 16 of 64 rows"):
        model.fit(X, y)
    is_missing = np.isnan(model.oof_decision_function_).all(axis=1)
    assert is_missing.sum() == 16
    known = ~is_missing
    labels = model.oof_decision_function_[known].argmax(axis=1)
    assert model.oof_score_ == np.mean(labels == y[known])


def test_a_validation_set_replaces_the_folds():
    X, y = make_data(n=80)
    X_val, y_val, X, y = X[64:], y[64:], X[:64], y[:64]
    model = ensemble().fit(X, y, X_val=X_val, y_val=y_val)
    assert not hasattr(model, "oof_score_")
    job = clone(model).__rebatch_prepare__(X, y, X_val=X_val, y_val=y_val).job
    for member in job.members:
        np.testing.assert_array_equal(member.rows, np.arange(64))
        np.testing.assert_array_equal(member.valid_rows, np.arange(64, 80))
    # The networks stop together, at the best score of their mean.
    running = []
    for epoch in range(1, model.n_iter_ + 4):
        plain = ensemble(early_stopping=False, max_epochs=epoch).fit(X, y)
        score = np.mean((plain.predict_proba(X_val)[:, 1] - y_val) ** 2)
        running.append(score if not running else (running[-1] + score) / 2)
    assert model.n_iter_ == 1 + np.argmin(running)


def test_without_early_stopping_nothing_is_held_out():
    X, y = make_data()
    model = ensemble(early_stopping=False, max_epochs=3).fit(X, y)
    assert not hasattr(model, "oof_decision_function_")
    model.set_params(**STOP).fit(X, y)
    assert hasattr(model, "oof_decision_function_")
    model.set_params(early_stopping=False).fit(X, y)
    assert not hasattr(model, "oof_decision_function_")


def test_together_they_choose_by_the_mean_over_all_networks():
    X, y = make_data(n=64)
    options = {"n_iter_no_change": 99, "max_epochs": 2, "stopping_score": "loss"}
    model = ensemble(choose="together", strategy="max-loss", **options).fit(X, y)
    assert model.n_iter_ == 2
    # After the first epoch the networks are those of an ensemble that chooses alone.
    first = ensemble(**{**options, "max_epochs": 1}).fit(X, y)
    members = clone(model).__rebatch_prepare__(X, y).job.members
    for chosen, member in zip(model.chosen_by_network_, members, strict=True):
        order = np.argsort(-first.sample_losses_[member.rows], kind="stable")
        expected = member.rows[order[: model.n_redistributed_]]
        assert set(chosen) == set(expected)


@pytest.mark.parametrize("task", TASKS)
def test_files_keep_the_out_of_fold_predictions(task, tmp_path):
    X, y = make_data(task, n=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ensemble(task, n_networks=3).fit(X, y)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    name = "oof_decision_function_" if hasattr(model, "classes_") else "oof_prediction_"
    np.testing.assert_array_equal(getattr(loaded, name), getattr(model, name))
    assert loaded.oof_score_ == model.oof_score_
    assert_same_bits(loaded, model)


def test_a_fit_goes_on_from_a_checkpoint(tmp_path):
    X, y = make_data(n=64)
    whole = ensemble(record_losses=True).fit(X, y)
    part = ensemble(record_losses=True, checkpoint_dir=tmp_path, checkpoint_every=1)

    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 5:
                raise RuntimeError("stop")

    file = tmp_path / "fit.safetensors"
    job = clone(part).__rebatch_prepare__(X, y).job
    (result,) = run_jobs([job], [CheckpointWriter(Checkpoint(file), 1, 0), Stop()])
    assert "stop" in str(result.error)
    job = clone(part).__rebatch_prepare__(X, y).job
    (result,) = run_jobs([job], [CheckpointWriter(Checkpoint(file), 1, 0)])
    assert job.members[0].early_stopping.best_epoch == whole.n_iter_
    for member, network in zip(job.members, whole.module_.networks, strict=True):
        for own, other in zip(
            member.network.parameters(), network.parameters(), strict=True
        ):
            np.testing.assert_array_equal(own.detach(), other.detach())
        assert member.log.epochs[-1] == whole.n_iter_


def test_rows_that_may_have_been_trained_on_get_no_out_of_fold_prediction():
    X, y = make_data(n=60)
    options = {"n_networks": 5, "early_stopping": True, "max_epochs": 2}
    model = make(warm_start=True, **options).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = model.fit(X, y)  # holds the same rows out
    assert len(again.oof_decision_function_) == 60
    changes = (
        lambda: model.fit(X[:50], y[:50]),
        lambda: model.fit(X, y, sample_weight=np.arange(60) > 3),
        lambda: model.set_params(validation_fraction=0.5).fit(X, y),
        lambda: (
            model.set_params(early_stopping=False)
            .fit(X, y)
            .set_params(early_stopping=True)
            .fit(X, y)
        ),
    )
    model.set_params(warm_start=False).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_params(warm_start=True).fit(X, y)
    for change in changes:
        model.set_params(**options).set_params(
            warm_start=False, validation_fraction=0.2
        )
        model.fit(X, y)
        model.set_params(warm_start=True)
        with pytest.warns(
            UserWarning, match="trained on other rows or with other fold"
        ):
            change()
        assert not hasattr(model, "oof_score_")
        assert not hasattr(model, "oof_decision_function_")


@pytest.mark.parametrize("score", ["absolute_error", "accuracy", None, 1])
def test_bad_scores_are_refused(score):
    X, y = make_data()
    with pytest.raises(ValueError, match="stopping_score must be one of"):
        make(stopping_score=score).fit(X, y)


def test_one_network_warns_of_rows_outside_of_its_split():
    X, y = make_data()
    model = make(n_networks=1, early_stopping=True, cv=TimeSeriesSplit(3))
    train, valid = next(TimeSeriesSplit(3).split(X))
    with pytest.warns(
        UserWarning, match=f"has {len(train) + len(valid)} of {len(X)} r"
    ):
        model.fit(X, y)
