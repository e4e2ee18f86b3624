"""Where parameters lie, and steps in 16 bits."""

import copy

import pytest
import torch
from helpers.stacks import make_batch, make_networks
from helpers.stacks import make_stack as make_fused

from skrebatch._engine.nn.architecture import build_architecture
from skrebatch._engine.nn.losses import SquaredError
from skrebatch._engine.nn.stack import CNNStack, append_constants
from skrebatch._engine.nn.step import FIRST_SCALE, Layout, update_scales

HALF = pytest.mark.parametrize(
    "precision", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"]
)
SIZES = {
    "whole": {"n_features": 8},
    "windows": {"n_features": 30},
    "several outputs": {"n_features": 8, "n_outputs": 3},
    "norms": {"n_features": 8, "hidden_layers": (9, 5), "batch_norm": True},
    "projection": {"n_features": 5, "projection": (3, 16)},
    "clipped": {"n_features": 8, "clips_inputs": True},
    "clipped norms": {"n_features": 8, "clips_inputs": True, "batch_norm": True},
    "mlp": {"n_features": 8, "conv_channels": (), "hidden_layers": (9, 5)},
}


def make_stack(architecture, K=2, precision=None, group_sizes=None):
    sizes = group_sizes or [1] * K
    stack = CNNStack(architecture, sizes, precision=precision)
    for k, network in enumerate(make_networks(architecture, K)):
        stack.write(k, network.float())
    return stack


def take_step(stack, x, targets, factor=1.0):
    """Return outputs (K, b, O) and gradients (K, n_parameters)."""
    K, b, _ = x.shape
    step = stack.step(K, b)
    step.x.copy_(append_constants(x.flatten(0, 1)).view(K, b, -1))
    step.count_rows(torch.full((K,), b))
    outputs = step.forward().clone()
    step.d_outputs.copy_((outputs - targets) * factor / b)
    step.backward()
    return outputs, stack.grad[:K].clone()


def batch_for(architecture, K=2, b=20):
    return [p.float() for p in make_batch(architecture, SquaredError(), K, b)[:2]]


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_every_cell_has_one_owner(sizes):
    layout = Layout(build_architecture(**sizes))
    cells = [block.cells for block in layout.blocks]
    if layout.projection is not None:
        cells.append(layout.projection.cells)
    cells += [linear.cells for linear in layout.linears]
    for norm in layout.norms:
        cells += [norm.weight, norm.bias]
    owned = [i for part in cells for i in range(part.start, part.stop)]
    assert sorted(owned) == list(range(1, layout.n_parameters))
    assert layout.n_parameters == layout.architecture.n_parameters + 1
    parts = [part for norm in layout.norms for part in (norm.mean, norm.variance)]
    owned = [layout.limit] if layout.architecture.clips_inputs else []
    owned += [i for part in parts for i in range(part.start, part.stop)]
    assert owned == list(range(layout.n_running))


# --- steps in 16 bits ---


def autocast_step(architecture, precision, x, targets):
    """Do by torch what `take_step` does."""
    outputs, gradients = [], []
    for network, rows, target in zip(
        make_networks(architecture, len(x)), x, targets, strict=True
    ):
        network = network.float().train()
        with torch.autocast("cpu", precision):
            output = network(rows)
        ((output.float() - target).square().sum() / 2 / len(rows)).backward()
        gradient = copy.deepcopy(network)
        for into, parameter in zip(
            gradient.parameters(), network.parameters(), strict=True
        ):
            into.data = parameter.grad
        outputs.append(output.float().detach())
        gradients.append(gradient)
    return torch.stack(outputs), make_fused(gradients).flat


@HALF
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_a_step_in_16_bits_is_as_near_that_in_32_as_autocast(sizes, precision):
    architecture = build_architecture(**sizes)
    batch = batch_for(architecture)
    exact = take_step(make_stack(architecture), *batch)
    ours = take_step(make_stack(architecture, precision=precision), *batch)
    theirs = autocast_step(architecture, precision, *batch)
    for own, its, expected in zip(ours, theirs, exact, strict=True):
        assert own.dtype == torch.float32
        assert 0 < (own - expected).norm() < 1.5 * (its - expected).norm()
    assert torch.equal(ours[0], ours[0].to(precision).float())


