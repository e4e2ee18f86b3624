"""What plan.py found and works out: the page, all from its JSON."""

import math

import numpy as np
import pandas as pd
from pages import as_table, fill_template, where


def epoch_seconds(results, n_machines):
    """Work out the parts of an epoch over the large table, in seconds."""
    cluster, large = results["cluster"], results["training"]["large"]
    n_rows, ratio = cluster["rows"], results["ratio"]
    n_chosen = n_rows * ratio / (1 + ratio)
    n_cores = n_machines * cluster["cores"]
    leaves = (n_machines - 1) / n_machines  # the share that goes to others
    # So many messages in a row double what a group of machines knows.
    doubling = (n_machines - 1).bit_length()
    choose, sort = (np.median(results["seconds"][name]) for name in ("choose", "sort"))
    n_steps = math.ceil(n_rows / (large["batch_size"] * n_cores))
    weights, counts = 4 * large["parameters"], 8 * 2 ** results["digit"]
    rounds = 2  # of continuous losses in 32 bits
    pairs = 16 * n_chosen / n_machines
    samples = 8 * n_machines * (n_machines - 1)
    rows = n_rows / n_machines * large["row_bytes"]

    def send(size, messages):
        return size / cluster["bandwidth"] + messages * cluster["latency"]

    return {
        "training": n_rows / n_cores * large["epoch"] / large["rows"],
        "gradients": n_steps * send(2 * leaves * weights, 2 * doubling),
        "choosing": n_rows / n_cores * choose
        + send(rounds * 2 * leaves * counts, rounds * 2 * doubling),
        "order": n_chosen / n_cores * sort
        + send((pairs + samples) * leaves, 2 * (n_machines - 1) + 2 * doubling),
        "shuffling": send(rows * leaves, n_machines - 1),
    }


def passes(results, part, most=1 << 16):
    """Find from how many machines on, a power of 2, a part outlasts training."""
    first, n_machines = None, most
    while n_machines:
        seconds = epoch_seconds(results, n_machines)
        if seconds[part] <= seconds["training"]:
            break
        first, n_machines = n_machines, n_machines // 2
    return first


def search_rows(results):
    """Work out the searches, by table and number of machines."""
    cluster, rows = results["cluster"], []
    for name, n_epochs in results["epochs"].items():
        table = results["training"][name]
        n_stacks = math.ceil(cluster["fits"] / table.get("stack", 1))
        work = cluster["fits"] * n_epochs * table["epoch"]
        size = table["rows"] * table["row_bytes"]
        for n_machines in cluster["machines"]:
            # A core can do no less than one stack.
            n_waves = math.ceil(n_stacks / (n_machines * cluster["cores"]))
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
    return pd.DataFrame(rows)


def write_page(results, page):
    """Write plan.md from the results."""
    cluster, simulation = results["cluster"], results["simulation"]
    large = results["training"]["large"]
    cells = pd.DataFrame(simulation["cells"])
    same = np.where(cells.same, "yes", "**no**")
    choices = cells.assign(same=same, sent=cells.sent.map(_bytes)).rename(
        columns={"same": "same choice and order", "messages": "messages in a row"}
    )
    machines = pd.Index(cluster["machines"], name="machines")
    seconds = pd.DataFrame([epoch_seconds(results, n) for n in machines], machines)
    epochs = seconds.assign(sum=seconds.sum(axis=1)).map(_seconds)
    searches = search_rows(results)
    times = searches[["training", "scheduler", "once", "each time"]]
    found = searches.assign(**times.map(_seconds))
    choose, sort = (np.median(results["seconds"][name]) for name in ("choose", "sort"))
    all_losses = 4 * cluster["rows"]
    gather = all_losses / cluster["bandwidth"] + cluster["latency"]
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
        gathered_all=_bytes(all_losses),
        gather_time=_seconds(gather),
        choice_table=as_table(choices.to_dict("records"), "keys", "github"),
        n_same=cells.same.sum(),
        n_choices=len(choices),
        epoch_table=as_table(epochs, "keys", "github"),
        choose_ns=1e9 * choose,
        sort_ns=1e9 * sort,
        bottlenecks=_bottlenecks(results, seconds),
        table=_bytes(cluster["rows"] * large["row_bytes"]),
        search_table=as_table(found.to_dict("records"), "keys", "github"),
        search_verdict=_search_verdict(searches),
        stamp=where(results["environment"]),
    )
    page.write_text(text, encoding="utf-8")


def _bottlenecks(results, seconds):
    """Say of each part when it takes longer than training."""
    lines = []
    for part, own in seconds.drop(columns="training").items():
        first = passes(results, part)
        when = (
            "takes less time than training with up to 65,536 machines"
            if first is None
            else f"takes longer than training with {first:,} machines or more"
        )
        low, high = (own / seconds.training).agg(["min", "max"]).map("{:.2g}".format)
        lines.append(
            f"- *{part}* {when}.\n"
            f"  In the table, it takes {low} to {high} times the training time."
        )
    return "\n".join(lines)


def _search_verdict(searches):
    """Say from where on more machines no longer help a search."""
    lines = []
    for table, own in searches.groupby("table", sort=False):
        bound = own[own.scheduler > own.training].machines
        when = (
            "the fits always take longer than the scheduler"
            if bound.empty
            else f"the scheduler is slower than the fits from {bound.min():,} machines"
        )
        lines.append(f"- {table}: {when}.")
    return "\n".join(lines)


def _seconds(value):
    units = {"d": 86400, "h": 3600, "min": 60, "s": 1, "ms": 1e-3, "µs": 1e-6}
    return _with_unit(value, units) if value else "0"


def _bytes(value):
    return _with_unit(value, {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1})


def _with_unit(value, units):
    """Write a value in the first unit that is not larger, or in the last."""
    *_, smallest = units
    unit = next((unit for unit in units if value >= units[unit]), smallest)
    return f"{value / units[unit]:.3g} {unit}"


def _power(value):
    """Write a power of ten."""
    digits = str(len(str(value)) - 1)
    return "10" + digits.translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
