"""The loss of each sample under a skorch net, and the rows that it was given."""

from __future__ import annotations

import hashlib
import pickle
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AbstractContextManager
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


def given_rows(dataset_train: Any, X: Any) -> tuple[Any, Indices]:
    """Return the dataset that a net splits, and the indices of its training rows.

    The dataset is known if the net trains on a Subset of it, as with all splits of
    skorch. Otherwise, it is the training part itself.
    """
    if isinstance(dataset_train, Subset) and dataset_train is not X:
        return dataset_train.dataset, np.asarray(dataset_train.indices)
    return dataset_train, np.arange(len(dataset_train))


def all_losses(
    net: NeuralNet,
    dataset: Any,
    rows: Indices,
    losses: np.ndarray,
    fit_params: dict[str, Any],
) -> np.ndarray:
    """Return the losses of all rows of a dataset, given those of the training rows."""
    whole = np.empty(len(dataset), dtype=losses.dtype)
    whole[rows] = losses
    others = np.setdiff1d(np.arange(len(dataset)), rows)
    if len(others):
        held_out = Subset(dataset, others.tolist())
        with _torch_random_state_kept():
            whole[others], _ = sample_losses(net, held_out, None, fit_params)
    return whole


def hash_rows(net: NeuralNet, dataset: Any) -> str:
    """Return a hash of the rows of a dataset, whatever the size of the batches."""
    hashes: defaultdict[int, Any] = defaultdict(hashlib.sha256)
    with _torch_random_state_kept():
        for batch in net.get_iterator(dataset, training=False):
            for i, part in enumerate(_parts_of(batch)):
                hashes[i].update(_bytes_of(part))
    return "".join(part.hexdigest() for part in hashes.values())


def _torch_random_state_kept() -> AbstractContextManager[None]:
    """Restore torch's global generator afterwards; each DataLoader draws from it."""
    return torch.random.fork_rng(devices=[])


def _parts_of(batch: Any) -> list[Any]:
    """Return the parts of a batch, such as inputs and targets, without nesting."""
    parts = batch.values() if isinstance(batch, Mapping) else batch
    if not isinstance(batch, Mapping | tuple | list):
        return [batch]
    return [inner for part in parts for inner in _parts_of(part)]


def _bytes_of(part: Any) -> Any:
    if isinstance(part, torch.Tensor) and part.layout == torch.strided:
        return part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return pickle.dumps(part)
