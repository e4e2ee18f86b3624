"""Loss-based re-batching on tables, the scikit-learn way."""

from skrebatch.callbacks import ReBatch
from skrebatch.checkpoints import CheckpointError
from skrebatch.data import row_lengths
from skrebatch.distributed import fit_distributed
from skrebatch.dynamic_batches import DynamicBatchSampler
from skrebatch.estimators import ReBatchCNNClassifier, ReBatchCNNRegressor
from skrebatch.estimators_cv import (
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressorCV,
)
from skrebatch.export import to_onnx
from skrebatch.inspection import training_dynamics
from skrebatch.members import DivergedError
from skrebatch.metrics import loss_area, loss_trend, nrmse
from skrebatch.network import TabularCNN
from skrebatch.persistence import ModelFileError, load_model, save_model
from skrebatch.plots import (
    LossCurveDisplay,
    RatioCurveDisplay,
    SampleDynamicsDisplay,
)
from skrebatch.samplers import (
    IntervalInsertionSampler,
    interval_insertion,
    redistribution_size,
)
from skrebatch.search import FusedGridSearchCV
from skrebatch.stacks import fit_fused
from skrebatch.strategies import (
    OHEM,
    TSW,
    Breed,
    Curriculum,
    Epoch,
    Hybrid,
    InfoBatch,
    MaxLoss,
    MinLoss,
    Plan,
    RandomChoice,
    SelectiveBackprop,
    SelfPaced,
    SmallLoss,
    Strategy,
)

__version__ = "0.1.0"

__all__ = [
    "OHEM",
    "TSW",
    "Breed",
    "CheckpointError",
    "Curriculum",
    "DivergedError",
    "DynamicBatchSampler",
    "Epoch",
    "FusedGridSearchCV",
    "Hybrid",
    "InfoBatch",
    "IntervalInsertionSampler",
    "LossCurveDisplay",
    "MaxLoss",
    "MinLoss",
    "ModelFileError",
    "Plan",
    "RandomChoice",
    "RatioCurveDisplay",
    "ReBatch",
    "ReBatchCNNClassifier",
    "ReBatchCNNClassifierCV",
    "ReBatchCNNRegressor",
    "ReBatchCNNRegressorCV",
    "SampleDynamicsDisplay",
    "SelectiveBackprop",
    "SelfPaced",
    "SmallLoss",
    "Strategy",
    "TabularCNN",
    "fit_distributed",
    "fit_fused",
    "interval_insertion",
    "load_model",
    "loss_area",
    "loss_trend",
    "nrmse",
    "redistribution_size",
    "row_lengths",
    "save_model",
    "to_onnx",
    "training_dynamics",
]
