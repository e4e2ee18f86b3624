"""Sizes worked out by hand from Table 3; the module against torch's own functions."""

import copy
import math
import pickle

import pytest
import torch
from helpers.networks import TABLE_3
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from skrebatch._engine.nn.architecture import build_architecture
from skrebatch._engine.nn.tabular_cnn import Ensemble, TabularCNN


def weighted_layers(network):
    return [m for m in network.modules() if isinstance(m, nn.Conv1d | nn.Linear)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def lengths(architecture):
    """Length of the sequence after every convolution and every pool."""
    return [(b.conv_length, b.pooled_length) for b in architecture.blocks]


# --- sizes ---


@pytest.mark.parametrize("name", TABLE_3)
def test_every_row_of_table_3(name):
    sizes, flat_size = TABLE_3[name]
    network = TabularCNN(**sizes, generator=generator())
    assert network.architecture.flat_size == flat_size
    assert network.architecture.hidden_sizes == (2 * flat_size,)
    x = torch.randn(5, sizes["n_features"], generator=generator())
    assert network.features(x.unsqueeze(1)).flatten(1).shape == (5, flat_size)
    assert network(x).shape == (5, 1)


@pytest.mark.parametrize(
    "n_features, expected",
    [
        (1, [(1, 1), (1, 1)]),
        (2, [(2, 1), (1, 1)]),
        (3, [(3, 1), (1, 1)]),
        (4, [(4, 2), (2, 1)]),
        (8, [(8, 4), (4, 2)]),
    ],
)
def test_defaults_work_from_one_feature_up(n_features, expected):
    network = TabularCNN(n_features, generator=generator())
    assert lengths(network.architecture) == expected
    outputs = network(torch.randn(6, n_features, generator=generator()))
    assert outputs.shape == (6, 1)
    assert outputs.unique().numel() > 1


def test_kernels_and_pools_are_clamped_to_their_sequence():
    clamped = build_architecture(
        5, conv_channels=(2, 3), kernel_size=9, pool_size=(2, 9)
    )
    assert clamped == build_architecture(
        5, conv_channels=(2, 3), kernel_size=(5, 2), pool_size=2
    )
    # Padded to 7: one place for a kernel of 7, so nothing to pool.
    (block,) = build_architecture(
        5, conv_channels=(2,), kernel_size=9, pool_size=4, padding=1
    ).blocks
    assert (block.kernel_size, block.conv_length) == (7, 1)
    assert (block.pool_size, block.pool_stride, block.pooled_length) == (1, 1, 1)


def test_pool_stride_is_the_pool_size_unless_given():
    sizes = {"n_features": 9, "conv_channels": (2,), "pool_size": 3}
    assert lengths(build_architecture(**sizes)) == [(9, 3)]
    assert lengths(build_architecture(**sizes, pool_stride=1)) == [(9, 7)]
    assert lengths(build_architecture(**sizes, pool_stride=4)) == [(9, 2)]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    "kernel_size, left, right", [(1, 0, 0), (2, 0, 1), (3, 1, 1), (4, 1, 2)]
)
def test_same_padding_is_torchs(kernel_size, left, right):
    network = TabularCNN(
        6,
        conv_channels=(2,),
        kernel_size=kernel_size,
        pool_size=1,
        generator=generator(),
    )
    (block,) = network.architecture.blocks
    assert (block.left, block.right, block.conv_length) == (left, right, 6)
    x = torch.randn(3, 1, 6, generator=generator())
    weight, bias, *_ = network.parameters()
    torch.testing.assert_close(
        network.features(x), F.conv1d(x, weight, bias, padding="same").relu()
    )


def test_equal_sizes_make_equal_architectures():
    default = build_architecture(8)
    assert default == build_architecture(
        8, 1, [8, 16], (3, 3), [2, 2], (2, 2), 1, hidden_size=64
    )
    assert hash(default) == hash(build_architecture(8))
    assert default != build_architecture(8, 2)
    assert default != build_architecture(8, hidden_size=63)
    assert default != build_architecture(8, pool_stride=1)


