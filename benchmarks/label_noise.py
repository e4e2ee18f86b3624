"""Wrong labels: does leaving out the hardest samples help, and does it find them?

    python benchmarks/label_noise.py --choose      # the configuration, on other data
    python benchmarks/label_noise.py               # the comparison
    python benchmarks/label_noise.py --page        # docs/label_noise.md from results

A share of the training labels is flipped at random; test labels stay clean. All arms
but gradient boosting train the same network, on the same splits, with the same flips
and from the same initial weights. Our configuration was chosen by `--choose`, on data
sets that the comparison does not use. Needs cleanlab (`pip install cleanlab`).
"""

import itertools
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from datasets import SEED, as_dataset, flip, load
from harness import (
    DOCS,
    RESULTS,
    environment,
    make_parser,
    rounded,
    run_parallel,
    single,
    write_json,
)
from joblib import delayed
from label_noise_report import OPPONENT, OUR_ARM, write_page
from sklearn import datasets as bundled
from sklearn import metrics
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold

from skrebatch import fit_fused, training_dynamics

NETWORK = {"batch_size": 32, "max_epochs": 100}
LEFT_OUT = {"strategy": "max-loss", "repeats": 0, "ratio": 0.3}
# What --choose found best.
OURS = {
    **LEFT_OUT,
    "ratio_schedule": "linear",
    "warmup_epochs": 10,
    "loss_smoothing": 0.9,
}
PLAIN = {"ratio": 0}
STOPPED = {"ratio": 0, "early_stopping": True}
ARMS = {
    "to the end": PLAIN,
    "early stopping": STOPPED,
    "random, left out": {**OURS, "strategy": "random"},
    "max-loss, left out": LEFT_OUT,
    "small-loss": {"strategy": "small-loss", "ratio": 0.3},
    OUR_ARM: OURS,
}
EVALUATION = ("breast_cancer", "pid", "heart", "pdc", "hastie", "friedman")
BOOSTING = "gradient boosting"
# CleanLearning around the network, as it is trained in these arms.
CLEANED = {
    "CleanLearning, to the end": "to the end",
    "CleanLearning, early stopping": "early stopping",
}
CANDIDATES = {
    f"ratio {ratio}, {schedule}, warm-up {warmup}, smoothing {smoothing}": {
        **LEFT_OUT,
        "ratio": ratio,
        "ratio_schedule": schedule,
        "warmup_epochs": warmup,
        "loss_smoothing": smoothing,
    }
    for ratio, schedule, warmup, smoothing in itertools.product(
        (0.15, 0.3, 0.45), ("constant", "linear"), (0, 10), (0.0, 0.9)
    )
}


@dataclass(frozen=True)
class Plan:
    """How much is run."""

    rates: tuple[float, ...] = (0.0, 0.1, 0.2, 0.4)
    folds: int = 3
    repeats: int = 10
    cleanlab_folds: int = 5
    max_epochs: int = 100


CHOICE = Plan(rates=(0.2,), repeats=2)


def development():
    """Make the data sets of --choose."""
    make = partial(bundled.make_classification, flip_y=0, random_state=SEED)
    moons, moon = bundled.make_moons(400, noise=0.25, random_state=SEED)
    nothing = np.random.default_rng(SEED).normal(size=(400, 4))
    wine, label = bundled.load_wine(return_X_y=True, as_frame=True)
    images, digit = bundled.load_digits(return_X_y=True)
    # Half of the resolution in either direction.
    images = images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    some = np.random.default_rng(SEED).choice(len(digit), 500, replace=False)
    two = np.isin(digit, [3, 8])
    digits = "scikit-learn's load_digits"
    return [
        as_dataset("3 or 8", images[two], digit[two] == 8, digits),
        as_dataset("parity", images[some], digit[some] % 2, digits),
        as_dataset("wine", wine, label == 1, "scikit-learn's load_wine"),
        as_dataset("clusters", *make(500, 12, n_informative=5, n_clusters_per_class=3)),
        as_dataset("overlap", *make(400, 20, n_informative=4, class_sep=0.8)),
        as_dataset("moons", np.hstack([moons, nothing]), moon),
        as_dataset(
            "quantiles",
            *bundled.make_gaussian_quantiles(
                n_samples=500, n_features=6, n_classes=2, random_state=SEED
            ),
        ),
    ]


def find(name):
    """Generate a data set, or load one of datasets.py."""
    if name == "hastie":
        X, y = bundled.make_hastie_10_2(600, random_state=SEED)
        return as_dataset(name, X, y > 0)
    if name == "friedman":
        X, y = bundled.make_friedman1(500, noise=1.0, random_state=SEED)
        return as_dataset(name, X, y > np.median(y))
    return load(name)


def network(parameters, plan, seed):
    """Make the network of an arm."""
    common = {**NETWORK, "max_epochs": plan.max_epochs, "random_state": seed}
    return single(**common, **parameters)


