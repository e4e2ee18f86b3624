"""How one network chooses samples: what was asked for, and the state between epochs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pickle import PicklingError
from typing import Any

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
from skrebatch.strategies._planning import make_plan, plan_by_class


@dataclass
class Selection:
    """From the losses after an epoch to the order of the next.

    Epochs are numbered from 1, over all fits of a network. The first one is a
    shuffle, because no loss says anything yet; the others up to `warmup_epochs`
    hold every sample once.
    """

    n_samples: int
    strategy: Strategy
    rng: np.random.Generator
    ratio: float = 0.15
    repeats: int = 1
    shuffle: bool = True
    max_epochs: int = 1  # in which the schedule runs its course
    schedule: Schedule = "constant"
    warmup_epochs: int = 0
    smoothing: float = 0.0
    refresh_every: int = 1
    class_balanced: bool = False
    labels: NDArray[Any] | None = None  # (N,) or (N, O)

    sampler: IntervalInsertionSampler = None  # type: ignore[assignment]
    epoch: int = 0  # epochs begun
    losses: Losses | None = field(default=None, repr=False)  # their running mean
    plan: Plan | None = field(default=None, repr=False)  # the last one made

    def __post_init__(self) -> None:
        """Make the sampler where none is given, and know B."""
        # Whole numbers of numpy would overflow in what follows, the short ones soon.
        for name in ("repeats", "max_epochs", "warmup_epochs", "refresh_every"):
            setattr(self, name, int(getattr(self, name)))
        if self.sampler is None:
            self.sampler = IntervalInsertionSampler(
                self.n_samples, self.repeats, self.shuffle, self.rng
            )
        self.n_chosen = redistribution_size(self.n_samples, self.ratio)

    @property
    def is_active(self) -> bool:
        """Whether there ever may be anything to do."""
        return self.ratio > 0 and (self.n_chosen > 0 or not self.is_bounded)

    @property
    def is_bounded(self) -> bool:
        """Whether no epoch redistributes more than B samples of the ratio."""
        # A callable may ask for more.
        return self.strategy.uses_ratio and not callable(self.schedule)

    def warn_of_no_effect(self) -> None:
        """Warn where what was asked for has no effect."""
        if self.is_bounded:
            warn_if_nothing_redistributed(self.n_samples, self.ratio, self.n_chosen)
        if self.schedule != "constant" and not self.strategy.uses_ratio:
            warn_user(
                f"ratio_schedule has no effect on {self.strategy!r}, which doesn't go "
                "by the ratio."
            )

    @property
    def _first(self) -> int:
        """The first epoch with a plan."""
        return max(1, self.warmup_epochs) + 1

    @property
    def _is_due(self) -> bool:
        """Whether the next epoch wants a plan of its own."""
        since = self.epoch + 1 - self._first
        if since < 0:
            return False
        return self.plan is None or since % self.refresh_every == 0

    @property
    def needs_losses(self) -> bool:
        """Whether the next epoch wants to know the losses after the last one."""
        if not self.is_active or not self.strategy.plans or self.epoch == 0:
            return False
        return self._is_due or self.smoothing > 0

    @property
    def weighs(self) -> bool:
        """Whether the strategy weighs the batches of the epoch begun."""
        return (
            self.is_active and self.strategy.weighs and self.epoch > self.warmup_epochs
        )

    @cached_property
    def strategy_key(self) -> tuple[type[Strategy], str | int | None]:
        """What is the same for strategies that do the same."""
        try:
            return type(self.strategy), joblib.hash(self.strategy.get_params())
        except PicklingError:  # of a function without a name, say
            return type(self.strategy), id(self.strategy)

    @property
    def entries(self) -> int | None:
        """How many entries an epoch with a plan has; None where it depends."""
        if not self.is_active or not self.strategy.plans:
            return self.n_samples
        if not self.strategy.redistributes:
            return None
        if self.repeats != 1 and self.schedule != "constant":
            return None
        return self.n_samples + (self.repeats - 1) * self.n_chosen

    def begin_epoch(self, losses: Losses | None) -> None:
        """Plan the next epoch, with the losses where they are needed."""
        if self.needs_losses:
            if losses is None:
                raise ValueError("The losses are needed to plan the next epoch.")
            self._smooth(losses)
            if self._is_due:
                self.plan = self._make_plan()
        self._enter(self.plan)

    def begin_epoch_like(self, leader: Selection) -> None:
        """Follow the plan that another selection has just made."""
        self.losses, self.plan = leader.losses, leader.plan
        self._enter(self.plan)

    def _enter(self, plan: Plan | None) -> None:
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
        """Factors on the losses of the epoch begun (N,); None is 1 for all."""
        return None if self.plan is None else self.plan.weights

    @property
    def affected_samples(self) -> Indices:
        """The samples that the epoch begun redistributes, or holds not just once."""
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
    def _asked(self) -> tuple[Any, ...]:
        """What a plan was made for, and holds as long as."""
        return (
            self.strategy_key,
            self.ratio,
            self.schedule,
            self.warmup_epochs,
            self.refresh_every,
            self.class_balanced,
        )

    @property
    def memory(self) -> tuple[Losses | None, Plan | None, tuple[Any, ...]]:
        """What training that goes on with the same samples goes on from."""
        losses = self.losses if self.smoothing > 0 else None
        plan = self.plan if self.refresh_every > 1 else None
        return losses, plan, self._asked

    def state_dict(self) -> dict[str, Any]:
        """Return how far it has come, as numbers and arrays."""
        strategy, sampler = self.strategy, vars(self.sampler)
        parameters = strategy.get_params(deep=False)
        return {
            "epoch": self.epoch,
            "losses": self.losses,
            "plan": self.plan,
            "rng": self.rng.bit_generator.state,
            "sampler": {n: value for n, value in sampler.items() if n != "_rng"},
            # What one of the user's own may remember.
            "strategy": {
                n: v for n, v in vars(strategy).items() if n not in parameters
            },
        }

    def load_state_dict(self, parts: dict[str, Any]) -> None:
        """Come as far as the selection that was taken apart."""
        self.epoch, self.losses = parts["epoch"], parts["losses"]
        self.plan = parts["plan"]
        self.rng.bit_generator.state = parts["rng"]
        self.sampler.__dict__.update(parts["sampler"])
        self.strategy.__dict__.update(parts["strategy"])

    def remember(
        self, memory: tuple[Losses | None, Plan | None, tuple[Any, ...]]
    ) -> None:
        """Go on from the running mean, and from the plan if it is still asked for."""
        self.losses, plan, asked = memory
        self.plan = plan if asked == self._asked else None


def check_selection(asked: Any) -> Strategy:
    """Refuse impossible parameters of an estimator or callback; give its strategy."""
    check_ratio(asked.ratio)
    check_repeats(asked.repeats)
    strategy = check_strategy(asked.strategy)
    check_schedule(asked.ratio_schedule)
    check_integer(asked.warmup_epochs, "warmup_epochs", at_least=0)
    check_real(asked.loss_smoothing, "loss_smoothing", at_least=0, below=1)
    check_integer(asked.refresh_every, "refresh_every")
    check_bool(asked.shuffle, "shuffle")
    balanced = getattr(asked, "class_balanced", False)
    check_bool(balanced, "class_balanced")
    if balanced:
        check_balances(strategy)
    return strategy
