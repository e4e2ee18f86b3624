"""Any two options together: in a stack as alone, pickled, weighted, epoch by epoch.

The task is one of the options: each has a share of the pairs.
"""

import itertools
import pickle

import numpy as np
import pytest
from helpers.estimators import TASKS, assert_close, make, make_data
from helpers.options import SHARED, WEIGHING, covering_rows, models_of, rows_of
from helpers.twins import assert_twins, predictions_of
from sklearn.base import clone
from sklearn.metrics import get_scorer

from skrebatch import (
    FusedGridSearchCV,
    fit_fused,
)


def tolerance_of(model):
    """How near a network of a stack comes to its twin, in float64."""
    # A batch norm takes the bias of a channel that is always active away again: all its
    # gradient is rounding, which these optimizers divide by its own size. Those biases
    # drift, by 4e-7 at most as seen, and nothing depends on them.
    drifts = (
        model.batch_norm and model.architecture == "cnn" and model.optimizer != "sgd"
    )
    return 1e-5 if drifts else 1e-8


def test_the_rows_cover_every_pair():
    options = {"a": [1, 2, 3], "b": [False, None], "c": ["x", "y"]}
    rows = covering_rows(options, {("a", 1, "c", "y")})
    for one, other in itertools.combinations(options, 2):
        seen = {(row[one], row[other]) for row in rows}
        expected = set(itertools.product(options[one], options[other]))
        assert seen == expected - {(1, "y")}
    assert len(rows) < 3 * 2 * 2 - 2


@pytest.mark.filterwarnings("ignore:lr_schedule=.* is finished")
@pytest.mark.parametrize("task", TASKS)
def test_in_a_stack_as_alone_then_epoch_by_epoch(task):
    X, y = make_data(task)
    models = models_of(task)
    assert 10 < len(models) < 50
    fit_fused(models, X, y)
    twins = [clone(model).fit(X, y) for model in models]
    for model, twin in zip(models, twins, strict=True):
        assert_twins(model, twin, X, tolerance_of(model))
    for model in models + twins:
        model.set_params(early_stopping=False).partial_fit(X, y).partial_fit(X, y)
    for model, twin in zip(models, twins, strict=True):
        assert_twins(model, twin, X, tolerance_of(model))


@pytest.mark.filterwarnings("ignore:lr_schedule=.* is finished")
@pytest.mark.parametrize("task", TASKS)
def test_with_weights_and_after_pickling(task):
    X, y = make_data(task)
    weights = np.random.default_rng(1).uniform(0, 3, size=len(X)).round(1)
    weights[:3] = 0
    for model in models_of(task):
        model.set_params(dtype="float32").fit(X, y, sample_weight=weights)
        kept, other = weights > 0, clone(model)
        other.fit(X[kept], y[kept], sample_weight=weights[kept])
        assert_close(predictions_of(model, X), predictions_of(other, X), 1e-6)
        loaded = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
        warm = {"warm_start": True, "max_epochs": 2}
        model.set_params(**warm).fit(X, y, sample_weight=weights)
        loaded.set_params(**warm).fit(X, y, sample_weight=weights)
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_in_a_search():
    X, y = make_data()
    rows = rows_of("binary")
    grid = [{name: [value] for name, value in row.items()} for row in rows]
    model = make(**SHARED)
    split = np.arange(30), np.arange(30, len(X))
    search = FusedGridSearchCV(
        model, grid, cv=[split], scoring="neg_log_loss", refit=False
    )
    found = search.fit(X, y).cv_results_["mean_test_score"]
    scorer = get_scorer("neg_log_loss")
    expected = [
        scorer(clone(model).set_params(**row).fit(X[:30], y[:30]), X[30:], y[30:])
        for row in rows
    ]
    assert_close(found, expected, 1e-8)
    assert len(set(found)) > 0.8 * len(rows)


@pytest.mark.parametrize("strategy", WEIGHING)
def test_a_pair_that_is_refused(strategy):
    X, y = make_data()
    model = make(strategy=strategy, class_balanced=True)
    with pytest.raises(ValueError, match="class_balanced=True can't be used with"):
        model.fit(X, y)
