"""Parts of docstrings that the estimators share."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# By group, in the order of the signatures.
_PARAMETERS = {
    "method": """ratio : float, default=0.15
        Redistribution ratio r, 0 or more. B = floor(N r / (1 + r)) of the N
        training samples are redistributed in each epoch (eq. 2). 0 disables
        re-Batch.
    strategy : {{"min-loss", "max-loss", "random", "hybrid", "tsw", "ohem", \
"curriculum", "self-paced", "breed", "small-loss", "infobatch", \
"selective-backprop", "generalized-cross-entropy", "welsch"}} or Strategy, \
default="min-loss"
        How samples are chosen for the next epoch. "min-loss" chooses the samples of
        lowest loss, "max-loss" those of highest loss, and "random" chooses at random,
        for comparison. The other names are further methods. Pass a Strategy object to
        set the parameters of a method, or to use a strategy of your own.
    repeats : int, default=1
        How many times the next epoch contains each chosen sample. 0 leaves the chosen
        samples out. 1 only moves them, as in the equations of the paper.
    ratio_schedule : {{"constant", "linear", "cosine", "step"}} or callable, \
default="constant"
        How the ratio changes over the epochs: "linear" and "cosine" rise from 0 to
        `ratio`, "step" rises in four steps. A callable maps the completed fraction of
        the epochs with redistribution, in (0, 1], to a factor that multiplies `ratio`.
        The batch size does not change.
    warmup_epochs : int, default=0
        Number of epochs before the first redistribution. The first epoch is never
        redistributed, because there are no losses yet.
    loss_smoothing : float, default=0.0
        Weight of the old value, in [0, 1), in a running mean of the losses by which
        samples are chosen. 0 uses the latest losses only.
    refresh_every : int, default=1
        Number of epochs for which a choice of samples is used. The losses are computed
        only when samples are chosen, unless `loss_smoothing` is set.{balanced}
    shuffle : bool, default=True
        Whether to shuffle the samples that are not chosen, in every epoch after the
        first. False leaves them in their original order, as the paper does. The first
        epoch of a new network always has a random order.""",
    "network": """architecture : {{"auto", "cnn", "projected-cnn", "mlp"}}, \
default="auto"
        "cnn" has convolution blocks, which read the features in their order, and a
        head of linear layers. "projected-cnn" is for features without order: before the
        blocks, a linear layer and a ReLU project all features to 8 channels of 16
        positions. "mlp" is a multilayer perceptron: the head alone, applied to the
        features. It ignores the parameters of the blocks, from `conv_channels` to
        `padding`. "auto" is "projected-cnn", or "cnn" with `variable_length`.
    conv_channels : tuple of int, default=(8, 16)
        Output channels of each convolution block. The length of the tuple is the
        number of blocks.
    kernel_size, pool_size : int or tuple of int, default=3 and 2
        Kernel sizes of the convolutions and pools, one for all blocks or one for each.
        Sizes greater than the length of the sequence are reduced to it.
    pool_stride : int or tuple of int, default=None
        Strides of the pools; None is `pool_size`.
    padding : int or "same", default="same"
        Number of zeros added at each end of a sequence before a convolution.
    hidden_size : int or "auto", default="auto"
        Width of the head's hidden layer; "auto" is twice the number of inputs of the
        head.
    hidden_layers : tuple of int, default=None
        Widths of several hidden layers, such as (128, 64). None is one layer of
        `hidden_size`. Only one of the two parameters can be set.
    batch_norm : bool, default=False
        Whether to apply batch normalisation to each hidden layer of the head, before
        its ReLU. Running statistics are used for predictions, for the losses of
        samples and for a batch of one row. Needs a batch size of at least 2.
    dropout : float, default=0.0
        Dropout probability of the hidden layers of the head, in [0, 1).
    input_clip : float, "auto" or None, default="auto"
        Limit c of a smooth clipping of the features, x / sqrt(1 + (x / c)²), before the
        network, in training and prediction. The clipping hardly changes values near 0
        and limits outliers to the range from -c to c. Features should be standardised:
        values far above c become nearly equal. "auto" is 10, or None with the
        architecture "cnn". None disables clipping.
    variable_length : bool, default=False
        Whether rows may end in NaN padding. The length of a row is the number of values
        before the padding. The padding does not change results: convolutions and the
        head read zeros beyond the end of a row, and pools ignore these positions. In
        prediction, X may have fewer columns than in `fit`, or further columns of NaN.
        Not supported with `n_augments`, `batch_norm`, `dropout`, a `precision` of 16
        bits or ``architecture="projected-cnn"``.""",
    "training": """max_epochs : int, default=100
        Maximum number of epochs.
    batch_size : int, "auto" or "ratio", default="auto"
        Number of rows in a mini-batch. "auto" is N / 40, rounded to a power of 2
        between 32 and 256. "ratio" is B of eq. 2, as in the paper, but at most 1024,
        and 32 if B is 0. Values above N are reduced to N.
    max_elements : int or None, default=None
        With `variable_length`, the maximum number of elements of a mini-batch, padding
        included. Rows of similar length are batched together, as by
        :class:`DynamicBatchSampler`, and `batch_size` is not used. Such networks are
        not trained in stacks.
    optimizer : {{"adam", "adamw", "sgd", "rmsprop"}} or type, default="adam"
        Optimizer, by name or as a subclass of :class:`torch.optim.Optimizer` that
        updates each weight independently of the others.
    optimizer_params : dict, default=None
        Further arguments of the optimizer, such as ``{{"momentum": 0.9}}``. None is
        torch's defaults.
    lr : float, default=5e-3
        Learning rate.
    lr_schedule : {{"step", "plateau", "cosine", "exponential", "one-cycle"}} or type, \
