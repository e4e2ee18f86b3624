"""
A rare class
============

One class of my table is rare, and it is the one that I need. Does the model find it,
and what helps?
"""

# %%
# Half of the benign tumours (1) and only 12 malignant ones (0) are used for training.
# All others are test rows.

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

X, y = load_breast_cancer(return_X_y=True)
is_train = np.zeros(len(y), dtype=bool)
is_train[np.flatnonzero(y == 1)[::2]] = True
is_train[np.flatnonzero(y == 0)[:12]] = True
scaler = StandardScaler().fit(X[is_train])
X_train, X_test = scaler.transform(X[is_train]), scaler.transform(X[~is_train])
y_train, y_test = y[is_train], y[~is_train]
print(f"rare class: {np.mean(y_train == 0):.0%} of {len(y_train)} training rows")

# %%
# A rare class has high losses, so leaving out the hardest rows may leave out the class.
# With ``class_balanced=True``, the hardest rows are chosen within each class.

from skrebatch import ReBatchCNNClassifier

hardest_out = {"strategy": "max-loss", "repeats": 0, "ratio": 0.15}
settings = {
    "plain": {"ratio": 0},
    "class weights": {"ratio": 0, "class_weight": "balanced"},
    "hardest out": hardest_out,
    "hardest out,\nwithin classes": {**hardest_out, "class_balanced": True},
}
predicted = {
    name: ReBatchCNNClassifier(random_state=0, **setting)
    .fit(X_train, y_train)
    .predict(X_test)
    for name, setting in settings.items()
}

# %%
# The recall of a class is the share of its rows that are found.

import matplotlib.pyplot as plt
from sklearn.metrics import recall_score

figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", sharey=True)
for ax, label, title in zip(axes, [0, 1], ["rare", "common"], strict=True):
    recalls = [recall_score(y_test, p, pos_label=label) for p in predicted.values()]
    bars = ax.barh(list(predicted), recalls)
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.set(title=f"recall of the {title} class", xlim=(0, 1.15))
axes[0].invert_yaxis()

# %%
# Conclusion
# ----------
#
# With class weights, the model finds more of the rare class and a little less of the
# common one. If the hardest rows are left out, it does not find the rare class at all,
# unless these rows are chosen within each class. This is one table; :doc:`/imbalance`
# adds samplers such as SMOTE.
