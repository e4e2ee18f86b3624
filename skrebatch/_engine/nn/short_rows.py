"""Steps on short rows, computed with a smaller network."""

from __future__ import annotations

import itertools

import torch

from skrebatch._engine.nn.step import Layout, Step
from skrebatch._engine.nn.workspace import Workspace


class ShortStep:
    """A step on short rows: a step of a smaller stack with copies of the weights.

    Parameters
    ----------
    step : Step
        A step of the smaller stack.
    workspace : Workspace
        The workspace of that step.
    layouts : tuple of two Layout
        The layouts of the smaller and of the full stack.
    flats, grads : tuple of two torch.Tensor, shape (K, n_parameters)
        The parameters and gradients of the smaller and of the full stack.
    runnings : tuple of two torch.Tensor, shape (K, n_running)
        The running values of the smaller and of the full stack.
    """

    def __init__(
        self,
        step: Step,
        workspace: Workspace,
        layouts: tuple[Layout, Layout],
        flats: tuple[torch.Tensor, torch.Tensor],
        grads: tuple[torch.Tensor, torch.Tensor],
        runnings: tuple[torch.Tensor, torch.Tensor],
    ):
        m, n = (layout.architecture.n_features for layout in layouts)
        self.step = step
        table = workspace.plain("table", workspace.K * workspace.b, n + 3)
        self.rows = table[: len(step.rows)]
        self.inputs = [
            (step.rows[:, :m], self.rows[:, :m]),
            (step.rows[:, m:], self.rows[:, n:]),
        ]
        self.weights = [*pair_parts(layouts, flats), runnings]
        self.gradients = pair_parts(layouts, grads)
        self.grad = grads[1]
        self.d_outputs = step.d_outputs

    def forward(self) -> torch.Tensor:
        """Return the outputs (K, b, O) of the rows in `rows`."""
        for short, full in itertools.chain(self.inputs, self.weights):
            short.copy_(full)
        return self.step.forward()

    def backward(self) -> None:
        """Compute the gradient of every parameter from `d_outputs`."""
        self.step.backward()
        self.grad.zero_()
        for short, full in self.gradients:
            full.copy_(short)


def pair_parts(
    layouts: tuple[Layout, Layout], matrices: tuple[torch.Tensor, torch.Tensor]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Pair the common parts of two matrices of parameters, (K, n_parameters) each."""
    short, full = matrices
    short_cells, rows, short_columns = layouts[0].linears[0]
    cells, _, columns = layouts[1].linears[0]
    short_first = short[:, short_cells].unflatten(1, (rows, short_columns))
    first = full[:, cells].unflatten(1, (rows, columns))
    return [
        (short[:, : short_cells.start], full[:, : cells.start]),
        # The columns of the first positions, and the bias.
        (short_first[..., :-1], first[..., : short_columns - 1]),
        (short_first[..., -1], first[..., -1]),
        (short[:, short_cells.stop :], full[:, cells.stop :]),
    ]
