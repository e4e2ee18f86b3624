import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist
from helpers.distributed_worker import TINY, main, make_data, make_fits, summarise

from skrebatch import ReBatchCNNClassifier, fit_distributed

pytestmark = pytest.mark.skipif(
    not dist.is_available(), reason="this torch comes without torch.distributed"
)
WORKER = Path(__file__).parents[1] / "helpers" / "distributed_worker.py"
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    # Or, started again, they may look for each other where they were before
    # (pytorch#135712).
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
}
# Debian's torch is built without what torchrun asks of it.
HAS_LIBUV = os.environ.get("USE_LIBUV") != "0"


def by_torchrun(task, n_processes, result, *options):
    """Let torchrun start the processes of a task."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    subprocess.run(
        [*torchrun, f"--nproc-per-node={n_processes}", *options, WORKER, task, result],
        env=ENVIRONMENT,
        check=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def context():
    """How to start processes: by a fork of one that has imported all, if possible."""
    methods = multiprocessing.get_all_start_methods()
    method = "forkserver" if "forkserver" in methods else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload(["helpers.distributed_worker", "torch._dynamo"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        yield context


@pytest.fixture
def by_hand(context, tmp_path):
    """A function that starts processes of which one may be lost.

    It returns how each ended, and what each of the others said.
    """

    def start(task, n_processes):
        calls = [
            (task, tmp_path / "said", tmp_path / "store", rank, n_processes)
            for rank in range(n_processes)
        ]
        processes = [context.Process(target=main, args=c, daemon=True) for c in calls]
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=300)
        files = [tmp_path / f"said.{rank}" for rank in range(n_processes)]
        said = [json.loads(f.read_text("utf-8")) for f in files if f.exists()]
        return [process.exitcode for process in processes], said

    return start


@pytest.fixture(scope="module")
def alone():
    """What each fit finds in one process."""
    found = {}
    for name, (model, data) in make_fits().items():
        X, y, *others = (*data, None, None, None)[:5]
        found[name] = summarise(model.fit(X, y, *others))
    return found


def test_several_processes_find_what_one_finds(alone, by_hand, tmp_path):
    codes, _ = by_hand("fit", 3)
    assert codes == [0, 0, 0]
    found = np.load(tmp_path / "said.npz")
    # Equal losses would be told apart by rounding, and not alike in every process.
    losses = alone["moved"]["losses"]
    assert len(np.unique(losses)) == len(losses)
    for name, expected in alone.items():
        assert found[f"{name}: alike"], name
        np.testing.assert_array_equal(
            found[f"{name}: chosen"], expected["chosen"], name
        )
        digits = 4 if name == "float32" else 8
        for what, values in expected.items():
            np.testing.assert_allclose(
                found[f"{name}: {what}"],
                values,
                rtol=10.0**-digits,
                atol=10.0**-digits,
                err_msg=f"{name}: {what}",
            )
    for case in ("from a file", "index", "equal losses", "no seed"):
        assert found[f"{case}: alike"], case


def test_every_process_raises_what_one_can_not_do(by_hand, tmp_path):
    pytest.importorskip("safetensors")
    (tmp_path / "said.run").mkdir()
    (tmp_path / "said.run" / "fit.safetensors").write_bytes(b"damaged")
    codes, (first, last) = by_hand("refuse", 2)
    assert codes == [0, 0]
    theirs = "ValueError: Process 1 can't take part in the fit. ValueError: "
    for case, text in (
        ("NaN", "Input X contains NaN"),
        ("no rows", "Found array with 0 sample(s)"),
        ("lengths", "Found input variables with inconsistent numbers of samples"),
        ("weight", "Found input variables with inconsistent numbers of samples"),
        ("no targets", "y or y_val is None"),
    ):
        assert first[case].startswith(f"{theirs}{text}"), case
        assert last[case].startswith(f"ValueError: {text}"), case
    assert first["unpicklable"].startswith("ValueError: Process 1 can't take part")
    assert "lambda" in last["unpicklable"]
    for case, what in (
        ("class", "class"),
        ("times", "kind of y"),
        ("ratio", "ratio"),
        ("columns", "number of features"),
        ("names", "names of features"),
        ("labels", "kind of y"),
        ("weights", "kind of sample_weight"),
        ("seed", "random_state"),
    ):
        message = f"ValueError: Process 1 differs from process 0 in {what}; "
        assert first[case].startswith(message), case
        assert first[case] == last[case]
    for case, text in (
        ("batch_norm", "ValueError: fit_distributed needs batch_norm=False"),
        ("dropout", "ValueError: fit_distributed needs dropout=0"),
        ("splitter", "ValueError: fit_distributed needs a cv that is None or a number"),
        ("copies", "ValueError: fit_distributed needs n_augments=0"),
        ("lengths vary", "ValueError: fit_distributed needs variable_length=False"),
        ("checkpoint", "CheckpointError: "),
        ("no X", "ValueError: X is None"),
        ("chance", "ValueError: The processes have planned different epochs"),
        ("folder", "ValueError: checkpoint_dir must be the path of a folder or None"),
        ("lr", "ValueError: lr must be"),
        ("no estimator", "ValueError: estimator is not a re-Batch estimator: None"),
        ("diverged", "DivergedError: The loss became NaN or infinite in epoch 1"),
        ("lambda", "fitted"),
    ):
        assert first[case].startswith(text), case
        assert first[case] == last[case]


@pytest.mark.parametrize("how", ["killed", "interrupted", "failing"])
def test_a_lost_process_leaves_the_estimator_as_it_was(how, by_hand):
    codes, said = by_hand(how, 2)
    assert said[0]["said"].startswith("ConnectionError: Another process of this fit")
    assert all(each["as before"] for each in said)
    if how == "killed":
        assert codes == [0, 1]
        assert len(said) == 1
    else:
        assert codes == [0, 0]
        kinds = {"interrupted": "KeyboardInterrupt", "failing": "OSError: gone"}
        assert said[1]["said"].startswith(kinds[how])


@pytest.mark.skipif(not HAS_LIBUV, reason="torchrun needs a torch with libuv")
def test_torchrun_goes_on_from_a_checkpoint(tmp_path):
    pytest.importorskip("safetensors")
    by_torchrun("resume", 2, tmp_path / "said", "--max-restarts=1")
    for rank in range(2):
        said = json.loads((tmp_path / f"said.{rank}").read_text("utf-8"))
        assert said["planned"] == [[3, 4, 5, 6], [2, 3, 4, 5, 6]]
        assert said["alike"]
        assert said["files"] == 0


def test_a_process_group_is_needed():
    X, y = make_data().binary
    with pytest.raises(RuntimeError, match="needs a process group"):
        fit_distributed(ReBatchCNNClassifier(**TINY), X, y)
