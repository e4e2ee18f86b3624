"""Input that is refused, and errors on purpose."""

import contextlib
import copy
from functools import cache

import numpy as np
import pytest
from skorch.callbacks import Callback

from helpers.estimators import FEATURES, assert_same_bits, make, make_data


@contextlib.contextmanager
def no_trace(model, refit):
    """Expect that nothing changes, and that training goes on as if nothing was."""
    twin, params = refit(), model.get_params()
    yield
    assert vars(model).keys() == vars(twin).keys()
    assert_same_bits(model, twin)
    model.set_params(**params)
    X, y = make_data("binary" if hasattr(model, "classes_") else "regression")
    np.testing.assert_array_equal(model.predict(X), twin.predict(X))
    assert model.n_features_in_ == FEATURES
    assert model.history_[:, "train_loss"] == twin.history_[:, "train_loss"]
    assert len(model.history_) == len(twin.history_)
    assert_same_bits(model.partial_fit(X, y), twin.partial_fit(X, y))


@cache
def fitted_once(task):
    return make(task).fit(*make_data(task))


def fitted(task="binary"):
    """Return a fitted estimator, one's own."""
    return copy.deepcopy(fitted_once(task))


def refused(call, *words, task="binary", error=ValueError, **params):
    """Expect that a fitted estimator refuses a call and stays as it was."""

    model = fitted(task)
    with no_trace(model, lambda: fitted(task)):
        with pytest.raises(error) as raised:
            call(model.set_params(**params))
        for word in words:
            assert word in str(raised.value)
        model.set_params(**make(task).get_params())
    # One that is not fitted stays so.
    bare = make(task, **params)
    before = set(vars(bare))
    with pytest.raises(error):
        call(bare)
    assert set(vars(bare)) == before


class Fail(Callback):
    """Raise an error before a batch, once switched on."""

    on = False

    def on_batch_begin(self, net, **kwargs):
        if self.on:
            raise OSError("disk full")
