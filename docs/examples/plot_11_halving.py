"""
Halving: few epochs for many candidates
=======================================

I want to try many candidates, which are combinations of a learning rate and a network
size. Do I have to train all candidates to the end?
"""

# %%
# ``HalvingGridSearchCV`` of scikit-learn trains in three rounds. The first round trains
# nine candidates for 3 epochs, the second round trains the best three candidates for 9
# epochs, and the last round trains the best one for 27 epochs. ``FusedGridSearchCV``
# trains all nine candidates for 27 epochs.

from sklearn.datasets import load_breast_cancer
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingGridSearchCV
from sklearn.preprocessing import scale

from skrebatch import FusedGridSearchCV, ReBatchCNNClassifier

X, y = load_breast_cancer(return_X_y=True)
model = ReBatchCNNClassifier(
    n_networks=1, architecture="mlp", batch_size=64, max_epochs=27, random_state=0
)
grid = {"lr": [3e-4, 3e-3, 3e-2], "hidden_layers": [(8,), (32,), (128,)]}
common = {"scoring": "neg_log_loss", "cv": 3, "refit": False}
halving = HalvingGridSearchCV(
    model, grid, resource="max_epochs", min_resources=3, max_resources=27, **common
).fit(scale(X), y)
full = FusedGridSearchCV(model, grid, **common).fit(scale(X), y)
for search in (halving, full):
    print(f"{search.best_params_}, log loss {-search.best_score_:.3f}")

# %%
# The picture shows the log loss of each candidate against the number of epochs. Each
# line is a candidate of ``HalvingGridSearchCV``. The line ends at the last round in
# which the candidate was trained. The crosses are the candidates of
# ``FusedGridSearchCV``, which are all trained for 27 epochs.

import matplotlib.pyplot as plt
import pandas as pd

results = pd.DataFrame(halving.cv_results_)
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
colours = dict(zip(grid["lr"], ["C0", "C1", "C2"], strict=True))
for (lr, size), own in results.groupby(["param_lr", "param_hidden_layers"]):
    label = f"lr={lr}" if size == (8,) else None
    loss = -own["mean_test_score"]
    ax.plot(own["n_resources"], loss, "o-", color=colours[lr], label=label)
for params, score in zip(
    full.cv_results_["params"], full.cv_results_["mean_test_score"], strict=True
):
    ax.plot(27.5, -score, "x", color=colours[params["lr"]])
ax.set(xlabel="epochs", ylabel="log loss, mean over the folds", xticks=[3, 9, 27])
_ = ax.legend()

# %%
# Conclusion
# ----------
#
# You do not have to train all candidates to the end. But after only a few epochs,
# candidates with large learning rates look better than they are in the end. In this
# example, halving keeps candidates with large learning rates and drops the candidates
# that are best in the end. Give the first round enough epochs. If there is time, train
# all candidates side by side instead.
