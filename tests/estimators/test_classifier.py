"""The classifier: weights of classes, labels and probabilities."""

import numpy as np
import pandas as pd
import pytest
from helpers.estimators import (
    FULL_BATCH,
    N,
    assert_close,
    assert_same_bits,
    make,
    make_data,
    weights_of,
)

# --- weights of classes ---


def test_class_weight_is_a_sample_weight():
    X, y = make_data("multiclass")
    model = make("multiclass", class_weight={0: 1, 1: 3, 2: 0.5}).fit(X, y)
    by_hand = np.array([1, 3, 0.5])[y]
    assert_same_bits(model, make("multiclass").fit(X, y, sample_weight=by_hand))

    balanced = make("multiclass", class_weight="balanced", dtype="float64").fit(X, y)
    by_hand = N / (3 * np.bincount(y)[y])
    expected = make("multiclass", dtype="float64").fit(X, y, sample_weight=by_hand)
    assert_close(weights_of(balanced), weights_of(expected))
    assert not np.allclose(weights_of(balanced), weights_of(model))


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_balanced_classes_have_equal_sums_of_weights(task):
    X, y = make_data(task)
    weights = np.random.default_rng(1).integers(0, 4, size=N)
    weights[y == 0] *= 5
    params = {"class_weight": "balanced", "ratio": 0, **FULL_BATCH}
    model = make(task, **params).fit(X, y, sample_weight=weights)

    sums = np.bincount(y, weights)
    by_hand = {"class_weight": None, "ratio": 0, **FULL_BATCH}
    expected = make(task, **by_hand).fit(X, y, sample_weight=weights / sums[y])
    assert_close(weights_of(model), weights_of(expected))

    copied = make(task, **params).fit(X.repeat(weights, 0), y.repeat(weights))
    assert_close(weights_of(model), weights_of(copied))


def test_a_class_of_weight_zero_takes_no_share_of_balanced_weights():
    X, y = make_data("multiclass")
    without_last = np.where(y == 2, 0.0, 1.0)
    model = make("multiclass", class_weight="balanced")
    model.fit(X, y, sample_weight=without_last)
    shares = np.array([1, 1, 0]) / np.bincount(y)
    expected = make("multiclass").fit(X, y, sample_weight=shares[y])
    assert_close(weights_of(model), weights_of(expected), 1e-6)


@pytest.mark.parametrize("largest", [1e-300, 1e300])
def test_balanced_weights_do_not_depend_on_the_scale_of_the_weights(largest):
    X, y = make_data()
    weights = np.random.default_rng(1).integers(1, 5, size=N) / 4
    models = [
        make(class_weight="balanced").fit(X, y, sample_weight=own)
        for own in (weights, weights * largest)
    ]
    assert_close(*map(weights_of, models), 1e-5)


def test_class_weight_and_sample_weight_multiply():
    X, y = make_data()
    weights = np.random.default_rng(1).uniform(1, 5, size=N)
    both = make(class_weight={0: 1, 1: 3}).fit(X, y, sample_weight=weights)
    product = make().fit(X, y, sample_weight=weights * np.where(y == 1, 3, 1))
    assert_same_bits(both, product)


def test_class_weight_names_the_labels_as_they_are():
    X, y = make_data()
    names = np.array(["no", "yes"])[y]
    named = make(class_weight={"no": 1, "yes": 3}).fit(X, names)
    assert_same_bits(named, make(class_weight={0: 1, 1: 3}).fit(X, y))


# --- labels and probabilities ---


LABELS = {
    "strings": ["cat", "dog"],
    "objects": np.array(["cat", "dog"], dtype=object),
    "bools": [False, True],
    "negative integers": [-7, -2],
    "-1 and 1": [-1, 1],
    "floats": [1.0, 2.0],
    "unsigned": np.array([3, 200], dtype=np.uint8),
    "three strings": ["ant", "bee", "cat"],
    "three negative integers": [-3, -1, 2],
}


@pytest.mark.parametrize("as_series", [False, True], ids=["array", "series"])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_of_any_type(labels, as_series):
    task = "binary" if len(labels) == 2 else "multiclass"
    X, codes = make_data(task)
    labels = np.asarray(labels)
    y = pd.Series(labels[codes]) if as_series else labels[codes]
    model = make(task, max_epochs=20).fit(X, y)
    twin = make(task, max_epochs=20).fit(X, codes)
    assert_same_bits(model, twin)
    np.testing.assert_array_equal(model.classes_, labels)
    predicted = model.predict(X)
    np.testing.assert_array_equal(predicted, labels[twin.predict(X)])
    assert predicted.dtype.kind == np.asarray(y).dtype.kind
    assert model.score(X, y) == twin.score(X, codes) > 0.7


def test_classes_are_sorted_whatever_comes_first():
    X, y = make_data()
    names = np.array(["b", "a"])[y]
    model = make(max_epochs=30).fit(X, names)
    assert model.classes_.tolist() == ["a", "b"]
    probabilities = model.predict_proba(X)
    winner = model.classes_[probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(model.predict(X), winner)
    assert probabilities[names == "a", 0].mean() > 0.6 > 0.4
    assert probabilities[names == "b", 0].mean() < 0.4


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_probabilities_are_those_of_the_logits(task):
    X, y = make_data(task)
    model = make(task).fit(X, y)
    logits, n_classes = model.decision_function(X), len(np.unique(y))
    if task == "binary":
        assert logits.shape == (N,)
        logits = np.column_stack([np.zeros(N), logits])
    assert logits.shape == (N, n_classes)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert_close(model.predict_proba(X), expected, 1e-12)
    assert_close(model.predict_log_proba(X), np.log(expected), 1e-12)
    np.testing.assert_array_equal(model.predict(X), expected.argmax(axis=1))


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_far_from_the_data_probabilities_stay_finite(task):
    X, y = make_data(task)
    model = make(task, max_epochs=30).fit(X, y)
    far = np.vstack([X * 1e6, -X * 1e6])
    log_probabilities = model.predict_log_proba(far)
    assert np.isfinite(log_probabilities).all()
    assert log_probabilities.min() < -800  # exp of this is 0
    assert_close(model.predict_proba(far).sum(axis=1), 1, 1e-12)
