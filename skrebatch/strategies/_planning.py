"""Functions that strategies and their callers use to make plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skrebatch._utils.arrays import as_array
from skrebatch._utils.typing import Indices
from skrebatch._utils.validation import (
    as_samples,
)
from skrebatch.strategies._base import Epoch, Losses, Plan, Strategy


def is_builtin(strategy: Strategy) -> bool:
    """Return whether a strategy is of this package; such strategies keep no state."""
    return type(strategy).__module__.startswith(f"{__package__}.")


def state_of(strategy: Strategy) -> dict[str, Any]:
    """Return what a user-defined strategy has stored besides its parameters."""
    if is_builtin(strategy):
        return {}
    parameters = strategy.get_params(deep=False)
    return {n: v for n, v in vars(strategy).items() if n not in parameters}


def lowest(values: Losses, n: int) -> Indices:
    """Return the first `n` indices of a stable sort, without sorting all values."""
    if n == 0:
        return np.empty(0, dtype=np.intp)
    bound = np.partition(values, n - 1)[n - 1]
    if np.isnan(bound):  # comparisons with NaN are False; a sort puts NaN last
        return np.argsort(values, kind="stable")[:n]
    below = np.flatnonzero(values < bound)
    ties = np.flatnonzero(values == bound)[: n - len(below)]
    below = below[np.argsort(values[below], kind="stable")]
    return np.concatenate([below, ties])


def interleave(parts: Sequence[Indices]) -> Indices:
    """Merge sequences into one, with each of them spread evenly over the result."""
    positions = [(np.arange(len(part)) + 0.5) / max(len(part), 1) for part in parts]
    order = np.argsort(np.concatenate(positions), kind="stable")
    return np.concatenate(parts)[order]


def apportion(total: int, sizes: Sequence[int]) -> list[int]:
    """Divide `total` in proportion to `sizes`, by the largest-remainder method."""
    shares = [divmod(total * size, sum(sizes)) for size in sizes]
    counts = [whole for whole, _ in shares]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (-shares[i][1], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def make_plan(strategy: Strategy, losses: Losses, epoch: Epoch) -> Plan:
    """Return a strategy's plan of an epoch, with validated weights.

    The sampler validates the sample indices. A user-defined strategy gets a copy of the
    losses, because it may change or keep them.
    """
    planned = strategy.plan(losses if is_builtin(strategy) else losses.copy(), epoch)
    plan = planned if isinstance(planned, Plan) else Plan(chosen=planned)
    if plan.weights is None:
        return plan
    weights = np.asarray(as_array(plan.weights, "weights"))
    if weights.shape != losses.shape or not (
        np.isfinite(weights).all() and (weights >= 0).all()
    ):
        raise ValueError(
            f"{strategy!r} planned weights of shape {weights.shape}; weights must be "
            f"finite and at least 0, one for each of the {len(losses)} samples."
        )
    return replace(plan, weights=weights)


def batch_weights_of(strategy: Strategy, losses: torch.Tensor) -> torch.Tensor:
    """Return a strategy's weights for the losses of batches (K, b), validated."""
    weights = strategy.batch_weights(losses)
    if not isinstance(weights, torch.Tensor):
        raise TypeError(
            f"{strategy!r} must return its weights as a tensor, but returned an object "
            f"of type {type(weights).__name__}."
        )
    if weights.shape != losses.shape:
        raise ValueError(
            f"{strategy!r} returned weights of shape {tuple(weights.shape)} for "
            f"losses of shape {tuple(losses.shape)}."
        )
    if not is_builtin(strategy) and not (weights.isfinite() & (weights >= 0)).all():
        raise ValueError(
            f"{strategy!r} returned weights that are negative, NaN or infinite."
        )
    return weights


def check_class_labels(labels: NDArray[Any] | None) -> NDArray[Any]:
    """Return the labels; raise ValueError if `class_balanced` can't use them."""
    if labels is None or labels.ndim > 1:
        found = "none are known" if labels is None else f"got {labels.shape[1]}"
        raise ValueError(
            f"class_balanced=True needs one label for each sample, but {found}."
        )
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.floor(labels)):
        raise ValueError(
            "class_balanced=True needs class labels, but the targets are real numbers."
        )
    return labels


def plan_by_class(strategy: Strategy, losses: Losses, epoch: Epoch) -> Plan:
    """Plan each class separately, with its share of the samples to choose."""
    labels = check_class_labels(epoch.labels)
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    shares = apportion(epoch.n_chosen, [len(indices) for indices in classes])
    plans = []
    for indices, n in zip(classes, shares, strict=True):
        plan = Plan()
        if n > 0 or not strategy.uses_ratio:
            rows = None if epoch.rows is None else epoch.rows[indices]
            class_epoch = replace(epoch, n_chosen=n, labels=labels[indices], rows=rows)
            plan = make_plan(strategy, losses[indices], class_epoch)
            if state := state_of(strategy):
                raise ValueError(
                    f"class_balanced=True can't be used with {strategy!r}. It stores "
                    f"the attribute {next(iter(state))!r}, but `plan` is called once "
                    "for each class."
                )
        plans.append(plan)
    weights = None
    if any(plan.weights is not None for plan in plans):
        weights = np.ones(len(losses))
        for indices, plan in zip(classes, plans, strict=True):
            weights[indices] = 1 if plan.weights is None else plan.weights
    remaining = None
    if any(plan.remaining is not None for plan in plans):
        remaining = interleave(
            [
                np.delete(indices, as_samples(plan.chosen, "chosen", len(indices)))
                if plan.remaining is None
                else indices[as_samples(plan.remaining, "remaining", len(indices))]
                for indices, plan in zip(classes, plans, strict=True)
            ]
        )
    chosen = [
        indices[as_samples(plan.chosen, "chosen", len(indices))]
        for indices, plan in zip(classes, plans, strict=True)
    ]
    repeats = {plan.repeats for plan in plans if len(plan.chosen)} or {None}
    if len(repeats) > 1:
        raise ValueError(
            f"{strategy!r} planned repeats that differ between classes "
            f"({', '.join(sorted(map(str, repeats)))}), but all classes of an epoch "
            "share one number of repeats. Use `remaining` for the samples instead."
        )
    return Plan(interleave(chosen), remaining, repeats.pop(), weights)
