"""Going on: partial fits and warm starts."""

import pickle

import numpy as np
import pytest
import torch
from helpers.estimators import (
    FULL_BATCH,
    METHODS,
    TASKS,
    N,
    assert_close,
    assert_same_bits,
    assert_same_records,
    make,
    make_data,
    outputs_of,
    sample_losses,
    weights_of,
)

EPOCHS = 4


def fit_in_steps(model, X, y, between=lambda model: model, **kwargs):
    """As many partial fits as a fit has epochs."""
    for _ in range(EPOCHS):
        model = between(model.partial_fit(X, y, **kwargs))
    return model


@pytest.mark.parametrize("repeats", [0, 1, 2])
@pytest.mark.parametrize("strategy", ["min-loss", "max-loss", "random"])
def test_partial_fits_end_where_a_fit_ends(strategy, repeats):
    X, y = make_data()
    params = {"strategy": strategy, "repeats": repeats, "max_epochs": EPOCHS}
    stepwise = fit_in_steps(make(**params), X, y)
    assert_same_bits(stepwise, make(**params).fit(X, y))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("task", TASKS)
def test_partial_fits_end_where_a_fit_ends_for_every_task(task, optimizer):
    X, y = make_data(task)
    weights = np.random.default_rng(1).uniform(1, 5, size=N)
    params = {"optimizer": optimizer, "max_epochs": EPOCHS, "weight_decay": 0.1}
    stepwise = fit_in_steps(make(task, **params), X, y, sample_weight=weights)
    whole = make(task, **params).fit(X, y, sample_weight=weights)
    assert_same_bits(stepwise, whole)
    assert len(stepwise.history_) == EPOCHS
    assert stepwise.history_[:, "train_loss"] == whole.history_[:, "train_loss"]


COURSE = [
    {"loss_smoothing": 0.8},
    {"refresh_every": 3},
    {"warmup_epochs": 2},
    {"record_losses": True},
    {"ratio_schedule": "cosine", "strategy": "max-loss", "repeats": 0},
    {"class_balanced": True, "strategy": "max-loss"},
    {"n_networks": 3, "choose": "together", "loss_smoothing": 0.5},
    *({"strategy": strategy} for strategy, _ in METHODS.values()),
]


@pytest.mark.parametrize("params", COURSE, ids=str)
def test_partial_fits_end_where_a_fit_ends_whatever_the_method(params):
    X, y = make_data()
    everything = {"loss_smoothing": 0.6, "refresh_every": 2, "record_losses": True}
    for own in (params, {**everything, **params}):
        own = {"max_epochs": EPOCHS, **own}
        stepwise, whole = fit_in_steps(make(**own), X, y), make(**own).fit(X, y)
        if own.get("n_networks"):
            assert_close(stepwise.loss_curve_, whole.loss_curve_, 1e-6)
            np.testing.assert_array_equal(stepwise.chosen_, whole.chosen_)
        else:
            assert_same_bits(stepwise, whole)
        assert_same_records(stepwise, whole)


def test_other_data_in_between_start_everything_anew():
    # By hand: the same networks, with the memory of other samples wiped out.
    X, y = make_data()
    params = {"strategy": "max-loss", "ratio": 0.5, "optimizer": "sgd", "lr": 0.1}
    course = {"loss_smoothing": 0.9, "refresh_every": 5, "record_losses": True}
    model = make(**params, **course).partial_fit(X, y).partial_fit(X, y)
    model.partial_fit(X, y)
    kept = model.chosen_
    np.testing.assert_array_equal(model.recorded_epochs_, [1, 2, 3])

    model.partial_fit(X[::-1], y[::-1])  # the same rows, but other samples
    assert model.recorded_epochs_.tolist() == [4]
    assert model.times_chosen_.sum() == 13
    hardest = pickle.loads(pickle.dumps(model))
    model.partial_fit(X, y)
    assert model.recorded_epochs_.tolist() == [5]
    expected = outputs_of(hardest, X)
    losses = sample_losses("binary", torch.tensor(expected), torch.tensor(y)).numpy()
    np.testing.assert_array_equal(model.chosen_, np.argsort(-losses)[:13])
    assert not np.array_equal(model.chosen_, kept)


def test_partial_fit_goes_on_after_fit():
    X, y = make_data()
    model = make(max_epochs=EPOCHS - 2).fit(X, y)
    model.partial_fit(X, y).partial_fit(X, y)
    assert_same_bits(model, make(max_epochs=EPOCHS).fit(X, y))


@pytest.mark.parametrize("task", TASKS)
def test_partial_fits_go_on_across_a_pickle(task):
    # The optimizer is not in the pickle, and plain SGD has no state to lose.
    X, y = make_data(task)
    params = {"optimizer": "sgd", "max_epochs": EPOCHS}
    stepwise = fit_in_steps(
        make(task, **params), X, y, between=lambda m: pickle.loads(pickle.dumps(m))
    )
    assert_same_bits(stepwise, make(task, **params).fit(X, y))


