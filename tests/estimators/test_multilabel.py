"""Samples with any number of labels; what holds for every task is tested elsewhere."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.estimators import (
    FULL_BATCH,
    N,
    assert_close,
    assert_same_bits,
    make,
    make_data,
    weights_of,
)
from helpers.twins import assert_twins, fit_alone
from scipy.sparse import coo_matrix, csr_array
from scipy.special import logit
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.utils import get_tags
from sklearn.utils.class_weight import compute_sample_weight

from skrebatch import (
    FusedGridSearchCV,
    Strategy,
    fit_fused,
)

TASK = "multi-label"


def mlp_like(model, X, y):
    """scikit-learn's network with the weights of one of ours."""
    twin = MLPClassifier(
        hidden_layer_sizes=(model.module_.head[0].out_features,),
        **{"solver": "sgd", "momentum": 0, "alpha": 0, "learning_rate_init": 0.1},
        **{"batch_size": len(X), "max_iter": 1, "shuffle": False},
    ).partial_fit(X, y, classes=[0, 1, 2])
    linear = [layer for layer in model.module_.head if hasattr(layer, "weight")]
    twin.coefs_ = [layer.weight.detach().numpy().T.copy() for layer in linear]
    twin.intercepts_ = [layer.bias.detach().numpy().copy() for layer in linear]
    return twin


def test_it_learns_and_predicts_as_scikit_learns_network():
    X, y = make_data(TASK)
    params = {"architecture": "mlp", "optimizer": "sgd", "lr": 0.1, "ratio": 0}
    model = make(TASK, **params, **FULL_BATCH).fit(X, y)
    twin = mlp_like(model, X, y)
    assert_close(model.predict_proba(X), twin.predict_proba(X), 1e-12)
    for _ in range(5):
        mean_loss = model.sample_losses_.mean()
        model.partial_fit(X, y)
        twin.partial_fit(X, y)
        assert_close(mean_loss, twin.loss_)  # that before the step
        assert_close(model.predict_proba(X), twin.predict_proba(X), 1e-10)
    assert_close(model.predict_log_proba(X), twin.predict_log_proba(X))
    predicted, expected = model.predict(X), twin.predict(X)
    np.testing.assert_array_equal(predicted, expected)
    assert predicted.dtype == expected.dtype
    assert 0.2 < predicted.mean() < 0.8
    np.testing.assert_array_equal(model.classes_, twin.classes_)
    assert model.n_outputs_ == twin.n_outputs_ == 3
    assert model.out_activation_ == twin.out_activation_ == "logistic"
    assert model.score(X, y) == twin.score(X, y) == (predicted == y).all(axis=1).mean()


@pytest.mark.parametrize(
    "task, n_outputs, activation",
    [("binary", 1, "logistic"), ("multiclass", 3, "softmax")],
)
def test_attributes_of_other_tasks(task, n_outputs, activation):
    model = make(task).fit(*make_data(task))
    assert (model.n_outputs_, model.out_activation_) == (n_outputs, activation)


FORMS = {
    "bool": lambda y: y == 1,
    "floats": lambda y: y.astype(float),
    "unsigned": lambda y: y.astype("uint8"),
    "lists": lambda y: y.tolist(),
    "DataFrame": lambda y: pd.DataFrame(y, columns=list("abc")),
    "nullable DataFrame": lambda y: pd.DataFrame(y == 1, dtype="boolean"),
    "tensor": torch.tensor,
    "sparse array": csr_array,
    "sparse matrix": coo_matrix,
}


@pytest.mark.parametrize("form", FORMS)
def test_y_of_any_form(form):
    X, y = make_data(TASK)
    given = FORMS[form](y)
    model = make(TASK).fit(X, given, X_val=X[:9], y_val=FORMS[form](y[:9]))
    assert_same_bits(model, make(TASK).fit(X, y, X_val=X[:9], y_val=y[:9]))
    assert_same_bits(
        make(TASK).partial_fit(X, given).partial_fit(X, given),
        make(TASK, max_epochs=2).fit(X, y),
    )


def test_two_labels_are_not_two_classes():
    X, y = make_data(TASK)
    model = make(TASK, max_epochs=40).fit(X, y[:, :2])
    assert model.predict(X).shape == model.predict_proba(X).shape == (N, 2)
    assert model.decision_function(X).shape == (N, 2)
    assert (model.predict(X) == y[:, :2]).mean() > 0.8
    # Neither label, and both of them.
    assert {0, 2} <= set(model.predict(X).sum(axis=1))


