"""Hidden layers with batch norm and dropout, against torch's own in float64."""

import copy
import pickle

import pytest
import torch
from helpers.long_runs import SCALE
from helpers.stacks import (
    SEEDS,
    architectures,
    assert_close,
    generator,
    make_batch,
    make_networks,
    make_stack,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skrebatch._engine.nn.architecture import build_architecture
from skrebatch._engine.nn.losses import SquaredError
from skrebatch._engine.nn.stack import append_constants

LOSS = SquaredError()


class Times(nn.Module):
    """Dropout whose mask is given."""

    def __init__(self, keep, kept):
        super().__init__()
        self.factor = keep.double() / kept

    def forward(self, x):
        return x * self.factor


def make_trained_networks(architecture, K, seed=0):
    """Draw networks that have norms with weights and statistics of their own."""
    networks = make_networks(architecture, K, seed)
    rng = generator(seed + 1)
    for network in networks:
        for norm in network.norms():
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                drawn = torch.rand(tensor.shape, generator=rng, dtype=torch.float64)
                tensor.data = drawn + 0.5
    return networks


def draw_keep(architecture, K, b, seed=0):
    width = sum(architecture.hidden_sizes)
    return torch.rand(K, b, width, generator=generator(seed)) >= architecture.dropout


def fused_step(stack, x, targets, weights, counts, keep):
    """Train a step on the first rows of each batch, and say what it gave."""
    K, b, _ = x.shape
    own = (torch.arange(b) < counts[:, None]).double()
    step = stack.step(K, b)
    step.x.copy_(append_constants(x.flatten(0, 1)).view(K, b, -1))
    step.count_rows(counts)
    step.drop(keep)
    outputs = step.forward().clone()
    scale = LOSS.slope(outputs.shape[-1]) * (weights * own).unsqueeze(-1)
    step.d_outputs.copy_((outputs - targets) * scale)
    step.backward()
    return outputs, stack.grad[:K].clone()


def autograd_step(network, x, targets, weights, keep):
    """Do the same by torch for one network; return its outputs and gradients."""
    twin = copy.deepcopy(network).train()
    masks = iter(keep.split(network.architecture.hidden_sizes, dim=1))
    for i, layer in enumerate(twin.head):
        if isinstance(layer, nn.Dropout):
            twin.head[i] = Times(next(masks), 1 - layer.p)
        if isinstance(layer, nn.BatchNorm1d) and len(x) == 1:
            layer.eval()
    outputs = twin(x)
    (LOSS.per_sample(outputs, targets) * weights).sum().backward()
    for own, theirs in zip(network.norms(), twin.norms(), strict=True):
        own.running_mean, own.running_var = theirs.running_mean, theirs.running_var
    gradient = copy.deepcopy(network)
    for into, parameter in zip(gradient.parameters(), twin.parameters(), strict=True):
        into.data = parameter.grad
    return outputs.detach(), gradient


def assert_step_is_torchs(architecture, K, b, counts, seed=0):
    networks = make_trained_networks(architecture, K, seed)
    stack = make_stack(networks)
    for i in range(2):  # the second finds what the first has left behind
        batch = make_batch(architecture, LOSS, K, b, seed + i)
        keep = draw_keep(architecture, K, b, seed + i)
        outputs, gradients = fused_step(stack, *batch, counts, keep)
        for k, (network, n) in enumerate(zip(networks, counts.tolist(), strict=True)):
            own = [part[k, :n] for part in (*batch, keep)]
            expected, gradient = autograd_step(network, *own)
            assert_close(outputs[k, :n], expected)
            assert_close(gradients[k], make_stack([gradient]).flat[0])
            for ours, its in zip(
                stack.read_all()[k].norms(), network.norms(), strict=True
            ):
                assert_close(ours.running_mean, its.running_mean)
                assert_close(ours.running_var, its.running_var)


@settings(max_examples=100 * SCALE)
@given(
    st.data(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.0, 0.3, 0.9]),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    SEEDS,
)
def test_random_networks_by_autograd(data, blocks, batch_norm, dropout, hidden, seed):
    sizes = {
        "hidden_layers": hidden,
        "batch_norm": batch_norm,
        "dropout": dropout,
        "n_outputs": data.draw(st.integers(1, 2)),
    }
    if blocks:
        like = data.draw(architectures())
        sizes |= {"conv_channels": (2, 3), "kernel_size": 2, "padding": 1}
        architecture = build_architecture(like.n_features, **sizes)
    else:
        n_features = data.draw(st.integers(1, 6))
        architecture = build_architecture(n_features, conv_channels=(), **sizes)
    K, b = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 6))
    counts = data.draw(st.lists(st.integers(1, b), min_size=K, max_size=K))
    assert_step_is_torchs(architecture, K, b, torch.tensor(counts), seed)


