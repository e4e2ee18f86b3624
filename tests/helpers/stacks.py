"""Stacks of networks, and their steps by autograd."""

import copy

import torch
from hypothesis import strategies as st
from torch.nn import functional as F

from skrebatch._engine.nn.architecture import build_architecture
from skrebatch._engine.nn.losses import CrossEntropy, SquaredError
from skrebatch._engine.nn.stack import CNNStack, append_constants
from skrebatch._engine.nn.tabular_cnn import TabularCNN

SEEDS = st.integers(0, 2**32 - 1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_networks(architecture, K, seed=0):
    rng = generator(seed)
    networks = [TabularCNN.from_architecture(architecture) for _ in range(K)]
    for k, network in enumerate(networks):
        network.reset_parameters(rng)
        if architecture.clips_inputs:
            network.input_clip.fill_(1 + k)
    return [network.double() for network in networks]


def make_stack(networks, group_sizes=None):
    dtype = next(networks[0].parameters()).dtype
    sizes = group_sizes or (len(networks),)
    stack = CNNStack(networks[0].architecture, sizes, dtype)
    for k, network in enumerate(networks):
        stack.write(k, network)
    return stack


def make_batch(architecture, loss, K, b, seed=0):
    """Draw rows (K, b, F), targets (K, b, O) and weights (K, b), some of them 0."""
    rng = generator(seed)
    n_outputs = architecture.n_outputs
    x = torch.randn(K, b, architecture.n_features, generator=rng, dtype=torch.float64)
    if isinstance(loss, SquaredError):
        targets = torch.randn(K, b, n_outputs, generator=rng).double()
    elif isinstance(loss, CrossEntropy):
        labels = torch.randint(n_outputs, (K, b), generator=rng)
        targets = F.one_hot(labels, n_outputs).double()
    else:
        targets = torch.randint(2, (K, b, n_outputs), generator=rng).double()
    weights = torch.randint(4, (K, b), generator=rng) / 2.0
    return x, targets, weights.double()


def fused_step(stack, loss, x, targets, weights):
    """Return outputs (K, b, O) and gradients (K, n_parameters) of the summed loss."""
    K, b, _ = x.shape
    step = stack.step(K, b)
    step.x.copy_(append_constants(x.flatten(0, 1)).view(K, b, -1))
    outputs = step.forward().clone()
    slope = loss.slope(outputs.shape[-1])
    residuals = loss.link(outputs) - targets
    step.d_outputs.copy_(slope * residuals * weights.unsqueeze(-1))
    step.backward()
    return outputs, stack.grad[:K].clone()


def autograd_step(networks, loss, x, targets, weights):
    """Do the same by torch, with the gradients in CNNStack's layout."""
    outputs, gradients = [], []
    for network, *batch in zip(networks, x, targets, weights, strict=True):
        rows, target, weight = batch
        output = network(rows)
        (loss.per_sample(output, target) * weight).sum().backward()
        gradient = copy.deepcopy(network)
        for into, parameter in zip(
            gradient.parameters(), network.parameters(), strict=True
        ):
            into.data, parameter.grad = parameter.grad, None
        outputs.append(output.detach())
        gradients.append(gradient)
    return torch.stack(outputs), make_stack(gradients).flat


def assert_close(result, expected, tolerance=1e-10):
    torch.testing.assert_close(result, expected, rtol=tolerance, atol=tolerance)


@st.composite
def architectures(draw, n_outputs=1, clips_inputs=False):
    """Draw the sizes of a network with one to three blocks, of windows or whole."""
    n_blocks = draw(st.integers(1, 3))
    many = draw(st.booleans())

    def per_block(low, high):
        return draw(st.tuples(*[st.integers(low, high)] * n_blocks))

    return build_architecture(
        n_features=draw(st.sampled_from([22, 29, 30, 40]) | st.integers(1, 12)),
        n_outputs=n_outputs,
        conv_channels=per_block(15, 17) if many else per_block(1, 3),
        kernel_size=per_block(1, 9),
        pool_size=per_block(1, 4),
        pool_stride=draw(st.none() | st.just(per_block(1, 3))),
        padding=draw(st.just("same") | st.integers(0, 3)),
        hidden_size=draw(st.just("auto") | st.integers(1, 4)),
        projection=draw(
            st.none() | st.tuples(st.integers(1, 4), st.sampled_from([1, 2, 9, 30]))
        ),
        clips_inputs=clips_inputs,
    )
