"""K networks of one architecture, trained side by side with written-out gradients.

Dispatch, not arithmetic, is what training a tiny network costs: autograd and
``Conv1d`` spend most of a step deciding what to do. :class:`FusedCNN` therefore
holds K networks in one matrix of parameters and runs forward and backward as
about forty batched operations on preallocated memory.

Five choices keep it short:

- A convolution followed by pooling is one matrix product. Its matrix is read
  off the kernel through a table of indices, its columns ordered by place in
  the pool first, so that pooling is an elementwise maximum of contiguous parts.
- Most of that matrix is zero, which matters little on a short sequence. A long one
  is read in windows, each with all that its share of the pooled positions needs.
  They overlap, are copied below one another and share one small matrix. A sequence
  read whole is the case of one window, and needs no copy.
- Each input of a layer ends in a constant 1, which makes the bias a row of the
  weight matrix. The input of a convolution ends in a 1 and a 0: the row of the
  0 is where taps beyond the border read and write, and what windows read there.
- Where rows vary in length, what a convolution gives beyond a row's end is set to
  zero before the pooling, which is as good as leaving it out, for a ReLU follows. A
  zero never wins there, so that the backward pass needs to know nothing of it.
- Parameter 0 of each network is the constant zero those taps read. Its gradient
  is always zero, so every optimizer leaves it there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from skrebatch.network import (
    Architecture,
    Block,
    TabularCNN,
    draw_weights,
    shorten,
)

_relu_backward = torch.ops.aten.threshold_backward.grad_input


# Measured: fewer outputs in a row than this leave vector units and loops idle.
_FULL_RUN = 16
# Measured: copying into windows and back costs this part of the product itself.
_COPIES = 0.5


def _choose_span(block: Block) -> int:
    """Return how many of the pooled positions a window covers, all if it is one.

    It is a divisor, so that windows are equal. All windows together have the same
    number of columns whatever the span, so that the work goes by a window's rows.
    """
    n = block.pooled_length

    def cost(span: int) -> float:
        rows = _window_length(block, span) * block.in_channels + 2
        waste = max(1, _FULL_RUN / (span * block.out_channels)) ** 2
        return rows * waste * (1 if span == n else 1 + _COPIES)

    return min((span for span in range(1, n + 1) if n % span == 0), key=cost)


def _window_length(block: Block, span: int) -> int:
    """Return how many positions of the sequence a window reads."""
    if span == block.pooled_length:
        return block.length
    return (span - 1) * block.pool_stride + block.pool_size + block.kernel_size - 1


class _ConvPoolLayout:
    """Where the kernel of a block stands in its matrix, and the way back."""

    def __init__(self, block: Block, start: int, ends: torch.Tensor | None = None):
        c_in, c_out = block.in_channels, block.out_channels
        pool, span = block.pool_size, _choose_span(block)
        is_whole = span == block.pooled_length
        self.windows = None if is_whole else _WindowLayout(block, span)
        # Several windows hold the zeros beyond the border, one leaves them out.
        length, left = _window_length(block, span), block.left if is_whole else 0
        self.n_outputs = block.pooled_length * c_out
        self.pool = pool
        # The kernel is stored as (tap, in, out), then the bias (out,).
        self.kernel_shape = (block.kernel_size, c_in, c_out)
        stop = start + math.prod(self.kernel_shape) + c_out
        self.cells = slice(start, stop)

        rows, columns = length * c_in + 2, pool * span * c_out
        self.matrix_shape = rows, columns
        zero_cell = (rows - 1) * columns
        places = torch.arange(pool).view(pool, 1, 1, 1, 1)
        positions = torch.arange(span).view(1, span, 1, 1, 1)
        taps = torch.arange(block.kernel_size).view(1, 1, -1, 1, 1)
        ins = torch.arange(c_in).view(1, 1, 1, c_in, 1)
        outs = torch.arange(c_out).view(1, 1, 1, 1, c_out)
        source = positions * block.pool_stride + places + taps - left
        inside = (source >= 0) & (source < length)
        column = (places * span + positions) * c_out + outs
        kernel_cell = torch.where(
            inside, (source * c_in + ins) * columns + column, zero_cell
        )  # (pool, span, tap, in, out)
        bias_cell = length * c_in * columns + column  # (pool, span, 1, 1, out)
        # (pool * span, kernel and bias): the cells of the matrix with each weight.
        self.uses = torch.cat(
            [kernel_cell.flatten(2).flatten(0, 1), bias_cell.flatten(2).flatten(0, 1)],
            dim=1,
        )
        # (rows * columns,): the weight that each cell of the matrix holds.
        self.weights = torch.zeros(rows * columns, dtype=torch.long)
        self.weights[self.uses] = torch.arange(start, stop)
        self.weights[zero_cell] = 0

        # Where rows vary in length: how long those of each length in `ends` are after
        # the convolution, and the positions in the order of the product's columns.
        self.ends = None if ends is None else block.conv_ends(ends)
        windows = torch.arange(block.pooled_length // span).view(-1, 1, 1) * span
        positions = (windows + positions.flatten()) * block.pool_stride
        self.positions = (positions + places.view(-1, 1)).flatten()

    def to(self, device: torch.device) -> None:
        """Move the tables."""
        self.uses, self.weights = self.uses.to(device), self.weights.to(device)
        if self.ends is not None:
            self.ends, self.positions = self.ends.to(device), self.positions.to(device)
        if self.windows is not None:
            self.windows.to(device)


class _WindowLayout:
    """What the windows of a block read, each with its constants, and the way back."""

    def __init__(self, block: Block, span: int):
        c_in, length = block.in_channels, _window_length(block, span)
        step = span * block.pool_stride
        self.n = block.pooled_length // span
        self.n_inputs = one = block.length * c_in
        self.n_cells = length * c_in + 2
        zero, zero_cell = one + 1, self.n_cells - 1
        starts = torch.arange(self.n).view(-1, 1, 1) * step - block.left
        source = starts + torch.arange(length).view(1, -1, 1)
        inside = (source >= 0) & (source < block.length)
        ins = torch.arange(c_in)
        reads = torch.where(inside, source * c_in + ins, zero)  # (n, length, in)
        constants = torch.tensor([one, zero]).expand(self.n, 2)
        # (n * n_cells,): the input that each cell of the windows holds.
        self.reads = torch.cat([reads.flatten(1), constants], dim=1).flatten()

        # An input is in the last window that starts before it, or in earlier ones.
        source = torch.arange(block.length).view(1, -1, 1) + block.left
        earlier = torch.arange(math.ceil(length / step)).view(-1, 1, 1)
        window = source // step - earlier
        place = source - window * step
        inside = (window >= 0) & (window < self.n) & (place < length)
        cell = (window * length + place) * c_in + 2 * window + ins
        # Tables (n_inputs,): a cell that holds each input, or else the constant 0.
        self.readers = list(torch.where(inside, cell, zero_cell).flatten(1))

    def to(self, device: torch.device) -> None:
        """Move the tables."""
        self.reads = self.reads.to(device)
        self.readers = [table.to(device) for table in self.readers]


class _Step:
    """Forward and backward of the first K networks on batches of b rows.

    Everything that a step touches is a view prepared here once, because making
    views costs as much as the arithmetic.
    """

    def __init__(self, module: FusedCNN, memory: _Memory, K: int, b: int):
        self.blocks: list[_ConvPool] = []
        flat, grad = module.flat[:K], module.grad[:K]
        layouts = module.layouts
        n_features = module.architecture.n_features
        is_variable = module.architecture.variable_length
        rows = memory.plain("x", K, b, n_features + 2 + is_variable)
        self.rows = rows.view(K * b, -1)
        self.x = x = rows[..., : n_features + 2]
        self.lengths = None
        if is_variable:
            # As a table holds them, and as numbers to look up.
            self.row_ends = self.rows[:, -1]
            self.lengths = torch.empty_like(self.row_ends, dtype=torch.long)
        d_x = None
        for i, layout in enumerate(layouts):
            name = f"block{i}"
            constants = 2 if i < len(layouts) - 1 else 1
            out = memory.padded(name, K, b, layout.n_outputs, constants)
            block = _ConvPool(
                layout, name, flat, grad, memory, x, out, d_x, self.lengths
            )
            self.blocks.append(block)
            x, d_x = out, block.d_out
        hidden = memory.padded("hidden", K, b, module.architecture.hidden_size, 1)
        self.first = _Linear(flat, grad, module.head[0], memory, "hidden", x, d_x)
        self.last = _Linear(
            flat, grad, module.head[1], memory, "output", hidden, self.first.d_out
        )
        self.hidden, self.d_hidden = hidden[..., :-1], self.first.d_out
        self.outputs, self.d_outputs = self.last.out, self.last.d_out

    def forward(self) -> torch.Tensor:
        """Return the outputs (K, b, O) of the rows in `rows`."""
        if self.lengths is not None:
            self.lengths.copy_(self.row_ends)
        for block in self.blocks:
            block.forward()
        self.first.forward()
        torch.clamp_min(self.first.out, 0, out=self.hidden)
        self.last.forward()
        return self.outputs

    def backward(self) -> None:
        """Turn `d_outputs` into the gradient of every parameter."""
        self.last.backward()
        _relu_backward(self.d_hidden, self.hidden, 0, grad_input=self.d_hidden)
        self.first.backward()
        for block in reversed(self.blocks):
            block.backward()


class _ShortStep:
    """A step on rows that are short, by a smaller stack with copies of the weights."""

    def __init__(
        self, module: FusedCNN, short: FusedCNN, memory: _Memory, step: _Step, K: int
    ):
        n, m = module.architecture.n_features, short.architecture.n_features
        self.step = step
        table = memory.plain("table", memory.K * memory.b, n + 3)
        self.rows = table[: len(step.rows)]
        self.inputs = [
            (step.rows[:, :m], self.rows[:, :m]),
            (step.rows[:, m:], self.rows[:, n:]),
        ]
        self.weights = _shared_parts(short, module, "flat", K)
        self.gradients = _shared_parts(short, module, "grad", K)
        self.grad = module.grad[:K]
        self.d_outputs = step.d_outputs

    def forward(self) -> torch.Tensor:
        """Return the outputs (K, b, O) of the rows in `rows`."""
        for own, theirs in itertools.chain(self.inputs, self.weights):
            own.copy_(theirs)
        return self.step.forward()

    def backward(self) -> None:
        """Turn `d_outputs` into the gradient of every parameter."""
        self.step.backward()
        self.grad.zero_()
        for own, theirs in self.gradients:
            theirs.copy_(own)


def _shared_parts(
    short: FusedCNN, module: FusedCNN, name: str, K: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Pair what a smaller stack and a stack have in common of a matrix by name."""
    own, theirs = getattr(short, name)[:K], getattr(module, name)[:K]
    (own_cells, rows, columns), (cells, _, all_columns) = short.head[0], module.head[0]
    own_first = own[:, own_cells].unflatten(1, (rows, columns))
    first = theirs[:, cells].unflatten(1, (rows, all_columns))
    return [
        (own[:, : own_cells.start], theirs[:, : cells.start]),
        # The first positions' columns, and the bias.
        (own_first[..., :-1], first[..., : columns - 1]),
        (own_first[..., -1], first[..., -1]),
        (own[:, own_cells.stop :], theirs[:, cells.stop :]),
    ]


