"""The pages of label_noise.py and wrong_targets.py: their tables, and the picture."""

import numpy as np
import pandas as pd
from corruption import FOLDS, INFORMED, MOST_ROWS, SOUND
from evidence import Interval
from harness import load_frame, read_setting
from matplotlib.figure import Figure
from pages import as_interval, as_scores, as_table, fill_template, save_figure
from scipy.stats import wilcoxon

from skrebatch.inspection._intervals import adjust_by_holm, corrected_intervals

OURS, FINDER = "CV form", "find_label_issues"
BETTER_IF_LESS = {"log_loss", "brier", "ece", "mae", "rmse", "fit_cpu", "find_cpu"}
STYLES = read_setting(__file__)["styles"]


def write_page(page, compared, chosen, docs, main, image, picture, **values):
    """Write a page and its picture from the results.

    `main` is the condition that the page is about, `image` the name of the picture,
    and `picture` what `draw` needs.
    """
    frame, choice = load(compared), load(chosen)
    model = frame["model"].str
    figure = draw(frame, **picture)
    save_figure(figure, docs / "images" / page / f"{image}.png", dpi=100)
    text = fill_template(
        page,
        *(by_table, chosen_table, difference_table, found_table, score_table),
        *(scores_table, gain, mean_scores, means_of, rivals),
        frame=frame[~model.endswith(INFORMED)],
        limits=frame[model.removesuffix(INFORMED).isin(["plain", OURS])],
        choice=choice,
        main=main,
        ours=OURS,
        finder=FINDER,
        picture=picture,
        most_rows=MOST_ROWS,
        compared=compared,
        chosen=chosen,
        left_out=", ".join(f"{k}={v!r}" for k, v in compared["left_out"].items()),
        **values,
    )
    (docs / f"{page}.md").write_text(text, encoding="utf-8")


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


def mean_scores(frame, score, condition):
    """Average a score over the tables, by model."""
    return means_of(frame, score).loc[condition].mean()


def score_table(frame, score, main):
    """Tabulate means over the tables: a model a row, a condition a column."""
    means = means_of(frame, score).groupby("condition", sort=False).mean().T
    order = means[main].fillna(means.mean(axis=1))
    means = means.loc[order.sort_values(ascending=score in BETTER_IF_LESS).index]
    return as_table(as_scores(means, score in BETTER_IF_LESS), "keys")


def scores_table(frame, condition, scores):
    """Tabulate the means of several scores: a model a row, the best by the first."""
    means = {name: mean_scores(frame, s, condition) for s, name in scores.items()}
    is_less = [score in BETTER_IF_LESS for score in scores]
    means = pd.DataFrame(means).dropna()
    means = means.sort_values(means.columns[0], ascending=is_less[0])
    return as_table(as_scores(means, is_less), "keys")


def by_table(frame, score, condition, models):
    """Tabulate the means of one condition: a table a row, a model a column."""
    means = means_of(frame, score).loc[condition, models].T
    return as_table(as_scores(means, score in BETTER_IF_LESS).T, "keys")


def differences(frame, score, condition, model, baseline):
    """Return a model's score minus a baseline's: a table a row, a split a column."""
    own = frame[(frame["condition"] == condition) & frame[score].notna()]
    scores = own.pivot_table(index=["table", "split"], columns="model", values=score)
    return (scores[model] - scores[baseline]).dropna().unstack()


def gain(frame, score, condition, baseline, model=OURS, unit=1):
    """Return the mean difference over the tables, with the interval over splits."""
    gains = unit * differences(frame, score, condition, model, baseline)
    return mean_interval(gains.mean())


def mean_interval(values):
    """Return the mean over splits with its interval, which is NaN for one split."""
    values = np.asarray(values, dtype=float)
    return Interval(*corrected_intervals(values, 1 / (FOLDS - 1), 0.95))


def rivals(frame, score, condition):
    """Name the models that have a score under a condition, but for ours."""
    own = frame[frame[score].notna() & (frame["condition"] == condition)]
    return [model for model in own["model"].unique() if model != OURS]


def difference_table(frame, score, condition, models, unit=1, spec="+.3f", ours=OURS):
    """Tabulate how a model of ours differs from others, a model a row."""
    sign = -1 if score in BETTER_IF_LESS else 1
    rows, p_values = [], []
    for model in models:
        gains = unit * differences(frame, score, condition, ours, model)
        means = gains.mean(axis=1)
        cell = as_interval(mean_interval(gains.mean()), spec)
        n_better = (sign * means > 0).sum()
        rows.append([model, cell, f"{n_better} of {len(means)}"])
        p_values.append(wilcoxon(means).pvalue if means.any() else 1.0)
    table = pd.DataFrame(rows, columns=[f"{ours} −", "difference", "better on"])
    table["p"] = [f"{p_value:.3f}" for p_value in adjust_by_holm(p_values)]
    return as_table(table.to_dict("records"), "keys")


def found_table(frame, main):
    """Tabulate how well wrong rows are found: a way a row."""
    means = means_of(frame, "average_precision").groupby("condition", sort=False)
    table = means.mean().T.add_prefix("AP, ")
    titles = {"pointed_at": "share marked", "find_cpu": "CPU s"}
    for score in ("precision", "recall", *titles):
        table[titles.get(score, score)] = mean_scores(frame, score, main)
    table = table.sort_values(f"AP, {main}", ascending=False)
    return as_table(as_scores(table), "keys")


def chosen_table(frame, names):
    """Tabulate how often the CV form chose each candidate, by condition."""
    own = frame[frame["chosen"].notna()]
    shares = pd.crosstab(own["condition"], own["chosen"], normalize="index")
    shares = shares.loc[own["condition"].unique()].map("{:.0%}".format)
    shares = shares.rename(columns=dict(enumerate(names))).rename_axis(None)
    return as_table(shares, "keys")


def draw(frame, score, kind, models, xlabel, ylabel, unit=1):
    """Draw the mean score of models over the tables by the share of wrong rows."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    ax = figure.subplots()
    own = frame[frame["kind"].isin([kind, SOUND])]
    by_split = own.groupby(["model", "rate", "split"])[score].mean() * unit
    for shift, model in enumerate(models):
        colour, line = STYLES[model]
        by_rate = by_split[model].groupby("rate")
        intervals = pd.DataFrame({r: mean_interval(own) for r, own in by_rate}).T
        means, lows, highs = intervals.to_numpy().T
        # Side by side, so that the bars don't hide one another.
        x = 100 * intervals.index + 0.4 * (shift - len(models) / 2)
        errors = [means - lows, highs - means]
        ax.errorbar(x, means, errors, c=colour, ls=line, label=model, elinewidth=0.8)
    ax.set(xlabel=xlabel, ylabel=ylabel, xticks=100 * intervals.index)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure
