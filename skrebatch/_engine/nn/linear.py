"""Linear layers, batch norm and dropout for K networks at once.

The input of a linear layer ends in a constant 1, which makes the bias a column of
the weight matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from skrebatch._engine.nn.conv_pool import relu_backward
from skrebatch._engine.nn.workspace import Workspace


class LinearLayout(NamedTuple):
    """Where the weights of a linear layer are; the bias is the last column."""

    cells: slice  # into the parameters
    rows: int
    columns: int


class NormLayout(NamedTuple):
    """Where the weight, bias, running mean and variance of a batch norm are."""

    weight: slice  # into the parameters
    bias: slice
    mean: slice  # into the running statistics
    variance: slice


class Linear:
    """A linear layer whose input ends in a constant 1."""

    def __init__(
        self,
        flat: torch.Tensor,
        grad: torch.Tensor,
        layout: LinearLayout,
        workspace: Workspace,
        name: str,
        x: torch.Tensor,
        d_x: torch.Tensor | None,
    ):
        cells, rows, columns = layout
        K, b, _ = x.shape
        self.x, self.x_t, self.d_x = x, x.transpose(1, 2), d_x
        self.weight = flat[:, cells].view(K, rows, columns)
        self.weight_t = self.weight.transpose(1, 2)
        self.out = workspace.plain(name + "z", K, b, rows)
        # A batched product with a single column is a slow loop of dot products.
        self.is_single = rows == 1
        self.out_t = self.out.view(K, 1, b) if self.is_single else None
        self.d_out = workspace.gradient(name + "do", K, b, rows)
        if workspace.forward_only:
            return
        self.d_out_t = self.d_out.transpose(1, 2)
        self.grad = grad[:, cells].view(K, rows, columns)
        self.dense_grad = workspace.contiguous(name + "g", self.grad)
        self.weight_body = self.weight[..., :-1]

    def forward(self) -> None:
        """Compute `out` from `x`."""
        if self.is_single:
            torch.bmm(self.weight, self.x_t, out=self.out_t)
        else:
            torch.bmm(self.x, self.weight_t, out=self.out)

    def backward(self) -> None:
        """Compute the gradients of the weights and `d_x` from `d_out`."""
        torch.bmm(self.d_out_t, self.x, out=self.dense_grad)
        if self.dense_grad is not self.grad:
            self.grad.copy_(self.dense_grad)
        if self.d_x is None:
            return
        if self.is_single:
            torch.mul(self.d_out, self.weight_body, out=self.d_x)
        else:
            torch.bmm(self.d_out, self.weight_body, out=self.d_x)


class BatchShares:
    """The weight of each row in the mean and variance of its batch.

    The batches of a stack may differ in length; rows beyond a network's batch have
    weight 0. A batch of a single row has no variance: it is normalised with the
    running statistics and does not update them.
    """

    def __init__(self, workspace: Workspace, K: int, b: int, dtype: torch.dtype):
        self.shares = workspace.plain("shares", K, 1, b, dtype=dtype)
        self.shares_t = self.shares.transpose(1, 2)
        self.borrowed = workspace.plain("borrowed", K, 1, 1, dtype=dtype)
        self.unbias = workspace.plain("unbias", K, 1, 1, dtype=dtype)

    def count(self, counts: torch.Tensor) -> None:
        """Set the number of rows of each network, (K,)."""
        counts = counts.to(self.shares).view(-1, 1, 1)
        places = torch.arange(self.shares.shape[-1], device=counts.device)
        alone = counts < 2
        others = (counts - 1).clamp_(min=1)
        self.shares.copy_((places < counts) & ~alone).div_(counts.clamp(min=1))
        self.borrowed.copy_(alone)
        self.unbias.copy_(torch.where(alone, 1, counts / others))


class BatchNorm:
    """A batch norm that works in place on the outputs of a linear layer."""

    eps, momentum = 1e-5, 0.1  # as in torch

    def __init__(
        self,
        layout: NormLayout,
        name: str,
        flat: torch.Tensor,
        grad: torch.Tensor,
        running: torch.Tensor,
        shares: BatchShares,
        workspace: Workspace,
        linear: Linear,
    ):
        self.z, self.d_z = linear.out, linear.d_out
        K, b, n = self.z.shape
        self.weight = flat[:, layout.weight].unsqueeze(1)  # (K, 1, n)
        self.bias = flat[:, layout.bias].unsqueeze(1)
        self.running_mean = running[:, layout.mean].unsqueeze(1)
        self.running_var = running[:, layout.variance].unsqueeze(1)
        kind = {"dtype": running.dtype}
        self.mean = workspace.plain(name + "m", K, 1, n, **kind)
        self.variance = workspace.plain(name + "v", K, 1, n, **kind)
        self.factor = workspace.plain(name + "f", K, 1, n, **kind)
        self.forward_only = workspace.forward_only
        if workspace.forward_only:
            return
        self.shares = shares
        self.weight_grad = grad[:, layout.weight].unsqueeze(1)
        self.bias_grad = grad[:, layout.bias].unsqueeze(1)
        self.normal = workspace.plain(name + "n", K, b, n, **kind)
        self.product = workspace.plain("product" + name, K, b, n, **kind)
        self.exact = self.z  # in the dtype of the statistics
        if self.z.dtype != running.dtype:
            self.exact = workspace.plain(name + "e", K, b, n, **kind)

    def forward(self) -> None:
        """Normalise `z` in place."""
        if self.forward_only:
            torch.add(self.running_var, self.eps, out=self.factor)
            self.factor.rsqrt_().mul_(self.weight)
            torch.mul(self.running_mean, self.factor, out=self.mean)
            torch.sub(self.bias, self.mean, out=self.mean)
            torch.addcmul(self.mean, self.z, self.factor, out=self.z)
            return
        rows = self.shares
        if self.exact is not self.z:
            self.exact.copy_(self.z)
        torch.bmm(rows.shares, self.exact, out=self.mean)
        self.mean.addcmul_(rows.borrowed, self.running_mean)
        torch.sub(self.exact, self.mean, out=self.normal)
        torch.mul(self.normal, self.normal, out=self.product)
        torch.bmm(rows.shares, self.product, out=self.variance)
        self.variance.addcmul_(rows.borrowed, self.running_var)
        self.running_mean.lerp_(self.mean, self.momentum)
        torch.mul(self.variance, rows.unbias, out=self.factor)
        self.running_var.lerp_(self.factor, self.momentum)
        torch.add(self.variance, self.eps, out=self.factor)
        self.factor.rsqrt_()
        self.normal.mul_(self.factor)
        torch.mul(self.normal, self.weight, out=self.product)
        torch.add(self.product, self.bias, out=self.z)

    def backward(self) -> None:
        """Compute the gradients of weight and bias, and that of the input in `d_z`."""
        if self.exact is not self.z:
            self.exact.copy_(self.d_z)
            d_z = self.exact
        else:
            d_z = self.d_z
        # Mean and variance are no longer needed: their memory holds the gradients.
        torch.sum(d_z, 1, keepdim=True, out=self.mean)
        torch.mul(d_z, self.normal, out=self.product)
        torch.sum(self.product, 1, keepdim=True, out=self.variance)
        self.bias_grad.copy_(self.mean)
        self.weight_grad.copy_(self.variance)
        # The part of the gradient that passes through the mean and variance.
        self.normal.mul_(self.variance).add_(self.mean).mul_(self.shares.shares_t)
        torch.sub(d_z, self.normal, out=self.normal)
        self.factor.mul_(self.weight)
        torch.mul(self.normal, self.factor, out=self.d_z)


class Hidden:
    """A hidden layer: Linear -> BatchNorm1d -> ReLU -> Dropout."""

    def __init__(
        self,
        linear: Linear,
        out: torch.Tensor,
        norm: BatchNorm | None = None,
        mask: torch.Tensor | None = None,
    ):
        self.linear, self.norm, self.mask = linear, norm, mask
        self.z, self.d_out = linear.out, linear.d_out
        self.out = out[..., : self.z.shape[-1]]
        if norm is not None and not norm.forward_only:
            self.bias_grad = linear.grad[..., -1:]  # (K, n, 1)

    def forward(self) -> None:
        """Compute `out` from `x`."""
        self.linear.forward()
        if self.norm is not None:
            self.norm.forward()
        torch.clamp_min(self.z, 0, out=self.out)
        if self.mask is not None:
            self.out.mul_(self.mask)

    def backward(self) -> None:
        """Compute the gradients of the weights and `d_x` from `d_out`."""
        if self.mask is not None:
            self.d_out.mul_(self.mask)
        relu_backward(self.d_out, self.out, 0, grad_input=self.d_out)
        if self.norm is not None:
            self.norm.backward()
        self.linear.backward()
        if self.norm is not None:
            # The batch mean cancels the bias, so its exact gradient is 0. Adam would
            # scale leftover rounding errors up to full steps.
            self.bias_grad.mul_(self.norm.shares.borrowed)
