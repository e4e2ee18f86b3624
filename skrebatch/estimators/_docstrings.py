"""Parts of docstrings that the estimators share."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PARAMETERS = """ratio : float, default=0.15
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
    architecture : {{"cnn", "projected-cnn", "mlp"}}, default="cnn"
        "cnn" is convolution blocks and a head, on the features in their order.
        "projected-cnn" is for columns without order: before the blocks, a linear
        layer and a ReLU project all features to 8 channels of 16 positions. "mlp" is
        a multilayer perceptron: the head alone, on the features themselves. The
        parameters of the blocks, from `conv_channels` to `padding`, have no meaning
        for it.
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
    input_clip : float or None, default=None
        Limit c of a smooth clipping of the features, x / sqrt(1 + (x / c)²), before
        the network, in training and predictions: values near 0 stay about as they
        are, and outliers come near -c or c. It suits standardised features; 3 is a
        usual limit. None is without.
    variable_length : bool, default=False
        Whether rows may end in NaN padding; a row's length is what comes before. The
        padding changes nothing: convolutions meet zeros beyond a row's end, pools
        leave them out, and the head reads zeros at the positions that a row doesn't
        have. An array to predict may be narrower than that of `fit`, or wider by
        columns of NaN. Not with `n_augments`, `batch_norm`, `dropout`, a `precision` of
        16 bits or ``architecture="projected-cnn"``.
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
        Whether to stop when the score on the validation rows has not improved for
        `n_iter_no_change` epochs, and to keep the parameters of the best epoch.
        Several networks rotate their validation rows, and stop together: see
        `validation_fraction` and `stopping_score`.
    validation_fraction : float, default=0.2
        Share of the training rows that `early_stopping` holds out, where `fit` is
        given no validation set{stratified}. One network holds out one set of rows.
        With several networks the rows are cut into round(1 / `validation_fraction`)
        folds, at least 2, and each network holds out another fold; when each fold has
        been held out, the rows are shuffled and cut anew.
    n_iter_no_change : int, default=10
        Epochs without improvement that `early_stopping` waits.
    stopping_score : {{"auto", "{bounded}", "loss"}}, default="auto"
        Score of an epoch for `early_stopping`; lower is better. Of several networks
        it is the score of their out-of-fold prediction: for each row the mean over the
        networks that hold it out. The best epoch is that of the best running mean of
        these scores. "auto" is "loss" for one network and {bounded_text} for several:
        a wrong {label} changes it by less than the loss.
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

ATTRIBUTES = """n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of str
        Names of the features, where X had string column names.
    n_iter_ : int
        Epochs trained.
    loss_curve_ : list of float
        Mean training loss of each epoch, over the batches as they were trained
        on, and over the networks. Of several networks with `early_stopping` it ends
        with the best epoch, as do the other attributes of the epochs.
    validation_loss_curve_ : list of float
        Loss on the validation rows after each epoch, where there are any, weighted
        where they have weights; NaN for epochs of an earlier or later call that had
        none.
    {oof}
    oof_score_ : float
        `score` of the out-of-fold predictions.
    sample_losses_ : ndarray of shape (n_samples,)
        Loss of every row of X under the fitted network, without weights; the mean
        over several networks.
    chosen_ : ndarray of int
        Rows of X that the last epoch redistributed, or held not just once; of several
        networks, the rows for which at least half of the networks that train on them
        did so.
    chosen_by_network_ : list of n_networks ndarrays of int
        The same for each network.
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


def fill_in(**fragments: str) -> Callable[[type[T]], type[T]]:
    """Put shared fragments into a class docstring."""

    def fill(cls: type[T]) -> type[T]:
        # From Python 3.13 on the compiler has taken the indentation off already.
        own = {n: textwrap.dedent(f"    {text}") for n, text in fragments.items()}
        cls.__doc__ = inspect.cleandoc(cls.__doc__ or "").format(**own)
        return cls

    return fill


CLASSIFIER_ATTRIBUTES = ATTRIBUTES.format(
    oof="""oof_decision_function_ : ndarray of shape (n_samples, n_classes)
        Out-of-fold probabilities of the training rows: the mean over the networks
        that held out the row. NaN where there are none. Only of several networks with
        `early_stopping` and without a validation set."""
)
REGRESSOR_ATTRIBUTES = ATTRIBUTES.format(
    oof="""oof_prediction_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Out-of-fold predictions of the training rows: the mean over the networks that
        held out the row. NaN where there are none. Only of several networks with
        `early_stopping` and without a validation set."""
)
CLASSIFIER_PARAMETERS = PARAMETERS.format(
    stratified=", stratified by class",
    bounded="brier",
    bounded_text="the Brier score",
    label="label",
    balanced="""
    class_balanced : bool, default=False
        Whether to choose within each class in proportion to its size. Without it
        leaving out the hardest samples may sweep out a rare class.""",
    own="""class_weight : dict, "balanced" or None, default=None
        Weights of the classes; those that a dict doesn't name have weight 1.
        "balanced" weighs them inversely to the sum of the sample weights of their
        rows, in `partial_fit` of the rows of the call.""",
)
REGRESSOR_PARAMETERS = PARAMETERS.format(
    stratified="",
    bounded="absolute_error",
    bounded_text="the mean absolute error",
    label="target",
    balanced="",
    own="""standardize_target : bool, default=True
        Whether to train on the target scaled to mean 0 and variance 1; losses are
        then of the scaled target. False trains on it as it is, as the paper does.""",
)
