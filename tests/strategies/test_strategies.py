"""What a strategy is, plans by class, and what holds for every method."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from helpers.estimators import (
    assert_same_bits,
    global_state_stays,
    make,
    make_data,
    weights_of,
)
from helpers.options import WEIGHING
from helpers.plans import choose, finite_losses, make_epoch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.metrics import recall_score

import skrebatch
from skrebatch import (
    OHEM,
    TSW,
    Breed,
    Curriculum,
    GeneralizedCrossEntropy,
    Hybrid,
    InfoBatch,
    MaxLoss,
    MinLoss,
    Plan,
    RandomChoice,
    SelectiveBackprop,
    SelfPaced,
    SmallLoss,
    Strategy,
    Welsch,
)
from skrebatch.strategies import STRATEGIES, check_strategy
from skrebatch.strategies._planning import (
    apportion,
    interleave,
    make_plan,
    plan_by_class,
)

BUILT_IN = {
    "min-loss": MinLoss,
    "max-loss": MaxLoss,
    "random": RandomChoice,
    "hybrid": Hybrid,
    "tsw": TSW,
    "ohem": OHEM,
    "generalized-cross-entropy": GeneralizedCrossEntropy,
    "welsch": Welsch,
    "curriculum": Curriculum,
    "self-paced": SelfPaced,
    "breed": Breed,
    "small-loss": SmallLoss,
    "infobatch": InfoBatch,
    "selective-backprop": SelectiveBackprop,
}
PLANNING = [name for name in BUILT_IN if name not in WEIGHING]


# --- the interface ---


class Nearest(Strategy):
    """A user's strategy: the losses nearest to a target, with a parameter."""

    def __init__(self, target=0.0):
        self.target = target

    def plan(self, losses, epoch):
        return np.argsort(np.abs(losses - self.target))[: epoch.n_chosen]


@pytest.mark.parametrize("name, strategy", BUILT_IN.items())
def test_check_strategy_knows_the_names(name, strategy):
    assert type(check_strategy(name)) is strategy
    assert getattr(skrebatch, strategy.__name__) is strategy


def test_every_name_is_tested_here():
    assert BUILT_IN == STRATEGIES


def test_check_strategy_passes_objects_through():
    strategy = Nearest(0.5)
    assert check_strategy(strategy) is strategy


@pytest.mark.parametrize(
    "strategy", ["min_loss", "MinLoss", "", None, 3, MinLoss, min, ["min-loss"]]
)
def test_check_strategy_names_the_strategies(strategy):
    with pytest.raises(ValueError) as error:
        check_strategy(strategy)
    for part in ["strategy", *(f'"{name}"' for name in BUILT_IN), repr(strategy)]:
        assert part in str(error.value)


def test_a_strategy_without_a_method_is_named():
    class Half(Strategy):
        pass

    with pytest.raises(ValueError, match="Half defines neither plan"):
        check_strategy(Half())


@pytest.mark.parametrize(
    "strategy, text",
    [
        (MinLoss(), "MinLoss()"),
        (MaxLoss(), "MaxLoss()"),
        (RandomChoice(), "RandomChoice()"),
        (Hybrid(0.25), "Hybrid(easy=0.25)"),
        (Nearest(target=0.5), "Nearest(target=0.5)"),
    ],
)
def test_strategies_are_scikit_learn_objects(strategy, text):
    losses = np.array([0.9, 0.4, 0.6, 0.1, 0.0])
    assert repr(strategy) == text
    for copy in (clone(strategy), pickle.loads(pickle.dumps(strategy))):
        assert copy is not strategy
        assert type(copy) is type(strategy)
        assert copy.get_params() == strategy.get_params()
        assert choose(copy, losses, 3) == choose(strategy, losses, 3)


def test_a_parameter_of_a_strategy_can_be_set():
    strategy = Nearest().set_params(target=1.0)
    assert choose(strategy, np.array([0.1, 0.9, 0.5]), 2) == [1, 2]


