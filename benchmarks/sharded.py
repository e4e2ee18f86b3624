"""One fit by two processes: what is gained, and is the result that of one?

    python benchmarks/sharded.py           # some three minutes on two cores
    python benchmarks/sharded.py --page    # docs/distributed.md from the results

Two processes hold half of a table each, and fit it together with `fit_distributed`. In
turns with that, one of them fits the whole table alone, on one thread, while the other
waits. Each repetition has its own seeds. Results go to benchmarks/results/sharded.json.
"""

import itertools
import os
import subprocess
import sys
import time

import pandas as pd
import torch
import torch.distributed as dist
from harness import (
    DOCS,
    RESULTS,
    environment,
    make_parser,
    read_json,
    single,
    write_json,
)
from pages import as_quartiles, where, write_blocks
from sklearn.datasets import make_classification
from tabulate import tabulate

from skrebatch import fit_distributed

OUTPUT = RESULTS / "sharded.json"
N_PROCESSES = 2
REPETITIONS = 5
EPOCHS = 3
# Rows, features, rows of a mini-batch.
CELLS = [(10_000, 8, 128), (50_000, 30, 256), (50_000, 30, 1024), (50_000, 30, 4096)]


def compare(n_rows, n_features, batch_size, dtype, seed):
    """Fit together and alone; return seconds, and how far the results are apart."""
    rank, n_processes = dist.get_rank(), dist.get_world_size()
    X, y = make_classification(
        n_rows, n_features, n_informative=5, flip_y=0.2, random_state=seed
    )
    model = single(
        ratio=0.15,
        repeats=2,
        batch_size=batch_size,
        max_epochs=EPOCHS,
        dtype=dtype,
        random_state=seed,
    )
    own = slice(rank * n_rows // n_processes, (rank + 1) * n_rows // n_processes)
    dist.barrier()
    start = time.perf_counter()
    fit_distributed(model, X[own], y[own])
    found = {"together": time.perf_counter() - start}
    together = torch.nn.utils.parameters_to_vector(model.module_.parameters())
    chosen = set(model.chosen_.tolist())
    if rank == 0:
        start = time.perf_counter()
        model.fit(X, y)
        found["alone"] = time.perf_counter() - start
        alone = torch.nn.utils.parameters_to_vector(model.module_.parameters())
        found["largest difference"] = (alone - together).abs().max().item()
        found["chosen alike"] = len(chosen & set(model.chosen_.tolist()))
        found["chosen"] = len(chosen)
        found["parameters"] = len(together)
    dist.barrier()
    return found


def work():
    """Measure everything, as one of the processes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    cells = []
    for shape, dtype in itertools.product(CELLS, ("float32", "float64")):
        n_rows, *rest = shape
        compare(n_rows // 10, *rest, dtype, 0)  # loads what a first fit loads
        runs = [compare(*shape, dtype, seed) for seed in range(REPETITIONS)]
        cell = dict(zip(("rows", "features", "batch_size"), shape, strict=True))
        cells.append({**cell, "dtype": dtype, "runs": runs})
        if dist.get_rank() == 0:
            print(cells[-1], flush=True)
    if dist.get_rank() == 0:
        results = {"processes": N_PROCESSES, "epochs": EPOCHS, "cells": cells}
        write_json(OUTPUT, {**results, "environment": environment()})
    dist.destroy_process_group()


def write_page(results):
    """Write the table into the page, between its marks."""
    lines = []
    for cell in results["cells"]:
        runs = pd.DataFrame(cell["runs"])
        alike, chosen = runs[["chosen alike", "chosen"]].sum()
        lines.append(
            {
                "table": f"{cell['rows']:,} × {cell['features']}",
                "mini-batch": f"{cell['batch_size']:,}",
                "precision": cell["dtype"],
                "relative time": as_quartiles(runs.together, runs.alone),
                "sent each step": f"{runs.parameters[0]:,} numbers",
                "chosen alike": f"{alike:,} of {chosen:,}",
                "largest difference": f"{runs['largest difference'].max():.0e}",
            }
        )
    line = where(results["environment"], f"{results['epochs']} epochs")
    content = f"{tabulate(lines, 'keys', 'pipe')}\n\n{line}"
    name = "table: written by benchmarks/sharded.py"
    write_blocks(DOCS / "distributed.md", {name: content})


def main():
    if not make_parser(__doc__, "--page").parse_args().page:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        subprocess.run(
            [*torchrun, f"--nproc-per-node={N_PROCESSES}", __file__],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=True,
        )
    write_page(read_json(OUTPUT))


if __name__ == "__main__":
    if "TORCHELASTIC_RUN_ID" in os.environ:
        work()
    else:
        main()
