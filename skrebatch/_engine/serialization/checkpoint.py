"""Checkpoints: files with the progress of a computation."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch

from skrebatch._engine.serialization.atomic_write import remove_drafts, replace_file
from skrebatch._engine.serialization.json_values import Arrays, from_plain, to_plain
from skrebatch._utils.extras import import_extra
from skrebatch.exceptions import CheckpointError

_KEY = "skrebatch-checkpoint"  # key of the content in the header of a file
_FORMAT_VERSION = 1


def check_folder(checkpoint_dir: Any) -> None:
    """Raise an error unless `checkpoint_dir` is None or the path of a folder."""
    if checkpoint_dir is None:
        return
    if not isinstance(checkpoint_dir, str | os.PathLike) or not str(checkpoint_dir):
        raise ValueError(
            "checkpoint_dir must be the path of a folder or None, got "
            f"{checkpoint_dir!r}."
        )
    import_extra("safetensors.numpy", "checkpoint_dir", "files")


def fingerprint(**values: Any) -> dict[str, str]:
    """Return hashes of the values on which a result depends.

    Parameters
    ----------
    **values : dict
        The values by name.

    Returns
    -------
    fingerprint : dict of str to str
        A hash for each value, and the versions of the format and of torch.

    Raises
    ------
    ValueError
        If a value can't be pickled.
    """
    found = {"format": str(_FORMAT_VERSION), "torch": str(torch.__version__)}
    for name, value in values.items():
        try:
            found[name] = joblib.hash(value)
        except Exception as error:  # depends on the value
            raise ValueError(
                f"checkpoint_dir can't be used with {name}={value!r:.200}, which can't "
                "be pickled: a later fit could not be compared with this one. Define "
                "functions and classes at the top level of a module."
            ) from error
    return found


class Checkpoint:
    """A file with the progress of a computation; it may not exist yet.

    Parameters
    ----------
    path : path-like
        Path of the file. Its folder is created when the file is first written.

    Attributes
    ----------
    content : dict or None
        Content of the file of an earlier run; None without a file.
    tensors : dict of str to ndarray
        The tensors in that file.

    Raises
    ------
    CheckpointError
        If the file can't be read.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.fingerprint: dict[str, str] = {}
        remove_drafts(self.path)
        self.content: dict[str, Any] | None = None
        self.tensors: Arrays = {}
        if self.path.exists():
            self.content, self.tensors = _read(self.path)

    def claim(self, fingerprint: dict[str, str]) -> None:
        """Use the checkpoint for a computation with the given fingerprint.

        Raises
        ------
        CheckpointError
            If the file of an earlier run has a different fingerprint.
        """
        self.fingerprint = fingerprint
        if self.content is None:
            return
        before = self.content["fingerprint"]
        if before == fingerprint:
            return
        names = [
            name
            for name in {**before, **fingerprint}
            if before.get(name) != fingerprint.get(name)
        ]
        raise CheckpointError(
            f"{self.path} belongs to a different fit; these inputs differ: "
            f"{', '.join(names)}. To continue that fit, call fit with the same inputs. "
            "To start again, delete the file or use a different checkpoint_dir."
        )

    def clear(self) -> None:
        """Drop the content of an earlier run from memory; the file remains."""
        self.content, self.tensors = None, {}

    def write(
        self, content: dict[str, Any], tensors: dict[str, torch.Tensor] | None = None
    ) -> None:
        """Replace the file atomically.

        Raises
        ------
        ValueError
            If a value can't be stored, such as a user-defined scheduler.
        OSError
            If the file can't be written.
        """
        safetensors = import_extra("safetensors.numpy", "checkpoint_dir", "files")
        arrays: Arrays = {}
        content = {"fingerprint": self.fingerprint, **content}
        try:
            plain = to_plain(content, arrays, "The progress")
        except ValueError as error:
            raise ValueError(
                "checkpoint_dir can't be used with a custom strategy, scheduler or "
                "optimizer whose state contains anything but numbers, text and arrays. "
                f"{error}"
            ) from error
        for name, tensor in (tensors or {}).items():
            arrays[name] = np.asarray(tensor.detach().cpu().numpy(), order="C")
        text = json.dumps(plain, separators=(",", ":"), allow_nan=False)
        metadata = {_KEY: text, "sha256": _digest(text, arrays)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path, [safetensors.save(arrays, metadata)])

    def remove(self) -> None:
        """Remove the file if it exists."""
        self.path.unlink(missing_ok=True)


def _digest(text: str, arrays: Arrays) -> str:
    """Return the checksum of the content of a file."""
    hashed = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        hashed.update(f"{name} {array.dtype.str} {array.shape}".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], Arrays]:
    """Read a file and verify its checksum."""
    safetensors = import_extra("safetensors", "checkpoint_dir", "files")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = metadata[_KEY]
        if _digest(text, arrays) != metadata["sha256"]:
            raise ValueError("its checksum does not match its content")
        content = from_plain(json.loads(text), arrays)
        return content, arrays
    except OSError:
        raise
    except Exception as error:  # damage can cause any error
        raise CheckpointError(
            f"{path} is not a checkpoint, or is damaged ({error!s:.200}). Delete it to "
            "start again."
        ) from error
