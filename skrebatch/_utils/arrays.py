"""From what users pass to plain arrays, without values that would change silently."""

from __future__ import annotations

import datetime
import sys
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_NUMBERS = "biufc"  # kinds of numpy's dtypes
_TIMES = datetime.date | datetime.timedelta | np.datetime64 | np.timedelta64


def refuse_masked(values: Any, name: str) -> None:
    """Raise ValueError for masked values; numpy would use what is below the mask."""
    is_list = isinstance(values, list | tuple)
    for i, part in enumerate(values if is_list else [values]):
        if not isinstance(part, np.ma.MaskedArray):
            continue
        mask = np.ma.getmask(part)
        if not np.any(mask):
            continue
        place = np.argwhere(mask)[0].tolist()
        place = [i, *place] if is_list else place
        where = [
            f"{word} {number}"
            for word, number in zip(("row", "column"), place, strict=False)
        ]
        raise ValueError(
            f"{name} contains masked values, the first in {', '.join(where)}. The mask "
            "would be ignored: fill in the masked values, for example with "
            "numpy.ma.filled, or remove their rows."
        )


def as_array(values: Any, name: str) -> Any:
    """Return a tensor, from any device, or a masked array as a plain array.

    Other input is returned unchanged. Masked values raise ValueError.
    """
    refuse_masked(values, name)
    if isinstance(values, np.ma.MaskedArray):
        return np.asarray(values)
    if not isinstance(values, torch.Tensor):
        return values
    values = values.detach().cpu()
    # numpy does not support bfloat16.
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def keep_integers(values: Any) -> Any:
    """Return integers or booleans of any types as an array of integers or booleans.

    Numpy and scikit-learn would convert some in lists and series to floats: signed and
    unsigned integers together, and those of nullable types. Other input is returned
    unchanged.
    """
    is_list = isinstance(values, list | tuple)
    dtype = getattr(values, "dtype", None)
    is_plain = isinstance(dtype, np.dtype) and dtype.kind != "O"
    if is_plain or not (is_list or dtype):
        return values
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):  # rows of different lengths
        return values
    if array.dtype.kind in "biu" and not is_list:
        return array
    if array.ndim != 1 or array.dtype.kind not in "fO" or not array.size:
        return values
    are_bools = [isinstance(item, bool | np.bool_) for item in values]
    if all(are_bools):
        return array.astype(bool)
    if any(are_bools) or not all(isinstance(item, Integral) for item in values):
        return values
    items = [int(item) for item in values]
    for integers in (np.int64, np.uint64):
        limits = np.iinfo(integers)
        if limits.min <= min(items) and max(items) <= limits.max:
            return np.array(items, dtype=integers)
    return np.array(items, dtype=object)


def refuse_missing(y: Any) -> None:
    """Raise ValueError for missing values among objects, dates and times of `y`."""
    try:
        array = np.asarray(y)
    except (TypeError, ValueError):  # rows of different lengths, refused later
        return
    missing: NDArray[np.bool_] = np.zeros(1, dtype=bool)
    if array.dtype.kind in "mM":
        missing = np.isnat(array)
    elif array.dtype == object and array.ndim:
        pandas = sys.modules.get("pandas")
        if pandas is None:
            missing = np.array([v is None or v != v for v in array.ravel()], dtype=bool)
        else:
            missing = pandas.isna(array)
    if missing.any():
        rows = np.flatnonzero(missing.reshape(len(array), -1).any(axis=1))
        raise ValueError(
            f"y has missing values in {len(rows)} rows, first in row {rows[0]}. Remove "
            "these rows from X and y."
        )


def to_values(X: Any) -> NDArray[Any]:
    """Return the values of a table as an array, with pd.NA replaced by NaN."""
    values = np.asarray(X)
    if values.dtype == object and hasattr(X, "isna"):
        values = np.where(X.isna(), np.nan, values)
    return values


def refuse_non_numbers(values: Any, name: str) -> None:
    """Raise ValueError for text, dates and times, and name their columns.

    Numpy would convert them to numbers: the text "00700" to 700, dates to days.
    """
    bad = [
        f"{'it' if column is None else f'column {column!r}'} contains {found}"
        for column, part in columns_of(values)
        if (found := find_non_number(part))
    ]
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise ValueError(
            f"{name} must contain numbers, but {', '.join(bad[:5])}{more}. Convert "
            "text and dates to numbers first, for example with a pipeline: "
            "skrub.tabular_pipeline(estimator)."
        )


def columns_of(values: Any) -> list[tuple[Any, Any]]:
    """Return names and values of the columns that may hold other than numbers."""
    if hasattr(values, "columns") and hasattr(values, "dtypes"):  # a data frame
        table = getattr(values, "iloc", values)
        return [
            (name, table[:, j])
            for j, (name, dtype) in enumerate(
                zip(values.columns, values.dtypes, strict=True)
            )
            if getattr(dtype, "kind", "O") not in _NUMBERS
        ]
    is_array = hasattr(values, "dtype")
    try:
        array = np.asarray(values)
        if array.dtype.kind in "SU" and not is_array:  # with numbers among the text
            array = np.asarray(values, dtype=object)
    except (TypeError, ValueError):  # rows of different lengths, refused later
        return []
    if array.dtype.kind in _NUMBERS:
        return []
    if array.ndim == 2:
        return [(j, array[:, j]) for j in range(array.shape[1])]
    return [(None, values if is_array else array)]


def find_non_number(column: Any) -> str:
    """Return what a column contains beside numbers; nothing if that is all."""
    kind = str(getattr(column, "dtype", ""))
    if kind.lower().startswith(("date", "time", "duration", "period")):
        return f"dates or times ({kind})"
    items = np.asarray(column)
    if items.dtype.kind in _NUMBERS:
        return ""
    for row, item in enumerate(items.ravel().tolist()):
        if isinstance(item, str | bytes):
            return f"text ({item!r:.40} in row {row})"
        if isinstance(item, _TIMES):
            return f"dates or times ({item!r} in row {row})"
    return ""


def to_floats(values: Any, name: str) -> NDArray[np.float64]:
    """Return real numbers as float64; raise ValueError for other values."""
    values = as_array(values, name)
    refuse_non_numbers(values, name)
    array = np.asarray(values)
    if array.dtype.kind == "c":
        raise ValueError(f"{name} must contain real numbers, got {array.dtype}.")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must contain numbers: {error}.") from error
