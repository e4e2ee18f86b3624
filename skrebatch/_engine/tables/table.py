"""The table of tensors that training reads rows of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from skrebatch._utils.typing import Floats


@dataclass(frozen=True)
class Table:
    """Rows to train on, as tensors on the training device.

    Attributes
    ----------
    features : torch.Tensor of shape (n_rows, n_features + 2)
        The features, then the constants 1 and 0 that the fused network reads. Where
        rows vary in length, zeros instead of padding, and the length as a last column.
    targets : torch.Tensor of shape (n_rows, n_outputs)
    """

    features: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.features)

    def read(self, rows: torch.Tensor, out: torch.Tensor) -> None:
        """Write rows, by index, into memory of shape (n, n_features + 2) or wider."""
        torch.index_select(self.features, 0, rows, out=out)

    def add_up(self, values: torch.Tensor) -> None:
        """Sum values over the processes that share the table; here one has it all."""

    def per_row(
        self,
        compute: Callable[[list[NDArray[np.intp]]], list[Floats]],
        rows: list[NDArray[np.intp]],
    ) -> list[Floats]:
        """Compute something for sets of rows, where those are that hold them."""
        return compute(rows)


def make_table(
    X: list[Floats],
    targets: list[Floats],
    dtype: torch.dtype,
    device: torch.device,
    variable_length: bool = False,
) -> Table:
    """Stack pieces of a table, copying each row once."""
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
