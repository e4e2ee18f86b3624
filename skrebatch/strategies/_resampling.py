"""Strategies that draw the samples of an epoch with replacement."""

from __future__ import annotations

import numpy as np

from skrebatch._utils.validation import check_fraction, check_integer
from skrebatch.strategies._base import Epoch, Losses, Plan, Strategy


class Breed(Strategy):
    """Draw part of the samples of an epoch with probabilities based on their losses.

    This is an adaptation of Breed [1]_ to tables. The published method generates *new*
    inputs near samples of high loss. A table has no new rows, so this class draws rows
    with replacement. A fraction R of the N draws has probabilities proportional to
    ``loss - min(losses)``; the other draws are uniform. R increases linearly from
    `start` to `end` over the first `n_updates` planned epochs.

    Parameters
    ----------
    start, end : float, default=0.15 and 0.75
        Fraction of draws based on losses at the start and at the end, in [0, 1].
    n_updates : int, default=10
        Number of planned epochs until `end` is reached, at least 1.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    MaxLoss : Redistributes the hardest samples, without random draws.

    References
    ----------
    .. [1] S. Dymchenko and B. Raffin, "Loss-driven sampling within
       hard-to-learn areas for simulation-based neural network training", 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import Breed, Epoch
    >>> epoch = Epoch(9, 20, n_chosen=2, rng=np.random.default_rng(0))
    >>> Breed().plan(np.array([0.1, 0.1, 0.9, 0.1, 0.1]), epoch).remaining
    array([2, 2, 2, 0, 0])
    """

    uses_ratio = False

    def __init__(self, start: float = 0.15, end: float = 0.75, n_updates: int = 10):
        self.start = start
        self.end = end
        self.n_updates = n_updates

    def check(self) -> None:
        """Validate the parameters."""
        check_fraction(self.start, "start")
        check_fraction(self.end, "end")
        check_integer(self.n_updates, "n_updates")

    def plan(self, losses: Losses, epoch: Epoch) -> Plan:
        """Draw N samples with replacement; see :class:`Strategy`."""
        n, rng = len(losses), epoch.rng
        progress = min(1.0, (epoch.planned - 1) / self.n_updates)
        n_by_loss = round(n * (self.start + (self.end - self.start) * progress))
        excess = np.cumsum(losses - losses.min(), dtype=np.float64)
        if excess[-1] == 0:
            return Plan(remaining=rng.integers(n, size=n))
        # With sorted draws, the search reads a large array from start to end.
        draws = np.sort(rng.random(n_by_loss))
        by_loss = np.searchsorted(excess / excess[-1], draws, side="right")
        return Plan(
            remaining=np.concatenate([by_loss, rng.integers(n, size=n - n_by_loss)])
        )
