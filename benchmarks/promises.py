"""What the package promises, with the figure that was measured for each.

    python benchmarks/promises.py --page    # docs/promises.md from all results

Every figure is read from the file in benchmarks/results/ that its own script has
written; a promise whose file is missing is left out.
"""

import numpy as np
import pandas as pd
from harness import DOCS, RESULTS, make_parser, read_json
from pages import fill_template, write_blocks

PAGE = DOCS / "promises.md"
BLOCK = "promises: written by benchmarks/promises.py"
SOURCES = "kills", "abuse", "mapped", "plan", "sharded"


def table():
    """Make the table of all promises whose results are there."""
    paths = {name: RESULTS / f"{name}.json" for name in SOURCES}
    found = {n: read_json(path) if path.exists() else {} for n, path in paths.items()}
    values = {}
    if found["abuse"]:
        values |= of_fits(**found["abuse"]["fits"])
    if found["mapped"]:
        values["slower"] = [slower(**cell) for cell in found["mapped"]["time"]["cells"]]
    if found["sharded"]:
        cells = found["sharded"]["cells"]
        exact = [cell for cell in cells if cell["dtype"] == "float64"]
        values["runs"] = pd.json_normalize(exact, "runs")
    return fill_template("promises", **found, **values)


def of_fits(readings, slopes, **_):
    """Return what a process holds more after the warm-up, and how to write a slope."""
    first, last = readings[len(readings) // 5], readings[-1]

    def per_fit(unit):
        mean, low, high = slopes[unit]
        if low == high:
            return f"{mean:.0f} {unit}"
        return f"{mean:+.0f} {unit} [{low:+.0f}, {high:+.0f}]"

    return {"more": {n: last[n] - first[n] for n in first}, "per_fit": per_fit}


def slower(rows, features, seconds, **_):
    """Say how much more CPU time training takes from a file than in memory."""
    ratio = np.divide(seconds["file"]["cpu"], seconds["memory"]["cpu"])
    return f"{np.median(ratio):.2f} at {rows:,} × {features:,}"


def write_page(_results=None):
    """Write the table, from the results of all scripts."""
    write_blocks(PAGE, {BLOCK: table()})


if __name__ == "__main__":
    make_parser(__doc__, "--page").parse_args()
    write_page()
