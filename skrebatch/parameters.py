"""What the parameters of the estimators mean, and how they are checked."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from skorch.callbacks import Callback, LRScheduler, ParamMapper
from skorch.callbacks.scoring import ScoringBase

from skrebatch.callbacks import ReBatch
from skrebatch.checkpoints import check_folder
from skrebatch.data import (
    check_flag,
    check_real,
    check_whole,
    resolve_device,
    resolve_dtype,
    resolve_precision,
)
from skrebatch.optimizers import check_optimizer, optimizer_options, resolve_optimizer
from skrebatch.rates import check_lr_schedule
from skrebatch.selection import check_selection
from skrebatch.warn import warn_user

T = TypeVar("T")

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
        in `max_epochs`: "step" divides by 10 after each of the first two thirds,
        "plateau" after 5 epochs without improvement (of the loss on the validation
        set if there is one, else of the training loss), "cosine" falls to 0,
        "exponential" to a hundredth, "one-cycle" rises to `lr` and falls again, step
        by step. After its course the rate stays where it is, in `partial_fit` and
        warm starts too.
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
        Callbacks of skorch, notified of each epoch; not those that compute scores or
        change single parameters. Those of scikit-learn are given to
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
        Whether `fit` goes on from the network of an earlier `fit`. Estimators that find
        their own ratio begin anew all the same.
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
        Loss of every row of X under the fitted network, without weights; the mean
        over several networks.
    chosen_ : ndarray of int, or list of n_networks such arrays
        Rows of X that the last epoch redistributed, or held not just once.
    n_redistributed_ : int
        B of eq. 2, how many samples an epoch redistributes unless the strategy
        settles that itself; none in the first epoch and during the warm-up.
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


def check_parameters(asked: Any) -> None:
    """Refuse impossible parameters of an estimator, before any work."""
    check_selection(asked)
    if asked.choose not in ("own", "together"):
        raise ValueError(f'choose must be "own" or "together", got {asked.choose!r}.')
    check_whole(asked.n_augments, "n_augments", at_least=0)
    check_real(asked.noise_std, "noise_std", at_least=0)
    if asked.noise_std and not asked.n_augments:
        warn_user(
            f"noise_std={asked.noise_std} has no effect with n_augments=0, which "
            "makes no copies that could bear noise."
        )
    for name in ("max_epochs", "n_iter_no_change", "n_networks"):
        check_whole(getattr(asked, name), name)
    _check_batches(asked)
    largest = torch.finfo(resolve_dtype(asked.dtype)).max
    check_real(asked.lr, "lr", above=0, at_most=largest)
    check_real(asked.dropout, "dropout", at_least=0, below=1)
    check_real(asked.weight_decay, "weight_decay", at_least=0, at_most=largest)
    check_real(asked.validation_fraction, "validation_fraction", above=0, below=1)
    if asked.architecture not in ("cnn", "mlp"):
        raise ValueError(
            f'architecture must be "cnn" or "mlp", got {asked.architecture!r}.'
        )
    _check_steps(asked)
    _check_checkpoints(asked)
    flags = "early_stopping", "warm_start", "record_losses", "batch_norm"
    for name in (*flags, "variable_length", *asked._own_flags):
        check_flag(getattr(asked, name), name)
    if not isinstance(asked.verbose, bool | np.bool_):
        check_whole(asked.verbose, "verbose", at_least=0)
    device = resolve_device(asked.device)
    resolve_precision(asked.precision, resolve_dtype(asked.dtype), device)
    if asked.variable_length:
        for name in ("n_augments", "batch_norm", "dropout", "precision"):
            value = getattr(asked, name)
            if value and value != "float32":
                raise ValueError(
                    f"{name}={value!r} can't be used with variable_length=True; "
                    "leave one of them at its default."
                )


def _check_batches(asked: Any) -> None:
    if asked.batch_size != "auto":
        check_whole(asked.batch_size, "batch_size", 'or "auto"')
    if asked.max_elements is None:
        return
    check_whole(asked.max_elements, "max_elements", "or None")
    if not asked.variable_length or asked.batch_size != "auto":
        raise ValueError(
            'max_elements needs variable_length=True and batch_size="auto": it '
            "decides itself how many rows make a batch."
        )
    if asked.n_networks > 1:
        raise ValueError(
            "max_elements needs n_networks=1: the batches of networks trained "
            "side by side would differ in their shapes."
        )


def _check_steps(asked: Any) -> None:
    """Check the optimizer, and what moves its learning rate."""
    check_optimizer(
        asked.optimizer, asked.optimizer_params, asked.lr, asked.weight_decay
    )
    check_lr_schedule(
        asked.lr_schedule,
        asked.lr_schedule_params,
        *optimizer_of(asked),
        asked.max_epochs,
    )
    for callback in _check_callbacks(asked.callbacks):
        if asked.lr_schedule is not None and isinstance(callback, LRScheduler):
            raise ValueError(
                "lr_schedule and the callback LRScheduler would both move the "
                "learning rate; leave one of them out."
            )


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
        kind = own if isinstance(own, type) else type(own)
        if not issubclass(kind, Callback):
            raise ValueError(f"callbacks holds what is no callback of skorch: {own!r}.")
        if issubclass(kind, ScoringBase | ParamMapper | ReBatch):
            raise ValueError(
                f"callbacks holds {kind.__name__}, which needs the data loader or the "
                "named parameters of a net of skorch's own; ReBatch brings re-Batch to "
                "one. To score each epoch give scikit-learn's ScoringMonitor to "
                "set_callbacks."
            )
    return callbacks


def _check_checkpoints(asked: Any) -> None:
    check_folder(asked.checkpoint_dir)
    check_whole(asked.checkpoint_every, "checkpoint_every")
    if asked.checkpoint_dir is not None and asked.callbacks:
        raise ValueError(
            "checkpoint_dir can't be used with callbacks: a checkpoint doesn't "
            "hold what they remember. Leave one of them out."
        )


def optimizer_of(asked: Any) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Return the class of an estimator's optimizer, and what it is given."""
    cls = resolve_optimizer(asked.optimizer)
    params = asked.optimizer_params
    return cls, optimizer_options(cls, asked.lr, asked.weight_decay, params)
