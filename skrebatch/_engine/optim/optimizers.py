"""Which optimizers can train a stack, and the options that they are given."""

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
_ESTIMATORS_OWN = "lr", "weight_decay"


def resolve_optimizer(optimizer: Any) -> type[Optimizer]:
    """Return the class that `optimizer` names or is."""
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
    """Tell whether an optimizer is one of those with a name."""
    return optimizer in _OPTIMIZERS.values()


def optimizer_options(
    optimizer: type[Optimizer],
    lr: float,
    weight_decay: float = 0.0,
    params: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what to give an optimizer for a network, beside its parameters."""
    # Optimizers know no fractions.
    options = {**(params or {}), "lr": float(lr)}
    known = inspect.signature(optimizer).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
    if weight_decay or takes_any or "weight_decay" in known:
        options["weight_decay"] = float(weight_decay)
    if "fused" in known and not options.keys() & {"foreach", "differentiable"}:
        options.setdefault("fused", True)
    return options


def check_optimizer(optimizer: Any, params: Any, lr: float, decay: float) -> None:
    """Raise ValueError unless it is an optimizer that can train several networks."""
    cls = resolve_optimizer(optimizer)
    if params is not None and not isinstance(params, dict):
        raise ValueError(
            f"optimizer_params must be a dict of {cls.__name__}'s arguments or None, "
            f"got {params!r}."
        )
    for name in _ESTIMATORS_OWN:
        if name in (params or {}):
            raise ValueError(
                f"optimizer_params holds {name!r}, which is a parameter of the "
                f"estimator: set {name} itself."
            )
    if is_builtin(cls) and not params:
        return
    closure = inspect.signature(cls.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ValueError(
            f"optimizer={cls.__name__} can't be used: it needs a closure that computes "
            "the loss again."
        )
    try:
        by_itself = _treats_each_by_itself(
            cls, optimizer_options(cls, lr, decay, params)
        )
    except Exception as error:
        raise ValueError(
            f"optimizer={cls.__name__} can't be used with optimizer_params={params!r}, "
            f"lr={lr} and weight_decay={decay}: {error}"
        ) from error
    if not by_itself:
        raise ValueError(
            f"optimizer={cls.__name__} can't be used: what it does to a weight depends "
            "on other weights, on the shapes of their tensors, or on chance. All "
            "weights of several networks lie in one tensor here, so that an optimizer "
            "must treat each by itself, as Adam and SGD do."
        )


@torch.no_grad()
def _treats_each_by_itself(cls: type[Optimizer], options: dict[str, Any]) -> bool:
    """Try whether weights end at the same place all together and cut in two."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(4, 12, generator=generator, dtype=torch.float64)
    start, gradients = drawn[:1], drawn[1:]
    # Small and large ones, so that a bound on them shows.
    gradients *= torch.logspace(-3, 3, 12)
    # A constant of every network, which must stay.
    start[:, 0], gradients[:, 0] = 0, 0
    with torch.random.fork_rng(devices=[]):
        whole = _moved(cls, options, start, gradients)
        parts = [
            _moved(cls, options, start[:, cut], gradients[:, cut])
            for cut in (slice(0, 5), slice(5, 12))
        ]
    if whole[0, 0] != 0:
        raise ValueError("it moves a weight of 0 that has no gradient.")
    if torch.equal(whole, start):
        raise ValueError("its step does not change the weights where they are.")
    return torch.allclose(whole, torch.cat(parts, dim=1), rtol=1e-9, atol=0)


def _moved(
    cls: type[Optimizer],
    options: dict[str, Any],
    start: torch.Tensor,
    gradients: torch.Tensor,
) -> torch.Tensor:
    """Return where an optimizer takes weights (1, n) with some gradients (T, n)."""
    # Read from the memory that the parameter shares, as a stack does.
    weights = start.clone()
    parameter, idle = torch.nn.Parameter(weights), torch.nn.Parameter(start.clone())
    optimizer = cls([parameter, idle], **options)
    for gradient in gradients:
        parameter.grad = gradient.view_as(parameter).clone()
        optimizer.step()
    return weights
