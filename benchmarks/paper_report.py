"""What paper.py found beside what the paper says: tables, pictures, the page."""

import json
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from evidence import corrected_interval, corrected_p_value, holm
from matplotlib.figure import Figure
from paper_claims import judge
from paper_runs import (
    TEST_BY_TRAIN,
    TITLES,
    at,
    best_ratio,
    load_frame,
    main_score,
    names_of,
    ratios_of,
    scores_of,
)
from scipy.stats import spearmanr
from tabulate import tabulate

TABLES = json.loads((Path(__file__).parent / "paper_tables.json").read_text("utf-8"))
# Ours, and what the paper's tables call them.
METHODS = {
    "no re-Batch": "none",
    "min-loss": "min-loss",
    "max-loss": "max-loss",
    "TSW": "tsw",
}
COLOURS = {
    "no re-Batch": "black",
    "min-loss": "tab:blue",
    "max-loss": "tab:orange",
    "TSW": "tab:purple",
}
PARTS = {"train": "training", "val": "validation"}
NAMES = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "nrmse": "NRMSE",
}

PAGE = """\
# The paper, reproduced

Do the figures of Lee and Kang's *Dynamic re-Batch for Neural Network Training* (2025)
come out again, in which reading of its text, and what of its claims holds? This page is
written by `benchmarks/paper.py` from `benchmarks/results/paper.json`. To run it again:

```sh
python benchmarks/paper.py
python benchmarks/paper.py --page
```

## In short

{readings}

What the paper claims:

{claims}

A claim *holds* where every interval it speaks of lies on the claimed side of 0, *fails*
where one lies on the other side, and else *can't be told*. Claims of "some ratios" need
one interval on the claimed side.

## What is run

Table 3's networks, Adam with a learning rate of .001, raw targets, padding 1, features
standardised by the training rows: the columns of categories too. Rows are split 6:2:2,
classes in equal shares, {repeats} times over; the repeat sets the split, the initial
weights and the orders, which are the same for every method. Brackets are 95 % intervals
over the repeats with the correction of Nadeau and Bengio (2003) for splits that
overlap; differences are paired. Loss areas (eq. 3) are sums over the epochs of the
loss without re-Batch minus the loss with it, at the same batch size. The training loss
is the mean over the batches as they were trained on, and so counts a sample as often as
the epoch held it.

The tables show the chosen samples twice in shuffled epochs (`repeats=2`), a reading
whose loss areas have about as many of the paper's signs as any; the other readings are
below them. They and the controls ran {side} times, because all of it must end within
half an hour. TSW is this package's reading of a method that the paper describes in a
line, with its default share and weight; the paper has it for classification alone.

{data}
{missing}
"""

SECTION = """
## Table {table}: {title}

Ours with its interval, and in italics the paper's figure.

{metrics}

Of the {n_compared} figures of the paper that can be compared, {n_outside} are outside
our interval{where}.

Loss areas:

{areas}

Straight lines fitted to the loss curves, means over the repeats:

{trends}

![Loss curves of {title}](images/paper/{data}.png)
"""

READINGS = """
## The readings

How many of the paper's loss areas have the sign of ours, and Spearman's rank
correlation of the two over methods and ratios (its mean over the data sets, because
losses have units).

{table}

By data set, signs that agree in training and validation together:

{by_data}
"""

RATIO = """
## The ratio, or the batch size?

In the paper the ratio also sets the batch size, B. The table shows {scores} without
re-Batch at the batch sizes that the ratios set, and with it, at B and at a fixed batch
size of {fixed}.

{table}

The best ratio by the mean score, of no re-Batch and of re-Batch:

{best}

Where no re-Batch has its best score at the same "ratio", it is the batch size that is
best there.
"""

CONTROLS = """
## Against the controls

Paired differences in {scores}. The
controls of the last two columns ran {side} times, and have no interval where once.
p-values are of the corrected test, adjusted by Holm over all rows of a column.

{table}
"""

INSURANCE = """
## What was tried on Insurance

Whether the columns that categories become are standardised like the others is not in
the paper, and decides how fast the network learns. RMSE without re-Batch; the second
was run {n}.

{table}
"""

