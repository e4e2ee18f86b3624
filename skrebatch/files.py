"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path


def replace_file(
    path: str | os.PathLike[str], parts: Iterable[bytes | memoryview]
) -> None:
    """Write a file beside its place and move it there once the disk has all of it.

    Whoever opens the path finds the old file or the new one. A link stays one.

    Parameters
    ----------
    path : str or path-like
        Where the file belongs, in a folder that there is.
    parts : iterable of bytes
        What it holds, one piece after the other.

    Raises
    ------
    OSError
        If it can't be written; the old file is then as it was.
    """
    place = Path(os.path.realpath(path))
    # Not by `tempfile`, whose files nobody else may read.
    draft = place.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(draft, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, place)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        raise
    if os.name == "posix":  # elsewhere folders can't be opened
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
