"""Plot of the loss curves of one or more estimators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor

from skrebatch._utils.extras import import_extra
from skrebatch._utils.validation import check_bool
from skrebatch.inspection._metrics import check_curve, loss_area, loss_trend
from skrebatch.inspection._records import final_step, is_net
from skrebatch.plots._style import (
    COLOURS,
    describe,
    get_axes,
    put_legend,
    resolve_aliases,
    write_number,
)
from skrebatch.sampling._skorch_losses import criteria_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

Floats = NDArray[np.float64]
Curves = dict[tuple[str, str], Floats]

# The criteria of torch that are losses of the estimators, too.
_LOSS_NAMES = {
    "NLLLoss": "log loss",
    "CrossEntropyLoss": "log loss",
    "BCELoss": "log loss",
    "BCEWithLogitsLoss": "log loss",
    "MSELoss": "squared error",
}
_DASHES = {"training": "-", "validation": "--"}
_FILLS: dict[str, dict[str, Any]] = {
    "training": {"alpha": 0.15, "linewidth": 0},
    "validation": {"alpha": 0.4, "facecolor": "none", "hatch": "///"},
}


class LossCurveDisplay:
    r"""Plot of the loss curves of one or more estimators.

    It is recommended to use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    curves : dict of (str, str) to ndarray of shape (n_epochs,)
        Loss after each epoch, keyed by the name of the estimator and "training" or
        "validation"; NaN if there is no loss.
    baseline : str, default=None
        Name of the estimator with which the others are compared.
    loss_name : str, default="loss"
        Label of the y-axis.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the plot.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.
    lines_, fit_lines_ : dict of (str, str) to matplotlib.lines.Line2D
        The curves and the lines fitted to them, with the keys of `curves`.
    fills_ : dict of (str, str) to matplotlib collection
        The shaded areas between the curves and the curves of the baseline.
    slopes_, intercepts_ : dict of (str, str) to float
        Parameters of the line fitted to each curve by least squares, as in the paper
        [1]_: the change of the loss per epoch and the value at epoch 0. NaN for a curve
        with fewer than two losses.
    areas_ : dict of (str, str) to float
        Loss area, eq. 3 [1]_: the sum over epochs of the baseline's loss
        :math:`\alpha` minus the estimator's loss :math:`\beta`; see :func:`loss_area`.
        If it is positive, the estimator's loss was lower on average.

    See Also
    --------
    RatioCurveDisplay : Plot of scores by redistribution ratio.
    SampleDynamicsDisplay : Plot of the training dynamics of the samples.

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

    ax_: Axes
    figure_: Figure | SubFigure
    lines_: dict[tuple[str, str], Line2D]
    fit_lines_: dict[tuple[str, str], Line2D]
    fills_: dict[tuple[str, str], PolyCollection]
    slopes_: dict[tuple[str, str], float]
    intercepts_: dict[tuple[str, str], float]
    areas_: dict[tuple[str, str], float]

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
        """Plot the loss curves of fitted estimators.

        The training loss is the mean over the batches of the epoch. If `repeats` is not
        1, each chosen sample therefore counts as often as it occurs in the epoch.

        Parameters
        ----------
        estimators : estimator, sequence of estimators or dict of str to estimator
            Fitted ReBatchCNNClassifier or ReBatchCNNRegressor, or NeuralNetClassifier,
            NeuralNetBinaryClassifier or NeuralNetRegressor of skorch, or pipelines that
            end in one. The keys of a dict are the labels. The labels of a sequence are
            the parameters in which the estimators differ.
        baseline : estimator, default=None
            Fitted estimator with which the others are compared. An estimator
            that is not one of `estimators` is labelled "baseline".
        fit_line : bool, default=False
            Whether to draw the line fitted to each curve.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. If None, a new figure is created. The legend is placed
            beside the axes if their figure has a layout engine, otherwise inside.
        **kwargs
            Arguments of :meth:`matplotlib.axes.Axes.plot` for the curves.

        Returns
        -------
        display : LossCurveDisplay
            Display with the plot.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If an estimator is not fitted.
        TypeError
            If an estimator is not one of these.
        ValueError
            If there are no estimators, or their losses are not of the same kind.
        ImportError
            If matplotlib is not installed; it is part of the extra ``plot``.
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
                    'The estimator named "baseline" is not the one passed as baseline. '
                    "Use another name."
                )
            models = {base_name: base, **models}
        loss_names = sorted({_loss_name(model) for model in models.values()})
        if len(loss_names) > 1:
            raise ValueError(
                "The estimators must have the same kind of loss, got "
                f"{' and '.join(loss_names)}."
            )
        curves = {}
        for name, model in models.items():
            training, validation = _curves_of(model)
            curves[name, "training"] = training
            if validation is not None:
                curves[name, "validation"] = validation
        display = cls(curves, baseline=base_name, loss_name=loss_names[0])
        return display.plot(ax, fit_line=fit_line, **kwargs)

    def plot(
        self, ax: Axes | None = None, *, fit_line: bool = False, **kwargs: Any
    ) -> Self:
        """Plot the curves.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. If None, a new figure is created. The legend is placed
            beside the axes if their figure has a layout engine, otherwise inside.
        fit_line : bool, default=False
            Whether to draw the line fitted to each curve.
        **kwargs
            Arguments of :meth:`matplotlib.axes.Axes.plot` for the curves.

        Returns
        -------
        display : LossCurveDisplay
            The display itself.
        """
        check_bool(fit_line, "fit_line")
        curves = {k: check_curve(v, f"curves[{k}]") for k, v in self.curves.items()}
        own = resolve_aliases(kwargs, "lines.Line2D")
        ax = get_axes(ax, type(self).__name__, aspect=0.5)
        self.lines_, self.fit_lines_, self.fills_ = {}, {}, {}
        self.slopes_, self.intercepts_, self.areas_ = {}, {}, {}
        others = dict.fromkeys(n for n, _ in self.curves if n != self.baseline)
        colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(others)}
        for key, curve in curves.items():
            name, part = key
            epochs = np.arange(1, len(curve) + 1)
            colour = own.get("color", colours.get(name, "black"))
            label = self._label(key)
            base = None
            if self.baseline is not None and name != self.baseline:
                base = curves.get((self.baseline, part))
            if base is not None:
                n = min(len(curve), len(base))
                self.areas_[key] = loss_area(base, curve)
                label += f" (area {write_number(self.areas_[key])})"
                self.fills_[key] = ax.fill_between(
                    epochs[:n], base[:n], curve[:n], color=colour, **_FILLS[part]
                )
            style = {"color": colour, "linestyle": _DASHES[part], "label": label}
            (self.lines_[key],) = ax.plot(epochs, curve, **{**style, **own})

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
        """Return a label that distinguishes a curve from the others."""
        name, part = key
        if len({name for name, _ in self.curves}) == 1:
            return part
        return name if {part for _, part in self.curves} == {part} else ", ".join(key)


def _name_estimators(estimators: Any) -> dict[str, Any]:
    """Return the estimators by name; without names, by differing parameters."""
    if isinstance(estimators, Mapping):
        named = {str(name): final_step(model) for name, model in estimators.items()}
    elif isinstance(estimators, list | tuple):
        models = [final_step(model) for model in estimators]
        names = describe([_params_of(model) for model in models])
        if len(set(names)) < len(names):
            names = [f"{i} {name}".rstrip() for i, name in enumerate(names, 1)]
        named = dict(zip(names, models, strict=True))
    else:
        model = final_step(estimators)
        named = {type(model).__name__: model}
    if not named:
        raise ValueError("There are no estimators to plot.")
    return named


def _curves_of(model: Any) -> tuple[Floats, Floats | None]:
    """Return the training and, if there is one, the validation curve."""
    if not is_net(model):
        validation = getattr(model, "validation_loss_curve_", None)
        return (
            np.asarray(model.loss_curve_),
            None if validation is None else np.asarray(validation),
        )
    # An interrupted epoch has no losses.
    training, validation = (
        np.array([epoch.get(name, np.nan) for epoch in model.history.to_list()])
        for name in ("train_loss", "valid_loss")
    )
    return training, None if np.isnan(validation).all() else validation


def _params_of(model: Any) -> dict[str, Any]:
    """Return the parameters by which a model is described."""
    if not is_net(model):
        return model.get_params(deep=False)
    values = str | int | float | None  # not, say, a list of callbacks
    return {n: v for n, v in model.get_params().items() if isinstance(v, values)}


def _loss_name(model: Any) -> str:
    if is_net(model):
        names = [type(criterion).__name__ for criterion in criteria_of(model)]
        return " + ".join(dict.fromkeys(_LOSS_NAMES.get(n, n) for n in names))
    if not is_regressor(model):
        return "log loss"
    scaled = " of the scaled target" if model.standardize_target else ""
    return f"squared error{scaled}"
