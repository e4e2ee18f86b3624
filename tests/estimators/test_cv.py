"""The parameter `cv`: which rows each network trains on and holds out."""

import numpy as np
import pytest
from helpers.estimators import assert_same_bits, make, make_data
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
    check_cv,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrebatch import CheckpointError, FusedGridSearchCV, fit_fused

N = 40
X, Y = make_data(n=N)
GROUPS = np.arange(N) * 7 % 10  # ten groups of four rows, none of them contiguous


def ensemble(cv, task="binary", **params):
    options = {"n_networks": 4, "max_epochs": 2, "early_stopping": True}
    return make(task, **{**options, "cv": cv, **params})


def splits_of(model, X=X, y=Y, **given):
    """The training and the held-out rows of each network."""
    job = clone(model).__rebatch_prepare__(X, y, **given).job
    return [(member.rows, member.valid_rows) for member in job.members]


def assert_equal_splits(splits, expected):
    for found, wanted in zip(splits, expected, strict=True):
        for rows, others in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(rows, np.sort(others))


@pytest.mark.parametrize(
    "cv",
    [
        KFold(4),
        KFold(4, shuffle=True, random_state=3),
        StratifiedKFold(4),
        GroupKFold(4),
        StratifiedGroupKFold(4),
        ShuffleSplit(4, test_size=0.5, random_state=1),
        PredefinedSplit(np.arange(N) % 4),
        [(np.arange(8, N), np.arange(8)), ([0, 5, 3], [9, 7])] * 2,
    ],
    ids=lambda cv: type(cv).__name__,
)
@pytest.mark.filterwarnings("ignore:With n_networks=4, no network holds out")
def test_networks_use_the_splits_of_the_splitter(cv):
    groups = GROUPS if "Group" in type(cv).__name__ else None
    expected = list(cv if isinstance(cv, list) else cv.split(X, Y, groups))
    model = ensemble(cv)
    assert_equal_splits(splits_of(model, groups=groups), expected)
    model.fit(X, Y, groups=groups)
    is_known = ~np.isnan(model.oof_decision_function_[:, 0])
    held_out = np.concatenate([valid for _, valid in expected])
    np.testing.assert_array_equal(np.flatnonzero(is_known), np.unique(held_out))


@pytest.mark.parametrize("cv", [GroupKFold(3), StratifiedGroupKFold(3)])
def test_no_group_is_trained_on_and_held_out(cv):
    names = np.array(list("abcdefghij"))[GROUPS]
    for train, valid in splits_of(ensemble(cv, n_networks=7), groups=names):
        assert set(names[train]).isdisjoint(names[valid])
        assert set(names[train]) | set(names[valid]) == set(names)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_time_series_are_never_trained_on_later_rows(task):
    X, y = make_data(task, n=N)
    model = ensemble(TimeSeriesSplit(4), task, batch_size=N)
    with pytest.warns(
        UserWarning, match="no network holds out 8 of 40 rows.*cv has more"
    ):
        job = clone(model).__rebatch_prepare__(X, y).job
    for k, member in enumerate(job.members):
        np.testing.assert_array_equal(member.rows, np.arange(8 * (k + 1)))
        np.testing.assert_array_equal(member.valid_rows, 8 * (k + 1) + np.arange(8))
        assert member.batch_size == len(member.rows)  # not that of the shortest
    with pytest.warns(UserWarning, match="no network holds out"):
        model.fit(X, y)
    name = "oof_prediction_" if task == "regression" else "oof_decision_function_"
    is_missing = np.isnan(getattr(model, name).reshape(N, -1)[:, 0])
    np.testing.assert_array_equal(is_missing, np.arange(N) < 8)
    assert model.sample_losses_.shape == (N,)


