"""What the classifier and the regressor share."""

from __future__ import annotations

import contextlib
import copy
import inspect
import itertools
import math
import os
import secrets
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from skorch.callbacks import Callback, LRScheduler

from skrebatch.batches import stack_table
from skrebatch.callbacks import EpochProgress
from skrebatch.checkpoints import (
    Checkpoint,
    CheckpointWriter,
    check_folder,
    fingerprint,
)
from skrebatch.data import (
    as_array,
    check_flag,
    check_names,
    check_nested,
    check_real,
    check_weights,
    check_whole,
    locate_bad_columns,
    resolve_device,
    resolve_dtype,
    resolve_precision,
    row_lengths,
    to_width,
)
from skrebatch.dynamic_batches import check_lengths
from skrebatch.links import LinkedMixin
from skrebatch.mapped import MappedRows, map_rows
from skrebatch.members import DivergedError, Job, Member
from skrebatch.network import (
    Architecture,
    Ensemble,
    TabularCNN,
    as_module,
    build_architecture,
)
from skrebatch.optimizers import (
    check_optimizer,
    optimizer_options,
    resolve_optimizer,
)
from skrebatch.rates import Rate, check_lr_schedule
from skrebatch.records import LossLog, mean_log
from skrebatch.samplers import redistribution_size
from skrebatch.selection import Selection, check_selection
from skrebatch.strategies import check_strategy
from skrebatch.tasks import CallbackSupportMixin, EpochTasks, FitTask, with_callbacks
from skrebatch.threads import is_small, one_thread_if
from skrebatch.training import ReBatchNet, make_net, train

T = TypeVar("T")

_PREDICTION_ROWS = 1024
# What checking the data teaches an estimator.
_SEEN = ("n_features_in_", "feature_names_in_", "classes_", "n_outputs_", "_is_1d")

# Parameters that change nothing about how a fit ends, or are looked at by themselves.
_NO_EFFECT = (
    "checkpoint_dir",
    "checkpoint_every",
    "callbacks",
    "verbose",
    "random_state",
)

# What record_losses leaves.
_RECORDED = (
    "recorded_epochs_",
    "recorded_losses_",
    "recorded_choices_",
    "times_chosen_",
    "sample_index_",
)

