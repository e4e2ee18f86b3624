"""The frame of label_noise.py and wrong_targets.py: wrong rows, and models on them.

A model is trained on rows with wrong labels or targets and scored on sound test rows.
One that has `quality_` after `fit` says how sound it takes each training row to be, and
`is_issue_`, if it has that, which rows it would have somebody look at.
"""

import time
import warnings
from functools import cache
from itertools import product

import numpy as np
import torch
from datasets import SEED
from harness import (
    RESULTS,
    environment,
    make_parser,
    read_json,
    rounded,
    run_jobs,
    write_json,
)
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import average_precision_score, precision_score, recall_score
from sklearn.model_selection import cross_val_predict
from sklearn.tree import DecisionTreeClassifier
from tables import DEVELOPMENT, JUDGED, available
from threadpoolctl import threadpool_limits

from skrebatch import find_label_issues

MOST_ROWS, FOLDS = 600, 3  # of each table; of the cross-validation
SOUND = "none"


@cache
def find_table(name):
    """Load at most `MOST_ROWS` rows of a table of tables.py."""
    return (DEVELOPMENT | JUDGED)[name](name).sample(MOST_ROWS)


def corrupt(X, y, kind, rate, seed):
    """Make a share of the labels or targets wrong; return them, and which differ.

    Labels: "symmetric" gives a row any other class. "class-dependent" gives it the next
    class, and every second class has twice as many wrong rows. "instance-dependent"
    gives it the most probable other class of a shallow tree, the more often the more
    probable that is. Targets: "swapped" exchanges those of the chosen rows, "heavy
    tails" adds noise of Student's t distribution with 2 degrees of freedom, times 5
    standard deviations, and "missing digit" divides by 10.
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

    def __init__(self, estimator, random_state=None):
        self.estimator = estimator
        self.random_state = random_state

    def seeded(self):
        """Clone the estimator, with the seed."""
        return with_seed(self.estimator, self.random_state)


class Issues(BaseEstimator):
    """What `find_label_issues` says about the training rows."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        if y.dtype.kind == "f":  # whole numbers would be taken for classes
            y = (y - y.mean()) / y.std()
        issues = find_label_issues(X, y, random_state=self.random_state).sort_index()
        self.quality_, self.is_issue_ = (
            issues["label_quality"],
            issues["is_label_issue"],
        )
        return self


class Shuffled(BaseEstimator):
    """Rows in random order, the control of what finds wrong ones."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        self.quality_ = np.random.default_rng(self.random_state).random(len(y))
        return self


def with_seed(model, seed):
    """Clone a model, with this seed wherever it takes one."""
    names = [n for n in model.get_params() if n.split("__")[-1] == "random_state"]
    return clone(model).set_params(**dict.fromkeys(names, seed))


def evaluate(table, kind, rate, split, model, score):
    """Train a model on one split of a table, and score what it predicts or finds."""
    torch.set_num_threads(1)
    data = find_table(table)
    train, test = data.splits(FOLDS, 1)[split]
    X, X_test = data.prepare(train, test)
    y, is_wrong = corrupt(X, data.y[train], kind, rate, split)
    model = with_seed(model, split)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        model.fit(X, y)
        scores = {"fit_cpu": time.process_time() - start}
        if hasattr(model, "quality_") and is_wrong.any():
            scores |= score_found(is_wrong, model)
        if hasattr(model, "predict"):
            scores |= score(model, X_test, data.y[test])
    if hasattr(model, "best_index_"):
        scores["chosen"] = int(model.best_index_)
    return scores


def score_found(is_wrong, model):
    """Score how a model ranks the wrong rows, and which rows it points at."""
    scores = {
        "average_precision": average_precision_score(is_wrong, -model.quality_),
        "find_cpu": getattr(model, "find_cpu_", None),
    }
    if hasattr(model, "is_issue_"):
        points_at = np.asarray(model.is_issue_)
        scores["precision"] = precision_score(is_wrong, points_at, zero_division=0)
        scores["recall"] = recall_score(is_wrong, points_at)
        scores["pointed_at"] = np.mean(points_at)
    return scores


def run_script(description, stem, task, sections, choice, score, write_page, **facts):
    """Run a benchmark by its command line, and write its page.

    `facts` are written to the results, for the page.
    """
    parser = make_parser(description, "--n-jobs", "--page", "--quick")
    parser.add_argument("--choose", action="store_true", help="compare candidates")
    arguments = parser.parse_args()
    n_splits = 1 if arguments.quick else FOLDS
    compared, chosen = RESULTS / f"{stem}.json", RESULTS / f"{stem}_choice.json"
    if arguments.choose:
        found = run(DEVELOPMENT, task, choice, score, n_splits, arguments.n_jobs)
        write_json(chosen, found, indent=None)
    elif not arguments.page:
        found = run(JUDGED, task, sections, score, n_splits, arguments.n_jobs)
        write_json(compared, {**facts, **found}, indent=None)
    if compared.exists() and chosen.exists():
        write_page(read_json(compared), read_json(chosen))


def run(names, task, sections, score, n_splits, n_jobs):
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
                jobs.append((table.name, kind, rate, split, model, score))
    setting = MOST_ROWS, FOLDS
    found = run_jobs(evaluate, jobs, setting, RESULTS / "parts", n_jobs)
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
