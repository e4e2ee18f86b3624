"""
When to begin leaving rows out
==============================

I want to leave out the hardest rows, those with the highest losses, because some labels
are wrong. Should I begin in the first epoch, or later?
"""

# %%
# In this example, a fifth of the labels is made wrong, so that we know which rows
# should be left out. The parameter ``ratio`` decides how many rows are left out in each
# epoch. The parameter ``warmup_epochs`` is the number of epochs before the first rows
# are left out. With the parameter ``ratio_schedule``, few rows are left out at first,
# and more rows later. The value of ``ratio_schedule`` is either the name of a schedule
# or a function. The function gets the progress of the training, a number in (0, 1], and
# returns a factor by which ``ratio`` is multiplied.

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from skrebatch import ReBatchCNNClassifier, SampleDynamicsDisplay, fit_fused

X, y = load_breast_cancer(return_X_y=True)
is_wrong = np.random.default_rng(0).random(len(y)) < 0.2
noisy = np.where(is_wrong, 1 - y, y)
settings = {
    "at once": {},
    "after 5 epochs": {"warmup_epochs": 5},
    "linear": {"ratio_schedule": "linear"},
    "quadratic": {"ratio_schedule": np.square},
}
common = {"strategy": "max-loss", "repeats": 0, "ratio": 0.25, "record_losses": True}
common |= {"n_networks": 1, "batch_size": 32, "max_epochs": 30, "random_state": 0}
models = {
    name: ReBatchCNNClassifier(**common, **setting)
    for name, setting in settings.items()
}
fit_fused(list(models.values()), scale(X), noisy)

# %%
# The left plot shows how many rows are left out in each epoch. For the rows that are
# left out, the right plot shows the share of wrong labels.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for name, model in models.items():
    left_out = model.recorded_choices_  # (epochs, rows)
    count = left_out.sum(axis=1)
    share = left_out[:, is_wrong].sum(axis=1) / np.where(count, count, np.nan)
    axes[0].plot(model.recorded_epochs_, count, drawstyle="steps-mid", label=name)
    axes[1].plot(model.recorded_epochs_, share, label=name)
    right = (model.predict(scale(X)) == y).mean()
    print(f"{name}: {right:.3f} of the predictions agree with the right labels")
axes[0].set(xlabel="epoch", ylabel="rows left out")
axes[1].set(xlabel="epoch", ylabel="share with a wrong label")
_ = axes[0].legend()

# %%
# The next plot shows which rows are left out in which epoch, with the linear schedule.
# The hardest rows are at the top.

display = SampleDynamicsDisplay.from_estimator(models["linear"], kind="choices")

# %%
# Conclusion
# ----------
#
# Wait a few epochs, and then leave out the full number of rows in each epoch. The
# losses after the first epoch say little about the labels. With a ratio that rises
# slowly, most rows are left out too late: by then, the network has learned wrong
# labels, and rows with correct labels are left out. This result is from one table with
# one seed.
