"""
Regression, with intervals
==========================

Several networks in one estimator, and an interval around each prediction that holds
the truth as often as it says.
"""

# %%
# ``n_networks=8`` trains eight networks from eight seeds side by side and averages
# them. The target is standardised within; predictions come in its own unit.

from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrebatch import ReBatchCNNRegressor

X, y = load_diabetes(return_X_y=True)
X_rest, X_test, y_rest, y_test = train_test_split(X, y, random_state=0)
X_train, X_held, y_train, y_held = train_test_split(
    X_rest, y_rest, test_size=0.3, random_state=0
)
model = make_pipeline(
    StandardScaler(),
    ReBatchCNNRegressor(
        ratio=0.15, batch_size=32, max_epochs=30, n_networks=8, random_state=0
    ),
).fit(X_train, y_train)
print(f"R² {model.score(X_test, y_test):.2f}")

# %%
# Split conformal prediction (Vovk et al., 2005): errors on rows held out of the
# training say how wide an interval must be to hold nine of ten new values.

import numpy as np

errors = np.abs(y_held - model.predict(X_held))
level = np.ceil(0.9 * (len(errors) + 1)) / len(errors)
half = np.quantile(errors, level, method="higher")
predicted = model.predict(X_test)
inside = np.abs(y_test - predicted) <= half
print(f"± {half:.0f} holds {inside.mean():.0%} of the test rows")

# %%

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
order = predicted.argsort()
place = np.arange(len(order))
ax.fill_between(
    place,
    predicted[order] - half,
    predicted[order] + half,
    alpha=0.2,
    label="90 % interval",
)
ax.plot(place, predicted[order], label="prediction")
ax.plot(place, y_test[order], ".", color="black", label="truth")
ax.set(xlabel="test rows, by prediction", ylabel="disease progression")
_ = ax.legend()