def test_rows_beyond_a_networks_own_count_nothing():
    architecture = build_architecture(
        4, conv_channels=(), hidden_layers=(5, 3), batch_norm=True
    )
    stack, twin = (make_stack(make_trained_networks(architecture, 2)) for _ in range(2))
    x, targets, weights = make_batch(architecture, LOSS, 2, 6)
    counts, keep = torch.tensor([6, 4]), draw_keep(architecture, 2, 6)
    fused_step(stack, x, targets, weights, counts, keep)
    x[1, 4:] = 1e3
    fused_step(twin, x, targets, weights, counts, keep)
    assert torch.equal(stack.grad, twin.grad)
    assert torch.equal(stack.running, twin.running)


@pytest.mark.parametrize("count", [0, 1])
def test_a_batch_without_a_variance_leaves_the_statistics_as_they_are(count):
    architecture = build_architecture(4, hidden_size=5, batch_norm=True)
    stack = make_stack(make_trained_networks(architecture, 3))
    before = stack.running.clone()
    batch = make_batch(architecture, LOSS, 3, 6)
    counts = torch.tensor([6, count, 6])
    fused_step(stack, *batch, counts, draw_keep(architecture, 3, 6))
    changed = (stack.running != before).all(1)
    assert changed.tolist() == [True, False, True]
    assert torch.equal(stack.running[1], before[1])


def test_evaluation_goes_by_running_statistics_and_keeps_all_values():
    architecture = build_architecture(
        8, hidden_layers=(5, 3), batch_norm=True, dropout=0.5
    )
    networks = make_trained_networks(architecture, 3)
    stack = make_stack(networks)
    x = make_batch(architecture, LOSS, 1, 6)[0][0]
    before = stack.running.clone()
    expected = torch.stack([network.eval()(x) for network in networks])
    assert_close(stack(x), expected.detach())
    assert torch.equal(stack.running, before)


@pytest.mark.parametrize("n_rows, n_before", [(3, 6), (6, 3)])
def test_a_step_on_another_number_of_rows_leaves_nothing_behind(n_rows, n_before):
    architecture = build_architecture(
        4, hidden_layers=(5, 3), batch_norm=True, dropout=0.4
    )
    networks = make_trained_networks(architecture, 2)
    stack, fresh = make_stack(networks), make_stack(networks)

    def train_on(stack, K, b):
        batch, keep = (
            make_batch(architecture, LOSS, K, b),
            draw_keep(architecture, K, b),
        )
        return fused_step(stack, *batch, torch.full((K,), b), keep)

    running = stack.running.clone()
    train_on(stack, 2, n_before)
    stack.running.copy_(running)
    for result, expected in zip(
        train_on(stack, 1, n_rows), train_on(fresh, 1, n_rows), strict=True
    ):
        assert_close(result, expected, 1e-12)


COPIERS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda stack: pickle.loads(pickle.dumps(stack)),
}


@pytest.mark.parametrize("copier", COPIERS.values(), ids=COPIERS)
def test_statistics_come_along(copier):
    architecture = build_architecture(4, hidden_size=5, batch_norm=True)
    stack = make_stack(make_trained_networks(architecture, 3), (1, 2))
    before = stack.running.clone()
    batch, keep = make_batch(architecture, LOSS, 2, 6), draw_keep(architecture, 2, 6)
    stack.set_live_groups([False, True])
    fused_step(stack, *batch, torch.tensor([6, 6]), keep)
    for twin in (stack, copier(stack)):
        twin.set_live_groups([True, True])
        assert torch.equal(twin.running[0], before[0])
        assert not torch.isclose(twin.running[1:], before[1:]).any()
        assert torch.equal(twin.running, stack.running)
    other = make_stack(make_networks(architecture, 3), (1, 2))
    other.load_state_dict(stack.state_dict())
    assert torch.equal(other.running, stack.running)
    # The copy shares no memory with the original.
    twin.running.zero_()
    assert torch.equal(other.running, stack.running)


def test_a_state_is_all_that_makes_up_a_network():
    architecture = build_architecture(4, hidden_size=5, batch_norm=True)
    stack = make_stack(make_trained_networks(architecture, 2))
    x = make_batch(architecture, LOSS, 1, 6)[0][0]
    state, outputs = stack.state_of(1).clone(), stack(x)
    stack.flat.mul_(2)
    stack.running.mul_(3)
    stack.restore(1, state)
    again = stack(x)
    assert torch.equal(again[1], outputs[1])
    assert not torch.isclose(again[0], outputs[0]).all()
