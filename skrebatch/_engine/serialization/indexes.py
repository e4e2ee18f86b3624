"""Indexes of pandas, taken apart into values and arrays, and put together again."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrebatch._utils.extras import import_extra


def is_index(value: Any) -> bool:
    """Return whether a value is a pandas Index, without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.Index)


def encode_index(index: Any) -> list[Any]:
    """Return the name of a kind of index, the parts that it is made of, and its names.

    The parts are arrays, other indexes and what JSON has types for.
    """
    pandas = sys.modules["pandas"]
    dtype = index.dtype
    if isinstance(index, pandas.RangeIndex):
        kind, parts = "range", [index.start, index.stop, index.step]
    elif isinstance(index, pandas.MultiIndex):
        codes = [np.asarray(level_codes) for level_codes in index.codes]
        kind, parts = "multi", [list(index.levels), codes]
    elif isinstance(index, pandas.CategoricalIndex):
        parts = [index.categories, np.asarray(index.codes), index.ordered]
        kind = "category"
    elif isinstance(index, pandas.IntervalIndex):
        kind, parts = "interval", [index.left, index.right, index.closed]
    elif isinstance(index, pandas.PeriodIndex):
        kind, parts = "period", [index.asi8, index.freqstr]
    elif isinstance(index, pandas.DatetimeIndex | pandas.TimedeltaIndex):
        zone, freq = getattr(index, "tz", None), index.freqstr
        if (
            freq is not None
            and pandas.tseries.frequencies.to_offset(freq) != index.freq
        ):
            freq = None  # of one that its name alone does not make
        values = index if zone is None else index.tz_convert(None)
        zone = None if zone is None else str(zone)
        kind, parts = "times", [index.asi8, str(values.dtype), zone, freq]
    elif isinstance(dtype, np.dtype):
        kind, parts = "plain", _encode_values(index.to_numpy())
    else:
        # Of nullable numbers, or of text.
        missing = np.asarray(index.isna())
        numbers = getattr(dtype, "numpy_dtype", np.dtype(object))
        fill = numbers.type(0) if numbers.kind in "biuf" else ""
        values = index.to_numpy(dtype=numbers, na_value=fill)
        kind, parts = "extension", [*_encode_values(values), missing, str(dtype)]
    return [kind, parts, list(index.names)]


def decode_index(content: list[Any]) -> Any:
    """Return the index that :func:`encode_index` took apart."""
    pandas = import_extra("pandas", "The index of the rows in a model file")
    if len(content) == 2:  # values and names, as in the first files
        values, names = content
        if isinstance(names, list):
            return pandas.MultiIndex.from_tuples(list(values), names=names)
        return pandas.Index(values, name=names)
    kind, parts, names = content
    if kind == "multi":
        levels, codes = parts
        return pandas.MultiIndex(levels=levels, codes=codes, names=names)
    if kind == "range":
        index = pandas.RangeIndex(*parts)
    elif kind == "category":
        categories, codes, ordered = parts
        index = pandas.CategoricalIndex(
            pandas.Categorical.from_codes(codes, categories, ordered)
        )
    elif kind == "interval":
        left, right, closed = parts
        index = pandas.IntervalIndex.from_arrays(left, right, closed)
    elif kind == "period":
        numbers, freq = parts
        dtype = pandas.PeriodDtype(freq)
        index = pandas.PeriodIndex(pandas.arrays.PeriodArray(numbers, dtype=dtype))
    elif kind == "times":
        numbers, dtype, zone, freq = parts
        if numbers.dtype != np.int64 or np.dtype(dtype).kind not in "mM":
            raise ValueError(f"{dtype!r} is not a dtype of times")
        index = pandas.Index(numbers.view(dtype))
        if zone is not None:
            index = index.tz_localize("UTC").tz_convert(zone)
        if freq is not None:
            index.freq = freq
    elif kind == "plain":
        values = _decode_values(*parts)
        index = pandas.Index(values, dtype=values.dtype, tupleize_cols=False)
    elif kind == "extension":
        *encoded, missing, dtype = parts
        array = pandas.array(_decode_values(*encoded), dtype=dtype)
        if missing.any():
            array[missing] = None
        index = pandas.Index(array)
    else:
        raise ValueError(f"{kind!r} is not a kind of index")
    return index.rename(names[0])


def _encode_values(values: NDArray[Any]) -> list[Any]:
    """Return an array and the name of its type; of floats, their bits.

    The arrays of a file have no NaN.
    """
    if values.dtype.kind != "f":
        return [values, None]
    return [values.view(f"u{values.itemsize}"), values.dtype.name]


def _decode_values(values: NDArray[Any], floats: str | None) -> NDArray[Any]:
    return values if floats is None else values.view(floats)
