"""CNNStack against autograd through TabularCNN, in float64."""

import copy
import pickle
import weakref
from dataclasses import replace

import pytest
import torch
from helpers.long_runs import SCALE
from helpers.networks import TABLE_3
from helpers.stacks import (
    SEEDS,
    architectures,
    assert_close,
    autograd_step,
    fused_step,
    generator,
    make_batch,
    make_networks,
    make_stack,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from skrebatch._engine.nn.architecture import build_architecture
from skrebatch._engine.nn.losses import BinaryCrossEntropy, CrossEntropy, SquaredError
from skrebatch._engine.nn.stack import CNNStack, append_constants

# Overlapping pools, an uneven kernel, two outputs: nothing falls into place by luck.
ARCHITECTURE = build_architecture(
    7,
    n_outputs=2,
    conv_channels=(3, 2),
    kernel_size=(3, 2),
    pool_size=(3, 2),
    pool_stride=(2, 1),
    hidden_size=5,
)

# The same on a sequence so long that both blocks cut it into windows. Those of the
# second are 13 and overlap by up to four.
LONG = build_architecture(
    30,
    n_outputs=2,
    conv_channels=(5, 16),
    kernel_size=(4, 3),
    pool_size=(3, 2),
    pool_stride=(2, 1),
    hidden_size=5,
)

# Five columns projected to two channels of 30 positions.
PROJECTED = build_architecture(
    5, n_outputs=2, conv_channels=(5, 16), hidden_size=5, projection=(2, 30)
)

CLIPPED = replace(LONG, clips_inputs=True)

short_and_long = pytest.mark.parametrize(
    "architecture",
    [ARCHITECTURE, LONG, PROJECTED, CLIPPED],
    ids=["short", "long", "projected", "clipped"],
)


# --- gradients ---


def test_a_hand_worked_step():
    # Rows (1, 2, 3) under a kernel of 2: windows 1a + 2b + c and 2a + 3b + c.
    architecture = build_architecture(
        3, conv_channels=(1,), kernel_size=2, padding=0, hidden_size=1
    )
    stack = CNNStack(architecture, (1,), torch.float64)
    with torch.no_grad():
        # The constant 0; taps, bias; hidden weight, bias; output weight, bias.
        stack.flat.copy_(torch.tensor([[0, 1.0, -2, 6, 2, 1, 3, -5]]))
    step = stack.step(1, 1)
    step.x.copy_(torch.tensor([[[1.0, 2, 3, 1, 0]]]))
    # max(1 - 4 + 6, 2 - 6 + 6) = 3; 2 * 3 + 1 = 7; 3 * 7 - 5 = 16
    assert step.forward().item() == 16
    step.d_outputs.fill_(1)
    step.backward()
    # Output: 7, 1. Hidden: 3 * 3, 3. Convolution: 3 * 2 times the window (1, 2).
    assert stack.grad.tolist() == [[0, 6, 12, 6, 9, 3, 7, 1]]


def test_a_hand_worked_projection():
    # Two columns (p, q) become one channel of the positions p - q and 2q - 1.
    architecture = build_architecture(
        *(2, 1, (1,), 1, 2), hidden_size=1, projection=(1, 2)
    )
    stack = CNNStack(architecture, (1,), torch.float64)
    with torch.no_grad():
        # The constant 0; the projection, row by row, each with its bias; tap, bias;
        # hidden weight, bias; output weight, bias.
        flat = [0, 1.0, -1, 0, 0, 2, -1, 3, 1, 1, 0, 1, 0]
        stack.flat.copy_(torch.tensor([flat]))
    step = stack.step(1, 1)
    step.x.copy_(torch.tensor([[[1.0, 4, 1, 0]]]))
    # p - q = -3, which the ReLU takes away; 2q - 1 = 7 wins the pool: 3 * 7 + 1 = 22
    assert step.forward().item() == 22
    step.d_outputs.fill_(1)
    step.backward()
    # The second position alone: 3 times the row and its 1. The tap: 7, 1.
    assert stack.grad.tolist() == [[0, 0, 0, 0, 3, 12, 3, 7, 1, 22, 1, 22, 1]]


@pytest.mark.parametrize(
    "loss, n_outputs",
    [
        (BinaryCrossEntropy(), 1),
        (BinaryCrossEntropy(), 3),
        (CrossEntropy(), 3),
        (SquaredError(), 1),
    ],
)
@pytest.mark.parametrize("name", TABLE_3)
def test_table_3_by_autograd(name, loss, n_outputs):
    architecture = build_architecture(**TABLE_3[name][0], n_outputs=n_outputs)
    networks = make_networks(architecture, 2)
    batch = make_batch(architecture, loss, 2, 5)
    outputs, gradients = fused_step(make_stack(networks), loss, *batch)
    expected_outputs, expected_gradients = autograd_step(networks, loss, *batch)
    assert_close(outputs, expected_outputs)
    assert_close(gradients, expected_gradients)


@settings(max_examples=100 * SCALE)
@given(st.data(), st.integers(1, 3), st.integers(1, 6), st.integers(1, 3), SEEDS)
def test_random_shapes_by_autograd(data, K, b, n_outputs, seed):
    losses = [SquaredError(), BinaryCrossEntropy()]
    losses += [CrossEntropy()] if n_outputs > 1 else []
    loss = data.draw(st.sampled_from(losses))
    architecture = data.draw(architectures(n_outputs, data.draw(st.booleans())))
    networks = make_networks(architecture, K, seed)
    batch = make_batch(architecture, loss, K, b, seed)
    outputs, gradients = fused_step(make_stack(networks), loss, *batch)
    expected_outputs, expected_gradients = autograd_step(networks, loss, *batch)
    assert_close(outputs, expected_outputs)
    assert_close(gradients, expected_gradients)


def test_of_equal_windows_the_first_takes_the_gradient():
    # Both windows of (1, 2, 1) sum to 3; the first has the inputs (1, 2).
    architecture = build_architecture(
        3, conv_channels=(1,), kernel_size=2, padding=0, hidden_size=1
    )
    stack = CNNStack(architecture, (1,), torch.float64)
    with torch.no_grad():
        stack.flat.copy_(torch.tensor([[0, 1.0, 1, 0, 1, 0, 1, 0]]))
    x = torch.tensor([[[1.0, 2, 1]]]).double()
    zero, one = torch.zeros(1, 1, 1).double(), torch.ones(1, 1).double()
    _, gradients = fused_step(stack, SquaredError(), x, zero, one)
    # The derivative of the square of 3 is 6.
    assert gradients.tolist() == [[0, 6, 12, 6, 18, 6, 18, 6]]


@settings(max_examples=100 * SCALE)
@given(
    architectures(),
    st.sampled_from(["constant", "integers", "equal taps"]),
    SEEDS,
)
def test_ties_fall_as_in_torch(architecture, kind, seed):
    # With small whole numbers all sums are exact, so ties are ties on either side.
    rng = generator(seed)
    networks = make_networks(architecture, 2)
    for network in networks:
        for parameter in network.parameters():
            whole = torch.randint(-2, 3, parameter.shape, generator=rng)
            if kind == "equal taps" and parameter.ndim == 3:
                whole = whole[..., :1]
            parameter.data[:] = whole
    x = torch.randint(-1, 3, (2, 4, architecture.n_features), generator=rng)
    if kind == "constant":
        x = x[..., :1].expand_as(x)
    targets, weights = torch.zeros(2, 4, 1), torch.ones(2, 4)
    batch = [part.double() for part in (x, targets, weights)]
    outputs, gradients = fused_step(make_stack(networks), SquaredError(), *batch)
    expected_outputs, expected_gradients = autograd_step(
        networks, SquaredError(), *batch
    )
    assert torch.equal(outputs, expected_outputs)
    assert torch.equal(gradients, expected_gradients)


@short_and_long
def test_a_network_of_a_stack_is_the_network_alone(architecture):
    loss = SquaredError()
    networks = make_networks(architecture, 5)
    batch = make_batch(architecture, loss, 5, 6)
    together = fused_step(make_stack(networks, (2, 3)), loss, *batch)
    for k, network in enumerate(networks):
        alone = fused_step(make_stack([network]), loss, *(p[k : k + 1] for p in batch))
        assert_close([part[k : k + 1] for part in together], alone)


@pytest.mark.parametrize(
    "architecture", [ARCHITECTURE, PROJECTED], ids=["columns", "projected"]
)
def test_gradients_are_differences_of_the_loss(architecture):
    loss = CrossEntropy()
    stack = make_stack(make_networks(architecture, 2))
    x, targets, weights = make_batch(architecture, loss, 2, 4)
    _, gradients = fused_step(stack, loss, x, targets, weights)

    def losses():
        outputs, _ = fused_step(stack, loss, x, targets, weights)
        return (loss.per_sample(outputs, targets) * weights).sum(1)  # (K,)

    numeric, h = torch.zeros_like(gradients), 1e-6
    for i in range(1, stack.flat.shape[1]):  # 0 is a constant
        with torch.no_grad():
            stack.flat[:, i] += h
            above = losses()
            stack.flat[:, i] -= 2 * h
            numeric[:, i] = (above - losses()) / (2 * h)
            stack.flat[:, i] += h
    assert_close(gradients, numeric, 1e-7)


def test_a_weight_of_zero_removes_the_row():
    loss = SquaredError()
    stack = make_stack(make_networks(ARCHITECTURE, 2))
    x, targets, weights = make_batch(ARCHITECTURE, loss, 2, 5)
    weights[:, 2:4] = 0
    keep = [0, 1, 4]
    _, gradients = fused_step(stack, loss, x, targets, weights)
    _, expected = fused_step(
        stack, loss, x[:, keep], targets[:, keep], weights[:, keep]
    )
    assert_close(gradients, expected, 1e-12)


# --- steps of optimizers ---

OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.1),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.5),
    "sgd": lambda parameters: torch.optim.SGD(
        parameters, lr=0.01, momentum=0.9, weight_decay=0.5
    ),
}


