"""
A search, side by side
======================

``FusedGridSearchCV`` is ``GridSearchCV`` of scikit-learn with all fits in stacks. The
same candidates, folds and scores; how much faster?
"""

# %%
# Twenty-four fits of a small network: two ratios, four seeds, three folds. In float64
# the two searches agree to rounding.

import time

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import scale

from skrebatch import FusedGridSearchCV, ReBatchCNNClassifier

X, y = load_breast_cancer(return_X_y=True)
X = scale(X)[:, :10]
grid = {"ratio": [0.08, 0.15], "random_state": [0, 1, 2, 3]}
model = ReBatchCNNClassifier(n_networks=1, batch_size=32, max_epochs=3, dtype="float64")
times = {"GridSearchCV": [], "FusedGridSearchCV": []}
for _ in range(3):  # in turns, because a machine's speed drifts
    for kind in (GridSearchCV, FusedGridSearchCV):
        start = time.process_time()
        search = kind(model, grid, scoring="neg_log_loss", cv=3, refit=False)
        search.fit(X, y)
        times[kind.__name__].append(time.process_time() - start)
        if kind is GridSearchCV:
            alone = search.cv_results_["mean_test_score"]
difference = np.abs(alone - search.cv_results_["mean_test_score"]).max()
print(f"largest difference of a score: {difference:.1e}")

# %%
# CPU time, relative to the median of ``GridSearchCV``. More data sets, larger stacks
# and other libraries are in :doc:`/speed`.

import matplotlib.pyplot as plt

unit = np.median(times["GridSearchCV"])
figure, ax = plt.subplots(figsize=(7, 2), layout="constrained")
bars = ax.barh(list(times), [np.median(seconds) / unit for seconds in times.values()])
ax.bar_label(bars, fmt="%.2f", padding=3)
ax.invert_yaxis()
_ = ax.set(xlabel="CPU time", xlim=(0, 1.15))
