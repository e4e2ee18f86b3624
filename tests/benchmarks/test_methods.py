"""The benchmark of the methods, and that its page says what it found."""

import inspect
import json
import re
from pathlib import Path

import methods
import numpy as np
import pytest
from methods_report import BLOCK, fill

from skrebatch.strategies import STRATEGIES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "methods.md"
RESULTS = ROOT / "benchmarks" / "results" / "methods.json"


def block(results, mark):
    """What is written at a mark."""
    text = fill(f"<!-- from methods.py: {mark} -->\n<!-- end -->", results)
    return "\n".join(text.splitlines()[2:-2])


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    methods.main(["--quick", "--output", str(folder)])
    return json.loads((folder / "methods_quick.json").read_text("utf-8"))


def test_every_method_is_measured_with_one_score_a_split(quick):
    strategies = {arm.get("strategy") for arm in methods.METHODS.values()}
    assert strategies - {None} == set(STRATEGIES)
    for section, arms in [
        ("effect", methods.METHODS),
        ("balanced", methods.BALANCED),
        ("schedules", methods.SCHEDULES),
    ]:
        (cell,) = quick[section]["cells"]
        assert list(cell["scores"]) == list(arms)
        for scores in cell["scores"].values():
            assert {len(values) for values in scores.values()} == {3}
            assert np.isfinite(list(scores.values())).all()


def test_every_method_is_timed(quick):
    *fits, plans = quick["cost"]["cells"]
    assert len(fits) == 2
    for cell in fits:
        assert list(cell["seconds"]) == list(methods.METHODS)
    assert set(methods.METHODS) < set(plans["seconds"])


def test_arms_differ_in_their_choices_alone(quick):
    # With a warm-up longer than the training an arm is plain training: the same
    # splits, flipped labels, initial weights and orders.
    (cell,) = quick["schedules"]["cells"]
    losses = {arm: scores["log loss"] for arm, scores in cell["scores"].items()}
    for arm in methods.SCHEDULES:
        plain = pytest.approx(losses[methods.PLAIN], abs=1e-3)
        if "warm-up 10" in arm:
            assert losses[arm] == plain
        elif arm != methods.PLAIN:
            assert losses[arm] != plain


def test_the_page_can_be_filled_from_a_quick_run(quick):
    page = fill(PAGE.read_text("utf-8"), quick)
    table = block(quick, "effect of log loss")
    assert table in page
    assert table not in PAGE.read_text("utf-8")


def test_the_page_says_what_the_results_say():
    page = PAGE.read_text("utf-8")
    results = json.loads(RESULTS.read_text("utf-8"))
    emptied = BLOCK.sub(r"\1\3", page)
    assert fill(emptied, results) == page
    # Outside of the blocks no line states a measured difference.
    assert not re.search(r"[+−]\d\.\d", emptied)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_method_has_a_card(name):
    cards = re.split(r"^##+ ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    (text,) = [part for part in cards if part.startswith(f'"{name}"\n')]
    strategy = STRATEGIES[name]
    defaults = ", ".join(
        f"{parameter.name}={parameter.default!r}"
        for parameter in inspect.signature(strategy).parameters.values()
    ).replace("'", '"')
    assert f"`{strategy.__name__}({defaults})`" in text
    for part in ("*Formula*", "*Source*", "*Suggested*"):
        assert part in text
    assert f"<!-- from methods.py: card of {name} -->\n\n|" in text


# --- the tables, by hand ---

PLAIN = methods.PLAIN


@pytest.fixture
def results():
    scores = {
        PLAIN: {"log loss": [0.5, 0.6, 0.7], "accuracy": [0.7, 0.8, 0.9]},
        "ohem": {"log loss": [0.4, 0.5, 0.6], "accuracy": [0.9, 0.6, 0.9]},
        "tsw": {"log loss": [0.6, 0.7, 0.8], "accuracy": [0.7, 0.8, 0.9]},
    }
    # An epoch of 10 rows takes 2 s, so one of 1000 rows takes 200 s.
    fit = {
        "rows": 10,
        "features": 3,
        "epochs": 4,
        "seconds": {
            PLAIN: {"cpu": [8, 8, 8]},
            "ohem": {"cpu": [4, 8, 12]},
            "tsw": {"cpu": [8, 8, 8]},
        },
    }
    plans = {
        "rows": 1000,
        "seconds": {
            PLAIN: {"cpu": [1, 1, 1]},
            "ohem": {"cpu": [1, 3, 5]},
            "tsw": {"cpu": [2, 2, 2]},
        },
    }
    section = {"size": {"folds": 3}, "cells": [{"data": "toy", "scores": scores}]}
    return {"effect": section, "balanced": section, "cost": {"cells": [fit, plans]}}


def rows_of(table):
    """Split a Markdown table into its cells."""
    lines = [line.strip("|").split("|") for line in table.splitlines()]
    return [[cell.strip() for cell in line] for line in lines if "---" not in line[0]]


def test_effect_is_the_paired_difference_bold_where_it_leaves_out_zero(results):
    assert rows_of(block(results, "effect of log loss")) == [
        ["", "toy"],
        [PLAIN, "0.600"],
        ["ohem", "**−0.100** [−0.100, −0.100]"],
        ["tsw", "**+0.100** [+0.100, +0.100]"],
    ]
    assert block(results, "effect of accuracy").count("**") == 0


def test_scores_stand_beside_their_differences(results):
    _, _, ohem, tsw = rows_of(block(results, "scores of balanced"))
    assert ohem[:3] == ["ohem", "0.500", "**−0.100** [−0.100, −0.100]"]
    assert tsw[3:] == ["0.800", "+0.000 [+0.000, +0.000]"]


def test_cost_is_relative_to_plain_training_and_to_an_epoch(results):
    _, plain, ohem, tsw = rows_of(block(results, "cost"))
    assert plain[1:] == ["1.00 [1.00, 1.00]", "0.50 %"]
    assert ohem[1:] == ["1.00 [0.75, 1.25]", "1.50 %"]
    assert tsw[1:] == ["1.00 [1.00, 1.00]", "1.00 %"]


def test_a_card_names_the_data_sets(results):
    _, *rows = rows_of(block(results, "card of ohem"))
    assert rows[-1][:3] == ["ohem", "better on toy", "undecided on 1"]
    assert "worse on toy" in block(results, "card of tsw")
    assert "ohem" not in block(results, "card of tsw")


def test_an_unknown_block_is_named(results):
    with pytest.raises(ValueError, match="No block 'tabel'"):
        fill("<!-- from methods.py: tabel of x -->\n<!-- end -->", results)


def test_data_sets_that_would_be_downloaded_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.SHARED_DATA", tmp_path)
    monkeypatch.delenv("SKREBATCH_DATA", raising=False)
    assert methods.is_here("breast_cancer")
    assert methods.is_here("imbalanced")
    assert not methods.is_here("pid")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / methods.ENTRIES["pid"]["file"]).touch()
    monkeypatch.setenv("SKREBATCH_DATA", str(folder))
    assert methods.is_here("pid")
    assert not methods.is_here("heart")
