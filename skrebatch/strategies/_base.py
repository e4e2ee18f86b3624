"""The base class of strategies, and the objects that it receives and returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from skrebatch._utils.doc_links import LinkedMixin
from skrebatch._utils.rollback import CheckedParams
from skrebatch._utils.typing import Indices

Losses = NDArray[np.floating]


@dataclass(frozen=True)
class Epoch:
    """Description of the epoch that a strategy plans.

    It is passed to :meth:`Strategy.plan` before each planned epoch.

    Parameters
    ----------
    number : int
        Number of the epoch, starting at 1.
    max_epochs : int
        Maximum number of epochs.
    n_chosen : int
        Number of samples to redistribute in this epoch, B of eq. 2.
    rng : numpy.random.Generator
        Random number generator. A strategy must not use any other.
    labels : ndarray of shape (n_samples,) or (n_samples, n_outputs), or None
        For classification, the class of each sample as an index into ``classes_``, or
        the label matrix if multi-label. For regression, the targets on the scale that
        the network is trained on. None if the labels are not known.
    first : int, default=1
        Number of the first planned epoch: 2, or the first epoch after the warm-up.
    rows : ndarray of int, shape (n_samples,), or None
        Index of each sample in the X that was passed to `fit`; in a search, in the
        training part of the fold. A network does not train on all rows if some are held
        out. None if the rows are not known.

    See Also
    --------
    Strategy : Plans the epochs.
    Plan : The samples of an epoch.

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
    rows: Indices | None = None

    @property
    def planned(self) -> int:
        """Number of planned epochs so far, including this one."""
        return self.number - self.first + 1

    @property
    def progress(self) -> float:
        """Fraction of the planned epochs completed when this one ends, in (0, 1]."""
        n_planned = max(1, self.max_epochs - self.first + 1)
        return min(self.planned, n_planned) / n_planned


@dataclass(frozen=True)
class Plan:
    """The samples of an epoch.

    It is returned by :meth:`Strategy.plan`. It contains the chosen samples, the
    samples among which they are inserted, the number of repeats and the weights.

    Parameters
    ----------
    chosen : ndarray of int, shape (n_chosen,)
        Indices of the samples to redistribute, without duplicates, in the order of
        insertion.
    remaining : ndarray of int, default=None
        Indices of the samples among which the chosen ones are inserted. An index may
        occur several times. If None, all samples that are not chosen.
    repeats : int, default=None
        How often each chosen sample is inserted. If None, the `repeats` of the
        estimator.
    weights : ndarray of shape (n_samples,), default=None
        Factors by which the losses of the samples are multiplied. If None, all are 1.

    See Also
    --------
    Strategy : Returns plans.
    Epoch : The epoch that is planned.

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


class Strategy(LinkedMixin, CheckedParams):
    """Base class of all strategies; a subclass defines one of the two methods.

    :meth:`plan` uses the losses of all samples to determine the samples of the next
    epoch. :meth:`batch_weights` weights the samples of each mini-batch by their losses
    in this batch. The constructor's parameters are scikit-learn parameters: a search
    can set them as ``strategy__name``.

    Attributes
    ----------
    uses_ratio : bool, default=True
        Whether the strategy redistributes the B samples given by `ratio`. If so, the
        strategy is not called when B is 0. This is a class attribute.

    See Also
    --------
    Epoch : The epoch that a strategy plans.
    Plan : The samples of an epoch, returned by a strategy.

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
    # Whether each plan consists of B chosen samples and nothing else. The length of an
    # epoch is then known in advance, so networks can share their optimizer steps.
    redistributes: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Reset `redistributes` in a subclass that overrides :meth:`plan`."""
        super().__init_subclass__(**kwargs)
        if "plan" in vars(cls):
            cls.redistributes = vars(cls).get("redistributes", False)

    def plan(self, losses: Losses, epoch: Epoch) -> Plan | Indices:
        """Plan the next epoch.

        Parameters
        ----------
        losses : ndarray of shape (n_samples,)
            Loss of each training sample under the current network, or its running
            mean.
        epoch : Epoch
            The epoch to plan.

        Returns
        -------
        plan : Plan or ndarray of int
            An array is equivalent to ``Plan(chosen=array)``.
        """
        raise NotImplementedError

    def batch_weights(self, losses: torch.Tensor) -> torch.Tensor:
        """Compute the weights of the samples of mini-batches.

        Parameters
        ----------
        losses : torch.Tensor of shape (n_networks, batch_size)
            Losses of the mini-batch of each network, detached from the graph.

        Returns
        -------
        weights : torch.Tensor of shape (n_networks, batch_size)
            Factors by which the losses are multiplied before their mean is
            minimised. Each row must depend only on the same row of `losses`.
        """
        raise NotImplementedError

    def check(self) -> None:
        """Raise ValueError for invalid parameters; called before training."""

    @property
    def plans(self) -> bool:
        """Whether the strategy defines :meth:`plan`."""
        return type(self).plan is not Strategy.plan

    @property
    def weights_batches(self) -> bool:
        """Whether the strategy defines :meth:`batch_weights`."""
        return type(self).batch_weights is not Strategy.batch_weights
