"""Blocks of convolution and pooling as matrix products, for K networks at once.

- A convolution followed by pooling is one matrix product. Its matrix is gathered
  from the kernel through a table of indices. The columns are ordered by place in
  the pool first, so pooling is an elementwise maximum of contiguous parts.
- Most of this matrix is zero, which costs little for short sequences. A long
  sequence is cut into overlapping windows; each holds the inputs of some of the
  pooled positions. All windows are copied below one another and share one small
  matrix. A short sequence is a single window and needs no copy.
- The input ends in the constants 1 and 0. The 1 makes the bias a row of the matrix.
  Kernel taps and windows that extend beyond the sequence use the 0.
- Where rows vary in length, convolution outputs beyond a row's end are set to zero
  before the pooling. As a ReLU follows, this is equivalent to leaving them out.
  Where a zero is the maximum, the ReLU passes no gradient, so the backward pass
  needs no mask.
"""

from __future__ import annotations

import math

import torch

from skrebatch._engine.nn.architecture import Block
from skrebatch._engine.nn.workspace import Workspace

relu_backward = torch.ops.aten.threshold_backward.grad_input

# Measured: with fewer contiguous outputs, vector units are not fully used.
_FULL_RUN = 16
# Measured: cost of copying to windows and back, relative to the matrix product.
_COPIES = 0.5


def _choose_span(block: Block) -> int:
    """Return how many pooled positions a window covers; all for a single window.

    The span divides the number of pooled positions, so that all windows have the
    same size. The total number of columns does not depend on the span, so the cost
    depends on the number of rows of a window.
    """
    n = block.pooled_length

    def cost(span: int) -> float:
        rows = _window_length(block, span) * block.in_channels + 2
        waste = max(1, _FULL_RUN / (span * block.out_channels)) ** 2
        return rows * waste * (1 if span == n else 1 + _COPIES)

    return min((span for span in range(1, n + 1) if n % span == 0), key=cost)


def _window_length(block: Block, span: int) -> int:
    """Return how many input positions a window reads."""
    if span == block.pooled_length:
        return block.length
    return (span - 1) * block.pool_stride + block.pool_size + block.kernel_size - 1


