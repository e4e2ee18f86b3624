"""The page of speed.py and its pictures, from its JSON."""

import numpy as np
from harness import DOCS, read_setting
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from pages import as_quartiles, fill_page, save_figure

BASE = "minimal loop"
COLOURS = read_setting(__file__)["colours"]
SECTIONS = (
    *("one_fit", "stacks", "roofline", "search", "predict"),
    *("large", "memory", "gpu"),
)


def write_page(results):
    """Write speed.md and its pictures from the results that there are."""
    for name, draw in (("one_fit", _draw_one_fit), ("stacks", _draw_stacks)):
        if name in results:
            figure = draw(results[name]["cells"])
            save_figure(figure, DOCS / "images" / "speed" / f"{name}.png")
    sections = [name for name in SECTIONS if name in results]
    page, functions = DOCS / "speed.md", (each, median, shares_of)
    fill_page(page, *functions, results=results, sections=sections)


def median(values):
    """Return the median of repetitions."""
    return float(np.median(values))


def shares_of(cell):
    """Return the seconds of an epoch, and the shares of the arithmetic in per cent."""
    limits, epochs = cell["limits"], cell["epochs"]
    seconds = {part: np.divide(cell["seconds"][part], epochs) for part in limits}
    seconds["both"] = sum(seconds.values())
    products = {part: limit["products"] for part, limit in limits.items()}
    products["both"] = sum(products.values())
    others = sum(limit["others"] for limit in limits.values())
    whole = median(seconds["both"])
    takes = {"arithmetic": products["both"], "other operations": others}
    takes["calls"] = whole - sum(takes.values())
    shares = {
        part: as_quartiles(100 * own / seconds[part], spec=".0f")
        for part, own in products.items()
    }
    return shares | {"seconds": whole, "limit": max(takes, key=takes.get)}


def each(cell, clock):
    """Return the milliseconds for an epoch of one network, by K."""
    return {
        int(k): 1000 * np.array(times[clock]) / int(k) / cell["epochs"]
        for k, times in cell["seconds"].items()
    }


def _label(cell):
    return f"{cell['rows']} × {cell['features']}, B = {cell['batch_size']}"


def _draw_one_fit(cells):
    """Draw the time of one fit relative to the minimal loop, as bars."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots()
    names = [name for name in COLOURS if name in cells[0]["seconds"]]
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        times = [
            [cell["seconds"][kind]["cpu"] for kind in (name, BASE)] for cell in cells
        ]
        ratios = [np.divide(*pair) for pair in times]
        low, middle, high = np.percentile(ratios, [25, 50, 75], axis=1)
        places = np.arange(len(cells)) + (i - (len(names) - 1) / 2) * width
        errors = [middle - low, high - middle]
        axes.bar(places, middle, width, color=COLOURS[name], label=name, yerr=errors)
        for place, top, value in zip(places, high, middle, strict=True):
            axes.annotate(f"{value:.2f}", (place, top), ha="center", va="bottom")
    axes.axhline(1, color="black", linewidth=1)
    axes.margins(y=0.1)
    axes.set(
        xticks=range(len(cells)),
        xticklabels=map(_label, cells),
        ylabel="CPU time / minimal loop",
        title="One fit: below the line is faster than a minimal loop",
    )
    figure.legend(loc="outside lower center", ncols=len(names))
    return figure


def _draw_stacks(cells):
    """Draw the time for one network against the number in a stack."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots()
    for cell in cells:
        times = each(cell, "cpu")
        low, middle, high = np.percentile([*times.values()], [25, 50, 75], axis=1)
        axes.plot([*times], middle, ".-", label=_label(cell))
        axes.fill_between([*times], low, high, alpha=0.2)
    axes.set(
        xscale="log",
        yscale="log",
        xticks=[*times],
        xticklabels=[*times],
        xlabel="K, networks side by side",
        ylabel="CPU ms, one network, one epoch",
        title="Many networks side by side",
    )
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=len(cells))
    return figure
