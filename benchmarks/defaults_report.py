"""The page of defaults.py: mean ranks, scores by table and the cost."""

import pages
import pandas as pd
from evidence import corrected_interval
from harness import load_frame, read_setting
from matplotlib.figure import Figure

OURS = "skrebatch"
RANKS = "ranks: written by benchmarks/defaults.py"  # in the README
EFFECTS = "effects: written by benchmarks/defaults.py"  # in docs/parameters.md
SLOW = "RealMLP", "RealMLP, bagged", "TabM"  # those of pytabkit
LINEAR = "linear"  # LogisticRegression or Ridge
JUDGED_BY = read_setting(__file__)["judged_by"]


def of_task(frame, task):
    """Return the runs of a task: those with its scores."""
    return frame[frame[JUDGED_BY[task][0][0]].notna()]


def rank_table(frame, task, n_scores=None):
    """Tabulate the mean ranks over tables, the best model first, and the cost.

    `n_scores` is how many of the scores are shown.
    """
    own = of_task(frame, task).groupby(["table", "model"])
    ranks = {
        f"rank by {title}": own[score].mean().unstack().rank(axis=1, ascending=is_less)
        for score, title, is_less in JUDGED_BY[task][:n_scores]
    }
    table = pd.DataFrame({name: by_table.mean() for name, by_table in ranks.items()})
    table = table.sort_values(table.columns[0], kind="stable").map("{:.2f}".format)
    cost = own[["fit_cpu", "predict_cpu"]].mean().groupby("model").median()
    cost.columns = ["CPU s, fit", "CPU s, predict"]
    table = table.join(cost.map("{:.2g}".format))
    return pages.as_table(table.rename_axis(None), "keys")


def draw_cost(frame, everything, task):
    """Draw the mean rank against the CPU time of a fit, on the right of all models."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    score, title, _ = JUDGED_BY[task][0]
    for ax, runs in zip(axes, (frame, everything), strict=True):
        own = of_task(runs, task)
        means = own.groupby(["table", "model"])[[score, "fit_cpu"]].mean()
        ranks = means[score].unstack().rank(axis=1).mean()
        seconds = means.fit_cpu.unstack().median()
        colours = ["tab:blue" if model == OURS else "tab:grey" for model in ranks.index]
        ax.scatter(seconds[ranks.index], ranks, color=colours)
        # Above and below in turns, so that fewer names overlap.
        for i, (model, rank) in enumerate(ranks.sort_values().items()):
            place, offset = (seconds[model], rank), (0, 8 if i % 2 else -8)
            style = {"textcoords": "offset points", "fontsize": 8, "ha": "center"}
            ax.annotate(model, place, offset, va="bottom" if i % 2 else "top", **style)
        ax.set(xscale="log", xlabel="CPU time of a fit, s (median over the tables)")
        ax.set_title(f"{own.model.nunique()} models on {own.table.nunique()} tables")
        ax.margins(0.3)
    axes[0].set_ylabel(f"mean rank by {title}, 1 is best")
    return figure


def load_growth(runs):
    """Tabulate the runs of growing tables, with the loss that each is judged by."""
    frame = load_frame(runs).replace({"model": ["LogisticRegression", "Ridge"]}, LINEAR)
    return frame.assign(loss=frame.log_loss.fillna(frame.mae))


def growth_table(growth, value):
    """Tabulate the loss, or the CPU time, of each model by table and number of rows."""
    found = growth.pivot(index=["table", "rows"], columns="model", values=value)
    texts = pages.as_scores(found.T, is_less=True).T.reset_index("rows")
    return pages.as_table(texts, "keys")


def draw_growth(growth):
    """Draw the loss and the CPU time of a fit against the number of rows."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    tables = list(growth.groupby("table", sort=False))
    axes = figure.subplots(2, len(tables), sharex=True)
    for column, (name, own) in zip(axes.T, tables, strict=True):
        for ax, value in zip(column, ("loss", "fit_cpu"), strict=True):
            lines = own.pivot(index="rows", columns="model", values=value)
            lines.plot(ax=ax, style=".-", loglog=True, legend=False, title=name)
    axes[0, 0].set_ylabel("log loss or MAE")
    axes[1, 0].set_ylabel("CPU time of a fit, s")
    lines, models = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, models, loc="outside lower center", ncols=len(models))
    return figure


