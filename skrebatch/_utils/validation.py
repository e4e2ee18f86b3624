"""Validation of data and parameters."""

from __future__ import annotations

import difflib
import math
import sys
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skrebatch._utils.arrays import as_array, keep_integers, to_floats, to_values
from skrebatch._utils.typing import Floats, Indices


def check_weights(sample_weight: Any, n_samples: int) -> NDArray[np.float64] | None:
    """Return the sample weights as an array, or None if none are given."""
    if sample_weight is None:
        return None
    weights = np.asarray(as_array(sample_weight, "sample_weight"))
    if weights.ndim == 0:
        weights = np.full(n_samples, weights)
    if weights.shape != (n_samples,):
        raise ValueError(
            f"sample_weight.shape == {weights.shape}, expected {(n_samples,)}: one "
            "weight for each row of X."
        )
    weights = to_floats(weights, "sample_weight")
    if not np.isfinite(weights).all():
        raise ValueError("sample_weight contains NaN or infinity.")
    if (weights < 0).any():
        row = int(np.flatnonzero(weights < 0)[0])
        raise ValueError(
            f"sample_weight contains negative weights, the first in row {row} "
            f"({weights[row]})."
        )
    if not (weights > 0).any():
        raise ValueError("sample_weight is zero for every row; one must be positive.")
    with np.errstate(over="ignore"):
        if not np.isfinite(weights.sum()):
            raise ValueError(
                "sample_weight is too large: the sum is infinite. Divide all weights "
                "by the same number; only their ratios matter."
            )
    return weights


def find_classes(y: Any, **options: Any) -> Any:
    """Call :func:`numpy.unique`; raise ValueError for labels that can't be sorted."""
    try:
        return np.unique(y, **options)
    except TypeError as error:
        raise ValueError(
            f"y contains labels of several kinds: {error}. Convert all labels to text "
            "or all to numbers."
        ) from error


def find_labels(y: Any, classes: NDArray[Any]) -> Indices:
    """Return the index in the classes of each label, compared by value.

    Numpy would compare integers of different types as floats, in which large ones are
    equal to their neighbours.
    """
    places = {label: i for i, label in enumerate(classes)}
    labels, codes = find_classes(y, return_inverse=True)
    found = np.array([places.get(label, -1) for label in labels], dtype=np.intp)
    if (found < 0).any():
        raise ValueError(
            "y contains labels that are not among the classes: "
            f"{labels[found < 0].tolist()}; the classes are {classes.tolist()}. With "
            "partial_fit, pass all classes to the first call as `classes`."
        )
    return found[codes]


def encode_labels(y: Any, classes: NDArray[Any]) -> Floats:
    """Encode labels as 0/1 (n, 1) for two classes, as one-hot (n, C) for more."""
    codes = find_labels(y, classes)
    if len(classes) == 2:
        return codes[:, None].astype(np.float32)
    return np.eye(len(classes), dtype=np.float32)[codes]


def locate_bad_columns(X: Any, dtype: Any = np.float64, allow_nan: bool = False) -> str:
    """Return a sentence that names the columns with values that are not finite."""
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
            bad.append(f"{name!r} (not numeric)")
            continue
        bad_rows = np.isinf(column) if allow_nan else ~np.isfinite(column)
        rows = np.flatnonzero(bad_rows)
        if len(rows):
            counts = f"non-finite values: {len(rows)}, first in row {rows[0]}"
            bad.append(f"{name!r} ({counts})")
    if not bad:
        return ""
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    return f" Check column {', '.join(bad[:5])}{more}."


def check_params(params: dict[str, Any], owner: Any) -> None:
    """Raise ValueError if a parameter can't be set, before any of them is set.

    Nested parameters are checked too. For an unknown name, the error suggests the most
    similar valid name.
    """
    values = owner.get_params(deep=False)
    valid = sorted(values)
    invalid = []
    for name in params:
        top_level, _, _ = name.partition("__")
        if top_level not in valid:
            similar = difflib.get_close_matches(top_level, valid, n=1)
            hint = f" (did you mean {similar[0]!r}?)" if similar else ""
            invalid.append(f"{top_level!r}{hint}")
    if invalid:
        raise ValueError(
            f"Invalid parameter {', '.join(invalid)} for estimator {owner}. Valid "
            f"parameters are: {valid}."
        )
    for name in params:
        top_level, is_nested, _ = name.partition("__")
        value = params.get(top_level, values[top_level])
        if is_nested and not hasattr(value, "set_params"):
            raise ValueError(
                f"{name!r} can't be set, because {top_level}={value!r} has no "
                "parameters."
            )


def check_option(value: Any, name: str, options: tuple[str, ...]) -> None:
    """Refuse what is not one of several strings."""
    if not isinstance(value, str) or value not in options:
        known = ", ".join(f'"{option}"' for option in options)
        raise ValueError(f"{name} must be one of {known}, got {value!r}.")


def check_bool(value: Any, name: str, alternative: str = "") -> None:
    """Raise ValueError if the value is not a bool."""
    if not isinstance(value, bool | np.bool_):
        also = f" {alternative}" if alternative else ""
        raise ValueError(f"{name} must be True or False{also}, got {value!r}.")


def check_integer(
    value: Any, name: str, alternative: str = "", at_least: int = 1
) -> int:
    """Return the value as an int; raise ValueError if it is not a valid integer."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < at_least:
        also = f" {alternative}" if alternative else ""
        raise ValueError(
            f"{name} must be an integer of at least {at_least}{also}, got {value!r}."
        )
    if int(value) > sys.maxsize:
        raise ValueError(f"{name} is too large; the maximum is {sys.maxsize}.")
    return int(value)


def is_finite(value: Any) -> bool:
    """Return whether a real number is finite when converted to a float."""
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer may exceed the range of floats
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
    """Raise ValueError if the value is not a finite number in the given range."""
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
    """Raise ValueError if the value is not in [0, 1], or in the given bounds."""
    check_real(value, name, **{"at_least": 0, "at_most": 1, **bounds})


def as_indices(values: ArrayLike, name: str) -> Indices:
    """Return a copy of a 1-D array of sample indices, validated."""
    indices = np.array(keep_integers(as_array(values, name)))
    if indices.size == 0:
        indices = indices.astype(np.intp)
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be a 1-D array of sample indices, got an array of shape "
            f"{indices.shape} and dtype {indices.dtype}."
        )
    # As int: numpy 1 compares its own integers with others as floats.
    may_be_large = indices.size and indices.dtype.kind == "u"
    if may_be_large and int(indices.max()) > np.iinfo(np.intp).max:
        raise ValueError(f"{name} contains {indices.max()}, which is too large.")
    return indices.astype(np.intp, copy=False)


def as_samples(values: ArrayLike, name: str, n_samples: int) -> Indices:
    """Return a copy of sample indices, validated to be in [0, `n_samples`)."""
    indices = as_indices(values, name)
    if indices.size and not 0 <= indices.min() <= indices.max() < n_samples:
        raise ValueError(
            f"{name} must contain indices in [0, {n_samples}), but they range from "
            f"{indices.min()} to {indices.max()}."
        )
    return indices
