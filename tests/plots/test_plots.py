"""The pictures: what they draw is what the estimators and searches hold."""

import math

import numpy as np
import pandas as pd
import pytest
from helpers.estimators import HALVES
from matplotlib import pyplot
from matplotlib import rcParams as rc_params
from matplotlib.colors import Normalize, to_hex, to_rgba
from matplotlib.figure import Figure
from scipy.stats import t as student_t
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skrebatch import (
    FusedGridSearchCV,
    LabelIssuesDisplay,
    LossCurveDisplay,
    RatioCurveDisplay,
    ReBatchCNNClassifier,
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressor,
    SampleDynamicsDisplay,
    training_dynamics,
)

SMALL = {"n_networks": 1, "max_epochs": 3, "batch_size": 32, "random_state": 0}


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X)[:200], y[:200]


@pytest.fixture(scope="module")
def models(cancer):
    """Two classifiers, the second with validation losses and a longer training."""
    X, y = cancer
    plain = ReBatchCNNClassifier(ratio=0, **SMALL).fit(X, y)
    other = ReBatchCNNClassifier(ratio=0.3, **{**SMALL, "max_epochs": 5})
    return plain, other.fit(X, y, X_val=X[:50], y_val=y[:50])


@pytest.fixture(scope="module")
def regressor():
    X, y = load_diabetes(return_X_y=True)
    return ReBatchCNNRegressor(**SMALL).fit(X[:100], y[:100])


@pytest.fixture(scope="module")
def search(cancer):
    return FusedGridSearchCV(
        ReBatchCNNClassifier(**SMALL),
        {"ratio": [0.3, 0.1], "strategy": ["min-loss", "max-loss"]},
        cv=3,
        scoring="neg_log_loss",
    ).fit(*cancer)


@pytest.fixture(scope="module")
def recorded(cancer):
    model = ReBatchCNNClassifier(ratio=0.3, record_losses=True, **SMALL)
    return model.set_params(max_epochs=6).fit(*cancer)


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


@pytest.fixture(autouse=True)
def no_figures_of_others():
    pyplot.close("all")
    yield
    pyplot.close("all")


def draw_each(models, search, recorded, axes=(None,) * 4):
    """Draw every kind of picture."""
    loss, ratio, samples, choices = axes
    return [
        LossCurveDisplay.from_estimator(
            list(models), baseline=models[0], fit_line=True, ax=loss
        ),
        RatioCurveDisplay.from_search(search, ax=ratio),
        SampleDynamicsDisplay.from_estimator(recorded, ax=samples),
        SampleDynamicsDisplay.from_estimator(recorded, kind="choices", ax=choices),
    ]


def global_state():
    return np.random.get_state()[1].tolist()  # noqa: NPY002


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# What holds for all


def test_axes_are_labelled_and_global_state_stays(models, search, recorded):
    pyplot.plot([1, 2])
    mine = pyplot.gcf(), pyplot.gca()
    before = dict(rc_params), global_state()
    axes = [Figure(layout="constrained").subplots() for _ in range(4)]
    displays = draw_each(models, search, recorded, axes)
    for display, ax in zip(displays, axes, strict=True):
        assert display.ax_ is ax and display.figure_ is ax.figure
        assert ax.get_xlabel() and ax.get_ylabel()
    assert (pyplot.gcf(), pyplot.gca()) == mine
    assert pyplot.get_fignums() == [mine[0].number]
    assert (dict(rc_params), global_state()) == before


def test_without_axes_there_is_a_new_figure(models, search, recorded):
    displays = draw_each(models, search, recorded)
    assert len({display.figure_ for display in displays}) == 4
    assert len(pyplot.get_fignums()) == 4


def test_nothing_is_shown(models, search, recorded, monkeypatch):
    shown = []
    monkeypatch.setattr(pyplot, "show", lambda *args, **kwargs: shown.append(args))
    draw_each(models, search, recorded)
    assert shown == []


def test_plot_draws_again_elsewhere(models, search, recorded, ax):
    for display in draw_each(models, search, recorded):
        first = display.ax_
        assert display.plot(ax) is display
        assert display.ax_ is ax and first is not ax


