"""Every index of pandas comes back equal, with its types."""

import datetime
import json
import zoneinfo

import numpy as np
import pandas as pd
import pytest
from packaging.version import Version

from skrebatch._engine.serialization.json_values import from_plain, to_plain

N = 20
PARIS = "Europe/Paris"

INDEXES = {
    "range": pd.RangeIndex(5, 125),
    "falling range": pd.RangeIndex(10, 0, -2, name=("a", 1)),
    "integers": pd.Index([3, 1, 2], name=7),
    "small integers": pd.Index(np.arange(3, dtype=np.int8)),
    "large integers": pd.Index(np.array([2**64 - 1], dtype=np.uint64)),
    "floats": pd.Index([0.5, np.nan, np.inf, -np.inf, -0.0]),
    "float32": pd.Index(np.array([0.1, np.nan], dtype=np.float32)),
    "bools": pd.Index([True, False]),
    "nullable integers": pd.Index(range(N), dtype="Int64"),
    "missing integers": pd.Index([2**53 + 1, None, 3], dtype="Int64"),
    "unsigned": pd.Index([1, None], dtype="UInt8"),
    "nullable floats": pd.Index([0.1, None], dtype="Float64"),
    "nullable bools": pd.Index([True, None], dtype="boolean"),
    "text": pd.Index(["a", "b", ""], name="row"),
    "missing text": pd.Index(["a", None, "b"]),
    "nullable text": pd.Index(["a", None], dtype="string"),
    "objects of text": pd.Index(["a", "b"], dtype=object),
    "odd text": pd.Index(["a\0", "\ud800", "名"], dtype=object),
    "objects": pd.Index(["a", 1, 2.5, None, (1, "b")], dtype=object),
    "tuples": pd.Index([("a", 1), ("b", 2)], tupleize_cols=False),
    "categories": pd.CategoricalIndex(list("aba"), categories=list("cab"), name="k"),
    "ordered categories": pd.CategoricalIndex([1, None], ordered=True),
    "categories of intervals": pd.CategoricalIndex(pd.interval_range(0, 3)),
    "times": pd.date_range("2025-01-30", periods=N),
    "missing times": pd.DatetimeIndex(["2025-01-30", None]),
    "a zone": pd.date_range("2025-03-29", periods=N, freq="h", tz=PARIS),
    "a zone missing": pd.DatetimeIndex(["2025-03-29", None], tz=PARIS),
    "UTC": pd.date_range("2025", periods=N, tz="UTC"),
    "a fixed zone": pd.date_range(
        "2025", periods=N, tz=datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    ),
    "a zone of zoneinfo": pd.date_range(
        "2025", periods=N, tz=zoneinfo.ZoneInfo("Asia/Tokyo")
    ),
    "spans": pd.timedelta_range("1D", periods=N),
    "months": pd.period_range("2025", periods=N, freq="M"),
    "quarters": pd.PeriodIndex(["2025Q1", None], freq="Q-NOV", name="quarter"),
    "intervals": pd.interval_range(0, N),
    "closed intervals": pd.IntervalIndex.from_tuples(
        [(0.5, 1), np.nan, (1, 2.5)], closed="both"
    ),
    "intervals of times": pd.interval_range(
        pd.Timestamp("2025", tz=PARIS), periods=5, freq="D", closed="left"
    ),
    "levels": pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["letter", None]),
    "levels of times": pd.MultiIndex.from_product(
        [pd.date_range("2025", periods=N, tz=PARIS), list("ab")]
    ),
    "levels of all kinds": pd.MultiIndex.from_arrays(
        [
            pd.CategoricalIndex(list("aab")),
            pd.period_range("2025", periods=3, freq="M"),
            pd.Index([1, None, 2], dtype="Int64"),
            [0.5, np.nan, 1.5],
        ]
    ),
    "many levels": pd.MultiIndex.from_product(
        [range(1000), range(100)], names=["customer", "month"]
    ),
    "many of a type": pd.Index(np.arange(10**5), dtype="Int64"),
    "nothing": pd.Index([], dtype=object),
    "no text": pd.Index([], dtype="string"),
    "no times": pd.DatetimeIndex([]),
}


def through_json(value):
    arrays = {}
    text = json.dumps(to_plain(value, arrays, "value"), allow_nan=False)
    assert len(text) < 5000
    assert all(np.isfinite(array).all() for array in arrays.values())
    back = from_plain(json.loads(text), arrays)
    assert not arrays
    return back


@pytest.mark.parametrize("name", INDEXES)
def test_indexes_come_back_equal(name):
    index = INDEXES[name]
    if name == "a zone of zoneinfo" and Version(pd.__version__) < Version("3"):
        pytest.skip("pandas before 3 reads the name of a zone as a zone of pytz")
    back = through_json(index)
    pd.testing.assert_index_equal(back, index, exact=True)
    assert getattr(back, "freq", None) == getattr(index, "freq", None)


def test_a_frequency_that_its_name_does_not_make_is_dropped():
    days = pd.offsets.CustomBusinessDay(holidays=["2025-01-02"])
    index = pd.date_range("2025-01-01", periods=N, freq=days)
    back = through_json(index)
    assert back.freq is None
    assert back.equals(index)


def test_units_of_time():
    for unit in ("s", "ms", "us", "ns"):
        for index in (
            pd.DatetimeIndex(np.array(["2025-01-30"], dtype=f"datetime64[{unit}]")),
            pd.TimedeltaIndex(np.array([5], dtype=f"timedelta64[{unit}]")),
            pd.DatetimeIndex(np.array([5], dtype=f"datetime64[{unit}]"), tz=PARIS),
        ):
            back = through_json(index)
            pd.testing.assert_index_equal(back, index, exact=True)
            assert back.dtype == index.dtype


@pytest.mark.parametrize(
    "content, expected",
    [
        ([np.array([3, 1]), "row"], pd.Index([3, 1], name="row")),
        (
            [np.array([("a", 1), ("b", 2)], dtype=object), ["letter", None]],
            pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["letter", None]),
        ),
    ],
)
def test_indexes_of_the_first_files(content, expected):
    if isinstance(expected, pd.MultiIndex):
        tuples = np.empty(2, dtype=object)
        tuples[:] = [("a", 1), ("b", 2)]
        content = [tuples, content[1]]
    arrays = {}
    plain = to_plain(content, arrays, "index")
    back = from_plain({"index": plain}, arrays)
    pd.testing.assert_index_equal(back, expected)


@pytest.mark.parametrize(
    "content",
    [
        ["list", [[1, 2]], [None]],
        ["range", [0, 1, 0], [None]],
        ["times", [np.array([0.5]), "datetime64[ns]", None, None], [None]],
        ["times", [np.array([5]), "int64", None, None], [None]],
        ["times", [np.array([5]), "datetime64[ns]", "Atlantis", None], [None]],
        ["times", [np.array([5, 7]), "datetime64[ns]", None, "D"], [None]],
        ["extension", [np.array([1]), None, np.array([False]), "os.system"], [None]],
        ["category", [pd.Index(["a"]), np.array([7]), False], [None]],
        ["multi", [[pd.Index(["a"])], [np.array([7])]], [None]],
    ],
)
def test_what_is_no_index_is_refused(content):
    arrays = {}
    plain = to_plain(content, arrays, "index")
    with pytest.raises(Exception):  # noqa: B017 - of any kind, as from_plain says
        from_plain({"index": plain}, arrays)
