"""Weights within mini-batches, by hand and by their laws."""

import numpy as np
import pytest
import torch
from helpers.plans import refuses
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skrebatch import OHEM, TSW, GeneralizedCrossEntropy, Welsch
from skrebatch._engine.nn.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    SquaredError,
)


def weigh(strategy, losses, dtype=torch.float64):
    """The weights of a batch, or of one batch a row."""
    rows = torch.tensor(np.atleast_2d(losses), dtype=dtype)
    weights = strategy.batch_weights(rows)
    assert weights.shape == rows.shape
    assert weights.dtype == dtype
    return weights.squeeze(0).numpy()


def batches(**options):
    elements = st.floats(0, 1e9) | st.sampled_from([0.0, 0.5, 1.0])
    shapes = st.tuples(st.integers(1, 4), st.integers(1, 20))
    return arrays("float64", shapes, elements=elements, **options)


SHARES = st.floats(0, 1, exclude_min=True)


@pytest.mark.parametrize(
    "share, losses, weights",
    [
        (0.5, [0.3, 0.1, 0.7, 0.6], [0, 0, 2, 2]),
        (0.25, [0.3, 0.1, 0.7, 0.6], [0, 0, 4, 0]),
        (0.01, [0.3, 0.1, 0.7, 0.6], [0, 0, 4, 0]),  # at least one
        (1, [0.3, 0.1, 0.7, 0.6], [1, 1, 1, 1]),
        (0.5, [0.5, 0.5, 0.5, 0.5], [2, 2, 0, 0]),  # of equals the first
        (0.4, [1.0, 3.0, 2.0, 3.0, 3.0], [0, 2.5, 0, 2.5, 0]),
        (0.5, [7.0], [1]),
    ],
)
def test_ohem_by_hand(share, losses, weights):
    np.testing.assert_allclose(weigh(OHEM(share), losses), weights, rtol=1e-12)


@pytest.mark.parametrize(
    "share, weight, losses, weights",
    [
        # 1 + 1 + 3 + 1 = 6, on average 1.5
        (0.25, 3, [0.3, 0.1, 0.7, 0.6], [2 / 3, 2 / 3, 2, 2 / 3]),
        (0.5, 2, [0.3, 0.1, 0.7, 0.6], [2 / 3, 2 / 3, 4 / 3, 4 / 3]),
        (0.5, 1, [0.3, 0.1, 0.7, 0.6], [1, 1, 1, 1]),
        (1, 9, [0.3, 0.1], [1, 1]),
        (0.3, 2, [1.0, 1.0, 1.0], [1.5, 0.75, 0.75]),  # of equals the first
    ],
)
def test_tsw_by_hand(share, weight, losses, weights):
    np.testing.assert_allclose(weigh(TSW(share, weight), losses), weights, rtol=1e-12)


@pytest.mark.parametrize(
    "strategy, losses, weights",
    [
        # Of cross-entropies: the probabilities to the power of q.
        (GeneralizedCrossEntropy(1), -np.log([0.9, 0.5, 0.1]), [0.9, 0.5, 0.1]),
        (GeneralizedCrossEntropy(0.5), -np.log([1, 0.25, 0.01]), [1, 0.5, 0.1]),
        (GeneralizedCrossEntropy(2), [0, 1e6], [1, 0]),
        # Of squared errors 0, c², 4 c².
        (Welsch(3), [0, 9, 36], [1, np.exp(-0.5), np.exp(-2)]),
        (Welsch(0.5), [0, 0.25, 1], [1, np.exp(-0.5), np.exp(-2)]),
    ],
)
def test_soft_weights_by_hand(strategy, losses, weights):
    np.testing.assert_allclose(weigh(strategy, losses), weights, rtol=1e-12)


SOFT_LOSSES = {
    "two classes": (
        BinaryCrossEntropy(),
        [[1.0], [0.0], [1.0]],
        GeneralizedCrossEntropy(0.7),
        lambda z, y: (1 - torch.sigmoid((2 * y - 1) * z)[:, 0] ** 0.7) / 0.7,
    ),
    "classes": (
        CrossEntropy(),
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]],
        GeneralizedCrossEntropy(1.3),
        lambda z, y: (1 - (torch.softmax(z, 1) * y).sum(1) ** 1.3) / 1.3,
    ),
    "labels": (
        BinaryCrossEntropy(),
        [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]],
        GeneralizedCrossEntropy(0.4),
        lambda z, y: (1 - torch.sigmoid((2 * y - 1) * z).prod(1) ** 0.4) / 0.4,
    ),
    "number": (
        SquaredError(),
        [[0.3], [-2.0], [9.0]],
        Welsch(1.5),
        lambda z, y: 2 * 1.5**2 * (1 - torch.exp(-(((z - y)[:, 0] / 1.5) ** 2) / 2)),
    ),
    "numbers": (
        SquaredError(),
        [[0.3, 1.0], [-2.0, 0.1], [9.0, -9.0]],
        Welsch(2),
        lambda z, y: 8 * (1 - torch.exp(-((z - y) ** 2).mean(1) / 8)),
    ),
}


