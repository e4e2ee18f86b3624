"""The comparison of the defaults with other models."""

import defaults
import numpy as np
import pandas as pd
import pytest
from datasets import as_dataset
from defaults_report import (
    difference_table,
    effect_table,
    far_from_best,
    growth_table,
    load_growth,
    rank_table,
    score_table,
)
from sklearn.linear_model import LogisticRegression, Ridge
from tables import DEVELOPMENT, GROWING, JUDGED


def frame_of(losses):
    """Runs of two splits whose log losses are given by table and model."""
    rows = [
        {
            "table": table,
            "split": split,
            "model": model,
            "log_loss": loss + 0.01 * split,
            "brier": loss,
            "accuracy": 1 - loss,
            "auc": 1 - loss,
            "fit_cpu": 1.0,
            "predict_cpu": 0.5,
        }
        for table, models in losses.items()
        for model, loss in models.items()
        for split in range(2)
    ]
    return pd.DataFrame(rows)


FRAME = frame_of(
    {
        "a": {"skrebatch": 0.2, "other": 0.3, "third": 0.1},
        "b": {"skrebatch": 0.2, "other": 0.3, "third": 0.4},
    }
)


def test_ranks_are_means_over_the_tables():
    lines = rank_table(FRAME, "classification").splitlines()[2:]
    ranks = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in lines}
    assert ranks == {"skrebatch": "1.50", "third": "2.00", "other": "2.50"}


def test_the_best_score_of_a_table_is_bold():
    a, b = score_table(FRAME, "classification", "accuracy").splitlines()[2:]
    assert "**0.900**" in a
    assert "**0.800**" in b


def test_differences_are_theirs_minus_ours():
    other, third = difference_table(FRAME, "classification", 2).splitlines()[2:]
    assert "+0.100" in other
    assert "2 (higher: 0) of 2" in other
    assert "+0.050" in third
    assert "1 (higher: 1) of 2" in third


def test_tables_far_from_the_best_model_are_named():
    assert far_from_best(FRAME, "classification") == "a (95% above third)"
    better = frame_of({"a": {"skrebatch": 0.2, "other": 0.19}})
    assert far_from_best(better, "classification") == "none"


def test_effects_are_relative_to_the_defaults_table_by_table():
    losses = {"a": (0.2, 0.4), "b": (0.5, 0.5), "c": (0.1, 0.3)}
    frame = frame_of(
        {name: {"defaults": d, "lr=1": o} for name, (d, o) in losses.items()}
    )
    frame = frame[frame.split == 0].assign(mae=np.nan)
    # Of a regressor.
    other = frame.assign(table="d", log_loss=np.nan, mae=[1, 0.5] * 3)
    line = effect_table(pd.concat([frame, other])).splitlines()[2]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[:3] == ["`lr=1`", "2.00 [1.50, 2.50]", "0.50 [0.50, 0.50]"]
    assert cells[3] == "1.00 [1.00, 1.00]"


def test_growing_tables_are_listed_by_rows_with_the_loss_of_their_task():
    runs = [
        {"table": table, "rows": rows, "model": model, "scores": {score: loss / rows}}
        for table, score, line in (
            ("classes", "log_loss", "LogisticRegression"),
            ("numbers", "mae", "Ridge"),
        )
        for rows in (20, 10)
        for model, loss in (("skrebatch", 1.0), (line, 2.0))
    ]
    lines = growth_table(load_growth(runs), "loss").splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0] == ["table", "rows", "linear", "skrebatch"]
    assert cells[2:4] == [
        ["classes", "10", "0.200", "**0.100**"],
        ["classes", "20", "0.100", "**0.050**"],
    ]
    assert [row[0] for row in cells[4:]] == ["numbers", "numbers"]


def test_nothing_is_chosen_on_judged_tables():
    assert not set(DEVELOPMENT) & (set(JUDGED) | set(GROWING))


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_model_is_scored_on_the_same_rows(task, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    table = as_dataset("made up", X, X[:, 0] > 0)
    models = {"line": LogisticRegression(), "again": LogisticRegression()}
    if task == "regression":
        object.__setattr__(table, "task", task)
        object.__setattr__(table, "y", 2 * X[:, 0] + 1)
        models = {"line": Ridge(alpha=1e-9)}
    found = defaults.run_tables([table], {task: models}, 2, 1, tmp_path)
    assert len(found["runs"]) == 2 * len(models)
    scores = pd.json_normalize(found["runs"])
    if task == "regression":
        assert (scores["scores.r2"] > 0.999).all()
        assert (scores["scores.mae"] < 1e-3).all()
    else:
        by_model = scores.groupby("model")["scores.log_loss"].apply(list)
        assert by_model["line"] == by_model["again"]
        assert (scores["scores.auc"] > 0.9).all()


def test_a_sample_keeps_rows_and_targets_together():
    table = as_dataset("made up", np.arange(40)[:, None], np.arange(40) % 2)
    small = table.sample(10)
    assert len(small.X) == len(set(small.X["x0"])) == 10
    np.testing.assert_array_equal(small.X["x0"] % 2, small.y)
    assert table.sample(40) is table
