"""When a network plans, by which losses, and what its epochs hold."""

import warnings

import numpy as np
import pytest
import torch
from helpers.estimators import assert_same_bits, make, make_data
from hypothesis import given
from hypothesis import strategies as st

from skrebatch import (
    OHEM,
    TSW,
    Breed,
    Epoch,
    InfoBatch,
    MaxLoss,
    MinLoss,
    Plan,
    SmallLoss,
    Strategy,
)
from skrebatch.sampling._selector import Selection
from skrebatch.strategies import STRATEGIES, check_strategy

N = 40


class Note(Strategy):
    """Note what is asked, and choose the first B."""

    def __init__(self, uses=True):
        self.uses = uses
        self.losses, self.epochs = [], []

    def plan(self, losses, epoch):
        self.losses.append(np.array(losses))
        self.epochs.append(epoch)
        return np.arange(epoch.n_chosen)


class NoteAlways(Note):
    """The same, where B is 0 too."""

    uses_ratio = False


def make_selection(strategy=None, n=N, **params):
    strategy = MinLoss() if strategy is None else strategy
    return Selection(n, strategy, np.random.default_rng(0), **{"ratio": 1.0, **params})


def run(selection, n_epochs, losses_of=lambda epoch: np.full(N, float(epoch))):
    """Begin epochs one after another; epoch e ends with the losses of e."""
    orders, needs = [], []
    for _ in range(n_epochs):
        needs.append(selection.needs_losses)
        losses = losses_of(selection.epoch) if needs[-1] else None
        selection.begin_epoch(losses)
        orders.append(selection.sampler.order())
    return orders, needs


def planned_in(strategy):
    return [epoch.number for epoch in strategy.epochs]


# --- when ---


@pytest.mark.parametrize(
    "params, planned, asked",
    [
        ({}, [2, 3, 4, 5, 6, 7, 8], [2, 3, 4, 5, 6, 7, 8]),
        ({"warmup_epochs": 1}, [2, 3, 4, 5, 6, 7, 8], [2, 3, 4, 5, 6, 7, 8]),
        ({"warmup_epochs": 4}, [5, 6, 7, 8], [5, 6, 7, 8]),
        ({"warmup_epochs": 9}, [], []),
        ({"refresh_every": 3}, [2, 5, 8], [2, 5, 8]),
        ({"refresh_every": 2, "warmup_epochs": 4}, [5, 7], [5, 7]),
        # A running mean wants every epoch's losses.
        ({"refresh_every": 3, "smoothing": 0.5}, [2, 5, 8], [2, 3, 4, 5, 6, 7, 8]),
        ({"warmup_epochs": 4, "smoothing": 0.5}, [5, 6, 7, 8], [2, 3, 4, 5, 6, 7, 8]),
        ({"ratio": 0}, [], []),
        ({"ratio": 0.02}, [], []),  # B = 0
        ({"epoch": 5}, [6, 7, 8, 9, 10, 11, 12, 13], [6, 7, 8, 9, 10, 11, 12, 13]),
        ({"epoch": 2, "warmup_epochs": 8, "max_epochs": 20}, [9, 10], [9, 10]),
    ],
    ids=str,
)
def test_epochs_that_plan_and_that_ask_for_losses(params, planned, asked):
    strategy = Note()
    selection = make_selection(strategy, **params)
    first = selection.epoch + 1
    orders, needs = run(selection, 8)
    assert planned_in(strategy) == planned
    assert [first + i for i, needed in enumerate(needs) if needed] == asked
    for number, order in enumerate(orders, start=first):
        assert len(order) == N
        if not planned or number < planned[0]:
            assert sorted(order) == list(range(N))
        else:
            assert order[1::2].tolist() == list(range(20))  # B = 20 of 40


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_warm_up_has_the_orders_of_training_without_re_batch(shuffle):
    warm = make_selection(warmup_epochs=5, shuffle=shuffle)
    plain = make_selection(ratio=0, shuffle=shuffle)
    np.testing.assert_array_equal(run(warm, 5)[0], run(plain, 5)[0])


def test_weights_in_batches_begin_after_the_warm_up():
    selection = make_selection(OHEM(), warmup_epochs=2)
    seen = []
    for _ in range(4):
        assert not selection.needs_losses
        selection.begin_epoch(None)
        seen.append(selection.weights_batches)
    assert seen == [False, False, True, True]
    assert not make_selection(OHEM(), ratio=0).weights_batches
    unwarmed = make_selection(OHEM())
    unwarmed.begin_epoch(None)
    assert unwarmed.weights_batches


