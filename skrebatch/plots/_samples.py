"""Plot of the training dynamics of the samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from skrebatch._utils.arrays import refuse_masked
from skrebatch._utils.extras import import_extra
from skrebatch.inspection._dynamics import training_dynamics
from skrebatch.inspection._records import records_of
from skrebatch.plots._style import get_axes, resolve_aliases

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure, SubFigure

_MAX_POINTS = 10_000  # points of a data map
_MAX_BINS = 400  # rows of a heat map


class SampleDynamicsDisplay:
    """Plot of the training dynamics: a data map, or the chosen samples by epoch.

    It is recommended to use :meth:`from_estimator` to create a display. The data map is
    that of [1]_.

    Parameters
    ----------
    dynamics : pandas.DataFrame
        The result of :func:`training_dynamics`.
    choices : ndarray of bool, shape (n_recorded, n_samples)
        Whether each recorded epoch left out, moved or repeated the sample.
    epochs : ndarray of int, shape (n_recorded,)
        The recorded epochs.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the plot.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.
    map_ : matplotlib.collections.PathCollection or PolyCollection
        The points of the data map. For more than 10,000 samples, hexagons that are
        coloured by the mean of their samples.
    mesh_ : matplotlib.collections.QuadMesh
        The cells of the heat map.
    colorbar_ : matplotlib.colorbar.Colorbar or None
        The colour bar; None if colours are passed that show no values.

    See Also
    --------
    training_dynamics : The training dynamics as a table.
    LossCurveDisplay : Plot of loss curves.

    References
    ----------
    .. [1] S. Swayamdipta et al., "Dataset Cartography: Mapping and Diagnosing
       Datasets with Training Dynamics", EMNLP 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skrebatch import ReBatchCNNClassifier, SampleDynamicsDisplay
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = ReBatchCNNClassifier(
    ...     max_epochs=10, record_losses=True, random_state=0
    ... )
    >>> display = SampleDynamicsDisplay.from_estimator(model.fit(scale(X), y))
    >>> len(display.map_.get_offsets())
    569
    """

    ax_: Axes
    figure_: Figure | SubFigure
    map_: PathCollection | PolyCollection
    mesh_: QuadMesh
    colorbar_: Colorbar | None

    def __init__(
        self,
        dynamics: pd.DataFrame,
        choices: NDArray[np.bool_],
        epochs: NDArray[np.integer],
    ):
        self.dynamics = dynamics
        self.choices = choices
        self.epochs = epochs

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        kind: str = "map",
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the training dynamics of an estimator.

        Parameters
        ----------
        estimator : ReBatchCNNClassifier, ReBatchCNNRegressor, Pipeline or skorch net
            Estimator fitted with ``record_losses=True``, or a pipeline that ends in
            one, as for :func:`training_dynamics`.
        kind : {"map", "choices"}, default="map"
            "map" shows the confidence and variability of each sample, coloured by the
            number of epochs in which it was chosen. "choices" shows which samples each
            epoch chose; the samples are sorted by their mean loss.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. If None, a new figure is created.
        **kwargs
            Arguments of :meth:`matplotlib.axes.Axes.scatter` (or `hexbin`, see `map_`)
            or :meth:`matplotlib.axes.Axes.pcolormesh`. A colour, such as ``c="red"``,
            replaces the colouring by the number of epochs.

        Returns
        -------
        display : SampleDynamicsDisplay
            Display with the plot.

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError
            If the estimator is not fitted, or is not one of these.
        ValueError
            If the estimator was fitted without ``record_losses=True``, or `kind` is
            unknown.
        ImportError
            If matplotlib or pandas is not installed; both are part of the extra
            ``plot``.
        """
        import_extra("matplotlib", cls.__name__)
        _check_kind(kind)
        records = records_of(estimator)
        display = cls(training_dynamics(estimator), records.choices, records.epochs)
        return display.plot(ax, kind=kind, **kwargs)

    def plot(self, ax: Axes | None = None, *, kind: str = "map", **kwargs: Any) -> Self:
        """Plot the data map or the chosen samples.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. If None, a new figure is created.
        kind : {"map", "choices"}, default="map"
            Kind of the plot, as for :meth:`from_estimator`.
        **kwargs
            Arguments of matplotlib, as for :meth:`from_estimator`.

        Returns
        -------
        display : SampleDynamicsDisplay
            The display itself.
        """
        _check_kind(kind)
        for name in ("choices", "epochs"):
            refuse_masked(getattr(self, name), name)
        ax = get_axes(ax, type(self).__name__)
        draw = self._draw_map if kind == "map" else self._draw_choices
        draw(ax, kwargs)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_map(self, ax: Axes, kwargs: dict[str, Any]) -> None:
        x, y, times = (
            self.dynamics[name].to_numpy()
            for name in ("variability", "confidence", "times_chosen")
        )
        own = resolve_aliases(kwargs, "collections.Collection")
        colours = import_extra("matplotlib.colors", type(self).__name__)
        if colours.is_color_like(own.get("c")):
            own["facecolor"] = own.pop("c")
        label = "epochs in which the sample was chosen"
        if not own.keys().isdisjoint(("c", "C")):
            label = ""  # the values are the user's
        is_plain = not own.keys().isdisjoint(("color", "facecolor"))
        style: dict[str, Any] = {} if is_plain else {"cmap": "viridis_r"}
        if len(x) > _MAX_POINTS:
            style |= {"C": own.pop("c", times), "gridsize": 80, "mincnt": 1}
            self.map_ = ax.hexbin(x, y, **{**style, "linewidth": 0.2, **own})
            if is_plain:
                self.map_.set_array(None)
        else:
            style |= {"s": 14, "linewidth": 0.3}
            if not is_plain:
                style["c"] = times
            marker = own.get("marker") or "o"
            markers = import_extra("matplotlib.markers", type(self).__name__)
            is_filled = markers.MarkerStyle(marker).is_filled()
            if is_filled and "color" not in own:  # which is that of the edges, too
                style["edgecolor"] = "0.3"
            self.map_ = ax.scatter(x, y, **{**style, **own})
        self.colorbar_ = None
        if self.map_.get_array() is not None:
            self.colorbar_ = ax.figure.colorbar(self.map_, ax=ax, label=label)
        ax.set(
            xlabel="variability: standard deviation over epochs",
            ylabel="confidence: mean over epochs",
        )

    def _draw_choices(self, ax: Axes, kwargs: dict[str, Any]) -> None:
        order = np.argsort(self.dynamics["mean_loss"].to_numpy(), kind="stable")
        n_samples = len(order)
        edges = np.linspace(0, n_samples, min(n_samples, _MAX_BINS) + 1).astype(int)
        shares = np.column_stack(
            [
                np.add.reduceat(chosen[order], edges[:-1], dtype=np.int64)
                for chosen in self.choices
            ]
        )
        shares = shares / np.diff(edges)[:, None]  # (n_bins, n_recorded)
        style: dict[str, Any] = {"cmap": "Blues"}
        if "norm" not in kwargs:  # which has its own limits
            style |= {"vmin": 0, "vmax": shares.max() or 1}
        self.mesh_ = ax.pcolormesh(
            _cell_edges(self.epochs), edges, shares, **{**style, **kwargs}
        )
        label = "share of samples chosen"
        self.colorbar_ = ax.figure.colorbar(self.mesh_, ax=ax, label=label)
        ax.set(xlabel="epoch", ylabel="samples, sorted by mean loss")
        ax.locator_params(axis="x", integer=True)


def _check_kind(kind: str) -> None:
    if kind not in ("map", "choices"):
        raise ValueError(f'kind must be "map" or "choices", got {kind!r}.')


def _cell_edges(centres: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the edges of cells around ascending centres: (n,) -> (n + 1,)."""
    between = (centres[1:] + centres[:-1]) / 2
    step = centres[1] - centres[0] if len(centres) > 1 else 1
    return np.r_[centres[0] - step / 2, between, centres[-1] + step / 2]
