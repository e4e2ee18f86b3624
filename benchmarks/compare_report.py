"""What compare.py found: tables, pictures and the page, all from its JSON."""

import json
from collections import Counter, defaultdict

import numpy as np
from evidence import corrected_interval, paired_difference, verdict
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

CONTROLS = ("no re-Batch", "random")
LOSSES = ("log loss", "RMSE")  # less is better
COLOURS = {"min-loss": "tab:blue", "max-loss": "tab:orange", "random": "tab:green"}
CURVE_STYLES = {
    "no re-Batch": ("black", "-"),
    "min-loss, moved": ("tab:blue", ":"),
    "min-loss, twice": ("tab:blue", "-"),
    "max-loss, left out": ("tab:orange", "--"),
    "max-loss, twice": ("tab:orange", "-"),
}
REPEATS = {0: "left out", 1: "moved", 2: "twice"}

PAGE = """\
# Comparison

Does re-Batch help? This page is written by `benchmarks/compare.py` from the scores in
`benchmarks/results/`. To run it again:

```sh
python benchmarks/compare.py --data {names}
python benchmarks/compare.py --page
```

`make demo` runs the first two data sets.

## In short

{summary}

An interval that holds 0 is no proof of equality: on tables this small only large
differences would show.

## What is compared

Each data set is split by {folds}-fold cross-validation, {repeats} times over. Three
arms train the same network, each tuned inside the training rows by a search over
{candidates} candidates with {inner}-fold cross-validation, for log loss or RMSE. All
three see the same splits, initial weights and batch sizes:

- **re-Batch** searches the ratio ({ratios}), the repeats ({repeat_values}) and the
  strategy (min-loss or max-loss). The batch size is B, as in the paper.
- **random** puts as many random samples in the same places. What it gains does not
  come from the losses.
- **no re-Batch** searches the same batch sizes and trains for as many steps as the
  repeats give.

Instead of a second strategy the two controls have a second seed, so that every arm has
as many draws. The other models are scikit-learn's, with their defaults and the same
preprocessing; they are not tuned, so they place the network rather than compete.

Brackets are 95 % intervals with the correction of Nadeau and Bengio (2003) for
training sets that overlap. Differences are paired, split by split. "fit" is the median
time of one fit in seconds, "search" that of the search around it, with as many fits
running side by side as there are cores.

## How to read the pictures

*Loss curves*: the loss of every training row once (left) and of the test rows (right)
after each epoch, at ratio 0.15 and the same batch size, as the mean over {folds}
splits. A training curve below the black one is faster learning; only a test curve below
the black one is better learning.

*Score against ratio*: the score on the validation folds of the searches, less is
better. Above, the mean; the black line is no re-Batch at the same batch size and
number of steps. Below, the paired difference to it with its interval: below 0 is
better than no re-Batch. The batch size grows with the ratio, so a slope that the black
line shows as well is due to the batch size.
"""

SECTION = """
## {name}

{rows} rows, {columns} columns, {task}, from {source}. Networks train for {max_epochs}
epochs.

{scores}

{differences}

{chosen}

![Loss curves]({curves})

![Score against ratio]({ratio})
"""


def summarise(results):
    """Write the tables of a data set as plain text."""
    data = results["data"]
    title = f"{data['name']}: {data['rows']} rows, {data['task']}, {data['source']}"
    tables = [_as_text(score_table(results)), _as_text(difference_table(results))]
    return "\n\n".join(["", title, *tables, ""])


def score_table(results):
    """Tabulate mean, interval and times of every arm, the best first."""
    runs, names = _runs(results), _score_names(results)
    rows = {}
    for arm, own in runs.items():
        cells = []
        for name in names:
            interval = corrected_interval(_scores(own, name), _outer_ratio(results))
            cells.append(_format(interval, _decimals(results, name)))
        searched = "best" in own[0]
        cells.append(_seconds(own, "fit_seconds"))
        cells.append(_seconds(own, "total_seconds") if searched else "")
        rows[arm] = [arm, *cells]
    tuned = names[-1]
    order = sorted(rows, key=lambda arm: np.mean(_scores(runs[arm], tuned)))
    return [["", *names, "fit", "search"], *(rows[arm] for arm in order)]


