"""Packages that may be missing."""

from __future__ import annotations

import importlib
from typing import Any


def import_extra(package: str, user: str, extra: str = "plot") -> Any:
    """Import a package of an extra, or say how to get it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f'{user} needs {package}, which comes with the extra "{extra}": '
            f'pip install "skrebatch[{extra}]".'
        ) from error
