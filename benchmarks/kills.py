"""Kill fits and searches at random moments, go on, and compare the results by the bit.

Each case is run to its end once, undisturbed. Then it is run again, killed by SIGKILL
after a random time and started anew, until it ends: what it finds must be the same to
the bit, no file may be torn, and none may be left over. Needs `fork`.
The page is docs/interruption.md.
"""

import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import harness
import joblib
import numpy as np
import pandas as pd
from pages import fill_blocks
from sklearn.datasets import make_classification, make_regression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from skrebatch import FusedGridSearchCV, ReBatchCNNClassifier, ReBatchCNNRegressor
from skrebatch._engine.serialization.checkpoint import Checkpoint

SEED = 0
COUNTED = "kills", "kills_in_the_middle_of_a_write", "files_torn", "files_left_over"
SETTING = harness.read_setting(__file__)
CASES = SETTING["cases"]


def make_model(case, folder):
    """Make a network with checkpoints, or a search whose last fit has them, too."""
    is_regression, is_search = "regression" in case, case == "search"
    model = harness.single(
        ReBatchCNNRegressor if is_regression else ReBatchCNNClassifier,
        checkpoint_dir=folder / "last" if is_search else folder,
        **SETTING["fit"] | CASES[case],
    )
    if not is_search:
        return model
    return FusedGridSearchCV(
        make_pipeline(StandardScaler(), model),
        {"rebatchcnnclassifier__ratio": [0.03, 0.08, 0.15, 0.3]},
        cv=3,
        max_stack=2,
        checkpoint_dir=folder / "stacks",
    )


def digest_of(model, X):
    """A checksum of what a fit or a search has found out."""
    predicted, results = model.predict(X), getattr(model, "cv_results_", {})
    scores = [results[n] for n in results if "score" in n and "time" not in n]
    model = getattr(model, "best_estimator_", model)
    model = getattr(model, "steps", [(None, model)])[-1][1]
    weights = [w.numpy().tobytes() for w in model.module_.state_dict().values()]
    rng = model._fit_state.rngs[0].bit_generator.state
    return joblib.hash([predicted, scores, model.loss_curve_, weights, rng])


def start(case, folder, X, y):
    """Begin, or go on, in a process of its own, which writes what comes out of it."""
    pid = os.fork()
    if pid:
        return pid
    try:
        # Processes share the lock that tqdm makes, and a kill may leave it locked.
        tqdm.set_lock(threading.RLock())
        digest = digest_of(make_model(case, folder).fit(X, y), X)
        (folder / "result").write_text(digest)
        os._exit(0)
    finally:
        os._exit(1)


def count_torn(folder):
    """Count the checkpoints that can't be read."""
    torn = 0
    with tempfile.TemporaryDirectory() as other:
        for path in folder.rglob("*.safetensors"):
            try:
                # A copy: a checkpoint that is opened is tidied up.
                Checkpoint(shutil.copy(path, other))
            except ValueError:
                torn += 1
    return torn


def run_and_kill(case, X, y, duration, rng):
    """Run once to the end, with kills on the way; return counts and the digest."""
    counts = Counter(dict.fromkeys(COUNTED, 0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        while True:
            pid = start(case, folder, X, y)
            time.sleep(rng.uniform(0, 0.6 * duration))
            os.kill(pid, signal.SIGKILL)  # of one that is done, only its entry is left
            _, status = os.waitpid(pid, 0)
            if not os.WIFSIGNALED(status):
                break
            counts["kills"] += 1
            counts["kills_in_the_middle_of_a_write"] += len([*folder.rglob(".*.tmp")])
            counts["files_torn"] += count_torn(folder)
        digest = "" if os.WEXITSTATUS(status) else (folder / "result").read_text()
        left = [p for p in folder.rglob("*") if p.is_file() and p.name != "result"]
        counts["files_left_over"] = len(left)
    return counts, digest


def measure(names, n_kills):
    """Kill each case in turn until there have been enough kills."""
    rng = np.random.default_rng(SEED)
    cases = {}
    for name in names:
        make_data = make_regression if "regression" in name else make_classification
        X, y = make_data(200, 8, random_state=0)
        with tempfile.TemporaryDirectory() as folder:
            # In this process, so that those to come find all that is loaded late.
            expected = digest_of(make_model(name, Path(folder)).fit(X, y), X)
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            pid = start(name, Path(folder), X, y)
            os.waitpid(pid, 0)
            duration = time.perf_counter() - begun
        total, digests = Counter(), []
        while total["kills"] < n_kills / len(names):
            counts, digest = run_and_kill(name, X, y, duration, rng)
            total.update(counts)
            digests.append(digest)
        cases[name] = {
            "kills": total.pop("kills"),
            "runs": len(digests),
            "runs_equal_to_the_bit": digests.count(expected),
            **total,
        }
    return cases


def write_page(results):
    """Write the table of the results into the page."""
    fill_blocks(harness.DOCS / "interruption.md", "kills", **results)


def main():
    parser = harness.make_parser(__doc__, "--output", "--page", only=CASES)
    parser.add_argument("--kills", type=int, default=100, help="of all cases together")
    arguments = parser.parse_args()
    path = arguments.output / "kills.json"
    if not arguments.page:
        with harness.one_thread():
            cases = measure(arguments.only, arguments.kills)
        total = pd.DataFrame(cases).sum(axis=1).to_dict()
        ran = {"environment": harness.environment(), "seed": SEED}
        harness.write_json(path, {**ran, "total": total, "cases": cases}, indent=2)
    if arguments.page or arguments.output == harness.RESULTS:
        write_page(harness.read_json(path))


if __name__ == "__main__":
    main()
