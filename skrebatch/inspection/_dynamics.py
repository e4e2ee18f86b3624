"""Training dynamics: how the losses of each sample develop during training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skrebatch._utils.extras import import_extra
from skrebatch._utils.settings import with_default_settings
from skrebatch.estimators._base import BaseReBatchCNN

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]


@with_default_settings
def training_dynamics(estimator: Any) -> pd.DataFrame:
    r"""Compute the training dynamics of each sample from its recorded losses.

    The confidence of a sample after an epoch is the predicted probability of its label,
    :math:`e^{-l}` for the loss :math:`l`. A data map [1]_ shows the mean and the
    standard deviation of the confidence over the epochs. For a regressor with squared
    error :math:`l`, the confidence is :math:`e^{-l / (2 s^2)}`, the density of a normal
    distribution relative to its maximum, where :math:`s^2` is the mean loss of all
    samples after the epoch, weighted by the `sample_weight` of the fit.

    Parameters
    ----------
    estimator : ReBatchCNNClassifier, ReBatchCNNRegressor, CV form, search or Pipeline
        Estimator fitted with ``record_losses=True``, or a pipeline that ends in one.
        Of a CV form or a search, it is the `best_estimator_`.

    Returns
    -------
    dynamics : pandas.DataFrame
        One row for each row of the X passed to `fit`, including validation rows, in the
        same order. The index is that of X if X is a data frame. Otherwise, the rows are
        numbered from 0, for example if the previous steps of a pipeline return arrays.
        The columns are:

        mean_loss : float
            Mean of the unweighted loss over the recorded epochs.
        confidence : float
            Mean of the confidence over the recorded epochs, in [0, 1].
        variability : float
            Standard deviation of the confidence over the recorded epochs.
        times_chosen : int
            Number of epochs in which the sample was left out, moved or repeated, over
            all epochs. For several networks, the mean over the networks.
        first_learned : Int64
            First recorded epoch after which the loss was below a threshold. For
            classifiers, the threshold is log 2, that is, a predicted probability of the
            label above 1/2. With two classes, the predicted label is then correct; with
            more classes, this condition is sufficient but not necessary. For
            regressors, the threshold is 1, an error of `target_scale_`. ``<NA>`` if the
            loss was never below the threshold, and for regressors with
            ``standardize_target=False``, for which the scale of the target is unknown.
        label_quality : float
            The mean confidence, in [0, 1]. A low value suggests a wrong label: samples
            with low confidence throughout the training are often mislabelled ([1]_,
            section 5).

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator is not one of this package.
    ValueError
        If the estimator was fitted without ``record_losses=True``.
    ImportError
        If pandas is not installed; it is part of the extra ``plot``.

    See Also
    --------
    SampleDynamicsDisplay : Plots of the training dynamics.
    find_label_issues : Finds wrong labels by them.

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

    # Welford's recurrence needs one pass over the epochs. For a large table, a second
    # array of the size of the recorded losses might not fit into memory.
    n_samples = losses.shape[1]
    mean_loss, confidence, squares = np.zeros((3, n_samples))
    learned = np.zeros(n_samples, dtype=np.int64)  # 0 means never
    for k, epoch in enumerate(model.recorded_epochs_):
        loss = losses[k].astype(np.float64)
        current = np.exp(-loss / scales[k])
        mean_loss += (loss - mean_loss) / (k + 1)
        deviation = current - confidence
        confidence += deviation / (k + 1)
        squares += deviation * (current - confidence)
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
    """Return the divisor of the losses of each recorded epoch (n_recorded,)."""
    if not is_regressor(model):
        return np.ones(len(model.recorded_losses_))
    weights = getattr(model, "recorded_weights_", None)
    losses = model.recorded_losses_
    if weights is None:
        variance = losses.mean(axis=1, dtype=np.float64)
    else:
        variance = np.average(losses, axis=1, weights=weights)
    # If all losses are 0, any divisor gives a confidence of exp(-0) = 1.
    return np.where(variance > 0, 2 * variance, 1)


def _learned_below(model: Any) -> float:
    """Return the loss below which a sample counts as learned."""
    if not is_regressor(model):
        return math.log(2)
    return 1.0 if model.standardize_target else -math.inf


def last_step(estimator: Any) -> Any:
    """Return the last step of a pipeline; other estimators as they are."""
    if isinstance(estimator, Pipeline) and estimator.steps:
        return estimator.steps[-1][1]
    return estimator


def rebatch_step(estimator: Any) -> Any:
    """Return the re-Batch estimator.

    It may be the end of a pipeline, or the best estimator of a search or a CV form.
    """
    last = last_step(estimator)
    last = last_step(getattr(last, "best_estimator_", last))
    if not isinstance(last, BaseReBatchCNN):
        raise TypeError(
            "The estimator must be a ReBatchCNNClassifier or ReBatchCNNRegressor, a "
            "fitted CV form or search of one, or a Pipeline that ends in one, got "
            f"{last!r}."
        )
    return last


def final_step(estimator: Any) -> Any:
    """Return what :func:`rebatch_step` returns, if it is fitted."""
    last = rebatch_step(estimator)
    check_is_fitted(last)
    return last


def check_recorded(estimator: Any) -> Any:
    """Return the re-Batch estimator; raise ValueError if it has no recorded losses."""
    last = final_step(estimator)
    if not hasattr(last, "recorded_losses_"):
        raise ValueError(
            f"This {type(last).__name__} has no recorded losses. Set "
            "record_losses=True and fit it again."
        )
    return last
