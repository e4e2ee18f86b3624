"""scikit-learn's own contract checks."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrebatch import (
    ReBatchCNNClassifier,
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressor,
    ReBatchCNNRegressorCV,
)

# With the whole table as one batch the order of the samples means nothing, and in
# float64 the order of summation next to nothing.
FULL_BATCH = {"batch_size": 10**6, "dtype": "float64", "max_epochs": 50, "lr": 1e-2}

# A weight of 2 and a sample given twice make the same loss, but not the same
# mini-batches, nor the same share of chosen samples.
MINI_BATCHES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a sample given twice falls into other mini-batches than a sample of weight 2"
    )
}

# A search with quick fits; its folds, too, fall otherwise with samples given twice.
QUICK_SEARCH = {"ratios": (0.15,), "cv": 3, "max_epochs": 25, "lr": 1e-2}

# Batch norm needs batches of two rows or more, whatever the number of rows.
ALL_OPTIONS = {
    "architecture": "mlp",
    "hidden_layers": (16, 8),
    "batch_norm": True,
    "dropout": 0.2,
    "batch_size": 16,
    "max_epochs": 60,
    "lr": 1e-2,
}


def expected_failures(estimator):
    """Say which checks an instance can't pass, and why."""
    return {} if estimator.batch_size == FULL_BATCH["batch_size"] else MINI_BATCHES


@pytest.mark.filterwarnings("ignore:Nothing is redistributed")
@parametrize_with_checks(
    [
        ReBatchCNNClassifier(),
        ReBatchCNNRegressor(),
        ReBatchCNNClassifier(**FULL_BATCH),
        ReBatchCNNRegressor(**FULL_BATCH),
        ReBatchCNNClassifier(**ALL_OPTIONS),
        ReBatchCNNClassifierCV(**QUICK_SEARCH),
        ReBatchCNNRegressorCV(**QUICK_SEARCH),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_contract(estimator, check):
    """Every check that scikit-learn has for estimators."""
    check(estimator)
