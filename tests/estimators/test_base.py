"""What a fitted estimator holds, and where its chance comes from."""

import pickle

import numpy as np
import pytest
import torch
from helpers.estimators import (
    CLASSIFICATION,
    FEATURES,
    FULL_BATCH,
    TASKS,
    First,
    N,
    Spy,
    assert_close,
    assert_same_bits,
    global_state_stays,
    make,
    make_data,
    validation_split,
    weights_of,
)
from sklearn.base import clone
from skorch.callbacks import Callback, EarlyStopping, LRScheduler

from skrebatch import TabularCNN

# --- fitted attributes ---


@pytest.mark.parametrize("task", TASKS)
def test_the_module_is_a_plain_network_that_gives_the_outputs(task):
    X, y = make_data(task)
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-12)):
        model = make(task, dtype=dtype).fit(X, y)
        assert type(model.module_) is TabularCNN
        assert not model.module_.training
        with torch.no_grad():
            outputs = model.module_(torch.tensor(X.astype(dtype))).double().numpy()
        if task in CLASSIFICATION:
            assert_close(model.decision_function(X), outputs.squeeze(), tolerance)
        else:
            expected = outputs * y.std(axis=0) + y.mean(axis=0)
            assert_close(model.predict(X), expected.squeeze(), tolerance)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_sample_losses_are_those_of_the_fitted_network(task, early_stopping):
    X, y = make_data(task)
    weights = np.random.default_rng(1).integers(0, 3, size=N)
    model = make(task, early_stopping=early_stopping).fit(X, y, sample_weight=weights)
    if task == "multi-label":
        proba = model.predict_proba(X)
        expected = -np.log(np.where(y == 1, proba, 1 - proba)).sum(axis=1)
    elif task in CLASSIFICATION:
        expected = -np.log(model.predict_proba(X)[np.arange(N), y])
    else:
        residuals = (model.predict(X) - y).reshape(N, -1)
        expected = ((residuals / model.target_scale_) ** 2).mean(axis=1)
    assert_close(model.sample_losses_, expected, 1e-4)


def test_chosen_are_the_rows_that_the_last_epoch_redistributed():
    X, y = make_data()
    before = make(max_epochs=3).fit(X, y)
    model = make(max_epochs=4).fit(X, y)
    easiest = np.argsort(before.sample_losses_, kind="stable")[:8]
    np.testing.assert_array_equal(model.chosen_, easiest)
    assert make(max_epochs=1).fit(X, y).chosen_.size == 0


@pytest.mark.parametrize("strategy", ["min-loss", "max-loss"])
def test_chosen_are_rows_of_X_where_some_rows_are_left_out(strategy):
    X, y = make_data()
    weights = np.random.default_rng(1).integers(0, 3, size=N)
    params = {"early_stopping": True, "n_iter_no_change": 99, "strategy": strategy}
    model = make(max_epochs=4, **params).fit(X, y, sample_weight=weights)
    train, valid = validation_split(np.flatnonzero(weights), y)
    # To stop after three epochs keeps the best of them: go there without stopping.
    before = make(max_epochs=3, strategy=strategy).fit(
        X[train],
        y[train],
        sample_weight=weights[train],
        X_val=X[valid],
        y_val=y[valid],
    )
    assert model.n_redistributed_ == len(model.chosen_) == int(len(train) / 5)
    assert not set(model.chosen_) & set(valid)
    assert weights[model.chosen_].all()
    assert len(before.sample_losses_) == len(train)


@pytest.mark.parametrize("task", TASKS)
def test_the_loss_curve_of_full_batches_is_the_loss_before_each_step(task):
    X, y = make_data(task)
    model = make(task, max_epochs=5, **FULL_BATCH).fit(X, y)
    for epochs in range(1, 5):
        shorter = make(task, max_epochs=epochs, **FULL_BATCH).fit(X, y)
        assert_close(model.loss_curve_[epochs], shorter.sample_losses_.mean())


@pytest.mark.parametrize("task", TASKS)
def test_what_a_fit_leaves_behind(task):
    X, y = make_data(task)
    model = make(task).fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.history_) == 4
    assert model.history_[:, "train_loss"] == model.loss_curve_
    assert model.net_.history is model.history_
    assert all(type(loss) is float for loss in model.loss_curve_)
    assert model.n_features_in_ == FEATURES
    assert model.sample_losses_.shape == (N,)
    assert not hasattr(model, "feature_names_in_")
    assert not hasattr(model, "validation_loss_curve_")
    with_validation = make(task).fit(X, y, X_val=X, y_val=y)
    history = with_validation.history_
    assert history[:, "valid_loss"] == with_validation.validation_loss_curve_


