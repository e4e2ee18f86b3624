"""The classifier."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from operator import methodcaller
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets

from skrebatch._utils.settings import with_default_settings
from skrebatch._utils.validation import check_bool, check_option, find_classes
from skrebatch.estimators._base import BaseReBatchCNN
from skrebatch.estimators._docstrings import CLASSIFIER, fill_in
from skrebatch.estimators._targets import ClassTargets, Targets, has_columns
from skrebatch.sampling._ratio_schedules import Schedule
from skrebatch.strategies import Strategy


@fill_in(**CLASSIFIER)
class ReBatchCNNClassifier(ClassifierMixin, BaseReBatchCNN):
    """Classifier: a small 1D CNN over table rows, trained with dynamic re-Batch.

    After each epoch the loss of every training sample is computed, and the B samples
    of lowest or highest loss are chosen. They are inserted 0, 1 or more times in the
    next epoch, at regular intervals [1]_. With two classes, the network has one logit
    and is trained with binary cross-entropy; with more classes, it has one logit per
    class and cross-entropy. For a multi-label `y`, a matrix of 0 and 1, it has one
    logit per label, and the loss of a sample is the sum of the binary cross-entropies.
    Features should have similar scales: use a
    :class:`~sklearn.preprocessing.StandardScaler` before this estimator.

    Parameters by group:

    {groups}

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted. For a multi-label `y`, the column numbers.
    n_outputs_ : int
        Number of logits: 1 for two classes, else the number of classes or labels.
    out_activation_ : {{"logistic", "softmax"}}
        Function that maps logits to probabilities: "softmax" for more than two
        classes, "logistic" for two classes or a multi-label `y`.
    {attributes}

    See Also
    --------
    ReBatchCNNRegressor : The same network for regression.
    ReBatch : Dynamic re-Batch for a skorch net with any module.

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
        ratio_schedule: Schedule = "constant",
        warmup_epochs: int = 0,
        loss_smoothing: float = 0.0,
        refresh_every: int = 1,
        class_balanced: bool = False,
        shuffle: bool = True,
        architecture: str = "auto",
        conv_channels: Sequence[int] = (8, 16),
        kernel_size: int | Sequence[int] = 3,
        pool_size: int | Sequence[int] = 2,
        pool_stride: int | Sequence[int] | None = None,
        padding: int | str = "same",
        hidden_size: int | str = "auto",
        hidden_layers: Sequence[int] | None = None,
        batch_norm: bool = False,
        dropout: float = 0.0,
        input_clip: float | str | None = "auto",
        variable_length: bool = False,
        max_epochs: int = 100,
        batch_size: int | str = "auto",
        max_elements: int | None = None,
        optimizer: str | type[torch.optim.Optimizer] = "adam",
        optimizer_params: dict[str, Any] | None = None,
        lr: float = 5e-3,
        lr_schedule: str | type[Any] | None = None,
        lr_schedule_params: dict[str, Any] | None = None,
        weight_decay: float = 0.0,
        n_augments: int = 0,
        noise_std: float = 0.0,
        class_weight: dict[Any, float] | str | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        early_stopping: bool | str = "auto",
        n_iter_no_change: int = 5,
        stopping_score: str = "auto",
        validation_fraction: float = 0.2,
        cv: Any = None,
        n_networks: int = 10,
        choose: str = "own",
        device: str | torch.device = "cpu",
        dtype: str = "float32",
        precision: str = "float32",
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 10,
        record_losses: bool = False,
        callbacks: list[Any] | None = None,
        verbose: int = 0,
    ):
        self.ratio = ratio
        self.strategy = strategy
        self.repeats = repeats
        self.ratio_schedule = ratio_schedule
        self.warmup_epochs = warmup_epochs
        self.loss_smoothing = loss_smoothing
        self.refresh_every = refresh_every
        self.class_balanced = class_balanced
        self.shuffle = shuffle
        self.architecture = architecture
        self.conv_channels = conv_channels
        self.kernel_size = kernel_size
        self.pool_size = pool_size
        self.pool_stride = pool_stride
        self.padding = padding
        self.hidden_size = hidden_size
        self.hidden_layers = hidden_layers
        self.batch_norm = batch_norm
        self.dropout = dropout
        self.input_clip = input_clip
        self.variable_length = variable_length
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.max_elements = max_elements
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.lr_schedule_params = lr_schedule_params
        self.weight_decay = weight_decay
        self.n_augments = n_augments
        self.noise_std = noise_std
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.random_state = random_state
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.stopping_score = stopping_score
        self.validation_fraction = validation_fraction
        self.cv = cv
        self.n_networks = n_networks
        self.choose = choose
        self.device = device
        self.dtype = dtype
        self.precision = precision
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.record_losses = record_losses
        self.callbacks = callbacks
        self.verbose = verbose

    classes_: NDArray[Any]
    n_outputs_: int
    out_activation_: str

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any type. A matrix is multi-label: it contains 1 where a sample
            has a label, else 0, and may be sparse.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss. A weight of 0 excludes the row.
            Samples are chosen by their unweighted losses.
        X_val, y_val : array-like, default=None
            Validation set. If None, `early_stopping` splits one off the training data.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, for a `cv` that splits by them.

        Returns
        -------
        self : ReBatchCNNClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid. The estimator is left unchanged.
        DivergedError
            If the loss becomes NaN or infinite. The estimator is left unchanged.
        """
        return self._fit(X, y, sample_weight, X_val, y_val, groups)

    @available_if(methodcaller("_trains_in_parts"))
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch on the given data.

        If the network has been trained before, the samples are chosen by their losses
        under that network. With the same data, `max_epochs` calls give the result of
        one call of `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels, as in `fit`.
        classes : array-like of shape (n_classes,), default=None
            All classes that occur in any call, needed in the first call only. If None,
            the classes of `y`. With `classes`, a call may have a single row, or rows of
            one class. For a multi-label `y`, the column numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss.

        Returns
        -------
        self : ReBatchCNNClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, `y` contains a label that is not
            among the classes, or `classes` or the number of labels differ from those
            of the first call.
        DivergedError
            If the loss becomes NaN or infinite. The estimator is left unchanged.
        """
        return self._partial_fit(X, y, sample_weight, classes)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_option(self.stopping_score, "stopping_score", ("auto", "brier", "loss"))
        check_bool(self.class_balanced, "class_balanced")

    def _y_checks(self, y: Any) -> dict[str, Any]:
        return {"multi_output": has_columns(y)}

    def _learn_targets(
        self, y: Any, earlier: Targets | None, classes: Any
    ) -> ClassTargets:
        if y.dtype == object:
            find_classes(y)  # raises an error that says more than the one of the check
        check_classification_targets(y)
        if not isinstance(earlier, ClassTargets):
            return ClassTargets.learn(y, classes)
        earlier.check_classes(classes)
        return earlier

    def _fitted_targets(self) -> ClassTargets:
        return ClassTargets(self.classes_, is_multilabel(self))

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Compute the logits.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to predict.

        Returns
        -------
        logits : ndarray of shape (n_samples,) or (n_samples, n_classes)
            With two classes, the logit of ``classes_[1]``; otherwise, one logit per
            class or label. With several networks, the logits of their mean
            probabilities.
        """
        logits = self._predict(X, self._mean_logits)
        return logits[:, 0] if self.n_outputs_ == 1 else logits

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the probability of each class or label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to predict.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`.
        """
        return self._predict(X, self._mean_probabilities)

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the logarithm of the probability of each class or label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to predict.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`.
        """
        return self._predict(X, self._mean_log_probabilities)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the most probable class, or the labels of probability above 0.5.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to predict.

        Returns
        -------
        labels : ndarray of shape (n_samples,) or (n_samples, n_labels)
            Predicted class of each row; for a multi-label `y`, a matrix of 0 and 1.
        """
        logits = self.decision_function(X)
        if self.out_activation_ == "softmax":
            return self.classes_[logits.argmax(axis=1)]
        codes = (logits > 0).astype(np.intp)
        return codes if is_multilabel(self) else self.classes_[codes]

    def _mean_logits(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map outputs (K, n, O) to the logits of the mean probabilities (n, O)."""
        if len(outputs) == 1:
            return outputs[0]
        if self.out_activation_ == "softmax":
            return _log_mean(_log_softmax(outputs))
        return _log_mean(log_expit(outputs)) - _log_mean(log_expit(-outputs))

    def _mean_probabilities(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map outputs (K, n, O) to mean probabilities (n, n_classes)."""
        if self.out_activation_ == "softmax":
            return np.exp(_log_softmax(outputs)).mean(axis=0)
        return expit(self._with_both_classes(outputs)).mean(axis=0)

    def _mean_log_probabilities(
        self, outputs: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Map outputs (K, n, O) to logarithms of mean probabilities (n, n_classes)."""
        if self.out_activation_ == "softmax":
            return _log_mean(_log_softmax(outputs))
        return _log_mean(log_expit(self._with_both_classes(outputs)))

    def _with_both_classes(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add the logit of the first of two classes; unchanged if multi-label."""
        if self.n_outputs_ > 1:
            return outputs
        return np.concatenate([-outputs, outputs], axis=2)

    @with_default_settings
    def score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Compute the accuracy of the predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to predict.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        score : float
            Weighted share of the samples whose label is predicted correctly. For a
            multi-label `y`, all labels of a sample must be predicted correctly.

        Raises
        ------
        ValueError
            If the data can't be used.
        """
        y, sample_weight = self._check_scored(y, sample_weight)
        return float(super().score(X, y, sample_weight))

    def __sklearn_tags__(self) -> Any:
        """Set the tag of multi-label targets, which two parameters do not support."""
        tags = super().__sklearn_tags__()
        by_class = self.class_balanced or isinstance(self.class_weight, dict)
        tags.classifier_tags.multi_label = not by_class
        return tags


def _log_softmax(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithms of the probabilities, (K, n, C) -> (K, n, C)."""
    shifted = outputs - outputs.max(axis=2, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True))


def _log_mean(log_proba: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of the mean probabilities, (K, n, C) -> (n, C)."""
    if len(log_proba) == 1:
        return log_proba[0]
    return np.logaddexp.reduce(log_proba, axis=0) - math.log(len(log_proba))


def is_multilabel(classifier: ReBatchCNNClassifier) -> bool:
    """Return whether a classifier was fitted to several labels per row."""
    return classifier.n_outputs_ > 1 and classifier.out_activation_ == "logistic"
