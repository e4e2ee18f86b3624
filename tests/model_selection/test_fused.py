"""Estimators fitted side by side: each must end as if fitted alone."""

import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.estimators import (
    CLASSIFICATION,
    TASKS,
    Spy,
    assert_close,
    global_state_stays,
    make,
    make_data,
    weights_of,
)
from helpers.options import WEIGHING
from helpers.twins import (
    N_VARIED,
    ROWS,
    VARIED,
    assert_all_twins,
    assert_twins,
    fit_alone,
    make_folds,
    predictions_of,
)
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skrebatch import (
    OHEM,
    DivergedError,
    MaxLoss,
    Plan,
    ReBatchCNNClassifier,
    ReBatchCNNClassifierCV,
    Strategy,
    fit_fused,
)
from skrebatch._engine.training.epoch_plan import stack_table
from skrebatch.model_selection._fused import cut_into_stacks
from skrebatch.strategies import STRATEGIES

# Every method and every course, to be mixed with the above.
METHODS = [
    *({"strategy": name, "random_state": i} for i, name in enumerate(STRATEGIES)),
    *(
        {"strategy": name, "ratio": 0.5, "batch_size": 12, "repeats": 2}
        for name in STRATEGIES
    ),
    {"strategy": "ohem", "n_networks": 2, "ratio_schedule": "step"},
    {"strategy": "ohem", "warmup_epochs": 4, "batch_size": 16},
    {"strategy": OHEM(0.2), "early_stopping": True, "n_iter_no_change": 3},
    {"strategy": "infobatch", "early_stopping": True, "n_iter_no_change": 3},
    {"strategy": "tsw", "loss_smoothing": 0.5},
    {"repeats": 0, "strategy": "max-loss", "warmup_epochs": 3},
    {"repeats": 0, "strategy": "max-loss", "warmup_epochs": 3, "random_state": 1},
    {"repeats": 2, "ratio_schedule": "linear"},
    {"repeats": 2, "refresh_every": 3, "loss_smoothing": 0.9},
    {"ratio_schedule": "cosine", "max_epochs": 9},
    {"strategy": "breed", "refresh_every": 2, "record_losses": True},
    {"strategy": "hybrid", "record_losses": True, "early_stopping": True},
    {"strategy": "curriculum", "n_networks": 3, "choose": "together"},
    {"strategy": "selective-backprop", "n_networks": 3, "choose": "together"},
    {"strategy": "infobatch", "n_networks": 2, "record_losses": True},
]


def make_varied(task, **params):
    """Small estimators of one architecture that differ in all else."""
    shared = {"dtype": "float64", "conv_channels": (4, 6), "batch_size": 24, **params}
    return [make(task, **{**shared, **own}) for own in VARIED]


# --- each ends as if fitted alone ---


@pytest.mark.parametrize("task", TASKS)
def test_after_many_epochs_every_network_equals_its_twin(task):
    X, y = make_data(task, n=ROWS)
    folds = make_folds()
    models = make_varied(task, max_epochs=40)
    assert fit_fused(models, X, y, folds) == models
    assert_all_twins(models, fit_alone(models, X, y, folds), X)
    # Some have stopped early, at different epochs.
    stopped = {m.n_iter_ for m in models if m.early_stopping}
    assert len(stopped) > 1 and min(stopped) < 40
    # They are different networks: equality above is no accident.
    for one, other in itertools.combinations(models, 2):
        assert not np.allclose(predictions_of(one, X), predictions_of(other, X))


@pytest.mark.filterwarnings("ignore:ratio_schedule has no effect")
@pytest.mark.parametrize(
    "task, max_stack", [*zip(TASKS, itertools.cycle([100, "auto"]))]
)
def test_every_method_in_a_stack_equals_its_twin(task, max_stack):
    X, y = make_data(task, n=ROWS)
    shared = {"dtype": "float64", "conv_channels": (4, 6), "max_epochs": 9}
    all_params = [*METHODS, *VARIED]
    if task in ("binary", "multiclass"):
        balanced = [{"strategy": s} for s in STRATEGIES if s not in WEIGHING]
        all_params += [{**params, "class_balanced": True} for params in balanced]
    models = [make(task, **{**shared, **params}) for params in all_params]
    rng = np.random.default_rng(1)
    folds = [rng.permutation(ROWS)[: ROWS - i % 25] for i in range(len(models))]
    fit_fused(models, X, y, folds, max_stack=max_stack)
    twins = fit_alone(models, X, y, folds)
    assert_all_twins(models, twins, X)
    for model, rows in zip(models + twins, folds * 2, strict=True):
        model.set_params(early_stopping=False).partial_fit(X[rows], y[rows])
    assert_all_twins(models, twins, X)


class Trim(MaxLoss):
    """Leave out what another strategy would move."""

    def plan(self, losses, epoch):
        return Plan(super().plan(losses, epoch), repeats=0)


