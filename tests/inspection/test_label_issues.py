"""Finding wrong labels and targets."""

import warnings
from decimal import Decimal
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.datasets import load_diabetes, make_blobs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrebatch import (
    MinLoss,
    ReBatchCNNClassifier,
    ReBatchCNNRegressor,
    find_label_issues,
    training_dynamics,
)
from skrebatch.inspection._label_issues import count_confident

QUICK = {"ratio": 0, "architecture": "mlp", "max_epochs": 15, "lr": 0.02}
TINY = {**QUICK, "max_epochs": 1, "n_networks": 1, "early_stopping": False}


def blobs(n_classes, n=None, seed=0):
    """Separable classes, some labels of which are wrong."""
    X, y = make_blobs(n or 12 * n_classes, 8, centers=n_classes, random_state=seed)
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(len(y))[: len(y) // 10]
    noisy = y.copy()
    noisy[wrong] = (y[wrong] + rng.integers(1, n_classes, len(wrong))) % n_classes
    return X, y, noisy, wrong


def test_confident_learning_by_hand():
    proba = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6]])
    codes = np.array([0, 0, 0, 1, 1])
    # The thresholds are .6 and .75: of row 4 no class is confident.
    found = count_confident(proba, codes)
    assert found.tolist() == [False, False, True, False, False]
    # A row whose label is the most probable class is not counted, although the other
    # class is confident.
    proba[2], proba[4] = [0.55, 0.45], [0.7, 0.3]
    assert not count_confident(proba, codes).any()
    proba[2], proba[4] = [0.2, 0.8], [0.4, 0.6]
    # A class that nobody has been given is never confident.
    proba = np.column_stack([proba, np.zeros(5)])
    assert count_confident(proba, codes).tolist() == found.tolist()


@pytest.mark.filterwarnings("ignore:y contains 100 different whole numbers")
@pytest.mark.parametrize("n_classes", [2, 10, 100])
def test_wrong_labels_are_found_among_any_number_of_classes(n_classes):
    X, _, noisy, wrong = blobs(n_classes, n=max(120, 10 * n_classes))
    issues = find_label_issues(X, noisy, random_state=0)
    found = issues.index[issues["is_label_issue"]]
    assert np.isin(found, wrong).mean() > 0.8
    assert np.isin(wrong, found).mean() > 0.8
    assert 0.08 < issues.attrs["share_of_issues"] < 0.13


def test_the_frame_keeps_the_index_and_the_labels():
    X, y, noisy, wrong = blobs(3)
    names = np.array(["ant", "bee", "cat"])
    frame = pd.DataFrame(X).set_index(pd.Index([f"r{i}" for i in range(len(X))]))
    issues = find_label_issues(
        frame, pd.Series(names[noisy]), ReBatchCNNClassifier(**QUICK), random_state=0
    )
    assert list(issues) == [
        *("is_label_issue", "label_quality", "given_label", "predicted_label"),
    ]
    assert issues["label_quality"].is_monotonic_increasing
    assert set(issues.index[: len(wrong)]) == {f"r{i}" for i in wrong}
    ordered = issues.loc[frame.index]
    assert ordered["given_label"].tolist() == names[noisy].tolist()
    assert ordered["predicted_label"].tolist() == names[y].tolist()
    assert issues["is_label_issue"].sum() == round(
        issues.attrs["share_of_issues"] * len(issues)
    )


def test_a_fitted_estimator_is_used_as_it_is():
    X, _, noisy, _ = blobs(3)
    model = make_pipeline(
        StandardScaler(),
        ReBatchCNNClassifier(**QUICK, record_losses=True, random_state=0),
    ).fit(X, noisy)
    issues = find_label_issues(X, noisy, model)
    quality = training_dynamics(model)["label_quality"]
    assert issues["label_quality"].sort_index().tolist() == quality.tolist()
    # An estimator that is not fitted is left so, and is prepared in the same way.
    plain = ReBatchCNNClassifier(**QUICK, random_state=0)
    pd.testing.assert_frame_equal(find_label_issues(X, noisy, plain), issues)
    assert not hasattr(plain, "module_")
    with pytest.raises(ValueError, match="fitted to 36 rows, but y has 35"):
        find_label_issues(X[1:], noisy[1:], model)
    with pytest.raises(ValueError, match="record_losses=True"):
        find_label_issues(X, noisy, plain.fit(X, noisy))


