"""The loss of each sample under a skorch net."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.dataset import get_len
from torch.utils.data import Subset

from skrebatch._utils.typing import Indices


def criteria_of(net: NeuralNet) -> list[Any]:
    """Return the criteria of a net, whatever their names are."""
    return [getattr(net, f"{name}_") for name in net._criteria]


def count_samples(batch: Any) -> int:
    """Return the number of samples of a batch, as skorch counts them."""
    size: int = get_len(batch[0] if isinstance(batch, tuple | list) else batch)
    return size


def by_sample(losses: torch.Tensor) -> torch.Tensor:
    """Return one loss per sample, the mean over its outputs."""
    return losses.flatten(1).mean(1) if losses.dim() > 1 else losses


def sample_losses(
    net: NeuralNet, dataset: Any, order: Indices | None, fit_params: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the loss of each sample under a skorch net, and its target.

    Both are in the order of the samples. `order` is only the order of computation.
    There are no targets if they are not tensors or differ in shape between batches.
    """
    inverse: Any = slice(None)
    if order is not None:
        dataset, inverse = Subset(dataset, order.tolist()), np.argsort(order)
    criteria = criteria_of(net)
    reductions = [criterion.reduction for criterion in criteria]
    losses, targets = [], []
    try:
        for criterion in criteria:
            criterion.reduction = "none"
        for batch in net.get_iterator(dataset, training=False):
            loss = net.validation_step(batch, **fit_params)["loss"].detach()
            n_samples = count_samples(batch)
            if loss.shape[:1] != (n_samples,):
                raise TypeError(
                    f"ReBatch needs the loss of each sample, but the loss of a batch "
                    f"of {n_samples} samples has the shape {tuple(loss.shape)} "
                    'although `reduction` is "none". Let the criterion, and get_loss '
                    "of the net, return one loss for each sample then."
                )
            losses.append(by_sample(loss))
            targets.append(batch[1] if isinstance(batch, tuple | list) else None)
    finally:
        for criterion, reduction in zip(criteria, reductions, strict=True):
            criterion.reduction = reduction
    values = _join(losses)
    labels = _labels_of(targets, len(values))
    return values[inverse], None if labels is None else labels[inverse]


def _labels_of(targets: list[Any], n_samples: int) -> np.ndarray | None:
    """Return the targets of all batches as one array; None if they make none."""
    if not all(isinstance(part, torch.Tensor) and part.dim() for part in targets):
        return None
    if len({part.shape[1:] for part in targets}) > 1:
        return None
    labels = _join(targets)
    if len(labels) != n_samples:
        return None
    return labels[:, 0] if labels.shape[1:] == (1,) else labels


def _join(parts: list[torch.Tensor]) -> np.ndarray:
    """Return tensors as one array; numpy has no bfloat16."""
    joined = torch.cat(parts).cpu()
    return (joined.float() if joined.dtype == torch.bfloat16 else joined).numpy()