def difference_table(results):
    """Tabulate the paired differences of re-Batch and its controls."""
    names = _score_names(results)
    rows = []
    for control in CONTROLS:
        cells = []
        for name in names:
            difference = _difference(results, control, name)
            text = _format(difference, _decimals(results, name), sign="+")
            cells.append(f"{text} {verdict(difference, name not in LOSSES)}")
        rows.append([f"re-Batch − {control}", *cells])
    return [["", *names], *rows]


def choice_table(results):
    """Tabulate which candidates the searches chose, and how often."""
    rows = []
    for arm in ("re-Batch", *CONTROLS):
        best = Counter(
            f"{run['best']['ratio']} {REPEATS[run['best']['repeats']]} "
            f"{run['best']['choice']}"
            for run in _runs(results)[arm]
        )
        text = "; ".join(f"{choice} ({n}×)" for choice, n in best.most_common())
        rows.append([arm, text])
    return [["", "chosen: ratio, repeats, choice"], *rows]


def draw(results, folder, stem):
    """Draw both pictures of a data set; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, picture in [("curves", _draw_curves), ("ratio", _draw_ratio)]:
        paths.append(folder / f"{stem}_{name}.png")
        picture(results).savefig(paths[-1], dpi=80)
    return paths


def write_page(results_folder, names, docs):
    """Write compare.md and its pictures from the results that there are."""
    files = [results_folder / f"compare_{name}.json" for name in names]
    everything = [
        json.loads(file.read_text("utf-8")) for file in files if file.exists()
    ]
    if not everything:
        raise FileNotFoundError(
            f"No results in {results_folder}; run compare.py first."
        )
    plan = everything[0]["plan"]
    page = PAGE.format(
        names=" ".join(results["data"]["name"] for results in everything),
        summary="\n".join(_summary(everything, control) for control in CONTROLS),
        folds=plan["outer_folds"],
        repeats=plan["outer_repeats"],
        inner=plan["inner_folds"],
        candidates=len(_runs(everything[0])["re-Batch"][0]["inner"]),
        ratios=", ".join(map(str, plan["ratios"])),
        repeat_values=", ".join(map(str, plan["repeats"])),
    )
    for results in everything:
        name = results["data"]["name"]
        curves, ratio = draw(results, docs / "images" / "compare", name)
        page += SECTION.format(
            **results["data"],
            max_epochs=results["plan"]["max_epochs"],
            scores=_as_markdown(score_table(results)),
            differences=_as_markdown(difference_table(results)),
            chosen=_as_markdown(choice_table(results)),
            curves=curves.relative_to(docs).as_posix(),
            ratio=ratio.relative_to(docs).as_posix(),
        )
    versions = ", ".join(f"{k} {v}" for k, v in everything[0]["versions"].items())
    page += f"\nSeed {everything[0]['seed']}; {versions}.\n"
    (docs / "compare.md").write_text(page, encoding="utf-8")


def _summary(everything, control):
    """Count what the paired differences to a control show."""
    found = defaultdict(list)
    for results in everything:
        for name in _score_names(results):
            difference = _difference(results, control, name)
            word = verdict(difference, name not in LOSSES)
            found[word].append(f"{results['data']['name']} ({name})")
    total = sum(map(len, found.values()))
    parts = [
        f"{word} in {len(found[word])}"
        + (f": {', '.join(found[word])}" if found[word] else "")
        for word in ("better", "worse")
    ]
    return (
        f"- Against **{control}**, re-Batch is {'; '.join(parts)}; undecided in "
        f"{len(found['undecided'])} of {total} comparisons."
    )


def _draw_curves(results):
    """Draw training and test loss by epoch, with and without re-Batch."""
    loss = {"classification": "log loss", "regression": "squared error (scaled target)"}
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, part in zip(figure.subplots(1, 2), ("train", "test"), strict=True):
        for label, (colour, line) in CURVE_STYLES.items():
            curves = [run[part] for run in results["curves"] if run["curve"] == label]
            mean = np.mean(curves, axis=0)
            axes.plot(np.arange(1, len(mean) + 1), mean, line, c=colour, label=label)
        axes.set(title=f"{part} rows", xlabel="epoch", yscale="log")
        low, high = axes.get_ylim()
        # Over some decades the labels between the powers of ten would overlap.
        axes.yaxis.set_minor_formatter("{x:g}" if high < 20 * low else NullFormatter())
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3, which="both")
    figure.axes[0].set_ylabel(loss[results["data"]["task"]])
    figure.axes[0].legend(fontsize="small")
    figure.suptitle(f"{results['data']['name']}: loss by epoch at ratio 0.15")
    return figure


def _draw_ratio(results):
    """Draw the validation score against the ratio, and the difference to plain."""
    inner, plan = _inner_scores(results), results["plan"]
    name = _score_names(results)[-1]
    places = np.arange(len(plan["ratios"]))
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    grid = figure.subplots(2, len(plan["repeats"]), sharex=True, sharey="row")
    for (above, below), repeats in zip(grid.T, plan["repeats"], strict=True):
        plain = [inner["no re-Batch", r, repeats, "plain"] for r in plan["ratios"]]
        above.plot(places, np.mean(plain, axis=1), "k.-", label="no re-Batch")
        below.axhline(0, color="black", linewidth=1)
        for k, (strategy, colour) in enumerate(COLOURS.items()):
            arm = "random" if strategy == "random" else "re-Batch"
            scores = [inner[arm, r, repeats, strategy] for r in plan["ratios"]]
            above.plot(places, np.mean(scores, axis=1), ".-", c=colour, label=strategy)
            gains = np.array(
                [
                    paired_difference(ours, theirs, 1 / (plan["inner_folds"] - 1))
                    for ours, theirs in zip(scores, plain, strict=True)
                ]
            )
            half = gains[:, 2] - gains[:, 0]
            x = places + (k - 1) * 0.15
            below.errorbar(x, gains[:, 0], half, fmt=".", c=colour, capsize=2)
        above.set_title(f"repeats {repeats}: {REPEATS[repeats]}")
        below.set(xlabel="ratio", xticks=places, xticklabels=plan["ratios"])
        above.grid(alpha=0.3)
        below.grid(alpha=0.3, axis="y")
    grid[0, 0].set_ylabel(f"{name}, less is better")
    grid[1, 0].set_ylabel("difference to no re-Batch")
    grid[0, 0].legend(fontsize="small")
    figure.suptitle(f"{results['data']['name']}: {name} on validation folds by ratio")
    return figure


def _inner_scores(results):
    """Collect the scores of each candidate on the validation folds of all splits."""
    scores = defaultdict(list)
    for run in results["runs"]:
        for candidate in run.get("inner", []):
            # Of a control's two seeds, the one whose initial weights are re-Batch's.
            choice = candidate["choice"].removesuffix(", seed 0")
            key = (run["arm"], candidate["ratio"], candidate["repeats"], choice)
            scores[key] += candidate["scores"]
    return scores


def _runs(results):
    """Group the runs by arm, in the order of the splits."""
    runs = defaultdict(list)
    for run in sorted(results["runs"], key=lambda run: run["split"]):
        runs[run["arm"]].append(run)
    return runs


def _scores(runs, name):
    return [run["scores"][name] for run in runs]


def _score_names(results):
    return list(results["runs"][0]["scores"])


def _outer_ratio(results):
    return 1 / (results["plan"]["outer_folds"] - 1)


def _difference(results, control, name):
    ours, theirs = (_scores(_runs(results)[arm], name) for arm in ("re-Batch", control))
    return paired_difference(ours, theirs, _outer_ratio(results))


def _decimals(results, name):
    """Choose decimals so that every arm of a table has the same."""
    size = np.mean([run["scores"][name] for run in results["runs"]])
    return int(np.clip(3 - np.floor(np.log10(abs(size))), 0, 3))


def _format(interval, decimals, sign=""):
    mean, low, high = (f"{value:{sign}.{decimals}f}" for value in interval)
    return f"{mean} [{low}, {high}]".replace("-", "−")


def _seconds(runs, name):
    seconds = np.median([run[name] for run in runs])
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.0f}"


def _as_text(table):
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _as_markdown(table):
    header, *rows = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([header, "|---" * len(table[0]) + "|", *rows])