def test_without_the_losses_there_is_no_plan():
    selection = make_selection()
    run(selection, 1)
    with pytest.raises(ValueError, match="requires the losses"):
        selection.begin_epoch(None)


# --- by what ---


def test_the_epoch_says_what_there_is_to_know():
    strategy, labels = Note(), np.arange(N) % 3
    selection = make_selection(strategy, labels=labels, max_epochs=4)
    run(selection, 5)
    for number, epoch in enumerate(strategy.epochs, start=2):
        assert (epoch.number, epoch.max_epochs, epoch.n_chosen) == (number, 4, 20)
        assert epoch.rng is selection.rng
        assert epoch.labels is labels
    progress = [epoch.progress for epoch in strategy.epochs]
    assert progress == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert [epoch.planned for epoch in strategy.epochs] == [1, 2, 3, 4]
    assert [losses[0] for losses in strategy.losses] == [1, 2, 3, 4]


# floor(40 r / (1 + r)) is 8, 13, 17 and 20 for r of 1/4, 1/2, 3/4 and 1.
def falling(progress):
    return 4 * (1 - progress)


@pytest.mark.parametrize(
    "params, sizes",
    [
        ({"schedule": "linear", "max_epochs": 5}, [8, 13, 17, 20, 20]),
        ({"schedule": "linear", "max_epochs": 5, "warmup_epochs": 3}, [13, 20, 20]),
        ({"schedule": "step", "max_epochs": 3}, [13, 20, 20, 20, 20]),
        # (1 - cos(pi / 4)) / 2 = .146 and .854 for 3/4
        ({"schedule": "cosine", "max_epochs": 5}, [5, 13, 18, 20, 20]),
        ({"schedule": falling, "max_epochs": 5}, [30, 26, 20]),
        ({"schedule": "linear", "max_epochs": 1}, [20] * 5),
        ({"schedule": "linear", "max_epochs": 5, "epoch": 3}, [17, 20, 20, 20, 20, 20]),
    ],
)
def test_the_schedule_says_how_many(params, sizes):
    strategy = Note()
    selection = make_selection(strategy, repeats=0, **params)
    orders, _ = run(selection, 6)
    assert [epoch.n_chosen for epoch in strategy.epochs] == sizes
    if "warmup_epochs" not in params and "epoch" not in params:
        held = [N - size for size in sizes] + [N] * (5 - len(sizes))
        assert [len(order) for order in orders[1:]] == held
    assert selection.n_chosen == 20


def test_a_schedule_may_ask_for_more_than_the_ratio():
    # floor(40 * .02 / 1.02) is 0, and floor(40 * .5 / 1.5) is 13.
    strategy = Note()
    more = make_selection(
        strategy, ratio=0.02, schedule=lambda t: 25 * (t > 0.5), max_epochs=5, repeats=0
    )
    assert more.n_chosen == 0
    assert [len(order) for order in run(more, 5)[0]] == [40, 40, 40, 27, 27]
    assert planned_in(strategy) == [4, 5]


def test_where_the_schedule_asks_for_none_only_others_are_asked():
    for strategy, planned in ((Note(), [4, 5]), (NoteAlways(), [2, 3, 4, 5])):
        late = make_selection(
            strategy, schedule=lambda t: t > 0.5, max_epochs=5, repeats=0
        )
        orders, _ = run(late, 5)
        assert planned_in(strategy) == planned
        assert [len(order) for order in orders] == [40, 40, 40, 20, 20]


def test_a_schedule_that_fails_is_named():
    selection = make_selection(schedule=lambda t: -1.0, max_epochs=5)
    with pytest.raises(ValueError, match="ratio_schedule must return.*progress 0.25"):
        run(selection, 2)


def test_the_running_mean_by_hand():
    strategy = Note()
    losses = {1: 8.0, 2: 4.0, 3: 0.0, 4: 16.0}
    run(
        make_selection(strategy, smoothing=0.75),
        5,
        lambda epoch: np.full(N, losses[epoch]),
    )
    # 8; 6 + 1; 5.25 + 0; 3.9375 + 4
    assert [losses[0] for losses in strategy.losses] == [8, 7, 5.25, 7.9375]


def test_the_running_mean_begins_in_the_warm_up():
    strategy = Note()
    run(make_selection(strategy, smoothing=0.5, warmup_epochs=3), 4)
    # 1; 1.5; 2.25
    assert [losses[0] for losses in strategy.losses] == [2.25]


def test_without_smoothing_the_latest_losses_count():
    strategy = Note()
    selection = make_selection(strategy)
    run(selection, 4)
    assert [losses[0] for losses in strategy.losses] == [1, 2, 3]


# --- what ---


