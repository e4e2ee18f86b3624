"""The data sets of the benchmarks, by name: those of datasets.toml.

Two come with scikit-learn. The others are read from the folder that the environment
variable SKREBATCH_DATA names, else from ../shared/data beside the repository, else
they are downloaded (OpenML, scikit-learn's California housing, a file on the web).
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn.datasets
from harness import read_setting
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import fetch_openml
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

    @staticmethod
    def preprocessor():
        """Make the unfitted transformer from X to the input of a network."""
        scale = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
        encode = make_pipeline(
            SimpleImputer(strategy="most_frequent"),
            OneHotEncoder(sparse_output=False, handle_unknown="ignore"),
        )
        return make_column_transformer(
            (scale, make_column_selector(dtype_include="number")),
            (encode, make_column_selector(dtype_exclude="number")),
        )

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


ENTRIES = read_setting(__file__)


def load(name):
    """Load a data set of `ENTRIES`, and check that it is the expected one."""
    if name not in ENTRIES:
        raise ValueError(f"No data set {name!r}; there are {', '.join(ENTRIES)}.")
    entry = ENTRIES[name]
    X, y, source = read(entry)
    if list(X.shape) != entry["shape"]:
        raise ValueError(
            f"{name} from {source} has {X.shape[0]} rows and {X.shape[1]} features; "
            f"expected {entry['shape'][0]} and {entry['shape'][1]}."
        )
    y = y.to_numpy()
    n_positive = entry.get("n_positive")
    if n_positive:
        y = y.astype(int)
        if y.sum() not in n_positive or not np.isin(y, [0, 1]).all():
            counts = zip(*np.unique(y, return_counts=True), strict=True)
            counts = ", ".join(f"{label}: {count}" for label, count in counts)
            expected = " or ".join(map(str, n_positive))
            raise ValueError(
                f"{name} from {source} has rows by class {counts}; "
                f"expected {expected} of class 1, the rest of class 0."
            )
    if share := entry.get("sample"):
        others = np.flatnonzero(y == 0) if n_positive else np.arange(len(X))
        size = int(share * len(others))
        rows = np.random.default_rng(SEED).choice(others, size, replace=False)
        source += f", a random {share:.2g} of the rows"
        if n_positive:
            rows = np.concatenate([np.flatnonzero(y == 1), rows])
            source += " of class 0"
        X, y = X.iloc[rows].reset_index(drop=True), y[rows]
        source += f" (seed {SEED})"
    task = "classification" if n_positive else "regression"
    return Dataset(name, X, y, task, source)


def folder_of(file):
    """Return the folder that holds a file, or None."""
    folders = [SHARED_DATA]
    if named := os.environ.get("SKREBATCH_DATA"):
        folders.insert(0, Path(named))
        if not folders[0].is_dir():
            raise FileNotFoundError(f"SKREBATCH_DATA={named} is not a folder.")
    return next((folder for folder in folders if (folder / file).is_file()), None)


def read(entry):
    """Read features, target and source from the first place that has them."""
    if "file" in entry and (folder := folder_of(entry["file"])):
        return read_file(folder, **entry)
    if "url" in entry:
        return read_file(entry["url"], **entry)
    if "openml" in entry:
        bunch = fetch_openml(data_id=entry["openml"], as_frame=True, parser="auto")
        y = bunch.target.astype(str) != entry["negative"]
        return bunch.data, y, f"OpenML {entry['openml']}"
    if "sklearn" in entry:
        return bundled(entry["sklearn"])
    raise FileNotFoundError(
        f"{entry['file']} can't be downloaded by name: put it into a folder and set "
        "SKREBATCH_DATA to that folder."
    )


def read_file(folder, file, target, drop=(), header=0, above=None, **_):
    """Read a file in a folder, which may be an address on the web."""
    path = f"{folder}/{file}"
    table = pd.read_csv(path, header=header).drop(columns=list(drop))
    if target not in table:
        raise ValueError(f"{path} has no column {target!r}.")
    y = table.pop(target)
    y = y if above is None else y > above
    return table, y, file if isinstance(folder, Path) else path


def bundled(function):
    """Load a data set by a function of scikit-learn."""
    bunch = getattr(sklearn.datasets, function)(as_frame=True)
    return bunch.data, bunch.target, f"scikit-learn's {function}"
