"""The losses against torch's; their gradients in closed form against autograd."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from skrebatch._engine.nn.losses import BinaryCrossEntropy, CrossEntropy, SquaredError

LOSSES = {
    "binary": (BinaryCrossEntropy(), 1),
    "labels": (BinaryCrossEntropy(), 3),
    "classes": (CrossEntropy(), 3),
    "mean": (SquaredError(), 1),
    "means": (SquaredError(), 4),
}


def draw(name, *shape, seed=0, scale=3.0, dtype=torch.float64):
    """Return a loss, outputs (*shape, O) and targets as the loss wants them."""
    loss, n_outputs = LOSSES[name]
    rng = torch.Generator().manual_seed(seed)
    outputs = scale * torch.randn(*shape, n_outputs, generator=rng, dtype=dtype)
    if isinstance(loss, BinaryCrossEntropy):
        targets = torch.randint(2, (*shape, n_outputs), generator=rng).to(dtype)
    elif isinstance(loss, CrossEntropy):
        labels = torch.randint(n_outputs, shape, generator=rng)
        targets = F.one_hot(labels, n_outputs).to(dtype)
    else:
        targets = torch.randn(*shape, n_outputs, generator=rng, dtype=dtype)
    return loss, outputs, targets


def torchs_loss(loss, outputs, targets):
    """Per-sample losses by torch's functions: (n, O), (n, O) -> (n,)."""
    if isinstance(loss, BinaryCrossEntropy):
        return sum(
            F.binary_cross_entropy_with_logits(*label, reduction="none")
            for label in zip(outputs.T, targets.T, strict=True)
        )
    if isinstance(loss, CrossEntropy):
        return F.cross_entropy(outputs, targets.argmax(1), reduction="none")
    return F.mse_loss(outputs, targets, reduction="none").mean(1)


def test_hand_worked_losses():
    def per_sample(loss, outputs, targets):
        return loss.per_sample(torch.tensor([outputs]), torch.tensor([targets])).item()

    # Odds of 3 to 1 are a probability of 3/4.
    log_3 = math.log(3)
    assert per_sample(BinaryCrossEntropy(), [log_3], [1.0]) == pytest.approx(
        -math.log(3 / 4)
    )
    assert per_sample(BinaryCrossEntropy(), [log_3], [0.0]) == pytest.approx(
        -math.log(1 / 4)
    )
    # Of two labels the sum.
    assert per_sample(BinaryCrossEntropy(), [log_3, 0.0], [0.0, 1.0]) == pytest.approx(
        -math.log(1 / 4) - math.log(1 / 2)
    )
    # exp: 3, 1, 1; so 3/5, 1/5, 1/5.
    assert per_sample(CrossEntropy(), [log_3, 0.0, 0.0], [0.0, 0.0, 1.0]) == (
        pytest.approx(-math.log(1 / 5))
    )
    assert per_sample(SquaredError(), [3.0, 1.0], [1.0, 2.0]) == (4 + 1) / 2


@pytest.mark.parametrize("name", LOSSES)
def test_per_sample_is_torchs_loss(name):
    loss, outputs, targets = draw(name, 20)
    expected = torchs_loss(loss, outputs, targets)
    result = loss.per_sample(outputs, targets)
    assert result.shape == (20,)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(loss(outputs, targets), expected.mean())


@pytest.mark.parametrize("name", LOSSES)
def test_a_stack_of_networks_has_the_losses_of_each(name):
    loss, outputs, targets = draw(name, 3, 5)
    result = loss.per_sample(outputs, targets)
    assert result.shape == (3, 5)
    for k in range(3):
        expected = torchs_loss(loss, outputs[k], targets[k])
        torch.testing.assert_close(result[k], expected)


@pytest.mark.parametrize("name", LOSSES)
def test_link_gives_predictions(name):
    loss, outputs, _ = draw(name, 20)
    links = {
        "binary": 1 / (1 + torch.exp(-outputs)),
        "labels": 1 / (1 + torch.exp(-outputs)),
        "classes": outputs.exp() / outputs.exp().sum(1, keepdim=True),
    }
    torch.testing.assert_close(loss.link(outputs), links.get(name, outputs))


@settings(deadline=None)
@given(st.sampled_from(list(LOSSES)), st.integers(0, 1000), st.floats(0.01, 20))
def test_gradient_is_slope_times_link_minus_target(name, seed, scale):
    loss, outputs, targets = draw(name, 7, seed=seed, scale=scale)
    outputs.requires_grad_()
    (gradient,) = torch.autograd.grad(
        torchs_loss(loss, outputs, targets).sum(), outputs
    )
    slope = loss.slope(outputs.shape[1])
    torch.testing.assert_close(
        slope * (loss.link(outputs) - targets), gradient, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("name", ["binary", "labels", "classes"])
@pytest.mark.parametrize("scale", [1e2, 1e4, 1e30])
def test_large_logits_stay_finite(name, scale):
    loss, outputs, targets = draw(name, 50, scale=scale, dtype=torch.float32)
    losses = loss.per_sample(outputs, targets)
    assert losses.isfinite().all()
    assert (losses >= 0).all()
    assert losses.max() > scale / 10  # a confident error stays as large as it is
    probabilities = loss.link(outputs)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


@pytest.mark.parametrize("name", ["binary", "labels", "classes"])
def test_a_shift_or_swap_of_the_classes_leaves_the_loss(name):
    loss, outputs, targets = draw(name, 9)
    expected = loss.per_sample(outputs, targets)
    if name in ("binary", "labels"):
        result = loss.per_sample(-outputs, 1 - targets)
    else:
        result = loss.per_sample(outputs.flip(1) + 5, targets.flip(1))
    torch.testing.assert_close(result, expected)


def test_two_classes_by_either_cross_entropy():
    binary, outputs, targets = draw("binary", 9)
    both = torch.cat([torch.zeros_like(outputs), outputs], dim=1)
    one_hot = torch.cat([1 - targets, targets], dim=1)
    torch.testing.assert_close(
        CrossEntropy().per_sample(both, one_hot), binary.per_sample(outputs, targets)
    )