def test_one_column_is_one_label_for_each_sample():
    X, y = make_data()
    with pytest.warns(UserWarning, match="column-vector"):
        model = make().fit(X, y[:, None])
    assert_same_bits(model, make().fit(X, y))


def test_a_label_may_be_that_of_all_or_of_none():
    X, y = make_data(TASK)
    y[:, 0], y[:, 1] = 0, 1
    model = make(TASK, max_epochs=60).fit(X, y)
    predicted = model.predict(X)
    assert (predicted[:, :2] == [0, 1]).all()


def test_several_networks_decide_by_their_mean_probabilities():
    X, y = make_data(TASK)
    model = make(TASK, n_networks=3, dtype="float64", max_epochs=20).fit(X, y)
    rows = torch.tensor(X)
    with torch.no_grad():
        outputs = torch.stack([network(rows) for network in model.module_.networks])
    expected = torch.sigmoid(outputs).mean(0).numpy()
    assert_close(model.predict_proba(X), expected, 1e-12)
    assert_close(model.decision_function(X), logit(expected))
    np.testing.assert_array_equal(model.predict(X), expected > 0.5)


# --- weights and strategies ---


def test_balanced_weights_are_multiplied_over_the_labels():
    X, y = make_data(TASK)
    model = make(TASK, class_weight="balanced", dtype="float64").fit(X, y)
    by_hand = compute_sample_weight("balanced", y)
    expected = make(TASK, dtype="float64").fit(X, y, sample_weight=by_hand)
    assert_close(weights_of(model), weights_of(expected))


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_in_a_full_batch_a_whole_weight_is_that_many_copies(class_weight):
    X, y = make_data(TASK)
    weights = np.random.default_rng(1).integers(0, 4, size=N)
    params = {"ratio": 0, "class_weight": class_weight, **FULL_BATCH}
    weighted = make(TASK, **params).fit(X, y, sample_weight=weights)
    copied = make(TASK, **params).fit(X.repeat(weights, 0), y.repeat(weights, 0))
    assert_close(weights_of(weighted), weights_of(copied))


class Labelled(Strategy):
    """Choose the samples with the most labels."""

    def plan(self, losses, epoch):
        assert epoch.labels.shape == (len(losses), 3)
        return np.argsort(-epoch.labels.sum(axis=1), kind="stable")[: epoch.n_chosen]


def test_strategies_are_told_all_labels():
    X, y = make_data(TASK)
    model = make(TASK, strategy=Labelled()).fit(X, y)
    expected = np.argsort(-y.sum(axis=1), kind="stable")[: model.n_redistributed_]
    np.testing.assert_array_equal(model.chosen_, expected)


# --- going on ---


def test_partial_fit_of_single_rows_and_of_rows_without_labels():
    X, y = make_data(TASK)
    params = {"ratio": 0, "dtype": "float64"}
    model = make(TASK, **params).partial_fit(X[:1], y[:1], classes=[0, 1, 2])
    assert model.classes_.tolist() == [0, 1, 2]
    both = make(TASK, **params)
    both.partial_fit(X[:2], y[:2], sample_weight=[1, 0])
    assert_close(weights_of(model), weights_of(both))
    bare = np.zeros((5, 3), dtype=int)
    losses = -np.log1p(-model.predict_proba(X[:5])).sum(axis=1)
    model.partial_fit(X[:5], bare)
    assert_close(model.loss_curve_[-1], losses.mean())


def test_a_search_scores_and_splits_as_scikit_learns():
    X, y = make_data(TASK, n=60)
    model = make(TASK, dtype="float64", random_state=1)
    scoring = ["accuracy", "f1_macro"]
    options = {"scoring": scoring, "refit": "f1_macro"}
    grid = {"ratio": [0, 0.3], "lr": [0.01, 0.1]}
    plain = GridSearchCV(model, grid, cv=3, **options).fit(X, y)
    for form in (np.asarray, csr_array):
        fused = FusedGridSearchCV(model, grid, cv=3, **options).fit(X, form(y))
        for name in scoring:
            key = f"mean_test_{name}"
            assert_close(fused.cv_results_[key], plain.cv_results_[key])
        np.testing.assert_array_equal(fused.predict(X), plain.predict(X))


