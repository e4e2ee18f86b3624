"""The outcomes of fits, and how scikit-learn's search tabulates them."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sklearn.base import BaseEstimator

from skrebatch.exceptions import DivergedError


@dataclass
class Outcome:
    """The result of a task: an error, or scores on the test and training data."""

    scores: list[Any] = field(default_factory=list)
    error: Exception | None = None
    fit_time: float = 0.0
    score_time: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the outcome as values; the only error that can be saved is divergence.

        Other errors are returned as they are.
        """
        state = vars(self)
        if isinstance(self.error, DivergedError):
            text = "".join(traceback.format_exception(self.error))
            state = {**state, "error": [str(self.error), text]}
        return state

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Outcome:
        """Return the outcome that :meth:`state_dict` was called on."""
        outcome = cls(**state)
        if state["error"] is not None:
            message, text = state["error"]
            outcome.error = DivergedError(message)
            outcome.error.add_note(text)
        return outcome

    def drop_frames(self) -> None:
        """Replace tracebacks by their text: their frames hold networks and data."""
        for error in (self.error, *self.scores):
            if isinstance(error, Exception):
                error.add_note("".join(traceback.format_exception(error)))
                error.__traceback__ = error.__cause__ = error.__context__ = None


class Replay(BaseEstimator):
    """Estimator that returns known outcomes, for a search that tabulates them.

    The search sets its parameters once for each candidate and fold, in the order
    of the outcomes. Its data are 0 for the training data and 1 for the test data.
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
    """Scorer of a replay: all scores, or the one called `name`.

    They are those on the test or on the training data, according to X.
    """
    scores = replay.outcome_.scores[0 if X[0][0] else 1]
    if name is not None and not isinstance(scores, Exception):
        scores = scores[name]
        if isinstance(scores, str):  # the traceback of one scorer among several
            raise RuntimeError(scores)
    if isinstance(scores, Exception):
        raise scores
    return scores
