"""What the scripts share: command line, parallel jobs, JSON files and environment."""

import argparse
import datetime
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import torch
from joblib import Parallel
from threadpoolctl import threadpool_limits
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = "numpy", "scikit-learn", "torch", "skrebatch"
OPTIONS = {
    "--n-jobs": {"type": int, "default": -1, "help": "processes"},
    "--output": {"type": Path, "default": RESULTS, "metavar": "DIR"},
    "--page": {"action": "store_true", "help": "only write the page from results"},
    "--quick": {"action": "store_true", "help": "a short trial run"},
}


def make_parser(description, *options, only=None):
    """Make the parser of a script.

    Parameters
    ----------
    description : str
        The docstring of the script.
    *options : str
        Keys of `OPTIONS`.
    only : iterable of str, default=None
        Names of the sections of a script that can run them one by one; adds
        ``--only``.

    Returns
    -------
    ArgumentParser
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if only is not None:
        names = list(only)
        parser.add_argument(
            "--only", nargs="+", choices=names, default=names, help="run these sections"
        )
    for option in options:
        parser.add_argument(option, **OPTIONS[option])
    return parser


def run_parallel(calls, n_jobs, title=None, unit="fit"):
    """Run a list of joblib's delayed calls with a progress bar, keeping their order."""
    workers = Parallel(n_jobs=n_jobs, return_as="generator")
    return list(tqdm(workers(calls), title, total=len(calls), unit=unit))


def read_json(path):
    """Read a file of results.

    Raises
    ------
    FileNotFoundError
        If the script that writes the file has not run.
    """
    if not path.exists():
        raise FileNotFoundError(f"No results in {path}; run the benchmark first.")
    return json.loads(path.read_text("utf-8"))


def load_frame(runs):
    """Tabulate the runs of a file of results; their scores keep their names."""
    frame = pd.json_normalize(runs)
    return frame.rename(columns=lambda name: name.removeprefix("scores."))


def write_json(path, results, indent=1):
    """Write a file of results; in a line where `indent` is None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    separators = (",", ":") if indent is None else None
    text = json.dumps(results, indent=indent, separators=separators)
    path.write_text(text + "\n", encoding="utf-8")


def update_json(path, sections, order=None):
    """Write sections into a file of results, and keep its other sections.

    The file is read just before, because another run may have written to it.

    Parameters
    ----------
    path : Path
    sections : dict
    order : iterable of str, default=None
        Names of all sections in the order of the file.

    Returns
    -------
    dict
        All sections.
    """
    results = (read_json(path) if path.exists() else {}) | sections
    if order is not None:
        results = {name: results[name] for name in order if name in results}
    write_json(path, results)
    return results


def rounded(value, digits=6):
    """Round all floats of a JSON value to significant digits."""
    if isinstance(value, dict):
        return {name: rounded(part, digits) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part, digits) for part in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def versions(*packages):
    """Return the versions of Python and of packages; None where one is missing."""
    found = {"python": platform.python_version()}
    for package in packages or PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def environment():
    """Return the date, the versions and the hardware of a run."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        cpu = next((line.split(": ")[1] for line in lines if "model name" in line), cpu)
    return {
        "date": datetime.date.today().isoformat(),
        "versions": versions(
            "numpy", "scikit-learn", "skorch", "torch", "lightning", "skrebatch"
        ),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def run_sections(path, calls, order=None):
    """Run the sections of a benchmark on one thread, and write each to its file.

    Parameters
    ----------
    path : Path or None
        The file of results; None to write none.
    calls : dict of str to callable
        Each returns a dict of results, or None if its section can't run here.
    order : iterable of str, default=None
        As in :func:`update_json`.

    Yields
    ------
    name : str
    section : dict
        The results with their environment, as written.
    """
    torch.set_num_threads(1)
    for name, call in calls.items():
        with threadpool_limits(1):
            found = call()
        if found is None:
            print(f"{name}: skipped, this machine lacks what it needs")
            continue
        section = {"environment": environment(), **found}
        if path is not None:
            update_json(path, {name: section}, order)
        yield name, section