class Numbers(Strategy):
    """Weigh a batch with an array of NumPy's."""

    uses_ratio = False

    def batch_weights(self, losses):
        return np.ones(tuple(losses.shape))


def test_a_user_s_heir_of_a_strategy_equals_its_twin():
    # It takes fewer steps than its parent, which a group of equal steps would not see.
    X, y = make_data(n=ROWS)
    params = {"dtype": "float64", "ratio": 0.5, "batch_size": 8, "max_epochs": 10}
    models = [
        make(strategy=strategy, random_state=i, **params)
        for i, strategy in enumerate([Trim(), MaxLoss(), Trim(), MaxLoss()])
    ]
    fit_fused(models, X, y)
    assert_all_twins(models, fit_alone(models, X, y), X)


@pytest.mark.parametrize(
    "task, optimizer",
    [*((task, "adam") for task in TASKS), ("binary", "adamw"), ("binary", "sgd")],
)
def test_partial_fit_goes_on_as_after_fit(task, optimizer):
    X, y = make_data(task, n=ROWS)
    folds = make_folds()
    models = make_varied(task, optimizer=optimizer, max_epochs=3)
    fit_fused(models, X, y, folds)
    twins = fit_alone(models, X, y, folds)
    for model, rows in zip(models + twins, folds * 2, strict=True):
        model.set_params(early_stopping=False)
        model.partial_fit(X[rows], y[rows]).partial_fit(X[rows], y[rows])
    assert_all_twins(models, twins, X)


def test_the_optimizer_s_memory_comes_along():
    # Were it lost, the moments of Adam would begin anew: a long way off.
    X, y = make_data(n=ROWS)
    models = fit_fused(make_varied("binary", max_epochs=6), X, y)
    forgetful = pickle.loads(pickle.dumps(models))  # a pickle holds no optimizer
    for model, other in zip(models, forgetful, strict=True):
        for each in model, other:
            each.set_params(early_stopping=False).partial_fit(X, y)
        assert np.abs(weights_of(model) - weights_of(other)).max() > 1e-4


def test_warm_start_goes_on_from_a_fused_fit():
    X, y = make_data(n=ROWS)
    models = [make(ratio=r, dtype="float64") for r in (0, 0.25, 0.5)]
    fit_fused(models, X, y)
    twins = fit_alone(models, X, y)
    for model in models + twins:
        model.set_params(warm_start=True, max_epochs=3).fit(X, y)
        assert model.n_iter_ == 7
    assert_all_twins(models, twins, X)


@pytest.mark.parametrize("task", TASKS)
def test_a_pickle_predicts_the_same_bits_and_holds_one_network(task):
    X, y = make_data(task, n=ROWS)
    models = [make(task, random_state=i, hidden_size=100) for i in range(12)]
    fit_fused(models, X, y)
    pickled = [pickle.dumps(model) for model in models]
    for model, data in zip(models, pickled, strict=True):
        np.testing.assert_array_equal(pickle.loads(data).predict(X), model.predict(X))
    alone = len(pickle.dumps(clone(models[0]).fit(X, y)))
    assert max(map(len, pickled)) < 1.05 * alone


def test_the_history_is_that_of_each_network():
    X, y = make_data(n=ROWS)
    stops = {"n_networks": 3, "early_stopping": True, "n_iter_no_change": 1}
    models = [*make_varied("binary", max_epochs=6), make(**stops, dtype="float64")]
    fit_fused(models, X, y)
    for model, twin in zip(models, fit_alone(models, X, y), strict=True):
        assert model.history_ is model.net_.history
        names = ["epoch", "train_loss", "train_loss_best"]
        if model.early_stopping:
            names += ["valid_loss", "valid_loss_best"]
        assert len(model.history_) == model.n_iter_
        assert_close(model.history_[:, names], twin.history_[:, names])
        assert_close(model.history_[:, "train_loss"], model.loss_curve_, 1e-15)


def test_the_module_is_the_estimator_s_own():
    X, y = make_data(n=ROWS)
    one, other = fit_fused([make(), make(random_state=1)], X, y)
    before = weights_of(other)
    one.partial_fit(X, y)
    for parameter in one.module_.parameters():
        parameter.data.zero_()
    np.testing.assert_array_equal(weights_of(other), before)
    assert one.net_ is not other.net_


