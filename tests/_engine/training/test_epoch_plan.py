"""The batches of an epoch and the table they are taken from, by hand."""

import numpy as np
import pytest
import torch
from helpers.jobs import ALL, FEATURES, N, make_data, make_job, make_member

from skrebatch._engine.training.epoch_plan import EpochPlan, draw_noise, stack_table

# --- the plan of an epoch ---


def test_a_plan_by_hand():
    weights = np.array([0.5, 1.0, 1.5])
    members = [
        make_member(np.array([20, 21, 22, 23, 24]), batch_size=2),
        make_member(np.array([7, 8, 9]), batch_size=3, weights=weights),
        make_member(np.array([30, 31, 32]), batch_size=2, start=100),
    ]
    none = np.empty(0, dtype=int)
    orders = [np.array([4, 3, 2, 1, 0]), np.array([2, 0, 1]), none]
    plan = EpochPlan(members, orders)
    assert plan.counts.tolist() == [[2, 2, 1], [3, 0, 0], [0, 0, 0]]
    assert batches(plan, 0) == [[24, 23], [22, 21], [20]]
    assert scales(plan, 0) == [[0.5, 0.5], [0.5, 0.5], [1]]
    assert batches(plan, 1) == [[9, 7, 8]]
    np.testing.assert_allclose(scales(plan, 1)[0], [0.5, 0.5 / 3, 1 / 3])
    # Beyond a network's own batches nothing counts.
    assert plan.scale.sum() == pytest.approx(3 + 1)
    segments = [(s.steps, s.n_networks, s.n_rows, s.active) for s in plan.segments]
    assert segments == [
        (slice(0, 1), 2, 3, (True, True, False)),
        (slice(1, 2), 1, 2, (True, False, False)),
        (slice(2, 3), 1, 1, (True, False, False)),
    ]


def batches(plan, k):
    """The rows of each batch of network k."""
    counts = [count for count in plan.counts[k] if count]
    return [plan.rows[t, k, :count].tolist() for t, count in enumerate(counts)]


def scales(plan, k):
    counts = [count for count in plan.counts[k] if count]
    return [plan.scale[t, k, :count].tolist() for t, count in enumerate(counts)]


def test_a_plan_of_repeated_rows_and_another_place_in_the_table():
    member = make_member(np.array([5, 6, 7]), batch_size=4, start=100)
    plan = EpochPlan([member], [np.array([2, 0, 2, 1, 2])])
    assert batches(plan, 0) == [[107, 105, 107, 106], [107]]
    assert scales(plan, 0) == [[0.25] * 4, [1]]


def test_equal_steps_are_one_segment():
    members = [make_member(batch_size=8), make_member(batch_size=7)]
    plan = EpochPlan(members, [ALL[:40], ALL[:42]])
    # Five batches of 8 beside six of 7: 8 rows wide, then 7.
    segments = [(s.steps, s.n_networks, s.n_rows) for s in plan.segments]
    assert segments == [(slice(0, 5), 2, 8), (slice(5, 6), 2, 7)]


# --- shares of a plan ---


