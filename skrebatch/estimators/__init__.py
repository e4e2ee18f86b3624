"""The scikit-learn estimators."""

from skrebatch.estimators._classifier import ReBatchCNNClassifier
from skrebatch.estimators._paper import paper_parameters
from skrebatch.estimators._regressor import ReBatchCNNRegressor

__all__ = ["ReBatchCNNClassifier", "ReBatchCNNRegressor", "paper_parameters"]
