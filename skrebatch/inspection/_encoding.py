"""Steps that turn a table with gaps, categories, dates and text into numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from skrebatch._utils.arrays import columns_of, find_non_number, refuse_non_numbers
from skrebatch._utils.extras import import_extra
from skrebatch._utils.validation import locate_bad_columns

if TYPE_CHECKING:
    import pandas as pd

# Text columns with more values than this are free text.
_MAX_CATEGORIES = 40


def preprocessing_steps(X: Any, last: Any) -> list[Any]:
    """Return the steps that turn X into standardised numbers without gaps.

    Parameters
    ----------
    X : ndarray, or a data frame of pandas or polars
    last : estimator
        The one that receives the numbers.
    """
    # Imported here because they would slow down the import of the package.
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    if last.variable_length:  # NaN is padding, which a scaler keeps
        return [StandardScaler()]
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    numbers = [imputer, StandardScaler()]
    if hasattr(X, "select_dtypes"):  # pandas
        numeric, others = X.select_dtypes("number"), X.select_dtypes(exclude="number")
        _check_names(others)
        difficult = [name for name in others if _needs_skrub(others[name])]
    else:  # polars, of which skrub encodes categories, too; or an array
        columns = columns_of(X) if hasattr(X, "columns") else []
        others = difficult = [name for name, own in columns if find_non_number(own)]
        numeric = X.drop(difficult) if difficult else X
    refuse_non_numbers(numeric, "X")
    if hint := locate_bad_columns(numeric, allow_nan=True):
        raise ValueError(f"X contains infinite values.{hint}")
    if difficult:
        return [_make_vectorizer(difficult, last.random_state), *numbers]
    if not list(others):
        return numbers
    _check_kinds(others)
    return [_make_encoder(numbers)]


def _check_names(others: pd.DataFrame) -> None:
    """Raise ValueError for names by which the encoders can't select one column."""
    if len(others.columns) and others.columns.nlevels > 1:
        raise ValueError(
            "The column names of X have several levels. Give each column one name: "
            "X.columns = X.columns.map('_'.join)."
        )
    if not others.columns.is_unique:
        double = others.columns[others.columns.duplicated()][0]
        raise ValueError(f"X has several columns named {double!r}. Rename them.")


def _check_kinds(others: pd.DataFrame) -> None:
    """Raise ValueError for a column of text and other values, which can't be sorted."""
    for name, column in others.items():
        values = column.dropna().unique()
        if len({isinstance(value, str) for value in values}) > 1:
            raise ValueError(
                f"Column {name!r} of X contains text and other values. Convert it to "
                "one kind, for example X[name].astype('string')."
            )


def _needs_skrub(column: pd.Series) -> bool:
    """Return whether a column holds dates, or more texts than categories would."""
    if column.dtype.kind in "mM":
        return True
    is_category = column.dtype.name == "category" or column.dtype.kind == "b"
    return not is_category and column.nunique() > _MAX_CATEGORIES


def _make_vectorizer(columns: list[Any], random_state: Any) -> Any:
    """Return skrub's encoder of text, categories and dates, which are in `columns`."""
    purpose = f"To encode columns {', '.join(map(repr, columns))}, find_label_issues"
    skrub = import_extra("skrub", purpose, "skrub")
    if random_state is None:  # skrub would draw from numpy's global generator
        random_state = int(np.random.default_rng().integers(2**31))
    text = skrub.StringEncoder(random_state=random_state)
    dates = skrub.DatetimeEncoder(periodic_encoding="spline")
    return skrub.TableVectorizer(high_cardinality=text, datetime=dates)


def _make_encoder(numbers: list[Any]) -> Any:
    """Return an encoder of categories that applies steps to the other columns."""
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

    categories = make_pipeline(
        FunctionTransformer(_without_na),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    return make_column_transformer(
        (make_pipeline(*numbers), make_column_selector(dtype_include="number")),
        (categories, make_column_selector(dtype_exclude="number")),
    )


def _without_na(frame: pd.DataFrame) -> pd.DataFrame:
    """Replace pd.NA, which the encoder refuses, by None."""
    return frame.astype(object).where(frame.notna(), None)
