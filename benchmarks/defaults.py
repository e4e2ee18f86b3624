"""The estimators as they come, against scikit-learn's and other networks.

With `--choose` the defaults are compared with candidates, on development tables. A run
that was interrupted goes on where it stopped. Models of pytabkit take part where it is
installed (`pip install pytabkit`).
"""

import itertools
from importlib.util import find_spec

import numpy as np
import trials
from defaults_report import OURS, SLOW, write_page
from harness import CACHE, environment, read_setting, rounded, run_and_choose, run_jobs
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.preprocessing import StandardScaler
from tables import DEVELOPMENT, GROWING, JUDGED, available

from skrebatch import ReBatchCNNClassifier, ReBatchCNNRegressor

SEEDED = {"random_state": 0}
ESTIMATORS = {
    "classification": ReBatchCNNClassifier(**SEEDED),
    "regression": ReBatchCNNRegressor(**SEEDED),
}
SETTING = read_setting(__file__)
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
    train, test = dataset.splits(SETTING["folds"], 1)[split]
    X_train, X_test = dataset.prepare(train, test)
    model, score = clone(model), trials.score_classes
    if dataset.task == "regression":
        score = trials.score_numbers
        model = TransformedTargetRegressor(model, transformer=StandardScaler())
    model, fit_cpu = trials.timed(model.fit, X_train, dataset.y[train])
    predicted, predict_cpu = trials.timed(trials.predict, model, X_test)
    scores = score(dataset.y[test], predicted)
    scores |= {"fit_cpu": fit_cpu, "predict_cpu": predict_cpu}
    run = {"table": dataset.name, "rows": len(dataset.X), "split": split, "model": name}
    return {**run, "scores": scores}


def run_tables(tables, models, n_splits, n_jobs, folder=CACHE):
    """Run models on splits of tables; one split of all tables after the other."""
    jobs = [
        (table, split, name, model)
        for split in range(n_splits)
        for table in tables
        for name, model in models[table.task].items()
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
            name: clone(ours).set_params(**parameters)
            for name, parameters in CANDIDATES.items()
        }
        for task, ours in ESTIMATORS.items()
    }
    n_rows = 100 if quick else SETTING["choice"]["rows"]
    tables = [table.sample(n_rows) for table in available(DEVELOPMENT)]
    return run_tables(tables, models, SETTING["choice"]["splits"], n_jobs)


def compare(n_jobs, quick):
    """Compare the defaults with those of other models, on other tables.

    Then compare them on samples of large tables, to see what more rows change.
    """
    others = trials.SKLEARN_MODELS
    models = {
        task: {
            OURS: ours,
            **{n: trials.with_seed(m, 0) for n, m in others[task].items()},
            **pytabkit_models(task),
        }
        for task, ours in ESTIMATORS.items()
    }
    tables = [table.sample(100 if quick else np.inf) for table in available(JUDGED)]
    n_splits = 1 if quick else SETTING["splits"]
    compared = run_tables(tables, models, n_splits, n_jobs)
    sizes = SETTING["growth"]["rows"][: 1 if quick else None]
    whole = available(GROWING, max(sizes))
    tables = [table.sample(n) for n in sizes for table in whole]
    for left_out, task in itertools.product(SETTING["growth"]["left_out"], models):
        models[task].pop(left_out, None)
    return compared | {"growth": run_tables(tables, models, 1, n_jobs)["runs"]}


if __name__ == "__main__":
    run_and_choose(__doc__, "defaults", compare, choose, write_page)
