"""What the package promises, with the figure that was measured for each.

    python benchmarks/promises.py --page    # docs/promises.md from all results

Every figure is read from the file in benchmarks/results/ that its own script has
written; a promise whose file is missing is left out.
"""

import numpy as np
import pandas as pd
from harness import DOCS, RESULTS, make_parser, read_json
from pages import TEMPLATES, as_table, write_blocks

PAGE = DOCS / "promises.md"
BLOCK = "promises: written by benchmarks/promises.py"


def per_fit(slope, unit):
    """Write a slope with its interval, where it has one."""
    mean, low, high = slope
    if low == high:
        return f"{mean:.0f} {unit}"
    return f"{mean:+.0f} {unit} [{low:+.0f}, {high:+.0f}]"


def of_fits(found):
    readings = found["readings"]
    first, last = readings[len(readings) // 5], readings[-1]
    more = {name: last[name] - first[name] for name in first}
    failed = found["fits"] - found["ends"]["done"]
    slopes = {name: per_fit(slope, name) for name, slope in found["slopes"].items()}
    return {"failed": failed, "more": more, "kib": more["bytes"] / 2**10, **slopes}


def of_arguments(found):
    n_tried, n_works = sum(found["ends"].values()), found["ends"]["works"]
    n_errors = len(found["ends"]) - 1
    return {"n_tried": n_tried, "n_failed": n_tried - n_works, "n_errors": n_errors}


def of_mapped(found):
    slower = []
    for cell in found["time"]["cells"]:
        file, memory = (cell["seconds"][name]["cpu"] for name in ("file", "memory"))
        ratio = np.median(np.divide(file, memory))
        slower.append(f"{ratio:.2f} at {cell['rows']:,} × {cell['features']:,}")
    largest = found["peak"]["cells"][-1]
    mib = largest["bytes"] / 2**20
    return {**largest, "mib": mib, "slower": "; ".join(slower)}


def of_plan(found):
    cells = found["simulation"]["cells"]
    n_same = sum(cell["same"] for cell in cells)
    n_machines = max(cell["machines"] for cell in cells)
    return {"n_same": n_same, "n_choices": len(cells), "n_machines": n_machines}


def of_sharded(found):
    cells = [cell for cell in found["cells"] if cell["dtype"] == "float64"]
    runs = pd.json_normalize(cells, "runs")
    apart = runs["largest difference"].max()
    return {"n_fits": len(runs), "total": runs.sum(), "apart": apart}


# By file of results, and section: what the figures need beside what is there.
VALUES = {
    "kills": lambda found: {"n_cases": len(found["cases"])},
    "abuse, fits": of_fits,
    "abuse, arguments": of_arguments,
    "mapped": of_mapped,
    "plan": of_plan,
    "sharded": of_sharded,
}


def table():
    """Make the table of all promises whose results are there.

    The lines of a promise in the template are: its results, "file" or "file, section",
    who measured it, the promise itself, and its figure.
    """
    rows = []
    text = (TEMPLATES / "promises.md").read_text("utf-8")
    for promise in text.strip().split("\n\n"):
        source, by, title, *figure = promise.splitlines()
        name, _, section = source.partition(", ")
        path = RESULTS / f"{name}.json"
        found = read_json(path) if path.exists() else {}
        found = found.get(section) if section else found
        if found:
            values = {**found, **VALUES.get(source, dict)(found)}
            measured = " ".join(figure).format(**values)
            rows.append({"promise": title, "measured": measured, "by": by})
    return as_table(rows, "keys")


def write_page(_results=None):
    """Write the table, from the results of all scripts."""
    write_blocks(PAGE, {BLOCK: table()})


if __name__ == "__main__":
    make_parser(__doc__, "--page").parse_args()
    write_page()
