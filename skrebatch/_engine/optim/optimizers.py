"""The optimizers that can train a stack, and their options."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.optim import Optimizer

_OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}
_ESTIMATOR_PARAMETERS = "lr", "weight_decay"


def resolve_optimizer(optimizer: Any) -> type[Optimizer]:
    """Return the optimizer class for a name or a class."""
    if isinstance(optimizer, str) and optimizer in _OPTIMIZERS:
        return _OPTIMIZERS[optimizer]
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        return optimizer
    names = ", ".join(f'"{name}"' for name in _OPTIMIZERS)
    raise ValueError(
        f"optimizer must be one of {names}, or a subclass of torch.optim.Optimizer, "
        f"got {optimizer!r}."
    )


def is_builtin(optimizer: type[Optimizer]) -> bool:
    """Return whether an optimizer is available by name."""
    return optimizer in _OPTIMIZERS.values()


def optimizer_options(
    optimizer: type[Optimizer],
    lr: float,
    weight_decay: float = 0.0,
    params: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the options of an optimizer for one network."""
    # Optimizers do not accept fractions.Fraction.
    options = {**(params or {}), "lr": float(lr)}
    accepted = inspect.signature(optimizer).parameters
    accepts_any = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    if weight_decay or accepts_any or "weight_decay" in accepted:
        options["weight_decay"] = float(weight_decay)
    if "fused" in accepted and not options.keys() & {"foreach", "differentiable"}:
        options.setdefault("fused", True)
    return options


def check_optimizer(optimizer: Any, params: Any, lr: float, decay: float) -> None:
    """Raise ValueError unless the optimizer can train several networks at once."""
    cls = resolve_optimizer(optimizer)
    if params is not None and not isinstance(params, dict):
        raise ValueError(
            f"optimizer_params must be a dict of {cls.__name__}'s arguments or None, "
            f"got {params!r}."
        )
    for name in _ESTIMATOR_PARAMETERS:
        if name in (params or {}):
            raise ValueError(
                f"optimizer_params contains {name!r}, which is a parameter of the "
                f"estimator: set {name} instead."
            )
    if is_builtin(cls) and not params:
        return
    closure = inspect.signature(cls.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ValueError(
            f"optimizer={cls.__name__} can't be used: it needs a closure that computes "
            "the loss again, which is not supported."
        )
    try:
        is_elementwise = _is_elementwise(cls, optimizer_options(cls, lr, decay, params))
    except Exception as error:
        raise ValueError(
            f"optimizer={cls.__name__} can't be used with optimizer_params={params!r}, "
            f"lr={lr} and weight_decay={decay}: {error}"
        ) from error
    if not is_elementwise:
        raise ValueError(
            f"optimizer={cls.__name__} can't be used: its update of a weight depends "
            "on other weights, on the shapes of the tensors, or on random numbers. "
            "Several networks share one tensor, so the optimizer must update each "
            "weight independently, as Adam and SGD do."
        )


@torch.no_grad()
def _is_elementwise(cls: type[Optimizer], options: dict[str, Any]) -> bool:
    """Return whether splitting the weights in two leaves the updates unchanged."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(4, 12, generator=generator, dtype=torch.float64)
    start, gradients = drawn[:1], drawn[1:]
    # Small and large gradients, to detect clipping.
    gradients *= torch.logspace(-3, 3, 12, dtype=torch.float64)
    # Like the constant zero of every network, which must not change.
    start[:, 0], gradients[:, 0] = 0, 0
    with torch.random.fork_rng(devices=[]):
        whole = _optimized(cls, options, start, gradients)
        parts = [
            _optimized(cls, options, start[:, cut], gradients[:, cut])
            for cut in (slice(0, 5), slice(5, 12))
        ]
    if whole[0, 0] != 0:
        raise ValueError("it changes a weight of 0 that has a gradient of 0.")
    if torch.equal(whole, start):
        raise ValueError("its step does not update the weights in place.")
    return torch.allclose(whole, torch.cat(parts, dim=1), rtol=1e-9, atol=0)


def _optimized(
    cls: type[Optimizer],
    options: dict[str, Any],
    start: torch.Tensor,
    gradients: torch.Tensor,
) -> torch.Tensor:
    """Return weights (1, n) after the steps with the given gradients (T, n)."""
    # Weights in memory that the parameter shares, as in a stack.
    weights = start.clone()
    parameter, idle = torch.nn.Parameter(weights), torch.nn.Parameter(start.clone())
    optimizer = cls([parameter, idle], **options)
    for gradient in gradients:
        parameter.grad = gradient.view_as(parameter).clone()
        optimizer.step()
    return weights