SEARCH = """
## A search for the ratio

The paper's third future work. Nested cross-validation with {folds} outer and {inner}
inner folds: what a search finds on the outer training rows is scored on the rows left
out. *re-Batch* searches the ratio, which sets the batch size, the learning rate, and
whether the easiest are moved or repeated or the hardest left out: {candidates}
candidates. *no re-Batch* searches batch size, learning rate and weight decay, as many
candidates. Both train the package's default network for {epochs} epochs. scikit-learn's
models search grids of {others} candidates of their own; the linear model is logistic
or ridge regression.

{scores}

The difference of re-Batch and no re-Batch, less being better:

{differences}

What the search found, and what it took on one core (a search of that many fits, and a
single fit of what was found):

{found}
"""


def summarise(results, searched):
    """Write what a run found as plain text."""
    frame = load_frame(results["runs"])
    lines = [
        f"{claim}: {verdict} ({why})"
        for claim, verdict, why in judge(frame, results["data"])
    ]
    return "\n\n".join(
        [
            "\n".join(lines),
            tabulate(reading_table(frame), headers="firstrow"),
            tabulate(search_table(searched), headers="firstrow"),
        ]
    )


def write_page(folder, docs):
    """Write docs/paper.md and its pictures from the results in a folder."""
    results, searched, seconds = (
        json.loads((folder / f"{name}.json").read_text("utf-8"))
        for name in ("paper", "paper_search", "paper_search_seconds")
    )
    frame = load_frame(results["runs"])
    sides = {name: setup["side_repeats"] for name, setup in results["setups"].items()}
    least, most = min(sides.values()), max(sides.values())
    side = f"{least}" if least == most else f"{least} to {most}"
    claims = [["claim", "", "evidence"], *judge(frame, results["data"])]
    header = ["", "rows", "columns", "network's epochs", "from"]
    data = [
        [
            TITLES[name],
            entry["rows"],
            entry["columns"],
            results["setups"][name]["max_epochs"],
            entry["source"],
        ]
        for name, entry in sorted(results["data"].items(), key=_place)
    ]
    missing = "".join(
        f"\n{TITLES[name]} was not to be had on the machine of this run, so that "
        f"nothing can be said of table {TABLES[TITLES[name]]['table']}.\n"
        for name in TITLES
        if name not in results["data"]
    )
    page = PAGE.format(
        readings=summarise_readings(frame),
        claims=as_table(claims),
        repeats=results["plan"]["repeats"],
        side=side,
        data=as_table([header, *data]),
        missing=missing,
    )
    images = docs / "images" / "paper"
    images.mkdir(parents=True, exist_ok=True)
    for name in TITLES:
        if name in results["data"]:
            page += section(frame, name)
            draw(results, name).savefig(images / f"{name}.png", dpi=100)
    page += READINGS.format(
        table=as_table(reading_table(frame)), by_data=as_table(readings_by_data(frame))
    )
    page += RATIO.format(
        scores="accuracy or RMSE",
        fixed=results["fixed_batch_size"],
        table=as_table(ratio_table(frame)),
        best=as_table(best_table(frame)),
    )
    page += CONTROLS.format(
        scores="accuracy (more is better) or RMSE (less is better)",
        side=side,
        table=as_table(control_table(frame)),
    )
    if "insurance" in results["data"]:
        page += INSURANCE.format(
            n="once" if sides["insurance"] == 1 else f"{sides['insurance']} times",
            table=as_table(category_table(frame)),
        )
    page += search_section(searched, seconds)
    found = ", ".join(f"{k} {v}" for k, v in results["versions"].items() if v)
    page += f"\n<sub>{found}; seed {results['seed']}.</sub>\n"
    (docs / "paper.md").write_text(page, encoding="utf-8")


def _place(item):
    """Sort data sets as the paper does."""
    return list(TITLES).index(item[0])


def summarise_readings(frame):
    """Say in a sentence which reading agrees best with the paper."""
    agreed = {}
    for reading in readings_of(frame):
        pairs = np.concatenate(
            [
                pairs_of_areas(frame, name, part, *reading)
                for name in frame.data.unique()
                for part in PARTS
            ]
        )
        agreed[_reading(*reading)] = _agreement(pairs), len(pairs)
    best = max(agreed, key=lambda name: agreed[name])
    text = "; ".join(f"{name}: {n}" for name, (n, _) in agreed.items())
    return textwrap.fill(
        f"Of the paper's {agreed[best][1]} loss areas, so many have the sign of ours, "
        f"by what the next epoch does with the chosen samples and the others: {text}. "
        "The "
        f"figures agree best with chosen samples **{best}**.",
        width=88,
    )


