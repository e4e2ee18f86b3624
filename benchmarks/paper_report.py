"""What paper.py found beside what the paper says: tables, pictures, the page."""

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from evidence import corrected_interval, corrected_p_value, holm
from harness import load_frame, read_json
from matplotlib.figure import Figure
from pages import as_table, fill_template, list_versions, minus, save_figure
from paper_claims import (
    CHOICES,
    CLASSIFICATION,
    TEST_BY_TRAIN,
    TITLES,
    at,
    best_ratio,
    judge,
    load_runs,
    names_of,
    ratios_of,
    scores_of,
)
from scipy.stats import spearmanr

TABLES = read_json(Path(__file__).parent / "paper_tables.json")
# Ours: what the paper's tables call them, and the colour of the pictures.
METHODS = {
    "no re-Batch": ("none", "black"),
    "min-loss": ("min-loss", "tab:blue"),
    "max-loss": ("max-loss", "tab:orange"),
    "TSW": ("tsw", "tab:purple"),
}
PARTS = {"train": "training", "val": "validation"}
# Scores whose titles are not their names.
NAMES = {"f1": "F1", "rmse": "RMSE", "mae": "MAE", "r2": "R²", "nrmse": "NRMSE"}
TIMES = "left out", "once", "twice", "three times"
# Of the searches, for regression and for classification.
SEARCHED = ("R²", "RMSE"), ("accuracy", "log loss")
PARAMETERS = "ratio", "strategy", "repeats", "lr"


def write_page(folder, docs):
    """Write docs/paper.md and its pictures from the results in a folder."""
    results, searched, seconds = (
        read_json(folder / f"{name}.json")
        for name in ("paper", "paper_search", "paper_search_seconds")
    )
    frame = load_runs(results)
    names = names_of(frame)
    areas = compare_areas(frame)
    repeats = [setup["side_repeats"] for setup in results["setups"].values()]
    side = " to ".join(map(str, sorted({min(repeats), max(repeats)})))
    data = pd.DataFrame(results["data"]).T.join(pd.DataFrame(results["setups"]).T)
    data = data.loc[names, ["rows", "columns", "max_epochs", "source"]]
    titles = {"max_epochs": "network's epochs", "source": "from"}
    data = data.rename(index=TITLES, columns=titles)
    missing = "".join(
        f"\nThe data of {TITLES[name]} were not available. Table "
        f"{TABLES[TITLES[name]]['table']} of the paper is therefore not reproduced.\n"
        for name in TITLES
        if name not in names
    )
    claims = judge(frame, results["data"])
    counts = pd.Series([verdict for _, verdict, _ in claims]).value_counts()
    page = fill_template(
        "paper",
        readings=summarise_readings(areas),
        n_claims=len(claims),
        verdicts=", ".join(f"{n} × {verdict}" for verdict, n in counts.items()),
        claims=as_table([["claim", "verdict", "evidence"], *claims]),
        repeats=results["plan"]["repeats"],
        side=side,
        data=as_table(data, "keys"),
        missing=missing,
    )
    for name in names:
        page += section(frame, name)
        save_figure(draw(results, name), docs / "images/paper" / f"{name}.png", dpi=100)
    page += fill_template(
        "paper_readings",
        **reading_tables(areas),
        fixed=results["fixed_batch_size"],
        **ratio_tables(frame),
        side=side,
        control_table=control_table(frame),
    )
    if "insurance" in names:
        n = results["setups"]["insurance"]["side_repeats"]
        page += fill_template(
            "paper_insurance",
            n="once" if n == 1 else f"{n} times",
            table=category_table(frame),
        )
    page += search_section(searched, seconds)
    versions = list_versions(results["versions"])
    page += f"\n<sub>{versions}; seed {results['seed']}.</sub>\n"
    (docs / "paper.md").write_text(page, encoding="utf-8")


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
    return minus(text)


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
    by_ratio = TABLES[TITLES[name]][kind].get(METHODS[method][0], {})
    return by_ratio.get(str(ratio)) or {}


def section(frame, name):
    """Write what was found on a data set."""
    metrics, areas, trends = [], [], []
    n_compared, outside = 0, []
    for method, ratio in itertools.product(METHODS, ratios_of(frame)):
        own, case = at(frame, name, method, ratio), {"": method, "ratio": ratio}
        theirs = paper_says(name, "metrics", method, ratio)
        row = case | {"B": own.batch_size.iloc[0]}
        for score in scores_of(name):
            title, figure = NAMES.get(score, score), theirs.get(score)
            row[title] = mean_cell(own[score], beside=figure)
            if figure is not None:
                n_compared += 1
                _, low, high = corrected_interval(own[score], TEST_BY_TRAIN)
                if not low <= figure <= high:
                    outside.append(f"{method} {ratio} {title}")
        metrics.append(row)
        theirs = paper_says(name, "loss_area", method, ratio)
        row = {
            title: mean_cell(own[f"{part}.area"], beside=theirs.get(part))
            for part, title in PARTS.items()
        }
        areas.append(case | row)
        row = {
            f"{title} {measure}": number(own[f"{part}.{measure}"].mean())
            for part, title in PARTS.items()
            for measure in ("slope", "intercept")
        }
        trends.append(case | row)
    return fill_template(
        "paper_data",
        table=TABLES[TITLES[name]]["table"],
        title=TITLES[name],
        data=name,
        metrics=as_table(metrics, "keys"),
        n_compared=n_compared,
        n_outside=len(outside),
        where=f": {'; '.join(outside)}" if outside else "",
        areas=as_table(areas[len(ratios_of(frame)) :], "keys"),  # all but the plain
        trends=as_table(trends, "keys"),
    )


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
            row = {"reading": f"{TIMES[repeats]}, {order}", "data": name, "part": part}
            agree = np.sign(ours) == np.sign(theirs)
            rows.append(row | {"ours": ours, "theirs": theirs, "agree": agree})
    return pd.DataFrame(rows)


