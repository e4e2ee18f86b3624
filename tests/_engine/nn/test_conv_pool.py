"""How blocks are cut into windows; their gradients are compared in test_fused.py."""

import pytest
from helpers.stacks import (
    assert_close,
    autograd_step,
    fused_step,
    make_batch,
    make_networks,
    make_stack,
)

from skrebatch._engine.nn.architecture import build_architecture
from skrebatch._engine.nn.losses import SquaredError
from skrebatch._engine.nn.step import Layout


def numbers_of_windows(architecture):
    layouts = Layout(architecture).blocks
    return [1 if layout.windows is None else layout.windows.n for layout in layouts]


@pytest.mark.parametrize(
    "sizes, expected",
    [
        (dict(n_features=8), [1, 1]),
        # 30 -> pool 15 = 5 * 3 -> pool 7
        (dict(n_features=30), [5, 7]),
        # Pools of 11, of 5 and of 37: a prime number of positions has one cut.
        (dict(n_features=22), [1, 5]),
        (dict(n_features=74), [37, 18]),
        # Windows with gaps: of 12 positions the second block reads 0, 3, 6 and 9.
        (
            dict(
                n_features=36,
                conv_channels=(16, 16),
                kernel_size=1,
                pool_size=1,
                pool_stride=3,
            ),
            [12, 4],
        ),
        # Windows that begin and end beyond the sequence.
        (dict(n_features=20, conv_channels=(16, 16), padding=4), [13, 9]),
    ],
)
def test_long_sequences_are_cut_into_windows(sizes, expected):
    architecture = build_architecture(**sizes, n_outputs=2)
    assert numbers_of_windows(architecture) == expected
    networks = make_networks(architecture, 2)
    batch = make_batch(architecture, SquaredError(), 2, 4)
    result = fused_step(make_stack(networks), SquaredError(), *batch)
    assert_close(result, autograd_step(networks, SquaredError(), *batch))


@pytest.mark.parametrize("n_features", [200, 202, 1024, 2 * 1009])
def test_the_matrix_of_a_long_sequence_does_not_grow(n_features):
    # Of 100, 101, 512 and 1009 pooled positions; an even number can be cut in pairs.
    shapes = [
        layout.matrix_shape
        for layout in Layout(build_architecture(n_features, hidden_size=1)).blocks
    ]
    assert shapes == [(6, 16) if n_features % 4 else (8, 32), (34, 32)]
