"""Tables of a search's results: its scores, its times and its failures."""

import gc

import numpy as np
import pytest
from helpers.estimators import make_data
from helpers.searches import (
    NET_RATIOS,
    RATIOS,
    ROWS,
    assert_same_search,
    both,
    net,
    pipe,
    scores_of,
)
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer, make_scorer, mean_absolute_error
from sklearn.model_selection import GridSearchCV, KFold

from skrebatch import DivergedError, FusedGridSearchCV, TabularCNN

# --- scores and times ---


def both_scores(model, X, y):
    predicted = model.predict(X)
    return {"right": np.mean(predicted == y), "ones": np.mean(predicted == 1)}


@pytest.mark.parametrize("refit", [False, "recall", "accuracy", min])
@pytest.mark.parametrize(
    "scoring",
    [
        ["accuracy", "recall"],
        ("recall", "accuracy"),
        {"recall": "recall", "accuracy": lambda m, X, y: m.score(X, y)},
    ],
    ids=["list", "tuple", "dict"],
)
def test_several_scores(scoring, refit):
    X, y = make_data(n=ROWS)
    if refit is min:

        def refit(results):
            return results["rank_test_recall"].argmax()

    fused = both(
        net(), RATIOS, X, y, scoring=scoring, refit=refit, return_train_score=True
    )
    assert "split2_train_recall" in fused.cv_results_
    assert set(fused.scorer_) == {"accuracy", "recall"}


def test_a_callable_that_gives_several_scores():
    X, y = make_data(n=ROWS)
    for refit in ("ones", False):
        both(net(), RATIOS, X, y, scoring=both_scores, refit=refit)
    for search in (GridSearchCV, FusedGridSearchCV):
        with pytest.raises(ValueError, match="refit"):
            search(net(), RATIOS, scoring=both_scores).fit(X, y)


@pytest.mark.parametrize(
    "scoring",
    ["balanced_accuracy", "roc_auc", "neg_log_loss", get_scorer("f1"), None],
    ids=str,
)
def test_one_score(scoring):
    X, y = make_data(n=ROWS)
    both(
        net(),
        RATIOS,
        X,
        y,
        scoring=scoring,
        return_train_score=True,
        tolerance=1e-10,
    )


def test_an_own_scorer_of_numbers():
    X, y = make_data("regression", n=ROWS)
    scorer = make_scorer(mean_absolute_error, greater_is_better=False)
    fused = both(net("regression"), RATIOS, X, y, scoring=scorer, tolerance=1e-10)
    assert fused.best_score_ < 0
    assert fused.score(X, y) == -mean_absolute_error(y, fused.predict(X))


def test_refit_by_a_callable_sees_all_results():
    X, y = make_data(n=ROWS)
    seen = []

    def middle(results):
        seen.append(results)
        return 1

    fused = both(net(), RATIOS, X, y, refit=middle)
    assert fused.best_params_ == {"ratio": 0.5}
    assert not hasattr(fused, "best_score_")
    plain, own = seen
    assert list(own) == list(plain)
    np.testing.assert_array_equal(
        own["mean_fit_time"], fused.cv_results_["mean_fit_time"]
    )
    assert (own["mean_fit_time"] > 0).all()
    with pytest.raises(IndexError):
        FusedGridSearchCV(net(), RATIOS, cv=2, refit=lambda r: 2).fit(X, y)


def test_times_are_shares_of_the_whole():
    X, y = make_data(n=ROWS)
    slow = FusedGridSearchCV(net(), {"max_epochs": [1, 100]}, cv=2, max_stack=1)
    times = slow.fit(X, y).cv_results_
    assert times["mean_fit_time"][1] > 5 * times["mean_fit_time"][0] > 0
    assert (times["mean_score_time"] > 0).all()
    # In one stack all take the same.
    shared = FusedGridSearchCV(net(), {"random_state": [0, 1]}, cv=2).fit(X, y)
    assert len(set(shared.cv_results_["mean_fit_time"])) == 1
    assert (shared.cv_results_["std_fit_time"] < 1e-12).all()


