"""Wrong targets: which regression withstands them, and what finds them?

    python benchmarks/wrong_targets.py --choose    # candidates, on development tables
    python benchmarks/wrong_targets.py             # the comparison, on other tables
    python benchmarks/wrong_targets.py --page      # docs/wrong_targets.md from results

Targets are standardised for all models, in some of them after a logarithm.
"""

from functools import partial

import corruption
import corruption_report
import numpy as np
from harness import read_setting
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import HuberRegressor, QuantileRegressor, TheilSenRegressor
from sklearn.model_selection import cross_val_predict
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skrebatch import ReBatchCNNRegressor, ReBatchCNNRegressorCV, Welsch


def residuals(model, X, y):
    """Return the quality of targets by their out-of-fold residuals, in 5 folds."""
    return -np.abs(y - cross_val_predict(model, X, y))


def scaled(model):
    """Standardise the target of a model."""
    return TransformedTargetRegressor(model, transformer=StandardScaler())


def logarithmic(model):
    """Take the logarithm of the target of a model, and standardise it."""
    logarithm = FunctionTransformer(np.log, np.exp)
    return TransformedTargetRegressor(
        model, transformer=make_pipeline(logarithm, StandardScaler())
    )


network = ReBatchCNNRegressor  # ten of them with early stopping, as by default
SETTING = read_setting(__file__)
PLAIN, CV_FORM = network(ratio=0), ReBatchCNNRegressorCV()
OURS, TRIED = (
    {name: network(**parameters) for name, parameters in SETTING[part].items()}
    for part in ("networks", "tried")
)
MODELS = {
    "HistGradientBoosting": HistGradientBoostingRegressor(),
    "HistGradientBoosting, absolute": HistGradientBoostingRegressor("absolute_error"),
    "RandomForest": RandomForestRegressor(),
    "Huber": HuberRegressor(max_iter=1000),
    "TheilSen": TheilSenRegressor(max_subpopulation=1000),
    "quantile .5": QuantileRegressor(alpha=0),
    "MLP": MLPRegressor(),
}
OTHERS = {name: scaled(model) for name, model in MODELS.items()}
LOGARITHMIC = {f"{name}, log": logarithmic(model) for name, model in MODELS.items()}
FINDERS = {
    "residuals of RandomForest": corruption.Finder(residuals, MODELS["RandomForest"]),
    "residuals of HistGradientBoosting, absolute": corruption.Finder(
        residuals, scaled(MODELS["HistGradientBoosting, absolute"])
    ),
    "residuals of Huber": corruption.Finder(residuals, scaled(MODELS["Huber"])),
    "random order": corruption.Finder(corruption.shuffle, PLAIN),
}
FOUND = list(map(tuple, SETTING["found"]))
EXTREMES = [FOUND[0], (corruption.SOUND, 0.0, 3)]
ALL = [*FOUND, (corruption.SOUND, 0.0, 3), ("swapped", 0.3, 1)]
SECTIONS = [
    ({"plain": PLAIN}, ALL),
    (OURS, [*EXTREMES, ("heavy tails", 0.2, 1)]),
    ({"CV form": CV_FORM, **OTHERS}, ALL),
    (LOGARITHMIC, EXTREMES),
    (corruption.inform({"plain": PLAIN, "CV form": CV_FORM}), FOUND),
    ({"find_label_issues": corruption.Issues()}, FOUND),
    (FINDERS, FOUND),
]
TRAINED = {
    "plain": PLAIN,
    "welsch, c=1.0": network(strategy=Welsch(1.0)),
    "welsch, c=2.0": network(strategy=Welsch(2.0)),
    "welsch, c=3.0": network(strategy=Welsch(3.0)),
    **corruption.leaving_out(network),
    **TRIED,
}
CHOICE = [(TRAINED, EXTREMES)]
write_page = partial(corruption_report.write_page, "wrong_targets", **SETTING["page"])


if __name__ == "__main__":
    corruption.run_script("wrong_targets", "regression")
