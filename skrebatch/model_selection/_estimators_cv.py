"""Estimators that select their ratio by cross-validation, like ``RidgeCV``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn import config_context

from skrebatch._utils.arrays import as_array
from skrebatch.estimators._classifier import ReBatchCNNClassifier
from skrebatch.estimators._docstrings import (
    CLASSIFIER_PARAMETERS,
    REGRESSOR_PARAMETERS,
    fill_in,
)
from skrebatch.estimators._fitting import unchanged_on_error
from skrebatch.estimators._regressor import ReBatchCNNRegressor
from skrebatch.estimators._sklearn_callbacks import FitTask, with_callbacks
from skrebatch.model_selection._search import FusedGridSearchCV
from skrebatch.sampling._ratio_schedules import Schedule
from skrebatch.strategies import Strategy

# The defaults that differ from those of the estimators: these search over single
# networks.
_OTHER_DEFAULTS = {
    'default="auto"\n        "cnn" has': 'default="cnn"\n        "cnn" has',
    "max_epochs : int, default=100": "max_epochs : int, default=200",
    "lr : float, default=5e-3": "lr : float, default=1e-3",
    'early_stopping : bool or "auto", default="auto"': (
        'early_stopping : bool or "auto", default=False'
    ),
    "n_iter_no_change : int, default=5": "n_iter_no_change : int, default=10",
    "n_networks : int, default=10": "n_networks : int, default=1",
}


def _beyond_repeats(parameters: str) -> str:
    """Return the docstring of the parameters that are not searched."""
    for ours, theirs in _OTHER_DEFAULTS.items():
        assert ours in parameters, ours
        parameters = parameters.replace(ours, theirs)
    return parameters[parameters.index("ratio_schedule :") :]


class _ChoosesRatio:
    """Mixin that selects ratio, strategy and repeats by cross-validation."""

    _base: type[Any]
    cv: Any
    scoring: Any
    n_jobs: int | None
    verbose: int
    checkpoint_dir: Any
    __rebatch_setstate__: Any

    def _fit_best(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> Self:
        """Search, and set the fitted attributes of the best estimator."""
        names = self._base().get_params()
        grid = {
            "ratio": self._choices("ratios"),
            "strategy": self._choices("strategies"),
            "repeats": self._choices("repeats"),
        }
        fixed = {
            n: getattr(self, n) for n in names if n not in (*grid, "cv", "verbose")
        }
        # Check parameters and data that all candidates share, before the search.
        self._base(**fixed, ratio=0).__rebatch_prepare__(X, y, sample_weight)
        search = FusedGridSearchCV(
            self._base(**fixed),
            grid,
            cv=self.cv,
            scoring=self.scoring,
            n_jobs=self.n_jobs,
            verbose=self.verbose,
            checkpoint_dir=self.checkpoint_dir,
        )
        return self._take_best(search, X, y, sample_weight, as_array(groups, "groups"))

    @with_callbacks
    def _take_best(
        self, search: Any, X: Any, y: Any, sample_weight: Any, groups: Any
    ) -> Self:
        """Search, as one task of scikit-learn's callbacks, and take the best."""
        task = FitTask(self, X, y, sample_weight)
        given = {"sample_weight": sample_weight, "groups": groups}
        given = {name: values for name, values in given.items() if values is not None}
        # Weights go to the fits and groups to the splitter, whatever the metadata
        # requests of this estimator.
        with config_context(enable_metadata_routing=False):
            best = search.fit(X, y, **given).best_estimator_
        self.__rebatch_setstate__(*best.__rebatch_getstate__())
        self.cv_results_ = search.cv_results_
        self.best_params_, self.best_score_ = search.best_params_, search.best_score_
        self.ratio_ = self.best_params_["ratio"]
        task.end()
        return self

    def _choices(self, name: str) -> list[Any]:
        choices = getattr(self, name)
        if isinstance(choices, str) or not np.iterable(choices) or not list(choices):
            raise ValueError(
                f"{name} must be a non-empty sequence of candidate values, got "
                f"{choices!r}."
            )
        return list(choices)

    def _trains_in_parts(self) -> bool:
        raise AttributeError(
            f"{type(self).__name__} needs all data at once and has no partial_fit; "
            f"use {self._base.__name__} with the selected ratio."
        )


