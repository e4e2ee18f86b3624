"""Memory-mapped rows, for tables larger than memory."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import get_config

from skrebatch._engine.tables.table import Table
from skrebatch._utils.typing import Floats, Indices
from skrebatch._utils.user_warnings import warn_user

# Gaps up to this number of bytes are read too; a separate call would cost more.
_GAP = 4096
# Number of bytes of the rows that are checked at once.
_BLOCK = 2**22
# Whether the system supports prefetching parts of a file.
_CAN_PREFETCH = hasattr(os, "posix_fadvise")


@dataclass(frozen=True)
class MappedRows:
    """The rows of a memory-mapped array, read from its file on demand.

    The file is read instead of mapped: mapped pages count as memory of the process,
    and truncating a mapped file crashes the process.

    Attributes
    ----------
    path : str
    offset : int
        Position of the first row in the file, in bytes.
    pitch : int
        Number of bytes from one row to the next.
    shape : tuple of int
        Numbers of rows and columns.
    stored, dtype : numpy.dtype
        Dtype in the file, and dtype of the rows returned.
    stamp : tuple of int
        Size, modification time and inode of the file, to detect changes.
    """

    path: str
    offset: int
    pitch: int
    shape: tuple[int, int]
    stored: np.dtype[Any]
    dtype: np.dtype[Any]
    stamp: tuple[int, ...]

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, block: slice) -> Floats:
        """Read a block of rows; raise ValueError if a value is not finite."""
        start, stop, _ = block.indices(len(self))
        values = self.read(np.arange(start, stop))
        bad = ~np.isfinite(values)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ValueError(
                f"X contains NaN, infinity or a value too large for {self.dtype}, the "
                f"first in row {start + row}, column {column} of the array mapped from "
                f"{self.path}."
            )
        return values

    def check(self) -> None:
        """Read all rows once; raise ValueError if a value is not finite."""
        n_rows = max(1, _BLOCK // (self.shape[1] * self.dtype.itemsize))
        for start in range(0, len(self), n_rows):
            self[start : start + n_rows]

    def read(self, rows: Indices) -> Floats:
        """Read some rows, (n, F), with few sequential calls.

        Raises
        ------
        OSError
            If the file has changed since the array was checked.
        """
        if not len(rows):
            return np.empty((0, self.shape[1]), self.dtype)
        order = rows.argsort(kind="stable")
        ordered = rows[order]
        width = self.shape[1] * self.stored.itemsize
        cuts = np.flatnonzero(np.diff(ordered) * self.pitch - width > _GAP) + 1
        starts = ordered[np.concatenate(([0], cuts))]
        lengths = ordered[np.append(cuts, len(rows)) - 1] + 1 - starts
        ends = lengths.cumsum()
        # Position of each requested row among the rows read.
        places = np.empty(len(rows), dtype=np.intp)
        spans = np.diff(np.concatenate(([0], cuts, [len(rows)])))
        places[order] = ordered + np.repeat(ends - lengths - starts, spans)
        read = np.empty((ends[-1], self.pitch), np.uint8)
        self._read_spans(read, starts, lengths)
        values = read[:, :width].view(self.stored)[places]
        with np.errstate(over="ignore"):  # checked before
            return values.astype(self.dtype, copy=False)

    def _read_spans(
        self, memory: NDArray[np.uint8], starts: Indices, lengths: Indices
    ) -> None:
        """Read spans of rows into contiguous memory."""
        # The file may end with the last row, without the gap that follows other rows.
        missing = self.pitch - self.shape[1] * self.stored.itemsize
        places = memory.reshape(-1).data
        ends = (lengths.cumsum() * self.pitch).tolist()
        spans = list(
            zip((self.offset + starts * self.pitch).tolist(), ends, strict=True)
        )
        try:
            with open(self.path, "rb", buffering=0) as file:
                descriptor = file.fileno()
                if _CAN_PREFETCH and len(spans) > 1:
                    # Lets the disk fetch all spans at once.
                    need, at = os.POSIX_FADV_WILLNEED, 0
                    for start, end in spans:
                        os.posix_fadvise(descriptor, start, end - at, need)
                        at = end
                at = 0
                for start, end in spans:
                    file.seek(start)
                    while at < end - missing:
                        n_bytes = file.readinto(places[at : end - missing])
                        if not n_bytes:
                            raise self._error("has changed")
                        at += n_bytes
                    at = end
                # Checked after reading, so that it covers everything read.
                if _stamp(descriptor) != self.stamp:
                    raise self._error("has changed")
        except FileNotFoundError as error:
            raise self._error("was deleted") from error

    def _error(self, what: str) -> OSError:
        return OSError(
            f"The file {self.path}, from which X is mapped, {what} since X was "
            "checked. The estimator is unchanged. Map the file again, and do not "
            "write to it during fit."
        )


@dataclass(frozen=True)
class MappedTable(Table):
    """A table whose rows are read batch by batch; `features` has no rows.

    Attributes
    ----------
    pieces : list of MappedRows or ndarray
        The rows, in consecutive pieces.
    """

    pieces: list[MappedRows | Floats]

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(len(piece) for piece in self.pieces)

    def read(self, rows: torch.Tensor, out: torch.Tensor) -> None:
        """Write the rows with the given indices to `out`, (n, n_features + 2)."""
        indices = rows.cpu().numpy()
        host = out if out.device.type == "cpu" else torch.empty_like(out, device="cpu")
        host[:, -2], host[:, -1] = 1, 0
        values = host[:, :-2].numpy()
        start = 0
        for piece in self.pieces:
            here: Any = (start <= indices) & (indices < start + len(piece))
            here = slice(None) if here.all() else here
            places = indices[here] - start
            if isinstance(piece, MappedRows):
                values[here] = piece.read(places)
            else:
                values[here] = piece[places]
            start += len(piece)
        if host is not out:
            out.copy_(host)


def make_mapped_table(
    pieces: list[MappedRows | Floats],
    targets: list[Floats],
    dtype: torch.dtype,
    device: torch.device,
) -> MappedTable:
    """Create a table from pieces, some of which stay in their files."""
    features = torch.empty(0, pieces[0].shape[1] + 2, dtype=dtype, device=device)
    y = torch.from_numpy(np.concatenate(targets)).to(device, dtype)
    return MappedTable(features, y, pieces)


def map_rows(X: Any, dtype: np.dtype[Any], variable_length: bool) -> MappedRows | None:
    """Return the rows of a memory-mapped array that is too large to load.

    Return None for all other X, which must be loaded. An array is too large if it needs
    more than the `working_memory` of scikit-learn's configuration.
    """
    if not isinstance(X, np.ndarray) or X.ndim != 2 or X.dtype.kind not in "fiub":
        return None
    if X.size * dtype.itemsize <= get_config()["working_memory"] * 2**20:
        return None
    root = _root_of(X)
    if root is None:
        return None
    pitch, step = X.strides
    width = X.shape[1] * X.itemsize
    reason = ""
    if variable_length:
        reason = "variable_length=True needs the lengths of all rows"
    elif root.filename is None:
        reason = "the name of its file is unknown"
    elif root.mode == "c":
        reason = "with mode 'c' its values may differ from those of the file"
    elif step != X.itemsize or pitch < width:
        reason = "it is not stored row by row"
    if reason:
        warn_user(
            f"X is mapped from a file, but must be loaded into memory: {reason}. See "
            "the page on large tables."
        )
        return None
    path = str(root.filename)
    changed = OSError(
        f"The file {path}, from which X is mapped, was deleted, truncated or changed. "
        "Map it again."
    )
    try:
        stamp = _stamp(path)
    except FileNotFoundError as error:
        raise changed from error
    n_rows, n_features = X.shape
    offset = root.offset + _address(X) - _address(root)
    # Reading a mapping beyond the end of its file would crash the process.
    if stamp[0] < offset + (n_rows - 1) * pitch + width:
        raise changed
    shape = n_rows, n_features
    rows = MappedRows(path, offset, pitch, shape, X.dtype, dtype, stamp)
    ends = np.array([0, n_rows - 1])
    with np.errstate(over="ignore"):
        first_and_last = X[ends].astype(dtype)
    if not np.array_equal(first_and_last, rows.read(ends), equal_nan=True):
        raise changed
    return rows


def _root_of(X: Any) -> np.memmap[Any, Any] | None:
    """Return the array that maps a file, if X is that array or a view of it."""
    while X is not None:
        if isinstance(X, np.memmap) and isinstance(X.base, mmap.mmap):
            return X
        X = getattr(X, "base", None)
    return None


def _address(X: NDArray[Any]) -> int:
    """Return the memory address of the first value."""
    return int(X.__array_interface__["data"][0])


def _stamp(file: str | int) -> tuple[int, ...]:
    """Return the size, modification time and inode of a file, to detect changes."""
    status = os.stat(file)
    return status.st_size, status.st_mtime_ns, status.st_ino
