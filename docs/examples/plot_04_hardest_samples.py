"""
The hardest samples
===================

Every fitted estimator knows the loss of each training row. On handwritten digits one
can see what a high loss means.
"""

# %%
# The rows are 8 × 8 pictures, laid out as 64 features. We fit, and take the rows of
# highest and lowest loss.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from skrebatch import ReBatchCNNClassifier

X, y = load_digits(return_X_y=True)
model = ReBatchCNNClassifier(
    batch_size=64, max_epochs=15, record_losses=True, random_state=0
).fit(X / 16, y)
order = model.sample_losses_.argsort()
predicted = model.predict(X / 16)

# %%
# Above are the hardest, with their label and what the network says; below the easiest.

figure, axes = plt.subplots(2, 8, figsize=(8, 2.6), layout="constrained")
for ax, i in zip(axes.flat, [*order[-8:][::-1], *order[:8]], strict=True):
    ax.imshow(X[i].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"{y[i]}, read {predicted[i]}", fontsize="small")
    ax.set_axis_off()

# %%
# Which rows each epoch chose. ``"min-loss"`` takes them from those that are easy
# throughout, at the bottom, but not the same in every epoch.

from skrebatch import SampleDynamicsDisplay

display = SampleDynamicsDisplay.from_estimator(model, kind="choices")
