"""Wrong labels: what helps to train in spite of them, and what finds them?

    python benchmarks/label_noise.py --choose    # candidates, on development tables
    python benchmarks/label_noise.py             # the comparison, on other tables
    python benchmarks/label_noise.py --page      # docs/label_noise.md from results

A share of the training labels is made wrong; test labels stay as they are. All models
get the same splits, the same wrong labels and the same preprocessing. Needs cleanlab
(`pip install cleanlab`).
"""

import time

import numpy as np
from corruption import SOUND, Issues, Shuffled, Wrapper, run_script
from label_noise_report import write_page
from sklearn.base import ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.svm import SVC

from skrebatch import (
    GeneralizedCrossEntropy,
    ReBatchCNNClassifier,
    ReBatchCNNClassifierCV,
    training_dynamics,
)


class Cleaned(ClassifierMixin, Wrapper):
    """cleanlab's CleanLearning around a model: it finds wrong labels, and fits without.

    Its own clone of the model gets the seed.
    """

    def fit(self, X, y):
        from cleanlab.classification import CleanLearning

        start = time.process_time()
        self.cleaner_ = CleanLearning(
            self.seeded(),
            seed=self.random_state,
            find_label_issues_kwargs={"n_jobs": 1},
        )
        issues = self.cleaner_.find_label_issues(X, y)
        self.find_cpu_ = time.process_time() - start
        self.quality_ = issues["label_quality"].to_numpy()
        self.is_issue_ = issues["is_label_issue"].to_numpy()
        self.cleaner_.fit(X, y, label_issues=issues)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)

    def predict_proba(self, X):
        return self.cleaner_.predict_proba(X)


class Recorded(Wrapper):
    """The label quality of `training_dynamics` after a fit of an estimator."""

    def fit(self, X, y):
        model = self.seeded()
        self.quality_ = training_dynamics(model.fit(X, y))["label_quality"]
        return self


class OutOfFold(Wrapper):
    """The probability of each label by the networks that hold its row out."""

    def fit(self, X, y):
        model = self.seeded().fit(X, y)
        self.quality_ = model.oof_decision_function_[np.arange(len(y)), y]
        return self


def score(model, X, y):
    """Score predicted probabilities on right labels."""
    probabilities = model.predict_proba(X)
    n_classes = probabilities.shape[1]
    ranked = probabilities[:, 1] if n_classes == 2 else probabilities
    labels = np.arange(n_classes)
    return {
        "accuracy": accuracy_score(y, probabilities.argmax(axis=1)),
        "log_loss": log_loss(y, probabilities, labels=labels),
        "brier": np.mean(((labels == y[:, None]) - probabilities) ** 2),
        "auc": roc_auc_score(y, ranked, multi_class="ovr", labels=labels),
        "ece": calibration_error(y, probabilities),
    }


def calibration_error(y, probabilities, n_bins=10):
    """Return the expected calibration error of the predicted class, by bins."""
    sure, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    bins = np.minimum((sure * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bins, sure, n_bins) - np.bincount(bins, is_right, n_bins)
    return np.abs(gaps).sum() / len(y)


network = ReBatchCNNClassifier  # ten of them with early stopping, as by default
SOFT = {"strategy": "generalized-cross-entropy"}
LEFT_OUT = {"strategy": "max-loss", "repeats": 0, "ratio": 0.15, "warmup_epochs": 5}
PLAIN = network(ratio=0)
OURS = {
    "one network": network(ratio=0, n_networks=1, early_stopping=True),
    "generalized-cross-entropy": network(**SOFT),
    "max-loss, left out": network(**LEFT_OUT),
    "random, left out": network(**{**LEFT_OUT, "strategy": "random"}),
    "small-loss": network(ratio=0.3, strategy="small-loss"),
    "min-loss": network(ratio=0.15, strategy="min-loss"),
}
OTHERS = {
    "LogisticRegression": LogisticRegression(),
    "SVC": CalibratedClassifierCV(SVC(), ensemble=False),
    "RandomForest": RandomForestClassifier(),
    "ExtraTrees": ExtraTreesClassifier(),
    "HistGradientBoosting": HistGradientBoostingClassifier(),
}
CLEANED = {f"cleanlab, {name}": Cleaned(model) for name, model in OTHERS.items()}
PARTNERS = {
    name: CLEANED.pop(name)
    for name in [
        "cleanlab, LogisticRegression",
        "cleanlab, RandomForest",
        "cleanlab, HistGradientBoosting",
    ]
}
FINDERS = {
    "recording, ten networks": Recorded(network(ratio=0, record_losses=True)),
    "recording, one network": Recorded(
        network(ratio=0, n_networks=1, record_losses=True)
    ),
    "random order": Shuffled(),
}
MAIN = ("symmetric", 0.2, 3)
OTHER = [
    ("symmetric", 0.1, 1),
    ("symmetric", 0.4, 1),
    ("class-dependent", 0.2, 1),
    ("instance-dependent", 0.2, 1),
]
EXTREMES = [MAIN, (SOUND, 0.0, 3)]
FOUND = [MAIN, *(condition for condition in OTHER if condition[1] < 0.4)]
SECTIONS = [
    ({"plain": PLAIN}, [*EXTREMES, *OTHER]),
    (OURS, EXTREMES),
    ({"CV form": ReBatchCNNClassifierCV()}, [*EXTREMES, *OTHER]),
    (OTHERS, [*EXTREMES, *OTHER]),
    ({"cleanlab, ten networks": Cleaned(PLAIN)}, [MAIN]),
    ({"find_label_issues": Issues()}, FOUND),
    (FINDERS, FOUND),
    (PARTNERS, FOUND),
    (CLEANED, [MAIN]),
]
CHOICE = [
    (
        {
            "plain": PLAIN,
            **{
                f"soft, q={q}": network(strategy=GeneralizedCrossEntropy(q))
                for q in (0.3, 0.7, 1.0)
            },
            **{
                f"left out, ratio {ratio}, warm-up {warmup}": network(
                    **LEFT_OUT | {"ratio": ratio, "warmup_epochs": warmup}
                )
                for ratio, warmup in ((0.15, 5), (0.3, 2), (0.3, 5))
            },
            "plain, 20 networks": network(ratio=0, n_networks=20),
            "plain, dropout": network(ratio=0, dropout=0.3),
            "plain, weight decay": network(ratio=0, weight_decay=0.01),
            "soft, longer patience": network(**SOFT, n_iter_no_change=20),
            "left out, longer patience": network(**LEFT_OUT, n_iter_no_change=20),
        },
        EXTREMES,
    ),
    (
        {
            "find_label_issues": Issues(),
            "out of fold only": OutOfFold(PLAIN),
            "one network": FINDERS["recording, one network"],
        },
        [MAIN, ("symmetric", 0.1, 1)],
    ),
]


def main():
    run_script(
        __doc__,
        "label_noise",
        "classification",
        SECTIONS,
        CHOICE,
        score,
        write_page,
        n_networks=PLAIN.n_networks,
        left_out=LEFT_OUT,
    )


if __name__ == "__main__":
    # The cache can store classes of a module, but not those of a script.
    import label_noise

    label_noise.main()
