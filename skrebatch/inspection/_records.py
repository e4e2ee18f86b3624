"""The estimators and nets that can be inspected, and what they have recorded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from skorch import (
    NeuralNet,
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
    NeuralNetRegressor,
)

from skrebatch.estimators._base import BaseReBatchCNN
from skrebatch.sampling._skorch_callback import ReBatch

# skorch adds the machine epsilon to probabilities, 2**-7 in bfloat16.
_MOST_ROUNDING = 2**-7
_NETS = NeuralNetClassifier, NeuralNetBinaryClassifier, NeuralNetRegressor


@dataclass(frozen=True)
class Records:
    """The losses and choices that were recorded during a training."""

    epochs: NDArray[np.intp]  # (n_recorded,)
    losses: NDArray[np.float32]  # (n_recorded, n_samples)
    choices: NDArray[np.bool_]  # (n_recorded, n_samples)
    times_chosen: NDArray[Any]  # (n_samples,)
    weights: NDArray[np.float64] | None  # (n_samples,), of a regressor's mean loss
    index: Any  # of the rows; None if they are numbered
    is_regression: bool
    learned_below: float  # the loss below which a sample counts as learned


def records_of(estimator: Any) -> Records:
    """Return the records of a fitted estimator; raise ValueError if there are none."""
    last = final_step(estimator)
    holder = _callback_of(last) if is_net(last) else last
    if not hasattr(holder, "recorded_losses_"):
        raise ValueError(
            f"This {type(holder).__name__} has no recorded losses. Set "
            "record_losses=True and fit it again."
        )
    if is_net(last) and holder.recorded_losses_.min() < -_MOST_ROUNDING:
        raise ValueError(
            f"This {type(last).__name__} has recorded losses below 0, so they are "
            "neither log losses nor errors. Use a criterion without negative losses, "
            "such as CrossEntropyLoss or MSELoss."
        )
    is_regression = is_regressor(last)
    learned_below = math.log(2)
    if is_regression:
        is_scaled = getattr(last, "standardize_target", False)
        learned_below = 1.0 if is_scaled else -math.inf
    return Records(
        holder.recorded_epochs_,
        holder.recorded_losses_,
        holder.recorded_choices_,
        holder.times_chosen_,
        getattr(holder, "recorded_weights_", None),
        getattr(holder, "sample_index_", None),
        is_regression,
        learned_below,
    )


def is_net(estimator: Any) -> bool:
    """Return whether an estimator is a net of skorch with a module of the user's."""
    return isinstance(estimator, NeuralNet)


def _callback_of(net: Any) -> ReBatch:
    """Return the ReBatch callback of a net."""
    for _, callback in net.callbacks_:
        if isinstance(callback, ReBatch):
            return callback
    raise ValueError(
        f"This {type(net).__name__} was trained without ReBatch. Add "
        "ReBatch(record_losses=True) to its callbacks and fit it again."
    )


def last_step(estimator: Any) -> Any:
    """Return the last step of a pipeline; other estimators as they are."""
    if isinstance(estimator, Pipeline) and estimator.steps:
        return estimator.steps[-1][1]
    return estimator


def rebatch_step(estimator: Any) -> Any:
    """Return the re-Batch estimator or the net.

    It may be the end of a pipeline, or the best estimator of a search or a CV form.
    """
    last = last_step(estimator)
    last = last_step(getattr(last, "best_estimator_", last))
    if not isinstance(last, (BaseReBatchCNN, *_NETS)):
        raise TypeError(
            "The estimator must be a ReBatchCNNClassifier or ReBatchCNNRegressor, a "
            "fitted CV form or search of one, a NeuralNetClassifier, "
            "NeuralNetBinaryClassifier or NeuralNetRegressor of skorch, or a Pipeline "
            f"that ends in one, got {last!r}."
        )
    return last


def final_step(estimator: Any) -> Any:
    """Return what :func:`rebatch_step` returns, if it is fitted."""
    last = rebatch_step(estimator)
    check_is_fitted(last)
    if is_net(last) and not last.history:
        raise NotFittedError(
            f"This {type(last).__name__} is not fitted yet. Call fit first."
        )
    return last
