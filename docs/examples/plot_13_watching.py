"""
Watch a training in TensorBoard
===============================

My training takes long. How can I watch its losses before the training ends?
"""

# %%
# A callback of skorch writes the losses of each epoch to a folder while the training
# runs. The command ``tensorboard --logdir FOLDER`` shows the loss curves of this folder
# in a browser. The callback is passed to the estimator in the parameter ``callbacks``.

import tempfile

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import TensorBoard
from torch.utils.tensorboard import SummaryWriter

from skrebatch import ReBatchCNNClassifier

X, y = load_breast_cancer(return_X_y=True)
X, X_val, y, y_val = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
scaler = StandardScaler().fit(X)
folder = tempfile.mkdtemp()
with SummaryWriter(folder) as writer:
    model = ReBatchCNNClassifier(
        n_networks=1,
        max_epochs=30,
        callbacks=[TensorBoard(writer, close_after_train=False)],
        random_state=0,
    ).fit(scaler.transform(X), y, X_val=scaler.transform(X_val), y_val=y_val)

# %%
# This code reads the files of the folder and draws the curves that TensorBoard shows.

import matplotlib.pyplot as plt
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(folder).Reload()
figure, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
for name in ("train_loss", "valid_loss"):
    points = events.Scalars(f"Loss/{name}")
    ax.plot([p.step for p in points], [p.value for p in points], label=name)
ax.set(xlabel="epoch", ylabel="log loss")
_ = ax.legend()

written = [point.value for point in points]
print(f"same as in the model: {np.allclose(written, model.validation_loss_curve_)}")
print(f"validation loss: lowest {min(written):.3f} in epoch {np.argmin(written) + 1},")
print(f"                 last   {written[-1]:.3f}")

# %%
# Conclusion
# ----------
#
# The validation loss rises after a few epochs, while the training loss still falls. The
# curves show this long before the training ends. Stop such a training, or use early
# stopping, which is on by default if ``n_networks`` is above 1. This result is from one
# network on one split. With other learning rates, the curves may look different.
