"""The plan past one machine: the choice over shards, what it sends, and the page."""

import numpy as np
import plan
import plan_report
import pytest
from harness import RESULTS, read_json
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skrebatch import Epoch, MinLoss

few = st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0])
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(data=st.data())
def test_machines_choose_what_one_process_does(data):
    values = data.draw(st.sampled_from([few, floats]))
    n_rows = data.draw(st.integers(0, 40))
    losses = data.draw(arrays(np.float32, n_rows, elements=values))
    n_chosen = data.draw(st.integers(0, n_rows))
    cuts = sorted(data.draw(st.lists(st.integers(0, n_rows), max_size=5)))
    epoch = Epoch(2, 10, n_chosen=n_chosen, rng=np.random.default_rng(0))
    expected = MinLoss().plan(losses, epoch)
    bounds = [0, *cuts, n_rows]
    network = plan.Network(len(bounds) - 1)
    found = plan.choose_in_order(losses, n_chosen, bounds, network)
    np.testing.assert_array_equal(found, expected)


def test_the_network_counts_what_leaves_a_machine():
    network = plan.Network(4)
    total = network.add_up([np.full(8, i) for i in range(4)])
    assert total.tolist() == [6] * 8
    # Each sends half, then a quarter of its 64 bytes, and the same on the way back.
    assert network.sent.tolist() == [96] * 4
    assert network.messages == 4

    network = plan.Network(2)
    a, b = np.arange(2), np.arange(5)
    received = network.exchange([[a, b], [b, a]])
    assert [[len(part) for part in own] for own in received] == [[2, 5], [5, 2]]
    assert network.sent.tolist() == [40, 40]
    assert network.messages == 1


def test_one_machine_sends_nothing():
    network = plan.Network(1)
    losses = np.random.default_rng(0).random(100, dtype=np.float32)
    plan.choose_in_order(losses, 30, [0, 100], network)
    assert network.sent.tolist() == [0] and network.messages == 0


def test_what_is_sent_does_not_grow_with_the_rows():
    """The choice alone: its order is sorted among machines."""
    sent = []
    for n_rows in (20_000, 200_000):
        losses = np.random.default_rng(0).random(n_rows, dtype=np.float32)
        shards = [plan.as_pairs(s, 0) for s in np.split(losses, 4)]
        network = plan.Network(4)
        plan.choose(shards, n_rows // 8, network)
        sent.append(network.sent.max())
    assert sent[0] == sent[1]


def test_the_model_is_what_the_simulation_counted():
    """The bytes and messages of the page's formulas, at the size of the simulation."""
    results = read_json(RESULTS / "plan.json")
    simulation = results["simulation"]
    free = {**results["cluster"], "rows": simulation["rows"], "latency": 0.0}
    free["bandwidth"] = 1.0  # seconds are bytes, then
    nothing = {"choose": [0.0], "sort": [0.0]}
    for cell in simulation["cells"]:
        if cell["losses"] != plan.LOSSES[0]:
            continue
        only = {**results, "cluster": free, "seconds": nothing}
        seconds = plan_report.epoch_seconds(only, cell["machines"])
        sent = seconds["choosing"] + seconds["order"]
        assert cell["sent"] == pytest.approx(sent, rel=0.1)


@pytest.mark.parametrize("kind", plan.LOSSES)
@pytest.mark.parametrize("n_machines", [1, 3, 8])
def test_a_simulation_compares_with_the_exact_choice(kind, n_machines):
    simulation = plan.simulate(n_rows=5000, machines=[n_machines])
    losses, n_chosen = plan.draw_losses(5000)
    assert simulation["chosen"] == n_chosen == 652  # 5000 · 0.15 / 1.15
    if kind == "many ties":
        losses = np.round(losses, 1)
        assert len(np.unique(losses)) < 200
    bounds = np.linspace(0, 5000, n_machines + 1).astype(int)
    network = plan.Network(n_machines)
    found = plan.choose_in_order(losses, n_chosen, bounds, network)
    # Python's sort is stable: of equal losses the earlier row is first.
    exact = sorted(range(5000), key=losses.__getitem__)[:n_chosen]
    assert found.tolist() == exact
    (cell,) = [cell for cell in simulation["cells"] if cell["losses"] == kind]
    assert cell["same"]
    assert cell["sent"] == network.sent.max()
    assert cell["messages"] == network.messages


def test_every_choice_of_the_results_was_exact():
    results = read_json(RESULTS / "plan.json")
    assert all(cell["same"] for cell in results["simulation"]["cells"])


def test_the_page_is_that_of_the_results(tmp_path):
    plan_report.write_page(read_json(RESULTS / "plan.json"), tmp_path / "plan.md")
    assert (tmp_path / "plan.md").read_text("utf-8") == plan.PAGE.read_text("utf-8")


def test_a_page_without_results_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["plan.py", "--page", "--output", str(tmp_path)])
    with pytest.raises(FileNotFoundError, match="run the benchmark first"):
        plan.main()