class ConvPoolLayout:
    """Index tables between the kernel of a block and its matrix."""

    def __init__(self, block: Block, start: int, ends: torch.Tensor | None = None):
        c_in, c_out = block.in_channels, block.out_channels
        pool, span = block.pool_size, _choose_span(block)
        is_whole = span == block.pooled_length
        self.windows = None if is_whole else _WindowLayout(block, span)
        # Several windows contain the zero padding; a single window leaves it out.
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
        # (pool * span, kernel and bias): the cells of the matrix that hold each weight.
        self.uses = torch.cat(
            [kernel_cell.flatten(2).flatten(0, 1), bias_cell.flatten(2).flatten(0, 1)],
            dim=1,
        )
        # (rows * columns,): the weight that each cell of the matrix holds.
        self.weights = torch.zeros(rows * columns, dtype=torch.long)
        self.weights[self.uses] = torch.arange(start, stop)
        self.weights[zero_cell] = 0

        # For rows that vary in length: the length after the convolution for each
        # length in `ends`, and the position of each column of the product.
        self.ends = None if ends is None else block.conv_ends(ends)
        windows = torch.arange(block.pooled_length // span).view(-1, 1, 1) * span
        positions = (windows + positions.flatten()) * block.pool_stride
        self.positions = (positions + places.view(-1, 1)).flatten()

    def to(self, device: torch.device) -> None:
        """Move the index tables to a device."""
        self.uses, self.weights = self.uses.to(device), self.weights.to(device)
        if self.ends is not None:
            self.ends, self.positions = self.ends.to(device), self.positions.to(device)
        if self.windows is not None:
            self.windows.to(device)


class _WindowLayout:
    """Index tables between the input of a block and its windows."""

    def __init__(self, block: Block, span: int):
        c_in, length = block.in_channels, _window_length(block, span)
        step = span * block.pool_stride
        self.n = block.pooled_length // span
        # For each window: the inputs that it reads, and their rows of the matrix.
        self.slices: list[tuple[slice, slice]] = []
        for start in range(-block.left, self.n * step - block.left, step):
            first, stop = max(start, 0), min(start + length, block.length)
            inputs = slice(first * c_in, stop * c_in)
            rows = slice((first - start) * c_in, (stop - start) * c_in)
            self.slices.append((inputs, rows))
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
        # Tables (n_inputs,): a cell that holds each input, or the constant 0.
        self.readers = list(torch.where(inside, cell, zero_cell).flatten(1))

    def to(self, device: torch.device) -> None:
        """Move the index tables to a device."""
        self.reads = self.reads.to(device)
        self.readers = [table.to(device) for table in self.readers]


class ConvPool:
    """One block Conv1d -> MaxPool1d -> ReLU (equivalent to ReLU before the pool)."""

    def __init__(
        self,
        layout: ConvPoolLayout,
        name: str,
        flat: torch.Tensor,
        grad: torch.Tensor,
        workspace: Workspace,
        x: torch.Tensor,
        out: torch.Tensor,
        d_x: torch.Tensor | None,
        lengths: torch.Tensor | None,
    ):
        K, b, _ = x.shape
        n, n_windows = layout.n_outputs, 1
        self.windows = None
        if layout.windows is not None:
            self.windows = _Windows(layout.windows, name, workspace, x, d_x)
            x, d_x, n_windows = self.windows.x, self.windows.d_x, layout.windows.n
        self.x, self.d_x = x, d_x
        self.flat = flat
        self.weights = layout.weights
        self.matrix = workspace.plain(name + "w", K, *layout.matrix_shape)
        self.matrix_cells = self.matrix.view(K, -1)
        pool, columns = layout.pool, layout.matrix_shape[1]
        z = workspace.plain(name + "z", K, b * n_windows, columns)
        self.z, self.places = z, z.split(columns // pool, dim=2)
        self.best = self.places[0]
        self.mask = None
        if lengths is not None:
            self.mask = _Mask(layout, name, workspace, lengths)
            self.masked = z.view(*self.mask.inside.shape, -1)
        shape = self.best.shape
        self.leads = [workspace.gradient(f"{name}l{j}", *shape) for j in range(1, pool)]
        self.out = out[..., :n]
        # The same values with a dimension for the windows.
        self.best_windows = self.best.unflatten(1, (b, n_windows))
        self.out_windows = self.out.unflatten(2, (n_windows, -1))
        self.d_out = workspace.gradient(name + "do", K, b, n)
        self.uses = layout.uses.view(-1)
        self.grad = grad[:, layout.cells]
        self.d_best = self.d_out.view(shape)
        self.d_z = workspace.plain(name + "dz", *z.shape) if pool > 1 else self.d_best
        self.d_places = self.d_z.split(columns // pool, dim=2)
        self.x_t = x.transpose(1, 2)
        # The constants need no gradient.
        self.matrix_t = self.matrix[:, :-2].transpose(1, 2)
        # d_x is computed from the matrix after the matrix's gradient is written, so
        # the two need separate memory.
        self.d_matrix = workspace.plain(name + "dw", K, *layout.matrix_shape)
        self.d_cells = self.d_matrix.view(K, -1)
        self.used = workspace.plain(name + "u", K, *layout.uses.shape)
        self.used_cells = self.used.view(K, -1)

    def forward(self) -> None:
        """Compute `out` from `x`."""
        if self.windows is not None:
            self.windows.forward()
        torch.index_select(self.flat, 1, self.weights, out=self.matrix_cells)
        torch.bmm(self.x, self.matrix, out=self.z)
        if self.mask is not None:
            self.masked.mul_(self.mask.forward().unsqueeze(2))
        for place, lead in zip(self.places[1:], self.leads, strict=True):
            # Positive where this place wins; in a tie the earlier one wins.
            torch.sub(place, self.best, out=lead)
            torch.maximum(self.best, place, out=self.best)
        torch.clamp_min(self.best_windows, 0, out=self.out_windows)

    def backward(self) -> None:
        """Compute the gradients of the weights and `d_x` from `d_out`."""
        relu_backward(self.d_out, self.out, 0, grad_input=self.d_out)
        d_best = self.d_best
        for j in range(len(self.leads), 0, -1):
            d_place = self.d_places[j]
            relu_backward(d_best, self.leads[j - 1], 0, grad_input=d_place)
            torch.sub(d_best, d_place, out=d_best if j > 1 else self.d_places[0])
        torch.bmm(self.x_t, self.d_z, out=self.d_matrix)
        torch.index_select(self.d_cells, 1, self.uses, out=self.used_cells)
        torch.sum(self.used, 1, out=self.grad)
        if self.d_x is not None:
            torch.bmm(self.d_z, self.matrix_t, out=self.d_x)
            if self.windows is not None:
                self.windows.backward()


class ConvPoolForward:
    """A block that is only computed forward.

    No window is copied: each is a part of the input, and is multiplied by the part of
    the matrix that belongs to it. The bias is added after the pooling.
    """

    def __init__(
        self,
        layout: ConvPoolLayout,
        name: str,
        flat: torch.Tensor,
        workspace: Workspace,
        x: torch.Tensor,
        out: torch.Tensor,
        lengths: torch.Tensor | None,
    ):
        K, b, _ = x.shape
        n_rows, columns = layout.matrix_shape
        width = columns // layout.pool
        self.flat = flat
        # The matrix is stored by columns: products with it are the same for all rows
        # of x, whatever their number.
        self.weights = layout.weights.view(n_rows, columns).t().flatten()
        cells = workspace.plain(name + "w", K, columns, n_rows)
        self.matrix_cells, matrix = cells.view(K, -1), cells.transpose(1, 2)
        self.z = workspace.plain(name + "z", K, b, columns)
        self.first, *self.others = self.z.split(width, dim=2)
        self.out = out[..., : layout.n_outputs]
        slices = [(slice(0, n_rows - 2), slice(0, n_rows - 2))]
        if layout.windows is not None:
            slices = layout.windows.slices
        self.parts = [
            (x[..., inputs], matrix[:, rows], best)
            for (inputs, rows), best in zip(
                slices, self.out.split(width, dim=2), strict=True
            )
        ]
        # The bias of the first place of each pool; the other places have the same.
        self.bias_row = matrix[:, -2:-1, :width]
        self.bias = workspace.plain(name + "b", K, 1, layout.n_outputs)
        self.bias_windows = self.bias.view(K, len(slices), width)
        self.mask = None
        if lengths is not None:
            self.mask = _Mask(layout, name, workspace, lengths)
            n_positions = self.mask.inside.shape[1] // len(slices)
            self.masked = self.z.view(K * b, n_positions, -1)
            # (K * b, positions, 1) for each window
            self.masks = self.mask.inside.unsqueeze(2).split(n_positions, dim=1)

    def forward(self) -> None:
        """Compute `out` from `x`."""
        torch.index_select(self.flat, 1, self.weights, out=self.matrix_cells)
        self.bias_windows.copy_(self.bias_row)
        if self.mask is not None:
            self.mask.forward().log_()  # 0 before the end of a row, -inf beyond
        for i, (x, matrix, best) in enumerate(self.parts):
            torch.bmm(x, matrix, out=self.z)
            if self.mask is not None:
                self.masked.add_(self.masks[i])
            place = self.first
            for other in self.others:
                torch.maximum(place, other, out=best)
                place = best
            if not self.others:
                best.copy_(place)
        self.out.add_(self.bias).clamp_min_(0)


class _Mask:
    """Finds the positions before each row's end."""

    def __init__(
        self,
        layout: ConvPoolLayout,
        name: str,
        workspace: Workspace,
        lengths: torch.Tensor,
    ):
        dtype = workspace.like.dtype
        assert layout.ends is not None
        self.ends, self.positions = layout.ends.to(dtype), layout.positions.to(dtype)
        n_rows, n_positions = len(lengths), len(self.positions)
        self.lengths = lengths
        self.row_ends = self.ends.new_empty(n_rows)
        self.column = self.row_ends.unsqueeze(1)
        self.inside = workspace.plain(name + "m", 1, n_rows, n_positions)[0]

    def forward(self) -> torch.Tensor:
        """Return 1 before the end of a row, 0 beyond, (n_rows, n_positions)."""
        torch.index_select(self.ends, 0, self.lengths, out=self.row_ends)
        return torch.sub(self.column, self.positions, out=self.inside).clamp_(0, 1)


class _Windows:
    """Copies a block's input into windows, and gradients back."""

    def __init__(
        self,
        layout: _WindowLayout,
        name: str,
        workspace: Workspace,
        x: torch.Tensor,
        d_x: torch.Tensor | None,
    ):
        K, b, _ = x.shape
        self.x = workspace.plain(name + "x", K, b * layout.n, layout.n_cells)
        # Two dimensions: index_select is several times slower in three.
        self.rows, self.cells = x.view(K * b, -1), self.x.view(K * b, -1)
        self.reads = layout.reads
        self.d_x = None
        if d_x is None:
            return
        # x is no longer needed when d_x is written; its constants must stay.
        self.d_x = self.x[..., :-2]
        self.d_rows = d_x.view(K * b, -1)
        self.first_readers, *self.more_readers = layout.readers
        self.share = workspace.plain(name + "s", K * b, layout.n_inputs)

    def forward(self) -> None:
        torch.index_select(self.rows, 1, self.reads, out=self.cells)

    def backward(self) -> None:
        torch.index_select(self.cells, 1, self.first_readers, out=self.d_rows)
        for readers in self.more_readers:
            torch.index_select(self.cells, 1, readers, out=self.share)
            self.d_rows.add_(self.share)
