"""Several networks in one estimator: what they are, and what is made of them."""

import pickle

import numpy as np
import pytest
import torch
from helpers.estimators import (
    TASKS,
    First,
    N,
    assert_close,
    assert_same_bits,
    global_state_stays,
    make,
    make_data,
    weights_of,
)
from helpers.options import WEIGHING
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EarlyStopping

from skrebatch import (
    DivergedError,
    FusedGridSearchCV,
    SelfPaced,
    Strategy,
    TabularCNN,
    fit_fused,
)
from skrebatch.strategies import STRATEGIES

K = 3


def ensemble(task="binary", **params):
    return make(task, **{"n_networks": K, "dtype": "float64", **params})


def single(k, task="binary", random_state=0, **params):
    """An estimator of one network: that with number k of an ensemble."""
    state = np.random.RandomState(random_state)
    state.randint(2**31 - 1, size=k)
    return make(task, **{"dtype": "float64", **params, "random_state": state})


def network_weights(network):
    return np.concatenate([p.detach().ravel() for p in network.parameters()])


def assert_networks(model, singles, tolerance=1e-10):
    """Expect the networks of an ensemble to be those of estimators."""
    networks = list(model.module_.networks)
    assert len(networks) == len(singles)
    for network, one in zip(networks, singles, strict=True):
        assert type(network) is TabularCNN and not network.training
        assert_close(network_weights(network), weights_of(one), tolerance)


def outputs_by_hand(model, X):
    """What each network gives: (K, n, O)."""
    rows = torch.tensor(X, dtype=torch.float64)
    with torch.no_grad():
        return np.stack([net.double()(rows).numpy() for net in model.module_.networks])


# --- which networks ---


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"strategy": "random", "repeats": 2},
        {"strategy": "max-loss", "repeats": 0, "shuffle": False},
        {"ratio": 0, "batch_size": 7},
        {"random_state": 11, "optimizer": "sgd", "weight_decay": 0.1},
    ],
    ids=str,
)
def test_networks_are_those_of_estimators_with_the_next_seeds(params):
    X, y = make_data()
    model = ensemble(**params, max_epochs=8).fit(X, y)
    singles = [single(k, **params, max_epochs=8).fit(X, y) for k in range(K)]
    assert_networks(model, singles)
    assert_close(model.sample_losses_, np.mean([m.sample_losses_ for m in singles], 0))
    assert_close(model.loss_curve_, np.mean([m.loss_curve_ for m in singles], 0))
    np.testing.assert_array_equal(
        model.chosen_by_network_, [m.chosen_ for m in singles]
    )
    assert model.n_iter_ == 8
    assert model.n_redistributed_ == singles[0].n_redistributed_
    assert model.batch_size_ == singles[0].batch_size_


@pytest.mark.parametrize("task", TASKS)
def test_the_first_network_is_that_of_the_same_seed(task):
    X, y = make_data(task)
    model = ensemble(task, max_epochs=20).fit(X, y)
    one = make(task, dtype="float64", max_epochs=20).fit(X, y)
    first = network_weights(model.module_.networks[0])
    assert_close(first, weights_of(one), 1e-10)


def test_more_networks_go_on_where_fewer_end():
    X, y = make_data()
    few, many = (ensemble(n_networks=n).fit(X, y) for n in (2, 4))
    for one, other in zip(few.module_.networks, many.module_.networks, strict=False):
        assert_close(network_weights(one), network_weights(other), 1e-10)
    weights = np.array([network_weights(net) for net in many.module_.networks])
    assert len(np.unique(weights[:, 0])) == 4


@pytest.mark.parametrize("choose", ["own", "together"])
@pytest.mark.parametrize("task", TASKS)
def test_one_network_is_no_ensemble(task, choose):
    X, y = make_data(task)
    model = make(task, n_networks=1, choose=choose).fit(X, y)
    assert_same_bits(model, make(task).fit(X, y))
    assert type(model.module_) is TabularCNN
    assert model.chosen_.shape == (8,)


