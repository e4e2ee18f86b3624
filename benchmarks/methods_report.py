"""What methods.py found: the tables of docs/methods.md, all from its JSON."""

import re

import numpy as np
from evidence import corrected_interval, verdict
from pages import as_interval, as_quartiles, as_table, minus, where

PLAIN = "plain training"
WEIGHING = "tsw", "ohem"
LOSSES = ("log loss",)  # less is better
BLOCK = re.compile(r"(<!-- from methods\.py: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(page, results):
    """Write every table and figure of the page between its markers.

    Parameters
    ----------
    page : str
        Markdown with blocks ``<!-- from methods.py: name --> … <!-- end -->``.
    results : dict
        What methods.py wrote.

    Returns
    -------
    page : str

    Raises
    ------
    ValueError
        If a block has a name that nothing is known for.
    """

    def write(block):
        kind, _, subject = block[2].partition(" of ")
        if kind not in BLOCKS:
            raise ValueError(f"No block {kind!r}; there are {', '.join(BLOCKS)}.")
        text = BLOCKS[kind](results, *([subject] if subject else []))
        return f"{block[1]}\n{text}\n\n{block[3]}"

    return BLOCK.sub(write, page)


def summarise(results):
    """Write the tables of some sections as plain text."""
    texts = []
    for name, section in results.items():
        if name == "cost":
            texts.append(as_table(_cost_rows(section["cells"]), style="simple"))
            continue
        for cell in section["cells"]:
            table = _score_rows(cell, _ratio_of(section))
            texts.append(f"{cell['data']}\n{as_table(table, style='simple')}")
    return "\n\n".join(["", *texts, ""])


def verdict_summary(results):
    """Count what the intervals of all methods against plain training show."""
    cells = results["effect"]["cells"]
    arms = [arm for arm in cells[0]["scores"] if arm != PLAIN]
    total, lines = 0, []
    for score in _names(cells[0]):
        found = {arm: _verdicts(results, arm, score) for arm in arms}
        total += len(arms) * len(cells)
        for word in ("better", "worse"):
            counts = {arm: len(words.get(word, [])) for arm, words in found.items()}
            some = sorted(filter(counts.get, arms), key=lambda arm: -counts[arm])
            text = "; ".join(f"{arm} ({counts[arm]})" for arm in some)
            lines.append(
                f"- *{score}* **{word}** than plain training: {text or 'none'}."
            )
    lines.append(
        f"- These are {total} intervals: {len(arms)} arms on {len(cells)} data sets, "
        f"{len(_names(cells[0]))} scores. The number of data sets is in parentheses; "
        "all other intervals hold 0. Without any effect some "
        f"{0.05 * total:.0f} of so many intervals of 95 % would leave out 0."
    )
    return "\n".join(lines)


def data_table(results):
    """Say what the data sets are."""
    rows = [
        [
            cell["data"],
            cell["rows"],
            cell["features"],
            f"{100 * cell['positive']:.0f} %",
            cell["source"],
        ]
        for cell in results["effect"]["cells"]
    ]
    return as_table([["", "rows", "inputs", "class 1", "source"], *rows])


def effect_table(results, score):
    """Tabulate a score of plain training, and each method's difference to it."""
    section = results["effect"]
    cells, ratio = section["cells"], _ratio_of(section)
    rows = []
    for arm in cells[0]["scores"]:
        row = [arm]
        for cell in cells:
            if arm == PLAIN:
                row.append(f"{np.mean(cell['scores'][arm][score]):.3f}")
            else:
                row.append(_difference(cell, arm, score, ratio))
        rows.append(row)
    return as_table([["", *(cell["data"] for cell in cells)], *rows])


def score_table(results, name):
    """Tabulate the scores of a section with one data set, and the differences."""
    section = results[name]
    return as_table(_score_rows(section["cells"][0], _ratio_of(section)))


def cost_table(results):
    """Tabulate the time of fits, and of plans as a share of an epoch."""
    return as_table(_cost_rows(results["cost"]["cells"]))


def card(results, method):
    """Say what was measured of a method, by its name in `strategy`."""
    cells = results["effect"]["cells"]
    rows = {row[0]: row[1:] for row in _cost_rows(results["cost"]["cells"])}
    arms = [arm for arm in cells[0]["scores"] if arm.split(",")[0] == method]
    header = ["", *_names(cells[0]), *rows[""]]
    table = []
    for arm in arms:
        words = [_words(_verdicts(results, arm, score)) for score in _names(cells[0])]
        table.append([arm, *words, *rows[arm]])
    return as_table([header, *table])


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


def _score_rows(cell, ratio):
    """Tabulate the mean scores of all arms, and their differences to plain."""
    rows = []
    for arm, scores in cell["scores"].items():
        row = [arm]
        for score in scores:
            row.append(f"{np.mean(scores[score]):.3f}")
            row.append("" if arm == PLAIN else _difference(cell, arm, score, ratio))
        rows.append(row)
    header = [part for score in _names(cell) for part in (score, "difference")]
    return [["", *header], *rows]


def _cost_rows(cells):
    """Tabulate the costs of every arm."""
    *fits, plans = cells
    header = [f"epoch, {cell['rows']:,} × {cell['features']}" for cell in fits]
    rows = [["", *header, f"plan, {plans['rows']:,} rows"]]
    large = fits[-1]
    seconds = np.median(large["seconds"][PLAIN]["cpu"]) / large["epochs"]
    epoch = seconds * plans["rows"] / large["rows"]
    for arm, times in plans["seconds"].items():
        row = [arm]
        for cell in fits:
            own = cell["seconds"].get(arm)
            base = cell["seconds"][PLAIN]["cpu"]
            row.append(as_quartiles(own["cpu"], base) if own else "")
        own = np.median(times["cpu"])
        if arm not in (PLAIN, *WEIGHING):  # which draw an order as well
            own -= np.median(plans["seconds"][PLAIN]["cpu"])
        rows.append([*row, f"{100 * own / epoch:.2f} %"])
    return rows


def _verdicts(results, arm, score):
    """Sort the data sets by what the difference to plain training shows."""
    section = results["effect"]
    found = {}
    for cell in section["cells"]:
        difference = _interval(cell, arm, score, _ratio_of(section))
        word = verdict(difference, score not in LOSSES)
        found.setdefault(word, []).append(cell["data"])
    return found


def _words(found):
    """Write the verdicts on a method into a cell."""
    parts = [
        f"{word} on {', '.join(found[word])}"
        for word in ("better", "worse")
        if word in found
    ]
    if "undecided" in found:
        parts.append(f"undecided on {len(found['undecided'])}")
    return "; ".join(parts)


def _interval(cell, arm, score, ratio):
    ours, plain = (cell["scores"][name][score] for name in (arm, PLAIN))
    return corrected_interval(np.subtract(ours, plain), ratio)


def _difference(cell, arm, score, ratio):
    """Write a difference with its interval, bold where that leaves out 0."""
    interval = _interval(cell, arm, score, ratio)
    text = minus(as_interval(interval, "+.3f"))
    if verdict(interval, higher_is_better=True) == "undecided":
        return text
    mean, ends = text.split(" ", 1)
    return f"**{mean}** {ends}"


def _names(cell):
    return list(cell["scores"][PLAIN])


def _ratio_of(section):
    """Return the number of test rows by that of training rows."""
    return 1 / (section["size"]["folds"] - 1)
