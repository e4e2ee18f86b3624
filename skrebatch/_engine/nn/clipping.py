"""Smooth clipping of a network's inputs."""

from __future__ import annotations

from typing import Any

import torch

from skrebatch._engine.nn.workspace import Workspace
from skrebatch._utils.validation import check_real

# Beyond this ratio of input to limit, the clipped input equals the limit, also in
# float64. The squares of larger ratios could overflow.
LARGEST_RATIO = 1e9


def check_input_clip(value: Any, dtype: torch.dtype) -> None:
    """Raise ValueError unless the value is None or a limit valid for `dtype`."""
    if value is None:
        return
    check_real(value, "input_clip", above=0)
    numbers = torch.finfo(dtype)
    check_real(value, "input_clip", at_least=numbers.tiny, at_most=numbers.max)


def clip_smoothly(x: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """Return x / sqrt(1 + (x / limit)^2), which lies between -limit and limit."""
    ratio = (x / limit).clamp(-LARGEST_RATIO, LARGEST_RATIO)
    return ratio * (1 + ratio * ratio).rsqrt() * limit


class InputClip:
    """Smooth clipping of the inputs of K networks with one limit per network."""

    def __init__(
        self,
        limits: torch.Tensor,  # (K, 1, 1)
        workspace: Workspace,
        x: torch.Tensor,  # (K, b, F)
        out: torch.Tensor,  # (K, b, F)
    ):
        self.limits, self.x, self.out = limits, x, out
        self.one = limits.new_ones(())
        self.ratio, self.factor = (
            workspace.plain("clip" + name, *x.shape, dtype=limits.dtype)
            for name in ("ratio", "factor")
        )

    def forward(self) -> None:
        """Compute `out` from `x`."""
        torch.div(self.x, self.limits, out=self.ratio)
        self.ratio.clamp_(-LARGEST_RATIO, LARGEST_RATIO)
        torch.addcmul(self.one, self.ratio, self.ratio, out=self.factor)
        self.ratio.mul_(self.factor.rsqrt_())
        torch.mul(self.ratio, self.limits, out=self.out)
