"""A skorch callback that applies re-Batch to any net."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from skorch import NeuralNet
from skorch.callbacks import Callback

from skrebatch._utils.arrays import refuse_masked
from skrebatch._utils.settings import default_settings, with_default_settings
from skrebatch._utils.typing import Indices
from skrebatch._utils.validation import check_bool
from skrebatch.exceptions import DivergedError
from skrebatch.sampling._by_length import DynamicBatchSampler
from skrebatch.sampling._interval import IntervalInsertionSampler
from skrebatch.sampling._loss_log import RECORDED, LossLog, recorded_attributes
from skrebatch.sampling._ratio_schedules import Schedule
from skrebatch.sampling._selector import Selection, check_selection
from skrebatch.sampling._skorch_losses import (
    all_losses,
    by_sample,
    count_samples,
    criteria_of,
    given_rows,
    hash_rows,
    sample_losses,
)
from skrebatch.strategies import Strategy
from skrebatch.strategies._planning import batch_weights_of

_SAMPLER = "iterator_train__sampler"


class ReBatch(Callback):
    """Callback that applies dynamic re-Batch to a skorch net with any module.

    This is the method of [1]_. After each epoch, the callback computes the loss of each
    training sample and sets the order in which the training DataLoader draws the
    samples of the next epoch. The batch size of the net is not changed. If the net's
    ``iterator_train__batch_sampler`` is a :class:`DynamicBatchSampler`, it divides
    these orders into batches; torch then requires ``iterator_train__batch_size=1``.

    Parameters
    ----------
    ratio : float, default=0.15
        Redistribution ratio r of eq. 2, at least 0.
    strategy : str or Strategy, default="min-loss"
        Strategy that chooses the samples of each epoch: one of the names that
        :class:`ReBatchCNNClassifier` accepts, or an object. It uses the losses that the
        criterion returns with ``reduction="none"``, including class weights. If the
        strategy returns weights, they multiply these losses.
    repeats : int, default=1
        How often the next epoch contains each chosen sample; 0 leaves out the chosen
        samples.
    shuffle : bool, default=True
        Whether to shuffle the samples that are not chosen, before each epoch after the
        first. If False, they keep their original order. The order of the first epoch is
        always random.
    ratio_schedule : {"constant", "linear", "cosine", "step"} or callable, \
