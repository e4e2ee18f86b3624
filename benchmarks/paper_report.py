"""What paper.py found beside what the paper says: tables, pictures, the page."""

import itertools
from functools import partial

import numpy as np
import pandas as pd
import paper_claims
from evidence import corrected_interval
from harness import load_frame, read_json, read_setting
from matplotlib.figure import Figure
from pages import as_table, fill_page, list_versions, minus, save_figure
from paper_claims import CHOICES, TABLES, TEST_BY_TRAIN, TITLES, at, scores_of

from skrebatch.inspection._intervals import adjust_by_holm, corrected_p_values

SETTING = read_setting(__file__)
METHODS, PARTS, NAMES = (SETTING[name] for name in ("methods", "parts", "names"))


def write_page(folder, docs):
    """Write docs/paper.md and its pictures from the results in a folder."""
    results, searched, seconds = (
        read_json(folder / f"{name}.json")
        for name in ("paper", "paper_search", "paper_search_seconds")
    )
    frame = paper_claims.load_runs(results)
    names, ratios = paper_claims.names_of(frame), paper_claims.ratios_of(frame)
    for name in names:
        save_figure(draw(results, name), docs / "images/paper" / f"{name}.png", dpi=100)
    claims = paper_claims.judge(frame, results["data"])
    test_by_train = 1 / (searched["plan"]["outer_folds"] - 1)
    fill_page(
        docs / "paper.md",
        *(as_table, at, list_versions, mean_cell, number, paper_says, scores_of),
        *(compare_figures, control_table, paper_claims.best_ratio, ranks),
        **results,
        names=names,
        titles=TITLES,
        score_titles=NAMES,
        tables=TABLES,
        frame=frame,
        ratios=ratios,
        cases=list(itertools.product(METHODS, ratios)),
        areas=compare_areas(frame),
        claims=pd.DataFrame(claims, columns=["claim", "verdict", "evidence"]),
        search=searched["plan"],
        searches=load_frame(searched["runs"]),
        search_cell=partial(mean_cell, test_train_ratio=test_by_train),
        costs=pd.DataFrame(seconds).groupby(["data", "arm"]).median(),
    )


def number(value):
    """Write a number with three digits."""
    size = abs(value)
    if size < 1e-6:  # scores are rounded to six digits
        return "0"
    if 1e-3 <= size < 1e5:
        digits = min(3, max(0, 2 - int(np.floor(np.log10(size)))))
        return minus(f"{value:.{digits}f}")
    mantissa, exponent = f"{value:.1e}".split("e")
    return minus(f"{mantissa}e{int(exponent)}")


def mean_cell(values, test_train_ratio=TEST_BY_TRAIN, beside=None):
    """Write a mean, with an interval if of several values, and the paper's figure."""
    if len(values) < 2:
        cell = number(np.mean(values))
    else:
        interval = corrected_interval(values, test_train_ratio)
        cell = "{} [{}, {}]".format(*map(number, interval))
    return cell if beside is None else f"{cell} *{number(beside)}*"


def paper_says(name, kind, method, ratio):
    """Return a cell of the paper's tables; empty where the source is unreadable."""
    by_ratio = TABLES[TITLES[name]][kind].get(METHODS[method]["paper"], {})
    return by_ratio.get(str(ratio)) or {}


def compare_figures(frame, name):
    """Compare the paper's scores with our intervals: their names, and if outside."""
    is_outside = {}
    cases = itertools.product(METHODS, paper_claims.ratios_of(frame), scores_of(name))
    for method, ratio, score in cases:
        figure = paper_says(name, "metrics", method, ratio).get(score)
        if figure is not None:
            scores = at(frame, name, method, ratio)[score]
            _, low, high = corrected_interval(scores, TEST_BY_TRAIN)
            title = f"{method} {ratio} {NAMES.get(score, score)}"
            is_outside[title] = not low <= figure <= high
    return is_outside


def compare_areas(frame):
    """Tabulate our mean loss areas beside the paper's, in each reading."""
    areas = frame.rename(columns=lambda name: name.removesuffix(".area"))[list(PARTS)]
    case = ["repeats", "shuffle", "data", "method", "ratio"]
    areas = areas[areas.index.isin(CHOICES, level="method")]
    areas = areas.xs(False, level="fixed_batch").groupby(case).mean().stack()
    rows = []
    for (repeats, shuffle, name, method, ratio, part), ours in areas.items():
        theirs = paper_says(name, "loss_area", method, ratio).get(part)
        if theirs is not None:
            order = "shuffled" if shuffle else "natural order"
            reading = f"{SETTING['times'][repeats]}, {order}"
            row = {"reading": reading, "data": name, "part": part}
            agree = np.sign(ours) == np.sign(theirs)
            rows.append(row | {"ours": ours, "theirs": theirs, "agree": agree})
    return pd.DataFrame(rows)


def ranks(areas):
    """Correlate the ranks of our loss areas and the paper's, on the mean over data."""
    correlations = [
        own.ours.corr(own.theirs, "spearman", min_periods=3)
        for _, own in areas.groupby("data")
    ]
    mean = pd.Series(correlations).mean()
    return "" if np.isnan(mean) else minus(f"{mean:.2f}")


def control_table(frame):
    """Tabulate paired differences to the controls."""
    names, ratios = paper_claims.names_of(frame), paper_claims.ratios_of(frame)
    cases = list(itertools.product(names, CHOICES, ratios))
    rows = [
        {"": f"{TITLES[name]}, {method}", "ratio": ratio}
        for name, method, ratio in cases
    ]
    for control in ("no re-Batch", "random", "fixed order"):
        column = []
        for name, method, ratio in cases:
            own, other = at(frame, name, method, ratio), at(frame, name, control, ratio)
            column.append((own - other)[scores_of(name)[0]].dropna())
        tested = [pairs for pairs in column if len(pairs) > 1]
        p_values = [corrected_p_values(p.to_numpy(), TEST_BY_TRAIN) for p in tested]
        adjusted = iter(adjust_by_holm(p_values))
        for row, pairs in zip(rows, column, strict=True):
            p_value = f", p {next(adjusted):.2f}" if len(pairs) > 1 else ""
            row[f"− {control}"] = mean_cell(pairs) + p_value
    return as_table(rows, "keys")


def draw(results, name):
    """Draw the mean loss curves of a data set, a column for each ratio."""
    curves = [curve for curve in results["curves"] if curve["data"] == name]
    ratios = sorted({curve["ratio"] for curve in curves})
    figure = Figure(figsize=(3 * len(ratios), 5.2), layout="constrained")
    shape = len(PARTS), len(ratios)
    axes = figure.subplots(*shape, sharex=True, sharey="row", squeeze=False)
    for curve in curves:
        for ax, part in zip(axes[:, ratios.index(curve["ratio"])], PARTS, strict=True):
            epochs = np.arange(1, len(curve[part]) + 1)
            colour = METHODS[curve["method"]]["colour"]
            ax.plot(epochs, curve[part], color=colour, label=curve["method"], lw=1)
    for ax, ratio in zip(axes[0], ratios, strict=True):
        ax.set_title(f"ratio {ratio}")
    for ax, title in zip(axes[:, 0], PARTS.values(), strict=True):
        ax.set(ylabel=f"{title} loss", yscale="log")
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper")
    return figure
