"""The benchmarks of wrong labels and targets: errors, scores, goals and pages."""

import json
from pathlib import Path

import label_noise
import numpy as np
import pandas as pd
import pytest
import scipy
import wrong_targets
from corruption import (
    Finder,
    Informed,
    corrupt,
    evaluate,
    find_table,
    score_found,
    shuffle,
)
from corruption_report import (
    chosen_table,
    difference_table,
    differences,
    load,
    score_table,
)
from packaging.version import Version
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from trials import calibration_error, with_seed

from skrebatch import ReBatchCNNClassifierCV, ReBatchCNNRegressorCV

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
RNG = np.random.default_rng(0)
X, LABELS, TARGETS = RNG.normal(size=(90, 3)), np.arange(90) % 3, RNG.random(90) + 1
LABEL_KINDS = "symmetric", "class-dependent", "instance-dependent"


@pytest.mark.parametrize("rate", [0, 0.1, 0.4])
@pytest.mark.parametrize("kind", LABEL_KINDS)
def test_that_many_labels_are_wrong(kind, rate):
    wrong, is_wrong = corrupt(X, LABELS, kind, rate, 0)
    assert is_wrong.sum() == round(90 * rate)
    np.testing.assert_array_equal(wrong != LABELS, is_wrong)
    assert set(wrong) <= {0, 1, 2}
    np.testing.assert_array_equal(corrupt(X, LABELS, kind, rate, 0)[0], wrong)
    assert rate == 0 or (corrupt(X, LABELS, kind, rate, 1)[0] != wrong).any()


def test_wrong_labels_are_those_of_the_next_class_or_of_a_tree():
    wrong, is_wrong = corrupt(X, LABELS, "class-dependent", 0.4, 0)
    np.testing.assert_array_equal(wrong[is_wrong], (LABELS[is_wrong] + 1) % 3)
    # The tree finds class 1 and mixes up the others, which hence are wrong most often.
    easy = np.where(LABELS == 1, 9.0, 0.0)[:, None]
    wrong, is_wrong = corrupt(easy, LABELS, "instance-dependent", 0.3, 0)
    assert (LABELS[is_wrong] != 1).mean() > 0.9
    assert np.mean(wrong[is_wrong & (LABELS != 1)] != 1) > 0.9


def test_wrong_targets_by_kind():
    swapped, is_wrong = corrupt(X, TARGETS, "swapped", 0.4, 0)
    np.testing.assert_array_equal(np.sort(swapped), np.sort(TARGETS))
    assert 30 < is_wrong.sum() <= 36
    digit, is_wrong = corrupt(X, TARGETS, "missing digit", 0.1, 0)
    np.testing.assert_allclose(digit[is_wrong], TARGETS[is_wrong] / 10)
    heavy, is_wrong = corrupt(X, TARGETS, "heavy tails", 0.1, 0)
    assert is_wrong.sum() == 9
    assert np.abs(heavy - TARGETS)[is_wrong].mean() > TARGETS.std()
    for wrong in (swapped, digit, heavy):
        assert (wrong == TARGETS).sum() >= 54


def test_a_model_is_scored_as_by_hand():
    scores = evaluate("iris", "symmetric", 0.2, 1, LogisticRegression())
    data = find_table("iris")
    train, test = data.splits(3, 1)[1]
    rows, test_rows = data.prepare(train, test)
    y, _ = corrupt(rows, data.y[train], "symmetric", 0.2, 1)
    p = LogisticRegression().fit(rows, y).predict_proba(test_rows)
    of_label = p[np.arange(len(test)), data.y[test]]
    assert scores["accuracy"] == np.mean(p.argmax(axis=1) == data.y[test])
    assert scores["log_loss"] == pytest.approx(-np.log(of_label).mean())
    others = (p**2).sum(axis=1) - of_label**2
    assert scores["brier"] == pytest.approx(np.mean((1 - of_label) ** 2 + others) / 3)


def test_an_informed_model_is_trained_on_the_right_rows():
    scores = evaluate("iris", "symmetric", 0.2, 1, Informed(LogisticRegression()))
    data = find_table("iris")
    train, test = data.splits(3, 1)[1]
    rows, test_rows = data.prepare(train, test)
    _, is_wrong = corrupt(rows, data.y[train], "symmetric", 0.2, 1)
    right = ~is_wrong
    model = LogisticRegression().fit(rows[right], data.y[train][right])
    assert scores["accuracy"] == model.score(test_rows, data.y[test])
    assert scores != evaluate("iris", "symmetric", 0.2, 1, LogisticRegression())


