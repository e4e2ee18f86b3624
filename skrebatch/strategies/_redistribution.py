"""Strategies that redistribute B samples, among them those of the paper."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from skrebatch._utils.typing import Indices
from skrebatch._utils.validation import check_fraction
from skrebatch.strategies._base import Epoch, Losses, Strategy
from skrebatch.strategies._planning import interleave, lowest


class MinLoss(Strategy):
    """Choose the samples of lowest loss, easiest first.

    This is the "min-loss" strategy of the paper ([1]_, Table 2). Samples with equal
    losses are ordered by their indices.

    See Also
    --------
    MaxLoss : Chooses the samples of highest loss.
    RandomChoice : Chooses samples at random, as the control.
    Hybrid : Chooses samples of lowest and of highest loss.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import Epoch, MinLoss
    >>> epoch = Epoch(2, 10, n_chosen=3, rng=np.random.default_rng(0))
    >>> MinLoss().plan(np.array([0.3, 0.1, 0.7, 0.1]), epoch)
    array([1, 3, 0])
    """

    redistributes: ClassVar[bool] = True

    def plan(self, losses: Losses, epoch: Epoch) -> Indices:
        """Choose the B samples of lowest loss; see :class:`Strategy`."""
        return lowest(losses, epoch.n_chosen)


class MaxLoss(Strategy):
    """Choose the samples of highest loss, hardest first.

    This is the "max-loss" strategy of the paper ([1]_, Table 2). Samples with equal
    losses are ordered by their indices. With ``repeats=0``, this strategy leaves out
    the samples that are most likely to be labelled wrongly.

    See Also
    --------
    MinLoss : Chooses the samples of lowest loss.
    RandomChoice : Chooses samples at random, as the control.
    Hybrid : Chooses samples of lowest and of highest loss.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import Epoch, MaxLoss
    >>> epoch = Epoch(2, 10, n_chosen=2, rng=np.random.default_rng(0))
    >>> MaxLoss().plan(np.array([0.3, 0.1, 0.7, 0.1]), epoch)
    array([2, 0])
    """

    redistributes: ClassVar[bool] = True

    def plan(self, losses: Losses, epoch: Epoch) -> Indices:
        """Choose the B samples of highest loss; see :class:`Strategy`."""
        return lowest(-losses, epoch.n_chosen)


class RandomChoice(Strategy):
    """Choose samples at random, independently of their losses.

    This is the control for the other strategies. If a strategy is better than this one
    with the same `ratio` and `repeats`, the losses are the cause. If both are better
    than ``ratio=0``, the cause is the order or the number of steps.

    See Also
    --------
    MinLoss : Chooses the samples of lowest loss.
    MaxLoss : Chooses the samples of highest loss.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import Epoch, RandomChoice
    >>> epoch = Epoch(2, 10, n_chosen=4, rng=np.random.default_rng(0))
    >>> chosen = RandomChoice().plan(np.zeros(9), epoch)
    >>> len(set(chosen.tolist()))
    4
    """

    redistributes: ClassVar[bool] = True

    def plan(self, losses: Losses, epoch: Epoch) -> Indices:
        """Choose B samples uniformly at random; see :class:`Strategy`."""
        return epoch.rng.choice(len(losses), size=epoch.n_chosen, replace=False)


class Hybrid(Strategy):
    """Choose some of the easiest samples and some of the hardest.

    The paper mentions a hybrid of its two strategies as future work [1]_. Easy and
    hard samples are spread evenly over the order of insertion.

    Parameters
    ----------
    easy : float, default=0.5
        Fraction of the B samples chosen by lowest loss, in [0, 1]. The others are
        chosen by highest loss. 1 is :class:`MinLoss`, 0 is :class:`MaxLoss`.

    Raises
    ------
    ValueError
        If `easy` is not in [0, 1].

    See Also
    --------
    MinLoss : Chooses only the easiest samples.
    MaxLoss : Chooses only the hardest samples.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import Epoch, Hybrid
    >>> epoch = Epoch(2, 10, n_chosen=4, rng=np.random.default_rng(0))
    >>> Hybrid(easy=0.5).plan(np.array([0.3, 0.1, 0.7, 0.2, 0.9, 0.5]), epoch)
    array([1, 4, 3, 2])
    """

    redistributes: ClassVar[bool] = True

    def __init__(self, easy: float = 0.5):
        self.easy = easy

    def check(self) -> None:
        """Validate the parameters."""
        check_fraction(self.easy, "easy")

    def plan(self, losses: Losses, epoch: Epoch) -> Indices:
        """Choose B samples of lowest and highest loss; see :class:`Strategy`."""
        n_easy = int(np.floor(epoch.n_chosen * self.easy + 0.5))
        easiest = lowest(losses, n_easy)
        # If losses are equal, a sample could be among the easiest and the hardest.
        others = np.delete(np.arange(len(losses)), easiest)
        hardest = others[lowest(-losses[others], epoch.n_chosen - n_easy)]
        return interleave([easiest, hardest])
