"""The repetition of the paper's experiments: its plan, its numbers, its verdicts."""

import json
import re
from pathlib import Path

import numpy as np
import paper
import pytest
from datasets import load
from evidence import Interval
from harness import run_jobs
from paper_claims import (
    CLAIMS,
    FAILS,
    HOLDS,
    UNKNOWN,
    at,
    gain,
    judge,
    judge_intervals,
    load_runs,
)
from paper_experiments import (
    PLAN,
    SIDE_REPEATS,
    Case,
    Job,
    estimator,
    jobs_of,
    main_cases,
    run_job,
    run_tables,
    side_cases,
    split,
)
from paper_report import TABLES, TITLES, write_page
from paper_search import PLAN as SEARCH_PLAN
from paper_search import run_searches
from sklearn.metrics import root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

TINY = PLAN | {"ratios": [0.3], "repeats": 3, "side_repeats": 2, "epochs": 0.01}
TINY_SEARCH = SEARCH_PLAN | {
    "outer_folds": 2,
    "inner_folds": 2,
    "max_epochs": 2,
    "ratios": [0.3],
    "batch_sizes": [32],
    "rates": [3e-3],
    "others": ["linear"],
}


# --- the plan ---


@pytest.mark.parametrize("name", ["breast_cancer", "diabetes"])
def test_rows_are_split_6_2_2(name):
    dataset = load(name)
    parts = split(dataset, 0)
    shares = [len(rows) / len(dataset.y) for rows in parts]
    np.testing.assert_allclose(shares, [0.6, 0.2, 0.2], atol=0.005)
    assert sorted(np.concatenate(parts)) == list(range(len(dataset.y)))
    if name == "breast_cancer":
        means = [dataset.y[rows].mean() for rows in parts]
        np.testing.assert_allclose(means, dataset.y.mean(), atol=0.01)
    again, other = split(dataset, 0), split(dataset, 1)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))
    assert set(parts[2]) != set(other[2])


def test_every_reading_of_both_choices_is_run_once():
    cases = main_cases("pid", 0.15) + side_cases("pid", 0.15)
    assert len(cases) == len(set(cases))
    for method in ("min-loss", "max-loss"):
        readings = {(c.repeats, c.shuffle) for c in cases if c.method == method}
        assert readings == {(m, s) for m in range(4) for s in (True, False)}
    others = {c.method for c in cases} - {"min-loss", "max-loss"}
    assert others == {"no re-Batch", "TSW", "random", "fixed order"}


@pytest.mark.parametrize("name", SIDE_REPEATS)
def test_main_cases_have_ten_repeats_whatever_the_others_have(name):
    repeats = {}
    for job in jobs_of(name, PLAN):
        for case in job.cases if job.scaled else []:
            repeats.setdefault(case, []).extend(job.repeats)
    side = SIDE_REPEATS[name]
    for ratio in (0.03, 0.08, 0.15, 0.3):
        assert all(sorted(repeats[c]) == [*range(10)] for c in main_cases(name, ratio))
        assert all(
            sorted(repeats[c]) == [*range(side)] for c in side_cases(name, ratio)
        )


def test_the_ratio_sets_the_batch_size_unless_it_is_fixed():
    # eq. 2: floor(460 · .08 / 1.08)
    assert Case("min-loss", 0.08).parameters(460)["batch_size"] == 34
    assert Case("no re-Batch", 0.08).parameters(460)["batch_size"] == 34
    assert Case("min-loss", 0.08, fixed_batch=True).parameters(460)["batch_size"] == 32


# By hand from Table 3: 8 → (pool 1, stride 1) 8 → (pool 3, stride 2) 3, 16 channels;
# --- a job ---


@pytest.fixture(scope="module")
def runs():
    return run_job(*Job("diabetes", 3, range(1, 3), main_cases("diabetes", 0.3)))


def test_a_run_is_that_of_the_estimator_fitted_alone(runs):
    dataset = load("diabetes")
    (run,) = (r for r in runs if r["method"] == "max-loss" and r["repeat"] == 2)
    train, valid, test = split(dataset, 2)
    prepare = make_pipeline(dataset.preprocessor(), StandardScaler())
    X = prepare.fit(dataset.X.iloc[train]).transform(dataset.X)
    model = estimator(dataset, Case("max-loss", 0.3, 2), 3, len(train), 2)
    model.fit(X[train], dataset.y[train], X_val=X[valid], y_val=dataset.y[valid])
    error = root_mean_squared_error(dataset.y[test], model.predict(X[test]))
    assert run["scores"]["rmse"] == pytest.approx(error, rel=1e-4)
    assert run["scores"]["nrmse_std"] == pytest.approx(
        error / dataset.y[test].std(), 1e-4
    )
    np.testing.assert_allclose(run["curves"]["train"], model.loss_curve_, rtol=1e-4)
    np.testing.assert_allclose(
        run["curves"]["val"], model.validation_loss_curve_, rtol=1e-4
    )


def test_areas_are_taken_against_no_re_batch_of_the_same_repeat(runs):
    by_case = {(run["method"], run["repeat"]): run for run in runs}
    for (method, repeat), run in by_case.items():
        for part in ("train", "val"):
            base = by_case["no re-Batch", repeat]["curves"][part]
            area = sum(base) - sum(run["curves"][part])
            assert run[part]["area"] == pytest.approx(area, rel=1e-3, abs=0.1)
            assert (run[part]["area"] == 0) == (method == "no re-Batch")