@pytest.mark.parametrize("hidden_size, width", [(10, 64), (100, 100)])
def test_size_and_work_of_the_fused_engine(hidden_size, width):
    # 8 positions -> 2 * 4 places of 8 channels; 4 * 8 values -> 2 * 2 places of 16.
    architecture = build_architecture(8, n_outputs=3, hidden_size=hidden_size)
    blocks = 8 * 64 + 32 * 64
    head = 32 * hidden_size + hidden_size * 3
    assert architecture.multiplications == 3 * (blocks + head)
    assert architecture.width == width
    network = TabularCNN.from_architecture(architecture)
    assert architecture.n_parameters == sum(p.numel() for p in network.parameters())


def per_block(numbers):
    """One number for all of two blocks, or one for each."""
    return numbers | st.tuples(numbers, numbers)


@settings(deadline=None)
@given(
    n_features=st.integers(1, 12),
    kernel_size=per_block(st.integers(1, 9)),
    pool_size=per_block(st.integers(1, 5)),
    pool_stride=st.none() | per_block(st.integers(1, 4)),
    padding=st.just("same") | st.integers(0, 3),
)
def test_sizes_are_those_that_torch_computes(n_features, **sizes):
    network = TabularCNN(
        n_features, conv_channels=(2, 3), **sizes, generator=generator()
    )
    x = torch.zeros(1, 1, n_features)
    for block, layer in zip(network.architecture.blocks, network.features, strict=True):
        assert x.shape[1:] == (block.in_channels, block.length)
        x = layer(x)
        assert x.shape[1:] == (block.out_channels, block.pooled_length)
    assert network.architecture.flat_size == x.numel() > 0


@pytest.mark.parametrize(
    "sizes, message",
    [
        (dict(n_features=0), "n_features must be .* at least 1, got 0"),
        (dict(n_features=2.0), r"n_features must be an integer .* got 2\.0"),
        (dict(n_outputs=0), "n_outputs must be .* at least 1, got 0"),
        (dict(conv_channels=8), "conv_channels must be a tuple .* got 8"),
        (dict(conv_channels=(8, 0)), r"conv_channels\[1\] must be .* got 0"),
        (dict(conv_channels=(8, "16")), r"conv_channels\[1\] must be .* got '16'"),
        (dict(kernel_size=2.5), r"kernel_size must be an integer .* got 2\.5"),
        (dict(kernel_size=0), "kernel_size must be .* at least 1, got 0"),
        (dict(kernel_size=True), "kernel_size must be an integer .* got True"),
        (dict(kernel_size="3"), "kernel_size must be an integer .* got '3'"),
        (dict(kernel_size=(3, 0)), r"kernel_size\[1\] must be .* got 0"),
        (
            dict(kernel_size=(3, 3, 3)),
            "kernel_size has 3 entries, but conv_channels makes 2 blocks",
        ),
        (dict(pool_size=(0, 2)), r"pool_size\[0\] must be .* got 0"),
        (dict(pool_size=None), "pool_size must be .* got None"),
        (dict(pool_size=[2]), "pool_size has 1 entries, but .* 2 blocks"),
        (dict(pool_stride=0), "pool_stride must be .* at least 1, got 0"),
        (dict(pool_stride=(1, -2)), r"pool_stride\[1\] must be .* got -2"),
        (dict(pool_stride=()), "pool_stride has 0 entries, but .* 2 blocks"),
        (dict(padding=-1), "padding must be .* at least 0, got -1"),
        (dict(padding=1.5), r"padding must be an integer .* got 1\.5"),
        (dict(padding="valid"), "padding must be \"same\" or an int, got 'valid'"),
        (dict(hidden_size=0), "hidden_size must be .* at least 1, got 0"),
        (dict(hidden_size="big"), "hidden_size must be \"auto\" or an int, got 'big'"),
        (dict(hidden_size=None), "hidden_size must be .* got None"),
        (dict(input_clip=0), "input_clip must be .* above 0, got 0"),
        (dict(projection=8), "projection must be a tuple of channels .* got 8"),
        (dict(projection=(8,)), r"projection must be a tuple .* got \(8,\)"),
        (dict(projection=(8, 0)), r"projection\[1\] must be .* got 0"),
        (dict(projection=("8", 16)), r"projection\[0\] must be .* got '8'"),
        (dict(projection=(8, 16), conv_channels=()), "needs convolution blocks"),
        (
            dict(projection=(8, 16), variable_length=True),
            r"projection=\(8, 16\) needs .* rows of one length",
        ),
    ],
)
def test_impossible_sizes_are_named(sizes, message):
    with pytest.raises(ValueError, match=message):
        TabularCNN(**{"n_features": 8, **sizes})


