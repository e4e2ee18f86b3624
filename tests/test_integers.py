"""Labels and indices are compared by value, whatever type of integer holds them."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.estimators import assert_same_bits, make, make_cv, make_data

from skrebatch import (
    DynamicBatchSampler,
    FusedGridSearchCV,
    IntervalInsertionSampler,
    fit_fused,
    interval_insertion,
)
from skrebatch._utils.arrays import keep_integers
from skrebatch._utils.validation import encode_labels, find_labels
from skrebatch.model_selection._distributed import _concatenate

X, Y = make_data()
BIG = 2**53  # as floats, it and the next integer are the same
LABELS = BIG + Y

# The labels as other types hold them.
FORMS = {
    "int64": lambda y: y.astype(np.int64),
    "uint64": lambda y: y.astype(np.uint64),
    "list": lambda y: y.tolist(),
    "list of uint64 and int": lambda y: [np.uint64(y[0]), *y[1:].tolist()],
    "list of uint64 and int64": lambda y: [np.uint64(y[0]), *y[1:]],
    "objects": lambda y: y.astype(object),
    "series": lambda y: pd.Series(y, dtype="UInt64"),
    "series of objects": lambda y: pd.Series(y, dtype=object),
    "tensor": lambda y: torch.tensor(y),
}
SMALL = {
    "int8": lambda y: y.astype(np.int8),
    "bool": lambda y: y.astype(bool),
    "float": lambda y: y.astype(float),
    "float32": lambda y: y.astype(np.float32),
    "boolean": lambda y: pd.Series(y == 1, dtype="boolean"),
    "objects": lambda y: (y == 1).astype(object),
}


@pytest.mark.parametrize("name", FORMS)
def test_large_labels_of_any_type(name):
    y = FORMS[name](LABELS)
    expected = make().fit(X, Y)
    model = make().fit(X, y)
    assert_same_bits(model, expected)
    assert model.classes_.tolist() == [BIG, BIG + 1]
    assert model.classes_.dtype.kind in "iu"
    assert model.score(X, y) == expected.score(X, Y)
    # Another type than in the first call
    for other in FORMS.values():
        model = make().partial_fit(X, y, classes=other(np.array([BIG, BIG + 1])))
        model.partial_fit(X, other(LABELS))
        model.partial_fit(X, y, classes=other(np.array([BIG, BIG + 1])))
        assert_same_bits(
            model, make().partial_fit(X, Y).partial_fit(X, Y).partial_fit(X, Y)
        )


@pytest.mark.parametrize("name", SMALL)
def test_small_labels_of_any_type(name):
    y = SMALL[name](Y)
    expected = make().fit(X, Y, None, X, Y).partial_fit(X, Y)
    assert_same_bits(make().fit(X, Y, None, X, y).partial_fit(X, y), expected)
    assert_same_bits(make().fit(X, y, None, X, Y).partial_fit(X, Y), expected)


@pytest.mark.parametrize("name", FORMS)
def test_class_weights_go_to_equal_labels(name):
    y = FORMS[name](LABELS)
    expected = make(class_weight={0: 1, 1: 3}).fit(X, Y)
    for of in (int, np.int64, np.uint64):
        weights = {of(BIG): 1, of(BIG + 1): 3}
        assert_same_bits(make(class_weight=weights).fit(X, y), expected)
        # Those of the classes, of which a batch may lack one.
        model = make(class_weight=weights).fit(X, LABELS).partial_fit(X, y)
        assert_same_bits(
            model, make(class_weight={0: 1, 1: 3}).fit(X, Y).partial_fit(X, Y)
        )


def test_neighbours_of_large_labels_are_other_labels():
    model = make().fit(X, LABELS)
    for other in (LABELS + 2, (LABELS + 2).astype(np.uint64)):
        with pytest.raises(ValueError, match=rf"not among the classes: \[{BIG + 2}, "):
            model.partial_fit(X, other)
        with pytest.raises(ValueError, match=f"classes=.{BIG + 2}, {BIG + 3}. differ"):
            model.partial_fit(X, LABELS, classes=np.unique(other))


def test_labels_by_hand():
    classes = np.array([-(2**63), -1, 0, 2**63 - 1])
    assert find_labels(np.array([2**63 - 1, 0], np.uint64), classes).tolist() == [3, 2]
    with pytest.raises(
        ValueError, match=r"not among the classes: \[9223372036854775808"
    ):
        find_labels(np.array([2**63], np.uint64), classes)
    with pytest.raises(ValueError, match="not among the classes"):
        find_labels(np.array([float(2**63)]), classes)
    assert encode_labels([True, False], np.array([0, 1])).tolist() == [[1], [0]]
    with pytest.raises(ValueError, match="y contains labels of several kinds"):
        find_labels(np.array([1, "a"], dtype=object), classes)


@pytest.mark.parametrize(
    "values, dtype",
    [
        ([np.uint64(1), -1], np.int64),
        ([np.uint64(2**63), 1], np.uint64),
        ([2**63, 1], np.uint64),
        (np.array([2**63 - 1, np.int8(-1)], dtype=object), np.int64),
        ([2**63, -1], object),
        (np.array([2**64], dtype=object), object),
    ],
)
def test_integers_that_numpy_takes_for_floats(values, dtype):
    array = keep_integers(values)
    assert array.dtype == dtype
    assert array.tolist() == [int(value) for value in values]


@pytest.mark.parametrize(
    "values",
    [
        [1, 2.0],
        [1.0, 2.0],
        [],
        ["1", 2],
        [[1], [1, 2]],
        [[np.uint64(1), -1]],
        None,
        np.array([1, True], dtype=object),
        np.array([True, None], dtype=object),
        np.array([1.0, 2.0]),
    ],
)
def test_other_values_are_left_unchanged(values):
    assert keep_integers(values) is values


@pytest.mark.parametrize(
    "y", [pd.Series([True, False], dtype="boolean"), np.array([True, False], object)]
)
def test_booleans_stay_booleans(y):
    assert keep_integers(y).dtype == bool
    assert keep_integers(y).tolist() == [True, False]


@pytest.mark.parametrize("name", FORMS)
def test_labels_are_scored_by_value(name):
    scores = [
        make_cv(scoring="accuracy", max_epochs=2).fit(X, y).best_score_
        for y in (Y, FORMS[name](LABELS))
    ]
    assert scores[0] == scores[1]


MIXED = [np.uint64(2), 0, np.int8(1)]


def test_indices_of_any_type():
    for chosen in (MIXED, np.array(MIXED, dtype=object), np.array([2, 0, 1], np.uint8)):
        assert interval_insertion([3], chosen).tolist() == [3, 2, 0, 1]
        sampler = IntervalInsertionSampler(4)
        sampler.redistribute(chosen)
        assert list(sampler) == [3, 2, 0, 1]
    mixed_lengths = [np.uint64(3), 1, np.int8(2)]
    for lengths in (mixed_lengths, np.array(mixed_lengths, dtype=object)):
        sampler = DynamicBatchSampler(lengths, 4, sampler=MIXED, random_state=0)
        assert sorted(map(sorted, sampler)) == [[0], [1, 2]]


def test_an_index_beyond_all_rows_is_refused():
    index = np.array([2**63], dtype=np.uint64)
    with pytest.raises(
        ValueError, match=f"chosen contains {2**63}, which is too large"
    ):
        interval_insertion([0], index)
    with pytest.raises(
        ValueError, match=f"chosen contains {2**63}, which is too large"
    ):
        IntervalInsertionSampler(4).redistribute(index)


def test_rows_of_any_type():
    rows = np.arange(30)
    mixed = [np.uint64(0), *rows[1:].tolist()]
    model, expected = (
        fit_fused([make()], X, Y, [used], val_indices=[used])[0]
        for used in (mixed, rows)
    )
    assert_same_bits(model, expected)
    scores = [
        FusedGridSearchCV(make(), {"ratio": [0.1]}, cv=[(used, np.arange(30, 41))])
        .fit(X, Y)
        .best_score_
        for used in (mixed, rows)
    ]
    assert scores[0] == scores[1]


def test_labels_of_several_processes():
    parts = [np.array([BIG + 1]), np.array([BIG], np.uint64)]
    assert _concatenate(parts).tolist() == [BIG + 1, BIG]
    assert _concatenate(parts).dtype == np.int64
    assert _concatenate([np.array([1.5]), np.array([2])]).tolist() == [1.5, 2]
