"""Find the labels and targets that are probably wrong."""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.multiclass import type_of_target

from skrebatch._utils.arrays import (
    as_array,
    keep_integers,
    refuse_masked,
    refuse_missing,
    to_floats,
)
from skrebatch._utils.extras import import_extra
from skrebatch._utils.settings import with_default_settings
from skrebatch._utils.user_warnings import warn_user
from skrebatch._utils.validation import find_classes, find_labels
from skrebatch.estimators._classifier import ReBatchCNNClassifier
from skrebatch.estimators._fitting import interrupts_raised
from skrebatch.estimators._regressor import ReBatchCNNRegressor
from skrebatch.inspection._dynamics import training_dynamics
from skrebatch.inspection._encoding import preprocessing_steps
from skrebatch.inspection._records import is_net, rebatch_step, records_of

if TYPE_CHECKING:
    import pandas as pd

# Chosen on development data: as good as the default network, at half the cost.
_NETWORK: dict[str, Any] = {
    "ratio": 0,
    "architecture": "mlp",
    "hidden_layers": (128, 64),
}
_OUTLIER = 3.5  # in units of the scaled MAD
# Labels of fewer rows than this are named in a warning.
_FEW_ROWS = 5
# More different whole numbers than this may be meant as targets of a regression.
_MANY_NUMBERS = 30


