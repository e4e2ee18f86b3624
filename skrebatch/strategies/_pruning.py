"""Strategies that leave samples out of an epoch."""

from __future__ import annotations

import numpy as np

from skrebatch._utils.validation import check_fraction, check_integer, check_real
from skrebatch.strategies._base import Epoch, Losses, Plan, Strategy
from skrebatch.strategies._planning import lowest


class SmallLoss(Strategy):
    """Leave out the samples of highest loss, with a ramp over the first epochs.

    This is the small-loss trick of Co-teaching [1]_, with a single network. Wrong
    labels are learned late, so they have the highest losses after a few epochs. The
    e-th planned epoch leaves out ``B min(1, e / ramp_epochs)`` samples. Without the
    ramp, this is :class:`MaxLoss` with ``repeats=0``.

    Parameters
    ----------
    ramp_epochs : int, default=10
        Number of planned epochs until B samples are left out, at least 1.

    Raises
    ------
    ValueError
        If `ramp_epochs` is out of range.

    See Also
    --------
    MaxLoss : With ``repeats=0``, leaves out B samples from the first planned epoch on.
    SelfPaced : Leaves out the samples whose loss is above a threshold.

    References
    ----------
    .. [1] B. Han et al., "Co-teaching: Robust Training of Deep Neural Networks
       with Extremely Noisy Labels", NeurIPS 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import Epoch, SmallLoss
    >>> epoch = Epoch(5, 20, n_chosen=2, rng=np.random.default_rng(0))
    >>> SmallLoss().plan(np.array([0.3, 0.1, 0.7, 0.6]), epoch)
    Plan(chosen=array([2]), remaining=None, repeats=0, weights=None)
    """

    def __init__(self, ramp_epochs: int = 10):
        self.ramp_epochs = ramp_epochs

    def check(self) -> None:
        """Validate the parameters."""
        check_integer(self.ramp_epochs, "ramp_epochs")

    def plan(self, losses: Losses, epoch: Epoch) -> Plan:
        """Leave out the hardest samples; see :class:`Strategy`."""
        ramp = int(self.ramp_epochs)
        n_left_out = epoch.n_chosen * min(epoch.planned, ramp) // ramp
        return Plan(lowest(-losses, n_left_out), repeats=0)


class InfoBatch(Strategy):
    """Leave out a random part of the easy samples and reweight the rest.

    In InfoBatch [1]_, a sample whose loss is below the mean is left out with
    probability `prune`. If the sample is not left out, its loss is multiplied by
    ``1 / (1 - prune)``, which keeps the expected gradient equal to that of all samples.
    The last epochs use all samples. The method aims to save time without changing the
    result.

    Parameters
    ----------
    prune : float, default=0.5
        Probability of leaving out an easy sample, in [0, 1).
    full_from : float, default=0.875
        Fraction of the planned epochs after which all samples are used, in [0, 1].

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    SelectiveBackprop : Leaves out samples with a probability based on loss ranks.

    References
    ----------
    .. [1] Z. Qin et al., "InfoBatch: Lossless Training Speed Up by Unbiased
       Dynamic Data Pruning", ICLR 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import Epoch, InfoBatch
    >>> epoch = Epoch(5, 20, n_chosen=2, rng=np.random.default_rng(3))
    >>> plan = InfoBatch().plan(np.array([0.3, 0.1, 0.7, 0.6]), epoch)
    >>> plan.remaining, plan.weights
    (array([2, 3]), array([2., 2., 1., 1.]))
    """

    uses_ratio = False

    def __init__(self, prune: float = 0.5, full_from: float = 0.875):
        self.prune = prune
        self.full_from = full_from

    def check(self) -> None:
        """Validate the parameters."""
        check_fraction(self.prune, "prune", below=1)
        check_fraction(self.full_from, "full_from")

    def plan(self, losses: Losses, epoch: Epoch) -> Plan:
        """Leave out easy samples at random; see :class:`Strategy`."""
        if epoch.progress > self.full_from:
            return Plan()
        # If all losses are equal, rounding may put the mean above them. The hardest
        # sample must never count as easy.
        is_easy = losses < min(losses.mean(), losses.max())
        is_used = ~is_easy | (epoch.rng.random(len(losses)) >= self.prune)
        weights = np.where(is_easy, 1 / (1 - self.prune), 1.0)
        return Plan(remaining=np.flatnonzero(is_used), weights=weights)


class SelectiveBackprop(Strategy):
    """Use each sample with a probability that increases with its loss.

    The probability is ``F ** beta``, where F is the fraction of samples whose loss is
    not higher than the loss of this sample. The published method [1]_ selects samples
    during the epoch, by recent losses. This class selects them before the epoch.

    Parameters
    ----------
    beta : float, default=1.0
        Selectivity, greater than 0. An epoch contains about ``1 / (1 + beta)`` of the
        samples.

    Raises
    ------
    ValueError
        If `beta` is out of range.

    See Also
    --------
    InfoBatch : Leaves out samples below the mean loss at random and reweights the rest.

    References
    ----------
    .. [1] A. H. Jiang et al., "Accelerating Deep Learning by Focusing on the
       Biggest Losers", 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import Epoch, SelectiveBackprop
    >>> epoch = Epoch(5, 20, n_chosen=2, rng=np.random.default_rng(0))
    >>> SelectiveBackprop().plan(np.array([0.3, 0.1, 0.7, 0.6]), epoch).remaining
    array([2, 3])
    """

    uses_ratio = False

    def __init__(self, beta: float = 1.0):
        self.beta = beta

    def check(self) -> None:
        """Validate the parameters."""
        check_real(self.beta, "beta", above=0)

    def plan(self, losses: Losses, epoch: Epoch) -> Plan:
        """Select samples by the rank of their losses; see :class:`Strategy`."""
        # For uniform u, F ** beta > u if the loss reaches the quantile u ** (1 / beta)
        # of all losses. The hardest sample always does, so an epoch is never empty.
        quantiles = epoch.rng.random(len(losses)) ** (1 / self.beta)
        last = len(losses) - 1
        ranks = np.minimum(quantiles * len(losses), last).astype(np.intp)
        is_used = losses >= np.sort(losses)[ranks]
        return Plan(remaining=np.flatnonzero(is_used))
