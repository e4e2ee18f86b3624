"""Wrong labels, training dynamics of samples, and metrics of losses and predictions."""

from skrebatch.inspection._dynamics import training_dynamics
from skrebatch.inspection._label_issues import find_label_issues
from skrebatch.inspection._metrics import loss_area, loss_trend, nrmse

__all__ = ["find_label_issues", "loss_area", "loss_trend", "nrmse", "training_dynamics"]