def test_several_labels():
    X, y, _, _ = blobs(4, n=80)
    both = np.column_stack([y // 2, y % 2])
    both[[3, 40], 1] = 1 - both[[3, 40], 1]
    model = ReBatchCNNClassifier(**QUICK)
    issues = find_label_issues(X, both, model, random_state=0)
    assert set(issues.index[:2]) == {3, 40}
    assert set(issues.index[issues["is_label_issue"]]) == {3, 40}
    given = tuple(np.flatnonzero(both[3]).tolist())
    assert issues.loc[3, "given_label"] == given != issues.loc[3, "predicted_label"]


@pytest.mark.parametrize("n_targets", [1, 2])
def test_wrong_numbers(n_targets):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3))
    y = X[:, 0] + 0.1 * rng.normal(size=100) + 10
    y[[5, 50]] /= 10
    targets = y if n_targets == 1 else np.column_stack([X[:, 1], y])
    issues = find_label_issues(X, targets, ReBatchCNNRegressor(**QUICK), random_state=0)
    assert set(issues.index[:2]) == {5, 50}
    assert issues["is_label_issue"][:2].all()
    assert issues.attrs["share_of_issues"] < 0.1
    if n_targets == 1:
        # Fractions are numbers, without being told so.
        default = find_label_issues(X, targets, random_state=0)
        assert set(default.index[:2]) == {5, 50}


def test_gaps_constants_and_categories_are_prepared():
    X, y, noisy, wrong = blobs(3)
    X[0, 0] = np.nan
    frame = pd.DataFrame(1e4 * X, columns=list("abcdefgh")).assign(
        empty=np.nan,
        constant=7,
        text=np.where(y == 0, "x", None),
        kind=pd.Categorical(y % 2),
    )
    model = ReBatchCNNClassifier(**QUICK)
    issues = find_label_issues(frame, noisy, model, random_state=0)
    assert set(issues.index[: len(wrong)]) == set(wrong)
    # Categories alone tell the classes apart, too.
    issues = find_label_issues(frame[["text", "kind"]], noisy, model, random_state=0)
    assert set(issues.index[: len(wrong)]) == set(wrong)


OTHERS = {
    "text": [f"the row of number {i}" for i in range(60)],
    "day": pd.date_range("2020", periods=60),
}


@pytest.mark.parametrize("name", OTHERS)
def test_free_text_and_dates_take_skrub(name):
    X, _, noisy, wrong = blobs(3, n=60)
    frame = pd.DataFrame(X, columns=list("abcdefgh")).assign(other=OTHERS[name])
    model = ReBatchCNNClassifier(**QUICK)
    if find_spec("skrub") is None:
        with pytest.raises(ImportError, match=r"skrebatch\[skrub\]"):
            find_label_issues(frame, noisy, model)
        return
    issues = find_label_issues(frame, noisy, model, random_state=0)
    assert set(issues.index[: len(wrong)]) == set(wrong)


@pytest.mark.parametrize("name", OTHERS)
def test_frames_of_polars_may_have_other_columns_than_numbers(name):
    polars = pytest.importorskip("polars")
    pytest.importorskip("skrub")
    X, _, noisy, wrong = blobs(3, n=60)
    columns = {**dict(zip("abcdefgh", X.T, strict=True)), "other": list(OTHERS[name])}
    model = ReBatchCNNClassifier(**QUICK)
    issues = find_label_issues(polars.DataFrame(columns), noisy, model, random_state=0)
    assert set(issues.index[: len(wrong)]) == set(wrong)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda X: pd.concat([X, X], axis=1), "several columns named 'text'"),
        (lambda X: pd.concat({"group": X}, axis=1), "names of X have several levels"),
        (
            lambda X: X.assign(text=[1, "a"] * 10),
            "Column 'text' of X contains text and",
        ),
        (lambda X: X.assign(number=np.inf), "Check column 'number'"),
    ],
)
def test_columns_that_no_encoder_takes_are_named(change, words):
    X = pd.DataFrame({"text": ["a", "b"] * 10, "number": np.arange(20.0)})
    with pytest.raises(ValueError, match=words):
        find_label_issues(change(X), np.arange(20) % 2)


