"""Plot of the scores of a search by redistribution ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from skrebatch._utils.arrays import to_floats
from skrebatch._utils.extras import import_extra
from skrebatch._utils.user_warnings import warn_user
from skrebatch._utils.validation import (
    check_integer,
    check_real,
)
from skrebatch.inspection._intervals import corrected_intervals
from skrebatch.inspection._records import last_step
from skrebatch.model_selection._estimators_cv import (
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressorCV,
)
from skrebatch.model_selection._scores import (
    find_scores,
    find_test_train_ratio,
    is_called,
)
from skrebatch.plots._style import (
    COLOURS,
    MARKERS,
    describe,
    get_axes,
    put_legend,
    resolve_aliases,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure, SubFigure

Floats = NDArray[np.float64]


class RatioCurveDisplay:
    r"""Plot of scores by redistribution ratio, with confidence intervals.

    It is recommended to use :meth:`from_search` or :meth:`from_estimator` to create a
    display. The intervals are those of Nadeau and Bengio [1]_, which account for the
    overlap of the training sets of the splits. For the mean :math:`\bar{x}` and the
    variance :math:`s^2` of the scores of J splits, they are

    .. math:: \bar{x} \pm t_{J-1} \sqrt{(1/J + n_{test}/n_{train})\, s^2}.

    Parameters
    ----------
    ratios : dict of str to ndarray of shape (n_ratios,)
        The ratios of each line in ascending order, keyed by the label of the line.
    scores : dict of str to ndarray of shape (n_ratios, n_splits)
        The scores of each line on each split.
    test_train_ratio : float
        Number of test rows divided by number of training rows of a split; 1 / (k - 1)
        for k folds.
    score_name : str, default="score"
        Label of the y-axis.
    confidence : float, default=0.95
        Confidence level of the intervals.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the plot.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.
    errorbars_ : dict of str to matplotlib.container.ErrorbarContainer
        The lines with their intervals. Each line is shifted by a few points, so that
        the intervals do not overlap.
    intervals_ : dict of str to ndarray of shape (n_ratios, 3)
        Mean and both ends of each interval. The ends are NaN for a single split.

    See Also
    --------
    FusedGridSearchCV : A search whose scores can be plotted.
    LossCurveDisplay : Plot of loss curves.

    References
    ----------
    .. [1] C. Nadeau and Y. Bengio, "Inference for the generalization error",
       Machine Learning 52, 2003, 239-281.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skrebatch import (
    ...     FusedGridSearchCV,
    ...     RatioCurveDisplay,
    ...     ReBatchCNNClassifier,
    ... )
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> search = FusedGridSearchCV(
    ...     ReBatchCNNClassifier(n_networks=1, max_epochs=5, random_state=0),
    ...     {"ratio": [0.08, 0.15, 0.3], "strategy": ["min-loss", "max-loss"]},
    ...     scoring="neg_log_loss",
    ... )
    >>> display = RatioCurveDisplay.from_search(search.fit(scale(X), y))
    >>> list(display.scores)
    ['strategy=min-loss', 'strategy=max-loss']
    """

    ax_: Axes
    figure_: Figure | SubFigure
    errorbars_: dict[str, ErrorbarContainer]
    intervals_: dict[str, Floats]

    def __init__(
        self,
        ratios: dict[str, Floats],
        scores: dict[str, Floats],
        *,
        test_train_ratio: float,
        score_name: str = "score",
        confidence: float = 0.95,
    ):
        self.ratios = ratios
        self.scores = scores
        self.test_train_ratio = test_train_ratio
        self.score_name = score_name
        self.confidence = confidence

    @classmethod
    def from_search(
        cls,
        search: Any,
        *,
        scoring: str | None = None,
        test_train_ratio: float | None = None,
        confidence: float = 0.95,
        max_lines: int = 6,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the scores of a search over the ratio.

        There is one line for each combination of the other parameters. Candidates that
        differ only in `random_state` are treated as one candidate: their scores are
        averaged within each split first, because they are not independent.

        Parameters
        ----------
        search : GridSearchCV or FusedGridSearchCV
            Fitted search. One of its parameters is `ratio` or ends in ``__ratio``.
        scoring : str, default=None
            Name of the score if the search has several. If None, the score given by
            `refit`. Scores named ``neg_...`` are drawn as losses, with the sign
            reversed.
        test_train_ratio : float, default=None
            Number of test rows divided by number of training rows of a split. If None,
            1 / (k - 1) for k folds, repeated or not. It is required for other splits.
        confidence : float, default=0.95
            Confidence level of the intervals.
        max_lines : int, default=6
            Maximum number of lines. The lines with the best scores are drawn, and
            those without re-Batch, which have no ratio but 0.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. If None, a new figure is created. The legend is placed
            beside the axes if their figure has a layout engine, otherwise inside.
        **kwargs
            Arguments of :meth:`matplotlib.axes.Axes.errorbar`. A `fmt` replaces the
            colours and the markers of the lines.

        Returns
        -------
        display : RatioCurveDisplay
            Display with the plot.

        Raises
        ------
        ValueError
            If the search is not fitted, does not search the ratio, or uses successive
            halving; if it has several scores and `scoring` does not name one; if
            `test_train_ratio` is required but None; or if a parameter is out of range.
        ImportError
            If matplotlib is not installed; it is part of the extra ``plot``.

        Warns
        -----
        UserWarning
            If some lines are not drawn because there are more than `max_lines`.
        """
        check_integer(max_lines, "max_lines")
        import_extra("matplotlib", cls.__name__)
        score, _, name, sign = find_scores(search, scoring)
        if test_train_ratio is None:
            test_train_ratio = find_test_train_ratio(search, score.shape[1])
        lines = _group_by_others(search.cv_results_["params"], sign * score)
        if len(lines) > max_lines:
            warn_user(
                f"Only the best {max_lines} of {len(lines)} combinations of the other "
                "parameters are drawn. Set max_lines to draw more."
            )
            best = {
                label: np.nan_to_num(sign * scores.mean(axis=1), nan=-np.inf).max()
                for label, (_, scores) in lines.items()
            }
            for label, (ratios, _) in lines.items():
                if not ratios.any():  # without re-Batch
                    best[label] = np.inf
            drawn = sorted(best, key=best.__getitem__, reverse=True)[:max_lines]
            lines = {label: lines[label] for label in lines if label in drawn}
        display = cls(
            {label: ratios for label, (ratios, _) in lines.items()},
            {label: scores for label, (_, scores) in lines.items()},
            test_train_ratio=test_train_ratio,
            score_name=f"{name} ({'higher' if sign > 0 else 'lower'} is better)",
            confidence=confidence,
        )
        return display.plot(ax, **kwargs)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        test_train_ratio: float | None = None,
        confidence: float = 0.95,
        max_lines: int = 6,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the scores with which an estimator selected its ratio.

        Parameters
        ----------
        estimator : ReBatchCNNClassifierCV, ReBatchCNNRegressorCV or Pipeline
            Fitted estimator, or a pipeline that ends in one.
        test_train_ratio : float, default=None
            Number of test rows divided by number of training rows of a split. If None,
            the value for the folds of the estimator.
        confidence : float, default=0.95
            Confidence level of the intervals.
        max_lines : int, default=6
            Maximum number of lines.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. If None, a new figure is created.
        **kwargs
            Arguments of :meth:`matplotlib.axes.Axes.errorbar`. A `fmt` replaces the
            colours and the markers of the lines.

        Returns
        -------
        display : RatioCurveDisplay
            Display with the plot.

        Raises
        ------
        ValueError, TypeError, ImportError
            As for :meth:`from_search`, and if the estimator is not a CV form.
        """
        model = last_step(estimator)
        if not isinstance(model, ReBatchCNNClassifierCV | ReBatchCNNRegressorCV):
            raise TypeError(
                "The estimator must be a ReBatchCNNClassifierCV, a "
                f"ReBatchCNNRegressorCV or a Pipeline that ends in one, got {model!r}."
            )
        check_is_fitted(model)
        return cls.from_search(
            model,
            test_train_ratio=test_train_ratio,
            confidence=confidence,
            max_lines=max_lines,
            ax=ax,
            **kwargs,
        )

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Plot the lines.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. If None, a new figure is created. The legend is placed
            beside the axes if their figure has a layout engine, otherwise inside.
        **kwargs
            Arguments of :meth:`matplotlib.axes.Axes.errorbar`. A `fmt` replaces the
            colours and the markers of the lines.

        Returns
        -------
        display : RatioCurveDisplay
            The display itself.
        """
        check_real(self.test_train_ratio, "test_train_ratio", above=0)
        check_real(self.confidence, "confidence", above=0, below=1)
        ratios = {k: to_floats(v, f"ratios[{k!r}]") for k, v in self.ratios.items()}
        scores = {k: to_floats(v, f"scores[{k!r}]") for k, v in self.scores.items()}
        own = resolve_aliases(kwargs, "lines.Line2D")
        has_format = str(own.get("fmt", "")).lower() not in ("", "none")
        ax = get_axes(ax, type(self).__name__, aspect=0.5)
        transforms = import_extra("matplotlib.transforms", type(self).__name__)
        self.errorbars_, self.intervals_ = {}, {}
        for i, (label, line) in enumerate(scores.items()):
            intervals = corrected_intervals(
                line, self.test_train_ratio, self.confidence
            )
            self.intervals_[label] = intervals
            style = {
                "color": COLOURS[i % len(COLOURS)],
                # Lines of the same colour get different markers.
                "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
                "markersize": 5,
                "linewidth": 1,
                "elinewidth": 1,
                "capsize": 2,
                "label": label or None,
            }
            if has_format:  # which sets the colour and the marker
                del style["color"], style["marker"]
            bars = ax.errorbar(
                ratios[label],
                intervals[:, 0],
                intervals[:, 2] - intervals[:, 0],
                **{**style, **own},
            )
            last = len(self.scores) - 1
            points = min(4, 12 / max(last, 1)) * (i - last / 2)
            shift = transforms.ScaledTranslation(
                points / 72, 0, ax.figure.dpi_scale_trans
            )
            for artist in bars.get_children():
                artist.set_transform(ax.transData + shift)
            self.errorbars_[label] = bars
        ax.set(
            xlabel="redistribution ratio r",
            ylabel=f"{self.score_name}\n"
            f"mean, {self.confidence:.0%} interval (Nadeau–Bengio)",
        )
        ax.margins(x=0.12)  # wider than the shifts
        put_legend(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _group_by_others(
    candidates: list[dict[str, Any]], scores: Floats
) -> dict[str, tuple[Floats, Floats]]:
    """Group ratios and scores (n_ratios, n_splits) by the other parameters.

    The scores of candidates that differ only in `random_state` are averaged.
    """
    searched = {name for params in candidates for name in params}
    names = {name for name in searched if is_called(name, "ratio")}
    if len(names) != 1 or any(names.isdisjoint(params) for params in candidates):
        raise ValueError(
            "The search must have exactly one parameter `ratio`, set in every "
            f"candidate; its parameters are {sorted(searched)}."
        )
    (ratio,) = names
    others = [
        {
            n: v
            for n, v in params.items()
            if n != ratio and not is_called(n, "random_state")
        }
        for params in candidates
    ]
    labels = np.array(describe(others))
    values = np.array([params[ratio] for params in candidates], dtype=float)
    groups = {}
    for label in dict.fromkeys(labels.tolist()):
        ratios = np.unique(values[labels == label])
        means = [scores[(labels == label) & (values == r)].mean(axis=0) for r in ratios]
        groups[label] = ratios, np.array(means)
    return groups
