"""Plot of the label issues that were found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from skrebatch.plots._style import get_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


class LabelIssuesDisplay:
    """Histogram of the label quality, with the rows marked as issues.

    It is recommended to use :meth:`from_frame` to create a display.

    Parameters
    ----------
    issues : pandas.DataFrame
        The result of :func:`find_label_issues`.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the plot.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.
    counts_ : pandas.Series
        Number of issues for each pair of a given and a predicted label, largest first.

    See Also
    --------
    find_label_issues : Finds the label issues.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skrebatch import LabelIssuesDisplay, find_label_issues
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> y[[10, 90]] = 2
    >>> issues = find_label_issues(X, y, random_state=0)
    >>> display = LabelIssuesDisplay.from_frame(issues)
    >>> bool(display.counts_.sum() == issues["is_label_issue"].sum())
    True
    """

    ax_: Axes
    figure_: Figure | SubFigure
    counts_: pd.Series[int]

    def __init__(self, issues: pd.DataFrame):
        self.issues = issues

    @classmethod
    def from_frame(
        cls, issues: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any
    ) -> Self:
        """Plot the result of :func:`find_label_issues`.

        Parameters
        ----------
        issues : pandas.DataFrame
            The result of :func:`find_label_issues`.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. If None, a new figure is created.
        **kwargs
            Arguments of :meth:`matplotlib.axes.Axes.hist`.

        Returns
        -------
        display : LabelIssuesDisplay
            Display with the plot.

        Raises
        ------
        ValueError
            If the frame lacks columns of :func:`find_label_issues`.
        ImportError
            If matplotlib is not installed; it is part of the extra ``plot``.
        """
        wanted = "is_label_issue", "label_quality", "given_label", "predicted_label"
        missing = [
            name for name in wanted if name not in getattr(issues, "columns", ())
        ]
        if missing:
            raise ValueError(
                "issues must be a data frame from find_label_issues, but the columns "
                f"{missing} are missing."
            )
        return cls(issues).plot(ax, **kwargs)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Plot the histogram.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. If None, a new figure is created.
        **kwargs
            Arguments of :meth:`matplotlib.axes.Axes.hist`.

        Returns
        -------
        display : LabelIssuesDisplay
            The display itself.
        """
        ax = get_axes(ax, type(self).__name__)
        quality = self.issues["label_quality"].to_numpy()
        is_issue = self.issues["is_label_issue"].to_numpy()
        style: dict[str, Any] = {
            "bins": np.linspace(0, 1, 41),
            "stacked": True,
            "label": [f"issues ({is_issue.sum()})", f"others ({(~is_issue).sum()})"],
        }
        ax.hist([quality[is_issue], quality[~is_issue]], **{**style, **kwargs})
        ax.set(xlabel="label quality", ylabel="rows")
        ax.legend()
        pairs = self.issues.loc[is_issue, ["given_label", "predicted_label"]]
        self.counts_ = pairs.value_counts()
        self.ax_, self.figure_ = ax, ax.figure
        return self
