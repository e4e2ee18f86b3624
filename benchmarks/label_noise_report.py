"""What label_noise.py found: tables, a picture and the page, all from its JSON."""

import json
from collections import defaultdict
from textwrap import fill

import numpy as np
from evidence import corrected_interval, corrected_p_value, holm, paired_difference
from matplotlib.figure import Figure
from scipy.stats import wilcoxon
from tabulate import tabulate

OUR_ARM = "ours"
OPPONENT = "early stopping"
# Arm: colour and line of the picture.
STYLES = {
    "to the end": ("black", "--"),
    "early stopping": ("black", "-"),
    "random, left out": ("tab:green", ":"),
    "max-loss, left out": ("tab:orange", "--"),
    "small-loss": ("tab:purple", "--"),
    OUR_ARM: ("tab:orange", "-"),
    "CleanLearning, to the end": ("tab:blue", "--"),
    "CleanLearning, early stopping": ("tab:blue", "-"),
    "gradient boosting": ("tab:gray", "-."),
}

PAGE = """\
# Wrong labels

Does leaving out the hardest samples help where training labels are wrong, and do the
losses tell which labels are? This page is written by `benchmarks/label_noise.py` from
`benchmarks/results/label_noise.json`. To run it again:

```sh
pip install cleanlab
python benchmarks/label_noise.py --choose
python benchmarks/label_noise.py
python benchmarks/label_noise.py --page
```

## In short

{summary}

## What is compared

{splits} splits ({folds}-fold cross-validation, {repeats} times over) of {n_data} data
sets: {data}. A share of the training labels, drawn at random, is flipped; test labels
stay clean. All arms but gradient boosting train the same network (batch size
{batch_size}, at most {max_epochs} epochs) on the same splits with the same flips, from
the same initial weights:

- **to the end**: no re-Batch, all epochs.
- **early stopping**: no re-Batch; a fifth of the training rows, with labels as wrong as
  the others, say when to stop, and the best epoch is kept.
- **random, left out**: the same plan as ours with random samples, the control.
- **max-loss, left out**: `strategy="max-loss", repeats=0, ratio=0.3` from the second
  epoch on.
- **small-loss**: `strategy="small-loss", ratio=0.3`.
- **ours**: {ours}. It was chosen on other data, see below.
- **CleanLearning**: cleanlab's, around the network trained to the end, and around the
  network with early stopping. It needs {cleanlab_folds} more fits, for probabilities
  out of fold.
- **gradient boosting**: scikit-learn's `HistGradientBoostingClassifier` with its
  defaults.

Nothing is tuned on these data. Brackets are 95 % intervals with the correction of
Nadeau and Bengio (2003) for training sets that overlap; differences are paired, split
by split. p-values are of the same corrected test, adjusted over the data sets by Holm;
Wilcoxon's signed-rank test is over the data sets' mean differences, of which there are
few.

## Accuracy on clean labels

Mean over the data sets, by share of wrong labels:

{accuracy}

![Accuracy by share of wrong labels](images/label_noise/accuracy.png)

Each data set at {rate:.0%} wrong labels:

{by_data}

## Ours against the others

Difference of the accuracies in points, ours − theirs, at {rate:.0%} wrong labels:

{differences}

Against early stopping at every share of wrong labels:

{by_rate}

## Log loss

{log_loss}

{log_loss_note}

## Finding the wrong labels

`label_quality` of `training_dynamics` after one training of our arm with
`record_losses=True`, against cleanlab's `find_label_issues` and its label quality, by
the {cleanlab_folds}-fold probabilities of the network with early stopping. Average
precision goes by the whole ranking; precision and recall go by the samples pointed at:
those that cleanlab calls issues, as many of the lowest label quality, and those whose
label quality is below 1/2. Means over the data sets:

{found}

The average precision of `label_quality` minus that of cleanlab, in points:

{found_by_data}

## How our configuration was chosen

{n_candidates} configurations were run at {choice_rate:.0%} wrong labels on
{choice_data}, none of which is compared above ({choice_splits} splits each). The best
mean accuracies, and the two baselines:

{choice}
"""


