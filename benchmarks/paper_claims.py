"""The paper's runs as a table, and what they say of each of its claims."""

from pathlib import Path

import pandas as pd
from evidence import corrected_interval
from harness import load_frame, read_json

TABLES = read_json(Path(__file__).parent / "paper_tables.json")
# Of the data sets, in the paper's order.
TITLES = {title.lower(): title for title in TABLES if title != "_note"}
CLASSIFICATION = "pid", "ccfd", "pdc"
CHOICES = "min-loss", "max-loss"
LESS_IS_BETTER = "rmse", "mae"
# Test rows by training rows of a split.
TEST_BY_TRAIN = 0.2 / 0.6
CASE = ["data", "method", "ratio", "repeats", "shuffle", "fixed_batch", "scaled"]
HOLDS, FAILS, UNKNOWN = "holds", "fails", "undecided"
# The claim and where it stands, the data sets it speaks of, and how it is judged.
CLAIMS = read_json(Path(__file__).parent / "paper_claims.json")


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


def gain(frame, name, ratio, method, score, than="no re-Batch", sign=1):
    """Return the interval of how much better, or worse, a method is than another."""
    gains = at(frame, name, method, ratio)[score] - at(frame, name, than, ratio)[score]
    sign *= -1 if score in LESS_IS_BETTER else 1
    return corrected_interval(sign * gains.dropna(), TEST_BY_TRAIN)


def judge_intervals(intervals, everywhere=True):
    """Say whether intervals lie above 0, all of them or some, and why."""
    right = sum(interval.low > 0 for interval in intervals)
    wrong = sum(interval.high < 0 for interval in intervals)
    means = sum(interval.mean > 0 for interval in intervals)
    n = len(intervals)
    why = f"{means} of {n} means agree; {right} intervals agree, {wrong} contradict"
    if everywhere:
        return (HOLDS if right == n else FAILS if wrong else UNKNOWN), why
    return (HOLDS if right else FAILS if wrong == n else UNKNOWN), why


def better(
    frame, names, method, scores=None, ratios=None, everywhere=True, **comparison
):
    """Judge whether a method is better, by given scores or the main ones."""
    intervals = [
        gain(frame, name, ratio, method, score, **comparison)
        for name in names
        for ratio in ratios_of(frame)
        if ratios is None or ratio in ratios
        for score in scores or scores_of(name)[:1]
    ]
    return judge_intervals(intervals, everywhere)


def worse(frame, names, method, **comparison):
    """Judge whether a method is worse."""
    return better(frame, names, method, sign=-1, **comparison)


def rise(frame, name):
    """Return by which share max-loss raises the training loss, on the mean."""
    shares = []
    for ratio in ratios_of(frame):
        plain = at(frame, name, "no re-Batch", ratio)
        # A least-squares line has the mean of the curve in the middle.
        n_epochs = plain["max_epochs"]
        mean = plain["train.intercept"] + plain["train.slope"] * (n_epochs + 1) / 2
        own = at(frame, name, "max-loss", ratio)["train.area"] / (mean * n_epochs)
        shares.append(-own.mean())
    return sum(shares) / len(shares)


def worse_in_regression(frame, names):
    """Compare what max-loss does to training losses in the two tasks."""
    rises = {name: rise(frame, name) for name in names}
    why = ", ".join(f"{TITLES[name]} {share:+.0%}" for name, share in rises.items())
    why = f"rise of the training loss: {why}"
    here = [rises[name] for name in names if name not in CLASSIFICATION]
    there = [rises[name] for name in names if name in CLASSIFICATION]
    if not here or not there:
        return UNKNOWN, why
    return HOLDS if min(here) > max(there) else FAILS, why


def best_ratio_differs(frame, names):
    """Say whether the best ratio is another one from data set to data set."""
    found = [best_ratio(frame, name, "min-loss") for name in names]
    plain = [best_ratio(frame, name, "no re-Batch") for name in names]
    same = sum(one == other for one, other in zip(found, plain, strict=True))
    why = (
        f"best at {', '.join(map(str, found))}; in {same} of {len(names)}, training "
        "without re-Batch is best at the same batch size"
    )
    return HOLDS if len(set(found)) > 1 else FAILS, why


# By their names in the file of claims.
JUDGES = {
    judging.__name__: judging
    for judging in (better, worse, worse_in_regression, best_ratio_differs)
}


def judge(frame, found):
    """Judge every claim by the data sets at hand: (claim, verdict, why) of each."""
    verdicts = []
    for entry in CLAIMS:
        claim, names, name = (entry[key] for key in ("claim", "data", "judge"))
        there = [name for name in names if name in found]
        if not there:
            verdicts.append((claim, UNKNOWN, "the data are not available"))
            continue
        verdict, why = JUDGES[name](frame, there, **entry.get("of", {}))
        if len(there) < len(names):
            without = ", ".join(TITLES[n] for n in names if n not in found)
            why += f"; without {without}"
        verdicts.append((claim, verdict, why))
    return verdicts