@pytest.mark.parametrize(
    "package, needing",
    [
        ("matplotlib", ["LossCurve", "RatioCurve", "SampleDynamics"]),
        ("pandas", ["training_dynamics"] * 2),
    ],
)
def test_a_missing_package_names_the_extra(package, needing, hide):
    model = ReBatchCNNClassifier(n_networks=1, max_epochs=1, record_losses=True)
    model.set_params(ratio=0).fit(np.eye(4), [0, 1, 0, 1])
    # Only now: scikit-learn 1.6 takes what stands here for the package, in fit.
    hide(package)
    messages = []
    for call in (
        lambda: training_dynamics(model),
        lambda: LossCurveDisplay.from_estimator(model),
        lambda: RatioCurveDisplay.from_search(None),
        lambda: SampleDynamicsDisplay.from_estimator(model),
    ):
        try:
            call()
        except ImportError as error:
            messages.append(str(error))
        except ValueError:
            pass
    assert len(messages) == len(needing)
    for message, start in zip(messages, needing, strict=True):
        assert start in message and "skrebatch[plot]" in message and package in message


# Loss curves


def test_loss_curves_are_those_of_the_estimators(models, ax):
    plain, other = models
    display = LossCurveDisplay.from_estimator({"a": plain, "b": other}, ax=ax)
    curves = {
        ("a", "training"): plain.loss_curve_,
        ("b", "training"): other.loss_curve_,
        ("b", "validation"): other.validation_loss_curve_,
    }
    assert set(display.lines_) == set(curves)
    for key, curve in curves.items():
        epochs, drawn = display.lines_[key].get_data()
        assert epochs.tolist() == list(range(1, len(curve) + 1))
        assert drawn.tolist() == curve
    assert ax.get_ylabel() == "log loss"
    assert legend_texts(ax) == ["a, training", "b, training", "b, validation"]
    styles = {(line.get_color(), line.get_linestyle()) for line in ax.get_lines()}
    assert len(styles) == 3
    assert not display.areas_ and not display.fills_ and not display.fit_lines_


def test_one_estimator_alone_or_in_a_pipeline(models, cancer):
    _, other = models
    alone = LossCurveDisplay.from_estimator(other)
    assert legend_texts(alone.ax_) == ["training", "validation"]
    pipeline = make_pipeline(StandardScaler().fit(cancer[0]), other)
    piped = LossCurveDisplay.from_estimator(pipeline)
    assert set(piped.curves) == set(alone.curves)


def test_a_sequence_is_named_by_what_differs(cancer):
    X, y = cancer
    models = [ReBatchCNNClassifier(ratio=r, **SMALL).fit(X, y) for r in (0, 0.3)]
    display = LossCurveDisplay.from_estimator(models)
    assert legend_texts(display.ax_) == ["ratio=0", "ratio=0.3"]
    twice = LossCurveDisplay.from_estimator([models[0], clone(models[0]).fit(X, y)])
    assert legend_texts(twice.ax_) == ["1", "2"]


def test_straight_line_and_area_by_hand(ax):
    curves = {
        ("a", "training"): np.array([4.0, 3.0, 2.0]),
        ("b", "training"): np.array([4.0, 1.0, 1.0, 9.0]),  # its fourth has no peer
        ("b", "validation"): np.array([5.0]),
    }
    display = LossCurveDisplay(curves, baseline="a").plot(ax, fit_line=True)
    assert display.areas_ == {("b", "training"): 3.0}
    assert display.slopes_["a", "training"] == pytest.approx(-1)
    assert display.intercepts_["a", "training"] == pytest.approx(5)
    # Mean 3.75; the epochs' deviations -1.5 -.5 .5 1.5 give 7.5 / 5.
    assert display.slopes_["b", "training"] == pytest.approx(1.5)
    assert display.intercepts_["b", "training"] == pytest.approx(0)
    assert math.isnan(display.slopes_["b", "validation"])
    assert display.fit_lines_["b", "training"].get_ydata() == pytest.approx(
        [1.5, 3, 4.5, 6]
    )
    assert set(display.fit_lines_) == {("a", "training"), ("b", "training")}
    assert "b, training (area 3)" in legend_texts(ax)
    assert "5 − 1 · epoch" in legend_texts(ax)
    vertices = display.fills_["b", "training"].get_paths()[0].vertices
    assert {tuple(v) for v in vertices} == {
        (1, 4), (2, 3), (3, 2), (3, 1), (2, 1)
    }  # fmt: skip


def test_epochs_without_a_loss_keep_their_place(ax):
    nan = math.nan
    curves = {
        ("a", "validation"): np.array([4.0, 3.0, 2.0]),
        ("b", "validation"): np.array([nan, 3.5, 3.0, nan]),
    }
    display = LossCurveDisplay(curves, baseline="a").plot(ax, fit_line=True)
    assert display.areas_ == {("b", "validation"): -1.5}
    assert display.slopes_["b", "validation"] == pytest.approx(-0.5)
    assert display.intercepts_["b", "validation"] == pytest.approx(4.5)
    line = display.fit_lines_["b", "validation"]
    assert line.get_xdata().tolist() == [2, 3]
    assert line.get_ydata() == pytest.approx([3.5, 3])
    vertices = display.fills_["b", "validation"].get_paths()[0].vertices
    assert {tuple(v) for v in vertices} == {(2, 3), (3, 2), (3, 3), (2, 3.5)}


