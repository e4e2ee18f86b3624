"""Epochs, losses and plans for tests of strategies."""

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skrebatch import Epoch, ReBatchCNNClassifier
from skrebatch.strategies import check_strategy


def make_epoch(n_chosen=0, number=2, max_epochs=10, seed=0, rng=None, labels=None):
    rng = np.random.default_rng(seed) if rng is None else rng
    return Epoch(number, max_epochs, n_chosen, rng, labels)


def choose(strategy, losses, n_chosen, seed=0):
    return strategy.plan(losses, make_epoch(n_chosen, seed=seed)).tolist()


def refuses(strategy, name, value):
    """Expect that a parameter is refused by name, before the data are looked at."""
    model = ReBatchCNNClassifier(strategy=strategy)
    for call in (lambda: check_strategy(strategy), lambda: model.fit(None, None)):
        with pytest.raises(ValueError, match=f"^{name} must be") as error:
            call()
        assert repr(value) in str(error.value)


def finite_losses(min_size=1, max_size=16):
    """Draw losses of either precision, many of them equal."""
    return st.sampled_from([32, 64]).flatmap(
        lambda width: arrays(
            f"float{width}",
            st.integers(min_size, max_size),
            elements=st.floats(0, 1e9, width=width) | st.sampled_from([0.0, 0.5, 1.0]),
        )
    )


@st.composite
def losses_and_sizes(draw, unique=False):
    """Draw losses of either precision, many of them equal, and how many to choose."""
    width = draw(st.sampled_from([32, 64]))
    elements = st.floats(-1e9, 1e9, width=width)
    if not unique:
        elements |= st.sampled_from([0.0, -0.0, 0.5, 1.0, np.inf])
    losses = draw(
        arrays(f"float{width}", st.integers(1, 16), elements=elements, unique=unique)
    )
    return losses, draw(st.integers(0, len(losses)))
