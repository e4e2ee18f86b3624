"""The estimators as they come, against scikit-learn's and other networks.

    python benchmarks/defaults.py --choose      # the defaults, on development tables
    python benchmarks/defaults.py               # the comparison, on other tables
    python benchmarks/defaults.py --page        # the pages from results

Each fit is kept in benchmarks/cache, and a run that was interrupted goes on from there.

Every model gets the same folds and the same preprocessing: numbers are standardised,
categories one-hot encoded, missing values filled. Targets of regressors are
standardised for all of them. Models of pytabkit take part where it is installed
(`pip install pytabkit`). All run on one thread; results go to benchmarks/results/.
"""

import time
import warnings
from importlib.util import find_spec

import numpy as np
import torch
from defaults_report import write_page
from harness import (
    DOCS,
    RESULTS,
    ROOT,
    environment,
    make_parser,
    read_json,
    rounded,
    run_jobs,
    write_json,
)
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from tables import DEVELOPMENT, JUDGED, available
from threadpoolctl import threadpool_limits

from skrebatch import ReBatchCNNClassifier, ReBatchCNNRegressor

COMPARISON, CHOICE = RESULTS / "defaults.json", RESULTS / "defaults_choice.json"
OURS = "skrebatch"
SEEDED = {"random_state": 0}
CLASSIFIERS = {
    OURS: ReBatchCNNClassifier(**SEEDED),
    "LogisticRegression": LogisticRegression(),
    "MLP": MLPClassifier(**SEEDED),
    "SVC": CalibratedClassifierCV(SVC(), ensemble=False),
    "RandomForest": RandomForestClassifier(**SEEDED),
    "HistGradientBoosting": HistGradientBoostingClassifier(**SEEDED),
}
REGRESSORS = {
    OURS: ReBatchCNNRegressor(**SEEDED),
    "Ridge": Ridge(),
    "MLP": MLPRegressor(**SEEDED),
    "SVR": SVR(),
    "RandomForest": RandomForestRegressor(**SEEDED),
    "HistGradientBoosting": HistGradientBoostingRegressor(**SEEDED),
}
FOLDS = 5
# Of the comparison: splits of each table, of which the slow models get fewer, and of
# the small tables alone.
N_SPLITS = 3
SPLITS = {"RealMLP": 1, "RealMLP, bagged": 1, "TabM": 1}
MOST_ROWS = {"RealMLP": 800, "RealMLP, bagged": 800, "TabM": 800}
CACHE = ROOT / "benchmarks" / "cache"
# Of the development tables, to be quick: rows, and splits of each.
CHOICE_ROWS, CHOICE_SPLITS = 600, 1
CANDIDATES = {
    "defaults": {},
    "n_networks=5": {"n_networks": 5},
    'architecture="cnn"': {"architecture": "cnn"},
    'architecture="mlp"': {"architecture": "mlp", "hidden_layers": (128,)},
    "lr=0.003": {"lr": 3e-3},
    "n_iter_no_change=10": {"n_iter_no_change": 10},
    "input_clip=None": {"input_clip": None},
    "ratio=0": {"ratio": 0},
}


def pytabkit_models(task):
    """Make the models of pytabkit, where it is installed."""
    if find_spec("pytabkit") is None:
        return {}
    from pytabkit import (
        RealMLP_TD_Classifier,
        RealMLP_TD_Regressor,
        TabM_D_Classifier,
        TabM_D_Regressor,
    )

    options = {"device": "cpu", "n_threads": 1, "verbosity": 0, **SEEDED}
    if task == "classification":
        options["val_metric_name"] = "cross_entropy"
        one, many = RealMLP_TD_Classifier, TabM_D_Classifier
    else:
        one, many = RealMLP_TD_Regressor, TabM_D_Regressor
    return {
        "RealMLP": one(**options),
        "RealMLP, bagged": one(**options, n_cv=5),
        "TabM": many(**options),
    }


