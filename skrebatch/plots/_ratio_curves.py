"""Score against redistribution ratio, from a search."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    StratifiedGroupKFold,
    StratifiedKFold,
)

from skrebatch._utils.extras import import_extra
from skrebatch._utils.user_warnings import warn_user
from skrebatch._utils.validation import check_integer, check_real
from skrebatch.inspection._dynamics import final_step
from skrebatch.inspection._intervals import corrected_intervals
from skrebatch.plots._style import COLOURS, MARKERS, describe, get_axes, put_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

_K_FOLD_CV = (
    Integral,
    GroupKFold,
    KFold,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    StratifiedGroupKFold,
    StratifiedKFold,
)


class RatioCurveDisplay:
    r"""Score against redistribution ratio, with confidence intervals.

    Best made by :meth:`from_search` or :meth:`from_estimator`. The intervals are
    those of Nadeau and Bengio [1]_, which take into account that the training sets
    of the splits overlap; with mean :math:`\bar{x}` and variance :math:`s^2` of the
    scores of J splits,

    .. math:: \bar{x} \pm t_{J-1} \sqrt{(1/J + n_{test}/n_{train})\, s^2}.

    Parameters
    ----------
    ratios : dict of str to ndarray of shape (n_ratios,)
        The ratios of each line, ascending, by the line's name.
    scores : dict of str to ndarray of shape (n_ratios, n_splits)
        Its score on each split.
    test_train_ratio : float
        Number of test rows by number of training rows in a split; 1 / (k - 1) for k
        folds.
    score_name : str, default="score"
        What the scores are.
    confidence : float, default=0.95
        Confidence of the intervals.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes drawn on.
    figure_ : matplotlib.figure.Figure
        Their figure.
    errorbars_ : dict of str to matplotlib.container.ErrorbarContainer
        The lines with their intervals. To keep them apart they are drawn a few
        points to the side of their ratio.
    intervals_ : dict of str to ndarray of shape (n_ratios, 3)
        Mean and both ends of the interval; the ends are NaN with a single split.

    See Also
    --------
    FusedGridSearchCV : A search to draw.
    LossCurveDisplay : Loss by epoch.

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
    ...     ReBatchCNNClassifier(max_epochs=5, random_state=0),
    ...     {"ratio": [0.08, 0.15, 0.3], "strategy": ["min-loss", "max-loss"]},
    ...     scoring="neg_log_loss",
    ... )
    >>> display = RatioCurveDisplay.from_search(search.fit(scale(X), y))
    >>> list(display.scores)
    ['strategy=min-loss', 'strategy=max-loss']
    """

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
        """Draw the scores of a search over the ratio.

        Each combination of the other parameters has its line. Candidates that
        differ in `random_state` alone are one candidate: their scores are averaged
        within each split first, because seeds on the same split are no new data.

        Parameters
        ----------
        search : GridSearchCV or FusedGridSearchCV
            Fitted; one of its parameters is `ratio`, or ends in ``__ratio``.
        scoring : str, default=None
            Which score, where the search has several; None is the one that `refit`
            names. Scores called ``neg_...`` are drawn as losses, without the sign.
        test_train_ratio : float, default=None
            Number of test rows by number of training rows in a split. None is
            1 / (k - 1), for k folds, repeated or not; other kinds of splits need it.
        confidence : float, default=0.95
            Confidence of the intervals.
        max_lines : int, default=6
            Most lines to draw: those whose best score is best.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure. The legend stands beside the axes
            where their figure has a layout that makes room, else within.
        **kwargs
            Passed to :meth:`matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        display : RatioCurveDisplay

        Raises
        ------
        ValueError
            If the search is not fitted, or not one over the ratio, if it halves its
            candidates, if it has several scores and none is named, if
            `test_train_ratio` is needed, or if a number is out of range.
        ImportError
            If matplotlib is missing, which comes with the extra ``plot``.

        Warns
        -----
        UserWarning
            If there are more than `max_lines` lines.
        """
        check_integer(max_lines, "max_lines")
        import_extra("matplotlib", cls.__name__)
        if not hasattr(search, "cv_results_"):
            raise ValueError(
                f"This {type(search).__name__} has no cv_results_: it is not fitted, "
                "or no search."
            )
        if "iter" in search.cv_results_:
            raise ValueError(
                f"This {type(search).__name__} scores its candidates by different "
                "amounts of data or epochs, which are not to be compared."
            )
        score, name, sign = _find_scores(search, scoring)
        if test_train_ratio is None:
            test_train_ratio = _k_fold_ratio(search.cv, score.shape[1])
        lines = _group_by_others(search.cv_results_["params"], sign * score)
        if len(lines) > max_lines:
            warn_user(
                f"Only the best {max_lines} of {len(lines)} combinations of the other "
                "parameters are drawn; max_lines sets how many."
            )
            best = {
                label: np.nan_to_num(sign * own.mean(axis=1), nan=-np.inf).max()
                for label, (_, own) in lines.items()
            }
            kept = sorted(best, key=best.__getitem__, reverse=True)[:max_lines]
            lines = {label: lines[label] for label in lines if label in kept}
        display = cls(
            {label: ratios for label, (ratios, _) in lines.items()},
            {label: own for label, (_, own) in lines.items()},
            test_train_ratio=test_train_ratio,
            score_name=f"{name} ({'more' if sign > 0 else 'less'} is better)",
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
        """Draw the scores by which an estimator found its ratio.

        Parameters
        ----------
        estimator : ReBatchCNNClassifierCV, ReBatchCNNRegressorCV or Pipeline
            Fitted. Of a pipeline, the last step.
        test_train_ratio : float, default=None
            Number of test rows by number of training rows in a split, as for
            :meth:`from_search`.
        confidence : float, default=0.95
            Confidence of the intervals.
        max_lines : int, default=6
            Most lines to draw.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure.
        **kwargs
            Passed to :meth:`matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        display : RatioCurveDisplay

        Raises
        ------
        ValueError, TypeError, ImportError
            As for :meth:`from_search`, and if it is not an estimator of this
            package.
        """
        return cls.from_search(
            final_step(estimator),
            test_train_ratio=test_train_ratio,
            confidence=confidence,
            max_lines=max_lines,
            ax=ax,
            **kwargs,
        )

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw the lines.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure. The legend stands beside the axes
            where their figure has a layout that makes room, else within.
        **kwargs
            Passed to :meth:`matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        display : RatioCurveDisplay
            The object itself.
        """
        check_real(self.test_train_ratio, "test_train_ratio", above=0)
        check_real(self.confidence, "confidence", above=0, below=1)
        ax = get_axes(ax, type(self).__name__, aspect=0.5)
        transforms = import_extra("matplotlib.transforms", type(self).__name__)
        self.errorbars_, self.intervals_ = {}, {}
        for i, (label, scores) in enumerate(self.scores.items()):
            intervals = corrected_intervals(
                scores, self.test_train_ratio, self.confidence
            )
            self.intervals_[label] = intervals
            style = {
                "color": COLOURS[i % len(COLOURS)],
                "marker": MARKERS[i % len(MARKERS)],
                "markersize": 5,
                "linewidth": 1,
                "elinewidth": 1,
                "capsize": 2,
                "label": label or None,
            }
            bars = ax.errorbar(
                self.ratios[label],
                intervals[:, 0],
                intervals[:, 2] - intervals[:, 0],
                **{**style, **kwargs},
            )
            points = 4 * (i - (len(self.scores) - 1) / 2)
            aside = transforms.ScaledTranslation(
                points / 72, 0, ax.figure.dpi_scale_trans
            )
            for artist in bars.get_children():
                artist.set_transform(ax.transData + aside)
            self.errorbars_[label] = bars
        ax.set(
            xlabel="redistribution ratio r",
            ylabel=f"{self.score_name}\n"
            f"mean, {self.confidence:.0%} interval (Nadeau–Bengio)",
        )
        put_legend(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _find_scores(search: Any, scoring: str | None) -> tuple[Floats, str, int]:
    """Return scores (n_candidates, n_splits), their name, and -1 for losses."""
    results = search.cv_results_
    parts = [key.partition("_test_") for key in results if key.startswith("split")]
    names = list(dict.fromkeys(name for _, found, name in parts if found))
    if scoring is None:
        scoring = names[0] if len(names) == 1 else search.refit
    elif names == ["score"] and scoring == search.scoring:
        scoring = "score"
    if scoring not in names:
        raise ValueError(
            f"The search has the scores {names}: scoring must name one of them, got "
            f"{scoring!r}."
        )
    n_splits = sum(name == scoring for _, _, name in parts)
    scores = [results[f"split{i}_test_{scoring}"] for i in range(n_splits)]
    if scoring == "score":
        scoring = search.scoring
        if scoring is None:
            scoring = "R²" if is_regressor(search) else "accuracy"
        elif not isinstance(scoring, str):
            scoring = "score"
    is_loss = scoring.startswith("neg_")
    name = scoring.removeprefix("neg_").replace("_", " ")
    return np.column_stack(scores), name, -1 if is_loss else 1


def _k_fold_ratio(cv: Any, n_splits: int) -> float:
    """Return test rows by training rows, for k folds."""
    if not (cv is None or isinstance(cv, _K_FOLD_CV)):
        raise ValueError(
            f"How large the test sets of cv={cv!r} are can't be told from it. Pass "
            "test_train_ratio, their rows by those of the training sets."
        )
    return 1 / (n_splits // getattr(cv, "n_repeats", 1) - 1)


def _group_by_others(
    candidates: list[dict[str, Any]], scores: Floats
) -> dict[str, tuple[Floats, Floats]]:
    """Gather ratios and scores (n_ratios, n_splits) for all else but the seed."""
    names = {name for own in candidates for name in own if _is_called(name, "ratio")}
    if len(names) != 1 or any(names.isdisjoint(own) for own in candidates):
        raise ValueError(
            "The search must be over one ratio that every candidate has; it is over "
            f"{sorted({name for own in candidates for name in own})}."
        )
    (ratio,) = names
    rest = [
        {
            n: v
            for n, v in own.items()
            if n != ratio and not _is_called(n, "random_state")
        }
        for own in candidates
    ]
    labels = np.array(describe(rest))
    values = np.array([own[ratio] for own in candidates], dtype=float)
    groups = {}
    for label in dict.fromkeys(labels.tolist()):
        ratios = np.unique(values[labels == label])
        over_seeds = [
            scores[(labels == label) & (values == r)].mean(axis=0) for r in ratios
        ]
        groups[label] = ratios, np.array(over_seeds)
    return groups


def _is_called(name: str, parameter: str) -> bool:
    """Whether a parameter, of a pipeline's step or not, has this name."""
    return name.rpartition("__")[2] == parameter
