"""The measures of the paper: loss curves in numbers, and an error without unit."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import mean_squared_error
from sklearn.utils import check_array

from skrebatch._utils.validation import to_floats

Floats = NDArray[np.float64]


def loss_area(baseline: ArrayLike, losses: ArrayLike) -> float:
    r"""Compute the area between two loss curves, eq. 3 [1]_.

    It is the sum over epochs of the baseline's loss :math:`\alpha` minus the loss
    :math:`\beta` that is compared with it. Above 0 the second curve was the lower one
    on the whole.

    Parameters
    ----------
    baseline : array-like of shape (n_epochs,)
        Loss after each epoch without re-Batch; NaN where it is not known.
    losses : array-like of shape (n_epochs,)
        Loss after each epoch with it. The epochs count that both curves know, of
        different length as early stopping may leave them.

    Returns
    -------
    area : float
        In units of the loss.

    Raises
    ------
    ValueError
        If a curve is empty, holds infinity, or is not one number an epoch, or the
        result is infinite.

    See Also
    --------
    loss_trend : The slope of a single curve.
    LossCurveDisplay : Draws the curves, and the area between them.

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
    alpha, beta = _curve(baseline, "baseline"), _curve(losses, "losses")
    n_epochs = min(len(alpha), len(beta))
    with np.errstate(over="ignore", invalid="ignore"):
        area = float(np.nansum(alpha[:n_epochs] - beta[:n_epochs]))
    return _in_range(area)


class LossTrend(NamedTuple):
    """The straight line of a loss curve."""

    slope: float
    intercept: float


def loss_trend(losses: ArrayLike) -> LossTrend:
    """Fit a straight line to a loss curve by least squares, as the paper does [1]_.

    A slope far below 0 is fast learning; the paper reads both numbers as measures of
    how stable it is.

    Parameters
    ----------
    losses : array-like of shape (n_epochs,)
        Loss after each epoch, the first being epoch 1; NaN where it is not known.

    Returns
    -------
    slope : float
        Change of the loss by an epoch; NaN where less than two epochs are known.
    intercept : float
        Loss of the line at epoch 0; NaN where the slope is.

    Raises
    ------
    ValueError
        If the curve is empty, holds infinity, or is not one number an epoch, or the
        result is infinite.

    See Also
    --------
    loss_area : The area between two curves.
    LossCurveDisplay : Draws the curves and their lines.

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
    curve = _curve(losses, "losses")
    known = np.flatnonzero(~np.isnan(curve))
    if len(known) < 2:
        return LossTrend(np.nan, np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        slope, intercept = np.polyfit(known + 1, curve[known], 1)
    return LossTrend(_in_range(float(slope)), _in_range(float(intercept)))


def nrmse(
    y_true: ArrayLike, y_pred: ArrayLike, *, normalization: str = "mean"
) -> float:
    """Compute the root mean squared error as a share of the target's size.

    The paper divides by the mean of the target for prices and charges, and by its
    standard deviation for Diabetes [1]_. With several outputs it is the mean over
    them.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    y_pred : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Predictions.
    normalization : {"mean", "std"}, default="mean"
        What to divide by: the absolute mean of `y_true`, or its standard deviation
        (without Bessel's correction, so that :math:`R^2 = 1 - nrmse^2`).

    Returns
    -------
    error : float
        At least 0; less is better.

    Raises
    ------
    ValueError
        If the shapes differ, the numbers aren't finite, or what to divide by is 0 or
        unknown.

    See Also
    --------
    loss_area : How far training losses differ.

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
        # A column beside a row would broadcast to an error of all with all.
        raise ValueError(
            f"y_true and y_pred must have the same shape, got {true.shape} and "
            f"{predicted.shape}."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        size = true.std(axis=0)
        if normalization == "mean":
            size = np.abs(true.mean(axis=0))
        if np.any(size == 0):
            raise ValueError(
                f"The {normalization} of y_true is 0: nothing to divide by."
            )
        squares = mean_squared_error(true, predicted, multioutput="raw_values")
        return _in_range(float(np.mean(np.sqrt(squares) / size)))


def _in_range(result: float) -> float:
    """Return a result, or say that the numbers were too large for it."""
    if not math.isfinite(result):
        raise ValueError(
            "The numbers are so large that the result is infinite; divide them by one."
        )
    return result


def _curve(losses: ArrayLike, name: str) -> Floats:
    """Return a loss curve as an array, refusing what is none."""
    curve = to_floats(losses, name)
    if curve.ndim != 1 or not len(curve):
        raise ValueError(
            f"{name} must be one number an epoch, got an array of shape {curve.shape}."
        )
    if np.isinf(curve).any():
        epoch = int(np.isinf(curve).argmax()) + 1
        raise ValueError(f"{name} must be finite, but that of epoch {epoch} is not.")
    return curve
