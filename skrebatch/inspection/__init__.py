"""Training dynamics of samples, and metrics of losses and predictions."""

from skrebatch.inspection._dynamics import training_dynamics
from skrebatch.inspection._metrics import loss_area, loss_trend, nrmse

__all__ = ["loss_area", "loss_trend", "nrmse", "training_dynamics"]
