"""The losses of every sample over the epochs, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrebatch._utils.typing import Floats, Indices

MOST_EPOCHS = 100


class LossLog:
    """Losses and choices by epoch, of at most 100 epochs.

    Once there are more, every second epoch is dropped, and from then on only every
    2nd, 4th, ... epoch is kept: 500 bytes a sample at most, however long the
    training. How often a sample was chosen is counted over all epochs.

    Parameters
    ----------
    n_samples : int
        Number of rows.
    """

    def __init__(self, n_samples: int):
        self.n_samples = n_samples
        self.epochs: list[int] = []
        self.losses: list[Floats] = []
        self.choices: list[NDArray[np.bool_]] = []
        self.times_chosen = np.zeros(n_samples, dtype=np.int64)
        self._stride = 1

    def add(self, epoch: int, losses: Floats, affected_samples: Indices) -> None:
        """Add an epoch.

        Parameters
        ----------
        epoch : int
            Its number, from 1.
        losses : ndarray of shape (n_samples,)
            Losses after it.
        affected_samples : ndarray of int
            Distinct samples that it redistributed, or held not just once.
        """
        self.times_chosen[affected_samples] += 1
        if epoch % self._stride:
            return
        self.epochs.append(epoch)
        self.losses.append(losses.astype(np.float32))
        chosen = np.zeros(self.n_samples, dtype=bool)
        chosen[affected_samples] = True
        self.choices.append(chosen)
        if len(self.epochs) > MOST_EPOCHS:
            self._stride *= 2
            kept = [i for i, e in enumerate(self.epochs) if e % self._stride == 0]
            self.epochs = [self.epochs[i] for i in kept]
            self.losses = [self.losses[i] for i in kept]
            self.choices = [self.choices[i] for i in kept]

    def state_dict(self) -> dict[str, Any]:
        """Return the log as numbers and arrays."""
        shape = len(self.epochs), self.n_samples
        losses = np.reshape(self.losses, shape).astype(np.float32)
        choices = np.reshape(self.choices, shape).astype(bool)
        return {**vars(self), "losses": losses, "choices": choices}

    @classmethod
    def from_state(cls, parts: dict[str, Any]) -> LossLog:
        """Return the log that was taken apart."""
        log = cls(len(parts["times_chosen"]))
        log.epochs, log._stride = parts["epochs"], parts["_stride"]
        log.losses, log.choices = list(parts["losses"]), list(parts["choices"])
        log.times_chosen = parts["times_chosen"]
        return log


def mean_log(
    logs: Sequence[LossLog],
) -> tuple[
    NDArray[np.intp], NDArray[np.float32], NDArray[np.bool_], NDArray[np.floating]
]:
    """Average the logs of networks of equal rows, over those that got so far.

    Parameters
    ----------
    logs : sequence of LossLog

    Returns
    -------
    epochs : ndarray of int, shape (n_recorded,)
    losses : ndarray of float32, shape (n_recorded, n_samples)
        Mean over the networks.
    choices : ndarray of bool, shape (n_recorded, n_samples)
        Whether most of the networks chose the sample.
    times_chosen : ndarray of shape (n_samples,)
        Mean over the networks; whole numbers for one.
    """
    longest = max(logs, key=lambda log: (log.epochs[-1:], log._stride))
    losses, choices = [], []
    for epoch in longest.epochs:
        at = [(log, log.epochs.index(epoch)) for log in logs if epoch in log.epochs]
        losses.append(np.mean([log.losses[i] for log, i in at], axis=0))
        choices.append(np.mean([log.choices[i] for log, i in at], axis=0) > 0.5)
    shape = len(losses), longest.n_samples
    times: NDArray[Any] = longest.times_chosen
    if len(logs) > 1:
        times = np.mean([log.times_chosen for log in logs], axis=0)
    return (
        np.array(longest.epochs, dtype=np.intp),
        np.reshape(losses, shape).astype(np.float32, copy=False),
        np.reshape(choices, shape).astype(bool, copy=False),
        times,
    )
