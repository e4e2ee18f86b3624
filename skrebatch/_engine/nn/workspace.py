"""Preallocated memory that training steps share."""

from __future__ import annotations

import math

import torch


class Workspace:
    """Named buffers for steps of at most K networks and b rows."""

    def __init__(self, like: torch.Tensor, K: int, b: int, forward_only: bool):
        self.like, self.K, self.b = like, K, b
        self.forward_only = forward_only
        self.pieces: dict[str, torch.Tensor] = {}

    def plain(
        self, name: str, K: int, *shape: int, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Return contiguous memory of the given shape with undefined values."""
        size = K * math.prod(shape)
        if name not in self.pieces:
            self.pieces[name] = self.like.new_empty(size, dtype=dtype)
        return self.pieces[name][:size].view(K, *shape)

    def gradient(self, name: str, K: int, *shape: int) -> torch.Tensor:
        """Return memory for a gradient; empty for forward-only steps."""
        return self.like[:0] if self.forward_only else self.plain(name, K, *shape)

    def contiguous(self, name: str, target: torch.Tensor) -> torch.Tensor:
        """Return the target if it is contiguous, else contiguous memory of its shape.

        torch computes a batched product into non-contiguous memory in a slow loop.
        """
        if target.is_contiguous():
            return target
        return self.plain(name, *target.shape)

    def rows(self, name: str, K: int, b: int, n: int) -> torch.Tensor:
        """Return memory (K, b, n) with undefined values.

        If forward-only, all rows begin at multiples of 64 bytes: the order in which a
        product is summed may depend on the address of a row.
        """
        if not self.forward_only:
            return self.plain(name, K, b, n)
        return self.plain(name, K, b, self._stride(n))[..., :n]

    def _stride(self, n: int) -> int:
        unit = 64 // self.like.element_size() if self.forward_only else 1
        return -(-n // unit) * unit

    def padded(self, name: str, K: int, b: int, n: int, extra: int) -> torch.Tensor:
        """Return memory (K, b, n + extra) that ends in 1, and in a 0 if extra is 2."""
        piece = self.pieces.get(name)
        if piece is None:
            stride = self._stride(n + extra)
            piece = self.like.new_zeros(self.K * self.b, stride)
            piece[:, n] = 1
            self.pieces[name] = piece
        return piece[: K * b].view(K, b, -1)[..., : n + extra]
