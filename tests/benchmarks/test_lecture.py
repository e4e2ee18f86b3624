"""The lecture's experiment: its conditions, its split and its page."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from harness import single

pytest.importorskip("imblearn", reason="needs imbalanced-learn, the extra imbalance")

import lecture
from imblearn.over_sampling import SMOTE
from sklearn.model_selection import train_test_split

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


def lines_of(results, folder):
    """The lines that begin like a row of a condition, and the verdict."""
    lecture.write_page(results, folder)
    page = (folder / "lecture.md").read_text("utf-8")
    return [
        line for line in page.splitlines() if line.startswith(("| ori", "The best"))
    ]


def test_tables_by_hand(tmp_path):
    results = made_up({42: [0.7, 0.8, 0.9], 0: [0.5], 1: [0.7]})
    own, _, others = lines_of(results, tmp_path)
    assert "0.80 (0.70 to 0.90)" in own
    assert "0.70 (0.60 to 0.80)" in own
    # Mean .6, variance .02, 1/2 + 1/4, and the table's t(.975, 1) = 12.7062.
    half = 12.706204736 * np.sqrt(0.75 * 0.02)
    assert f"0.600 [{0.6 - half:.3f}, {0.6 + half:.3f}]" in others


def test_the_verdict_goes_by_both_scores(tmp_path):
    found = {42: [0.95], 0: [0.5], 1: [0.7]}
    assert "does not reach" in lines_of(made_up(found), tmp_path)[1]
    found[42] = [0.999]
    assert "reaches" in lines_of(made_up(found), tmp_path)[1]


@pytest.fixture
def heart(tmp_path, monkeypatch):
    """A made-up file of the shape of the heart data, with gaps."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(50, 9, size=(303, 9))).add_prefix("x")
    for name in lecture.CATEGORICAL:
        table[name] = rng.integers(4, size=303).astype(float)
    score = table["x0"] + 9 * (table["cp"] == 2) + rng.normal(0, 9, size=303)
    table = table.mask(rng.random(table.shape) < 0.03)
    table["num"] = (score.rank() > 303 - 139).astype(int)
    table.to_csv(tmp_path / "heart_cleveland.csv", index=False)
    monkeypatch.setenv("SKREBATCH_DATA", str(tmp_path))
    return table


def prepared(table, train):
    """Categories as zeros and ones, then numbers, by what the training rows are."""
    categories = [
        (column == value).astype(float)
        for name in lecture.CATEGORICAL
        for column in [table[name].fillna(table[name][train].mode()[0])]
        for value in np.sort(column[train].unique())
    ]
    numbers = table.drop(columns=lecture.CATEGORICAL)
    numbers = numbers.fillna(numbers.loc[train].median())
    numbers = (numbers - numbers.loc[train].mean()) / numbers.loc[train].std(ddof=0)
    return np.column_stack([*categories, numbers])


def test_every_condition_is_trained_with_its_seed_and_split(heart):
    results = lecture.run(n_seeds=2, max_epochs=2, n_jobs=1)
    runs = {
        (run["condition"], run["split"], run["seed"]): (run["accuracy"], run["F1"])
        for run in results["runs"]
    }
    assert len(results["runs"]) == len(runs) == len(lecture.CONDITIONS) * 4
    y = heart.pop("num").to_numpy()
    without = "original", "noise"  # nothing of SMOTE
    for split, seed in ((42, 0), (42, 1), (0, 0), (1, 1)):
        train, test = train_test_split(
            np.arange(303), test_size=0.2, random_state=split, stratify=y
        )
        X = prepared(heart, train)
        more = SMOTE(random_state=seed).fit_resample(X[train], y[train])
        for condition in lecture.CONDITIONS:
            settings = lecture.parameters_of(condition) | {"max_epochs": 2}
            model = single(random_state=seed, **settings)
            model.fit(*((X[train], y[train]) if condition in without else more))
            predicted = model.predict(X[test])
            accuracy = np.mean(predicted == y[test])
            f1 = 2 * np.sum(predicted & y[test]) / (predicted.sum() + y[test].sum())
            expected = pytest.approx((accuracy, f1), abs=1e-6)
            assert runs[condition, split, seed] == expected
    assert len(set(runs.values())) > len(runs) / 2  # they differ


def test_scores_are_those_of_the_condition_and_the_split():
    results = made_up({42: [0.7, 0.8], 0: [0.5], 1: [0.6]})
    for run in results["runs"]:
        run["accuracy"] += run["condition"] == "SMOTE"
    own, others = (
        lecture.scores_of(results, own_split=own).get_group("SMOTE").accuracy.tolist()
        for own in (True, False)
    )
    assert (own, others) == ([1.7, 1.8], [1.5, 1.6])


def test_the_page_is_written_from_the_results(tmp_path):
    results = json.loads(
        (ROOT / "benchmarks" / "results" / "lecture.json").read_text("utf-8")
    )
    lecture.write_page(results, tmp_path)
    page = (tmp_path / "lecture.md").read_text("utf-8")
    assert page == (ROOT / "docs" / "lecture.md").read_text("utf-8")
