"""Tables, promises and the picture of label_noise.py and wrong_targets.py."""

from textwrap import fill

import numpy as np
import pandas as pd
from corruption import FOLDS, MOST_ROWS, SOUND
from evidence import Interval, holm
from harness import load_frame
from matplotlib.figure import Figure
from pages import as_interval, as_table, where
from scipy.stats import wilcoxon

from skrebatch.inspection._intervals import corrected_intervals

OURS, FINDER = "CV form", "find_label_issues"
BETTER_IF_LESS = {"log_loss", "brier", "ece", "mae", "rmse", "fit_cpu", "find_cpu"}


def load(results):
    """Tabulate the runs, with a name for each kind and share of wrong rows."""
    frame = load_frame(results["runs"])
    if "average_precision" in frame:
        frame["find_cpu"] = frame["find_cpu"].fillna(frame["fit_cpu"])
    share = frame["rate"].map("{:.0%} ".format)
    is_sound = frame["kind"] == SOUND
    frame["condition"] = np.where(is_sound, SOUND, share + frame["kind"])
    kinds = [SOUND, *frame["kind"].unique()]
    frame["order"] = frame["kind"].map(kinds.index)
    return frame.sort_values(["order", "rate"], kind="stable")


def means_of(frame, score):
    """Average a score over the splits of a table: a model a column."""
    own = frame[frame[score].notna()]
    index = ["condition", "table"]
    means = own.groupby([*index, "model"], sort=False)[score].mean().unstack()
    return means.reindex(columns=own["model"].unique())


def score_table(frame, score, main, digits=3, unit=1):
    """Tabulate means over the tables: a model a row, a condition a column."""
    means = unit * means_of(frame, score).groupby("condition", sort=False).mean().T
    order = means[main].fillna(means.mean(axis=1))
    means = means.loc[order.sort_values(ascending=score in BETTER_IF_LESS).index]
    best = means.min() if score in BETTER_IF_LESS else means.max()
    return as_table(_bold(means, best, digits), "keys")


def scores_table(frame, condition, scores, digits=3):
    """Tabulate the means of several scores: a model a row, the best by the first."""
    means = pd.DataFrame(
        {name: means_of(frame, s).loc[condition].mean() for s, name in scores.items()}
    ).dropna()
    is_less = [score in BETTER_IF_LESS for score in scores]
    means = means.sort_values(means.columns[0], ascending=is_less[0])
    best = means.min().where(is_less, means.max())
    return as_table(_bold(means, best, digits), "keys")


def by_table(frame, score, condition, models, digits=3):
    """Tabulate the means of one condition: a table a row, a model a column."""
    means = means_of(frame, score).loc[condition, models].T
    best = means.min() if score in BETTER_IF_LESS else means.max()
    return as_table(_bold(means, best, digits).T, "keys")


def _bold(means, best, digits):
    """Format the cells of a frame, those that equal the best of a column bold."""

    def format_column(own):
        texts = own.map(lambda value: "" if np.isnan(value) else f"{value:.{digits}f}")
        return texts.where(own != best[own.name], "**" + texts + "**")

    return means.apply(format_column)


def differences(frame, score, condition, model, baseline):
    """Return a model's score minus a baseline's: a table a row, a split a column."""
    own = frame[(frame["condition"] == condition) & frame[score].notna()]
    scores = own.pivot_table(index=["table", "split"], columns="model", values=score)
    return (scores[model] - scores[baseline]).dropna().unstack()


def interval_of(gains):
    """Return the mean difference over the tables, with the interval over splits."""
    return mean_interval(gains.mean())


def mean_interval(values):
    """Return the mean over splits with its interval, which is NaN for one split."""
    values = np.asarray(values, dtype=float)
    return Interval(*corrected_intervals(values, 1 / (FOLDS - 1), 0.95))


def difference_table(frame, score, condition, models, unit=1, spec="+.3f", ours=OURS):
    """Tabulate how a model of ours differs from others, a model a row."""
    all_gains = {
        model: unit * differences(frame, score, condition, ours, model)
        for model in models
    }
    p_values = holm([_p_value(gains.mean(axis=1)) for gains in all_gains.values()])
    sign = -1 if score in BETTER_IF_LESS else 1
    rows = []
    for (model, gains), p_value in zip(all_gains.items(), p_values, strict=True):
        means = sign * gains.mean(axis=1)
        rows.append(
            {
                "ours −": model,
                "difference": as_interval(interval_of(gains), spec),
                "better on": f"{(means > 0).sum()} of {len(means)}",
                "p": f"{p_value:.3f}",
            }
        )
    return as_table(rows, "keys")


def _p_value(means):
    return wilcoxon(means).pvalue if means.any() else 1.0


