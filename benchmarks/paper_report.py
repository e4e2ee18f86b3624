"""What paper.py found beside what the paper says: tables, pictures, the page."""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from evidence import corrected_interval, corrected_p_value, holm
from harness import load_frame, read_json
from matplotlib.figure import Figure
from pages import as_table, fill_template, list_versions, minus, save_figure
from paper_claims import judge
from paper_runs import (
    TEST_BY_TRAIN,
    TITLES,
    at,
    best_ratio,
    main_score,
    names_of,
    ratios_of,
    scores_of,
)
from scipy.stats import spearmanr

TABLES = read_json(Path(__file__).parent / "paper_tables.json")
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
# Scores whose titles are not their names.
NAMES = {"f1": "F1", "rmse": "RMSE", "mae": "MAE", "r2": "R²", "nrmse": "NRMSE"}


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
            as_table(reading_table(frame), style="simple"),
            as_table(search_table(searched), style="simple"),
        ]
    )


def write_page(folder, docs):
    """Write docs/paper.md and its pictures from the results in a folder."""
    results, searched, seconds = (
        read_json(folder / f"{name}.json")
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
    page = fill_template(
        "paper",
        readings=summarise_readings(frame),
        claims=as_table(claims),
        repeats=results["plan"]["repeats"],
        side=side,
        data=as_table([header, *data]),
        missing=missing,
    )
    for name in names_of(frame):
        page += section(frame, name)
        save_figure(draw(results, name), docs / "images/paper" / f"{name}.png", dpi=100)
    page += fill_template(
        "paper_readings",
        table=as_table(reading_table(frame)),
        by_data=as_table(readings_by_data(frame)),
        fixed=results["fixed_batch_size"],
        ratio_table=as_table(ratio_table(frame)),
        best=as_table(best_table(frame)),
        side=side,
        control_table=as_table(control_table(frame)),
    )
    if "insurance" in results["data"]:
        page += fill_template(
            "paper_insurance",
            n="once" if sides["insurance"] == 1 else f"{sides['insurance']} times",
            table=as_table(category_table(frame)),
        )
    page += search_section(searched, seconds)
    page += (
        f"\n<sub>{list_versions(results['versions'])}; seed {results['seed']}.</sub>\n"
    )
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
    return fill_template(
        "paper_data",
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


def mean_cell(values, test_train_ratio=TEST_BY_TRAIN):
    """Write a mean with its interval; without one where there is a single value."""
    if len(values) < 2:
        return number(np.mean(values))
    mean, low, high = map(number, corrected_interval(values, test_train_ratio))
    return f"{mean} [{low}, {high}]"


def _paper(name, kind, method, ratio):
    """Return a cell of the paper's tables; empty where the source is unreadable."""
    by_ratio = TABLES[TITLES[name]][kind].get(METHODS[method], {})
    return by_ratio.get(str(ratio)) or {}


def metric_table(frame, name):
    """Tabulate the scores beside the paper's; name what is outside our intervals."""
    columns = scores_of(frame, name)
    rows = [["", "ratio", "B", *(NAMES.get(score, score) for score in columns)]]
    n_compared, outside = 0, []
    for method in METHODS:
        for ratio in ratios_of(frame):
            own = at(frame, name, method, ratio)
            theirs = _paper(name, "metrics", method, ratio)
            cells = []
            for score, column in columns.items():
                cell = mean_cell(own[column])
                if theirs.get(score) is not None:
                    n_compared += 1
                    cell += f" *{number(theirs[score])}*"
                    _, low, high = corrected_interval(own[column], TEST_BY_TRAIN)
                    if not low <= theirs[score] <= high:
                        outside.append(f"{method} {ratio} {NAMES.get(score, score)}")
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
                cell = mean_cell(own[f"{part}.area"])
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
            rank = minus(f"{np.mean(ranks):.2f}") if ranks else ""
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
    rows = [["", "batch size", *ratios_of(frame)]]
    for name in names_of(frame):
        score = main_score(frame, name)
        for method, fixed in RATIO_CASES.values():
            cells = [
                mean_cell(at(frame, name, method, ratio, fixed_batch=fixed)[score])
                for ratio in ratios_of(frame)
            ]
            size = "fixed" if fixed else "B"
            rows.append([f"{TITLES[name]}, {method}", size, *cells])
    return rows


def best_table(frame):
    """Tabulate the ratio with the best mean of the main score."""
    cases = {k: case for k, case in RATIO_CASES.items() if k != "no re-Batch, fixed"}
    rows = [["", *cases]]
    for name in names_of(frame):
        best = [best_ratio(frame, name, *case) for case in cases.values()]
        rows.append([TITLES[name], *best])
    return rows


def control_table(frame):
    """Tabulate paired differences to the controls."""
    controls = "no re-Batch", "random", "fixed order"
    rows, columns = [], {control: [] for control in controls}
    for name in names_of(frame):
        score = main_score(frame, name)
        for method in ("min-loss", "max-loss"):
            for ratio in ratios_of(frame):
                rows.append([f"{TITLES[name]}, {method}", ratio])
                ours = at(frame, name, method, ratio)[score]
                for control, column in columns.items():
                    theirs = at(frame, name, control, ratio)[score]
                    column.append((ours - theirs).dropna())
    for column in columns.values():
        tested = [pairs for pairs in column if len(pairs) > 1]
        adjusted = iter(holm([corrected_p_value(p, TEST_BY_TRAIN) for p in tested]))
        for row, pairs in zip(rows, column, strict=True):
            p_value = f", p {next(adjusted):.2f}" if len(pairs) > 1 else ""
            row.append(mean_cell(pairs) + p_value)
    return [["", "ratio", *(f"− {control}" for control in controls)], *rows]


def category_table(frame):
    """Tabulate what standardising the columns of categories does on Insurance."""
    plain = frame[(frame.data == "insurance") & (frame.method == "no re-Batch")]
    plain = plain[~plain.fixed_batch]
    rows = [["ratio", "the paper", "standardised", "0 and 1"]]
    for ratio in ratios_of(frame):
        own = plain[plain.ratio == ratio]
        theirs = _paper("insurance", "metrics", "no re-Batch", ratio)["rmse"]
        cells = [mean_cell(own[own.scaled == scaled].rmse) for scaled in (True, False)]
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
    return mean_cell(values, 1 / (searched["plan"]["outer_folds"] - 1))


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
                minus(f"{share:+.1%}"),
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
    return fill_template(
        "paper_search",
        folds=plan["outer_folds"],
        inner=plan["inner_folds"],
        candidates=candidates["re-Batch"],
        others=others.iloc[0] if others.nunique() == 1 else "several",
        epochs=plan["max_epochs"],
        scores=as_table(search_table(searched)),
        differences=as_table(differences),
        found=as_table(found),
    )