def test_the_same_initial_loss_for_every_method(runs):
    # Weights and the first epoch's order are the same, so is what it is trained on.
    by_repeat = {}
    for run in runs:
        if run["method"] != "TSW":
            by_repeat.setdefault(run["repeat"], []).append(run["curves"]["train"][0])
    for losses in by_repeat.values():
        np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


# --- going on ---


def note(folder, number):
    """A job that leaves a trace of having been run."""
    with (Path(folder) / "trace").open("a") as file:
        file.write(f"{number} ")
    return {"number": number / 3}


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    parts, trace = tmp_path / "parts", tmp_path / "trace"
    jobs = [(str(tmp_path), number) for number in range(4)]
    first = run_jobs(note, jobs[:2], {"seed": 1}, parts, 1)
    assert run_jobs(note, jobs, {"seed": 1}, parts, 1)[:2] == first
    assert trace.read_text().split() == ["0", "1", "2", "3"]


def test_parts_of_another_setting_are_not_gone_on_from(tmp_path):
    jobs = [(str(tmp_path), 1)]
    for seed in (1, 2, 1):
        run_jobs(note, jobs, {"seed": seed}, tmp_path / "parts", 1)
    assert (tmp_path / "trace").read_text().split() == ["1", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of a tiny run on a data set that comes with scikit-learn."""
    folder = tmp_path_factory.mktemp("paper")
    setting = paper.find(["diabetes"])
    run_tables(TINY, setting, 1, folder)
    run_searches(TINY_SEARCH, setting, 1, folder)
    return folder


def test_the_same_bits_twice_whatever_the_processes(folder, tmp_path):
    setting = paper.find(["diabetes"])
    run_tables(TINY, setting, 2, tmp_path)
    run_searches(TINY_SEARCH, setting, 2, tmp_path)
    for name in ("paper.json", "paper_search.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_data_that_can_t_be_had_are_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("SKREBATCH_DATA", str(tmp_path))
    monkeypatch.setattr("datasets.SHARED_DATA", tmp_path / "nowhere")
    setting = paper.find(["diabetes", "pdc_speech"])
    assert list(setting["data"]) == ["diabetes"]
    assert "pd_speech_features.csv" in setting["missing"]["pdc_speech"]
    message = "pdc_speech is left out: pd_speech_features.csv can't be"
    assert message in capsys.readouterr().out


# --- the report ---


def test_the_page_says_everything_and_draws_it(folder, tmp_path):
    write_page(folder, tmp_path)
    page = (tmp_path / "paper.md").read_text("utf-8")
    assert "nan" not in page.lower().replace("finance", "")
    for claim in CLAIMS:
        assert claim["claim"] in page
    assert (tmp_path / "images" / "paper" / "diabetes.png").stat().st_size > 10_000
    results = json.loads((folder / "paper.json").read_text())
    own = at(load_runs(results), "diabetes", "min-loss", 0.3)
    assert len(own) == 3
    row = f"| min-loss | 0.3 | 60 | {own.rmse.mean():.0f} ["
    assert row in re.sub(" +", " ", page)


def intervals(*means):
    return [Interval(mean, mean - 1, mean + 1) for mean in means]


@pytest.mark.parametrize(
    "means, everywhere, verdict",
    [
        ((2, 3), True, HOLDS),
        ((2, 0.5), True, UNKNOWN),
        ((2, -0.5), True, UNKNOWN),
        ((2, -2), True, FAILS),
        ((2, -2), False, HOLDS),
        ((0.5, -2), False, UNKNOWN),
        ((-3, -2), False, FAILS),
    ],
)
def test_verdicts(means, everywhere, verdict):
    assert judge_intervals(intervals(*means), everywhere)[0] == verdict


def test_a_lower_error_is_a_gain_and_losses_are_its_opposite(folder):
    frame = load_runs(json.loads((folder / "paper.json").read_text()))
    plain, ours = (
        at(frame, "diabetes", method, 0.3).rmse
        for method in ("no re-Batch", "max-loss")
    )
    found = gain(frame, "diabetes", 0.3, "max-loss", "rmse")
    assert found.mean == pytest.approx((plain - ours).mean())
    lost = gain(frame, "diabetes", 0.3, "max-loss", "rmse", sign=-1)
    assert (lost.low, lost.mean, lost.high) == (-found.high, -found.mean, -found.low)


def test_without_data_nothing_can_be_told():
    verdicts = judge(None, {})
    assert [verdict for _, verdict, _ in verdicts] == [UNKNOWN] * len(CLAIMS)


def test_the_paper_s_tables_are_those_of_the_data_sets():
    tables = [TABLES[title]["table"] for title in TITLES.values()]
    assert sorted(tables) == [4, 5, 6, 7, 8, 9]
    # Two figures of the abstract's best case, Insurance at ratio .3.
    assert TABLES["Insurance"]["metrics"]["none"]["0.3"]["rmse"] == 7900
    assert TABLES["Insurance"]["metrics"]["min-loss"]["0.3"]["rmse"] == 7300
