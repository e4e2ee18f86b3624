"""The page of defaults.py: mean ranks, scores by table and the cost."""

from evidence import corrected_interval
from harness import load_frame
from matplotlib.figure import Figure
from pages import (
    as_interval,
    as_quartiles,
    as_table,
    fill_template,
    save_figure,
    where,
    write_blocks,
)

OURS = "skrebatch"
RANKS = "ranks: written by benchmarks/defaults.py"  # in the README
EFFECTS = "effects: written by benchmarks/defaults.py"  # in docs/parameters.md
SLOW = "RealMLP", "RealMLP, bagged", "TabM"  # those of pytabkit
SCORES = {  # whether less is better
    "log_loss": ("log loss", True),
    "brier": ("Brier", True),
    "accuracy": ("accuracy", False),
    "auc": ("AUC", False),
    "mae": ("MAE", True),
    "rmse": ("RMSE", True),
    "r2": ("R²", False),
}
# Of the page: the scores that each task is judged by, the first above all.
JUDGED_BY = {
    "classification": ["log_loss", "brier", "accuracy", "auc"],
    "regression": ["mae", "rmse", "r2"],
}


def of_task(frame, task):
    """Return the runs of a task: those with its scores."""
    return frame[frame[JUDGED_BY[task][0]].notna()]


def where_all(frame, models):
    """Return the runs on the splits on which all the models were run."""
    own = frame[frame.model.isin(models)]
    n_models = own.groupby(["table", "split"]).model.transform("nunique")
    return own[n_models == len(models)]


def rank_table(frame, task, n_scores=None):
    """Tabulate the mean ranks over tables, the best model first, and the cost.

    `n_scores` is how many of the scores are shown.
    """
    scores = JUDGED_BY[task][:n_scores]
    own = of_task(frame, task)
    rows = []
    for score in scores:
        means = own.groupby(["table", "model"])[score].mean().unstack()
        rows.append(means.rank(axis=1, ascending=SCORES[score][1]).mean())
    order = rows[0].sort_values(kind="stable").index
    cost = own.groupby(["table", "model"])[["fit_cpu", "predict_cpu"]].mean()
    cost = cost.groupby("model").median()
    header = [f"rank by {SCORES[s][0]}" for s in scores]
    cells = [
        [
            model,
            *(f"{ranks[model]:.2f}" for ranks in rows),
            f"{cost.fit_cpu[model]:.2g}",
            f"{cost.predict_cpu[model]:.2g}",
        ]
        for model in order
    ]
    return as_table([["", *header, "CPU s, fit", "CPU s, predict"], *cells])


def draw_cost(frame, beside, task):
    """Draw the mean rank against the CPU time of a fit.

    On the left all tables, on the right those on which the slow models were run.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    score = JUDGED_BY[task][0]
    for ax, runs in zip(axes, (frame, beside), strict=True):
        own = of_task(runs, task)
        means = own.groupby(["table", "model"])[[score, "fit_cpu"]].mean()
        ranks = means[score].unstack().rank(axis=1).mean()
        seconds = means.fit_cpu.unstack().median()
        colours = ["tab:blue" if model == OURS else "tab:grey" for model in ranks.index]
        ax.scatter(seconds[ranks.index], ranks, color=colours)
        # Above and below in turns, so that fewer names overlap.
        for i, (model, rank) in enumerate(ranks.sort_values().items()):
            place, offset = (seconds[model], rank), (0, 8 if i % 2 else -8)
            ax.annotate(
                model,
                place,
                offset,
                textcoords="offset points",
                fontsize=8,
                ha="center",
                va="bottom" if i % 2 else "top",
            )
        ax.set(xscale="log", xlabel="CPU time of a fit, s (median over the tables)")
        ax.set_title(f"{own.table.nunique()} tables")
        ax.margins(0.3)
    axes[0].set_ylabel(f"mean rank by {SCORES[score][0]}, 1 is best")
    return figure


def score_table(frame, task, score):
    """Tabulate the mean score of each model on each table; the best is bold."""
    means = of_task(frame, task).groupby(["table", "model"], sort=False)[score].mean()
    means = means.unstack()
    is_less = SCORES[score][1]
    rows = [[f"{SCORES[score][0]}", *means.columns]]
    for table, values in means.iterrows():
        best = values.min() if is_less else values.max()
        cells = [f"**{v:.3f}**" if v == best else f"{v:.3f}" for v in values]
        rows.append([table, *cells])
    return as_table(rows)


def difference_table(frame, task, n_splits):
    """Tabulate the mean relative difference of other models' loss from ours."""
    score = JUDGED_BY[task][0]
    pivot = of_task(frame, task).pivot_table(
        index=["table", "split"], columns="model", values=score
    )
    ratio = 1 / (n_splits - 1)
    rows = [["", f"{SCORES[score][0]}, theirs − ours", "data sets with ours lower"]]
    for model in pivot.columns.drop(OURS):
        gains = pivot[model] - pivot[OURS]
        intervals = [
            corrected_interval(own.to_numpy(), ratio)
            for _, own in gains.groupby(level="table")
        ]
        mean = corrected_interval(gains.groupby(level="split").mean(), ratio)
        n_better = sum(interval.low > 0 for interval in intervals)
        n_worse = sum(interval.high < 0 for interval in intervals)
        counts = f"{n_better} (higher: {n_worse}) of {len(intervals)}"
        rows.append([model, as_interval(mean, "+.3f"), counts])
    return as_table(rows)


