"""A training step: K networks forward and backward on batches of b rows."""

from __future__ import annotations

from functools import lru_cache

import torch

from skrebatch._engine.nn.architecture import Architecture
from skrebatch._engine.nn.clipping import InputClip
from skrebatch._engine.nn.conv_pool import ConvPool, ConvPoolForward, ConvPoolLayout
from skrebatch._engine.nn.linear import (
    BatchNorm,
    BatchShares,
    Hidden,
    Linear,
    LinearLayout,
    NormLayout,
)
from skrebatch._engine.nn.workspace import Workspace
from skrebatch._utils.settings import with_default_settings


class Layout:
    """Where the parameters and running statistics of each layer are.

    Parameters
    ----------
    architecture : Architecture
    device : torch.device or str, default="cpu"
        Device of the index tables.
    """

    @with_default_settings  # index tables are made on the CPU
    def __init__(self, architecture: Architecture, device: torch.device | str = "cpu"):
        self.architecture = architecture
        self.blocks: list[ConvPoolLayout] = []
        self.linears: list[LinearLayout] = []
        self.norms: list[NormLayout] = []
        stop = 1  # after the constant zero
        self.projection: LinearLayout | None = None
        if architecture.projection is not None:
            n_in, n = architecture.n_features, architecture.projected_size
            start, stop = stop, stop + n * (n_in + 1)
            self.projection = LinearLayout(slice(start, stop), n, n_in + 1)
        ends = None
        if architecture.variable_length:
            ends = torch.arange(architecture.n_features + 1)
        for block in architecture.blocks:
            self.blocks.append(ConvPoolLayout(block, stop, ends))
            stop = self.blocks[-1].cells.stop
            ends = None if ends is None else block.pooled_ends(ends)
        self.limit = 0  # index of the limit among the running values, if clipped
        self.n_running = int(architecture.clips_inputs)
        sizes = architecture.linear_sizes
        for i, (n_in, n) in enumerate(sizes):
            start, stop = stop, stop + n * (n_in + 1)
            self.linears.append(LinearLayout(slice(start, stop), n, n_in + 1))
            if architecture.batch_norm and i < len(sizes) - 1:
                weight, bias = slice(stop, stop + n), slice(stop + n, stop + 2 * n)
                start, stop = self.n_running, bias.stop
                self.n_running += 2 * n
                mean, variance = (
                    slice(start, start + n),
                    slice(start + n, start + 2 * n),
                )
                self.norms.append(NormLayout(weight, bias, mean, variance))
        self.n_parameters = stop
        for conv in self.blocks:
            conv.to(torch.device(device))


@lru_cache(maxsize=16)
def layout_of(architecture: Architecture, device: torch.device) -> Layout:
    """Return a layout that all stacks of an architecture share.

    Making a layout takes longer than predicting a few rows. A layout takes at most a
    megabyte, unless layers are very wide.
    """
    return Layout(architecture, device)


class Step:
    """Forward and backward of the first K networks on batches of b rows.

    All views that a step needs are created once, in the constructor, because creating
    views costs as much as the arithmetic. A forward-only step computes in evaluation
    mode: with running statistics and without dropout.

    Parameters
    ----------
    layout : Layout
    flat, grad : torch.Tensor of shape (K, n_parameters)
        The parameters, and the memory for their gradients.
    running : torch.Tensor of shape (K, n_running or more)
        The running statistics.
    workspace : Workspace
    b : int
        Number of rows of a batch.
    """

    def __init__(
        self,
        layout: Layout,
        flat: torch.Tensor,
        grad: torch.Tensor,
        running: torch.Tensor,
        workspace: Workspace,
        b: int,
    ):
        K, architecture = len(flat), layout.architecture
        self.layers: list[Hidden | ConvPool | ConvPoolForward] = []
        is_variable, width = architecture.variable_length, architecture.n_features + 2
        rows = workspace.rows("x", K, b, width + is_variable)
        self.rows = rows.view(K * b, -1)
        self.x = x = rows[..., :width]
        self.lengths = None
        if is_variable:
            # As floats, from the table, and as integers, to index with.
            self.row_ends = self.rows[:, -1]
            self.lengths = torch.empty_like(self.row_ends, dtype=torch.long)
        self.clip: InputClip | None = None
        if architecture.clips_inputs:
            limits = running[:, layout.limit].view(K, 1, 1)
            x = workspace.padded("clipped", K, b, architecture.n_features, 2)
            self.clip = InputClip(limits, workspace, self.x[..., :-2], x[..., :-2])
        d_x = None
        if layout.projection is not None:
            name, n = "projection", layout.projection.rows
            read = x[..., :-1]  # a linear layer needs only the constant 1
            linear = Linear(flat, grad, layout.projection, workspace, name, read, d_x)
            x, d_x = workspace.padded(name, K, b, n, 2), linear.d_out
            self.layers.append(Hidden(linear, x))
        for i, block_layout in enumerate(layout.blocks):
            name = f"block{i}"
            constants = 2 if i < len(layout.blocks) - 1 else 1
            block: ConvPool | ConvPoolForward
            out = workspace.padded(name, K, b, block_layout.n_outputs, constants)
            if workspace.forward_only:
                block = ConvPoolForward(
                    block_layout, name, flat, workspace, x, out, self.lengths
                )
            else:
                block = ConvPool(
                    block_layout, name, flat, grad, workspace, x, out, d_x, self.lengths
                )
                d_x = block.d_out
            self.layers.append(block)
            x = out
        if not layout.blocks:
            x = x[..., :-1]
        self.shares = (
            BatchShares(workspace, K, b, running.dtype) if layout.norms else None
        )
        self.masks = None
        masks: list[torch.Tensor | None] = [None] * len(architecture.hidden_sizes)
        if architecture.dropout and not workspace.forward_only:
            self.keep_probability = 1 - architecture.dropout
            self.masks = workspace.plain("masks", K, b, sum(architecture.hidden_sizes))
            masks = list(self.masks.split(architecture.hidden_sizes, dim=2))
        for i, linear_layout in enumerate(layout.linears[:-1]):
            name = f"hidden{i}"
            linear = Linear(flat, grad, linear_layout, workspace, name, x, d_x)
            norm = None
            if self.shares is not None:
                norm_layout = layout.norms[i]
                norm = BatchNorm(
                    norm_layout,
                    name,
                    flat,
                    grad,
                    running,
                    self.shares,
                    workspace,
                    linear,
                )
            out = workspace.padded(name, K, b, linear_layout.rows, 1)
            self.layers.append(Hidden(linear, out, norm, masks[i]))
            x, d_x = out, linear.d_out
        self.last = Linear(flat, grad, layout.linears[-1], workspace, "output", x, d_x)
        self.outputs, self.d_outputs = self.last.out, self.last.d_out

    def count_rows(self, counts: torch.Tensor) -> None:
        """Set the number of rows of each network in the next batches, (K,)."""
        if self.shares is not None:
            self.shares.count(counts)

    def drop(self, keep: torch.Tensor) -> None:
        """Set the dropout masks of the next batches, (K, b, all hidden sizes)."""
        if self.masks is not None:
            self.masks.copy_(keep).div_(self.keep_probability)

    def forward(self) -> torch.Tensor:
        """Return the outputs (K, b, O) of the rows in `rows`."""
        if self.lengths is not None:
            self.lengths.copy_(self.row_ends)
        if self.clip is not None:
            self.clip.forward()
        for layer in self.layers:
            layer.forward()
        self.last.forward()
        return self.outputs

    def backward(self) -> None:
        """Compute the gradient of every parameter from `d_outputs`."""
        self.last.backward()
        for layer in reversed(self.layers):
            assert not isinstance(layer, ConvPoolForward)
            layer.backward()