def test_partial_fit_takes_other_rows_and_the_classes_to_come():
    X, y = make_data("multiclass")
    first = y < 2
    model = make("multiclass").partial_fit(X[first], y[first], classes=[2, 0, 1])
    assert model.classes_.tolist() == [0, 1, 2]
    assert len(model.sample_losses_) == first.sum()
    model.partial_fit(X, y, classes=[0, 1, 2])
    assert len(model.sample_losses_) == N
    # The second epoch redistributes by the losses of its own rows.
    assert model.n_redistributed_ == len(model.chosen_) == 8
    assert model.n_iter_ == 2


@pytest.mark.filterwarnings("ignore:Nothing is redistributed")
def test_partial_fit_takes_a_single_row():
    X, y = make_data()
    model = make().fit(X, y)
    loss = -np.log(model.predict_proba(X[:1])[0, int(y[0])])
    model.partial_fit(X[:1], y[:1])
    assert model.loss_curve_[-1] == pytest.approx(loss, rel=1e-5)
    assert model.sample_losses_[0] < loss


def test_the_first_partial_fit_takes_a_single_row_where_classes_are_given():
    X, y = make_data("multiclass")
    model = make("multiclass", ratio=0)
    model.partial_fit(X[:1], y[:1], classes=[0, 1, 2])
    assert model.classes_.tolist() == [0, 1, 2]
    one_of_two = make("multiclass", ratio=0)
    weights = [1, 0]
    one_of_two.partial_fit(X[:2], y[:2], classes=[0, 1, 2], sample_weight=weights)
    np.testing.assert_array_equal(weights_of(model), weights_of(one_of_two))
    assert model.loss_curve_ == one_of_two.loss_curve_


def test_without_a_scale_the_first_partial_fit_of_numbers_takes_a_single_row():
    X, y = make_data("regression")
    model = make("regression", ratio=0, standardize_target=False)
    model.partial_fit(X[:1], y[:1]).partial_fit(X, y)
    assert model.n_iter_ == 2
    with pytest.raises(ValueError, match="1 sample.* while a minimum of 2 is required"):
        make("regression").partial_fit(X[:1], y[:1])


@pytest.mark.parametrize("class_weight", [{2: 5.0}, {0: 2, 2: 5.0}, {0: 2, 1: 1, 2: 5}])
def test_a_batch_may_lack_a_class_that_class_weight_names(class_weight):
    X, y = make_data("multiclass")
    rest = y < 2
    by_class = np.array([class_weight.get(label, 1.0) for label in range(3)])
    params = {"optimizer": "sgd", "lr": 0.1}
    model = make("multiclass", class_weight=class_weight, **params)
    model.partial_fit(X, y).partial_fit(X[rest], y[rest])
    by_hand = make("multiclass", **params)
    by_hand.partial_fit(X, y, sample_weight=by_class[y])
    by_hand.partial_fit(X[rest], y[rest], sample_weight=by_class[y[rest]])
    assert_same_bits(model, by_hand)

    params["warm_start"] = True
    model = make("multiclass", class_weight=class_weight, **params)
    model.fit(X, y).fit(X[rest], y[rest])
    by_hand = make("multiclass", **params).fit(X, y, sample_weight=by_class[y])
    by_hand.fit(X[rest], y[rest], sample_weight=by_class[y[rest]])
    assert_same_bits(model, by_hand)


def test_balanced_weights_in_partial_fit_count_the_classes_of_the_call():
    X, y = make_data("multiclass")
    rest = y < 2
    counts = np.bincount(y[rest], minlength=3)
    model = make("multiclass", class_weight="balanced", dtype="float64")
    model.partial_fit(X[rest], y[rest], classes=[0, 1, 2])
    by_hand = make("multiclass", dtype="float64")
    weights = 1 / counts[y[rest]]
    by_hand.partial_fit(X[rest], y[rest], classes=[0, 1, 2], sample_weight=weights)
    assert_close(weights_of(model), weights_of(by_hand))


def test_partial_fit_keeps_the_scale_of_the_first_target():
    X, y = make_data("regression")
    model = make("regression").partial_fit(X, y).partial_fit(X, 3 * y)
    assert_close(model.target_mean_, [y.mean()])
    assert_close(model.target_scale_, [y.std()])