@with_default_settings
def find_label_issues(
    X: Any,
    y: ArrayLike,
    estimator: Any = None,
    *,
    random_state: int | np.random.RandomState | None = None,
) -> pd.DataFrame:
    r"""Find the rows whose label or target is probably wrong.

    An ensemble of networks is trained, and the loss of every row is recorded after each
    epoch until early stopping. Rows are ranked by their mean confidence over these
    epochs, the `label_quality` of :func:`training_dynamics` [1]_.

    The number of issues is estimated from the out-of-fold predictions. For class
    labels, it is the number of rows that confident learning [2]_ counts as wrong. Each
    class has a threshold: the mean of its predicted probability over the rows with this
    label. Of the classes that reach their threshold for a row, the most probable one is
    considered. The row is counted if this class is not its label, and if its label is
    not the predicted one either. With several labels per row, a row is counted if one
    of its labels is counted. For numbers, the estimate is the number of rows whose
    residual differs from the median residual by more than 3.5 scaled median absolute
    deviations [3]_. The same number of rows is marked: those with the lowest quality
    among the rows whose label is not the predicted one. If the network predicts poorly,
    the estimate is too high; the order of the rows is then more useful than the marks.
    Without out-of-fold predictions, as for a net of skorch, the estimate uses
    predictions for rows that the network was trained on. If the network has learned
    their wrong labels, the estimate is too low.

    Parameters
    ----------
    X : array-like or data frame of shape (n_samples, n_features)
        Features. Without an `estimator`, or with one of this package that is not
        fitted, they are prepared: gaps in numeric columns are filled by the median,
        the columns are standardised, and categories are one-hot encoded. Dates and
        free text need the extra ``skrub``.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The labels or targets to check; without missing values.
    estimator : estimator of this package, Pipeline or skorch net, default=None
        Estimator, or a pipeline that ends in one. If it is fitted, it must have been
        fitted to `X` and `y` with ``record_losses=True``. Otherwise, a clone is
        fitted. None is an ensemble of ten multilayer perceptrons. It is a regressor if
        `y` contains fractions, or if most rows have a number that occurs in fewer than
        five rows. Otherwise, it is a classifier. A net of skorch must be fitted, with
        the callback ``ReBatch(record_losses=True)``; see :func:`training_dynamics`.
    random_state : int, RandomState or None, default=None
        If not None, it replaces the `random_state` of an estimator that is not fitted.

    Returns
    -------
    issues : pandas.DataFrame
        One row for each row of X, with the index of X, lowest quality first. The names
        of the columns are those of cleanlab. ``issues.attrs["share_of_issues"]`` is the
        estimated share of wrong labels.

        is_label_issue : bool
            Whether the label is marked as wrong.
        label_quality : float
            From 0 to 1; low values suggest a wrong label.
        given_label : object
            The label in `y`. With several labels per row, a tuple of the columns
            that are 1; with several targets, a tuple of the targets.
        predicted_label : object
            The prediction in the same form: the out-of-fold prediction, if there is
            one.

    Raises
    ------
    ValueError
        If `y` has missing values, an array `X` contains text or dates, or the estimator
        was fitted to other rows or without ``record_losses=True``.
    sklearn.exceptions.NotFittedError
        If the estimator is a net that is not fitted.
    TypeError
        If the estimator is neither an estimator of this package nor a net of skorch.
    ImportError
        If pandas is not installed, or if columns need skrub and it is not installed.

    Warns
    -----
    UserWarning
        If a column of `X` equals `y`, if labels occur in fewer than five rows, if
        `estimator` is None and more than 30 different whole numbers become classes, or
        if the index of `X` is not unique.

    See Also
    --------
    LabelIssuesDisplay : A plot of the result.
    training_dynamics : Statistics of the recorded losses of each row.

    References
    ----------
    .. [1] S. Swayamdipta et al., "Dataset Cartography: Mapping and Diagnosing
       Datasets with Training Dynamics", EMNLP 2020.
    .. [2] C. G. Northcutt, L. Jiang and I. L. Chuang, "Confident Learning: Estimating
       Uncertainty in Dataset Labels", Journal of Artificial Intelligence Research 70,
       2021.
    .. [3] B. Iglewicz and D. C. Hoaglin, "How to Detect and Handle Outliers", ASQC
       Quality Press, 1993.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skrebatch import find_label_issues
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> y[[10, 90]] = 2
    >>> issues = find_label_issues(X, y, random_state=0)
    >>> sorted(issues.index[:2])
    [10, 90]

    With the losses that were recorded while a network of your own was trained:

    >>> import numpy as np
    >>> import torch
    >>> from skorch import NeuralNetClassifier
    >>> from skrebatch import ReBatch
    >>> inputs, labels = np.array(X, dtype="float32"), np.array(y)
    >>> _ = torch.manual_seed(0)
    >>> net = NeuralNetClassifier(
    ...     torch.nn.Linear(4, 3), criterion=torch.nn.CrossEntropyLoss, lr=0.1,
    ...     callbacks=[ReBatch(record_losses=True, random_state=0)], verbose=0,
    ... )
    >>> issues = find_label_issues(inputs, labels, net.fit(inputs, labels))
    >>> 10 in issues.index[:2]
    True
    """
    pandas = import_extra("pandas", "find_label_issues")
    refuse_masked(X, "X")
    labels = _check_labels(y)
    model = _fit_or_check(X, y, labels, estimator, random_state)
    quality = training_dynamics(model)["label_quality"].to_numpy()
    if len(quality) != len(labels):
        raise ValueError(
            f"The estimator was fitted to {len(quality)} rows, but y has "
            f"{len(labels)}. Pass the X and y that it was fitted to."
        )
    last = rebatch_step(model)
    flag = _flag_targets if is_regressor(last) else _flag_labels
    is_counted, is_suspect, predicted = flag(model, last, X, labels)
    is_issue = np.zeros(len(labels), dtype=bool)
    order = np.argsort(quality, kind="stable")
    is_issue[order[is_suspect[order]][: is_counted.sum()]] = True
    index = getattr(X, "index", None)
    issues = pandas.DataFrame(
        {
            "is_label_issue": is_issue,
            "label_quality": quality,
            "given_label": _as_column(labels, last),
            "predicted_label": _as_column(predicted, last),
        },
        index=None if callable(index) else index,
    ).iloc[order]
    issues.attrs["share_of_issues"] = float(is_counted.mean())
    return issues


