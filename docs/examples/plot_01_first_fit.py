"""
A first fit, and its loss curves
================================

Train a network with and without re-Batch on the same rows, from the same initial
weights, and look at what happened from epoch to epoch.
"""

# %%
# The network wants features of similar scale. Labels may be of any type.

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
scaler = StandardScaler().fit(X_train)
X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)

# %%
# ``ratio=0`` is plain training. The other network sees the easiest quarter of the
# rows twice in each epoch: B = floor(N r / (1 + r)) of them, with r = 0.3. A fixed
# ``batch_size`` keeps the effect of the ratio apart from that of the size of the
# batches. The test rows are given as validation set here, to be drawn; they choose
# nothing.

from skrebatch import LossCurveDisplay, ReBatchCNNClassifier

models = {
    name: ReBatchCNNClassifier(
        ratio=ratio, repeats=2, batch_size=32, max_epochs=40, random_state=0
    ).fit(X_train, y_train, X_val=X_test, y_val=y_test)
    for name, ratio in [("no re-Batch", 0), ("easiest twice", 0.3)]
}
for name, model in models.items():
    print(f"{name}: accuracy {model.score(X_test, y_test):.3f}")
models["easiest twice"]

# %%
# How many rows were chosen, and which are the hardest after training:

model = models["easiest twice"]
print(f"{model.n_redistributed_} of {len(X_train)} rows in each epoch")
print("hardest rows:", model.sample_losses_.argsort()[-5:])

# %%
# The shaded areas are the paper's loss area (eq. 3): the baseline's curve minus the
# other one. The training loss counts the repeated rows twice, which lowers it by
# itself; trust the validation loss.

display = LossCurveDisplay.from_estimator(models, baseline=models["no re-Batch"])
for part in ("training", "validation"):
    print(f"loss area, {part}: {display.areas_['easiest twice', part]:.2f}")
