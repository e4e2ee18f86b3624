"""What the steps of a fit hand on: checked data, a prepared fit, and a fit's state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skrebatch._engine.nn.tabular_cnn import TabularCNN
from skrebatch._engine.optim.lr_schedules import LRSchedule
from skrebatch._engine.training.members import Job
from skrebatch._utils.typing import Floats, Indices
from skrebatch.estimators._targets import Targets
from skrebatch.sampling._loss_log import LossLog


@dataclass
class FitState:
    """What a later fit needs, besides the networks, to continue a fit.

    Each list has one entry per network.
    """

    rngs: list[np.random.Generator]
    lr_schedules: list[LRSchedule | None]
    selection_states: list[Any]  # for selections on the same samples
    logs: list[LossLog | None]
    split_seed: int | None = None  # seed of the validation split
    data_hash: str | None = None  # hash of the data of selection states and logs
    max_epochs: int | None = None  # length of the ratio schedule and of the strategy


@dataclass(frozen=True)
class EarlierFit:
    """An earlier fit that is continued."""

    networks: list[TabularCNN]
    n_epochs: int
    state: FitState


@dataclass(frozen=True)
class CheckedData:
    """The data of a fit after all checks, and what was learned from them."""

    key: tuple[Any, ...]  # identifies the data in a cache
    X: list[Any]  # training data, and the validation set if one is given
    y: list[NDArray[Any]]
    rows: Indices  # indices of all training data; the same object for the same data
    targets: Targets
    learned: dict[str, Any]  # fitted attributes


@dataclass
class PreparedFit:
    """A fit that is ready to be trained."""

    job: Job
    learned: dict[str, Any]  # fitted attributes known before the training
    targets: Targets
    split_seed: int | None
    data_hash: str | None
    max_epochs: int  # length of the ratio schedule and of the strategy
    continues: EarlierFit | None = field(default=None, repr=False)
    leaks: bool = False  # networks may have been trained on rows that they hold out
    sample_weight: Floats | None = None  # as the fit was given it
