"""The skorch callback that brings re-Batch to any net."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.dataset import get_len
from torch.utils.data import Subset

from skrebatch._utils.typing import Indices
from skrebatch.sampling._by_length import DynamicBatchSampler
from skrebatch.sampling._interval import IntervalInsertionSampler
from skrebatch.sampling._ratio_schedules import Schedule
from skrebatch.sampling._selector import Selection, check_selection
from skrebatch.strategies import Strategy
from skrebatch.strategies._planning import weigh


class ReBatch(Callback):
    """Bring dynamic re-Batch [1]_ to any skorch net with a module of your own.

    After each epoch it computes the loss of every training sample and gives the
    training DataLoader the order of the next epoch. The batch size stays the
    net's. A :class:`DynamicBatchSampler` that is the net's
    ``iterator_train__batch_sampler`` (torch then wants
    ``iterator_train__batch_size=1``) makes its batches of these orders.

    Parameters
    ----------
    ratio : float, default=0.15
        Redistribution ratio r of eq. 2, 0 or more.
    strategy : str or Strategy, default="min-loss"
        Which samples an epoch holds; a name that :class:`ReBatchCNNClassifier`
        knows, or an object. It goes by the losses that the criterion gives with
        ``reduction="none"``, the criterion's class weights included; weights of a
        strategy multiply them.
    repeats : int, default=1
        How often the next epoch holds each chosen sample: 0 leaves them out.
    shuffle : bool, default=True
        Whether to shuffle the other samples in every epoch.
    ratio_schedule : {"constant", "linear", "cosine", "step"} or callable, \
