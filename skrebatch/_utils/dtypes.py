"""Conversion of the parameters `dtype`, `precision` and `device`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_dtype(dtype: Any) -> torch.dtype:
    """Return the torch dtype given by `dtype`."""
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
    """Return the dtype of matrix products, or None if it is that of the data.

    Raise ValueError if the device does not support the precision.
    """
    if not isinstance(precision, str) or precision not in _PRECISIONS:
        names = ", ".join(f'"{name}"' for name in _PRECISIONS)
        raise ValueError(f"precision must be one of {names}, got {precision!r}.")
    resolved = _PRECISIONS[precision]
    if resolved is None:
        return None
    if dtype != torch.float32:
        raise ValueError(
            f'precision="{precision}" requires dtype="float32", got '
            f'dtype="{str(dtype).removeprefix("torch.")}". Use precision="float32", '
            "which means no rounding."
        )
    try:
        ones = torch.ones(1, 2, 2, dtype=resolved, device=device)
        torch.bmm(ones, ones)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f'precision="{precision}" is not supported on the device {device} '
            f'({reason}). Use "float32".'
        ) from error
    return resolved


def resolve_device(device: Any) -> torch.device:
    """Return the torch device given by `device`, or explain why it can't be used."""
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
            f'device={device!r} can\'t be used ({reason}). device="auto" selects the '
            "best available device."
        ) from error
    return resolved
