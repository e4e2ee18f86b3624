"""What the package promises, with the figure that was measured for each.

    python benchmarks/promises.py --page    # docs/promises.md from all results

Every figure is read from the file in benchmarks/results/ that its own script has
written; a promise whose file is missing is left out.
"""

import numpy as np
from harness import DOCS, RESULTS, make_parser, read_json
from pages import as_table, write_blocks

PAGE = DOCS / "promises.md"
BLOCK = "promises: written by benchmarks/promises.py"


def per_fit(found, unit):
    """Write a slope with its interval."""
    middle, low, high = found
    if low == high:
        return f"{middle:.0f} {unit}"
    return f"{middle:+.0f} {unit} [{low:+.0f}, {high:+.0f}]"


def of_kills(found):
    total, cases = found["total"], len(found["cases"])
    yield (
        "A fit or search that is killed goes on, and ends at the same bits",
        f"{total['kills']} kills at random moments in {cases} kinds of fits and "
        f"searches: {total['runs_equal_to_the_bit']} of {total['runs']} runs equal",
    )
    yield (
        "A file is written whole or not at all",
        f"{total['kills_in_the_middle_of_a_write']} of these kills in the middle of a "
        f"write: {total['files_torn']} files torn, {total['files_left_over']} left",
    )


def of_abuse(found):
    if "fits" in found:
        own = found["fits"]
        first, last = own["readings"][len(own["readings"]) // 5], own["readings"][-1]
        more = (last["bytes"] - first["bytes"]) / 2**10
        failed = own["fits"] - own["ends"]["done"]
        n_last = last["fits"] - first["fits"]
        yield (
            "Fits leave no threads, files or objects behind",
            f"{own['fits']:,} fits in one process, {failed:,} of them failing or "
            f"interrupted. In the last {n_last:,}: "
            f"{last['threads'] - first['threads']} more threads, "
            f"{last['files'] - first['files']} more open files, {more:.0f} KiB more; "
            f"{per_fit(own['slopes']['objects'], 'objects')} and "
            f"{per_fit(own['slopes']['bytes'], 'bytes')} a fit",
        )
    if "any order" in found:
        ends = found["any order"]["ends"]
        yield (
            "What fails leaves no trace, in whatever order things are done",
            f"{ends['step']:,} steps of fits, settings, pickles, files and predictions "
            f"in random order, {ends['refused or failed']:,} of them failing: none "
            "broke it",
        )
    if "arguments" in found:
        ends = dict(found["arguments"]["ends"])
        works, n_tried = ends.pop("works"), sum(found["arguments"]["ends"].values())
        yield (
            "Whatever an argument is, it works or raises an error that says why",
            f"{n_tried:,} calls of everything public with hostile arguments: "
            f"{works:,} worked, {n_tried - works:,} ended in one of "
            f"{len(ends)} kinds of documented errors, none otherwise",
        )
    if "threads" in found:
        own = found["threads"]
        yield (
            "Threads may fit at the same time",
            f"{own['fits']} fits and {own['searches']} searches, {own['at_once']} at "
            f"once: {own['equal_to_the_bit']} equal to the bit with one by one",
        )


def of_mapped(found):
    largest = found["peak"]["cells"][-1]
    yield (
        "A table in a file takes little memory, however large",
        f"{largest['gibibytes']} GiB trained on and predicted with "
        f"{largest['bytes'] / 2**20:.0f} MiB more than without",
    )
    slower = []
    for cell in found["time"]["cells"]:
        seconds = cell["seconds"]
        ratio = np.median(np.divide(seconds["file"]["cpu"], seconds["memory"]["cpu"]))
        slower.append(f"{ratio:.2f} at {cell['rows']:,} × {cell['features']:,}")
    yield (
        "A table in a file trains at a stated speed",
        f"in units of the CPU time in memory: {'; '.join(slower)}",
    )


def of_plan(found):
    cells = found["simulation"]["cells"]
    same = sum(cell["same"] for cell in cells)
    yield (
        "Machines that share a table choose the samples that one would",
        f"{same} of {len(cells)} simulated choices equal, over up to "
        f"{max(cell['machines'] for cell in cells)} machines and "
        f"{found['simulation']['rows']:,} rows",
    )


def of_sharded(found):
    runs = [
        run
        for cell in found["cells"]
        if cell["dtype"] == "float64"
        for run in cell["runs"]
    ]
    chosen = sum(run["chosen"] for run in runs)
    alike = sum(run["chosen alike"] for run in runs)
    apart = max(run["largest difference"] for run in runs)
    yield (
        "Processes that share a fit find what one would",
        f"{len(runs)} fits of {found['processes']} processes in float64: {alike:,} of "
        f"{chosen:,} choices equal, parameters at most {apart:.0e} apart",
    )


# Of each file: its rows, its script and the page that says more.
SOURCES = {
    "kills": (of_kills, "interruption.md"),
    "abuse": (of_abuse, None),
    "mapped": (of_mapped, "large_tables.md"),
    "plan": (of_plan, "plan.md"),
    "sharded": (of_sharded, "distributed.md"),
}


def table():
    """Make the table of all promises whose results are there."""
    rows = []
    for name, (promises, page) in SOURCES.items():
        path = RESULTS / f"{name}.json"
        if not path.exists():
            continue
        source = f"`{name}.py`"
        if page:
            source = f"[{page[:-3].replace('_', ' ')}]({page}), {source}"
        for promise, figure in promises(read_json(path)):
            rows.append({"promise": promise, "measured": figure, "by": source})
    return as_table(rows, "keys")


def main():
    if make_parser(__doc__, "--page").parse_args().page:
        write_blocks(PAGE, {BLOCK: table()})
    else:
        print(table())


if __name__ == "__main__":
    main()