def read(path):
    """Read results, or None where there are none."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def scores_by(results, score, rate):
    """Scores of a rate by data set and arm: {data: {arm: [one a split]}}."""
    table = defaultdict(lambda: defaultdict(list))
    for run in sorted(results["runs"], key=lambda run: run["split"]):
        if run["rate"] == rate:
            for arm, own in run["scores"].items():
                table[run["data"]][arm].append(own[score])
    return table


def arms_of(results):
    """Arms in the order of the results."""
    return list(results["runs"][0]["scores"])


def mean_table(results, score, digits=3):
    """Tabulate means over data sets: an arm a row, a rate a column."""
    rates = results["plan"]["rates"]
    columns = [scores_by(results, score, rate) for rate in rates]
    rows = [
        [arm, *(np.mean([np.mean(own[arm]) for own in c.values()]) for c in columns)]
        for arm in arms_of(results)
    ]
    rows.sort(key=lambda row: (-1 if score == "accuracy" else 1) * np.mean(row[1:]))
    return _table(rows, ["", *(f"{rate:.0%}" for rate in rates)], digits)


def data_table(results, rate):
    """Tabulate accuracies with intervals: an arm a row, a data set a column."""
    table = scores_by(results, "accuracy", rate)
    ratio = _ratio(results)
    rows = []
    for arm in arms_of(results):
        intervals = [corrected_interval(own[arm], ratio) for own in table.values()]
        rows.append(
            [arm, *(_range(i.mean, i.low, i.high, "{:.3f}") for i in intervals)]
        )
    return _table(rows, ["", *table])


def difference_table(results, rate):
    """Tabulate ours minus each other arm: an arm a row, a data set a column."""
    table = scores_by(results, "accuracy", rate)
    rows = []
    for arm in arms_of(results):
        if arm != OUR_ARM:
            rows.append([arm, *_differences(results, table, arm)])
    return _table(rows, ["ours −", *table, "mean", "Wilcoxon p"])


def rate_table(results):
    """Tabulate ours minus early stopping: a rate a row, a data set a column."""
    rows = []
    for rate in results["plan"]["rates"]:
        table = scores_by(results, "accuracy", rate)
        rows.append([f"{rate:.0%}", *_differences(results, table, OPPONENT)])
    return _table(rows, ["wrong labels", *table, "mean", "Wilcoxon p"])


def _differences(results, table, arm):
    """Cells of ours minus an arm: data sets, their mean, Wilcoxon's p."""
    ratio = _ratio(results)
    pairs = [
        (100 * np.array(own[OUR_ARM]), 100 * np.array(own[arm]))
        for own in table.values()
    ]
    p_values = holm([corrected_p_value(ours - theirs, ratio) for ours, theirs in pairs])
    cells = []
    for (ours, theirs), p_value in zip(pairs, p_values, strict=True):
        i = paired_difference(ours, theirs, ratio)
        cells.append(
            _range(i.mean, i.low, i.high, "{:+.1f}") + (" *" if p_value < 0.05 else "")
        )
    means = [np.mean(ours - theirs) for ours, theirs in pairs]
    return [*cells, f"{np.mean(means):+.1f}", f"{_wilcoxon(means):.3f}"]


def _wilcoxon(differences):
    if len(differences) < 2 or not np.any(differences):
        return 1.0
    return float(wilcoxon(differences).pvalue)


def found_table(results):
    """Tabulate how well wrong labels are found: a way a row, a rate a column."""
    rates = [rate for rate in results["plan"]["rates"] if rate > 0]
    rows = defaultdict(list)
    for rate in rates:
        runs = [run["found"] for run in results["runs"] if run["rate"] == rate]
        for name in runs[0]["average precision"]:
            values = [run["average precision"][name] for run in runs]
            rows[f"average precision, {name}"].append(np.mean(values))
        for way in runs[0]:
            for score in ("precision", "recall"):
                if way != "average precision":
                    values = [run[way][score] for run in runs]
                    rows[f"{score}, {way}"].append(np.mean(values))
    order = sorted(rows, key=lambda name: name.split(",")[0])
    return _table([[n, *rows[n]] for n in order], ["", *(f"{r:.0%}" for r in rates)], 3)


