"""
Score against ratio
===================

The best ratio depends on the data, and often it is 0. A search tells, and the picture
shows how sure it is.
"""

# %%
# All candidates train side by side. ``random`` puts as many random rows in the same
# places: a gain that it shares does not come from the losses. Several seeds are
# averaged within each fold.

from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrebatch import FusedGridSearchCV, ReBatchCNNClassifier

X, y = load_breast_cancer(return_X_y=True)
search = FusedGridSearchCV(
    make_pipeline(
        StandardScaler(),
        # A single small network for each candidate, to be quick.
        ReBatchCNNClassifier(
            n_networks=1,
            architecture="mlp",
            hidden_layers=(32,),
            repeats=2,
            batch_size=32,
            max_epochs=15,
        ),
    ),
    {
        "rebatchcnnclassifier__ratio": [0, 0.03, 0.08, 0.15, 0.3],
        "rebatchcnnclassifier__strategy": ["min-loss", "max-loss", "random"],
        "rebatchcnnclassifier__random_state": [0, 1],
    },
    scoring="neg_log_loss",
).fit(X, y)
print(search.best_params_)

# %%
# The brackets are 95 % intervals of the mean over the folds, corrected for training
# sets that overlap (Nadeau and Bengio, 2003). Where they are as wide as the
# differences, the search has picked a winner among equals.

from skrebatch import RatioCurveDisplay

display = RatioCurveDisplay.from_search(search)
