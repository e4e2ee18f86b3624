"""Combinations of the estimators' options."""

import itertools
from functools import cache

import torch

from helpers.estimators import CLASSIFICATION, TASKS, make
from skrebatch.strategies import STRATEGIES

SHARED = {"dtype": "float64", "lr": 0.02, "conv_channels": (3,)}
# A new option, or a new value of one, takes its place here.
OPTIONS = {
    "strategy": [
        *("min-loss", "max-loss", "random", "hybrid", "tsw", "ohem", "curriculum"),
        *("self-paced", "breed", "small-loss", "infobatch", "selective-backprop"),
        *("generalized-cross-entropy", "welsch"),
    ],
    "ratio": [0.3, 0, 1.5],
    "repeats": [1, 0, 3],
    "ratio_schedule": ["constant", "linear", "cosine", "step"],
    "warmup_epochs": [0, 2],
    "loss_smoothing": [0.0, 0.7],
    "refresh_every": [1, 3],
    "shuffle": [True, False],
    "batch_size": ["auto", 7],
    "optimizer": ["adam", "adamw", "sgd", "rmsprop", torch.optim.NAdam],
    "weight_decay": [0.0, 0.1],
    "lr_schedule": [
        *(None, "step", "plateau", "cosine", "exponential", "one-cycle"),
        torch.optim.lr_scheduler.ConstantLR,
    ],
    "n_augments": [0, 1, 2],
    "noise_std": [0.0, 0.3],
    "early_stopping": [False, True],
    "n_networks": [1, 2],
    "choose": ["own", "together"],
    "record_losses": [False, True],
    "variable_length": [False, True],
    "architecture": ["cnn", "mlp", "projected-cnn"],
    "hidden_layers": [None, (6, 5)],
    "batch_norm": [False, True],
    "dropout": [0.0, 0.3],
    "input_clip": [None, 1.5],
}
OWN_OPTIONS = {
    "classifier": {"class_balanced": [False, True], "class_weight": [None, "balanced"]},
    "multi-label": {"class_weight": [None, "balanced"]},
    "regressor": {"standardize_target": [True, False, "robust"]},
}
WEIGHING = "tsw", "ohem", "generalized-cross-entropy", "welsch"
# What is refused, or warned of because it does nothing.
APART = {("class_balanced", True, "strategy", name) for name in WEIGHING}
APART |= {("n_augments", 0, "noise_std", 0.3)}
APART |= {("n_augments", n, "variable_length", True) for n in (1, 2)}
APART |= {("noise_std", 0.3, "variable_length", True)}  # which would need copies
# Plain gradient descent diverges on a target of any scale.
APART |= {("optimizer", "sgd", "standardize_target", False)}
APART |= {
    (name, value, "variable_length", True)
    for name, value in (
        *(("batch_norm", True), ("dropout", 0.3)),
        ("architecture", "projected-cnn"),
    )
}
APART |= {
    ("ratio_schedule", schedule, "strategy", name)
    for schedule in ("linear", "cosine", "step")
    for name, strategy in STRATEGIES.items()
    if not strategy.uses_ratio
}


def covering_rows(options, apart):
    """Settings in which any two values of two options stand together at least once."""
    names = sorted(options)

    def pairs_of(row):
        for a, b in itertools.combinations(sorted(row), 2):
            yield a, row[a], b, row[b]

    wanted = {
        (a, x, b, y)
        for a, b in itertools.combinations(names, 2)
        for x in options[a]
        for y in options[b]
    } - apart
    rows = []
    while wanted:
        a, x, b, y = min(wanted, key=repr)
        row = {a: x, b: y}
        for name in sorted(options, key=lambda name: -len(options[name])):
            if name not in row:
                fits = [
                    {**row, name: value}
                    for value in options[name]
                    if apart.isdisjoint(pairs_of({**row, name: value}))
                ]
                row = max(fits, key=lambda fit: len(wanted & set(pairs_of(fit))))
        wanted -= set(pairs_of(row))
        rows.append(row)
    return rows


def options_of(task):
    """Return the options that a task has of its own; the first value is the default."""
    kind = "classifier" if task in CLASSIFICATION else "regressor"
    return OWN_OPTIONS[task if task in OWN_OPTIONS else kind]


@cache
def rows_of_all_tasks():
    """Return settings in which any two options stand together, the task one of them."""
    own = OWN_OPTIONS["classifier"] | OWN_OPTIONS["regressor"]
    of_one, of_other = (
        [
            (name, value)
            for name, values in OWN_OPTIONS[kind].items()
            for value in values[1:]
        ]
        for kind in ("classifier", "regressor")
    )
    apart = {(*one, *other) for one in of_one for other in of_other}
    apart |= {
        (name, value, "task", task)
        for task in TASKS
        for name, value in of_one + of_other
        if name not in options_of(task)
    }
    return covering_rows({**OPTIONS, **own, "task": TASKS}, APART | apart)


def rows_of(task):
    """Return the settings for a task, with what is an option for it."""
    names = OPTIONS.keys() | options_of(task).keys()
    return [
        {name: value for name, value in row.items() if name in names}
        for row in rows_of_all_tasks()
        if row["task"] == task
    ]


def models_of(task):
    return [make(task, **SHARED, **row) for row in rows_of(task)]
