"""Metrics of the paper: area and trend of loss curves, and normalised RMSE."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import mean_squared_error
from sklearn.utils import check_array

from skrebatch._utils.arrays import to_floats
from skrebatch._utils.settings import with_default_settings

Floats = NDArray[np.float64]


@with_default_settings
def loss_area(baseline: ArrayLike, losses: ArrayLike) -> float:
    r"""Compute the area between two loss curves (equation 3 of the paper).

    The area is the sum over epochs of the baseline's loss :math:`\alpha` minus the
    compared loss :math:`\beta` [1]_. If it is positive, the compared loss was lower on
    average.

    Parameters
    ----------
    baseline : array-like of shape (n_epochs,)
        Loss after each epoch without re-Batch; NaN if it is not known.
    losses : array-like of shape (n_epochs,)
        Loss after each epoch with re-Batch; NaN if it is not known. The curves may
        differ in length, for example after early stopping. Only epochs with both losses
        are used.

    Returns
    -------
    area : float
        Loss area, in units of the loss.

    Raises
    ------
    ValueError
        If a curve is empty, contains infinity, or is not 1-D, or if the result is
        infinite.

    See Also
    --------
    loss_trend : The slope of a single curve.
    LossCurveDisplay : Draws the curves and the area between them.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> from skrebatch import loss_area
    >>> loss_area([4, 3, 2], [3, 2, 2])
    2.0
    """
    alpha, beta = check_curve(baseline, "baseline"), check_curve(losses, "losses")
    n_epochs = min(len(alpha), len(beta))
    with np.errstate(over="ignore", invalid="ignore"):
        area = float(np.nansum(alpha[:n_epochs] - beta[:n_epochs]))
    return _check_finite(area)


class LossTrend(NamedTuple):
    """The straight line fitted to a loss curve."""

    slope: float
    intercept: float


@with_default_settings
def loss_trend(losses: ArrayLike) -> LossTrend:
    """Fit a straight line to a loss curve by least squares, as in the paper.

    A strongly negative slope means fast learning. The paper uses slope and intercept as
    measures of the stability of training [1]_.

    Parameters
    ----------
    losses : array-like of shape (n_epochs,)
        Loss after each epoch, starting with epoch 1; NaN if it is not known.

    Returns
    -------
    slope : float
        Change of the loss per epoch; NaN if fewer than two losses are known.
    intercept : float
        Value of the line at epoch 0; NaN if fewer than two losses are known.

    Raises
    ------
    ValueError
        If the curve is empty, contains infinity, or is not 1-D, or if the result is
        infinite.

    See Also
    --------
    loss_area : The area between two curves.
    LossCurveDisplay : Draws the curves and the fitted lines.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025, section 4.2.

    Examples
    --------
    >>> from skrebatch import loss_trend
    >>> slope, intercept = loss_trend([5, 4, 3])
    >>> round(slope, 6), round(intercept, 6)
    (-1.0, 6.0)
    """
    curve = check_curve(losses, "losses")
    known = np.flatnonzero(~np.isnan(curve))
    if len(known) < 2:
        return LossTrend(np.nan, np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        slope, intercept = np.polyfit(known + 1, curve[known], 1)
    return LossTrend(_check_finite(float(slope)), _check_finite(float(intercept)))


@with_default_settings
def nrmse(
    y_true: ArrayLike, y_pred: ArrayLike, *, normalization: str = "mean"
) -> float:
    """Compute the normalised root mean squared error.

    The paper divides the error by the mean of the target for prices and charges, and by
    the standard deviation of the target for Diabetes [1]_. For several outputs, the
    result is the mean over the outputs.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        True targets.
    y_pred : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Predictions.
    normalization : {"mean", "std"}, default="mean"
        The divisor: the absolute mean of `y_true`, or its standard deviation (without
        Bessel's correction, so that :math:`R^2 = 1 - nrmse^2`).

    Returns
    -------
    error : float
        Normalised error, at least 0; lower is better.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, `normalization` is unknown, or the
        divisor is 0.

    See Also
    --------
    loss_area : The area between two loss curves.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025, section 4.2.

    Examples
    --------
    >>> from skrebatch import nrmse
    >>> nrmse([1, 3, 5], [2, 4, 6])
    0.333...
    >>> nrmse([1, 3, 5], [2, 4, 6], normalization="std")
    0.612...
    """
    if normalization not in ("mean", "std"):
        raise ValueError(
            f'normalization must be "mean" or "std", got {normalization!r}.'
        )
    options = {"ensure_2d": False, "dtype": np.float64}
    true, predicted = to_floats(y_true, "y_true"), to_floats(y_pred, "y_pred")
    check_array(true, input_name="y_true", **options)
    check_array(predicted, input_name="y_pred", **options)
    if true.shape != predicted.shape:
        # Shapes (n, 1) and (n,) would broadcast to (n, n).
        raise ValueError(
            f"y_true and y_pred must have the same shape, got {true.shape} and "
            f"{predicted.shape}."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        divisor = true.std(axis=0)
        if normalization == "mean":
            divisor = np.abs(true.mean(axis=0))
        if np.any(divisor == 0):
            raise ValueError(
                f"The {normalization} of y_true is 0, so the error can't be normalised."
            )
        squares = mean_squared_error(true, predicted, multioutput="raw_values")
        return _check_finite(float(np.mean(np.sqrt(squares) / divisor)))


def _check_finite(result: float) -> float:
    """Return the result; raise ValueError if it is not finite."""
    if not math.isfinite(result):
        raise ValueError(
            "The values are so large that the result is infinite. Divide them by a "
            "constant."
        )
    return result


def check_curve(losses: ArrayLike, name: str) -> Floats:
    """Return a loss curve as an array; raise ValueError if it is not valid."""
    curve = to_floats(losses, name)
    if curve.ndim != 1 or not len(curve):
        raise ValueError(
            f"{name} must be a non-empty 1-D array of losses, one for each epoch, got "
            f"an array of shape {curve.shape}."
        )
    if np.isinf(curve).any():
        epoch = int(np.isinf(curve).argmax()) + 1
        raise ValueError(f"{name} must be finite, but epoch {epoch} is infinite.")
    return curve
