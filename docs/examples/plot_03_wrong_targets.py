"""
Find wrong targets in regression
================================

Some numbers that I want to predict were written down wrongly. Can they be found, and
how much do they harm a model?
"""

# %%
# The target is the progression of diabetes in 442 patients. Here the decimal point
# slips in 16 training targets, so that they are ten times too large. Another 16 are
# swapped between patients.

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
# Targets that are whole numbers are treated as classes, unless a regressor is passed.

from skrebatch import ReBatchCNNRegressor, find_label_issues

issues = find_label_issues(X_train, y_given, ReBatchCNNRegressor(), random_state=0)
issues["truth"] = "right"
issues.loc[slipped, "truth"], issues.loc[swapped, "truth"] = "slipped", "swapped"
pd.crosstab(issues["truth"], issues["is_label_issue"])

# %%
# The predictions are out-of-fold: they come from networks that were not trained on the
# row.

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, group in issues.groupby("truth"):
    ax.plot(group["predicted_label"], group["given_label"], ".", label=name)
ax.set(xlabel="predicted target", ylabel="given target", yscale="log")
_ = ax.legend()

# %%
# The mean absolute error on right test targets, after training on right or given ones:

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
# The slipped targets are found, and ``ReBatchCNNRegressorCV`` withstands them; the
# other two models do not. Swapped targets are hardly found: most of them are as
# plausible as the right ones, because the table explains only half of the variance.