default="constant"
        How the ratio changes over the epochs; a callable maps the progress in (0, 1]
        to a factor on `ratio`. Its course is over after the net's `max_epochs`
        epochs, counted over all calls of `partial_fit`; `fit` begins it anew.
    warmup_epochs : int, default=0
        Epochs before the first redistribution; the first never has one.
    loss_smoothing : float, default=0.0
        Weight of the old losses in a running mean to choose by, in [0, 1). The mean
        starts anew with each call of `fit` or `partial_fit`.
    refresh_every : int, default=1
        Epochs for which a choice stands.
    class_balanced : bool, default=False
        Whether to choose within each class in proportion; the targets are the
        classes.
    random_state : int, numpy.random.Generator or None, default=None
        Source of all chance.

    Attributes
    ----------
    sampler_ : IntervalInsertionSampler
        The sampler of the training DataLoader.
    sample_losses_ : ndarray of shape (n_samples,)
        Loss of every training sample after the last epoch.
    chosen_ : ndarray of int
        Samples that the next epoch would redistribute.

    Raises
    ------
    ValueError
        If a parameter is out of range, the net's training iterator shuffles or has a
        sampler already, or a loss becomes NaN or infinite.
    TypeError
        If the criterion can't give the loss of each sample.

    See Also
    --------
    ReBatchCNNClassifier : An estimator with a network of its own.
    IntervalInsertionSampler : The order alone, for any DataLoader.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from skorch import NeuralNetRegressor
    >>> from skrebatch import ReBatch
    >>> rebatch = ReBatch(ratio=0.5, random_state=0)
    >>> net = NeuralNetRegressor(
    ...     torch.nn.Linear(2, 1), max_epochs=3, train_split=None, verbose=0,
    ...     callbacks=[rebatch],
    ... )
    >>> X = np.arange(12, dtype="float32").reshape(6, 2) / 12
    >>> _ = net.fit(X, X[:, :1])
    >>> rebatch.sample_losses_.shape, rebatch.chosen_.shape
    ((6,), (2,))
    """

    def __init__(
        self,
        ratio: float = 0.15,
        strategy: str | Strategy = "min-loss",
        repeats: int = 1,
        shuffle: bool = True,
        *,
        ratio_schedule: Schedule = "constant",
        warmup_epochs: int = 0,
        loss_smoothing: float = 0.0,
        refresh_every: int = 1,
        class_balanced: bool = False,
        random_state: int | np.random.Generator | None = None,
    ):
        self.ratio = ratio
        self.strategy = strategy
        self.repeats = repeats
        self.shuffle = shuffle
        self.ratio_schedule = ratio_schedule
        self.warmup_epochs = warmup_epochs
        self.loss_smoothing = loss_smoothing
        self.refresh_every = refresh_every
        self.class_balanced = class_balanced
        self.random_state = random_state

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Check everything, and put the sampler into the training iterator."""
        self.strategy_ = clone(check_selection(self))
        if not hasattr(net.criterion_, "reduction"):
            raise TypeError(
                f"ReBatch needs the loss of each sample, but {net.criterion_!r} has no "
                "`reduction`. Give the criterion a `reduction` attribute that may be "
                'set to "none", as torch\'s losses have.'
            )
        if self.strategy_.weighs:
            _check_weighable(net.criterion_)
        self.batches_ = None
        for name in ("shuffle", "sampler", "batch_sampler"):
            there = getattr(net, f"iterator_train__{name}", None)
            if isinstance(there, DynamicBatchSampler):
                self.batches_, there = there, there.sampler
            # A sampler without samples yet counts as False.
            given = there is not None and there is not False
            if given and there is not getattr(self, "sampler_", None):
                raise ValueError(
                    f"ReBatch decides the order of the training samples; remove "
                    f"iterator_train__{name} from the net."
                )
        for name in ("shuffle", "drop_last", "sampler", "batch_sampler"):
            if getattr(net, f"iterator_valid__{name}", None):
                raise ValueError(
                    "ReBatch reads the losses in the order of the samples; remove "
                    f"iterator_valid__{name} from the net."
                )
        if not (net.history and hasattr(self, "rng_")):  # else a partial_fit goes on
            self.rng_ = np.random.default_rng(self.random_state)
        # The net splits off its validation data later; the first epoch brings the
        # number of training samples.
        self.sampler_ = IntervalInsertionSampler(
            0, self.repeats, self.shuffle, self.rng_
        )
        if self.batches_ is None:
            net.iterator_train__sampler = self.sampler_
        else:
            self.batches_.sampler = self.sampler_
        self._remove_hooks()  # that a batch that failed has left

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the handles of hooks, which belong to a batch under way."""
        return {name: it for name, it in vars(self).items() if name != "hooks_"}

    def on_epoch_begin(
        self, net: NeuralNet, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        """Learn how many samples there are."""
        self.place_ = self.batch_size_ = 0
        if self.sampler_.n_samples > 0:
            return
        n = len(dataset_train)
        if self.batches_ is not None and len(self.batches_.lengths) != n:
            raise ValueError(
                f"The DynamicBatchSampler has the lengths of "
                f"{len(self.batches_.lengths)} rows, but the net trains on {n}: pass "
                "train_split=None, or those of the training rows alone."
            )
        self.sampler_.n_samples = n
        self.selection_ = Selection(
            n_samples=n,
            strategy=self.strategy_,
            rng=self.rng_,
            ratio=self.ratio,
            repeats=self.repeats,
            max_epochs=net.max_epochs,
            schedule=self.ratio_schedule,
            warmup_epochs=self.warmup_epochs,
            smoothing=self.loss_smoothing,
            refresh_every=self.refresh_every,
            class_balanced=self.class_balanced,
            epoch=len(net.history) - 1,
            sampler=self.sampler_,
        )
        self.selection_.warn_of_no_effect()
        if len(net.history) > 1:  # trained before, maybe on other data
            self._plan_next(net, dataset_train)
        else:
            self.selection_.begin_epoch(None)

    def on_batch_begin(
        self, net: NeuralNet, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Follow which samples the batch holds; weigh their losses where wanted."""
        if not training:
            return
        self.place_ += self.batch_size_
        self.batch_size_ = get_len(batch)
        if self.selection_.weighs or self.selection_.weights is not None:
            criterion = net.criterion_
            self.hooks_ = [
                criterion.register_forward_pre_hook(self._before_loss),
                criterion.register_forward_hook(self._after_loss, always_call=True),
            ]

    def on_batch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Leave the criterion as it was."""
        self._remove_hooks()

    def on_epoch_end(
        self, net: NeuralNet, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        """Compute the losses and plan the next epoch."""
        self._plan_next(net, dataset_train)

    def _plan_next(self, net: NeuralNet, dataset_train: Any) -> None:
        by_length = None
        if self.batches_ is not None:
            by_length = np.argsort(self.batches_.lengths, kind="stable")
        self.sample_losses_, labels = _sample_losses(net, dataset_train, by_length)
        if not np.isfinite(self.sample_losses_).all():
            raise ValueError(
                f"The loss of {np.sum(~np.isfinite(self.sample_losses_))} training "
                f"samples is NaN or infinite after epoch {len(net.history)}: there is "
                "nothing to choose by. Scale the inputs or lower lr."
            )
        self.selection_.labels = labels
        self.selection_.begin_epoch(self.sample_losses_)
        self.chosen_ = self.sampler_.chosen

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Leave the net's training iterator and criterion as they were."""
        if self.batches_ is None:
            net.iterator_train__sampler = None
        else:
            self.batches_.sampler = None
        self._remove_hooks()  # that Ctrl-C in the midst of a batch has left

    def _remove_hooks(self) -> None:
        for hook in getattr(self, "hooks_", []):
            hook.remove()
        self.hooks_ = []

    def _before_loss(self, criterion: Any, args: Any) -> None:
        """Ask for the losses of single samples."""
        if not criterion.training:  # an error in a batch has left the hook behind
            return
        self.reduction_ = criterion.reduction
        _check_weighable(criterion)
        criterion.reduction = "none"

    def _after_loss(self, criterion: Any, args: Any, losses: Any) -> Any:
        """Weigh them, and take their mean or sum as the criterion would have done."""
        if not criterion.training:
            return None
        criterion.reduction = self.reduction_
        if losses is None:  # the criterion has failed
            return None
        by_sample = _by_sample(losses)
        weights = torch.ones_like(by_sample)
        if self.selection_.weighs:
            weights *= weigh(self.strategy_, by_sample.detach()[None])[0]
        source = self.sampler_ if self.batches_ is None else self.batches_
        drawn = source.drawn
        if self.selection_.weights is not None and drawn is not None:
            rows = drawn[self.place_ :][: len(weights)]
            weights *= torch.as_tensor(self.selection_.weights[rows]).to(weights)
        weighted = losses * weights.view(-1, *[1] * (losses.dim() - 1))
        return weighted.sum() if self.reduction_ == "sum" else weighted.mean()


