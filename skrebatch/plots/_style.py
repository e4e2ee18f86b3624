"""What the pictures share: colours, axes, legends, names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skrebatch._utils.extras import import_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, distinct to the colour-blind, without yellow; dashes and
# markers tell lines apart in a print without colours.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP"


def get_axes(ax: Axes | None, user: str, aspect: float = 0.75) -> Axes:
    """Return the axes, or those of a new figure with this height by width."""
    if isinstance(ax, import_extra("matplotlib.axes", user).Axes):
        return ax
    if ax is not None:
        raise TypeError(f"ax must be an Axes of matplotlib or None, got {ax!r}.")
    pyplot = import_extra("matplotlib.pyplot", user)
    return pyplot.subplots(figsize=pyplot.figaspect(aspect), layout="constrained")[1]


def put_legend(ax: Axes) -> None:
    """Put a legend beside the axes, or within where no layout would make room."""
    if not any(ax.get_legend_handles_labels()):
        return
    if ax.figure.get_layout_engine() is None:
        ax.legend(loc="best", fontsize="small")
    else:
        ax.legend(
            loc="upper left", bbox_to_anchor=(1, 1), fontsize="small", frameon=False
        )


def write_number(value: float) -> str:
    """Write a number with three digits."""
    return f"{value:.3g}".replace("-", "−")


def describe(params: Sequence[Mapping[str, Any]]) -> list[str]:
    """Describe dicts by the entries in which they differ."""
    names = dict.fromkeys(name for own in params for name in own)
    texts = {n: [str(own.get(n, "as set")) for own in params] for n in names}
    differ = {n: values for n, values in texts.items() if len(set(values)) > 1}
    return [
        ", ".join(f"{n.rpartition('__')[2]}={v[i]}" for n, v in differ.items())
        for i in range(len(params))
    ]
