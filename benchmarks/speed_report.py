"""What speed.py found: tables, pictures and the page, all from its JSON."""

import numpy as np
from harness import DOCS
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from pages import as_quartiles, as_table, fill_template, save_figure, where

BASE = "minimal loop"
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
    rows = []
    for cell in cells:
        seconds = {name: times[clock] for name, times in cell["seconds"].items()}
        base = seconds.pop(BASE)
        milliseconds = f"{1000 * np.median(base) / cell['epochs']:.1f}"
        ratios = {name: as_quartiles(own, base) for name, own in seconds.items()}
        rows.append(_shape(cell) | {f"{BASE}, ms an epoch": milliseconds} | ratios)
    return rows


def stacks_table(cells, clock="cpu"):
    """Tabulate the time for one network by the number side by side."""
    return [
        _shape(cell)
        | {f"K = {k}": f"{np.median(own):.2f}" for k, own in _each(cell, clock).items()}
        for cell in cells
    ]


def roofline_table(cells):
    """Tabulate the share of the arithmetic in the time of stacks."""
    rows = []
    for cell in cells[1:]:
        seconds = {part: np.array(times) for part, times in cell["seconds"].items()}
        products = {p: cell["limits"][p]["products"] for p in cell["limits"]}
        both = sum(seconds[part] for part in products) / cell["epochs"]
        rows.append(
            _shape(cell)
            | {
                "K": cell["networks"],
                "ms": f"{1000 * np.median(both) / cell['networks']:.2f}",
                **{
                    part: _percent(own * cell["epochs"] / seconds[part])
                    for part, own in products.items()
                },
                "both": _percent(sum(products.values()) / both),
                "limit": _limit_of(cell, np.median(both)),
            }
        )
    return rows


def _percent(shares):
    """Format shares as a median with quartiles, in per cent."""
    return as_quartiles(100 * np.asarray(shares), spec=".0f")


def _limit_of(cell, seconds):
    """Name what takes most of the seconds of an epoch."""
    limits = cell["limits"].values()
    parts = {
        name: sum(limit[kind] for limit in limits)
        for kind, name in (("products", "arithmetic"), ("others", "other operations"))
    }
    parts["calls"] = seconds - sum(parts.values())
    return max(parts, key=parts.get)


def search_table(cells, clock="cpu"):
    """Tabulate the time of the searches."""
    rows = []
    for cell in cells:
        fits = len(cell["ratios"]) * cell["folds"] * cell["seeds"]
        stops = "yes" if cell["early_stopping"] else "no"
        shape = {"columns": cell["features"], "fits": fits, "early stopping": stops}
        for name, times in cell["seconds"].items():
            program, jobs = name.split(", n_jobs=")
            rows.append(
                shape
                | {
                    "program": program,
                    "n_jobs": jobs,
                    "CPU s": f"{np.median(times['cpu']):.1f}",
                    "clock s": f"{np.median(times['wall']):.1f}",
                    "ratio": as_quartiles(times[clock], cell["seconds"][FUSED][clock]),
                }
            )
            shape = dict.fromkeys(shape, "")
    return rows


def predict_table(cells):
    """Tabulate the time of predictions beside those of scikit-learn's networks."""
    return [
        {
            "network": cell["model"],
            "head": " → ".join(map(str, cell["layers"])),
            "rows": f"{cell['rows']:,}",
            **{
                f"{name}, ms": f"{1000 * np.median(times['cpu']) / cell['calls']:.3g}"
                for name, times in cell["seconds"].items()
            },
            "ratio": as_quartiles(
                *(cell["seconds"][n]["cpu"] for n in ("skrebatch", "scikit-learn MLP"))
            ),
        }
        for cell in cells
    ]


def large_table(cells):
    """Tabulate the epochs over large tables, and the memory of a fit."""
    rows = []
    for cell in cells:
        bare, ours, select, ten, mapped = (
            np.array(cell["seconds"][name]["cpu"])
            for name in (
                "bare loop",
                "skrebatch",
                "selection and order",
                "ten networks",
                "ten networks, mapped",
            )
        )
        share = 100 * np.median(select * cell["epochs"] / ours)
        rows.append(
            {
                "rows": f"{cell['rows']:,}",
                "bare loop, s": f"{np.median(bare) / cell['epochs']:.2f}",
                "skrebatch, s": f"{np.median(ours) / cell['epochs']:.2f}",
                "ratio": as_quartiles(ours, bare),
                "selection and order": f"{share:.2f} %",
                "ten networks, s": f"{np.median(ten):.1f}",
                "mapped": as_quartiles(mapped, ten),
            }
        )
    return rows


def memory_table(cells):
    """Tabulate the peaks of memory beside the data."""
    return [
        {
            "call": cell["call"],
            "rows": f"{cell['rows']:,}" + ", mapped" * cell["mapped"],
            "table": f"{cell['bytes']['data'] / 1e6:,.1f} MB",
            "peak": f"{cell['bytes']['beside data'] / 1e6:,.0f} MB",
        }
        for cell in cells
    ]


TABLES = {
    "one_fit": one_fit_table,
    "stacks": stacks_table,
    "roofline": roofline_table,
    "search": search_table,
    "predict": predict_table,
    "large": large_table,
    "memory": memory_table,
}


def write_page(results):
    """Write speed.md and its pictures from the results that there are."""
    for name, draw in (("one_fit", _draw_one_fit), ("stacks", _draw_stacks)):
        if name in results:
            figure = draw(results[name]["cells"])
            save_figure(figure, DOCS / "images" / "speed" / f"{name}.png")
    sections = []
    for name in [name for name in (*TABLES, "gpu") if name in results]:
        cells = results[name]["cells"]
        if name == "gpu":
            tables = [TABLES[part](own, "wall") for part, own in cells.items()]
            values = {}
        else:
            tables, values = [TABLES[name](cells)], dict(cells[0])
        tables = "\n\n".join(as_table(table, "keys") for table in tables)
        place = where(results[name]["environment"])
        sections.append(
            fill_template(f"speed_{name}", **values, tables=tables, where=place)
        )
    page = fill_template("speed", sections="\n".join(sections).rstrip())
    (DOCS / "speed.md").write_text(page, encoding="utf-8")


def _shape(cell):
    """Describe the table and the batches of a cell."""
    table = f"{cell['rows']} × {cell['features']}"
    return {"table": table, "r": cell["ratio"], "B": cell["batch_size"]}


def _label(cell):
    return f"{cell['rows']} × {cell['features']}, B = {cell['batch_size']}"


def _each(cell, clock):
    """Return the milliseconds for an epoch of one network, by K."""
    return {
        int(k): 1000 * np.array(times[clock]) / int(k) / cell["epochs"]
        for k, times in cell["seconds"].items()
    }


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
        each = _each(cell, "cpu")
        low, middle, high = np.percentile([*each.values()], [25, 50, 75], axis=1)
        axes.plot([*each], middle, ".-", label=_label(cell))
        axes.fill_between([*each], low, high, alpha=0.2)
    axes.set(
        xscale="log",
        yscale="log",
        xticks=[*each],
        xticklabels=[*each],
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