def test_medians_of_float32_agree():
    X, y = make_data(n=150)
    train, test = np.arange(90), np.arange(90, 150)
    models = [
        make(ratio=r, random_state=s, max_epochs=20, lr=0.02)
        for r in (0.1, 0.4)
        for s in range(9)
    ]
    fit_fused(models, X, y, [train] * len(models))
    twins = fit_alone(models, X[train], y[train])
    for model, twin in zip(models, twins, strict=True):
        # Before a choice can tip there is nothing but rounding between them.
        assert_close(model.loss_curve_[:2], twin.loss_curve_[:2], 1e-5)
    scores, expected = (
        np.reshape([m.score(X[test], y[test]) for m in group], (2, -1))
        for group in (models, twins)
    )
    assert np.abs(np.median(scores, 1) - np.median(expected, 1)).max() <= 1 / 60
    assert np.abs(scores.mean(1) - expected.mean(1)).max() < 0.01


KINDS = [
    {},
    {"conv_channels": (3,), "kernel_size": 2},
    {"dtype": "float32"},
    {"optimizer": "sgd", "lr": 0.1},
    {"optimizer": "adamw"},
    {"hidden_size": 7, "random_state": 1},
    {"pool_size": (1, 3)},
]


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_kinds_that_no_stack_holds_together_may_be_mixed(task):
    X, y = make_data(task)
    params = [{**kind, "ratio": r} for r in (0.1, 0.4) for kind in KINDS]
    models = [make(task, **{"dtype": "float64", **own}) for own in params]
    fit_fused(models, X, y)
    for model, twin in zip(models, fit_alone(models, X, y), strict=True):
        assert_twins(model, twin, X, 1e-10 if model.dtype == "float64" else 1e-4)


def test_classifiers_and_regressors_may_be_mixed():
    X, y = make_data()
    params = {"dtype": "float64"}
    models = [make("binary", **params), make("regression", **params)]
    for order in models, models[::-1]:
        fit_fused(order, X, y)
        assert_all_twins(order, fit_alone(order, X, y), X)


def test_regressors_on_the_same_rows_may_differ_in_their_scale():
    # Targets scaled by all rows, by the training rows, and not at all.
    X, y = make_data("regression")
    params = {"dtype": "float64", "max_epochs": 10}
    models = [
        make("regression", **params),
        make("regression", early_stopping=True, **params),
        make("regression", standardize_target=False, **params),
        make("regression", early_stopping=True, random_state=1, **params),
    ]
    fit_fused(models, X, y)
    assert_all_twins(models, fit_alone(models, X, y), X)
    assert len({model.target_mean_[0] for model in models}) == 4


def test_class_weights_may_differ():
    X, y = make_data("multiclass")
    weights = [None, "balanced", {0: 1, 1: 5, 2: 1}, {0: 0, 1: 1, 2: 1}]
    models = [
        make("multiclass", dtype="float64", class_weight=weight) for weight in weights
    ]
    fit_fused(models, X, y)
    assert_all_twins(models, fit_alone(models, X, y), X)


@pytest.mark.parametrize("form", [np.asarray, list, pd.Series, torch.tensor])
def test_weights_for_all(form):
    X, y = make_data(n=ROWS)
    weights = np.random.default_rng(1).integers(0, 4, size=ROWS).astype(float)
    models, folds = make_varied("binary", max_epochs=5), make_folds()
    fit_fused(models, X, y, folds, sample_weight=form(weights))
    twins = [
        clone(model).fit(X[rows], y[rows], weights[rows])
        for model, rows in zip(models, folds, strict=True)
    ]
    assert_all_twins(models, twins, X)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_weights_of_each(task):
    X, y = make_data(task, n=ROWS)
    rng = np.random.default_rng(1)
    models = make_varied(task, max_epochs=5)
    weights = [rng.integers(0, 4, size=ROWS) for _ in models]
    weights[0] = None
    weights[1] = weights[2].tolist()
    fit_fused(models, X, y, sample_weight=weights)
    twins = [
        clone(model).fit(X, y, own) for model, own in zip(models, weights, strict=True)
    ]
    assert_all_twins(models, twins, X)


def test_weights_of_each_are_cut_by_its_rows_and_not_used_for_validation():
    X, y = make_data(n=ROWS)
    weights = np.random.default_rng(1).uniform(1, 4, size=ROWS)
    train, valid = np.arange(ROWS) >= 20, range(20)
    params = {"dtype": "float64", "early_stopping": True}
    models = [make(**params, class_weight="balanced"), make(**params, ratio=0)]
    given = [weights, None]
    fit_fused(models, X, y, [train] * 2, sample_weight=given, val_indices=[valid] * 2)
    twins = [
        clone(model).fit(X[20:], y[20:], own, X[:20], y[:20])
        for model, own in zip(models, [weights[20:], None], strict=True)
    ]
    assert_all_twins(models, twins, X)


