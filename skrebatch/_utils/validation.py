"""Checks of data and parameters, with errors that say what to do."""

from __future__ import annotations

import difflib
import math
import sys
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from skrebatch._utils.typing import Floats, Indices


def as_array(values: Any) -> Any:
    """Return a tensor's values, wherever it lies, as an array; all else as it is."""
    if not isinstance(values, torch.Tensor):
        return values
    values = values.detach().cpu()
    # numpy has no bfloat16.
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def to_values(X: Any) -> NDArray[Any]:
    """Return a table's values, and NaN for pd.NA, which is no number but missing."""
    values = np.asarray(as_array(X))
    if values.dtype == object and hasattr(X, "isna"):
        values = np.where(X.isna(), np.nan, values)
    return values


def refuse_dates(values: Any, name: str) -> None:
    """Refuse times, which numpy would take for numbers of their units."""
    columns = getattr(values, "columns", None)
    kinds = getattr(values, "dtypes", None)
    if columns is None or kinds is None:
        columns, kinds = [None], [getattr(values, "dtype", None)]
    for column, kind in zip(columns, kinds, strict=True):
        if str(kind).lower().startswith(("date", "time", "duration", "period")):
            where = name if column is None else f"Column {column!r} of {name}"
            raise ValueError(
                f"{where} holds times ({kind}): make numbers of them, such as the days "
                "since a date."
            )


def to_floats(values: Any, name: str) -> NDArray[np.float64]:
    """Return numbers as float64, refusing what are none, or none of the real line."""
    array = np.asarray(as_array(values))
    if array.dtype.kind in "cmM":
        raise ValueError(f"{name} must hold real numbers, got {array.dtype}.")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must hold numbers: {error}.") from error


def check_weights(sample_weight: Any, n_samples: int) -> NDArray[np.float64] | None:
    """Return the sample weights as an array, or None where all are equal."""
    if sample_weight is None:
        return None
    weights = np.asarray(as_array(sample_weight))
    if weights.ndim == 0:
        weights = np.full(n_samples, weights)
    if weights.shape != (n_samples,):
        raise ValueError(
            f"sample_weight.shape == {weights.shape}, expected {(n_samples,)}: one "
            "weight for each row of X."
        )
    weights = to_floats(weights, "sample_weight")
    if not np.isfinite(weights).all():
        raise ValueError("sample_weight holds NaN or infinity.")
    if (weights < 0).any():
        row = int(np.flatnonzero(weights < 0)[0])
        raise ValueError(
            f"sample_weight holds negative weights, the first at row {row} "
            f"({weights[row]})."
        )
    if not (weights > 0).any():
        raise ValueError("sample_weight is zero for every row: nothing to learn from.")
    with np.errstate(over="ignore"):
        if not np.isfinite(weights.sum()):
            raise ValueError(
                "sample_weight is too large: the sum is infinite. Divide the weights "
                "by a number; only their ratios matter."
            )
    return weights


def encode_labels(y: Any, classes: NDArray[Any]) -> Floats:
    """Encode labels as 0/1 (n, 1) for two classes, one-hot (n, C) for more."""
    y = np.asarray(y)
    codes = np.searchsorted(classes, y)
    found = classes[np.minimum(codes, len(classes) - 1)]
    if found.dtype.kind != y.dtype.kind:
        # Before numpy 1.25, comparing numbers with text gives no array.
        found, y = found.astype(object), y.astype(object)
    known = found == y
    if not np.all(known):
        unknown = np.unique(np.asarray(y)[~known])
        raise ValueError(
            f"y holds labels that are not among the classes: {unknown.tolist()}; the "
            f"classes are {classes.tolist()}. The first partial_fit is told all of "
            "them by its `classes`."
        )
    if len(classes) == 2:
        return codes[:, None].astype(np.float32)
    return np.eye(len(classes), dtype=np.float32)[codes]


def check_not_constant(y: Floats) -> None:
    """Refuse targets (n, T) of which one never varies."""
    constant = np.flatnonzero((y == y[0]).all(axis=0))
    if len(constant):
        where = f" in column {constant[0]}" if y.shape[1] > 1 else ""
        raise ValueError(
            f"y is constant{where} (every value is {y[0, constant[0]]}): there is "
            "nothing to learn. scikit-learn's DummyRegressor predicts a constant."
        )