@pytest.mark.parametrize("case", SOFT_LOSSES)
def test_soft_weights_give_the_gradient_of_the_closed_form(case):
    loss, targets, strategy, closed_form = SOFT_LOSSES[case]
    targets = torch.tensor(targets, dtype=torch.float64)
    rng = torch.Generator().manual_seed(0)
    outputs = torch.randn(targets.shape, generator=rng, dtype=torch.float64)
    outputs.requires_grad_()
    (wanted,) = torch.autograd.grad(closed_form(outputs, targets).mean(), outputs)
    # As the engine does it: the weights times the gradients of the losses.
    losses = loss.per_sample(outputs, targets)
    weights = strategy.batch_weights(losses.detach()[None])[0]
    (weighted,) = torch.autograd.grad((losses * weights).mean(), outputs)
    np.testing.assert_allclose(weighted, wanted, rtol=0, atol=1e-10)
    assert wanted.abs().min() > 1e-3 or case.startswith("number")  # of an outlier


@given(batches(), st.floats(1e-3, 1e3))
def test_both_soft_strategies_are_one_formula(losses, c):
    numbers = weigh(Welsch(c), losses)
    classes = weigh(GeneralizedCrossEntropy(1 / (2 * c**2)), losses)
    np.testing.assert_allclose(numbers, classes, rtol=1e-6, atol=1e-300)


@given(batches(), SHARES)
def test_ohem_averages_over_the_k_hardest(losses, share):
    weights = np.atleast_2d(weigh(OHEM(share), losses))
    b = losses.shape[1]
    k = max(1, round(share * b))
    hardest = -np.sort(-losses, axis=1)[:, :k]
    for row, own, hard in zip(losses, weights, hardest, strict=True):
        assert np.count_nonzero(own) == k
        assert np.all(own[row < hard[-1]] == 0)
        assert np.all(own[row > hard[-1]] > 0)
        np.testing.assert_allclose((own * row).mean(), hard.mean(), rtol=1e-9)
    np.testing.assert_allclose(weights.mean(axis=1), 1, rtol=1e-9)


@given(batches(), SHARES, st.floats(1, 100))
def test_tsw_weighs_the_q_hardest_by_the_same_factor(losses, share, weight):
    weights = np.atleast_2d(weigh(TSW(share, weight), losses))
    ohem = np.atleast_2d(weigh(OHEM(share), losses))
    for own, is_hard in zip(weights, ohem > 0, strict=True):
        low = own[~is_hard] if not is_hard.all() else own[is_hard] / weight
        np.testing.assert_allclose(own[is_hard], weight * low.max(), rtol=1e-9)
        assert np.ptp(low) == 0
    np.testing.assert_allclose(weights.mean(axis=1), 1, rtol=1e-9)


@given(batches(unique=True), SHARES, st.randoms(use_true_random=False))
def test_permuting_a_batch_permutes_its_weights(losses, share, random):
    order = list(range(losses.shape[1]))
    random.shuffle(order)
    for strategy in (OHEM(share), TSW(share), GeneralizedCrossEntropy(share)):
        weights = np.atleast_2d(weigh(strategy, losses))
        permuted = np.atleast_2d(weigh(strategy, losses[:, order]))
        np.testing.assert_array_equal(permuted, weights[:, order])


@given(batches(), SHARES)
def test_a_batch_depends_on_no_other(losses, share):
    for strategy in (OHEM(share), TSW(share), GeneralizedCrossEntropy(share)):
        together = np.atleast_2d(weigh(strategy, losses))
        alone = [weigh(strategy, row).reshape(-1) for row in losses]
        np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("strategy", [OHEM, TSW])
@pytest.mark.parametrize("share", [0, -0.1, 1.1, np.nan, "half", True, None])
def test_a_share_that_is_none_is_refused(strategy, share):
    refuses(strategy(share), "share", share)


@pytest.mark.parametrize("weight", [0.9, 0, -1, np.nan, np.inf, "2", True, None])
def test_a_weight_below_1_is_refused(weight):
    refuses(TSW(weight=weight), "weight", weight)


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf, "2", True, None])
def test_a_strength_that_is_not_above_0_is_refused(value):
    refuses(GeneralizedCrossEntropy(value), "q", value)
    refuses(Welsch(value), "c", value)
