"""Training dynamics: how the losses of each sample develop during training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skrebatch._utils.extras import import_extra
from skrebatch._utils.settings import with_default_settings
from skrebatch.inspection._records import Records, records_of

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
    distribution relative to its maximum. Here, :math:`s^2` is the mean loss of all
    samples after the epoch, weighted by the `sample_weight` of the fit.

    Parameters
    ----------
    estimator : estimator of this package, Pipeline or skorch net
        Estimator fitted with ``record_losses=True``, or a pipeline that ends in one.
        A CV form or a search may be passed as well; its `best_estimator_` is used then.
        A net of skorch must be a NeuralNetClassifier, NeuralNetBinaryClassifier or
        NeuralNetRegressor with the callback ``ReBatch(record_losses=True)``. The loss
        is then that of its criterion, including class weights.

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
            First recorded epoch at the end of which the loss was below a threshold. For
            classifiers, the threshold is log 2, that is, a predicted probability of the
            label above 1/2. The predicted label is then correct; with more than two
            classes, it can also be correct above the threshold. For regressors, the
            threshold is 1, the loss of an error of `target_scale_`. ``<NA>`` if the
            loss was never below the threshold. Also ``<NA>`` if the scale of the target
            is unknown: for skorch regressors, and with ``standardize_target=False``.
        label_quality : float
            The mean confidence, in [0, 1]. A low value suggests a wrong label: samples
            with low confidence throughout the training are often mislabelled ([1]_,
            section 5).

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator is neither an estimator of this package nor such a net.
    ValueError
        If the estimator was fitted without ``record_losses=True``, or the losses of a
        net are negative.
    ImportError
        If pandas is not installed; it is part of the extra ``plot``.

    See Also
    --------
    SampleDynamicsDisplay : Plots of the training dynamics.
    find_label_issues : Finds wrong labels by the training dynamics.

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
    records = records_of(estimator)
    scales = _loss_scales(records)

    # Welford's recurrence needs one pass over the epochs. For a large table, a second
    # array of the size of the recorded losses might not fit into memory.
    n_recorded, n_samples = records.losses.shape
    mean_loss, confidence, squares = np.zeros((3, n_samples))
    learned = np.zeros(n_samples, dtype=np.int64)  # 0 means never
    for k, epoch in enumerate(records.epochs):
        loss = records.losses[k].astype(np.float64)
        current = np.exp(-np.maximum(loss, 0) / scales[k])
        mean_loss += (loss - mean_loss) / (k + 1)
        deviation = current - confidence
        confidence += deviation / (k + 1)
        squares += deviation * (current - confidence)
        learned[(learned == 0) & (loss < records.learned_below)] = epoch
    variability = np.sqrt(squares / n_recorded)

    return pandas.DataFrame(
        {
            "mean_loss": mean_loss,
            "confidence": confidence,
            "variability": variability,
            "times_chosen": records.times_chosen,
            "first_learned": pandas.arrays.IntegerArray(learned, learned == 0),
            "label_quality": confidence,
        },
        index=records.index,
    )


def _loss_scales(records: Records) -> Floats:
    """Return the divisor of the losses of each recorded epoch (n_recorded,)."""
    if not records.is_regression:
        return np.ones(len(records.losses))
    if records.weights is None:
        variance = records.losses.mean(axis=1, dtype=np.float64)
    else:
        variance = np.average(records.losses, axis=1, weights=records.weights)
    # If all losses are 0, any divisor gives a confidence of exp(-0) = 1.
    return np.where(variance > 0, 2 * variance, 1)
