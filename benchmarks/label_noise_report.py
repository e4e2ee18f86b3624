"""What label_noise.py found: tables, a picture and the page, all from its JSON."""

from collections import defaultdict
from textwrap import fill

import numpy as np
from evidence import corrected_interval, corrected_p_value, holm
from harness import read_json
from matplotlib.figure import Figure
from pages import as_interval, as_table, fill_template, save_figure
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
    return _number_table([["", *map("{:.0%}".format, rates)], *rows], digits)


def data_table(results, rate):
    """Tabulate accuracies with intervals: an arm a row, a data set a column."""
    table = scores_by(results, "accuracy", rate)
    ratio = _ratio(results)
    rows = [["", *table]]
    for arm in arms_of(results):
        intervals = [corrected_interval(own[arm], ratio) for own in table.values()]
        rows.append([arm, *map(as_interval, intervals)])
    return as_table(rows)


def difference_table(results, rate):
    """Tabulate ours minus each other arm: an arm a row, a data set a column."""
    table = scores_by(results, "accuracy", rate)
    rows = [["ours −", *table, "mean", "Wilcoxon p"]]
    for arm in arms_of(results):
        if arm != OUR_ARM:
            rows.append([arm, *_difference_cells(results, _gains(table, arm))])
    return as_table(rows)


def rate_table(results):
    """Tabulate ours minus early stopping: a rate a row, a data set a column."""
    rows = []
    for rate in results["plan"]["rates"]:
        table = scores_by(results, "accuracy", rate)
        cells = _difference_cells(results, _gains(table, OPPONENT))
        rows.append([f"{rate:.0%}", *cells])
    return as_table(rows, ["wrong labels", *table, "mean", "Wilcoxon p"])


def found_table(results):
    """Tabulate how well wrong labels are found: a way a row, a rate a column."""
    rates = _rates_with_flips(results)
    rows = defaultdict(list)
    for rate in rates:
        runs = [run["found"] for run in results["runs"] if run["rate"] == rate]
        for way, values in runs[0].items():
            for score in values:
                first, second = (
                    (way, score) if way == "average precision" else (score, way)
                )
                mean = np.mean([run[way][score] for run in runs])
                rows[f"{first}, {second}"].append(mean)
    order = sorted(rows, key=lambda name: name.split(",")[0])
    header = ["", *map("{:.0%}".format, rates)]
    return _number_table([header, *([name, *rows[name]] for name in order)])


def found_differences(results):
    """Tabulate the paired difference in average precision."""
    rows = []
    for rate in _rates_with_flips(results):
        gains = _precision_gains(results, rate)
        *cells, _ = _difference_cells(results, list(gains.values()))
        rows.append([f"{rate:.0%}", *cells])
    return as_table(rows, ["wrong labels", *gains, "mean"])


def _gains(table, arm):
    """List ours minus an arm in points of accuracy, split by split, by data set."""
    return [100 * np.subtract(own[OUR_ARM], own[arm]) for own in table.values()]


def _precision_gains(results, rate):
    """Return by data set our average precision minus cleanlab's, in points."""
    gains = defaultdict(list)
    for run in results["runs"]:
        if run["rate"] == rate:
            own = run["found"]["average precision"]
            gains[run["data"]].append(100 * (own["label_quality"] - own["cleanlab"]))
    return gains


def _p_values(results, gains):
    """Return the p-values of no difference, adjusted over the data sets."""
    return holm([corrected_p_value(own, _ratio(results)) for own in gains])


def _difference_cells(results, gains):
    """Format differences by data set, their mean, and Wilcoxon's p."""
    cells = []
    for own, p_value in zip(gains, _p_values(results, gains), strict=True):
        text = as_interval(corrected_interval(own, _ratio(results)), "+.1f")
        cells.append(text + (" *" if p_value < 0.05 else ""))
    means = [np.mean(own) for own in gains]
    return [*cells, f"{np.mean(means):+.1f}", f"{_wilcoxon(means):.3f}"]


def _wilcoxon(differences):
    if len(differences) < 2 or not np.any(differences):
        return 1.0
    return float(wilcoxon(differences).pvalue)


def choice_table(results, n_best=5):
    """Tabulate the best candidates and the baselines."""
    table = scores_by(results, "accuracy", results["plan"]["rates"][0])
    rows = [
        [arm, *(np.mean(own[arm]) for own in table.values())]
        for arm in arms_of(results)
    ]
    rows = [[*row, np.mean(row[1:])] for row in rows]
    baselines, candidates = rows[:2], sorted(rows[2:], key=lambda row: -row[-1])
    rows = [["", *table, "mean"], *candidates[:n_best], *baselines]
    return _number_table(rows)


def summary(results):
    """Say in sentences what the tables show."""
    sentences = []
    for rate in results["plan"]["rates"]:
        gains = _gains(scores_by(results, "accuracy", rate), OPPONENT)
        is_clear = _p_values(results, gains) < 0.05
        means = np.mean(gains, axis=1)
        sentences.append(
            f"- At {rate:.0%} wrong labels ours is {np.mean(means):+.1f} points of "
            f"accuracy from early stopping on the mean over {len(means)} data sets: "
            f"higher on {(means > 0).sum()} of them, with an adjusted p below .05 on "
            f"{(is_clear & (means > 0)).sum()}; clearly lower on "
            f"{(is_clear & (means < 0)).sum()}."
        )
    if any("found" in run for run in results["runs"]):
        by_rate = []
        for rate in _rates_with_flips(results):
            gains = np.concatenate([*_precision_gains(results, rate).values()])
            by_rate.append(f"{np.mean(gains):+.1f} at {rate:.0%}")
        sentences.append(
            "- In finding the wrong labels, the average precision of `label_quality` "
            f"differs from cleanlab's by {', '.join(by_rate)} points, on the mean."
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
    return [save_figure(figure, folder / f"{stem}.png", dpi=100)]


def write_page(folder, docs):
    """Write the page and its picture from the results."""
    results, choice = (
        read_json(folder / f"{stem}.json")
        for stem in ("label_noise", "label_noise_choice")
    )
    draw(results, docs / "images" / "label_noise", "accuracy")
    plan, rate = results["plan"], _shown_rate(results)
    ours = ", ".join(f"{k}={v!r}" for k, v in results["arms"][OUR_ARM].items())
    data = [f"{d['name']} ({d['rows']} × {d['columns']})" for d in results["data"]]
    text = fill_template(
        "label_noise",
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


def _rates_with_flips(results):
    return [rate for rate in results["plan"]["rates"] if rate > 0]


def _number_table(rows, digits=3):
    """Format a table whose cells are numbers, but for its first row and column."""
    return tabulate(rows, "firstrow", "pipe", floatfmt=f".{digits}f")