def summarise_readings(areas):
    """Say which reading agrees best with the paper."""
    agree = areas.groupby("reading", sort=False).agree.agg(["sum", "size"])
    best = agree["sum"].idxmax()
    n, total = agree.loc[best]
    return (
        f"The text agrees best with its figures in the reading *{best}*: {n} of the "
        f"{total} loss areas have the same sign as in the paper. "
        "[The other readings](#readings-of-the-text) agree less often."
    )


def reading_tables(areas):
    """Tabulate how far the loss areas of each reading agree with the paper's."""
    by_part, by_data = [], []
    for reading, own in areas.groupby("reading", sort=False):
        row = {"chosen samples": reading}
        by_part.append(dict(row))
        for part, title in PARTS.items():
            pairs = own[own.part == part]
            by_part[-1][f"signs, {title}"] = f"{pairs.agree.sum()} of {len(pairs)}"
            ranks = [
                spearmanr(pairs.ours, pairs.theirs).statistic
                for _, pairs in pairs.groupby("data")
                if len(pairs) > 2
            ]
            rank = minus(f"{np.mean(ranks):.2f}") if ranks else ""
            by_part[-1][f"ranks, {title}"] = rank
        for name in sorted(own.data.unique(), key=list(TITLES).index):
            agree = own.agree[own.data == name]
            row[TITLES[name]] = f"{agree.sum()} of {len(agree)}"
        by_data.append(row)
    return {"table": as_table(by_part, "keys"), "by_data": as_table(by_data, "keys")}


# A method, and whether the batch size is fixed or B.
RATIO_CASES = [
    *itertools.product(["no re-Batch", *CHOICES], [False]),
    *itertools.product([*CHOICES, "no re-Batch"], [True]),
]


def ratio_tables(frame):
    """Tabulate the main score by ratio, at B and at the fixed batch size."""
    rows, best = [], []
    for name in names_of(frame):
        best.append({"": TITLES[name]})
        for method, fixed in RATIO_CASES:
            size = "fixed" if fixed else "B"
            row = {"": f"{TITLES[name]}, {method}", "batch size": size}
            for ratio in ratios_of(frame):
                own = at(frame, name, method, ratio, fixed=fixed)
                row[ratio] = mean_cell(own[scores_of(name)[0]])
            rows.append(row)
            if (method, fixed) != RATIO_CASES[-1]:  # which is the same at every ratio
                best[-1][f"{method}, {size}"] = best_ratio(frame, name, method, fixed)
    return {"ratio_table": as_table(rows, "keys"), "best": as_table(best, "keys")}


def control_table(frame):
    """Tabulate paired differences to the controls."""
    cases = list(itertools.product(names_of(frame), CHOICES, ratios_of(frame)))
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
        adjusted = iter(holm([corrected_p_value(p, TEST_BY_TRAIN) for p in tested]))
        for row, pairs in zip(rows, column, strict=True):
            p_value = f", p {next(adjusted):.2f}" if len(pairs) > 1 else ""
            row[f"− {control}"] = mean_cell(pairs) + p_value
    return as_table(rows, "keys")


def category_table(frame):
    """Tabulate what standardising the columns of categories does on Insurance."""
    rows = []
    for ratio in ratios_of(frame):
        theirs = paper_says("insurance", "metrics", "no re-Batch", ratio)["rmse"]
        row = {"ratio": ratio, "the paper": number(theirs)}
        for title, scaled in (("standardised", True), ("0 and 1", False)):
            own = at(frame, "insurance", "no re-Batch", ratio, scaled=scaled)
            row[title] = mean_cell(own.rmse)
        rows.append(row)
    return as_table(rows, "keys")


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
            _, colour = METHODS[curve["method"]]
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


def search_section(searched, seconds):
    """Write what the searches found, and what they took."""
    costs = (
        pd.DataFrame(seconds).groupby(["data", "arm"])[["seconds", "refit"]].median()
    )
    frame, plan = load_frame(searched["runs"]), searched["plan"]
    cell = partial(mean_cell, test_train_ratio=1 / (plan["outer_folds"] - 1))
    scores, differences, found = [], [], []
    for name, own in frame.groupby("data", sort=False):
        title = TITLES[name]
        more, less = SEARCHED[name in CLASSIFICATION]
        arms = {arm: runs.set_index("split") for arm, runs in own.groupby("arm")}
        for arm in sorted(arms, key=lambda arm: arms[arm][less].mean()):
            cells = [cell(arms[arm][score]) for score in (more, less)]
            scores.append([title, arm, *cells])
        ours, theirs = arms["re-Batch"], arms["no re-Batch"]
        difference = ours[less] - theirs[less]
        share = minus(f"{difference.mean() / theirs[less].mean():+.1%}")
        differences.append([title, cell(difference), share])
        best = [
            ", ".join(
                f"{v:g}" if isinstance(v, float) else v for v in ours[f"best.{p}"]
            )
            for p in PARAMETERS
        ]
        found.append([title, *best, *map(number, costs.loc[name, "re-Batch"])])
    candidates = frame.groupby("arm").candidates.max()
    others = candidates.drop(["re-Batch", "no re-Batch"])
    return fill_template(
        "paper_search",
        **plan,
        candidates=candidates["re-Batch"],
        n_others=others.iloc[0] if others.nunique() == 1 else "several",
        scores=as_table(scores, ["", "", "accuracy or R²", "log loss or RMSE"]),
        differences=as_table(differences, ["", "log loss or RMSE", "as a share"]),
        found=as_table(found, ["", *PARAMETERS, "seconds", "one fit"]),
    )
