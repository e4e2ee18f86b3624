"""Searches beside scikit-learn's."""

import contextlib
import re

import numpy as np
import sklearn
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures

from helpers.estimators import make, weights_of
from skrebatch import FusedGridSearchCV

ROWS = 60
RATIOS = {"ratio": [0.1, 0.5]}
NET_RATIOS = {"net__ratio": [0.1, 0.5]}


def net(task="binary", **params):
    """A small estimator whose scores rounding doesn't touch."""
    shared = {"dtype": "float64", "max_epochs": 3, "lr": 0.03, "hidden_size": 8}
    return make(task, **{**shared, **params})


def pipe(task="binary", *steps, **params):
    """A pipeline whose earlier steps change the result if run twice or never."""
    steps = steps or (("poly", PolynomialFeatures(2)), ("scale", MinMaxScaler((-1, 2))))
    return Pipeline([*steps, ("net", net(task, **params))])


def scores_of(search):
    """The scores of every fold (n_folds * n_scores, n_candidates)."""
    return np.array([v for k, v in search.cv_results_.items() if "split" in k])


def described(value):
    """What a value says of itself, less where in memory it is."""
    return re.sub(r" at 0x\w+", "", repr(value))


def assert_same_search(fused, plain, tolerance=0.0):
    """Expect two fitted searches to have found the same, times apart."""
    results, expected = fused.cv_results_, plain.cv_results_
    assert list(results) == list(expected)
    for name, values in expected.items():
        own = results[name]
        assert type(own) is type(values)
        if name == "params":
            assert list(map(described, own)) == list(map(described, values))
        elif name.endswith("_time"):
            assert own.shape == values.shape and (own >= 0).all()
        elif name.startswith("param_"):
            assert own.dtype == values.dtype
            np.testing.assert_array_equal(own.mask, values.mask)
            assert list(map(described, own)) == list(map(described, values))
        else:
            assert own.dtype == values.dtype
            np.testing.assert_allclose(own, values, rtol=tolerance, atol=0)
    for name in ("best_index_", "multimetric_", "n_splits_"):
        assert getattr(fused, name, None) == getattr(plain, name, None)
    for name in ("best_params_", "scorer_"):
        own, values = getattr(fused, name, None), getattr(plain, name, None)
        assert described(own) == described(values)
    np.testing.assert_allclose(
        getattr(fused, "best_score_", -1),
        getattr(plain, "best_score_", -1),
        rtol=tolerance,
    )
    for name in ("best_estimator_", "refit_time_", "feature_names_in_"):
        assert hasattr(fused, name) == hasattr(plain, name)
    if hasattr(plain, "best_estimator_"):
        best, other = fused.best_estimator_, plain.best_estimator_
        assert described(best) == described(other)
        if isinstance(best, Pipeline):
            best, other = best[-1], other[-1]
        if hasattr(best, "module_"):
            np.testing.assert_array_equal(weights_of(best), weights_of(other))


def both(model, grid, X, y, fit=None, tolerance=0.0, max_stack="auto", **options):
    """Search in both ways and expect the same; return the fused search."""
    options = {"cv": 3, **options}
    fit = fit or {}
    plain = GridSearchCV(model, grid, **options).fit(X, y, **fit)
    fused = FusedGridSearchCV(model, grid, max_stack=max_stack, **options)
    assert fused.fit(X, y, **fit) is fused
    assert_same_search(fused, plain, tolerance)
    return fused


def weights(n=ROWS):
    """Weights of samples, most of them small."""
    return np.random.default_rng(2).uniform(0, 1, size=n) ** 6 + 1e-3


@contextlib.contextmanager
def routing():
    """Let metadata be routed."""
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def requests(model, score=None):
    """Let a model ask for the weights of samples."""
    model = model.set_fit_request(sample_weight=True)
    return model.set_score_request(sample_weight=score) if score is not None else model
