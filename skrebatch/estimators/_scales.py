"""A warning of features whose scale hinders training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrebatch._engine.tables.memmapped import MappedRows
from skrebatch._engine.tables.sharded import ShardedRows
from skrebatch._utils.typing import Indices
from skrebatch._utils.user_warnings import warn_user
from skrebatch.exceptions import ScaleWarning

# Rows and values that are examined at most, so that wide tables need little memory.
_MOST_ROWS, _MOST_VALUES = 1000, 250_000
_MOST_NAMES = 5  # in the message

# None outside of `one_scale_warning`; inside, the warnings that were issued.
_issued: ContextVar[list[str] | None] = ContextVar("issued", default=None)


@contextlib.contextmanager
def one_scale_warning() -> Iterator[None]:
    """Let the fits inside issue at most one warning of scales."""
    token = _issued.set([])
    try:
        yield
    finally:
        _issued.reset(token)


def warn_of_scales(X: Any, names: NDArray[Any] | None, limit: float | None) -> None:
    """Warn if the scale of some features hinders training, and name them.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), MappedRows or ShardedRows
        Training data. Evenly spaced rows are examined, so that the cost is bounded.
    names : ndarray of str or None
        Names of the features.
    limit : float or None
        Limit to which the network clips its inputs.
    """
    issued = _issued.get()
    if issued:
        return
    if isinstance(X, ShardedRows):
        if X.start > 0:  # the first process warns
            return
        X = X.local
    n_rows = min(_MOST_ROWS, max(20, _MOST_VALUES // X.shape[1]))
    rows = np.linspace(0, len(X) - 1, min(len(X), n_rows)).astype(np.intp)
    values = X.read(rows) if isinstance(X, MappedRows) else X[rows]
    columns = find_unscaled(values, limit)
    if not len(columns):
        return
    named = columns if names is None else names[columns]
    listed = ", ".join(map(repr, named[:_MOST_NAMES].tolist()))
    if len(named) > _MOST_NAMES:
        listed += f" and {len(named) - _MOST_NAMES} more"
    message = (
        f"The scale of these columns of X hinders training: {listed}. Their values are "
        "far from 0 compared with their spread, very large, or far larger than those "
        "of other columns. Scale them, for example: make_pipeline(StandardScaler(), "
        "estimator)."
    )
    if issued is not None:
        issued.append(message)
    warn_user(message, ScaleWarning)


def find_unscaled(X: NDArray[Any], limit: float | None) -> Indices:
    """Return the columns whose scale hinders training.

    There are two kinds. A column is far from 0 if, after clipping, the absolute value
    of its mean is above 2 and more than 20 times its standard deviation. A 0/1 column
    with rare values has a mean below 2, so it is never far from 0. A column is large if
    its median absolute value is above 1000, or more than 100 times the lower quartile
    of the maxima of all columns. Constant columns are ignored.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        NaN is padding, which the network reads as 0.
    limit : float or None
        Limit of the clipping, x / sqrt(1 + (x / limit)^2).
    """
    values = np.nan_to_num(X.astype(np.float64))
    sizes = np.abs(values)
    varies = values.min(axis=0) < values.max(axis=0)
    if not varies.any():
        return np.flatnonzero(varies)
    with np.errstate(over="ignore"):
        seen = values if limit is None else values / np.hypot(1, values / limit)
        mean = np.abs(seen.mean(axis=0))
        is_far = (mean > 2) & (mean > 20 * seen.std(axis=0))
        largest = sizes.max(axis=0)
        bound = 100 * min(np.quantile(largest[varies], 0.25, method="lower"), 10)
        # The median, which costs most, is needed only of columns that reach the bound.
        is_large = largest > bound
        is_large[is_large] = np.median(sizes[:, is_large], axis=0) > bound
    return np.flatnonzero(varies & (is_far | is_large))
