"""A first look, in about half a minute: wrong labels found and withstood.

    make demo

Prints what it finds and writes the suspects and a picture to the folder `demo`.
"""

import time
from pathlib import Path

print("Loading torch, scikit-learn and skrebatch ...", flush=True)

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from skrebatch import (
    LabelIssuesDisplay,
    ReBatchCNNClassifier,
    ReBatchCNNClassifierCV,
    find_label_issues,
)

FOLDER = Path("demo")
TABLES = {"breast cancer": load_breast_cancer, "wine": load_wine}
MODELS = {
    "skrebatch": ReBatchCNNClassifier(random_state=0),
    "skrebatch, robust": ReBatchCNNClassifierCV(random_state=0),
    "logistic regression": LogisticRegression(max_iter=1000),
    "random forest": RandomForestClassifier(random_state=0),
    "gradient boosting": HistGradientBoostingClassifier(random_state=0),
}
SHARE = 0.2  # of the training labels that are made wrong


def with_wrong_labels(y, share, rng):
    """Replace the labels of some rows by other labels; return them and the rows."""
    rows = rng.choice(len(y), round(share * len(y)), replace=False)
    noisy = y.copy()
    n_classes = y.max() + 1
    noisy[rows] = (y[rows] + rng.integers(1, n_classes, len(rows))) % n_classes
    return noisy, rows


def find(X, y, progress):
    """Make some labels of a table wrong, find them, and write the suspects."""
    noisy, wrong = with_wrong_labels(y, SHARE, np.random.default_rng(0))
    issues = find_label_issues(X, noisy, random_state=0)
    progress.update()
    flagged = issues.index[issues["is_label_issue"]]
    issues.to_csv(FOLDER / "suspects.csv", index_label="row")
    LabelIssuesDisplay.from_frame(issues).figure_.savefig(FOLDER / "suspects.png")
    return {
        "rows": len(y),
        "wrong": len(wrong),
        "flagged": len(flagged),
        "precision": np.isin(flagged, wrong).mean(),
        "recall": np.isin(wrong, flagged).mean(),
        "worst": np.isin(issues.index[:20], wrong).mean(),
    }


def compare(load, share, progress):
    """Score all models on a table, trained with a share of wrong labels."""
    X, y = load(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.5, stratify=y, random_state=0
    )
    noisy, _ = with_wrong_labels(y_train, share, np.random.default_rng(1))
    scores = {}
    for name, model in MODELS.items():
        start = time.process_time()
        fitted = make_pipeline(StandardScaler(), model).fit(X_train, noisy)
        seconds = time.process_time() - start
        proba = fitted.predict_proba(X_test)
        scores[name] = {
            "accuracy, %": 100 * accuracy_score(y_test, fitted.predict(X_test)),
            "log loss": log_loss(y_test, proba),
            "CPU of the fit, s": seconds,
        }
        progress.update()
    return pd.DataFrame(scores).T


def main():
    mpl.use("agg")
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    n_steps = 1 + 2 * len(TABLES) * len(MODELS)
    with tqdm(total=n_steps, desc="demo", unit="fit") as progress:
        X, y = load_breast_cancer(return_X_y=True)
        found = find(X, y, progress)
        scores = {
            (table, share): compare(load, share, progress)
            for table, load in TABLES.items()
            for share in (0, SHARE)
        }

    tables = [
        f"\n{table}, {share:.0%} of the training labels wrong:\n"
        + frame.to_string(float_format="{:.2f}".format)
        for (table, share), frame in scores.items()
    ]
    text = Path(__file__).with_suffix(".txt").read_text("utf-8")
    print(text.format(**found, tables="\n".join(tables), folder=FOLDER))


if __name__ == "__main__":
    main()
