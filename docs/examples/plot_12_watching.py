"""
Watching a training
===================

The callbacks of skorch carry the losses of each epoch to TensorBoard and to MLflow.
Both write files; here they are read back, which is what their own pages show in a
browser.
"""

# %%
# A callback is a parameter of the estimator. It is notified of every epoch; a network
# that is watched has no stack to share.

import logging
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import MlflowLogger, TensorBoard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from skrebatch import ReBatchCNNClassifier

X, y = load_breast_cancer(return_X_y=True)
X, X_val, y, y_val = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
scaler = StandardScaler().fit(X)
X, X_val = scaler.transform(X), scaler.transform(X_val)
folder = Path(tempfile.mkdtemp())
model = ReBatchCNNClassifier(batch_size=32, max_epochs=30, random_state=0)

# %%
# TensorBoard: ``tensorboard --logdir`` of this folder shows the curves while they grow.

with SummaryWriter(folder / "tensorboard") as writer:
    board = TensorBoard(writer, close_after_train=False)
    model.set_params(callbacks=[board]).fit(X, y, X_val=X_val, y_val=y_val)

events = EventAccumulator(str(folder / "tensorboard")).Reload()
seen = {name: events.Scalars(f"Loss/{name}") for name in ("train_loss", "valid_loss")}

# %%
# MLflow: parameters and losses belong to a run, of which there may be many to compare.

import mlflow

logging.getLogger("mlflow").setLevel(logging.ERROR)
mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
artifacts = (folder / "artifacts").as_uri()
mlflow.set_experiment(experiment_id=mlflow.create_experiment("re-Batch", artifacts))
with mlflow.start_run() as run:
    mlflow.log_params({"ratio": model.ratio, "strategy": model.strategy})
    model.set_params(callbacks=[MlflowLogger()]).fit(X, y, X_val=X_val, y_val=y_val)
client = mlflow.MlflowClient()
logged = client.get_metric_history(run.info.run_id, "valid_loss")
print(client.get_run(run.info.run_id).data.params)

# %%
# Both have what the estimator itself keeps in ``validation_loss_curve_``.

figure, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
for name, points in seen.items():
    ax.plot([p.step for p in points], [p.value for p in points], label=name)
ax.plot([p.step for p in logged], [p.value for p in logged], "k:", label="MLflow")
ax.set(xlabel="epoch", ylabel="log loss")
_ = ax.legend()
