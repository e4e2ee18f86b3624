"""Loss by epoch, of one or several estimators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor

from skrebatch._utils.extras import import_extra
from skrebatch._utils.validation import check_bool
from skrebatch.inspection._dynamics import final_step
from skrebatch.inspection._metrics import loss_area, loss_trend
from skrebatch.plots._style import COLOURS, describe, get_axes, put_legend, write_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
Curves = dict[tuple[str, str], Floats]

_DASHES = {"training": "-", "validation": "--"}
_FILLS: dict[str, dict[str, Any]] = {
    "training": {"alpha": 0.15, "linewidth": 0},
    "validation": {"alpha": 0.4, "facecolor": "none", "hatch": "///"},
}


class LossCurveDisplay:
    r"""Loss by epoch of one or several estimators.

    Best made by :meth:`from_estimator`.

    Parameters
    ----------
    curves : dict of (str, str) to ndarray of shape (n_epochs,)
        Loss after each epoch, by the estimator's name and "training" or
        "validation"; NaN where there is none.
    baseline : str, default=None
        Name of the estimator that the others' areas are taken against.
    loss_name : str, default="loss"
        What the losses are.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes drawn on.
    figure_ : matplotlib.figure.Figure
        Their figure.
    lines_, fit_lines_ : dict of (str, str) to matplotlib.lines.Line2D
        The curves and their straight lines, by the keys of `curves`.
    fills_ : dict of (str, str) to matplotlib collection
        The shaded areas between the baseline's curves and the others.
    slopes_, intercepts_ : dict of (str, str) to float
        Straight line fitted to each curve by least squares, as in the paper [1]_:
        change of the loss by an epoch, and its value at epoch 0. NaN for a curve
        with a loss for one epoch alone.
    areas_ : dict of (str, str) to float
        Loss area, eq. 3 [1]_: the sum over epochs of the baseline's loss
        :math:`\alpha` minus this loss :math:`\beta`, over the epochs that both
        have; see :func:`loss_area`. Above 0 this estimator's loss was the lower one
        on the whole.

    See Also
    --------
    RatioCurveDisplay : Score against ratio.
    SampleDynamicsDisplay : What training did with each sample.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training",
       2025.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skrebatch import LossCurveDisplay, ReBatchCNNClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> plain, twice = (
    ...     ReBatchCNNClassifier(
    ...         ratio=ratio, repeats=2, batch_size=32, max_epochs=5, random_state=0
    ...     ).fit(scale(X), y)
    ...     for ratio in (0, 0.3)
    ... )
    >>> display = LossCurveDisplay.from_estimator(
    ...     {"no re-Batch": plain, "easiest twice": twice}, baseline=plain
    ... )
    >>> display.areas_["easiest twice", "training"] > 0
    True
    """

    def __init__(
        self, curves: Curves, *, baseline: str | None = None, loss_name: str = "loss"
    ):
        self.curves = curves
        self.baseline = baseline
        self.loss_name = loss_name

    @classmethod
    def from_estimator(
        cls,
        estimators: Any,
        *,
        baseline: Any = None,
        fit_line: bool = False,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the loss curves of fitted estimators.

        A training loss is the mean over the batches as they were trained on: with
        repeats other than 1 the chosen samples count in it as often as the epoch
        held them.

        Parameters
        ----------
        estimators : estimator, sequence of estimators or dict of str to estimator
            Fitted ReBatchCNNClassifier or ReBatchCNNRegressor, or pipelines that
            end in one. A dict names them; in a sequence they are named by the
            parameters in which they differ.
        baseline : estimator, default=None
            Fitted estimator that the others' loss areas are taken against; one of
            `estimators`, or another, which is then drawn as "baseline".
        fit_line : bool, default=False
            Whether to draw the straight line fitted to each curve.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure. The legend stands beside the axes
            where their figure has a layout that makes room, else within.
        **kwargs
            Passed to :meth:`matplotlib.axes.Axes.plot` for the curves.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If an estimator is not fitted.
        TypeError
            If one is not an estimator of this package.
        ValueError
            If there is none, or their losses are not of one kind.
        ImportError
            If matplotlib is missing, which comes with the extra ``plot``.
        """
        import_extra("matplotlib", cls.__name__)
        models = _name_estimators(estimators)
        base_name = None
        if baseline is not None:
            base = final_step(baseline)
            same = [name for name, model in models.items() if model is base]
            base_name = same[0] if same else "baseline"
            if not same and base_name in models:
                raise ValueError(
                    'The estimator named "baseline" is not the one given as baseline; '
                    "give it another name."
                )
            models = {base_name: base, **models}
        loss_names = sorted({_loss_name(model) for model in models.values()})
        if len(loss_names) > 1:
            raise ValueError(
                "The estimators' losses can't share an axis; they are "
                f"{' and '.join(loss_names)}."
            )
        curves = {}
        for name, model in models.items():
            curves[name, "training"] = np.asarray(model.loss_curve_)
            if hasattr(model, "validation_loss_curve_"):
                valid = np.asarray(model.validation_loss_curve_)
                curves[name, "validation"] = valid
        display = cls(curves, baseline=base_name, loss_name=loss_names[0])
        return display.plot(ax, fit_line=fit_line, **kwargs)

    def plot(
        self, ax: Axes | None = None, *, fit_line: bool = False, **kwargs: Any
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure. The legend stands beside the axes
            where their figure has a layout that makes room, else within.
        fit_line : bool, default=False
            Whether to draw the straight line fitted to each curve.
        **kwargs
            Passed to :meth:`matplotlib.axes.Axes.plot` for the curves.

        Returns
        -------
        display : LossCurveDisplay
            The object itself.
        """
        check_bool(fit_line, "fit_line")
        ax = get_axes(ax, type(self).__name__, aspect=0.5)
        self.lines_, self.fit_lines_, self.fills_ = {}, {}, {}
        self.slopes_, self.intercepts_, self.areas_ = {}, {}, {}
        others = dict.fromkeys(n for n, _ in self.curves if n != self.baseline)
        colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(others)}
        for key, curve in self.curves.items():
            name, part = key
            epochs = np.arange(1, len(curve) + 1)
            colour = colours.get(name, "black")
            label = self._label(key)
            base = None
            if self.baseline is not None and name != self.baseline:
                base = self.curves.get((self.baseline, part))
            if base is not None:
                n = min(len(curve), len(base))
                self.areas_[key] = loss_area(base, curve)
                label += f" (area {write_number(self.areas_[key])})"
                self.fills_[key] = ax.fill_between(
                    epochs[:n], base[:n], curve[:n], color=colour, **_FILLS[part]
                )
            style = {"color": colour, "linestyle": _DASHES[part], "label": label}
            (self.lines_[key],) = ax.plot(epochs, curve, **{**style, **kwargs})

            slope, intercept = loss_trend(curve)
            self.slopes_[key], self.intercepts_[key] = slope, intercept
            if fit_line and np.isfinite(slope):
                sign = "−" if slope < 0 else "+"
                step = f"{sign} {write_number(abs(slope))} · epoch"
                label = f"{write_number(intercept)} {step}"
                known = epochs[~np.isnan(curve)]
                line = intercept + slope * known
                (self.fit_lines_[key],) = ax.plot(
                    known, line, ":", c=colour, lw=1, label=label
                )
        ax.set(xlabel="epoch", ylabel=self.loss_name)
        ax.locator_params(axis="x", integer=True)
        put_legend(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _label(self, key: tuple[str, str]) -> str:
        """Name a curve by what tells it from the others."""
        name, part = key
        if len({name for name, _ in self.curves}) == 1:
            return part
        return name if {part for _, part in self.curves} == {part} else ", ".join(key)


def _name_estimators(estimators: Any) -> dict[str, Any]:
    """Name each estimator, by what it differs in where the user gave no names."""
    if isinstance(estimators, Mapping):
        named = {str(name): final_step(model) for name, model in estimators.items()}
    elif isinstance(estimators, list | tuple):
        models = [final_step(model) for model in estimators]
        names = describe([model.get_params(deep=False) for model in models])
        if len(set(names)) < len(names):
            names = [f"{i} {name}".rstrip() for i, name in enumerate(names, 1)]
        named = dict(zip(names, models, strict=True))
    else:
        model = final_step(estimators)
        named = {type(model).__name__: model}
    if not named:
        raise ValueError("There is no estimator to draw.")
    return named


def _loss_name(model: Any) -> str:
    if not is_regressor(model):
        return "log loss"
    scaled = " of the scaled target" if model.standardize_target else ""
    return f"squared error{scaled}"