def scores(y, probabilities):
    """Score the probabilities of class 1 on clean labels."""
    return {
        "accuracy": metrics.accuracy_score(y, probabilities > 0.5),
        "log loss": metrics.log_loss(y, probabilities, labels=[0, 1]),
    }


def evaluate(dataset, plan, rate, split, train, test, arms, cleaned):
    """Train every arm on one split with flipped labels, and score it."""
    X, X_test = dataset.prepare(train, test)
    y, is_flipped = flip(dataset.y[train], rate, split)
    run = {"data": dataset.name, "rate": rate, "split": split}

    models = {
        arm: network({**parameters, "record_losses": arm == OUR_ARM}, plan, split)
        for arm, parameters in arms.items()
    }
    folds = StratifiedKFold(plan.cleanlab_folds, shuffle=True, random_state=split)
    folds = list(folds.split(X, y)) if cleaned else []
    out_of_fold = {
        arm: [network(arms[inner], plan, split) for _ in folds]
        for arm, inner in cleaned.items()
    }
    fits = [*models.values(), *itertools.chain(*out_of_fold.values())]
    rows = [np.arange(len(X))] * len(models)
    rows += [fold for fold, _ in folds] * len(cleaned)
    fit_fused(fits, X, y, rows)

    if OUR_ARM in arms:
        boosting = HistGradientBoostingClassifier(random_state=split)
        models[BOOSTING] = boosting.fit(X, y)
    for arm, inner in cleaned.items():
        predicted = np.zeros((len(X), 2))
        for model, (_, held_out) in zip(out_of_fold[arm], folds, strict=True):
            predicted[held_out] = model.predict_proba(X[held_out])
        models[arm], issues = clean(network(arms[inner], plan, split), X, y, predicted)
        if inner == OPPONENT and is_flipped.any():
            run["found"] = found(is_flipped, models[OUR_ARM], issues)
    run["scores"] = {
        arm: scores(dataset.y[test], model.predict_proba(X_test)[:, 1])
        for arm, model in models.items()
    }
    return run


def clean(model, X, y, predicted):
    """Let cleanlab find label issues by probabilities out of fold, and fit without."""
    from cleanlab.classification import CleanLearning

    # Its own processes don't work within a worker's.
    cleaner = CleanLearning(model, find_label_issues_kwargs={"n_jobs": 1})
    issues = cleaner.find_label_issues(labels=y, pred_probs=predicted)
    return cleaner.fit(X, y, label_issues=issues), issues


def found(is_flipped, model, issues):
    """Compare the samples that our label quality and cleanlab point at."""
    dynamics, is_issue = training_dynamics(model), issues["is_label_issue"].to_numpy()
    quality = dynamics["label_quality"]
    pointed_at = {
        "cleanlab": is_issue,
        "label_quality, as many": quality.rank(method="first") <= is_issue.sum(),
        "label_quality, below 1/2": quality < 0.5,
    }
    return {
        "average precision": {
            "label_quality": metrics.average_precision_score(is_flipped, -quality),
            "cleanlab": metrics.average_precision_score(
                is_flipped, -issues["label_quality"]
            ),
        },
        **{
            name: {
                "precision": metrics.precision_score(
                    is_flipped, own, zero_division=0.0
                ),
                "recall": metrics.recall_score(is_flipped, own),
            }
            for name, own in pointed_at.items()
        },
    }


def run_all(datasets, plan, arms, cleaned, n_jobs):
    """Run every split at every rate; return all scores and what repeats them."""
    jobs = [
        delayed(evaluate)(dataset, plan, rate, split, train, test, arms, cleaned)
        for dataset in datasets
        for rate in plan.rates
        for split, (train, test) in enumerate(dataset.splits(plan.folds, plan.repeats))
    ]
    runs = run_parallel(jobs, n_jobs, unit="split")
    return {
        "data": [dataset.facts() for dataset in datasets],
        "seed": SEED,
        "plan": asdict(plan),
        "network": NETWORK,
        "arms": arms,
        "environment": environment("cleanlab"),
        "runs": runs,
    }


def main():
    parser = make_parser(__doc__, "--n-jobs", "--page")
    parser.add_argument("--choose", action="store_true", help="choose on other data")
    arguments = parser.parse_args()
    if arguments.page:
        write_page(RESULTS, DOCS)
        return

    stem = "label_noise"
    setup = [find(name) for name in EVALUATION], Plan(), ARMS, CLEANED
    if arguments.choose:
        stem = "label_noise_choice"
        arms = {arm: ARMS[arm] for arm in ("to the end", OPPONENT)} | CANDIDATES
        setup = development(), CHOICE, arms, {}
    results = run_all(*setup, arguments.n_jobs)
    write_json(RESULTS / f"{stem}.json", rounded(results), indent=None)


if __name__ == "__main__":
    main()
