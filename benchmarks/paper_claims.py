"""What the paper claims, each claim in a line, and what our runs say of it."""

from typing import NamedTuple

from evidence import corrected_interval
from paper_runs import (
    LESS_IS_BETTER,
    TEST_BY_TRAIN,
    TITLES,
    at,
    best_ratio,
    main_score,
    ratios_of,
)

HOLDS, FAILS, UNKNOWN = "holds", "fails", "can't be told"
CLASSIFICATION = "pid", "ccfd", "pdc"
REGRESSION = "diabetes", "chp", "insurance"


class Evidence(NamedTuple):
    """Intervals of differences, above 0 being what is claimed."""

    intervals: list
    everywhere: bool = True  # or somewhere

    def judge(self):
        """Return the verdict, and why."""
        right = sum(interval.low > 0 for interval in self.intervals)
        wrong = sum(interval.high < 0 for interval in self.intervals)
        means = sum(interval.mean > 0 for interval in self.intervals)
        n = len(self.intervals)
        why = f"of {n}: {means} point that way, {right} clearly; {wrong} clearly not"
        if self.everywhere:
            return (HOLDS if right == n else FAILS if wrong else UNKNOWN), why
        return (HOLDS if right else FAILS if wrong == n else UNKNOWN), why


def gain(frame, name, ratio, method, score, than="no re-Batch"):
    """Return the interval of how much better one method scores than another."""
    ours = at(frame, name, method, ratio)[score]
    difference = ours - at(frame, name, than, ratio)[score]
    if score in LESS_IS_BETTER:
        difference = -difference
    return corrected_interval(difference.dropna(), TEST_BY_TRAIN)


def gains(frame, names, method, scores=None, ratios=None, than="no re-Batch"):
    """Return the gains on data sets at ratios, of given scores or the main ones."""
    return [
        gain(frame, name, ratio, method, score, than)
        for name in names
        for ratio in ratios_of(frame)
        if ratios is None or ratio in ratios
        for score in scores or [main_score(frame, name)]
    ]


def losses(gains):
    """Turn gains into losses."""
    return [type(g)(-g.mean, -g.high, -g.low) for g in gains]


def areas(frame, names, method, than=None, parts=("train", "val"), sign=1):
    """Return the intervals of loss areas, or of how much they exceed another's."""
    intervals = []
    for name in names:
        for ratio in ratios_of(frame):
            for part in parts:
                own = at(frame, name, method, ratio)[f"{part}.area"]
                if than is not None:
                    own = own - at(frame, name, than, ratio)[f"{part}.area"]
                intervals.append(corrected_interval(sign * own.dropna(), TEST_BY_TRAIN))
    return intervals


def relative_areas(frame, name, method):
    """Return the mean of the training areas, in sums of the loss without re-Batch."""
    shares = []
    for ratio in ratios_of(frame):
        plain = at(frame, name, "no re-Batch", ratio)
        # A least-squares line has the mean of the curve in the middle.
        n_epochs = plain["max_epochs"]
        mean = plain["train.intercept"] + plain["train.slope"] * (n_epochs + 1) / 2
        own = at(frame, name, method, ratio)["train.area"] / (mean * n_epochs)
        shares.append(own.mean())
    return sum(shares) / len(shares)


def worse_in_regression(frame, names):
    """Compare what max-loss does to training losses in the two tasks."""
    rises = {name: -relative_areas(frame, name, "max-loss") for name in names}
    why = ", ".join(f"{TITLES[name]} {rise:+.0%}" for name, rise in rises.items())
    why = f"rise of the training loss: {why}"
    here, there = (
        [rises[name] for name in names if name in task]
        for task in (REGRESSION, CLASSIFICATION)
    )
    if not here or not there:
        return UNKNOWN, why
    return HOLDS if min(here) > max(there) else FAILS, why


def best_ratio_differs(frame, names):
    """Say whether the best ratio is another one from data set to data set."""
    found, plain = (
        [best_ratio(frame, name, method) for name in names]
        for method in ("min-loss", "no re-Batch")
    )
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
        lambda f, d: Evidence(gains(f, d, "min-loss", ("accuracy", "f1"))).judge(),
    ),
    (
        "min-loss improves classification (abstract)",
        CLASSIFICATION,
        lambda f, d: Evidence(gains(f, d, "min-loss", ("accuracy", "f1"))).judge(),
    ),
    (
        "max-loss lowers the scores on all classification data (5.1)",
        CLASSIFICATION,
        lambda f, d: Evidence(losses(gains(f, d, "max-loss"))).judge(),
    ),
    (
        "max-loss destabilises training on all classification data: loss areas below 0 "
        "(5.1)",
        CLASSIFICATION,
        lambda f, d: Evidence(areas(f, d, "max-loss", sign=-1)).judge(),
    ),
    (
        "TSW scores better than min-loss at some batch sizes on PID and CCFD (5.1)",
        ("pid", "ccfd"),
        lambda f, d: Evidence(gains(f, d, "TSW", than="min-loss"), False).judge(),
    ),
    (
        "TSW scores better than min-loss at every batch size on PDC (5.1)",
        ("pdc",),
        lambda f, d: Evidence(gains(f, d, "TSW", than="min-loss")).judge(),
    ),
    (
        "TSW's losses are larger than those of re-Batch (5.1)",
        CLASSIFICATION,
        lambda f, d: Evidence(areas(f, d, "TSW", "min-loss", sign=-1)).judge(),
    ),
    (
        "min-loss lowers RMSE and MAE on Insurance at ratios .15 and .3 (5.2)",
        ("insurance",),
        lambda f, d: Evidence(
            gains(f, d, "min-loss", ("rmse", "mae"), (0.15, 0.3))
        ).judge(),
    ),
    (
        "min-loss helps on Diabetes and CHP at some ratios (5.2)",
        ("diabetes", "chp"),
        lambda f, d: Evidence(gains(f, d, "min-loss"), False).judge(),
    ),
    (
        "min-loss harms on Diabetes and CHP at the others (5.2)",
        ("diabetes", "chp"),
        lambda f, d: Evidence(losses(gains(f, d, "min-loss")), False).judge(),
    ),
    (
        "max-loss harms on all regression data (5.2)",
        REGRESSION,
        lambda f, d: Evidence(losses(gains(f, d, "max-loss"))).judge(),
    ),
    (
        "max-loss raises RMSE and MAE on Insurance at every ratio (5.2)",
        ("insurance",),
        lambda f, d: Evidence(losses(gains(f, d, "max-loss", ("rmse", "mae")))).judge(),
    ),
    (
        "max-loss destabilises regression: loss areas below 0 (5.2)",
        REGRESSION,
        lambda f, d: Evidence(areas(f, d, "max-loss", sign=-1)).judge(),
    ),
    (
        "max-loss does more harm in regression than in classification (6)",
        ("pid", "pdc", *REGRESSION),
        worse_in_regression,
    ),
    (
        "min-loss is more stable than max-loss: larger loss areas (6)",
        (*CLASSIFICATION, *REGRESSION),
        lambda f, d: Evidence(areas(f, d, "min-loss", "max-loss")).judge(),
    ),
    (
        "The best ratio depends on the data (6)",
        (*CLASSIFICATION, *REGRESSION),
        best_ratio_differs,
    ),
]


def judge(frame, found):
    """Judge every claim by the data sets at hand.

    Returns
    -------
    list of (claim, verdict, why)
    """
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