def far_from_best(frame, task):
    """Name the tables where our loss is more than a tenth above the best model's."""
    score = JUDGED_BY[task][0]
    means = of_task(frame, task).groupby(["table", "model"])[score].mean().unstack()
    excess = means[OURS] / means.min(axis=1) - 1
    found = [
        f"{table} ({share:.0%} above {means.loc[table].idxmin()})"
        for table, share in excess[excess > 0.1].items()
    ]
    return ", ".join(found) if found else "none"


def effect_table(frame):
    """Tabulate what each candidate changes: losses and CPU time by table."""
    scores = [JUDGED_BY[task][0] for task in JUDGED_BY]
    means = frame.groupby(["table", "model"], sort=False)[[*scores, "fit_cpu"]].mean()
    header = [*(SCORES[score][0] for score in scores), "CPU time of a fit"]
    rows = [["", *header]]
    for candidate in frame.model.unique():
        if candidate == "defaults":
            continue
        ratios = means.xs(candidate, level=1) / means.xs("defaults", level=1)
        cells = [as_quartiles(values.dropna()) for _, values in ratios.items()]
        rows.append([f"`{candidate}`", *cells])
    return as_table(rows)


def describe_tables(tables):
    """Tabulate the tables: where they are from, and their size."""
    rows = [["table", "from", "rows", "columns", "task"]]
    for table in tables:
        task = table["task"]
        if task == "classification":
            task = f"{table['classes']} classes"
        cells = [table[name] for name in ("name", "source", "rows", "columns")]
        rows.append([*cells, task])
    return as_table(rows)


def write_page(compared, chosen, docs):
    """Write docs/defaults.md, and the tables of two other pages, from the results."""
    everything, candidates = load_frame(compared["runs"]), load_frame(chosen["runs"])
    classes, numbers = "classification", "regression"
    frame = everything[~everything.model.isin(SLOW)]
    beside = {
        task: where_all(own, [*own.model.unique()])
        for task, own in ((t, of_task(everything, t)) for t in JUDGED_BY)
    }
    for task, name in ((classes, "classes"), (numbers, "numbers")):
        figure = draw_cost(frame, beside[task], task)
        save_figure(figure, docs / "images" / "defaults" / f"{name}.png")
    page = fill_template(
        "defaults",
        class_ranks=rank_table(frame, classes),
        number_ranks=rank_table(frame, numbers),
        class_differences=difference_table(frame, classes, compared["splits"]),
        number_differences=difference_table(frame, numbers, compared["splits"]),
        class_excess=far_from_best(frame, classes),
        number_excess=far_from_best(frame, numbers),
        log_losses=score_table(frame, classes, "log_loss"),
        accuracies=score_table(frame, classes, "accuracy"),
        absolute_errors=score_table(frame, numbers, "mae"),
        squared_errors=score_table(frame, numbers, "rmse"),
        class_beside=rank_table(beside[classes], classes),
        number_beside=rank_table(beside[numbers], numbers),
        class_beside_tables=", ".join(beside[classes].table.unique()),
        number_beside_tables=", ".join(beside[numbers].table.unique()),
        class_choice=rank_table(candidates, classes),
        number_choice=rank_table(candidates, numbers),
        tables=describe_tables(compared["tables"]),
        development=describe_tables(chosen["tables"]),
        n_splits=compared["splits"],
        n_tables=len(compared["tables"]),
        where=where(compared["environment"]),
    )
    (docs / "defaults.md").write_text(page, encoding="utf-8")
    tables = [rank_table(frame, task, 1) for task in JUDGED_BY]
    write_blocks(docs.parent / "README.md", {RANKS: "\n\n".join(tables)})
    write_blocks(docs / "parameters.md", {EFFECTS: effect_table(candidates)})
