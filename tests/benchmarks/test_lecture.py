"""The lecture's experiment: its conditions, its split and its page."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("imblearn", reason="needs imbalanced-learn, the extra imbalance")

import lecture
from datasets import ENTRIES, SHARED_DATA

ROOT = Path(__file__).parents[2]


def made_up(values):
    """Results whose scores are given by condition, split and seed."""
    return {
        "n_seeds": 2,
        "rows": 303,
        "network": lecture.NETWORK,
        "runs": [
            {"condition": c, "split": split, "seed": i, "accuracy": x, "F1": x - 0.1}
            for c in lecture.CONDITIONS
            for split, scores in values.items()
            for i, x in enumerate(scores)
        ],
    }


def test_tables_by_hand():
    results = made_up({42: [0.7, 0.8, 0.9], 0: [0.5], 1: [0.7]})
    own = lecture.own_table(results).splitlines()[2]
    assert "0.80 (0.70 to 0.90)" in own
    assert "0.70 (0.60 to 0.80)" in own
    # Mean .6, variance .02, 1/2 + 1/4, and the table's t(.975, 1) = 12.7062.
    half = 12.706204736 * np.sqrt(0.75 * 0.02)
    others = lecture.others_table(results).splitlines()[2]
    assert f"0.600 [{0.6 - half:.3f}, {0.6 + half:.3f}]" in others


def test_the_verdict_goes_by_both_scores():
    assert "does not reach" in lecture.verdict(made_up({42: [0.95]}))
    assert "reaches" in lecture.verdict(made_up({42: [0.999]}))


def test_every_condition_is_trained_with_its_seed_and_split():
    if not (SHARED_DATA / ENTRIES["heart"].file.name).is_file():
        pytest.skip("needs the heart data; see SKREBATCH_DATA")
    results = lecture.run(n_seeds=2, max_epochs=2, n_jobs=1)
    assert len(results["runs"]) == len(lecture.CONDITIONS) * 4
    for condition in lecture.CONDITIONS:
        for score in ("accuracy", "F1"):
            for own_split in (True, False):
                scores = lecture.scores_of(results, condition, score, own_split)
                assert len(scores) == 2
                assert all(0 <= value <= 1 for value in scores)


def test_the_page_is_written_from_the_results(tmp_path):
    results = json.loads(
        (ROOT / "benchmarks" / "results" / "lecture.json").read_text("utf-8")
    )
    lecture.write_page(results, tmp_path)
    page = (tmp_path / "lecture.md").read_text("utf-8")
    assert page == (ROOT / "docs" / "lecture.md").read_text("utf-8")
    assert lecture.verdict(results) in page
