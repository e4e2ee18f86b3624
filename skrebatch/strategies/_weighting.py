"""Strategies that weight the samples of each mini-batch by their losses."""

from __future__ import annotations

import torch

from skrebatch._utils.validation import check_fraction, check_real
from skrebatch.strategies._base import Strategy


class OHEM(Strategy):
    """Train only on the hardest samples of each mini-batch.

    In online hard example mining [1]_, the loss of a mini-batch of b samples is
    averaged over the ``k = max(1, round(share * b))`` samples of highest loss. This
    equals Ordered SGD [2]_ up to a constant factor. Of samples with equal losses, the
    first in the batch is used.

    Parameters
    ----------
    share : float, default=0.5
        Fraction of each mini-batch to train on, in (0, 1].

    Raises
    ------
    ValueError
        If `share` is out of range.

    See Also
    --------
    TSW : Gives the hardest samples a higher weight and uses all samples.
    SelectiveBackprop : Leaves samples out of the whole epoch.

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
        """Validate the parameters."""
        check_fraction(self.share, "share", above=0)

    def batch_weights(self, losses: torch.Tensor) -> torch.Tensor:
        """Return b / k for the hardest samples, 0 for others; see :class:`Strategy`."""
        hardest = _hardest(losses, self.share)  # (K, k)
        weight = losses.shape[1] / hardest.shape[1]
        return torch.zeros_like(losses).scatter_(1, hardest, weight)


class TSW(Strategy):
    """Increase the weights of the hardest samples of each mini-batch.

    This is top-q sample weighting [1]_: in a mini-batch of b samples, the
    ``q = max(1, round(share * b))`` samples of highest loss have `weight` times the
    weight of the others. The sources do not give a formula. We assume that the weights
    are scaled to mean 1, which leaves the effective learning rate unchanged. Of samples
    with equal losses, the first in the batch is treated as the hardest.

    Parameters
    ----------
    share : float, default=0.3
        Fraction of each mini-batch whose weight is increased, in (0, 1].
    weight : float, default=2.0
        Weight of the hardest samples relative to the others, at least 1.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    OHEM : Trains only on the hardest samples of a mini-batch.

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
        """Validate the parameters."""
        check_fraction(self.share, "share", above=0)
        check_real(self.weight, "weight", at_least=1)

    def batch_weights(self, losses: torch.Tensor) -> torch.Tensor:
        """Return higher weights for the hardest samples; see :class:`Strategy`."""
        hardest = _hardest(losses, self.share)  # (K, q)
        b, q, weight = losses.shape[1], hardest.shape[1], float(self.weight)
        mean = 1 + (weight - 1) * q / b
        weights = torch.full_like(losses, 1 / mean)
        return weights.scatter_(1, hardest, weight / mean)


class GeneralizedCrossEntropy(Strategy):
    """Weight each sample by exp(-q * loss), so that wrong labels count less.

    With cross-entropy, the weight is the probability of the label to the power of q.
    Since no gradient flows through the weights, training minimises the generalized
    cross-entropy ``(1 - p ** q) / q`` [1]_. For q near 0, it is the cross-entropy; for
    q = 1, it is the error ``1 - p``. For several labels per sample, p is the product of
    their probabilities. The weights are not scaled to mean 1, because scaling would
    change the loss. On development data, scaling made no difference.

    Parameters
    ----------
    q : float, default=0.3
        How strongly high losses are reduced, above 0. The source uses 0.7; on
        development data, 0.3 is better on right and on wrong labels. Values above 1
        also learn less from samples of average loss.

    Raises
    ------
    ValueError
        If `q` is out of range.

    See Also
    --------
    Welsch : The same formula for regression.
    SmallLoss : Leaves out the samples of highest loss.

    References
    ----------
    .. [1] Z. Zhang and M. R. Sabuncu, "Generalized Cross Entropy Loss for Training Deep
       Neural Networks with Noisy Labels", NeurIPS 2018.

    Examples
    --------
    >>> import torch
    >>> from skrebatch import GeneralizedCrossEntropy
    >>> losses = -torch.tensor([[0.9, 0.5, 0.1]]).log()  # of three probabilities
    >>> GeneralizedCrossEntropy(q=1).batch_weights(losses)
    tensor([[0.9000, 0.5000, 0.1000]])
    """

    uses_ratio = False

    def __init__(self, q: float = 0.3):
        self.q = q

    def check(self) -> None:
        """Validate the parameters."""
        check_real(self.q, "q", above=0)

    def batch_weights(self, losses: torch.Tensor) -> torch.Tensor:
        """Return exp(-q * loss); see :class:`Strategy`."""
        return torch.exp(-float(self.q) * losses)


class Welsch(Strategy):
    """Weight each sample by exp(-loss / (2 c²)), so that wrong targets count less.

    With squared error, training minimises the Welsch loss ``1 - exp(-(e / c)² / 2)`` of
    the error e [1]_, up to a factor. This loss is nearly proportional to the squared
    error if e is well below c, and nearly constant if e is several times c. The formula
    is that of :class:`GeneralizedCrossEntropy` with ``q = 1 / (2 c²)``. For several
    targets, e² is the mean of their squared errors.

    Parameters
    ----------
    c : float, default=2.0
        Error, in units of the scaled target, at which the weight is exp(-1/2), about
        0.6; above 0. At twice this error, the weight is about 0.1.

    Raises
    ------
    ValueError
        If `c` is out of range.

    See Also
    --------
    GeneralizedCrossEntropy : The same formula for classification.
    SmallLoss : Leaves out the samples of highest loss.

    References
    ----------
    .. [1] J. E. Dennis and R. E. Welsch, "Techniques for nonlinear least squares and
       robust regression", Communications in Statistics 7(4), 1978.

    Examples
    --------
    >>> import torch
    >>> from skrebatch import Welsch
    >>> errors = torch.tensor([[0.0, 1.0, 2.0, 6.0]])
    >>> Welsch(c=2).batch_weights(errors**2)
    tensor([[1.0000, 0.8825, 0.6065, 0.0111]])
    """

    uses_ratio = False

    def __init__(self, c: float = 2.0):
        self.c = c

    def check(self) -> None:
        """Validate the parameters."""
        check_real(self.c, "c", above=0)

    def batch_weights(self, losses: torch.Tensor) -> torch.Tensor:
        """Return exp(-loss / (2 c²)); see :class:`Strategy`."""
        return torch.exp(-0.5 * losses / float(self.c) / float(self.c))


def _hardest(losses: torch.Tensor, share: float) -> torch.Tensor:
    """Return the column indices of the highest losses of each row (K, n_hard)."""
    n_hard = max(1, round(share * losses.shape[1]))
    return losses.argsort(dim=1, descending=True, stable=True)[:, :n_hard]