def test_areas_against_an_estimator(models):
    plain, other = models
    apart = LossCurveDisplay.from_estimator({"other": other}, baseline=plain)
    within = LossCurveDisplay.from_estimator(
        {"other": other, "plain": plain}, baseline=plain
    )
    expected = sum(plain.loss_curve_) - sum(other.loss_curve_[:3])
    for display, name in ((apart, "baseline"), (within, "plain")):
        assert display.baseline == name
        assert display.areas_ == {("other", "training"): pytest.approx(expected)}
        assert to_hex(display.lines_[name, "training"].get_color()) == "#000000"


def test_a_pipeline_s_step_is_recognised_as_the_baseline(models, cancer):
    plain, other = models
    pipeline = make_pipeline(StandardScaler().fit(cancer[0]), plain)
    display = LossCurveDisplay.from_estimator(
        {"plain": pipeline, "other": other}, baseline=plain
    )
    assert display.baseline == "plain"


def test_loss_curves_take_line_styles(models, ax):
    display = LossCurveDisplay.from_estimator(models[0], ax=ax, linewidth=5, color="r")
    (line,) = display.lines_.values()
    assert (line.get_linewidth(), line.get_color()) == (5, "r")


ALIASES = {
    "color": ("c", "red"),
    "linewidth": ("lw", 3),
    "linestyle": ("ls", ":"),
    "marker": ("marker", "x"),
    "markersize": ("ms", 9),
    "markeredgecolor": ("mec", "red"),
    "markerfacecolor": ("mfc", "red"),
    "markeredgewidth": ("mew", 3),
    "antialiased": ("aa", False),
}


@pytest.mark.parametrize("name", ALIASES)
def test_lines_take_styles_by_any_name(name, models, search, ax):
    alias, value = ALIASES[name]
    for given in (name, alias):
        losses = LossCurveDisplay.from_estimator(models[0], ax=ax, **{given: value})
        ratios = RatioCurveDisplay.from_search(search, ax=ax, **{given: value})
        bars = [bars.lines[0] for bars in ratios.errorbars_.values()]
        for line in (*losses.lines_.values(), *bars):
            assert pyplot.getp(line, name) == value
    if alias != name:
        both = {name: value, alias: value}
        with pytest.raises(TypeError, match="aliases of one another"):
            LossCurveDisplay.from_estimator(models[0], **both)
        with pytest.raises(TypeError, match="aliases of one another"):
            RatioCurveDisplay.from_search(search, **both)
    assert pyplot.get_fignums() == []


def test_area_and_fitted_line_have_the_colour_of_the_curve(models, ax):
    display = LossCurveDisplay.from_estimator(
        models, baseline=models[0], fit_line=True, ax=ax, c="red"
    )
    for key, fill in display.fills_.items():
        assert to_rgba("red")[:3] == tuple(fill.get_facecolor()[0, :3])
        assert display.fit_lines_[key].get_color() == "red"


def test_a_format_is_that_of_all_ratio_curves(search, ax, recwarn):
    display = RatioCurveDisplay.from_search(search, ax=ax, fmt="r--x")
    for bars in display.errorbars_.values():
        line = bars.lines[0]
        style = line.get_color(), line.get_linestyle(), line.get_marker()
        assert style == ("r", "--", "x")
    display = RatioCurveDisplay.from_search(search, ax=ax, fmt="none")
    assert [bars.lines[0] for bars in display.errorbars_.values()] == [None] * len(
        display.errorbars_
    )
    assert not recwarn


def test_the_loss_of_a_regressor_is_named(regressor):
    display = LossCurveDisplay.from_estimator(regressor)
    assert display.ax_.get_ylabel() == "squared error of the scaled target"


def test_loss_curves_refuse_what_has_none(models, regressor):
    plain, other = models
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(ReBatchCNNClassifier())
    with pytest.raises(TypeError, match="LogisticRegression"):
        LossCurveDisplay.from_estimator([plain, LogisticRegression()])
    with pytest.raises(ValueError, match="no estimators"):
        LossCurveDisplay.from_estimator([])
    with pytest.raises(ValueError, match="log loss and squared error"):
        LossCurveDisplay.from_estimator([plain, regressor])
    with pytest.raises(ValueError, match="another name"):
        LossCurveDisplay.from_estimator({"baseline": plain}, baseline=other)
    assert pyplot.get_fignums() == []


