"""
The hardest samples
===================

Which rows does my model find hard, and what is wrong with them?
"""

# %%
# Each row is a picture of a handwritten digit. The 8 × 8 pixels are the 64 features.
# With ``record_losses=True``, the estimator keeps the loss of each row after each
# epoch.

import numpy as np
from sklearn.datasets import load_digits

from skrebatch import ReBatchCNNClassifier, SampleDynamicsDisplay, training_dynamics

X, y = load_digits(return_X_y=True)
X, y = X[:900] / 16, y[:900]
model = ReBatchCNNClassifier(max_epochs=20, record_losses=True, random_state=0)
model.fit(X, y)

# %%
# The function ``training_dynamics`` turns the recorded losses into a new table, which
# has one row for each picture. The column ``confidence`` is the predicted probability
# of the picture's label, averaged over the epochs. The *hardest* rows are the 45 rows
# with the lowest confidence. The out-of-fold prediction of a row comes from networks
# that were not trained on this row. For the hardest rows and for all other rows, the
# code prints the share of wrong out-of-fold predictions.

dynamics = training_dynamics(model)
predicted = model.oof_decision_function_.argmax(axis=1)
order = dynamics["confidence"].argsort().to_numpy()
for name, rows in [("hardest", order[:45]), ("other", order[45:])]:
    share = np.mean(predicted[rows] != y[rows])
    print(f"{name} {len(rows)} rows: {share:.1%} predicted wrongly")

# %%
# The upper line of the next figure shows the pictures of the eight hardest rows, and
# the lower line shows the pictures of the eight easiest rows. Each title shows the
# label and the predicted class.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(2, 8, figsize=(8, 2.6), layout="constrained")
for ax, i in zip(axes.flat, [*order[:8], *order[-8:]], strict=True):
    ax.imshow(X[i].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"{y[i]}, predicted {predicted[i]}", fontsize="small")
    ax.set_axis_off()

# %%
# The next plot, a *data map*, shows all rows. Easy rows are at the top. Rows whose
# predictions change from epoch to epoch are on the right. Rows that are never learned
# are at the bottom.

display = SampleDynamicsDisplay.from_estimator(model)

# %%
# Conclusion
# ----------
#
# About half of the 45 hardest rows are predicted wrongly. Of all other rows, almost
# none is predicted wrongly. So the losses show which rows to look at. The losses do not
# show why a row is hard. In this example, the pictures of the hardest rows show
# careless writing, which is no reason to remove a row.
