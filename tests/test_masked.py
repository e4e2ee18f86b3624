"""Masked values are refused wherever arrays are passed; a mask of nothing is not."""

import numpy as np
import pytest
import torch
from helpers.estimators import TASKS, assert_same_bits, make, make_cv, make_data
from helpers.refusals import refused
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetRegressor

from skrebatch import (
    DynamicBatchSampler,
    FusedGridSearchCV,
    IntervalInsertionSampler,
    LossCurveDisplay,
    Plan,
    RatioCurveDisplay,
    ReBatch,
    SampleDynamicsDisplay,
    Strategy,
    find_label_issues,
    fit_fused,
    interval_insertion,
    loss_area,
    loss_trend,
    nrmse,
    row_lengths,
    training_dynamics,
)

X, Y = make_data()
TARGETS = make_data("regression")[1]
ONES = np.ones(len(Y))


def mask(values, *place):
    """The values with one of them masked."""
    masked = np.ma.MaskedArray(values)
    masked[place] = np.ma.masked
    return masked


MASKED_X, MASKED_Y = mask(X, 3, 1), mask(Y, 5)
MASKED_TARGETS, MASKED_WEIGHTS = mask(TARGETS, 5), mask(ONES, 5)

CALLS = {
    "fit, X": (lambda m: m.fit(MASKED_X, Y), "X", "row 3, column 1"),
    "fit, y": (lambda m: m.fit(X, MASKED_Y), "y", "row 5"),
    "fit, sample_weight": (
        lambda m: m.fit(X, Y, sample_weight=MASKED_WEIGHTS),
        "sample_weight",
        "row 5",
    ),
    "fit, X_val": (lambda m: m.fit(X, Y, None, MASKED_X, Y), "In X_val", "row 3"),
    "fit, y_val": (lambda m: m.fit(X, Y, None, X, MASKED_Y), "In X_val", "row 5"),
    "fit, groups": (
        lambda m: m.fit(X, Y, groups=mask(Y, 5)),
        "groups",
        "row 5",
    ),
    "fit, list of rows": (lambda m: m.fit(list(MASKED_X), Y), "X", "row 3, column 1"),
    "fit, list of labels": (
        lambda m: m.fit(X, [*Y[:-1], np.ma.masked]),
        "y",
        f"row {len(Y) - 1}",
    ),
    "partial_fit, X": (lambda m: m.partial_fit(MASKED_X, Y), "X", "row 3"),
    "partial_fit, y": (lambda m: m.partial_fit(X, MASKED_Y), "y", "row 5"),
    "partial_fit, classes": (
        lambda m: m.partial_fit(X, Y, classes=mask([0, 1, 2], 2)),
        "classes",
        "row 2",
    ),
    "fit_fused, X": (lambda m: fit_fused([m], MASKED_X, Y), "X", "row 3"),
    "fit_fused, y": (lambda m: fit_fused([m], X, MASKED_Y), "y", "row 5"),
    "fit_fused, indices": (
        lambda m: fit_fused([m], X, Y, [mask(np.arange(20), 7)]),
        "indices[0]",
        "row 7",
    ),
    "fit_fused, val_indices": (
        lambda m: fit_fused([m], X, Y, val_indices=[mask(np.arange(20), 7)]),
        "val_indices[0]",
        "row 7",
    ),
    "find_label_issues, X": (
        lambda m: find_label_issues(MASKED_X, Y, m),
        "X",
        "row 3, column 1",
    ),
    "find_label_issues, y": (lambda m: find_label_issues(X, MASKED_Y, m), "y", "row 5"),
}


@pytest.mark.parametrize("name", CALLS)
def test_masked_values_in_training(name):
    call, *words = CALLS[name]
    refused(call, "contains masked values", *words)


