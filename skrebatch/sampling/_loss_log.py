"""Log of the losses of each sample over the epochs, of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrebatch._utils.typing import Floats, Indices

MOST_EPOCHS = 100

# Attributes made of logs, in the order of what mean_log returns.
RECORDED = "recorded_epochs_", "recorded_losses_", "recorded_choices_", "times_chosen_"


class LossLog:
    """Losses and choices of at most 100 epochs.

    Beyond 100 epochs, every second epoch is dropped, and only every 2nd (then 4th,
    8th, ...) epoch is added. The log therefore takes about 500 bytes per sample at
    most. The number of epochs in which a sample was chosen is counted over all epochs.

    Parameters
    ----------
    n_samples : int
        Number of samples.
    """

    def __init__(self, n_samples: int):
        self.n_samples = n_samples
        self.epochs: list[int] = []
        self.losses: list[Floats] = []
        self.choices: list[NDArray[np.bool_]] = []
        self.times_chosen: Indices = np.zeros(n_samples, dtype=np.int64)
        self._stride = 1

    def add(self, epoch: int, losses: Floats, affected_samples: Indices) -> None:
        """Add an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, starting at 1.
        losses : ndarray of shape (n_samples,)
            Losses of the samples after the epoch.
        affected_samples : ndarray of int
            Indices of the samples that the epoch redistributed, or did not contain
            exactly once. No duplicates.
        """
        self.times_chosen[affected_samples] += 1
        if epoch % self._stride:
            return
        self.epochs.append(epoch)
        with np.errstate(over="ignore"):  # of a network in float64 that diverges
            self.losses.append(losses.astype(np.float32))
        chosen = np.zeros(self.n_samples, dtype=bool)
        chosen[affected_samples] = True
        self.choices.append(chosen)
        if len(self.epochs) > MOST_EPOCHS:
            self._stride *= 2
            every = [i for i, e in enumerate(self.epochs) if e % self._stride == 0]
            self.epochs = [self.epochs[i] for i in every]
            self.losses = [self.losses[i] for i in every]
            self.choices = [self.choices[i] for i in every]

    def rewind(self, epoch: int, times_chosen: Indices) -> None:
        """Return to the state after an epoch, with the given counts of choices."""
        n = int(np.searchsorted(self.epochs, epoch, side="right"))
        del self.epochs[n:], self.losses[n:], self.choices[n:]
        self.times_chosen = times_chosen

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the log as a dict of numbers and arrays."""
        shape = len(self.epochs), self.n_samples
        losses = np.reshape(self.losses, shape).astype(np.float32)
        choices = np.reshape(self.choices, shape).astype(bool)
        return {**vars(self), "losses": losses, "choices": choices}

    @classmethod
    def from_state(cls, parts: dict[str, Any]) -> LossLog:
        """Return the log with the state returned by :meth:`state_dict`."""
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
    """Average the logs of networks that were trained on the same samples.

    The mean of an epoch is over the networks that recorded this epoch.

    Parameters
    ----------
    logs : sequence of LossLog
        One log for each network.

    Returns
    -------
    epochs : ndarray of int, shape (n_recorded,)
        The recorded epochs.
    losses : ndarray of float32, shape (n_recorded, n_samples)
        Mean over the networks.
    choices : ndarray of bool, shape (n_recorded, n_samples)
        Whether more than half of the networks chose the sample.
    times_chosen : ndarray of shape (n_samples,)
        Mean over the networks; of dtype int for a single network.
    """
    longest = max(logs, key=lambda log: (log.epochs[-1:], log._stride))
    losses, choices = [], []
    for epoch in longest.epochs:
        found = [(log, log.epochs.index(epoch)) for log in logs if epoch in log.epochs]
        losses.append(np.mean([log.losses[i] for log, i in found], axis=0))
        choices.append(np.mean([log.choices[i] for log, i in found], axis=0) > 0.5)
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


def recorded_attributes(logs: Sequence[LossLog]) -> dict[str, NDArray[Any]]:
    """Return the attributes of `record_losses`, averaged over the networks."""
    return dict(zip(RECORDED, mean_log(logs), strict=True))