# --- predictions ---


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_probabilities_are_the_mean_over_the_networks(task):
    X, y = make_data(task)
    labels = np.array(["c", "a", "b"])[y]
    model = ensemble(task, max_epochs=15).fit(X, labels)
    outputs = outputs_by_hand(model, X)
    if task == "binary":
        ones = expit(outputs[:, :, 0]).mean(axis=0)
        expected = np.column_stack([1 - ones, ones])
        logits = np.log(ones / (1 - ones))
        assert_close(model.decision_function(X), logits, 1e-12)
    else:
        expected = softmax(outputs, axis=2).mean(axis=0)
        logits = model.decision_function(X)
        assert logits.shape == (N, 3)
        assert_close(softmax(logits, axis=1), expected, 1e-12)
    assert_close(model.predict_proba(X), expected, 1e-12)
    assert_close(model.predict_log_proba(X), np.log(expected), 1e-12)
    winner = model.classes_[expected.argmax(axis=1)]
    np.testing.assert_array_equal(model.predict(X), winner)
    assert model.score(X, labels) == np.mean(winner == labels)
    # No vote, no mean of the logits.
    assert not np.allclose(softmax(outputs.mean(axis=0), axis=1), expected)


@pytest.mark.parametrize("task", ["regression", "multi-target"])
def test_targets_are_the_mean_over_the_networks(task):
    X, y = make_data(task)
    model = ensemble(task, max_epochs=15).fit(X, y)
    outputs = outputs_by_hand(model, X)
    expected = outputs.mean(axis=0) * y.std(axis=0) + y.mean(axis=0)
    assert_close(model.predict(X), expected.reshape(y.shape), 1e-10)
    singles = [single(k, task, max_epochs=15).fit(X, y).predict(X) for k in range(K)]
    assert_close(model.predict(X), np.mean(singles, axis=0), 1e-8)


def test_far_from_the_data_probabilities_stay_finite():
    X, y = make_data()
    model = ensemble(max_epochs=30).fit(X, y)
    far = np.vstack([X * 1e6, -X * 1e6])
    assert np.isfinite(model.predict_log_proba(far)).all()
    assert not np.isnan(model.decision_function(far)).any()
    assert_close(model.predict_proba(far).sum(axis=1), 1, 1e-12)
    decided = model.decision_function(far) > 0
    np.testing.assert_array_equal(model.predict(far), decided.astype(int))


@pytest.mark.parametrize("task", TASKS)
def test_the_module_gives_what_each_network_gives(task):
    X, y = make_data(task)
    model = make(task, n_networks=K).fit(X, y)
    assert not model.module_.training
    rows = torch.tensor(X, dtype=torch.float32)
    with torch.no_grad():
        outputs = model.module_(rows)
        expected = torch.stack([network(rows) for network in model.module_.networks])
    assert torch.equal(outputs, expected)
    assert outputs.shape[:2] == (K, N)


def test_many_rows_are_predicted_in_parts():
    X, y = make_data()
    model = ensemble().fit(X, y)
    many = np.tile(X, (60, 1))  # more than are predicted at once
    expected = np.tile(model.predict_proba(X), (60, 1))
    assert_close(model.predict_proba(many), expected, 1e-12)


def test_an_ensemble_is_better_than_its_networks_on_average():
    # By convexity: the loss of the mean is at most the mean of the losses.
    X, y = make_data()
    model = ensemble(n_networks=5, max_epochs=40).fit(X, y)
    loss = -model.predict_log_proba(X)[np.arange(N), y]
    assert (loss < model.sample_losses_ + 1e-12).all()
    X, y = make_data("regression")
    model = ensemble("regression", n_networks=5, max_epochs=40).fit(X, y)
    loss = ((model.predict(X) - y) / y.std()) ** 2
    assert (loss < model.sample_losses_ + 1e-12).all()


