"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

_TOKEN = re.compile(r"[0-9a-f]{16}\.tmp")


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
    draft = place.with_name(f"{_draft_prefix(place)}{secrets.token_hex(8)}.tmp")
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


def remove_drafts(path: str | os.PathLike[str]) -> None:
    """Remove what processes killed in :func:`replace_file` have left beside a path.

    Only where no other process writes that file now.
    """
    place = Path(os.path.realpath(path))
    if place.parent.is_dir():
        for left in place.parent.iterdir():
            prefix, token = left.name[:-20], left.name[-20:]
            if prefix == _draft_prefix(place) and _TOKEN.fullmatch(token):
                left.unlink(missing_ok=True)


def _draft_prefix(place: Path) -> str:
    # A name has 255 bytes at most.
    return f".{os.fsdecode(os.fsencode(place.name)[:200])}."
