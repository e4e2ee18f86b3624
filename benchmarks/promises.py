"""What the package promises, with the figure that was measured for each.

    python benchmarks/promises.py --page    # docs/promises.md from all results

Every figure is read from the file in benchmarks/results/ that its own script has
written; a promise whose file is missing is left out.
"""

import numpy as np
from harness import DOCS, RESULTS, make_parser, read_json
from pages import TEMPLATES, as_table, write_blocks

PAGE = DOCS / "promises.md"
BLOCK = "promises: written by benchmarks/promises.py"


def per_fit(found, unit):
    """Write a slope with its interval."""
    middle, low, high = found
    if low == high:
        return f"{middle:.0f} {unit}"
    return f"{middle:+.0f} {unit} [{low:+.0f}, {high:+.0f}]"


def of_kills(found):
    return {**found, "n_cases": len(found["cases"])}


def of_fits(found):
    readings = found["readings"]
    first, last = readings[len(readings) // 5], readings[-1]
    more = {name: last[name] - first[name] for name in first}
    return {
        "fits": found["fits"],
        "failed": found["fits"] - found["ends"]["done"],
        "more": more,
        "kib": more["bytes"] / 2**10,
        **{name: per_fit(slope, name) for name, slope in found["slopes"].items()},
    }


def of_arguments(found):
    ends = found["ends"]
    n_tried = sum(ends.values())
    n_failed = n_tried - ends["works"]
    n_errors = len(ends) - 1
    return {**found, "n_tried": n_tried, "n_failed": n_failed, "n_errors": n_errors}


def of_mapped(found):
    largest = found["peak"]["cells"][-1]
    slower = []
    for cell in found["time"]["cells"]:
        seconds = cell["seconds"]
        ratio = np.median(np.divide(seconds["file"]["cpu"], seconds["memory"]["cpu"]))
        slower.append(f"{ratio:.2f} at {cell['rows']:,} × {cell['features']:,}")
    return {
        "gibibytes": largest["gibibytes"],
        "mib": largest["bytes"] / 2**20,
        "slower": "; ".join(slower),
    }


def of_plan(found):
    cells = found["simulation"]["cells"]
    return {
        "n_same": sum(cell["same"] for cell in cells),
        "n_choices": len(cells),
        "n_machines": max(cell["machines"] for cell in cells),
        "rows": found["simulation"]["rows"],
    }


def of_sharded(found):
    cells = [cell for cell in found["cells"] if cell["dtype"] == "float64"]
    runs = [run for cell in cells for run in cell["runs"]]
    return {
        "processes": found["processes"],
        "n_fits": len(runs),
        "alike": sum(run["chosen alike"] for run in runs),
        "chosen": sum(run["chosen"] for run in runs),
        "apart": max(run["largest difference"] for run in runs),
    }


# What the figures of some results need; those of others are in their file.
VALUES = {
    "kills": of_kills,
    "abuse, fits": of_fits,
    "abuse, arguments": of_arguments,
    "mapped": of_mapped,
    "plan": of_plan,
    "sharded": of_sharded,
}
# The page that says more, by file of results.
SOURCES = {
    "kills": "interruption.md",
    "abuse": None,
    "mapped": "large_tables.md",
    "plan": "plan.md",
    "sharded": "distributed.md",
}


def read(source):
    """Read the results, "file" or "file, section", or None where there are none."""
    name, _, section = source.partition(", ")
    path = RESULTS / f"{name}.json"
    found = read_json(path) if path.exists() else None
    return found.get(section) if found and section else found


def table():
    """Make the table of all promises whose results are there.

    Each promise of the template has its results in a line, itself in the next, and
    then its figure.
    """
    rows = []
    text = (TEMPLATES / "promises.md").read_text("utf-8")
    for promise in text.strip().split("\n\n"):
        source, title, *figure = promise.splitlines()
        found = read(source)
        if found is None:
            continue
        values = VALUES.get(source, dict)(found)
        name = source.partition(", ")[0]
        by, page = f"`{name}.py`", SOURCES[name]
        if page:
            by = f"[{page[:-3].replace('_', ' ')}]({page}), {by}"
        measured = " ".join(figure).format(**values)
        rows.append({"promise": title, "measured": measured, "by": by})
    return as_table(rows, "keys")


def main():
    if make_parser(__doc__, "--page").parse_args().page:
        write_blocks(PAGE, {BLOCK: table()})
    else:
        print(table())


if __name__ == "__main__":
    main()
