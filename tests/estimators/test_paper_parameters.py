"""The parameters of the paper's experiments, and the size of mini-batches."""

import numpy as np
import pytest
from helpers.estimators import make, make_data

from skrebatch import (
    ReBatchCNNClassifier,
    ReBatchCNNRegressor,
    paper_parameters,
    redistribution_size,
)


@pytest.mark.parametrize(
    "name, n_features, flat, max_epochs",
    [
        ("pid", 8, 48, 300),
        ("ccfd", 29, 224, 50),
        ("pdc", 22, 16, 30),
        ("diabetes", 10, 256, 200),
        ("chp", 8, 128, 200),
        ("insurance", 11, 256, 100),
    ],
)
def test_the_networks_are_those_of_table_3(name, n_features, flat, max_epochs):
    X = np.random.default_rng(0).normal(size=(40, n_features))
    parameters = paper_parameters(name)
    assert parameters["max_epochs"] == max_epochs
    is_number = name in ("diabetes", "chp", "insurance")
    cls = ReBatchCNNRegressor if is_number else ReBatchCNNClassifier
    model = cls(ratio=0.3, **parameters).set_params(max_epochs=1)
    # The paper does not scale targets; by default, a regressor does.
    assert parameters.get("standardize_target", not is_number) is not is_number
    architecture = model.fit(X, [0, 1] * 20).module_.architecture
    assert architecture.linear_sizes == [(flat, 2 * flat), (2 * flat, 1)]
    assert model.batch_size_ == redistribution_size(40, 0.3)


def test_a_data_set_that_is_not_in_the_paper_is_refused():
    with pytest.raises(ValueError, match='dataset must be one of "pid"'):
        paper_parameters("iris")


@pytest.mark.parametrize(
    "n, batch_size", [(20, 20), (150, 32), (2000, 64), (4000, 128), (30000, 256)]
)
@pytest.mark.parametrize("ratio", [0, 0.3])
def test_the_size_of_mini_batches_does_not_depend_on_the_ratio(n, batch_size, ratio):
    X, y = make_data(n=n)
    model = make(batch_size="auto", ratio=ratio, max_epochs=1, hidden_size=2)
    assert model.fit(X, y).batch_size_ == batch_size
