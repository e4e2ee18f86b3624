"""The layer sizes of a network, computed from its parameters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from skrebatch._utils.validation import check_bool, check_integer, check_real

# 4 TiB in float32.
_MOST_PARAMETERS = 2**40


@dataclass(frozen=True)
class Block:
    """The sizes of one block Conv1d -> ReLU -> MaxPool1d.

    Lengths are numbers of positions: a sequence of `length` positions is padded with
    `left` and `right` zeros, convolved to `conv_length` and pooled to
    `pooled_length`.
    """

    in_channels: int
    out_channels: int
    kernel_size: int
    left: int
    right: int
    pool_size: int
    pool_stride: int
    length: int

    @property
    def conv_length(self) -> int:
        """Length after the convolution (its stride is 1)."""
        return self.length + self.left + self.right - self.kernel_size + 1

    @property
    def pooled_length(self) -> int:
        """Length after the pooling."""
        return (self.conv_length - self.pool_size) // self.pool_stride + 1

    def conv_ends(self, ends: torch.Tensor) -> torch.Tensor:
        """Return the lengths of shorter sequences after the convolution.

        A sequence that is too short for the kernel is padded with zeros to the
        kernel's size, and has length 1.
        """
        change = self.left + self.right - self.kernel_size + 1
        return (ends + change).clamp(min=1)

    def pooled_ends(self, ends: torch.Tensor) -> torch.Tensor:
        """Return the lengths of shorter sequences after the pooling.

        Every pool that begins before a sequence's end counts, even if it extends
        beyond the end.
        """
        begun = (self.conv_ends(ends) + self.pool_stride - 1) // self.pool_stride
        return begun.clamp(max=self.pooled_length)


@dataclass(frozen=True)
class Architecture:
    """All sizes of a :class:`TabularCNN`; equal architectures can be stacked."""

    n_features: int
    blocks: tuple[Block, ...]  # () for a multilayer perceptron
    hidden_sizes: tuple[int, ...]
    n_outputs: int
    batch_norm: bool = False
    dropout: float = 0.0
    variable_length: bool = False
    projection: tuple[int, int] | None = None  # channels and positions
    clips_inputs: bool = False

    @property
    def flat_size(self) -> int:
        """Number of values that the head reads."""
        if not self.blocks:
            return self.n_features
        return self.blocks[-1].out_channels * self.blocks[-1].pooled_length

    @property
    def projected_size(self) -> int:
        """Number of values after the projection; 0 without one."""
        return math.prod(self.projection) if self.projection else 0

    @property
    def linear_sizes(self) -> list[tuple[int, int]]:
        """Numbers of inputs and outputs of each linear layer of the head."""
        sizes = self.flat_size, *self.hidden_sizes, self.n_outputs
        return list(itertools.pairwise(sizes))

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases."""
        blocks = sum(
            (b.kernel_size * b.in_channels + 1) * b.out_channels for b in self.blocks
        )
        head = sum((n_in + 1) * n_out for n_in, n_out in self.linear_sizes)
        projection = (self.n_features + 1) * self.projected_size
        return projection + blocks + head + 2 * self.batch_norm * sum(self.hidden_sizes)

    @property
    def multiplications(self) -> int:
        """Multiplications per row, forward and backward, with dense blocks.

        The fused engine needs fewer on long sequences.
        """
        head = sum(n_in * n_out for n_in, n_out in self.linear_sizes)
        blocks = sum(
            b.length * b.in_channels * b.pool_size * b.pooled_length * b.out_channels
            for b in self.blocks
        )
        return 3 * (self.n_features * self.projected_size + blocks + head)

    @property
    def width(self) -> int:
        """Number of values of the widest layer, per row."""
        blocks = (b.pool_size * b.pooled_length * b.out_channels for b in self.blocks)
        sizes = *self.hidden_sizes, self.n_features, self.projected_size
        return max(*sizes, *blocks)


@lru_cache(maxsize=1024)
def shorten(architecture: Architecture, length: int) -> Architecture:
    """Return a smaller architecture that suffices for rows up to `length`.

    Its number of features is the smallest sufficient multiple of an eighth of
    `architecture.n_features`. Its weights are those of the full network, except that
    the head has no weights for positions beyond such rows.
    """
    n_features, end = architecture.n_features, torch.tensor(length, device="cpu")
    for eighth in range(1, 8):
        size = n_features * eighth // 8
        if size < length:
            continue
        n_first, blocks, short_end = size, [], end
        for block in architecture.blocks:
            blocks.append(replace(block, length=size))
            size, short_end = blocks[-1].pooled_length, block.pooled_ends(short_end)
            if size < short_end:
                break
        else:
            return replace(architecture, n_features=n_first, blocks=tuple(blocks))
    return architecture


def _per_block(
    value: int | Sequence[int], name: str, n_blocks: int, at_least: int
) -> list[int]:
    """Return a list with one number per block, from a single number or a list."""
    if not isinstance(value, list | tuple):
        return [check_integer(value, name, at_least=at_least)] * n_blocks
    if len(value) != n_blocks:
        raise ValueError(
            f"{name} has {len(value)} entries, but conv_channels makes {n_blocks} "
            f"blocks; pass one number, or one per block."
        )
    return [
        check_integer(v, f"{name}[{i}]", at_least=at_least) for i, v in enumerate(value)
    ]


