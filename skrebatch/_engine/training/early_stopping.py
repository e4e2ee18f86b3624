"""Early stopping of all networks of an estimator after the same epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from skrebatch._engine.nn.losses import Loss
from skrebatch._utils.typing import Floats, Indices

# Weight of the newest score in the running mean of the scores of several networks.
_NEWEST = 0.5


def _loss(loss: Loss, predicted: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return loss.per_sample(loss.inverse_link(predicted), targets)


def _brier(loss: Loss, predicted: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (predicted - targets).square().mean(-1)


def _absolute_error(
    loss: Loss, predicted: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    return (predicted - targets).abs().mean(-1)


# Map predictions and targets (n, O) to the score of each sample (n,); lower is better.
STOPPING_SCORES: dict[
    str, Callable[[Loss, torch.Tensor, torch.Tensor], torch.Tensor]
] = {"loss": _loss, "brier": _brier, "absolute_error": _absolute_error}


def mean_over_networks(
    predictions: list[Floats], rows: list[Indices], n_rows: int
) -> Floats:
    """Average the predictions for each row over the networks that made one.

    Parameters
    ----------
    predictions : list of K ndarrays of shape (n_k, n_outputs)
    rows : list of K ndarrays of int, shape (n_k,)
        The rows of each network, without duplicates.
    n_rows : int
        Number of rows of the table.

    Returns
    -------
    means : ndarray of shape (n_rows, n_outputs)
        NaN for rows without a prediction.
    """
    sums = np.zeros((n_rows, predictions[0].shape[1]))
    counts = np.zeros((n_rows, 1))
    for network_rows, values in zip(rows, predictions, strict=True):
        sums[network_rows] += values
        counts[network_rows] += 1
    with np.errstate(invalid="ignore"):
        return sums / counts


@dataclass
class EarlyStopping:
    """Decides when the networks of an estimator stop, and which epoch is the best.

    The score of an epoch is computed from the mean prediction for each validation row
    over the networks that do not train on the row. For several networks, the best
    epoch is the one with the best running mean of the scores.

    Attributes
    ----------
    patience : int
        Number of epochs to wait for a better score.
    score : str
        A key of `STOPPING_SCORES`.
    n_networks : int
    valid_rows : ndarray of int
        The validation rows of all networks, sorted.
    weights : ndarray of shape (n_rows,) or None
        Weights of all rows of the table in the score.
    scores : list of float
        The score after each epoch.
    best_epoch : int
        The best epoch so far, counted from 1; 0 before the first score.
    """

    patience: int
    score: str
    n_networks: int
    valid_rows: Indices
    weights: Floats | None = None
    scores: list[float] = field(default_factory=list)
    best_epoch: int = 0
    _running_mean: float = math.nan
    _best: float = math.inf

    @property
    def is_over(self) -> bool:
        """Whether the score has not improved for `patience` epochs."""
        return len(self.scores) - self.best_epoch >= self.patience

    def add(self, score: float) -> bool:
        """Add the score after an epoch; return whether it is the best epoch so far."""
        several = self.n_networks > 1 and self.scores
        newest = _NEWEST if several else 1.0
        before = self._running_mean if several else 0.0
        self._running_mean = newest * score + (1 - newest) * before
        self.scores.append(score)
        is_best = self._running_mean < self._best
        if is_best:
            self.best_epoch, self._best = len(self.scores), self._running_mean
        return is_best

    def replay(self) -> list[tuple[float, bool]]:
        """Return the score of each epoch, and whether it was the best so far."""
        again = EarlyStopping(
            self.patience, self.score, self.n_networks, self.valid_rows
        )
        return [(score, again.add(score)) for score in self.scores]

    def score_of(
        self,
        loss: Loss,
        predictions: list[Floats],
        rows: list[Indices],
        targets: torch.Tensor,
    ) -> float:
        """Compute the score of the mean prediction of all networks.

        Parameters
        ----------
        loss : Loss
        predictions : list of K ndarrays of shape (n_k, n_outputs)
            The predictions of each network for its validation rows.
        rows : list of K ndarrays of int, shape (n_k,)
            The validation rows of each network.
        targets : torch.Tensor of shape (n_valid, n_outputs)
            The targets of `valid_rows`.
        """
        n_rows = int(self.valid_rows[-1]) + 1
        means = mean_over_networks(predictions, rows, n_rows)[self.valid_rows]
        # In float64, where probabilities are rarely rounded to 0 or 1.
        predicted, targets = torch.from_numpy(means), targets.cpu().double()
        values = STOPPING_SCORES[self.score](loss, predicted, targets).numpy()
        weights = None if self.weights is None else self.weights[self.valid_rows]
        return float(np.average(values, weights=weights))

    def state_dict(self) -> dict[str, Any]:
        """Return the state as a dict of plain values."""
        return {
            "scores": list(self.scores),
            "best_epoch": self.best_epoch,
            "running_mean": self._running_mean if self.scores else None,
            "best": self._best if self.scores else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by :meth:`state_dict`."""
        self.scores, self.best_epoch = list(state["scores"]), state["best_epoch"]
        if self.scores:
            self._running_mean, self._best = state["running_mean"], state["best"]
        else:
            self._running_mean, self._best = math.nan, math.inf