def test_a_legend_has_room_where_the_figure_has_a_layout(models):
    loose, tidy = Figure().subplots(), Figure(layout="constrained").subplots()
    for ax in (loose, tidy):
        LossCurveDisplay.from_estimator(list(models), ax=ax)
        ax.figure.draw_without_rendering()
    inside = loose.get_legend().get_window_extent()
    assert loose.get_window_extent().containsx(inside.x0)
    outside = tidy.get_legend().get_window_extent()
    assert outside.x0 >= tidy.get_window_extent().x1
    assert outside.x1 <= tidy.figure.bbox.x1


# Score against ratio


def test_ratio_curves_are_the_scores_of_the_search(search, ax):
    display = RatioCurveDisplay.from_search(search, ax=ax)
    assert list(display.scores) == ["strategy=min-loss", "strategy=max-loss"]
    assert display.test_train_ratio == pytest.approx(1 / 2)
    table = pd.DataFrame(search.cv_results_)
    for strategy in ("min-loss", "max-loss"):
        label = f"strategy={strategy}"
        own = table[table["param_strategy"] == strategy].sort_values("param_ratio")
        losses = -own[[f"split{i}_test_score" for i in range(3)]].to_numpy(float)
        assert display.ratios[label].tolist() == [0.1, 0.3]
        assert display.scores[label] == pytest.approx(losses)
        half = student_t.ppf(0.975, 2) * np.sqrt(
            (1 / 3 + 1 / 2) * losses.var(axis=1, ddof=1)
        )
        mean = losses.mean(axis=1)
        line, _, bars = display.errorbars_[label]
        assert line.get_xdata().tolist() == [0.1, 0.3]
        assert line.get_ydata() == pytest.approx(mean)
        ends = np.array([bar[:, 1] for bar in bars[0].get_segments()])
        assert ends == pytest.approx(np.column_stack([mean - half, mean + half]))
        assert display.intervals_[label] == pytest.approx(np.c_[mean, ends])
    assert legend_texts(ax) == list(display.scores)
    assert ax.get_ylabel().startswith("log loss (lower is better)")
    assert "95% interval (Nadeau–Bengio)" in ax.get_ylabel()


def test_interval_by_hand(ax):
    # Mean 2, variance 1, 1/3 + 1/2 = 5/6, and the table's t(.975, 2) = 4.3027.
    display = RatioCurveDisplay(
        {"": np.array([0.1])}, {"": np.array([[1.0, 2.0, 3.0]])}, test_train_ratio=1 / 2
    ).plot(ax)
    half = 4.302652729911275 * math.sqrt(5 / 6)
    assert display.intervals_[""] == pytest.approx(np.array([[2, 2 - half, 2 + half]]))
    assert ax.get_legend() is None


def test_all_that_is_drawn_is_in_sight_and_beside_its_neighbours(search, ax):
    display = RatioCurveDisplay.from_search(search, ax=ax)
    ax.figure.draw_without_rendering()
    centres = []
    for bars in display.errorbars_.values():
        window = bars[0].get_window_extent()
        assert ax.bbox.x0 < window.x0 and window.x1 < ax.bbox.x1
        assert ax.bbox.y0 < window.y0 and window.y1 < ax.bbox.y1
        assert all(
            artist.get_transform() == bars[0].get_transform()
            for artist in bars.get_children()
        )
        centres.append((window.x0 + window.x1) / 2)
    points = (centres[1] - centres[0]) / ax.figure.dpi * 72
    assert points == pytest.approx(4)


def test_the_search_may_be_scikit_learn_s_and_over_a_pipeline(cancer):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), ReBatchCNNClassifier(**SMALL)),
        {"rebatchcnnclassifier__ratio": [0, 0.3]},
        cv=StratifiedKFold(2),
    ).fit(*cancer)
    display = RatioCurveDisplay.from_search(search)
    assert list(display.scores) == [""]
    assert display.ratios[""].tolist() == [0, 0.3]
    assert display.ax_.get_ylabel().startswith("accuracy (higher is better)")


def test_a_search_that_halves_its_candidates_is_refused(cancer):
    model = ReBatchCNNClassifier(**SMALL)
    search = HalvingGridSearchCV(
        model, {"ratio": [0, 0.3]}, cv=2, min_resources=100, random_state=0
    ).fit(*cancer)
    with pytest.raises(ValueError, match="HalvingGridSearchCV can't be compared"):
        RatioCurveDisplay.from_search(search)