@pytest.mark.parametrize(
    "weights, words",
    [
        ([np.ones(ROWS)], "2 estimators, but 1 sets of sample_weight"),
        (np.ones(ROWS - 1), r"shape == \(63,\), expected \(64,\)"),
        ([np.ones(ROWS), np.ones(9)], r"shape == \(9,\), expected \(64,\)"),
        ([np.ones(ROWS), -np.ones(ROWS)], "negative weights, the first in row 0"),
        ([None, 1.0 - (np.arange(ROWS) < 9)], "zero for every row"),
    ],
    ids=str,
)
def test_weights_that_are_refused(weights, words):
    X, y = make_data(n=ROWS)
    models = [make(), make(random_state=1)]
    rows = [np.arange(ROWS), np.arange(9)]
    with pytest.raises(ValueError, match=words) as raised:
        fit_fused(models, X, y, rows, sample_weight=weights)
    only_second = "estimators[1]" in "".join(getattr(raised.value, "__notes__", ""))
    assert [hasattr(model, "module_") for model in models] == [only_second, False]


def test_networks_may_have_classes_of_their_own():
    X, y = make_data("multiclass", n=60)
    folds = [np.flatnonzero(y != c) for c in range(3)]
    models = [make(dtype="float64", random_state=c) for c in range(3)]
    fit_fused(models, X, y, folds)
    assert [m.classes_.tolist() for m in models] == [[1, 2], [0, 2], [0, 1]]
    assert_all_twins(models, fit_alone(models, X, y, folds), X)


@pytest.mark.parametrize("max_stack", [1, 2, 7, np.int64(100), "auto"])
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_the_size_of_stacks_changes_nothing(task, max_stack):
    X, y = make_data(task, n=ROWS)
    models, expected = (make_varied(task, max_epochs=5) for _ in range(2))
    fit_fused(models, X, y, make_folds(), max_stack=max_stack)
    fit_fused(expected, X, y, make_folds(), max_stack=3)
    assert_all_twins(models, expected, X)


def test_the_order_of_estimators_changes_nothing():
    X, y = make_data(n=ROWS)
    models, others = (make_varied("binary", max_epochs=5) for _ in range(2))
    fit_fused(models, X, y, make_folds())
    fit_fused(others[::-1], X, y, make_folds()[::-1])
    assert_all_twins(models, others, X)


def test_nothing_to_fit():
    assert fit_fused([], *make_data()) == []


# --- rows ---


def masks(folds, n):
    return [np.isin(np.arange(n), rows) for rows in folds]


class Lazy:
    """A sequence that makes its entries when asked, and keeps none."""

    def __init__(self, folds):
        self.folds = folds

    def __len__(self):
        return len(self.folds)

    def __getitem__(self, i):
        return list(self.folds[i])


@pytest.mark.parametrize(
    "form",
    [
        np.array,
        Lazy,
        lambda folds: [rows.tolist() for rows in folds],
        lambda folds: [pd.Series(rows) for rows in folds],
        lambda folds: masks(folds, ROWS),
    ],
    ids=["2-D array", "lazy", "lists", "series", "masks"],
)
def test_indices_of_any_form(form):
    X, y = make_data(n=ROWS)
    rng = np.random.default_rng(0)
    folds = [np.sort(rng.permutation(ROWS)[:50]) for _ in range(12)]
    models = [make(dtype="float64", random_state=i) for i in range(12)]
    fit_fused(models, X, y, form(folds))
    assert_all_twins(models, fit_alone(models, X, y, folds), X)


def test_a_row_may_occur_twice():
    X, y = make_data()
    folds = [np.array([*range(41), 3, 3, 5]), np.arange(41)]
    models = [make(dtype="float64") for _ in folds]
    fit_fused(models, X, y, folds)
    assert_all_twins(models, fit_alone(models, X, y, folds), X)
    assert len(models[0].sample_losses_) == 44


@pytest.mark.parametrize("early_stopping", [False, True])
def test_validation_rows_of_each(early_stopping):
    X, y = make_data(n=ROWS)
    rng = np.random.default_rng(0)
    folds = [rng.permutation(ROWS)[:size] for size in (ROWS - 30, ROWS - 20, 30)]
    others = [np.setdiff1d(np.arange(ROWS), rows) for rows in folds]
    kwargs = {"dtype": "float64", "early_stopping": early_stopping}
    models = [make(ratio=ratio, **kwargs) for ratio in (0.1, 0.2, 0.3)]
    twins = [
        clone(model).fit(X[rows], y[rows], X_val=X[other], y_val=y[other])
        for model, rows, other in zip(models, folds, others, strict=True)
    ]
    fit_fused(models, X, y, folds, val_indices=others)
    assert_all_twins(models, twins, X)
    for model, twin in zip(models, twins, strict=True):
        assert_close(model.validation_loss_curve_, twin.validation_loss_curve_, 1e-10)


