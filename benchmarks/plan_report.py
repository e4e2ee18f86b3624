"""What plan.py found and works out: the page, all from its JSON."""

import itertools
import math

import numpy as np
import pandas as pd
from pages import fill_page


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


def passes(results, part, most=16):
    """Find from how many machines on, a power of 2, a part outlasts training."""

    def outlasts(n_machines):
        seconds = epoch_seconds(results, n_machines)
        return seconds[part] > seconds["training"]

    powers = [2**i for i in range(most, -1, -1)]
    return min(itertools.takewhile(outlasts, powers), default=None)


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
    machines = results["cluster"]["machines"]
    epochs = pd.DataFrame([epoch_seconds(results, n) for n in machines], machines)
    seconds = {name: np.median(own) for name, own in results["seconds"].items()}
    fill_page(
        page,
        *(in_seconds, in_bytes, as_power, passes),
        **results | {"seconds": seconds},
        results=results,
        large=results["training"]["large"],
        epoch=epochs,
        searches=search_rows(results),
    )


def in_seconds(value):
    """Write a time."""
    units = {"d": 86400, "h": 3600, "min": 60, "s": 1, "ms": 1e-3, "µs": 1e-6}
    return _with_unit(value, units) if value else "0"


def in_bytes(value):
    """Write a size."""
    return _with_unit(value, {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1})


def _with_unit(value, units):
    """Write a value in the first unit that is not larger, or in the last."""
    *_, smallest = units
    unit = next((unit for unit in units if value >= units[unit]), smallest)
    return f"{value / units[unit]:.3g} {unit}"


def as_power(value):
    """Write a power of ten."""
    digits = str(len(str(value)) - 1)
    return "10" + digits.translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