def _check_labels(y: Any) -> NDArray[Any]:
    """Return the labels as an array; raise ValueError if some are missing."""
    y = keep_integers(as_array(y, "y"))
    labels: NDArray[Any] = y.toarray() if issparse(y) else np.asarray(y)
    refuse_missing(labels.astype(object))  # as objects, NaN is refused with its row
    if labels.dtype != object:
        return labels
    find_classes(labels)  # raises an error if there are several kinds
    are_numbers = all(isinstance(label, Real | Decimal) for label in labels.flat)
    return labels.astype(np.float64) if are_numbers else labels


def _fit_or_check(
    X: Any, y: Any, labels: NDArray[Any], estimator: Any, random_state: Any
) -> Any:
    """Return a fitted estimator with recorded losses; fit one if needed."""
    if estimator is None:
        is_number = _are_quantities(labels)
        cls = ReBatchCNNRegressor if is_number else ReBatchCNNClassifier
        estimator = cls(**_NETWORK)
    last = rebatch_step(estimator)
    for name, step in getattr(estimator, "steps", []):
        if hasattr(step, "fit_resample"):
            raise ValueError(
                f"The step {name!r} of the pipeline changes the rows, so the results "
                "can't be assigned to the rows of X. Leave this step out."
            )
    if is_net(last) and labels.ndim > 1 and labels.shape[1] > 1 and is_classifier(last):
        raise ValueError(
            "y must have one label for each row if the estimator is a net of skorch, "
            f"got y of shape {labels.shape}."
        )
    if is_net(last) or hasattr(last, "module_"):
        records_of(estimator)  # raises an error if there are none
        return estimator
    if labels.ndim < 2 or labels.shape[1] == 1:
        _warn_of_mistakes(X, labels.ravel(), is_classifier(last))
    model = clone(estimator)
    last = rebatch_step(model).set_params(record_losses=True)
    if random_state is not None:
        last.set_params(random_state=random_state)
    if not isinstance(model, Pipeline):
        if issparse(X):
            raise TypeError("find_label_issues needs a dense X: pass X.toarray().")
        if not hasattr(X, "columns"):
            X = to_floats(X, "X")
        model = make_pipeline(*preprocessing_steps(X, last), last)
    with interrupts_raised():
        return model.fit(X, y)


def _are_quantities(labels: NDArray[Any]) -> bool:
    """Return whether labels are numbers to predict; warn if this is doubtful."""
    if labels.dtype.kind not in "iuf":
        return False
    numbers, counts = np.unique(labels, return_counts=True)
    if 2 * counts[counts < _FEW_ROWS].sum() > labels.size:
        return True
    if type_of_target(labels).startswith("continuous"):
        return True
    if len(numbers) > _MANY_NUMBERS:
        warn_user(
            f"y contains {len(numbers)} different whole numbers, which are treated as "
            "classes. To predict them as numbers, pass an estimator: "
            "ReBatchCNNRegressor(). If they are classes, pass ReBatchCNNClassifier()."
        )
    return False


def _warn_of_mistakes(X: Any, labels: NDArray[Any], is_class: bool) -> None:
    """Warn if X contains the labels, or if some labels occur in very few rows."""
    index = getattr(X, "index", None)
    if not getattr(index, "is_unique", True):
        warn_user(
            "The index of X is not unique, so a value of the index can refer to "
            "several rows. Give X a new index: X.reset_index(drop=True)."
        )
    columns = [n for n in getattr(X, "columns", []) if len(X) == len(labels)]
    same = [name for name in columns if _equals(X[name], labels)]
    if same:
        warn_user(
            f"X contains y as column {same[0]!r}. The networks can then read each "
            "label from X, so no label looks wrong. Remove the column from X."
        )
    if not is_class:
        return
    values, counts = np.unique(labels, return_counts=True)
    rare = [
        f"{value!r} ({count})"
        for value, count in zip(values.tolist(), counts, strict=True)
        if count < _FEW_ROWS
    ]
    if rare:
        more = ", …" if len(rare) > 3 else ""
        warn_user(
            f"Labels with fewer than {_FEW_ROWS} rows: {', '.join(rare[:3])}{more}. "
            "The networks can't learn them. If they are other spellings of a label, "
            "correct them first."
        )


