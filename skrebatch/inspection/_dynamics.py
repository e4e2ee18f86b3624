"""What the losses of a training say about its samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skrebatch._utils.extras import import_extra
from skrebatch.estimators._base import BaseReBatchCNN

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]


def training_dynamics(estimator: Any) -> pd.DataFrame:
    r"""Tabulate what training with ``record_losses=True`` saw of each sample.

    A sample's confidence after an epoch is the probability that the network gives
    to its label, :math:`e^{-l}` for the loss :math:`l`; its mean and standard
    deviation over the epochs place the sample on a data map [1]_. A regressor's
    squared error :math:`l` is turned into
    :math:`e^{-l / (2 s^2)}`, the density of a normal distribution relative to its
    peak, where :math:`s^2` is the mean loss of all samples after that epoch.

    Parameters
    ----------
    estimator : ReBatchCNNClassifier, ReBatchCNNRegressor or Pipeline
        Fitted with ``record_losses=True``. Of a pipeline, the last step.

    Returns
    -------
    dynamics : pandas.DataFrame
        One row for each row of X given to `fit`, validation rows included, in
        their order and with the index of X where X had one; else they are numbered
        from 0, as in a pipeline whose steps before return arrays. Its columns:

        mean_loss : float
            Mean over the recorded epochs of the loss, without weights.
        confidence : float
            Mean over the recorded epochs of the confidence, between 0 and 1.
        variability : float
            Standard deviation over the recorded epochs of the confidence.
        times_chosen : int
            In how many epochs, of all, the sample was left out, moved or repeated;
            of several networks, their mean.
        first_learned : Int64
            First recorded epoch after which the loss was below log 2, and thus
            the label's probability above 1/2: with two classes the label is then
            predicted right; with more this is sufficient, not necessary. For
            regressors, below 1, the mean loss of predicting the mean of the scaled
            target. ``<NA>`` where that never came, and for regressors with
            ``standardize_target=False``, which don't know the target's variance.
        label_quality : float
            Low where the label looks wrong, between 0 and 1. It is the mean
            confidence: samples whose label the network doubts throughout the
            training are often mislabelled ([1]_, section 5).

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    TypeError
        If it is not an estimator of this package.
    ValueError
        If it was fitted without ``record_losses=True``.
    ImportError
        If pandas is missing, which comes with the extra ``plot``.

    See Also
    --------
    SampleDynamicsDisplay : Pictures of the same.

    References
    ----------
    .. [1] S. Swayamdipta et al., "Dataset Cartography: Mapping and Diagnosing
       Datasets with Training Dynamics", EMNLP 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skrebatch import ReBatchCNNClassifier, training_dynamics
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = ReBatchCNNClassifier(
    ...     max_epochs=10, record_losses=True, random_state=0
    ... )
    >>> dynamics = training_dynamics(model.fit(scale(X), y))
    >>> suspects = dynamics.nsmallest(10, "label_quality").index
    """
    pandas = import_extra("pandas", "training_dynamics")
    model = check_recorded(estimator)
    losses = model.recorded_losses_  # (n_recorded, n_samples)
    scales = _loss_scales(model)
    threshold = _learned_below(model)

    # A pass over the epochs, by Welford's recurrence: a large table's recorded losses
    # would not fit into memory a second time.
    n_samples = losses.shape[1]
    mean_loss, confidence, squares = np.zeros((3, n_samples))
    learned = np.zeros(n_samples, dtype=np.int64)  # 0 is never
    for k, epoch in enumerate(model.recorded_epochs_):
        loss = losses[k].astype(np.float64)
        now = np.exp(-loss / scales[k])
        mean_loss += (loss - mean_loss) / (k + 1)
        step = now - confidence
        confidence += step / (k + 1)
        squares += step * (now - confidence)
        learned[(learned == 0) & (loss < threshold)] = epoch
    variability = np.sqrt(squares / len(losses))

    return pandas.DataFrame(
        {
            "mean_loss": mean_loss,
            "confidence": confidence,
            "variability": variability,
            "times_chosen": model.times_chosen_,
            "first_learned": pandas.arrays.IntegerArray(learned, learned == 0),
            "label_quality": confidence,
        },
        index=getattr(model, "sample_index_", None),
    )


def _loss_scales(model: Any) -> Floats:
    """Return what each recorded epoch's losses are divided by: (n_recorded,)."""
    if not is_regressor(model):
        return np.ones(len(model.recorded_losses_))
    variance = model.recorded_losses_.mean(axis=1, dtype=np.float64)
    # Without any loss every sample is as expected: exp(-0).
    return np.where(variance > 0, 2 * variance, 1)


def _learned_below(model: Any) -> float:
    """Return the loss below which a sample counts as learned."""
    if not is_regressor(model):
        return math.log(2)
    return 1.0 if model.standardize_target else -math.inf


def final_step(estimator: Any) -> Any:
    """Return the fitted re-Batch estimator itself, or that a pipeline ends in."""
    last = estimator
    if isinstance(estimator, Pipeline) and estimator.steps:
        last = estimator.steps[-1][1]
    if not isinstance(last, BaseReBatchCNN):
        raise TypeError(
            "This needs a ReBatchCNNClassifier, a ReBatchCNNRegressor or a Pipeline "
            f"that ends in one, got {last!r}."
        )
    check_is_fitted(last)
    return last


def check_recorded(estimator: Any) -> Any:
    """Return the fitted re-Batch estimator, or say that it recorded no losses."""
    last = final_step(estimator)
    if not hasattr(last, "recorded_losses_"):
        raise ValueError(
            f"This {type(last).__name__} was fitted without record_losses=True and "
            "kept no losses by epoch. Set the parameter and fit again."
        )
    return last