def test_calibration_error_by_hand():
    # Two of four are right at .9, and both at .6.
    p = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 2)
    y = np.array([0, 0, 1, 1, 1, 1])
    expected = (4 * 0.4 + 2 * 0.4) / 6
    assert calibration_error(y, p) == pytest.approx(expected)


def test_what_is_found_by_hand():
    model = Finder(shuffle, label_noise.PLAIN).fit(X, LABELS)
    model.quality_ = np.array([0.1, 0.2, 0.3, 0.4])
    model.is_issue_ = np.array([True, True, True, False])
    scores = score_found(np.array([True, False, True, False]), model)
    assert scores["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["precision"] == pytest.approx(2 / 3)
    assert scores["recall"] == 1
    assert scores["pointed_at"] == 0.75


def test_every_part_of_a_model_gets_the_seed():
    model = make_pipeline(StandardScaler(), label_noise.OTHERS["RandomForest"])
    seeded = with_seed(model, 7)
    assert seeded[-1].random_state == 7
    assert model[-1].random_state is None


def runs_of(accuracies):
    """Results by condition, model and table, each with two splits."""
    return {
        "runs": [
            {
                "table": table,
                "kind": kind,
                "rate": rate,
                "split": split,
                "model": model,
                "scores": {"accuracy": accuracy + 0.01 * split},
            }
            for (kind, rate), models in accuracies.items()
            for model, tables in models.items()
            for table, accuracy in tables.items()
            for split in range(2)
        ]
    }


FRAME = load(
    runs_of(
        {
            ("none", 0): {"CV form": {"a": 0.9, "b": 0.8}, "x": {"a": 0.9, "b": 0.9}},
            ("symmetric", 0.2): {
                "CV form": {"a": 0.8, "b": 0.7},
                "x": {"a": 0.7, "b": 0.7},
            },
        }
    )
)


# Of scipy before 1.15, about p-values that the test does not look at.
@pytest.mark.filterwarnings("ignore:(Exact p-value|Sample size too small)")
def test_tables_by_hand():
    head, _, first, second = score_table(FRAME, "accuracy", "20% symmetric").split("\n")
    assert [cell.strip() for cell in head.split("|")[2:4]] == ["none", "20% symmetric"]
    assert [c.strip() for c in first.split("|")[1:4]] == [
        "CV form",
        "0.855",
        "**0.755**",
    ]
    assert [c.strip() for c in second.split("|")[1:4]] == ["x", "**0.905**", "0.705"]
    gains = differences(FRAME, "accuracy", "20% symmetric", "CV form", "x")
    np.testing.assert_allclose(gains, [[0.1, 0.1], [0, 0]], atol=1e-9)
    table = difference_table(FRAME, "accuracy", "20% symmetric", ["x"], 100, "+.1f")
    assert "+5.0 [+5.0, +5.0]" in table
    assert "1 of 2" in table
    frame = FRAME.assign(chosen=FRAME["table"].map({"a": 0.0, "b": 2.0}))
    assert chosen_table(frame, ["p", "q", "r"]).split("\n")[-1].count("50%") == 2


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_cv_form_has_the_candidates_that_the_page_names(task):
    model, benchmark, y = ReBatchCNNClassifierCV(), label_noise, LABELS
    if task == "regression":
        model, benchmark, y = ReBatchCNNRegressorCV(), wrong_targets, TARGETS
    network = benchmark.PLAIN.set_params(
        max_epochs=1, n_networks=2, validation_fraction=0.5
    )
    model.set_params(estimator=network, random_state=0)
    found = pd.DataFrame(model.fit(X, y).cv_results_["params"])
    names = found["strategy"].where(found.get("ratio") != 0, "plain")
    names = names.where(names != "max-loss", "max-loss, left out")
    assert list(names) == benchmark.SETTING["page"]["candidates"]


@pytest.mark.skipif(
    Version(scipy.__version__) < Version("1.15"),
    reason="scipy before 1.15 approximates p-values if a difference is zero",
)
@pytest.mark.parametrize("benchmark", [label_noise, wrong_targets])
def test_the_page_is_written_from_the_results(tmp_path, benchmark):
    stem = benchmark.__name__
    compared, chosen = (
        json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
        for name in (stem, f"{stem}_choice")
    )
    benchmark.write_page(compared, chosen, tmp_path)
    page = (tmp_path / f"{stem}.md").read_text("utf-8")
    assert page == (ROOT / "docs" / f"{stem}.md").read_text("utf-8")
    judged, development = ({t["name"] for t in r["tables"]} for r in (compared, chosen))
    assert not judged & development