def score_classes(model, X, y):
    """Score predicted probabilities."""
    start = time.process_time()
    probability = model.predict_proba(X)
    seconds = time.process_time() - start
    classes = np.arange(probability.shape[1])
    is_binary = len(classes) == 2
    ranked = probability[:, 1] if is_binary else probability
    return {
        "accuracy": accuracy_score(y, probability.argmax(axis=1)),
        "log_loss": log_loss(y, probability, labels=classes),
        "brier": float(np.mean(((classes == y[:, None]) - probability) ** 2)),
        "auc": roc_auc_score(y, ranked, multi_class="ovr", labels=classes),
        "predict_cpu": seconds,
    }


def score_numbers(model, X, y):
    """Score predicted targets, in units of their standard deviation."""
    start = time.process_time()
    predicted = model.predict(X)
    seconds = time.process_time() - start
    unit = np.std(y)
    return {
        "r2": r2_score(y, predicted),
        "rmse": root_mean_squared_error(y, predicted) / unit,
        "mae": mean_absolute_error(y, predicted) / unit,
        "predict_cpu": seconds,
    }


def run_fit(dataset, split, name, model):
    """Fit and score a model on one split of a table."""
    torch.set_num_threads(1)
    train, test = dataset.splits(FOLDS, 1)[split]
    X_train, X_test = dataset.prepare(train, test)
    model, score = clone(model), score_classes
    if dataset.task == "regression":
        score = score_numbers
        model = TransformedTargetRegressor(model, transformer=StandardScaler())
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        model.fit(X_train, dataset.y[train])
        scores = {"fit_cpu": time.process_time() - start}
        scores |= score(model, X_test, dataset.y[test])
    return {"table": dataset.name, "split": split, "model": name, "scores": scores}


def run_tables(tables, models, n_splits, n_jobs, folder=CACHE):
    """Run models on splits of tables; one split of all tables after the other."""
    jobs = [
        (table, split, name, model)
        for split in range(n_splits)
        for table in tables
        for name, model in models[table.task].items()
        if split < SPLITS.get(name, FOLDS)
        and len(table.X) <= MOST_ROWS.get(name, np.inf)
    ]
    runs = run_jobs(run_fit, jobs, environment()["versions"], folder, n_jobs)
    facts = [{**table.facts(), "classes": len(set(table.y))} for table in tables]
    return {
        "environment": environment(),
        "tables": facts,
        "splits": n_splits,
        "runs": rounded(runs, 5),
    }


def choose(n_jobs):
    """Compare candidates for the defaults on development tables."""
    models = {
        "classification": {
            name: ReBatchCNNClassifier(**SEEDED, **parameters)
            for name, parameters in CANDIDATES.items()
        },
        "regression": {
            name: ReBatchCNNRegressor(**SEEDED, **parameters)
            for name, parameters in CANDIDATES.items()
        },
    }
    tables = [table.sample(CHOICE_ROWS) for table in available(DEVELOPMENT)]
    return run_tables(tables, models, CHOICE_SPLITS, n_jobs)


def compare(n_jobs):
    """Compare the defaults with those of other models, on other tables."""
    models = {
        "classification": CLASSIFIERS | pytabkit_models("classification"),
        "regression": REGRESSORS | pytabkit_models("regression"),
    }
    return run_tables(available(JUDGED), models, N_SPLITS, n_jobs)


def main():
    parser = make_parser(__doc__, "--n-jobs", "--page")
    parser.add_argument("--choose", action="store_true", help="compare candidates")
    arguments = parser.parse_args()
    if arguments.choose:
        write_json(CHOICE, choose(arguments.n_jobs), indent=None)
    elif not arguments.page:
        write_json(COMPARISON, compare(arguments.n_jobs), indent=None)
    if CHOICE.exists() and COMPARISON.exists():
        write_page(read_json(COMPARISON), read_json(CHOICE), DOCS)


if __name__ == "__main__":
    main()