def test_masked_values_in_prediction_and_scoring():
    model, regressor = make().fit(X, Y), make("regression").fit(X, TARGETS)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        with pytest.raises(ValueError, match=r"^X contains masked.*row 3, column 1"):
            getattr(model, method)(MASKED_X)
    for args, name in (
        ((MASKED_X, Y), "X"),
        ((X, MASKED_Y), "y"),
        ((X, Y, MASKED_WEIGHTS), "sample_weight"),
    ):
        with pytest.raises(ValueError, match=f"^{name} contains masked values"):
            model.score(*args)
    for args, name in (
        ((MASKED_X, TARGETS), "X"),
        ((X, MASKED_TARGETS), "y"),
        ((X, TARGETS, MASKED_WEIGHTS), "sample_weight"),
    ):
        with pytest.raises(ValueError, match=f"^{name} contains masked values"):
            regressor.score(*args)


def test_masked_targets_of_a_regressor():
    words = "y contains masked values, the first in row 5."
    refused(lambda m: m.fit(X, MASKED_TARGETS), words, task="regression")
    refused(
        lambda m: m.fit(X, TARGETS, None, X, MASKED_TARGETS),
        f"In X_val and y_val: {words}",
        task="regression",
    )
    with pytest.raises(ValueError, match="^y contains masked.*row 5, column 1"):
        make("multi-target").fit(X, mask(make_data("multi-target")[1], 5, 1))


GRID = {"ratio": [0, 0.25]}
SEARCHES = {
    "search": lambda: FusedGridSearchCV(make(), GRID, cv=2),
    "pipeline": lambda: FusedGridSearchCV(
        make_pipeline(StandardScaler(), make()),
        {"rebatchcnnclassifier__ratio": [0, 0.25]},
        cv=2,
    ),
    "CV form": make_cv,
}


@pytest.mark.parametrize("name", SEARCHES)
def test_masked_values_in_a_search(name):
    for args, where in (((MASKED_X, Y), "X"), ((X, MASKED_Y), "y")):
        with pytest.raises(ValueError, match=f"^{where} contains masked values"):
            SEARCHES[name]().fit(*args)
    if name != "pipeline":
        with pytest.raises(ValueError, match="^sample_weight contains masked values"):
            SEARCHES[name]().fit(X, Y, sample_weight=MASKED_WEIGHTS)


def test_masked_rows_of_folds():
    rows = np.arange(len(Y))
    for fold, where in (
        ((mask(rows[:30], 2), rows[30:]), "training"),
        ((rows[:30], mask(rows[30:], 2)), "test"),
    ):
        with pytest.raises(ValueError, match=f"The {where} rows of split 0.*row 2"):
            FusedGridSearchCV(make(), GRID, cv=[fold]).fit(X, Y)


LOSSES, INDICES = mask([3.0, 2.0, 1.0], 1), mask([0, 1, 2], 1)
DYNAMICS = training_dynamics(make(record_losses=True).fit(X, Y))
CURVE = np.array([3.0, 2.0, 1.0])

