"""Support for the callbacks of scikit-learn 1.9 and newer."""

from __future__ import annotations

from typing import Any

from skorch import NeuralNet
from skorch.callbacks import Callback

__all__ = [
    "CallbackSupportMixin",
    "EpochTasks",
    "FitTask",
    "is_watched",
    "with_callbacks",
]

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # an older scikit-learn

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Replacement without ``set_callbacks``."""

    def with_callbacks(method: Any) -> Any:
        """Return the method unchanged."""
        return method


def is_watched(estimator: Any) -> bool:
    """Whether an estimator has callbacks, set by ``set_callbacks``."""
    return bool(getattr(estimator, "_skl_callbacks", None))


class FitTask:
    """A fit as a task of scikit-learn's callbacks.

    It must be created in a method decorated by `with_callbacks`. Without callbacks
    it does nothing.

    Parameters
    ----------
    estimator : estimator
        The estimator whose callbacks are called.
    X, y : array-like
        Training data.
    sample_weight : array-like or None
        Weights of the rows.
    max_subtasks : int
        Maximum number of tasks within this one.
    """

    def __init__(
        self, estimator: Any, X: Any, y: Any, sample_weight: Any, max_subtasks: int = 0
    ):
        weights = None if sample_weight is None else {"sample_weight": sample_weight}
        self.given = {"estimator": estimator, "X": X, "y": y, "metadata": weights}
        self.context: Any = None
        if is_watched(estimator):
            self.context = estimator._init_callback_context(max_subtasks=max_subtasks)
            self.context.call_on_fit_task_begin(**self.given)

    def end(self) -> None:
        """Notify the callbacks that the fit is complete."""
        if self.context is not None:
            self.context.call_on_fit_task_end(
                **self.given, reconstruction_attributes={}
            )


class EpochTasks(Callback):
    """Report each epoch of a net as a subtask of a fit; callbacks may stop the fit.

    Parameters
    ----------
    fit : FitTask
    learned : dict
        Fitted attributes known before the training.
    """

    def __init__(self, fit: FitTask, learned: dict[str, Any]):
        self.fit: FitTask | None = fit
        self.learned = learned

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Begin the task of the epoch."""
        if self.fit is not None:
            self.task_ = self.fit.context.subcontext(task_name="epoch")
            self.task_.call_on_fit_task_begin(**self.fit.given)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """End the task, with the attributes that the fit would have if it ended."""
        if self.fit is not None:
            stops = self.task_.call_on_fit_task_end(
                **self.fit.given,
                reconstruction_attributes=lambda: {
                    **self.learned,
                    "module_": net.snapshot(),
                },
            )
            if stops:
                raise KeyboardInterrupt  # skorch's way to end the loop

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Drop the fit, so that the net can be pickled and trained further."""
        self.fit = None
        self.__dict__.pop("task_", None)