def test_validation_rows_without_training_rows_of_each():
    X, y = make_data(n=ROWS)
    models = [make(dtype="float64", max_epochs=1) for _ in range(2)]
    rows = np.arange(25)
    fit_fused(models, X, y, val_indices=[rows, np.arange(ROWS)])
    twin = make(dtype="float64", max_epochs=1).fit(X, y, X_val=X[rows], y_val=y[rows])
    assert_close(models[0].validation_loss_curve_, twin.validation_loss_curve_, 1e-10)
    assert models[1].validation_loss_curve_ != models[0].validation_loss_curve_


def test_frames_series_and_labels():
    X, y = make_data("multiclass", n=ROWS)
    frame = pd.DataFrame(X, columns=list("abcde"), index=np.arange(ROWS)[::-1])
    labels = pd.Series(np.array(["c", "a", "b"])[y], index=frame.index)
    folds = make_folds(n_folds=5)
    models = [make("multiclass", dtype="float64", ratio=r / 10) for r in range(5)]
    fit_fused(models, frame, labels, folds)
    for model, rows in zip(models, folds, strict=True):
        twin = clone(model).fit(frame.iloc[rows], labels.iloc[rows])
        assert_twins(model, twin, frame)
        assert model.feature_names_in_.tolist() == list("abcde")
        assert model.classes_.tolist() == ["a", "b", "c"]
        assert set(model.predict(frame)) <= {"a", "b", "c"}


def test_plain_lists():
    X, y = make_data()
    models = [make(dtype="float64", ratio=r) for r in (0.1, 0.4)]
    fit_fused(models, X.tolist(), y.tolist(), [range(40), [*range(41)]])
    twins = fit_alone(models, X, y, [np.arange(40), np.arange(41)])
    assert_all_twins(models, twins, X)


# --- failures ---


class Moody(Strategy):
    """Fail at the second choice."""

    def __init__(self, error=RuntimeError):
        self.error = error

    def plan(self, losses, epoch):
        self.calls_ = getattr(self, "calls_", 0) + 1
        if self.calls_ == 2:
            raise self.error("in a bad mood")
        return np.arange(epoch.n_chosen)


class TooFar(Strategy):
    """Choose a sample that isn't there."""

    def plan(self, losses, epoch):
        return np.array([len(losses)])


class Unweighed(Strategy):
    """Give no weights for a batch."""

    def batch_weights(self, losses):
        return losses[:, :0]


FAILURES = {
    "a parameter out of range": ({"ratio": -1}, ValueError, "ratio"),
    "an unknown parameter": ({"strategy": "best"}, ValueError, "strategy"),
    "an impossible network": ({"padding": -1}, ValueError, "padding"),
    "a diverging loss": ({"lr": 1e200}, DivergedError, "epoch"),
    "a diverging ensemble": ({"lr": 1e200, "n_networks": 3}, DivergedError, "epoch"),
    "a failing strategy": ({"strategy": Moody()}, RuntimeError, "bad mood"),
    "a plan of nobody": ({"strategy": TooFar()}, ValueError, "they range from"),
    "a batch without weights": ({"strategy": Unweighed()}, ValueError, "Unweighed"),
    "weights of another kind": ({"strategy": Numbers()}, TypeError, "ndarray"),
    "a schedule astray": (
        {"ratio_schedule": lambda t: -1},
        ValueError,
        "ratio_schedule",
    ),
}


@pytest.mark.parametrize("refit", [False, True], ids=["new", "fitted before"])
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_spoils_no_neighbour(name, refit):
    params, error, word = FAILURES[name]
    X, y = make_data(n=ROWS)
    models = make_varied("binary")[::3]
    bad = make(dtype="float64", conv_channels=(4, 6))
    if refit:
        bad.fit(X[:40], y[:40])
    bad.set_params(**params)
    before = dict(vars(bad))
    with pytest.raises(error, match=word) as raised:
        fit_fused([*models[:2], bad, *models[2:]], X, y)
    note = " ".join(raised.value.__notes__)
    assert "estimators[2]" in note
    assert f"{len(models)} of the {len(models) + 1}" in note
    assert_all_twins(models, fit_alone(models, X, y), X)
    assert vars(bad) == before
    if refit:
        twin = make(dtype="float64", conv_channels=(4, 6))
        twin.fit(X[:40], y[:40])
        assert_twins(bad, twin, X)
        bad.set_params(**twin.get_params())
        assert_twins(bad.partial_fit(X, y), twin.partial_fit(X, y), X)


def test_neighbours_in_lockstep_with_a_failure_are_not_spoiled():
    # Those that share steps share their optimizer's group with the diverging one.
    X, y = make_data(n=ROWS)
    models = [
        make(dtype="float64", random_state=seed, lr=lr)
        for seed, lr in itertools.product(range(3), (0.01, 1e200))
    ]
    models[2].set_params(strategy=Moody())
    with pytest.raises(DivergedError) as raised:
        fit_fused(models, X, y)
    assert "estimators[1]" in raised.value.__notes__[0]
    assert "2 of the 6" in raised.value.__notes__[0]
    fitted = [hasattr(model, "module_") for model in models]
    assert fitted == [True, False, False, False, True, False]
    good = [models[0], models[4]]
    assert_all_twins(good, fit_alone(good, X, y), X)
    assert_all_twins(
        [model.partial_fit(X, y) for model in good],
        [twin.partial_fit(X, y) for twin in fit_alone(good, X, y)],
        X,
    )


