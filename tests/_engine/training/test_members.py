"""Which networks of a stack take their steps together, and when each ends."""

import pytest
import torch
from helpers.jobs import ALL, make_member

from skrebatch import DivergedError
from skrebatch._engine.training.members import group_by_steps

VALID = {"valid_rows": ALL[:5]}


def test_networks_in_lockstep_are_one_group():
    specs = {
        "a": {},
        "b": {"seed": 1, "strategy": "max-loss", "ratio": 0.3},
        "other lr": {"lr": 0.05},
        "other decay": {"weight_decay": 0.1},
        "small batches": {"batch_size": 3},
        "stops early": {"patience": 3, **VALID},
        "stops early too": {"patience": 3, **VALID},
        "fewer epochs": {"max_epochs": 3},
        "longer": {"repeats": 3, "ratio": 0.25},  # nine batches from the second epoch
        "as many steps": {"rows": ALL[:49]},
        "fewer steps": {"rows": ALL[:48]},
        "watches": VALID,
    }
    members = {name: make_member(**spec) for name, spec in specs.items()}
    name_of = {id(member): name for name, member in members.items()}
    groups = group_by_steps(list(members.values()))
    names = [{name_of[id(member)] for member in group} for group in groups]
    together = {"a", "b", "as many steps", "watches"}
    assert together in names
    assert sorted(map(len, names)) == [1] * 8 + [4]
    # Those with the most steps come first.
    assert names[:2] == [{"small batches"}, {"longer"}]
    assert names[-1] == {"fewer steps"}


def end_epochs(member, losses):
    """End epochs with the given losses on the validation set."""
    for epoch, loss in enumerate(losses, start=1):
        member.history.new_epoch()
        member.record("valid_loss", loss)
        stopping = member.early_stopping
        is_best = stopping is not None and stopping.add(loss)
        member.end_epoch(torch.full((3,), float(epoch)), is_best)
        if member.done:
            break
    return member


@pytest.mark.parametrize(
    "losses, epochs, best",
    [
        ([5, 4, 3, 2, 1, 0], 6, 6),
        ([5, 4, 4, 4, 0, 0], 4, 2),  # an equal loss is no improvement
        ([5, 6, 4, 6, 3, 2], 6, 6),
        ([1, 2, 3, 0, 0, 0], 3, 1),
        ([2, 3, 1, 3, 2, 0], 5, 3),
    ],
)
def test_early_stopping_by_hand(losses, epochs, best):
    member = make_member(patience=2, max_epochs=6, **VALID)
    end_epochs(member, losses)
    assert member.epochs == epochs
    assert member.final.tolist() == [best] * 3
    assert member.history[:, "valid_loss_best"][best - 1]


def test_without_patience_the_last_epoch_counts():
    member = end_epochs(make_member(max_epochs=4, **VALID), [1, 2, 3, 4, 5])
    assert member.done
    assert member.epochs == 4
    assert member.final.tolist() == [4] * 3


def test_final_parameters_are_a_copy():
    member, parameters = make_member(max_epochs=1), torch.ones(3)
    member.end_epoch(parameters, is_best=False)
    parameters.fill_(7)
    assert member.final.tolist() == [1] * 3


def test_a_divergence_says_where_and_what_to_do():
    error = DivergedError.at(3, "batch 2")
    for words in ("epoch 3, batch 2", "StandardScaler", "lower lr", "standardize"):
        assert words in str(error)
