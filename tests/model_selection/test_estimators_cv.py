"""Estimators that choose their own ratio."""

import numpy as np
import pytest
import sklearn
from helpers.estimators import make_data
from helpers.searches import ROWS, scores_of
from sklearn.base import clone
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline

from skrebatch import ReBatchCNNClassifierCV, ReBatchCNNRegressorCV


def test_weights_are_for_the_fits_of_its_search_where_metadata_are_routed():
    X, y = make_data(n=ROWS)
    weights = np.random.default_rng(0).uniform(size=ROWS)
    params = {"dtype": "float64", "max_epochs": 3, "random_state": 0, "lr": 0.03}
    model = ReBatchCNNClassifierCV(
        ratios=(0.2, 0.5), cv=2, scoring="accuracy", **params
    )
    expected = clone(model).fit(X, y, weights)
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(sample_weight=True)
        routed = make_pipeline(model).fit(X, y, sample_weight=weights)[-1]
    np.testing.assert_array_equal(routed.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_array_equal(scores_of(routed), scores_of(expected))


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize(
    "cls, task",
    [(ReBatchCNNClassifierCV, "binary"), (ReBatchCNNRegressorCV, "regression")],
)
def test_groups_are_kept_together_in_a_search_of_its_own(cls, task, routing):
    X, y = make_data(task, n=ROWS)
    groups = np.arange(ROWS) % 8
    weights = np.random.default_rng(0).uniform(size=ROWS)
    params = {"dtype": "float64", "max_epochs": 3, "random_state": 0}
    model = cls(ratios=(0.2, 0.5), cv=GroupKFold(4), **params)
    with sklearn.config_context(enable_metadata_routing=routing):
        model.fit(X, y, sample_weight=weights, groups=groups.tolist())
    folds = list(GroupKFold(4).split(X, y, groups))
    expected = clone(model).set_params(cv=folds).fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(scores_of(model), scores_of(expected))
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))
    with pytest.raises(ValueError, match="groups"):
        model.fit(X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y, groups=groups[1:])
