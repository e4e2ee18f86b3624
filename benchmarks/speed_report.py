"""What speed.py found: tables, pictures and the page, all from its JSON."""

import json

import numpy as np
from environment import where
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from tabulate import tabulate

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

PAGE = """\
# Speed

How long does training take, and beside what? This page is written by
`benchmarks/speed.py` from `benchmarks/results/speed.json`, which holds every
repetition. To run it again:

```sh
pip install lightning    # left out where it is missing
python benchmarks/speed.py
python benchmarks/speed.py --page
```

## How to read it

What a table compares ran in turns in one process, so ratios within a table hold
although a machine drifts; seconds from different tables or machines don't compare.
Ratios are taken round by round: the median, and in brackets the quartiles. The
measure is CPU time, worker processes included, on one thread each. The data are
random numbers, since training takes as long on them as on others.

{sections}"""

TEXTS = {
    "one_fit": """\
## One fit

{epochs} epochs of the default network (conv 8 → 16), in CPU time relative to the
minimal loop: below 1 is faster.

{table}

![Time of one fit relative to a minimal loop](images/speed/one_fit.png)

- *minimal loop*: the network as a torch module, autograd, fused Adam, batches gathered
  by index, the losses of all rows in one pass, `topk`, the order from a template. It
  does what the estimator does and nothing else.
- *skrebatch*: `ReBatchCNNClassifier.fit`, from checking the input to the losses of all
  rows under the fitted network.
- *skorch*: `NeuralNetBinaryClassifier` with its own loader and optimizer defaults, and
  the `ReBatch` callback, which passes the losses through that loader.
- *scikit-learn MLP*: `MLPClassifier` with the two layers of the network's head, which
  hold most of its parameters. It has no convolutions, and does no loss pass and no
  selection.
- *skrebatch MLP*: `ReBatchCNNClassifier` with `architecture="mlp"` and these layers:
  the same network as scikit-learn's, with a loss pass and selection.
- *Lightning*: its `Trainer` with a `DataLoader`, fused Adam, the losses of all rows in
  one pass.
""",
    "stacks": """\
## Many networks side by side

K networks from different seeds, {epochs} epochs, by `fit_fused`: milliseconds of CPU
time for an epoch of one network.

{table}

![Time for one network against the number in a stack](images/speed/stacks.png)

Stacks are cut to what a core's cache holds, so beyond some tens of networks more of
them bring nothing. The larger the batches and the table, the less there is to gain: the
work is then arithmetic, no longer dispatch.
""",
    "search": """\
## A search

{ratios} ratios × {folds} folds × {seeds} seeds = {fits} fits on a table of {rows} ×
{features}, {epochs} epochs each, scored by accuracy, without a refit.

{table}

The last column is CPU time relative to the fused search in one process. With
`n_jobs=2` the workers' start and imports are in both times.
""",
    "large": """\
## Large tables

30 features, batches of {batch_size} rows, {epochs} epochs from the call of `fit` to its
end. The *bare loop* trains a torch module by autograd on batches in the order of the
table, without a gather, and computes all losses after each epoch, in chunks of the
size that was fastest. Seconds are for an epoch with its loss pass.

{table}

*Memory* is the peak of a fit beside the table that it is given, in a process of its
own. The network reads the table from one tensor, which has two columns more.
""",
}


def one_fit_table(cells, clock="cpu"):
    """Tabulate the time of one fit relative to the minimal loop."""
    names = [name for name in cells[0]["seconds"] if name != BASE]
    rows = []
    for cell in cells:
        base = cell["seconds"][BASE][clock]
        milliseconds = 1000 * np.median(base) / cell["epochs"]
        ratios = [_ratio(cell["seconds"][name][clock], base) for name in names]
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
            _ratio(times[clock], seconds[FUSED][clock]),
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
                _ratio(ours, bare),
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


def summarise(results):
    """Write the tables of some sections as plain text."""
    texts = []
    for name, table in _tables(results):
        texts.append(f"{name}\n{_format(table, 'simple')}\n")
    return "\n".join(texts)


def write_page(path, docs):
    """Write speed.md and its pictures from the results that there are."""
    if not path.exists():
        raise FileNotFoundError(f"No results in {path}; run speed.py first.")
    results = json.loads(path.read_text("utf-8"))
    pictures = docs / "images" / "speed"
    pictures.mkdir(parents=True, exist_ok=True)
    for name, draw in (("one_fit", _draw_one_fit), ("stacks", _draw_stacks)):
        if name in results:
            draw(results[name]["cells"]).savefig(pictures / f"{name}.png", dpi=80)
    sections = []
    for name in TEXTS:
        if name in results:
            table = _format(TABLES[name](results[name]["cells"]), "pipe")
            facts = _facts(results[name]["cells"])
            sections.append(TEXTS[name].format(table=table, **facts))
            sections.append(where(results[name]["environment"]) + "\n")
    if "gpu" in results:
        sections.append("## On a GPU\n\nTime on the clock, not of the CPU.\n")
        sections += [
            f"{_format(table, 'pipe')}\n" for _, table in _tables(results, "gpu")
        ]
        sections.append(where(results["gpu"]["environment"]) + "\n")
    page = PAGE.format(sections="\n".join(sections))
    (docs / "speed.md").write_text(page, encoding="utf-8")


def _tables(results, only=None):
    """Make the table of each section, one by one."""
    for name, section in results.items():
        if name == "gpu":
            for part, cells in section["cells"].items():
                yield f"{part} on a GPU", TABLES[part](cells, "wall")
        elif only is None:
            yield name, TABLES[name](section["cells"])


def _facts(cells):
    """Collect what the texts say about a section."""
    facts = dict(cells[0])
    if "ratios" in facts:
        facts["ratios"] = len(facts["ratios"])
        facts["fits"] = facts["ratios"] * facts["folds"] * facts["seeds"]
    return facts


def _shape(cell):
    return f"{cell['rows']} × {cell['features']}", cell["ratio"], cell["batch_size"]


def _ratio(times, base):
    """Write the median and the quartiles of the ratios, round by round."""
    low, middle, high = np.percentile(np.divide(times, base), [25, 50, 75])
    digits = 2 if middle < 10 else 1
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _each(cell, clock):
    """Return the seconds for an epoch of one network, by K: (n_K, repetitions)."""
    return [
        np.array(times[clock]) / int(k) / cell["epochs"]
        for k, times in cell["seconds"].items()
    ]


def _format(table, style):
    return tabulate(table[1:], table[0], style, disable_numparse=True)


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