def section(frame, name):
    """Write what was found on a data set."""
    metrics, n_compared, outside = metric_table(frame, name)
    return SECTION.format(
        table=TABLES[TITLES[name]]["table"],
        title=TITLES[name],
        data=name,
        metrics=as_table(metrics),
        n_compared=n_compared,
        n_outside=len(outside),
        where=f": {'; '.join(outside)}" if outside else "",
        areas=as_table(area_table(frame, name)),
        trends=as_table(trend_table(frame, name)),
    )


def as_table(rows):
    """Write rows, the first a header, as a table of a page."""
    return tabulate(rows, headers="firstrow", tablefmt="pipe", disable_numparse=True)


def number(value):
    """Write a number with three digits."""
    size = abs(value)
    if size < 1e-6:  # scores are rounded to six digits
        return "0"
    if 1e-3 <= size < 1e5:
        digits = min(3, max(0, 2 - int(np.floor(np.log10(size)))))
        text = f"{value:.{digits}f}"
    else:
        mantissa, exponent = f"{value:.1e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−")


def as_interval(values):
    """Write a mean with its interval; without one where there is a single value."""
    if len(values) < 2:
        return number(np.mean(values))
    mean, low, high = corrected_interval(values, TEST_BY_TRAIN)
    return f"{number(mean)} [{number(low)}, {number(high)}]"


def _paper(name, kind, method, ratio):
    """Return a cell of the paper's tables; empty where the source is unreadable."""
    by_ratio = TABLES[TITLES[name]][kind].get(METHODS[method], {})
    return by_ratio.get(str(ratio)) or {}


def metric_table(frame, name):
    """Tabulate the scores beside the paper's; name what is outside our intervals."""
    columns = scores_of(frame, name)
    rows = [["", "ratio", "B", *(NAMES[score] for score in columns)]]
    n_compared, outside = 0, []
    for method in METHODS:
        for ratio in ratios_of(frame):
            own = at(frame, name, method, ratio)
            theirs = _paper(name, "metrics", method, ratio)
            cells = []
            for score, column in columns.items():
                cell = as_interval(own[column])
                if theirs.get(score) is not None:
                    n_compared += 1
                    cell += f" *{number(theirs[score])}*"
                    _, low, high = corrected_interval(own[column], TEST_BY_TRAIN)
                    if not low <= theirs[score] <= high:
                        outside.append(f"{method} {ratio} {NAMES[score]}")
                cells.append(cell)
            rows.append([method, ratio, own.batch_size.iloc[0], *cells])
    return rows, n_compared, outside


def area_table(frame, name):
    """Tabulate the loss areas beside the paper's."""
    rows = [["", "ratio", *PARTS.values()]]
    for method in list(METHODS)[1:]:
        for ratio in ratios_of(frame):
            own = at(frame, name, method, ratio)
            theirs = _paper(name, "loss_area", method, ratio)
            cells = []
            for part in PARTS:
                cell = as_interval(own[f"{part}.area"])
                if theirs.get(part) is not None:
                    cell += f" *{number(theirs[part])}*"
                cells.append(cell)
            rows.append([method, ratio, *cells])
    return rows


def trend_table(frame, name):
    """Tabulate slopes and intercepts."""
    measures = "slope", "intercept"
    header = [f"{PARTS[part]} {measure}" for part in PARTS for measure in measures]
    rows = [["", "ratio", *header]]
    for method in METHODS:
        for ratio in ratios_of(frame):
            own = at(frame, name, method, ratio)
            means = [own[f"{p}.{m}"].mean() for p in PARTS for m in measures]
            rows.append([method, ratio, *map(number, means)])
    return rows


def pairs_of_areas(frame, name, part, repeats, shuffle):
    """Return our mean areas and the paper's, where both are there."""
    pairs = []
    for method in ("min-loss", "max-loss"):
        for ratio in ratios_of(frame):
            theirs = _paper(name, "loss_area", method, ratio).get(part)
            if theirs is not None:
                own = at(frame, name, method, ratio, repeats, shuffle)
                pairs.append((own[f"{part}.area"].mean(), theirs))
    return np.array(pairs).reshape(-1, 2)


def readings_of(frame):
    """Return the readings run, the paper's text first."""
    chosen = frame[frame.method.isin(["min-loss", "max-loss"]) & ~frame.fixed_batch]
    pairs = chosen[["repeats", "shuffle"]].drop_duplicates().itertuples(index=False)
    return sorted((int(repeats), bool(shuffle)) for repeats, shuffle in pairs)


