"""Strategies that start with easy samples and add harder ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from skrebatch._utils.validation import check_fraction, check_real
from skrebatch.strategies._base import Epoch, Losses, Plan, Strategy
from skrebatch.strategies._planning import lowest

# Pacing functions: the fraction of the samples beyond `start` used at time t in (0, 1].
_PACES: dict[str, Callable[[float], float]] = {
    "linear": lambda t: t,
    "quadratic": lambda t: t**2,
    "root": math.sqrt,
    "step": math.floor,
    "exponential": lambda t: math.expm1(10 * t) / math.expm1(10),
    # At t = 1 the value is slightly above 1.
    "logarithmic": lambda t: min(1.0, 1 + math.log(t + math.exp(-10)) / 10),
}


class Curriculum(Strategy):
    """Train on the easiest samples first and gradually add harder ones.

    This is curriculum learning [1]_. The difficulty of a sample is its loss under the
    current network. An epoch contains the easiest fraction ``start + (1 - start) g(t)``
    of the samples. The time t rises from 0 to 1 over the first `full_at` of the planned
    epochs. The pacing function g is one of those of [2]_: ``t``, ``t ** 2``,
    ``sqrt(t)``, ``floor(t)``, ``(exp(10 t) - 1) / (exp(10) - 1)`` or
    ``1 + log(t + exp(-10)) / 10``. With ``shuffle=False``, each epoch starts with the
    easiest sample. The first epoch contains all samples, because there are no losses
    before it. The epochs of a warm-up also contain all samples.

    Parameters
    ----------
    pacing : {"linear", "quadratic", "root", "step", "exponential", \
"logarithmic"}, default="linear"
        Pacing function.
    start : float, default=0.3
        Initial fraction of the samples, in (0, 1].
    full_at : float, default=0.5
        Fraction of the planned epochs after which all samples are used, in (0, 1].

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    SelfPaced : Uses the samples whose loss is below a growing threshold.

    References
    ----------
    .. [1] Y. Bengio, J. Louradour, R. Collobert and J. Weston, "Curriculum
       Learning", ICML 2009.
    .. [2] X. Wu, E. Dyer and B. Neyshabur, "When Do Curricula Work?", ICLR 2021
       (they do with a limited training budget or noisy labels).

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
        """Validate the parameters."""
        if not isinstance(self.pacing, str) or self.pacing not in _PACES:
            names = ", ".join(f'"{name}"' for name in _PACES)
            raise ValueError(f"pacing must be one of {names}, got {self.pacing!r}.")
        check_fraction(self.start, "start", above=0)
        check_fraction(self.full_at, "full_at", above=0)

    def plan(self, losses: Losses, epoch: Epoch) -> Plan:
        """Use the easiest samples; see :class:`Strategy`."""
        pace = _PACES[self.pacing](min(epoch.progress / self.full_at, 1.0))
        fraction = self.start + (1 - self.start) * pace
        return Plan(remaining=lowest(losses, max(1, round(fraction * len(losses)))))


class SelfPaced(Strategy):
    """Train on the samples whose loss is below a growing threshold.

    This is self-paced learning [1]_. The threshold of the e-th planned epoch is
    ``threshold * growth ** (e - 1)``. If no loss is below the threshold, the epoch
    contains only the easiest sample. The first epoch contains all samples, because
    there are no losses before it. The epochs of a warm-up also contain all samples. If
    the initial threshold is below most losses, training starts with a few samples,
    mostly of one class. Other samples may then never be added. In this case, use a
    higher threshold or a warm-up.

    Parameters
    ----------
    threshold : float, default=1.0
        Initial threshold, in units of the loss, greater than 0. For comparison, the
        binary cross-entropy of a probability of 1/2 is 0.69, and the squared error of
        predicting the mean of a standardised target is 1.
    growth : float, default=1.1
        Factor by which the threshold is multiplied after each epoch, at least 1.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    Curriculum : Adds samples at a predefined pace.
    SmallLoss : Leaves out a given number of the hardest samples.

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
        """Validate the parameters."""
        check_real(self.threshold, "threshold", above=0)
        check_real(self.growth, "growth", at_least=1)

    def plan(self, losses: Losses, epoch: Epoch) -> Plan:
        """Use the samples below the threshold; see :class:`Strategy`."""
        try:
            factor = float(self.growth) ** (epoch.planned - 1)
        except OverflowError:
            factor = math.inf
        below = np.flatnonzero(losses < float(self.threshold) * factor)
        return Plan(remaining=below if len(below) else lowest(losses, 1))
