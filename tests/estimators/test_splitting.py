"""Which rows each network holds out."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrebatch.estimators._splitting import iter_folds


def folds_of(rows, strata, fraction, n, seed=0):
    return list(itertools.islice(iter_folds(rows, strata, fraction, seed), n))


@given(
    n=st.integers(2, 60),
    n_classes=st.integers(1, 5),
    fraction=st.floats(0.02, 0.98),
    seed=st.integers(0, 2**31),
)
def test_a_round_of_folds_holds_out_every_row_once(n, n_classes, fraction, seed):
    rng = np.random.default_rng(seed)
    rows, strata = np.flatnonzero(rng.random(2 * n) < 0.7), None
    if len(rows) < 2:
        return
    strata = rng.integers(n_classes, size=len(rows))
    n_folds = min(max(2, round(1 / fraction)), len(rows))
    folds = folds_of(rows, strata, fraction, 2 * n_folds, seed)
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


def test_a_lone_row_of_a_class_is_held_out_by_one_network_of_five():
    strata = np.array([0] * 30 + [1])
    folds = folds_of(np.arange(31), strata, 0.2, 5)
    assert sum(30 in valid for _, valid in folds) == 1


def test_the_second_round_cuts_other_folds():
    folds = folds_of(np.arange(40), None, 0.25, 8)
    first = {tuple(valid) for _, valid in folds[:4]}
    assert first.isdisjoint({tuple(valid) for _, valid in folds[4:]})


@pytest.mark.parametrize("seed, same", [(0, True), (1, False)])
def test_the_seed_decides_the_folds(seed, same):
    folds, others = (folds_of(np.arange(40), None, 0.2, 5, s) for s in (0, seed))
    equal = all(np.array_equal(a[1], b[1]) for a, b in zip(folds, others, strict=True))
    assert equal == same