def found_differences(results):
    """Tabulate the paired difference in average precision."""
    rows = []
    for rate in (rate for rate in results["plan"]["rates"] if rate > 0):
        by_data = defaultdict(list)
        for run in results["runs"]:
            if run["rate"] == rate:
                own = run["found"]["average precision"]
                by_data[run["data"]].append(
                    100 * (own["label_quality"] - own["cleanlab"])
                )
        ratio = _ratio(results)
        p_values = holm([corrected_p_value(own, ratio) for own in by_data.values()])
        cells = []
        for own, p_value in zip(by_data.values(), p_values, strict=True):
            i = corrected_interval(own, ratio)
            cells.append(
                _range(i.mean, i.low, i.high, "{:+.1f}")
                + (" *" if p_value < 0.05 else "")
            )
        mean = np.mean([np.mean(own) for own in by_data.values()])
        rows.append([f"{rate:.0%}", *cells, f"{mean:+.1f}"])
    return _table(rows, ["wrong labels", *by_data, "mean"])


def choice_table(results, n_best=5):
    """Tabulate the best candidates and the baselines."""
    table = scores_by(results, "accuracy", results["plan"]["rates"][0])
    rows = [
        [arm, *(np.mean(own[arm]) for own in table.values())]
        for arm in arms_of(results)
    ]
    rows = [[*row, np.mean(row[1:])] for row in rows]
    baselines, candidates = rows[:2], sorted(rows[2:], key=lambda row: -row[-1])
    rows = candidates[:n_best] + baselines
    return _table(rows, ["", *table, "mean"], 3)


def summary(results):
    """Say in sentences what the tables show."""
    sentences = []
    for rate in results["plan"]["rates"]:
        table = scores_by(results, "accuracy", rate)
        ratio = _ratio(results)
        differences = [
            100 * np.subtract(own[OUR_ARM], own[OPPONENT]) for own in table.values()
        ]
        p_values = holm([corrected_p_value(own, ratio) for own in differences])
        means = np.array([own.mean() for own in differences])
        better, worse = ((p_values < 0.05) & (means * s > 0) for s in (1, -1))
        sentences.append(
            f"- At {rate:.0%} wrong labels ours is {np.mean(means):+.1f} points of "
            f"accuracy from early stopping on the mean over {len(means)} data sets: "
            f"higher on {(means > 0).sum()} of them, with an adjusted p below .05 on "
            f"{better.sum()}; clearly lower on {worse.sum()}."
        )
    found = [run for run in results["runs"] if "found" in run]
    if found:
        gains = defaultdict(list)
        for run in found:
            own = run["found"]["average precision"]
            gains[run["rate"]].append(100 * (own["label_quality"] - own["cleanlab"]))
        by_rate = ", ".join(f"{np.mean(v):+.1f} at {r:.0%}" for r, v in gains.items())
        sentences.append(
            "- In finding the wrong labels, the average precision of `label_quality` "
            f"differs from cleanlab's by {by_rate} points, on the mean."
        )
    return "\n".join(sentences)


def log_loss_note(results):
    """Say how the log losses of ours and early stopping compare."""
    rate = _shown_rate(results)
    table = scores_by(results, "log loss", rate)
    ours, theirs = (
        np.mean([np.mean(own[arm]) for own in table.values()])
        for arm in (OUR_ARM, OPPONENT)
    )
    word = "lower" if ours < theirs else "higher"
    return (
        f"At {rate:.0%} wrong labels the log loss of ours is {ours:.2f}, {word} than "
        f"that of early stopping, {theirs:.2f}. A network that trains for all epochs "
        "without the samples it gets wrong becomes sure of itself: its classes may be "
        "right and its probabilities still too extreme. Who needs probabilities should "
        "calibrate them (scikit-learn's `CalibratedClassifierCV`) or stop early."
    )


def summarise(results):
    """Write the main tables as plain text."""
    tables = [mean_table(results, "accuracy"), mean_table(results, "log loss")]
    if any("found" in run for run in results["runs"]):
        tables.append(found_table(results))
    return "\n\n".join(tables)


