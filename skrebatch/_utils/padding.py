"""Tables whose rows differ in length and are padded with NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skrebatch._utils.arrays import as_array, refuse_non_numbers, to_floats, to_values


def row_lengths(X: Any) -> NDArray[np.intp]:
    """Return the length of each row of a table whose rows are padded with NaN.

    Estimators with ``variable_length=True`` accept such tables.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Table whose rows consist of values followed by NaN padding.

    Returns
    -------
    lengths : ndarray of int, shape (n_samples,)
        Number of values before the padding of each row.

    Raises
    ------
    ValueError
        If a row contains only NaN, or NaN before a value. The message gives the row.

    See Also
    --------
    DynamicBatchSampler : Groups rows of similar length into batches.

    Examples
    --------
    >>> import numpy as np
    >>> from skrebatch import row_lengths
    >>> row_lengths([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]])
    array([2, 3])
    """
    X = as_array(X, "X")
    refuse_non_numbers(X, "X")
    values = to_values(X)
    if values.dtype.kind != "f":
        values = to_floats(values, "X")
    if values.ndim != 2:
        raise ValueError(f"X must be 2-D, got an array of shape {values.shape}.")
    missing = np.isnan(values)
    lengths = values.shape[1] - missing.sum(axis=1)
    empty = np.flatnonzero(lengths == 0)
    if len(empty):
        raise ValueError(
            f"Row {empty[0]} of X has length 0: it contains only NaN. Remove it."
        )
    gaps = missing & (np.arange(values.shape[1]) < lengths[:, None])
    if gaps.any():
        row, column = np.argwhere(gaps)[0]
        raise ValueError(
            f"Row {row} of X has NaN before a value, at column {column}. NaN is "
            "allowed only as padding at the end of a row; fill in the missing value."
        )
    return lengths


def to_width(X: Any, n_features: int) -> Any:
    """Pad a narrower array with NaN; remove columns of NaN from a wider one.

    Input that is not a numeric array, or that has column names, is returned unchanged.
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