def test_targets_of_rows_that_are_never_trained_on_set_no_scale():
    X, y = make_data("regression", n=N)
    y[32:] = 1e6  # the last test rows
    with pytest.warns(UserWarning, match="no network holds out"):
        model = ensemble(TimeSeriesSplit(4), "regression").fit(X, y)
    np.testing.assert_allclose(model.target_mean_, y[:32].mean())


# --- more networks than splits ---


def test_a_number_is_one_of_folds_like_those_of_validation_fraction():
    model = ensemble(4, n_networks=8)
    twin = ensemble(None, n_networks=8, validation_fraction=0.25)
    assert_equal_splits(splits_of(model), splits_of(twin))
    assert_same_bits(model.fit(X, Y), twin.fit(X, Y))


@pytest.mark.parametrize(
    "cv, same",
    [
        (GroupKFold(2), True),
        (KFold(2, shuffle=True, random_state=0), True),
        (list(KFold(2).split(X)), True),
        (KFold(2, shuffle=True), False),
        (ShuffleSplit(2), False),
        (KFold(2, shuffle=True, random_state=np.random.RandomState(0)), False),
    ],
)
@pytest.mark.filterwarnings("ignore:With n_networks=4, no network holds out")
def test_splits_are_used_again_or_shuffled_anew(cv, same):
    model = ensemble(cv)
    groups = GROUPS if isinstance(cv, GroupKFold) else None
    splits = splits_of(model, groups=groups)
    assert_equal_splits(splits_of(model, groups=groups), splits)
    assert same == all(
        np.array_equal(valid, again)
        for (_, valid), (_, again) in zip(splits[:2], splits[2:], strict=True)
    )


def test_the_seed_of_the_estimator_decides_the_shuffles():
    cv = KFold(4, shuffle=True)
    models = [ensemble(cv, random_state=seed).fit(X, Y) for seed in (0, 0, 1)]
    assert_same_bits(models[0], models[1])
    first, other = splits_of(models[0]), splits_of(models[2])
    assert not np.array_equal(first[0][1], other[0][1])
    assert cv.random_state is None
    own = KFold(4, shuffle=True, random_state=np.random.RandomState(0))
    state = own.random_state.get_state()[1].copy()
    ensemble(own).fit(X, Y)
    np.testing.assert_array_equal(own.random_state.get_state()[1], state)


# --- weights, classes and other options ---


@pytest.mark.parametrize("cv", [StratifiedGroupKFold(4), KFold(4, shuffle=True), 4])
def test_a_splitter_does_not_see_rows_of_weight_0(cv):
    weights = (np.arange(N) % 5 != 2).astype(float)
    kept = np.flatnonzero(weights)
    groups = [None, None]
    if isinstance(cv, StratifiedGroupKFold):
        groups = [GROUPS, GROUPS[kept]]
    splits = splits_of(ensemble(cv), sample_weight=weights, groups=groups[0])
    dropped = splits_of(ensemble(cv), X[kept], Y[kept], groups=groups[1])
    assert_equal_splits(splits, [(kept[a], kept[b]) for a, b in dropped])


@pytest.mark.parametrize("as_given", [list, check_cv])
def test_rows_of_weight_0_are_left_out_of_fixed_splits(as_given):
    weights = np.ones(N)
    weights[[0, 8]] = 0
    cv = [(np.arange(8, N), np.arange(8)), (np.arange(N - 8), np.arange(N - 8, N))]
    cv = as_given(cv)
    with pytest.warns(UserWarning, match="no network holds out 23 of 38"):
        splits = splits_of(ensemble(cv), sample_weight=weights)
    expected = [
        (np.arange(9, N), np.arange(1, 8)),
        (np.setdiff1d(np.arange(N - 8), [0, 8]), np.arange(N - 8, N)),
    ]
    assert_equal_splits(splits[:2], expected)


