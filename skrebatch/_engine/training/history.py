"""The history of several networks: their mean losses after each epoch."""

from __future__ import annotations

import numpy as np
from skorch.history import History

from skrebatch._engine.training.members import Member


def record_mean(history: History, name: str, members: list[Member], epoch: int) -> None:
    """Record the mean loss of the members that reached an epoch, counted from 1."""
    curves = [member.curves[name] for member in members]
    losses = [curve[epoch - 1] for curve in curves if 0 < epoch <= len(curve)]
    if losses:
        mean = float(np.mean(losses))
        before = [row[name] for row in history[:-1] if name in row]
        history.record(name, mean)
        history.record(f"{name}_best", mean < min(before, default=np.inf))


def mean_history(members: list[Member]) -> History:
    """Return the history of a single network, or of the mean over several."""
    if len(members) == 1:
        return members[0].history
    history = History()
    lengths = [min(m.epochs, len(m.curves["train_loss"])) for m in members]
    for epoch in range(1, 1 + max(lengths)):
        history.new_epoch()
        history.record("epoch", epoch)
        for name in ("train_loss", "valid_loss"):
            record_mean(history, name, members, epoch)
    return history
