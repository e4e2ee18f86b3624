"""One fit by two processes: what is gained, and is the result that of one?

    python benchmarks/sharded.py           # some three minutes on two cores
    python benchmarks/sharded.py --page    # docs/distributed.md from the results

Two processes hold half of a table each, and fit it together with `fit_distributed`. In
turns with that, the first of them fits the whole table alone, on one thread, while the
other waits. Each repetition has seeds of its own; what the two fits found is compared
in float64 and float32. Everything goes to benchmarks/results/sharded.json.
"""

import os
import subprocess
import sys
import time

import numpy as np
import torch
import torch.distributed as dist
from harness import DOCS, RESULTS, environment, make_parser, read_json, write_json
from pages import as_quartiles, where, write_blocks
from sklearn.datasets import make_classification
from tabulate import tabulate

from skrebatch import ReBatchCNNClassifier, fit_distributed

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
    model = ReBatchCNNClassifier(
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
        apart = torch.nn.utils.parameters_to_vector(model.module_.parameters())
        found["largest difference"] = (apart - together).abs().max().item()
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
    for n_rows, n_features, batch_size in CELLS:
        for dtype in ("float32", "float64"):
            compare(n_rows // 10, n_features, batch_size, dtype, 0)  # what is first
            runs = [
                compare(n_rows, n_features, batch_size, dtype, seed)
                for seed in range(REPETITIONS)
            ]
            cells.append(
                {
                    "rows": n_rows,
                    "features": n_features,
                    "batch_size": batch_size,
                    "dtype": dtype,
                    "runs": runs,
                }
            )
            if dist.get_rank() == 0:
                print(cells[-1], flush=True)
    if dist.get_rank() == 0:
        results = {
            "processes": N_PROCESSES,
            "epochs": EPOCHS,
            "cells": cells,
            "environment": environment(),
        }
        write_json(OUTPUT, results)
    dist.destroy_process_group()


def write_page(results):
    """Write the table into the page, between its marks."""
    lines = []
    for cell in results["cells"]:
        runs = cell["runs"]
        alone, together = (
            np.array([run[how] for run in runs]) for how in ("alone", "together")
        )
        chosen, alike = (
            sum(run[n] for run in runs) for n in ("chosen", "chosen alike")
        )
        apart = max(run["largest difference"] for run in runs)
        lines.append(
            {
                "table": f"{cell['rows']:,} × {cell['features']}",
                "mini-batch": f"{cell['batch_size']:,}",
                "precision": cell["dtype"],
                "time, of one process": as_quartiles(together, alone),
                "sent each step": f"{runs[0]['parameters']:,} numbers",
                "chosen alike": f"{alike:,} of {chosen:,}",
                "largest difference": f"{apart:.0e}",
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
