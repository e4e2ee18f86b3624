"""
A rare class
============

One class of my table is rare, and I need to find the rows of this class. Does a model
find these rows, and what helps?
"""

# %%
# The rows of the table are tumours. Half of the benign tumours (class 1) and only 12
# malignant tumours (class 0) are used for training. All other tumours are test rows.

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
# The rows of a rare class have high losses. If the hardest rows, those with the highest
# losses, are left out, the whole class may be left out. With ``class_balanced=True``,
# the hardest rows are chosen within each class. The baseline is plain training
# (``ratio=0``), which leaves out no rows.

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
# The picture shows the recall of both classes on the test rows. The recall of a class
# is the share of its rows that the model finds, that is, predicts as this class.

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
# With class weights, the model finds more rows of the rare class than with plain
# training, and slightly fewer rows of the common class. If the hardest rows of the
# whole table are left out, the model finds no row of the rare class. If the hardest
# rows are chosen within each class, the model does find rows of the rare class. This
# result is from one table. :doc:`/imbalance` also describes samplers such as SMOTE.
