"""What speed.py found: tables, pictures and the page, all from its JSON."""

import numpy as np
from harness import DOCS
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from pages import as_quartiles, as_table, fill_template, save_figure, where

BASE = "minimal loop"
OURS = "skrebatch"
FUSED = "FusedGridSearchCV, n_jobs=1"
COLOURS = {
    "skrebatch": "tab:blue",
    "skrebatch MLP": "tab:cyan",
    "scikit-learn MLP": "tab:green",
    "skorch": "tab:orange",
    "Lightning": "tab:red",
}


def one_fit_table(cells, clock="cpu"):
    """Tabulate the time of one fit relative to the minimal loop."""
    names = [name for name in cells[0]["seconds"] if name != BASE]
    rows = []
    for cell in cells:
        base = cell["seconds"][BASE][clock]
        milliseconds = 1000 * np.median(base) / cell["epochs"]
        ratios = [as_quartiles(cell["seconds"][name][clock], base) for name in names]
        rows.append([*_shape(cell), f"{milliseconds:.1f}", *ratios])
    return [["table", "r", "B", f"{BASE}, ms an epoch", *names], *rows]


def stacks_table(cells, clock="cpu"):
    """Tabulate the time for one network by the number side by side."""
    rows = [
        [*_shape(cell), *(f"{1000 * np.median(t):.2f}" for t in _each(cell, clock))]
        for cell in cells
    ]
    return [["table", "r", "B", *(f"K = {k}" for k in cells[0]["seconds"])], *rows]


def search_table(cells, clock="cpu"):
    """Tabulate the time of the searches."""
    seconds = cells[0]["seconds"]
    rows = [
        [
            name,
            f"{np.median(times['cpu']):.1f}",
            f"{np.median(times['wall']):.1f}",
            as_quartiles(times[clock], seconds[FUSED][clock]),
        ]
        for name, times in seconds.items()
    ]
    return [["", "CPU s", "clock s", "ratio"], *rows]


def large_table(cells):
    """Tabulate the epochs over large tables, and the memory of a fit."""
    rows = []
    for cell in cells:
        bare, ours, select = (
            np.array(cell["seconds"][name]["cpu"])
            for name in ("bare loop", OURS, "selection and order")
        )
        share = select * cell["epochs"] / ours
        size = cell["bytes"]
        rows.append(
            [
                f"{cell['rows']:,}",
                f"{np.median(bare) / cell['epochs']:.2f}",
                f"{np.median(ours) / cell['epochs']:.2f}",
                as_quartiles(ours, bare),
                f"{100 * np.median(share):.2f} %",
                f"{size['data'] / 1e6:.0f} MB",
                f"{size['beside data'] / 1e6:.0f} MB",
            ]
        )
    header = ["rows", "bare loop, s", "skrebatch, s", "ratio", "selection and order"]
    return [[*header, "table", "memory"], *rows]


TABLES = {
    "one_fit": one_fit_table,
    "stacks": stacks_table,
    "search": search_table,
    "large": large_table,
}


def write_page(results):
    """Write speed.md and its pictures from the results that there are."""
    for name, draw in (("one_fit", _draw_one_fit), ("stacks", _draw_stacks)):
        if name in results:
            figure = draw(results[name]["cells"])
            save_figure(figure, DOCS / "images" / "speed" / f"{name}.png")
    sections = []
    for name in (*TABLES, "gpu"):
        if name in results:
            cells = results[name]["cells"]
            if name == "gpu":
                tables = [TABLES[part](own, "wall") for part, own in cells.items()]
                values = {"tables": "\n\n".join(map(as_table, tables))}
            else:
                values = {"table": as_table(TABLES[name](cells)), **_facts(cells)}
            place = where(results[name]["environment"])
            sections.append(fill_template(f"speed_{name}", **values, where=place))
    page = fill_template("speed", sections="\n".join(sections).rstrip())
    (DOCS / "speed.md").write_text(page, encoding="utf-8")


def _facts(cells):
    """Collect what the texts say about a section."""
    facts = dict(cells[0])
    if "ratios" in facts:
        facts["ratios"] = len(facts["ratios"])
        facts["fits"] = facts["ratios"] * facts["folds"] * facts["seeds"]
    return facts


def _shape(cell):
    return f"{cell['rows']} × {cell['features']}", cell["ratio"], cell["batch_size"]


def _each(cell, clock):
    """Return the seconds for an epoch of one network, by K: (n_K, repetitions)."""
    return [
        np.array(times[clock]) / int(k) / cell["epochs"]
        for k, times in cell["seconds"].items()
    ]


def _draw_one_fit(cells):
    """Draw the time of one fit relative to the minimal loop, as bars."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots()
    names = [name for name in COLOURS if name in cells[0]["seconds"]]
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        ratios = [
            np.percentile(
                np.divide(cell["seconds"][name]["cpu"], cell["seconds"][BASE]["cpu"]),
                [25, 50, 75],
            )
            for cell in cells
        ]
        low, middle, high = np.transpose(ratios)
        places = np.arange(len(cells)) + (i - (len(names) - 1) / 2) * width
        errors = [middle - low, high - middle]
        axes.bar(places, middle, width, color=COLOURS[name], label=name, yerr=errors)
        for place, top, value in zip(places, high, middle, strict=True):
            axes.annotate(f"{value:.2f}", (place, top), ha="center", va="bottom")
    axes.axhline(1, color="black", linewidth=1)
    axes.margins(y=0.1)
    axes.set(
        xticks=range(len(cells)),
        xticklabels=[_label(cell) for cell in cells],
        ylabel="CPU time / minimal loop",
        title="One fit: below the line is faster than a minimal loop",
    )
    figure.legend(loc="outside lower center", ncols=len(names))
    return figure


def _label(cell):
    return f"{cell['rows']} × {cell['features']}, B = {cell['batch_size']}"


def _draw_stacks(cells):
    """Draw the time for one network against the number in a stack."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots()
    for cell in cells:
        ks = [int(k) for k in cell["seconds"]]
        milliseconds = 1000 * np.array(_each(cell, "cpu"))
        low, middle, high = np.percentile(milliseconds, [25, 50, 75], axis=1)
        axes.plot(ks, middle, ".-", label=_label(cell))
        axes.fill_between(ks, low, high, alpha=0.2)
    axes.set(
        xscale="log",
        yscale="log",
        xticks=ks,
        xticklabels=ks,
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
