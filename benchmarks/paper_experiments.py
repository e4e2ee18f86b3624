"""The experiments of the paper's tables 4 to 9, in each reading of the method."""

import itertools
from typing import NamedTuple

import numpy as np
from datasets import SEED, load
from harness import read_setting, rounded, run_jobs, write_json
from paper_claims import CHOICES, CLASSIFICATION
from paper_search import PARTS
from sklearn import metrics
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import skrebatch

FIXED_BATCH_SIZE = 32
SETTING = read_setting(__file__)
PLAN, SIDE_REPEATS = SETTING["plan"], SETTING["side_repeats"]


class Case(NamedTuple):
    """A method in one reading, at a ratio and a batch size."""

    method: str
    ratio: float
    repeats: int = 1
    shuffle: bool = True
    fixed_batch: bool = False

    def parameters(self, n_train):
        """Return the parameters of the estimator."""
        size = max(1, skrebatch.redistribution_size(n_train, self.ratio))
        parameters = {
            "batch_size": FIXED_BATCH_SIZE if self.fixed_batch else size,
            "shuffle": self.shuffle,
        }
        if self.method in ("no re-Batch", "fixed order"):
            return parameters | {"ratio": 0}
        parameters |= {"ratio": self.ratio, "repeats": self.repeats}
        return parameters | {"strategy": self.method.lower()}


def main_cases(name, ratio):
    """List what the tables show: the reading that agrees with the paper's signs."""
    cases = [Case("no re-Batch", ratio), *(Case(m, ratio, 2) for m in CHOICES)]
    # The paper has no TSW in its tables of regression.
    return [*cases, Case("TSW", ratio)] if name in CLASSIFICATION else cases


def side_cases(name, ratio):
    """List the other readings, methods and controls."""
    readings = itertools.product(CHOICES, range(4), (True, False))
    cases = [
        *(Case(method, ratio, *reading) for method, *reading in readings),
        Case("TSW", ratio),
        Case("random", ratio, 2),
        Case("fixed order", ratio, shuffle=False),
    ]
    return [case for case in cases if case not in main_cases(name, ratio)]


def fixed_cases(ratios):
    """List what tells the ratio from the batch size that it sets."""
    pairs = itertools.product(CHOICES, ratios)
    cases = [Case(method, ratio, 2, fixed_batch=True) for method, ratio in pairs]
    return [Case("no re-Batch", ratios[0], fixed_batch=True), *cases]


class Job(NamedTuple):
    """Networks that are trained side by side."""

    data: str
    max_epochs: int
    repeats: range
    cases: list[Case]
    # Whether the columns that a category becomes are standardised like the others.
    scaled: bool = True


def jobs_of(name, plan):
    """Cut the experiment on a data set into jobs."""
    max_epochs = max(
        2, round(plan["epochs"] * skrebatch.paper_parameters(name)["max_epochs"])
    )
    n_side = plan.get("side_repeats", SIDE_REPEATS[name])
    jobs = []
    for ratio in plan["ratios"]:
        main = main_cases(name, ratio)
        both = main + side_cases(name, ratio)
        jobs.append(Job(name, max_epochs, range(n_side), both))
        if n_side < plan["repeats"]:
            rest = range(n_side, plan["repeats"])
            jobs.append(Job(name, max_epochs, rest, main))
    jobs.append(Job(name, max_epochs, range(n_side), fixed_cases(plan["ratios"])))
    if name == "insurance":
        plain = [Case("no re-Batch", ratio) for ratio in plan["ratios"]]
        jobs.append(Job(name, max_epochs, range(n_side), plain, scaled=False))
    return jobs


def split(dataset, repeat):
    """Split into 60 % for training, 20 % for validation and 20 % for test."""
    is_classification = dataset.task == "classification"
    rows, parts = np.arange(len(dataset.y)), []
    for share in (0.2, 0.25):
        rows, part = train_test_split(
            rows,
            test_size=share,
            stratify=dataset.y[rows] if is_classification else None,
            random_state=SEED + repeat,
        )
        parts.append(part)
    test, valid = parts
    return rows, valid, test


def estimator(dataset, case, max_epochs, n_train, repeat):
    """Make the paper's network for a case."""
    common = {
        **skrebatch.paper_parameters(dataset.name),
        "max_epochs": max_epochs,
        "random_state": SEED + repeat,
        **case.parameters(n_train),
    }
    if dataset.task == "classification":
        return skrebatch.ReBatchCNNClassifier(**common)
    return skrebatch.ReBatchCNNRegressor(**common)


