"""Checkpoints: files with how far something has come."""

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

_KEY = "skrebatch-checkpoint"  # of the metadata in a file's header
_FORMAT_VERSION = 1


def check_folder(checkpoint_dir: Any) -> None:
    """Raise an error unless it is a folder that checkpoints can be written to."""
    if checkpoint_dir is None:
        return
    if not isinstance(checkpoint_dir, str | os.PathLike) or not str(checkpoint_dir):
        raise ValueError(
            "checkpoint_dir must be the path of a folder or None, got "
            f"{checkpoint_dir!r}."
        )
    import_extra("safetensors.numpy", "checkpoint_dir", "files")


def fingerprint(**values: Any) -> dict[str, str]:
    """Return what tells values from others, in this version, by their names.

    Parameters
    ----------
    **values : dict
        What a result depends on.

    Returns
    -------
    fingerprint : dict of str to str

    Raises
    ------
    ValueError
        If one can't be pickled.
    """
    found = {"format": str(_FORMAT_VERSION), "torch": str(torch.__version__)}
    for name, value in values.items():
        try:
            found[name] = joblib.hash(value)
        except Exception as error:  # of whatever it is made of
            raise ValueError(
                f"checkpoint_dir can't be used with {name}={value!r:.200}, which can't "
                "be pickled: nothing would tell whether a later fit has the same. "
                "Define functions and classes at the top of a module."
            ) from error
    return found


class Checkpoint:
    """A file with how far something has come; there may be none yet.

    Parameters
    ----------
    path : path-like
        Its place; the folder is made with the first file.

    Attributes
    ----------
    content : dict or None
        What an earlier run left: None where there is nothing.
    tensors : dict of str to ndarray
        What goes with it.

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
        """Take it for what has this fingerprint.

        Raises
        ------
        CheckpointError
            If an earlier run had another one.
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
            f"{self.path} is the checkpoint of something else: other are "
            f"{', '.join(names)}. To go on from it, call fit as it was called before; "
            "to begin anew, delete the file or give another checkpoint_dir."
        )

    def forget(self) -> None:
        """Let go of what an earlier run left, but not of the file."""
        self.content, self.tensors = None, {}

    def write(
        self, content: dict[str, Any], tensors: dict[str, torch.Tensor] | None = None
    ) -> None:
        """Write the file anew, whole or not at all.

        Raises
        ------
        ValueError
            If it holds what a file can't, such as a scheduler of the user's own.
        OSError
            If the file can't be written.
        """
        safetensors = import_extra("safetensors.numpy", "checkpoint_dir", "files")
        arrays: Arrays = {}
        content = {"fingerprint": self.fingerprint, **content}
        try:
            plain = to_plain(content, arrays, "What to go on from")
        except ValueError as error:
            raise ValueError(
                "checkpoint_dir can't be used with a strategy, scheduler or optimizer "
                "of your own that remembers more than numbers, text and arrays. "
                f"{error}"
            ) from error
        for name, tensor in (tensors or {}).items():
            arrays[name] = np.asarray(tensor.detach().cpu().numpy(), order="C")
        text = json.dumps(plain, separators=(",", ":"), allow_nan=False)
        metadata = {_KEY: text, "sha256": _digest(text, arrays)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path, [safetensors.save(arrays, metadata)])

    def remove(self) -> None:
        """Remove the file, where there is one."""
        self.path.unlink(missing_ok=True)


def _digest(text: str, arrays: Arrays) -> str:
    """Return the checksum of all that a file says."""
    hashed = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        hashed.update(f"{name} {array.dtype.str} {array.shape}".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], Arrays]:
    """Read a file, and check that it is as it was written."""
    safetensors = import_extra("safetensors", "checkpoint_dir", "files")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = metadata[_KEY]
        if _digest(text, arrays) != metadata["sha256"]:
            raise ValueError("its checksum is not that of its content")
        content = from_plain(json.loads(text), arrays)
        return content, arrays
    except OSError:
        raise
    except Exception as error:  # whatever damage leads to
        raise CheckpointError(
            f"{path} is not a checkpoint, or is damaged ({error!s:.200}). Delete it to "
            "begin anew."
        ) from error
