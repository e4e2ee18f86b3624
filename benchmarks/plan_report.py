"""What plan.py found and works out: the page, all from its JSON."""

import math

import numpy as np
from pages import as_table, fill_template, where

PARTS = "training", "gradients", "choosing", "order", "shuffling"


def messages_of(n_machines):
    """How many messages in a row double what a group of machines knows."""
    return (n_machines - 1).bit_length()


def seconds_to_send(cluster, size, messages):
    """Seconds in which a machine sends some bytes in some messages."""
    return size / cluster["bandwidth"] + messages * cluster["latency"]


def epoch_seconds(results, n_machines):
    """Work out the parts of an epoch over the large table, in seconds."""
    cluster, large = results["cluster"], results["training"]["large"]
    n_rows, ratio = cluster["rows"], results["ratio"]
    n_chosen = n_rows * ratio / (1 + ratio)
    n_cores = n_machines * cluster["cores"]
    leaves = (n_machines - 1) / n_machines  # the share that goes to others
    doubling = messages_of(n_machines)
    choose, sort = (np.median(results["seconds"][name]) for name in ("choose", "sort"))
    n_steps = math.ceil(n_rows / (large["batch_size"] * n_cores))
    counts = 8 * 2 ** results["digit"]
    rounds = 2  # of continuous losses in 32 bits
    own = n_chosen / n_machines
    samples = 8 * n_machines * (n_machines - 1) * leaves
    return {
        "training": n_rows / n_cores * large["epoch"] / large["rows"],
        "gradients": n_steps
        * seconds_to_send(cluster, 2 * leaves * 4 * large["parameters"], 2 * doubling),
        "choosing": n_rows / n_cores * choose
        + seconds_to_send(cluster, rounds * 2 * leaves * counts, rounds * 2 * doubling),
        "order": n_chosen / n_cores * sort
        + seconds_to_send(
            cluster,
            16 * own * leaves + samples,
            2 * (n_machines - 1) + 2 * doubling,
        ),
        "shuffling": seconds_to_send(
            cluster, n_rows / n_machines * leaves * large["row_bytes"], n_machines - 1
        ),
    }


def passes(results, part, most=1 << 16):
    """Find from how many machines on, a power of 2, a part outlasts training."""
    sizes = [1 << k for k in range(most.bit_length())]
    exceeds = []
    for n_machines in sizes:
        seconds = epoch_seconds(results, n_machines)
        exceeds.append(seconds[part] > seconds["training"])
    for i, n_machines in enumerate(sizes):
        if all(exceeds[i:]):
            return n_machines
    return None


def search_rows(results):
    """Work out the searches, by table and number of machines."""
    cluster = results["cluster"]
    rows = []
    for name, n_epochs in results["epochs"].items():
        table = results["training"][name]
        stack = table.get("stack", 1)
        n_stacks = math.ceil(cluster["fits"] / stack)
        work = cluster["fits"] * n_epochs * table["epoch"]
        size = table["rows"] * table["row_bytes"]
        for n_machines in cluster["machines"]:
            n_cores = n_machines * cluster["cores"]
            # A core can do no less than one stack.
            n_waves = math.ceil(n_stacks / n_cores)
            rows.append(
                {
                    "table": f"{table['rows']:,} × {table['features']}",
                    "epochs": n_epochs,
                    "machines": n_machines,
                    "training": n_waves * work / n_stacks,
                    "scheduler": n_stacks * cluster["task"],
                    "once": size / cluster["bandwidth"],
                    "each time": n_stacks * size / cluster["bandwidth"],
                }
            )
    return rows


def write_page(results, page):
    """Write plan.md from the results."""
    cluster, simulation = results["cluster"], results["simulation"]
    large = results["training"]["large"]
    cells = simulation["cells"]
    choices = [
        {
            "losses": cell["losses"],
            "machines": cell["machines"],
            "same choice and order": "yes" if cell["same"] else "**no**",
            "sent": _bytes(cell["sent"]),
            "messages in a row": cell["messages"],
        }
        for cell in cells
    ]
    seconds = {n: epoch_seconds(results, n) for n in cluster["machines"]}
    epochs = [
        {"machines": n, **{part: _seconds(parts[part]) for part in PARTS}}
        | {"sum": _seconds(sum(parts.values()))}
        for n, parts in seconds.items()
    ]
    searches = search_rows(results)
    times = "training", "scheduler", "once", "each time"
    found = [row | {name: _seconds(row[name]) for name in times} for row in searches]
    n_same = sum(cell["same"] for cell in cells)
    choose, sort = (np.median(results["seconds"][name]) for name in ("choose", "sort"))
    text = fill_template(
        "plan",
        **results,
        large=large,
        rows=_power(cluster["rows"]),
        fits=_power(cluster["fits"]),
        row_us=1e6 * large["epoch"] / large["rows"],
        gigabit=8e-9 * cluster["bandwidth"],
        latency_us=1e6 * cluster["latency"],
        task_ms=1e3 * cluster["task"],
        gathered=_bytes(4 * simulation["rows"]),
        gathered_all=_bytes(4 * cluster["rows"]),
        gather_time=_seconds(seconds_to_send(cluster, 4 * cluster["rows"], 1)),
        choice_table=_table(choices),
        verdict=f"{n_same} of {len(cells)} choices are the same to the last index.",
        epoch_table=_table(epochs),
        choose_ns=1e9 * choose,
        sort_ns=1e9 * sort,
        bottlenecks=_bottlenecks(results, seconds),
        table=_bytes(cluster["rows"] * large["row_bytes"]),
        search_table=_table(found),
        search_verdict=_search_verdict(searches),
        stamp=where(results["environment"]),
    )
    page.write_text(text, encoding="utf-8")


def _bottlenecks(results, seconds):
    """Say of each part when it takes longer than training."""
    lines = []
    for part in PARTS[1:]:
        first = passes(results, part)
        shares = [parts[part] / parts["training"] for parts in seconds.values()]
        when = (
            "up to 65,536 machines never takes longer than training for good"
            if first is None
            else f"takes longer than training from {first:,} machines on"
        )
        low, high = (f"{share:.2g}" for share in (min(shares), max(shares)))
        lines.append(
            f"- *{part}* {when};\n  in the table it is {low} to {high} times it."
        )
    return "Where the bottlenecks are:\n\n" + "\n".join(lines)


def _search_verdict(rows):
    """Say from where on more machines no longer help a search."""
    lines = []
    for table in dict.fromkeys(row["table"] for row in rows):
        own = [row for row in rows if row["table"] == table]
        bound = [r["machines"] for r in own if r["scheduler"] > r["training"]]
        when = (
            f"the scheduler is slower than the fits on {min(bound):,} machines"
            if bound
            else "the fits take longer than the scheduler throughout"
        )
        lines.append(f"- {table}: {when}.")
    return "\n".join(lines)


def _table(rows):
    return as_table(rows, "keys", "github")


def _seconds(value):
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{1e6 * value:.3g} µs" if value else "0"


def _bytes(value):
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def _power(value):
    """Write a power of ten."""
    digits = str(len(str(value)) - 1)
    return "10" + digits.translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
