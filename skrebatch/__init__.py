"""Loss-based re-batching on tables, the scikit-learn way."""

from skrebatch._engine.nn.tabular_cnn import TabularCNN
from skrebatch._utils.padding import row_lengths
from skrebatch.estimators._classifier import ReBatchCNNClassifier
from skrebatch.estimators._paper import paper_parameters
from skrebatch.estimators._regressor import ReBatchCNNRegressor
from skrebatch.exceptions import (
    CheckpointError,
    DivergedError,
    ModelFileError,
    ScaleWarning,
    SkrebatchError,
)
from skrebatch.inspection._dynamics import training_dynamics
from skrebatch.inspection._label_issues import find_label_issues
from skrebatch.inspection._metrics import loss_area, loss_trend, nrmse
from skrebatch.io._model_files import load_model, save_model
from skrebatch.io._onnx import to_onnx
from skrebatch.io._onnx_pipelines import register_onnx_converters
from skrebatch.model_selection._comparison import compare_candidates
from skrebatch.model_selection._distributed import fit_distributed
from skrebatch.model_selection._estimators_cv import (
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressorCV,
)
from skrebatch.model_selection._fused import fit_fused
from skrebatch.model_selection._search import FusedGridSearchCV
from skrebatch.plots import (
    LabelIssuesDisplay,
    LossCurveDisplay,
    RatioCurveDisplay,
    SampleDynamicsDisplay,
)
from skrebatch.sampling._by_length import DynamicBatchSampler
from skrebatch.sampling._interval import (
    IntervalInsertionSampler,
    interval_insertion,
    redistribution_size,
)
from skrebatch.sampling._skorch_callback import ReBatch
from skrebatch.strategies import (
    OHEM,
    TSW,
    Breed,
    Curriculum,
    Epoch,
    GeneralizedCrossEntropy,
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
    Welsch,
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
    "GeneralizedCrossEntropy",
    "Hybrid",
    "InfoBatch",
    "IntervalInsertionSampler",
    "LabelIssuesDisplay",
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
    "ScaleWarning",
    "SelectiveBackprop",
    "SelfPaced",
    "SkrebatchError",
    "SmallLoss",
    "Strategy",
    "TabularCNN",
    "Welsch",
    "compare_candidates",
    "find_label_issues",
    "fit_distributed",
    "fit_fused",
    "interval_insertion",
    "load_model",
    "loss_area",
    "loss_trend",
    "nrmse",
    "paper_parameters",
    "redistribution_size",
    "register_onnx_converters",
    "row_lengths",
    "save_model",
    "to_onnx",
    "training_dynamics",
]