def _equals(column: Any, labels: NDArray[Any]) -> bool:
    """Return whether a column, which may have gaps, equals labels without gaps."""
    import pandas as pd

    values = np.asarray(column, dtype=object)
    if values.shape != labels.shape or pd.isna(values).any():
        return False
    return bool(np.all(values == labels))


def _flag_labels(
    model: Any, last: Any, X: Any, labels: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[Any]]:
    """Return which rows confident learning counts as wrong, and the predictions.

    The second array tells which labels differ from the prediction.
    """
    name = "oof_decision_function_"
    proba = _out_of_fold(last, name, lambda: model.predict_proba(X), len(labels))
    if labels.ndim > 1 and labels.shape[1] > 1:
        columns = [
            count_confident(np.column_stack([1 - p, p]), given.astype(int))
            for p, given in zip(proba.T, labels.T, strict=True)
        ]
        predicted = (proba > 0.5).astype(int)
        return np.any(columns, axis=0), (predicted != labels).any(axis=1), predicted
    classes = last.classes_
    if is_net(last):  # for which labels are the numbers of outputs
        classes = np.arange(proba.shape[1]).astype(labels.dtype)
    codes, best = find_labels(labels.ravel(), classes), proba.argmax(axis=1)
    return count_confident(proba, codes), best != codes, classes[best]


def count_confident(
    proba: NDArray[np.floating], codes: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Return which rows are off the diagonal of the confident joint.

    A row is not counted if its label is the most probable class. Otherwise, a class
    with few rows could count most rows of another class: if the network can't tell the
    two classes apart, the threshold of the small class is almost 0.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
    codes : ndarray of int, shape (n_samples,)
        Index of the class that each row is labelled with.
    """
    n_classes = proba.shape[1]
    given = proba[np.arange(len(codes)), codes]
    sizes = np.bincount(codes, minlength=n_classes)
    with np.errstate(invalid="ignore"):
        thresholds = np.bincount(codes, given, minlength=n_classes) / sizes
    # By rounding, a mean may be above equal values. A class without rows has no mean.
    confident = proba >= np.nan_to_num(thresholds, nan=np.inf) * (1 - 1e-9)
    best = np.where(confident, proba, -1).argmax(axis=1)
    is_counted: NDArray[np.bool_] = confident.any(axis=1) & (best != codes)
    return is_counted & (proba.argmax(axis=1) != codes)


def _flag_targets(
    model: Any, last: Any, X: Any, labels: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[Any]]:
    """Return which rows have an outlying residual, and the predictions.

    The second array is True: every target may be marked.
    """
    name = "oof_prediction_"
    predicted = _out_of_fold(last, name, lambda: model.predict(X), len(labels))
    given = to_floats(labels, "y").reshape(len(labels), -1)
    residuals = given - predicted.reshape(given.shape)
    deviations = np.abs(residuals - np.median(residuals, axis=0))
    limits = _OUTLIER * 1.4826 * np.median(deviations, axis=0)
    is_outlying = (deviations > limits).any(axis=1)
    return is_outlying, np.ones_like(is_outlying), predicted


def _out_of_fold(
    last: Any, name: str, predict: Any, n_samples: int
) -> NDArray[np.floating]:
    """Return out-of-fold predictions; where there are none, those of all networks."""
    found: NDArray[np.floating] | None = getattr(last, name, None)
    if found is None:
        predicted: NDArray[np.floating] = predict()
        if len(predicted) != n_samples:
            raise ValueError(
                f"X has {len(predicted)} rows, but y has {n_samples}. Pass the X and y "
                "that the estimator was fitted to."
            )
        return predicted
    unknown = np.isnan(found)
    return np.where(unknown, predict(), found) if unknown.any() else found


def _as_column(labels: NDArray[Any], last: Any) -> Any:
    """Return labels as the values of a column, tuples for several labels per row."""
    if labels.ndim == 1 or labels.shape[1] == 1:
        return labels.ravel()
    if is_regressor(last):
        return [tuple(row) for row in labels.tolist()]
    return [tuple(np.flatnonzero(row).tolist()) for row in labels]