def test_rows_of_weight_0_are_left_out_of_predefined_folds():
    weights = (np.arange(N) % 5 != 2).astype(float)
    folds = np.arange(N) % 4
    splits = splits_of(ensemble(PredefinedSplit(folds)), sample_weight=weights)
    expected = [
        (
            np.flatnonzero((folds != k) & (weights > 0)),
            np.flatnonzero((folds == k) & (weights > 0)),
        )
        for k in range(4)
    ]
    assert_equal_splits(splits, expected)


def test_a_splitter_gets_a_target_as_scikit_learn_gives_it():
    class Binned(KFold):
        def split(self, X, y=None, groups=None):
            assert y.shape == (N,)
            yield from StratifiedKFold(4).split(
                X, np.digitize(y, np.quantile(y, [0.5]))
            )

    y = X[:, 0] + np.arange(N)
    splits = splits_of(ensemble(Binned(4), "regression"), y=y)
    assert_equal_splits(splits, StratifiedKFold(4).split(X, y > np.median(y)))


@pytest.mark.parametrize(
    "params", [{}, {"class_balanced": True}, {"choose": "together"}]
)
def test_a_class_may_be_missing_from_the_training_rows_of_a_network(params):
    X, y = make_data("multiclass", n=N)
    y = np.sort(y)  # so that the third class fills the last fold
    cv = LeaveOneGroupOut()
    model = ensemble(cv, "multiclass", n_networks=3, **params)
    model.fit(X, y, groups=y)
    assert np.isfinite(model.oof_decision_function_).all()
    assert model.predict_proba(X).shape == (N, len(np.unique(y)))


def test_a_validation_set_replaces_the_splits():
    splits = splits_of(ensemble(KFold(4)), X_val=X[:5], y_val=Y[:5])
    assert_equal_splits(splits, [(np.arange(N), N + np.arange(5))] * 4)


def test_partial_fit_splits_nothing():
    model = ensemble(KFold(4), early_stopping="auto")
    twin = ensemble(None, early_stopping="auto")
    assert_same_bits(model.partial_fit(X, Y), twin.partial_fit(X, Y))


# --- groups through other tools ---


def test_fits_side_by_side_split_by_groups():
    models = [ensemble(GroupKFold(4), random_state=seed) for seed in (0, 1)]
    rows = [np.arange(5, N), np.arange(0, N, 2)[::-1]]
    alone = [
        clone(model).fit(X[part], Y[part], groups=GROUPS[part])
        for model, part in zip(models, rows, strict=True)
    ]
    fit_fused(models, X, Y, rows, groups=GROUPS)
    for model, twin in zip(models, alone, strict=True):
        np.testing.assert_allclose(
            model.oof_decision_function_, twin.oof_decision_function_, atol=1e-5
        )


def test_groups_are_routed_through_pipelines_and_searches():
    class Recorder(GroupKFold):
        seen = []

        def split(self, X, y=None, groups=None):
            self.seen.append((np.asarray(X), groups))
            return super().split(X, y, groups)

    with config_context(enable_metadata_routing=True):
        net = ensemble(Recorder(4)).set_fit_request(groups=True)
        pipeline = make_pipeline(StandardScaler(), net)
        pipeline.fit(X, Y, groups=GROUPS)
        cv = GroupKFold(2)
        cross_validate(pipeline, X, Y, cv=cv, params={"groups": GROUPS})
        grid = {"rebatchcnnclassifier__ratio": [0.1, 0.3]}
        search = FusedGridSearchCV(pipeline, grid, cv=cv, refit=False)
        search.fit(X, Y, groups=GROUPS)
    outer = [train for train, _ in cv.split(X, Y, GROUPS)]
    expected = [np.arange(N), *outer, *outer, *outer]
    assert len(Recorder.seen) == len(expected)
    for (inner_X, groups), rows in zip(Recorder.seen, expected, strict=True):
        np.testing.assert_allclose(inner_X, StandardScaler().fit_transform(X[rows]))
        np.testing.assert_array_equal(groups, GROUPS[rows])
    pipeline.fit(X, Y, rebatchcnnclassifier__groups=GROUPS)  # without routing


