"""Plots of loss curves, of scores by ratio, and of training dynamics."""

from skrebatch.plots._loss_curves import LossCurveDisplay
from skrebatch.plots._ratio_curves import RatioCurveDisplay
from skrebatch.plots._samples import SampleDynamicsDisplay

__all__ = ["LossCurveDisplay", "RatioCurveDisplay", "SampleDynamicsDisplay"]
