"""One fit by two processes: what is gained, and is the result that of one?

Two processes hold half of a table each, and fit it together with `fit_distributed`. In
turns with that, one of them fits the whole table alone, on one thread, while the other
waits. It takes some three minutes on two cores; the page is docs/distributed.md.
"""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
import torch.distributed as dist
from harness import DOCS, read_json, read_setting, run_whole, single, write_json
from pages import fill_blocks
from sklearn.datasets import make_classification

from skrebatch import fit_distributed

SETTING = read_setting(__file__)
N_PROCESSES, EPOCHS = SETTING["processes"], SETTING["epochs"]


def compare(rows, features, batch_size, dtype, seed):
    """Fit together and alone; return seconds, and how far the results are apart."""
    rank, n_processes = dist.get_rank(), dist.get_world_size()
    X, y = make_classification(
        rows, features, n_informative=5, flip_y=0.2, random_state=seed
    )
    model = single(
        ratio=0.15,
        repeats=2,
        batch_size=batch_size,
        max_epochs=EPOCHS,
        dtype=dtype,
        random_state=seed,
    )
    own = slice(rank * rows // n_processes, (rank + 1) * rows // n_processes)
    dist.barrier()
    start = time.perf_counter()
    fit_distributed(model, X[own], y[own])
    seconds = time.perf_counter() - start
    together = torch.nn.utils.parameters_to_vector(model.module_.parameters())
    chosen = set(model.chosen_.tolist())
    found = None
    if rank == 0:
        start = time.perf_counter()
        model.fit(X, y)
        alone = torch.nn.utils.parameters_to_vector(model.module_.parameters())
        found = {
            "together": seconds,
            "alone": time.perf_counter() - start,
            "largest difference": (alone - together).abs().max().item(),
            "chosen alike": len(chosen & set(model.chosen_.tolist())),
            "chosen": len(chosen),
            "parameters": len(together),
        }
    dist.barrier()
    return found


def work(path):
    """Measure everything, as one of the processes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    cells = []
    for table, dtype in itertools.product(SETTING["cells"], ("float32", "float64")):
        cell = {**table, "dtype": dtype}
        # Loads what a first fit loads.
        compare(**cell | {"rows": table["rows"] // 10}, seed=0)
        runs = [compare(**cell, seed=seed) for seed in range(SETTING["repetitions"])]
        cells.append({**cell, "runs": runs})
        if dist.get_rank() == 0:
            print(cells[-1], flush=True)
    if dist.get_rank() == 0:
        write_json(path, {"processes": N_PROCESSES, "epochs": EPOCHS, "cells": cells})
    dist.destroy_process_group()


def run():
    """Let the processes measure everything; the first writes what they found."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += [f"--nproc-per-node={N_PROCESSES}", __file__]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "found.json")
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([*torchrun, path], env=one_thread, check=True)
        return read_json(path)


def write_page(results):
    """Write the table into the page."""
    cells = [cell | {"runs": pd.DataFrame(cell["runs"])} for cell in results["cells"]]
    fill_blocks(DOCS / "distributed.md", "sharded", **results | {"cells": cells})


if __name__ == "__main__":
    if "TORCHELASTIC_RUN_ID" in os.environ:
        work(Path(sys.argv[1]))
    else:
        run_whole(__doc__, "sharded", run, write_page)