def build_architecture(
    n_features: int,
    n_outputs: int = 1,
    conv_channels: Sequence[int] = (8, 16),
    kernel_size: int | Sequence[int] = 3,
    pool_size: int | Sequence[int] = 2,
    pool_stride: int | Sequence[int] | None = None,
    padding: int | str = "same",
    hidden_size: int | str = "auto",
    hidden_layers: Sequence[int] | None = None,
    batch_norm: bool = False,
    dropout: float = 0.0,
    variable_length: bool = False,
    projection: Sequence[int] | None = None,
    clips_inputs: bool = False,
) -> Architecture:
    """Compute the architecture from the parameters of :class:`TabularCNN`.

    A kernel that is longer than the (padded) sequence is clamped to it, as is a pool
    that is longer than the convolved sequence. A single feature is therefore enough.
    `clips_inputs` means that `input_clip` is not None.

    Raises
    ------
    ValueError
        If a size is impossible; the message names the parameter.
    """
    n_features = check_integer(n_features, "n_features")
    shape = None if projection is None else _check_projection(projection)
    blocks = _build_blocks(
        shape or (1, n_features),
        conv_channels,
        kernel_size,
        pool_size,
        pool_stride,
        padding,
    )
    check_bool(batch_norm, "batch_norm")
    check_bool(variable_length, "variable_length")
    check_bool(clips_inputs, "clips_inputs")
    check_real(dropout, "dropout", at_least=0, below=1)
    if shape is not None and (variable_length or not blocks):
        raise ValueError(
            f"projection={projection!r} needs convolution blocks and rows of one "
            "length: give conv_channels, and leave variable_length False."
        )
    architecture = Architecture(
        n_features,
        blocks,
        (),
        check_integer(n_outputs, "n_outputs"),
        bool(batch_norm),
        float(dropout),
        bool(variable_length),
        shape,
        bool(clips_inputs),
    )
    hidden = _hidden_sizes(hidden_size, hidden_layers, architecture.flat_size)
    architecture = replace(architecture, hidden_sizes=hidden)
    if architecture.n_parameters > _MOST_PARAMETERS:
        raise ValueError(
            f"A network with {architecture.n_parameters} weights does not fit into "
            "memory: decrease conv_channels, hidden_size, hidden_layers or padding."
        )
    return architecture


def _check_projection(projection: Sequence[int]) -> tuple[int, int]:
    """Return the channels and positions to which the features are projected."""
    if not isinstance(projection, list | tuple) or len(projection) != 2:
        raise ValueError(
            "projection must be a tuple of channels and positions, such as (8, 16), "
            f"or None, got {projection!r}."
        )
    channels, positions = (
        check_integer(size, f"projection[{i}]") for i, size in enumerate(projection)
    )
    return channels, positions


def _build_blocks(
    input_shape: tuple[int, int],
    conv_channels: Sequence[int],
    kernel_size: int | Sequence[int],
    pool_size: int | Sequence[int],
    pool_stride: int | Sequence[int] | None,
    padding: int | str,
) -> tuple[Block, ...]:
    """Compute the sizes of each block."""
    if not isinstance(conv_channels, list | tuple):
        raise ValueError(
            "conv_channels must be a tuple with the number of channels of each block, "
            f"such as (8, 16), got {conv_channels!r}."
        )
    n = len(conv_channels)
    channels = _per_block(conv_channels, "conv_channels", n, 1)
    kernels = _per_block(kernel_size, "kernel_size", n, 1)
    pools = _per_block(pool_size, "pool_size", n, 1)
    strides = None
    if pool_stride is not None:
        strides = _per_block(pool_stride, "pool_stride", n, 1)
    if padding != "same":
        if isinstance(padding, str):
            raise ValueError(f'padding must be "same" or an int, got {padding!r}.')
        padding = check_integer(padding, "padding", at_least=0)

    blocks: list[Block] = []
    in_channels, length = input_shape
    for i in range(n):
        if padding == "same":
            kernel = min(kernels[i], length)
            left = (kernel - 1) // 2
            right = kernel - 1 - left
        else:
            left = right = int(padding)
            kernel = min(kernels[i], length + left + right)
        conv_length = length + left + right - kernel + 1
        pool = min(pools[i], conv_length)
        stride = pool if strides is None else strides[i]
        block = Block(
            in_channels, channels[i], kernel, left, right, pool, stride, length
        )
        blocks.append(block)
        length, in_channels = block.pooled_length, channels[i]
    return tuple(blocks)


def _hidden_sizes(
    hidden_size: int | str, hidden_layers: Sequence[int] | None, flat_size: int
) -> tuple[int, ...]:
    """Return the width of each hidden layer of the head."""
    if hidden_layers is None:
        if hidden_size == "auto":
            return (2 * flat_size,)
        if isinstance(hidden_size, str):
            raise ValueError(
                f'hidden_size must be "auto" or an int, got {hidden_size!r}.'
            )
        return (check_integer(hidden_size, "hidden_size"),)
    if hidden_size != "auto":
        raise ValueError(
            f"hidden_size={hidden_size!r} is the width of a single hidden layer, and "
            f"hidden_layers={hidden_layers!r} gives the width of each; leave one of "
            "them at its default."
        )
    if not isinstance(hidden_layers, list | tuple) or not hidden_layers:
        raise ValueError(
            "hidden_layers must be a tuple with the width of each hidden layer, such "
            f"as (128, 64), got {hidden_layers!r}."
        )
    return tuple(
        check_integer(width, f"hidden_layers[{i}]")
        for i, width in enumerate(hidden_layers)
    )
