"""What compare.py found: tables, pictures and the page, all from its JSON."""

from collections import Counter, defaultdict

import numpy as np
import pandas as pd
from evidence import corrected_interval, verdict
from harness import load_frame, read_json
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from pages import (
    as_interval,
    as_table,
    fill_template,
    list_versions,
    minus,
    save_figure,
)

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


def summarise(results):
    """Write the tables of a data set as plain text."""
    data = results["data"]
    title = f"{data['name']}: {data['rows']} rows, {data['task']}, {data['source']}"
    tables = [score_table(results), difference_table(results)]
    return "\n\n".join(["", title, *(as_table(t, style="plain") for t in tables), ""])


def score_table(results):
    """Tabulate mean, interval and times of every arm, the best first."""
    frame, names = load_frame(results["runs"]), _score_names(results)
    arms = sorted(frame.groupby("arm"), key=lambda arm: arm[1][names[-1]].mean())
    rows = [["", *names, "fit", "search"]]
    for arm, own in arms:
        intervals = [corrected_interval(own[n], _outer_ratio(results)) for n in names]
        cells = [
            _format(interval, _decimals(frame[name]))
            for name, interval in zip(names, intervals, strict=True)
        ]
        searched = own["best.ratio"].notna().all()
        search = _seconds(own.total_seconds) if searched else ""
        rows.append([arm, *cells, _seconds(own.fit_seconds), search])
    return rows


def difference_table(results):
    """Tabulate the paired differences of re-Batch and its controls."""
    frame = load_frame(results["runs"])
    rows = [["", *_score_names(results)]]
    for control in CONTROLS:
        cells = [
            f"{_format(difference, _decimals(frame[name]), sign='+')} {word}"
            for name, difference, word in _differences(results, control)
        ]
        rows.append([f"re-Batch − {control}", *cells])
    return rows


def choice_table(results):
    """Tabulate which candidates the searches chose, and how often."""
    frame = load_frame(results["runs"]).sort_values("split")
    rows = [["", "chosen: ratio, repeats, choice"]]
    for arm in ("re-Batch", *CONTROLS):
        best = frame.loc[
            frame.arm == arm, ["best.ratio", "best.repeats", "best.choice"]
        ]
        counts = Counter(
            f"{ratio} {REPEATS[repeats]} {choice}"
            for ratio, repeats, choice in best.itertuples(index=False)
        )
        text = "; ".join(f"{choice} ({n}×)" for choice, n in counts.most_common())
        rows.append([arm, text])
    return rows


def draw(results, folder, stem):
    """Draw both pictures of a data set; return their paths."""
    pictures = {"curves": _draw_curves, "ratio": _draw_ratio}
    return [
        save_figure(picture(results), folder / f"{stem}_{name}.png")
        for name, picture in pictures.items()
    ]


def write_page(results_folder, names, docs):
    """Write compare.md and its pictures from the results that there are."""
    files = [results_folder / f"compare_{name}.json" for name in names]
    everything = [read_json(file) for file in files if file.exists()]
    if not everything:
        raise FileNotFoundError(
            f"No results in {results_folder}; run compare.py first."
        )
    plan = everything[0]["plan"]
    page = fill_template(
        "compare",
        names=" ".join(results["data"]["name"] for results in everything),
        summary="\n".join(_summary(everything, control) for control in CONTROLS),
        folds=plan["outer_folds"],
        repeats=plan["outer_repeats"],
        inner=plan["inner_folds"],
        candidates=_candidates(everything[0]).groupby(["arm", "split"]).size().max(),
        ratios=", ".join(map(str, plan["ratios"])),
        repeat_values=", ".join(map(str, plan["repeats"])),
    )
    for results in everything:
        draw(results, docs / "images" / "compare", results["data"]["name"])
        page += fill_template(
            "compare_data",
            **results["data"],
            max_epochs=results["plan"]["max_epochs"],
            scores=_as_markdown(score_table(results)),
            differences=_as_markdown(difference_table(results)),
            chosen=_as_markdown(choice_table(results)),
        )
    seed, versions = everything[0]["seed"], list_versions(everything[0]["versions"])
    page += f"\nSeed {seed}; {versions}.\n"
    (docs / "compare.md").write_text(page, encoding="utf-8")