def test_a_checkpoint_belongs_to_its_splits(tmp_path):
    model = ensemble(GroupKFold(4), checkpoint_dir=tmp_path, checkpoint_every=1)

    def stop(*args, **kwargs):
        raise RuntimeError("stop")

    model.__rebatch_finish__ = stop  # after the training
    with pytest.raises(RuntimeError, match="stop"):
        model.fit(X, Y, groups=GROUPS)
    with pytest.raises(CheckpointError, match=r"these inputs differ: cv\. To"):
        model.fit(X, Y, groups=GROUPS[::-1])
    del model.__rebatch_finish__
    assert_same_bits(
        model.fit(X, Y, groups=GROUPS), ensemble(GroupKFold(4)).fit(X, Y, groups=GROUPS)
    )


# --- errors ---


@pytest.mark.parametrize(
    "cv, words",
    [
        (1, "cv must be an integer of at least 2 or None, a splitter"),
        (True, "cv must be an integer"),
        ("5", "cv must be an integer"),
        (KFold, "cv must be an integer"),
        (2.0, "cv must be an integer"),
        (N + 1, f"cv={N + 1} needs at least {N + 1} rows of positive weight, got {N}"),
        ([], "cv yields no splits"),
        ([1, 2], "Split 0 of cv must be a pair of training and test rows"),
        (
            [([0, 1], [N])],
            r"test rows of split 0 of cv must contain indices in \[0, 40",
        ),
        ([([0, -1], [3])], "training rows of split 0 of cv must contain indices"),
        ([([0.5, 1], [3])], "training rows of split 0 .* sample indices"),
        ([([0, 1], [])], "Split 0 of cv has 2 training rows and 0 test rows"),
        ([([0, 1], [2]), ([4], [2])], "Split 1 of cv has 1 training rows"),
        ([([0, 1, 1], [2])], "Split 0 of cv holds row 1 more than once"),
        ([([0, 1], [1])], "Split 0 of cv holds row 1 more than once"),
        (GroupKFold(4), "can't split the rows: The 'groups' parameter should not be"),
        (KFold(N + 1), "can't split the rows: Cannot have number of splits"),
    ],
)
def test_bad_splits_are_refused(cv, words):
    with pytest.raises(ValueError, match=words):
        ensemble(cv).fit(X, Y)


@pytest.mark.parametrize(
    "cv, groups, words",
    [
        (None, GROUPS, "groups need a splitter that uses them, but cv=None"),
        (4, GROUPS, "groups need a splitter that uses them, but cv=4"),
        (GroupKFold(4), GROUPS[1:], r"groups.shape == \(39,\), expected \(40,\)"),
        (GroupKFold(4), GROUPS[:, None], r"groups.shape == \(40, 1\)"),
    ],
)
def test_bad_groups_are_refused(cv, groups, words):
    with pytest.raises(ValueError, match=words):
        ensemble(cv).fit(X, Y, groups=groups)


@pytest.mark.parametrize("cv", [4, KFold(4), [(np.arange(8, N), np.arange(8))]])
def test_a_single_network_uses_the_first_split(cv):
    one, four = (splits_of(ensemble(cv, n_networks=n)) for n in (1, 4))
    if cv != 4:  # the folds of a number are drawn from the seed of the fit
        assert_equal_splits(one, four[:1])
    assert len(one) == 1 and len(one[0][0]) in (N - 8, N - N // 4)
    assert not np.intersect1d(*one[0]).size


@pytest.mark.parametrize(
    "params", [{"n_networks": 1, "early_stopping": "auto"}, {"early_stopping": False}]
)
def test_cv_has_no_effect_without_early_stopping(params):
    with pytest.warns(UserWarning, match="cv has no effect without early stopping"):
        model = ensemble(KFold(4), **params).fit(X, Y)
    assert_same_bits(model, ensemble(None, **params).fit(X, Y))