@given(
    st.sampled_from([name for name, s in STRATEGIES.items() if s.redistributes]),
    st.integers(0, 3),
    st.floats(0, 3),
    st.sampled_from(["constant", "linear"]),
    st.integers(1, 4),
    st.booleans(),
)
def test_the_number_of_entries_is_known_beforehand_or_not_claimed(
    name, repeats, ratio, schedule, warmup_epochs, balanced
):
    selection = make_selection(
        check_strategy(name),
        repeats=repeats,
        ratio=ratio,
        schedule=schedule,
        warmup_epochs=warmup_epochs,
        max_epochs=6,
        class_balanced=balanced,
        labels=np.arange(N) % 3,
    )
    orders, _ = run(selection, 6, lambda epoch: np.sin(epoch + np.arange(N)))
    assert [len(order) for order in orders[:warmup_epochs]] == [N] * warmup_epochs
    if selection.entries is None:
        assert repeats != 1 and schedule != "constant"
    else:
        later = {len(order) for order in orders[warmup_epochs:]}
        assert later == {selection.entries}


@pytest.mark.parametrize("name", STRATEGIES)
def test_entries_of_other_methods_are_not_claimed(name):
    strategy = check_strategy(name)
    entries = make_selection(strategy).entries
    assert (entries == N) == (strategy.redistributes or strategy.weights_batches)
    assert make_selection(strategy, ratio=0).entries == N


class Planned(Strategy):
    """Plan what the test says."""

    uses_ratio = False

    def __init__(self, answer):
        self.answer = answer

    def plan(self, losses, epoch):
        return self.answer


@pytest.mark.parametrize(
    "plan, order, affected_samples",
    [
        ([4, 1], [0, 2, 4, 3, 5, 1], [4, 1]),
        (Plan(), [0, 1, 2, 3, 4, 5], []),
        (Plan([4, 1], repeats=0), [0, 2, 3, 5], [4, 1]),
        (Plan([4], repeats=2), [0, 1, 4, 2, 3, 4, 5], [4]),
        (Plan(remaining=[5, 3, 3, 0]), [5, 3, 3, 0], [1, 2, 3, 4]),
        (Plan([2], [0, 1], repeats=1), [0, 1, 2], [2, 3, 4, 5]),
        (Plan([2], [2, 1]), [2, 1, 2], [2, 0, 3, 4, 5]),
        (Plan(remaining=np.arange(6), weights=np.arange(6.0)), [0, 1, 2, 3, 4, 5], []),
    ],
    ids=str,
)
def test_what_an_epoch_holds_and_treats_by_hand(plan, order, affected_samples):
    selection = make_selection(Planned(plan), n=6, shuffle=False)
    selection.begin_epoch(None)
    assert selection.affected_samples.size == 0
    selection.sampler.order()
    assert selection.affected_samples.size == 0
    selection.begin_epoch(np.zeros(6))
    assert selection.sampler.order().tolist() == order
    assert selection.affected_samples.tolist() == affected_samples
    weights = plan.weights if isinstance(plan, Plan) else None
    assert (selection.weights is None) == (weights is None)


def test_a_choice_stands_until_it_is_due_and_the_others_are_shuffled_anew():
    selection = make_selection(refresh_every=3)
    orders, _ = run(selection, 7, lambda epoch: np.roll(np.arange(N), epoch))
    chosen = [order[1::2].tolist() for order in orders[1:]]
    assert chosen[0] == chosen[1] == chosen[2] != chosen[3]
    assert chosen[3] == chosen[4] == chosen[5]
    assert orders[1].tolist() != orders[2].tolist()


def test_weights_stand_with_their_plan():
    selection = make_selection(InfoBatch(), refresh_every=2, max_epochs=99)
    seen = []
    for _ in range(5):
        needs = selection.needs_losses
        selection.begin_epoch(np.arange(N) * 1.0 if needs else None)
        seen.append(selection.weights)
    assert seen[0] is None
    assert seen[1] is seen[2] and seen[3] is seen[4]
    assert seen[1].tolist() == [2.0] * 20 + [1.0] * 20


def test_a_choice_by_class():
    labels = np.repeat([0, 1], [30, 10])
    selection = make_selection(MaxLoss(), class_balanced=True, labels=labels)
    orders, _ = run(selection, 2, lambda epoch: np.arange(N))
    chosen = orders[1][1::2]
    assert set(chosen) == {*range(15, 30), *range(35, 40)}