# --- choosing together ---


class Fixed(Strategy):
    """Choose given samples."""

    def __init__(self, chosen):
        self.chosen = chosen

    def plan(self, losses, epoch):
        return np.asarray(self.chosen)


@pytest.mark.parametrize("strategy", ["min-loss", "max-loss"])
@pytest.mark.parametrize("task", TASKS)
def test_together_they_choose_by_their_mean_losses(task, strategy):
    X, y = make_data(task)
    params = {"strategy": strategy, "repeats": 2}
    model = ensemble(task, choose="together", max_epochs=2, **params).fit(X, y)
    # The second epoch is redistributed by the losses after the first.
    first = [single(k, task, max_epochs=1, **params).fit(X, y) for k in range(K)]
    mean = np.mean([m.sample_losses_ for m in first], axis=0)
    ranked = np.argsort(mean if strategy == "min-loss" else -mean, kind="stable")
    np.testing.assert_array_equal(model.chosen_by_network_, np.tile(ranked[:8], (K, 1)))
    # And each has trained on what they have chosen.
    params["strategy"] = Fixed(ranked[:8])
    assert_networks(
        model, [single(k, task, max_epochs=2, **params).fit(X, y) for k in range(K)]
    )
    # Each by itself would have chosen others.
    own = ensemble(task, max_epochs=2, strategy=strategy, repeats=2).fit(X, y)
    assert (
        not np.equal(own.chosen_by_network_, model.chosen_by_network_).all(axis=1).any()
    )


@pytest.mark.parametrize("choose", ["own", "together"])
def test_shapes_of_what_was_chosen(choose):
    X, y = make_data()
    model = ensemble(choose=choose, max_epochs=5).fit(X, y)
    assert [rows.shape for rows in model.chosen_by_network_] == [(8,)] * K
    assert model.n_redistributed_ == 8
    assert (len({tuple(row) for row in model.chosen_by_network_}) == 1) == (
        choose == "together"
    )
    assert model.sample_losses_.shape == (N,)
    for params in ({"max_epochs": 1}, {"ratio": 0}):
        chosen = ensemble(choose=choose, **params).fit(X, y).chosen_by_network_
        assert [rows.shape for rows in chosen] == [(0,)] * K


def test_chosen_are_rows_of_X_where_some_rows_are_left_out():
    X, y = make_data()
    weights = np.random.default_rng(1).integers(0, 3, size=N)
    model = ensemble(choose="together").fit(X, y, sample_weight=weights)
    assert weights[model.chosen_].all()
    kept = np.flatnonzero(weights)
    dropped = ensemble(choose="together")
    dropped.fit(X[kept], y[kept], sample_weight=weights[kept])
    np.testing.assert_array_equal(model.chosen_, kept[dropped.chosen_])
    assert_networks(model, [TwinOf(net) for net in dropped.module_.networks])


class TwinOf:
    """A network by the name that estimators give it."""

    def __init__(self, network):
        self.module_ = network


# --- early stopping ---


class Recorded(Strategy):
    """Choose the easiest, or by a script, and note all losses."""

    losses = []

    def __init__(self, script=None):
        self.script = script

    def plan(self, losses, epoch):
        self.losses.append(np.array(losses))
        self.calls_ = getattr(self, "calls_", 0) + 1
        if self.script is None:
            return np.argsort(losses, kind="stable")[: epoch.n_chosen]
        return self.script[self.calls_ - 1]


# --- going on ---

EPOCHS = 4


@pytest.mark.parametrize("choose", ["own", "together"])
@pytest.mark.parametrize("task", TASKS)
def test_partial_fits_end_where_a_fit_ends(task, choose):
    X, y = make_data(task)
    model = ensemble(task, choose=choose)
    for _ in range(EPOCHS):
        model.partial_fit(X, y)
    whole = ensemble(task, choose=choose, max_epochs=EPOCHS).fit(X, y)
    assert_same_bits(model, whole)
    np.testing.assert_array_equal(model.predict(X), whole.predict(X))