FUNCTIONS = {
    "loss_area, baseline": (lambda: loss_area(LOSSES, CURVE), "baseline"),
    "loss_area, losses": (lambda: loss_area(CURVE, LOSSES), "losses"),
    "loss_trend": (lambda: loss_trend(LOSSES), "losses"),
    "nrmse, y_true": (lambda: nrmse(LOSSES, CURVE), "y_true"),
    "nrmse, y_pred": (lambda: nrmse(CURVE, LOSSES), "y_pred"),
    "row_lengths": (lambda: row_lengths(mask(np.ones((3, 2)), 1, 0)), "X"),
    "interval_insertion, remaining": (
        lambda: interval_insertion(INDICES, [3]),
        "remaining",
    ),
    "interval_insertion, chosen": (lambda: interval_insertion([3], INDICES), "chosen"),
    "redistribute, chosen": (
        lambda: IntervalInsertionSampler(5).redistribute(INDICES),
        "chosen",
    ),
    "redistribute, remaining": (
        lambda: IntervalInsertionSampler(5).redistribute([3], INDICES),
        "remaining",
    ),
    "lengths": (lambda: DynamicBatchSampler(mask([3, 2, 1], 1), 9), "lengths"),
    "sampler": (
        lambda: iter(DynamicBatchSampler([3, 2, 1], 9, sampler=INDICES)),
        "sampler",
    ),
    "LossCurveDisplay": (
        lambda: LossCurveDisplay({("a", "training"): LOSSES}).plot(),
        "curves[('a', 'training')]",
    ),
    "RatioCurveDisplay, ratios": (
        lambda: RatioCurveDisplay(
            {"": mask([0, 0.1], 1)}, {"": np.ones((2, 3))}, test_train_ratio=0.5
        ).plot(),
        "ratios['']",
    ),
    "RatioCurveDisplay, scores": (
        lambda: RatioCurveDisplay(
            {"": np.array([0, 0.1])}, {"": mask(np.ones((2, 3)), 1)}, test_train_ratio=1
        ).plot(),
        "scores['']",
    ),
    "SampleDynamicsDisplay, choices": (
        lambda: SampleDynamicsDisplay(
            DYNAMICS, mask(np.ones((2, len(Y)), bool), 1), np.array([1, 2])
        ).plot(kind="choices"),
        "choices",
    ),
    "SampleDynamicsDisplay, epochs": (
        lambda: SampleDynamicsDisplay(
            DYNAMICS, np.ones((2, len(Y)), bool), mask([1, 2], 1)
        ).plot(kind="choices"),
        "epochs",
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_masked_values_in_functions_and_plots(name):
    call, where = FUNCTIONS[name]
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value).startswith(f"{where} contains masked values, the first in")


class Masking(Strategy):
    """Plan with a masked array."""

    def __init__(self, name="chosen"):
        self.name = name

    def plan(self, losses, epoch):
        if self.name == "weights":
            return Plan(weights=mask(np.ones(len(losses)), 0))
        return Plan(**{"chosen": [0], self.name: mask([1, 2, 3], 0)})


@pytest.mark.parametrize("name", ["chosen", "remaining", "weights"])
def test_masked_values_in_a_plan(name):
    words = f"{name} contains masked values"
    refused(lambda m: m.fit(X, Y), words, strategy=Masking(name))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_masked_values_in_a_skorch_net(method):
    x, y = X.astype(np.float32), TARGETS[:, None].astype(np.float32)
    for args, name in (
        ((mask(x, 3, 1), y), "X"),
        ((x, mask(y, 5)), "y"),
        (({"input": mask(x, 3, 1)}, y), "input"),
    ):
        net = NeuralNetRegressor(
            torch.nn.Linear(x.shape[1], 1),
            max_epochs=1,
            train_split=None,
            verbose=0,
            callbacks=[ReBatch()],
        )
        with pytest.raises(ValueError, match=f"^{name} contains masked values"):
            getattr(net, method)(*args)


# --- a masked array without masked values is an array like any other ---


@pytest.mark.parametrize("task", TASKS)
def test_without_masked_values_a_masked_array_is_its_data(task):
    X, y = make_data(task)
    weights = 1 + np.arange(len(y)) % 3
    params = {"early_stopping": True}
    plain = make(task, **params).fit(X, y, weights, X, y)
    masked = [np.ma.MaskedArray(values) for values in (X, y, weights, X, y)]
    masked[0] = np.ma.masked_equal(X, 10**6)  # with a mask, in which nothing is set
    other = make(task, **params).fit(*masked)
    assert_same_bits(other, plain)
    np.testing.assert_array_equal(other.predict(masked[0]), plain.predict(X))
    assert type(other.predict(masked[0])) is np.ndarray
    assert other.score(*masked[:3]) == plain.score(X, y, weights)


def test_without_masked_values_losses_and_indices_are_used():
    assert loss_trend(np.ma.MaskedArray([5.0, 4.0, 3.0])).slope == pytest.approx(-1)
    order = interval_insertion(np.ma.MaskedArray([0, 1]), np.ma.MaskedArray([2]))
    assert order.tolist() == [0, 1, 2]
    assert type(order) is np.ndarray
