"""Targets of a fit: classes or numbers, and how they are encoded for a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight

from skrebatch._engine.nn.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Loss,
    SquaredError,
)
from skrebatch._utils.arrays import as_array, keep_integers, to_floats
from skrebatch._utils.typing import Floats, Indices
from skrebatch._utils.validation import (
    check_weights,
    encode_labels,
    find_classes,
    find_labels,
)


class Targets(Protocol):
    """What a fit learned from its targets; immutable."""

    def check(self, y: Any) -> NDArray[Any]:
        """Return `y` in the form that :meth:`encode` takes; raise if invalid."""

    def weigh(
        self, y: NDArray[Any], class_weight: Any, weights: Floats | None
    ) -> Floats | None:
        """Return the sample weights, multiplied by the class weights."""

    def scale_to(
        self, y: NDArray[Any], weights: Floats | None, standardize: bool | str
    ) -> Self:
        """Return targets with the scale of `y`, the training rows, if standardised."""

    def encode(self, y: NDArray[Any]) -> Floats:
        """Return the targets as the network is trained on them (n, O)."""

    def labels(self, encoded: Floats) -> NDArray[Any]:
        """Return the labels that strategies receive, from encoded targets."""

    def constants(self, labels: NDArray[Any]) -> Floats | None:
        """Return what the outputs for constant targets must be, (O,), or None.

        It is NaN for the other outputs.
        """

    def strata(self, y: NDArray[Any]) -> NDArray[Any] | None:
        """Return the labels that stratify a validation split, or None."""

    @property
    def loss(self) -> type[Loss]:
        """Loss of the network."""

    @property
    def stopping_score(self) -> str:
        """Default stopping score of several networks."""

    @property
    def key(self) -> bytes:
        """Equal for targets that are encoded in the same way."""

    def out_of_fold(
        self, predictions: Floats, encoded: Floats, weights: Floats | None
    ) -> dict[str, Any]:
        """Return the fitted attributes of out-of-fold predictions.

        Parameters
        ----------
        predictions : ndarray of shape (n_samples, n_outputs)
            Mean predictions; NaN for rows that no network held out.
        encoded : ndarray of shape (n_samples, n_outputs)
            The encoded targets.
        weights : ndarray of shape (n_samples,) or None
            Weights of the samples in the score.
        """

    @property
    def fitted_attributes(self) -> dict[str, Any]:
        """Fitted attributes of an estimator that describe the targets."""


@dataclass(frozen=True)
class ClassTargets:
    """Class labels: one per sample or, if multi-label, any number of them."""

    classes: NDArray[Any]  # sorted; the column numbers if multi-label
    is_multilabel: bool = False

    @classmethod
    def learn(cls, y: Any, classes: Any = None) -> ClassTargets:
        """Learn the classes from `y`, or from `classes` if given."""
        if has_columns(y):
            targets = cls(np.arange(y.shape[1]), is_multilabel=True)
            targets.check_classes(classes)
            return targets
        y, classes = column_or_1d(y), keep_integers(as_array(classes, "classes"))
        found = find_classes(y if classes is None else classes)
        if len(found) < 2:
            raise ValueError(
                "y must contain at least two classes, but there is one class: "
                f"{found.tolist()}."
            )
        return cls(found)

    def check_classes(self, classes: Any) -> None:
        """Raise an error if classes differ from those that are known."""
        if classes is None:
            return
        found = np.unique(keep_integers(as_array(classes, "classes"))).tolist()
        if found != self.classes.tolist():
            known = "those of the first call"
            if self.is_multilabel:
                known = "the columns of y"
            raise ValueError(
                f"classes={found} differ from {known}, {self.classes.tolist()}."
            )

    def check(self, y: Any) -> NDArray[Any]:
        """Return the labels (n,), or the label matrix (n, L); raise if invalid."""
        y = y.toarray() if issparse(y) else y
        if not self.is_multilabel:
            y = column_or_1d(y)
            self.encode(y)
            return y
        if y.shape != (len(y), len(self.classes)):
            raise ValueError(
                f"y has shape {y.shape}, but the classifier was trained with "
                f"{len(self.classes)} labels: y must have a column for each of them."
            )
        others = y[(y != 0) & (y != 1)]
        if len(others):
            raise ValueError(
                "If y has several columns (multi-label), it must contain only 0 and "
                f"1, got {np.unique(others)[:5].tolist()}."
            )
        return y

    def weigh(
        self, y: NDArray[Any], class_weight: Any, weights: Floats | None
    ) -> Floats | None:
        """Return the sample weights, multiplied by the class weights.

        If multi-label, by those of each column, as in scikit-learn.
        """
        if class_weight is None:
            return weights
        is_balanced = isinstance(class_weight, str) and class_weight == "balanced"
        if self.is_multilabel and not is_balanced:
            raise ValueError(
                'For a multi-label y, class_weight must be "balanced" or None, got '
                f"{class_weight!r}. Use sample_weight for other weights."
            )
        if self.is_multilabel:
            columns, n_classes = y.T.astype(np.intp), 2
        else:
            columns, n_classes = find_labels(y, self.classes)[None], len(self.classes)
        total = np.ones(len(y)) if weights is None else weights
        with np.errstate(over="ignore", invalid="ignore"):  # check_weights raises
            for codes in columns:
                if is_balanced:
                    by_class = balanced_weights(codes, weights, n_classes)
                else:
                    by_class = self._weights_by_class(class_weight, y)
                total = total * by_class[codes]
        return check_weights(total, len(y))

    def _weights_by_class(self, class_weight: Any, y: NDArray[Any]) -> Floats:
        """Return the weight of each class from a dict; `y` may lack some classes."""
        if isinstance(class_weight, dict):
            to_floats(list(class_weight.values()), "class_weight")
        return compute_class_weight(class_weight, classes=self.classes, y=y)

    def scale_to(
        self, y: NDArray[Any], weights: Floats | None, standardize: bool | str
    ) -> ClassTargets:
        """Return the targets unchanged; classes have no scale."""
        return self

    def encode(self, y: NDArray[Any]) -> Floats:
        """Return 0 or 1 for two classes (n, 1), else one column per class (n, O)."""
        if self.is_multilabel:
            return y.astype(np.float32)
        return encode_labels(y, self.classes)

    def labels(self, encoded: Floats) -> NDArray[Any]:
        """Return the index of each row's class (n,), or the label matrix (n, L)."""
        if self.is_multilabel:
            return encoded.astype(np.intp)
        codes = encoded[:, 0] if encoded.shape[1] == 1 else encoded.argmax(axis=1)
        return codes.astype(np.intp)

    def constants(self, labels: NDArray[Any]) -> None:
        """Return None; no logit predicts a class with probability 1."""

    def strata(self, y: NDArray[Any]) -> NDArray[Any] | None:
        """Return the labels; None if multi-label."""
        return None if self.is_multilabel else y

    @property
    def n_outputs(self) -> int:
        """Number of logits."""
        n_classes = len(self.classes)
        return n_classes if self.is_multilabel or n_classes > 2 else 1

    @property
    def out_activation(self) -> str:
        """Function that maps logits to probabilities."""
        is_multiclass = self.n_outputs > 1 and not self.is_multilabel
        return "softmax" if is_multiclass else "logistic"

    @property
    def loss(self) -> type[Loss]:
        """Cross-entropy; with two classes or multi-label, binary cross-entropy."""
        return CrossEntropy if self.out_activation == "softmax" else BinaryCrossEntropy

    @property
    def stopping_score(self) -> str:
        """Brier score, in which the effect of a wrong label is bounded."""
        return "brier"

    @property
    def key(self) -> bytes:
        """Equal for targets that are encoded in the same way."""
        return b""

    def out_of_fold(
        self, predictions: Floats, encoded: Floats, weights: Floats | None
    ) -> dict[str, Any]:
        """Return the probabilities and their accuracy."""
        known = ~np.isnan(predictions[:, 0])
        if self.is_multilabel:
            probabilities = predictions
            predicted = (predictions[known] > 0.5).astype(np.intp)
        else:
            if predictions.shape[1] == 1:
                probabilities = np.concatenate([1 - predictions, predictions], axis=1)
            else:
                # In float32 they may not sum to 1 at the precision of float64.
                probabilities = predictions / predictions.sum(axis=1, keepdims=True)
            predicted = probabilities[known].argmax(axis=1)
        score = accuracy_score(
            self.labels(encoded[known]),
            predicted,
            sample_weight=None if weights is None else weights[known],
        )
        return {"oof_decision_function_": probabilities, "oof_score_": float(score)}

    @property
    def fitted_attributes(self) -> dict[str, Any]:
        """The classes and the outputs of the network."""
        return {
            "classes_": self.classes,
            "n_outputs_": self.n_outputs,
            "out_activation_": self.out_activation,
        }


