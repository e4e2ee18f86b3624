"""Pictures of a training, a search over ratios, and the samples' dynamics."""

from skrebatch.plots.loss_curves import LossCurveDisplay
from skrebatch.plots.ratio_curves import RatioCurveDisplay
from skrebatch.plots.samples import SampleDynamicsDisplay

__all__ = ["LossCurveDisplay", "RatioCurveDisplay", "SampleDynamicsDisplay"]