def test_rows_that_can_t_be_used_fail_by_themselves():
    X, y = make_data(n=ROWS)
    X[60, 2] = np.nan
    good = [np.arange(60), np.arange(50)]
    one_class, with_nan, beyond = y.nonzero()[0][:20], np.arange(62), np.arange(99)
    folds = [good[0], one_class, with_nan, beyond, good[1]]
    models = [make(dtype="float64") for _ in folds]
    with pytest.raises(ValueError, match="one class") as raised:
        fit_fused(models, X, y, folds)
    assert raised.value.__notes__ == [
        "This was estimators[1]; 2 of the 5 estimators are fitted."
    ]
    fitted = [models[0], models[4]]
    assert_all_twins(fitted, fit_alone(fitted, X, y, good), X[:60])
    for model in models[1:4]:
        assert vars(model) == vars(make(dtype="float64"))


def test_an_interrupt_leaves_every_estimator_as_it_was():
    X, y = make_data()
    models = [make(), make(strategy=Moody(KeyboardInterrupt)), make(ratio=0.5)]
    models[2].fit(X[:20], y[:20])
    before = [dict(vars(model)) for model in models]
    with pytest.raises(KeyboardInterrupt):
        fit_fused(models, X, y)
    assert [vars(model) for model in models] == before


# --- refusals, before any work ---


def refused(words, models, *args, **kwargs):
    fresh = [m for m in models if isinstance(m, ReBatchCNNClassifier)]
    before = [dict(vars(model)) for model in fresh]
    X, y = make_data()
    with pytest.raises(ValueError) as raised:
        fit_fused(models, X, y, *args, **kwargs)
    for word in words:
        assert word in str(raised.value)
    assert [vars(model) for model in fresh] == before


def test_an_estimator_may_not_occur_twice():
    model = make()
    refused(["twice", "clone"], [make(), model, make(ratio=0.1), model])


@pytest.mark.parametrize("n", [0, 1, 3])
def test_indices_of_another_length(n):
    refused(["2 estimators", f"{n} sets"], [make(), make()], [range(41)] * n)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_validation_rows_of_another_length(n):
    words = ["2 estimators", f"{n} sets of val_indices"]
    refused(words, [make(), make()], val_indices=[range(41)] * n)


def test_estimators_with_callbacks_are_fitted_alone():
    refused(
        ["estimators[1]", "callbacks", "call its fit"],
        [make(), make(callbacks=[Spy()])],
    )


def test_estimators_that_go_on_are_fitted_alone():
    fitted = make(warm_start=True).fit(*make_data())
    refused(["estimators[1]", "earlier fit", "call its fit"], [make(), fitted])
    # Without an earlier fit there is nothing to go on from.
    X, y = make_data()
    model = make(warm_start=True, dtype="float64")
    fit_fused([model], X, y)
    assert_twins(model, make(warm_start=True, dtype="float64").fit(X, y), X)


@pytest.mark.parametrize(
    "other",
    [
        LogisticRegression(),
        make_pipeline(make()),
        ReBatchCNNClassifier,
        "ReBatchCNNClassifier",
        ReBatchCNNClassifierCV(),
        None,
    ],
    ids=str,
)
def test_other_estimators_are_refused(other):
    refused(["estimators[1]", "not a re-Batch estimator"], [make(), other])


class Doubled(ReBatchCNNClassifier):
    """A user's own way to fit."""

    def fit(self, X, y):
        return super().fit(np.concatenate([X, X]), np.concatenate([y, y]))


def test_estimators_with_a_fit_of_their_own_are_fitted_alone():
    refused(["estimators[1]", "custom fit method"], [make(), Doubled()])


@pytest.mark.parametrize("bound", [0, -1, 1.5, True, "all", None, np.nan], ids=str)
def test_impossible_bounds(bound):
    refused(["max_stack", "auto", repr(bound)], [make()], max_stack=bound)


def test_tables_and_labels_of_different_length():
    X, y = make_data()
    model = make()
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fit_fused([model], X, y[:-1])
    assert not hasattr(model, "module_")


# --- global state ---


@pytest.mark.parametrize("task", TASKS)
def test_global_state_stays_as_it_is(task):
    X, y = make_data(task)
    with global_state_stays():
        fit_fused(make_varied(task), X, y)
        fit_fused([make(task, random_state=None) for _ in range(3)], X, y)
        with pytest.raises(DivergedError):
            fit_fused([make(task), make(task, dtype="float64", lr=1e200)], X, y)
        with pytest.raises(ValueError):
            fit_fused([make(task), make(task, ratio=-1)], X, y)


