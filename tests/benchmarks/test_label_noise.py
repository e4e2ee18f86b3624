"""The benchmark of wrong labels: its flips, its scores and its page."""

import importlib.util
import json
from pathlib import Path

import label_noise
import numpy as np
import pytest
from harness import single
from label_noise_report import (
    OUR_ARM,
    choice_table,
    found_table,
    mean_table,
    summary,
    write_page,
)
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import RepeatedStratifiedKFold

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PLAN = label_noise.Plan(
    rates=(0.0, 0.25), folds=2, repeats=1, cleanlab_folds=2, max_epochs=3
)
DATA = [d for d in label_noise.development() if d.name in ("moons", "wine")]


@pytest.mark.parametrize("rate, n", [(0, 0), (0.1, 4), (0.4, 16)])
def test_that_many_labels_are_flipped(rate, n):
    y = np.arange(40) % 2
    noisy, is_flipped = label_noise.flip(y, rate, seed=0)
    assert is_flipped.sum() == n
    np.testing.assert_array_equal(noisy != y, is_flipped)
    again, _ = label_noise.flip(y, rate, seed=0)
    np.testing.assert_array_equal(again, noisy)


def test_no_data_set_chooses_and_compares():
    chosen_on = [data.name for data in label_noise.development()]
    assert len(chosen_on) == len(set(chosen_on))
    assert not set(chosen_on) & set(label_noise.EVALUATION)


def test_ours_is_the_best_of_the_candidates():
    results = json.loads((RESULTS / "label_noise_choice.json").read_text("utf-8"))
    rows = choice_table(results).splitlines()
    best = rows[2].split("|")[1].strip()
    assert results["arms"][best] == label_noise.OURS
    assert label_noise.CANDIDATES[best] == label_noise.OURS


@pytest.fixture(scope="module")
def results():
    cleaned = label_noise.CLEANED if importlib.util.find_spec("cleanlab") else {}
    return label_noise.run_all(DATA, PLAN, label_noise.ARMS, cleaned, n_jobs=1)


def test_every_arm_has_a_score_of_every_split(results):
    runs = [(r["data"], r["rate"], r["split"]) for r in results["runs"]]
    assert len(set(runs)) == len(runs) == 2 * 2 * 2
    arms = {*label_noise.ARMS, label_noise.BOOSTING}
    if importlib.util.find_spec("cleanlab"):
        arms |= set(label_noise.CLEANED)
    assert all(set(run["scores"]) == arms for run in results["runs"])


@pytest.mark.parametrize("split", [0, 1])
@pytest.mark.parametrize("rate", PLAN.rates)
@pytest.mark.parametrize("data", DATA, ids=lambda data: data.name)
def test_scores_by_hand(results, data, rate, split):
    X, y = data.X.to_numpy(), data.y
    folds = RepeatedStratifiedKFold(
        n_splits=PLAN.folds, n_repeats=PLAN.repeats, random_state=label_noise.SEED
    )
    train, test = list(folds.split(X, y))[split]
    X = (X - X[train].mean(axis=0)) / X[train].std(axis=0)
    # The labels to learn from are wrong, those to score by are right.
    noisy, _ = label_noise.flip(y[train], rate, split)
    models = {
        arm: single(
            batch_size=32, max_epochs=PLAN.max_epochs, random_state=split, **parameters
        )
        for arm, parameters in label_noise.ARMS.items()
    }
    models[label_noise.BOOSTING] = HistGradientBoostingClassifier(random_state=split)
    [scores] = (
        run["scores"]
        for run in results["runs"]
        if (run["data"], run["rate"], run["split"]) == (data.name, rate, split)
    )
    for arm, model in models.items():
        p = model.fit(X[train], noisy).predict_proba(X[test])
        right = p.argmax(axis=1) == y[test]
        assert scores[arm]["accuracy"] == pytest.approx(right.mean())
        log_loss = -np.log(p[np.arange(len(test)), y[test]]).mean()
        assert scores[arm]["log loss"] == pytest.approx(log_loss, rel=1e-4)


def test_the_same_command_gives_the_same_scores(results):
    again = label_noise.run_all(DATA[:1], PLAN, label_noise.ARMS, {}, n_jobs=1)
    assert [run["scores"][OUR_ARM] for run in again["runs"]] == [
        run["scores"][OUR_ARM] for run in results["runs"][: len(again["runs"])]
    ]


def test_a_table_by_hand():
    runs = [
        {"data": data, "rate": 0.2, "split": split, "scores": {"a": {"accuracy": x}}}
        for data, scores in {"one": [0.5, 0.7], "two": [1.0, 0.8]}.items()
        for split, x in enumerate(scores)
    ]
    table = mean_table({"runs": runs, "plan": {"rates": [0.2]}}, "accuracy")
    assert table.splitlines()[-1].split("|")[1:3] == [" a  ", " 0.750 "]


def test_the_page_is_written_from_the_results(tmp_path):
    results = json.loads((RESULTS / "label_noise.json").read_text("utf-8"))
    write_page(RESULTS, tmp_path)
    page = (tmp_path / "label_noise.md").read_text("utf-8")
    assert page == (ROOT / "docs" / "label_noise.md").read_text("utf-8")
    for table in (mean_table(results, "log loss", 2), found_table(results)):
        assert table in page
    assert " ".join(summary(results).split()) in " ".join(page.split())
    assert (tmp_path / "images" / "label_noise" / "accuracy.png").stat().st_size > 0