def test_a_share_by_hand():
    here = np.zeros(30, dtype=bool)
    here[[21, 23, 24]] = True
    plan = EpochPlan([make_member(ALL[:30], batch_size=4)], [np.arange(24, 18, -1)])
    plan.keep_local(here)  # of 24 23 22 21 | 20 19
    assert plan.rows[0, 0].tolist() == [24, 23, 21]
    assert plan.scale[0, 0].tolist() == [0.25] * 3
    assert plan.places[0, 0].tolist() == [0, 1, 3]
    # Another row that is here stands in, and counts for nothing.
    assert plan.rows[1, 0, 0] == 24
    assert not plan.scale[1, 0].any()
    assert plan.places[1, 0].tolist() == [4] * 3
    assert [(s.steps, s.n_rows) for s in plan.segments] == [
        (slice(0, 1), 3),
        (slice(1, 2), 1),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_shares_make_up_the_plan(seed):
    rng = np.random.default_rng(seed)
    owner = rng.integers(3, size=60)
    orders = [rng.integers(60, size=n) for n in (50, 37)]
    members = [make_member(np.arange(60), batch_size=size) for size in (8, 11)]
    whole = EpochPlan(members, orders)
    found = np.zeros((*whole.rows.shape[:2], whole.rows.shape[2] + 1))
    for process in range(3):
        share = EpochPlan(members, orders)
        share.keep_local(owner == process)
        assert (owner[share.rows] == process).all()
        inside = share.places < whole.rows.shape[2]
        assert not share.scale[~inside].any()
        np.put_along_axis(
            found,
            share.places,
            np.take_along_axis(found, share.places, -1) + share.scale,
            axis=-1,
        )
        places = np.where(inside, share.places, 0)
        rows = np.take_along_axis(whole.rows, places, axis=-1)
        assert (rows == share.rows)[inside].all()
        for segment in share.segments:
            assert not inside[segment.steps, :, segment.n_rows :].any()
    np.testing.assert_array_equal(found[..., :-1], whole.scale)


# --- copies ---


def test_copies_by_hand():
    member = make_member(np.arange(10, 17), batch_size=3, n_augments=2)
    plan = EpochPlan([member], [np.array([6, 5, 4, 3, 2, 1, 0])])
    assert batches(plan, 0) == [
        *[[16, 15, 14]] * 3,
        *[[13, 12, 11]] * 3,
        [10, 10, 10],
    ]
    copies = [False, True, True, False, True, True]
    expected = [[own] * 3 for own in copies] + [[False, True, True]]
    assert plan.copies[:, 0].tolist() == expected
    assert scales(plan, 0) == [[1 / 3] * 3] * 7


def test_copies_bear_the_weights_of_their_rows():
    weights = np.array([0.5, 1.0, 1.5])
    member = make_member(np.arange(3), batch_size=2, n_augments=1, weights=weights)
    plan = EpochPlan([member], [np.array([2, 0, 1])])
    assert batches(plan, 0) == [[2, 0], [2, 0], [1, 1]]
    assert scales(plan, 0) == [[0.75, 0.25], [0.75, 0.25], [0.5, 0.5]]


def test_without_copies_there_is_nothing_to_draw():
    plan = EpochPlan([make_member()], [ALL])
    assert plan.copies is None
    assert list(draw_noise(plan, [make_member()], stack_table([make_job([])]))) == []


@pytest.mark.parametrize("numbers", [1, 100, 10**6])
def test_noise_is_of_the_copies_alone_however_much_is_drawn_at_once(
    monkeypatch, numbers
):
    monkeypatch.setattr("skrebatch._engine.training.epoch_plan._NOISE_NUMBERS", numbers)
    specs = [
        {"n_augments": 2, "noise_std": 0.5},
        {"n_augments": 1, "noise_std": 3.0, "seed": 1, "batch_size": 20},
        {"n_augments": 1},
        {},
    ]
    members = [make_member(**spec) for spec in specs]
    plan = EpochPlan(members, [ALL] * 4)
    table = stack_table([make_job(members)])
    noise = torch.stack(list(draw_noise(plan, members, table))).numpy()
    assert noise.shape == (*plan.copies.shape, FEATURES)
    for k, spec in enumerate(specs):
        own, copies = noise[:, k], plan.copies[:, k]
        assert not own[~copies].any()
        rng = np.random.default_rng(spec.get("seed", 0))
        size = N * spec.get("n_augments", 0), FEATURES
        expected = spec.get("noise_std", 0) * rng.standard_normal(size)
        np.testing.assert_array_equal(own[copies], expected)
    # An epoch later it is drawn anew.
    again = torch.stack(list(draw_noise(plan, members, table))).numpy()
    assert (again[:, :2] != noise[:, :2])[plan.copies[:, :2]].all()


# --- one table for several jobs ---


def test_data_that_jobs_share_is_stored_once():
    X, targets = make_data()
    other_X, other_targets = make_data(seed=1)
    jobs = [
        make_job([make_member()], X, targets),
        make_job([make_member()], X, other_targets),
        make_job([make_member(), make_member()], other_X, targets),
    ]
    table = stack_table(jobs)
    assert table.features.shape == (2 * N, FEATURES + 2)
    assert table.targets.shape == (2 * N, 2)
    for job, rows, goals in zip(
        jobs, (X, X, other_X), (targets, other_targets, targets), strict=True
    ):
        for member in job.members:
            own = member.start + ALL
            np.testing.assert_array_equal(table.features[own, :FEATURES], rows)
            np.testing.assert_array_equal(table.targets[own + member.shift], goals)
