"""What compare.py found: tables, pictures and the page, all from its JSON."""

import itertools
from collections import Counter

import numpy as np
import pages
import pandas as pd
from evidence import corrected_interval, verdict
from harness import RESULTS, load_frame, read_json, read_setting
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

CONTROLS = ("no re-Batch", "random")
LOSSES = ("log loss", "RMSE")  # less is better
SETTING = read_setting(__file__)
COLOURS, CURVES = SETTING["colours"], SETTING["curves"]
REPEATS = {0: "left out", 1: "moved", 2: "twice"}


def describe(results):
    """Write the section of a data set."""
    functions = compare, count_choices, load_frame, mean_cell
    return pages.fill_template("compare_data", *functions, results=results)


def compare(results):
    """Compare re-Batch with its controls: a control and score a row."""
    scores = load_frame(results["runs"]).pivot(index="split", columns="arm")
    rows = []
    for control, name in itertools.product(CONTROLS, results["runs"][0]["scores"]):
        gains = scores[name, "re-Batch"] - scores[name, control]
        interval = corrected_interval(gains, _outer_ratio(results))
        word = verdict(interval, name not in LOSSES)
        cell = mean_cell(gains, scores[name].stack(), results, "+")
        case = f"{results['data']['name']} ({name})"
        rows.append([control, case, word, f"{cell} {word}"])
    return pd.DataFrame(rows, columns=["control", "case", "word", "cell"])


def count_choices(results, arm):
    """List the candidates that the searches of an arm chose, and how often."""
    best = [run["best"] for run in results["runs"] if run["arm"] == arm]
    names = [f"{b['ratio']} {REPEATS[b['repeats']]} {b['choice']}" for b in best]
    return "; ".join(f"{choice} ({n}×)" for choice, n in Counter(names).most_common())


def write_page(names, docs):
    """Write compare.md and its pictures from the results that there are."""
    files = [RESULTS / f"compare_{name}.json" for name in names]
    everything = [read_json(file) for file in files if file.exists()]
    for results in everything:
        for part, draw in (("curves", _draw_curves), ("ratio", _draw_ratio)):
            file = f"{results['data']['name']}_{part}.png"
            pages.save_figure(draw(results), docs / "images" / "compare" / file)
    pages.fill_page(
        docs / "compare.md",
        *(describe, pages.list_versions),
        everything=everything,
        first=everything[0],
        found=pd.concat(map(compare, everything)),
        n_candidates=_candidates(everything[0]).groupby(["arm", "split"]).size().max(),
    )


def _draw_curves(results):
    """Draw training and test loss by epoch, with and without re-Batch."""
    loss = {"classification": "log loss", "regression": "squared error (scaled target)"}
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, part in zip(figure.subplots(1, 2), ("train", "test"), strict=True):
        for label, curve in CURVES.items():
            curves = [run[part] for run in results["curves"] if run["curve"] == label]
            mean = np.mean(curves, axis=0)
            epochs = np.arange(1, len(mean) + 1)
            axes.plot(epochs, mean, label=label, **curve["style"])
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
    folds = inner.explode("scores").groupby(["choice", "repeats", "ratio"]).scores
    inner = folds.apply(lambda own: pd.Series(own.to_list())).unstack()
    name = list(results["runs"][0]["scores"])[-1]
    places = np.arange(len(plan["ratios"]))
    test_by_train = 1 / (plan["inner_folds"] - 1)
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    grid = figure.subplots(2, len(plan["repeats"]), sharex=True, sharey="row")
    for (above, below), repeats in zip(grid.T, plan["repeats"], strict=True):
        scores = inner.xs(repeats, level="repeats")  # a row for each ratio
        plain = scores.loc["plain"]
        above.plot(places, plain.mean(axis=1), "k.-", label="no re-Batch")
        below.axhline(0, color="black", linewidth=1)
        for k, (strategy, colour) in enumerate(COLOURS.items()):
            own = scores.loc[strategy]
            above.plot(places, own.mean(axis=1), ".-", c=colour, label=strategy)
            gains = (own - plain).apply(
                corrected_interval, axis=1, args=[test_by_train]
            )
            means, _, highs = np.transpose(gains.to_list())
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


def _outer_ratio(results):
    return 1 / (results["plan"]["outer_folds"] - 1)


def mean_cell(values, scores, results, sign=""):
    """Write a mean with its interval, with decimals that fit all scores of a table."""
    decimals = int(np.clip(3 - np.floor(np.log10(abs(scores.mean()))), 0, 3))
    interval = corrected_interval(values, _outer_ratio(results))
    return pages.minus(pages.as_interval(interval, f"{sign}.{decimals}f"))
