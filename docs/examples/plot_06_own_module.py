"""
A module of your own
====================

The callback ``ReBatch`` brings re-Batch to any skorch net.
"""

# %%
# Two moons with noise, and a small network for points of the plane.

import torch
from sklearn.datasets import make_moons
from skorch import NeuralNetClassifier
from torch import nn

from skrebatch import ReBatch

X, y = make_moons(400, noise=0.25, random_state=0)
X = X.astype("float32")

# %%
# The callback decides the order of the training rows: here the hardest 15 % of them
# come at regular intervals. skorch's other parameters are as ever.

torch.manual_seed(0)  # skorch draws the initial weights from torch's generator
rebatch = ReBatch(ratio=0.15, strategy="max-loss", random_state=0)
net = NeuralNetClassifier(
    nn.Sequential(
        nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
    ),
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.01,
    batch_size=32,
    max_epochs=40,
    train_split=None,
    callbacks=[rebatch],
    verbose=0,
)
net.fit(X, y)
print(f"accuracy on the training rows {net.score(X, y):.3f}")

# %%
# ``chosen_`` are the rows that the next epoch would treat specially. They sit where
# the moons overlap.

import matplotlib.pyplot as plt
import numpy as np

lines = [
    np.linspace(low - 0.3, high + 0.3, 100)
    for low, high in zip(X.min(0), X.max(0), strict=True)
]
grid = np.meshgrid(*lines)
points = np.column_stack([values.ravel() for values in grid]).astype("float32")
probability = net.predict_proba(points)[:, 1].reshape(grid[0].shape)

figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
ax.contourf(*grid, probability, levels=11, cmap="RdBu_r", alpha=0.5)
ax.scatter(*X.T, c=y, s=15, cmap="RdBu_r")
ax.plot(
    *X[rebatch.chosen_].T, "o", color="black", markerfacecolor="none", label="chosen"
)
ax.set(xlabel="feature 0", ylabel="feature 1")
_ = ax.legend()
