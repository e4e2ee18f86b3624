"""What a training says of its samples, and how it went."""

from skrebatch.inspection._dynamics import training_dynamics
from skrebatch.inspection._metrics import loss_area, loss_trend, nrmse

__all__ = ["loss_area", "loss_trend", "nrmse", "training_dynamics"]
