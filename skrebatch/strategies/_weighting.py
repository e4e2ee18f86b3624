"""Strategies that weigh the samples of each mini-batch by their losses in it."""

from __future__ import annotations

import torch

from skrebatch._utils.validation import check_fraction, check_real
from skrebatch.strategies._base import Strategy


class OHEM(Strategy):
    """Learn from the hardest samples of each mini-batch alone [1]_.

    Of a mini-batch of b samples the ``k = max(1, round(share * b))`` of highest loss
    count; the loss is averaged over these k. Up to this factor the same is
    Ordered SGD [2]_. Of equal losses the earlier in the batch counts.

    Parameters
    ----------
    share : float, default=0.5
        Share of a mini-batch that counts, in (0, 1].

    Raises
    ------
    ValueError
        If `share` is out of range.

    See Also
    --------
    TSW : Weighs the hardest samples more, and leaves none out.
    SelectiveBackprop : Leaves samples out of whole epochs.

    References
    ----------
    .. [1] A. Shrivastava, A. Gupta and R. Girshick, "Training Region-based Object
       Detectors with Online Hard Example Mining", CVPR 2016.
    .. [2] K. Kawaguchi and H. Lu, "Ordered SGD: A New Stochastic Optimization
       Framework for Empirical Risk Minimization", AISTATS 2020.

    Examples
    --------
    >>> import torch
    >>> from skrebatch import OHEM
    >>> OHEM(share=0.5).batch_weights(torch.tensor([[0.3, 0.1, 0.7, 0.6]]))
    tensor([[0., 0., 2., 2.]])
    """

    uses_ratio = False

    def __init__(self, share: float = 0.5):
        self.share = share

    def check(self) -> None:
        """Refuse impossible parameters."""
        check_fraction(self.share, "share", above=0)

    def batch_weights(self, losses: torch.Tensor) -> torch.Tensor:
        """Give the hardest the weight b / k, the others 0; see :class:`Strategy`."""
        hardest = _hardest(losses, self.share)  # (K, k)
        weight = losses.shape[1] / hardest.shape[1]
        return torch.zeros_like(losses).scatter_(1, hardest, weight)


class TSW(Strategy):
    """Weigh the hardest samples of each mini-batch up: top-q sample weighting [1]_.

    Of a mini-batch of b samples the ``q = max(1, round(share * b))`` of highest loss
    weigh `weight` times as much as the others. The sources give no formula; that
    the weights are scaled to mean 1, so that the learning rate means what it
    meant, is our assumption. Of equal losses the earlier in the batch counts as
    the higher.

    Parameters
    ----------
    share : float, default=0.3
        Share of a mini-batch that is weighed up, in (0, 1].
    weight : float, default=2.0
        Their weight beside the others' 1, at least 1.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    OHEM : Trains on the hardest samples of a mini-batch alone.

    References
    ----------
    .. [1] Wang and Wo, "ordered sample weighting", 2024, as described in Table 1
       of S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training", 2025.

    Examples
    --------
    >>> import torch
    >>> from skrebatch import TSW
    >>> TSW(share=0.25, weight=3).batch_weights(torch.tensor([[0.3, 0.1, 0.7, 0.6]]))
    tensor([[0.6667, 0.6667, 2.0000, 0.6667]])
    """

    uses_ratio = False

    def __init__(self, share: float = 0.3, weight: float = 2.0):
        self.share = share
        self.weight = weight

    def check(self) -> None:
        """Refuse impossible parameters."""
        check_fraction(self.share, "share", above=0)
        check_real(self.weight, "weight", at_least=1)

    def batch_weights(self, losses: torch.Tensor) -> torch.Tensor:
        """Weigh the hardest up; see :class:`Strategy`."""
        hardest = _hardest(losses, self.share)  # (K, q)
        b, q, weight = losses.shape[1], hardest.shape[1], float(self.weight)
        mean = 1 + (weight - 1) * q / b
        weights = torch.full_like(losses, 1 / mean)
        return weights.scatter_(1, hardest, weight / mean)


def _hardest(losses: torch.Tensor, share: float) -> torch.Tensor:
    """Return the places of the share of highest losses in each row."""
    n_hard = max(1, round(share * losses.shape[1]))
    return losses.argsort(dim=1, descending=True, stable=True)[:, :n_hard]
