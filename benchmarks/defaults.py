"""The estimators as they come, against scikit-learn's and other networks.

With `--choose` the defaults are compared with candidates, on development tables. A run
that was interrupted goes on where it stopped. Models of pytabkit take part where it is
installed (`pip install pytabkit`).
"""

from importlib.util import find_spec

import numpy as np
import trials
from defaults_report import SLOW, write_page
from harness import CACHE, environment, rounded, run_and_choose, run_jobs
from sklearn import ensemble
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from tables import DEVELOPMENT, JUDGED, available

from skrebatch import ReBatchCNNClassifier, ReBatchCNNRegressor

SEEDED = {"random_state": 0}
MODELS = {
    "classification": {
        "skrebatch": ReBatchCNNClassifier(**SEEDED),
        "LogisticRegression": LogisticRegression(),
        "MLP": MLPClassifier(**SEEDED),
        "SVC": CalibratedClassifierCV(SVC(), ensemble=False),
        "RandomForest": ensemble.RandomForestClassifier(**SEEDED),
        "HistGradientBoosting": ensemble.HistGradientBoostingClassifier(**SEEDED),
    },
    "regression": {
        "skrebatch": ReBatchCNNRegressor(**SEEDED),
        "Ridge": Ridge(),
        "MLP": MLPRegressor(**SEEDED),
        "SVR": SVR(),
        "RandomForest": ensemble.RandomForestRegressor(**SEEDED),
        "HistGradientBoosting": ensemble.HistGradientBoostingRegressor(**SEEDED),
    },
}
FOLDS = 5
# Of the comparison: splits of each table. The slow models get one, of small tables.
N_SPLITS, MOST_ROWS_IF_SLOW = 3, 800
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
    import pytabkit

    options = {"device": "cpu", "n_threads": 1, "verbosity": 0, **SEEDED}
    kind = "Regressor"
    if task == "classification":
        options["val_metric_name"] = "cross_entropy"
        kind = "Classifier"
    one = getattr(pytabkit, f"RealMLP_TD_{kind}")
    many = getattr(pytabkit, f"TabM_D_{kind}")
    models = one(**options), one(**options, n_cv=5), many(**options)
    return dict(zip(SLOW, models, strict=True))


def run_fit(dataset, split, name, model):
    """Fit and score a model on one split of a table."""
    train, test = dataset.splits(FOLDS, 1)[split]
    X_train, X_test = dataset.prepare(train, test)
    model, score = clone(model), trials.score_classes
    if dataset.task == "regression":
        score = trials.score_numbers
        model = TransformedTargetRegressor(model, transformer=StandardScaler())
    model, fit_cpu = trials.timed(model.fit, X_train, dataset.y[train])
    predicted, predict_cpu = trials.timed(trials.predict, model, X_test)
    scores = score(dataset.y[test], predicted)
    scores |= {"fit_cpu": fit_cpu, "predict_cpu": predict_cpu}
    return {"table": dataset.name, "split": split, "model": name, "scores": scores}


def run_tables(tables, models, n_splits, n_jobs, folder=CACHE):
    """Run models on splits of tables; one split of all tables after the other."""
    jobs = [
        (table, split, name, model)
        for split in range(n_splits)
        for table in tables
        for name, model in models[table.task].items()
        if name not in SLOW or (split == 0 and len(table.X) <= MOST_ROWS_IF_SLOW)
    ]
    runs = run_jobs(run_fit, jobs, environment()["versions"], folder, n_jobs)
    facts = [{**table.facts(), "classes": len(set(table.y))} for table in tables]
    return {
        "environment": environment(),
        "tables": facts,
        "splits": n_splits,
        "runs": rounded(runs, 5),
    }


def choose(n_jobs, quick):
    """Compare candidates for the defaults on development tables."""
    models = {
        task: {
            name: clone(MODELS[task]["skrebatch"]).set_params(**parameters)
            for name, parameters in CANDIDATES.items()
        }
        for task in MODELS
    }
    n_rows = 100 if quick else CHOICE_ROWS
    tables = [table.sample(n_rows) for table in available(DEVELOPMENT)]
    return run_tables(tables, models, CHOICE_SPLITS, n_jobs)


def compare(n_jobs, quick):
    """Compare the defaults with those of other models, on other tables."""
    models = {task: own | pytabkit_models(task) for task, own in MODELS.items()}
    tables = [table.sample(100 if quick else np.inf) for table in available(JUDGED)]
    return run_tables(tables, models, 1 if quick else N_SPLITS, n_jobs)


if __name__ == "__main__":
    run_and_choose(__doc__, "defaults", compare, choose, write_page)
