"""What label_noise.py found: tables, a picture and the page, all from its JSON."""

from textwrap import fill

import numpy as np
import pandas as pd
from evidence import corrected_interval, corrected_p_value, holm
from harness import read_json
from matplotlib.figure import Figure
from pages import as_interval, as_table, fill_template, save_figure
from scipy.stats import wilcoxon
from tabulate import tabulate

OUR_ARM = "ours"
OPPONENT = "early stopping"
RATE = 0.2  # of the tables by data set
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


def load(results, part):
    """Tabulate the scores, or what was found: a split a row, two levels of columns."""
    runs = {
        (run["rate"], run["data"], run["split"]): {
            (name, measure): value
            for name, own in run[part].items()
            for measure, value in own.items()
        }
        for run in results["runs"]
        if part in run
    }
    return pd.DataFrame.from_dict(runs, "index").rename_axis(["rate", "data", "split"])


def means_of(results, score):
    """Average a score over splits: a rate and data set a row, an arm a column."""
    scores = load(results, "scores").xs(score, axis=1, level=1)
    return scores.groupby(["rate", "data"], sort=False).mean()


def gains(results, than):
    """Return ours minus an arm in points of accuracy, by rate, data set and split."""
    scores = load(results, "scores")
    return 100 * (scores[OUR_ARM, "accuracy"] - scores[than, "accuracy"])


def precision_gains(results):
    """Return our average precision minus cleanlab's, in points."""
    precision = load(results, "found")["average precision"]
    return 100 * (precision["label_quality"] - precision["cleanlab"])


def by_rate(gains):
    """Cut differences into those of each rate."""
    return {f"{rate:.0%}": own for rate, own in gains.groupby("rate")}


def mean_table(results, score, digits=3):
    """Tabulate means over data sets: an arm a row, a rate a column."""
    means = means_of(results, score).groupby("rate").mean().T
    order = means.mean(axis=1).sort_values(ascending=score != "accuracy").index
    return _number_table(means.loc[order].rename(columns="{:.0%}".format), digits)


def data_table(results):
    """Tabulate accuracies with intervals: an arm a row, a data set a column."""
    scores = load(results, "scores").xs("accuracy", axis=1, level=1).loc[RATE]
    cells = scores.groupby("data", sort=False).agg(
        lambda own: as_interval(corrected_interval(own, _ratio(results)))
    )
    return as_table(cells.T, "keys")


def difference_table(results, label, gains):
    """Tabulate differences: one of `gains` a row, a data set a column."""
    rows = []
    for name, own in gains.items():
        row, by_data = {label: name}, own.groupby("data", sort=False)
        for (data, part), p in zip(by_data, _p_values(results, own), strict=True):
            text = as_interval(corrected_interval(part, _ratio(results)), "+.1f")
            row[data] = text + (" *" if p < 0.05 else "")
        means = by_data.mean()
        p_value = wilcoxon(means).pvalue if len(means) > 1 and means.any() else 1
        row |= {"mean": f"{means.mean():+.1f}", "Wilcoxon p": f"{p_value:.3f}"}
        rows.append(row)
    return pd.DataFrame(rows).set_index(label)


def found_table(results):
    """Tabulate how well wrong labels are found: a way a row, a rate a column."""
    means = load(results, "found").groupby("rate").mean().T
    means.index = [
        f"{way}, {measure}" if way == "average precision" else f"{measure}, {way}"
        for way, measure in means.index
    ]
    order = sorted(means.index, key=lambda name: name.split(",")[0])
    return _number_table(means.loc[order].rename(columns="{:.0%}".format))


def _p_values(results, gains):
    """Return the p-values of no difference, adjusted over the data sets."""
    by_data = gains.groupby("data", sort=False)
    return holm(by_data.agg(corrected_p_value, test_train_ratio=_ratio(results)))


def choice_table(results, n_best=5):
    """Tabulate the best candidates and the baselines."""
    means = means_of(results, "accuracy").loc[results["plan"]["rates"][0]].T
    means["mean"] = means.mean(axis=1)
    best = means[2:].sort_values("mean", ascending=False, kind="stable")[:n_best]
    return _number_table(pd.concat([best, means[:2]]))


