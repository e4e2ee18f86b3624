"""Outcomes of fits, and the table of them that scikit-learn makes."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sklearn.base import BaseEstimator

from skrebatch.exceptions import DivergedError


@dataclass
class Outcome:
    """What came of a task: an error, or scores on the test and training data."""

    scores: list[Any] = field(default_factory=list)
    error: Exception | None = None
    fit_time: float = 0.0
    score_time: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the outcome as values; of errors only a divergence can be saved."""
        parts = vars(self)
        if isinstance(self.error, DivergedError):
            story = "".join(traceback.format_exception(self.error))
            parts = {**parts, "error": [str(self.error), story]}
        return parts

    @classmethod
    def from_state(cls, parts: dict[str, Any]) -> Outcome:
        """Return the outcome of a state that :meth:`state_dict` gave."""
        outcome = cls(**parts)
        if parts["error"] is not None:
            message, story = parts["error"]
            outcome.error = DivergedError(message)
            outcome.error.add_note(story)
        return outcome

    def drop_frames(self) -> None:
        """Keep the text of tracebacks alone: their frames hold networks and data."""
        for error in (self.error, *self.scores):
            if isinstance(error, Exception):
                error.add_note("".join(traceback.format_exception(error)))
                error.__traceback__ = error.__cause__ = error.__context__ = None


class Replay(BaseEstimator):
    """Stands in for candidates whose fits are done, while a search tabulates them.

    The search sets its parameters once for each candidate and fold, in the order
    of the outcomes; its data are the numbers 0 for training and 1 for test data.
    """

    def __init__(self, outcomes: Iterator[Outcome]):
        self.outcomes = outcomes

    def __sklearn_clone__(self) -> Replay:
        return Replay(self.outcomes)

    def set_params(self, **params: Any) -> Replay:
        self.outcome_ = next(self.outcomes, Outcome())
        return self

    def fit(self, X: Any, y: Any = None) -> Replay:
        if self.outcome_.error is not None:
            raise self.outcome_.error
        return self


def recall_scores(
    replay: Replay, X: Any, y: Any = None, name: str | None = None
) -> Any:
    """Return the scores, or that of a name, on test or training data.

    The scorer of a replay.
    """
    scores = replay.outcome_.scores[0 if X[0][0] else 1]
    if name is not None and not isinstance(scores, Exception):
        scores = scores[name]
        if isinstance(scores, str):  # the traceback of one scorer among several
            raise RuntimeError(scores)
    if isinstance(scores, Exception):
        raise scores
    return scores