@pytest.mark.parametrize("choose", ["own", "together"])
def test_partial_fit_goes_on_after_fit(choose):
    X, y = make_data()
    model = ensemble(choose=choose, max_epochs=EPOCHS - 2).fit(X, y)
    model.partial_fit(X, y).partial_fit(X, y)
    assert_same_bits(model, ensemble(choose=choose, max_epochs=EPOCHS).fit(X, y))


@pytest.mark.parametrize("choose", ["own", "together"])
def test_warm_start_goes_on(choose):
    X, y = make_data()
    params = {"optimizer": "sgd", "choose": choose}  # which has no state to lose
    model = ensemble(warm_start=True, max_epochs=3, **params).fit(X, y)
    curve = list(model.loss_curve_)
    model.set_params(max_epochs=2).fit(X, y)
    assert model.loss_curve_[:3] == curve
    assert_same_bits(model, ensemble(max_epochs=5, **params).fit(X, y))


@pytest.mark.parametrize("before, after", [(3, 2), (1, 3), (3, 1)])
def test_training_can_t_go_on_with_another_number(before, after):
    X, y = make_data()
    model = ensemble(n_networks=before, warm_start=True).fit(X, y)
    expected = weights_of(model)
    model.set_params(n_networks=after)
    for continue_training in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="n_networks"):
            continue_training(X, y)
    np.testing.assert_array_equal(weights_of(model), expected)
    model.set_params(warm_start=False).fit(X, y)
    assert_same_bits(model, ensemble(n_networks=after).fit(X, y))


@pytest.mark.parametrize("choose", ["own", "together"])
@pytest.mark.parametrize("task", TASKS)
def test_a_pickle_is_the_same_and_goes_on(task, choose):
    X, y = make_data(task)
    model = ensemble(task, optimizer="sgd", choose=choose).fit(X, y)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    assert_same_bits(twin, model)
    assert not twin.module_.training
    assert_same_bits(twin.partial_fit(X, y), model.partial_fit(X, y))


def test_a_clone_fits_to_the_same_bits():
    X, y = make_data()
    model = ensemble(choose="together", strategy=First()).fit(X, y)
    twin = clone(model)
    assert twin.get_params()["n_networks"] == K
    assert not hasattr(twin, "module_")
    assert_same_bits(twin.fit(X, y), model)


def test_a_failed_fit_changes_nothing():
    X, y = make_data()
    model = ensemble().fit(X, y)
    expected = weights_of(model)
    with pytest.raises(DivergedError):
        model.set_params(lr=1e200).fit(X, y)
    np.testing.assert_array_equal(weights_of(model), expected)
    model.set_params(lr=0.01).partial_fit(X, y)
    twin = ensemble().fit(X, y).partial_fit(X, y)
    assert_same_bits(model, twin)


# --- weights ---


def test_sample_weights_are_every_network_s():
    X, y = make_data()
    weights = np.random.default_rng(1).uniform(0, 5, size=N)
    model = ensemble(class_weight="balanced").fit(X, y, sample_weight=weights)
    assert_networks(
        model,
        [
            single(k, class_weight="balanced").fit(X, y, sample_weight=weights)
            for k in range(K)
        ],
    )


# --- in searches ---

NUMBERS = {"n_networks": [1, 2, 4], "choose": ["own", "together"]}


@pytest.mark.parametrize("max_stack", [1, 3, "auto"])
def test_a_fused_search_over_the_number(max_stack):
    X, y = make_data()
    model = make(dtype="float64", lr=0.05)
    plain = GridSearchCV(model, NUMBERS, cv=3).fit(X, y).cv_results_
    fused = FusedGridSearchCV(model, NUMBERS, cv=3, max_stack=max_stack).fit(X, y)
    for name, expected in plain.items():
        if "test" in name or name.startswith("param_"):
            np.testing.assert_array_equal(fused.cv_results_[name], expected)
    assert len(np.unique(plain["mean_test_score"])) > 1


