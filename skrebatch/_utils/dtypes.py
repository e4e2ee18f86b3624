"""Dtypes, precisions and devices, from what a user names."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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
