"""The batches of an epoch and the table they are taken from, by hand."""

import numpy as np
import pytest
from test_training import ALL, FEATURES, N, make_data, make_job, make_member

from skrebatch.batches import _EpochPlan, stack_table

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
    plan = _EpochPlan(members, orders)
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
    plan = _EpochPlan([member], [np.array([2, 0, 2, 1, 2])])
    assert batches(plan, 0) == [[107, 105, 107, 106], [107]]
    assert scales(plan, 0) == [[0.25] * 4, [1]]


def test_equal_steps_are_one_segment():
    members = [make_member(batch_size=8), make_member(batch_size=7)]
    plan = _EpochPlan(members, [ALL[:40], ALL[:42]])
    # Five batches of 8 beside six of 7: 8 rows wide, then 7.
    segments = [(s.steps, s.n_networks, s.n_rows) for s in plan.segments]
    assert segments == [(slice(0, 5), 2, 8), (slice(5, 6), 2, 7)]


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