def test_without_a_seed_networks_differ():
    X, y = make_data()
    one, other = fit_fused([make(random_state=None) for _ in range(2)], X, y)
    assert np.isin(weights_of(one), weights_of(other)).mean() < 0.05


def test_a_shared_random_state_is_drawn_from_in_turn():
    X, y = make_data()
    state, other = (np.random.RandomState(3) for _ in range(2))
    models = [make(random_state=state, dtype="float64") for _ in range(3)]
    fit_fused(models, X, y)
    twins = [make(random_state=other, dtype="float64").fit(X, y) for _ in range(3)]
    assert_all_twins(models, twins, X)


def test_verbose_shows_the_losses_of_the_stack(capsys):
    X, y = make_data(n=ROWS)
    models = [make(verbose=i == 1, ratio=0.1 * i) for i in range(3)]
    fit_fused(models, X, y)
    shown = capsys.readouterr()
    assert shown.out == ""
    last = shown.err.splitlines()[-1].split("\r")[-1]
    assert f"{models[0].max_epochs}/{models[0].max_epochs}" in last
    mean = np.mean([model.loss_curve_[-1] for model in models])
    assert f"train_loss={mean:.4g}" in last
    fit_fused([clone(model).set_params(verbose=0) for model in models], X, y)
    assert capsys.readouterr() == ("", "")


# --- the data of a stack ---


def prepare(models, X, y, folds=None):
    """The jobs of estimators, as `fit_fused` prepares them."""
    cache = {}
    if folds is None:
        return [model.__rebatch_prepare__(X, y, cache=cache).job for model in models]
    parts = {id(rows): (X[rows], y[rows]) for rows in folds}
    return [
        model.__rebatch_prepare__(*parts[id(rows)], cache=cache).job
        for model, rows in zip(models, folds, strict=True)
    ]


def rows_of(table, job):
    """The features and targets that each network of a job is trained on."""
    for member in job.members:
        where = member.start + member.rows
        yield table.features[where, :-2], table.targets[where + member.shift]


@pytest.mark.parametrize("task", TASKS)
def test_data_that_jobs_share_is_stored_once(task):
    X, y = make_data(task, n=ROWS)
    jobs = prepare(make_varied(task), X, y)
    table = stack_table(jobs)
    assert len(table.features) == ROWS
    if task in CLASSIFICATION:
        assert len(table.targets) == ROWS
    folds = make_folds()
    jobs = prepare(make_varied(task), X, y, folds)
    table = stack_table(jobs)
    distinct = {id(rows): len(rows) for rows in folds}
    assert len(distinct) == len(folds) - 1
    assert len(table.features) == sum(distinct.values())
    for job, rows in zip(jobs, folds, strict=True):
        for features, _ in rows_of(table, job):
            own = job.members[0].rows
            np.testing.assert_array_equal(features, X[rows][own])


def test_each_scale_of_the_target_is_stored_once():
    X, y = make_data("regression", n=ROWS)
    stops = {"early_stopping": True}
    models = [
        make("regression", dtype="float64", **params)
        for params in ({}, {"ratio": 0.1}, stops, {**stops, "ratio": 0.1},
                       {"standardize_target": False})
    ]  # fmt: skip
    jobs = prepare(models, X, y)
    table = stack_table(jobs)
    assert len(table.features) == ROWS
    assert len(table.targets) == 3 * ROWS
    for model, job in zip(models, jobs, strict=True):
        own = job.members[0].rows
        expected = y
        if model.standardize_target:
            expected = (y - y[own].mean()) / y[own].std()
        for features, targets in rows_of(table, job):
            np.testing.assert_array_equal(features, X[own])
            assert_close(targets[:, 0], expected[own], 1e-12)


def test_a_validation_set_that_jobs_share_is_stored_once():
    X, y = make_data("regression", n=ROWS)
    X_val, y_val = make_data("regression", n=25)
    models = [make("regression", ratio=ratio) for ratio in (0.0, 0.1, 0.2)]
    models += [make("regression", standardize_target=False, dtype="float32")]
    cache = {}
    fits = [
        m.__rebatch_prepare__(X, y, None, X_val, y_val, cache=cache) for m in models
    ]
    jobs = [fit.job for fit in fits]
    table = stack_table(jobs)
    assert len(table.features) == ROWS + 25
    assert len(table.targets) == 2 * (ROWS + 25)
    for model, fit in zip(models, fits, strict=True):
        (member,) = fit.job.members
        where = member.start + member.valid_rows
        assert_close(table.features[where, :-2], X_val, 1e-6)
        expected = y_val
        if model.standardize_target:
            expected = (y_val - y.mean()) / y.std()
        assert_close(table.targets[where + member.shift, 0], expected, 1e-6)