_PARAMETERS = """ratio : float, default=0.15
        Redistribution ratio r, 0 or more; B = floor(N r / (1 + r)) of the N
        training samples are redistributed in each epoch (eq. 2). 0 is training
        without re-Batch.
    strategy : {{"min-loss", "max-loss", "random", "hybrid", "tsw", "ohem", \
"curriculum", "self-paced", "breed", "small-loss", "infobatch", \
"selective-backprop"}} or Strategy, default="min-loss"
        Which samples an epoch holds: those of lowest or highest loss redistributed,
        samples chosen by chance (the control), one of the other methods by name, or
        an object, with parameters or of your own.
    repeats : int, default=1
        How often the next epoch holds each chosen sample: 0 leaves them out, 1
        moves them (the paper's text), m holds them m times.
    ratio_schedule : {{"constant", "linear", "cosine", "step"}} or callable, \
default="constant"
        How the ratio changes over the epochs: "linear" and "cosine" rise from 0 to
        `ratio`, "step" in four steps. A callable maps the share of the epochs with
        redistribution that is over when an epoch ends, in (0, 1], to a factor on
        `ratio`. The batch size doesn't change.
    warmup_epochs : int, default=0
        Epochs before the first redistribution. The first epoch never has one,
        because no loss says anything before it.
    loss_smoothing : float, default=0.0
        Choose by a running mean of the losses over the epochs in which they are
        computed, old losses weighing this much, in [0, 1).
    refresh_every : int, default=1
        Epochs for which a choice stands. The losses are computed once in so many,
        unless `loss_smoothing` wants them.{balanced}
    shuffle : bool, default=True
        Whether to shuffle the other samples in every epoch. False keeps their
        natural order, as the paper does.
    architecture : {{"cnn", "mlp"}}, default="cnn"
        "cnn" is convolution blocks and a head, "mlp" a multilayer perceptron: the
        head alone, on the features themselves. The parameters of the blocks, from
        `conv_channels` to `padding`, have no meaning for it.
    conv_channels : tuple of int, default=(8, 16)
        Output channels of each convolution block; its length is the number of
        blocks.
    kernel_size, pool_size : int or tuple of int, default=3 and 2
        Kernels of the convolutions and pools, one for all blocks or one each.
        One longer than its sequence is clamped to it.
    pool_stride : int or tuple of int, default=None
        Strides of the pools; None is `pool_size`.
    padding : int or "same", default="same"
        Zeros on either side of a sequence before its convolution.
    hidden_size : int or "auto", default="auto"
        Width of the head's hidden layer; "auto" is twice the number of values that
        the head reads.
    hidden_layers : tuple of int, default=None
        Widths of several hidden layers, such as (128, 64); None is one layer of
        `hidden_size`. To give both is an error.
    batch_norm : bool, default=False
        Whether to normalise each hidden layer of the head over the batch, before
        its ReLU. Predictions and losses of samples go by running statistics, and so
        does a batch of one row. Needs batches of two rows or more.
    dropout : float, default=0.0
        Share of the values of each hidden layer of the head that a step of training
        leaves out, in [0, 1).
    variable_length : bool, default=False
        Whether rows may end in NaN padding; a row's length is what comes before. The
        padding changes nothing: convolutions meet zeros beyond a row's end, pools
        leave them out, and the head reads zeros at the positions that a row doesn't
        have. An array to predict may be narrower than that of `fit`, or wider by
        columns of NaN. Not with `n_augments`, `batch_norm`, `dropout` or a `precision`
        of 16 bits.
    max_elements : int or None, default=None
        With `variable_length`, the most elements of a mini-batch, which is padded to
        its longest row: rows of similar length come together, as
        :class:`DynamicBatchSampler` groups them, instead of `batch_size` at a time.
        Such networks are not stacked.
    max_epochs : int, default=200
        Number of epochs at most.
    batch_size : int or "auto", default="auto"
        Rows of a mini-batch. "auto" is B, as in the paper, but at most 1024, and
        32 where B is 0. More than N is N.
    optimizer : {{"adam", "adamw", "sgd", "rmsprop"}} or type, default="adam"
        Optimizer, by name or a subclass of :class:`torch.optim.Optimizer` that
        treats each weight by itself.
    optimizer_params : dict, default=None
        Its other arguments, such as ``{{"momentum": 0.9}}``; None is torch's
        defaults.
    lr : float, default=1e-3
        Learning rate.
    lr_schedule : {{"step", "plateau", "cosine", "exponential", "one-cycle"}} or type, \
default=None
        How the learning rate changes, by name or a class of
        :mod:`torch.optim.lr_scheduler`; None is not at all. A name runs its course
        in `max_epochs`: "step" divides by 10 at each third, "plateau" after 5
        epochs without improvement (of the loss on the validation set if there is
        one, else of the training loss), "cosine" falls to 0, "exponential" to a
        hundredth, "one-cycle" rises to `lr` and falls again, step by step. After its
        course the rate stays where it is, in `partial_fit` and warm starts too.
    lr_schedule_params : dict, default=None
        Arguments of the schedule, such as ``{{"step_size": 20}}``, and `step_every`
        ("epoch" or "batch") and, for a plateau, `monitor` ("train_loss" or
        "valid_loss") of :class:`skorch.callbacks.LRScheduler`.
    weight_decay : float, default=0.0
        Weight decay of the optimizer.
    n_augments : int, default=0
        Copies of each row that an epoch holds beside it, with Gaussian noise drawn
        anew. A batch is followed by batches of its copies. Samples are chosen by the
        losses of the rows as they are.
    noise_std : float, default=0.0
        Standard deviation of that noise, in the units of X.
    early_stopping : bool, default=False
        Whether to stop when the loss on the validation set has not improved for
        `n_iter_no_change` epochs, and to keep the parameters of the best epoch.
    validation_fraction : float, default=0.2
        Share of the training rows set aside for `early_stopping` where `fit` is
        given no validation set{stratified}.
    n_iter_no_change : int, default=10
        Epochs without improvement that `early_stopping` waits.
    {own}
    device : str or torch.device, default="cpu"
        Where to train; "auto" takes the best device there is.
    dtype : {{"float32", "float64"}}, default="float32"
        Precision of data and network.
    precision : {{"float32", "bf16", "fp16"}}, default="float32"
        What the steps of training compute in: "float32" is `dtype`; the others are
        16 bits, for a `dtype` of "float32". Parameters, optimizer and losses stay in
        float32, and so do the losses of samples, validation and predictions. With
        "fp16" gradients are scaled, and steps in which they overflow are left out.
    callbacks : list of skorch.callbacks.Callback, default=None
        Callbacks of skorch, notified of each epoch. Those of scikit-learn are given to
        ``set_callbacks``, from scikit-learn 1.9 on.
    n_networks : int, default=1
        Networks trained side by side from different seeds; predictions are the
        mean of their probabilities or targets. Training K costs far less than K
        times one.
    choose : {{"own", "together"}}, default="own"
        Whether each of several networks chooses samples by its own losses, or all
        by the mean over the networks.
    checkpoint_dir : str or path-like, default=None
        Folder in which `fit` keeps a file to go on from if it is cut off; a `fit` that
        is called again as it was then ends where it would have. None is without. It
        needs the extra ``files`` and has no meaning for `partial_fit`.
    checkpoint_every : int, default=10
        Epochs after which that file is written anew.
    record_losses : bool, default=False
        Whether to keep the loss of every row after each epoch, of at most 100
        epochs: once there are more, every second one is dropped, so that 500 bytes
        a row are the bound for each network, and as many for the attributes. See
        :func:`training_dynamics`.
    warm_start : bool, default=False
        Whether `fit` goes on from the network of an earlier `fit`.
    random_state : int, numpy.random.RandomState or None, default=None
        Source of initial weights, validation split and orders. An int gives the
        same bits on every run.
    verbose : int, default=0
        0 is silent, 1 and more show a progress bar with the losses."""

