"""
Wrong labels, found
===================

Flip a fifth of the labels, train, and see how well the losses tell which ones.
"""

# %%
# ``"max-loss"`` with ``repeats=0`` leaves the hardest rows out, more and more of them
# with the linear schedule, so that the network can't learn their labels by heart.

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from skrebatch import ReBatchCNNClassifier, training_dynamics

X, y = load_breast_cancer(return_X_y=True)
X = scale(X)
rng = np.random.default_rng(0)
flipped = rng.random(len(y)) < 0.2
noisy = np.where(flipped, 1 - y, y)

model = ReBatchCNNClassifier(
    ratio=0.3,
    strategy="max-loss",
    repeats=0,
    ratio_schedule="linear",
    warmup_epochs=10,
    loss_smoothing=0.9,
    batch_size=32,
    max_epochs=60,
    record_losses=True,
    random_state=0,
).fit(X, noisy)
print(f"agrees with the right labels: {(model.predict(X) == y).mean():.3f}")

# %%
# ``training_dynamics`` makes a table of the recorded losses. A low ``label_quality``
# is a reason to look at a label again, not to drop the row.

dynamics = training_dynamics(model)
suspects = dynamics.nsmallest(60, "label_quality").index
print(f"{flipped[suspects].mean():.0%} of the 60 worst labels are wrong")
dynamics.loc[suspects].head()

# %%
# The data map: at the bottom are rows whose label the network never believes. Rings
# mark the labels that were flipped, which only we know.

from skrebatch import SampleDynamicsDisplay

display = SampleDynamicsDisplay.from_estimator(model)
display.ax_.plot(
    dynamics.loc[flipped, "variability"],
    dynamics.loc[flipped, "confidence"],
    "o",
    markersize=9,
    markerfacecolor="none",
    markeredgecolor="black",
    label="flipped",
)
_ = display.ax_.legend()

# %%
# Precision and recall, going through the labels from the worst up:

from sklearn.metrics import PrecisionRecallDisplay

_ = PrecisionRecallDisplay.from_predictions(
    flipped, 1 - dynamics["label_quality"], name="1 − label_quality"
)

# %%
# This is one data set with one seed. :doc:`/label_noise` has more of them, and compares
# with plain training, cleanlab and other models.