def summary(results):
    """Say in sentences what the tables show."""
    sentences = []
    for rate, own in by_rate(gains(results, OPPONENT)).items():
        is_clear = _p_values(results, own) < 0.05
        means = own.groupby("data", sort=False).mean()
        sentences.append(
            f"- At {rate} wrong labels ours is {means.mean():+.1f} points of "
            f"accuracy from early stopping on the mean over {len(means)} data sets: "
            f"higher on {(means > 0).sum()} of them, with an adjusted p below .05 on "
            f"{(is_clear & (means > 0)).sum()}; clearly lower on "
            f"{(is_clear & (means < 0)).sum()}."
        )
    found = by_rate(precision_gains(results)).items()
    differences = ", ".join(f"{own.mean():+.1f} at {rate}" for rate, own in found)
    sentences.append(
        "- In finding the wrong labels, the average precision of `label_quality` "
        f"differs from cleanlab's by {differences} points, on the mean."
    )
    return "\n".join(sentences)


def draw(results):
    """Draw the accuracy by rate for the mean and each data set."""
    means = means_of(results, "accuracy")
    rates = 100 * np.array(results["plan"]["rates"])
    curves = {"mean": means.groupby("rate").mean()}
    curves |= dict([*means.groupby("data", sort=False)])
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    # One more for the legend.
    axes = figure.subplots(2, -(-(len(curves) + 1) // 2)).ravel()
    for ax, (name, curve) in zip(axes, curves.items(), strict=False):
        for arm, (colour, line) in STYLES.items():
            width = 2.2 if arm in (OUR_ARM, OPPONENT) else 1.2
            ax.plot(rates, curve[arm], line, c=colour, lw=width, label=arm)
        ax.set_title(name, fontsize=10)
        ax.set_xticks(rates)
    for ax in axes[len(curves) :]:
        ax.set_axis_off()
    axes[len(curves) - 1].set_xlabel("wrong training labels, %")
    axes[0].set_ylabel("accuracy on clean test labels")
    handles, labels = axes[0].get_legend_handles_labels()
    axes[-1].legend(handles, labels, loc="center", fontsize=9)
    return figure


def write_page(folder, docs):
    """Write the page and its picture from the results."""
    results, choice = (
        read_json(folder / f"{stem}.json")
        for stem in ("label_noise", "label_noise_choice")
    )
    save_figure(draw(results), docs / "images/label_noise/accuracy.png", dpi=100)
    others = [arm for arm in results["runs"][0]["scores"] if arm != OUR_ARM]
    at_rate = {arm: gains(results, arm).loc[[RATE]] for arm in others}
    of_stopping = by_rate(gains(results, OPPONENT))
    found = difference_table(results, "wrong labels", by_rate(precision_gains(results)))
    log_loss = means_of(results, "log loss").loc[RATE].mean()
    ours = ", ".join(f"{k}={v!r}" for k, v in results["arms"][OUR_ARM].items())
    data = [f"{d['name']} ({d['rows']} × {d['columns']})" for d in results["data"]]
    text = fill_template(
        "label_noise",
        **results["plan"],
        rate=RATE,
        summary=summary(results),
        n_splits=results["plan"]["folds"] * results["plan"]["repeats"],
        n_data=len(data),
        data_sets=", ".join(data),
        batch_size=results["network"]["batch_size"],
        ours=f"`{ours}`",
        accuracy=mean_table(results, "accuracy"),
        by_data=data_table(results),
        differences=as_table(difference_table(results, "ours −", at_rate), "keys"),
        by_rate=as_table(
            difference_table(results, "wrong labels", of_stopping), "keys"
        ),
        log_loss=mean_table(results, "log loss", 2),
        our_loss=log_loss[OUR_ARM],
        their_loss=log_loss[OPPONENT],
        word="lower" if log_loss[OUR_ARM] < log_loss[OPPONENT] else "higher",
        found=found_table(results),
        found_by_data=as_table(found.drop(columns="Wilcoxon p"), "keys"),
        n_candidates=len(choice["arms"]) - 2,
        choice_plan=choice["plan"],
        choice_splits=choice["plan"]["folds"] * choice["plan"]["repeats"],
        choice_data=", ".join(d["name"] for d in choice["data"]),
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


def _ratio(results):
    return 1 / (results["plan"]["folds"] - 1)


def _number_table(frame, digits=3):
    """Format a table of numbers, with the names of its rows."""
    return tabulate(frame, "keys", "pipe", floatfmt=f".{digits}f")
