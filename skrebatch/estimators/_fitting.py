"""Steps shared by all functions that fit: checkpoints, training and rollback."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from skrebatch._engine.serialization.checkpoint import Checkpoint, fingerprint
from skrebatch._engine.tables.memmapped import MappedRows
from skrebatch._engine.tables.sharded import ShardedRows
from skrebatch._engine.training.checkpointing import CheckpointWriter
from skrebatch._engine.training.run import Result, run_jobs
from skrebatch.estimators._fit_data import PreparedFit
from skrebatch.exceptions import DivergedError

# Parameters that don't change the result of a fit, or are compared separately.
_NO_EFFECT = (
    "checkpoint_dir",
    "checkpoint_every",
    "callbacks",
    "verbose",
    "random_state",
    "cv",
)


class Fittable(Protocol):
    """The part of an estimator that this module uses."""

    checkpoint_every: int

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters."""

    def __rebatch_finish__(
        self, prepared: PreparedFit, result: Result, net: Any = None
    ) -> None:
        """Set the fitted attributes from the result of a fit."""


_interrupts_raise = ContextVar("interrupts_raise", default=False)


@contextlib.contextmanager
def interrupts_raised() -> Iterator[None]:
    """Make an interrupted fit raise KeyboardInterrupt; its network is not kept."""
    token = _interrupts_raise.set(True)
    try:
        yield
    finally:
        _interrupts_raise.reset(token)


def interrupts_raise() -> bool:
    """Whether an interrupted fit raises KeyboardInterrupt."""
    return _interrupts_raise.get()


def open_checkpoint(
    folder: Any, seed: int, read: Callable[[Path], Checkpoint] = Checkpoint
) -> tuple[Checkpoint | None, int]:
    """Read the checkpoint of a fit from a folder, if one is given.

    Returns
    -------
    checkpoint : Checkpoint or None
    seed : int
        The seed in the checkpoint if it has one, else `seed`.
    """
    if not isinstance(folder, str | os.PathLike):
        return None, seed
    checkpoint = read(Path(folder, "fit.safetensors"))
    return checkpoint, (checkpoint.content or {}).get("seed", seed)


def fingerprint_of(estimator: Fittable, prepared: PreparedFit) -> dict[str, str]:
    """Return a fingerprint of everything that the result of a fit depends on."""
    job = prepared.job
    parameters = estimator.get_params(deep=False)
    for name in _NO_EFFECT:
        del parameters[name]
    data = {
        # Memory-mapped rows are identified by their file, without reading it.
        f"{name}{suffix}": part
        if isinstance(part, MappedRows | ShardedRows)
        else np.ascontiguousarray(part)
        for name, parts in (("X", job.X), ("y", job.targets))
        for suffix, part in zip(("", "_val"), parts, strict=False)
    }
    initial_state = [
        (
            member.seed,
            member.selection.rng.bit_generator.state,
            member.network
            and [p.numpy(force=True) for p in member.network.parameters()],
        )
        for member in job.members
    ]
    return fingerprint(
        **parameters,
        **data,
        sample_weight=prepared.sample_weight,
        cv=[(member.rows, member.valid_rows) for member in job.members],
        random_state=initial_state,
    )


def train_and_finish(
    estimator: Fittable,
    prepared: PreparedFit,
    callbacks: list[Any],
    checkpoint: Checkpoint | None = None,
    seed: int = 0,
) -> None:
    """Train a prepared fit, resuming from a checkpoint, and set its attributes.

    The checkpoint is removed when the fit is complete or has diverged.
    """
    if checkpoint is not None:
        writer = CheckpointWriter(checkpoint, estimator.checkpoint_every, seed)
        callbacks = [writer, *callbacks]
    (result,) = run_jobs([prepared.job], callbacks)
    if checkpoint is not None and isinstance(result.error, DivergedError):
        checkpoint.remove()
    estimator.__rebatch_finish__(prepared, result, result.stack)
    if checkpoint is not None and not result.interrupted:
        checkpoint.remove()