_ATTRIBUTES = """n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of str
        Names of the features, where X had string column names.
    n_iter_ : int
        Epochs trained.
    loss_curve_ : list of float
        Mean training loss of each epoch, over the batches as they were trained
        on.
    validation_loss_curve_ : list of float
        Loss on the validation set after each epoch, where there is one; NaN for
        epochs of an earlier or later call that had none.
    sample_losses_ : ndarray of shape (n_samples,)
        Loss of every row of X under the fitted network, without weights.
    chosen_ : ndarray of int, or list of n_networks such arrays
        Rows of X that the last epoch redistributed, or held not just once.
    n_redistributed_ : int
        B, how many samples are redistributed.
    recorded_epochs_ : ndarray of int, shape (n_recorded,)
        Epochs after which `record_losses` kept the losses.
    recorded_losses_ : ndarray of shape (n_recorded, n_samples)
        Loss of every row of X after each of these epochs, the mean over several
        networks.
    recorded_choices_ : ndarray of bool, shape (n_recorded, n_samples)
        Whether each of these epochs redistributed a row, or held it not just
        once; of several networks, whether most did.
    times_chosen_ : ndarray of shape (n_samples,)
        In how many of all epochs it was so, the mean over several networks.
    sample_index_ : pandas.Index
        Index of X, with `record_losses`, where X has one.
    batch_size_ : int
        Rows of a mini-batch; with `max_elements`, about their mean.
    module_ : TabularCNN or torch.nn.Module
        The fitted network, a plain module in evaluation mode; of several
        networks, a module with the list `networks`.
    interrupted_ : bool
        Whether the last training was ended by Ctrl-C.
    net_ : skorch.NeuralNet
        The net that trained it.
    history_ : skorch.history.History
        What the net recorded of each epoch."""


def _fill_in(**fragments: str) -> Callable[[type[T]], type[T]]:
    """Put shared fragments into a class docstring."""

    def fill(cls: type[T]) -> type[T]:
        # From Python 3.13 on the compiler has taken the indentation off already.
        own = {n: textwrap.dedent(f"    {text}") for n, text in fragments.items()}
        cls.__doc__ = inspect.cleandoc(cls.__doc__ or "").format(**own)
        return cls

    return fill


