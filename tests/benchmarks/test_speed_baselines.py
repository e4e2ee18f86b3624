"""That what the speed benchmark compares with does the same work."""

import numpy as np
import pytest
import torch
from harness import single
from roofline import count_operations, record_epoch
from speed_baselines import Network, Order, flat_size, lean_net, minimal_loop

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


def test_the_lean_net_of_skorch_trains_as_the_minimal_loop():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 8)).astype(np.float32)
    y = (X[:, 0] > 0).astype(np.float32)
    expected = minimal_loop(X, y, n_chosen=7, epochs=3)
    net = lean_net(8, epochs=3, stops=False).set_params(n_chosen=7)
    net.fit(X[:, None], y)
    for theirs, own in zip(
        net.module_.parameters(), expected.parameters(), strict=True
    ):
        assert torch.equal(theirs, own)


def test_the_roofline_counts_the_arithmetic_of_an_epoch():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 8)), np.arange(12) % 2
    model = single(
        architecture="mlp", hidden_layers=(3,), ratio=0.5, max_epochs=4, random_state=0
    )
    found = {
        part: sum(count_operations(recorder.split()[0]) for recorder in recorders)
        for part, recorders in record_epoch(lambda: model.fit(X, y)).items()
    }
    # Rows pass 8 inputs, 3 hidden units and 1 output, with biases. In training, the
    # gradients of the weights take as many operations. No gradient of a hidden unit is
    # a matrix product, as there is a single output.
    forward = 2 * 12 * ((8 + 1) * 3 + (3 + 1) * 1)
    assert found == {"training": 2 * forward, "losses": forward}
