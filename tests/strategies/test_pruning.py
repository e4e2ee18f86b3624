"""What is left out of an epoch: by rank, by chance and unbiased."""

import numpy as np
import pytest
from helpers.plans import choose, finite_losses, losses_and_sizes, make_epoch, refuses
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare

from skrebatch import InfoBatch, MaxLoss, SelectiveBackprop, SmallLoss

# --- small loss ---


@pytest.mark.parametrize(
    "number, left_out", [(1, []), (2, [2]), (3, [2, 3]), (4, [2, 3, 0]), (9, [2, 3, 0])]
)
def test_small_loss_by_hand(number, left_out):
    # 3/4, 6/4, 9/4 and 3 samples.
    losses = np.array([0.3, 0.1, 0.7, 0.6])
    plan = SmallLoss(ramp_epochs=4).plan(losses, make_epoch(3, number))
    assert plan.chosen.tolist() == left_out
    assert plan.repeats == 0
    assert plan.remaining is None and plan.weights is None


@given(losses_and_sizes(), st.integers(1, 20), st.integers(0, 20))
def test_after_the_ramp_small_loss_is_max_loss_left_out(case, ramp_epochs, more):
    losses, n_chosen = case
    epoch = make_epoch(n_chosen, number=ramp_epochs + more)
    chosen = SmallLoss(ramp_epochs).plan(losses, epoch).chosen
    assert chosen.tolist() == choose(MaxLoss(), losses, n_chosen)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 300))
def test_the_ramp_is_exact(number, ramp_epochs, n_chosen):
    # 29 of 100 epochs and 100 samples: 28.999999999999996 in floating point.
    plan = SmallLoss(ramp_epochs).plan(np.zeros(300), make_epoch(n_chosen, number))
    assert len(plan.chosen) == min(n_chosen, n_chosen * number // ramp_epochs)


def test_the_ramp_is_exact_where_floating_point_is_not():
    plan = SmallLoss(100).plan(np.zeros(300), make_epoch(100, number=29))
    assert len(plan.chosen) == 29


@pytest.mark.parametrize("ramp_epochs", [0, -1, 1.5, 2.0, "2", True, None, np.nan])
def test_a_ramp_of_no_whole_number_is_refused(ramp_epochs):
    refuses(SmallLoss(ramp_epochs), "ramp_epochs", ramp_epochs)


# --- InfoBatch ---


class Fixed:
    """A generator whose draws are known."""

    def __init__(self, *draws):
        self.draws = np.array(draws)

    def random(self, n):
        assert n == len(self.draws)
        return self.draws


def test_infobatch_by_hand():
    # The mean is .4: the first, second and fifth are easy; the fifth is left out.
    losses = np.array([0.3, 0.1, 0.8, 0.6, 0.2])
    epoch = make_epoch(rng=Fixed(0.25, 0.9, 0.0, 0.1, 0.2))
    plan = InfoBatch(prune=0.25).plan(losses, epoch)
    assert plan.remaining.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(plan.weights, [4 / 3, 4 / 3, 1, 1, 4 / 3])
    assert len(plan.chosen) == 0


@pytest.mark.parametrize(
    "number, max_epochs, full",
    [(7, 8, False), (8, 8, True), (17, 20, False), (18, 20, True)],
)
def test_the_last_epochs_hold_everything(number, max_epochs, full):
    epoch = make_epoch(number=number, max_epochs=max_epochs)
    plan = InfoBatch(prune=0.9).plan(np.arange(50.0), epoch)
    assert (plan.remaining is None and plan.weights is None) == full


@given(finite_losses(), st.floats(0, 0.99), st.integers(0, 99))
def test_infobatch_keeps_the_hard_and_weighs_the_easy(losses, prune, seed):
    plan = InfoBatch(prune).plan(losses, make_epoch(seed=seed))
    easy = losses < losses.mean()
    easy[losses == losses.max()] = False
    assert set(np.flatnonzero(~easy)) <= set(plan.remaining)
    np.testing.assert_array_equal(plan.remaining, np.unique(plan.remaining))
    assert np.all(plan.weights[~easy] == 1)
    np.testing.assert_allclose(plan.weights[easy] * (1 - prune), 1)
    if prune == 0:
        assert len(plan.remaining) == len(losses)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.1, 0.3, 1e-3, 7.7])
