"""Strategies that begin with easy samples and add harder ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from skrebatch._utils.validation import check_fraction, check_real
from skrebatch.strategies._base import Epoch, Losses, Plan, Strategy
from skrebatch.strategies._planning import lowest

# Share of the way from the first epochs' data to all data, at time t in (0, 1].
_PACES: dict[str, Callable[[float], float]] = {
    "linear": lambda t: t,
    "quadratic": lambda t: t**2,
    "root": math.sqrt,
    "step": math.floor,
    "exponential": lambda t: math.expm1(10 * t) / math.expm1(10),
    # In the end a trifle above 1.
    "logarithmic": lambda t: min(1.0, 1 + math.log(t + math.exp(-10)) / 10),
}


class Curriculum(Strategy):
    """Train on the easiest samples first, and on more and more of them [1]_.

    Difficulty is the loss under the network as it is. An epoch holds the easiest
    share ``start + (1 - start) g(t)`` of the samples, where t runs from 0 to 1
    until the share `full_at` of the epochs that are planned is over, and g is the
    pacing function of [2]_: ``t``, ``t ** 2``, ``sqrt(t)``, ``floor(t)``,
    ``(exp(10 t) - 1) / (exp(10) - 1)`` or ``1 + log(t + exp(-10)) / 10``. With
    ``shuffle=False`` the easiest sample comes first in each epoch. The first epoch,
    before which there are no losses, holds all samples, and so does a warm-up.

    Parameters
    ----------
    pacing : {"linear", "quadratic", "root", "step", "exponential", \
"logarithmic"}, default="linear"
        Pacing function.
    start : float, default=0.3
        Share of the samples in the beginning, in (0, 1].
    full_at : float, default=0.5
        Share of the planned epochs after which all samples are used, in (0, 1].

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    SelfPaced : Begins with what the network itself finds easy.

    References
    ----------
    .. [1] Y. Bengio, J. Louradour, R. Collobert and J. Weston, "Curriculum
       Learning", ICML 2009.
    .. [2] X. Wu, E. Dyer and B. Neyshabur, "When Do Curricula Work?", ICLR 2021,
       which finds that they do under short budgets and noisy labels.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import Curriculum, Epoch
    >>> epoch = Epoch(5, 20, n_chosen=1, rng=np.random.default_rng(0))
    >>> Curriculum(start=0.5).plan(np.array([0.3, 0.1, 0.7, 0.2]), epoch).remaining
    array([1, 3, 0])
    """

    uses_ratio = False

    def __init__(
        self, pacing: str = "linear", start: float = 0.3, full_at: float = 0.5
    ):
        self.pacing = pacing
        self.start = start
        self.full_at = full_at

    def check(self) -> None:
        """Refuse impossible parameters."""
        if not isinstance(self.pacing, str) or self.pacing not in _PACES:
            names = ", ".join(f'"{name}"' for name in _PACES)
            raise ValueError(f"pacing must be one of {names}, got {self.pacing!r}.")
        check_fraction(self.start, "start", above=0)
        check_fraction(self.full_at, "full_at", above=0)

    def plan(self, losses: Losses, epoch: Epoch) -> Plan:
        """Take the easiest samples; see :class:`Strategy`."""
        pace = _PACES[self.pacing](min(epoch.progress / self.full_at, 1.0))
        share = self.start + (1 - self.start) * pace
        return Plan(remaining=lowest(losses, max(1, round(share * len(losses)))))


class SelfPaced(Strategy):
    """Train on the samples whose loss is below a threshold that grows [1]_.

    In the e-th epoch that is planned the threshold is ``threshold * growth ** (e -
    1)``; where no loss is below it, the epoch holds the easiest sample. The first
    epoch, before which there are no losses, holds all samples, and so does a warm-up.
    A threshold below most losses of the beginning trains on a few samples, mostly of
    one class, and may never leave them: take it high, or warm up.

    Parameters
    ----------
    threshold : float, default=1.0
        Threshold in the beginning, in units of the loss, more than 0. The
        binary cross-entropy of a coin toss is 0.69; the squared error of the
        mean of a standardised target is 1.
    growth : float, default=1.1
        Factor by which it grows with each epoch, at least 1.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    Curriculum : A pace that is set beforehand.
    SmallLoss : Leaves a share of the hardest samples out.

    References
    ----------
    .. [1] M. P. Kumar, B. Packer and D. Koller, "Self-Paced Learning for Latent
       Variable Models", NeurIPS 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import Epoch, SelfPaced
    >>> epoch = Epoch(3, 20, n_chosen=1, rng=np.random.default_rng(0))
    >>> losses = np.array([0.3, 0.1, 1.3, 1.2])
    >>> SelfPaced().plan(losses, epoch).remaining  # below 1.1 ** 2 = 1.21
    array([0, 1, 3])
    """

    uses_ratio = False

    def __init__(self, threshold: float = 1.0, growth: float = 1.1):
        self.threshold = threshold
        self.growth = growth

    def check(self) -> None:
        """Refuse impossible parameters."""
        check_real(self.threshold, "threshold", above=0)
        check_real(self.growth, "growth", at_least=1)

    def plan(self, losses: Losses, epoch: Epoch) -> Plan:
        """Take the samples below the threshold; see :class:`Strategy`."""
        try:
            grown = float(self.growth) ** (epoch.planned - 1)
        except OverflowError:
            grown = math.inf
        below = np.flatnonzero(losses < float(self.threshold) * grown)
        return Plan(remaining=below if len(below) else lowest(losses, 1))