# --- copies ---


def test_a_clone_fits_to_the_same_bits():
    X, y = make_data()
    model = make(strategy=First(), conv_channels=[3, 4], kernel_size=[2, 3]).fit(X, y)
    twin = clone(model)
    assert not hasattr(twin, "module_")
    assert_same_bits(twin.fit(X, y), model)


@pytest.mark.parametrize("task", TASKS)
def test_a_pickle_predicts_the_same_bits(task):
    X, y = make_data(task)
    callbacks = [EarlyStopping("train_loss"), LRScheduler()]
    model = make(task, verbose=1, callbacks=callbacks).fit(X, y, X_val=X, y_val=y)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    assert_same_bits(twin, model)
    assert twin.history_ == model.history_
    assert not twin.module_.training
    assert_same_bits(twin.fit(X, y), make(task, callbacks=callbacks).fit(X, y))


def test_a_pickle_holds_no_rows_and_no_optimizer():
    X, y = make_data(n=2000)
    params = {"max_epochs": 1, "batch_size": 50, "hidden_size": 1000}
    small, large = make(**params).fit(X[:50], y[:50]), make(**params).fit(X, y)
    size, more = (len(pickle.dumps(model)) for model in (small, large))
    results = large.sample_losses_.nbytes + large.chosen_.nbytes
    assert more - size < 1.1 * results < X.astype(np.float32).nbytes / 2
    # The network is held twice, as module_ and in net_; an optimizer would be two more.
    assert size < 2.5 * weights_of(small).nbytes


# --- chance and global state ---


def test_same_seed_same_bits_other_seed_other_bits():
    X, y = make_data()
    assert_same_bits(make(random_state=3).fit(X, y), make(random_state=3).fit(X, y))
    other = make(random_state=4).fit(X, y)
    assert not np.isin(
        weights_of(make(random_state=3).fit(X, y)), weights_of(other)
    ).any()


def test_a_random_state_is_drawn_from():
    X, y = make_data()
    state = np.random.RandomState(3)
    first, second = (make(random_state=state).fit(X, y) for _ in range(2))
    assert_same_bits(first, make(random_state=3).fit(X, y))
    assert np.isin(weights_of(first), weights_of(second)).mean() < 0.05


def test_without_a_seed_fits_differ():
    X, y = make_data()
    first, second = (make(random_state=None).fit(X, y) for _ in range(2))
    assert np.isin(weights_of(first), weights_of(second)).mean() < 0.05


class Break(Callback):
    """Raise an error in the midst of training."""

    def on_batch_end(self, net, **kwargs):
        raise RuntimeError("broken on purpose")


@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize("task", TASKS)
def test_global_state_stays_as_it_is(task, random_state):
    X, y = make_data(task)
    spy = Spy()
    model = make(task, random_state=random_state, callbacks=[spy])
    with global_state_stays():
        model.fit(X, y)
        model.set_params(early_stopping=True).fit(X, y)
        model.set_params(early_stopping=False).partial_fit(X, y)
        model.predict(X)
        model.score(X, y)
        if hasattr(model, "predict_proba"):
            model.predict_proba(X)
    assert set(spy.seen) == {1}


def test_global_state_stays_as_it_is_after_errors():
    X, y = make_data()
    with global_state_stays():
        with pytest.raises(RuntimeError, match="on purpose"):
            make(callbacks=[Break()]).fit(X, y)
        with pytest.raises(RuntimeError, match="on purpose"):
            make(callbacks=[Break()]).partial_fit(X, y)
        with pytest.raises(ValueError, match="ratio"):
            make(ratio=-1).fit(X, y)
        model = make().fit(X, y)
        with pytest.raises(ValueError, match="features"):
            model.predict(X[:, :2])


def test_the_global_state_has_no_say():
    X, y = make_data()
    expected = make().fit(X, y)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(99)
        assert_same_bits(make().fit(X, y), expected)


def test_the_default_dtype_has_no_say():
    X, y = make_data()
    expected = make().fit(X, y)
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model = make().fit(X, y)
    finally:
        torch.set_default_dtype(dtype)
    assert_same_bits(model, expected)
