"""The partial selection against the full sort of the paper; the strategy interface."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chisquare
from sklearn.base import clone

from skrebatch.strategies import (
    Epoch,
    MaxLoss,
    MinLoss,
    RandomChoice,
    Strategy,
    check_strategy,
)

BUILT_IN = {"min-loss": MinLoss, "max-loss": MaxLoss, "random": RandomChoice}


def choose(strategy, losses, n_chosen, seed=0):
    epoch = Epoch(2, 10, n_chosen, np.random.default_rng(seed))
    return strategy.plan(losses, epoch).tolist()


@st.composite
def losses_and_sizes(draw, unique=False):
    """Draw losses of either precision, many of them equal, and how many to choose."""
    width = draw(st.sampled_from([32, 64]))
    elements = st.floats(-1e9, 1e9, width=width)
    if not unique:
        elements |= st.sampled_from([0.0, -0.0, 0.5, 1.0, np.inf])
    losses = draw(
        arrays(f"float{width}", st.integers(1, 30), elements=elements, unique=unique)
    )
    return losses, draw(st.integers(0, len(losses)))


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


@given(losses_and_sizes(), st.sampled_from(list(BUILT_IN)), st.integers(0, 9))
def test_exactly_b_distinct_samples_are_chosen(case, name, seed):
    losses, n_chosen = case
    before = losses.copy()
    rng = np.random.default_rng(seed)
    chosen = check_strategy(name).plan(losses, Epoch(2, 10, n_chosen, rng))
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
        first, second = RandomChoice().plan(losses, Epoch(2, 10, 2, rng))
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


# --- the interface ---


class Nearest(Strategy):
    """A user's strategy: the losses nearest to a target, with a parameter."""

    def __init__(self, target=0.0):
        self.target = target

    def plan(self, losses, epoch):
        return np.argsort(np.abs(losses - self.target))[: epoch.n_chosen]


@pytest.mark.parametrize("name, strategy", BUILT_IN.items())
def test_check_strategy_knows_the_names(name, strategy):
    assert type(check_strategy(name)) is strategy


def test_check_strategy_passes_objects_through():
    strategy = Nearest(0.5)
    assert check_strategy(strategy) is strategy


@pytest.mark.parametrize(
    "strategy", ["min_loss", "MinLoss", "", None, 3, MinLoss, min, ["min-loss"]]
)
def test_check_strategy_names_the_strategies(strategy):
    with pytest.raises(ValueError) as error:
        check_strategy(strategy)
    for part in ["strategy", '"min-loss", "max-loss", "random"', repr(strategy)]:
        assert part in str(error.value)


def test_a_strategy_without_a_method_is_named():
    class Half(Strategy):
        pass

    with pytest.raises(ValueError, match="Half defines neither plan"):
        check_strategy(Half())


@pytest.mark.parametrize(
    "strategy, text",
    [
        (MinLoss(), "MinLoss()"),
        (MaxLoss(), "MaxLoss()"),
        (RandomChoice(), "RandomChoice()"),
        (Nearest(target=0.5), "Nearest(target=0.5)"),
    ],
)
def test_strategies_are_scikit_learn_objects(strategy, text):
    losses = np.array([0.9, 0.4, 0.6, 0.1, 0.0])
    assert repr(strategy) == text
    for copy in (clone(strategy), pickle.loads(pickle.dumps(strategy))):
        assert copy is not strategy
        assert type(copy) is type(strategy)
        assert copy.get_params() == strategy.get_params()
        assert choose(copy, losses, 3) == choose(strategy, losses, 3)


def test_a_parameter_of_a_strategy_can_be_set():
    strategy = Nearest().set_params(target=1.0)
    assert choose(strategy, np.array([0.1, 0.9, 0.5]), 2) == [1, 2]
