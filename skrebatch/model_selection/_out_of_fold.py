"""Scores of fitted estimators by their out-of-fold predictions."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import check_scoring, mean_absolute_error, roc_auc_score
from sklearn.utils import _safe_indexing

from skrebatch._utils.arrays import as_array, keep_integers
from skrebatch._utils.typing import Floats, Indices
from skrebatch._utils.user_warnings import warn_user
from skrebatch.estimators._classifier import is_multilabel
from skrebatch.estimators._fit_data import PreparedFit


class OutOfFoldScore:
    """Score of fitted estimators on training rows, by out-of-fold predictions.

    Parameters
    ----------
    scoring : str, callable or None
        A scorer of scikit-learn, which is called with a :class:`HeldOutClassifier` or
        a :class:`HeldOutRegressor`. None is :func:`mean_auc` or
        :func:`negative_absolute_error`, with the scale of the first estimator scored.
    estimator : estimator
        An estimator like those that are scored.
    X, y, sample_weight : array-like
        The data of the fits.

    Warns
    -----
    UserWarning
        If there are weights that the scorer does not take.
    """

    def __init__(
        self, scoring: Any, estimator: Any, X: Any, y: Any, sample_weight: Any
    ):
        self.X, self.y = as_array(X, "X"), keep_integers(as_array(y, "y"))
        self.scorer, self.takes_weights = None, True
        self.scale: Floats | None = None
        if scoring is None:
            return
        if not (isinstance(scoring, str) or callable(scoring)):
            raise ValueError(
                "scoring must be the name of a score, a callable or None, got "
                f"{scoring!r}."
            )
        self.scorer = check_scoring(estimator, scoring=scoring)
        # Scorers that are made from a metric pass the weights on to it.
        function = getattr(self.scorer, "_score_func", self.scorer)
        parameters = inspect.signature(function).parameters
        self.takes_weights = "sample_weight" in parameters
        if sample_weight is not None and not self.takes_weights:
            warn_user(
                f"The score does not count the sample weights, because {scoring!r} "
                "takes no sample_weight; only rows of weight 0 are left out."
            )

    def __call__(self, model: Any, fit: PreparedFit, rows: Indices) -> float:
        """Score a fitted estimator on the given rows."""
        weights = None if fit.sample_weight is None else fit.sample_weight[rows]
        is_classifier = hasattr(model, "classes_")
        if self.scorer is None:
            encoded = fit.job.targets[0][rows]
            if is_classifier:
                return mean_auc(model, encoded, rows, weights)
            if self.scale is None:
                self.scale = model.target_scale_
            return negative_absolute_error(model, encoded, rows, weights, self.scale)
        held_out = HeldOutClassifier if is_classifier else HeldOutRegressor
        X, y = (_safe_indexing(part, rows) for part in (self.X, self.y))
        is_weighted = weights is not None and self.takes_weights
        given = {"sample_weight": weights} if is_weighted else {}
        return float(self.scorer(held_out(model, rows), X, y, **given))


def mean_auc(
    model: Any, encoded: Floats, rows: Indices, weights: Floats | None
) -> float:
    """Return the area under the ROC curve, the mean over classes or labels.

    With more than two classes, it is that of each class against the others. Classes
    and labels that all rows or no rows have are left out.
    """
    probabilities = model.oof_decision_function_[rows]
    # Two classes have one column of targets and two of probabilities.
    probabilities = probabilities[:, -encoded.shape[1] :]
    areas = [
        roc_auc_score(target, column, sample_weight=weights)
        for target, column in zip(encoded.T, probabilities.T, strict=True)
        if target.min() < target.max()
    ]
    if not areas:
        raise ValueError(
            "The area under the ROC curve is not defined: all rows that count have the "
            "same class or labels. Set another scoring."
        )
    return float(np.mean(areas))


def negative_absolute_error(
    model: Any, encoded: Floats, rows: Indices, weights: Floats | None, scale: Floats
) -> float:
    """Return minus the mean absolute error.

    The errors of several targets are averaged with the weights 1 / `scale`, which must
    be equal for all models that are compared.
    """
    errors = mean_absolute_error(
        encoded * model.target_scale_ + model.target_mean_,
        model.oof_prediction_[rows].reshape(encoded.shape),
        sample_weight=weights,
        multioutput="raw_values",
    )
    return -float(np.average(errors, weights=1 / scale))


class HeldOutClassifier(ClassifierMixin, BaseEstimator):
    """Classifier that returns out-of-fold predictions for rows of the training data.

    Parameters
    ----------
    model : ReBatchCNNClassifier
        Fitted classifier.
    rows : ndarray of int
        The rows that the methods are called with.
    """

    def __init__(self, model: Any, rows: Indices):
        self.model = model
        self.rows = rows
        self.classes_ = model.classes_

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probabilities of the rows."""
        probabilities: NDArray[np.float64] = self.model.oof_decision_function_
        return probabilities[self.rows]

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the logarithms of the probabilities."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return the logits, as the classifier does."""
        logits = self.predict_log_proba(X)
        if self.model.out_activation_ == "softmax":
            return logits
        if self.model.n_outputs_ == 1:
            return logits[:, 1] - logits[:, 0]
        with np.errstate(divide="ignore"):
            return logits - np.log1p(-self.predict_proba(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable classes, or the labels of probability above 0.5."""
        probabilities = self.predict_proba(X)
        if is_multilabel(self.model):
            return (probabilities > 0.5).astype(np.intp)
        labels: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return labels


class HeldOutRegressor(RegressorMixin, BaseEstimator):
    """Regressor that returns out-of-fold predictions for rows of the training data.

    Parameters
    ----------
    model : ReBatchCNNRegressor
        Fitted regressor.
    rows : ndarray of int
        The rows that `predict` is called with.
    """

    def __init__(self, model: Any, rows: Indices):
        self.model = model
        self.rows = rows

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the predictions of the rows."""
        predictions: NDArray[np.float64] = self.model.oof_prediction_
        return predictions[self.rows]
