"""
Find wrong targets in regression
================================

Some targets in my training data were written down wrongly. Can the wrong targets be
found, and how much do they harm a model?
"""

# %%
# The target is the progression of diabetes in 442 patients. In this example, 16
# training targets are made ten times too large, as if the decimal point had slipped.
# Another 16 training targets are swapped between patients. ``y_given`` contains the
# training targets after these changes. The targets in ``y_given`` are called the
# *given* targets. The *right* targets are the targets before these changes.

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

X, y = load_diabetes(return_X_y=True, as_frame=True)
X = X / X.std()  # the columns have mean 0 already
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
rows = np.random.default_rng(0).choice(y_train.index, 32, replace=False)
slipped, swapped = rows[:16], rows[16:]
y_given = y_train.copy()
y_given[slipped] = 10 * y_train[slipped]
y_given[swapped] = y_train[swapped[::-1]].to_numpy()

# %%
# The function ``find_label_issues`` marks the targets that are probably wrong. All
# targets of this table are whole numbers. The code passes a regressor, so that the
# function does not treat the targets as classes. The next table has a row for each kind
# of target: *right* (not changed), *slipped* and *swapped*. The column *True* counts
# the targets that are marked as wrong (``is_label_issue``), and the column *False*
# counts the other targets.

from skrebatch import ReBatchCNNRegressor, find_label_issues

issues = find_label_issues(X_train, y_given, ReBatchCNNRegressor(), random_state=0)
issues["truth"] = "right"
issues.loc[slipped, "truth"], issues.loc[swapped, "truth"] = "slipped", "swapped"
pd.crosstab(issues["truth"], issues["is_label_issue"])

# %%
# For each row, the picture shows the given target against the predicted target. The
# predictions are out-of-fold: the prediction for a row comes from networks that were
# not trained on this row.

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, group in issues.groupby("truth"):
    ax.plot(group["predicted_label"], group["given_label"], ".", label=name)
ax.set(xlabel="predicted target", ylabel="given target", yscale="log")
_ = ax.legend()

# %%
# Three models are trained twice: once on the right targets, and once on the given
# targets. The table shows the mean absolute errors of the models on the test rows. The
# test targets were not changed.

from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error

from skrebatch import ReBatchCNNRegressorCV

errors = pd.DataFrame(index=["right targets", "given targets"])
for cls in [Ridge, ReBatchCNNRegressor, ReBatchCNNRegressorCV]:
    errors[cls.__name__] = [
        mean_absolute_error(y_test, cls(random_state=0).fit(X_train, t).predict(X_test))
        for t in (y_train, y_given)
    ]
errors.round(1)

# %%
# Conclusion
# ----------
#
# The slipped targets are found. ``ReBatchCNNRegressorCV`` withstands the slipped
# targets, and the other two models do not. Few of the swapped targets are found. Most
# swapped targets are as plausible as the right targets, because the features explain
# only half of the variance of the target.