def test_a_single_score_may_be_named(cancer):
    model = ReBatchCNNClassifier(**SMALL)
    options = {"cv": 2, "scoring": "neg_log_loss"}
    search = FusedGridSearchCV(model, {"ratio": [0, 0.3]}, **options).fit(*cancer)
    named = RatioCurveDisplay.from_search(search, scoring="neg_log_loss")
    unnamed = RatioCurveDisplay.from_search(search)
    np.testing.assert_array_equal(named.scores[""], unnamed.scores[""])
    with pytest.raises(ValueError, match=r"scores of the search, \['score'\]"):
        RatioCurveDisplay.from_search(search, scoring="accuracy")


def test_intervals_of_another_confidence(search):
    wide, narrow = (
        RatioCurveDisplay.from_search(search, confidence=confidence)
        for confidence in (0.95, 0.5)
    )
    for label, own in wide.intervals_.items():
        assert (np.diff(narrow.intervals_[label][:, 1:]) < np.diff(own[:, 1:])).all()
    assert "50% interval" in narrow.ax_.get_ylabel()


def test_seeds_are_averaged_within_each_split(cancer):
    search = FusedGridSearchCV(
        ReBatchCNNClassifier(**SMALL),
        {"ratio": [0.1, 0.3], "random_state": [0, 1, 2]},
        cv=2,
    ).fit(*cancer)
    display = RatioCurveDisplay.from_search(search)
    assert display.scores[""].shape == (2, 2)
    table = pd.DataFrame(search.cv_results_)
    of_ratio = table[table["param_ratio"] == 0.1]
    expected = of_ratio[["split0_test_score", "split1_test_score"]].mean()
    assert display.scores[""][0] == pytest.approx(expected.to_numpy())


def results_of(scores, cv=None, **params):
    """Return a search of which only the results are there: (n_candidates, n_splits)."""
    search = GridSearchCV(ReBatchCNNClassifier(), {}, cv=cv, scoring="accuracy")
    scores = np.array(scores, dtype=float)
    search.cv_results_ = {
        "params": [
            dict(zip(params, values, strict=True))
            for values in zip(*params.values(), strict=True)
        ],
        **{f"split{i}_test_score": own for i, own in enumerate(scores.T)},
    }
    return search


def test_too_many_lines_leave_the_best():
    scores = np.repeat([[0.1], [0.9], [0.5], [0.3]], 2, axis=1)
    search = results_of(scores, cv=2, ratio=[0.1] * 4, repeats=[0, 1, 2, 3])
    with pytest.warns(UserWarning, match="best 2 of 4"):
        display = RatioCurveDisplay.from_search(search, max_lines=2)
    assert list(display.scores) == ["repeats=1", "repeats=2"]


def test_the_control_is_always_drawn_and_inside_the_axes():
    scores = np.repeat([[0.1], *[[0.5 + i / 100] for i in range(12)]], 2, axis=1)
    search = results_of(
        scores, cv=2, ratio=[0] + [0.1] * 12, repeats=["none", *range(12)]
    )
    with pytest.warns(UserWarning, match="best 12 of 13"):
        display = RatioCurveDisplay.from_search(search, max_lines=12)
    assert next(iter(display.scores)) == "repeats=none"
    assert len(display.scores) == 12
    display.figure_.set_size_inches(4, 2)
    display.figure_.draw_without_rendering()
    axes = display.ax_.get_window_extent()
    styles = set()
    for bars in display.errorbars_.values():
        line = bars.lines[0]
        styles.add((line.get_color(), line.get_marker()))
        place = line.get_transform().transform(line.get_xydata())
        assert axes.contains(*place[0])
    assert len(styles) == 12


def test_the_best_losses_are_the_lowest(recwarn):
    scores = -np.repeat([[0.1], [0.9], [np.nan]], 2, axis=1)
    search = results_of(scores, cv=2, ratio=[0.1] * 3, repeats=[0, 1, 2])
    search.scoring = "neg_log_loss"
    display = RatioCurveDisplay.from_search(search, max_lines=1)
    assert list(display.scores) == ["repeats=0"]
    assert display.scores["repeats=0"].tolist() == [[0.1, 0.1]]


def test_parameters_that_only_some_candidates_name():
    search = results_of([[0.5, 0.5], [0.6, 0.6]], cv=2, ratio=[0, 0.1])
    search.cv_results_["params"][1]["repeats"] = 2
    display = RatioCurveDisplay.from_search(search)
    assert list(display.scores) == ["repeats=as set", "repeats=2"]


