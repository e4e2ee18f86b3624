"""Which rows each network holds out."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from skrebatch.estimators._splitting import iter_folds, split_once


def folds_of(rows, strata, n_folds, n, seed=0):
    return list(itertools.islice(iter_folds(rows, strata, n_folds, seed), n))


@given(
    n=st.integers(2, 60),
    n_classes=st.integers(1, 5),
    n_folds=st.integers(2, 50),
    seed=st.integers(0, 2**31),
)
def test_a_round_of_folds_holds_out_every_row_once(n, n_classes, n_folds, seed):
    rng = np.random.default_rng(seed)
    rows, strata = np.flatnonzero(rng.random(2 * n) < 0.7), None
    if len(rows) < 2:
        return
    strata = rng.integers(n_classes, size=len(rows))
    n_folds = min(n_folds, len(rows))
    folds = folds_of(rows, strata, n_folds, 2 * n_folds, seed)
    for first in (0, n_folds):
        held_out = [valid for _, valid in folds[first : first + n_folds]]
        np.testing.assert_array_equal(np.sort(np.concatenate(held_out)), rows)
        sizes = [len(valid) for valid in held_out]
        assert max(sizes) - min(sizes) <= 1
        label_of = dict(zip(rows, strata, strict=True))
        counts = [
            np.bincount([label_of[row] for row in valid], minlength=n_classes)
            for valid in held_out
        ]
        assert np.ptp(counts, axis=0).max() <= 1
    for train, valid in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([train, valid])), rows)


# --- one split ---


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.75])
@pytest.mark.parametrize("n_classes", [1, 2, 4])
def test_a_split_is_that_of_scikit_learn_where_it_has_one(fraction, n_classes):
    rows = np.arange(0, 82, 2)
    for strata in (None, np.arange(len(rows)) % n_classes):
        train, valid = split_once(rows, strata, fraction, seed=3)
        expected = train_test_split(
            rows, stratify=strata, test_size=fraction, random_state=3
        )
        np.testing.assert_array_equal(train, np.sort(expected[0]))
        np.testing.assert_array_equal(valid, np.sort(expected[1]))


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    fraction=st.floats(0.05, 0.5),
    seed=st.integers(0, 2**31),
)
def test_a_split_is_in_proportion_to_the_classes(sizes, fraction, seed):
    strata = np.repeat([f"class {i}" for i in range(len(sizes))], sizes)
    strata = np.random.default_rng(seed).permutation(strata)
    rows = 3 * np.arange(len(strata))
    n_pool = sum(size for size in sizes if size > 1)
    n_valid = int(np.ceil(fraction * n_pool))
    if n_valid < 1 or len(rows) - n_valid < 2:
        with pytest.raises(ValueError, match="early_stopping with validation_fraction"):
            split_once(rows, strata, fraction, seed)
        return
    train, valid = split_once(rows, strata, fraction, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, valid])), rows)
    assert len(valid) == n_valid
    held_out = strata[valid // 3]
    for i, size in enumerate(sizes):
        count = np.count_nonzero(held_out == f"class {i}")
        if size == 1:
            assert count == 0
        else:
            assert count < size
            assert abs(count - size * n_valid / n_pool) <= 1


def test_a_split_without_a_row_of_each_class_depends_on_the_seed_alone():
    strata = np.repeat(np.arange(20), 3)  # 12 validation rows for 20 classes
    args = np.arange(60), strata, 0.2
    first, again, other = (split_once(*args, seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(strata[first])) == 12
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "n, strata, fraction, words",
    [
        (2, None, 0.2, "a training split of 1 and a validation split of 1 rows"),
        (5, None, 0.9, "a training split of 0 and a validation split of 5 rows"),
        (3, [0, 1, 2], 0.2, "a training split of 3 and a validation split of 0 rows"),
    ],
)
def test_too_few_rows_name_the_split(n, strata, fraction, words):
    strata = None if strata is None else np.array(strata)
    with pytest.raises(ValueError, match=words):
        split_once(np.arange(n), strata, fraction, seed=0)


# --- folds ---


def test_a_lone_row_of_a_class_is_held_out_by_one_network_of_five():
    strata = np.array([0] * 30 + [1])
    folds = folds_of(np.arange(31), strata, 5, 5)
    assert sum(30 in valid for _, valid in folds) == 1


def test_the_second_round_cuts_other_folds():
    folds = folds_of(np.arange(40), None, 4, 8)
    first = {tuple(valid) for _, valid in folds[:4]}
    assert first.isdisjoint({tuple(valid) for _, valid in folds[4:]})


@pytest.mark.parametrize("seed, same", [(0, True), (1, False)])
def test_the_seed_decides_the_folds(seed, same):
    folds, others = (folds_of(np.arange(40), None, 5, 5, s) for s in (0, seed))
    equal = all(np.array_equal(a[1], b[1]) for a, b in zip(folds, others, strict=True))
    assert equal == same
