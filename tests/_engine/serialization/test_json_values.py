import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skorch.history import History

from skrebatch import MinLoss, Plan, SmallLoss, Strategy
from skrebatch._engine.optim.lr_schedules import LRSchedule
from skrebatch._engine.serialization.json_values import from_plain, is_plain, to_plain
from skrebatch.sampling._loss_log import LossLog


def through_json(value):
    """A value written out, as JSON, and read again."""
    arrays = {}
    plain = json.loads(json.dumps(to_plain(value, arrays, "value"), allow_nan=False))
    for array in arrays.values():
        assert array.dtype.kind in "biuf"
        assert np.isfinite(array).all()
    back = from_plain(plain, arrays)
    assert arrays == {}
    return back


def assert_same(value, other):
    assert type(value) is type(other)
    if isinstance(value, list | tuple):
        assert len(value) == len(other)
        for own, its in zip(value, other, strict=True):
            assert_same(own, its)
    elif isinstance(value, dict):
        assert_same(list(value), list(other))
        assert_same(list(value.values()), list(other.values()))
    elif isinstance(value, np.ndarray):
        assert (value.dtype, value.shape) == (other.dtype, other.shape)
        assert_same(value.tolist(), other.tolist())
    else:
        assert value == other or (value != value and other != other)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
keys = st.booleans() | st.integers() | st.text()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(keys, inner)
        | st.lists(st.floats(), min_size=16)
        | st.lists(st.integers(), min_size=16)
    ),
    max_leaves=20,
)


@given(values)
def test_python_values(value):
    assert_same(through_json(value), value)