@pytest.mark.parametrize("strategy", BUILT_IN.values())
def test_the_methods_are_scikit_learn_objects(strategy):
    one = strategy()
    assert repr(one) == f"{strategy.__name__}()"
    for name, value in one.get_params().items():
        other = clone(one).set_params(**{name: type(value)()})
        assert repr(other) == f"{strategy.__name__}({name}={type(value)()!r})"
        assert repr(pickle.loads(pickle.dumps(other))) == repr(other)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_method_defines_one_of_the_two_methods(name):
    strategy = check_strategy(name)
    assert (strategy.plans, strategy.weights_batches) == (
        name in PLANNING,
        name not in PLANNING,
    )


@pytest.mark.parametrize("name", PLANNING)
@given(finite_losses(), st.data())
def test_a_plan_is_possible_whatever_the_losses(name, losses, data):
    n = len(losses)
    n_chosen = data.draw(st.integers(0, n - 1))
    max_epochs = data.draw(st.integers(2, 300))
    number = data.draw(st.integers(2, 300))
    seed = data.draw(st.integers(0, 9))
    before = losses.copy()
    plan = make_plan(
        check_strategy(name), losses, make_epoch(n_chosen, number, max_epochs, seed)
    )
    assert losses.tobytes() == before.tobytes()
    chosen = np.asarray(plan.chosen, dtype=int)
    assert len(set(chosen.tolist())) == len(chosen) <= n
    rest = (
        np.setdiff1d(np.arange(n), chosen) if plan.remaining is None else plan.remaining
    )
    assert len(rest) + len(chosen) > 0
    assert set(rest.tolist()) | set(chosen.tolist()) <= set(range(n))
    if plan.repeats == 0:
        assert len(rest) > 0
    if plan.weights is not None:
        assert plan.weights.shape == (n,)
        assert np.all(plan.weights >= 1)
    # Among equals nobody asks for the labels.
    labelled = make_epoch(n_chosen, number, max_epochs, seed, labels=np.arange(n) % 2)
    again = make_plan(check_strategy(name), losses, labelled)
    for one, other in zip(vars(plan).values(), vars(again).values(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "number, max_epochs, progress", [(1, 4, 0.25), (4, 4, 1), (9, 4, 1), (3, 10, 0.3)]
)
def test_progress_is_the_share_that_is_over(number, max_epochs, progress):
    assert make_epoch(0, number, max_epochs).progress == progress


def test_a_class_that_plans_by_itself_is_not_known_to_redistribute():
    class Named(MaxLoss):
        pass

    class Trim(MaxLoss):
        def plan(self, losses, epoch):
            return Plan(super().plan(losses, epoch), repeats=0)

    class Sure(MaxLoss):
        redistributes = True

        def plan(self, losses, epoch):
            return super().plan(losses, epoch)[::-1]

    flags = [cls.redistributes for cls in (MaxLoss, Named, Trim, Sure, SmallLoss)]
    assert flags == [True, True, False, True, False]


# --- the parts of a plan ---


@pytest.mark.parametrize(
    "total, sizes, counts",
    [
        (4, [30, 10], [3, 1]),
        (5, [30, 10], [4, 1]),  # 3.75 and 1.25
        (2, [10, 10, 10], [1, 1, 0]),  # of equal remainders the first
        (1, [1, 99], [0, 1]),
        (0, [3, 4], [0, 0]),
        (7, [7], [7]),
    ],
)
def test_a_number_is_split_in_proportion(total, sizes, counts):
    assert apportion(total, sizes) == counts


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=9), st.data())
def test_every_part_is_within_one_of_its_share(sizes, data):
    total = data.draw(st.integers(0, sum(sizes)))
    counts = apportion(total, sizes)
    assert sum(counts) == total
    for count, size in zip(counts, sizes, strict=True):
        assert abs(count * sum(sizes) - total * size) < sum(sizes)
        assert 0 <= count <= size