# --- failures ---


def failing(model, grid, X, y, *, n_failed, **options):
    """Search in both ways, and expect warnings of so many failed fits."""
    searches = []
    for search in (GridSearchCV, FusedGridSearchCV):
        with pytest.warns() as caught:
            searches.append(search(model, grid, cv=3, **options).fit(X, y))
        texts = [str(w.message) for w in caught if w.category is FitFailedWarning]
        assert len(texts) == 1
        assert f"{n_failed} fits failed out of a total of" in texts[0]
    plain, fused = searches
    assert_same_search(fused, plain)
    return fused, texts[0]


BAD = {
    "a parameter out of range": ({"ratio": [0.1, -1, 0.5]}, "ratio must be"),
    "an unknown name": ({"strategy": ["min-loss", "best", "random"]}, "strategy must"),
    "a diverging loss": ({"lr": [0.01, 1e200, 0.1]}, "DivergedError"),
}


@pytest.mark.parametrize("error_score", [np.nan, 0, np.float64(-7.5)])
@pytest.mark.parametrize("name", BAD)
def test_a_failing_candidate_spoils_no_neighbour(name, error_score):
    X, y = make_data(n=ROWS)
    grid, word = BAD[name]
    fused, text = failing(
        net(), grid, X, y, n_failed=3, error_score=error_score, return_train_score=True
    )
    assert word in text
    assert (scores_of(fused)[:, 1] == error_score).all() or np.isnan(error_score)
    ((param, values),) = grid.items()
    good = FusedGridSearchCV(
        net(), {param: [values[0], values[2]]}, cv=3, return_train_score=True
    ).fit(X, y)
    np.testing.assert_array_equal(scores_of(fused)[:, [0, 2]], scores_of(good))
    if np.isnan(error_score):
        assert fused.cv_results_["rank_test_score"][1] == 3
        assert np.isnan(scores_of(fused)[:, 1]).all()


def test_failures_where_there_are_several_scores():
    X, y = make_data(n=ROWS)
    for scoring in (["accuracy", "recall"], both_scores):
        options = {"scoring": scoring, "refit": False}
        fused, _ = failing(net(), {"ratio": [-1, 0.1]}, X, y, n_failed=3, **options)
        assert np.isnan(scores_of(fused)[:, 0]).all()
        assert np.isfinite(scores_of(fused)[:, 1]).all()


def test_failures_of_earlier_steps_and_of_others():
    X, y = make_data(n=ROWS)
    model = pipe("binary", ("pca", PCA()))
    fused, _ = failing(
        model, {"pca__n_components": [2, 99], "net__ratio": [0.1, 9]}, X, y, n_failed=6
    )
    assert np.isnan(fused.cv_results_["mean_test_score"]).tolist() == [0, 1, 0, 1]
    grids = [NET_RATIOS, {"net": [LogisticRegression()], "net__C": [-1, 1]}]
    failing(pipe(), grids, X, y, n_failed=3)


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_fold_that_can_t_be_fitted():
    X, y = make_data(n=ROWS)
    ones = np.flatnonzero(y == 1)
    cv = [(ones, np.arange(60)), (np.arange(40), np.arange(40, 60))]
    for search in (GridSearchCV, FusedGridSearchCV):
        with pytest.warns(FitFailedWarning, match="one class"):
            results = search(net(), RATIOS, cv=cv).fit(X, y).cv_results_
        assert np.isnan(results["split0_test_score"]).all()
        assert np.isfinite(results["split1_test_score"]).all()


