"""Tables of tensors that hold the rows of the training data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from skrebatch._utils.typing import Floats


@dataclass(frozen=True)
class Table:
    """Rows of the training data as tensors on the training device.

    Attributes
    ----------
    features : torch.Tensor of shape (n_rows, n_features + 2 or 3)
        The features, followed by the constants 1 and 0 that the fused network reads.
        Where rows vary in length, the padding is replaced by zeros and a last column
        holds the length of each row.
    targets : torch.Tensor of shape (n_rows, n_outputs)
    """

    features: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.features)

    def read(self, rows: torch.Tensor, out: torch.Tensor) -> None:
        """Write the rows with the given indices to `out`, (n, n_features + 2 or 3)."""
        torch.index_select(self.features, 0, rows, out=out)

    def add_up(self, values: torch.Tensor) -> None:
        """Sum values in place over all processes; a no-op in a single process."""

    def per_row(
        self,
        compute: Callable[[list[NDArray[np.intp]]], list[Floats]],
        rows: list[NDArray[np.intp]],
    ) -> list[Floats]:
        """Compute values for sets of rows, in the processes that hold the rows."""
        return compute(rows)


def make_table(
    X: list[Floats],
    targets: list[Floats],
    dtype: torch.dtype,
    device: torch.device,
    variable_length: bool = False,
) -> Table:
    """Concatenate pieces of a table, copying each row once."""
    n_rows, n_features = sum(len(piece) for piece in X), X[0].shape[1]
    features = torch.empty(n_rows, n_features + 2 + variable_length, dtype=dtype)
    features[:, n_features], features[:, n_features + 1] = 1, 0
    values = features[:, :n_features]
    np.concatenate(X, out=values.numpy(), casting="same_kind")
    if variable_length:
        features[:, -1] = values.isnan().logical_not_().sum(1)
        values.nan_to_num_(0.0)
    y = torch.from_numpy(np.concatenate(targets)).to(device, dtype)
    return Table(features.to(device), y)
