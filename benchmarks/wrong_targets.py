"""Wrong targets: which regression withstands them, and what finds them?

    python benchmarks/wrong_targets.py --choose    # candidates, on development tables
    python benchmarks/wrong_targets.py             # the comparison, on other tables
    python benchmarks/wrong_targets.py --page      # docs/wrong_targets.md from results

A share of the training targets is made wrong; test targets stay as they are. All models
get the same splits, the same wrong targets and the same preprocessing. Targets are
standardised for all of them, in some models after a logarithm.
"""

import numpy as np
from corruption import SOUND, Issues, Shuffled, Wrapper, run_script
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import HuberRegressor, QuantileRegressor, TheilSenRegressor
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.model_selection import cross_val_predict
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from wrong_targets_report import write_page

from skrebatch import ReBatchCNNRegressor, ReBatchCNNRegressorCV, Welsch


class Residuals(Wrapper):
    """Quality of targets by the out-of-fold residuals of a regressor, in 5 folds."""

    def fit(self, X, y):
        self.quality_ = -np.abs(y - cross_val_predict(self.seeded(), X, y))
        return self


def score(model, X, y):
    """Score predicted targets, in units of the standard deviation of right ones."""
    predicted, unit = model.predict(X), np.std(y)
    return {
        "mae": mean_absolute_error(y, predicted) / unit,
        "rmse": root_mean_squared_error(y, predicted) / unit,
        "r2": r2_score(y, predicted),
    }


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
STANDARD = {"standardize_target": True}  # by mean and standard deviation
LEFT_OUT = {"strategy": "max-loss", "repeats": 0, "ratio": 0.15, "warmup_epochs": 5}
PLAIN = network(ratio=0)
OURS = {
    "plain, standard scale": network(ratio=0, **STANDARD),
    "welsch": network(strategy="welsch"),
    "welsch, standard scale": network(strategy="welsch", **STANDARD),
    "max-loss, left out": network(**LEFT_OUT),
    "random, left out": network(**{**LEFT_OUT, "strategy": "random"}),
}
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
    "residuals of RandomForest": Residuals(MODELS["RandomForest"]),
    "residuals of HistGradientBoosting, absolute": Residuals(
        scaled(MODELS["HistGradientBoosting, absolute"])
    ),
    "residuals of Huber": Residuals(scaled(MODELS["Huber"])),
    "random order": Shuffled(),
}
MAIN = ("swapped", 0.2, 3)
FOUND = [
    MAIN,
    ("swapped", 0.1, 1),
    ("heavy tails", 0.2, 1),
    ("missing digit", 0.2, 1),
]
EXTREMES = [MAIN, (SOUND, 0.0, 3)]
ALL = [*FOUND, (SOUND, 0.0, 3), ("swapped", 0.3, 1)]
SECTIONS = [
    ({"plain": PLAIN}, ALL),
    (OURS, [*EXTREMES, ("heavy tails", 0.2, 1)]),
    ({"CV form": ReBatchCNNRegressorCV()}, ALL),
    (OTHERS, ALL),
    (LOGARITHMIC, EXTREMES),
    ({"find_label_issues": Issues()}, FOUND),
    (FINDERS, FOUND),
]
CHOICE = [
    (
        {
            "plain": PLAIN,
            **{f"welsch, c={c}": network(strategy=Welsch(c)) for c in (1.0, 2.0, 3.0)},
            **{
                f"left out, ratio {ratio}, warm-up {warmup}": network(
                    **LEFT_OUT | {"ratio": ratio, "warmup_epochs": warmup}
                )
                for ratio, warmup in ((0.15, 5), (0.3, 2), (0.3, 5))
            },
            "welsch, longer patience": network(strategy="welsch", n_iter_no_change=20),
            "left out, longer patience": network(**LEFT_OUT, n_iter_no_change=20),
        },
        EXTREMES,
    )
]


def main():
    run_script(
        __doc__,
        "wrong_targets",
        "regression",
        SECTIONS,
        CHOICE,
        score,
        write_page,
        n_networks=PLAIN.n_networks,
        left_out=LEFT_OUT,
    )


if __name__ == "__main__":
    # The cache can store classes of a module, but not those of a script.
    import wrong_targets

    wrong_targets.main()