@pytest.mark.parametrize(
    "cv, n_splits, expected",
    [
        (None, 5, 1 / 4),
        (3, 3, 1 / 2),
        (StratifiedKFold(4), 4, 1 / 3),
        (RepeatedStratifiedKFold(n_splits=3, n_repeats=2), 6, 1 / 2),
    ],
)
def test_the_sizes_of_folds(cv, n_splits, expected):
    search = results_of(np.ones((1, n_splits)), cv=cv, ratio=[0.1])
    display = RatioCurveDisplay.from_search(search)
    assert display.test_train_ratio == pytest.approx(expected)


@pytest.mark.parametrize("cv", [ShuffleSplit(2), TimeSeriesSplit(2), [([0], [1])] * 2])
def test_the_sizes_of_other_splits_are_asked_for(cv):
    search = results_of([[0.5, 0.7]], cv=cv, ratio=[0.1])
    with pytest.raises(ValueError, match="test_train_ratio"):
        RatioCurveDisplay.from_search(search)
    display = RatioCurveDisplay.from_search(search, test_train_ratio=0.1)
    assert display.test_train_ratio == 0.1


@pytest.mark.filterwarnings("ignore:.*converting a masked element to nan")
def test_one_split_has_no_interval():
    search = results_of([[0.5], [0.6]], cv=[([0], [1])], ratio=[0, 0.1])
    display = RatioCurveDisplay.from_search(search, test_train_ratio=0.5)
    assert display.intervals_[""][:, 0].tolist() == [0.5, 0.6]
    assert np.isnan(display.intervals_[""][:, 1:]).all()


def test_of_several_scores_one_is_named(cancer):
    search = FusedGridSearchCV(
        ReBatchCNNClassifier(**SMALL),
        {"ratio": [0.1, 0.3]},
        cv=2,
        scoring=["accuracy", "neg_log_loss"],
        refit="accuracy",
    ).fit(*cancer)
    first = RatioCurveDisplay.from_search(search)
    assert first.score_name == "accuracy (higher is better)"
    other = RatioCurveDisplay.from_search(search, scoring="neg_log_loss")
    assert other.score_name == "log loss (lower is better)"
    expected = -search.cv_results_["mean_test_neg_log_loss"]
    assert other.intervals_[""][:, 0] == pytest.approx(expected)
    search.refit = False
    with pytest.raises(ValueError, match="'accuracy', 'neg_log_loss'"):
        RatioCurveDisplay.from_search(search)


def test_estimators_that_find_their_ratio(cancer):
    grid = {"ratio": [0.3, 0.1], "repeats": [0, 1]}
    held = ReBatchCNNClassifier(**{**SMALL, **HALVES}, record_losses=True)
    model = ReBatchCNNClassifierCV(held, grid).fit(*cancer)
    display = RatioCurveDisplay.from_estimator(make_pipeline(model))
    assert display.score_name == "area under the ROC curve (higher is better)"
    assert display.test_train_ratio == 1
    assert list(display.scores) == ["repeats=0", "repeats=1"]
    means = np.concatenate([own[:, 0] for own in display.intervals_.values()])
    scores = [model.cv_results_[f"split{k}_test_score"] for k in (0, 1)]
    assert sorted(means) == pytest.approx(sorted(np.mean(scores, axis=0)))
    curve = LossCurveDisplay.from_estimator(model).curves[
        "ReBatchCNNClassifier", "training"
    ]
    assert curve.tolist() == model.loss_curve_
    pd.testing.assert_frame_equal(
        training_dynamics(model), training_dynamics(model.best_estimator_)
    )


def test_ratio_curves_refuse_what_is_no_search_over_the_ratio(models):
    with pytest.raises(ValueError, match="cv_results_"):
        RatioCurveDisplay.from_search(FusedGridSearchCV(models[0], {"ratio": [0]}))
    with pytest.raises(TypeError, match="must be a ReBatchCNNClassifierCV"):
        RatioCurveDisplay.from_estimator(models[0])
    with pytest.raises(NotFittedError):
        RatioCurveDisplay.from_estimator(ReBatchCNNClassifierCV())
    with pytest.raises(ValueError, match="parameters are \\['lr'\\]"):
        RatioCurveDisplay.from_search(results_of([[1, 1]], cv=2, lr=[0.1]))
    with pytest.raises(ValueError, match="every candidate"):
        search = results_of([[1, 1]] * 2, cv=2, ratio=[0.1, 0.2])
        search.cv_results_["params"][0] = {"lr": 0.1}
        RatioCurveDisplay.from_search(search)
    assert pyplot.get_fignums() == []


# The samples


