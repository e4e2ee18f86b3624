"""Draw the pictures of docs/index.md and docs/inspection.md.

The data are those that scikit-learn ships. For docs/inspection.md a fifth of the labels
of breast cancer is flipped, so that there is something to see.
"""

from functools import partial

import matplotlib
import numpy as np
from harness import DOCS, read_setting, single
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from pages import save_figure
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skrebatch import (
    FusedGridSearchCV,
    LossCurveDisplay,
    RatioCurveDisplay,
    SampleDynamicsDisplay,
    interval_insertion,
    redistribution_size,
)
from skrebatch.plots._style import COLOURS

SETTING = read_setting(__file__)
SEED = SETTING["network"]["random_state"]


def draw_idea(n_samples=40, ratio=0.15):
    """Draw the losses of some rows, and the orders that follow from them."""
    X, y = load_breast_cancer(return_X_y=True)
    rows = np.random.default_rng(SEED).choice(len(y), n_samples, replace=False)
    X, y = StandardScaler().fit_transform(X)[rows], y[rows]
    model = single(ratio=0, batch_size=8, max_epochs=4, random_state=SEED).fit(X, y)
    losses = model.sample_losses_
    n_chosen = redistribution_size(n_samples, ratio)
    chosen = np.sort(np.argsort(losses)[:n_chosen])
    remaining = np.setdiff1d(np.arange(n_samples), chosen)

    figure = Figure(figsize=(7, 4.4), layout="constrained")
    above, below = figure.subplots(2, height_ratios=[3, 2])
    colours = np.full(n_samples, "0.75", dtype=object)
    colours[chosen] = COLOURS[1]
    above.bar(np.arange(n_samples), losses, color=colours)
    above.set_title(
        f"After an epoch: the loss of each of N = {n_samples} rows.\n"
        f"With r = {ratio}, the B = {n_chosen} of lowest loss are chosen.",
        loc="left",
        fontsize="medium",
    )
    above.set(xlabel="row", ylabel="loss")

    words = {1: "moved", 2: "repeated", 0: "left out"}
    cells = np.full((len(words), n_samples + n_chosen), np.nan)
    for line, repeats in zip(cells, words, strict=True):
        order = interval_insertion(remaining, chosen, repeats)
        line[: len(order)] = np.isin(order, chosen)
    below.pcolormesh(
        cells, cmap=ListedColormap(["0.75", COLOURS[1]]), edgecolor="white", linewidth=1
    )
    below.set_title(
        "Their place in the order of the next epoch", loc="left", fontsize="medium"
    )
    labels = [f"{word}\n(repeats={repeats})" for repeats, word in words.items()]
    below.set_yticks(np.arange(len(words)) + 0.5, labels)
    below.tick_params(left=False)
    below.spines[:].set_visible(False)
    below.invert_yaxis()
    below.set_xlabel("place in the epoch")
    return figure


def load_flipped():
    """Return scaled training and validation data; training labels partly flipped."""
    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_val, y_train, y_val = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=SEED
    )
    scaler = StandardScaler().fit(X_train)
    n_flipped = int(SETTING["flipped"] * len(y_train))
    rng = np.random.default_rng(SEED)
    flipped = rng.choice(len(y_train), n_flipped, replace=False)
    y_train[flipped] = 1 - y_train[flipped]
    return scaler.transform(X_train), y_train, scaler.transform(X_val), y_val


make_model = partial(single, **SETTING["network"])
EASIEST_TWICE, HARDEST_LEFT_OUT = SETTING["easiest_twice"], SETTING["hardest_left_out"]


def draw_inspection():
    """Draw the pictures of docs/inspection.md, by name."""
    X, y, X_val, y_val = load_flipped()
    axes = {
        name: Figure(figsize=(width, 4), layout="constrained").subplots()
        for name, width in SETTING["widths"].items()
    }
    validation = {"X_val": X_val, "y_val": y_val}
    models = {
        name: make_model(ratio=ratio, **EASIEST_TWICE).fit(X, y, **validation)
        for name, ratio in [("no re-Batch", 0), ("easiest twice", 0.3)]
    }
    plain = models["no re-Batch"]
    LossCurveDisplay.from_estimator(models, baseline=plain, ax=axes["loss_curves"])
    models = [
        make_model(ratio=ratio, **EASIEST_TWICE).fit(X, y) for ratio in (0, 0.15, 0.3)
    ]
    LossCurveDisplay.from_estimator(models, fit_line=True, ax=axes["straight_lines"])
    hardest_left_out = make_model(max_epochs=30, **HARDEST_LEFT_OUT)
    search = FusedGridSearchCV(hardest_left_out, SETTING["searched"]).fit(X, y)
    RatioCurveDisplay.from_search(search, ax=axes["ratio_curves"])
    model = make_model(ratio=0.3, **HARDEST_LEFT_OUT).fit(X, y)
    for name, kind in (("data_map", "map"), ("choices", "choices")):
        SampleDynamicsDisplay.from_estimator(model, kind=kind, ax=axes[name])
    return {name: ax.figure for name, ax in axes.items()}


if __name__ == "__main__":
    matplotlib.rcParams["svg.hashsalt"] = "skrebatch"  # the same file on every run
    images = DOCS / "images"
    print(save_figure(draw_idea(), images / "index/idea.svg", dpi=100))
    for name, figure in draw_inspection().items():
        print(save_figure(figure, images / f"inspection/{name}.png", dpi=100))