def _reading(repeats, shuffle):
    """Name a reading."""
    times = ("left out", "once", "twice", "three times")[repeats]
    return f"{times}, {'shuffled' if shuffle else 'natural order'}"


def _agreement(pairs):
    return int(np.sum(np.sign(pairs[:, 0]) == np.sign(pairs[:, 1])))


def reading_table(frame):
    """Tabulate how far the loss areas of each reading agree with the paper's."""
    header = [
        f"{kind}, {part}" for part in PARTS.values() for kind in ("signs", "ranks")
    ]
    rows = [["chosen samples", *header]]
    names = frame.data.unique()
    for reading in readings_of(frame):
        cells = []
        for part in PARTS:
            by_data = [pairs_of_areas(frame, name, part, *reading) for name in names]
            signs, n = sum(map(_agreement, by_data)), sum(map(len, by_data))
            ranks = [
                spearmanr(*pairs.T).statistic for pairs in by_data if len(pairs) > 2
            ]
            rank = f"{np.mean(ranks):.2f}".replace("-", "−") if ranks else ""
            cells += [f"{signs} of {n}", rank]
        rows.append([_reading(*reading), *cells])
    return rows


def readings_by_data(frame):
    """Tabulate the signs that agree, by reading and data set."""
    names = names_of(frame)
    rows = [["chosen samples", *(TITLES[name] for name in names)]]
    for reading in readings_of(frame):
        cells = []
        for name in names:
            parts = [pairs_of_areas(frame, name, part, *reading) for part in PARTS]
            pairs = np.concatenate(parts)
            cells.append(f"{_agreement(pairs)} of {len(pairs)}")
        rows.append([_reading(*reading), *cells])
    return rows


RATIO_CASES = {
    "no re-Batch, B": ("no re-Batch", False),
    "min-loss, B": ("min-loss", False),
    "max-loss, B": ("max-loss", False),
    "min-loss, fixed": ("min-loss", True),
    "max-loss, fixed": ("max-loss", True),
    "no re-Batch, fixed": ("no re-Batch", True),
}


def ratio_table(frame):
    """Tabulate the main score by ratio, at B and at the fixed batch size."""
    rows = [["", "batch size", *map(str, ratios_of(frame))]]
    for name in names_of(frame):
        score = main_score(frame, name)
        for label, (method, fixed) in RATIO_CASES.items():
            cells = [
                as_interval(at(frame, name, method, ratio, fixed_batch=fixed)[score])
                for ratio in ratios_of(frame)
            ]
            rows.append([f"{TITLES[name]}, {method}", label.split(", ")[1], *cells])
    return rows


def best_table(frame):
    """Tabulate the ratio with the best mean of the main score."""
    cases = [label for label in RATIO_CASES if label != "no re-Batch, fixed"]
    rows = [["", *cases]]
    for name in names_of(frame):
        best = [best_ratio(frame, name, *RATIO_CASES[label]) for label in cases]
        rows.append([TITLES[name], *best])
    return rows


def control_table(frame):
    """Tabulate paired differences to the controls."""
    controls = "no re-Batch", "random", "fixed order"
    header = [f"− {control}" for control in controls]
    rows, p_values = [], []
    for name in names_of(frame):
        score = main_score(frame, name)
        for method in ("min-loss", "max-loss"):
            for ratio in ratios_of(frame):
                ours = at(frame, name, method, ratio)[score]
                cells, own = [], []
                for control in controls:
                    theirs = at(frame, name, control, ratio)[score]
                    pairs = (ours - theirs).dropna()
                    cells.append(as_interval(pairs))
                    tested = len(pairs) > 1
                    p = corrected_p_value(pairs, TEST_BY_TRAIN) if tested else np.nan
                    own.append(p)
                rows.append([f"{TITLES[name]}, {method}", ratio, cells])
                p_values.append(own)
    adjusted = np.array(p_values)
    for column in adjusted.T:
        known = ~np.isnan(column)
        column[known] = holm(column[known])
    lines = [
        [label, ratio]
        + [
            cell if np.isnan(p) else f"{cell}, p {p:.2f}"
            for cell, p in zip(cells, own, strict=True)
        ]
        for (label, ratio, cells), own in zip(rows, adjusted, strict=True)
    ]
    return [["", "ratio", *header], *lines]


