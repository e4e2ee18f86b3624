"""What methods.py found: the tables of docs/methods.md, all from its JSON."""

import re

import numpy as np
import pandas as pd
from evidence import corrected_interval, verdict
from harness import DOCS
from pages import as_interval, as_quartiles, as_table, load_macros, minus

from skrebatch.strategies import STRATEGIES

PLAIN = "plain training"
WEIGHING = [name for name, cls in STRATEGIES.items() if cls().weights_batches]
LOSSES = ("log loss",)  # less is better
BLOCK = re.compile(r"(<!-- from methods\.py: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(page, results):
    """Write what stands between the marks of a page, by the macros of its template.

    A mark names a macro, and may add a subject: ``<!-- from methods.py: macro of
    subject -->``.
    """
    functions = as_table, card_table, compare, costs, count_methods, effect_table
    macros = load_macros("methods", *functions, results=results, plain=PLAIN)

    def write(block):
        kind, _, subject = block[2].partition(" of ")
        if not hasattr(macros, kind):
            raise ValueError(f"No block {kind!r} in benchmarks/templates/methods.md.")
        text = getattr(macros, kind)(*([subject] if subject else []))
        return f"{block[1]}\n{text.strip()}\n\n{block[3]}"

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


def count_methods(found, word):
    """List the methods with a verdict, and the number of data sets of each."""
    arms = found.arm[found.word == word]
    counts = arms.groupby(arms, sort=False).size()
    counts = counts.sort_values(ascending=False, kind="stable")
    return "; ".join(f"{arm} ({n})" for arm, n in counts.items()) or "none"


def effect_table(section, score):
    """Tabulate a score of plain training, and each method's difference to it."""
    found = compare(section)
    found = found[found.score == score]
    cells = found["mean"].where(found.arm == PLAIN, found.difference)
    table = found.assign(cell=cells).pivot(index="arm", columns="data", values="cell")
    table = table.loc[found.arm.unique(), found.data.unique()]
    return as_table(table.rename_axis(None), "keys")


def card_table(results, method):
    """Tabulate what was measured of a method, by its name in `strategy`."""
    found = compare(results["effect"])
    own = found[found.arm.str.split(",").str[0] == method]
    words = own.groupby(["arm", "score"]).apply(_words).unstack()
    words = words.loc[own.arm.unique(), own.score.unique()]
    table = words.join(costs(results["cost"]["cells"])).fillna("")
    return as_table(table.rename_axis(None), "keys")


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


def costs(cells):
    """Tabulate the time of fits, and of plans as a share of an epoch, by arm."""
    *fits, plans = cells
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
