"""
Schedules of the ratio
======================

After an epoch or two a high loss says little. ``ratio_schedule`` and ``warmup_epochs``
let the choice begin small, or late.
"""

# %%
# A schedule is a name, or a function from the progress in (0, 1] to a factor on
# ``ratio``.

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from skrebatch import ReBatchCNNClassifier


def up_and_down(progress):
    """Choose most in the middle of the training."""
    return np.sin(np.pi * progress)


X, y = load_breast_cancer(return_X_y=True)
schedules = ["constant", "linear", "cosine", "step", up_and_down]
models = {
    str(getattr(schedule, "__name__", schedule)): ReBatchCNNClassifier(
        ratio=0.3,
        strategy="max-loss",
        repeats=0,
        ratio_schedule=schedule,
        warmup_epochs=5,
        batch_size=32,
        max_epochs=40,
        record_losses=True,
        random_state=0,
    ).fit(scale(X), y)
    for schedule in schedules
}

# %%
# How many rows each epoch left out. The first epochs are plain training.

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, model in models.items():
    ax.plot(
        model.recorded_epochs_,
        model.recorded_choices_.sum(axis=1),
        drawstyle="steps-mid",
        label=name,
    )
ax.set(xlabel="epoch", ylabel="rows left out")
_ = ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