@dataclass(frozen=True)
class NumericTargets:
    """One or several numbers per row."""

    is_1d: bool
    n_outputs: int
    mean: Floats  # (n_outputs,), the centre: a mean or a median
    scale: Floats  # (n_outputs,)

    @classmethod
    def learn(cls, y: NDArray[Any]) -> NumericTargets:
        """Learn the shape of the targets; :meth:`scale_to` sets their scale."""
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        mean, scale = np.zeros(n_outputs), np.ones(n_outputs)
        return cls(y.ndim == 1, n_outputs, mean, scale)

    def check(self, y: Any) -> NDArray[Any]:
        """Return the targets (n, n_outputs); raise if their number is different."""
        y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if y.shape[1] != self.n_outputs:
            raise ValueError(
                f"y has {y.shape[1]} targets, but the regressor has {self.n_outputs}."
            )
        return y

    def weigh(
        self, y: NDArray[Any], class_weight: Any, weights: Floats | None
    ) -> Floats | None:
        """Return the sample weights unchanged; there are no class weights."""
        return weights

    def scale_to(
        self, y: NDArray[Any], weights: Floats | None, standardize: bool | str
    ) -> NumericTargets:
        """Return targets with the scale of `y`, the training rows, if standardised.

        A constant target has the scale 1.
        """
        if not standardize:
            return self
        is_constant = (y == y[0]).all(axis=0)
        measure = _median_and_mad if standardize == "robust" else _mean_and_deviation
        with np.errstate(over="ignore", invalid="ignore"):
            mean, scale = measure(y, weights)
        # By rounding, the mean of equal numbers may differ from them.
        mean = np.where(is_constant, y[0], mean)
        scale = np.where(is_constant, 1, scale)
        if not ((scale > 0) & np.isfinite(scale)).all():
            raise ValueError(
                "y can't be standardised: its variance is beyond the range of "
                "float64. Multiply y by a factor that brings its values near 1."
            )
        return replace(self, mean=mean, scale=scale)

    def encode(self, y: NDArray[Any]) -> Floats:
        """Return the standardised targets (n, n_outputs)."""
        return (y - self.mean) / self.scale

    def labels(self, encoded: Floats) -> NDArray[Any]:
        """Return the encoded targets."""
        return encoded

    def constants(self, labels: NDArray[Any]) -> Floats | None:
        """Return the values of constant targets, NaN for the others, or None."""
        is_constant = (labels == labels[0]).all(axis=0)
        if not is_constant.any():
            return None
        constants: Floats = np.where(is_constant, labels[0], np.nan)
        return constants

    def strata(self, y: NDArray[Any]) -> None:
        """Return None; numbers are not stratified."""

    @property
    def loss(self) -> type[Loss]:
        """Squared error."""
        return SquaredError

    @property
    def stopping_score(self) -> str:
        """Mean absolute error, which wrong targets affect less than squared error."""
        return "absolute_error"

    @property
    def key(self) -> bytes:
        """Equal for targets that are encoded in the same way."""
        return self.mean.tobytes() + self.scale.tobytes()

    def out_of_fold(
        self, predictions: Floats, encoded: Floats, weights: Floats | None
    ) -> dict[str, Any]:
        """Return the predictions in the units of y and their R²."""
        known = ~np.isnan(predictions[:, 0])
        predicted, y = (v * self.scale + self.mean for v in (predictions, encoded))
        score = r2_score(
            y[known],
            predicted[known],
            sample_weight=None if weights is None else weights[known],
        )
        predicted = predicted[:, 0] if self.is_1d else predicted
        return {"oof_prediction_": predicted, "oof_score_": float(score)}

    @property
    def fitted_attributes(self) -> dict[str, Any]:
        """The shape and the scale."""
        return {
            "_is_1d": self.is_1d,
            "n_outputs_": self.n_outputs,
            "target_mean_": self.mean,
            "target_scale_": self.scale,
        }


