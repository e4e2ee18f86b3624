"""Makes the model files of tests/io/data, and what they predict.

Run once for a format version, with the first skrebatch that writes it: the files are
what later ones must load. ``python tests/io/make_model_files.py``
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification, make_regression

from skrebatch import (
    ReBatchCNNClassifier,
    ReBatchCNNRegressor,
    ReBatchCNNRegressorCV,
    SmallLoss,
    save_model,
)
from skrebatch.io._model_files import FORMAT_VERSION

FOLDER = Path(__file__).parent / "data" / f"format{FORMAT_VERSION}"
SHARED = {"max_epochs": 3, "conv_channels": (3,), "hidden_size": 4, "random_state": 0}


def make_models():
    """Fitted estimators that have between them all that a file may hold."""
    X, y = make_classification(30, 5, random_state=0)
    words = np.array(["low", "middle", "high"])[np.argsort(np.argsort(X[:, 0])) // 10]
    table = pd.DataFrame(
        X, columns=list("abcde"), index=[f"row {i}" for i in range(30)]
    )
    ragged = X.copy()
    ragged[::3, 3:] = np.nan
    R, t = make_regression(30, 5, n_targets=2, random_state=0)
    return {
        "default": (ReBatchCNNClassifier(**SHARED).fit(X, y), X),
        "words": (
            ReBatchCNNClassifier(
                strategy=SmallLoss(),
                n_networks=2,
                batch_norm=True,
                dropout=0.1,
                record_losses=True,
                early_stopping=True,
                refresh_every=2,
                loss_smoothing=0.5,
                **SHARED,
            ).fit(table, words.astype(object)),
            table,
        ),
        "lengths": (
            ReBatchCNNClassifier(variable_length=True, **SHARED).fit(ragged, y > 0),
            ragged,
        ),
        "targets": (
            ReBatchCNNRegressor(
                architecture="mlp",
                hidden_layers=(4, 3),
                dtype="float64",
                optimizer="sgd",
                lr_schedule="one-cycle",
                max_epochs=3,
                random_state=0,
            ).fit(R, t),
            R,
        ),
        "search": (
            ReBatchCNNRegressorCV(
                ReBatchCNNRegressor(n_networks=2, validation_fraction=0.5, **SHARED),
                {"ratio": [0, 0.3]},
            ).fit(R, t[:, 0]),
            R,
        ),
    }


def predictions_of(model, X):
    """Probabilities, or numbers."""
    return getattr(model, "predict_proba", model.predict)(X)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, (model, X) in make_models().items():
        save_model(model, FOLDER / f"{name}.safetensors")
        rows = np.asarray(X)[:4]
        expected[name] = {
            "X": np.where(np.isnan(rows), None, rows).tolist(),
            "columns": list(getattr(X, "columns", [])),
            "predictions": predictions_of(model, X[:4]).tolist(),
            "labels": model.predict(X[:4]).tolist(),
        }
    text = json.dumps(expected, indent=1)
    (FOLDER / "expected.json").write_text(text + "\n", encoding="utf-8")
