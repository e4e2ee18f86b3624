"""Learning-rate schedules, one per network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from skorch.callbacks import LRScheduler
from skorch.history import History
from torch.optim import Optimizer, lr_scheduler

from skrebatch._utils.user_warnings import warn_user

_SCHEDULES: dict[str, type[Any]] = {
    "step": lr_scheduler.StepLR,
    "plateau": lr_scheduler.ReduceLROnPlateau,
    "cosine": lr_scheduler.CosineAnnealingLR,
    "exponential": lr_scheduler.ExponentialLR,
    "one-cycle": lr_scheduler.OneCycleLR,
}


class LRSchedule:
    """The learning-rate schedule of one network.

    A scheduler of torch changes all groups of an optimizer in the same way, but the
    networks of a stack share one optimizer. Each schedule therefore has a separate
    optimizer of a single dummy parameter. Its options are copied to the optimizer of
    the stack.

    Parameters
    ----------
    schedule : str or type
        The name of a schedule, or a scheduler class of torch.
    params : dict
        Arguments of the scheduler and of skorch's ``LRScheduler`` (``step_every``,
        ``monitor``). A named schedule has defaults for all of them.
    optimizer : type
        Class of the optimizer.
    options : dict
        Options of the stack's optimizer for the network.
    max_epochs : int
        Number of epochs after which a named schedule is finished.
    steps_per_epoch : int
        Number of steps of an epoch that contains every sample once.

    Attributes
    ----------
    settings : tuple
        `schedule`, `params`, `optimizer` and `options`.
    """

    def __init__(
        self,
        schedule: str | type[Any],
        params: dict[str, Any],
        optimizer: type[Optimizer],
        options: dict[str, Any],
        max_epochs: int,
        steps_per_epoch: int,
    ):
        self.settings = schedule, params, optimizer, options
        self._duration = max_epochs, steps_per_epoch
        self._optimizer = optimizer([torch.nn.Parameter(torch.zeros(1))], **options)
        policy, defaults = schedule, {}
        if isinstance(schedule, str):
            policy = _SCHEDULES[schedule]
            defaults = {"step_every": "batch" if schedule == "one-cycle" else "epoch"}
            by_batch = (defaults | params)["step_every"] == "batch"
            n_updates = max_epochs * (steps_per_epoch if by_batch else 1)
            defaults |= _defaults(schedule, self._optimizer, n_updates)
            if {"epochs", "steps_per_epoch"} & params.keys():
                defaults.pop("total_steps", None)
        self._monitor = params.get("monitor")
        self._callback = LRScheduler(
            policy, **{"event_name": None, **defaults, **params}
        ).initialize()
        self._callback.on_train_begin(self._as_net([]))
        # Without gradients this changes nothing; torch warns unless a step comes first.
        self._optimizer.step()
        self._steps_now = 0

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copy a schedule without updates by its arguments.

        A copied optimizer has lost torch's record of its first step, so the first
        update of the scheduler would cause a warning.
        """
        if self._position or self._steps_now:
            return super().__reduce_ex__(protocol)
        return type(self), (*self.settings, *self._duration)

    def _as_net(self, history: Any) -> Any:
        """Return an object with the attributes of a net that the callback reads."""
        return SimpleNamespace(optimizer_=self._optimizer, history=history)

    @property
    def steps_alone(self) -> bool:
        """Whether the learning rate may differ from that of any other network.

        A plateau schedule depends on the losses; classes can't be compared.
        """
        return self.settings[0] not in _SCHEDULES or self.settings[0] == "plateau"

    @property
    def key(self) -> str:
        """A key that is equal for schedules with equal future updates."""
        schedule, params, *_ = self.settings
        return repr((schedule, sorted(params.items()), self._duration, self._position))

    @property
    def _position(self) -> int:
        """Number of updates so far."""
        return self._callback.lr_scheduler_.last_epoch

    @property
    def _is_over(self) -> bool:
        """Whether the schedule is finished; the learning rate is then constant."""
        scheduler = self._callback.lr_scheduler_
        if self.settings[0] == "cosine":
            return self._position >= scheduler.T_max
        return self.settings[0] == "one-cycle" and (
            self._position >= scheduler.total_steps - 1
        )

    @property
    def by_batch(self) -> bool:
        """Whether updates come after every step instead of every epoch."""
        return self._callback.step_every == "batch"

    @property
    def options(self) -> dict[str, Any]:
        """The current options of the optimizer."""
        group = self._optimizer.param_groups[0]
        return {name: value for name, value in group.items() if name != "params"}

    def warn_if_over(self) -> None:
        """Warn if the schedule is finished at a tiny learning rate."""
        lr, initial_lr = self.options["lr"], self.settings[3]["lr"]
        if self._is_over and lr < initial_lr / 1000:
            warn_user(
                f'lr_schedule="{self.settings[0]}" is finished and the learning rate '
                f"stays at {lr:.2g}: further training changes almost nothing. Change "
                "lr, lr_schedule or lr_schedule_params to start a new schedule."
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the schedule and its progress as a dict of plain values."""
        return {
            # The keys belong to the format of model files and checkpoints.
            "asked": self.settings,
            "course": self._duration,
            "options": self.options,
            "position": self._callback.lr_scheduler_.state_dict(),
            "steps_now": self._steps_now,
        }

    @classmethod
    def from_state(cls, parts: dict[str, Any]) -> LRSchedule:
        """Return a schedule from the result of :meth:`state_dict`."""
        schedule = cls(*parts["asked"], *parts["course"])
        scheduler = schedule._callback.lr_scheduler_
        group = schedule._optimizer.param_groups[0]
        # Another version of torch may have other entries.
        position, options = parts["position"], parts["options"]
        known = scheduler.state_dict().keys() & position.keys()
        scheduler.load_state_dict({name: position[name] for name in known})
        known = schedule.options.keys() & options.keys()
        group.update({name: options[name] for name in known})
        schedule._steps_now = parts["steps_now"]
        return schedule

    def end_step(self, step: int, n_steps: int) -> None:
        """Update after a step of an epoch of `n_steps`; `step` is counted from 1.

        An epoch always advances a named schedule by `steps_per_epoch` updates, so that
        the schedule is finished after `max_epochs`, whatever the epochs contain.
        """
        planned = self._duration[1] if self.settings[0] in _SCHEDULES else n_steps
        if step == 1:
            self._steps_now = 0
        while self._steps_now < step * planned // n_steps:
            self._steps_now += 1
            if not self._is_over:
                self._callback.on_batch_end(self._as_net([]), training=True)

    def end_epoch(self, history: History) -> None:
        """Update after an epoch; its losses are the last row of the history."""
        self._callback.monitor = self._monitor or (
            "valid_loss" if "valid_loss" in history[-1] else "train_loss"
        )
        if not self._is_over:
            self._callback.on_epoch_end(self._as_net(history))


def _defaults(schedule: str, optimizer: Optimizer, n_updates: int) -> dict[str, Any]:
    """Return arguments with which a named schedule is finished after `n_updates`."""
    if schedule == "step":
        return {"step_size": -(-n_updates // 3), "gamma": 0.1}
    if schedule == "plateau":
        return {"factor": 0.1, "patience": 5}
    if schedule == "cosine":
        return {"T_max": n_updates}
    if schedule == "exponential":
        return {"gamma": 0.01 ** (1 / n_updates)}
    return {
        "max_lr": optimizer.param_groups[0]["lr"],
        "total_steps": n_updates,
        "cycle_momentum": bool({"momentum", "betas"} & optimizer.defaults.keys()),
    }


def check_lr_schedule(
    schedule: Any,
    params: Any,
    optimizer: type[Optimizer],
    options: dict[str, Any],
    max_epochs: int,
) -> None:
    """Raise ValueError if the schedule or its arguments can't be used."""
    is_class = isinstance(schedule, type) and issubclass(
        schedule, lr_scheduler.LRScheduler
    )
    is_name = isinstance(schedule, str) and schedule in _SCHEDULES
    if not (schedule is None or is_class or is_name):
        names = ", ".join(f'"{name}"' for name in _SCHEDULES)
        raise ValueError(
            f"lr_schedule must be None, one of {names}, or a class of "
            f"torch.optim.lr_scheduler, got {schedule!r}."
        )
    if params is not None and not isinstance(params, dict):
        raise ValueError(
            "lr_schedule_params must be a dict of the schedule's arguments or None, "
            f"got {params!r}."
        )
    if schedule is None:
        if params:
            raise ValueError(
                f"lr_schedule_params={params!r} can be set only with lr_schedule."
            )
        return
    params = params or {}
    if "monitor" in params and not _depends_on_loss(schedule):
        raise ValueError(
            f"monitor={params['monitor']!r} in lr_schedule_params is not supported for "
            f"lr_schedule={schedule!r}, which does not depend on a loss."
        )
    choices = {
        "monitor": ("train_loss", "valid_loss"),
        "step_every": ("epoch",) if _depends_on_loss(schedule) else ("epoch", "batch"),
    }
    for name, allowed in choices.items():
        if params.get(name, allowed[0]) not in allowed:
            raise ValueError(
                f"{name} in lr_schedule_params must be one of {allowed}, got "
                f"{params[name]!r}."
            )
    try:
        trial = LRSchedule(schedule, params, optimizer, options, max_epochs, 1)
        # Some schedulers check their arguments only when they update.
        if trial.by_batch:
            trial.end_step(1, 1)
        else:
            history = History()
            history.new_epoch()
            for name in choices["monitor"]:
                history.record(name, 1.0)
            trial.end_epoch(history)
    except Exception as error:
        raise ValueError(
            f"lr_schedule={schedule!r} can't be used with lr_schedule_params="
            f"{params!r} and optimizer={optimizer.__name__}: {error}"
        ) from error


def _depends_on_loss(schedule: Any) -> bool:
    policy = _SCHEDULES[schedule] if isinstance(schedule, str) else schedule
    return issubclass(policy, lr_scheduler.ReduceLROnPlateau)
