"""
A module of your own
====================

I have a network of my own in torch. Can it be trained with re-Batch, and which rows
does re-Batch choose?
"""

# %%
# Each row is a point in a plane. The points of each class form a half moon, and noise
# is added to the points. The rows have two features, so the rows that re-Batch chooses
# can be drawn.

import torch
from sklearn.datasets import make_moons
from skorch import NeuralNetClassifier
from torch import nn

from skrebatch import ReBatch

X, y = make_moons(400, noise=0.25, random_state=0)

# %%
# The callback ``ReBatch`` works with any net of the library skorch. The callback
# decides the order of the training rows. In this example, the callback spreads the
# hardest rows, those with the highest losses, over the epoch at regular intervals.

torch.manual_seed(0)  # skorch draws the initial weights from torch's generator
rebatch = ReBatch(ratio=0.15, strategy="max-loss", random_state=0)
module = nn.Sequential(
    nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
).double()
net = NeuralNetClassifier(
    module,
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.01,
    batch_size=32,
    max_epochs=30,
    train_split=None,
    callbacks=[rebatch],
    verbose=0,
).fit(X, y)
chosen = rebatch.chosen_  # the rows that the next epoch would move
is_error = net.predict(X) != y
print(f"{is_error.sum()} of {len(X)} training rows are predicted wrongly")
print(f"{is_error[chosen].sum()} of them are among the {len(chosen)} chosen rows")

# %%
# The background of the picture shows the predicted probability of class 1. Black
# circles mark the chosen rows.

import matplotlib.pyplot as plt
from sklearn.inspection import DecisionBoundaryDisplay

figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
DecisionBoundaryDisplay.from_estimator(
    net, X, response_method="predict_proba", cmap="RdBu_r", alpha=0.5, ax=ax
)
ax.scatter(*X.T, c=y, s=15, cmap="RdBu_r")
ax.plot(*X[chosen].T, "o", color="black", markerfacecolor="none", label="chosen")
_ = ax.legend()

# %%
# Conclusion
# ----------
#
# With this callback, any skorch net can be trained with re-Batch. The hardest rows lie
# where the moons overlap. All rows that the network predicts wrongly are among the
# chosen rows. This example does not show that moving the hardest rows makes a better
# network. To find out, compare with ``ratio=0``.
