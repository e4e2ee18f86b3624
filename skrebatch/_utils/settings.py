"""Settings of numpy and torch that a user may have changed for a whole process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import torch

_Function = TypeVar("_Function", bound=Callable[..., Any])

# The handling of floating-point errors.
_ERRORS: Any = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


@contextlib.contextmanager
def default_settings() -> Iterator[None]:
    """Compute with the defaults of numpy and torch; restore the user's afterwards.

    These are the handling of floating-point errors, the device of new tensors, the
    recording of gradients, and autocast. The default dtype is not among them, because
    all threads share it: every tensor is created with a dtype of its own.
    """
    if _are_default():
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(np.errstate(**_ERRORS))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        # Only if necessary: it slows down each call of torch.
        if _default_device() != "cpu":
            stack.enter_context(torch.device("cpu"))
        for device_type in "cpu", "cuda":
            if torch.is_autocast_enabled(device_type):
                stack.enter_context(torch.autocast(device_type, enabled=False))
        yield


def _are_default() -> bool:
    """Return whether there is nothing to set, as within another call."""
    return (
        torch.is_grad_enabled()
        and not torch.is_inference_mode_enabled()
        and np.geterr() == _ERRORS
        and _default_device() == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and not torch.is_autocast_enabled("cuda")
    )


def _default_device() -> str:
    """Return the type of the device of new tensors."""
    try:
        return torch.get_default_device().type
    except AttributeError:  # torch 2.6 fails after torch.set_default_device(None)
        return "cpu"


def with_default_settings(function: _Function) -> _Function:
    """Decorate a function to run with the default settings.

    Unlike the decorators of contextlib, it leaves no frame of another package on the
    stack, so warnings still point to the user's line.
    """

    @wraps(function)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        with default_settings():
            return function(*args, **kwargs)

    return decorated  # type: ignore[return-value]
