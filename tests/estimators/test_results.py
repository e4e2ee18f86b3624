"""What the fitted attributes say of several networks."""

import numpy as np
from helpers.estimators import SINGLE

from skrebatch import ReBatchCNNClassifier


def test_rows_chosen_by_half_of_the_networks_are_chosen():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 4)), np.arange(40) % 2
    several = {**SINGLE, "n_networks": 2, "max_epochs": 2, "ratio": 0.3}
    model = ReBatchCNNClassifier(**several, random_state=0).fit(X, y)
    first, second = model.chosen_by_network_
    assert len(np.setxor1d(first, second)) > 0  # chosen by one of the two
    np.testing.assert_array_equal(model.chosen_, np.union1d(first, second))
