"""
The hardest samples
===================

Which rows does my model find hard, and what is wrong with them?
"""

# %%
# The rows are handwritten digits: pictures of 8 × 8 pixels, as 64 features. With
# ``record_losses=True`` the estimator keeps the loss of each row after each epoch.

import numpy as np
from sklearn.datasets import load_digits

from skrebatch import ReBatchCNNClassifier, SampleDynamicsDisplay, training_dynamics

X, y = load_digits(return_X_y=True)
X, y = X[:900] / 16, y[:900]
model = ReBatchCNNClassifier(max_epochs=20, record_losses=True, random_state=0)
model.fit(X, y)

# %%
# ``training_dynamics`` makes a table of the losses. Its confidence is the mean
# probability of the row's label over the epochs. The out-of-fold predictions show
# whether the rows of low confidence are predicted wrongly.

dynamics = training_dynamics(model)
predicted = model.oof_decision_function_.argmax(axis=1)
order = dynamics["confidence"].argsort().to_numpy()
for name, rows in [("hardest", order[:45]), ("other", order[45:])]:
    share = np.mean(predicted[rows] != y[rows])
    print(f"{name} {len(rows)} rows: {share:.1%} predicted wrongly")

# %%
# The eight hardest digits are above, the eight easiest below. The titles show the label
# and the predicted class.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(2, 8, figsize=(8, 2.6), layout="constrained")
for ax, i in zip(axes.flat, [*order[:8], *order[-8:]], strict=True):
    ax.imshow(X[i].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"{y[i]}, predicted {predicted[i]}", fontsize="small")
    ax.set_axis_off()

# %%
# The data map shows all rows: the easy ones at the top, those whose predictions change
# from epoch to epoch on the right, and those that are never learned at the bottom.

display = SampleDynamicsDisplay.from_estimator(model)

# %%
# Conclusion
# ----------
#
# About half of the 45 hardest rows are predicted wrongly, and almost none of the
# others. So the losses show which rows to look at. They do not show why a row is hard.
# Here the pictures show careless writing, which is no reason to remove a row.
