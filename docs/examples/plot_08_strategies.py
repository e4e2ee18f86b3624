"""
Strategies compared
===================

Some training labels are wrong. Which strategy of re-Batch gives the best model, and is
it better than plain training?
"""

# %%
# In this example, a fifth of the labels is made wrong. The networks are trained on all
# labels, including the wrong ones. They are scored on test rows with the original
# labels. A strategy decides which training rows are repeated, left out or given another
# weight. There are six splits into training rows and test rows, and one network for
# each combination of a strategy and a split. The function ``fit_fused`` trains all
# networks side by side, each on the training rows of its own split.

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.preprocessing import scale

from skrebatch import ReBatchCNNClassifier, fit_fused

X, y = load_breast_cancer(return_X_y=True)
X = scale(X)
noisy = np.where(np.random.default_rng(0).random(len(y)) < 0.2, 1 - y, y)
splitter = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
folds = list(splitter.split(X, y))
settings = {
    "plain training": {"ratio": 0},
    "random, left out": {"strategy": "random", "repeats": 0},
    "easiest twice": {"strategy": "min-loss", "repeats": 2},
    "hardest left out": {"strategy": "max-loss", "repeats": 0},
    "small-loss": {"strategy": "small-loss"},
    "generalized\ncross-entropy": {"strategy": "generalized-cross-entropy"},
    "infobatch": {"strategy": "infobatch"},
}
common = {"ratio": 0.3, "n_networks": 1, "max_epochs": 25, "random_state": 0}
common |= {"architecture": "mlp", "hidden_layers": (32,), "batch_size": 32}
models = {
    name: [ReBatchCNNClassifier(**(common | setting)) for _ in folds]
    for name, setting in settings.items()
}
every = [model for fits in models.values() for model in fits]
fit_fused(every, X, noisy, [train for train, _ in folds] * len(models))

# %%
# The picture shows the accuracy of each strategy minus the accuracy of plain training,
# averaged over the six splits. The bars are 95 % intervals of this average. The
# intervals are corrected for overlapping training sets (Nadeau and Bengio, 2003). An
# interval that contains 0 is no evidence of a difference.

import matplotlib.pyplot as plt
from scipy.stats import t

scores = {
    name: np.array([m.score(X[i], y[i]) for m, (_, i) in zip(fits, folds, strict=True)])
    for name, fits in models.items()
}
plain = scores.pop("plain training")
differences = np.array([own - plain for own in scores.values()])  # (settings, splits)
factor = 1 / len(folds) + 1 / 2  # a test part has half as many rows as a training part
half = t.ppf(0.975, len(folds) - 1) * np.sqrt(factor * differences.var(axis=1, ddof=1))

figure, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
ax.errorbar(differences.mean(axis=1), list(scores), xerr=half, fmt="o", capsize=3)
ax.axvline(0, color="grey", linewidth=1)
ax.invert_yaxis()
_ = ax.set(xlabel=f"accuracy − that of plain training ({plain.mean():.3f})")

# %%
# Conclusion
# ----------
#
# The strategies *hardest left out* and *small-loss* leave out the hardest rows, those
# with the highest losses. On average, these two strategies gain about five percentage
# points over plain training. The other strategies gain nothing over plain training. All
# intervals contain 0, so this example is no evidence that a strategy is better than
# plain training. :doc:`/methods` has the results on more tables.