@pytest.mark.parametrize(
    "name, value",
    [("lr", 1e-3), ("weight_decay", 0.3), ("optimizer", "adamw"), ("dtype", "float32")],
)
def test_partial_fit_heeds_changed_parameters(name, value):
    X, y = make_data()
    start = {**FULL_BATCH, "optimizer": "sgd", "lr": 0.5, "ratio": 0, "max_epochs": 1}
    model = make(**start).fit(X, y).set_params(**{name: value}).partial_fit(X, y)
    # A warm start makes its net anew, with the parameters as they are.
    warm = make(**start, warm_start=True).fit(X, y).set_params(**{name: value})
    warm.fit(X, y)
    assert_close(weights_of(model), weights_of(warm), 1e-6)
    assert weights_of(model).dtype == weights_of(warm).dtype


def test_warm_start_goes_on():
    X, y = make_data()
    model = make(warm_start=True, optimizer="sgd", max_epochs=3)
    model.fit(X, y, X_val=X[:9], y_val=y[:9])
    curve = list(model.loss_curve_)
    valid_curve = list(model.validation_loss_curve_)
    model.set_params(max_epochs=2).fit(X, y, X_val=X[:9], y_val=y[:9])
    assert model.loss_curve_[:3] == curve
    assert model.validation_loss_curve_[:3] == valid_curve
    whole = make(optimizer="sgd", max_epochs=5).fit(X, y, X_val=X[:9], y_val=y[:9])
    assert_same_bits(model, whole)


@pytest.mark.parametrize("n_networks", [1, 2])
def test_validation_losses_keep_the_place_of_their_epochs(n_networks):
    X, y = make_data()
    valid = {"X_val": X[:9], "y_val": y[:9]}
    model = make(warm_start=True, max_epochs=2, n_networks=n_networks).fit(X, y)
    assert not hasattr(model, "validation_loss_curve_")
    model.fit(X, y, **valid).fit(X, y).partial_fit(X, y).fit(X, y, **valid)
    assert len(model.validation_loss_curve_) == len(model.loss_curve_) == 9
    known = np.flatnonzero(np.isfinite(model.validation_loss_curve_))
    assert known.tolist() == [2, 3, 7, 8]
    assert model.validation_loss_curve_[-2:] == model.history_[:, "valid_loss"]


def test_without_warm_start_a_fit_begins_anew():
    X, y = make_data()
    model = make()
    assert_same_bits(model.fit(X, y).fit(X, y), make().fit(X, y))
    model.fit(X[:, :2], y == 1)
    assert model.classes_.tolist() == [False, True]
    assert model.n_features_in_ == 2


@pytest.mark.parametrize(
    "first, second",
    [
        ({"early_stopping": True}, {"early_stopping": False}),
        ({"early_stopping": False}, {"early_stopping": True}),
        ({"class_weight": {0: 1, 1: 0}}, {"class_weight": None}),
    ],
)
def test_where_other_rows_are_trained_on_the_running_mean_begins_anew(first, second):
    X, y = make_data()
    params = {"loss_smoothing": 0.9, "refresh_every": 9, "strategy": "max-loss"}
    model = make(warm_start=True, **params, **first).fit(X, y)
    n_before = len(model.loss_curve_)
    before = model.sample_losses_
    model.set_params(max_epochs=1, **second).fit(X, y)
    assert len(model.loss_curve_) == n_before + 1
    if first.get("early_stopping"):
        np.testing.assert_array_equal(
            model.chosen_, np.argsort(-before, kind="stable")[:8]
        )


def test_warm_start_keeps_the_validation_rows():
    # At ratio 30 nearly all training rows are chosen, and no validation row ever.
    X, y = make_data()
    model = make(warm_start=True, early_stopping=True, n_iter_no_change=99)
    chosen = set()
    for _ in range(4):
        model.set_params(ratio=30.0, max_epochs=2).fit(X, y)
        chosen |= set(model.chosen_)
    assert len(chosen) <= len(y) - np.ceil(0.2 * len(y))


def test_a_schedule_goes_on_over_partial_fits():
    X, y = make_data()
    model = make(max_epochs=1).fit(X, y)
    for group in model.net_.optimizer_.param_groups:
        group["lr"] = 0.0  # as a schedule would
    before = weights_of(model)
    model.partial_fit(X, y)
    np.testing.assert_array_equal(weights_of(model), before)
    model.set_params(lr=2 * model.lr).partial_fit(X, y)
    assert not np.array_equal(weights_of(model), before)


@pytest.mark.parametrize(
    "change",
    [
        {"ratio": 0},
        {"strategy": "tsw"},
        {"strategy": "max-loss"},
        {"ratio": 0.6},
        {"warmup_epochs": 50},
    ],
    ids=str,
)
def test_a_plan_that_stands_falls_with_what_it_was_made_for(change):
    X, y = make_data()
    params = {"repeats": 0, "refresh_every": 50, "warm_start": True, "batch_size": 9}
    model = make(max_epochs=3, **params).fit(X, y)
    before = model.chosen_
    np.testing.assert_array_equal(model.fit(X, y).chosen_, before)
    after = model.set_params(**change).fit(X, y).chosen_
    assert set(after) != set(before)