@pytest.mark.parametrize(
    "grid, error",
    [
        ({"ratio": [0.1, -1]}, ValueError),
        ({"lr": [0.01, 1e200]}, DivergedError),
        ({"callbacks": [None, [1]]}, Exception),
    ],
    ids=str,
)
def test_errors_may_be_raised(grid, error):
    X, y = make_data(n=ROWS)
    messages = []
    for search in (GridSearchCV, FusedGridSearchCV):
        with pytest.raises(error) as raised:
            search(net(), grid, cv=3, error_score="raise").fit(X, y)
        messages.append((raised.type, str(raised.value)))
    assert messages[0] == messages[1]


def test_when_all_fail():
    X, y = make_data(n=ROWS)
    for search in (GridSearchCV, FusedGridSearchCV):
        with pytest.raises(ValueError, match="All the 6 fits failed"):
            search(net(), {"ratio": [-1, -2]}, cv=3).fit(X, y)


class Picky:
    """A scorer that refuses some tables."""

    def __init__(self, refused):
        self.refused = refused

    def __call__(self, model, X, y):
        if X[0, 0] in self.refused:
            raise RuntimeError("not these")
        return model.score(X, y)


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
@pytest.mark.parametrize("several", [False, True])
def test_a_failing_scorer(several):
    X, y = make_data(n=ROWS)
    cv = KFold(3)
    picky = Picky([X[test[0], 0] for _, test in list(cv.split(X))[1:]])
    options = {"scoring": picky, "cv": cv, "refit": False}
    if several:
        options["scoring"] = {"picky": picky, "accuracy": "accuracy"}
    for error_score in (np.nan, 0.5):
        searches = []
        for search in (GridSearchCV, FusedGridSearchCV):
            with pytest.warns(UserWarning, match="Scoring failed") as caught:
                searches.append(
                    search(net(), RATIOS, error_score=error_score, **options).fit(X, y)
                )
            failed = [w for w in caught if "Scoring failed" in str(w.message)]
            assert len(failed) == 4
            assert "not these" in str(failed[0].message)
        assert_same_search(*searches[::-1])
        name = "picky" if several else "score"
        results = searches[1].cv_results_
        np.testing.assert_array_equal(results[f"split1_test_{name}"], error_score)
        assert np.isfinite(results[f"split0_test_{name}"]).all()
    for search in (GridSearchCV, FusedGridSearchCV):
        with pytest.raises(RuntimeError, match="not these"):
            search(net(), RATIOS, error_score="raise", **options).fit(X, y)


def n_networks_alive():
    return sum(type(thing) is TabularCNN for thing in gc.get_objects())


class Refusing:
    """A scorer that fails, and counts the networks alive."""

    def __init__(self):
        self.counts = []

    def __call__(self, model, X, y):
        self.counts.append(n_networks_alive())
        try:
            model.predict(X[:, :1])
        except ValueError as error:
            raise RuntimeError("no score") from error


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_failing_scorers_let_go_of_the_networks():
    X, y = make_data(n=ROWS)
    scorer = Refusing()
    options = {"cv": 2, "scoring": scorer, "refit": False, "max_stack": 1}
    before = n_networks_alive()
    # The warning says where it failed.
    with pytest.warns(UserWarning, match="model.predict"):
        FusedGridSearchCV(net(), {"random_state": range(6)}, **options).fit(X, y)
    assert len(scorer.counts) == 12
    assert max(scorer.counts) <= before + 2


@pytest.mark.filterwarnings(
    "ignore:One or more of the test scores are non-finite", "ignore:Scoring failed"
)
def test_failing_fits_let_go_of_the_networks():
    X, y = make_data(n=ROWS)
    scorer = Refusing()
    grid = {"lr": [1e200, 0.01], "random_state": range(6)}
    options = {"cv": 2, "scoring": scorer, "refit": False, "max_stack": 1}
    before = n_networks_alive()
    with pytest.warns(FitFailedWarning, match="DivergedError"):
        FusedGridSearchCV(net(), grid, **options).fit(X, y)
    assert len(scorer.counts) == 12
    assert max(scorer.counts) <= before + 2
