"""The runs of paper.py as a table, and the ways to choose from it."""

TITLES = {
    "pid": "PID",
    "ccfd": "CCFD",
    "pdc": "PDC",
    "diabetes": "Diabetes",
    "chp": "CHP",
    "insurance": "Insurance",
}
LESS_IS_BETTER = "rmse", "mae"
# Test rows by training rows of a split.
TEST_BY_TRAIN = 0.2 / 0.6


def ratios_of(frame):
    """Return the ratios run."""
    return sorted(frame.ratio.unique())


def scores_of(frame, name):
    """Return the columns of a data set's scores, by the names of the paper's tables."""
    if not frame[frame.data == name]["rmse"].notna().any():
        return {score: score for score in ("accuracy", "precision", "recall", "f1")}
    nrmse = "nrmse_std" if name == "diabetes" else "nrmse_mean"
    return {"rmse": "rmse", "mae": "mae", "r2": "r2", "nrmse": nrmse}


def main_score(frame, name):
    """Return the column of a data set's main score."""
    return next(iter(scores_of(frame, name)))


def at(frame, name, method, ratio, repeats=2, shuffle=True, fixed_batch=False):
    """Return the runs of a case, by repeat."""
    plain = method in ("no re-Batch", "fixed order", "TSW")
    repeats = 1 if plain else repeats
    shuffle = method != "fixed order" if plain else shuffle
    own = frame[
        (frame.data == name)
        & (frame.method == method)
        & (frame.repeats == repeats)
        & (frame["shuffle"] == shuffle)
        & (frame.fixed_batch == fixed_batch)
        & frame.scaled
    ]
    # A fixed batch size without re-Batch is the same at every ratio.
    if not (fixed_batch and method == "no re-Batch"):
        own = own[own.ratio == ratio]
    return own.set_index("repeat").sort_index()


def names_of(frame):
    """Return the data sets at hand, in the paper's order."""
    return [name for name in TITLES if name in set(frame.data)]


def best_ratio(frame, name, method, fixed_batch=False):
    """Return the ratio with the best mean of the main score."""
    score = main_score(frame, name)
    sign = -1 if score in LESS_IS_BETTER else 1
    means = {
        ratio: at(frame, name, method, ratio, fixed_batch=fixed_batch)[score].mean()
        for ratio in ratios_of(frame)
    }
    return max(means, key=lambda ratio: sign * means[ratio])
