"""Strategies that leave samples out of an epoch."""

from __future__ import annotations

import numpy as np

from skrebatch._utils.validation import check_fraction, check_integer, check_real
from skrebatch.strategies._base import Epoch, Losses, Plan, Strategy
from skrebatch.strategies._planning import lowest


class SmallLoss(Strategy):
    """Leave the samples of highest loss out, more of them over the first epochs.

    The small-loss trick of Co-teaching [1]_, with one network: wrong labels are
    learned late, so that after a few epochs they have the highest losses. The e-th
    epoch that is planned leaves ``B min(1, e / ramp_epochs)`` samples out. Without
    the ramp it is :class:`MaxLoss` with ``repeats=0``.

    Parameters
    ----------
    ramp_epochs : int, default=10
        Planned epochs until B samples are left out, at least 1.

    Raises
    ------
    ValueError
        If `ramp_epochs` is out of range.

    See Also
    --------
    MaxLoss : With ``repeats=0`` leaves as many out as a schedule of the ratio says.
    SelfPaced : Leaves out what is above a threshold.

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
        """Refuse impossible parameters."""
        check_integer(self.ramp_epochs, "ramp_epochs")

    def plan(self, losses: Losses, epoch: Epoch) -> Plan:
        """Leave the hardest samples out; see :class:`Strategy`."""
        ramp = int(self.ramp_epochs)
        n_left_out = epoch.n_chosen * min(epoch.planned, ramp) // ramp
        return Plan(lowest(-losses, n_left_out), repeats=0)


class InfoBatch(Strategy):
    """Leave out a random part of the easy samples and weigh the others up [1]_.

    A sample whose loss is below the mean is left out with probability `prune`;
    where it stays its loss counts ``1 / (1 - prune)``, so that the expected
    gradient is that of all samples. The last epochs hold everything. It saves
    time, and aims at no other result.

    Parameters
    ----------
    prune : float, default=0.5
        Probability to leave an easy sample out, in [0, 1).
    full_from : float, default=0.875
        Share of the planned epochs after which nothing is left out, in [0, 1].

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    SelectiveBackprop : Leaves out easy samples by the rank of their losses.

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
        """Refuse impossible parameters."""
        check_fraction(self.prune, "prune", below=1)
        check_fraction(self.full_from, "full_from")

    def plan(self, losses: Losses, epoch: Epoch) -> Plan:
        """Leave easy samples out by chance; see :class:`Strategy`."""
        if epoch.progress > self.full_from:
            return Plan()
        # The hardest is not, even where rounding lifts the mean above equal losses.
        is_easy = losses < min(losses.mean(), losses.max())
        stays = ~is_easy | (epoch.rng.random(len(losses)) >= self.prune)
        weights = np.where(is_easy, 1 / (1 - self.prune), 1.0)
        return Plan(remaining=np.flatnonzero(stays), weights=weights)


class SelectiveBackprop(Strategy):
    """Hold each sample with a probability that grows with its loss [1]_.

    The probability is ``F ** beta``, where F is the share of the samples whose loss
    is not above the sample's own. The published method decides in the course of
    an epoch, by recent losses; here the losses before the epoch decide.

    Parameters
    ----------
    beta : float, default=1.0
        Selectivity, more than 0; an epoch holds about ``1 / (1 + beta)`` of the
        samples.

    Raises
    ------
    ValueError
        If `beta` is out of range.

    See Also
    --------
    InfoBatch : Leaves out some of those below the mean loss, and weighs the others.

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
        """Refuse impossible parameters."""
        check_real(self.beta, "beta", above=0)

    def plan(self, losses: Losses, epoch: Epoch) -> Plan:
        """Hold samples by the rank of their losses; see :class:`Strategy`."""
        # F ** beta > u where the loss reaches the quantile of u ** (1 / beta): the
        # hardest always does, so that an epoch is never empty.
        quantiles = epoch.rng.random(len(losses)) ** (1 / self.beta)
        last = len(losses) - 1
        places = np.minimum(quantiles * len(losses), last).astype(np.intp)
        stays = losses >= np.sort(losses)[places]
        return Plan(remaining=np.flatnonzero(stays))
