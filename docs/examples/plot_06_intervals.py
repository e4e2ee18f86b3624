"""
Intervals around the predictions of a regression
================================================

A prediction is hard to use if its possible error is unknown. How wide must an interval
around the prediction be to contain nine of ten new values?
"""

# %%
# The target is the progression of diabetes in 442 patients. A quarter of the patients
# is held out as test rows.

from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skrebatch import ReBatchCNNRegressor

X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
scaler = StandardScaler().fit(X_train)
model = ReBatchCNNRegressor(random_state=0).fit(scaler.transform(X_train), y_train)
predicted = model.predict(scaler.transform(X_test))

# %%
# The model is an ensemble of ten networks. Each network holds out a fifth of the
# training rows. So for every training row, there are networks that were not trained on
# this row. The attribute ``oof_prediction_`` contains one number for each training row:
# the mean prediction of the networks that were not trained on the row. The errors of
# these predictions are similar to the errors on new rows, and no further fit is needed.
# The number ``half`` is half the width of the interval. It is chosen so that at least
# nine of ten absolute errors are not larger than ``half``.

import numpy as np

errors = np.sort(np.abs(y_train - model.oof_prediction_))
rank = int(np.ceil(0.9 * (len(errors) + 1)))  # as in split conformal prediction
half = errors[rank - 1]
inside = np.abs(y_test - predicted) <= half
print(f"the prediction ± {half:.0f} contains {inside.mean():.0%} of the test values")

# %%
# The test rows are divided into two halves: rows with lower predictions, and rows with
# higher predictions. For each half, the code prints the share of test values inside the
# interval.

import matplotlib.pyplot as plt

order = predicted.argsort()
low, high = np.array_split(order, 2)
print(f"lower half {inside[low].mean():.0%}, upper half {inside[high].mean():.0%}")

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
place = np.arange(len(order))
middle = predicted[order]
ax.fill_between(place, middle - half, middle + half, alpha=0.2, label="90 % interval")
ax.plot(place, middle, label="prediction")
ax.plot(place, y_test[order], ".", color="black", label="true value")
ax.set(xlabel="test rows, by prediction", ylabel="disease progression")
_ = ax.legend()

# %%
# Conclusion
# ----------
#
# The interval from the out-of-fold errors contains about nine of ten test values, and
# no further fit is needed. The interval is wide, because the features explain only half
# of the variance of the target. The share of nine of ten refers to all rows together.
# For some kinds of rows, the share can be lower.