def test_of_equal_losses_none_is_easy(value, dtype):
    # The mean of three times .1 is above .1 in floating point.
    for n in range(1, 30):
        plan = InfoBatch(0.9).plan(np.full(n, value, dtype), make_epoch())
        assert len(plan.remaining) == n
        assert np.all(plan.weights == 1)


@pytest.mark.parametrize("prune", [0.25, 0.5, 0.9])
def test_infobatch_expects_what_all_samples_give(prune):
    # Each sample's weight in an epoch is 1 in expectation; easy ones come by chance.
    losses, rng = np.array([0.1, 0.2, 0.3, 2.0, 4.0]), np.random.default_rng(0)
    n_draws = 4000
    times, total = np.zeros(5), np.zeros(5)
    for _ in range(n_draws):
        plan = InfoBatch(prune).plan(losses, make_epoch(rng=rng))
        times[plan.remaining] += 1
        total[plan.remaining] += plan.weights[plan.remaining]
    assert times[3:].tolist() == total[3:].tolist() == [n_draws] * 2
    for count in times[:3]:
        assert binomtest(int(count), n_draws, 1 - prune).pvalue > 0.001
    error = np.sqrt(prune / (1 - prune) / n_draws)
    assert np.all(np.abs(total[:3] / n_draws - 1) < 4 * error)


@pytest.mark.parametrize("prune", [1, 1.5, -0.1, np.nan, "half", True, None])
def test_a_probability_to_prune_that_is_none_is_refused(prune):
    refuses(InfoBatch(prune), "prune", prune)


@pytest.mark.parametrize("full_from", [1.1, -0.1, np.nan, "half", True, None])
def test_a_share_of_full_epochs_that_is_none_is_refused(full_from):
    refuses(InfoBatch(full_from=full_from), "full_from", full_from)


# --- selective backprop ---


def test_selective_backprop_by_hand():
    # Ranks 2, 4, 4, 1 of four; squared .25, 1, 1 and .0625.
    losses = np.array([0.3, 0.7, 0.7, 0.1])
    for draws, held in [
        ([0.24, 0.99, 0.99, 0.06], [0, 1, 2, 3]),
        ([0.25, 0.99, 0.99, 0.0625], [1, 2]),
    ]:
        epoch = make_epoch(rng=Fixed(*draws))
        plan = SelectiveBackprop(beta=2).plan(losses, epoch)
        assert plan.remaining.tolist() == held
        assert len(plan.chosen) == 0 and plan.weights is None


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_samples_are_held_as_often_as_their_rank_says(beta):
    rng, n, n_draws = np.random.default_rng(0), 6, 3000
    losses = rng.permutation(n) / n
    times = np.zeros(n, dtype=int)
    for _ in range(n_draws):
        plan = SelectiveBackprop(beta).plan(losses, make_epoch(rng=rng))
        times[plan.remaining] += 1
    probabilities = ((np.argsort(np.argsort(losses)) + 1) / n) ** beta
    for count, probability in zip(times, probabilities, strict=True):
        assert binomtest(int(count), n_draws, probability).pvalue > 0.001


@given(finite_losses(), st.floats(1e-3, 50), st.integers(0, 99))
def test_the_hardest_are_always_held(losses, beta, seed):
    plan = SelectiveBackprop(beta).plan(losses, make_epoch(seed=seed))
    assert set(np.flatnonzero(losses == losses.max())) <= set(plan.remaining)


def test_an_epoch_holds_about_the_share_that_is_said():
    losses = np.random.default_rng(0).random(20_000)
    for beta in (0.5, 1, 3):
        plan = SelectiveBackprop(beta).plan(losses, make_epoch(seed=1))
        held = len(plan.remaining)
        expected = np.array([1 / (1 + beta), beta / (1 + beta)]) * 20_000
        assert chisquare([held, 20_000 - held], expected).pvalue > 0.001


@pytest.mark.parametrize("beta", [0, -1, np.nan, np.inf, "1", True, None])
def test_a_selectivity_that_is_none_is_refused(beta):
    refuses(SelectiveBackprop(beta), "beta", beta)