default="constant"
        Schedule of the ratio over the epochs. A callable maps the progress in (0, 1] to
        a factor for `ratio`. The schedule ends after `max_epochs` epochs of the net,
        counted over all calls of `partial_fit`; `fit` restarts it.
    warmup_epochs : int, default=0
        Number of epochs before the first redistribution. The first epoch never
        redistributes samples.
    loss_smoothing : float, default=0.0
        Weight of the previous losses in the running mean that the strategy uses, in
        [0, 1). Each call of `fit` or `partial_fit` restarts the mean.
    refresh_every : int, default=1
        Number of epochs for which a choice of samples is used.
    class_balanced : bool, default=False
        Whether to choose samples within each class, in proportion to its size. The
        targets must be class labels.
    record_losses : bool, default=False
        Whether to record the loss of every row after each epoch, for
        :func:`training_dynamics` and :func:`find_label_issues`. At most 100 epochs are
        stored: in a longer training, only every second epoch is kept, then every
        fourth, and so on. Rows that the net holds out for validation are recorded as
        well, which takes another pass over them.
    random_state : int, numpy.random.Generator or None, default=None
        Seed or generator for all random numbers.

    Attributes
    ----------
    sampler_ : IntervalInsertionSampler
        The sampler of the training DataLoader.
    sample_losses_ : ndarray of shape (n_samples,)
        Loss of each training sample after the last epoch.
    chosen_ : ndarray of int
        Indices of the samples that the next epoch would redistribute.
    recorded_epochs_ : ndarray of int, shape (n_recorded,)
        Epochs after which `record_losses` recorded the losses.
    recorded_losses_ : ndarray of shape (n_recorded, n_rows)
        Loss of every row passed to the net after each of these epochs, as the criterion
        returns it. If a `train_split` of your own does not return Subsets of torch,
        these are the training rows only.
    recorded_choices_ : ndarray of bool, shape (n_recorded, n_rows)
        Whether each of these epochs redistributed a row, or did not contain it exactly
        once.
    times_chosen_ : ndarray of int, shape (n_rows,)
        Number of epochs in which the row was chosen, in the sense of
        `recorded_choices_`, including epochs that were not recorded.
    sample_index_ : pandas.Index
        Index of X. Defined only with `record_losses`, and if X has an index.

    Raises
    ------
    ValueError
        If a parameter is out of range, or if the net's training iterator shuffles or
        has a sampler, or if the net has a second ReBatch callback.
    DivergedError
        If a loss becomes NaN or infinite.
    TypeError
        If the net can't return the loss of each sample.

    See Also
    --------
    ReBatchCNNClassifier : An estimator with a built-in network.
    IntervalInsertionSampler : The sampler without the callback, for any DataLoader.
    find_label_issues : Finds wrong labels by the recorded losses of a net.

    Notes
    -----
    `fit` begins new records. `partial_fit`, and `fit` with ``warm_start=True``,
    continue the records if the net gets the same rows. Otherwise, these calls begin new
    records.

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

    With ``record_losses=True``, the loss of each row is kept for every epoch:

    >>> _ = net.set_params(callbacks__ReBatch__record_losses=True).fit(X, X[:, :1])
    >>> rebatch.recorded_losses_.shape
    (3, 6)
    """

    sampler_: IntervalInsertionSampler
    sample_losses_: NDArray[Any]
    chosen_: Indices | None
    recorded_epochs_: NDArray[np.intp]
    recorded_losses_: NDArray[np.float32]
    recorded_choices_: NDArray[np.bool_]
    times_chosen_: Indices
    sample_index_: Any

    strategy_: Strategy
    rng_: np.random.Generator
    batches_: DynamicBatchSampler | None
    selection_: Selection
    log_: LossLog
    data_hash_: str
    # During the training, and during a batch.
    X_: Any
    fit_params_: dict[str, Any]
    was_set_: bool  # whether the net had the parameter of the sampler
    place_: int
    batch_size_: int
    hooks_: list[Any]
    reduction_: Any

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
        record_losses: bool = False,
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
        self.record_losses = record_losses
        self.random_state = random_state

    def on_train_begin(
        self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        """Validate parameters, data and net, and take over the net's training loop."""
        for name, values in (X if isinstance(X, Mapping) else {"X": X}).items():
            refuse_masked(values, name)
        refuse_masked(y, "y")
        self.strategy_ = clone(check_selection(self))
        check_bool(self.record_losses, "record_losses")
        self.batches_ = self._check_net(net)
        if not (net.history and hasattr(self, "rng_")):  # not for partial_fit
            self.rng_ = np.random.default_rng(self.random_state)
        if not (net.history and self.record_losses):
            self._drop_records()
        # The net splits off its validation data later, so the number of training
        # samples is not known before the first epoch.
        self.sampler_ = IntervalInsertionSampler(
            0, self.repeats, self.shuffle, self.rng_
        )
        self._begin_others(net, X=X, y=y, **kwargs)
        net.fit_loop = partial(self._train, net)

    def _check_net(self, net: NeuralNet) -> DynamicBatchSampler | None:
        """Refuse a net that can't be trained so, and return its batch sampler."""
        others = [cb for _, cb in net.callbacks_ if cb is not self]
        if any(isinstance(callback, ReBatch) for callback in others):
            raise ValueError("A net can have only one ReBatch callback; remove one.")
        criteria = criteria_of(net)
        if not criteria or not all(hasattr(c, "reduction") for c in criteria):
            found = ", ".join(map(repr, criteria)) or "the net"
            raise TypeError(
                f"ReBatch needs the loss of each sample, but {found} has no "
                "`reduction`. The criterion must have a `reduction` attribute that can "
                'be set to "none", like those of torch.'
            )
        if self.strategy_.weights_batches:
            _check_weighable(criteria)
        batches = None
        for name in ("shuffle", "sampler", "batch_sampler"):
            value = getattr(net, f"iterator_train__{name}", None)
            if isinstance(value, DynamicBatchSampler):
                batches, value = value, value.sampler
            # An empty sampler is falsy, so its truth value can't be used here.
            is_set = value is not None and value is not False
            if is_set and value is not getattr(self, "sampler_", None):
                raise ValueError(
                    f"ReBatch sets the order of the training samples; remove "
                    f"iterator_train__{name} from the net."
                )
        for name in ("shuffle", "drop_last", "sampler", "batch_sampler"):
            if getattr(net, f"iterator_valid__{name}", None):
                raise ValueError(
                    "ReBatch computes the losses in the order of the samples; remove "
                    f"iterator_valid__{name} from the net."
                )
        return batches

    def _begin_others(self, net: NeuralNet, **kwargs: Any) -> None:
        """Call the callbacks after this one.

        If one of them raises an error, skorch calls no callback any more. Therefore
        nothing may be set in the net before all of them have begun.
        """
        callbacks = net.callbacks_
        is_self = [callback is self for _, callback in callbacks]
        after = is_self.index(True) + 1 if any(is_self) else len(callbacks)
        net.callbacks_, rest = callbacks.copy(), callbacks[after:]
        del callbacks[after:]  # skorch iterates over this list
        for _, callback in rest:
            callback.on_train_begin(net, **kwargs)

    def _train(self, net: NeuralNet, X: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the training loop of the net, and restore the net however it ends."""
        del net.fit_loop
        own = inspect.signature(net.fit_loop).parameters
        self.fit_params_ = {n: v for n, v in kwargs.items() if n not in own}
        self.X_, self.was_set_ = X, _SAMPLER in vars(net)
        if self.batches_ is None:
            setattr(net, _SAMPLER, self.sampler_)
        else:
            self.batches_.sampler = self.sampler_
        try:
            return net.fit_loop(X, *args, **kwargs)
        finally:
            self._restore_sampler(net)
            if self.batches_ is not None:
                self.batches_.sampler = None
            self._remove_hooks()
            self.X_, self.fit_params_ = None, {}
            self.__dict__.update(self._recorded())

    def _restore_sampler(self, net: NeuralNet) -> None:
        """Remove the sampler from the parameters of the net."""
        if self.batches_ is None:
            vars(net).pop(_SAMPLER, None)
            if self.was_set_:
                setattr(net, _SAMPLER, None)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is valid only during the training, or during a batch."""
        left_out = "hooks_", "fit_params_", "X_"
        state = {n: value for n, value in vars(self).items() if n not in left_out}
        return {**state, **self._recorded()}

    def on_epoch_begin(
        self, net: NeuralNet, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        """Set up the selection once the number of training samples is known."""
        self._restore_sampler(net)  # the iterator has it by now
        self.place_ = self.batch_size_ = 0
        if self.sampler_.n_samples > 0:
            return
        n = len(dataset_train)
        if self.batches_ is not None and len(self.batches_.lengths) != n:
            raise ValueError(
                f"The DynamicBatchSampler has the lengths of "
                f"{len(self.batches_.lengths)} rows, but the net trains on {n} rows. "
                "Pass train_split=None to the net, or only the lengths of the training "
                "rows to the sampler."
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
            rows=given_rows(dataset_train, self.X_)[1],
            epoch=len(net.history) - 1,
            sampler=self.sampler_,
        )
        self.selection_.warn_of_no_effect()
        if self.record_losses:
            self._begin_records(net, dataset_train)
        if len(net.history) > 1:  # trained before, possibly on other data
            self._plan_next(net, dataset_train)
        else:
            self.selection_.begin_epoch(None)

    def on_batch_begin(
        self, net: NeuralNet, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Track the position in the epoch; register hooks if losses are weighted."""
        if not training:
            return
        self.place_ += self.batch_size_
        self.batch_size_ = count_samples(batch)
        if self.selection_.weights_batches or self.selection_.weights is not None:
            criterion = _check_weighable(criteria_of(net))
            self.hooks_ = [
                criterion.register_forward_pre_hook(self._before_loss),
                criterion.register_forward_hook(self._after_loss, always_call=True),
            ]

    def on_batch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Restore the criterion."""
        self._remove_hooks()

    def on_epoch_end(
        self, net: NeuralNet, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        """Compute the losses, record them, and plan the next epoch."""
        affected_samples = self.selection_.affected_samples  # before they change
        self._plan_next(net, dataset_train)
        if self.record_losses:
            dataset, rows = given_rows(dataset_train, self.X_)
            losses = all_losses(
                net, dataset, rows, self.sample_losses_, self.fit_params_
            )
            with default_settings():
                self.log_.add(len(net.history), losses, rows[affected_samples])

    def _begin_records(self, net: NeuralNet, dataset_train: Any) -> None:
        """Begin a log, or continue that of an earlier call with the same rows."""
        dataset, _ = given_rows(dataset_train, self.X_)
        data_hash = hash_rows(net, dataset)
        if data_hash != getattr(self, "data_hash_", None):
            self._drop_records()
            self.log_, self.data_hash_ = LossLog(len(dataset)), data_hash
        self.__dict__.pop("sample_index_", None)
        index = getattr(self.X_, "index", None)
        if not (index is None or callable(index)):  # lists have a method of this name
            self.sample_index_ = index

    @with_default_settings
    def _recorded(self) -> dict[str, Any]:
        """Return the attributes of `record_losses`, if an epoch is recorded."""
        log = getattr(self, "log_", None)
        return recorded_attributes([log]) if log is not None and log.epochs else {}

    def _drop_records(self) -> None:
        for name in (*RECORDED, "sample_index_", "log_", "data_hash_"):
            self.__dict__.pop(name, None)

    def _plan_next(self, net: NeuralNet, dataset_train: Any) -> None:
        by_length = None
        if self.batches_ is not None:
            by_length = np.argsort(self.batches_.lengths, kind="stable")
        self.sample_losses_, labels = sample_losses(
            net, dataset_train, by_length, self.fit_params_
        )
        if not np.isfinite(self.sample_losses_).all():
            raise DivergedError(
                f"The loss of {np.sum(~np.isfinite(self.sample_losses_))} training "
                f"samples is NaN or infinite after epoch {len(net.history)}. Scale the "
                "inputs or lower lr."
            )
        self.selection_.labels = labels
        with default_settings():  # but the net computes with the user's
            self.selection_.begin_epoch(self.sample_losses_)
        self.chosen_ = self.sampler_.chosen

    def _remove_hooks(self) -> None:
        for hook in getattr(self, "hooks_", []):
            hook.remove()
        self.hooks_ = []

    def _before_loss(self, criterion: Any, args: Any) -> None:
        """Set the criterion's reduction to get the loss of each sample."""
        if not criterion.training:  # a callback evaluates the net during a batch
            return
        self.reduction_ = criterion.reduction
        criterion.reduction = "none"

    def _after_loss(self, criterion: Any, args: Any, losses: Any) -> Any:
        """Weight the losses and apply the criterion's reduction to them."""
        if not criterion.training:
            return None
        criterion.reduction = self.reduction_
        if losses is None:  # the criterion raised an error
            return None
        of_samples = by_sample(losses)
        weights = torch.ones_like(of_samples)
        if self.selection_.weights_batches:
            with default_settings():
                seen = of_samples.detach().clone()[None]  # a strategy may change it
                factors = batch_weights_of(self.strategy_, seen)
            weights *= factors[0]
        source = self.sampler_ if self.batches_ is None else self.batches_
        drawn = source.drawn
        if self.selection_.weights is not None and drawn is not None:
            indices = drawn[self.place_ :][: len(weights)]
            weights *= torch.from_numpy(self.selection_.weights[indices]).to(weights)
        weighted = losses * weights.view(-1, *[1] * (losses.dim() - 1))
        return weighted.sum() if self.reduction_ == "sum" else weighted.mean()


def _check_weighable(criteria: list[Any]) -> Any:
    """Return the criterion whose batch loss is an unweighted mean or sum."""
    criterion = criteria[0]
    weight = getattr(criterion, "weight", None)
    is_plain = weight is None and criterion.reduction in ("mean", "sum")
    if len(criteria) > 1 or not is_plain:
        raise ValueError(
            "The strategy weights samples, which requires that the loss of a batch is "
            'a plain mean or sum. Use one criterion with reduction="mean" or "sum" and '
            f"without weight, got {len(criteria)} with "
            f"reduction={criterion.reduction!r} and weight={weight!r}."
        )
    return criterion
