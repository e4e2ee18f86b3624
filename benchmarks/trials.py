"""A trial of a model: scikit-learn's models, a seed, the time of a fit, and scores."""

import time
import warnings

import numpy as np
import torch
from sklearn import ensemble, metrics
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.svm import SVC, SVR
from threadpoolctl import threadpool_limits

# With their defaults; SVC has no probabilities by itself.
SKLEARN_MODELS = {
    "classification": {
        "LogisticRegression": LogisticRegression(),
        "MLP": MLPClassifier(),
        "SVC": CalibratedClassifierCV(SVC(), ensemble=False),
        "RandomForest": ensemble.RandomForestClassifier(),
        "HistGradientBoosting": ensemble.HistGradientBoostingClassifier(),
    },
    "regression": {
        "Ridge": Ridge(),
        "MLP": MLPRegressor(),
        "SVR": SVR(),
        "RandomForest": ensemble.RandomForestRegressor(),
        "HistGradientBoosting": ensemble.HistGradientBoostingRegressor(),
    },
}


def with_seed(model, seed):
    """Clone a model, with this seed wherever it takes one."""
    names = [n for n in model.get_params() if n.split("__")[-1] == "random_state"]
    return clone(model).set_params(**dict.fromkeys(names, seed))


def timed(function, *arguments):
    """Call a function on one thread, without warnings; add the seconds of CPU time."""
    torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        found = function(*arguments)
        return found, time.process_time() - start


def predict(model, X):
    """Predict probabilities, or targets."""
    return getattr(model, "predict_proba", model.predict)(X)


def score_classes(y, probabilities):
    """Score predicted probabilities."""
    classes = np.arange(probabilities.shape[1])
    ranked = probabilities[:, 1] if len(classes) == 2 else probabilities
    return {
        "accuracy": metrics.accuracy_score(y, probabilities.argmax(axis=1)),
        "log_loss": metrics.log_loss(y, probabilities, labels=classes),
        "brier": float(np.mean(((classes == y[:, None]) - probabilities) ** 2)),
        "auc": metrics.roc_auc_score(y, ranked, multi_class="ovr", labels=classes),
    }


def score_numbers(y, predicted):
    """Score predicted targets, in units of the standard deviation of right ones."""
    unit = np.std(y)
    return {
        "r2": metrics.r2_score(y, predicted),
        "rmse": metrics.root_mean_squared_error(y, predicted) / unit,
        "mae": metrics.mean_absolute_error(y, predicted) / unit,
    }


def calibration_error(y, probabilities, n_bins=10):
    """Return the expected calibration error of the predicted class, by bins."""
    sure, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    bins = np.minimum((sure * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bins, sure, n_bins) - np.bincount(bins, is_right, n_bins)
    return np.abs(gaps).sum() / len(y)