@contextlib.contextmanager
def unchanged_on_error(estimator: Any) -> Iterator[None]:
    """Leave an estimator as it was where a fit fails."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        estimator.__dict__ = before
        raise


_interrupts_raise = ContextVar("interrupts_raise", default=False)


@contextlib.contextmanager
def interrupts_raised() -> Iterator[None]:
    """Let an interrupted fit raise, instead of keeping what it has."""
    token = _interrupts_raise.set(True)
    try:
        yield
    finally:
        _interrupts_raise.reset(token)


class _BaseReBatchCNN(LinkedMixin, CallbackSupportMixin, BaseEstimator):
    """What the classifier and the regressor share."""

    _own_flags: ClassVar[tuple[str, ...]] = ()  # beside those of all
    loss_curve_: list[float]
    module_: TabularCNN | Ensemble

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of a strategy as ``strategy__name``.

        Parameters
        ----------
        **params : dict
            Their values by name.

        Returns
        -------
        self : estimator
            The estimator itself.

        Raises
        ------
        ValueError
            If there is no parameter of a name; the nearest one is named. No other is
            set then.
        """
        names, values = [n.partition("__")[0] for n in params], self.get_params(False)
        check_names(names, values, self)
        check_nested(params, values)
        with unchanged_on_error(self):
            return super().set_params(**params)

    def _check_parameters(self) -> None:
        """Refuse impossible parameters before any work."""
        check_selection(self)
        if self.choose not in ("own", "together"):
            raise ValueError(
                f'choose must be "own" or "together", got {self.choose!r}.'
            )
        check_whole(self.n_augments, "n_augments", at_least=0)
        check_real(self.noise_std, "noise_std", at_least=0)
        if self.noise_std and not self.n_augments:
            warnings.warn(
                f"noise_std={self.noise_std} has no effect with n_augments=0, which "
                "makes no copies that could bear noise.",
                UserWarning,
                stacklevel=5,
            )
        for name in ("max_epochs", "n_iter_no_change", "n_networks"):
            check_whole(getattr(self, name), name)
        if self.batch_size != "auto":
            check_whole(self.batch_size, "batch_size", 'or "auto"')
        if self.max_elements is not None:
            check_whole(self.max_elements, "max_elements", "or None")
            if not self.variable_length or self.batch_size != "auto":
                raise ValueError(
                    'max_elements needs variable_length=True and batch_size="auto": it '
                    "decides itself how many rows make a batch."
                )
            if self.n_networks > 1:
                raise ValueError(
                    "max_elements needs n_networks=1: the batches of networks trained "
                    "side by side would differ in their shapes."
                )
        largest = torch.finfo(resolve_dtype(self.dtype)).max
        check_real(self.lr, "lr", above=0, at_most=largest)
        check_real(self.dropout, "dropout", at_least=0, below=1)
        check_real(self.weight_decay, "weight_decay", at_least=0, at_most=largest)
        check_real(self.validation_fraction, "validation_fraction", above=0, below=1)
        if self.architecture not in ("cnn", "mlp"):
            raise ValueError(
                f'architecture must be "cnn" or "mlp", got {self.architecture!r}.'
            )
        check_optimizer(
            self.optimizer, self.optimizer_params, self.lr, self.weight_decay
        )
        check_lr_schedule(
            self.lr_schedule,
            self.lr_schedule_params,
            *self._optimizer(),
            self.max_epochs,
        )
        for callback in _check_callbacks(self.callbacks):
            if self.lr_schedule is not None and isinstance(callback, LRScheduler):
                raise ValueError(
                    "lr_schedule and the callback LRScheduler would both move the "
                    "learning rate; leave one of them out."
                )
        check_folder(self.checkpoint_dir)
        check_whole(self.checkpoint_every, "checkpoint_every")
        if self.checkpoint_dir is not None and self.callbacks:
            raise ValueError(
                "checkpoint_dir can't be used with callbacks: a checkpoint doesn't "
                "hold what they remember. Leave one of them out."
            )
        flags = "early_stopping", "warm_start", "record_losses", "batch_norm"
        for name in (*flags, "variable_length", *self._own_flags):
            check_flag(getattr(self, name), name)
        if not isinstance(self.verbose, bool | np.bool_):
            check_whole(self.verbose, "verbose", at_least=0)
        device = resolve_device(self.device)
        resolve_precision(self.precision, resolve_dtype(self.dtype), device)
        if self.variable_length:
            for name in ("n_augments", "batch_norm", "dropout", "precision"):
                value = getattr(self, name)
                if value and value != "float32":
                    raise ValueError(
                        f"{name}={value!r} can't be used with variable_length=True; "
                        "leave one of them at its default."
                    )

    def _optimizer(self) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
        """Return the optimizer's class, and what it is given."""
        cls = resolve_optimizer(self.optimizer)
        params = self.optimizer_params
        return cls, optimizer_options(cls, self.lr, self.weight_decay, params)

    def _check_X(self, X: Any, variable_length: bool, **kwargs: Any) -> Any:
        """Validate X (and y), naming the columns that are to blame."""
        asked = resolve_dtype(kwargs.pop("dtype", self.dtype))
        dtype = np.dtype(str(asked).removeprefix("torch."))
        X = as_array(X)
        if "y" in kwargs:
            kwargs["y"] = as_array(kwargs["y"])
        mapped = map_rows(X, dtype, variable_length)
        if mapped is not None:
            return self._check_mapped(mapped, **kwargs)
        if variable_length:
            kwargs["ensure_all_finite"] = "allow-nan"
            if not kwargs.get("reset", True):
                X = to_width(X, self.n_features_in_)
        try:
            # What is too large for the dtype is refused, and needs no warning; nor do
            # large values whose sum, by which scikit-learn looks for NaN, is infinite.
            with np.errstate(over="ignore", invalid="ignore"):
                checked = validate_data(self, X, dtype=dtype, **kwargs)
        except OverflowError as error:  # of a whole number that no float holds
            hint = locate_bad_columns(X, dtype, allow_nan=variable_length)
            raise ValueError(f"{error}.{hint}") from error
        except (TypeError, ValueError) as error:
            hint = locate_bad_columns(X, dtype, allow_nan=variable_length)
            if not hint:
                raise
            raise type(error)(f"{error}{hint}") from error
        if variable_length:
            row_lengths(checked[0] if isinstance(checked, tuple) else checked)
        return checked

    def _check_mapped(self, rows: MappedRows, **kwargs: Any) -> Any:
        """Validate rows that stay in their file, where `y` is given their values too.

        Those of rows to predict are checked as they are read.
        """
        # Of their shape, without a memory of its own.
        stand_in = np.broadcast_to(rows.dtype.type(0), rows.shape)
        checked = validate_data(
            self, stand_in, dtype=rows.dtype, ensure_all_finite=False, **kwargs
        )
        if "y" not in kwargs:
            return rows
        rows.check()
        return rows, checked[1]

    def _check_validation_set(self, X_val: Any, y_val: Any) -> tuple[Any, Any]:
        try:
            X_val, y_val = self._check_X(
                X_val, self.variable_length, y=y_val, reset=False, **self._y_checks
            )
            return X_val, self._check_targets(y_val)
        except ValueError as error:
            raise ValueError(f"In X_val and y_val: {error}") from error

    def _architecture(self, n_outputs: int) -> Architecture:
        blocks = {
            "conv_channels": self.conv_channels,
            "kernel_size": self.kernel_size,
            "pool_size": self.pool_size,
            "pool_stride": self.pool_stride,
            "padding": self.padding,
        }
        if self.architecture == "mlp":
            blocks = {"conv_channels": ()}
        elif isinstance(self.conv_channels, list | tuple) and not self.conv_channels:
            raise ValueError(
                "conv_channels must be a tuple with the channels of each block, such "
                f"as (8, 16), got {self.conv_channels!r}; without blocks it is "
                'architecture="mlp".'
            )
        return build_architecture(
            self.n_features_in_,
            n_outputs,
            hidden_size=self.hidden_size,
            hidden_layers=self.hidden_layers,
            batch_norm=self.batch_norm,
            dropout=self.dropout,
            variable_length=self.variable_length,
            **blocks,
        )

    def _prepare(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        incremental: bool = False,
        classes: Any = None,
        cache: dict[Any, Any] | None = None,
        seed: int | None = None,
    ) -> Job:
        """Check everything and lay out what a fit needs.

        Fits of the same arrays that share a `cache` check and store them once. A seed
        stands in for a `random_state` of None.
        """
        self._check_parameters()
        if incremental and self.early_stopping:
            raise ValueError(
                "partial_fit trains one epoch and can't stop early; set "
                "early_stopping=False."
            )
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val belong together: pass both or neither.")
        goes_on = hasattr(self, "module_") and (incremental or self.warm_start)
        cache = {} if cache is None else cache
        index = None if isinstance(X, list | tuple) else getattr(X, "index", None)
        key: tuple[Any, ...] = type(self), id(X), id(y), str(self.dtype)
        key = *key, bool(self.variable_length)
        if key not in cache:
            checked = self._check_X(
                X,
                self.variable_length,
                y=y,
                reset=not goes_on,
                ensure_min_samples=2,
                **self._y_checks,
            )
            targets_checked = self._learn_targets(checked[1], goes_on, classes)
            seen = {name: vars(self)[name] for name in _SEEN if name in vars(self)}
            rows = np.arange(len(checked[0]))
            cache[key] = checked[0], targets_checked, seen, rows
        X, y, seen, rows = cache[key]
        self.__dict__.update(seen)
        n_samples = len(X)
        weights = check_weights(sample_weight, n_samples)
        weights = self._with_class_weight(y, weights)

        random_state = self.random_state
        if random_state is None:  # not numpy's global one, which stays as it is
            random_state = np.random.RandomState(seed)
        seeds = check_random_state(random_state).randint(
            2**31 - 1, size=self.n_networks
        )
        if goes_on:
            rngs = copy.deepcopy(self._rngs)
        else:
            rngs = [np.random.default_rng(int(seed)) for seed in seeds]

        if weights is not None:
            rows = np.flatnonzero(weights > 0)
        valid_rows = None
        parts, targets = [X], [y]
        if X_val is not None:
            key = *key, id(X_val), id(y_val)
            if key not in cache:
                cache[key] = self._check_validation_set(X_val, y_val)
            X_val, y_val = cache[key]
            parts, targets = [X, X_val], [y, y_val]
            valid_rows = np.arange(n_samples, n_samples + len(X_val))
        elif self.early_stopping and not incremental:
            if not (goes_on and hasattr(self, "_split_seed")):
                self._split_seed = int(rngs[0].integers(2**31))
            rows, valid_rows = self._split(rows, y, self._split_seed)
        if weights is not None:
            weights = weights[rows] / weights[rows].mean()
        if not goes_on:
            self._learn_scale(y[rows], weights)

        size = redistribution_size(len(rows), self.ratio)
        strategy = check_strategy(self.strategy)
        batch_size = self.batch_size
        if batch_size == "auto":
            batch_size = min(size, 1024) or 32
        lengths = None
        if self.max_elements is not None:
            lengths = check_lengths(row_lengths(X), self.max_elements)[rows]
            batch_size = max(1, int(self.max_elements / lengths.mean()))
        batch_size = min(int(batch_size), len(rows))
        if self.batch_norm and batch_size < 2:
            raise ValueError(
                f"batch_norm needs mini-batches of at least 2 rows, but batch_size="
                f"{self.batch_size!r} makes them of {batch_size}; set a larger "
                "batch_size."
            )

        code = "targets", *key, self._encoding()
        if code not in cache:
            cache[code] = [self._encode(part) for part in targets]
        encoded = cache[code]
        architecture = self._architecture(encoded[0].shape[1])
        networks: Sequence[TabularCNN | None] = [None] * self.n_networks
        if goes_on:
            networks = before = self._networks()
            if (before[0].architecture, len(before)) != (architecture, self.n_networks):
                raise ValueError(
                    "The network's parameters (architecture, conv_channels, "
                    "kernel_size, pool_size, pool_stride, padding, hidden_size, "
                    "hidden_layers, batch_norm, dropout, variable_length, n_networks) "
                    "changed since the last fit; training can't go on from it. Use "
                    "warm_start=False."
                )
        stops_early = self.early_stopping and not incremental
        together = self.n_networks > 1 and self.choose == "together"
        for name in _RECORDED:
            self.__dict__.pop(name, None)
        if self.record_losses and index is not None:
            self.sample_index_ = index
        n_before = self.n_iter_ if goes_on else 0
        # With its rows, which so keep their identity.
        code = "labels", *code, id(rows)
        if code not in cache:
            cache[code] = rows, self._labels(encoded[0])[rows]
        _, labels = cache[code]
        dtype, device = resolve_dtype(self.dtype), resolve_device(self.device)
        precision = resolve_precision(self.precision, dtype, device)
        self._data_seen, known = self._recognise(X, y, rows, goes_on)
        steps = -(-len(rows) * (1 + int(self.n_augments)) // batch_size)
        if valid_rows is None and self._monitor == "valid_loss":
            raise ValueError(
                'lr_schedule_params={"monitor": "valid_loss"} needs a validation set: '
                "set early_stopping=True or pass X_val and y_val."
            )
        members = []
        for k in range(self.n_networks):
            selection = Selection(
                n_samples=len(rows),
                strategy=clone(strategy),
                rng=rngs[k],
                ratio=self.ratio,
                repeats=self.repeats,
                shuffle=self.shuffle,
                max_epochs=int(self.max_epochs) + (0 if incremental else n_before),
                schedule=self.ratio_schedule,
                warmup_epochs=self.warmup_epochs,
                smoothing=self.loss_smoothing,
                refresh_every=self.refresh_every,
                class_balanced=getattr(self, "class_balanced", False),
                labels=labels,
                epoch=n_before,
            )
            log = LossLog(n_samples) if self.record_losses else None
            if known:
                selection.remember(self._memories[k])
                if log is not None:
                    log = copy.deepcopy(self._logs[k]) or log
            members.append(
                Member(
                    network=networks[k],
                    rows=rows,
                    selection=selection,
                    batch_size=batch_size,
                    max_epochs=1 if incremental else int(self.max_epochs),
                    lr=float(self.lr),
                    weight_decay=float(self.weight_decay),
                    optimizer_params=self.optimizer_params or {},
                    rate=self._rate(self._rates[k] if goes_on else None, steps),
                    n_augments=int(self.n_augments),
                    noise_std=self.noise_std,
                    weights=weights,
                    valid_rows=valid_rows,
                    patience=int(self.n_iter_no_change) if stops_early else None,
                    seed=int(seeds[k]),
                    may_skip=precision == torch.float16,
                    team=id(self) if together else None,
                    log=log,
                    lengths=lengths,
                    max_elements=int(self.max_elements or 0),
                )
            )
        members[0].selection.warn_of_no_effect()
        if members[0].rate is not None:
            members[0].rate.warn_if_over()
        return Job(
            X=parts,
            targets=encoded,
            members=members,
            architecture=architecture,
            loss=self._loss(architecture.n_outputs),
            optimizer=resolve_optimizer(self.optimizer),
            dtype=dtype,
            device=device,
            precision=precision,
            goes_on=goes_on,
        )

    @property
    def _monitor(self) -> str | None:
        """The loss that the learning rate is asked to follow."""
        return (self.lr_schedule_params or {}).get("monitor")

    def _rate(self, before: Rate | None, steps_per_epoch: int) -> Rate | None:
        """Return the learning rate that moves: the last fit's, if it can go on."""
        if self.lr_schedule is None:
            return None
        asked = self.lr_schedule, self.lr_schedule_params or {}, *self._optimizer()
        if before is not None and before.asked == asked:
            return copy.deepcopy(before)
        return Rate(*asked, int(self.max_epochs), steps_per_epoch)

    def _recognise(
        self, X: Any, y: Any, rows: NDArray[np.intp], goes_on: bool
    ) -> tuple[str | None, bool]:
        """Tell whether the data are those of the fit that this one goes on from.

        Only then do running means, plans and records of single samples go on.
        """
        if not (self.record_losses or self.loss_smoothing or self.refresh_every > 1):
            return None, False
        data = joblib.hash((X, y, rows))
        return data, goes_on and data == self._data_seen

    def _networks(self) -> list[TabularCNN]:
        """Return the fitted networks."""
        module = self.module_
        return [module] if isinstance(module, TabularCNN) else module.members()

    def _split(
        self, rows: NDArray[np.intp], y: NDArray[Any], seed: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Set validation rows aside."""
        options = {"test_size": float(self.validation_fraction), "random_state": seed}
        try:
            train, valid = train_test_split(
                rows, stratify=self._strata(y[rows]), **options
            )
        except ValueError:
            # A class too small to be split, or more classes than validation rows.
            try:
                train, valid = train_test_split(rows, **options)
            except ValueError as error:
                raise ValueError(
                    f"early_stopping can't set validation_fraction="
                    f"{self.validation_fraction} of {len(rows)} rows aside: no row "
                    "would be left to train on."
                ) from error
        return np.sort(train), np.sort(valid)

    def _all_callbacks(self) -> list[Any]:
        """Return the user's callbacks and, where wanted, the progress bar."""
        return [*(self.callbacks or []), *([EpochProgress()] if self.verbose else [])]

    def _fit(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any) -> Self:
        data = X, y, sample_weight, X_val, y_val
        with unchanged_on_error(self):
            if not isinstance(self.checkpoint_dir, str | os.PathLike):
                job = self._prepare(*data)
                self._keep(self._train(job, X, y, sample_weight))
                return self
            checkpoint = Checkpoint(Path(self.checkpoint_dir, "fit.safetensors"))
            seed = (checkpoint.content or {}).get("seed", secrets.randbits(32))
            job = self._prepare(*data, seed=seed)
            checkpoint.claim(self._fingerprint(job))
            writer = CheckpointWriter(checkpoint, self.checkpoint_every, seed)
            try:
                net = self._train(job, X, y, sample_weight, [writer])
            except DivergedError:
                checkpoint.remove()  # which leads there again
                raise
            self._keep(net)
            if not net.interrupted_:
                checkpoint.remove()
        return self

    def _fingerprint(self, job: Job) -> dict[str, str]:
        """Tell a fit from all that end otherwise."""
        parameters = self.get_params(deep=False)
        for name in _NO_EFFECT:
            del parameters[name]
        data = {
            # Rows in a file are told by the file, which is not read for that.
            f"{name}{suffix}": part
            if isinstance(part, MappedRows)
            else np.ascontiguousarray(part)
            for name, parts in (("X", job.X), ("y", job.targets))
            for suffix, part in zip(("", "_val"), parts, strict=False)
        }
        begun_with = [
            (
                member.seed,
                member.selection.rng.bit_generator.state,
                member.network
                and [p.numpy(force=True) for p in member.network.parameters()],
            )
            for member in job.members
        ]
        return fingerprint(
            **parameters,
            **data,
            sample_weight=(job.members[0].rows, job.members[0].weights),
            random_state=begun_with,
        )

    @with_callbacks
    def _train(
        self, job: Job, X: Any, y: Any, sample_weight: Any, first: Sequence[Any] = ()
    ) -> ReBatchNet:
        """Train the job of a fit, for scikit-learn's callbacks to see."""
        task = FitTask(self, X, y, sample_weight, self.max_epochs)
        tasks = [] if task.context is None else [EpochTasks(task)]
        net = train([job], [*first, *tasks, *self._all_callbacks()])
        self._conclude(job)
        task.end()
        return net

    def _partial_fit(
        self, X: Any, y: Any, sample_weight: Any, classes: Any = None
    ) -> Self:
        with unchanged_on_error(self):
            job = self._prepare(X, y, sample_weight, incremental=True, classes=classes)
            if hasattr(self, "net_"):
                net = self.net_.go_on(job)
            else:
                net = make_net([job], self._all_callbacks()).initialize()
                # That of a model file, which holds no net.
                net.history = getattr(self, "history_", net.history)
            with net.unchanged_on_error(), one_thread_if(net.is_small):
                table = stack_table([job])
                net.partial_fit(table, epochs=1)
                net.collect(table, [job])
                self._conclude(job)
                self._keep(net)
        return self

    def _keep(self, net: ReBatchNet) -> None:
        """Keep the net, without the data."""
        self.net_, self.history_ = net, net.history
        self.interrupted_ = net.interrupted_
        if net.interrupted_:
            if _interrupts_raise.get():
                raise KeyboardInterrupt  # which skorch has caught
            warnings.warn(
                f"Training was interrupted in epoch {len(net.history)}; the network is "
                "kept as it was then.",
                ConvergenceWarning,
                stacklevel=4,
            )
        net.forget()

    def _conclude(self, job: Job) -> None:
        """Take over the result, or raise what went wrong."""
        members = job.members
        for member in members:
            if member.error is not None:
                raise member.error
        if all(member.epochs == 0 for member in members):
            raise KeyboardInterrupt  # which skorch has caught
        first = members[0]
        networks = [member.network for member in members if member.network is not None]
        self.module_ = as_module(networks)
        self.sample_losses_ = np.mean(
            [m.losses for m in members if m.losses is not None], axis=0
        )
        chosen = [m.rows[m.selection.treated] for m in members]
        self.chosen_ = chosen[0] if len(chosen) == 1 else chosen
        self.n_redistributed_ = first.selection.n_chosen
        self.batch_size_ = first.batch_size
        trained = _mean_curve([member.curves["train_loss"] for member in members])
        validated = _mean_curve([member.curves["valid_loss"] for member in members])
        validated += [math.nan] * (len(trained) - len(validated))
        if job.goes_on:
            before = self.loss_curve_
            unknown = [math.nan] * len(before)
            validated = getattr(self, "validation_loss_curve_", unknown) + validated
            trained = before + trained
        self.loss_curve_ = trained
        if not np.isnan(validated).all():
            self.validation_loss_curve_ = validated
        elif hasattr(self, "validation_loss_curve_"):
            del self.validation_loss_curve_
        self.n_iter_ = len(self.loss_curve_)
        self._rngs = [member.selection.rng for member in members]
        self._rates = [member.rate for member in members]
        self._memories = [member.selection.memory for member in members]
        self._logs = [member.log for member in members]
        self._summarise_logs()

    def _summarise_logs(self) -> None:
        """Average what the networks recorded, if they did."""
        logs = [log for log in self._logs if log is not None]
        if logs:
            means = mean_log(logs)
            self.recorded_epochs_, self.recorded_losses_ = means[:2]
            self.recorded_choices_, self.times_chosen_ = means[2:]

    def _outputs(self, X: Any) -> NDArray[np.float64]:
        """Compute the raw outputs of every network (K, n_samples, n_outputs).

        In float64 whatever the network's dtype: in float32 the prediction for a
        row would vary in the sixth digit with the rows beside it.
        """
        check_is_fitted(self)
        module, architecture = self.module_, self._networks()[0].architecture
        # As the network was fitted, whatever the parameter has been set to since.
        first = next(module.parameters())
        X = self._check_X(
            X, architecture.variable_length, dtype=first.dtype, reset=False
        )
        device = first.device
        if device.type == "mps":  # which has no float64
            module, device = copy.deepcopy(module).cpu(), torch.device("cpu")
        small = is_small(architecture, min(len(X), _PREDICTION_ROWS))
        outputs = []
        with torch.no_grad(), one_thread_if(small):
            for start in range(0, len(X), _PREDICTION_ROWS):
                part = X[start : start + _PREDICTION_ROWS]
                part = torch.tensor(part, dtype=torch.float64, device=device)
                outputs.append(module(part).cpu().numpy())
        return np.concatenate(outputs, axis=-2).reshape(
            -1, len(X), outputs[0].shape[-1]
        )

    def __sklearn_tags__(self) -> Any:
        """Say whether rows may be padded with NaN."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = bool(self.variable_length)
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Hold the network on the CPU, so that any machine can load it."""
        state = super().__getstate__()
        if "module_" in state:
            state["module_"] = copy.deepcopy(state["module_"]).cpu()
        return state


def _check_callbacks(callbacks: Any) -> Sequence[Any]:
    """Return the callbacks, refusing what skorch could not call."""
    if callbacks is None:
        return []
    if not isinstance(callbacks, list | tuple):
        raise ValueError(
            "callbacks must be a list of skorch.callbacks.Callback or None, got "
            f"{callbacks!r}."
        )
    for callback in callbacks:
        # skorch takes classes, and callbacks with their names, too.
        own = callback[-1] if isinstance(callback, tuple) and callback else callback
        if not issubclass(own if isinstance(own, type) else type(own), Callback):
            raise ValueError(f"callbacks holds what is no callback of skorch: {own!r}.")
    return callbacks


def _mean_curve(curves: list[list[float]]) -> list[float]:
    """Average curves epoch by epoch, over those that got so far."""
    if len(curves) == 1:
        return curves[0]
    padded = itertools.zip_longest(*curves, fillvalue=math.nan)
    return [float(np.nanmean(values)) for values in padded]
