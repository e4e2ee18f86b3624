"""Which samples an epoch redistributes: from the losses to the chosen indices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from skrebatch.samplers import Indices


class Strategy(BaseEstimator):
    """Base of all strategies; write your own by defining :meth:`choose`.

    Its constructor's parameters are scikit-learn parameters, so that a search
    reaches them as ``strategy__name``.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import Strategy
    >>> class MedianLoss(Strategy):
    ...     def choose(self, losses, n_chosen, rng):
    ...         return np.argsort(np.abs(losses - np.median(losses)))[:n_chosen]
    >>> rng = np.random.default_rng(0)
    >>> MedianLoss().choose(np.array([0.1, 0.5, 0.9]), 1, rng)
    array([1])
    """

    def choose(
        self, losses: NDArray[np.floating], n_chosen: int, rng: np.random.Generator
    ) -> Indices:
        """Choose the samples to redistribute in the next epoch.

        Parameters
        ----------
        losses : ndarray of shape (n_samples,)
            Loss of every training sample under the network as it is.
        n_chosen : int
            How many samples to choose, B.
        rng : numpy.random.Generator
            The only source of chance to use.

        Returns
        -------
        chosen : ndarray of int, shape (n_chosen,)
            Distinct sample numbers, in the order of insertion.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define choose().")


class MinLoss(Strategy):
    """Choose the samples of lowest loss, easiest first [1]_ (Table 2).

    Of equal losses the lower sample number comes first.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import MinLoss
    >>> losses = np.array([0.3, 0.1, 0.7, 0.1])
    >>> MinLoss().choose(losses, 3, np.random.default_rng(0))
    array([1, 3, 0])
    """

    def choose(
        self, losses: NDArray[np.floating], n_chosen: int, rng: np.random.Generator
    ) -> Indices:
        """Choose the `n_chosen` samples of lowest loss; see :class:`Strategy`."""
        return _lowest(losses, n_chosen)


class MaxLoss(Strategy):
    """Choose the samples of highest loss, hardest first [1]_ (Table 2).

    Of equal losses the lower sample number comes first. With ``repeats=0`` this
    leaves out the samples most likely to be labelled wrongly.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import MaxLoss
    >>> losses = np.array([0.3, 0.1, 0.7, 0.1])
    >>> MaxLoss().choose(losses, 2, np.random.default_rng(0))
    array([2, 0])
    """

    def choose(
        self, losses: NDArray[np.floating], n_chosen: int, rng: np.random.Generator
    ) -> Indices:
        """Choose the `n_chosen` samples of highest loss; see :class:`Strategy`."""
        return _lowest(-losses, n_chosen)


class RandomChoice(Strategy):
    """Choose samples by chance, whatever their losses: the control.

    What re-Batch gains over this comes from the losses; what it shares with
    this comes from the order alone.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import RandomChoice
    >>> chosen = RandomChoice().choose(np.zeros(9), 4, np.random.default_rng(0))
    >>> len(set(chosen.tolist()))
    4
    """

    def choose(
        self, losses: NDArray[np.floating], n_chosen: int, rng: np.random.Generator
    ) -> Indices:
        """Choose `n_chosen` samples uniformly; see :class:`Strategy`."""
        return rng.choice(len(losses), size=n_chosen, replace=False)


def _lowest(values: NDArray[np.floating], n: int) -> Indices:
    """Return what a stable full sort puts first, without the full sort."""
    if n == 0:
        return np.empty(0, dtype=np.intp)
    bound = np.partition(values, n - 1)[n - 1]
    if np.isnan(bound):  # which compares with nothing; a sort puts it last
        return np.argsort(values, kind="stable")[:n]
    below = np.flatnonzero(values < bound)
    ties = np.flatnonzero(values == bound)[: n - len(below)]
    below = below[np.argsort(values[below], kind="stable")]
    return np.concatenate([below, ties])


_BY_NAME: dict[str, type[Strategy]] = {
    "min-loss": MinLoss,
    "max-loss": MaxLoss,
    "random": RandomChoice,
}


def check_strategy(strategy: Any) -> Strategy:
    """Return the strategy that a name or an object stands for."""
    if isinstance(strategy, Strategy):
        return strategy
    if isinstance(strategy, str) and strategy in _BY_NAME:
        return _BY_NAME[strategy]()
    names = ", ".join(f'"{name}"' for name in _BY_NAME)
    raise ValueError(
        f"strategy must be one of {names}, or an instance of a subclass of "
        f"skrebatch.Strategy, got {strategy!r}."
    )