@HALF
def test_the_parameters_keep_their_32_bits(precision):
    architecture = build_architecture(8)
    stack, twin = (
        make_stack(architecture, precision=precision),
        make_stack(architecture),
    )
    take_step(stack, *batch_for(architecture))
    assert torch.equal(stack.flat, twin.flat)
    with torch.no_grad():
        stack.flat.add_(stack.flat, alpha=1e-6)
    assert not torch.equal(stack.flat, twin.flat)


@HALF
def test_evaluation_is_in_32_bits(precision):
    architecture = build_architecture(8, batch_norm=True)
    x = batch_for(architecture)[0][0]
    stack, twin = (
        make_stack(architecture, precision=precision),
        make_stack(architecture),
    )
    assert torch.equal(stack(x), twin(x))


@HALF
def test_the_gradient_of_the_constant_is_zero(precision):
    # The memory of a step has held something else before.
    architecture = build_architecture(8)
    stack = make_stack(architecture, precision=precision)
    for b in (3, 20, 7):
        gradients = take_step(stack, *batch_for(architecture, b=b))[1]
        assert torch.all(gradients[:, 0] == 0)


@HALF
def test_outliers_are_clipped_before_they_are_rounded(precision):
    # float16 ends at 65,504.
    architecture = build_architecture(8, clips_inputs=True)
    x, targets = batch_for(architecture)
    x[:, 0] = torch.tensor([1e30, -1e30] * 4)
    stack = make_stack(architecture, precision=precision)
    outputs, gradients = take_step(stack, x, targets)
    exact = take_step(make_stack(architecture), x, targets)
    assert (outputs - exact[0]).norm() < 0.01 * exact[0].norm()
    assert (gradients - exact[1]).norm() < 0.1 * exact[1].norm()


def test_small_gradients_survive_in_float16():
    architecture = build_architecture(8)
    batch = batch_for(architecture)
    factor = 1e-6  # too small for float16 without a scale
    exact = take_step(make_stack(architecture), *batch, factor)[1]
    scaled = make_stack(architecture, precision=torch.float16)
    gradients = take_step(scaled, *batch, factor)[1]
    assert (gradients - exact).norm() < 0.01 * exact.norm()
    scaled.running[:, -2] = 1
    lost = take_step(scaled, *batch, factor)[1]
    assert (lost - exact).norm() > 0.1 * exact.norm()


def test_networks_whose_gradient_overflows_are_left_out_of_a_step():
    architecture = build_architecture(8)
    stack = make_stack(architecture, 3, torch.float16)
    x, targets = batch_for(architecture, 3)
    targets[1] *= 1e4
    optimizer = torch.optim.SGD(stack.groups, lr=0.1, momentum=0.9)
    before, running = stack.flat.clone(), stack.running.clone()
    take_step(stack, x, targets)
    stack.skip_overflows((True, True, False))
    optimizer.step()
    assert (stack.flat != before).any(1).tolist() == [True, False, False]
    assert torch.isfinite(stack.flat).all()
    # The scale of the one that overflowed is halved, the idle one's as it was.
    expected = [[FIRST_SCALE, 1], [FIRST_SCALE / 2, 0], running[2].tolist()]
    assert stack.running.tolist() == expected
    # Halved often enough, it fits again.
    for _ in range(20):
        take_step(stack, x, targets)
        stack.skip_overflows((True, True, True))
        optimizer.step()
    assert (stack.flat != before).any(1).all()
    assert stack.running[1, -2] < FIRST_SCALE / 2


def test_scales_halve_and_double():
    scale = torch.tensor([8.0, 8.0, 8.0, 2.0**24])
    steps = torch.tensor([5.0, 1999.0, 1999.0, 1999.0])
    update_scales(scale, steps, torch.tensor([True, True, False, True]))
    assert scale.tolist() == [8, 16, 4, 2**24]
    assert steps.tolist() == [6, 0, 0, 0]


def test_only_float16_scales():
    architecture = build_architecture(4)
    widths = [
        make_stack(architecture, precision=precision).running.shape[1]
        for precision in (None, torch.float32, torch.bfloat16, torch.float16)
    ]
    assert widths == [0, 0, 0, 2]
