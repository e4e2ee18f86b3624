"""What methods.py found: the tables of docs/methods.md, all from its JSON."""

import re

import numpy as np
import pandas as pd
from evidence import corrected_interval, verdict
from harness import DOCS
from pages import as_interval, as_quartiles, as_table, minus, where

PLAIN = "plain training"
WEIGHING = "tsw", "ohem"
LOSSES = ("log loss",)  # less is better
BLOCK = re.compile(r"(<!-- from methods\.py: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(page, results):
    """Write what stands between the marks of a page, by the names of `BLOCKS`.

    A mark may add a subject: ``<!-- from methods.py: name of subject -->``.
    """

    def write(block):
        kind, _, subject = block[2].partition(" of ")
        if kind not in BLOCKS:
            raise ValueError(f"No block {kind!r}; there are {', '.join(BLOCKS)}.")
        text = BLOCKS[kind](results, *([subject] if subject else []))
        return f"{block[1]}\n{text}\n\n{block[3]}"

    return BLOCK.sub(write, page)


def write_page(results):
    """Write the tables and figures of docs/methods.md."""
    page = DOCS / "methods.md"
    page.write_text(fill(page.read_text("utf-8"), results), encoding="utf-8")


def compare(section):
    """Compare every arm with plain training: an arm, data set and score a row."""
    test_by_train = 1 / (section["size"]["folds"] - 1)
    rows = []
    for arm in section["cells"][0]["scores"]:
        for cell in section["cells"]:
            for score, values in cell["scores"][arm].items():
                gains = np.subtract(values, cell["scores"][PLAIN][score])
                interval = corrected_interval(gains, test_by_train)
                row = {"arm": arm, "data": cell["data"], "score": score}
                row["word"] = verdict(interval, score not in LOSSES)
                row["mean"] = f"{np.mean(values):.3f}"
                row["difference"] = "" if arm == PLAIN else _difference(interval)
                rows.append(row)
    return pd.DataFrame(rows)


def _difference(interval):
    """Write a difference with its interval, bold where that leaves out 0."""
    text = minus(as_interval(interval, "+.3f"))
    if interval.low <= 0 <= interval.high:
        return text
    mean, ends = text.split(" ", 1)
    return f"**{mean}** {ends}"


def verdict_summary(results):
    """Count what the intervals of all methods against plain training show."""
    found = compare(results["effect"])
    found = found[found.arm != PLAIN]
    rows = [["", "better than plain training", "worse than plain training"]]
    for score, own in found.groupby("score", sort=False):
        rows.append([score, *(_counts(own, word) for word in ("better", "worse"))])
    n_arms, n_data, n_scores = found[["arm", "data", "score"]].nunique()
    return (
        f"{as_table(rows)}\n\n"
        f"These are {len(found)} intervals: {n_arms} methods, {n_data} data sets, "
        f"{n_scores} scores. All other intervals contain 0. If no method had an "
        f"effect, about {0.05 * len(found):.0f} of these 95 % intervals would exclude "
        "0 by chance."
    )


def _counts(found, word):
    """List the methods with a verdict, and the number of data sets of each."""
    arms = found.arm[found.word == word]
    counts = arms.groupby(arms, sort=False).size()
    counts = counts.sort_values(ascending=False, kind="stable")
    return "; ".join(f"{arm} ({n})" for arm, n in counts.items()) or "none"


def data_table(results):
    """Say what the data sets are."""
    cells = pd.DataFrame(results["effect"]["cells"]).set_index("data")
    cells["positive"] = [f"{100 * share:.0f} %" for share in cells.positive]
    titles = {"features": "inputs", "positive": "class 1"}
    table = cells[["rows", "features", "positive", "source"]].rename(columns=titles)
    return as_table(table.rename_axis(None), "keys")


def effect_table(results, score):
    """Tabulate a score of plain training, and each method's difference to it."""
    found = compare(results["effect"])
    found = found[found.score == score]
    cells = found["mean"].where(found.arm == PLAIN, found.difference)
    table = found.assign(cell=cells).pivot(index="arm", columns="data", values="cell")
    table = table.loc[found.arm.unique(), found.data.unique()]
    return as_table(table.rename_axis(None), "keys")


def score_table(results, name):
    """Tabulate the scores of a section with one data set, and the differences."""
    found = compare(results[name])
    rows = [
        [arm, *own[["mean", "difference"]].to_numpy().ravel()]
        for arm, own in found.groupby("arm", sort=False)
    ]
    header = [part for score in found.score.unique() for part in (score, "difference")]
    return as_table([["", *header], *rows])


def cost_table(results):
    """Tabulate the time of fits, and of plans as a share of an epoch."""
    return as_table(_costs(results), "keys")


def card(results, method):
    """Say what was measured of a method, by its name in `strategy`."""
    found = compare(results["effect"])
    own = found[found.arm.str.split(",").str[0] == method]
    words = own.groupby(["arm", "score"]).apply(_words).unstack()
    words = words.loc[own.arm.unique(), own.score.unique()]
    return as_table(words.join(_costs(results)).fillna("").rename_axis(None), "keys")


def place(results, section):
    """Say when and on what a section ran."""
    return where(results[section]["environment"], f"seed {results[section]['seed']}")


def size(results, section):
    """Say how much a section ran."""
    plan = results[section]["size"]
    epochs = results[section]["cells"][0]["epochs"]
    return (
        f"{plan['repeats']} × {plan['folds']}-fold cross-validation, {epochs} epochs, "
        f"batches of {plan['batch_size']} rows."
    )


BLOCKS = {
    "summary": verdict_summary,
    "data": data_table,
    "effect": effect_table,
    "scores": score_table,
    "cost": cost_table,
    "card": card,
    "place": place,
    "size": size,
}


def _costs(results):
    """Tabulate the costs of every arm."""
    *fits, plans = results["cost"]["cells"]
    large = fits[-1]
    seconds = np.median(large["seconds"][PLAIN]["cpu"]) / large["epochs"]
    epoch = seconds * plans["rows"] / large["rows"]
    order = np.median(plans["seconds"][PLAIN]["cpu"])
    rows = {}
    for arm, times in plans["seconds"].items():
        rows[arm] = {}
        for cell in fits:
            own, base = cell["seconds"].get(arm), cell["seconds"][PLAIN]
            ratio = as_quartiles(own["cpu"], base["cpu"]) if own else ""
            rows[arm][f"epoch, {cell['rows']:,} × {cell['features']}"] = ratio
        own = np.median(times["cpu"])
        if arm not in (PLAIN, *WEIGHING):  # which draw an order as well
            own -= order
        share = minus(f"{100 * own / epoch:.2f} %")
        rows[arm][f"plan, {plans['rows']:,} rows"] = share
    return pd.DataFrame.from_dict(rows, "index")


def _words(found):
    """Write the verdicts on a method into a cell."""
    data = found.groupby("word").data.apply(list)
    parts = [
        f"{word} on {', '.join(data[word])}"
        for word in ("better", "worse")
        if word in data
    ]
    if "undecided" in data:
        parts.append(f"undecided on {len(data['undecided'])}")
    return "; ".join(parts)