def locate_bad_columns(X: Any, dtype: Any = np.float64, allow_nan: bool = False) -> str:
    """Say which columns of a table are not finite numbers of the dtype."""
    columns = getattr(X, "columns", None)
    values = to_values(X)
    if values.ndim != 2 or values.dtype.kind == "c":
        return ""
    names = range(values.shape[1]) if columns is None else columns
    bad = []
    for j, name in enumerate(names):
        try:
            with np.errstate(over="ignore"):
                column = values[:, j].astype(dtype)
        except (TypeError, ValueError, OverflowError):
            bad.append(f"{name!r} (not all numbers)")
            continue
        bad_rows = np.isinf(column) if allow_nan else ~np.isfinite(column)
        rows = np.flatnonzero(bad_rows)
        if len(rows):
            bad.append(f"{name!r} (not finite in {len(rows)} rows, first {rows[0]})")
    if not bad:
        return ""
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    return f" Look at column {', '.join(bad[:5])}{more}."


def check_params(params: dict[str, Any], owner: Any) -> None:
    """Refuse parameters that can't be set, nested ones too, before one of them is.

    Of a name that is not known, the nearest that is known is named.
    """
    values = owner.get_params(deep=False)
    known = sorted(values)
    told = []
    for name in params:
        own, _, _ = name.partition("__")
        if own not in known:
            near = difflib.get_close_matches(own, known, n=1)
            told.append(f"{own!r}{f' (did you mean {near[0]!r}?)' if near else ''}")
    if told:
        raise ValueError(
            f"Invalid parameter {', '.join(told)} for estimator {owner}. Valid "
            f"parameters are: {known}."
        )
    for name in params:
        own, is_nested, _ = name.partition("__")
        value = params.get(own, values[own])
        if is_nested and not hasattr(value, "set_params"):
            raise ValueError(
                f"{own}={value!r} has no parameters, so that {name!r} can't be set: it "
                "would take an object that has some."
            )


def check_bool(value: Any, name: str) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}.")


def check_integer(
    value: Any, name: str, alternative: str = "", at_least: int = 1
) -> int:
    """Return an int, refusing what is no whole number of at least 1 or the bound."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < at_least:
        also = f" {alternative}" if alternative else ""
        raise ValueError(
            f"{name} must be a whole number of at least {at_least}{also}, "
            f"got {value!r}."
        )
    if int(value) > sys.maxsize:
        raise ValueError(f"{name} is too large: it may be {sys.maxsize} at most.")
    return int(value)


def is_finite(value: Any) -> bool:
    """Tell whether a real number is finite, as a float."""
    try:
        return math.isfinite(value)
    except OverflowError:  # of a whole number that no float holds
        return False


def check_real(
    value: Any,
    name: str,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
) -> None:
    """Refuse what is not a finite number in the given range."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not (
        is_number
        and is_finite(value)
        and above < float(value) < below
        and at_least <= float(value) <= at_most
    ):
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (
                ("above", above),
                ("of at least", at_least),
                ("of at most", at_most),
                ("below", below),
            )
            if math.isfinite(bound)
        ]
        raise ValueError(
            f"{name} must be a finite number {' and '.join(bounds)}, got {value!r}."
        )


def check_fraction(value: Any, name: str, **bounds: float) -> None:
    """Refuse what is not a number in [0, 1], or in narrower bounds."""
    check_real(value, name, **{"at_least": 0, "at_most": 1, **bounds})


def as_indices(values: ArrayLike, name: str) -> Indices:
    """Return a copy of sample numbers, refusing what is none."""
    indices = np.array(as_array(values))
    if indices.size == 0:
        indices = indices.astype(np.intp)
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be a 1-D array of sample numbers, got an array of shape "
            f"{indices.shape} and dtype {indices.dtype}."
        )
    return indices.astype(np.intp, copy=False)


def as_samples(values: ArrayLike, name: str, n_samples: int) -> Indices:
    """Return a copy of numbers of samples, refusing what is outside the table."""
    indices = as_indices(values, name)
    if indices.size and not 0 <= indices.min() <= indices.max() < n_samples:
        raise ValueError(
            f"{name} holds numbers outside [0, {n_samples}): they reach from "
            f"{indices.min()} to {indices.max()}."
        )
    return indices
