"""The data sets of the benchmarks, by name.

Two come with scikit-learn. The others are read from the folder that the environment
variable SKREBATCH_DATA names, else from ../shared/data beside the repository, else
they are downloaded (OpenML, scikit-learn's California housing, a file on the web).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import (
    fetch_california_housing,
    fetch_openml,
    load_breast_cancer,
    load_diabetes,
)
from sklearn.impute import SimpleImputer
from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

SEED = 42
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Dataset:
    """A table with its target, which is 0 and 1 for classification."""

    name: str
    X: pd.DataFrame
    y: np.ndarray
    task: str  # "classification" or "regression"
    source: str  # where the rows were read from

    def facts(self):
        """Return the name, source, task and shape, for a file of results."""
        return {
            "name": self.name,
            "source": self.source,
            "task": self.task,
            "rows": len(self.X),
            "columns": self.X.shape[1],
        }

    def preprocessor(self):
        """Make the unfitted transformer from X to the input of a network."""
        numeric = self.X.select_dtypes("number").columns
        categorical = self.X.columns.difference(numeric, sort=False)
        scale = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
        encode = make_pipeline(
            SimpleImputer(strategy="most_frequent"),
            OneHotEncoder(sparse_output=False, handle_unknown="ignore"),
        )
        if not self.X.isna().any(axis=None):
            scale, encode = scale[-1], encode[-1]
        if categorical.empty:
            return scale
        return make_column_transformer((scale, numeric), (encode, categorical))

    def sample(self, most):
        """Return the data set, or as many rows of it drawn at random."""
        if len(self.X) <= most:
            return self
        rows = np.random.default_rng(SEED).choice(len(self.X), most, replace=False)
        X = self.X.iloc[rows].reset_index(drop=True)
        return replace(self, X=X, y=self.y[rows])

    def prepare(self, train, test):
        """Return the input of a network for two sets of rows, fitted to the first."""
        fitted = self.preprocessor().fit(self.X.iloc[train])
        return [fitted.transform(self.X.iloc[rows]) for rows in (train, test)]

    def splits(self, folds, repeats):
        """Split the rows repeatedly into folds, stratified by class."""
        stratified = self.task == "classification"
        kind = RepeatedStratifiedKFold if stratified else RepeatedKFold
        splits = kind(n_splits=folds, n_repeats=repeats, random_state=SEED)
        return list(splits.split(self.X, self.y))


def as_dataset(name, X, y, source="generated"):
    """Make a data set of two classes from arrays."""
    X = pd.DataFrame(X).add_prefix("x")
    return Dataset(name, X, np.asarray(y, dtype=int), "classification", source)


def flip(y, rate, seed):
    """Flip a share of the labels 0 and 1; return them, and which were flipped."""
    rng = np.random.default_rng(seed)
    is_flipped = np.zeros(len(y), dtype=bool)
    is_flipped[rng.choice(len(y), round(rate * len(y)), replace=False)] = True
    return np.where(is_flipped, 1 - y, y), is_flipped


class File(NamedTuple):
    """A CSV file of the data folder."""

    name: str
    target: str
    is_positive: Callable | None = None  # from the target to class 1
    drop: tuple[str, ...] = ()
    header: int = 0  # the line with the names of the columns

    def read(self, folder):
        """Read the file in a folder, which may be an address on the web."""
        path = f"{folder}/{self.name}"
        table = pd.read_csv(path, header=self.header).drop(columns=list(self.drop))
        if self.target not in table:
            raise ValueError(f"{path} has no column {self.target!r}.")
        y = table.pop(self.target)
        source = self.name if isinstance(folder, Path) else path
        return table, self.is_positive(y) if self.is_positive else y, source


def openml(data_id, is_positive):
    """Download a data set of OpenML, or take it from scikit-learn's cache."""
    bunch = fetch_openml(data_id=data_id, as_frame=True, parser="auto")
    return bunch.data, is_positive(bunch.target.astype(str)), f"OpenML {data_id}"


def bundled(function):
    """Load a data set by a function of scikit-learn."""
    bunch = function(as_frame=True)
    return bunch.data, bunch.target, f"scikit-learn's {function.__name__}"


class Entry(NamedTuple):
    """Where a data set is found, and what it must look like."""

    shape: tuple[int, int]
    # Rows of class 1; heart-c of OpenML labels one row differently. () is regression.
    n_positive: tuple[int, ...] = ()
    file: File | None = None
    # Returns the features, the target and where they are from.
    other: Callable | None = None
    # The share of rows to draw; where there are classes, of class 0 alone.
    sample: float | None = None


