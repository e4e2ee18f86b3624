"""
A rare class
============

On imbalanced data the hardest rows *are* the rare class. What leaves them out unlearns
it, unless it chooses within each class.
"""

# %%
# Five of a hundred rows are of class 1.

from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split

X, y = make_classification(
    1500, 10, n_informative=5, weights=[0.95], flip_y=0, random_state=0
)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

# %%
# Four trainings that differ in one thing each.

from sklearn.metrics import balanced_accuracy_score, recall_score

from skrebatch import ReBatchCNNClassifier

hardest_out = {"strategy": "max-loss", "repeats": 0, "ratio": 0.15}
settings = {
    "plain": {"ratio": 0},
    "class weights": {"ratio": 0, "class_weight": "balanced"},
    "hardest out": hardest_out,
    "hardest out,\nwithin classes": {**hardest_out, "class_balanced": True},
}
models = {
    name: ReBatchCNNClassifier(
        batch_size=32, max_epochs=30, random_state=0, **setting
    ).fit(X_train, y_train)
    for name, setting in settings.items()
}
predicted = {name: model.predict(X_test) for name, model in models.items()}

# %%
# Accuracy would hide it all: predicting class 0 for everyone has .95.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained", sharey=True)
for ax, (title, score) in zip(
    axes,
    {
        "recall of the rare class": recall_score,
        "balanced accuracy": balanced_accuracy_score,
    }.items(),
    strict=True,
):
    bars = ax.barh(list(predicted), [score(y_test, p) for p in predicted.values()])
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.set(title=title, xlim=(0, 1.1))
axes[0].invert_yaxis()

# %%
# One table and one seed. :doc:`/methods` measures it with intervals, and
# :doc:`/imbalance` adds samplers such as SMOTE.
