"""What the paper claims, each claim in a line, and what our runs say of it."""

from functools import partial

from evidence import corrected_interval
from paper_runs import (
    CLASSIFICATION,
    LESS_IS_BETTER,
    TEST_BY_TRAIN,
    TITLES,
    at,
    best_ratio,
    ratios_of,
    scores_of,
)

HOLDS, FAILS, UNKNOWN = "holds", "fails", "can't be told"
REGRESSION = "diabetes", "chp", "insurance"
AREAS = "train.area", "val.area"


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
    why = f"of {n}: {means} point that way, {right} clearly; {wrong} clearly not"
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


worse = partial(better, sign=-1)


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
    here = [rises[name] for name in names if name in REGRESSION]
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
        f"best at {', '.join(map(str, found))}; in {same} of {len(names)} no re-Batch "
        "is best at the same batch size"
    )
    return HOLDS if len(set(found)) > 1 else FAILS, why


# The claim, where it stands, the data sets it speaks of, and what tells.
CLAIMS = [
    (
        "min-loss improves accuracy and F1 on CCFD at every ratio (5.1)",
        ("ccfd",),
        partial(better, method="min-loss", scores=("accuracy", "f1")),
    ),
    (
        "min-loss improves classification (abstract)",
        CLASSIFICATION,
        partial(better, method="min-loss", scores=("accuracy", "f1")),
    ),
    (
        "max-loss lowers the scores on all classification data (5.1)",
        CLASSIFICATION,
        partial(worse, method="max-loss"),
    ),
    (
        "max-loss destabilises training on all classification data: loss areas below 0 "
        "(5.1)",
        CLASSIFICATION,
        partial(worse, method="max-loss", scores=AREAS),
    ),
    (
        "TSW scores better than min-loss at some batch sizes on PID and CCFD (5.1)",
        ("pid", "ccfd"),
        partial(better, method="TSW", than="min-loss", everywhere=False),
    ),
    (
        "TSW scores better than min-loss at every batch size on PDC (5.1)",
        ("pdc",),
        partial(better, method="TSW", than="min-loss"),
    ),
    (
        "TSW's losses are larger than those of re-Batch (5.1)",
        CLASSIFICATION,
        partial(worse, method="TSW", than="min-loss", scores=AREAS),
    ),
    (
        "min-loss lowers RMSE and MAE on Insurance at ratios .15 and .3 (5.2)",
        ("insurance",),
        partial(better, method="min-loss", scores=("rmse", "mae"), ratios=(0.15, 0.3)),
    ),
    (
        "min-loss helps on Diabetes and CHP at some ratios (5.2)",
        ("diabetes", "chp"),
        partial(better, method="min-loss", everywhere=False),
    ),
    (
        "min-loss harms on Diabetes and CHP at the others (5.2)",
        ("diabetes", "chp"),
        partial(worse, method="min-loss", everywhere=False),
    ),
    (
        "max-loss harms on all regression data (5.2)",
        REGRESSION,
        partial(worse, method="max-loss"),
    ),
    (
        "max-loss raises RMSE and MAE on Insurance at every ratio (5.2)",
        ("insurance",),
        partial(worse, method="max-loss", scores=("rmse", "mae")),
    ),
    (
        "max-loss destabilises regression: loss areas below 0 (5.2)",
        REGRESSION,
        partial(worse, method="max-loss", scores=AREAS),
    ),
    (
        "max-loss does more harm in regression than in classification (6)",
        ("pid", "pdc", *REGRESSION),
        worse_in_regression,
    ),
    (
        "min-loss is more stable than max-loss: larger loss areas (6)",
        (*CLASSIFICATION, *REGRESSION),
        partial(better, method="min-loss", than="max-loss", scores=AREAS),
    ),
    (
        "The best ratio depends on the data (6)",
        (*CLASSIFICATION, *REGRESSION),
        best_ratio_differs,
    ),
]


def judge(frame, found):
    """Judge every claim by the data sets at hand: (claim, verdict, why) of each."""
    verdicts = []
    for claim, names, tell in CLAIMS:
        there = [name for name in names if name in found]
        if not there:
            verdicts.append((claim, UNKNOWN, "the data were not to be had"))
            continue
        verdict, why = tell(frame, there)
        if len(there) < len(names):
            without = ", ".join(TITLES[name] for name in names if name not in found)
            why += f"; without {without}"
        verdicts.append((claim, verdict, why))
    return verdicts
