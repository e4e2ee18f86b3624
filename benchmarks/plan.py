"""What would 10⁹ rows, or 10⁵ fits, take on a cluster?

Chooses the B samples of lowest loss among shards, as machines would that each hold some
of the rows. What they send is counted, what each computes is timed; training is taken
from the results of speed.py. It takes a minute; the page is docs/plan.md.
"""

import itertools
import time
from functools import partial

import numpy as np
from harness import DOCS, RESULTS, read_json, read_setting, run_whole
from plan_report import write_page

from skrebatch import MinLoss, TabularCNN, redistribution_size
from skrebatch.strategies import Epoch

PAGE = DOCS / "plan.md"
LOSSES = ("continuous", "many ties")
DIGIT = 16  # bits of a loss that are compared at once
SETTING = read_setting(__file__)
RATIO, SIMULATED, STACK = (SETTING[name] for name in ("ratio", "simulated", "stack"))


class Network:
    """What machines send one another: bytes by machine, and successive messages."""

    def __init__(self, n_machines):
        self.sent = np.zeros(n_machines, dtype=np.int64)
        self.messages = 0

    def add_up(self, parts):
        """Give every machine the sum, by recursive halving and doubling."""
        n = len(parts)
        self.sent += 2 * (n - 1) * parts[0].nbytes // n
        self.messages += 2 * (n - 1).bit_length()
        return np.sum(parts, axis=0)

    def gather(self, parts):
        """Give every machine all parts, in doubling groups."""
        size = sum(part.nbytes for part in parts)
        self.sent += size * (len(parts) - 1) // len(parts)
        self.messages += (len(parts) - 1).bit_length()
        return np.concatenate(parts)

    def exchange(self, parts):
        """Let machine i send its j-th part to machine j; return what each receives."""
        for i, own in enumerate(parts):
            self.sent[i] += sum(p.nbytes for j, p in enumerate(own) if j != i)
        self.messages += len(parts) - 1
        return [list(received) for received in zip(*parts, strict=True)]


def as_pairs(losses, first):
    """Make numbers of finite float32 losses and their rows: ordered by both."""
    bits = (losses + np.float32(0)).view(np.uint32)  # −0 is 0
    keys = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(1 << 31))
    rows = np.arange(first, first + len(losses), dtype=np.uint64)
    return keys.astype(np.uint64) << np.uint64(32) | rows


def choose(shards, n_chosen, network):
    """Return the pairs of each shard that are among the lowest of all.

    The last pair to choose is found digit by digit: in each round the machines add up
    how many of their pairs have which digit.
    """
    if n_chosen == 0:
        return [shard[:0] for shard in shards]
    candidates, left, last = shards, n_chosen, 0
    mask = np.uint64((1 << DIGIT) - 1)
    for shift in range(64 - DIGIT, -1, -DIGIT):
        digits = [
            (pairs >> np.uint64(shift) & mask).astype(np.int64) for pairs in candidates
        ]
        counts = network.add_up([np.bincount(d, minlength=1 << DIGIT) for d in digits])
        digit = int(np.searchsorted(np.cumsum(counts), left))
        left -= int(counts[:digit].sum())
        last |= digit << shift
        if left == counts[digit]:  # all that begin like this are chosen
            last |= (1 << shift) - 1
            break
        candidates = [
            pairs[d == digit] for pairs, d in zip(candidates, digits, strict=True)
        ]
    return [shard[shard <= np.uint64(last)] for shard in shards]


