"""Searches beside scikit-learn's."""

import re

import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from helpers.estimators import weights_of
from skrebatch import FusedGridSearchCV


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
