"""What a strategy is: from the losses to the plan of an epoch, or to weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from skrebatch._utils.doc_links import LinkedMixin
from skrebatch._utils.typing import Indices
from skrebatch._utils.validation import check_params

Losses = NDArray[np.floating]


@dataclass(frozen=True)
class Epoch:
    """The epoch that a strategy plans.

    :meth:`Strategy.plan` is given one before each epoch that is planned.

    Parameters
    ----------
    number : int
        Its number, from 1.
    max_epochs : int
        How many epochs there are at most.
    n_chosen : int
        B of eq. 2 for this epoch: how many samples to redistribute.
    rng : numpy.random.Generator
        The only source of chance to use.
    labels : ndarray of shape (n_samples,) or (n_samples, n_outputs), or None
        The class of every sample, as its place in ``classes_``; for numbers the
        targets as the network learns them. None where nobody knows them.
    first : int, default=1
        The first epoch that is planned: the second one, or the one after the
        warm-up.

    See Also
    --------
    Strategy : Plans it.
    Plan : What an epoch holds.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import Epoch
    >>> epoch = Epoch(5, max_epochs=20, n_chosen=3, rng=np.random.default_rng(0))
    >>> epoch.progress
    0.25
    """

    number: int
    max_epochs: int
    n_chosen: int
    rng: np.random.Generator
    labels: NDArray[Any] | None = None
    first: int = 1

    @property
    def planned(self) -> int:
        """How many epochs have been planned with this one."""
        return self.number - self.first + 1

    @property
    def progress(self) -> float:
        """Share of the planned epochs that is over when this one ends, in (0, 1]."""
        in_all = max(1, self.max_epochs - self.first + 1)
        return min(self.planned, in_all) / in_all


@dataclass(frozen=True)
class Plan:
    """What an epoch holds.

    :meth:`Strategy.plan` returns one: which samples are chosen, among which others they
    are inserted, how often, and with what weights.

    Parameters
    ----------
    chosen : ndarray of int, shape (n_chosen,)
        Samples to redistribute, distinct and in the order of insertion.
    remaining : ndarray of int, default=None
        The samples among which they are inserted, each as often as it occurs;
        None is every sample not chosen.
    repeats : int, default=None
        How often each chosen sample is inserted; None is what the user asked for.
    weights : ndarray of shape (n_samples,), default=None
        Factors on the losses of the samples; None is 1.

    See Also
    --------
    Strategy : Makes plans.
    Epoch : What a plan is made for.

    Examples
    --------
    >>> from skrebatch import Plan
    >>> Plan(chosen=[3, 1], repeats=0)
    Plan(chosen=[3, 1], remaining=None, repeats=0, weights=None)
    """

    chosen: Indices | Sequence[int] = ()
    remaining: Indices | None = None
    repeats: int | None = None
    weights: NDArray[np.floating] | None = None


class Strategy(LinkedMixin, BaseEstimator):
    """Base of all strategies; write your own by defining one of its two methods.

    :meth:`plan` decides before each epoch what it holds, by the losses of all
    samples; :meth:`batch_weights` weighs the samples of each mini-batch by their
    losses in it. The parameters of its constructor are scikit-learn parameters, so
    that a search reaches them as ``strategy__name``.

    Attributes
    ----------
    uses_ratio : bool, default=True
        Whether the strategy redistributes the B samples that `ratio` asks for; if
        so, it has nothing to do where B is 0. Of a class, not of its instances.

    See Also
    --------
    Epoch : What a strategy is told of the epoch.
    Plan : What it may return.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import Epoch, Strategy
    >>> class MedianLoss(Strategy):
    ...     def plan(self, losses, epoch):
    ...         distance = np.abs(losses - np.median(losses))
    ...         return np.argsort(distance)[: epoch.n_chosen]
    >>> epoch = Epoch(2, 10, n_chosen=1, rng=np.random.default_rng(0))
    >>> MedianLoss().plan(np.array([0.1, 0.5, 0.9]), epoch)
    array([1])
    """

    uses_ratio: ClassVar[bool] = True
    # Whether its plans are B chosen samples and nothing else. Networks of which this
    # is known beforehand can take their optimizer steps together.
    redistributes: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let a class that plans by itself say anew what its plans are."""
        super().__init_subclass__(**kwargs)
        if "plan" in vars(cls):
            cls.redistributes = vars(cls).get("redistributes", False)

    def plan(self, losses: Losses, epoch: Epoch) -> Plan | Indices:
        """Plan the next epoch.

        Parameters
        ----------
        losses : ndarray of shape (n_samples,)
            Loss of every training sample under the network as it is, or their
            running mean.
        epoch : Epoch
            Its number, how many samples to choose, the labels, a generator.

        Returns
        -------
        plan : Plan or ndarray of int
            An array is short for ``Plan(chosen=array)``.
        """
        raise NotImplementedError

    def batch_weights(self, losses: torch.Tensor) -> torch.Tensor:
        """Weigh the samples of mini-batches.

        Parameters
        ----------
        losses : torch.Tensor of shape (n_networks, batch_size)
            Losses in the mini-batch of each network, without gradient.

        Returns
        -------
        weights : torch.Tensor of shape (n_networks, batch_size)
            Factors on the losses of the batch, whose mean is minimised. A row
            depends on the losses in that row alone.
        """
        raise NotImplementedError

    def set_params(self, **params: Any) -> Self:
        """Set parameters; of a name that is none, the nearest one is named.

        Parameters
        ----------
        **params : dict
            Their values by name.

        Returns
        -------
        self : Strategy
            The strategy itself.

        Raises
        ------
        ValueError
            If there is no parameter of a name.
        """
        check_params(params, self)
        return super().set_params(**params)

    def check(self) -> None:
        """Refuse impossible parameters with a ValueError, before any training."""

    @property
    def plans(self) -> bool:
        """Whether it defines :meth:`plan`."""
        return type(self).plan is not Strategy.plan

    @property
    def weighs(self) -> bool:
        """Whether it defines :meth:`batch_weights`."""
        return type(self).batch_weights is not Strategy.batch_weights
