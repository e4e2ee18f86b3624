"""What the targets of a fit are, and how a network learns them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight

from skrebatch._engine.nn.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Loss,
    SquaredError,
)
from skrebatch._utils.typing import Floats, Indices
from skrebatch._utils.validation import (
    as_array,
    check_not_constant,
    check_weights,
    encode_labels,
)


class Targets(Protocol):
    """What a fit has learned of its targets; never changed afterwards."""

    validation: ClassVar[dict[str, Any]]  # arguments of scikit-learn's validate_data

    def check(self, y: Any) -> NDArray[Any]:
        """Return targets in the form of :meth:`encode`, or refuse them."""

    def weigh(
        self, y: NDArray[Any], class_weight: Any, weights: Floats | None
    ) -> Floats | None:
        """Return the weights of the samples, those of their classes included."""

    def scale_to(
        self, y: NDArray[Any], weights: Floats | None, standardize: bool
    ) -> Self:
        """Return the targets with the scale of the training rows, if wanted."""

    def encode(self, y: NDArray[Any]) -> Floats:
        """Return the targets as the network learns them (n, O)."""

    def labels(self, encoded: Floats) -> NDArray[Any]:
        """Return what strategies are told of encoded targets."""

    def strata(self, y: NDArray[Any]) -> NDArray[Any] | None:
        """Return what a validation split is stratified by."""

    @property
    def loss(self) -> type[Loss]:
        """The loss of a network."""

    @property
    def stopping_score(self) -> str:
        """The score by which several networks stop, unless another is chosen."""

    @property
    def key(self) -> bytes:
        """The same for targets that encode alike."""

    def out_of_fold(
        self, predictions: Floats, encoded: Floats, weights: Floats | None
    ) -> dict[str, Any]:
        """Return the fitted attributes made of out-of-fold predictions.

        Parameters
        ----------
        predictions : ndarray of shape (n_samples, n_outputs)
            What the networks predict; NaN where no network held the row out.
        encoded : ndarray of shape (n_samples, n_outputs)
            The encoded targets.
        weights : ndarray of shape (n_samples,) or None
            Weights of the samples in the score.
        """

    @property
    def fitted_attributes(self) -> dict[str, Any]:
        """What a fitted estimator tells of them."""


@dataclass(frozen=True)
class ClassTargets:
    """Labels of classes."""

    validation: ClassVar[dict[str, Any]] = {}
    classes: NDArray[Any]  # sorted

    @classmethod
    def learn(cls, y: Any, classes: Any = None) -> ClassTargets:
        """Learn the classes from labels, or take all of them as given."""
        y, classes = column_or_1d(y), as_array(classes, "classes")
        found = np.unique(y if classes is None else classes)
        if len(found) < 2:
            raise ValueError(
                "y must hold at least two classes, but there is one class: "
                f"{found.tolist()}."
            )
        return cls(found)

    def check_classes(self, classes: Any) -> None:
        """Refuse classes that differ from those of the first call."""
        classes = as_array(classes, "classes")
        if classes is not None and not np.array_equal(np.unique(classes), self.classes):
            raise ValueError(
                f"classes={np.unique(classes).tolist()} differ from those of the "
                f"first call, {self.classes.tolist()}."
            )

    def check(self, y: Any) -> NDArray[Any]:
        """Return the labels as a vector; refuse those of unknown classes."""
        y = column_or_1d(y)
        self.encode(y)
        return y

    def weigh(
        self, y: NDArray[Any], class_weight: Any, weights: Floats | None
    ) -> Floats | None:
        """Return the weights of the samples, those of their classes included."""
        if class_weight is None:
            return weights
        codes = np.searchsorted(self.classes, y)
        with np.errstate(over="ignore", invalid="ignore"):  # refused afterwards
            if isinstance(class_weight, str) and class_weight == "balanced":
                by_class = balanced_weights(codes, weights, len(self.classes))
            else:
                by_class = self._weights_by_class(class_weight, y)
            own = by_class[codes] if weights is None else weights * by_class[codes]
        return check_weights(own, len(y))

    def _weights_by_class(self, class_weight: Any, y: NDArray[Any]) -> Floats:
        """Return the weights that a dict gives the classes: `y` may lack some."""
        try:
            return compute_class_weight(class_weight, classes=self.classes, y=y)
        except OverflowError as error:  # of a whole number that no float holds
            raise ValueError(f"class_weight holds no weight: {error}.") from error

    def scale_to(
        self, y: NDArray[Any], weights: Floats | None, standardize: bool
    ) -> ClassTargets:
        """Return the classes: they have no scale."""
        return self

    def encode(self, y: NDArray[Any]) -> Floats:
        """Return 0 or 1 for two classes (n, 1), else one column a class."""
        return encode_labels(y, self.classes)

    def labels(self, encoded: Floats) -> NDArray[Any]:
        """Return the class of each row, as its index in `classes`."""
        codes = encoded[:, 0] if encoded.shape[1] == 1 else encoded.argmax(axis=1)
        return codes.astype(np.intp)

    def strata(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return the labels."""
        return y

    @property
    def loss(self) -> type[Loss]:
        """Cross-entropy, of one logit for two classes."""
        return BinaryCrossEntropy if len(self.classes) == 2 else CrossEntropy

    @property
    def stopping_score(self) -> str:
        """The Brier score, which a wrong label changes by a bounded amount."""
        return "brier"

    @property
    def key(self) -> bytes:
        """The same for targets that encode alike."""
        return b""

    def out_of_fold(
        self, predictions: Floats, encoded: Floats, weights: Floats | None
    ) -> dict[str, Any]:
        """Return the probabilities and their accuracy."""
        known = ~np.isnan(predictions[:, 0])
        # Sums of float32 probabilities may miss 1 by more than rounding of float64.
        probabilities = predictions / predictions.sum(axis=1, keepdims=True)
        if predictions.shape[1] == 1:
            probabilities = np.concatenate([1 - predictions, predictions], axis=1)
        score = accuracy_score(
            self.labels(encoded[known]),
            probabilities[known].argmax(axis=1),
            sample_weight=None if weights is None else weights[known],
        )
        return {"oof_decision_function_": probabilities, "oof_score_": float(score)}

    @property
    def fitted_attributes(self) -> dict[str, Any]:
        """The classes."""
        return {"classes_": self.classes}


