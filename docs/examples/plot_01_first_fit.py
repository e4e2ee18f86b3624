"""
A first fit, and its loss curves
================================

I have a table and want to classify its rows. How do I train a network, how good is it,
and does re-Batch make it better?
"""

# %%
# The rows of the table are 569 tumours, each described by 30 numbers. The labels say
# which tumours are benign. A network needs features of similar scale, so a scaler is
# the first step of the pipeline.

import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrebatch import LossCurveDisplay, ReBatchCNNClassifier

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
model = make_pipeline(StandardScaler(), ReBatchCNNClassifier(random_state=0))
model.fit(X_train, y_train)

# %%
# The estimator is an ensemble of ten networks. Each network holds out different
# training rows. The attribute ``oof_score_`` is the accuracy on held-out rows: each
# training row is predicted by the networks that were not trained on this row. So
# ``oof_score_`` estimates the accuracy on new rows, and needs no test set. A logistic
# regression is trained for comparison.

linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(X_train, y_train)
print(f"estimated accuracy         {model[-1].oof_score_:.3f}")
print(f"accuracy on the test rows  {model.score(X_test, y_test):.3f}")
print(f"logistic regression        {linear.score(X_test, y_test):.3f}")

# %%
# Three ensembles start with the same initial weights. The first one uses plain training
# (``ratio=0``), that is, training without re-Batch. The second one uses re-Batch: in
# each epoch, the easiest rows, those with the lowest losses, occur twice. The third one
# is a control: it repeats as many rows as the second one, but chooses these rows at
# random.

settings = {
    "plain": {"ratio": 0},
    "easiest twice": {"ratio": 0.3, "repeats": 2},
    "random twice": {"ratio": 0.3, "repeats": 2, "strategy": "random"},
}
models = {
    name: make_pipeline(
        StandardScaler(), ReBatchCNNClassifier(random_state=0, **setting)
    ).fit(X_train, y_train)
    for name, setting in settings.items()
}
display = LossCurveDisplay.from_estimator(models, baseline=models["plain"])
pd.DataFrame(
    {
        name: {
            "test accuracy": fitted.score(X_test, y_test),
            "lowest validation loss": min(fitted[-1].validation_loss_curve_),
        }
        for name, fitted in models.items()
    }
).round(3)

# %%
# Conclusion
# ----------
#
# The ensemble is good without any tuning, and ``oof_score_`` is close to the score on
# the test rows. On this table, re-Batch brings no gain over plain training: the lowest
# validation loss and the test accuracy are nearly the same with and without re-Batch.
# The accuracies of the three models differ by one or two of the 143 test rows. Such a
# small difference does not show which model is best.