def test_cross_validated_predictions():
    X, y = make_data(TASK, n=60)
    model = make(TASK, max_epochs=40, lr=0.03)
    folds = KFold(3)
    proba = cross_val_predict(model, X, y, cv=folds, method="predict_proba")
    assert proba.shape == (60, 3)
    predicted = cross_val_predict(model, X, y, cv=folds)
    np.testing.assert_array_equal(predicted, proba > 0.5)
    assert f1_score(y, predicted, average="macro") > 0.7


def test_side_by_side_with_other_tasks_and_numbers_of_labels():
    X, y = make_data(TASK)
    params = {"dtype": "float64"}
    models = [make(TASK, **params), make(TASK, early_stopping=True, **params)]
    weights = [np.linspace(0, 2, N), None]
    fit_fused(models, X, y, sample_weight=weights)
    twins = [
        make(TASK, **params).fit(X, y, weights[0]),
        make(TASK, early_stopping=True, **params).fit(X, y),
    ]
    for model, twin in zip(models, twins, strict=True):
        assert_twins(model, twin, X)
    sparse = [make(TASK, **params)]
    fit_fused(sparse, X, csr_array(y), [np.arange(30)])
    assert_twins(sparse[0], fit_alone(sparse, X, y, [np.arange(30)])[0], X)


# --- refused ---


@pytest.mark.parametrize(
    "values, words",
    [
        ([1, 2], r"must contain only 0 and 1, got \[2\]"),
        ([-1, 1], r"must contain only 0 and 1, got \[-1\]"),
        ([0, 1, 2], r"must contain only 0 and 1, got \[2\]"),
        (["a", "b"], "must contain only 0 and 1|Unknown label type"),
        ([0.5, 1], "Unknown label type: continuous-multioutput"),
        ([np.nan, 1], "NaN"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:elementwise comparison failed")  # numpy < 1.25
def test_columns_of_other_values_are_refused(values, words):
    X, y = make_data(TASK)
    other = np.array(values)[np.arange(y.size).reshape(y.shape) % len(values)]
    model = make(TASK)
    with pytest.raises(ValueError, match=words):
        model.fit(X, other)
    assert not hasattr(model, "classes_")
    if words.startswith("must"):
        with pytest.raises(ValueError, match=f"In X_val and y_val: .*({words})"):
            model.fit(X, y, X_val=X, y_val=other)


@pytest.mark.parametrize("how", ["warm start", "partial_fit", "validation set"])
@pytest.mark.parametrize("first", ["binary", "multiclass", TASK])
def test_other_labels_than_before_are_refused(first, how):
    X, y = make_data(first)
    labels = make_data(TASK)[1]
    others = [labels]
    if first == TASK:
        others = [labels[:, 0], labels[:, :2]]
    model = make(first, warm_start=True)
    for other in others:
        with pytest.raises(ValueError, match=r"was trained with 3 labels|1d array"):
            if how == "validation set":
                model.fit(X, y, X_val=X, y_val=other)
            elif how == "partial_fit":
                model.partial_fit(X, y).partial_fit(X, other)
            else:
                model.fit(X, y).fit(X, other)


@pytest.mark.parametrize("classes", [[0, 1], [1, 2, 3], ["a", "b", "c"]])
def test_classes_are_the_numbers_of_the_columns(classes):
    X, y = make_data(TASK)
    with pytest.raises(ValueError, match=r"differ from the columns of y, \[0, 1, 2\]"):
        make(TASK).partial_fit(X, y, classes=classes)


@pytest.mark.parametrize(
    "params, words",
    [
        ({"class_weight": {0: 1, 1: 5}}, 'class_weight must be "balanced"'),
        ({"class_weight": [{0: 1, 1: 5}] * 3}, "class_weight must be"),
        ({"class_balanced": True}, "needs one label for each sample, but got 3"),
    ],
)
def test_what_needs_one_label_for_each_sample_is_refused(params, words):
    X, y = make_data(TASK)
    model = make(TASK, **params)
    for fit in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=words):
            fit(X, y)
    with pytest.raises(ValueError, match=words):
        fit_fused([make(TASK), model], X, y)
    assert not hasattr(model, "classes_")
    if not isinstance(params.get("class_weight"), list):
        assert not get_tags(model).classifier_tags.multi_label
    assert get_tags(make(TASK)).classifier_tags.multi_label
