"""The history of several networks: their mean losses and score after each epoch."""

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


def record_score(history: History, score: float, is_best: bool) -> None:
    """Record the score by which the networks stop early."""
    history.record("stopping_score", score)
    history.record("stopping_score_best", is_best)


def mean_history(members: list[Member]) -> History:
    """Return the history of a single network, or of the mean over several."""
    if len(members) == 1:
        return members[0].history
    history = History()
    lengths = [min(m.epochs, len(m.curves["train_loss"])) for m in members]
    stopping = members[0].early_stopping
    scores = [] if stopping is None else stopping.replay()
    for epoch in range(1, 1 + max(lengths)):
        history.new_epoch()
        history.record("epoch", epoch)
        for name in ("train_loss", "valid_loss"):
            record_mean(history, name, members, epoch)
        if epoch <= len(scores):
            record_score(history, *scores[epoch - 1])
    return history
