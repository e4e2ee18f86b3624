"""What the fits of a search are given: folds, fit parameters and tables."""

import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.estimators import make_data
from helpers.searches import (
    NET_RATIOS,
    RATIOS,
    ROWS,
    assert_same_search,
    both,
    described,
    net,
    pipe,
    requests,
    routing,
    scores_of,
    weights,
)
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import KernelCenterer, MinMaxScaler, StandardScaler
from sklearn.svm import SVC

from skrebatch import FusedGridSearchCV, ReBatchCNNRegressor

# --- folds ---


SPLITTERS = {
    "a number": 4,
    "default": None,
    "stratified": StratifiedKFold(3, shuffle=True, random_state=1),
    "plain": KFold(3),
    "repeated": RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0),
    "uneven": ShuffleSplit(3, train_size=0.37, test_size=0.2, random_state=0),
    "a list": [
        (np.arange(20), np.arange(20, 60)),
        (np.arange(10, 60), np.arange(10)),
        (np.arange(0, 60, 3), np.arange(1, 60, 2)),
    ],
    "masks": [(np.arange(60) < 40, np.arange(60) >= 40)],
}


@pytest.mark.parametrize("name", SPLITTERS)
def test_folds(name):
    X, y = make_data(n=ROWS)
    fused = both(net(), RATIOS, X, y, cv=SPLITTERS[name])
    assert fused.n_splits_ == {"a number": 4, "default": 5, "repeated": 4}.get(
        name, 1 if name == "masks" else 3
    )


def test_a_generator_of_folds():
    X, y = make_data(n=ROWS)
    fused = FusedGridSearchCV(net(), RATIOS, cv=KFold(3).split(X)).fit(X, y)
    plain = GridSearchCV(net(), RATIOS, cv=KFold(3).split(X)).fit(X, y)
    assert_same_search(fused, plain)


def test_all_candidates_see_the_same_folds():
    X, y = make_data(n=ROWS)
    search = FusedGridSearchCV(net(), {"ratio": [0.25] * 3}, cv=KFold(3, shuffle=True))
    scores = scores_of(search.fit(X, y))
    assert scores.shape == (3, 3)
    assert (scores == scores[:, :1]).all()


class Miscounts(KFold):
    """A splitter that tells another number of folds than it makes."""

    def get_n_splits(self, *args, **kwargs):
        return self.n_splits + 1


def test_a_splitter_that_miscounts_its_folds():
    X, y = make_data(n=ROWS)
    with pytest.raises(ValueError, match="cv yields 2 splits, but its get_n_splits"):
        FusedGridSearchCV(net(), RATIOS, cv=Miscounts(2)).fit(X, y)


def test_groups():
    X, y = make_data(n=ROWS)
    groups = np.random.default_rng(0).integers(5, size=ROWS)
    both(net(), RATIOS, X, y, fit={"groups": groups}, cv=GroupKFold(4))
    with pytest.raises(ValueError, match="groups"):
        FusedGridSearchCV(net(), RATIOS, cv=GroupKFold(4)).fit(X, y)


def test_regressors_are_searched_by_their_own_scale():
    # Each fold's target is scaled by its own training rows.
    X, y = make_data("regression", n=ROWS)
    model = ReBatchCNNRegressor(
        dtype="float64", max_epochs=3, lr=0.03, random_state=0, ratio=0.25
    )
    y = np.where(np.arange(ROWS) < 20, 100 * y, y)
    fused = both(model, RATIOS, X, y, cv=KFold(3), tolerance=1e-10)
    assert fused.cv_results_["split1_test_score"].max() < 1


# --- fit parameters ---


@pytest.mark.parametrize(
    "form", [np.asarray, list, pd.Series], ids=lambda f: f.__name__
)
def test_sample_weight(form):
    X, y = make_data(n=ROWS)
    grid = {**RATIOS, "max_epochs": [10]}
    fused = both(net(), grid, X, y, fit={"sample_weight": form(weights())})
    without = both(net(), grid, X, y)
    assert (scores_of(fused) != scores_of(without)).any()


def test_sample_weight_of_a_step():
    X, y = make_data(n=ROWS)
    fit = {"net__sample_weight": weights()}
    one = both(pipe(max_epochs=10), NET_RATIOS, X, y, fit=fit)
    # The weights of an earlier step are its own.
    model = pipe("binary", ("scale", StandardScaler()), max_epochs=10)
    fit["scale__sample_weight"] = weights()[::-1]
    grids = [NET_RATIOS, {"net": [LogisticRegression()]}]
    other = both(model, grids, X, y, fit=fit)
    assert (scores_of(one) != scores_of(other)[:, :2]).any()
    assert_array_of_means(
        other.best_estimator_[0].mean_, X, fit["scale__sample_weight"]
    )