def test_in_a_pipeline_and_a_stack():
    X, y = make_data()
    X = X * [1, 100, 1e-3, 5, 1] + 7
    model = make_pipeline(StandardScaler(), ensemble()).fit(X, y)
    expected = ensemble().fit(StandardScaler().fit_transform(X), y)
    assert_same_bits(model[-1], expected)
    scaled = StandardScaler().fit_transform(X)
    models = [
        ensemble(choose=choose, random_state=s)
        for choose in ("own", "together")
        for s in (0, 0, 1)
    ]
    fit_fused(models, scaled, y)
    for each in models:
        twin = clone(each).fit(scaled, y)
        assert_networks(each, [TwinOf(net) for net in twin.module_.networks])
        np.testing.assert_array_equal(each.chosen_, twin.chosen_)


# --- chance, global state, refusals ---


@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize("choose", ["own", "together"])
def test_global_state_stays_as_it_is(choose, random_state):
    X, y = make_data()
    model = make(n_networks=K, choose=choose, random_state=random_state)
    with global_state_stays():
        model.fit(X, y).predict_proba(X)
        model.partial_fit(X, y).score(X, y)


def test_same_seed_same_bits_other_seed_other_bits():
    X, y = make_data()
    one, again, other, unseeded = (
        make(n_networks=K, random_state=seed).fit(X, y) for seed in (3, 3, 4, None)
    )
    assert_same_bits(one, again)
    # In float32 a few of so many numbers may be equal by chance.
    assert np.isin(weights_of(one), weights_of(other)).mean() < 0.05
    assert np.isin(weights_of(one), weights_of(unseeded)).mean() < 0.05


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2", None, np.nan, [2]], ids=str)
def test_impossible_numbers_are_refused(value):
    model = make(n_networks=value)
    with pytest.raises(ValueError, match="n_networks must be an integer"):
        model.fit(*make_data())
    assert vars(model) == vars(make(n_networks=value))


@pytest.mark.parametrize("value", ["each", None, True, 1, ""], ids=str)
@pytest.mark.parametrize("n_networks", [1, K])
def test_impossible_ways_to_choose_are_refused(n_networks, value):
    model = make(n_networks=n_networks, choose=value)
    with pytest.raises(ValueError, match='choose must be "own" or "together"'):
        model.fit(*make_data())
    with pytest.raises(ValueError, match="choose"):
        model.partial_fit(*make_data())
    assert not hasattr(model, "n_features_in_")


def test_numpy_numbers_are_numbers():
    X, y = make_data()
    model = make(n_networks=np.int64(K)).fit(X, y)
    assert_same_bits(model, make(n_networks=K).fit(X, y))


def test_callbacks_see_the_mean_losses():
    X, y = make_data()
    stop = EarlyStopping("train_loss", patience=2, threshold=10.0)
    model = make(n_networks=2, callbacks=[stop], max_epochs=50).fit(X, y)
    assert model.n_iter_ < 50
    assert model.history_[:, "train_loss"] == pytest.approx(model.loss_curve_)


# --- every method ---


