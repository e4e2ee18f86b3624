"""From arrays to the one table of tensors that training reads rows of."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.floating]

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Table:
    """Rows to train on, as tensors on the training device.

    Attributes
    ----------
    features : torch.Tensor of shape (n_rows, n_features + 2)
        The features, then the constants 1 and 0 that the fused network reads. Where
        rows vary in length, zeros instead of padding, and the length as a last column.
    targets : torch.Tensor of shape (n_rows, n_outputs)
    """

    features: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.features)

    def read(self, rows: torch.Tensor, out: torch.Tensor) -> None:
        """Write rows, by index, into memory of shape (n, n_features + 2) or wider."""
        torch.index_select(self.features, 0, rows, out=out)

    def add_up(self, values: torch.Tensor) -> None:
        """Sum values over the processes that share the table; here one has it all."""

    def per_row(
        self,
        compute: Callable[[list[NDArray[np.intp]]], list[Floats]],
        rows: list[NDArray[np.intp]],
    ) -> list[Floats]:
        """Compute something for sets of rows, where those are that hold them."""
        return compute(rows)


def make_table(
    X: list[Floats],
    targets: list[Floats],
    dtype: torch.dtype,
    device: torch.device,
    variable_length: bool = False,
) -> Table:
    """Stack pieces of a table, copying each row once."""
    n_rows, n_features = sum(len(piece) for piece in X), X[0].shape[1]
    features = torch.empty(n_rows, n_features + 2 + variable_length, dtype=dtype)
    features[:, n_features], features[:, n_features + 1] = 1, 0
    values = features[:, :n_features]
    np.concatenate(X, out=values.numpy(), casting="same_kind")
    if variable_length:
        features[:, -1] = values.isnan().logical_not_().sum(1)
        values.nan_to_num_(0.0)
    y = torch.from_numpy(np.concatenate(targets)).to(device, dtype)
    return Table(features.to(device), y)


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
    values = _values_of(X)
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


def resolve_dtype(dtype: Any) -> torch.dtype:
    """Return the torch dtype that `dtype` names."""
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise ValueError(f'dtype must be "float32" or "float64", got {dtype!r}.')
    return _DTYPES[name]


def numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    """Return the numpy dtype of the same name."""
    return np.dtype(str(dtype).removeprefix("torch."))


def resolve_precision(
    precision: Any, dtype: torch.dtype, device: torch.device
) -> torch.dtype | None:
    """Return the dtype of matrix products, None for that of the data.

    A precision that the device can't multiply in is refused.
    """
    if not isinstance(precision, str) or precision not in _PRECISIONS:
        names = ", ".join(f'"{name}"' for name in _PRECISIONS)
        raise ValueError(f"precision must be one of {names}, got {precision!r}.")
    resolved = _PRECISIONS[precision]
    if resolved is None:
        return None
    if dtype != torch.float32:
        raise ValueError(
            f'precision="{precision}" rounds the numbers of float32; with '
            f'dtype="{str(dtype).removeprefix("torch.")}" only "float32" (no rounding) '
            "has a meaning."
        )
    try:
        ones = torch.ones(1, 2, 2, dtype=resolved, device=device)
        torch.bmm(ones, ones)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f'precision="{precision}" can\'t be had on the device {device} ({reason}); '
            'use "float32".'
        ) from error
    return resolved


def resolve_device(device: Any) -> torch.device:
    """Return the device that `device` names, or say why it can't be had."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f'device={device!r} can\'t be used here ({reason}); device="auto" takes '
            "the best device there is."
        ) from error
    return resolved


def as_array(values: Any) -> Any:
    """Return a tensor's values, wherever it lies, as an array; all else as it is."""
    if not isinstance(values, torch.Tensor):
        return values
    values = values.detach().cpu()
    # numpy has no bfloat16.
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def _values_of(X: Any) -> NDArray[Any]:
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
    values = _values_of(X)
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


def check_flag(value: Any, name: str) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}.")


def check_whole(value: Any, name: str, alternative: str = "", at_least: int = 1) -> int:
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


def check_share(value: Any, name: str, **bounds: float) -> None:
    """Refuse what is not a number in [0, 1], or in narrower bounds."""
    check_real(value, name, **{"at_least": 0, "at_most": 1, **bounds})