def test_sequences_are_merged_by_hand():
    merged = interleave(
        [np.array([1, 2, 3, 4]), np.array([], dtype=int), np.array([9])]
    )
    assert merged.tolist() == [1, 2, 9, 3, 4]
    assert interleave([np.array([1, 2]), np.array([8, 9])]).tolist() == [1, 8, 2, 9]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=4))
def test_every_stretch_of_a_merged_sequence_holds_each_part_in_proportion(sizes):
    parts = [np.arange(n) + 100 * i for i, n in enumerate(sizes)]
    merged = interleave(parts)
    for i, part in enumerate(parts):
        is_own = merged // 100 == i
        np.testing.assert_array_equal(merged[is_own], part)
        expected = len(part) * np.arange(1, len(merged) + 1) / max(len(merged), 1)
        assert np.all(np.abs(np.cumsum(is_own) - expected) <= len(sizes))


# --- plans by class ---


def test_a_plan_by_class_by_hand():
    labels = np.array([0, 1, 0, 0, 1, 0, 0, 0])
    losses = np.array([0.1, 0.9, 0.2, 0.3, 0.8, 0.4, 0.5, 0.6])
    epoch = make_epoch(4, labels=labels)
    # Three of six and one of two, merged.
    assert plan_by_class(MaxLoss(), losses, epoch).chosen.tolist() == [7, 6, 1, 5]
    assert plan_by_class(MinLoss(), losses, epoch).chosen.tolist() == [0, 2, 4, 3]
    trimmed = plan_by_class(SmallLoss(ramp_epochs=1), losses, epoch)
    assert trimmed.chosen.tolist() == [7, 6, 1, 5]
    assert trimmed.repeats == 0
    assert trimmed.remaining is None and trimmed.weights is None
    half = plan_by_class(
        Curriculum(start=0.5, full_at=1), losses, replace(epoch, number=1)
    )
    # .55 of six and of two: three and one, the easiest first.
    assert half.remaining.tolist() == [0, 2, 4, 3]


def test_each_class_has_a_mean_of_its_own():
    labels = np.array([0, 0, 0, 1, 1, 1])
    losses = np.array([0.1, 0.2, 0.6, 2.0, 3.0, 9.0])
    plan = plan_by_class(InfoBatch(prune=0.5), losses, make_epoch(labels=labels))
    assert plan.weights.tolist() == [2, 2, 1, 2, 2, 1]
    assert {2, 5} <= set(plan.remaining.tolist())


class Backwards(Strategy):
    """The last B, with a slice that means everything where B is 0."""

    def plan(self, losses, epoch):
        return Plan(np.arange(len(losses))[-epoch.n_chosen :], repeats=2)


def test_a_class_with_no_share_is_not_asked():
    labels = np.repeat([0, 1, 2], [1, 20, 1])
    plan = plan_by_class(Backwards(), np.zeros(22), make_epoch(2, labels=labels))
    assert plan.chosen.tolist() == [19, 20]
    assert plan.repeats == 2


class Own(Strategy):
    """Weigh the rows of class 1, hold each of class 0 once and choose the first."""

    uses_ratio = False

    def plan(self, losses, epoch):
        n = len(losses)
        if epoch.labels[0] == 1:
            return Plan([], np.repeat(np.arange(n), 2), weights=losses)
        return [0]


def test_plans_of_different_kinds_are_joined():
    labels = np.array([1, 0, 1, 0, 0])
    losses = np.array([0.5, 2, 4, 3, 5])
    plan = plan_by_class(Own(), losses, make_epoch(labels=labels))
    assert plan.chosen.tolist() == [1]
    assert sorted(plan.remaining.tolist()) == [0, 0, 2, 2, 3, 4]
    assert plan.weights.tolist() == [0.5, 1, 4, 1, 1]


