"""The scikit-learn estimators."""

from __future__ import annotations

import contextlib
import copy
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from skrebatch.callbacks import EpochProgress
from skrebatch.data import (
    Floats,
    Table,
    check_not_constant,
    check_weights,
    encode_labels,
    locate_bad_columns,
    make_table,
    resolve_device,
    resolve_dtype,
)
from skrebatch.fused import FusedCNN
from skrebatch.losses import BinaryCrossEntropy, CrossEntropy, Loss, SquaredError
from skrebatch.network import Architecture, TabularCNN, build_architecture
from skrebatch.samplers import (
    IntervalInsertionSampler,
    check_ratio,
    check_repeats,
    redistribution_size,
    warn_if_nothing_redistributed,
)
from skrebatch.strategies import Strategy, check_strategy
from skrebatch.training import (
    DivergedError,
    Member,
    ReBatchNet,
    is_small,
    one_thread_if,
)

_OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
_PREDICTION_ROWS = 1024

_PARAMETERS = """ratio : float, default=0.15
        Redistribution ratio r, 0 or more; B = floor(N r / (1 + r)) of the N
        training samples are redistributed in each epoch (eq. 2). 0 is training
        without re-Batch.
    strategy : {{"min-loss", "max-loss", "random"}} or Strategy, default="min-loss"
        Which samples to redistribute: those of lowest or highest loss, samples
        chosen by chance (the control), or what an object of your own chooses.
    repeats : int, default=1
        How often the next epoch holds each chosen sample: 0 leaves them out, 1
        moves them (the paper's text), m holds them m times.
    shuffle : bool, default=True
        Whether to shuffle the other samples in every epoch. False keeps their
        natural order, as the paper does.
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
        Width of the head's hidden layer; "auto" is twice the flattened size.
    max_epochs : int, default=200
        Number of epochs at most.
    batch_size : int or "auto", default="auto"
        Rows of a mini-batch. "auto" is B, as in the paper, but at most 1024, and
        32 where B is 0. More than N is N.
    optimizer : {{"adam", "adamw", "sgd"}}, default="adam"
        Optimizer.
    lr : float, default=1e-3
        Learning rate.
    weight_decay : float, default=0.0
        Weight decay of the optimizer.
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
    callbacks : list of skorch.callbacks.Callback, default=None
        skorch callbacks, notified of each epoch.
    warm_start : bool, default=False
        Whether `fit` goes on from the network of an earlier `fit`.
    random_state : int, numpy.random.RandomState or None, default=None
        Source of initial weights, validation split and orders. An int gives the
        same bits on every run.
    verbose : int, default=0
        1 shows a progress bar with the losses."""

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
        Loss on the validation set after each epoch, where there is one.
    sample_losses_ : ndarray of shape (n_samples,)
        Loss of every row of X under the fitted network, without weights.
    chosen_ : ndarray of int
        Rows of X that the last epoch redistributed.
    n_redistributed_ : int
        B, how many samples are redistributed.
    batch_size_ : int
        Rows of a mini-batch.
    module_ : TabularCNN
        The fitted network, a plain module in evaluation mode.
    net_ : skorch.NeuralNet
        The net that trained it.
    history_ : skorch.history.History
        What the net recorded of each epoch."""


def _fill_in(**fragments: str) -> Any:
    """Put shared fragments into a class docstring."""

    def fill(cls: Any) -> Any:
        cls.__doc__ = cls.__doc__.format(**fragments)
        return cls

    return fill


@dataclass
class _Fit:
    """What one fit needs, checked and laid out."""

    table: Table
    member: Member
    loss: type[Loss]
    architecture: Architecture
    n_samples: int
    goes_on: bool  # from the network of an earlier fit


class _BaseReBatchCNN(BaseEstimator):
    """What the classifier and the regressor share."""

    loss_curve_: list[float]

    def _check_parameters(self) -> None:
        """Refuse impossible parameters before any work."""
        check_ratio(self.ratio)
        check_repeats(self.repeats)
        check_strategy(self.strategy)
        for name in ("max_epochs", "n_iter_no_change"):
            _check_whole(getattr(self, name), name)
        if self.batch_size != "auto":
            _check_whole(self.batch_size, "batch_size", 'or "auto"')
        _check_real(self.lr, "lr", above=0)
        _check_real(self.weight_decay, "weight_decay", at_least=0)
        _check_real(self.validation_fraction, "validation_fraction", above=0, below=1)
        if self.optimizer not in _OPTIMIZERS:
            names = ", ".join(f'"{name}"' for name in _OPTIMIZERS)
            raise ValueError(
                f"optimizer must be one of {names}, got {self.optimizer!r}."
            )
        for name in ("shuffle", "early_stopping", "warm_start"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise ValueError(
                    f"{name} must be True or False, got {getattr(self, name)!r}."
                )
        resolve_dtype(self.dtype)
        resolve_device(self.device)

    def _check_X(self, X: Any, **kwargs: Any) -> Any:
        """Validate X (and y), naming the columns that are to blame."""
        dtype = str(resolve_dtype(self.dtype)).removeprefix("torch.")
        try:
            return validate_data(self, X, dtype=np.dtype(dtype), **kwargs)
        except ValueError as error:
            hint = locate_bad_columns(X)
            if not hint:
                raise
            raise type(error)(f"{error}{hint}") from error

    def _architecture(self, n_outputs: int) -> Architecture:
        return build_architecture(
            self.n_features_in_,
            n_outputs,
            self.conv_channels,
            self.kernel_size,
            self.pool_size,
            self.pool_stride,
            self.padding,
            self.hidden_size,
        )

    def _prepare(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        X_val: Any = None,
        y_val: Any = None,
        incremental: bool = False,
        classes: Any = None,
    ) -> _Fit:
        """Check everything and lay out what a fit needs."""
        self._check_parameters()
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val belong together: pass both or neither.")
        goes_on = hasattr(self, "module_") and (incremental or self.warm_start)
        X, y = self._check_X(
            X, y=y, reset=not goes_on, ensure_min_samples=2, **self._y_checks
        )
        n_samples = len(X)
        weights = check_weights(sample_weight, n_samples)
        y = self._learn_targets(y, goes_on, classes)
        weights = self._with_class_weight(y, weights)

        random_state = check_random_state(self.random_state)
        seed = int(random_state.randint(2**31 - 1))
        rng = copy.deepcopy(self._rng) if goes_on else np.random.default_rng(seed)

        rows = np.arange(n_samples)
        if weights is not None:
            rows = np.flatnonzero(weights > 0)
        valid_rows = None
        parts, targets = [X], [y]
        if X_val is not None:
            X_val, y_val = self._check_X(
                X_val, y=y_val, reset=False, ensure_min_samples=1, **self._y_checks
            )
            parts, targets = [X, X_val], [y, self._check_targets(y_val)]
            valid_rows = np.arange(n_samples, n_samples + len(X_val))
        elif self.early_stopping and not incremental:
            rows, valid_rows = self._split(rows, y, int(rng.integers(2**31)))
        if weights is not None:
            weights = weights[rows] / weights[rows].mean()
        if not goes_on:
            self._learn_scale(y[rows], weights)

        size = redistribution_size(len(rows), self.ratio)
        warn_if_nothing_redistributed(len(rows), self.ratio, size)
        batch_size = self.batch_size
        if batch_size == "auto":
            batch_size = min(size, 1024) or 32

        dtype, device = resolve_dtype(self.dtype), resolve_device(self.device)
        encoded = [self._encode(part) for part in targets]
        architecture = self._architecture(encoded[0].shape[1])
        if goes_on:
            network = self.module_
            if network.architecture != architecture:
                raise ValueError(
                    "The network's parameters (conv_channels, kernel_size, pool_size, "
                    "pool_stride, padding, hidden_size) changed since the last fit; "
                    "training can't go on from it. Use warm_start=False."
                )
        else:
            generator = torch.Generator().manual_seed(seed)
            network = TabularCNN.from_architecture(architecture, generator)
        member = Member(
            network=network,
            rows=rows,
            sampler=IntervalInsertionSampler(
                len(rows), self.repeats, self.shuffle, rng
            ),
            strategy=check_strategy(self.strategy),
            rng=rng,
            n_chosen=size,
            batch_size=min(int(batch_size), len(rows)),
            max_epochs=1 if incremental else self.max_epochs,
            weights=weights,
            valid_rows=valid_rows,
            patience=(
                self.n_iter_no_change
                if self.early_stopping and not incremental
                else None
            ),
            has_trained=goes_on,
        )
        table = make_table(parts, encoded, dtype, device)
        loss = self._loss(architecture.n_outputs)
        return _Fit(table, member, loss, architecture, n_samples, goes_on)

    def _split(
        self, rows: NDArray[np.intp], y: NDArray[Any], seed: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Set validation rows aside."""
        options = {"test_size": self.validation_fraction, "random_state": seed}
        try:
            train, valid = train_test_split(
                rows, stratify=self._strata(y[rows]), **options
            )
        except ValueError:
            # A class too small to be split, or more classes than validation rows.
            train, valid = train_test_split(rows, **options)
        return np.sort(train), np.sort(valid)

    def _make_net(self, fit: _Fit) -> ReBatchNet:
        """Create the net, with an optimizer as fast as the device has one."""
        callbacks = list(self.callbacks or [])
        if self.verbose:
            callbacks.append(EpochProgress())
        return ReBatchNet(
            FusedCNN,
            fit.loss,
            members=[fit.member],
            module__architecture=fit.architecture,
            module__dtype=fit.table.features.dtype,
            module__device=fit.table.features.device,
            optimizer=_OPTIMIZERS[self.optimizer],
            optimizer__fused=True,
            optimizer__weight_decay=self.weight_decay,
            lr=self.lr,
            max_epochs=fit.member.max_epochs,
            train_split=None,
            callbacks=callbacks,
            device=str(fit.table.features.device),
            verbose=0,
        )

    @contextlib.contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Leave the estimator as it was where a fit fails."""
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__ = before
            raise

    def _fit(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any) -> Self:
        with self._unchanged_on_error():
            fit = self._prepare(X, y, sample_weight, X_val, y_val)
            net = self._make_net(fit)
            with one_thread_if(is_small(fit.architecture, fit.member.batch_size)):
                net.fit(fit.table)
            self._conclude(fit, net)
        return self

    def _partial_fit(
        self, X: Any, y: Any, sample_weight: Any, classes: Any = None
    ) -> Self:
        if self.early_stopping:
            raise ValueError(
                "partial_fit trains one epoch and can't stop early; set "
                "early_stopping=False."
            )
        with self._unchanged_on_error():
            fit = self._prepare(X, y, sample_weight, incremental=True, classes=classes)
            if hasattr(self, "net_"):
                net = self.net_
                net.members = [fit.member]
            else:
                net = self._make_net(fit)
                net.initialize()
            small = is_small(fit.architecture, fit.member.batch_size)
            with net.unchanged_on_error(), one_thread_if(small):
                net.partial_fit(fit.table, epochs=1)
                self._conclude(fit, net)
        return self

    def _conclude(self, fit: _Fit, net: ReBatchNet) -> None:
        """Take over the result, or raise what went wrong."""
        member = fit.member
        if member.error is not None:
            raise member.error
        if net.interrupted_:
            if member.epochs == 0:
                raise KeyboardInterrupt
            warnings.warn(
                f"Training was interrupted in epoch {member.epochs + 1}; the network "
                "is kept as it was then.",
                ConvergenceWarning,
                stacklevel=4,
            )
        with one_thread_if(is_small(fit.architecture, member.batch_size)):
            losses = net.sample_losses(fit.table, [np.arange(fit.n_samples)])[0]
        if not np.isfinite(losses).all():
            raise DivergedError.at(member.epochs, "after its last batch")
        chosen = member.sampler.chosen
        self.module_ = net.module_.read(0)
        net.module_.release()
        net.members = []
        self.net_, self.history_, self._rng = net, net.history, member.rng
        self.sample_losses_ = losses
        self.chosen_ = member.rows[:0] if chosen is None else member.rows[chosen]
        self.n_redistributed_ = member.n_chosen
        self.batch_size_ = member.batch_size
        earlier = self.loss_curve_ if fit.goes_on else []
        self.loss_curve_ = earlier + member.curves["train_loss"]
        self.n_iter_ = len(self.loss_curve_)
        earlier = getattr(self, "validation_loss_curve_", []) if fit.goes_on else []
        if curve := earlier + member.curves["valid_loss"]:
            self.validation_loss_curve_ = curve
        elif hasattr(self, "validation_loss_curve_"):
            del self.validation_loss_curve_

    def _outputs(self, X: Any) -> NDArray[np.float64]:
        """Compute the network's raw outputs (n_samples, n_outputs).

        In float64 whatever the network's dtype: in float32 the prediction for a
        row would vary in the sixth digit with the rows beside it.
        """
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        module = copy.deepcopy(self.module_)
        device = next(module.parameters()).device
        if device.type == "mps":  # which has no float64
            device = torch.device("cpu")
        module = module.to(device, torch.float64)
        outputs = []
        small = is_small(module.architecture, min(len(X), _PREDICTION_ROWS))
        with torch.no_grad(), one_thread_if(small):
            for start in range(0, len(X), _PREDICTION_ROWS):
                part = X[start : start + _PREDICTION_ROWS]
                part = torch.tensor(part, dtype=torch.float64, device=device)
                outputs.append(module(part).cpu().numpy())
        return np.concatenate(outputs)

    def __getstate__(self) -> dict[str, Any]:
        """Hold the network on the CPU, so that any machine can load it."""
        state = super().__getstate__()
        if "module_" in state:
            state["module_"] = copy.deepcopy(state["module_"]).cpu()
        return state


@_fill_in(
    parameters=_PARAMETERS.format(
        stratified=", stratified by class",
        own="""class_weight : dict, "balanced" or None, default=None
        Weights of the classes; "balanced" weighs them inversely to their
        frequency.""",
    ),
    attributes=_ATTRIBUTES,
)
class ReBatchCNNClassifier(ClassifierMixin, _BaseReBatchCNN):
    """Classifier: a small 1D CNN over table rows, trained with dynamic re-Batch.

    After each epoch the loss of every training sample is computed, the B
    easiest or hardest are chosen, and the next epoch's order holds them 0, 1 or
    m times at regular intervals [1]_. Two classes share one logit and binary
    cross-entropy; more classes have a logit each and cross-entropy. The network
    expects features of similar scale: put a
    :class:`~sklearn.preprocessing.StandardScaler` before it.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    {attributes}

    See Also
    --------
    ReBatchCNNRegressor : The same for numbers.
    ReBatch : Dynamic re-Batch for a skorch net with a module of your own.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrebatch import ReBatchCNNClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = make_pipeline(
    ...     StandardScaler(),
    ...     ReBatchCNNClassifier(ratio=0.15, max_epochs=30, random_state=0),
    ... )
    >>> bool(model.fit(X, y).score(X, y) > 0.9)
    True
    """

    def __init__(
        self,
        *,
        ratio: float = 0.15,
        strategy: str | Strategy = "min-loss",
        repeats: int = 1,
        shuffle: bool = True,
        conv_channels: Sequence[int] = (8, 16),
        kernel_size: int | Sequence[int] = 3,
        pool_size: int | Sequence[int] = 2,
        pool_stride: int | Sequence[int] | None = None,
        padding: int | str = "same",
        hidden_size: int | str = "auto",
        max_epochs: int = 200,
        batch_size: int | str = "auto",
        optimizer: str = "adam",
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.2,
        n_iter_no_change: int = 10,
        class_weight: dict[Any, float] | str | None = None,
        device: str | torch.device = "cpu",
        dtype: str = "float32",
        callbacks: list[Any] | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.ratio = ratio
        self.strategy = strategy
        self.repeats = repeats
        self.shuffle = shuffle
        self.conv_channels = conv_channels
        self.kernel_size = kernel_size
        self.pool_size = pool_size
        self.pool_stride = pool_stride
        self.padding = padding
        self.hidden_size = hidden_size
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.device = device
        self.dtype = dtype
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    classes_: NDArray[Any]
    _y_checks: ClassVar[dict[str, Any]] = {}

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,)
            Labels of any type.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss; rows of weight 0 are left out.
            Samples are chosen by their losses without weights.
        X_val, y_val : array-like, default=None
            Validation set; without it, `early_stopping` splits one off.

        Returns
        -------
        self : ReBatchCNNClassifier

        Raises
        ------
        ValueError
            If a parameter or the data can't be used; nothing is changed then.
        DivergedError
            If the loss becomes NaN or infinite; nothing is changed then.
        """
        return self._fit(X, y, sample_weight, X_val, y_val)

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train one more epoch on the data given.

        On a network that has trained before, the epoch is redistributed by the
        losses of these data under it; as many calls with the same data as `fit`
        has epochs end where `fit` ends.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,)
            Labels.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever occur; needed in the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss.

        Returns
        -------
        self : ReBatchCNNClassifier

        Raises
        ------
        ValueError
            If a parameter or the data can't be used, or `classes` is missing in
            the first call or differs in a later one.
        DivergedError
            If the loss becomes NaN or infinite; nothing is changed then.
        """
        return self._partial_fit(X, y, sample_weight, classes)

    def _learn_targets(self, y: Any, goes_on: bool, classes: Any) -> NDArray[Any]:
        check_classification_targets(y)
        y = column_or_1d(y)
        if goes_on:
            if classes is not None and not np.array_equal(
                np.unique(classes), self.classes_
            ):
                raise ValueError(
                    f"classes={np.unique(classes).tolist()} differ from those of the "
                    f"first call, {self.classes_.tolist()}."
                )
        else:
            self.classes_ = np.unique(y if classes is None else classes)
            if len(self.classes_) < 2:
                raise ValueError(
                    "y must hold at least two classes, but there is one class: "
                    f"{self.classes_.tolist()}."
                )
        return self._check_targets(y)

    def _check_targets(self, y: Any) -> NDArray[Any]:
        self._encode(y)
        return y

    def _encode(self, y: NDArray[Any]) -> Floats:
        return encode_labels(y, self.classes_)

    def _learn_scale(self, y: NDArray[Any], weights: Floats | None) -> None:
        pass

    def _with_class_weight(
        self, y: NDArray[Any], weights: NDArray[np.float64] | None
    ) -> NDArray[np.float64] | None:
        if self.class_weight is None:
            return weights
        by_class = compute_sample_weight(self.class_weight, y)
        weights = by_class if weights is None else weights * by_class
        return check_weights(weights, len(y))

    def _strata(self, y: NDArray[Any]) -> NDArray[Any]:
        return y

    def _loss(self, n_outputs: int) -> type[Loss]:
        return BinaryCrossEntropy if n_outputs == 1 else CrossEntropy

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Compute the logits.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        logits : ndarray of shape (n_samples,) or (n_samples, n_classes)
            With two classes the logit of ``classes_[1]``, else one per class.
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`.
        """
        logits = self.decision_function(X)
        if logits.ndim == 1:
            return expit(np.column_stack([-logits, logits]))
        return softmax(logits, axis=1)

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the logarithm of each class's probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`.
        """
        logits = self.decision_function(X)
        if logits.ndim == 1:
            return log_expit(np.column_stack([-logits, logits]))
        return log_softmax(logits, axis=1)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        logits = self.decision_function(X)
        codes = logits > 0 if logits.ndim == 1 else logits.argmax(axis=1)
        return self.classes_[codes.astype(np.intp)]


@_fill_in(
    parameters=_PARAMETERS.format(
        stratified="",
        own="""standardize_target : bool, default=True
        Whether to train on the target scaled to mean 0 and variance 1; losses are
        then of the scaled target. False trains on it as it is, as the paper does.""",
    ),
    attributes=_ATTRIBUTES,
)
class ReBatchCNNRegressor(RegressorMixin, _BaseReBatchCNN):
    """Regressor: a small 1D CNN over table rows, trained with dynamic re-Batch.

    After each epoch the squared error of every training sample is computed, the
    B easiest or hardest are chosen, and the next epoch's order holds them 0, 1
    or m times at regular intervals [1]_. The network expects features of similar
    scale: put a :class:`~sklearn.preprocessing.StandardScaler` before it.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    n_outputs_ : int
        Number of targets.
    target_mean_, target_scale_ : ndarray of shape (n_outputs,)
        What `standardize_target` subtracts and divides by; 0 and 1 without it.
    {attributes}

    See Also
    --------
    ReBatchCNNClassifier : The same for labels.
    ReBatch : Dynamic re-Batch for a skorch net with a module of your own.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrebatch import ReBatchCNNRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(
    ...     StandardScaler(),
    ...     ReBatchCNNRegressor(ratio=0.15, max_epochs=20, random_state=0),
    ... )
    >>> bool(model.fit(X, y).score(X, y) > 0.4)
    True
    """

    def __init__(
        self,
        *,
        ratio: float = 0.15,
        strategy: str | Strategy = "min-loss",
        repeats: int = 1,
        shuffle: bool = True,
        conv_channels: Sequence[int] = (8, 16),
        kernel_size: int | Sequence[int] = 3,
        pool_size: int | Sequence[int] = 2,
        pool_stride: int | Sequence[int] | None = None,
        padding: int | str = "same",
        hidden_size: int | str = "auto",
        max_epochs: int = 200,
        batch_size: int | str = "auto",
        optimizer: str = "adam",
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.2,
        n_iter_no_change: int = 10,
        standardize_target: bool = True,
        device: str | torch.device = "cpu",
        dtype: str = "float32",
        callbacks: list[Any] | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.ratio = ratio
        self.strategy = strategy
        self.repeats = repeats
        self.shuffle = shuffle
        self.conv_channels = conv_channels
        self.kernel_size = kernel_size
        self.pool_size = pool_size
        self.pool_stride = pool_stride
        self.padding = padding
        self.hidden_size = hidden_size
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.standardize_target = standardize_target
        self.device = device
        self.dtype = dtype
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    _y_checks: ClassVar[dict[str, Any]] = {"multi_output": True, "y_numeric": True}

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            One or several targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss; rows of weight 0 are left out.
            Samples are chosen by their losses without weights.
        X_val, y_val : array-like, default=None
            Validation set; without it, `early_stopping` splits one off.

        Returns
        -------
        self : ReBatchCNNRegressor

        Raises
        ------
        ValueError
            If a parameter or the data can't be used; nothing is changed then.
        DivergedError
            If the loss becomes NaN or infinite; nothing is changed then.
        """
        return self._fit(X, y, sample_weight, X_val, y_val)

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train one more epoch on the data given.

        On a network that has trained before, the epoch is redistributed by the
        losses of these data under it; as many calls with the same data as `fit`
        has epochs end where `fit` ends. The target keeps the scaling of the
        first call.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            One or several targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss.

        Returns
        -------
        self : ReBatchCNNRegressor

        Raises
        ------
        ValueError
            If a parameter or the data can't be used.
        DivergedError
            If the loss becomes NaN or infinite; nothing is changed then.
        """
        return self._partial_fit(X, y, sample_weight)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not isinstance(self.standardize_target, bool | np.bool_):
            raise ValueError(
                "standardize_target must be True or False, got "
                f"{self.standardize_target!r}."
            )

    def _learn_targets(self, y: Any, goes_on: bool, classes: Any) -> Floats:
        if not goes_on:
            self._is_1d = y.ndim == 1
            self.n_outputs_ = 1 if self._is_1d else y.shape[1]
        return self._check_targets(y)

    def _check_targets(self, y: Any) -> Floats:
        y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if y.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y has {y.shape[1]} targets, but the regressor has {self.n_outputs_}."
            )
        return y

    def _learn_scale(self, y: Floats, weights: Floats | None) -> None:
        check_not_constant(y)
        self.target_mean_ = np.zeros(self.n_outputs_)
        self.target_scale_ = np.ones(self.n_outputs_)
        if self.standardize_target:
            self.target_mean_ = np.average(y, axis=0, weights=weights)
            variance = np.average((y - self.target_mean_) ** 2, axis=0, weights=weights)
            self.target_scale_ = np.sqrt(variance)

    def _encode(self, y: Floats) -> Floats:
        return (y - self.target_mean_) / self.target_scale_

    def _with_class_weight(
        self, y: NDArray[Any], weights: NDArray[np.float64] | None
    ) -> NDArray[np.float64] | None:
        return weights

    def _strata(self, y: NDArray[Any]) -> None:
        return None

    def _loss(self, n_outputs: int) -> type[Loss]:
        return SquaredError

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the shape that `fit` was given.
        """
        y = self._outputs(X) * self.target_scale_ + self.target_mean_
        return y[:, 0] if self._is_1d else y

    def __sklearn_tags__(self) -> Any:
        """Say that several targets are welcome."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _check_whole(value: Any, name: str, alternative: str = "") -> None:
    """Refuse what is not a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        also = f" {alternative}" if alternative else ""
        raise ValueError(
            f"{name} must be a whole number of at least 1{also}, got {value!r}."
        )


def _check_real(
    value: Any,
    name: str,
    above: float = -math.inf,
    at_least: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Refuse what is not a number in the given range."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not (above < value < below and value >= at_least):
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (
                ("above", above),
                ("of at least", at_least),
                ("below", below),
            )
            if math.isfinite(bound)
        ]
        raise ValueError(
            f"{name} must be a finite number {' and '.join(bounds)}, got {value!r}."
        )