def _mean_and_deviation(y: Floats, weights: Floats | None) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of each column: (n, O) -> (O,), (O,)."""
    mean = np.average(y, axis=0, weights=weights)
    return mean, np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weights))


def _median_and_mad(y: Floats, weights: Floats | None) -> tuple[Floats, Floats]:
    """Return median and scaled MAD of each column: (n, O) -> (O,), (O,).

    If more than half of the values are equal, the MAD is 0. The scale is then the mean
    absolute deviation. Both estimate the standard deviation of a normal distribution.
    """
    median = weighted_median(y, weights)
    deviations = np.abs(y - median)
    mad = weighted_median(deviations, weights)
    mean = np.average(deviations, axis=0, weights=weights)
    return median, np.where(mad > 0, 1.4826 * mad, np.sqrt(np.pi / 2) * mean)


def weighted_median(values: Floats, weights: Floats | None) -> Floats:
    """Return the median of each column, in which a weight of w counts as w copies."""
    if weights is None:
        return np.median(values, axis=0)
    order = values.argsort(axis=0)
    sums = weights[order].cumsum(axis=0)  # (n, O)
    half, rounding = sums[-1] / 2, 1e-9
    ranks = (
        (sums < half * (1 - rounding)).sum(axis=0),
        ((sums <= half * (1 + rounding)).sum(axis=0)),
    )
    middle = np.take_along_axis(
        values, np.take_along_axis(order, np.array(ranks), 0), 0
    )
    return middle.mean(axis=0)


def has_columns(y: Any) -> bool:
    """Return whether `y` has two dimensions and more than one column."""
    shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    return len(shape) == 2 and shape[1] > 1


def balanced_weights(codes: Indices, weights: Floats | None, n_classes: int) -> Floats:
    """Return class weights inversely proportional to the weight sums of the classes.

    A class without rows of positive weight counts as absent and has weight 0.
    scikit-learn's ``compute_class_weight`` supports sample weights from 1.7 on only.
    """
    if weights is not None:
        weights = weights / weights.max()  # sums of large weights would overflow
    sums = np.bincount(codes, weights, minlength=n_classes)
    present = sums > 0
    by_class = np.zeros(n_classes)
    by_class[present] = sums.sum() / (present.sum() * sums[present])
    return by_class
