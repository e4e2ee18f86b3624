"""The partial selection against the full sort of the paper; chance; the hybrid."""

import numpy as np
import pytest
import torch
from helpers.plans import choose, losses_and_sizes, make_epoch, refuses
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from skrebatch import Hybrid, MaxLoss, MinLoss, RandomChoice
from skrebatch.strategies import check_strategy


def test_a_hand_worked_case_with_ties():
    losses = np.array([0.5, 0.1, 0.9, 0.5, 0.1, 0.9])
    assert choose(MinLoss(), losses, 3) == [1, 4, 0]
    assert choose(MaxLoss(), losses, 3) == [2, 5, 0]


@given(losses_and_sizes())
def test_min_loss_is_what_a_full_sort_puts_first(case):
    losses, n_chosen = case
    full_sort = sorted(range(len(losses)), key=lambda i: (losses[i], i))
    assert choose(MinLoss(), losses, n_chosen) == full_sort[:n_chosen]


@given(losses_and_sizes())
def test_max_loss_is_what_a_full_sort_puts_last(case):
    losses, n_chosen = case
    full_sort = sorted(range(len(losses)), key=lambda i: (-losses[i], i))
    assert choose(MaxLoss(), losses, n_chosen) == full_sort[:n_chosen]


@given(
    losses_and_sizes(),
    st.sampled_from(["min-loss", "max-loss", "random", "hybrid"]),
    st.integers(0, 9),
)
def test_exactly_b_distinct_samples_are_chosen(case, name, seed):
    losses, n_chosen = case
    before = losses.copy()
    rng = np.random.default_rng(seed)
    chosen = check_strategy(name).plan(losses, make_epoch(n_chosen, rng=rng))
    assert chosen.shape == (n_chosen,)
    assert chosen.dtype.kind == "i"
    assert len(set(chosen.tolist())) == n_chosen
    assert set(chosen.tolist()) <= set(range(len(losses)))
    assert losses.tobytes() == before.tobytes()


@given(
    losses_and_sizes(unique=True),
    st.sampled_from([MinLoss, MaxLoss]),
    st.randoms(use_true_random=False),
)
def test_permuting_the_samples_permutes_the_choice(case, strategy, random):
    losses, n_chosen = case
    order = np.arange(len(losses))
    random.shuffle(order)
    permuted = choose(strategy(), losses[order], n_chosen)
    assert order[permuted].tolist() == choose(strategy(), losses, n_chosen)


def test_random_choice_is_uniform():
    # Every ordered pair of five samples is as likely as every other.
    rng, losses = np.random.default_rng(0), np.zeros(5)
    counts = np.zeros((5, 5))
    for _ in range(4000):
        first, second = RandomChoice().plan(losses, make_epoch(2, rng=rng))
        counts[first, second] += 1
    assert np.all(np.diag(counts) == 0)
    pairs = counts[~np.eye(5, dtype=bool)]
    assert chisquare(pairs).pvalue > 0.001


def test_random_choice_comes_from_the_generator_given_and_nothing_else():
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    losses = np.linspace(0, 1, 50)
    chosen = choose(RandomChoice(), losses, 10, seed=1)
    assert choose(RandomChoice(), losses[::-1], 10, seed=1) == chosen
    assert choose(RandomChoice(), losses, 10, seed=2) != chosen
    np.testing.assert_equal(np.random.get_state(), numpy_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


# --- the hybrid ---


@pytest.mark.parametrize(
    "easy, n_chosen, chosen",
    [
        (0.5, 4, [1, 4, 3, 2]),
        (0.5, 3, [1, 4, 3]),  # of an odd number one more is easy
        (0.25, 4, [4, 1, 2, 5]),
        (0.5, 0, []),
        (0.5, 6, [1, 4, 3, 2, 0, 5]),
    ],
)
def test_a_hybrid_by_hand(easy, n_chosen, chosen):
    losses = np.array([0.3, 0.1, 0.7, 0.2, 0.9, 0.5])
    assert choose(Hybrid(easy), losses, n_chosen) == chosen


@given(losses_and_sizes())
def test_the_ends_of_the_hybrid_are_the_paper_s_strategies(case):
    assert choose(Hybrid(1), *case) == choose(MinLoss(), *case)
    assert choose(Hybrid(0), *case) == choose(MaxLoss(), *case)


@given(losses_and_sizes(unique=True), st.floats(0, 1))
def test_a_hybrid_leaves_the_middle_alone(case, easy):
    losses, n_chosen = case
    chosen = choose(Hybrid(easy), losses, n_chosen)
    ranks = np.sort(np.argsort(np.argsort(losses))[chosen])
    n_easy = int(np.sum(ranks == np.arange(n_chosen)))
    hard = np.arange(len(losses) - n_chosen + n_easy, len(losses))
    np.testing.assert_array_equal(ranks[n_easy:], hard)
    if n_chosen < len(losses):
        assert abs(n_easy - easy * n_chosen) <= 0.5


@pytest.mark.parametrize("easy", [-0.1, 1.1, np.nan, "half", True, None])
def test_a_share_of_easy_samples_that_is_none_is_refused(easy):
    refuses(Hybrid(easy), "easy", easy)