def score_table(frame, task, score):
    """Tabulate the mean score of each model on each table; the best is bold."""
    title, is_less = next(own[1:] for own in JUDGED_BY[task] if own[0] == score)
    means = of_task(frame, task).groupby(["table", "model"], sort=False)[score].mean()
    scores = pages.as_scores(means.unstack().T, is_less).T
    return pages.as_table(scores.rename_axis(title), "keys")


def difference_table(frame, task, n_splits):
    """Tabulate the mean relative difference of other models' loss from ours."""
    score, title, _ = JUDGED_BY[task][0]
    pivot = of_task(frame, task).pivot_table(
        index=["table", "split"], columns="model", values=score
    )
    ratio = 1 / (n_splits - 1)
    rows = [["", f"{title} − that of skrebatch", "skrebatch is lower on"]]
    for model, gains in pivot.drop(columns=OURS).sub(pivot[OURS], axis=0).items():
        intervals = gains.groupby(level="table").apply(corrected_interval, ratio)
        mean = corrected_interval(gains.groupby(level="split").mean(), ratio)
        n_better = sum(interval.low > 0 for interval in intervals)
        n_worse = sum(interval.high < 0 for interval in intervals)
        counts = f"{n_better} (higher: {n_worse}) of {len(intervals)}"
        rows.append([model, pages.as_interval(mean, "+.3f"), counts])
    return pages.as_table(rows)


def far_from_best(frame, task):
    """Name the tables where our loss is more than a tenth above the best model's."""
    score, *_ = JUDGED_BY[task][0]
    means = of_task(frame, task).groupby(["table", "model"])[score].mean().unstack()
    excess = means[OURS] / means.min(axis=1) - 1
    found = [
        f"{table} ({share:.0%} above {means.loc[table].idxmin()})"
        for table, share in excess[excess > 0.1].items()
    ]
    return ", ".join(found) if found else "none"


def effect_table(frame):
    """Tabulate what each candidate changes: losses and CPU time by table."""
    titles = {score: title for (score, title, _), *_ in JUDGED_BY.values()}
    titles["fit_cpu"] = "CPU time of a fit"
    means = frame.groupby(["table", "model"], sort=False)[list(titles)].mean()
    ratios = means.div(means.xs("defaults", level="model"), level="table")
    ratios = ratios.drop("defaults", level="model").groupby("model", sort=False)
    cells = ratios.agg(lambda values: pages.as_quartiles(values.dropna()))
    cells = cells.rename(index="`{}`".format, columns=titles).rename_axis(None)
    return pages.as_table(cells, "keys")


def write_page(compared, chosen, docs):
    """Write docs/defaults.md, and the tables of two other pages, from the results."""
    everything, candidates = load_frame(compared["runs"]), load_frame(chosen["runs"])
    frame = everything[~everything.model.isin(SLOW)]
    images = docs / "images" / "defaults"
    for task, name in {"classification": "classes", "regression": "numbers"}.items():
        figure = draw_cost(frame, everything, task)
        pages.save_figure(figure, images / f"{name}.png")
    growth = load_growth(compared["growth"])
    pages.save_figure(draw_growth(growth), images / "growth.png")
    page = pages.fill_template(
        "defaults",
        *(rank_table, difference_table, far_from_best, score_table, growth_table),
        frame=frame,
        everything=everything,
        growth=growth,
        candidates=candidates,
        compared=compared,
        chosen=chosen,
    )
    (docs / "defaults.md").write_text(page, encoding="utf-8")
    tables = [rank_table(frame, task, 1) for task in JUDGED_BY]
    pages.write_blocks(docs.parent / "README.md", {RANKS: "\n\n".join(tables)})
    pages.write_blocks(docs / "parameters.md", {EFFECTS: effect_table(candidates)})
