"""
Halving, with epochs as the resource
====================================

scikit-learn's ``HalvingGridSearchCV`` gives many candidates a few epochs, and the best
of them more.
"""

# %%
# ``resource="max_epochs"``: the first round trains twelve candidates for five epochs,
# each further round the better third for three times as many.

from sklearn.datasets import load_breast_cancer
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingGridSearchCV
from sklearn.preprocessing import scale

from skrebatch import ReBatchCNNClassifier

X, y = load_breast_cancer(return_X_y=True)
search = HalvingGridSearchCV(
    ReBatchCNNClassifier(
        n_networks=1,
        architecture="mlp",
        hidden_layers=(32,),
        batch_size=32,
        random_state=0,
    ),
    {"ratio": [0, 0.08, 0.15, 0.3], "lr": [3e-4, 1e-3, 3e-3]},
    resource="max_epochs",
    min_resources=5,
    max_resources=45,
    scoring="neg_log_loss",
    cv=3,
    random_state=0,
).fit(scale(X), y)
print(search.best_params_)

# %%
# Each line is a candidate, as far as it got.

import matplotlib.pyplot as plt
import numpy as np

results = search.cv_results_
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for params in search.cv_results_["params"][: search.n_candidates_[0]]:
    own = [
        all(other[name] == params[name] for name in ("ratio", "lr"))
        for other in results["params"]
    ]
    ax.plot(
        results["n_resources"][own],
        -results["mean_test_score"][own],
        "o-",
        color=f"C{[3e-4, 1e-3, 3e-3].index(params['lr'])}",
        label=f"lr={params['lr']}" if params["ratio"] == 0 else None,
    )
ax.set(
    xlabel="max_epochs",
    ylabel="log loss, mean over the folds",
    xticks=np.unique(results["n_resources"]),
)
_ = ax.legend()

# %%
# Epochs are a resource with two catches. A short training favours large learning
# rates, so that the first round may drop what would have won; and a long one overfits,
# as the last round does here. ``early_stopping=True`` helps against the second, and
# ``FusedGridSearchCV``, which trains all candidates to the end side by side, against
# the first.