class ByLabel(Strategy):
    """Plan each class by what the test says of it."""

    uses_ratio = False

    def __init__(self, answers):
        self.answers = answers

    def plan(self, losses, epoch):
        return self.answers[epoch.labels[0]]


def test_an_epoch_has_one_number_of_repeats():
    labels, losses = np.array([0, 0, 1, 1, 2, 2]), np.zeros(6)
    epoch = make_epoch(labels=labels)
    differing = ByLabel([Plan([0], repeats=0), Plan([1], repeats=2), Plan([])])
    with pytest.raises(ValueError, match=r"differ between classes \(0, 2\)"):
        plan_by_class(differing, losses, epoch)
    unsaid = ByLabel([Plan([0]), Plan([1], repeats=2), Plan([])])
    with pytest.raises(ValueError, match=r"differ between classes \(2, None\)"):
        plan_by_class(unsaid, losses, epoch)
    # What a class that chooses nobody says of repeats has no meaning.
    alike = ByLabel([Plan([], repeats=3), Plan([0], repeats=0), Plan([1], repeats=0)])
    plan = plan_by_class(alike, losses, epoch)
    assert (plan.chosen.tolist(), plan.repeats) == ([2, 5], 0)


@pytest.mark.parametrize("weights", [[2.0], 2.0, [[1.0, 2.0, 3.0]], [1, 1, -1]])
def test_weights_of_a_class_are_one_for_each_of_its_samples(weights):
    strategy = ByLabel([Plan(weights=np.array(weights)), Plan()])
    epoch = make_epoch(labels=np.array([0, 0, 0, 1]))
    with pytest.raises(ValueError, match="planned weights .* each of the 3 samples"):
        plan_by_class(strategy, np.zeros(4), epoch)


@pytest.mark.parametrize("labels", [[0.5, 1, 2, 3], [np.nan, 0, 0, 1]])
def test_real_targets_are_no_classes(labels):
    with pytest.raises(ValueError, match="the targets are real numbers"):
        plan_by_class(MaxLoss(), np.zeros(4), make_epoch(1, labels=np.array(labels)))


@pytest.mark.parametrize(
    "chosen", [[-1], [3], [0.0], [True, False, False], np.ones(3, dtype=bool)]
)
def test_a_plan_by_class_refuses_what_are_no_sample_numbers(chosen):
    class Wrong(Strategy):
        def plan(self, losses, epoch):
            return chosen

    class WrongToo(Strategy):
        def plan(self, losses, epoch):
            return Plan(remaining=chosen)

    labels = np.array([0, 0, 0, 1, 1, 1])
    epoch = make_epoch(2, labels=labels)
    for strategy, name in ((Wrong(), "chosen"), (WrongToo(), "remaining")):
        with pytest.raises(ValueError, match=f"^{name} "):
            plan_by_class(strategy, np.zeros(6), epoch)


@pytest.mark.parametrize(
    "labels, word", [(None, "none are known"), (np.zeros((4, 2)), "got 2")]
)
def test_a_plan_by_class_needs_one_label_a_sample(labels, word):
    with pytest.raises(ValueError, match=f"class_balanced=True.*{word}"):
        plan_by_class(MaxLoss(), np.zeros(4), make_epoch(1, labels=labels))


@pytest.mark.parametrize(
    "name", ["min-loss", "max-loss", "random", "hybrid", "small-loss"]
)
@given(finite_losses(), st.data())
def test_each_class_keeps_its_share(name, losses, data):
    n = len(losses)
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    n_chosen = data.draw(st.integers(0, n))
    epoch = make_epoch(n_chosen, number=50, labels=labels)
    chosen = plan_by_class(check_strategy(name), losses, epoch).chosen
    assert len(set(chosen.tolist())) == n_chosen
    for label in np.unique(labels):
        share = n_chosen * np.mean(labels == label)
        assert abs(np.sum(labels[chosen] == label) - share) < 1


