"""Per-sample losses and their gradients, in closed form.

Every loss is the negative log-likelihood that belongs to its link function, so the
gradient with respect to the network's outputs is `link(outputs) - targets` times a
constant.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Loss(nn.Module):
    """A loss for each sample; outputs and targets have the same shape (..., O)."""

    def link(self, outputs: torch.Tensor) -> torch.Tensor:
        """Map raw outputs to predictions: probabilities, or means."""
        raise NotImplementedError

    def inverse_link(self, predictions: torch.Tensor) -> torch.Tensor:
        """Return raw outputs that :meth:`link` maps to the predictions."""
        raise NotImplementedError

    def per_sample(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of every sample: (..., O), (..., O) -> (...)."""
        raise NotImplementedError

    def slope(self, n_outputs: int) -> float:
        """Return the factor of `link(outputs) - targets` in the gradient."""
        return 1.0

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss."""
        return self.per_sample(outputs, targets).mean()


class BinaryCrossEntropy(Loss):
    """Binary cross-entropy, summed over L labels; targets are 0 or 1, shape (..., L).

    L is 1 for two classes, and the number of labels for multi-label targets.
    """

    def link(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the probability of class 1, or of each label."""
        return torch.sigmoid(outputs)

    def inverse_link(self, predictions: torch.Tensor) -> torch.Tensor:
        """Return the logit of the probability of class 1."""
        return torch.logit(predictions, eps=torch.finfo(predictions.dtype).tiny)

    def per_sample(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of every sample: (..., L), (..., L) -> (...)."""
        loss = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
        return loss.sum(-1)


class CrossEntropy(Loss):
    """Cross-entropy of several classes; targets are one-hot, shape (..., C)."""

    def link(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the probability of each class."""
        return torch.softmax(outputs, dim=-1)

    def inverse_link(self, predictions: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of each probability."""
        return predictions.clamp(min=torch.finfo(predictions.dtype).tiny).log()

    def per_sample(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of every sample: (..., C), (..., C) -> (...)."""
        _check_shapes(outputs, targets)
        return -(F.log_softmax(outputs, dim=-1) * targets).sum(-1)


class SquaredError(Loss):
    """Squared error, averaged over the targets, shape (..., T)."""

    def link(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the outputs."""
        return outputs

    def inverse_link(self, predictions: torch.Tensor) -> torch.Tensor:
        """Return the predictions."""
        return predictions

    def per_sample(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of every sample: (..., T), (..., T) -> (...)."""
        _check_shapes(outputs, targets)
        return (outputs - targets).square().mean(-1)

    def slope(self, n_outputs: int) -> float:
        """Return 2 / T, from the square and the mean over T targets."""
        return 2.0 / n_outputs


def _check_shapes(outputs: torch.Tensor, targets: torch.Tensor) -> None:
    """Raise ValueError for shapes that would broadcast to a wrong loss."""
    if outputs.shape != targets.shape:
        raise ValueError(
            f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} must "
            "have the same shape."
        )
