"""Draw the pictures of docs/inspection.md, on data that scikit-learn ships.

    python benchmarks/gallery.py

A fifth of the labels of breast cancer is flipped, so that there is something to see.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skrebatch import (
    FusedGridSearchCV,
    LossCurveDisplay,
    RatioCurveDisplay,
    ReBatchCNNClassifier,
    SampleDynamicsDisplay,
)

SEED = 0
FLIPPED = 0.2
FOLDER = Path(__file__).parent.parent / "docs" / "images" / "inspection"


def load_flipped():
    """Return scaled training and validation data; training labels partly flipped."""
    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_val, y_train, y_val = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=SEED
    )
    scaler = StandardScaler().fit(X_train)
    rng = np.random.default_rng(SEED)
    n_flipped = int(FLIPPED * len(y_train))
    flipped = rng.choice(len(y_train), n_flipped, replace=False)
    y_train[flipped] = 1 - y_train[flipped]
    return scaler.transform(X_train), y_train, scaler.transform(X_val), y_val


def make_model(ratio, strategy="max-loss", repeats=0):
    """Return a classifier, by default one that leaves the hardest samples out."""
    return ReBatchCNNClassifier(
        ratio=ratio,
        strategy=strategy,
        repeats=repeats,
        batch_size=32,
        max_epochs=60,
        record_losses=True,
        random_state=SEED,
    )


def draw_loss_curves():
    """Draw training and validation loss with and without re-Batch."""
    X, y, X_val, y_val = load_flipped()
    models = {
        name: make_model(ratio, "min-loss", 2).fit(X, y, X_val=X_val, y_val=y_val)
        for name, ratio in [("no re-Batch", 0), ("easiest twice", 0.3)]
    }
    axes = _axes(8)
    LossCurveDisplay.from_estimator(models, baseline=models["no re-Batch"], ax=axes)
    return axes.figure


def draw_straight_lines():
    """Draw training losses with the straight lines fitted to them."""
    X, y, *_ = load_flipped()
    models = [make_model(ratio, "min-loss", 2).fit(X, y) for ratio in (0, 0.15, 0.3)]
    axes = _axes(8)
    LossCurveDisplay.from_estimator(models, fit_line=True, ax=axes)
    return axes.figure


def draw_ratio_curves():
    """Draw the accuracy against the ratio, for each choice of samples to leave out."""
    X, y, *_ = load_flipped()
    search = FusedGridSearchCV(
        make_model(0).set_params(max_epochs=30),
        {
            "ratio": [0, 0.03, 0.08, 0.15, 0.3, 0.45],
            "strategy": ["min-loss", "max-loss", "random"],
            "random_state": [0, 1],
        },
    )
    axes = _axes(8)
    RatioCurveDisplay.from_search(search.fit(X, y), ax=axes)
    return axes.figure


def draw_samples(kind):
    """Draw the data map, or who was chosen when."""
    X, y, *_ = load_flipped()
    axes = _axes(6)
    model = make_model(0.3).fit(X, y)
    SampleDynamicsDisplay.from_estimator(model, kind=kind, ax=axes)
    return axes.figure


def _axes(width):
    return Figure(figsize=(width, 4), layout="constrained").subplots()


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for stem, figure in {
        "loss_curves": draw_loss_curves(),
        "straight_lines": draw_straight_lines(),
        "ratio_curves": draw_ratio_curves(),
        "data_map": draw_samples("map"),
        "choices": draw_samples("choices"),
    }.items():
        figure.savefig(FOLDER / f"{stem}.png", dpi=100)
        print(FOLDER / f"{stem}.png")