class MixedStep(Step):
    """A step in mixed precision: float32 outside, the workspace's 16 bits inside.

    Parameters and inputs are rounded before a step; outputs and gradients are
    converted back to float32.

    Parameters
    ----------
    layout, flat, grad, running, workspace, b
        As for a :class:`Step`, in float32 except for the workspace.
    scale : torch.Tensor of shape (K,), default=None
        Factors of the losses, so that gradients do not underflow.
    """

    def __init__(
        self,
        layout: Layout,
        flat: torch.Tensor,
        grad: torch.Tensor,
        running: torch.Tensor,
        workspace: Workspace,
        b: int,
        scale: torch.Tensor | None,
    ):
        K, n_parameters = flat.shape
        self.flat, self.grad = flat, grad
        self.low_flat = workspace.plain("flat", K, n_parameters)
        self.low_grad = workspace.plain("grad", K, n_parameters)
        self.low_grad[:, 0] = 0  # gradient of the constant; no layer writes it
        super().__init__(layout, self.low_flat, self.low_grad, running, workspace, b)
        self.low_x, self.low_outputs = self.x, self.outputs
        self.low_d_outputs = self.d_outputs

        def wide(name: str, like: torch.Tensor) -> torch.Tensor:
            return workspace.plain("wide" + name, *like.shape, dtype=flat.dtype)

        self.x = wide("x", self.x)
        self.rows = self.x.view(K * b, -1)
        self.outputs = wide("outputs", self.outputs)
        self.d_outputs = wide("d_outputs", self.d_outputs)
        self.scale = scale
        if self.clip is not None:
            self.clip.x = self.x[..., :-2]  # in 16 bits outliers could be infinite

    def forward(self) -> torch.Tensor:
        """Return the outputs (K, b, O) of the rows in `rows`."""
        self.low_flat.copy_(self.flat)
        if self.clip is None:
            self.low_x.copy_(self.x)
        super().forward()
        return self.outputs.copy_(self.low_outputs)

    def backward(self) -> None:
        """Compute the gradient of every parameter from `d_outputs`."""
        if self.scale is not None:
            self.d_outputs.mul_(self.scale.view(-1, 1, 1))
        self.low_d_outputs.copy_(self.d_outputs)
        super().backward()
        self.grad.copy_(self.low_grad)
        if self.scale is not None:
            self.grad.div_(self.scale.view(-1, 1))


# The values of torch.amp.GradScaler, and an upper bound.
FIRST_SCALE = 2.0**16
_LARGEST_SCALE = 2.0**24
_STEPS_TO_GROW = 2000


def update_scales(
    scale: torch.Tensor, steps: torch.Tensor, finite: torch.Tensor
) -> None:
    """Halve the scales of gradients that overflowed; double them after many steps.

    Parameters
    ----------
    scale, steps : torch.Tensor of shape (K,)
        Scales, and numbers of steps since their last change; updated in place.
    finite : torch.Tensor of shape (K,)
        Whether the gradients of each network are finite.
    """
    steps.add_(1)
    grows = finite & (steps >= _STEPS_TO_GROW)
    scale.mul_(torch.where(finite, torch.where(grows, 2.0, 1.0), 0.5))
    scale.clamp_(max=_LARGEST_SCALE)
    steps.masked_fill_(grows | ~finite, 0)
