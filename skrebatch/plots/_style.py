"""Colours, axes, legends and labels of the plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skrebatch._utils.extras import import_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The colours of Okabe and Ito, which colour-blind readers can distinguish, without
# yellow. Dashes and markers distinguish lines in black-and-white prints.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP"


def get_axes(ax: Axes | None, user: str, aspect: float = 0.75) -> Axes:
    """Return the given axes, or those of a new figure with this aspect ratio."""
    if isinstance(ax, import_extra("matplotlib.axes", user).Axes):
        return ax
    if ax is not None:
        raise TypeError(f"ax must be a matplotlib Axes or None, got {ax!r}.")
    pyplot = import_extra("matplotlib.pyplot", user)
    return pyplot.subplots(figsize=pyplot.figaspect(aspect), layout="constrained")[1]


def put_legend(ax: Axes) -> None:
    """Put a legend beside the axes, or inside if the figure has no layout engine."""
    if not any(ax.get_legend_handles_labels()):
        return
    if ax.figure.get_layout_engine() is None:
        ax.legend(loc="best", fontsize="small")
    else:
        ax.legend(
            loc="upper left", bbox_to_anchor=(1, 1), fontsize="small", frameon=False
        )


def resolve_aliases(kwargs: Mapping[str, Any], artist: str) -> dict[str, Any]:
    """Return matplotlib arguments by their full names, such as `linewidth` for `lw`.

    The names are those of a class of matplotlib, such as "lines.Line2D".
    """
    module, _, name = artist.rpartition(".")
    artists = import_extra(f"matplotlib.{module}", "A plot")
    cbook = import_extra("matplotlib.cbook", "A plot")
    resolved: dict[str, Any] = cbook.normalize_kwargs(kwargs, getattr(artists, name))
    return resolved


def write_number(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:.3g}".replace("-", "−")


def describe(params: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a label for each dict from the entries in which the dicts differ."""
    names = dict.fromkeys(name for entries in params for name in entries)
    texts = {n: [str(entries.get(n, "as set")) for entries in params] for n in names}
    differing = {n: values for n, values in texts.items() if len(set(values)) > 1}
    return [
        ", ".join(f"{n.rpartition('__')[2]}={v[i]}" for n, v in differing.items())
        for i in range(len(params))
    ]
