"""Optional dependencies."""

from __future__ import annotations

import importlib
from typing import Any


def import_extra(package: str, user: str, extra: str = "plot") -> Any:
    """Import an optional dependency, or explain how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f'{user} needs {package}, which is installed with the extra "{extra}": '
            f'pip install "skrebatch[{extra}]".'
        ) from error
