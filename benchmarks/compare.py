"""Does re-Batch help? Cross-validated, against its controls and against other models.

Runs two data sets of scikit-learn, or with `--data` any of datasets.py. The page is
docs/compare.md.
"""

import itertools
import os
import time
import warnings

import harness
import numpy as np
from compare_report import CURVES, describe, write_page
from datasets import ENTRIES, SEED, load
from joblib import delayed
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from trials import SKLEARN_MODELS, with_seed

from skrebatch import (
    FusedGridSearchCV,
    ReBatchCNNClassifier,
    ReBatchCNNRegressor,
    redistribution_size,
)

# The first has a second strategy where its controls have a second seed.
OURS = ("re-Batch", "random", "no re-Batch")
SETTING = harness.read_setting(__file__)
SCORES = SETTING["scores"]


def candidates(arm, plan, n_samples, seeds):
    """List the labels and the grids of an arm's candidates, alike for all arms."""
    labels, grids = [], []
    for ratio, repeats, i in itertools.product(
        plan["ratios"], plan["repeats"], range(2)
    ):
        size = redistribution_size(n_samples, ratio)
        rebatch = {"ratio": ratio, "repeats": repeats, "batch_size": size}
        if arm == "re-Batch":
            choice = ("min-loss", "max-loss")[i]
            parameters = rebatch | {"strategy": choice}
        elif arm == "random":
            choice = f"random, seed {i}"
            parameters = rebatch | {"strategy": "random", "random_state": seeds[i]}
        else:
            choice = f"plain, seed {i}"
            steps = 1 + (repeats - 1) * size / n_samples  # as a share of an epoch's
            parameters = {
                "ratio": 0,
                "batch_size": size,
                "max_epochs": max(1, round(plan["max_epochs"] * steps)),
                "random_state": seeds[i],
            }
        labels.append({"ratio": ratio, "repeats": repeats, "choice": choice})
        grids.append({name: [value] for name, value in parameters.items()})
    return labels, grids


def network(dataset, **parameters):
    """Make our estimator for a task: a single network of the paper."""
    is_classification = dataset.task == "classification"
    kind = ReBatchCNNClassifier if is_classification else ReBatchCNNRegressor
    return harness.single(kind, **parameters)


def make_pipeline(model, dataset):
    """Put a model behind the preprocessing of a data set."""
    return Pipeline([("prepare", dataset.preprocessor()), ("model", model)])


def make_search(kind, model, grids, dataset, n_folds):
    """Make a search, whose inner splits are the same for every arm."""
    is_classification = dataset.task == "classification"
    splitter = StratifiedKFold if is_classification else KFold
    return kind(
        make_pipeline(model, dataset),
        [{f"model__{name}": grid[name] for name in grid} for grid in grids],
        scoring=list(SCORES[dataset.task].values())[-1],
        cv=splitter(n_folds, shuffle=True, random_state=SEED),
    )


def other_models(task, seed):
    """Make scikit-learn's models, with their defaults."""
    models = dict(SKLEARN_MODELS[task])
    if task == "regression":
        # Without a scaled target its 200 epochs end before it has learnt the mean.
        scaled = TransformedTargetRegressor(models["MLP"], transformer=StandardScaler())
        models["MLP"] = scaled
    names = SETTING["models"][task]
    return {name: with_seed(models[model], seed) for name, model in names.items()}


def fit(model, X, y):
    """Fit a model; return the seconds that it took."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        # The MLP's default number of epochs is where it ends, converged or not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    return time.perf_counter() - start


def evaluate(arm, dataset, plan, split, train, test):
    """Fit an arm on one split, tune it where it is ours, and score it."""
    seeds = (2 * split, 2 * split + 1)
    if arm in OURS:
        labels, grids = candidates(arm, plan, len(train), seeds)
        model = network(dataset, max_epochs=plan["max_epochs"], random_state=seeds[0])
        n_folds = plan["inner_folds"]
        model = make_search(FusedGridSearchCV, model, grids, dataset, n_folds)
    else:
        labels = []
        model = make_pipeline(other_models(dataset.task, seeds[0])[arm], dataset)
    seconds = fit(model, dataset.X.iloc[train], dataset.y[train])
    run = {"arm": arm, "split": split, "total_seconds": seconds}
    run["fit_seconds"] = getattr(model, "refit_time_", seconds)
    if labels:
        folds = range(n_folds)
        inner = [-model.cv_results_[f"split{k}_test_score"] for k in folds]
        run["best"] = labels[model.best_index_]
        run["inner"] = [
            label | {"scores": values}
            for label, values in zip(labels, np.transpose(inner).tolist(), strict=True)
        ]
    scorers = SCORES[dataset.task]
    run["scores"] = harness.score(model, dataset.X.iloc[test], dataset.y[test], scorers)
    return run


def trace(curve, dataset, plan, split, train, test):
    """Record the loss over all training rows, and over the test rows, by epoch.

    `loss_curve_` is the loss of the batches as they were trained on, and so depends
    on how often each sample is in them. The curves here are of each sample once.
    """
    X_train, X_test = dataset.prepare(train, test)
    y_train, y_test = dataset.y[train], dataset.y[test]
    model = network(
        dataset,
        batch_size=redistribution_size(len(train), 0.15),
        max_epochs=plan["curve_epochs"],
        random_state=2 * split,
    ).set_params(**CURVES[curve]["parameters"])
    # The validation set is only looked at, so both fits are the same, bit for bit.
    curves = {
        name: model.fit(X_train, y_train, X_val=X, y_val=y).validation_loss_curve_
        for name, X, y in [("train", X_train, y_train), ("test", X_test, y_test)]
    }
    return {"curve": curve, "split": split, **curves}


def compare(dataset, plan, n_jobs):
    """Run every arm on every split; return all scores and what repeats them."""
    splits = dataset.splits(plan["outer_folds"], plan["outer_repeats"])
    # The longest jobs come first, so that no worker is left alone with one.
    jobs = [
        delayed(function)(name, dataset, plan, split, train, test)
        for function, names, used in [
            (evaluate, OURS, splits),
            (trace, CURVES, splits[: plan["outer_folds"]]),
            (evaluate, other_models(dataset.task, SEED), splits),
        ]
        for name in names
        for split, (train, test) in enumerate(used)
    ]
    done = harness.run_parallel(jobs, n_jobs, dataset.name)

    return {
        "data": dataset.facts(),
        "seed": SEED,
        "plan": plan,
        "versions": harness.versions(),
        "cpus": os.cpu_count(),
        "runs": [run for run in done if "arm" in run],
        "curves": [run for run in done if "curve" in run],
    }


def main():
    parser = harness.make_parser(__doc__, "--n-jobs", "--page")
    parser.add_argument(
        "--data", nargs="+", default=["breast_cancer", "diabetes"], choices=ENTRIES
    )
    arguments = parser.parse_args()
    if arguments.page:
        write_page(ENTRIES, harness.DOCS)
        return

    for name in arguments.data:
        plan = dict(SETTING["plan"])
        plan["max_epochs"] = SETTING["max_epochs"].get(name, plan["max_epochs"])
        results = compare(load(name), plan, arguments.n_jobs)
        harness.write_json(harness.RESULTS / f"compare_{name}.json", results)
        print(describe(results))


if __name__ == "__main__":
    main()
