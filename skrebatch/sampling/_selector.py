"""The choice of samples for one network: its settings and its state between epochs."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pickle import PicklingError
from typing import Any, Protocol

import joblib
import numpy as np
from numpy.typing import NDArray

from skrebatch._utils.typing import Indices
from skrebatch._utils.user_warnings import warn_user
from skrebatch._utils.validation import check_bool, check_integer, check_real
from skrebatch.sampling._interval import (
    IntervalInsertionSampler,
    check_ratio,
    check_repeats,
    redistribution_size,
    warn_if_nothing_redistributed,
)
from skrebatch.sampling._ratio_schedules import Schedule, check_schedule, ratio_at
from skrebatch.strategies import check_balances, check_strategy
from skrebatch.strategies._base import Epoch, Losses, Plan, Strategy
from skrebatch.strategies._planning import (
    is_builtin,
    make_plan,
    plan_by_class,
    state_of,
)

# The running mean, the plan, the settings on which it depends, the strategy's state.
WarmStartState = (
    tuple[Losses | None, Plan | None, tuple[Any, ...]]
    | tuple[Losses | None, Plan | None, tuple[Any, ...], dict[str, Any]]
)


@dataclass
class Selection:
    """Turns the losses after an epoch into the order of the next epoch.

    Epochs are counted from 1 over all fits of a network. The first epoch is a random
    order, because no losses are known before it. The other epochs up to
    `warmup_epochs` contain each sample once.
    """

    n_samples: int
    strategy: Strategy
    rng: np.random.Generator
    ratio: float = 0.15
    repeats: int = 1
    shuffle: bool = True
    max_epochs: int = 1  # length of the ratio schedule
    schedule: Schedule = "constant"
    warmup_epochs: int = 0
    smoothing: float = 0.0
    refresh_every: int = 1
    class_balanced: bool = False
    labels: NDArray[Any] | None = None  # (N,) or (N, O)
    rows: Indices | None = field(default=None, repr=False)  # (N,), in the X of the fit

    sampler: IntervalInsertionSampler = None  # type: ignore[assignment]
    epoch: int = 0  # number of epochs begun
    losses: Losses | None = field(default=None, repr=False)  # running mean
    plan: Plan | None = field(default=None, repr=False)  # last plan made
    has_weighted: bool = False  # whether the strategy has weighted a mini-batch

    def __post_init__(self) -> None:
        """Create the default sampler; compute B."""
        # Arithmetic with numpy integers could overflow.
        for name in ("repeats", "max_epochs", "warmup_epochs", "refresh_every"):
            setattr(self, name, int(getattr(self, name)))
        if self.sampler is None:
            self.sampler = IntervalInsertionSampler(
                self.n_samples, self.repeats, self.shuffle, self.rng
            )
        self.n_chosen: int = redistribution_size(self.n_samples, self.ratio)

    @property
    def is_active(self) -> bool:
        """Whether the strategy can have an effect in any epoch."""
        return self.ratio > 0 and (self.n_chosen > 0 or not self.is_bounded)

    @property
    def is_bounded(self) -> bool:
        """Whether every epoch redistributes at most B samples."""
        # The factor of a callable schedule may exceed 1.
        return self.strategy.uses_ratio and not callable(self.schedule)

    def warn_of_no_effect(self) -> None:
        """Warn if a parameter has no effect."""
        if self.is_bounded:
            warn_if_nothing_redistributed(self.n_samples, self.ratio, self.n_chosen)
        if self.schedule != "constant" and not self.strategy.uses_ratio:
            warn_user(
                f"ratio_schedule has no effect on {self.strategy!r}, which does not "
                "use the ratio."
            )

    @property
    def _first(self) -> int:
        """Number of the first planned epoch."""
        return max(1, self.warmup_epochs) + 1

    @property
    def _is_due(self) -> bool:
        """Whether the next epoch needs a new plan."""
        since = self.epoch + 1 - self._first
        if since < 0:
            return False
        return self.plan is None or since % self.refresh_every == 0

    @property
    def needs_losses(self) -> bool:
        """Whether the next epoch needs the losses after the last epoch."""
        if not self.is_active or not self.strategy.plans or self.epoch == 0:
            return False
        return self._is_due or self.smoothing > 0

    @property
    def weights_batches(self) -> bool:
        """Whether the strategy weights the mini-batches of the current epoch."""
        return (
            self.is_active
            and self.strategy.weights_batches
            and self.epoch > self.warmup_epochs
        )

    @cached_property
    def strategy_key(self) -> tuple[type[Strategy], str | int | None]:
        """Key that is equal for strategies of equal class and parameters."""
        try:
            return type(self.strategy), joblib.hash(self.strategy.get_params())
        except PicklingError:  # a parameter is, for example, a lambda
            return type(self.strategy), id(self.strategy)

    @property
    def weighting_key(self) -> tuple[Any, ...]:
        """Key that is equal for selections that weight equal losses alike.

        A user-defined strategy may use what it stored in an earlier call, which differs
        between networks. If it stores anything, it has done so after its first call.
        """
        strategy = self.strategy
        if is_builtin(strategy):
            return self.strategy_key
        if strategy.plans or not self.has_weighted or self._n_extra:
            return type(strategy), id(strategy)
        return self.strategy_key

    @property
    def _n_extra(self) -> int:
        """Number of attributes of the strategy that are not parameters."""
        return len(vars(self.strategy)) - self._n_parameters

    @cached_property
    def _n_parameters(self) -> int:
        return len(self.strategy.get_params(deep=False))

    @property
    def entries(self) -> int | None:
        """Number of entries of a planned epoch; None if it may vary."""
        if not self.is_active or not self.strategy.plans:
            return self.n_samples
        if not self.strategy.redistributes:
            return None
        if self.repeats != 1 and self.schedule != "constant":
            return None
        return self.n_samples + (self.repeats - 1) * self.n_chosen

    def begin_epoch(self, losses: Losses | None) -> None:
        """Begin the next epoch; `losses` are required if :attr:`needs_losses`."""
        if self.needs_losses:
            if losses is None:
                raise ValueError("Planning the next epoch requires the losses.")
            self._smooth(losses)
            if self._is_due:
                self.plan = self._make_plan()
        self._apply_plan(self.plan)

    def begin_epoch_like(self, leader: Selection) -> None:
        """Begin the next epoch with the plan that another selection has just made."""
        self.losses, self.plan = leader.losses, leader.plan
        self.strategy = leader.strategy  # which may have stored something in `plan`
        self._apply_plan(self.plan)

    def _apply_plan(self, plan: Plan | None) -> None:
        if self.epoch > 0:
            plan = plan or Plan()
            self.sampler.redistribute(plan.chosen, plan.remaining, plan.repeats)
        self.epoch += 1

    def _smooth(self, losses: Losses) -> None:
        if self.losses is None or self.smoothing == 0:
            self.losses = losses
        else:
            self.losses = self.smoothing * self.losses + (1 - self.smoothing) * losses

    def _make_plan(self) -> Plan:
        epoch = Epoch(
            self.epoch + 1,
            self.max_epochs,
            self.n_chosen,
            self.rng,
            self.labels,
            self._first,
            self.rows,
        )
        if self.schedule != "constant":
            ratio = ratio_at(self.ratio, self.schedule, epoch.progress)
            n_chosen = redistribution_size(self.n_samples, ratio)
            epoch = replace(epoch, n_chosen=n_chosen)
        if self.strategy.uses_ratio and epoch.n_chosen == 0:
            return Plan()
        losses = self.losses
        assert losses is not None
        if self.class_balanced:
            return plan_by_class(self.strategy, losses, epoch)
        return make_plan(self.strategy, losses, epoch)

    @property
    def weights(self) -> Losses | None:
        """Factors for the losses of the current epoch (N,); None if all are 1."""
        return None if self.plan is None else self.plan.weights

    @property
    def affected_samples(self) -> Indices:
        """Indices of samples redistributed, or not used exactly once, in this epoch."""
        sampler = self.sampler
        if sampler.chosen is None or sampler.drawn is None:
            return np.empty(0, dtype=np.intp)
        if self.plan is None or self.plan.remaining is None:
            return sampler.chosen
        counts = np.bincount(sampler.drawn, minlength=self.n_samples)
        others = counts != 1
        others[sampler.chosen] = False
        return np.concatenate([sampler.chosen, np.flatnonzero(others)])

    @property
    def _plan_settings(self) -> tuple[Any, ...]:
        """Settings on which a plan depends; if they change, the plan is discarded."""
        return (
            self.strategy_key,
            self.ratio,
            self.schedule,
            self.warmup_epochs,
            self.refresh_every,
            self.class_balanced,
        )

    @property
    def warm_start_state(self) -> WarmStartState:
        """State with which later training on the same samples can continue."""
        losses = self.losses if self.smoothing > 0 else None
        plan = self.plan if self.refresh_every > 1 else None
        return losses, plan, self._plan_settings, state_of(self.strategy)

    def state_dict(self) -> dict[str, Any]:
        """Return the state between epochs as numbers and arrays."""
        sampler = vars(self.sampler)
        return {
            "epoch": self.epoch,
            "losses": self.losses,
            "plan": self.plan,
            "rng": self.rng.bit_generator.state,
            "sampler": {n: value for n, value in sampler.items() if n != "_rng"},
            "strategy": copy.deepcopy(state_of(self.strategy)),
        }

    def load_state_dict(self, parts: dict[str, Any]) -> None:
        """Set the state returned by :meth:`state_dict`."""
        self.epoch, self.losses = parts["epoch"], parts["losses"]
        self.plan = parts["plan"]
        self.rng.bit_generator.state = parts["rng"]
        self.sampler.__dict__.update(parts["sampler"])
        self._load_strategy_state(parts["strategy"])

    def load_warm_start_state(self, state: WarmStartState) -> None:
        """Set the running mean, and the rest if the settings are unchanged."""
        self.losses, plan, settings, *of_strategy = state
        if settings == self._plan_settings:
            self.plan = plan
            # Older files have no state of the strategy.
            self._load_strategy_state(*of_strategy or [{}])

    def _load_strategy_state(self, state: dict[str, Any]) -> None:
        for name in state_of(self.strategy):
            del self.strategy.__dict__[name]
        self.strategy.__dict__.update(copy.deepcopy(state))


class SelectionParameters(Protocol):
    """The parameters of a selection, which estimators and the callback share."""

    ratio: float
    strategy: str | Strategy
    repeats: int
    shuffle: bool
    ratio_schedule: Schedule
    warmup_epochs: int
    loss_smoothing: float
    refresh_every: int


def check_selection(params: SelectionParameters) -> Strategy:
    """Raise an error if a parameter is invalid; return the strategy."""
    check_ratio(params.ratio)
    check_repeats(params.repeats)
    strategy = check_strategy(params.strategy)
    check_schedule(params.ratio_schedule)
    check_integer(params.warmup_epochs, "warmup_epochs", at_least=0)
    check_real(params.loss_smoothing, "loss_smoothing", at_least=0, below=1)
    check_integer(params.refresh_every, "refresh_every")
    check_bool(params.shuffle, "shuffle")
    class_balanced = getattr(params, "class_balanced", False)
    check_bool(class_balanced, "class_balanced")
    if class_balanced:
        check_balances(strategy)
    return strategy