# --- the module ---


def test_forward_is_the_composition_of_torchs_functions():
    network = TabularCNN(
        9,
        n_outputs=2,
        conv_channels=(3, 4),
        kernel_size=(3, 2),
        pool_size=(3, 2),
        pool_stride=(2, 1),
        padding=2,
        hidden_size=7,
        generator=generator(),
    )
    x = torch.randn(5, 9, generator=generator(1))
    w1, b1, w2, b2, w3, b3, w4, b4 = network.parameters()

    z = F.conv1d(x.unsqueeze(1), w1, b1, padding=2)  # (5, 1, 9) -> (5, 3, 11)
    z = F.max_pool1d(F.relu(z), 3, 2)  # -> (5, 3, 5)
    z = F.conv1d(z, w2, b2, padding=2)  # -> (5, 4, 8)
    z = F.max_pool1d(F.relu(z), 2, 1)  # -> (5, 4, 7)
    z = F.relu(F.linear(z.reshape(5, 28), w3, b3))  # -> (5, 7)
    expected = F.linear(z, w4, b4)  # -> (5, 2)

    torch.testing.assert_close(network(x), expected)


def test_projected_columns_are_a_sequence_of_several_channels():
    network = TabularCNN(
        *(5, 2, (3,)), hidden_size=7, projection=(4, 6), generator=generator()
    )
    x = torch.randn(9, 5, generator=generator(1))
    w0, b0, w1, b1, w2, b2, w3, b3 = network.parameters()

    z = F.relu(F.linear(x, w0, b0))  # (9, 5) -> (9, 24), position by position
    sequence = torch.stack([z[:, channel::4] for channel in range(4)], dim=1)
    assert sequence.shape == (9, 4, 6)
    z = F.max_pool1d(F.relu(F.conv1d(sequence, w1, b1, padding=1)), 2)  # -> (9, 3, 3)
    z = F.relu(F.linear(z.reshape(9, 9), w2, b2))
    expected = F.linear(z, w3, b3)

    torch.testing.assert_close(network(x), expected)
    architecture = network.architecture
    assert architecture.n_parameters == sum(p.numel() for p in network.parameters())
    # 6 positions of 4 channels -> 2 * 3 places of 3; then 9 -> 7 -> 2.
    work = 5 * 24 + 24 * 18 + 9 * 7 + 7 * 2
    assert architecture.multiplications == 3 * work
    assert architecture.width == 24


