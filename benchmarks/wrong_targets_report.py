"""The page of wrong_targets.py, and its picture."""

from corruption import SOUND
from corruption_report import (
    FINDER,
    OURS,
    by_table,
    difference_table,
    differences,
    draw,
    interval_of,
    list_sentences,
    load,
    means_of,
    promise_table,
    rivals_of,
    score_table,
    scores_table,
    shared_parts,
)
from harness import DOCS
from pages import as_interval, fill_template, save_figure

MAIN = "20% swapped"
BOOSTING = "HistGradientBoosting"
ABSOLUTE = "HistGradientBoosting, absolute"
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
    others = rivals_of(frame, "mae", MAIN)
    figure = draw(frame, "mae", "swapped", STYLES, "targets", "mean absolute error")
    save_figure(figure, docs / "images/wrong_targets/error.png", dpi=100)
    page = fill_template(
        "wrong_targets",
        summary=summary(frame),
        promises=promise_table(promises(frame)),
        errors=score_table(frame, "mae", MAIN),
        scores=scores_table(frame, MAIN, SCORES),
        differences=difference_table(frame, "mae", MAIN, others),
        sound=by_table(frame, "mae", SOUND, models),
        by_table=by_table(frame, "mae", MAIN, models),
        choice=score_table(choice, "mae", MAIN),
        **shared_parts(frame, compared, chosen, MAIN, CANDIDATES),
    )
    (docs / "wrong_targets.md").write_text(page, encoding="utf-8")