def assert_array_of_means(means, X, sample_weight):
    expected = np.average(X, axis=0, weights=sample_weight)
    np.testing.assert_allclose(means, expected)


def test_a_validation_set_is_every_fit_s():
    X, y = make_data(n=ROWS)
    X_val, y_val = make_data(n=25)
    fit = {"X_val": X_val, "y_val": y_val}
    both(net(early_stopping=True, max_epochs=6), RATIOS, X, y, fit=fit)


def test_routed_weights():
    X, y = make_data(n=ROWS)
    fit = {"sample_weight": weights()}
    with routing():
        weighted = both(requests(net(), score=True), RATIOS, X, y, fit=fit)
        not_scored = both(requests(net(), score=False), RATIOS, X, y, fit=fit)
        assert (scores_of(weighted) != scores_of(not_scored)).any()
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        both(requests(net()), RATIOS, X, y, fit=fit, scoring=scorer)
        with pytest.raises(Exception, match="sample_weight"):
            FusedGridSearchCV(net(), RATIOS).fit(X, y, **fit)
        several = {"scoring": ["accuracy", "roc_auc"], "refit": "accuracy"}
        search = FusedGridSearchCV(requests(net()), RATIOS, **several)
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            search.fit(X, y, **fit)


def test_routed_weights_of_a_pipeline():
    X, y = make_data(n=ROWS)
    fit = {"sample_weight": weights()}
    with routing():
        scorer = get_scorer("accuracy").set_score_request(sample_weight=False)
        scaler = requests(StandardScaler())
        grids = [NET_RATIOS, {"net": [requests(LogisticRegression(), score=False)]}]
        for first in (scaler, StandardScaler().set_fit_request(sample_weight=False)):
            model = Pipeline([("scale", first), ("net", requests(net(), score=False))])
            search = both(model, grids, X, y, fit=fit, scoring=scorer)
            own = weights() if first is scaler else None
            assert_array_of_means(search.best_estimator_[0].mean_, X, own)


