"""The runs of paper.py as a table, and the ways to choose from it."""

import pandas as pd
from harness import load_frame

TITLES = {
    "pid": "PID",
    "ccfd": "CCFD",
    "pdc": "PDC",
    "diabetes": "Diabetes",
    "chp": "CHP",
    "insurance": "Insurance",
}
CLASSIFICATION = "pid", "ccfd", "pdc"
CHOICES = "min-loss", "max-loss"
LESS_IS_BETTER = "rmse", "mae"
# Test rows by training rows of a split.
TEST_BY_TRAIN = 0.2 / 0.6
CASE = ["data", "method", "ratio", "repeats", "shuffle", "fixed_batch", "scaled"]


def load_runs(results):
    """Tabulate the runs of the paper's tables, indexed by case and repeat."""
    frame = load_frame(results["runs"])
    if "rmse" in frame:
        is_scaled_by_std = frame.data == "diabetes"
        frame["nrmse"] = frame.nrmse_std.where(is_scaled_by_std, frame.nrmse_mean)
    # Without a choice of samples there is one reading.
    is_one = frame.method.isin(["no re-Batch", "fixed order", "TSW"])
    frame.loc[is_one, ["repeats", "shuffle"]] = 2, True
    # A fixed batch size without re-Batch is the same at every ratio.
    is_any = frame.fixed_batch & (frame.method == "no re-Batch")
    ratios = frame.ratio.drop_duplicates()
    anywhere = frame[is_any].drop(columns="ratio").merge(ratios, how="cross")
    frame = pd.concat([frame[~is_any], anywhere])
    return frame.set_index([*CASE, "repeat"]).sort_index()


def names_of(frame):
    """Return the data sets at hand, in the paper's order."""
    return [name for name in TITLES if name in frame.index.levels[0]]


def ratios_of(frame):
    """Return the ratios run."""
    return list(frame.index.unique("ratio").sort_values())


def scores_of(name):
    """Return a data set's scores in the paper's tables, the main one first."""
    if name in CLASSIFICATION:
        return "accuracy", "precision", "recall", "f1"
    return "rmse", "mae", "r2", "nrmse"


def at(frame, name, method, ratio, repeats=2, shuffle=True, fixed=False, scaled=True):
    """Return the runs of a case, by repeat."""
    return frame.loc[name, method, ratio, repeats, shuffle, fixed, scaled]


def best_ratio(frame, name, method, fixed=False):
    """Return the ratio with the best mean of the main score."""
    score = scores_of(name)[0]
    ratios = ratios_of(frame)
    means = [at(frame, name, method, r, fixed=fixed)[score].mean() for r in ratios]
    best = min if score in LESS_IS_BETTER else max
    return ratios[means.index(best(means))]
