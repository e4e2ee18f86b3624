"""The page of label_noise.py, and its picture."""

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

MAIN = "20% symmetric"
SINGLE, CLEANED = "one network", "cleanlab, ten networks"
FOREST = "cleanlab, RandomForest"
RECORDED = "recording, ten networks"
CANDIDATES = "plain", "generalized-cross-entropy", "max-loss, left out"
OTHERS = (
    "LogisticRegression",
    "SVC",
    "RandomForest",
    "ExtraTrees",
    "HistGradientBoosting",
)
SCORES = {
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "brier": "Brier",
    "auc": "AUC",
    "ece": "calibration error",
    "fit_cpu": "CPU s",
}
STYLES = {
    OURS: ("tab:orange", "-"),
    "plain": ("tab:orange", "--"),
    "RandomForest": ("tab:green", "-"),
    "LogisticRegression": ("tab:blue", "-"),
    "HistGradientBoosting": ("tab:gray", "-"),
}


def promises(frame):
    """Compare what was to hold with what was measured."""

    def gain(score, model, baseline, condition=MAIN):
        unit = 100 if score == "accuracy" else 1
        return interval_of(unit * differences(frame, score, condition, model, baseline))

    rivals = [CLEANED, *OTHERS]
    accuracy, loss = (
        means_of(frame, score).loc[MAIN, rivals].mean()
        for score in ("accuracy", "log_loss")
    )
    found = means_of(frame, "average_precision").loc[MAIN].mean()
    partners = found[found.index.str.startswith("cleanlab")]
    stopping = gain("accuracy", OURS, SINGLE)
    rival = gain("accuracy", OURS, accuracy.idxmax())
    rival_loss = gain("log_loss", OURS, loss.idxmin())
    sound = gain("accuracy", OURS, "plain", SOUND)
    precision = gain("average_precision", FINDER, partners.idxmax())
    cost = means_of(frame, "find_cpu").loc[MAIN].mean()
    cost = cost[FINDER] / cost[FOREST]
    return [
        (
            f"accuracy at {MAIN}, CV form − one network with early stopping, points",
            "2.5 or more",
            as_interval(stopping, "+.1f"),
            stopping.mean >= 2.5,
        ),
        (
            f"accuracy at {MAIN}, CV form − the best of the others "
            f"({accuracy.idxmax()}), points",
            "0 or more",
            as_interval(rival, "+.1f"),
            rival.mean >= 0,
        ),
        (
            f"log loss at {MAIN}, CV form − the lowest of the others ({loss.idxmin()})",
            "below 0",
            as_interval(rival_loss, "+.3f"),
            rival_loss.mean < 0,
        ),
        (
            "accuracy without wrong labels, CV form − plain training, points",
            "−0.3 or more",
            as_interval(sound, "+.1f"),
            sound.mean >= -0.3,
        ),
        (
            f"average precision at {MAIN}, find_label_issues − {partners.idxmax()}",
            "0.03 or more",
            as_interval(precision, "+.3f"),
            precision.mean >= 0.03,
        ),
        (
            f"CPU time at {MAIN}, find_label_issues by {FOREST}",
            "1 or less",
            f"{cost:.1f}",
            cost <= 1,
        ),
    ]


def summary(frame):
    """Say in sentences what the tables show."""
    accuracy, loss, sound, found = (
        means_of(frame, score).loc[condition].mean()
        for score, condition in [
            ("accuracy", MAIN),
            ("log_loss", MAIN),
            ("accuracy", SOUND),
            ("average_precision", MAIN),
        ]
    )
    other = accuracy[[*OTHERS]].idxmax()
    partner = found[found.index.str.startswith("cleanlab")].idxmax()
    return list_sentences(
        [
            f"At {MAIN} errors, the accuracy of ten networks with early stopping "
            f"is {accuracy['plain']:.3f}, of one network {accuracy[SINGLE]:.3f}, "
            f"and of the CV form {accuracy[OURS]:.3f}. cleanlab around ten networks "
            f"has {accuracy[CLEANED]:.3f}, and {other}, the best of scikit-learn's "
            f"models, {accuracy[other]:.3f}.",
            f"The log loss of the CV form is {loss[OURS]:.3f}, of plain training "
            f"{loss['plain']:.3f}, and of {other} {loss[other]:.3f}.",
            f"Without wrong labels the CV form has {sound[OURS]:.3f}, plain training "
            f"{sound['plain']:.3f} and {other} {sound[other]:.3f}.",
            f"`{FINDER}` ranks wrong labels with an average precision of "
            f"{found[FINDER]:.3f}. The best of cleanlab ({partner}) has "
            f"{found[partner]:.3f}, and losses recorded in plain training "
            f"{found[RECORDED]:.3f}.",
        ]
    )


def write_page(compared, chosen, docs=DOCS):
    """Write docs/label_noise.md and its picture from the results."""
    frame, choice = load(compared), load(chosen)
    models = [*STYLES, SINGLE, CLEANED]
    trained = choice[choice["accuracy"].notna()]
    sought = choice[choice["average_precision"].notna()]
    others = rivals_of(frame, "accuracy", MAIN)
    figure = draw(frame, "accuracy", "symmetric", STYLES, "labels", "accuracy, %", 100)
    save_figure(figure, docs / "images/label_noise/accuracy.png", dpi=100)
    page = fill_template(
        "label_noise",
        summary=summary(frame),
        promises=promise_table(promises(frame)),
        accuracy=score_table(frame, "accuracy", MAIN),
        scores=scores_table(frame, MAIN, SCORES),
        accuracies=difference_table(frame, "accuracy", MAIN, others, 100, "+.1f"),
        losses=difference_table(frame, "log_loss", MAIN, others),
        by_table=by_table(frame, "accuracy", MAIN, models),
        choice=score_table(trained, "accuracy", MAIN),
        choice_loss=score_table(trained, "log_loss", MAIN),
        choice_found=score_table(sought, "average_precision", MAIN),
        **shared_parts(frame, compared, chosen, MAIN, CANDIDATES),
    )
    (docs / "label_noise.md").write_text(page, encoding="utf-8")
