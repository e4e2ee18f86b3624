"""
Intervals around the predictions of a regression
================================================

A prediction without its error is hard to use. How wide must an interval be to contain
nine of ten new values?
"""

# %%
# The target is the progression of diabetes. A quarter of the 442 patients is set aside
# as the test.

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
# Each of the ten networks holds out a fifth of the training rows. So every training row
# has a prediction by networks that did not see it: ``oof_prediction_``. Its errors are
# like those on new rows, and no further fit is needed.

import numpy as np

errors = np.sort(np.abs(y_train - model.oof_prediction_))
rank = int(np.ceil(0.9 * (len(errors) + 1)))  # as in split conformal prediction
half = errors[rank - 1]
inside = np.abs(y_test - predicted) <= half
print(f"the prediction ± {half:.0f} contains {inside.mean():.0%} of the test values")

# %%
# The share inside the interval, for rows with low and with high predictions:

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
# no further fit is needed. It is wide, because the table explains only half of the
# variance. The share of nine of ten refers to all rows together. For some kinds of rows
# it can be lower.
