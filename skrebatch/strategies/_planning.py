"""Plans from chosen samples: what strategies and their callers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from skrebatch._utils.typing import Indices
from skrebatch._utils.validation import as_samples
from skrebatch.strategies._base import Epoch, Losses, Plan, Strategy


def lowest(values: Losses, n: int) -> Indices:
    """Return what a stable full sort puts first, without the full sort."""
    if n == 0:
        return np.empty(0, dtype=np.intp)
    bound = np.partition(values, n - 1)[n - 1]
    if np.isnan(bound):  # which compares with nothing; a sort puts it last
        return np.argsort(values, kind="stable")[:n]
    below = np.flatnonzero(values < bound)
    ties = np.flatnonzero(values == bound)[: n - len(below)]
    below = below[np.argsort(values[below], kind="stable")]
    return np.concatenate([below, ties])


def interleave(parts: Sequence[Indices]) -> Indices:
    """Merge sequences into one, each spread evenly over the whole."""
    places = [(np.arange(len(part)) + 0.5) / max(len(part), 1) for part in parts]
    order = np.argsort(np.concatenate(places), kind="stable")
    return np.concatenate(parts)[order]


def apportion(total: int, sizes: Sequence[int]) -> list[int]:
    """Split a number in proportion to sizes, by largest remainders."""
    shares = [divmod(total * size, sum(sizes)) for size in sizes]
    counts = [whole for whole, _ in shares]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (-shares[i][1], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def make_plan(strategy: Strategy, losses: Losses, epoch: Epoch) -> Plan:
    """Let a strategy plan an epoch; refuse weights that can't be meant.

    The sampler checks the sample numbers.
    """
    planned = strategy.plan(losses, epoch)
    plan = planned if isinstance(planned, Plan) else Plan(chosen=planned)
    if plan.weights is None:
        return plan
    weights = np.asarray(plan.weights)
    if weights.shape != losses.shape or not (
        np.isfinite(weights).all() and (weights >= 0).all()
    ):
        raise ValueError(
            f"{strategy!r} planned weights of shape {weights.shape}; they must be "
            f"finite, at least 0, and one for each of the {len(losses)} samples."
        )
    return replace(plan, weights=weights)


def weigh(strategy: Strategy, losses: torch.Tensor) -> torch.Tensor:
    """Let a strategy weigh batches (K, b); refuse what are no weights of theirs."""
    weights = strategy.batch_weights(losses)
    if not isinstance(weights, torch.Tensor):
        raise TypeError(
            f"{strategy!r} returned an object of type {type(weights).__name__} as "
            "weights, where a tensor is needed."
        )
    if weights.shape != losses.shape:
        raise ValueError(
            f"{strategy!r} returned weights of shape {tuple(weights.shape)} for "
            f"losses of shape {tuple(losses.shape)}."
        )
    return weights


def plan_by_class(strategy: Strategy, losses: Losses, epoch: Epoch) -> Plan:
    """Plan each class by itself, with its share of the samples to choose."""
    labels = epoch.labels
    if labels is None or labels.ndim > 1:
        known = "none is known" if labels is None else f"there are {labels.shape[1]}"
        raise ValueError(
            f"class_balanced=True needs one label for each sample, but {known}."
        )
    if not np.array_equal(labels, np.floor(labels)):
        raise ValueError(
            "class_balanced=True needs the class of each sample, but the targets are "
            "real numbers."
        )
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    shares = apportion(epoch.n_chosen, [len(members) for members in classes])
    plans = []
    for members, n in zip(classes, shares, strict=True):
        plan = Plan()
        if n > 0 or not strategy.uses_ratio:
            own = replace(epoch, n_chosen=n, labels=labels[members])
            plan = make_plan(strategy, losses[members], own)
        plans.append(plan)
    weights = None
    if any(plan.weights is not None for plan in plans):
        weights = np.ones(len(losses))
        for members, plan in zip(classes, plans, strict=True):
            weights[members] = 1 if plan.weights is None else plan.weights
    remaining = None
    if any(plan.remaining is not None for plan in plans):
        remaining = interleave(
            [
                np.delete(members, as_samples(plan.chosen, "chosen", len(members)))
                if plan.remaining is None
                else members[as_samples(plan.remaining, "remaining", len(members))]
                for members, plan in zip(classes, plans, strict=True)
            ]
        )
    chosen = [
        members[as_samples(plan.chosen, "chosen", len(members))]
        for members, plan in zip(classes, plans, strict=True)
    ]
    repeats = {plan.repeats for plan in plans if len(plan.chosen)} or {None}
    if len(repeats) > 1:
        raise ValueError(
            f"{strategy!r} planned repeats that differ from class to class "
            f"({', '.join(sorted(map(str, repeats)))}); an epoch has one number of "
            "repeats. Plan the entries of each class as `remaining` instead."
        )
    return Plan(interleave(chosen), remaining, repeats.pop(), weights)
