"""The page of wrong_targets.py, and its picture."""

from corruption import MOST_ROWS, SOUND
from corruption_report import (
    OURS,
    by_table,
    chosen_table,
    count_splits,
    describe,
    difference_table,
    differences,
    draw,
    found_table,
    interval_of,
    list_parameters,
    list_sentences,
    load,
    means_of,
    promise_table,
    score_table,
    scores_table,
)
from harness import DOCS
from pages import as_interval, fill_template, save_figure, where

MAIN = "20% swapped"
BOOSTING = "HistGradientBoosting"
ABSOLUTE = "HistGradientBoosting, absolute"
FINDER = "find_label_issues"
CANDIDATES = "plain", "welsch", "max-loss, left out"
SCORES = {"mae": "MAE", "rmse": "RMSE", "r2": "R²", "fit_cpu": "CPU s"}
STYLES = {
    OURS: ("tab:orange", "-"),
    "plain": ("tab:orange", "--"),
    "RandomForest": ("tab:green", "-"),
    "HistGradientBoosting": ("tab:gray", "-"),
    ABSOLUTE: ("tab:gray", "--"),
    "Huber": ("tab:blue", "-"),
}


def promises(frame):
    """Compare what was to hold with what was measured."""
    errors, sound = (means_of(frame, "mae").loc[c] for c in (MAIN, SOUND))
    gain = interval_of(differences(frame, "mae", MAIN, OURS, "plain"))
    base = errors["plain"].mean()
    relative = type(gain)(*(100 * value / base for value in gain))
    n_wins = (errors[OURS] <= errors[ABSOLUTE]).sum()
    excess = 100 * (sound[OURS] / sound["plain"] - 1)
    return [
        (
            f"mean absolute error at {MAIN}, CV form − plain training, %",
            "−15 or less",
            as_interval(relative, "+.1f"),
            relative.mean <= -15,
        ),
        (
            f"tables at {MAIN} on which the error of the CV form is at most that of "
            f"{ABSOLUTE}",
            f"{-(-len(errors) // 2)} of {len(errors)}",
            str(n_wins),
            n_wins >= len(errors) / 2,
        ),
        (
            "mean absolute error without wrong targets, CV form − plain training, "
            f"%, on the worst table ({excess.idxmax()})",
            "2 or less",
            f"{excess.max():+.1f}",
            excess.max() <= 2,
        ),
    ]


def summary(frame):
    """Say in sentences what the tables show."""
    errors, sound = (means_of(frame, "mae").loc[c].mean() for c in (MAIN, SOUND))
    heavy = means_of(frame, "mae").loc["20% heavy tails"].mean()
    found = means_of(frame, "average_precision").loc[MAIN].mean()
    residuals = found[found.index.str.startswith("residuals")].idxmax()

    def compare(means):
        return (
            f"the mean absolute error of the CV form is {means[OURS]:.3f}, of plain "
            f"training {means['plain']:.3f}, of {BOOSTING} {means[BOOSTING]:.3f}, "
            f"and with absolute error {means[ABSOLUTE]:.3f}."
        )

    return list_sentences(
        [
            f"At {MAIN} targets {compare(errors)}",
            f"With 20% heavy tails {compare(heavy)}",
            f"On targets as they are, {compare(sound)}",
            f"`{FINDER}` ranks swapped targets with an average precision of "
            f"{found[FINDER]:.3f}; the {residuals} with {found[residuals]:.3f}.",
        ]
    )


def write_page(compared, chosen, docs=DOCS):
    """Write docs/wrong_targets.md and its picture from the results."""
    frame, choice = load(compared), load(chosen)
    models = [*STYLES]
    own = frame[frame["mae"].notna()]
    others = [
        m for m in own.loc[own["condition"] == MAIN, "model"].unique() if m != OURS
    ]
    figure = draw(frame, "mae", "swapped", STYLES, "targets", "mean absolute error")
    save_figure(figure, docs / "images/wrong_targets/error.png", dpi=100)
    finders = frame.loc[frame["average_precision"].notna(), "model"].unique()
    page = fill_template(
        "wrong_targets",
        summary=summary(frame),
        promises=promise_table(promises(frame)),
        errors=score_table(frame, "mae", MAIN),
        scores=scores_table(frame, MAIN, SCORES),
        differences=difference_table(frame, "mae", MAIN, others),
        sound=by_table(frame, "mae", SOUND, models),
        by_table=by_table(frame, "mae", MAIN, models),
        chosen=chosen_table(frame, CANDIDATES),
        found=found_table(frame, MAIN),
        found_differences=difference_table(
            frame,
            "average_precision",
            MAIN,
            [m for m in finders if m != FINDER],
            ours=FINDER,
        ),
        choice=score_table(choice, "mae", MAIN),
        tables=describe(compared["tables"]),
        development=describe(chosen["tables"]),
        splits=count_splits(frame, MAIN),
        most_rows=MOST_ROWS,
        n_networks=compared["n_networks"],
        left_out=list_parameters(compared["left_out"]),
        n_tables=len(compared["tables"]),
        where=where(compared["environment"]),
    )
    (docs / "wrong_targets.md").write_text(page, encoding="utf-8")