def draw(results, folder, stem):
    """Draw the accuracy by rate for the mean and each data set; return the file."""
    rates = results["plan"]["rates"]
    tables = [scores_by(results, "accuracy", rate) for rate in rates]
    names = list(tables[0])
    if OUR_ARM not in arms_of(results) or len(rates) < 2:
        return []
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    # One for the mean, and one for the legend.
    axes = figure.subplots(2, -(-(len(names) + 2) // 2)).ravel()
    for ax, name in zip(axes, ["mean", *names], strict=False):
        for arm, (colour, line) in STYLES.items():
            if arm not in arms_of(results):
                continue
            curve = [
                np.mean([np.mean(own[arm]) for own in table.values()])
                if name == "mean"
                else np.mean(table[name][arm])
                for table in tables
            ]
            width = 2.2 if arm in (OUR_ARM, OPPONENT) else 1.2
            ax.plot(np.multiply(rates, 100), curve, line, c=colour, lw=width, label=arm)
        ax.set_title(name, fontsize=10)
        ax.set_xticks(np.multiply(rates, 100))
    for ax in axes[len(names) + 1 :]:
        ax.set_axis_off()
    axes[len(names)].set_xlabel("wrong training labels, %")
    axes[0].set_ylabel("accuracy on clean test labels")
    handles, labels = axes[0].get_legend_handles_labels()
    axes[-1].legend(handles, labels, loc="center", fontsize=9)
    path = folder / f"{stem}.png"
    figure.savefig(path, dpi=100)
    return [path]


def write_page(folder, docs):
    """Write the page and its picture from the results."""
    results, choice = (
        read(folder / f"{stem}.json") for stem in ("label_noise", "label_noise_choice")
    )
    images = docs / "images" / "label_noise"
    images.mkdir(parents=True, exist_ok=True)
    draw(results, images, "accuracy")
    plan, rate = results["plan"], _shown_rate(results)
    ours = ", ".join(f"{k}={v!r}" for k, v in results["arms"][OUR_ARM].items())
    data = [f"{d['name']} ({d['rows']} × {d['columns']})" for d in results["data"]]
    text = PAGE.format(
        summary=summary(results),
        splits=plan["folds"] * plan["repeats"],
        folds=plan["folds"],
        repeats=plan["repeats"],
        n_data=len(data),
        data=", ".join(data),
        batch_size=results["network"]["batch_size"],
        max_epochs=plan["max_epochs"],
        ours=f"`{ours}`",
        cleanlab_folds=plan["cleanlab_folds"],
        accuracy=mean_table(results, "accuracy"),
        rate=rate,
        by_data=data_table(results, rate),
        differences=difference_table(results, rate)
        + "\n\nA star marks an adjusted p below .05.",
        by_rate=rate_table(results),
        log_loss=mean_table(results, "log loss", 2),
        log_loss_note=log_loss_note(results),
        found=found_table(results),
        found_by_data=found_differences(results),
        n_candidates=len(choice["arms"]) - 2,
        choice_rate=choice["plan"]["rates"][0],
        choice_data=", ".join(d["name"] for d in choice["data"]),
        choice_splits=choice["plan"]["folds"] * choice["plan"]["repeats"],
        choice=choice_table(choice),
    )
    lines = "\n".join(_wrap(line) for line in text.splitlines())
    (docs / "label_noise.md").write_text(lines + "\n", encoding="utf-8")


def _wrap(line):
    """Wrap a line that filled-in text has made long; tables stay as they are."""
    if line.startswith(("|", "!")):
        return line
    indent = "  " if line.startswith(("- ", "  ")) else ""
    return fill(line, 88, subsequent_indent=indent)


def _shown_rate(results):
    rates = results["plan"]["rates"]
    return 0.2 if 0.2 in rates else rates[-1]


def _ratio(results):
    return 1 / (results["plan"]["folds"] - 1)


def _range(mean, low, high, form):
    return f"{form.format(mean)} [{form.format(low)}, {form.format(high)}]"


def _table(rows, headers, digits=None):
    floats = "g" if digits is None else f".{digits}f"
    return tabulate(
        rows, headers, tablefmt="pipe", floatfmt=floats, disable_numparse=digits is None
    )
