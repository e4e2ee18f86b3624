"""The frame of label_noise.py and wrong_targets.py: wrong rows, and models on them.

A model is trained on rows with wrong labels or targets and scored on sound test rows.
One that has `quality_` after `fit` says how sound it takes each training row to be, and
`is_issue_`, if it has that, which rows it would have somebody look at.
"""

import importlib
from functools import cache
from itertools import product

import numpy as np
import trials
from datasets import SEED
from harness import CACHE, environment, rounded, run_and_choose, run_jobs
from sklearn import metrics
from sklearn.base import BaseEstimator
from sklearn.model_selection import cross_val_predict
from sklearn.tree import DecisionTreeClassifier
from tables import DEVELOPMENT, JUDGED, available, read_table

from skrebatch import find_label_issues

MOST_ROWS, FOLDS = 600, 3  # of each table; of the cross-validation
SOUND, INFORMED = "none", ", right rows only"
LEFT_OUT = {"strategy": "max-loss", "repeats": 0, "ratio": 0.15, "warmup_epochs": 5}


@cache
def find_table(name):
    """Load at most `MOST_ROWS` rows of a table of tables.py."""
    return read_table(name).sample(MOST_ROWS)


def corrupt(X, y, kind, rate, seed):
    """Make a share of the labels or targets wrong; return them, and which differ.

    The pages say what the kinds are.
    """
    rng, n_rows, n_classes = np.random.default_rng([SEED, seed]), len(y), len(set(y))
    weights, size = np.ones(n_rows), round(rate * n_rows)
    if kind == "class-dependent":
        weights += y % 2
    elif kind == "instance-dependent":
        tree = DecisionTreeClassifier(max_depth=3, random_state=seed)
        others = cross_val_predict(tree, X, y, method="predict_proba")
        others[np.arange(n_rows), y] = 0
        weights = others.max(axis=1) + 0.01
    rows = rng.choice(n_rows, size, replace=False, p=weights / weights.sum())
    wrong = y.copy()
    match kind:
        case "symmetric":
            wrong[rows] = (y[rows] + rng.integers(1, n_classes, size)) % n_classes
        case "class-dependent":
            wrong[rows] = (y[rows] + 1) % n_classes
        case "instance-dependent":
            others[np.arange(n_rows), y] = -1
            wrong[rows] = others[rows].argmax(axis=1)
        case "swapped":
            wrong[rows] = y[rng.permutation(rows)]
        case "heavy tails":
            wrong[rows] += 5 * y.std() * rng.standard_t(2, size)
        case "missing digit":
            wrong[rows] /= 10
    return wrong, wrong != y


class Wrapper(BaseEstimator):
    """Base class of models around an estimator, to which they hand their seed."""

    def __init__(self, estimator=None, random_state=None):
        self.estimator = estimator
        self.random_state = random_state

    def seeded(self):
        """Clone the estimator, with the seed."""
        return trials.with_seed(self.estimator, self.random_state)


class Issues(Wrapper):
    """What `find_label_issues` says about the training rows."""

    def fit(self, X, y):
        if y.dtype.kind == "f":  # whole numbers would be taken for classes
            y = (y - y.mean()) / y.std()
        issues = find_label_issues(X, y, random_state=self.random_state).sort_index()
        self.quality_ = issues["label_quality"]
        self.is_issue_ = issues["is_label_issue"]
        return self


class Informed(Wrapper):
    """A model that is told which rows are wrong, and is trained on the others."""


def inform(models):
    """Make informed models of models by name."""
    return {name + INFORMED: Informed(model) for name, model in models.items()}


class Finder(Wrapper):
    """A way to rank training rows: a function of an estimator and the rows."""

    def __init__(self, find, estimator=None, random_state=None):
        super().__init__(estimator, random_state)
        self.find = find

    def fit(self, X, y):
        self.quality_ = self.find(self.seeded(), X, y)
        return self


def shuffle(model, X, y):
    """Put rows in random order, the control of what finds wrong ones."""
    return np.random.default_rng(model.random_state).random(len(y))