@pytest.mark.parametrize(
    "weights",
    [np.ones(3), np.ones((N, 1)), np.full(N, -1.0), np.full(N, np.inf), 1.0],
    ids=["too few", "a column", "negative", "infinite", "a number"],
)
def test_weights_that_can_t_be_meant_are_refused(weights):
    selection = make_selection(Planned(Plan(weights=weights)))
    with pytest.raises(ValueError, match=r"(?s)Planned.*planned weights of shape"):
        run(selection, 2)


# --- together, and going on ---


def test_followers_have_the_leader_s_plan_and_their_own_shuffle():
    leader = make_selection(Breed(), smoothing=0.5, max_epochs=9)
    follower = Selection(N, Breed(), np.random.default_rng(1), 1.0, smoothing=0.5)
    rng = np.random.default_rng(2)
    for epoch in range(4):
        leader.begin_epoch(rng.random(N))
        follower.begin_epoch_like(leader)
        own, its = (s.sampler.order() for s in (follower, leader))
        assert own.tolist() != its.tolist()
        assert sorted(own) == sorted(its)
        np.testing.assert_array_equal(
            follower.affected_samples, leader.affected_samples
        )
        assert follower.epoch == leader.epoch == epoch + 1
    # It could lead in the next epoch.
    np.testing.assert_array_equal(follower.losses, leader.losses)


@pytest.mark.parametrize("smoothing", [0, 0.5])
@pytest.mark.parametrize("refresh_every", [1, 3])
def test_the_warm_start_state_is_what_going_on_needs(smoothing, refresh_every):
    params = {"smoothing": smoothing, "refresh_every": refresh_every, "max_epochs": 9}

    def losses_of(epoch):
        return np.sin(epoch + np.arange(N))

    whole = make_selection(Breed(), **params)
    expected, _ = run(whole, 8, losses_of)
    orders, rng, state = [], np.random.default_rng(0), None
    for epoch in range(8):
        one = Selection(N, Breed(), rng, 1.0, epoch=epoch, **params)
        if state is not None:
            one.load_warm_start_state(state)
        orders += run(one, 1, losses_of)[0]
        state = one.warm_start_state
        assert (state[0] is None) == (smoothing == 0 or epoch == 0)
        assert (state[1] is None) == (refresh_every == 1 or epoch == 0)
    for order, its in zip(orders, expected, strict=True):
        np.testing.assert_array_equal(order, its)


def test_strategies_that_do_the_same_have_the_same_key():
    one, same, other, another = (
        make_selection(s).strategy_key
        for s in (OHEM(0.3), OHEM(0.3), OHEM(0.4), MinLoss())
    )
    assert one == same
    assert len({one, other, another}) == 3


class Function(Strategy):
    """Weigh a batch by a function of its losses."""

    def __init__(self, function):
        self.function = function

    def batch_weights(self, losses):
        return self.function(losses)


def test_a_parameter_that_can_t_be_pickled_is_like_no_other():
    strategy = Function(lambda losses: losses)
    one, same, other = (
        make_selection(s).strategy_key for s in (strategy, strategy, Function(len))
    )
    assert one == same != other
    assert one != make_selection(Function(lambda losses: losses)).strategy_key


def test_a_schedule_without_effect_is_warned_of():
    selection = make_selection(OHEM(), schedule="linear")
    with pytest.warns(UserWarning, match="ratio_schedule has no effect on OHEM()"):
        selection.warn_of_no_effect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_selection(OHEM()).warn_of_no_effect()
        make_selection(MaxLoss(), schedule="linear").warn_of_no_effect()


def test_short_whole_numbers_of_numpy_do_as_those_of_python():
    # In int8, or below 0 in uint8, what is computed from them would overflow.
    X, y = make_data(n=200)
    for name, value, options in (
        ("n_augments", np.int8(1), {"noise_std": 0.1}),
        ("repeats", np.uint8(0), {}),
        ("max_epochs", np.int8(100), {"ratio_schedule": "linear"}),
        ("refresh_every", np.int8(3), {}),
        ("validation_fraction", np.float16(0.25), {"early_stopping": True}),
    ):
        twins = [
            make(**options, warm_start=True, **{name: own}).fit(X, y).fit(X, y)
            for own in (value, value.item())
        ]
        assert_same_bits(*twins)
    losses, epoch = np.arange(300.0), Epoch(5, 20, 200, np.random.default_rng(0))
    short, long = SmallLoss(np.int8(9)), SmallLoss(9)
    np.testing.assert_array_equal(
        short.plan(losses, epoch).chosen, long.plan(losses, epoch).chosen
    )
    weighed = [
        TSW(weight=weight).batch_weights(torch.rand(1, 9)).unique()
        for weight in (np.uint64(2**64 - 1), 2.0**64)
    ]
    assert torch.equal(*weighed)