INSURANCE = File("insurance.csv", "charges")
# Of B. Lantz, Machine Learning with R; later commits have rounded it. OpenML has none.
LANTZ = (
    "https://raw.githubusercontent.com/stedy/Machine-Learning-with-R-datasets/"
    "9a8371e95098f3048c5540646b9fb96c7571b110"
)
ENTRIES = {
    "breast_cancer": Entry(
        (569, 30), (357,), other=partial(bundled, load_breast_cancer)
    ),
    "diabetes": Entry((442, 10), other=partial(bundled, load_diabetes)),
    "pid": Entry(
        (768, 8),
        (268,),
        File("pima_indians_diabetes.csv", "outcome"),
        partial(openml, 37, lambda y: y == "tested_positive"),
    ),
    "pdc": Entry(
        (195, 22),
        (147,),
        File("parkinsons.csv", "status", drop=("name",)),
        partial(openml, 1488, lambda y: y == "2"),
    ),
    # Another data set of that name, which the paper's kernel of 8 would also fit.
    "pdc_speech": Entry(
        (756, 753),
        (564,),
        File("pd_speech_features.csv", "class", drop=("id",), header=1),
    ),
    # The copy on OpenML comes without the time, so that the file's is left out.
    "ccfd": Entry(
        (284807, 29),
        (492,),
        File("creditcard.csv", "Class", drop=("Time",)),
        partial(openml, 1597, lambda y: y == "1"),
        sample=0.008,
    ),
    "heart": Entry(
        (303, 13),
        (139, 138),
        File("heart_cleveland.csv", "num", lambda y: y > 0),
        partial(openml, 49, lambda y: y != "<50"),
    ),
    "chp": Entry(
        (20640, 8),
        file=File("california_housing.csv.gz", "MedHouseVal"),
        other=partial(bundled, fetch_california_housing),
        sample=0.1,
    ),
    "insurance": Entry((1338, 6), file=INSURANCE, other=partial(INSURANCE.read, LANTZ)),
}


def load(name):
    """Load a data set of `ENTRIES`, and check that it is the expected one."""
    if name not in ENTRIES:
        raise ValueError(f"No data set {name!r}; there are {', '.join(ENTRIES)}.")
    entry = ENTRIES[name]
    X, y, source = read(entry)
    if X.shape != entry.shape:
        raise ValueError(
            f"{name} from {source} has {X.shape[0]} rows and {X.shape[1]} features; "
            f"expected {entry.shape[0]} and {entry.shape[1]}."
        )
    y = y.to_numpy()
    if entry.n_positive:
        y = y.astype(int)
        if y.sum() not in entry.n_positive or not np.isin(y, [0, 1]).all():
            counts = zip(*np.unique(y, return_counts=True), strict=True)
            counts = ", ".join(f"{label}: {count}" for label, count in counts)
            expected = " or ".join(map(str, entry.n_positive))
            raise ValueError(
                f"{name} from {source} has rows by class {counts}; "
                f"expected {expected} of class 1, the rest of class 0."
            )
    if entry.sample:
        others = np.flatnonzero(y == 0) if entry.n_positive else np.arange(len(X))
        size = int(entry.sample * len(others))
        rows = np.random.default_rng(SEED).choice(others, size, replace=False)
        source += f", a random {entry.sample:.2g} of the rows"
        if entry.n_positive:
            rows = np.concatenate([np.flatnonzero(y == 1), rows])
            source += " of class 0"
        X, y = X.iloc[rows].reset_index(drop=True), y[rows]
        source += f" (seed {SEED})"
    task = "classification" if entry.n_positive else "regression"
    return Dataset(name, X, y, task, source)


def folder_of(file):
    """Return the folder that holds a file, or None."""
    folders = [SHARED_DATA]
    if named := os.environ.get("SKREBATCH_DATA"):
        folders.insert(0, Path(named))
        if not folders[0].is_dir():
            raise FileNotFoundError(f"SKREBATCH_DATA={named} is not a folder.")
    return next((folder for folder in folders if (folder / file.name).is_file()), None)


def read(entry):
    """Read features, target and source from the first place that has them."""
    if entry.file and (folder := folder_of(entry.file)):
        return entry.file.read(folder)
    if entry.other is None:
        raise FileNotFoundError(
            f"{entry.file.name} can't be downloaded by name: put it into a folder and "
            "set SKREBATCH_DATA to that folder."
        )
    return entry.other()
