"""Wrong labels: what helps to train in spite of them, and what finds them?

    python benchmarks/label_noise.py --choose    # candidates, on development tables
    python benchmarks/label_noise.py             # the comparison, on other tables
    python benchmarks/label_noise.py --page      # docs/label_noise.md from results

Needs cleanlab (`pip install cleanlab`).
"""

import time
from functools import partial

import corruption
import corruption_report
import numpy as np
from harness import read_setting
from sklearn.base import ClassifierMixin
from sklearn.ensemble import ExtraTreesClassifier
from trials import SKLEARN_MODELS

from skrebatch import (
    GeneralizedCrossEntropy,
    ReBatchCNNClassifier,
    ReBatchCNNClassifierCV,
    training_dynamics,
)


class Cleaned(ClassifierMixin, corruption.Wrapper):
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


def record(model, X, y):
    """Return the label quality of `training_dynamics` after a fit."""
    return training_dynamics(model.fit(X, y))["label_quality"]


def hold_out(model, X, y):
    """Return the probability of each label by the networks that hold its row out."""
    return model.fit(X, y).oof_decision_function_[np.arange(len(y)), y]


network = ReBatchCNNClassifier  # ten of them with early stopping, as by default
SETTING = read_setting(__file__)
PLAIN, CV_FORM = network(ratio=0), ReBatchCNNClassifierCV()
OURS, TRIED = (
    {name: network(**parameters) for name, parameters in SETTING[part].items()}
    for part in ("networks", "tried")
)
OTHERS = {**SKLEARN_MODELS["classification"], "ExtraTrees": ExtraTreesClassifier()}
del OTHERS["MLP"]
PARTNERS, MORE_PARTNERS = (
    {f"cleanlab, {name}": Cleaned(OTHERS[name]) for name in names}
    for names in (
        ("LogisticRegression", "RandomForest", "HistGradientBoosting"),
        ("SVC", "ExtraTrees"),
    )
)
recording = partial(network, ratio=0, record_losses=True)
ONE_RECORDED = corruption.Finder(record, recording(n_networks=1))
FINDERS = {
    "recording, ten networks": corruption.Finder(record, recording()),
    "recording, one network": ONE_RECORDED,
    "random order": corruption.Finder(corruption.shuffle, PLAIN),
}
MAIN, *OTHER = map(tuple, SETTING["conditions"])
EXTREMES = [MAIN, (corruption.SOUND, 0.0, 3)]
FOUND = [MAIN, *(condition for condition in OTHER if condition[1] < 0.4)]
SECTIONS = [
    ({"plain": PLAIN}, [*EXTREMES, *OTHER]),
    (OURS, EXTREMES),
    ({"CV form": CV_FORM, **OTHERS}, [*EXTREMES, *OTHER]),
    ({"cleanlab, ten networks": Cleaned(PLAIN)}, [MAIN]),
    (corruption.inform({"plain": PLAIN, "CV form": CV_FORM}), FOUND),
    ({"find_label_issues": corruption.Issues()}, FOUND),
    (FINDERS, FOUND),
    (PARTNERS, FOUND),
    (MORE_PARTNERS, [MAIN]),
]
TRAINED = {
    "plain": PLAIN,
    "soft, q=0.3": network(strategy=GeneralizedCrossEntropy(0.3)),
    "soft, q=0.7": network(strategy=GeneralizedCrossEntropy(0.7)),
    "soft, q=1.0": network(strategy=GeneralizedCrossEntropy(1.0)),
    **corruption.leaving_out(network),
    **TRIED,
}
SOUGHT = {
    "find_label_issues": corruption.Issues(),
    "out of fold only": corruption.Finder(hold_out, PLAIN),
    "one network": ONE_RECORDED,
}
CHOICE = [(TRAINED, EXTREMES), (SOUGHT, [MAIN, ("symmetric", 0.1, 1)])]
write_page = partial(corruption_report.write_page, "label_noise", **SETTING["page"])


if __name__ == "__main__":
    corruption.run_script("label_noise", "classification")
