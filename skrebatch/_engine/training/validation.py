"""Losses of the validation rows after an epoch, and the scores for early stopping."""

from __future__ import annotations

import numpy as np
import torch
from skorch.history import History

from skrebatch._engine.nn.losses import Loss
from skrebatch._engine.tables.table import Table
from skrebatch._engine.training.history import record_score
from skrebatch._engine.training.members import Member
from skrebatch._utils.typing import Floats
from skrebatch.exceptions import DivergedError


def record_validation(
    members: list[Member],
    values: list[Floats],
    loss: Loss,
    table: Table,
    history: History | None,
) -> set[int]:
    """Record the validation losses and the early-stopping scores.

    Parameters
    ----------
    members : list of K Member
    values : list of K ndarrays, shape (n_k, 1 + O)
        The loss and the predictions of each member for its validation rows.
    loss : Loss
    table : Table
    history : History or None
        The history of the net if all members belong to one estimator.

    Returns
    -------
    is_best : set of int
        The ids of the members for which this epoch is the best so far.
    """
    predictions: dict[int, Floats] = {}
    for member, own in zip(members, values, strict=True):
        if member.done or member.valid_rows is None:
            continue
        predictions[id(member)] = own[:, 1:]
        if np.isfinite(own).all():
            member.record("valid_loss", member.validation_loss(own[:, 0]))
        else:
            place = "on the validation set"
            member.fail(DivergedError.at(member.epochs + 1, place))
    is_best: set[int] = set()
    for team in _teams(members):
        if any(member.error is not None for member in team):
            for member in team:  # the estimator needs all of them
                member.done = True
        elif not team[0].done and _score(team, predictions, loss, table, history):
            is_best |= {id(member) for member in team}
    return is_best


def _teams(members: list[Member]) -> list[list[Member]]:
    """Group the members by estimator; the networks of each stop together."""
    teams: dict[int, list[Member]] = {}
    for member in members:
        if member.early_stopping is not None:
            teams.setdefault(id(member.early_stopping), []).append(member)
    return list(teams.values())


def _score(
    team: list[Member],
    predictions: dict[int, Floats],
    loss: Loss,
    table: Table,
    history: History | None,
) -> bool:
    """Score the networks of an estimator; return whether the epoch is the best."""
    stopping = team[0].early_stopping
    assert stopping is not None
    if stopping.score == "loss" and len(team) == 1:
        return stopping.add(team[0].curves["valid_loss"][-1])
    first = team[0].start + team[0].shift
    place = torch.from_numpy(stopping.valid_rows + first)
    score = stopping.score_of(
        loss,
        [predictions[id(member)] for member in team],
        [rows for member in team if (rows := member.valid_rows) is not None],
        table.targets[place.to(table.targets.device)],
    )
    is_best = stopping.add(score)
    if len(team) == 1:
        history = team[0].history
    if history is not None:
        record_score(history, score, is_best)
    return is_best