@fill_in(parameters=_beyond_repeats(CLASSIFIER_PARAMETERS))
class ReBatchCNNClassifierCV(_ChoosesRatio, ReBatchCNNClassifier):
    """Classifier that selects ratio, strategy and repeats by cross-validation.

    The fits of all candidates and folds are trained side by side, then the best
    candidate is fitted on all data.

    Parameters
    ----------
    ratios : sequence of float, default=(0.03, 0.08, 0.15, 0.3)
        Candidate redistribution ratios; the default is that of the paper [1]_.
    strategies : sequence of str or Strategy, default=("min-loss",)
        Candidate strategies.
    repeats : sequence of int, default=(1,)
        Candidate values of `repeats`.
    cv : int, splitter, iterable or None, default=None
        Cross-validation splitter. None is five folds.
    scoring : str, callable or None, default=None
        Score by which the best candidate is selected. None is the estimator's `score`.
    n_jobs : int or None, default=None
        Number of stacks of networks to train in parallel.
    {parameters}

    Attributes
    ----------
    ratio_ : float
        The selected ratio.
    best_params_ : dict
        The selected ratio, strategy and repeats.
    best_score_ : float
        Mean score of the best candidate over the folds.
    cv_results_ : dict of str to ndarray
        All scores, as of :class:`FusedGridSearchCV`.
    classes_, module_, loss_curve_, ...
        As of :class:`ReBatchCNNClassifier`.

    Raises
    ------
    ValueError
        If a parameter or the data are invalid.

    See Also
    --------
    FusedGridSearchCV : The same search over any parameters, and for pipelines.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skrebatch import ReBatchCNNClassifierCV
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = ReBatchCNNClassifierCV(max_epochs=5, random_state=0)
    >>> model.fit(scale(X), y).ratio_ in (0.03, 0.08, 0.15, 0.3)
    True
    """

    _base = ReBatchCNNClassifier

    def __init__(
        self,
        ratios: Sequence[float] = (0.03, 0.08, 0.15, 0.3),
        strategies: Sequence[str | Strategy] = ("min-loss",),
        repeats: Sequence[int] = (1,),
        *,
        cv: Any = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        ratio_schedule: Schedule = "constant",
        warmup_epochs: int = 0,
        loss_smoothing: float = 0.0,
        refresh_every: int = 1,
        class_balanced: bool = False,
        shuffle: bool = True,
        architecture: str = "cnn",
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
        max_elements: int | None = None,
        max_epochs: int = 200,
        batch_size: int | str = "auto",
        optimizer: str | type[torch.optim.Optimizer] = "adam",
        optimizer_params: dict[str, Any] | None = None,
        lr: float = 1e-3,
        lr_schedule: str | type[Any] | None = None,
        lr_schedule_params: dict[str, Any] | None = None,
        weight_decay: float = 0.0,
        n_augments: int = 0,
        noise_std: float = 0.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.2,
        n_iter_no_change: int = 10,
        stopping_score: str = "auto",
        class_weight: dict[Any, float] | str | None = None,
        device: str | torch.device = "cpu",
        dtype: str = "float32",
        precision: str = "float32",
        callbacks: list[Any] | None = None,
        n_networks: int = 1,
        choose: str = "own",
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 10,
        record_losses: bool = False,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.ratios = ratios
        self.strategies = strategies
        self.repeats = repeats  # type: ignore[assignment]
        self.cv = cv
        self.scoring = scoring
        self.n_jobs = n_jobs
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
        self.max_elements = max_elements
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.lr_schedule_params = lr_schedule_params
        self.weight_decay = weight_decay
        self.n_augments = n_augments
        self.noise_std = noise_std
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.stopping_score = stopping_score
        self.class_weight = class_weight
        self.device = device
        self.dtype = dtype
        self.precision = precision
        self.callbacks = callbacks
        self.n_networks = n_networks
        self.choose = choose
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.record_losses = record_losses
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(  # type: ignore[override]
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Search, then train the best candidate on all data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels, as those of :class:`ReBatchCNNClassifier`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss.
        groups : array-like of shape (n_samples,), default=None
            Groups of the samples for a `cv` that splits by them, such as
            :class:`~sklearn.model_selection.GroupKFold`.

        Returns
        -------
        self : ReBatchCNNClassifierCV
            The estimator itself.
        """
        with unchanged_on_error(self):
            return self._fit_best(X, y, sample_weight, groups)


@fill_in(parameters=_beyond_repeats(REGRESSOR_PARAMETERS))
class ReBatchCNNRegressorCV(_ChoosesRatio, ReBatchCNNRegressor):
    """Regressor that selects ratio, strategy and repeats by cross-validation.

    The fits of all candidates and folds are trained side by side, then the best
    candidate is fitted on all data.

    Parameters
    ----------
    ratios : sequence of float, default=(0.03, 0.08, 0.15, 0.3)
        Candidate redistribution ratios; the default is that of the paper [1]_.
    strategies : sequence of str or Strategy, default=("min-loss",)
        Candidate strategies.
    repeats : sequence of int, default=(1,)
        Candidate values of `repeats`.
    cv : int, splitter, iterable or None, default=None
        Cross-validation splitter. None is five folds.
    scoring : str, callable or None, default=None
        Score by which the best candidate is selected. None is the estimator's `score`.
    n_jobs : int or None, default=None
        Number of stacks of networks to train in parallel.
    {parameters}

    Attributes
    ----------
    ratio_ : float
        The selected ratio.
    best_params_ : dict
        The selected ratio, strategy and repeats.
    best_score_ : float
        Mean score of the best candidate over the folds.
    cv_results_ : dict of str to ndarray
        All scores, as of :class:`FusedGridSearchCV`.
    target_mean_, module_, loss_curve_, ...
        As of :class:`ReBatchCNNRegressor`.

    Raises
    ------
    ValueError
        If a parameter or the data are invalid.

    See Also
    --------
    FusedGridSearchCV : The same search over any parameters, and for pipelines.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from skrebatch import ReBatchCNNRegressorCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = ReBatchCNNRegressorCV(max_epochs=5, random_state=0)
    >>> model.fit(scale(X), y).ratio_ in (0.03, 0.08, 0.15, 0.3)
    True
    """

    _base = ReBatchCNNRegressor

    def __init__(
        self,
        ratios: Sequence[float] = (0.03, 0.08, 0.15, 0.3),
        strategies: Sequence[str | Strategy] = ("min-loss",),
        repeats: Sequence[int] = (1,),
        *,
        cv: Any = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        ratio_schedule: Schedule = "constant",
        warmup_epochs: int = 0,
        loss_smoothing: float = 0.0,
        refresh_every: int = 1,
        shuffle: bool = True,
        architecture: str = "cnn",
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
        max_elements: int | None = None,
        max_epochs: int = 200,
        batch_size: int | str = "auto",
        optimizer: str | type[torch.optim.Optimizer] = "adam",
        optimizer_params: dict[str, Any] | None = None,
        lr: float = 1e-3,
        lr_schedule: str | type[Any] | None = None,
        lr_schedule_params: dict[str, Any] | None = None,
        weight_decay: float = 0.0,
        n_augments: int = 0,
        noise_std: float = 0.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.2,
        n_iter_no_change: int = 10,
        stopping_score: str = "auto",
        standardize_target: bool | str = "robust",
        device: str | torch.device = "cpu",
        dtype: str = "float32",
        precision: str = "float32",
        callbacks: list[Any] | None = None,
        n_networks: int = 1,
        choose: str = "own",
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 10,
        record_losses: bool = False,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.ratios = ratios
        self.strategies = strategies
        self.repeats = repeats  # type: ignore[assignment]
        self.cv = cv
        self.scoring = scoring
        self.n_jobs = n_jobs
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
        self.max_elements = max_elements
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.lr_schedule_params = lr_schedule_params
        self.weight_decay = weight_decay
        self.n_augments = n_augments
        self.noise_std = noise_std
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.stopping_score = stopping_score
        self.standardize_target = standardize_target
        self.device = device
        self.dtype = dtype
        self.precision = precision
        self.callbacks = callbacks
        self.n_networks = n_networks
        self.choose = choose
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.record_losses = record_losses
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(  # type: ignore[override]
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Search, then train the best candidate on all data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            One or several targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss.
        groups : array-like of shape (n_samples,), default=None
            Groups of the samples for a `cv` that splits by them, such as
            :class:`~sklearn.model_selection.GroupKFold`.

        Returns
        -------
        self : ReBatchCNNRegressorCV
            The estimator itself.
        """
        with unchanged_on_error(self):
            return self._fit_best(X, y, sample_weight, groups)