def found_table(frame, main):
    """Tabulate how well wrong rows are found: a way a row."""
    own = frame[frame["average_precision"].notna()]
    columns = {}
    for condition in own["condition"].unique():
        means = means_of(own, "average_precision").loc[condition].mean()
        columns[f"AP, {condition}"] = means
    for score in ("precision", "recall", "pointed_at", "find_cpu"):
        columns[score] = means_of(own, score).loc[main].mean()
    table = pd.DataFrame(columns).sort_values(f"AP, {main}", ascending=False)
    table = table.rename(
        columns={"pointed_at": "share pointed at", "find_cpu": "CPU s"}
    )
    return as_table(_bold(table, table.iloc[0] * np.nan, 3), "keys")


def promise_table(promises):
    """Tabulate what was to hold: a sentence, what it takes, what was measured."""
    rows = [
        {
            "to hold": sentence,
            "needed": needed,
            "measured": measured,
            "": "reached" if is_reached else "**not reached**",
        }
        for sentence, needed, measured, is_reached in promises
    ]
    return as_table(rows, "keys")


def chosen_table(frame, names):
    """Tabulate how often the CV form chose each candidate, by condition."""
    own = frame[frame["chosen"].notna()]
    shares = own.groupby("condition", sort=False)["chosen"]
    shares = shares.value_counts(normalize=True).unstack(fill_value=0)
    shares = shares.sort_index(axis=1)
    shares.columns = [names[int(column)] for column in shares.columns]
    shares = shares.rename_axis(None).map("{:.0%}".format)
    return as_table(shares, "keys")


def draw(frame, score, kind, styles, what, label, unit=1):
    """Draw the mean score over the tables by the share of wrong rows."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    ax = figure.subplots()
    own = frame[frame["kind"].isin([kind, SOUND])]
    by_split = own.groupby(["model", "rate", "split"])[score].mean() * unit
    for shift, (model, (colour, line)) in enumerate(styles.items()):
        intervals = pd.DataFrame(
            {rate: mean_interval(own) for rate, own in by_split[model].groupby("rate")},
            index=Interval._fields,
        ).T
        # Side by side, so that the bars don't hide one another.
        x = 100 * intervals.index + 0.4 * (shift - len(styles) / 2)
        errors = [
            intervals["mean"] - intervals["low"],
            intervals["high"] - intervals["mean"],
        ]
        ax.errorbar(
            x, intervals["mean"], errors, c=colour, ls=line, label=model, elinewidth=0.8
        )
    ax.set_xlabel(f"wrong training {what}, %")
    ax.set_ylabel(label)
    ax.set_xticks(100 * intervals.index)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure


def shared_parts(frame, compared, chosen, main, candidates):
    """Return the parts that both pages have, by their names in the templates."""
    finders = frame.loc[frame["average_precision"].notna(), "model"].unique()
    return {
        "chosen": chosen_table(frame, candidates),
        "found": found_table(frame, main),
        "found_differences": difference_table(
            frame,
            "average_precision",
            main,
            [m for m in finders if m != FINDER],
            ours=FINDER,
        ),
        "tables": describe(compared["tables"]),
        "development": describe(chosen["tables"]),
        "splits": count_splits(frame, main),
        "most_rows": MOST_ROWS,
        "n_networks": compared["n_networks"],
        "left_out": list_parameters(compared["left_out"]),
        "n_tables": len(compared["tables"]),
        "where": where(compared["environment"]),
    }


def rivals_of(frame, score, condition):
    """Name the models that are compared with ours."""
    own = frame[frame[score].notna() & (frame["condition"] == condition)]
    return [m for m in own["model"].unique() if m != OURS]


def as_splits(n):
    """Write a number of splits, in the singular or the plural."""
    return f"{n} split" if n == 1 else f"{n} splits"


def count_splits(frame, main):
    """Say how many of the splits were run."""
    own = frame.groupby("condition")["split"].nunique()
    others = own.drop([main, SOUND])
    return (
        f"{own[main]} of the {FOLDS} splits at {main}, "
        f"{as_splits(own[SOUND])} without errors, "
        f"and {as_splits(others.min())} in each of the other conditions"
    )


def list_sentences(sentences):
    """Make a wrapped list of sentences."""
    return "\n".join(fill(f"- {s}", 88, subsequent_indent="  ") for s in sentences)


def describe(tables):
    """Name tables with their size."""
    return ", ".join(f"{t['name']} ({t['rows']} × {t['columns']})" for t in tables)


def list_parameters(parameters):
    """Write parameters as they stand in a call."""
    return ", ".join(f"{name}={value!r}" for name, value in parameters.items())