def test_data_map(recorded, ax):
    display = SampleDynamicsDisplay.from_estimator(recorded, ax=ax)
    dynamics = training_dynamics(recorded)
    places = dynamics[["variability", "confidence"]].to_numpy()
    assert np.array(display.map_.get_offsets()) == pytest.approx(places)
    times = recorded.times_chosen_
    assert display.map_.get_array().tolist() == times.tolist()
    assert display.map_.get_clim() == (times.min(), times.max())
    assert display.colorbar_.mappable is display.map_
    assert "chosen" in display.colorbar_.ax.get_ylabel()


def drawn_shares(display):
    """Return the colours of the heat map: (n_bins, n_recorded)."""
    return np.reshape(display.mesh_.get_array(), (-1, len(display.epochs)))


def dynamics_of(mean_loss, **columns):
    frame = pd.DataFrame({"mean_loss": mean_loss, **columns})
    return frame.reindex(
        columns=["mean_loss", "confidence", "variability", "times_chosen"], fill_value=0
    )


def test_data_map_of_many_samples(ax):
    rng = np.random.default_rng(0)
    n_samples = 20_000
    dynamics = dynamics_of(
        rng.random(n_samples),
        confidence=rng.random(n_samples),
        variability=rng.random(n_samples) / 2,
        times_chosen=np.full(n_samples, 3),
    )
    display = SampleDynamicsDisplay(dynamics, np.zeros((1, n_samples)), np.ones(1))
    display.plot(ax)
    assert len(display.map_.get_offsets()) < n_samples
    assert set(display.map_.get_array()) == {3.0}


def test_choices_by_hand(ax):
    # By rising mean loss the samples are 1, 2, 0.
    choices = np.array([[True, False, False], [True, False, True]])
    dynamics = dynamics_of([0.9, 0.1, 0.5])
    display = SampleDynamicsDisplay(dynamics, choices, np.array([2, 4]))
    display.plot(ax, kind="choices")
    assert drawn_shares(display).tolist() == [[0, 0], [0, 1], [1, 1]]
    corners = display.mesh_.get_coordinates()
    assert corners[0, :, 0].tolist() == [1, 3, 5]
    assert corners[:, 0, 1].tolist() == [0, 1, 2, 3]


def test_choices_of_many_samples_are_shares(ax):
    rng = np.random.default_rng(0)
    n_samples = 1003
    mean_loss = rng.random(n_samples)
    choices = rng.random((3, n_samples)) < [[0.1], [0.5], [0.9]]
    display = SampleDynamicsDisplay(
        dynamics_of(mean_loss), choices, np.array([1, 2, 3])
    ).plot(ax, kind="choices")
    shares = np.array(drawn_shares(display))
    edges = np.array(display.mesh_.get_coordinates()[:, 0, 1])
    assert len(shares) < n_samples and (edges[0], edges[-1]) == (0, n_samples)
    by_loss = choices[:, np.argsort(mean_loss)]
    first = int(edges[1])
    assert shares[0] == pytest.approx(by_loss[:, :first].mean(axis=1))
    # Nobody is lost: the cells' samples are the chosen ones.
    chosen = (shares * np.diff(edges)[:, None]).sum(axis=0)
    assert chosen == pytest.approx(choices.sum(axis=1))


@pytest.mark.parametrize("n_samples", [1, 5])
def test_one_epoch_in_which_nobody_was_chosen(ax, n_samples):
    display = SampleDynamicsDisplay(
        dynamics_of(np.ones(n_samples)), np.zeros((1, n_samples), bool), np.array([7])
    ).plot(ax, kind="choices")
    assert display.mesh_.get_coordinates()[0, :, 0].tolist() == [6.5, 7.5]
    assert not drawn_shares(display).any()
    assert display.mesh_.get_clim() == (0, 1)


def test_choices_are_those_of_the_training(recorded, cancer):
    pipeline = make_pipeline(StandardScaler().fit(cancer[0]), recorded)
    display = SampleDynamicsDisplay.from_estimator(pipeline, kind="choices")
    order = np.argsort(recorded.recorded_losses_.mean(axis=0, dtype=float))
    expected = recorded.recorded_choices_[:, order].T
    assert drawn_shares(display).tolist() == expected.tolist()


def test_sample_dynamics_take_styles(recorded):
    display = SampleDynamicsDisplay.from_estimator(recorded, cmap="magma")
    assert display.map_.get_cmap().name == "magma"
    display = SampleDynamicsDisplay.from_estimator(recorded, kind="choices", vmax=1)
    assert display.mesh_.get_clim() == (0, 1)