def scores(dataset, y, predicted):
    """Score predictions of test rows as the paper does."""
    if dataset.task == "classification":
        return {
            "accuracy": metrics.accuracy_score(y, predicted),
            "precision": metrics.precision_score(y, predicted, zero_division=0),
            "recall": metrics.recall_score(y, predicted),
            "f1": metrics.f1_score(y, predicted, zero_division=0),
        }
    return {
        "rmse": metrics.root_mean_squared_error(y, predicted),
        "mae": metrics.mean_absolute_error(y, predicted),
        "r2": metrics.r2_score(y, predicted),
        "nrmse_mean": skrebatch.nrmse(y, predicted),
        "nrmse_std": skrebatch.nrmse(y, predicted, normalization="std"),
    }


def run_job(data, max_epochs, repeats, cases, scaled=True):
    """Train the networks of a job side by side, and measure each.

    Features are standardised by the training rows of each repeat, so that the table
    trained on holds the rows once for every repeat.
    """
    dataset = load(data)
    n_rows = len(dataset.y)
    tables, parts = [], {}
    for i, repeat in enumerate(repeats):
        own = split(dataset, repeat)
        prepare = dataset.preprocessor()
        if scaled:
            prepare = make_pipeline(prepare, StandardScaler())
        prepare.fit(dataset.X.iloc[own[0]])
        tables.append(prepare.transform(dataset.X))
        parts[repeat] = [rows + i * n_rows for rows in own]
    X, y = np.concatenate(tables), np.tile(dataset.y, len(tables))

    wanted = [(case, repeat) for repeat in repeats for case in cases]
    models = [
        estimator(dataset, case, max_epochs, len(parts[repeat][0]), repeat)
        for case, repeat in wanted
    ]
    train, valid = ([parts[repeat][k] for _, repeat in wanted] for k in (0, 1))
    with threadpool_limits(1):
        skrebatch.fit_fused(models, X, y, train, val_indices=valid)
    runs, plain = [], {}
    for (case, repeat), model in zip(wanted, models, strict=True):
        test = parts[repeat][2]
        curves = {"train": model.loss_curve_, "val": model.validation_loss_curve_}
        if case.method == "no re-Batch":  # comes before those that it is compared with
            plain[case.fixed_batch or case.ratio, repeat] = curves
        run = {"data": data, **case._asdict(), "repeat": repeat}
        run |= {"scaled": scaled, "max_epochs": max_epochs}
        run["batch_size"] = model.batch_size_
        run["scores"] = scores(dataset, y[test], model.predict(X[test]))
        for part, curve in curves.items():
            slope, intercept = skrebatch.loss_trend(curve)
            baseline = plain[case.fixed_batch or case.ratio, repeat][part]
            area = skrebatch.loss_area(baseline, curve)
            run[part] = {"slope": slope, "intercept": intercept, "area": area}
        run["curves"] = curves
        runs.append(run)
    return rounded(runs)


def run_tables(plan, setting, n_jobs, folder):
    """Run the paper's tables; write all scores and the mean loss curves.

    Finished parts stay, for a run that is killed later.
    """
    jobs = [job for name in setting["data"] for job in jobs_of(name, plan)]
    setting = {
        **setting,
        "plan": plan,
        "setups": {
            name: {
                "max_epochs": skrebatch.paper_parameters(name)["max_epochs"],
                "side_repeats": SIDE_REPEATS[name],
            }
            for name in setting["data"]
        },
        "fixed_batch_size": FIXED_BATCH_SIZE,
    }
    runs = run_jobs(run_job, jobs, setting, folder / PARTS, n_jobs)
    runs = list(itertools.chain.from_iterable(runs))
    curves = mean_curves(runs)
    for run in runs:
        del run["curves"]
    results = {**setting, "curves": curves, "runs": runs}
    write_json(folder / "paper.json", results, indent=None)


def mean_curves(runs):
    """Average the loss curves of the cases of the tables over the repeats."""
    curves = {}
    for run in runs:
        case = Case(*(run[name] for name in Case._fields))
        if run["scaled"] and case in main_cases(run["data"], case.ratio):
            curves.setdefault((run["data"], case), []).append(run["curves"])
    means = []
    for (data, case), several in curves.items():
        mean = {
            part: np.mean([own[part] for own in several], axis=0).tolist()
            for part in several[0]
        }
        means.append({"data": data, **case._asdict(), **rounded(mean, 4)})
    return means