OBJECTS = np.empty(3, dtype=object)
OBJECTS[:] = ["a", (1, 2), None]
ARRAYS = {
    "floats": np.array([[0.1, 1e300]]),
    "not finite": np.array([1, math.nan, -math.inf], dtype="float32"),
    "not finite, of two dimensions": np.array([[1, math.nan], [-math.inf, 0]]),
    "not a number": np.array(math.nan, dtype="float32"),
    "other bytes first": np.arange(3, dtype=">i4").astype("int32"),
    "booleans": np.array([True, False]),
    "nothing": np.empty((0, 3)),
    "a number": np.array(3),
    "every second": np.arange(6)[::2],
    "words": np.array([["low", "middle"], ["", "Ω🙂"]]),
    "words as objects": np.array(["low", "middle"], dtype=object),
    "words that end in zeros": np.array(["low\0", "middle"], dtype=object),
    "objects": OBJECTS,
    "days": np.array(["2025-01-31", "NaT"], dtype="datetime64[D]"),
    "durations": np.array([1, 2], dtype="timedelta64[ns]"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name):
    array = ARRAYS[name]
    back = through_json(array)
    np.testing.assert_array_equal(back, array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)


def test_masked_arrays():
    array = np.ma.MaskedArray(["x", 0.5, None], mask=[0, 0, 1], dtype=object)
    back = through_json(array)
    assert back.tolist() == ["x", 0.5, None]
    assert back.mask.tolist() == [False, False, True]


@pytest.mark.parametrize(
    "scalar",
    [np.float32(0.1), np.int8(-3), np.bool_(True), np.str_("a"), np.float64(2)],
)
def test_scalars_keep_their_type(scalar):
    back = through_json(scalar)
    assert type(back) is type(scalar)
    assert back == scalar


def test_strategies_classes_devices_and_plans():
    strategy = through_json(SmallLoss(0.3))
    assert repr(strategy) == repr(SmallLoss(0.3))
    for cls in (MinLoss, torch.optim.NAdam, torch.optim.lr_scheduler.StepLR):
        assert through_json(cls) is cls
    assert through_json(torch.device("cuda:1")) == torch.device("cuda:1")
    plan = through_json(Plan(chosen=np.arange(3), repeats=0))
    assert plan.chosen.tolist() == [0, 1, 2]
    assert (plan.repeats, plan.remaining, plan.weights) == (0, None, None)


def test_a_generator_goes_on():
    rng = np.random.default_rng(3)
    rng.integers(5, size=7, dtype=np.int8)
    twin = through_json(rng)
    assert (twin.integers(2**60, size=9) == rng.integers(2**60, size=9)).all()


def test_a_log_of_losses_goes_on():
    log, rng = LossLog(4), np.random.default_rng(0)
    for epoch in range(1, 130):
        log.add(epoch, rng.random(4), np.array([epoch % 4]))
    twin = through_json(log)
    for epoch in range(130, 280):
        losses = rng.random(4)
        for own in (log, twin):
            own.add(epoch, losses, np.array([0]))
    assert twin.epochs == log.epochs
    np.testing.assert_array_equal(twin.losses, log.losses)
    np.testing.assert_array_equal(twin.choices, log.choices)
    assert twin.times_chosen.tolist() == log.times_chosen.tolist()


@pytest.mark.parametrize("schedule", ["step", "plateau", "cosine", "one-cycle"])
def test_a_rate_goes_on(schedule):
    history = History()
    rate = LRSchedule(
        schedule, {}, torch.optim.Adam, {"lr": 0.1, "betas": (0.9, 0.99)}, 30, 2
    )

    def move(rate):
        if rate.by_batch:
            rate.end_step(1, 2)
            rate.end_step(2, 2)
        else:
            history.new_epoch()
            history.record("train_loss", 1.0)
            rate.end_epoch(history)
        return rate.options

    for _ in range(7):
        move(rate)
    twin = through_json(rate)
    assert twin.options == rate.options
    assert twin.key == rate.key
    for _ in range(20):
        assert move(twin) == move(rate)


def test_a_history_keeps_rows_of_different_names():
    history = History()
    for epoch in range(40):
        history.new_epoch()
        history.record("epoch", epoch)
        history.record("train_loss", math.nan if epoch == 3 else epoch / 7)
        if epoch % 2:
            history.record("valid_loss", 0.5)
        history.new_batch()
    back = through_json(history)
    assert type(back) is History
    assert len(back) == 40
    assert math.isnan(back[3].pop("train_loss")) and history[3].pop("train_loss")
    assert list(back) == list(history)
    assert through_json(History()) == []


class Own(Strategy):
    def plan(self, losses, epoch):
        return []


@pytest.mark.parametrize(
    "value",
    [
        *(print, Own(), Own, object(), 1j, b"x", {1, 2}, np.longdouble(1)),
        np.array([1j]),
        np.array([b"x"]),
        np.ones(2, dtype=np.longdouble) / 3,
        np.random.RandomState(0),
        np.random.Generator(np.random.MT19937(0)),
        type("Named", (tuple,), {})(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_all_else_is_refused_by_its_place(value):
    with pytest.raises(ValueError, match=r"^what\[1\]\[0\] is .* can't hold\.$"):
        to_plain([0, (value,)], {}, "what")
    assert not is_plain([value])
    assert is_plain([0])


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"tuple": [], "dict": []},
        {"unknown": 1},
        {"class": "os.system"},
        {"class": "torch.optim.lr_scheduler.partial"},
        {"strategy": ["Strategy", {"dict": []}]},
        {"strategy": ["MinLoss", {"dict": [["unknown", 1]]}]},
        {"array": "missing"},
        {"values": ["object, int", []]},
        {"values": ["V8", []]},
        {"time": ["i4,i4", {"array": "numbers"}]},
        {"text": {"array": "numbers"}},
        {"text": {"array": "codes"}},
        {"rng": {"dict": [["bit_generator", "PCG64"]]}},
        {"rng": 3},
        {"device": "import os"},
        {"history": {"dict": [["epoch", [[10**12], [1]]]]}},
    ],
    ids=str,
)
def test_what_was_never_written_is_an_error(plain):
    arrays = {
        "numbers": np.arange(3),
        "codes": np.array([[0x110000]], dtype=np.uint32),
    }
    with pytest.raises(Exception):  # noqa: B017 - of any kind
        from_plain(plain, arrays)