def test_free_text_may_contain_numbers():
    pytest.importorskip("skrub")
    X, _, noisy, wrong = blobs(3, n=60)
    frame = pd.DataFrame(X).add_prefix("x").assign(text=[7, *OTHERS["text"][1:]])
    model = ReBatchCNNClassifier(**QUICK)
    issues = find_label_issues(frame, noisy, model, random_state=0)
    assert set(issues.index[: len(wrong)]) == set(wrong)


def test_text_columns_give_the_same_result_with_the_same_seed():
    pytest.importorskip("skrub")
    X, _, noisy, _ = blobs(3, n=60)
    frame = pd.DataFrame(X[:, :2], columns=["a", "b"]).assign(other=OTHERS["text"])
    model = ReBatchCNNClassifier(**QUICK)
    state = np.random.get_state()  # noqa: NPY002
    first, again, without_seed = (
        find_label_issues(frame, noisy, model, random_state=seed)
        for seed in (0, 0, None)
    )
    pd.testing.assert_frame_equal(first, again)
    assert (
        first["label_quality"] != without_seed["label_quality"].loc[first.index]
    ).any()
    np.testing.assert_equal(np.random.get_state(), state)  # noqa: NPY002


def test_many_whole_numbers_are_not_silently_taken_as_classes():
    X = np.random.default_rng(0).normal(size=(186, 3))
    y = np.arange(186) % 31
    with pytest.warns(UserWarning, match="31 different whole numbers, which are trea"):
        find_label_issues(X, y, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_label_issues(X, y % 30, random_state=0)
        find_label_issues(X, y, ReBatchCNNClassifier(max_epochs=2), random_state=0)


@pytest.mark.parametrize("dtype", [int, float])
def test_numbers_that_few_rows_share_are_quantities(dtype):
    X, y = load_diabetes(return_X_y=True)  # 214 different whole numbers
    wrong = [3, 50]
    y[wrong] = [2000, 3000]
    issues = find_label_issues(X, y.astype(dtype), random_state=0)
    assert set(wrong) <= set(issues.index[:3])
    assert issues["is_label_issue"].mean() < 0.05
    # Text of the same kind is labels.
    with pytest.warns(UserWarning, match="fewer than 5 rows"):
        issues = find_label_issues(X, y.astype(str), random_state=0)
    assert issues["is_label_issue"].mean() > 0.5


GAPS = {
    "whole numbers": pd.array([pd.NA, *range(119)], dtype="Int64"),
    "fractions": pd.array([pd.NA, *range(119)], dtype="Float64"),
    "truth": pd.array([pd.NA, *[True] * 119], dtype="boolean"),
    "text": pd.array([pd.NA, *["a", "b"] * 59, "a"], dtype="string"),
    "objects": np.array([pd.NA, *["a", "b"] * 59, None], dtype=object),
    "categories": pd.Categorical(pd.array([pd.NA, *[1, 2] * 59, 2], dtype="Int64")),
}


@pytest.mark.parametrize("kind", GAPS)
def test_columns_may_have_gaps_of_any_kind(kind):
    X, _, noisy, wrong = blobs(2, n=120)
    frame = pd.DataFrame(X, columns=list("abcdefgh")).assign(more=GAPS[kind])
    for labels in (noisy, noisy + 0.5):
        issues = find_label_issues(frame, labels, random_state=0)
        assert len(set(issues.index[: len(wrong)]) & set(wrong)) > len(wrong) / 2


def test_a_name_that_means_several_rows_is_reported():
    X, _, noisy, _ = blobs(2, n=120)
    frame = pd.DataFrame(X, columns=list("abcdefgh"), index=[*range(60)] * 2)
    with pytest.warns(UserWarning, match="index of X is not unique"):
        issues = find_label_issues(frame, noisy, random_state=0)
    assert issues.index.value_counts().eq(2).all()


def test_a_misspelled_label_is_named_and_does_not_mark_the_right_ones():
    X, _, noisy, wrong = blobs(2, n=200)
    labels = np.array(["no", "yes"], dtype=object)[noisy]
    labels[np.flatnonzero(noisy)[0]] = "Yes"
    with pytest.warns(UserWarning, match=r"fewer than 5 rows: 'Yes' \(1\)\. The net"):
        issues = find_label_issues(X, labels, random_state=0)
    marked = issues[issues["is_label_issue"]]
    assert (marked["given_label"] != marked["predicted_label"]).all()
    assert len(marked) <= len(wrong) + 2
    assert issues.attrs["share_of_issues"] < 0.12


def test_a_target_that_was_left_in_the_table_is_named():
    X, _, noisy, _ = blobs(2)
    frame = pd.DataFrame(X, columns=list("abcdefgh")).assign(answer=noisy)
    with pytest.warns(UserWarning, match="X contains y as column 'answer'"):
        find_label_issues(frame, frame["answer"], ReBatchCNNClassifier(**QUICK))


@pytest.mark.parametrize(
    "y", [[0, 1, None, 1], [0.5, np.nan, 0.1, 0.2], ["a", "b", np.nan, "a"]]
)
def test_missing_labels_are_refused(y):
    with pytest.raises(ValueError, match="y has missing values in 1 rows, first in"):
        find_label_issues(np.zeros((4, 2)), np.array(y, dtype=object))


def test_other_estimators_are_refused():
    with pytest.raises(TypeError, match="must be a ReBatchCNNClassifier"):
        find_label_issues([[0.0], [1.0]], [0, 1], StandardScaler())


X, _, Y, _ = blobs(2)
BIG = 2**53  # as floats, it and the next integer are the same
TEXTS = np.array([f"{i:05d}" for i in range(len(Y))])

# Labels in types that numpy converts, and what they are.
LABELS = {
    "signed and unsigned": [np.int64(BIG) if y else np.uint64(BIG + 1) for y in Y],
    "Int64": pd.Series(BIG + 1 - Y, dtype="Int64"),
    "boolean": pd.Series(Y == 1, dtype="boolean"),
    "objects": np.array(Y == 1, dtype=object),
    "one column": Y[:, None],
    "sparse": sparse.csr_array(np.column_stack([Y, 1 - Y])),
}
GIVEN = {
    "boolean": (Y == 1).tolist(),
    "objects": (Y == 1).tolist(),
    "one column": Y.tolist(),
    "sparse": [(0,) if y else (1,) for y in Y],
}


@pytest.mark.filterwarnings("ignore:A column-vector y")
@pytest.mark.parametrize("name", LABELS)
def test_labels_are_given_back_as_they_are(name):
    issues = find_label_issues(X, LABELS[name], ReBatchCNNClassifier(**TINY))
    given = issues["given_label"].sort_index().tolist()
    assert given == GIVEN.get(name, (BIG + 1 - Y).tolist())
    assert set(issues["predicted_label"]) <= {*given, (0, 1), ()}
    assert not isinstance(given[0], float)


@pytest.mark.parametrize(
    "X, found",
    [
        (TEXTS[:, None], r"column 0 contains text \('00000' in row 0"),
        (np.column_stack([X.astype(object), TEXTS]), "column 8 contains text"),
        (np.arange(len(Y))[:, None].astype("M8[D]"), "column 0 contains dates"),
        (
            pd.DataFrame({"a": pd.to_timedelta(range(len(Y)), unit="s")}),
            "column 'a' contains dates or times",
        ),
    ],
)
def test_text_and_dates_are_not_taken_for_numbers(X, found):
    with pytest.raises(ValueError, match=f"X must contain numbers, but {found}"):
        find_label_issues(X, Y, ReBatchCNNClassifier(**TINY))


def test_an_estimator_that_was_fitted_to_other_labels_is_refused():
    model = ReBatchCNNClassifier(**TINY, record_losses=True).fit(X, Y)
    with pytest.raises(ValueError, match="y contains labels that are not among the cl"):
        find_label_issues(X, 2 * Y, model)


def test_a_target_may_have_lost_its_column():
    model = ReBatchCNNRegressor(**TINY, record_losses=True).fit(X, X[:, :1])
    issues = find_label_issues(X, X[:, 0], model)
    pd.testing.assert_frame_equal(issues, find_label_issues(X, X[:, :1], model))


def test_padding_is_not_filled():
    rng = np.random.default_rng(0)
    padded = rng.normal(size=(60, 6))
    padded[np.arange(6) >= rng.integers(2, 7, 60)[:, None]] = np.nan
    network = ReBatchCNNClassifier(**TINY, variable_length=True)
    issues = find_label_issues(padded, np.arange(60) % 2, network, random_state=0)
    alike = make_pipeline(StandardScaler(), network)
    expected = find_label_issues(padded, np.arange(60) % 2, alike, random_state=0)
    pd.testing.assert_frame_equal(issues, expected)


def test_a_sparse_table_is_refused():
    with pytest.raises(TypeError, match=r"needs a dense X: pass X\.toarray"):
        find_label_issues(sparse.csr_matrix(X), Y, random_state=0)


def test_objects_that_are_floats_are_targets():
    objects = pd.Series(X[:, 0] + 0.5).astype(object)
    issues = find_label_issues(X, objects, random_state=0)
    assert isinstance(issues["predicted_label"].iloc[0], float)


class Stops(MinLoss):
    """A strategy during which the user presses Ctrl-C, after the first epoch."""

    def plan(self, losses, epoch):
        raise KeyboardInterrupt


@pytest.mark.parametrize("number", [float, Decimal])
def test_objects_that_are_numbers_are_targets(number):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = X[:, 0].round(1)
    model = ReBatchCNNRegressor(**QUICK)
    expected = find_label_issues(X, y, model, random_state=0)
    objects = np.array([number(str(v)) if v % 1 else int(v) for v in y], dtype=object)
    issues = find_label_issues(X, objects, model, random_state=0)
    pd.testing.assert_frame_equal(issues, expected)
    assert find_label_issues(X, objects)["predicted_label"].dtype == float


def test_labels_of_several_kinds_are_refused():
    X, y = np.zeros((20, 2)), np.array(["a", 1] * 10, dtype=object)
    with pytest.raises(ValueError, match="y contains labels of several kinds"):
        find_label_issues(X, y)
    with pytest.raises(ValueError, match="y contains labels of several kinds"):
        ReBatchCNNClassifier().fit(X, y)


def test_a_step_that_changes_the_rows_is_refused():
    pipeline = pytest.importorskip("imblearn.pipeline")
    sampling = pytest.importorskip("imblearn.under_sampling")
    X, _, noisy, _ = blobs(2, n=60)
    sampler = sampling.RandomUnderSampler(random_state=0)
    model = pipeline.make_pipeline(sampler, ReBatchCNNClassifier(**QUICK))
    with pytest.raises(
        ValueError, match="step 'randomundersampler' .* changes the row"
    ):
        find_label_issues(X, noisy, model)


def test_ctrl_c_gives_no_issues_of_half_a_training():
    model = ReBatchCNNClassifier(**TINY | {"max_epochs": 2, "ratio": 0.3})
    with pytest.raises(KeyboardInterrupt):
        find_label_issues(X, Y, model.set_params(strategy=Stops()))
