"""Tables in files."""

import os
from pathlib import Path

import numpy as np


def write(path, X):
    """Write an array, long ago, and map it."""
    np.save(path, X)
    os.utime(path, (0, 0))
    return np.load(path, mmap_mode="r")


def overwrite(path):
    """Write other values in their place."""
    with path.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"\1" * 8)


def exchange(path):
    """Put another file of the same size and time in its place."""
    other = path.with_name("other.npy")
    other.write_bytes(path.read_bytes())
    os.utime(other, (0, 0))
    other.replace(path)


CHANGES = {
    "overwritten": (overwrite, "has changed"),
    "cut short": (lambda path: os.truncate(path, 1000), "has changed"),
    "exchanged": (exchange, "has changed"),
    "removed": (Path.unlink, "was deleted"),
}
