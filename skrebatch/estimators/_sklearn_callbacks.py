"""What the callbacks of scikit-learn (from 1.9 on) see of a fit."""

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
        """Stands in for what gives an estimator its ``set_callbacks``."""

    def with_callbacks(method: Any) -> Any:
        """Stand in for what ends the work of callbacks with a method."""
        return method


def is_watched(estimator: Any) -> bool:
    """Tell whether an estimator was given callbacks by ``set_callbacks``."""
    return bool(getattr(estimator, "_skl_callbacks", None))


class FitTask:
    """A fit as a task, and what goes with it each time that callbacks are called.

    Parameters
    ----------
    estimator : estimator
        Whose callbacks are called, within a method with the decorator
        `with_callbacks`; none where it has none.
    X, y : array-like
        What it is fitted on.
    sample_weight : array-like or None
        Weights of the rows.
    max_subtasks : int
        Most tasks within.
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
        """Say that the fit is done."""
        if self.context is not None:
            self.context.call_on_fit_task_end(
                **self.given, reconstruction_attributes={}
            )


class EpochTasks(Callback):
    """Make each epoch of a net a task within that of a fit, which may end it.

    Parameters
    ----------
    fit : FitTask
    learned : dict
        Fitted attributes that are known before the training.
    """

    def __init__(self, fit: FitTask, learned: dict[str, Any]):
        self.fit: FitTask | None = fit
        self.learned = learned

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Begin a task."""
        if self.fit is not None:
            self.task_ = self.fit.context.subcontext(task_name="epoch")
            self.task_.call_on_fit_task_begin(**self.fit.given)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """End it, with the estimator as it would be if the fit ended here."""
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
        """Let go of all: the net is pickled, and trains on without the fit."""
        self.fit = None
        self.__dict__.pop("task_", None)