@pytest.mark.parametrize("make_optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_training_ends_where_torch_ends(make_optimizer):
    loss = SquaredError()
    networks = make_networks(ARCHITECTURE, 3)
    stack = make_stack(networks, (1, 2))
    optimizer = make_optimizer(stack.groups)
    own_optimizers = [make_optimizer(network.parameters()) for network in networks]

    for seed, b in enumerate([5, 5, 2, 5, 1, 8]):
        batch = make_batch(ARCHITECTURE, loss, 3, b, seed)
        fused_step(stack, loss, *batch)
        stack.activate([True, True, True])
        optimizer.step()
        for network, own, x, targets, weights in zip(
            networks, own_optimizers, *batch, strict=True
        ):
            own.zero_grad()
            (loss.per_sample(network(x), targets) * weights).sum().backward()
            own.step()

    assert_close(stack.flat, make_stack(networks).flat)
    # Parameter 0 is the zero that taps beyond the border read.
    assert torch.all(stack.flat[:, 0] == 0)


def test_groups_are_rows_of_one_matrix():
    loss = SquaredError()
    stack = make_stack(make_networks(ARCHITECTURE, 3), (1, 2))
    batch = make_batch(ARCHITECTURE, loss, 3, 4)
    before = stack.flat.clone()
    outputs, gradients = fused_step(stack, loss, *batch)
    stack.activate([True, True, True])

    torch.optim.SGD([stack.groups[1]], lr=0.5).step()

    assert torch.equal(stack.flat[0], before[0])
    assert_close(stack.flat[1:], before[1:] - 0.5 * gradients[1:])
    new_outputs, _ = fused_step(stack, loss, *batch)
    assert torch.equal(new_outputs[0], outputs[0])
    assert not torch.isclose(new_outputs[1:], outputs[1:]).any()


def test_only_groups_with_an_active_network_move():
    # Momentum would carry a network on whose gradient is zero.
    loss = SquaredError()
    stack = make_stack(make_networks(ARCHITECTURE, 4), (1, 2, 1))
    optimizer = torch.optim.SGD(stack.groups, lr=0.1, momentum=0.9)
    moved = []
    for active in ([True] * 4, [True, False, False, False], [False, True, False, True]):
        before = stack.flat.clone()
        fused_step(stack, loss, *make_batch(ARCHITECTURE, loss, 4, 3))
        stack.activate(active)
        optimizer.step()
        moved.append((stack.flat != before).any(1).tolist())
    assert moved == [
        [True, True, True, True],
        [True, False, False, False],
        [False, True, True, True],
    ]


# --- memory ---


@short_and_long
@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("K, b", [(3, 2), (2, 7), (2, 3), (1, 1), (3, 7), (3, 9)])
def test_a_step_leaves_nothing_behind_for_the_next(K, b, n_outputs, architecture):
    loss = SquaredError()
    architecture = replace(architecture, n_outputs=n_outputs)
    networks = make_networks(architecture, 3)
    stack = make_stack(networks)
    fused_step(stack, loss, *make_batch(architecture, loss, 3, 7, seed=1))

    batch = make_batch(architecture, loss, K, b, seed=2)
    alone = make_stack(networks[:K])
    assert_close(
        fused_step(stack, loss, *batch), fused_step(alone, loss, *batch), 1e-12
    )


@short_and_long
def test_the_outcome_of_a_step_is_repeatable(architecture):
    loss = SquaredError()
    stack = make_stack(make_networks(architecture, 2))
    batch = make_batch(architecture, loss, 2, 4)
    outputs, gradients = fused_step(stack, loss, *batch)
    for _ in range(2):
        again = fused_step(stack, loss, *batch)
        assert torch.equal(again[0], outputs)
        assert torch.equal(again[1], gradients)


def test_release_lets_steps_and_gradients_go():
    stack = make_stack(make_networks(ARCHITECTURE, 2))
    steps = [weakref.ref(stack.step(2, 8, only)) for only in (False, True)]
    stack.activate([True, True])
    assert all(step() is not None for step in steps)
    stack.release()
    assert all(step() is None for step in steps)
    assert stack.groups[0].grad is None


# --- the module ---


@short_and_long
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forward_gives_the_outputs_of_every_network(dtype, architecture):
    networks = [network.to(dtype) for network in make_networks(architecture, 3)]
    stack = make_stack(networks, (2, 1))
    # Fewer rows and more than before: no outputs are overwritten, none left over.
    tables = [
        make_batch(architecture, SquaredError(), 1, n)[0][0].to(dtype)
        for n in (6, 2, 9)
    ]
    results = [stack(x) for x in tables]
    for x, result in zip(tables, results, strict=True):
        assert result.dtype == dtype
        assert not result.requires_grad
        expected = torch.stack([network(x) for network in networks]).detach()
        torch.testing.assert_close(result, expected)


@short_and_long
def test_forward_sees_new_weights_and_spoils_no_step(architecture):
    loss = SquaredError()
    networks = make_networks(architecture, 2)
    stack = make_stack(networks)
    x, targets, weights = make_batch(architecture, loss, 2, 4)
    step = stack.step(2, 4)
    step.x.copy_(append_constants(x.flatten(0, 1)).view(2, 4, -1))
    outputs = step.forward()
    stack(torch.ones(4, architecture.n_features))
    step.d_outputs.copy_(loss.slope(2) * (outputs - targets) * weights.unsqueeze(-1))
    step.backward()
    assert_close(stack.grad, autograd_step(networks, loss, x, targets, weights)[1])

    stack.write(1, networks[0])
    first, second = stack(x[0])
    assert_close(first, second, 1e-12)


def test_a_written_network_reads_back_bit_for_bit():
    networks = make_networks(ARCHITECTURE, 3)
    stack = make_stack(networks, (1, 2))
    global_state = torch.get_rng_state()
    for network, copied in zip(networks, stack.read_all(), strict=True):
        assert copied.architecture == ARCHITECTURE
        assert not copied.training
        for name, tensor in network.state_dict().items():
            assert torch.equal(copied.state_dict()[name], tensor)
    assert torch.equal(torch.get_rng_state(), global_state)


def test_reading_copies():
    stack = make_stack(make_networks(ARCHITECTURE, 2))
    before = stack.flat.clone()
    for parameter in stack.read_all()[0].parameters():
        parameter.data.fill_(7.0)
    assert torch.equal(stack.flat, before)


def test_writing_changes_one_network():
    networks = make_networks(ARCHITECTURE, 4)
    stack = make_stack(networks[:3])
    before = stack.flat.clone()
    stack.write(1, networks[3])
    changed = (stack.flat != before).sum(1)
    assert changed.tolist() == [0, stack.flat.shape[1] - 1, 0]
    assert torch.all(stack.flat[:, 0] == 0)


COPIERS = {"deepcopy": copy.deepcopy, "pickle": lambda s: pickle.loads(pickle.dumps(s))}


@short_and_long
@pytest.mark.parametrize("copier", COPIERS.values(), ids=COPIERS)
def test_copies_share_among_themselves_and_not_with_the_original(copier, architecture):
    loss = SquaredError()
    stack = make_stack(make_networks(architecture, 3), (1, 2))
    batch = make_batch(architecture, loss, 3, 4)
    outputs, gradients = fused_step(stack, loss, *batch)
    before = stack.flat.clone()

    twin = copier(stack)
    assert torch.equal(twin.flat, before)
    twin_outputs, twin_gradients = fused_step(twin, loss, *batch)
    assert torch.equal(twin_outputs, outputs)
    assert torch.equal(twin_gradients, gradients)

    twin.activate([True, True, True])
    torch.optim.SGD(twin.groups, lr=0.5).step()
    assert_close(twin.flat, before - 0.5 * gradients)
    assert torch.equal(stack.flat, before)


def test_pickles_hold_no_memory_of_steps():
    stack = make_stack(make_networks(ARCHITECTURE, 2))
    before = len(pickle.dumps(stack))
    fused_step(stack, SquaredError(), *make_batch(ARCHITECTURE, SquaredError(), 2, 999))
    stack(torch.zeros(999, 7))
    assert len(pickle.dumps(stack)) == before


def test_state_dict_round_trip():
    stack = make_stack(make_networks(ARCHITECTURE, 3, seed=0), (1, 2))
    twin = make_stack(make_networks(ARCHITECTURE, 3, seed=1), (1, 2))
    twin.load_state_dict(stack.state_dict())
    x = torch.randn(4, 7, generator=generator())
    assert torch.equal(twin(x), stack(x))


def test_constants_follow_the_features():
    table = append_constants(torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
    assert table.tolist() == [[3, 4, 1, 0], [5, 6, 1, 0]]
