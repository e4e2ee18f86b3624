"""Breed: how often each sample is drawn."""

import numpy as np
import pytest
from helpers.plans import finite_losses, make_epoch, refuses
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from skrebatch import Breed


def draw(strategy, losses, **epoch):
    plan = strategy.plan(np.asarray(losses), make_epoch(**epoch))
    assert (len(plan.chosen), plan.repeats, plan.weights) == (0, None, None)
    return plan.remaining


@pytest.mark.parametrize(
    "number, n_by_loss", [(1, 20), (2, 30), (3, 40), (5, 60), (6, 60), (99, 60)]
)
def test_the_share_of_draws_by_loss_rises_by_hand(number, n_by_loss):
    # All of the excess is in sample 7; from .2 to .6 of 100 draws in four updates.
    losses, rng = np.where(np.arange(100) == 7, 2.0, 1.0), np.random.default_rng(0)
    counts = np.zeros(100)
    for _ in range(300):
        drawn = draw(Breed(0.2, 0.6, n_updates=4), losses, number=number, rng=rng)
        assert drawn.shape == (100,)
        assert np.all(drawn[:n_by_loss] == 7)
        counts += np.bincount(drawn[n_by_loss:], minlength=100)
    # One draw more by the losses would be 300 more of sample 7, where 120 are due.
    assert chisquare(counts).pvalue > 0.001


def test_draws_by_loss_are_in_proportion_to_the_excess():
    losses, rng = np.array([1.0, 2.0, 1.5, 5.0]), np.random.default_rng(0)
    counts = np.zeros(4)
    for _ in range(1000):
        counts += np.bincount(draw(Breed(1, 1), losses, rng=rng), minlength=4)
    assert counts[0] == 0
    assert chisquare(counts[1:], 4000 * np.array([1, 0.5, 4]) / 5.5).pvalue > 0.001


def test_half_of_the_draws_may_be_uniform():
    losses, rng = np.array([1.0, 2.0, 1.5, 5.0]), np.random.default_rng(0)
    counts = np.zeros(4)
    for _ in range(1000):
        counts += np.bincount(draw(Breed(0.5, 0.5), losses, rng=rng), minlength=4)
    expected = 2000 * np.array([0, 1, 0.5, 4]) / 5.5 + 500
    assert chisquare(counts, expected).pvalue > 0.001


@pytest.mark.parametrize("level", [0.0, 0.3, 1e30])
def test_of_equal_losses_every_draw_is_uniform(level):
    rng, counts = np.random.default_rng(0), np.zeros(5)
    for _ in range(1000):
        drawn = draw(Breed(1, 1), np.full(5, level, np.float32), rng=rng)
        counts += np.bincount(drawn, minlength=5)
    assert chisquare(counts).pvalue > 0.001


@given(finite_losses(), st.floats(0, 1), st.floats(0, 1), st.integers(1, 30))
def test_as_many_are_drawn_as_there_are_samples(losses, start, end, number):
    drawn = draw(Breed(start, end), losses, number=number)
    assert drawn.shape == losses.shape
    assert drawn.min() >= 0 and drawn.max() < len(losses)
    if start == end == 1 and np.ptp(losses) > 0:
        assert losses.min() not in losses[drawn]


def test_draws_come_from_the_generator_given():
    losses = np.random.default_rng(1).random(50)
    first = draw(Breed(), losses, seed=0)
    np.testing.assert_array_equal(draw(Breed(), losses, seed=0), first)
    assert not np.array_equal(draw(Breed(), losses, seed=1), first)


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, "half", True, None])
def test_shares_of_draws_that_are_none_are_refused(name, value):
    refuses(Breed(**{name: value}), name, value)


@pytest.mark.parametrize("n_updates", [0, -1, 1.5, "2", True, None])
def test_a_number_of_updates_that_is_none_is_refused(n_updates):
    refuses(Breed(n_updates=n_updates), "n_updates", n_updates)
