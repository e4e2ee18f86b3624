"""Batches under a budget: by hand, as properties, and in loaders and nets."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from skrebatch import (
    TSW,
    DynamicBatchSampler,
    IntervalInsertionSampler,
    Plan,
    ReBatch,
    Strategy,
)

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=80)


def batches_of(lengths, budget, order, **options):
    sampler = DynamicBatchSampler(lengths, budget, sampler=order, **options)
    return list(sampler), sampler


def flat(batches):
    return [row for batch in batches for row in batch]


# --- by hand ---


def test_batches_by_hand():
    # Longest first: 6 4 | 4 4 3 | 2 1 1 take 2 * 6, 3 * 4 and 3 * 2 of a budget of 12.
    lengths = [1, 4, 6, 3, 4, 2, 1, 4]
    batches, sampler = batches_of(lengths, 12, range(8), stretch=8, random_state=0)
    assert sorted(batches) == [[2, 1], [4, 7, 3], [5, 0, 6]]
    # Of equally long rows the earlier comes first.
    batches, sampler = batches_of(lengths, 12, [7, 4, 2, 1], random_state=0)
    assert sorted(batches) == [[2, 7], [4, 1]]
    assert sampler.drawn.tolist() == flat(batches)


def test_stretches_are_equally_long():
    # Seven entries in stretches of at most three: 3, 2 and 2, each on its own.
    lengths = [1, 5, 1, 5, 1, 5, 1]
    batches, _ = batches_of(lengths, 5, range(7), stretch=3, random_state=1)
    assert [sorted(flat(part)) for part in (batches[:2], batches[2:4])] == [
        [0, 1, 2],
        [3, 4],
    ]
    assert sorted(batches) == [[0, 2], [1], [3], [4], [5], [6]]


def test_the_batches_of_a_stretch_are_shuffled():
    lengths = np.arange(1, 33)
    sampler = DynamicBatchSampler(
        lengths, 64, sampler=range(32), stretch=32, random_state=0
    )
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second)
    assert first != second
    # Nor do the longest come first, as they were sorted.
    assert first != sorted(first, key=lambda batch: -lengths[batch[0]])


def test_auto_is_the_elements_of_sixteen_batches():
    assert DynamicBatchSampler([2, 4, 6], 100).stretch == 400
    assert DynamicBatchSampler([], 100).stretch == 1


def test_no_rows_make_no_batches():
    assert list(DynamicBatchSampler([], 5)) == []


def test_without_a_sampler_each_epoch_is_a_new_shuffle():
    sampler = DynamicBatchSampler([1] * 30, 3, stretch=1, random_state=0)
    epochs = [flat(sampler) for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(30))
    assert epochs[0] != epochs[1]
    again = DynamicBatchSampler([1] * 30, 3, stretch=1, random_state=0)
    assert flat(again) == epochs[0]


# --- for any lengths ---


@given(LENGTHS, st.integers(40, 400), st.integers(1, 90), st.data())
def test_a_batch_keeps_within_the_budget_and_an_epoch_loses_nothing(
    lengths, budget, stretch, data
):
    # An order as re-Batch makes it: entries may be missing or occur many times.
    entry = st.integers(0, len(lengths) - 1)
    order = data.draw(st.lists(entry, max_size=120))
    batches, sampler = batches_of(lengths, budget, order, stretch=stretch)
    assert all(batches)
    for batch in batches:
        assert len(batch) * max(lengths[i] for i in batch) <= budget
    assert Counter(flat(batches)) == Counter(order)
    assert sampler.drawn.tolist() == flat(batches)


@given(LENGTHS, st.integers(40, 400), st.integers(1, 90))
def test_entries_stay_in_their_stretch(lengths, budget, stretch):
    n = len(lengths)
    _, sampler = batches_of(lengths, budget, range(n), stretch=stretch)
    assert (np.abs(sampler.drawn - np.arange(n)) < stretch).all()


@given(LENGTHS, st.integers(40, 400))
def test_no_two_neighbours_would_fit_into_one_batch(lengths, budget):
    batches, _ = batches_of(lengths, budget, range(len(lengths)), stretch=10**6)
    own = [sorted((lengths[i] for i in batch), reverse=True) for batch in batches]
    for longer, shorter in itertools.pairwise(sorted(own, reverse=True)):
        # All rows of a batch are at least as long as those of the next, and the next
        # one's longest row had no room.
        assert longer[-1] >= shorter[0]
        assert (len(longer) + 1) * longer[0] > budget


@given(st.integers(0, 2**32 - 1), st.integers(20, 60), st.integers(1, 3))
def test_chosen_samples_keep_their_spread_up_to_a_stretch(seed, stretch, repeats):
    rng = np.random.default_rng(seed)
    n, n_chosen = 400, 40
    order = IntervalInsertionSampler(n, repeats=repeats, random_state=seed)
    order.redistribute(rng.permutation(n)[:n_chosen])
    lengths = np.exp(rng.uniform(0, np.log(100), n)).astype(int)
    sampler = DynamicBatchSampler(
        lengths, 200, sampler=order, stretch=stretch, random_state=seed
    )
    list(sampler)
    before = np.isin(order.drawn, order.chosen)
    after = np.isin(sampler.drawn, order.chosen)
    # However far one goes, the chosen ones met differ by what one stretch may hold.
    gap = np.abs(np.cumsum(before) - np.cumsum(after))
    part = -(-len(before) // -(-len(before) // stretch))
    most = max(before[i : i + part].sum() for i in range(len(before)))
    assert gap.max() <= most
    # And each copy is met within a stretch of its place.
    for i in order.chosen:
        places = np.flatnonzero(order.drawn == i), np.flatnonzero(sampler.drawn == i)
        assert (np.abs(np.subtract(*places)) < stretch).all()


def test_regular_intervals_leave_each_stretch_its_share():
    order = IntervalInsertionSampler(1000, random_state=0)
    order.redistribute(np.arange(100))
    lengths = np.random.default_rng(0).integers(1, 50, 1000)
    sampler = DynamicBatchSampler(
        lengths, 100, sampler=order, stretch=100, random_state=0
    )
    list(sampler)
    # One of ten is chosen, wherever one looks; sorting all at once would not see to it.
    assert (sampler.drawn.reshape(10, 100) < 100).sum(1).tolist() == [10] * 10


# --- bad input ---


@pytest.mark.parametrize(
    "lengths, message",
    [
        ([3, 0, 2], "Row 1 has length 0"),
        ([3, 2, 11, 12], "Row 2 has length 11; .* max_elements=10"),
        ([1.5, 2.0], "integers"),
        ([[1, 2]], r"shape \(1, 2\)"),
    ],
)
def test_bad_lengths_are_named(lengths, message):
    with pytest.raises(ValueError, match=message):
        DynamicBatchSampler(lengths, 10)


@pytest.mark.parametrize("name", ["max_elements", "stretch"])
@pytest.mark.parametrize("value", [0, 2.5, True, "many"])
def test_bad_parameters_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        DynamicBatchSampler([1], **{"max_elements": 10, name: value})


def test_a_sampler_of_other_rows_is_refused():
    with pytest.raises(ValueError, match="yields index 3, but lengths has 3"):
        list(DynamicBatchSampler([1, 2, 3], 5, sampler=range(4)))


# --- in a DataLoader, and in a net with re-Batch ---


def test_a_loader_takes_it():
    data = TensorDataset(torch.arange(5))
    sampler = DynamicBatchSampler([1, 5, 5, 1, 1], 10, random_state=0)
    loader = DataLoader(data, batch_sampler=sampler)
    assert sorted(sorted(rows.tolist()) for (rows,) in loader) == [[0, 3, 4], [1, 2]]


class Rows(Callback):
    """Note the rows of each batch, their numbers being the features."""

    def on_train_begin(self, net, **kwargs):
        self.epochs_ = []

    def on_epoch_begin(self, net, **kwargs):
        self.epochs_.append([])

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            self.epochs_[-1].append(batch[0][:, 0].int().tolist())


def make_net(lengths, strategy="min-loss", sampler=None):
    batches = DynamicBatchSampler(
        lengths, 30, sampler=sampler, stretch=10, random_state=0
    )
    rows, rebatch = Rows(), ReBatch(0.25, strategy, random_state=0)
    net = NeuralNetRegressor(
        nn.Linear(1, 1),
        iterator_train__batch_sampler=batches,
        iterator_train__batch_size=1,
        max_epochs=3,
        train_split=None,
        callbacks=[rebatch, rows],
        lr=1e-12,
        verbose=0,
    )
    return net, batches, rebatch, rows


X = np.arange(40, dtype=np.float32)[:, None]
Y = (X % 7) * 10
LENGTH = np.random.default_rng(0).integers(1, 15, 40)


def test_rebatch_gives_it_its_orders():
    net, batches, rebatch, rows = make_net(LENGTH)
    net.fit(X, Y)
    assert len(rows.epochs_) == 3
    for epoch in rows.epochs_:
        assert sorted(flat(epoch)) == list(range(40))
        assert all(len(b) * LENGTH[b].max() <= 30 for b in epoch)
    assert rows.epochs_[-1] != rows.epochs_[0]
    assert flat(rows.epochs_[-1]) == batches.drawn.tolist()
    # The last order but for the moves within its stretches of ten, and again by itself.
    before = rebatch.sampler_.drawn.reshape(4, 10)
    np.testing.assert_array_equal(
        np.sort(batches.drawn.reshape(4, 10)), np.sort(before)
    )
    assert batches.sampler is None
    assert net.iterator_train__batch_sampler is batches


def test_losses_come_in_the_order_of_the_samples():
    net, _, rebatch, _ = make_net(LENGTH)
    net.fit(X, Y)
    own = ((net.predict(X) - Y) ** 2)[:, 0]
    np.testing.assert_allclose(rebatch.sample_losses_, own, rtol=1e-5)
    np.testing.assert_array_equal(rebatch.selection_.labels, Y[:, 0])


class ByNumber(Strategy):
    """Weigh each sample by its number, and choose none."""

    def plan(self, losses, epoch):
        return Plan(weights=np.arange(len(losses), dtype=float))


def test_planned_weights_reach_their_rows():
    net, *_ = make_net(LENGTH, ByNumber())
    batches = []

    class Losses(Callback):
        def on_batch_end(self, net, batch=None, training=False, loss=None, **kwargs):
            if training and len(net.history) > 1:
                batches.append((batch[0][:, 0].int().numpy(), loss.item()))

    net.callbacks.append(Losses())
    net.fit(X, Y)
    # The learning rate is next to nothing, so that the losses are still the same.
    own = ((net.predict(X) - Y) ** 2)[:, 0]
    assert len(batches) > 10
    for batch, loss in batches:
        assert loss == pytest.approx((own * np.arange(40))[batch].mean(), rel=1e-4)


def test_strategies_that_weigh_batches_work_with_it():
    net, _, _, rows = make_net(LENGTH, TSW())
    net.fit(X, Y)
    assert sorted(flat(rows.epochs_[-1])) == list(range(40))


def test_lengths_of_other_rows_are_refused():
    net, *_ = make_net(LENGTH[:30])
    with pytest.raises(
        ValueError, match="lengths of 30 rows, but the net trains on 40"
    ):
        net.fit(X, Y)


def test_an_order_of_its_own_is_refused():
    net, *_ = make_net(LENGTH, sampler=range(40))
    with pytest.raises(ValueError, match="remove iterator_train__batch_sampler"):
        net.fit(X, Y)


@pytest.mark.parametrize("drawn", [[0.5], [float("inf")], [10**400], ["a"]])
def test_an_order_that_holds_no_numbers_of_rows_is_refused(drawn):
    sampler = DynamicBatchSampler([1, 2], 4, sampler=drawn)
    with pytest.raises(
        ValueError, match="sampler must be a 1-D array of sample indices"
    ):
        list(sampler)
