"""That what the speed benchmark compares with does the same work."""

import numpy as np
import pytest
import torch
from speed_baselines import Network, Order, flat_size

from skrebatch import Epoch, MinLoss, TabularCNN, interval_insertion


@pytest.mark.parametrize("n_features", [8, 9, 30])
def test_network_is_that_of_the_estimators(n_features):
    network, ours = Network(n_features), TabularCNN(n_features)
    for theirs, own in zip(network.parameters(), ours.parameters(), strict=True):
        assert theirs.shape == own.shape
        with torch.no_grad():
            theirs.copy_(own)
    X = torch.randn(5, n_features, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(X.unsqueeze(1)), ours(X))
    assert ours.architecture.flat_size == flat_size(n_features)


@pytest.mark.parametrize("n_samples, n_chosen", [(12, 3), (11, 3), (614, 80), (6, 3)])
def test_order_is_that_of_interval_insertion(n_samples, n_chosen):
    rng = np.random.default_rng(0)
    losses = rng.random(n_samples)
    order = Order(n_samples, n_chosen)
    order.redistribute(torch.from_numpy(losses))
    indices = order.indices.numpy()

    chosen = MinLoss().plan(losses, Epoch(2, 9, n_chosen, rng))
    remaining = indices[~np.isin(indices, chosen)]
    np.testing.assert_array_equal(indices, interval_insertion(remaining, chosen))
    np.testing.assert_array_equal(np.sort(indices), np.arange(n_samples))