def _summary(everything, control):
    """Count what the paired differences to a control show."""
    found = defaultdict(list)
    for results in everything:
        for name, _, word in _differences(results, control):
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
    inner, plan = _candidates(results), results["plan"]
    # Of a control's two seeds, the one whose initial weights are re-Batch's.
    inner["choice"] = inner.choice.str.removesuffix(", seed 0")
    inner = inner.explode("scores").groupby(["choice", "repeats", "ratio"]).scores
    name = _score_names(results)[-1]
    places = np.arange(len(plan["ratios"]))
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    grid = figure.subplots(2, len(plan["repeats"]), sharex=True, sharey="row")
    for (above, below), repeats in zip(grid.T, plan["repeats"], strict=True):

        def scores_of(choice, repeats=repeats):  # (n_ratios, n_validation_folds)
            cases = [(choice, repeats, ratio) for ratio in plan["ratios"]]
            return np.array([inner.get_group(case) for case in cases], dtype=float)

        plain = scores_of("plain")
        above.plot(places, np.mean(plain, axis=1), "k.-", label="no re-Batch")
        below.axhline(0, color="black", linewidth=1)
        for k, (strategy, colour) in enumerate(COLOURS.items()):
            scores = scores_of(strategy)
            above.plot(places, np.mean(scores, axis=1), ".-", c=colour, label=strategy)
            test_by_train = 1 / (plan["inner_folds"] - 1)
            gains = [corrected_interval(g, test_by_train) for g in scores - plain]
            means, _, highs = np.transpose(gains)
            x = places + (k - 1) * 0.15
            below.errorbar(x, means, highs - means, fmt=".", c=colour, capsize=2)
        above.set_title(f"repeats {repeats}: {REPEATS[repeats]}")
        below.set(xlabel="ratio", xticks=places, xticklabels=plan["ratios"])
        above.grid(alpha=0.3)
        below.grid(alpha=0.3, axis="y")
    grid[0, 0].set_ylabel(f"{name}, less is better")
    grid[1, 0].set_ylabel("difference to no re-Batch")
    grid[0, 0].legend(fontsize="small")
    figure.suptitle(f"{results['data']['name']}: {name} on validation folds by ratio")
    return figure


def _candidates(results):
    """Tabulate the candidates of all searches."""
    searches = [run for run in results["runs"] if "inner" in run]
    return pd.json_normalize(searches, "inner", ["arm", "split"])


def _differences(results, control):
    """List scores, with the interval of the difference to a control and its verdict."""
    by_split = load_frame(results["runs"]).pivot(index="split", columns="arm")
    found = []
    for name in _score_names(results):
        scores = by_split[name]
        gains = scores["re-Batch"] - scores[control]
        difference = corrected_interval(gains, _outer_ratio(results))
        found.append((name, difference, verdict(difference, name not in LOSSES)))
    return found


def _score_names(results):
    return list(results["runs"][0]["scores"])


def _outer_ratio(results):
    return 1 / (results["plan"]["outer_folds"] - 1)


def _decimals(scores):
    """Choose decimals so that every arm of a table has the same."""
    return int(np.clip(3 - np.floor(np.log10(abs(scores.mean()))), 0, 3))


def _format(interval, decimals, sign=""):
    return minus(as_interval(interval, f"{sign}.{decimals}f"))


def _seconds(values):
    seconds = values.median()
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.0f}"


def _as_markdown(table):
    """Format a table without padding, as some of its cells are very wide."""
    header, *rows = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([header, "|---" * len(table[0]) + "|", *rows])