def leaving_out(network):
    """Make the candidates for how many samples of high loss are left out, and when."""
    return {
        f"left out, ratio {ratio}, warm-up {warmup}": network(
            **LEFT_OUT | {"ratio": ratio, "warmup_epochs": warmup}
        )
        for ratio, warmup in ((0.15, 5), (0.3, 2), (0.3, 5))
    } | {"left out, longer patience": network(**LEFT_OUT, n_iter_no_change=20)}


def evaluate(table, kind, rate, split, model):
    """Train a model on one split of a table, and score what it predicts or finds."""
    data = find_table(table)
    train, test = data.splits(FOLDS, 1)[split]
    X, X_test = data.prepare(train, test)
    y, is_wrong = corrupt(X, data.y[train], kind, rate, split)
    if isinstance(model, Informed):
        model, X, y = model.estimator, X[~is_wrong], y[~is_wrong]
    model, seconds = trials.timed(trials.with_seed(model, split).fit, X, y)
    scores = {"fit_cpu": seconds}
    if hasattr(model, "quality_") and is_wrong.any():
        scores |= score_found(is_wrong, model)
    if hasattr(model, "predict"):
        predicted, _ = trials.timed(trials.predict, model, X_test)
        if data.task == "classification":
            scores |= trials.score_classes(data.y[test], predicted)
            scores["ece"] = trials.calibration_error(data.y[test], predicted)
        else:
            scores |= trials.score_numbers(data.y[test], predicted)
    if hasattr(model, "best_index_"):
        scores["chosen"] = int(model.best_index_)
    return scores


def score_found(is_wrong, model):
    """Score how a model ranks the wrong rows, and which rows it points at."""
    scores = {
        "average_precision": metrics.average_precision_score(is_wrong, -model.quality_),
        "find_cpu": getattr(model, "find_cpu_", None),
    }
    if hasattr(model, "is_issue_"):
        points_at = np.asarray(model.is_issue_)
        precision = metrics.precision_score(is_wrong, points_at, zero_division=0)
        scores["precision"] = precision
        scores["recall"] = metrics.recall_score(is_wrong, points_at)
        scores["pointed_at"] = np.mean(points_at)
    return scores


def run_script(stem, task):
    """Run a benchmark of wrong rows by its command line, and write its page."""
    # By name: the cache can store classes of a module, but not those of a script.
    script = importlib.import_module(stem)
    facts = {"n_networks": script.PLAIN.n_networks, "left_out": LEFT_OUT}

    def compare(n_jobs, quick):
        n_splits = 1 if quick else FOLDS
        return {**facts, **run(JUDGED, task, script.SECTIONS, n_splits, n_jobs)}

    def choose(n_jobs, quick):
        return run(DEVELOPMENT, task, script.CHOICE, 1 if quick else FOLDS, n_jobs)

    run_and_choose(script.__doc__, stem, compare, choose, script.write_page)


def run(names, task, sections, n_splits, n_jobs):
    """Run the models of each section under its conditions, on the tables of a task.

    A section is a dict of models by name and a list of conditions: a kind of wrong
    rows, their share, and how many of the splits are run. Results are kept, so that
    what has run is not run again.
    """
    tables = [table for table in available(names) if table.task == task]
    keys, jobs = [], []
    conditions = dict.fromkeys(c for _, own in sections for c in own)
    # All of the first split, then of the next.
    for split, condition in product(range(n_splits), conditions):
        kind, rate, splits = condition
        models = [m for m, own in sections if condition in own and split < splits]
        for group, table in product(models, tables):
            for name, model in group.items():
                keys.append((table.name, kind, rate, split, name))
                jobs.append((table.name, kind, rate, split, model))
    setting = MOST_ROWS, FOLDS
    found = run_jobs(evaluate, jobs, setting, CACHE, n_jobs)
    labels = "table", "kind", "rate", "split", "model"
    return {
        "environment": environment("cleanlab"),
        "tables": [
            {**t.facts(), "rows": len(find_table(t.name).X), "classes": len(set(t.y))}
            for t in tables
        ],
        "folds": FOLDS,
        "runs": [
            {**dict(zip(labels, key, strict=True)), "scores": rounded(scores, 4)}
            for key, scores in zip(keys, found, strict=True)
        ],
    }
