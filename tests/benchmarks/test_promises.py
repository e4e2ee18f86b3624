"""The page of promises: every figure from a file of results, none by hand."""

import json

import promises
import pytest
from pages import write_blocks


def test_the_page_is_as_its_script_writes_it(tmp_path):
    text, page = promises.PAGE.read_text("utf-8"), tmp_path / "promises.md"
    page.write_text(text, "utf-8")
    write_blocks(page, {promises.BLOCK: "emptied"})
    assert page.read_text("utf-8") != text
    write_blocks(page, {promises.BLOCK: promises.table()})
    assert page.read_text("utf-8") == text


@pytest.mark.parametrize("name", ["kills", "abuse", "mapped", "plan", "sharded"])
def test_a_promise_without_results_is_left_out(name, tmp_path, monkeypatch):
    for path in promises.RESULTS.glob("*.json"):
        if path.stem != name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(promises, "RESULTS", tmp_path)
    assert f"`{name}.py`" not in promises.table()


def test_figures_are_those_of_the_results(tmp_path, monkeypatch):
    found = json.loads((promises.RESULTS / "kills.json").read_text("utf-8"))
    found["total"]["kills"] = 987_654
    (tmp_path / "kills.json").write_text(json.dumps(found), "utf-8")
    run = {"chosen": 9, "chosen alike": 8, "largest difference": 2e-15}
    cells = [{"dtype": "float64", "runs": [run, run]}]
    shared = {"processes": 3, "cells": cells}
    (tmp_path / "sharded.json").write_text(json.dumps(shared), "utf-8")
    monkeypatch.setattr(promises, "RESULTS", tmp_path)
    lines = promises.table().splitlines()
    assert "987654 kills" in lines[2]
    assert "2 fits of 3 processes in float64: 16 of 18 choices equal" in lines[-1]
    assert "at most 2e-15 apart" in lines[-1]
    assert len(lines) == 5