def test_inputs_are_clipped_before_all_else():
    network = TabularCNN(5, input_clip=1.5, generator=generator()).double()
    twin = TabularCNN(5, generator=generator()).double()
    x = 3 * torch.randn(9, 5, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(network(x), twin(x / (1 + (x / 1.5) ** 2).sqrt()))
    assert weights(network).equal(weights(twin))
    assert network.state_dict()["input_clip"] == 1.5
    assert network.float()(x.float()).dtype == torch.float32


def test_the_order_of_columns_means_nothing_to_a_projection():
    network = TabularCNN(5, projection=(2, 6), generator=generator()).double()
    x = torch.randn(9, 5, generator=generator(1), dtype=torch.float64)
    outputs, order = network(x), [3, 0, 4, 2, 1]
    with torch.no_grad():
        network.projection.weight.copy_(network.projection.weight[:, order])
    torch.testing.assert_close(network(x[:, order]), outputs)


def test_initial_weights_are_those_of_torchs_layers():
    global_state = torch.get_rng_state()
    network = TabularCNN(8, n_outputs=3, generator=generator(7))
    assert torch.equal(torch.get_rng_state(), global_state)

    with torch.random.fork_rng():
        torch.manual_seed(7)
        layers = [
            nn.Conv1d(1, 8, 3),
            nn.Conv1d(8, 16, 3),
            nn.Linear(32, 64),
            nn.Linear(64, 3),
        ]
    for own, theirs in zip(weighted_layers(network), layers, strict=True):
        assert isinstance(own, type(theirs))
        torch.testing.assert_close(own.state_dict(), theirs.state_dict())

    network = TabularCNN(5, projection=(2, 6), generator=generator(7))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        projection = nn.Linear(5, 12)
    torch.testing.assert_close(network.projection.state_dict(), projection.state_dict())


def test_initial_weights_fill_the_range_of_their_fan_in():
    network = TabularCNN(8, generator=generator())
    for layer, fan_in in zip(weighted_layers(network), [3, 24, 32, 64], strict=True):
        bound = 1 / math.sqrt(fan_in)
        for parameter in layer.parameters():
            assert parameter.abs().max() <= bound
        assert layer.weight.abs().max() > 0.8 * bound


def weights(network):
    return nn.utils.parameters_to_vector(network.parameters())


def test_same_generator_same_weights():
    network = TabularCNN(5, generator=generator(3))
    assert torch.equal(weights(network), weights(TabularCNN(5, generator=generator(3))))
    again = TabularCNN.from_architecture(network.architecture)
    assert again.architecture == network.architecture
    again.reset_parameters(generator(3))
    assert torch.equal(weights(network), weights(again))
    again.reset_parameters(generator(4))
    assert not torch.equal(weights(network), weights(again))


def test_without_a_generator_weights_come_from_the_global_one():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = TabularCNN(5)
    assert torch.equal(weights(network), weights(TabularCNN(5, generator=generator(3))))


def test_state_dict_round_trip():
    network = TabularCNN(8, generator=generator(0))
    twin = TabularCNN(8, generator=generator(1))
    x = torch.randn(4, 8, generator=generator())
    assert not torch.equal(twin(x), network(x))
    twin.load_state_dict(network.state_dict())
    assert torch.equal(twin(x), network(x))


def test_copies_keep_sizes_and_outputs():
    network = TabularCNN(8, kernel_size=(3, 2), generator=generator())
    x = torch.randn(4, 8, generator=generator())
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert twin.architecture == network.architecture
        assert torch.equal(twin(x), network(x))


def test_rows_do_not_depend_on_each_other():
    network = TabularCNN(8, generator=generator()).double()
    x = torch.randn(6, 8, generator=generator(), dtype=torch.float64)
    order = [3, 0, 5]
    torch.testing.assert_close(network(x[order]), network(x)[order])


def test_an_ensemble_stacks_the_outputs_of_its_networks():
    networks = [TabularCNN(8, 2, generator=generator(seed)) for seed in range(3)]
    ensemble = Ensemble(networks)
    x = torch.randn(4, 8, generator=generator())
    outputs = ensemble(x)
    assert outputs.shape == (3, 4, 2)
    for network, own in zip(networks, outputs, strict=True):
        assert torch.equal(own, network(x))
    assert ensemble.members() == networks
    assert not any(network.training for network in networks)


def test_the_network_computes_in_the_precision_of_its_input():
    network = TabularCNN(8, 2, generator=generator())
    twin = copy.deepcopy(network).double()
    x = torch.randn(6, 8, generator=generator(), dtype=torch.float64)
    outputs = network(x)
    assert outputs.dtype == torch.float64
    assert torch.equal(outputs, twin(x))
    assert torch.equal(twin(x.float()), network(x.float()))
    outputs.sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in network.parameters())
    with pytest.raises(TypeError, match="int64"):
        network(torch.ones(6, 8, dtype=torch.int64))
