"""Atomic writing of files."""

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
    """Replace a file atomically: write a temporary file, then rename it.

    Other processes see either the old or the new file. A symbolic link is followed.

    Parameters
    ----------
    path : str or path-like
        Path of the file in an existing folder.
    parts : iterable of bytes
        The content, in consecutive parts.

    Raises
    ------
    OSError
        If the file can't be written. The old file is then unchanged.
    """
    place = Path(os.path.realpath(path))
    # Not with `tempfile`, whose files only their owner can read.
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
    if os.name == "posix":  # other systems can't open folders
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_drafts(path: str | os.PathLike[str]) -> None:
    """Remove temporary files of processes that were killed in :func:`replace_file`.

    No other process may be writing the file.
    """
    place = Path(os.path.realpath(path))
    if place.parent.is_dir():
        for file in place.parent.iterdir():
            prefix, token = file.name[:-20], file.name[-20:]
            if prefix == _draft_prefix(place) and _TOKEN.fullmatch(token):
                file.unlink(missing_ok=True)


def _draft_prefix(place: Path) -> str:
    """Return the start of the names of a file's temporary files."""
    # Names of files have at most 255 bytes.
    return f".{os.fsdecode(os.fsencode(place.name)[:200])}."
