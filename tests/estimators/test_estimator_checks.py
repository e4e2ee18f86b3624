"""scikit-learn's own contract checks, for every option and every strategy."""

import pytest
from helpers.estimators import HALVES
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrebatch import (
    FusedGridSearchCV,
    ReBatchCNNClassifier,
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressor,
    ReBatchCNNRegressorCV,
)
from skrebatch.strategies import STRATEGIES

# With the whole table as one batch the order of the samples means nothing, and in
# float64 the order of summation next to nothing.
FULL_BATCH = {
    "n_networks": 1,
    "batch_size": 10**6,
    "dtype": "float64",
    "max_epochs": 25,
    "lr": 2e-2,
}

# A weight of 2 and a sample given twice make the same loss, but not the same
# mini-batches, nor the same share of chosen samples.
MINI_BATCHES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a sample given twice falls into other mini-batches than a sample of weight 2"
    )
}
PADDING = {
    "check_n_features_in_after_fitting": "rows may be shorter than those of fit",
    "check_estimators_partial_fit_n_features": "rows may be shorter than before",
    "check_estimators_pickle": "NaN may only be at the end of a row",
}
SEARCH = {
    "check_supervised_y_2d": "like GridSearchCV, it has no tag for several targets"
}

# What is the default but for fewer steps, and each strategy with other options, for
# quick fits that still learn.
SHORT = {"max_epochs": 8, "lr": 5e-2}
QUICK = {"n_networks": 1, **SHORT}
HELD = {**QUICK, **HALVES, "architecture": "mlp", "hidden_layers": (16,)}
TWO = {"ratio": [0, 0.15]}
CLASSIFIERS = [
    {"strategy": "max-loss", "early_stopping": True, "lr_schedule": "plateau"},
    {"strategy": "hybrid", "class_balanced": True, "n_networks": 3},
    {"strategy": "ohem", "batch_norm": True, "batch_size": 16, "dropout": 0.1},
    {
        **{"strategy": "self-paced", "architecture": "projected-cnn"},
        **{"optimizer": "rmsprop", "max_epochs": 20, "lr": 2e-2},  # it learns slowly
    },
    {"strategy": "small-loss", "ratio_schedule": "linear", "input_clip": 3.0},
    {"strategy": "selective-backprop", "optimizer": "adamw", "weight_decay": 0.1},
    {"class_weight": "balanced", "repeats": 0, "refresh_every": 3},
    {"strategy": "generalized-cross-entropy", "variable_length": True},
]
REGRESSORS = [
    {"strategy": "random", "early_stopping": True, "n_networks": 3},
    {"strategy": "tsw", "n_augments": 1, "noise_std": 0.1},
    {"strategy": "curriculum", "n_networks": 3, "choose": "together"},
    {"strategy": "breed", "architecture": "mlp", "hidden_layers": (16, 8)},
    {"strategy": "infobatch", "record_losses": True, "loss_smoothing": 0.5},
    {"early_stopping": True, "standardize_target": False, "repeats": 2},
    {"strategy": "welsch", "lr_schedule": "one-cycle", "warmup_epochs": 2},
    {"shuffle": False},
]


def expected_failures(estimator):
    """Say which checks an instance can't pass, and why."""
    if isinstance(estimator, FusedGridSearchCV):
        return SEARCH if isinstance(estimator.estimator, ReBatchCNNRegressor) else {}
    estimator = getattr(estimator, "estimator", estimator)  # of a CV form
    is_full = estimator.batch_size == FULL_BATCH["batch_size"]
    # Those stop at their first epoch, which is a single batch of all rows.
    stops = estimator.n_networks == 1 and estimator.early_stopping is True
    failures = {} if is_full or stops else MINI_BATCHES
    return {**failures, **PADDING} if estimator.variable_length else failures


def search(estimator):
    grid = {"ratio": [0, 0.15]}
    return FusedGridSearchCV(estimator, grid, cv=2, error_score="raise")


@pytest.mark.filterwarnings("ignore:Nothing is redistributed")
@pytest.mark.filterwarnings("ignore:With n_networks=3, no network holds out")
@pytest.mark.filterwarnings("ignore:cv has no effect without early stopping")
@pytest.mark.filterwarnings("ignore::skrebatch.ScaleWarning")
@parametrize_with_checks(
    [
        ReBatchCNNClassifier(**SHORT),
        ReBatchCNNRegressor(**SHORT),
        ReBatchCNNClassifier(**FULL_BATCH, class_weight="balanced"),
        ReBatchCNNRegressor(**FULL_BATCH),
        ReBatchCNNClassifierCV(ReBatchCNNClassifier(**HELD), TWO),
        ReBatchCNNRegressorCV(ReBatchCNNRegressor(**HELD), TWO),
        search(ReBatchCNNClassifier(**QUICK, random_state=0)),
        search(ReBatchCNNRegressor(**QUICK, random_state=0)),
        *(ReBatchCNNClassifier(**{**QUICK, **own}) for own in CLASSIFIERS),
        *(ReBatchCNNRegressor(**{**QUICK, **own}) for own in REGRESSORS),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_contract(estimator, check):
    """Every check that scikit-learn has for estimators."""
    check(estimator)


def test_every_strategy_is_checked():
    checked = {own.get("strategy", "min-loss") for own in CLASSIFIERS + REGRESSORS}
    assert checked == set(STRATEGIES)
