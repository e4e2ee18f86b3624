"""Records of the losses of every epoch."""

import numpy as np
import pandas as pd
import pytest
from helpers.estimators import (
    TASKS,
    Interrupt,
    N,
    assert_close,
    assert_same_bits,
    assert_same_records,
    make,
    make_data,
    noisy_data,
    validation_split,
)
from sklearn.exceptions import ConvergenceWarning


@pytest.mark.parametrize("task", TASKS)
def test_records_are_the_losses_of_fits_that_end_there(task):
    X, y = make_data(task)
    params = {"strategy": "max-loss", "ratio": 0.5}
    model = make(task, record_losses=True, max_epochs=6, **params).fit(X, y)
    times = np.zeros(N)
    for epoch in range(1, 7):
        shorter = make(task, max_epochs=epoch, **params).fit(X, y)
        row = model.recorded_losses_[epoch - 1]
        np.testing.assert_array_equal(row, shorter.sample_losses_)
        chosen = np.flatnonzero(model.recorded_choices_[epoch - 1])
        assert chosen.tolist() == sorted(shorter.chosen_)
        times[shorter.chosen_] += 1
    assert model.recorded_epochs_.tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(model.times_chosen_, times)
    assert model.recorded_losses_.shape == model.recorded_choices_.shape == (6, N)
    assert model.times_chosen_.dtype.kind == "i"


RECORDED = [
    {},
    {"early_stopping": True},
    {"n_networks": 3},
    {"n_networks": 3, "choose": "together"},
    {"loss_smoothing": 0.5, "refresh_every": 2},
    {"ratio": 0},
    {"strategy": "breed"},
    {"strategy": "ohem"},
]


@pytest.mark.parametrize("params", RECORDED, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_to_record_changes_no_bit(params, dtype):
    X, y = make_data(n=300)
    weights = np.random.default_rng(1).integers(0, 3, size=300)
    for sample_weight in (None, weights):
        model, plain = (
            make(dtype=dtype, record_losses=record, **params).fit(X, y, sample_weight)
            for record in (True, False)
        )
        assert_same_bits(model, plain)
        assert model.recorded_losses_.shape == (4, 300)
        assert model.recorded_losses_.dtype == np.float32
        assert not hasattr(plain, "recorded_losses_")


def test_at_most_100_epochs_are_recorded():
    X, y = make_data()
    model = make(record_losses=True, max_epochs=130, strategy="max-loss").fit(X, y)
    assert model.recorded_epochs_.tolist() == list(range(2, 131, 2))
    assert model.recorded_losses_.shape == (65, N)
    np.testing.assert_array_equal(model.recorded_losses_[-1], model.sample_losses_)
    # The first epoch chooses nobody, each of the others eight.
    assert model.times_chosen_.sum() == 129 * 8
    assert model.recorded_choices_.sum() == 65 * 8


def test_records_hold_the_rows_that_are_not_trained_on_too():
    X, y = noisy_data("binary")
    weights = np.random.default_rng(1).integers(0, 4, size=60)
    params = {"lr": 0.05, "early_stopping": True, "n_iter_no_change": 4}
    model = make(record_losses=True, max_epochs=99, **params)
    model.fit(X, y, sample_weight=weights)
    train, valid = validation_split(np.flatnonzero(weights), y)
    assert model.recorded_losses_.shape == (model.n_iter_, 60)
    best = np.argmin(model.validation_loss_curve_)
    assert best < model.n_iter_ - 1 < 98
    np.testing.assert_array_equal(model.recorded_losses_[best], model.sample_losses_)
    assert_close(
        np.average(model.recorded_losses_[:, valid], axis=1, weights=weights[valid]),
        model.validation_loss_curve_,
        1e-6,
    )
    assert not model.recorded_choices_[:, weights == 0].any()
    assert not model.recorded_choices_[:, valid].any()
    assert model.times_chosen_.sum() == (model.n_iter_ - 1) * model.n_redistributed_
    assert model.times_chosen_[train].sum() == model.times_chosen_.sum()


def test_rows_that_an_epoch_holds_not_just_once_count_as_chosen():
    X, y = make_data()
    model = make(record_losses=True, strategy="breed", max_epochs=3).fit(X, y)
    held = np.sort(model.chosen_)
    assert np.flatnonzero(model.recorded_choices_[2]).tolist() == held.tolist()
    assert 0 < len(held) < N
    plain = make(record_losses=True, strategy="ohem").fit(X, y)
    assert not plain.recorded_choices_.any()
    assert not plain.times_chosen_.any()


def test_records_go_with_a_fit_that_keeps_none():
    X, y = make_data()
    frame = pd.DataFrame(X)
    for params in ({}, {"loss_smoothing": 0.5}):
        model = make(record_losses=True, **params)
        names = set(vars(make(**params).fit(X, y)))
        for refit in (model.fit, model.partial_fit):
            model.set_params(record_losses=True).fit(frame, y)
            assert model.sample_index_.tolist() == list(range(N))
            model.set_params(record_losses=False)
            refit(frame, y)
            assert set(vars(model)) == names


def test_records_begin_where_they_are_asked_for():
    X, y = make_data()
    model = make().fit(X, y).set_params(record_losses=True)
    model.partial_fit(X, y).partial_fit(X, y)
    assert model.recorded_epochs_.tolist() == [5, 6]
    whole = make(max_epochs=6, record_losses=True).fit(X, y)
    np.testing.assert_array_equal(model.recorded_losses_, whole.recorded_losses_[4:])


def test_records_go_on_over_warm_starts():
    X, y = make_data()
    params = {"optimizer": "sgd", "record_losses": True, "loss_smoothing": 0.5}
    model = make(warm_start=True, max_epochs=2, **params).fit(X, y).fit(X, y)
    whole = make(max_epochs=4, **params).fit(X, y)
    assert_same_bits(model, whole)
    assert_same_records(model, whole)


def test_records_of_an_ensemble_go_on_over_warm_starts():
    X, y = make_data()
    params = {"n_networks": 5, "early_stopping": True, "n_iter_no_change": 2, "lr": 0.1}
    model = make(warm_start=True, max_epochs=8, record_losses=True, **params)
    n_epochs = [model.fit(X, y).n_iter_ for _ in range(3)]
    assert n_epochs == sorted(n_epochs)
    assert model.recorded_epochs_.tolist() == list(range(1, n_epochs[-1] + 1))


@pytest.mark.parametrize(
    "index",
    [pd.RangeIndex(5, 5 + N), pd.Index([f"row {i}" for i in range(N)][::-1])],
    ids=["numbers", "names"],
)
def test_the_index_of_a_frame_is_kept(index):
    X, y = make_data()
    frame = pd.DataFrame(X, index=index)
    for target in (y, pd.Series(y, index=index)):
        model = make(record_losses=True).fit(frame, target)
        pd.testing.assert_index_equal(model.sample_index_, index)
        model.partial_fit(frame, target)
        pd.testing.assert_index_equal(model.sample_index_, index)
        assert len(model.recorded_epochs_) == 5
    for table in (X, X.tolist()):
        assert not hasattr(model.fit(table, y), "sample_index_")
    assert not hasattr(make().fit(frame, y), "sample_index_")


def test_an_interrupted_fit_keeps_its_records():
    X, y = make_data()
    params = {"record_losses": True, "max_epochs": 9}
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 4"):
        model = make(callbacks=[Interrupt(4, 2)], **params).fit(X, y)
    whole = make(**params).fit(X, y)
    assert model.recorded_epochs_.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(model.recorded_losses_, whole.recorded_losses_[:3])