@pytest.mark.parametrize("name", STRATEGIES)
def test_together_means_one_plan_for_all_networks(name):
    X, y = make_data()
    course = {"loss_smoothing": 0.5, "refresh_every": 2, "record_losses": True}
    for params in ({}, course):
        strategy = SelfPaced(0.5) if name == "self-paced" else name
        params = {"strategy": strategy, "ratio": 0.5, "max_epochs": 20, **params}
        together, own = (
            ensemble(choose=choose, **params) for choose in ("together", "own")
        )
        for _ in range(4):
            together.partial_fit(X, y)
            own.partial_fit(X, y)
        first, *others = together.chosen_by_network_
        assert len(others) == K - 1
        for chosen in others:
            np.testing.assert_array_equal(chosen, first)
        if together.record_losses:
            # What all do, most do.
            last = np.flatnonzero(together.recorded_choices_[-1])
            assert last.tolist() == sorted(first)
        # By its own losses each network has a plan of its own, if any.
        plans_nothing = name in WEIGHING
        one, *its = own.chosen_by_network_
        assert all(np.array_equal(one, other) for other in its) == plans_nothing
        same = np.allclose(
            outputs_by_hand(together, X), outputs_by_hand(own, X), rtol=1e-10
        )
        assert same == plans_nothing


class Seen(Strategy):
    """Note the losses that it is shown."""

    log = []

    def plan(self, losses, epoch):
        self.log.append((epoch.number, losses.copy()))
        return np.argsort(losses)[: epoch.n_chosen]


def test_together_the_mean_losses_count_and_are_smoothed():
    X, y = make_data()
    Seen.log.clear()
    params = {"choose": "together", "loss_smoothing": 0.75, "max_epochs": 5}
    model = ensemble(strategy=Seen(), record_losses=True, **params).fit(X, y)
    mean, numbers = None, []
    for number, losses in Seen.log:
        after = model.recorded_losses_[number - 2]
        mean = after if mean is None else 0.75 * mean + 0.25 * after
        assert_close(losses, mean, 1e-6)
        numbers.append(number)
    assert numbers == [2, 3, 4, 5]


@pytest.mark.parametrize("strategy", ["max-loss", "breed"])
def test_records_are_the_mean_over_the_networks(strategy):
    X, y = make_data()
    params = {"strategy": strategy, "record_losses": True, "max_epochs": 5}
    model = ensemble(**params).fit(X, y)
    singles = [single(k, **params).fit(X, y) for k in range(K)]
    losses, choices, times = (
        np.mean([getattr(one, name) for one in singles], axis=0)
        for name in ("recorded_losses_", "recorded_choices_", "times_chosen_")
    )
    assert model.recorded_epochs_.tolist() == [1, 2, 3, 4, 5]
    assert_close(model.recorded_losses_, losses, 1e-6)
    np.testing.assert_array_equal(model.recorded_choices_, choices > 0.5)
    assert_close(model.times_chosen_, times)
    assert not np.array_equal(times, np.round(times))


def test_networks_that_part_no_longer_step_together():
    X, y = make_data()
    params = {"batch_size": 3, "lr": 0.1, "optimizer": "sgd"}
    model = ensemble(**params).partial_fit(X, y).partial_fit(X, y)
    # A pickle has no optimizer, so that it makes its groups anew; SGD has no state.
    loaded = pickle.loads(pickle.dumps(model))
    for one in (model, loaded):
        one.set_params(strategy="infobatch").partial_fit(X, y).partial_fit(X, y)
    assert_same_bits(model, loaded)
    assert len(model.net_.module_.groups) == K
    # And where they step together again.
    for one in (model, loaded):
        one.set_params(strategy="min-loss").partial_fit(X, y)
    assert_same_bits(model, loaded)


def test_out_of_fold_predictions_of_numbers_are_those_of_the_networks():
    """Also of networks so wide that the rows are predicted in several parts."""
    X, y = make_data("regression", n=260)
    halves = {"n_networks": 2, "early_stopping": True, "validation_fraction": 0.5}
    model = make("regression", **halves, max_epochs=1, hidden_size=2000).fit(X, y)
    by_network = [
        network(torch.tensor(X).float()).detach().numpy()[:, 0] * model.target_scale_
        + model.target_mean_
        for network in model.module_.networks
    ]
    found = np.isclose(by_network, model.oof_prediction_, rtol=1e-4)
    assert found.any(axis=0).all() and (found.sum(axis=1) < 140).all()
