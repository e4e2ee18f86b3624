"""
Strategies compared
===================

Every way to choose is a value of the parameter ``strategy``, so that one search
compares them all, and plain training with them.
"""

# %%
# A fifth of the training labels is wrong; the scores are of right labels. For that the
# folds are ours: the wrong labels go in by hand, and ``fit_fused`` trains all networks
# side by side, each on rows of its own.

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.preprocessing import scale

from skrebatch import ReBatchCNNClassifier, fit_fused

X, y = load_breast_cancer(return_X_y=True)
X = scale(X)
rng = np.random.default_rng(0)
noisy = np.where(rng.random(len(y)) < 0.2, 1 - y, y)
splitter = RepeatedStratifiedKFold(n_splits=3, n_repeats=3, random_state=0)
folds = list(splitter.split(X, y))

settings = {
    "plain training": {"ratio": 0},
    "random": {"strategy": "random"},
    "min-loss": {"strategy": "min-loss"},
    "min-loss, twice": {"strategy": "min-loss", "repeats": 2},
    "max-loss, left out": {"strategy": "max-loss", "repeats": 0},
    "small-loss": {"strategy": "small-loss"},
    "self-paced": {"strategy": "self-paced"},
    "curriculum": {"strategy": "curriculum"},
    "infobatch": {"strategy": "infobatch"},
    "ohem": {"strategy": "ohem"},
}
common = {
    "n_networks": 1,
    "architecture": "mlp",
    "hidden_layers": (32,),
    "ratio": 0.3,
    "batch_size": 32,
    "max_epochs": 40,
    "random_state": 0,
}
models = {
    name: [ReBatchCNNClassifier(**{**common, **setting}) for _ in folds]
    for name, setting in settings.items()
}
fit_fused(
    [model for fits in models.values() for model in fits],
    X,
    noisy,
    indices=[train for train, _ in folds] * len(models),
)
scores = {
    name: np.array(
        [
            model.score(X[test], y[test])
            for model, (_, test) in zip(fits, folds, strict=True)
        ]
    )
    for name, fits in models.items()
}

# %%
# Differences to plain training, split by split, with the 95 % interval of Nadeau and
# Bengio (2003) for training sets that overlap. An interval that holds 0 decides
# nothing.

import matplotlib.pyplot as plt
from scipy.stats import t

plain = scores.pop("plain training")
differences = np.array([own - plain for own in scores.values()])  # (settings, splits)
n_splits = len(folds)
n_train, n_test = map(len, folds[0])
error = np.sqrt((1 / n_splits + n_test / n_train) * differences.var(axis=1, ddof=1))
half = t.ppf(0.975, n_splits - 1) * error

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.errorbar(differences.mean(axis=1), list(scores), xerr=half, fmt="o", capsize=3)
ax.axvline(0, color="grey", linewidth=1)
ax.invert_yaxis()
_ = ax.set(xlabel=f"accuracy − that of plain training ({plain.mean():.3f})")

# %%
# One data set with wrong labels. :doc:`/methods` has a card for each method and
# measures them on six data sets, on clean labels for the most part, where hardly
# anything helps.
