"""Strategies for choosing and weighting the training samples of each epoch."""

from __future__ import annotations

from typing import Any

from skrebatch.strategies._base import Epoch, Plan, Strategy
from skrebatch.strategies._curricula import Curriculum, SelfPaced
from skrebatch.strategies._pruning import InfoBatch, SelectiveBackprop, SmallLoss
from skrebatch.strategies._redistribution import Hybrid, MaxLoss, MinLoss, RandomChoice
from skrebatch.strategies._resampling import Breed
from skrebatch.strategies._weighting import (
    OHEM,
    TSW,
    GeneralizedCrossEntropy,
    Welsch,
)

__all__ = [
    "OHEM",
    "TSW",
    "Breed",
    "Curriculum",
    "Epoch",
    "GeneralizedCrossEntropy",
    "Hybrid",
    "InfoBatch",
    "MaxLoss",
    "MinLoss",
    "Plan",
    "RandomChoice",
    "SelectiveBackprop",
    "SelfPaced",
    "SmallLoss",
    "Strategy",
    "Welsch",
    "check_balances",
    "check_strategy",
]

STRATEGIES: dict[str, type[Strategy]] = {
    "min-loss": MinLoss,
    "max-loss": MaxLoss,
    "random": RandomChoice,
    "hybrid": Hybrid,
    "tsw": TSW,
    "ohem": OHEM,
    "generalized-cross-entropy": GeneralizedCrossEntropy,
    "welsch": Welsch,
    "curriculum": Curriculum,
    "self-paced": SelfPaced,
    "breed": Breed,
    "small-loss": SmallLoss,
    "infobatch": InfoBatch,
    "selective-backprop": SelectiveBackprop,
}


def check_strategy(strategy: Any) -> Strategy:
    """Return the strategy given by name or as an object, with valid parameters."""
    if isinstance(strategy, str) and strategy in STRATEGIES:
        return STRATEGIES[strategy]()
    if not isinstance(strategy, Strategy):
        names = ", ".join(f'"{name}"' for name in STRATEGIES)
        raise ValueError(
            f"strategy must be one of {names}, or an instance of a subclass of "
            f"skrebatch.Strategy, got {strategy!r}."
        )
    if not (strategy.plans or strategy.weights_batches):
        raise ValueError(
            f"{type(strategy).__name__} defines neither plan() nor batch_weights()."
        )
    strategy.check()
    return strategy


def check_balances(strategy: Strategy) -> None:
    """Raise ValueError if the strategy can't choose samples within each class."""
    if not strategy.plans:
        raise ValueError(
            f"class_balanced=True can't be used with {strategy!r}, which weights the "
            "samples of mini-batches instead of choosing samples."
        )
