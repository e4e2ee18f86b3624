"""Conversion between Python values and JSON with numeric arrays, for model files.

Values that JSON supports are written as they are. Every other value is an object with
one entry, which maps the name of a kind to an encoding: ``{"tuple": [8, 16]}``. Only
the kinds listed here can be read from a file, and none of them executes code from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.history import History
from torch.optim import Optimizer, lr_scheduler

from skrebatch._engine.optim.lr_schedules import LRSchedule
from skrebatch._engine.serialization.indexes import (
    decode_index,
    encode_index,
    is_index,
)
from skrebatch.sampling._loss_log import LossLog
from skrebatch.strategies import STRATEGIES, Plan

Arrays = dict[str, NDArray[Any]]

_NUMBERS = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"),
    *("uint64", "float16", "float32", "float64"),
)
_LAST_CHARACTER = 0x10FFFF
_STRATEGIES: dict[str, type[Any]] = {cls.__name__: cls for cls in STRATEGIES.values()}
_CLASSES: dict[str, type[Any]] = _STRATEGIES | {
    f"{module.__name__}.{name}": value
    for module in (torch.optim, lr_scheduler)
    for name, value in vars(module).items()
    if isinstance(value, type)
    and issubclass(value, Optimizer | lr_scheduler.LRScheduler)
}
_CLASS_NAMES = {cls: name for name, cls in _CLASSES.items()}


@dataclass(frozen=True)
class _Kind:
    """A kind of value: how to recognise, encode and decode it."""

    matches: Callable[[Any], bool]
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def _exactly(cls: type[Any]) -> Callable[[Any], bool]:
    return lambda value: type(value) is cls


def _encode_text(array: NDArray[Any]) -> NDArray[np.uint32]:
    """Return the code points of strings (...) as integers (..., width)."""
    width = array.dtype.itemsize // 4
    array = np.ascontiguousarray(array, dtype=f"<U{width}")
    return array.view(np.uint32).reshape(*array.shape, width)


def _decode_text(codes: NDArray[Any]) -> NDArray[np.str_]:
    if codes.dtype != np.uint32 or not codes.shape[-1] or not codes.size:
        raise ValueError("code points expected")
    if codes.max() > _LAST_CHARACTER:
        raise ValueError("a number that is not a code point")
    return np.ascontiguousarray(codes).view(f"<U{codes.shape[-1]}")[..., 0]


def _is_text(value: Any) -> bool:
    """Return whether all objects of an array are strings that numpy can store."""
    if not (_exactly(np.ndarray)(value) and value.dtype == object and value.size):
        return False
    strings = all(type(item) is str for item in value.flat)
    return strings and bool((value.astype(str) == value).all())


def _is_finite(value: Any) -> bool:
    """Return whether a value is an array of finite numbers with a supported dtype."""
    return (
        type(value) is np.ndarray
        and value.dtype.name in _NUMBERS
        and (value.dtype.kind != "f" or bool(np.isfinite(value).all()))
    )


def _is_row_of_numbers(value: Any) -> bool:
    """Return whether a value is a long list of numbers of one type."""
    if type(value) is not list or len(value) < 16:
        return False
    types = {type(item) for item in value}
    if types not in ({bool}, {int}, {float}):
        return False
    array = np.asarray(value)  # of floats for some integers beyond 64 bits
    return array.dtype == np.dtype(types.pop()) and _is_finite(array)


def _encode_history(history: History) -> dict[str, Any]:
    """Return the indices of the rows with each name, and the values, by name."""
    columns: dict[str, Any] = {}
    for i, row in enumerate(history):
        for name, value in row.items():
            rows, values = columns.setdefault(name, ([], []))
            rows.append(i)
            values.append(value)
    return columns


def _decode_history(columns: dict[str, Any]) -> History:
    # Every row has `batches`, so no row is missing.
    longest = max((len(rows) for rows, _ in columns.values()), default=0)
    history: list[dict[str, Any]] = [{} for _ in range(longest)]
    for name, (rows, values) in columns.items():
        for row, value in zip(rows, values, strict=True):
            history[row][name] = value
    return History(history)


def _is_list_like(value: Any) -> bool:
    """Return whether a value is an array that is written as a list of values."""
    names = "float16", "float32", "float64", "object"
    return _exactly(np.ndarray)(value) and (
        value.ndim == 1 and value.dtype.name in names
    )


def _decode_array(content: Any) -> NDArray[Any]:
    dtype, items = content
    array = np.empty(len(items), dtype=_number_or_object(dtype))
    for i, item in enumerate(items):  # np.array would unpack tuples
        array[i] = item
    return array


def _number_or_object(name: str) -> np.dtype[Any]:
    if name not in (*_NUMBERS, "object"):
        raise ValueError(f"unknown dtype {name!r}")
    return np.dtype(name)


def _decode_time(content: Any) -> NDArray[Any]:
    dtype, numbers = content
    if np.dtype(dtype).kind not in "mM" or numbers.dtype != np.int64:
        raise ValueError(f"{dtype!r} is not a datetime or timedelta dtype")
    return numbers.view(dtype)


def _decode_scalar(content: Any) -> Any:
    dtype, value = content
    if dtype == "str":
        return np.str_(value)
    return np.dtype(_number_or_object(dtype)).type(value)


def _decode_rng(state: Any) -> np.random.Generator:
    rng = np.random.default_rng(0)
    rng.bit_generator.state = state
    return rng


# The first kind that matches is used.
_KINDS: dict[str, _Kind] = {
    "float": _Kind(
        lambda v: type(v) is float and not math.isfinite(v), repr, lambda v: float(v)
    ),
    "numbers": _Kind(_is_row_of_numbers, np.asarray, lambda v: v.tolist()),
    "tuple": _Kind(_exactly(tuple), list, tuple),
    "dict": _Kind(_exactly(dict), lambda v: [list(item) for item in v.items()], dict),
    "scalar": _Kind(
        lambda v: (
            isinstance(v, np.str_)
            or (isinstance(v, np.generic) and v.dtype.name in _NUMBERS)
        ),
        lambda v: ["str" if isinstance(v, np.str_) else v.dtype.name, v.item()],
        _decode_scalar,
    ),
    "text": _Kind(
        lambda v: _exactly(np.ndarray)(v) and v.dtype.kind == "U" and v.size > 0,
        _encode_text,
        _decode_text,
    ),
    "strings": _Kind(_is_text, lambda v: v.astype(str), lambda v: v.astype(object)),
    "time": _Kind(
        lambda v: _exactly(np.ndarray)(v) and v.dtype.kind in "mM",
        lambda v: [v.dtype.str, v.view(np.int64)],
        _decode_time,
    ),
    "values": _Kind(_is_list_like, lambda v: [v.dtype.name, v.tolist()], _decode_array),
    "shaped": _Kind(
        lambda v: _exactly(np.ndarray)(v) and v.dtype.kind == "f" and v.ndim != 1,
        lambda v: [list(v.shape), v.ravel()],
        lambda v: v[1].reshape(v[0]),
    ),
    "masked": _Kind(
        _exactly(np.ma.MaskedArray),
        lambda v: [v.data, np.ma.getmaskarray(v)],
        lambda v: np.ma.MaskedArray(*v),
    ),
    "index": _Kind(is_index, encode_index, decode_index),
    "class": _Kind(
        lambda v: isinstance(v, type) and v in _CLASS_NAMES,
        _CLASS_NAMES.__getitem__,
        _CLASSES.__getitem__,
    ),
    "strategy": _Kind(
        lambda v: type(v) in _STRATEGIES.values(),
        lambda v: [type(v).__name__, v.get_params(deep=False)],
        lambda v: _STRATEGIES[v[0]](**v[1]),
    ),
    "device": _Kind(_exactly(torch.device), str, torch.device),
    "rng": _Kind(
        lambda v: type(getattr(v, "bit_generator", None)) is np.random.PCG64,
        lambda v: v.bit_generator.state,
        _decode_rng,
    ),
    "plan": _Kind(_exactly(Plan), lambda v: dict(vars(v)), lambda v: Plan(**v)),
    "log": _Kind(_exactly(LossLog), LossLog.state_dict, LossLog.from_state),
    "rate": _Kind(_exactly(LRSchedule), LRSchedule.state_dict, LRSchedule.from_state),
    "history": _Kind(_exactly(History), _encode_history, _decode_history),
}


def to_plain(value: Any, arrays: Arrays, where: str) -> Any:
    """Convert a value to JSON values, and add its numeric arrays to `arrays`.

    Parameters
    ----------
    value : object
    arrays : dict of str to ndarray
        The arrays so far. New arrays are named by their number.
    where : str
        Description of the value for the error message.

    Returns
    -------
    plain : None, bool, int, float, str, list or dict

    Raises
    ------
    ValueError
        If the value is or contains an object of an unknown kind; the message says
        where.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is list and not _is_row_of_numbers(value):
        return [to_plain(v, arrays, f"{where}[{i}]") for i, v in enumerate(value)]
    if _is_finite(value):
        name = f"array.{len(arrays)}"
        arrays[name] = np.asarray(value, value.dtype.newbyteorder("="), order="C")
        return {"array": name}
    for name, kind in _KINDS.items():
        if kind.matches(value):
            return {name: to_plain(kind.encode(value), arrays, where)}
    if isinstance(value, type):
        raise ValueError(f"{where} is {value.__name__}, which a model file can't hold.")
    raise ValueError(
        f"{where} is of type {type(value).__name__}, which a model file can't hold."
    )


def is_plain(value: Any) -> bool:
    """Return whether :func:`to_plain` can convert a value."""
    try:
        to_plain(value, {}, "")
    except ValueError:
        return False
    return True


def from_plain(plain: Any, arrays: Arrays) -> Any:
    """Return the value that :func:`to_plain` has converted.

    Parameters
    ----------
    plain : None, bool, int, float, str, list or dict
    arrays : dict of str to ndarray
        The arrays; those used by the value are removed.

    Returns
    -------
    value : object

    Raises
    ------
    Exception
        Any exception, if `plain` is not a result of :func:`to_plain`.
    """
    if isinstance(plain, list):
        return [from_plain(value, arrays) for value in plain]
    if not isinstance(plain, dict):
        return plain
    ((name, content),) = plain.items()
    if name == "array":
        return arrays.pop(content)
    return _KINDS[name].decode(from_plain(content, arrays))
