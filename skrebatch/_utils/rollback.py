"""Changes of estimators that are made completely or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Self

from sklearn.base import BaseEstimator

from skrebatch._utils.validation import check_params


@contextlib.contextmanager
def unchanged_on_error(*estimators: Any) -> Iterator[None]:
    """Restore the attributes of estimators if an error is raised."""
    before = [estimator.__dict__.copy() for estimator in estimators]
    try:
        yield
    except BaseException:
        for estimator, state in zip(estimators, before, strict=True):
            estimator.__dict__ = state
        raise


class CheckedParams(BaseEstimator):
    """Base class of objects whose parameters are checked before any of them is set."""

    def set_params(self, **params: Any) -> Self:
        """Set parameters; those of an object among them as ``name__parameter``.

        Parameters
        ----------
        **params : dict
            Values by parameter name.

        Returns
        -------
        self : object
            The object itself.

        Raises
        ------
        ValueError
            If a parameter does not exist; the message suggests the most similar name.
            No parameter is set then.
        """
        check_params(params, self)
        with unchanged_on_error(self):
            return super().set_params(**params)