default=None
        Learning-rate schedule, by name or as a class of
        :mod:`torch.optim.lr_scheduler`. None is a constant rate. The named schedules
        end after `max_epochs`. "step" divides the rate by 10 after one third and after
        two thirds of the epochs. "plateau" divides it by 10 after 5 epochs without
        improvement of the validation loss, or of the training loss if there is no
        validation set. "cosine" lowers the rate to 0, and "exponential" to a hundredth.
        "one-cycle" raises the rate to `lr`, then lowers it, and changes it after every
        step. After the end of the schedule the rate is constant, also in `partial_fit`
        and warm starts.
    lr_schedule_params : dict, default=None
        Arguments of the schedule, such as ``{{"step_size": 20}}``. Also `step_every`
        ("epoch" or "batch") and, for "plateau", `monitor` ("train_loss" or
        "valid_loss"), as in :class:`skorch.callbacks.LRScheduler`.
    weight_decay : float, default=0.0
        Weight decay of the optimizer.
    n_augments : int, default=0
        Number of noisy copies of each row in an epoch. The Gaussian noise is drawn anew
        in each epoch. A batch is followed by batches of its copies. If the last rows of
        an epoch do not fill a batch, they and their copies share batches. Samples are
        chosen by the losses of the rows without noise.
    noise_std : float, default=0.0
        Standard deviation of the noise, in the units of X.
    {specific}
    warm_start : bool, default=False
        Whether `fit` continues from the network of an earlier `fit`.
    random_state : int, numpy.random.RandomState or None, default=None
        Source of the randomness of initial weights, validation split and the order of
        samples. With an int, repeated calls give bit-identical results.""",
    "early stopping": """early_stopping : bool or "auto", default="auto"
        Whether to stop when the score on the validation rows has not improved for
        `n_iter_no_change` epochs, and to restore the parameters of the best epoch.
        Several networks use different validation rows and stop together; see
        `validation_fraction` and `stopping_score`. "auto" is True with several
        networks and False with one; `partial_fit` does not stop early.
    n_iter_no_change : int, default=5
        Number of epochs without improvement after which `early_stopping` stops.
    stopping_score : {{"auto", "{bounded}", "loss"}}, default="auto"
        Score of an epoch for `early_stopping`; lower is better. With several networks
        it is the score of their out-of-fold predictions. The out-of-fold prediction of
        a row is the mean prediction of the networks that hold out this row. The best
        epoch is the one with the best running mean of these scores. "auto" is "loss"
        for one network and {bounded_text} for several. A wrong {label} affects that
        score less than it affects the loss.
    validation_fraction : float, default=0.2
        Fraction of the training rows that `early_stopping` holds out{stratified}. Not
        used if `fit` is given a validation set. One network holds out a single set of
        rows{lone}. With several networks, the rows are split into
        round(1 / `validation_fraction`) folds, at least 2, and each network holds out
        a different fold. When each fold has been held out, the rows are shuffled and
        split again.
    cv : int, splitter or iterable, default=None
        With several networks, the rows that each network trains on and holds out,
        instead of `validation_fraction`: a number of folds; a splitter of scikit-learn,
        such as :class:`~sklearn.model_selection.GroupKFold` (with `groups` in `fit`) or
        :class:`~sklearn.model_selection.TimeSeriesSplit`; or a list of pairs of row
        indices. Network k uses split k. With more networks than splits, a list is used
        again, and a splitter splits again. The new parts differ if the splitter
        shuffles and its `random_state` is None, because its seed is then drawn from the
        `random_state` of the estimator. `X_val` takes precedence. Without early
        stopping, `cv` has no effect, and a warning says so.""",
    "ensemble": """n_networks : int, default=10
        Number of networks, trained side by side from different seeds. Predictions are
        the mean of their probabilities or targets. Training K networks takes far less
        than K times as long as one.
    choose : {{"own", "together"}}, default="own"
        With several networks, whether each network chooses samples by its own losses
        ("own"), or all networks choose by the mean of their losses ("together").""",
    "device": """device : str or torch.device, default="cpu"
        Device to train on; "auto" is the fastest device available.
    dtype : {{"float32", "float64"}}, default="float32"
        Data type of data and network.
    precision : {{"float32", "bf16", "fp16"}}, default="float32"
        Precision of the training steps. "float32" uses `dtype`; "bf16" and "fp16" need
        ``dtype="float32"``. Only the training steps use 16 bits, not the parameters,
        optimizer state, validation, predictions or losses of samples. With "fp16",
        gradients are scaled, and steps in which they overflow are skipped.""",
    "files and reports": """checkpoint_dir : str or path-like, default=None
        Folder in which `fit` saves a checkpoint. If `fit` is interrupted, a second call
        with the same arguments resumes from the checkpoint. The result is the same as
        without interruption. None saves nothing. Needs the extra ``files``. Not used
        by `partial_fit`.
    checkpoint_every : int, default=10
        Number of epochs between checkpoints.
    record_losses : bool, default=False
        Whether to record the loss of every row after each epoch. At most 100 epochs
        are stored: in a longer training, only every second epoch is kept, then every
        fourth, and so on. The losses take up to about 500 bytes per row for each
        network, and the attributes take as much as one network. See
        :func:`training_dynamics`.
    callbacks : list of skorch.callbacks.Callback, default=None
        Callbacks of skorch, called in each epoch. Those that compute scores or change
        single parameters are not supported. Callbacks of scikit-learn (1.9 or newer)
        are passed to ``set_callbacks``.
    verbose : int, default=0
        0 is silent. 1 shows a progress bar with the losses. 2 shows a table with a row
        for each epoch: the losses, the score of `stopping_score` and the seconds.""",
}

_ATTRIBUTES = """n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of str
        Names of the features. Defined only if X has feature names that are all strings.
    n_iter_ : int
        Number of epochs trained.
    loss_curve_ : list of float
        Training loss of each epoch, the mean over its batches during training and over
        the networks. With several networks and `early_stopping`, this and all other
        attributes with a value per epoch end with the best epoch.
    validation_loss_curve_ : list of float
        Loss on the validation rows after each epoch, if there are validation rows. NaN
        for epochs of earlier or later calls without validation rows. Weighted if the
        validation rows have weights.
    {oof}
    oof_score_ : float
        `score` of the out-of-fold predictions. If a fit with `warm_start` has other
        rows or folds than the last fit, this attribute and the out-of-fold predictions
        are not set.
    sample_losses_ : ndarray of shape (n_samples,)
        Unweighted loss of every row of X under the fitted network; with several
        networks, the mean.
    chosen_ : ndarray of int
        Indices of the rows of X that were chosen in the last epoch: moved, left out or
        repeated. The last epoch is the last one trained, even if early stopping
        restored an earlier one. With several networks, the rows that were chosen by at
        least half of the networks that train on them.
    chosen_by_network_ : list of n_networks ndarrays of int
        Rows that each network chose in the last epoch.
    n_redistributed_ : int
        B of eq. 2, the number of samples that an epoch redistributes. Some strategies
        choose another number. The first epoch and the warm-up redistribute none.
    recorded_epochs_ : ndarray of int, shape (n_recorded,)
        Epochs after which `record_losses` recorded the losses.
    recorded_losses_ : ndarray of shape (n_recorded, n_samples)
        Loss of every row of X after each of these epochs; with several networks, the
        mean.
    recorded_choices_ : ndarray of bool, shape (n_recorded, n_samples)
        Whether each row was chosen in each of these epochs; with several networks,
        whether most of them chose it.
    times_chosen_ : ndarray of shape (n_samples,)
        Number of epochs in which each row was chosen, including epochs that were not
        recorded; with several networks, the mean.
    recorded_weights_ : ndarray of shape (n_samples,)
        The `sample_weight` of the last fit. Defined only with `record_losses`, and if
        weights were passed.
    sample_index_ : pandas.Index
        Index of X. Defined only with `record_losses`, and if X has an index.
    batch_size_ : int
        Number of rows in a mini-batch; with `max_elements`, approximately their mean.
        With several networks, the value of the first network.
    module_ : TabularCNN or torch.nn.Module
        The fitted network, a plain module in evaluation mode. With several networks, a
        module with the list `networks`.
    interrupted_ : bool
        Whether the last training was interrupted by Ctrl-C.
    net_ : skorch.NeuralNet
        The skorch net with which the network was trained.
    history_ : skorch.history.History
        Training history of `net_`."""


def fill_in(**fragments: str) -> Callable[[type[T]], type[T]]:
    """Insert shared fragments into a class docstring."""

    def fill(cls: type[T]) -> type[T]:
        # Python 3.13 and newer remove the indentation of docstrings when compiling.
        dedented = {n: textwrap.dedent(f"    {text}") for n, text in fragments.items()}
        cls.__doc__ = inspect.cleandoc(cls.__doc__ or "").format(**dedented)
        return cls

    return fill


def _estimator_text(oof: str, **fragments: str) -> dict[str, str]:
    """Return the fragments of an estimator's docstring."""
    texts = {group: text.format(**fragments) for group, text in _PARAMETERS.items()}
    return {
        "groups": "\n    ".join(_list_names(*group) for group in texts.items()),
        "parameters": "\n    ".join(texts.values()),
        "attributes": _ATTRIBUTES.format(oof=oof),
    }


