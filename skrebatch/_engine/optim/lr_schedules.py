"""How a learning rate changes over the training of one network."""

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
    """The options of an optimizer for one network, as a schedule moves them.

    A scheduler of torch moves all groups of an optimizer alike, and the networks of
    a stack share one optimizer. So each schedule has an optimizer of its own, with
    a single number to optimise, whose options the stack's optimizer takes over.

    Parameters
    ----------
    schedule : str or type
        A name, or a scheduler class of torch.
    params : dict
        Arguments of the scheduler and of skorch's ``LRScheduler`` (``step_every``,
        ``monitor``); a named schedule has defaults for all.
    optimizer : type
        Class of the optimizer.
    options : dict
        What the stack's optimizer is given for the network.
    max_epochs : int
        Epochs in which a named schedule runs its course.
    steps_per_epoch : int
        Steps of an epoch that holds every sample once.
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
        self.asked = schedule, params, optimizer, options
        self._course = max_epochs, steps_per_epoch
        self._optimizer = optimizer([torch.nn.Parameter(torch.zeros(1))], **options)
        policy, defaults = schedule, {}
        if isinstance(schedule, str):
            policy = _SCHEDULES[schedule]
            defaults = {"step_every": "batch" if schedule == "one-cycle" else "epoch"}
            by_batch = (defaults | params)["step_every"] == "batch"
            moves = max_epochs * (steps_per_epoch if by_batch else 1)
            defaults |= _defaults(schedule, self._optimizer, moves)
            if {"epochs", "steps_per_epoch"} & params.keys():
                defaults.pop("total_steps", None)
        self._monitor = params.get("monitor")
        self._callback = LRScheduler(
            policy, **{"event_name": None, **defaults, **params}
        ).initialize()
        self._callback.on_train_begin(self._seen([]))
        # Without a gradient it does nothing, but a scheduler wants to see a step.
        self._optimizer.step()
        self._steps_now = 0

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Be made anew where it has not moved yet.

        A copy of the optimizer lacks the mark by which torch knows, at the first move,
        that it may step, and torch would warn.
        """
        if self._position or self._steps_now:
            return super().__reduce_ex__(protocol)
        return type(self), (*self.asked, *self._course)

    def _seen(self, history: Any) -> Any:
        """Return what the callback sees of a net."""
        return SimpleNamespace(optimizer_=self._optimizer, history=history)

    @property
    def steps_alone(self) -> bool:
        """Whether it may move otherwise for another network, or can't be compared."""
        return self.asked[0] not in _SCHEDULES or self.asked[0] == "plateau"

    @property
    def key(self) -> str:
        """What is the same for schedules that move alike from here on."""
        schedule, params, *_ = self.asked
        return repr((schedule, sorted(params.items()), self._course, self._position))

    @property
    def _position(self) -> int:
        return self._callback.lr_scheduler_.last_epoch

    @property
    def _is_over(self) -> bool:
        """Whether a schedule has run its course, after which the rate stays."""
        scheduler = self._callback.lr_scheduler_
        if self.asked[0] == "cosine":
            return self._position >= scheduler.T_max
        return self.asked[0] == "one-cycle" and (
            self._position >= scheduler.total_steps - 1
        )

    @property
    def by_batch(self) -> bool:
        """Whether it moves after every step, not after every epoch."""
        return self._callback.step_every == "batch"

    @property
    def options(self) -> dict[str, Any]:
        """The optimizer's options now."""
        group = self._optimizer.param_groups[0]
        return {name: value for name, value in group.items() if name != "params"}

    def warn_if_over(self) -> None:
        """Warn where its course has left next to nothing to go on with."""
        lr, begun_with = self.options["lr"], self.asked[3]["lr"]
        if self._is_over and lr < begun_with / 1000:
            warn_user(
                f'lr_schedule="{self.asked[0]}" has run its course and the learning '
                f"rate stays at {lr:.2g}: going on changes next to nothing. With "
                "another lr, lr_schedule or lr_schedule_params a schedule begins anew."
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the schedule, and how far it has come, as numbers and names."""
        return {
            "asked": self.asked,
            "course": self._course,
            "options": self.options,
            "position": self._callback.lr_scheduler_.state_dict(),
            "steps_now": self._steps_now,
        }

    @classmethod
    def from_state(cls, parts: dict[str, Any]) -> LRSchedule:
        """Return the schedule of a state that :meth:`state_dict` gave."""
        schedule = cls(*parts["asked"], *parts["course"])
        scheduler = schedule._callback.lr_scheduler_
        group = schedule._optimizer.param_groups[0]
        # Another version of torch may remember other things.
        position, options = parts["position"], parts["options"]
        known = scheduler.state_dict().keys() & position.keys()
        scheduler.load_state_dict({name: position[name] for name in known})
        known = schedule.options.keys() & options.keys()
        group.update({name: options[name] for name in known})
        schedule._steps_now = parts["steps_now"]
        return schedule

    def end_step(self, step: int, n_steps: int) -> None:
        """Move after a step, counted from 1, of an epoch's steps.

        An epoch moves a named schedule by as many steps as an epoch has that holds
        every sample once, so that its course is over in time whatever epochs hold.
        """
        planned = self._course[1] if self.asked[0] in _SCHEDULES else n_steps
        if step == 1:
            self._steps_now = 0
        while self._steps_now < step * planned // n_steps:
            self._steps_now += 1
            if not self._is_over:
                self._callback.on_batch_end(self._seen([]), training=True)

    def end_epoch(self, history: History) -> None:
        """Move after an epoch, whose losses are the last row of the history."""
        self._callback.monitor = self._monitor or (
            "valid_loss" if "valid_loss" in history[-1] else "train_loss"
        )
        if not self._is_over:
            self._callback.on_epoch_end(self._seen(history))


def _defaults(schedule: str, optimizer: Optimizer, moves: int) -> dict[str, Any]:
    """Return the arguments of a named schedule, to run its course in some moves."""
    if schedule == "step":
        return {"step_size": -(-moves // 3), "gamma": 0.1}
    if schedule == "plateau":
        return {"factor": 0.1, "patience": 5}
    if schedule == "cosine":
        return {"T_max": moves}
    if schedule == "exponential":
        return {"gamma": 0.01 ** (1 / moves)}
    return {
        "max_lr": optimizer.param_groups[0]["lr"],
        "total_steps": moves,
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
                f"lr_schedule_params={params!r} has no meaning without lr_schedule."
            )
        return
    params = params or {}
    if "monitor" in params and not _watches(schedule):
        raise ValueError(
            f"monitor={params['monitor']!r} in lr_schedule_params has no meaning for "
            f"lr_schedule={schedule!r}, which watches no loss."
        )
    choices = {
        "monitor": ("train_loss", "valid_loss"),
        "step_every": ("epoch",) if _watches(schedule) else ("epoch", "batch"),
    }
    for name, allowed in choices.items():
        if params.get(name, allowed[0]) not in allowed:
            raise ValueError(
                f"{name} in lr_schedule_params must be one of {allowed}, got "
                f"{params[name]!r}."
            )
    try:
        trial = LRSchedule(schedule, params, optimizer, options, max_epochs, 1)
        # Some look at their arguments only when they move.
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


def _watches(schedule: Any) -> bool:
    policy = _SCHEDULES[schedule] if isinstance(schedule, str) else schedule
    return issubclass(policy, lr_scheduler.ReduceLROnPlateau)