def test_a_job_holds_no_network_before_its_stack_is_trained():
    jobs = prepare(make_varied("binary"), *make_data(n=ROWS))
    assert sum(len(job.members) for job in jobs) == N_VARIED + 2
    assert all(member.network is None for job in jobs for member in job.members)


# --- how jobs are cut into stacks ---


def steps_of(model, n=ROWS):
    """Optimizer steps of a later epoch, by hand."""
    size = int(n * model.ratio / (1 + model.ratio) + 1e-9)
    entries = n + (model.repeats - 1) * size
    batch_size = model.batch_size if model.batch_size != "ratio" else size or 32
    return -(-entries // min(batch_size, n))


MANY = [
    {"ratio": r, "repeats": m, "random_state": s, "n_networks": k, **kind}
    for s in range(4)
    for r in (0, 0.1, 0.3, 0.5)
    for m in (0, 1, 2)
    for k in (1, 3)
    for kind in ({}, {"hidden_size": 9})
]


@pytest.mark.parametrize("max_stack", [1, 2, 4, 10, 1000, "auto"])
def test_stacks_are_of_one_kind_and_bounded(max_stack):
    models = [make(**params) for params in MANY]
    jobs = prepare(models, *make_data(n=ROWS))
    stacks = cut_into_stacks(jobs, max_stack)
    assert sorted(itertools.chain(*stacks)) == list(range(len(jobs)))
    for stack in stacks:
        assert len({jobs[i].stack_key for i in stack}) == 1
        size = sum(models[i].n_networks for i in stack)
        # The networks of one estimator stay together, however many they are.
        assert len(stack) == 1 or max_stack == "auto" or size <= max_stack
    assert len(stacks) == {1: len(jobs), 1000: 2}.get(max_stack, len(stacks))
    # Equal numbers of steps come one after another, within each kind.
    for kind in {job.stack_key for job in jobs}:
        steps = [
            steps_of(models[i]) for s in stacks for i in s if jobs[i].stack_key == kind
        ]
        assert len([key for key, _ in itertools.groupby(steps)]) == len(set(steps)) > 3


@pytest.mark.parametrize("max_stack", [5, "auto"])
def test_a_cut_depends_on_the_jobs_alone(max_stack):
    first = cut_into_stacks(
        prepare([make(**params) for params in MANY], *make_data(n=ROWS)), max_stack
    )
    with global_state_stays():
        again = cut_into_stacks(
            prepare([make(**params) for params in MANY], *make_data(n=ROWS)), max_stack
        )
    assert again == first
    # Neither what the data are, nor which networks a cut came before.
    X, y = make_data(n=ROWS)
    fitted = fit_fused([make(**params) for params in MANY[::5]], X, y)
    jobs = prepare([*fitted, *(make(**p) for p in MANY)], -X, y)[len(fitted) :]
    assert cut_into_stacks(jobs, max_stack) == first


def test_automatic_stacks_are_smaller_where_networks_are_larger():
    def sizes(n_models=60, **params):
        models = [make(random_state=i, **params) for i in range(n_models)]
        stacks = cut_into_stacks(prepare(models, *make_data(n=ROWS)), "auto")
        return max(map(len, stacks))

    wide = {"hidden_size": 400}
    assert sizes() > sizes(**wide) > sizes(hidden_size=4000) >= 1
    assert sizes(batch_size=4, **wide) > sizes(batch_size=64, **wide) > 1
    assert sizes(n_models=5, hidden_size=50_000) == 1


def test_networks_of_equal_steps_are_not_torn_apart_without_need():
    # In a stack of both the ones would wait for the others.
    models = [make(random_state=i, batch_size=b) for b in (4, 64) for i in range(4)]
    jobs = prepare(models, *make_data(n=ROWS))
    assert cut_into_stacks(jobs, 4) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert cut_into_stacks(jobs, 6) == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(
    "rows, words",
    [
        ([0, ROWS], "between -64 and 63, because X has 64 rows; got 0 to 64"),
        ([-ROWS - 1, 0], "got -65 to 0"),
        ([0.5, 1.0], "dtype float64"),
        ([[0, 1]], r"shape \(1, 2\)"),
        ([True, False], "a mask of 64 rows"),
    ],
)
def test_rows_that_there_are_not_are_named(rows, words):
    X, y = make_data(n=ROWS)
    good = np.arange(40)
    for name in ("indices", "val_indices"):
        models = [make(), make()]
        with pytest.raises(ValueError, match=rf"{name}\[1\] .*{words}"):
            fit_fused(models, X, y, **{name: [good, rows]})
        assert hasattr(models[0], "module_") and not hasattr(models[1], "module_")
