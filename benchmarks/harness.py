"""What the scripts share: command line, parallel jobs, files and environment.

What a script runs is in the TOML file beside it where it has one. What it finds goes to
benchmarks/results. Its page is written from these results alone, see pages.py; with
`--page` this is all that a script does, and `--only` runs sections of it anew. There
are three frames: `run_and_write` for scripts in sections, `run_whole` for others, and
`run_and_choose` for a comparison with models whose setting was chosen before it.
"""

import argparse
import datetime
import json
import os
import platform
import tomllib
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import joblib
import pandas as pd
import torch
from sklearn.metrics import get_scorer
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from skrebatch import ReBatchCNNClassifier

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
RESULTS = ROOT / "benchmarks" / "results"
CACHE = ROOT / "benchmarks" / "cache"
PACKAGES = "numpy", "scikit-learn", "torch", "skrebatch"
OPTIONS = {
    "--choose": {"action": "store_true", "help": "compare candidates"},
    "--n-jobs": {"type": int, "default": -1, "help": "processes"},
    "--output": {"type": Path, "default": RESULTS, "metavar": "DIR"},
    "--page": {"action": "store_true", "help": "only write the page from results"},
    "--quick": {"action": "store_true", "help": "a short trial run"},
}
# One network of the paper, whatever the defaults of the estimators are.
SINGLE = {
    "architecture": "cnn",
    "batch_size": "ratio",
    "input_clip": None,
    "n_networks": 1,
    "early_stopping": False,
    "lr": 1e-3,
    "max_epochs": 200,
    "n_iter_no_change": 10,
}


def single(cls=ReBatchCNNClassifier, **parameters):
    """Make an estimator of a single network of the paper."""
    scale = {} if cls is ReBatchCNNClassifier else {"standardize_target": True}
    return cls(**{**SINGLE, **scale, **parameters})


def score(model, X, y, scorers):
    """Return the scores by name of a fitted model; errors are above 0."""
    return {
        name: get_scorer(scorer)(model, X, y) * (-1 if "neg_" in scorer else 1)
        for name, scorer in scorers.items()
    }


def make_parser(description, *options, only=None):
    """Make the parser of a script, with some of `OPTIONS`.

    `only` names the sections of a script that can run them one by one.
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


@contextmanager
def one_thread():
    """Let everything run on one thread."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield


def run_parallel(calls, n_jobs=-1, title=None, unit="fit"):
    """Run a list of joblib's delayed calls with a progress bar, keeping their order."""
    workers = joblib.Parallel(n_jobs=n_jobs, return_as="generator")
    return list(tqdm(workers(calls), title, total=len(calls), unit=unit))


def run_jobs(function, jobs, setting, folder, n_jobs):
    """Call a function with the arguments of each job, or of those left after a kill.

    Finished jobs are kept in the folder. They are used again under the same `setting`
    alone, which is what all of them depend on.
    """
    cache = joblib.Memory(folder / joblib.hash(setting), verbose=0)
    calls = [joblib.delayed(cache.cache(function))(*job) for job in jobs]
    return run_parallel(calls, n_jobs, unit="job")


def read_setting(script):
    """Read the TOML file beside a script, which says what the script runs."""
    return tomllib.loads(Path(script).with_suffix(".toml").read_text("utf-8"))


def read_json(path):
    """Read a file of results, which a benchmark has written."""
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


def rounded(value, digits=6):
    """Round all floats of a JSON value to significant digits."""
    text = json.dumps(value)
    return json.loads(text, parse_float=lambda x: float(f"{float(x):.{digits}g}"))


def versions(*packages):
    """Return the versions of Python and of packages; None where one is missing."""
    found = {"python": platform.python_version()}
    for package in packages or PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def environment(*packages):
    """Return the date, the versions and the hardware of a run."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        cpu = next((line.split(": ")[1] for line in lines if "model name" in line), cpu)
    return {
        "date": datetime.date.today().isoformat(),
        "versions": versions(*PACKAGES, "skorch", "lightning", *packages),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def run_and_write(description, stem, sections, write_page, plans=None, arguments=None):
    """Run the sections that the command line names, then write the page.

    A section is a function that returns a dict, or None if it can't run here. Where
    there are `plans`, of a full and of a trial run, it takes one. The page is that of
    the full results in their own folder.
    """
    options = ["--output", "--page", "--quick"][: 2 if plans is None else 3]
    parser = make_parser(description, *options, only=sections)
    arguments = parser.parse_args(arguments)
    is_trial = plans is not None and arguments.quick
    path = arguments.output / f"{stem}{'_quick' * is_trial}.json"
    for name in [] if arguments.page else arguments.only:
        with one_thread():
            found = sections[name](*([] if plans is None else [plans[is_trial]]))
        if found is None:
            print(f"{name}: skipped, this machine lacks what it needs")
            continue
        # Read only now, because another run may have written to it.
        results = read_json(path) if path.exists() else {}
        results[name] = {"environment": environment(), **found}
        write_json(path, {n: results[n] for n in sections if n in results})
        print(f"{name}: written to {path}")
    if arguments.page or (arguments.output == RESULTS and not is_trial):
        write_page(read_json(path))


def run_and_choose(description, stem, compare, choose, write_page):
    """Run a comparison, or that of candidates for it, then write the page of both.

    Both are functions of the number of processes and of whether this is a trial run.
    """
    options = "--choose", "--n-jobs", "--output", "--page", "--quick"
    arguments = make_parser(description, *options).parse_args()
    end = "_quick.json" if arguments.quick else ".json"
    compared, chosen = (arguments.output / f"{stem}{p}{end}" for p in ("", "_choice"))
    if not arguments.page:
        run, path = (choose, chosen) if arguments.choose else (compare, compared)
        write_json(path, run(arguments.n_jobs, arguments.quick), indent=None)
    is_full = arguments.output == RESULTS and not arguments.quick
    if is_full and compared.exists() and chosen.exists():
        write_page(read_json(compared), read_json(chosen), DOCS)


def run_whole(description, stem, run, write_page):
    """Run a benchmark that has no sections, then write the page."""
    arguments = make_parser(description, "--output", "--page").parse_args()
    path = arguments.output / f"{stem}.json"
    if not arguments.page:
        with one_thread():
            write_json(path, {"environment": environment(), **run()})
    if arguments.page or arguments.output == RESULTS:
        write_page(read_json(path))
