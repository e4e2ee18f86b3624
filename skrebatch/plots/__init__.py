"""Plots of losses, scores by ratio, training dynamics and label issues."""

from skrebatch.plots._label_issues import LabelIssuesDisplay
from skrebatch.plots._loss_curves import LossCurveDisplay
from skrebatch.plots._ratio_curves import RatioCurveDisplay
from skrebatch.plots._samples import SampleDynamicsDisplay

__all__ = [
    "LabelIssuesDisplay",
    "LossCurveDisplay",
    "RatioCurveDisplay",
    "SampleDynamicsDisplay",
]
