"""Saving and restoring the progress of a training."""

from __future__ import annotations

from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback

from skrebatch._engine.serialization.checkpoint import Checkpoint


class CheckpointWriter(Callback):
    """Continues a training from a checkpoint, and writes one every few epochs.

    Parameters
    ----------
    checkpoint : Checkpoint
    every : int
        Number of epochs between two checkpoints.
    seed : int
        Seed to store in the checkpoint, for trainings without a `random_state`.
    """

    def __init__(self, checkpoint: Checkpoint, every: int, seed: int):
        self.checkpoint: Checkpoint | None = checkpoint
        self.every, self.seed = every, seed

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Load the checkpoint; write a first one if there is none, to fail early."""
        if self.checkpoint is None:
            return
        if self.checkpoint.content is None:
            self._write(net)
            return
        tensors = {
            name: torch.from_numpy(array)
            for name, array in self.checkpoint.tensors.items()
        }
        load_net_state_dict(net, self.checkpoint.content["training"], tensors)
        self.checkpoint.clear()

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Write a checkpoint every few epochs."""
        if len(net.history) % self.every == 0:
            self._write(net)

    def _write(self, net: Any) -> None:
        # A training that is finished or has failed can't be continued.
        if self.checkpoint is not None and can_continue(net):
            parts, tensors = net_state_dict(net)
            self.checkpoint.write({"seed": self.seed, "training": parts}, tensors)

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Drop the checkpoint: the net may be pickled or trained further."""
        self.checkpoint = None


def can_continue(net: Any) -> bool:
    """Return whether the training has neither finished nor failed."""
    members = net.members
    return not (all(m.done for m in members) or any(m.error for m in members))


def net_state_dict(net: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the progress of the training of one estimator between two epochs.

    Its networks stop together, so all groups of the stack are live.

    Returns
    -------
    parts : dict
        Plain values and arrays.
    tensors : dict of str to torch.Tensor
    """
    module, optimizer = net.module_, net.optimizer_
    tensors = {
        "parameters": torch.cat([group.detach() for group in module.groups]),
        "running": torch.cat(list(module.buffers())),
    }
    members = []
    for k, member in enumerate(net.members):
        member_parts, states = member.state_dict()
        members.append(member_parts)
        tensors |= {f"{name}.{k}": state for name, state in states.items()}
    optimizer_state: list[dict[str, Any]] = []
    for i, group in enumerate(module.groups):
        state = optimizer.state.get(group, {})
        values = {n: v for n, v in state.items() if isinstance(v, torch.Tensor)}
        tensors |= {f"optimizer.{i}.{name}": v for name, v in values.items()}
        devices = {name: str(value.device) for name, value in values.items()}
        others = {n: v for n, v in state.items() if n not in values}
        optimizer_state.append({"devices": devices, "others": others})
    parts = {
        "members": members,
        "history": None if len(members) == 1 else net.history,
        "lr_schedules": [scheduled.schedule for scheduled in net.scheduled],
        "optimizer": optimizer_state,
        "options": [
            {name: value for name, value in group.items() if name != "params"}
            for group in optimizer.param_groups
        ],
    }
    return parts, tensors


@torch.no_grad()
def load_net_state_dict(
    net: Any, parts: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> None:
    """Restore the progress of a net with the same members."""
    module, optimizer = net.module_, net.optimizer_
    module.flat.copy_(tensors["parameters"])
    module.running.copy_(tensors["running"])
    for i, (group, state) in enumerate(
        zip(module.groups, parts["optimizer"], strict=True)
    ):
        optimizer.state[group] = state["others"] | {
            name: tensors[f"optimizer.{i}.{name}"].to(device)
            for name, device in state["devices"].items()
        }
    for options, saved in zip(optimizer.param_groups, parts["options"], strict=True):
        options.update(saved)
    if parts["history"] is not None:  # else the member's history is the net's
        net.history[:] = parts["history"]
    for k, (member, member_parts) in enumerate(
        zip(net.members, parts["members"], strict=True)
    ):
        states = {
            name: tensors[f"{name}.{k}"].to(module.flat.device)
            for name in ("best", "final")
            if f"{name}.{k}" in tensors
        }
        member.load_state_dict(member_parts, states)
    for scheduled, schedule in zip(net.scheduled, parts["lr_schedules"], strict=True):
        scheduled.schedule = schedule
        for member in scheduled.members:
            member.lr_schedule = schedule
        scheduled.update_optimizer()