def category_table(frame):
    """Tabulate what standardising the columns of categories does on Insurance."""
    plain = frame[(frame.data == "insurance") & (frame.method == "no re-Batch")]
    plain = plain[~plain.fixed_batch]
    rows = [["ratio", "the paper", "standardised", "0 and 1"]]
    for ratio in ratios_of(frame):
        own = plain[plain.ratio == ratio]
        theirs = _paper("insurance", "metrics", "no re-Batch", ratio)["rmse"]
        cells = [
            as_interval(own[own.scaled == scaled].rmse) for scaled in (True, False)
        ]
        rows.append([ratio, number(theirs), *cells])
    return rows


def draw(results, name):
    """Draw the mean loss curves of a data set, a column for each ratio."""
    curves = [curve for curve in results["curves"] if curve["data"] == name]
    ratios = sorted({curve["ratio"] for curve in curves})
    figure = Figure(figsize=(3 * len(ratios), 5.2), layout="constrained")
    axes = figure.subplots(len(PARTS), len(ratios), sharex=True, sharey="row")
    axes = axes.reshape(len(PARTS), len(ratios))
    for curve in curves:
        for row, part in zip(axes, PARTS, strict=True):
            ax = row[ratios.index(curve["ratio"])]
            epochs = np.arange(1, len(curve[part]) + 1)
            colour = COLOURS[curve["method"]]
            ax.plot(epochs, curve[part], color=colour, label=curve["method"], lw=1)
    for ax, ratio in zip(axes[0], ratios, strict=True):
        ax.set_title(f"ratio {ratio}")
    for row, title in zip(axes, PARTS.values(), strict=True):
        row[0].set_ylabel(f"{title} loss")
        row[0].set_yscale("log")
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper")
    return figure


def search_table(searched):
    """Tabulate what the models that the searches found score."""
    frame = load_frame(searched["runs"])
    rows = [["", "", "accuracy or R²", "log loss or RMSE"]]
    for name in frame.data.unique():
        own = frame[frame.data == name].dropna(axis=1, how="all")
        scores = [
            score for score in ("accuracy", "R²", "log loss", "RMSE") if score in own
        ]
        order = own.groupby("arm")[scores[1]].mean().sort_values().index
        for arm in order:
            cells = [_nested(own[own.arm == arm][score], searched) for score in scores]
            rows.append([TITLES[name], arm, *cells])
    return rows


def _nested(values, searched):
    """Write a mean over outer folds with its interval."""
    folds = searched["plan"]["outer_folds"]
    mean, low, high = corrected_interval(values, 1 / (folds - 1))
    return f"{number(mean)} [{number(low)}, {number(high)}]"


def search_section(searched, seconds):
    """Write what the searches found, and what they took."""
    frame, plan = load_frame(searched["runs"]), searched["plan"]
    seconds = pd.DataFrame(seconds)
    differences = [["", "log loss or RMSE", "as a share"]]
    parameters = "ratio", "strategy", "repeats", "lr"
    found = [["", *parameters, "seconds", "one fit"]]
    for name in frame.data.unique():
        own = frame[frame.data == name].dropna(axis=1, how="all").set_index("split")
        score = "RMSE" if "RMSE" in own else "log loss"
        ours, theirs = (own[own.arm == arm] for arm in ("re-Batch", "no re-Batch"))
        difference = ours[score] - theirs[score]
        share = difference.mean() / theirs[score].mean()
        differences.append(
            [
                TITLES[name],
                _nested(difference, searched),
                f"{share:+.1%}".replace("-", "−"),
            ]
        )
        best = [
            ", ".join(
                f"{value:g}" if isinstance(value, float) else str(value)
                for value in ours[f"best.{parameter}"]
            )
            for parameter in parameters
        ]
        took = seconds[(seconds.data == name) & (seconds.arm == "re-Batch")]
        costs = [number(took[column].median()) for column in ("seconds", "refit")]
        found.append([TITLES[name], *best, *costs])
    candidates = frame.groupby("arm").candidates.max()
    others = candidates.drop(["re-Batch", "no re-Batch"])
    return SEARCH.format(
        folds=plan["outer_folds"],
        inner=plan["inner_folds"],
        candidates=candidates["re-Batch"],
        others=others.iloc[0] if others.nunique() == 1 else "several",
        epochs=plan["max_epochs"],
        scores=as_table(search_table(searched)),
        differences=as_table(differences),
        found=as_table(found),
    )