def _list_names(group: str, text: str) -> str:
    """Return a bullet with the names of the parameters that the text describes."""
    entries = re.findall(r"^(?: {4})?(\w[\w, ]*) : ", text, re.MULTILINE)
    names = re.sub(r"(\w+)", r"`\1`", ", ".join(entries))
    return textwrap.fill(f"- {group}: {names}", 84, subsequent_indent="      ")


CLASSIFIER = _estimator_text(
    stratified=", stratified by class",
    lone=", but never the only row of a class",
    bounded="brier",
    bounded_text="the Brier score",
    label="label",
    balanced="""
    class_balanced : bool, default=False
        Whether to choose samples within each class, in proportion to its size.
        Otherwise leaving out the hardest samples may remove a rare class.""",
    specific="""class_weight : dict, "balanced" or None, default=None
        Weights of the classes. Classes missing from a dict have weight 1. "balanced"
        uses weights inversely proportional to the sum of the sample weights in each
        class. In `partial_fit`, these are the weights of the call. For a multi-label
        `y`, "balanced" multiplies the weights of the columns, and a dict is not
        supported.""",
    oof="""oof_decision_function_ : ndarray of shape (n_samples, n_classes)
        Out-of-fold probabilities of the training rows: the mean over the networks
        that held out the row, or NaN without such networks. Defined only with several
        networks and `early_stopping`, without a validation set.""",
)
REGRESSOR = _estimator_text(
    stratified="",
    lone="",
    bounded="absolute_error",
    bounded_text="the mean absolute error",
    label="target",
    balanced="",
    specific="""standardize_target : bool or "robust", default="robust"
        Whether to scale the target for training. Losses then refer to the scaled
        target. True scales it to mean 0 and variance 1. "robust" uses the median and
        1.4826 times the median absolute deviation (MAD), because outliers hardly change
        them. If the MAD is 0, it is replaced by the mean absolute deviation, with the
        factor 1.2533. False trains on the unscaled target, as the paper does.""",
    oof="""oof_prediction_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Out-of-fold predictions of the training rows: the mean over the networks that
        held out the row, or NaN without such networks. Defined only with several
        networks and `early_stopping`, without a validation set.""",
)
