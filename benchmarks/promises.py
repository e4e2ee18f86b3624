"""What the package promises, with the figure that was measured for each.

The page is docs/promises.md. Every figure is read from the file in benchmarks/results/
that its own script has written; a promise whose file is missing is left out.
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
    return fill_template("promises", slower, pd.json_normalize, **found)


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