@dataclass(frozen=True)
class NumericTargets:
    """One or several numbers for each row."""

    validation: ClassVar[dict[str, Any]] = {"multi_output": True, "y_numeric": True}
    is_1d: bool
    n_outputs: int
    mean: Floats  # (n_outputs,)
    scale: Floats  # (n_outputs,)

    @classmethod
    def learn(cls, y: NDArray[Any]) -> NumericTargets:
        """Learn the shape of the targets; their scale comes with the training rows."""
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        mean, scale = np.zeros(n_outputs), np.ones(n_outputs)
        return cls(y.ndim == 1, n_outputs, mean, scale)

    def check(self, y: Any) -> NDArray[Any]:
        """Return the targets (n, n_outputs); refuse another number of outputs."""
        y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if y.shape[1] != self.n_outputs:
            raise ValueError(
                f"y has {y.shape[1]} targets, but the regressor has {self.n_outputs}."
            )
        return y

    def weigh(
        self, y: NDArray[Any], class_weight: Any, weights: Floats | None
    ) -> Floats | None:
        """Return the weights of the samples: there are no classes."""
        return weights

    def scale_to(
        self, y: NDArray[Any], weights: Floats | None, standardize: bool
    ) -> NumericTargets:
        """Return the targets with the scale of the training rows, if wanted."""
        check_not_constant(y)
        if not standardize:
            return self
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.average(y, axis=0, weights=weights)
            variance = np.average((y - mean) ** 2, axis=0, weights=weights)
        if not ((variance > 0) & np.isfinite(variance)).all():
            raise ValueError(
                "y can't be standardised: its variance is beyond the range of "
                "float64. Multiply y by a number that brings its values near 1."
            )
        return replace(self, mean=mean, scale=np.sqrt(variance))

    def encode(self, y: NDArray[Any]) -> Floats:
        """Return the standardised targets (n, n_outputs)."""
        return (y - self.mean) / self.scale

    def labels(self, encoded: Floats) -> NDArray[Any]:
        """Return the encoded targets."""
        return encoded

    def strata(self, y: NDArray[Any]) -> None:
        """Return None: numbers are not stratified."""

    @property
    def loss(self) -> type[Loss]:
        """Squared error."""
        return SquaredError

    @property
    def stopping_score(self) -> str:
        """The mean absolute error, which a wrong target changes least."""
        return "absolute_error"

    @property
    def key(self) -> bytes:
        """The same for targets that encode alike."""
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


def balanced_weights(codes: Indices, weights: Floats | None, n_classes: int) -> Floats:
    """Return class weights inverse to the sums of the weights in each class.

    A class without rows of positive weight counts as absent; its weight is 0.
    scikit-learn's ``compute_class_weight`` knows sample weights from 1.7 on only.
    """
    if weights is not None:
        weights = weights / weights.max()  # sums of large weights would overflow
    sums = np.bincount(codes, weights, minlength=n_classes)
    present = sums > 0
    by_class = np.zeros(n_classes)
    by_class[present] = sums.sum() / (present.sum() * sums[present])
    return by_class