def test_routed_groups_and_weights():
    X, y = make_data(n=ROWS)
    fit = {"groups": np.arange(ROWS) // 7, "sample_weight": weights()}
    with routing():
        model = requests(net(), score=False).set_fit_request(groups=False)
        cv = GroupKFold(3).set_split_request(groups=True)
        both(model, RATIOS, X, y, fit=fit, cv=cv)


def watches_validation(**params):
    """A net that asks for validation data and stops by them."""
    params = {"early_stopping": True, "n_iter_no_change": 1, "max_epochs": 8, **params}
    return net(**params).set_fit_request(X_val=True, y_val=True)


def test_validation_data_go_through_the_earlier_steps():
    X, y = make_data(n=ROWS)
    X_val, y_val = make_data(n=25)
    fit = {"X_val": X_val * 10 + 3, "y_val": y_val}
    with routing():
        last = watches_validation()
        steps = [("scale", StandardScaler()), ("net", last)]
        model = Pipeline(steps, transform_input=["X_val"])
        scaled = both(model, NET_RATIOS, X * 10 + 3, y, fit=fit)
        grid = {"transform_input": [["X_val"], None], **NET_RATIOS}
        choice = both(model, grid, X * 10 + 3, y, fit=fit)
    own, without = scores_of(choice)[:, ::2], scores_of(choice)[:, 1::2]
    np.testing.assert_array_equal(own, scores_of(scaled))
    assert (own != without).any()


def test_validation_data_are_transformed_as_the_earlier_steps_ask():
    X, y = make_data(n=ROWS)
    X_val, y_val = make_data(n=25)
    fit = {"X_val": X_val, "y_val": y_val, "shift": 2.0}
    with routing():
        shifts = Shifts().set_fit_request(shift=True)
        shifts.set_transform_request(shift=True)
        model = Pipeline(
            [
                ("shift", shifts),
                ("scale", MinMaxScaler()),
                ("net", watches_validation()),
            ],
            transform_input=["X_val"],
        )
        both(model, NET_RATIOS, X, y, fit=fit)


class Shifts(TransformerMixin, BaseEstimator):
    """Move a table by a number that comes with it."""

    def fit(self, X, y=None, shift=0.0):
        self.shift_ = shift
        return self

    def transform(self, X, shift=0.0):
        return X + shift + self.shift_

    def fit_transform(self, X, y=None, shift=0.0):
        return self.fit(X, y, shift).transform(X, shift)


def test_last_steps_that_ask_for_different_things():
    X, y = make_data(n=ROWS)
    fit = {"sample_weight": weights()}
    with routing():
        asks, declines = (net(max_epochs=10) for _ in range(2))
        asks.set_fit_request(sample_weight=True)
        declines.set_fit_request(sample_weight=False)
        scale = requests(StandardScaler())
        scorer = get_scorer("accuracy").set_score_request(sample_weight=False)
        model = Pipeline([("scale", scale), ("net", asks)])
        search = both(model, {"net": [asks, declines]}, X, y, fit=fit, scoring=scorer)
    asked, declined = scores_of(search)[:3].T
    assert (asked != declined).any()


def test_the_scorer_sees_the_pipeline_as_it_is():
    X, y = make_data(n=ROWS)
    seen = []

    def scorer(estimator, X, y):
        seen.append((type(estimator), estimator.get_params(), len(estimator)))
        return estimator.score(X, y)

    model = pipe().set_params(transform_input=None, memory=None, verbose=False)
    model.set_output(transform="pandas")
    both(model, NET_RATIOS, X, y, scoring=scorer)
    plain, fused = seen[:6], seen[6:]
    assert list(map(described, plain)) == list(map(described, fused))


# --- kernels: tables whose columns are the training rows ---


def test_kernels():
    X, y = make_data(n=ROWS)
    model, grid = SVC(kernel="precomputed"), {"C": [0.1, 1]}
    both(model, grid, X @ X.T, y, return_train_score=True)


def test_kernels_before_a_network():
    X, y = make_data(n=ROWS)
    model = Pipeline([("center", KernelCenterer()), ("net", net())])
    grids = [
        NET_RATIOS,
        {"net": [SVC(kernel="precomputed")]},
        {"center": [StandardScaler()], **NET_RATIOS},  # on the whole kernel
    ]
    search = both(model, grids, X @ X.T, y, return_train_score=True)
    assert len(np.unique(scores_of(search))) > 3


def test_whether_a_table_is_a_kernel_may_be_searched():
    X, y = make_data(n=ROWS)
    both(SVC(), {"kernel": ["rbf", "precomputed"]}, X @ X.T, y)


def test_kernels_must_be_square():
    X, y = make_data(n=ROWS)
    model = Pipeline([("center", KernelCenterer()), ("net", net())])
    with pytest.raises(ValueError, match="square"):
        FusedGridSearchCV(model, NET_RATIOS).fit(X, y)


# --- tables of any kind ---


def test_frames():
    X, y = make_data(n=ROWS)
    frame = pd.DataFrame(X, columns=list("abcde"), index=np.arange(ROWS)[::-1])
    labels = pd.Series(np.where(y == 1, "yes", "no"), index=frame.index)
    for model, grid in (net(), RATIOS), (pipe(), NET_RATIOS):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of names that are missing or unknown
            search = both(model, grid, frame, labels)
            search.predict(frame)
        assert search.feature_names_in_.tolist() == list("abcde")
        assert search.classes_.tolist() == ["no", "yes"]
        expected = FusedGridSearchCV(model, grid, cv=3).fit(X, y)
        np.testing.assert_array_equal(scores_of(search), scores_of(expected))
        assert not hasattr(expected, "feature_names_in_")


def test_frames_between_steps():
    X, y = make_data(n=ROWS)
    frame = pd.DataFrame(X, columns=list("abcde"))
    model = pipe().set_output(transform="pandas")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search = both(model, NET_RATIOS, frame, y)
    assert "a b" in search.best_estimator_[-1].feature_names_in_


def test_polars():
    polars = pytest.importorskip("polars")
    X, y = make_data(n=ROWS)
    frame = polars.DataFrame({name: X[:, i] for i, name in enumerate("abcde")})
    search = both(net(), RATIOS, frame, polars.Series(y))
    # Old versions of scikit-learn don't see the names of new versions of polars.
    if hasattr(StandardScaler().fit(frame), "feature_names_in_"):
        assert search.feature_names_in_.tolist() == list("abcde")


def test_lists():
    X, y = make_data(n=ROWS)
    fit = {"sample_weight": weights().tolist()}
    both(net(), RATIOS, X.tolist(), y.tolist(), fit=fit)
    both(pipe(), NET_RATIOS, X.tolist(), y.tolist())


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [-1, 1], [7.0, 2.0]])
def test_labels_of_any_type(labels):
    X, y = make_data(n=ROWS)
    search = both(net(), RATIOS, X, np.array(labels)[y])
    assert set(search.classes_.tolist()) == set(labels)