class _ConvPool:
    """One block Conv1d -> MaxPool1d -> ReLU (as good as ReLU before the pool)."""

    def __init__(
        self,
        layout: _ConvPoolLayout,
        name: str,
        flat: torch.Tensor,
        grad: torch.Tensor,
        memory: _Memory,
        x: torch.Tensor,
        out: torch.Tensor,
        d_x: torch.Tensor | None,
        lengths: torch.Tensor | None,
    ):
        K, b, _ = x.shape
        n, n_windows = layout.n_outputs, 1
        self.windows = None
        if layout.windows is not None:
            self.windows = _Windows(layout.windows, name, memory, x, d_x)
            x, d_x, n_windows = self.windows.x, self.windows.d_x, layout.windows.n
        self.x, self.d_x = x, d_x
        self.flat = flat
        self.weights = layout.weights
        self.matrix = memory.plain(name + "w", K, *layout.matrix_shape)
        self.matrix_cells = self.matrix.view(K, -1)
        pool, columns = layout.pool, layout.matrix_shape[1]
        z = memory.plain(name + "z", K, b * n_windows, columns)
        self.z, self.places = z, z.split(columns // pool, dim=2)
        self.best = self.places[0]
        self.mask = None
        if layout.ends is not None and lengths is not None:
            ends, positions = layout.ends.to(z.dtype), layout.positions.to(z.dtype)
            self.mask = _Mask(ends, positions, name, memory, z, lengths)
        shape = self.best.shape
        self.leads = [memory.gradient(f"{name}l{j}", *shape) for j in range(1, pool)]
        self.forward_only = memory.forward_only
        self.out = out[..., :n]
        # The same cells, window by window.
        self.best_windows = self.best.unflatten(1, (b, n_windows))
        self.out_windows = self.out.unflatten(2, (n_windows, -1))
        self.d_out = memory.gradient(name + "do", K, b, n)
        if memory.forward_only:
            return
        self.uses = layout.uses.view(-1)
        self.grad = grad[:, layout.cells]
        self.d_best = self.d_out.view(shape)
        self.d_z = memory.plain(name + "dz", *z.shape) if pool > 1 else self.d_best
        self.d_places = self.d_z.split(columns // pool, dim=2)
        self.x_t = x.transpose(1, 2)
        # Rows of the constants pass no gradient down.
        self.matrix_t = self.matrix[:, :-2].transpose(1, 2)
        # The kernel's matrix is read for the last time before its gradient is
        # written, but d_x still needs it: two different pieces of memory.
        self.d_matrix = memory.plain(name + "dw", K, *layout.matrix_shape)
        self.d_cells = self.d_matrix.view(K, -1)
        self.used = memory.plain(name + "u", K, *layout.uses.shape)
        self.used_cells = self.used.view(K, -1)

    def forward(self) -> None:
        if self.windows is not None:
            self.windows.forward()
        torch.index_select(self.flat, 1, self.weights, out=self.matrix_cells)
        torch.bmm(self.x, self.matrix, out=self.z)
        if self.mask is not None:
            self.mask.forward()
        for place, lead in zip(self.places[1:], self.leads, strict=True):
            if not self.forward_only:
                # Positive where this place wins; a tie stays with the earlier one.
                torch.sub(place, self.best, out=lead)
            torch.maximum(self.best, place, out=self.best)
        torch.clamp_min(self.best_windows, 0, out=self.out_windows)

    def backward(self) -> None:
        _relu_backward(self.d_out, self.out, 0, grad_input=self.d_out)
        d_best = self.d_best
        for j in range(len(self.leads), 0, -1):
            d_place = self.d_places[j]
            _relu_backward(d_best, self.leads[j - 1], 0, grad_input=d_place)
            torch.sub(d_best, d_place, out=d_best if j > 1 else self.d_places[0])
        torch.bmm(self.x_t, self.d_z, out=self.d_matrix)
        torch.index_select(self.d_cells, 1, self.uses, out=self.used_cells)
        torch.sum(self.used, 1, out=self.grad)
        if self.d_x is not None:
            torch.bmm(self.d_z, self.matrix_t, out=self.d_x)
            if self.windows is not None:
                self.windows.backward()


class _Mask:
    """Zeros at the positions beyond each row's end."""

    def __init__(
        self,
        ends: torch.Tensor,
        positions: torch.Tensor,
        name: str,
        memory: _Memory,
        z: torch.Tensor,
        lengths: torch.Tensor,
    ):
        n_rows, n_positions = len(lengths), len(positions)
        self.ends, self.positions, self.lengths = ends, positions, lengths
        self.row_ends = z.new_empty(n_rows)
        self.column = self.row_ends.unsqueeze(1)
        # 1 before the end and 0 beyond it, of the product's numbers.
        self.inside = memory.plain(name + "m", 1, n_rows, n_positions)[0]
        self.factors = self.inside.unsqueeze(2)
        self.z = z.view(n_rows, n_positions, -1)

    def forward(self) -> None:
        torch.index_select(self.ends, 0, self.lengths, out=self.row_ends)
        torch.sub(self.column, self.positions, out=self.inside).clamp_(0, 1)
        self.z.mul_(self.factors)


class _Windows:
    """The windows of the rows of a block's input, below one another."""

    def __init__(
        self,
        layout: _WindowLayout,
        name: str,
        memory: _Memory,
        x: torch.Tensor,
        d_x: torch.Tensor | None,
    ):
        K, b, _ = x.shape
        self.x = memory.plain(name + "x", K, b * layout.n, layout.n_cells)
        # index_select is several times slower in three dimensions.
        self.rows, self.cells = x.view(K * b, -1), self.x.view(K * b, -1)
        self.reads = layout.reads
        self.d_x = None
        if d_x is None or memory.forward_only:
            return
        # When d_x is written, x has been read for the last time; its constants stay.
        self.d_x = self.x[..., :-2]
        self.d_rows = d_x.view(K * b, -1)
        self.first_readers, *self.more_readers = layout.readers
        self.share = memory.plain(name + "s", K * b, layout.n_inputs)

    def forward(self) -> None:
        torch.index_select(self.rows, 1, self.reads, out=self.cells)

    def backward(self) -> None:
        torch.index_select(self.cells, 1, self.first_readers, out=self.d_rows)
        for readers in self.more_readers:
            torch.index_select(self.cells, 1, readers, out=self.share)
            self.d_rows.add_(self.share)


class _Linear:
    """A linear layer whose input ends in a constant 1."""

    def __init__(
        self,
        flat: torch.Tensor,
        grad: torch.Tensor,
        layout: tuple[slice, int, int],
        memory: _Memory,
        name: str,
        x: torch.Tensor,
        d_x: torch.Tensor | None,
    ):
        cells, rows, columns = layout
        K, b, _ = x.shape
        self.x, self.x_t, self.d_x = x, x.transpose(1, 2), d_x
        self.weight = flat[:, cells].view(K, rows, columns)
        self.weight_t = self.weight.transpose(1, 2)
        self.out = memory.plain(name + "z", K, b, rows)
        # A batched product with a single column is a slow loop of dot products.
        self.is_single = rows == 1
        self.out_t = self.out.view(K, 1, b) if self.is_single else None
        self.d_out = memory.gradient(name + "do", K, b, rows)
        if memory.forward_only:
            return
        self.d_out_t = self.d_out.transpose(1, 2)
        self.grad = grad[:, cells].view(K, rows, columns)
        self.own_grad = memory.contiguous(name + "g", self.grad)
        self.weight_body = self.weight[..., :-1]

    def forward(self) -> None:
        if self.is_single:
            torch.bmm(self.weight, self.x_t, out=self.out_t)
        else:
            torch.bmm(self.x, self.weight_t, out=self.out)

    def backward(self) -> None:
        torch.bmm(self.d_out_t, self.x, out=self.own_grad)
        if self.own_grad is not self.grad:
            self.grad.copy_(self.own_grad)
        if self.d_x is None:
            return
        if self.is_single:
            torch.mul(self.d_out, self.weight_body, out=self.d_x)
        else:
            torch.bmm(self.d_out, self.weight_body, out=self.d_x)


class _Memory:
    """Memory for the steps of at most K networks and b rows, by name."""

    def __init__(self, like: torch.Tensor, K: int, b: int, forward_only: bool):
        self.like, self.K, self.b = like, K, b
        self.forward_only = forward_only
        self.pieces: dict[str, torch.Tensor] = {}
        self.steps: dict[tuple[int, int], _Step] = {}

    def plain(self, name: str, K: int, *shape: int) -> torch.Tensor:
        """Return contiguous memory of the shape; what it holds is undefined."""
        size = K * math.prod(shape)
        if name not in self.pieces:
            self.pieces[name] = self.like.new_empty(size)
        return self.pieces[name][:size].view(K, *shape)

    def gradient(self, name: str, K: int, *shape: int) -> torch.Tensor:
        """Return memory for a gradient: none where steps only go forward."""
        return self.like[:0] if self.forward_only else self.plain(name, K, *shape)

    def contiguous(self, name: str, target: torch.Tensor) -> torch.Tensor:
        """Return the target, or memory for it where it lies in pieces.

        A batched product into pieces is a loop over the batch.
        """
        if target.is_contiguous():
            return target
        return self.plain(name, *target.shape)

    def padded(self, name: str, K: int, b: int, n: int, extra: int) -> torch.Tensor:
        """Return (K, b, n + extra) memory that ends in a 1, and a 0 if extra is 2."""
        piece = self.pieces.get(name)
        if piece is None:
            piece = self.like.new_zeros(self.K * self.b, n + extra)
            piece[:, n] = 1
            self.pieces[name] = piece
        return piece[: K * b].view(K, b, -1)


class FusedCNN(nn.Module):
    """K networks of one architecture in one matrix of parameters.

    Parameters
    ----------
    architecture : Architecture
        Sizes of every network.
    group_sizes : sequence of int, default=(1,)
        The networks of a group take their optimizer steps together; each group
        is one parameter of the module, of shape (group size, n_parameters).
        Their sum is K.
    dtype : torch.dtype, default=torch.float32
    device : torch.device or str, default="cpu"

    Attributes
    ----------
    groups : torch.nn.ParameterList
        The parameters; rows of `flat`.
    flat, grad : torch.Tensor of shape (K, n_parameters)
        The parameters (of the groups kept) and, after `backward` of a step, their
        gradients.
    """

    def __init__(
        self,
        architecture: Architecture,
        group_sizes: Sequence[int] = (1,),
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        super().__init__()
        self.architecture = architecture
        n_parameters = self._lay_out().stop
        self.groups = nn.ParameterList(
            nn.Parameter(torch.zeros(size, n_parameters, dtype=dtype, device=device))
            for size in group_sizes
        )
        self._share()

    def _lay_out(self) -> slice:
        """Give every layer its cells; return the last layer's."""
        layouts, cells = [], slice(0, 1)
        ends = None
        if self.architecture.variable_length:
            ends = torch.arange(self.architecture.n_features + 1)
        for block in self.architecture.blocks:
            layouts.append(_ConvPoolLayout(block, cells.stop, ends))
            cells = layouts[-1].cells
            ends = None if ends is None else block.pooled_ends(ends)
        head = []
        sizes = (
            (self.architecture.hidden_size, self.architecture.flat_size + 1),
            (self.architecture.n_outputs, self.architecture.hidden_size + 1),
        )
        for rows, columns in sizes:
            cells = slice(cells.stop, cells.stop + rows * columns)
            head.append((cells, rows, columns))
        self.layouts, self.head = layouts, head
        return cells

    def _share(self, live: Sequence[bool] | None = None) -> None:
        """Make the groups, or those that live, blocks of rows of one matrix."""
        self.live_groups = [
            group
            for group, lives in zip(
                self.groups, live or [True] * len(self.groups), strict=True
            )
            if lives
        ]
        with torch.no_grad():
            self.flat = torch.cat([group.detach() for group in self.live_groups])
            self.grad = torch.zeros_like(self.flat)
            rows = self.flat.split([len(group) for group in self.live_groups])
            for group in self.groups:
                group.grad, group.data = None, group.detach().clone()
            for group, share in zip(self.live_groups, rows, strict=True):
                group.data = share
        for layout in self.layouts:
            layout.to(self.flat.device)
        self._memories: dict[bool, _Memory] = {}
        self._shorts: dict[Architecture, FusedCNN] = {}
        self._short_steps: dict[Any, _ShortStep] = {}

    def _apply(self, fn: Any, recurse: bool = True) -> FusedCNN:
        """Move or cast the parameters, and what hangs on them."""
        super()._apply(fn, recurse)
        self._share()
        return self

    def keep(self, live: Sequence[bool]) -> None:
        """Take only some groups into `flat`, so that steps leave the others out.

        The others keep their parameters, and come back when they are kept again.

        Parameters
        ----------
        live : sequence of bool, one for each group
        """
        self._share(live)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be made again from the parameters."""
        state = self.__dict__.copy()
        for name in ("flat", "grad", "live_groups", "layouts", "head", "_memories"):
            del state[name]
        del state["_shorts"], state["_short_steps"]
        # A pickled view would bring the whole matrix along, once for each group.
        copies = (nn.Parameter(group.detach().clone()) for group in self.groups)
        state["_modules"] = {**self._modules, "groups": nn.ParameterList(copies)}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the parameters and what hangs on them."""
        super().__setstate__(state)
        self._lay_out()
        self._share()

    def step(self, K: int, b: int, forward_only: bool = False) -> _Step:
        """Return the step of the first K networks on batches of b rows.

        The memory behind all steps is shared and as large as the largest batch
        asked for, so use one step at a time.
        """
        memory = self._memories.get(forward_only)
        if memory is None or memory.b < b:
            memory = _Memory(self.flat, len(self.flat), b, forward_only)
            self._memories[forward_only] = memory
            # The largest step first: it claims the memory that the others share.
            memory.steps[len(self.flat), b] = _Step(self, memory, len(self.flat), b)
        step = memory.steps.get((K, b))
        if step is None:
            step = memory.steps[K, b] = _Step(self, memory, K, b)
        return step

    def short_step(
        self, K: int, b: int, length: int, forward_only: bool = False
    ) -> _Step | _ShortStep:
        """Return a step like that of `step`, for rows of at most a length."""
        architecture = shorten(self.architecture, length)
        if architecture == self.architecture:
            return self.step(K, b, forward_only)
        short = self._shorts.get(architecture)
        if short is None:
            sizes = (len(self.flat),)
            short = FusedCNN(architecture, sizes, self.flat.dtype, self.flat.device)
            self._shorts[architecture] = short
        step = short.step(K, b, forward_only)
        key = architecture, K, b, forward_only
        known = self._short_steps.get(key)
        if known is None or known.step is not step:
            memory = short._memories[forward_only]
            known = self._short_steps[key] = _ShortStep(self, short, memory, step, K)
        return known

    def activate(self, active: Sequence[bool]) -> None:
        """Say which networks the next optimizer steps move.

        A group without an active network has no gradient, so that an optimizer
        leaves it and its own state untouched.
        """
        start = 0
        for group in self.live_groups:
            stop = start + len(group)
            group.grad = self.grad[start:stop] if any(active[start:stop]) else None
            start = stop

    def release(self) -> None:
        """Give the memory of all steps and gradients back."""
        self._memories, self._shorts, self._short_steps = {}, {}, {}
        for group in self.groups:
            group.grad = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the raw outputs of every network on the same rows.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        outputs : torch.Tensor of shape (K, n_samples, n_outputs)
        """
        with torch.no_grad():
            step = self.step(len(self.flat), len(x), forward_only=True)
            table = append_constants(x, self.architecture.variable_length)
            step.rows.unflatten(0, (-1, len(x))).copy_(table)
            return step.forward().clone()

    def read_all(self) -> list[TabularCNN]:
        """Copy every network into an ordinary module.

        Returns
        -------
        networks : list of K TabularCNN
            On the same device, in evaluation mode.
        """
        networks = []
        with torch.no_grad():
            # Put in torch's order for all networks at once.
            layers = [view.contiguous().unbind() for view in self._views()]
            for values in zip(*layers, strict=True):
                network = TabularCNN.from_architecture(
                    self.architecture, self.flat.dtype, self.flat.device
                )
                for own, theirs in zip(values, network.parameters(), strict=True):
                    theirs.copy_(own.view(theirs.shape))
                networks.append(network.eval())
        return networks

    def write(self, k: int, network: TabularCNN) -> None:
        """Copy the weights of an ordinary module into network k.

        Parameters
        ----------
        k : int
            Number of the network, in [0, K).
        network : TabularCNN
            Of the same architecture.

        Raises
        ------
        ValueError
            If it is of another architecture.
        """
        if network.architecture != self.architecture:
            raise ValueError("The network is of another architecture than the stack.")
        with torch.no_grad():
            for view, theirs in zip(self._views(), network.parameters(), strict=True):
                view[k].copy_(theirs.view(view[k].shape))

    def draw(self, k: int, generator: torch.Generator) -> None:
        """Draw new weights for network k, the very ones that TabularCNN draws.

        Parameters
        ----------
        k : int
            Number of the network, in [0, K).
        generator : torch.Generator
            Source of the weights.
        """
        views = iter(self._views())
        with torch.no_grad():
            for weights, biases in zip(views, views, strict=True):
                weight, bias = weights[k], biases[k]
                new_weight = torch.empty(weight.shape, dtype=torch.float32)
                new_bias = torch.empty(bias.shape, dtype=torch.float32)
                draw_weights(new_weight, new_bias, generator)
                weight.copy_(new_weight)
                bias.copy_(new_bias)

    def _views(self) -> list[torch.Tensor]:
        """View all parameters in the order of torch, weight and bias in turn.

        The shapes are (K, torch's shape), but that the head's first weight is (K,
        hidden, channels, positions).
        """
        views = []
        for layout in self.layouts:
            kernel_size, c_in, c_out = layout.kernel_shape
            cells = self.flat[:, layout.cells]
            kernel = cells[:, :-c_out].unflatten(1, (kernel_size, c_in, c_out))
            views += [kernel.permute(0, 3, 2, 1), cells[:, -c_out:]]
        last = self.architecture.blocks[-1]
        for i, (place, rows, columns) in enumerate(self.head):
            matrix = self.flat[:, place].unflatten(1, (rows, columns))
            weight = matrix[..., :-1]
            if i == 0:
                # Here position by position, in torch channel by channel.
                shape = last.pooled_length, last.out_channels
                weight = weight.unflatten(2, shape).transpose(2, 3)
            views += [weight, matrix[..., -1]]
        return views


def append_constants(x: torch.Tensor, variable_length: bool = False) -> torch.Tensor:
    """Append the columns 1 and 0 that FusedCNN expects after the features.

    Parameters
    ----------
    x : torch.Tensor of shape (n_samples, n_features)
    variable_length : bool, default=False
        Whether rows may end in NaN: zeros take its place, and a last column tells
        the length.

    Returns
    -------
    table : torch.Tensor of shape (n_samples, n_features + 2 or 3)
    """
    columns = [x, x.new_tensor([1.0, 0.0]).expand(len(x), 2)]
    if variable_length:
        lengths = x.isnan().logical_not().sum(1, keepdim=True)
        columns = [x.nan_to_num(0.0), columns[1], lengths.to(x.dtype)]
    return torch.cat(columns, dim=1)
