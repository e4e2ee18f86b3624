"""The lecture's experiment on the Cleveland heart data, with seeds and intervals.

Each condition is run with ten seeds on the lecture's own split, and on ten other
splits, in some five minutes. Needs the extra `imbalance`. The page is docs/lecture.md.
"""

from functools import partial

import pandas as pd
from datasets import load
from evidence import corrected_interval
from harness import DOCS, read_setting, run_parallel, run_whole, score, single
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline
from joblib import delayed
from pages import fill_page
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

CATEGORICAL = ["cp", "restecg", "slope", "thal"]
SPLIT_SEED = 42
N_SEEDS = 10
SCORERS = {"accuracy": "accuracy", "F1": "f1"}
SETTING = read_setting(__file__)
NETWORK, CONDITIONS = SETTING["network"], SETTING["conditions"]


def parameters_of(condition):
    """Return the parameters of the network under a condition."""
    parameters = dict(NETWORK)
    for name in CONDITIONS[condition]["adds"]:
        parameters |= SETTING["parameters"][name]
    return parameters


def make_model(condition, max_epochs, seed):
    """Make the pipeline of a condition."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
    )
    prepare = make_column_transformer(
        (categories, CATEGORICAL), remainder=numbers, sparse_threshold=0
    )
    parameters = parameters_of(condition) | {"max_epochs": max_epochs}
    model = single(random_state=seed, **parameters)
    steps = [("prepare", prepare), ("network", model)]
    if CONDITIONS[condition]["smote"]:
        steps.insert(1, ("sample", SMOTE(random_state=seed)))
    return Pipeline(steps)


def evaluate(dataset, condition, split, seed, max_epochs):
    """Train a condition on a split, and score it."""
    X_train, X_test, y_train, y_test = train_test_split(
        dataset.X, dataset.y, test_size=0.2, random_state=split, stratify=dataset.y
    )
    model = make_model(condition, max_epochs, seed).fit(X_train, y_train)
    scores = score(model, X_test, y_test, SCORERS)
    return {
        "condition": condition,
        "split": split,
        "seed": seed,
        **{name: round(value, 6) for name, value in scores.items()},
    }


def run(n_seeds=N_SEEDS, max_epochs=NETWORK["max_epochs"], n_jobs=-1):
    """Run every condition on the lecture's split and on others; return all scores."""
    dataset = load("heart")
    cases = [(SPLIT_SEED, seed) for seed in range(n_seeds)]
    cases += [(split, split) for split in range(n_seeds)]
    jobs = [
        delayed(evaluate)(dataset, condition, split, seed, max_epochs)
        for condition in CONDITIONS
        for split, seed in cases
    ]
    return {
        "source": dataset.source,
        "rows": len(dataset.X),
        "n_seeds": n_seeds,
        "network": {**NETWORK, "max_epochs": max_epochs},
        "runs": run_parallel(jobs, n_jobs),
    }


def scores_of(results, own_split):
    """Group the scores by condition, on the lecture's split or on the others."""
    frame = pd.DataFrame(results["runs"])
    frame = frame[(frame.split == SPLIT_SEED) == own_split]
    return frame.groupby("condition", sort=False)[list(SCORERS)]


def write_page(results, docs):
    """Write the page from the results."""
    fill_page(
        docs / "lecture.md",
        corrected_interval,
        **results,
        conditions=CONDITIONS,
        own=scores_of(results, own_split=True),
        others=scores_of(results, own_split=False),
    )


if __name__ == "__main__":
    run_whole(__doc__, "lecture", run, partial(write_page, docs=DOCS))