def sized(n_samples):
    """Dynamics of so many samples."""
    rng = np.random.default_rng(0)
    dynamics = dynamics_of(
        rng.random(n_samples),
        confidence=rng.random(n_samples),
        variability=rng.random(n_samples) / 2,
        times_chosen=rng.integers(9, size=n_samples),
    )
    choices = rng.random((2, n_samples)) > 0.5
    return SampleDynamicsDisplay(dynamics, choices, np.array([1, 2]))


@pytest.mark.parametrize("n_samples", [50, 20_000])
def test_a_data_map_takes_styles_by_any_name(n_samples, ax, recwarn):
    for names, value in (
        (("linewidth", "linewidths", "lw"), 3),
        (("edgecolor", "edgecolors", "ec"), "red"),
    ):
        for name in names:
            drawn = sized(n_samples).plot(ax, **{name: value}).map_
            assert drawn.get_array() is not None
            if value == 3:
                assert set(drawn.get_linewidth()) == {3}
            else:
                assert drawn.get_edgecolor().tolist() == [[1, 0, 0, 1]]
    for name in ("c", "color", "facecolor", "facecolors", "fc"):
        display = sized(n_samples).plot(ax, **{name: "red"})
        ax.figure.canvas.draw()
        assert display.map_.get_facecolor().tolist() == [[1, 0, 0, 1]]
        assert display.colorbar_ is None
    for marker in ("x", "s", None) if n_samples == 50 else ():
        sized(n_samples).plot(ax, marker=marker)
    assert not recwarn


@pytest.mark.parametrize("n_samples", [50, 20_000])
def test_a_data_map_of_other_values(n_samples, ax):
    display = sized(n_samples).plot(ax, c=np.full(n_samples, 7.0))
    assert set(display.map_.get_array()) == {7}
    assert display.map_.get_cmap().name == "viridis_r"
    assert display.colorbar_.ax.get_ylabel() == ""


def test_choices_take_styles_by_any_name(ax):
    for name in ("edgecolor", "edgecolors", "ec"):
        mesh = sized(50).plot(ax, kind="choices", **{name: "red"}).mesh_
        assert mesh.get_edgecolor().tolist() == [[1, 0, 0, 1]]
    mesh = sized(50).plot(ax, kind="choices", norm=Normalize(0, 2)).mesh_
    assert mesh.get_clim() == (0, 2)


def test_sample_dynamics_refuse_what_recorded_nothing(models, recorded):
    with pytest.raises(NotFittedError):
        SampleDynamicsDisplay.from_estimator(ReBatchCNNClassifier())
    with pytest.raises(ValueError, match="record_losses=True"):
        SampleDynamicsDisplay.from_estimator(models[0])
    with pytest.raises(ValueError, match='"map" or "choices"'):
        SampleDynamicsDisplay.from_estimator(recorded, kind="heat")
    assert pyplot.get_fignums() == []


def test_a_list_of_one_is_not_its_own_baseline(regressor):
    assert LossCurveDisplay.from_estimator([regressor]).areas_ == {}


def test_arguments_that_can_t_be_meant_are_refused(models, search, recorded):
    for draw in (
        lambda ax: LossCurveDisplay.from_estimator(models, ax=ax),
        lambda ax: RatioCurveDisplay.from_search(search, ax=ax),
        lambda ax: SampleDynamicsDisplay.from_estimator(recorded, ax=ax),
    ):
        with pytest.raises(TypeError, match="ax must be a matplotlib Axes"):
            draw(pyplot)
    with pytest.raises(ValueError, match="fit_line must be True or False"):
        LossCurveDisplay.from_estimator(models, fit_line="yes")
    for name, value in (("max_lines", 0), ("test_train_ratio", -0.5)):
        with pytest.raises(ValueError, match=name):
            RatioCurveDisplay.from_search(search, **{name: value})
    assert pyplot.get_fignums() == []


# --- label issues ---


def test_label_issues_by_hand():
    issues = pd.DataFrame(
        {
            "is_label_issue": [True, True, True, False, False],
            "label_quality": [0.01, 0.02, 0.3, 0.31, 1.0],
            "given_label": ["a", "a", "b", "a", "b"],
            "predicted_label": ["b", "b", "a", "a", "b"],
        }
    )
    display = LabelIssuesDisplay.from_frame(issues, bins=[0, 0.5, 1])
    heights = [[bar.get_height() for bar in bars] for bars in display.ax_.containers]
    assert heights == [[3, 0], [1, 1]]
    assert display.counts_.to_dict() == {("a", "b"): 2, ("b", "a"): 1}
    assert display.figure_ is display.ax_.figure
    with pytest.raises(ValueError, match=r"\['label_quality'\] are missing"):
        LabelIssuesDisplay.from_frame(issues.drop(columns="label_quality"))