@pytest.mark.parametrize("name", PLANNING)
def test_of_one_class_the_plan_is_the_plain_one(name):
    losses = np.random.default_rng(0).exponential(size=50)
    strategy, labels = check_strategy(name), np.full(50, 3)
    plain = make_plan(strategy, losses, make_epoch(9))
    plan = plan_by_class(strategy, losses, make_epoch(9, labels=labels))
    for name, value in vars(plain).items():
        np.testing.assert_array_equal(getattr(plan, name), value)


def test_without_balance_the_hardest_are_the_rare_class():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [180, 20])
    X = rng.normal(size=(200, 4))
    X[:, 0] += 1.5 * y
    params = {"strategy": "max-loss", "repeats": 0, "ratio": 0.25, "batch_size": 32}
    recalls = {}
    for balanced in (False, True):
        model = make(max_epochs=60, class_balanced=balanced, **params).fit(X, y)
        recalls[balanced] = recall_score(y, model.predict(X))
        left_out = np.bincount(y[model.chosen_], minlength=2)
        assert left_out.tolist() == ([36, 4] if balanced else [20, 20])
    assert recalls[False] == 0
    assert recalls[True] > 0.5


# --- what holds for every method ---

EVERY = [
    *({"strategy": name} for name in BUILT_IN),
    *({"strategy": name, "class_balanced": True} for name in PLANNING),
    {"strategy": Curriculum("logarithmic"), "loss_smoothing": 0.8, "refresh_every": 2},
    {"strategy": "max-loss", "ratio_schedule": "cosine", "warmup_epochs": 3},
    {"strategy": "random", "refresh_every": 3, "loss_smoothing": 0.5},
]


def method(**params):
    """A small estimator that holds on to everything that it can."""
    return make(**{"max_epochs": 6, "record_losses": True, **params})


def fit_in_steps(model, X, y, n_steps):
    for _ in range(n_steps):
        model.partial_fit(X, y)
    return model


def recorded(model):
    return [
        model.recorded_epochs_,
        model.recorded_losses_,
        model.recorded_choices_,
        model.times_chosen_,
    ]


def assert_same(model, other):
    assert_same_bits(model, other)
    for one, two in zip(recorded(model), recorded(other), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("params", EVERY, ids=str)
def test_every_method_repeats_itself_and_leaves_the_world_alone(params):
    X, y = make_data(n=60)
    model = method(**params)
    with global_state_stays():
        model.fit(X, y)
        assert_same(clone(model).fit(X, y), model)
        other = clone(model).set_params(random_state=1).fit(X, y)
    # A few numbers of float32 may be equal by chance.
    assert np.isin(weights_of(other), weights_of(model)).mean() < 0.02

    # Half-way through a copy goes on as the model does; SGD has no state to lose.
    model = method(optimizer="sgd", lr=0.1, **params)
    whole = clone(model).fit(X, y)
    assert repr(clone(whole)) == repr(model)
    fit_in_steps(model, X, y, 3)
    data = pickle.dumps(model)
    with global_state_stays():
        fit_in_steps(model, X, y, 3)
        copy = fit_in_steps(pickle.loads(data), X, y, 3)
    assert_same(copy, model)
    assert_same(whole, model)


def test_the_methods_are_different():
    X, y = make_data(n=60)
    # After so few epochs the default threshold lets all samples pass.
    demanding = {"self-paced": SelfPaced(0.5)}
    cases = [
        params | {"strategy": demanding.get(params["strategy"], params["strategy"])}
        for params in EVERY
    ]
    cases.append({"ratio": 0, "batch_size": 12})
    fits = [weights_of(method(**params).fit(X, y)) for params in cases]
    for i, one in enumerate(fits):
        same = [j for j in range(i) if np.allclose(one, fits[j], atol=1e-6)]
        assert not same, (cases[i], cases[same[0]])