def _check_weighable(criterion: Any) -> None:
    """Refuse a criterion whose batch loss is no plain mean or sum."""
    weight = getattr(criterion, "weight", None)
    if weight is not None or criterion.reduction not in ("mean", "sum"):
        raise ValueError(
            "The strategy weighs samples, and ReBatch can do that only where the loss "
            'of a batch is a plain mean or sum. Give the criterion reduction="mean" '
            f"and no weight, got reduction={criterion.reduction!r} and "
            f"weight={weight!r}."
        )


def _by_sample(losses: torch.Tensor) -> torch.Tensor:
    """Average what is not reduced over the outputs of a sample."""
    return losses.flatten(1).mean(1) if losses.dim() > 1 else losses


def _sample_losses(
    net: NeuralNet, dataset: Any, order: Indices | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Compute the loss of every sample under a skorch net; give its target too.

    Both are in the order of the samples, whatever the order to compute them in.
    """
    back: Any = slice(None)
    if order is not None:
        dataset, back = Subset(dataset, order.tolist()), np.argsort(order)
    criterion = net.criterion_
    reduction, criterion.reduction = criterion.reduction, "none"
    losses, targets = [], []
    try:
        for batch in net.get_iterator(dataset, training=False):
            with torch.no_grad():
                outputs = net.evaluation_step(batch, training=False)
                loss = net.get_loss(outputs, batch[1], X=batch[0], training=False)
            if loss.dim() == 0:
                raise TypeError(
                    f"ReBatch needs the loss of each sample, but {criterion!r} gives "
                    'one for a whole batch although its `reduction` is "none".'
                )
            losses.append(_by_sample(loss))
            targets.append(batch[1])
    finally:
        criterion.reduction = reduction
    labels = None
    if all(isinstance(target, torch.Tensor) for target in targets):
        labels = torch.cat(targets).cpu().numpy()
        labels = (labels[:, 0] if labels.shape[1:] == (1,) else labels)[back]
    return torch.cat(losses).cpu().numpy()[back], labels
