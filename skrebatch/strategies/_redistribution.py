"""The paper's strategies: B samples, moved to regular places in the order."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from skrebatch._utils.typing import Indices
from skrebatch._utils.validation import check_fraction
from skrebatch.strategies._base import Epoch, Losses, Strategy
from skrebatch.strategies._planning import interleave, lowest


class MinLoss(Strategy):
    """Choose the samples of lowest loss, easiest first [1]_ (Table 2).

    Of equal losses the lower sample number comes first.

    See Also
    --------
    MaxLoss : The samples of highest loss.
    RandomChoice : The control.
    Hybrid : Some of both.

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
    """Choose the samples of highest loss, hardest first [1]_ (Table 2).

    Of equal losses the lower sample number comes first. With ``repeats=0`` this
    leaves out the samples most likely to be labelled wrongly.

    See Also
    --------
    MinLoss : The samples of lowest loss.
    RandomChoice : The control.
    Hybrid : Some of both.

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
    """Choose samples by chance, whatever their losses: the control.

    What re-Batch gains over this comes from the losses; what it shares with
    this comes from the order alone.

    See Also
    --------
    MinLoss : The samples of lowest loss.
    MaxLoss : The samples of highest loss.

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
        """Choose B samples uniformly; see :class:`Strategy`."""
        return epoch.rng.choice(len(losses), size=epoch.n_chosen, replace=False)


class Hybrid(Strategy):
    """Choose some of the easiest samples and some of the hardest.

    The paper names a hybrid of its two strategies as future work [1]_. Easy and
    hard samples alternate in the order, in proportion.

    Parameters
    ----------
    easy : float, default=0.5
        Share of the B samples that are the easiest, in [0, 1]; the others are
        the hardest. 1 is :class:`MinLoss`, 0 is :class:`MaxLoss`.

    Raises
    ------
    ValueError
        If `easy` is not in [0, 1].

    See Also
    --------
    MinLoss : The easiest alone.
    MaxLoss : The hardest alone.

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
        """Refuse impossible parameters."""
        check_fraction(self.easy, "easy")

    def plan(self, losses: Losses, epoch: Epoch) -> Indices:
        """Choose B samples from both ends; see :class:`Strategy`."""
        n_easy = int(np.floor(epoch.n_chosen * self.easy + 0.5))
        easiest = lowest(losses, n_easy)
        # A sample is chosen once, though all losses be equal.
        others = np.delete(np.arange(len(losses)), easiest)
        hardest = others[lowest(-losses[others], epoch.n_chosen - n_easy)]
        return interleave([easiest, hardest])
