"""The regressor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from operator import methodcaller
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.metaestimators import available_if

from skrebatch._utils.settings import with_default_settings
from skrebatch._utils.validation import check_bool, check_option
from skrebatch.estimators._base import BaseReBatchCNN
from skrebatch.estimators._docstrings import REGRESSOR, fill_in
from skrebatch.estimators._targets import NumericTargets, Targets
from skrebatch.sampling._ratio_schedules import Schedule
from skrebatch.strategies import Strategy


@fill_in(**REGRESSOR)
class ReBatchCNNRegressor(RegressorMixin, BaseReBatchCNN):
    """Regressor: a small 1D CNN over table rows, trained with dynamic re-Batch.

    After each epoch the squared error of every training sample is computed, and the B
    samples of lowest or highest error are chosen. They are inserted 0, 1 or more
    times in the next epoch, at regular intervals [1]_. Features should have similar
    scales: use a :class:`~sklearn.preprocessing.StandardScaler` before this estimator.

    Parameters by group:

    {groups}

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    n_outputs_ : int
        Number of targets.
    target_mean_, target_scale_ : ndarray of shape (n_outputs,)
        Centre and scale of the training targets, by which `standardize_target` scales
        them: mean and standard deviation, or median and scaled MAD. They are 0 and 1 if
        the targets are not scaled. A constant target has scale 1.
    {attributes}

    See Also
    --------
    ReBatchCNNClassifier : The same network for classification.
    ReBatch : Dynamic re-Batch for a skorch net with any module.

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
        ratio_schedule: Schedule = "constant",
        warmup_epochs: int = 0,
        loss_smoothing: float = 0.0,
        refresh_every: int = 1,
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
        standardize_target: bool | str = "robust",
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
        self.standardize_target = standardize_target
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
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            One or several targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss. A weight of 0 excludes the row.
            Samples are chosen by their unweighted losses.
        X_val, y_val : array-like, default=None
            Validation set. If None, `early_stopping` splits one off the training data.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, for a `cv` that splits by them.

        Returns
        -------
        self : ReBatchCNNRegressor
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
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch on the given data.

        If the network has been trained before, the samples are chosen by their losses
        under that network. With the same data, `max_epochs` calls give the result of
        one call of `fit`. The targets are scaled as in the first call. The first call
        needs two rows, unless `standardize_target` is False.

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
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid.
        DivergedError
            If the loss becomes NaN or infinite. The estimator is left unchanged.
        """
        return self._partial_fit(X, y, sample_weight)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_option(
            self.stopping_score, "stopping_score", ("auto", "absolute_error", "loss")
        )
        if self.standardize_target != "robust":
            check_bool(self.standardize_target, "standardize_target", 'or "robust"')

    def _y_checks(self, y: Any) -> dict[str, Any]:
        return {"multi_output": True, "y_numeric": True}

    def _learn_targets(
        self, y: Any, earlier: Targets | None, classes: Any
    ) -> NumericTargets:
        if isinstance(earlier, NumericTargets):
            return earlier
        return NumericTargets.learn(y)

    def _fitted_targets(self) -> NumericTargets:
        return NumericTargets(
            self._is_1d, self.n_outputs_, self.target_mean_, self.target_scale_
        )

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to predict.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predicted targets, with as many dimensions as `y` in `fit`.
        """
        y = self._predict(X, self._mean_targets)
        return y[:, 0] if self._is_1d else y

    def _mean_targets(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map outputs (K, n, O) to targets in the units of y (n, O)."""
        return outputs.mean(axis=0) * self.target_scale_ + self.target_mean_

    @with_default_settings
    def score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Compute the coefficient of determination, R², of the predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to predict.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        score : float
            R², at most 1; the mean over several targets.

        Raises
        ------
        ValueError
            If the data can't be used.
        """
        y, sample_weight = self._check_scored(y, sample_weight)
        return float(super().score(X, y, sample_weight))

    def __sklearn_tags__(self) -> Any:
        """Set the tag that allows several targets."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
