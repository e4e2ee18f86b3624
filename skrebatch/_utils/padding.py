"""Rows of different length: tables whose rows end in NaN padding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skrebatch._utils.validation import to_floats, to_values


def row_lengths(X: Any) -> NDArray[np.intp]:
    """Return how long each row of a table is that ends in NaN padding.

    Estimators with ``variable_length=True`` take such tables.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        A row's values come first, then NaN to the end.

    Returns
    -------
    lengths : ndarray of int, shape (n_samples,)
        How many values each row has before its padding.

    Raises
    ------
    ValueError
        If a row holds nothing but NaN, or NaN before a value; the message names it.

    See Also
    --------
    DynamicBatchSampler : Makes batches by these lengths.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import row_lengths
    >>> row_lengths([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]])
    array([2, 3])
    """
    values = to_values(X)
    if values.dtype.kind != "f":
        values = to_floats(values, "X")
    if values.ndim != 2:
        raise ValueError(f"X must be a table, got an array of shape {values.shape}.")
    missing = np.isnan(values)
    lengths = values.shape[1] - missing.sum(axis=1)
    empty = np.flatnonzero(lengths == 0)
    if len(empty):
        raise ValueError(
            f"Row {empty[0]} of X has length 0: it holds nothing but NaN. Leave it out."
        )
    gaps = missing & (np.arange(values.shape[1]) < lengths[:, None])
    if gaps.any():
        row, column = np.argwhere(gaps)[0]
        raise ValueError(
            f"Row {row} of X has NaN in the middle, at column {column}: NaN may only "
            "pad the end of a row. Fill the gap in."
        )
    return lengths


def to_width(X: Any, n_features: int) -> Any:
    """Pad a narrower array with NaN; take columns of NaN off a wider one.

    What is no array of numbers, or has names for its columns, is returned as it is.
    """
    if hasattr(X, "columns") or sparse.issparse(X):
        return X
    values = np.asarray(X)
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        return X
    n_more = n_features - values.shape[1]
    if n_more > 0:
        padding = np.full((len(values), n_more), np.nan, dtype=np.float32)
        return np.concatenate([values, padding], axis=1)
    if n_more < 0 and np.isnan(values[:, n_more:]).all():
        return values[:, :n_features]
    return X
