"""Eq. 1 and 2 against exact arithmetic and list.insert; the sampler around them."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from skrebatch.sampling._interval import (
    IntervalInsertionSampler,
    interval_insertion,
    redistribution_size,
    warn_if_nothing_redistributed,
)

# --- redistribution_size ---


@pytest.mark.parametrize(
    "n_samples, ratio, size",
    [
        (8, 0.6, 3),  # 4.8 / 1.6, in floating point just below 3
        (169, 0.3, 39),  # 50.7 / 1.3, in floating point just below 39
        (614, 0.15, 80),
        (614, 0.03, 17),
        (10, 0.25, 2),
        (9, 0.25, 1),
        (8, 0, 0),
        (0, 0.3, 0),
        (1, 1000.0, 0),
        (100, 1, 50),
        (99, 1, 49),
        (100, 3.0, 75),
        (3, 1e-300, 0),
    ],
)
def test_redistribution_size_of_hand_worked_cases(n_samples, ratio, size):
    assert redistribution_size(n_samples, ratio) == size


@given(st.integers(0, 10**7), st.integers(0, 50_000))
def test_redistribution_size_is_exact_for_the_decimal_written(n_samples, thousandths):
    exact = n_samples * thousandths // (1000 + thousandths)
    assert redistribution_size(n_samples, thousandths / 1000) == exact
    assert redistribution_size(n_samples, Fraction(thousandths, 1000)) == exact


@pytest.mark.parametrize(
    "ratio", [0.7, np.float64(0.7), np.float32(0.7), Fraction(7, 10)]
)
def test_redistribution_size_reads_every_kind_of_number(ratio):
    # 17 * .7 / 1.7 = 7; the binary number nearest to .7 is a little less.
    assert redistribution_size(17, ratio) == 7


@pytest.mark.parametrize("one", [1, 1.0, np.int64(1), np.float32(1)])
def test_redistribution_size_reads_whole_ratios(one):
    size = redistribution_size(np.int64(9), one)
    assert size == 4
    assert type(size) is int


@pytest.mark.parametrize(
    "ratio",
    [-0.1, -1, Fraction(-1, 2), np.nan, np.inf, -np.inf, "0.3", True, None, [0.3]],
)
def test_redistribution_size_refuses_a_bad_ratio(ratio):
    with pytest.raises(ValueError, match="^ratio must be"):
        redistribution_size(8, ratio)


@pytest.mark.parametrize("n_samples", [-1, 8.0, "8", True, None])
def test_redistribution_size_refuses_a_bad_number_of_samples(n_samples):
    with pytest.raises(ValueError, match="^n_samples must be"):
        redistribution_size(n_samples, 0.3)


def test_a_positive_ratio_that_redistributes_nothing_is_warned_of(recwarn):
    warn_if_nothing_redistributed(n_samples=10, ratio=0.0, size=0)
    warn_if_nothing_redistributed(n_samples=10, ratio=0.2, size=1)
    assert not recwarn
    with pytest.warns(UserWarning, match=r"10 training samples, ratio=0\.05 .* B = 0"):
        warn_if_nothing_redistributed(n_samples=10, ratio=0.05, size=0)


# --- interval_insertion ---


@pytest.mark.parametrize(
    "repeats, order",
    [
        (0, [0, 1, 2, 3, 4, 5, 6]),
        (1, [0, 1, 2, 8, 3, 4, 5, 9, 6]),
        (2, [0, 8, 1, 9, 2, 8, 3, 9, 4, 5, 6]),
        (3, [0, 8, 1, 9, 2, 8, 3, 9, 4, 8, 5, 9, 6]),
        (7, [0, 8, 9, 1, 8, 9, 2, 8, 9, 3, 8, 9, 4, 8, 9, 5, 8, 9, 6, 8, 9]),
    ],
)
def test_insertion_of_a_hand_worked_case(repeats, order):
    assert interval_insertion(range(7), [8, 9], repeats).tolist() == order


def insert_one_by_one(remaining, chosen, repeats):
    """Eq. 1, said with list.insert."""
    order, inserted = list(remaining), list(chosen) * repeats
    interval = len(remaining) // len(inserted)
    for i, index in enumerate(inserted):
        order.insert((i + 1) * interval + i, index)
    return order


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 60))
def test_insertion_follows_equation_1(n_chosen, repeats, n_more):
    n_remaining = repeats * n_chosen + n_more
    remaining = list(range(n_remaining))
    chosen = list(range(n_remaining, n_remaining + n_chosen))
    expected = insert_one_by_one(remaining, chosen, repeats)
    assert interval_insertion(remaining, chosen, repeats).tolist() == expected


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 9))
def test_a_surplus_of_insertions_is_spread_evenly(n_remaining, n_chosen, repeats):
    assume(n_remaining < repeats * n_chosen)
    remaining = np.arange(n_remaining)
    chosen = n_remaining + np.arange(n_chosen)
    order = interval_insertion(remaining, chosen, repeats)
    starts = np.flatnonzero(order < n_remaining)
    followers = np.diff([*starts, len(order)]) - 1
    assert starts[0] == 0
    assert followers.min() >= 1
    assert followers.max() - followers.min() <= 1


@st.composite
def splits(draw):
    """Draw remaining and chosen indices, together all samples, in some order."""
    samples = draw(st.permutations(range(draw(st.integers(0, 40)))))
    cut = draw(st.integers(0, len(samples)))
    return samples[:cut], samples[cut:]


@given(splits(), st.integers(0, 4))
def test_insertion_holds_each_chosen_index_repeats_times(split, repeats):
    remaining, chosen = split
    order = interval_insertion(remaining, chosen, repeats)
    is_chosen = np.isin(order, chosen)
    assert order[~is_chosen].tolist() == remaining
    assert order[is_chosen].tolist() == chosen * repeats
    assert order.dtype == np.intp


@given(splits(), st.integers(0, 4), st.randoms(use_true_random=False))
def test_insertion_does_not_depend_on_what_the_samples_are_called(
    split, repeats, random
):
    remaining, chosen = split
    names = np.arange(len(remaining) + len(chosen))
    random.shuffle(names)
    renamed = interval_insertion(names[remaining], names[chosen], repeats)
    order = interval_insertion(remaining, chosen, repeats)
    assert renamed.tolist() == names[order].tolist()


def test_insertion_with_nothing_remaining_or_nothing_chosen():
    assert interval_insertion([], [2, 1], 2).tolist() == [2, 1, 2, 1]
    assert interval_insertion([2, 1], [], 3).tolist() == [2, 1]
    assert interval_insertion([], []).tolist() == []


BAD_REPEATS = [-1, 1.5, 1.0, True, "2", None, np.nan]


@pytest.mark.parametrize("repeats", BAD_REPEATS)
def test_bad_repeats_are_refused(repeats):
    with pytest.raises(ValueError, match="^repeats must be an integer"):
        interval_insertion([0, 1], [2], repeats)
    with pytest.raises(ValueError, match="^repeats must be an integer"):
        IntervalInsertionSampler(3, repeats)


# --- IntervalInsertionSampler ---


@pytest.mark.parametrize("shuffle", [True, False])
def test_orders_before_the_first_redistribution_are_shuffles(shuffle):
    sampler = IntervalInsertionSampler(50, shuffle=shuffle, random_state=0)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert list(range(50)) not in (first, second)


def test_without_shuffle_the_remaining_stay_in_natural_order():
    sampler = IntervalInsertionSampler(8, shuffle=False, random_state=0)
    sampler.redistribute([5, 2])
    # Three remaining, one chosen, twice over.
    assert list(sampler) == list(sampler) == [0, 1, 3, 5, 4, 6, 7, 2]
    sampler.redistribute([])
    assert list(sampler) == list(range(8))


def test_with_shuffle_only_the_remaining_move():
    sampler = IntervalInsertionSampler(42, random_state=0)
    sampler.redistribute([40, 7])
    orders = np.array([list(sampler) for _ in range(3)])
    assert np.all(orders[:, [20, 41]] == [40, 7])
    others = np.delete(orders, [20, 41], axis=1)
    natural = np.delete(np.arange(42), [7, 40])
    assert np.all(np.sort(others) == natural)
    assert len(np.unique(np.vstack([others, natural]), axis=0)) == 4


@pytest.mark.parametrize("repeats, length", [(0, 7), (1, 10), (2, 13), (5, 22)])
def test_length_is_that_of_the_next_epoch(repeats, length):
    sampler = IntervalInsertionSampler(10, repeats, random_state=0)
    assert len(sampler) == len(list(sampler)) == 10
    sampler.redistribute([1, 3, 5])
    assert len(sampler) == len(list(sampler)) == length


def epochs(sampler):
    """Three epochs with a redistribution after each."""
    orders = []
    for chosen in ([3, 1], [0], []):
        orders.append(list(sampler))
        sampler.redistribute(chosen)
    return orders


def test_same_seed_same_orders():
    orders = epochs(IntervalInsertionSampler(20, random_state=5))
    assert epochs(IntervalInsertionSampler(20, random_state=5)) == orders
    assert epochs(IntervalInsertionSampler(20, random_state=6)) != orders


def test_a_generator_is_used_not_copied():
    rng, twin = np.random.default_rng(5), np.random.default_rng(5)
    orders = epochs(IntervalInsertionSampler(20, random_state=rng))
    assert orders == epochs(IntervalInsertionSampler(20, random_state=5))
    assert rng.bit_generator.state != twin.bit_generator.state
    assert orders != epochs(IntervalInsertionSampler(20, random_state=rng))


def test_a_data_loader_draws_the_batches_in_order():
    data = TensorDataset(torch.arange(10))
    loader = DataLoader(
        data, batch_size=4, sampler=IntervalInsertionSampler(10, 2, random_state=0)
    )
    twin = IntervalInsertionSampler(10, 2, random_state=0)
    for chosen in ([8, 3], [1]):
        drawn = [sample for (batch,) in loader for sample in batch.tolist()]
        assert drawn == list(twin)
        loader.sampler.redistribute(chosen)
        twin.redistribute(chosen)
        assert len(loader) == -(-len(twin) // 4)


@pytest.mark.parametrize("random_state", [None, 0])
def test_global_random_states_stay_as_they_are(random_state):
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    epochs(IntervalInsertionSampler(20, random_state=random_state))
    np.testing.assert_equal(np.random.get_state(), numpy_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize(
    "chosen, message",
    [
        ([1, 2, 1], "duplicate"),
        ([0, 5], r"must contain indices in \[0, 5\), but they range from 0 to 5"),
        ([-1, 2], r"must contain indices in \[0, 5\), but they range from -1 to 2"),
        ([1.0, 2.0], "dtype float64"),
        ([True, False], "dtype bool"),
        (["1"], "dtype <U1"),
        ([[1, 2]], r"shape \(1, 2\)"),
        (3, r"shape \(\)"),
    ],
)
def test_redistribute_refuses_what_are_not_distinct_sample_numbers(chosen, message):
    sampler = IntervalInsertionSampler(5, random_state=0)
    sampler.redistribute([4])
    with pytest.raises(ValueError, match=f"^chosen .*{message}"):
        sampler.redistribute(chosen)
    assert sampler.chosen.tolist() == [4]


@pytest.mark.parametrize("n_samples", [-1, 5.0, "5", True, None])
def test_sampler_refuses_a_bad_number_of_samples(n_samples):
    with pytest.raises(ValueError, match="^n_samples must be"):
        IntervalInsertionSampler(n_samples)


# --- plans that say more ---


@pytest.mark.parametrize(
    "chosen, remaining, repeats, order",
    [
        ([5, 2], None, 0, [0, 1, 3, 4, 6, 7]),
        ([5, 2], None, 2, [0, 5, 1, 2, 3, 5, 4, 2, 6, 7]),
        ([], [3, 3, 0], None, [3, 3, 0]),
        ([7], [3, 3, 0], None, [3, 3, 0, 7]),
        ([7], [6, 0], 3, [6, 7, 0, 7, 7]),
        ([7], [7, 0], None, [7, 0, 7]),
        ([5, 2], [], None, [5, 2]),
    ],
)
def test_remaining_and_repeats_of_one_redistribution_by_hand(
    chosen, remaining, repeats, order
):
    sampler = IntervalInsertionSampler(8, shuffle=False, random_state=0)
    sampler.redistribute(chosen, remaining, repeats)
    assert len(sampler) == len(order)
    assert list(sampler) == list(sampler) == order
    assert sampler.drawn.tolist() == order
    # The next one says it all anew.
    sampler.redistribute([1])
    assert list(sampler) == [0, 2, 3, 4, 5, 6, 7, 1]


def test_given_remaining_samples_are_shuffled_as_often_as_they_occur():
    sampler = IntervalInsertionSampler(30, random_state=0)
    given_remaining = np.repeat(np.arange(20), 2)
    kept = given_remaining.copy()
    sampler.redistribute([25, 21], given_remaining)
    orders = np.array([list(sampler) for _ in range(2)])
    assert np.all(orders[:, [20, 41]] == [25, 21])
    others = np.delete(orders, [20, 41], axis=1)
    assert np.all(np.sort(others) == kept)
    assert others[0].tolist() != others[1].tolist() != kept.tolist()
    np.testing.assert_array_equal(given_remaining, kept)


@given(splits(), st.integers(0, 3))
def test_the_remaining_are_what_is_not_chosen_unless_said(split, repeats):
    remaining, chosen = split
    assume(remaining or repeats * len(chosen))
    n = len(remaining) + len(chosen)
    implied, said = (IntervalInsertionSampler(n, random_state=0) for _ in range(2))
    implied.redistribute(chosen, repeats=repeats)
    said.redistribute(chosen, sorted(remaining), repeats)
    assert list(implied) == list(said)


@pytest.mark.parametrize(
    "args, message",
    [
        (([], [0, 5]), r"^remaining must contain indices in \[0, 5\)"),
        (([], [-1]), r"^remaining must contain indices in"),
        (([], [0.5]), "^remaining must be .*float64"),
        (([], [True]), "^remaining must be .*bool"),
        (([1], None, -1), "^repeats must be"),
        (([1], None, 1.5), "^repeats must be"),
        (([], []), "would contain no samples"),
        (([1, 2], [], 0), "would contain no samples"),
        (([0, 1, 2, 3, 4], None, 0), "would contain no samples"),
    ],
)
def test_plans_that_no_epoch_can_follow_are_refused(args, message):
    sampler = IntervalInsertionSampler(5, random_state=0)
    sampler.redistribute([4], [1, 1], 2)
    length = len(sampler)
    with pytest.raises(ValueError, match=message):
        sampler.redistribute(*args)
    assert sampler.chosen.tolist() == [4]
    assert len(sampler) == len(list(sampler)) == length == 4


def test_a_table_without_rows_has_epochs_without_entries():
    sampler = IntervalInsertionSampler(0)
    sampler.redistribute([])
    assert list(sampler) == []


@pytest.mark.parametrize("shuffle", ["yes", None, 1])
def test_shuffle_is_true_or_false(shuffle):
    with pytest.raises(ValueError, match="shuffle must be True or False"):
        IntervalInsertionSampler(3, shuffle=shuffle)
