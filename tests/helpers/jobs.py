"""Jobs and members for tests of the training loop."""

import numpy as np
import torch

from skrebatch._engine.nn.architecture import build_architecture
from skrebatch._engine.nn.losses import BinaryCrossEntropy, SquaredError
from skrebatch._engine.training.early_stopping import EarlyStopping
from skrebatch._engine.training.members import Job, Member
from skrebatch._engine.training.run import run_jobs
from skrebatch.sampling._selector import Selection
from skrebatch.strategies import check_strategy

N, FEATURES = 50, 4
ALL = np.arange(N)


SELECTION = (
    "ratio",
    "repeats",
    "shuffle",
    "schedule",
    "warmup_epochs",
    "smoothing",
    "refresh_every",
    "class_balanced",
    "labels",
    "epoch",
)


def make_member(
    rows=ALL, *, seed=0, strategy="min-loss", max_epochs=8, lr=0.01, **fields
):
    """A network to be trained on some rows, as an estimator would ask for it."""
    selection = {name: fields.pop(name) for name in SELECTION if name in fields}
    if "patience" in fields:
        fields["early_stopping"] = EarlyStopping(
            fields.pop("patience"), "loss", 1, fields["valid_rows"]
        )
    return Member(
        network=None,
        rows=rows,
        selection=Selection(
            n_samples=len(rows),
            strategy=check_strategy(strategy),
            rng=np.random.default_rng(seed),
            max_epochs=max_epochs,
            **{"ratio": 0.25, **selection},
        ),
        max_epochs=max_epochs,
        lr=lr,
        seed=seed,
        **{"batch_size": 8, **fields},
    )


def make_data(loss=SquaredError, seed=0):
    """A table and its encoded targets."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, FEATURES))
    score = X[:, 0] * X[:, 1] + rng.normal(scale=0.5, size=N)
    if loss is SquaredError:
        return X, np.column_stack([score, X[:, 2]])
    if loss is BinaryCrossEntropy:
        return X, (score > 0).astype(float)[:, None]
    return X, np.eye(3)[np.digitize(score, [-0.5, 0.5])]


def make_job(members, X=None, targets=None, loss=SquaredError, optimizer="Adam"):
    if X is None:
        X, targets = make_data(loss)
    return Job(
        X=[X],
        targets=[targets],
        members=members,
        architecture=build_architecture(FEATURES, targets.shape[1], hidden_size=6),
        loss=loss,
        optimizer=getattr(torch.optim, optimizer),
        dtype=torch.float64,
        device=torch.device("cpu"),
    )


def train(jobs):
    """The stack that has trained the jobs."""
    results = run_jobs(jobs)
    if results[0].stack is None:
        results[0].raise_error()
    return results[0].stack