def rank(chosen, network):
    """Return the sorted pairs of each shard, and the place of each among all.

    A sample sort: machine j sorts the j-th part of the values, and tells the places.
    """
    n = len(chosen)
    chosen = [np.sort(pairs) for pairs in chosen]
    inner = np.arange(1, n)
    samples = [pairs[len(pairs) * inner // n] for pairs in chosen if len(pairs)]
    samples = np.sort(network.gather(samples)) if samples else np.array([], np.uint64)
    cuts = samples[len(samples) * inner // n] if len(samples) else samples
    parts = [np.split(pairs, np.searchsorted(pairs, cuts)) for pairs in chosen]
    parts = [own + [own[0][:0]] * (n - len(own)) for own in parts]
    received = network.exchange(parts)
    sizes = network.gather([np.array([sum(map(len, own))]) for own in received])
    answers = []
    for start, own in zip(np.cumsum(sizes) - sizes, received, strict=True):
        places = np.empty(sum(map(len, own)), dtype=np.int64)
        places[np.argsort(np.concatenate(own))] = start + np.arange(len(places))
        answers.append(np.split(places, np.cumsum([len(p) for p in own])[:-1]))
    places = network.exchange(answers)
    return chosen, [np.concatenate(own) for own in places]


def choose_in_order(losses, n_chosen, bounds, network):
    """Choose among shards of the losses; return rows, the one of lowest loss first."""
    starts, ends = bounds[:-1], bounds[1:]
    shards = [as_pairs(losses[i:j], i) for i, j in zip(starts, ends, strict=True)]
    order = np.empty(n_chosen, dtype=np.int64)
    chosen, places = rank(choose(shards, n_chosen, network), network)
    order[np.concatenate(places)] = np.concatenate(chosen) & np.uint64((1 << 32) - 1)
    return order


def draw_losses(n_rows):
    """Draw losses, and how many of them an epoch chooses."""
    losses = np.random.default_rng(0).exponential(size=n_rows).astype(np.float32)
    return losses, redistribution_size(n_rows, RATIO)


def simulate(n_rows=SIMULATED["rows"], machines=SIMULATED["machines"]):
    """Choose over more and more machines, and count what they send."""
    drawn, n_chosen = draw_losses(n_rows)
    epoch = Epoch(2, 10, n_chosen=n_chosen, rng=np.random.default_rng(0))
    cells = []
    for kind, n_machines in itertools.product(LOSSES, machines):
        losses = drawn if kind == LOSSES[0] else np.round(drawn, 1)
        network = Network(n_machines)
        bounds = np.linspace(0, n_rows, n_machines + 1).astype(int)
        found = choose_in_order(losses, n_chosen, bounds, network)
        cells.append(
            {
                "losses": kind,
                "machines": n_machines,
                "same": bool(np.array_equal(found, MinLoss().plan(losses, epoch))),
                "sent": int(network.sent.max()),
                "messages": network.messages,
            }
        )
        print(cells[-1])
    return {"rows": n_rows, "chosen": n_chosen, "cells": cells}


def measure():
    """Time what a core does to choose among its rows, and to sort what it chose."""
    n_rows, clock = SIMULATED["rows"], time.process_time
    losses, n_chosen = draw_losses(n_rows)
    seconds = {"choose": [], "sort": []}
    for _ in range(SETTING["repetitions"]):
        start = clock()
        chosen = choose([as_pairs(losses, 0)], n_chosen, Network(1))
        middle = clock()
        rank(chosen, Network(1))
        seconds["choose"].append((middle - start) / n_rows)
        seconds["sort"].append((clock() - middle) / n_chosen)
    return seconds


def trained(speed):
    """Take what training costs from the results of speed.py: seconds of a core."""
    large = max(speed["large"]["cells"], key=lambda cell: cell["rows"])
    small = next(c for c in speed["stacks"]["cells"] if c["ratio"] == RATIO)
    epoch = np.median(large["seconds"]["skrebatch"]["cpu"]) / large["epochs"]
    stack = np.median(small["seconds"][str(STACK)]["cpu"]) / small["epochs"]
    network = TabularCNN(large["features"])
    return {
        "date": speed["large"]["environment"]["date"],
        "cpu": speed["large"]["environment"]["cpu"],
        "large": {
            **{name: large[name] for name in ("rows", "features", "batch_size")},
            "row_bytes": large["bytes"]["data"] // large["rows"] + 8,
            "epoch": epoch,  # of a network
            "parameters": sum(p.numel() for p in network.parameters()),
        },
        "small": {
            **{name: small[name] for name in ("rows", "features")},
            "row_bytes": 4 * small["features"] + 8,
            "stack": STACK,
            "epoch": stack / STACK,
        },
    }


def run():
    """Simulate the choice, and measure what it takes."""
    return {
        **SETTING,
        "digit": DIGIT,
        "simulation": simulate(),
        "seconds": measure(),
        "training": trained(read_json(RESULTS / "speed.json")),
    }


def main():
    run_whole(__doc__, "plan", run, partial(write_page, page=PAGE))


if __name__ == "__main__":
    main()
