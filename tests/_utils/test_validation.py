"""Encoding, checks and the table of tensors, by hand."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch

from skrebatch._engine.tables.table import make_table
from skrebatch._utils.dtypes import resolve_device, resolve_dtype
from skrebatch._utils.validation import (
    check_weights,
    encode_labels,
    locate_bad_columns,
)

CPU = torch.device("cpu")

# --- make_table ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_table_by_hand(dtype):
    pieces = [np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0]])]
    targets = [np.array([[0.5], [1.5]]), np.array([[2.5]])]
    table = make_table(pieces, targets, dtype, CPU)
    assert table.features.tolist() == [[1, 2, 1, 0], [3, 4, 1, 0], [5, 6, 1, 0]]
    assert table.targets.tolist() == [[0.5], [1.5], [2.5]]
    assert table.features.dtype == table.targets.dtype == dtype
    assert table.features.device == CPU
    assert not table.features.requires_grad


def test_a_table_shares_no_memory_with_what_it_was_made_of():
    X, y = np.ones((3, 2), dtype=np.float32), np.ones((3, 1), dtype=np.float32)
    table = make_table([X], [y], torch.float32, CPU)
    X[:], y[:] = 7, 7
    assert table.features[:, :2].tolist() == [[1, 1]] * 3
    assert table.targets.tolist() == [[1]] * 3


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_table_of_any_layout(order):
    X = np.asarray(np.arange(12.0).reshape(4, 3), order=order)[::-1]
    X.flags.writeable = False
    table = make_table([X], [X[:, :2]], torch.float64, CPU)
    np.testing.assert_array_equal(table.features[:, :3], X)
    np.testing.assert_array_equal(table.targets, X[:, :2])


def test_a_table_can_t_be_exchanged():
    table = make_table([np.ones((2, 2))], [np.ones((2, 1))], torch.float64, CPU)
    with pytest.raises(AttributeError):
        table.features = table.targets


# --- encode_labels ---


@pytest.mark.parametrize(
    "y, classes, expected",
    [
        ([0, 1, 1], [0, 1], [[0], [1], [1]]),
        (["b", "a"], ["a", "b"], [[1], [0]]),
        ([True, False], [False, True], [[1], [0]]),
        ([-2, -7], [-7, -2], [[1], [0]]),
        ([2, 5, 9], [2, 5, 9], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        (["c", "c"], ["a", "b", "c"], [[0, 0, 1], [0, 0, 1]]),
    ],
)
def test_labels_by_hand(y, classes, expected):
    encoded = encode_labels(np.array(y), np.array(classes))
    assert encoded.tolist() == expected
    assert encoded.dtype == np.float32


@pytest.mark.parametrize(
    "y, classes, unknown",
    [
        ([0, 5, 1, -3], [0, 1], [-3, 5]),
        ([0.5, 1.0], [0.0, 1.0, 2.0], [0.5]),
        (["a", "aa", "z"], ["a", "b"], ["aa", "z"]),
    ],
)
def test_unknown_labels_are_named(y, classes, unknown):
    with pytest.raises(ValueError) as raised:
        encode_labels(np.array(y), np.array(classes))
    assert f"not among the classes: {unknown};" in str(raised.value)
    assert f"the classes are {classes}" in str(raised.value)


# --- check_weights ---


@pytest.mark.parametrize(
    "weights, expected",
    [
        ([1, 0, 2], [1, 0, 2]),
        (np.array([0.5, 1, 2], dtype=np.float32), [0.5, 1, 2]),
        (pd.Series([1, 2, 3], index=[9, 8, 7]), [1, 2, 3]),
        (np.array([True, False, True]), [1, 0, 1]),
        (3, [3, 3, 3]),
        ([Fraction(1, 2), 1, 2], [0.5, 1, 2]),
    ],
)
def test_weights_of_any_kind(weights, expected):
    result = check_weights(weights, 3)
    assert result.tolist() == expected
    assert result.dtype == np.float64


def test_no_weights_are_none():
    assert check_weights(None, 3) is None


@pytest.mark.parametrize(
    "weights, message",
    [
        ([1, 2], r"shape == \(2,\), expected \(3,\)"),
        ([[1, 2, 3]], r"shape == \(1, 3\), expected \(3,\)"),
        ([1, np.nan, 2], "NaN or infinity"),
        ([1, np.inf, 2], "NaN or infinity"),
        ([1, 2, -0.5], r"negative weights, the first in row 2 \(-0.5\)"),
        ([0, 0, 0], "zero for every row"),
        (["1", "much", "2"], "must contain numbers, but it contains text"),
        ([1, None, {}], "must contain numbers"),
    ],
)
def test_weights_that_are_refused(weights, message):
    with pytest.raises(ValueError, match=f"^sample_weight.*{message}"):
        check_weights(weights, 3)


# --- resolve_dtype, resolve_device ---


@pytest.mark.parametrize(
    "dtype, expected",
    [
        ("float32", torch.float32),
        ("float64", torch.float64),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_dtypes(dtype, expected):
    assert resolve_dtype(dtype) is expected


@pytest.mark.parametrize("dtype", ["float16", "double", torch.int64, 32, None])
def test_dtypes_that_are_refused(dtype):
    with pytest.raises(ValueError, match='^dtype must be "float32" or "float64", got'):
        resolve_dtype(dtype)


@pytest.mark.parametrize("device", ["cpu", CPU])
def test_devices(device):
    assert resolve_device(device) == CPU


def test_the_best_device_there_is():
    best = resolve_device("auto").type
    if torch.cuda.is_available():
        assert best == "cuda"
    elif torch.backends.mps.is_available():
        assert best == "mps"
    else:
        assert best == "cpu"


@pytest.mark.parametrize("device", ["nonsense", "", None, 2.5, "cuda:99"])
def test_devices_that_are_refused(device):
    with pytest.raises(ValueError) as raised:
        resolve_device(device)
    assert str(raised.value).startswith(f"device={device!r} can't be used (")
    assert 'device="auto"' in str(raised.value)


# --- locate_bad_columns ---

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    "X, expected",
    [
        (np.array([[1.0, 2.0], [3.0, 4.0]]), ""),
        (
            np.array([[1.0, NAN], [3.0, INF]]),
            " Check column 1 (non-finite values: 2, first in row 0).",
        ),
        (
            [[1, 2], [3, None]],
            " Check column 1 (non-finite values: 1, first in row 1).",
        ),
        (
            [["red", 1], ["blue", 2]],
            " Check column 0 (not numeric).",
        ),
        (
            pd.DataFrame({"age": [1.0, NAN], "name": ["x", "y"], "size": [1, 2]}),
            " Check column 'age' (non-finite values: 1, first in row 1), "
            "'name' (not numeric).",
        ),
        (
            pd.DataFrame({3: [1, 2], 4: [NAN, 1]}),
            " Check column 4 (non-finite values: 1, first in row 0).",
        ),
        (
            pd.DataFrame({"a": [1, pd.NA], "b": ["x", pd.NA]}).astype({"a": "Int64"}),
            " Check column 'a' (non-finite values: 1, first in row 1), "
            "'b' (not numeric).",
        ),
        (
            np.array([[1, pd.NA], [2, 3]], dtype=object),
            " Check column 1 (not numeric).",
        ),
        (
            np.full((1, 7), NAN),
            " Check column 0 (non-finite values: 1, first in row 0), "
            "1 (non-finite values: 1, first in row 0), "
            "2 (non-finite values: 1, first in row 0), "
            "3 (non-finite values: 1, first in row 0), "
            "4 (non-finite values: 1, first in row 0) "
            "and 2 more.",
        ),
        # What has no columns is not for this function to judge.
        (np.array([NAN, 1.0]), ""),
        (np.full((1, 2, 2), NAN), ""),
        (np.array([[1j]]), ""),
        (7, ""),
    ],
)
def test_bad_columns_by_hand(X, expected):
    assert locate_bad_columns(X) == expected


def test_what_is_too_large_depends_on_the_dtype():
    X = np.array([[1.0, 1e39], [-1e300, 2.0]])
    assert locate_bad_columns(X) == ""
    with np.testing.assert_no_warnings():
        hint = locate_bad_columns(X, np.float32)
    assert hint == (
        " Check column 0 (non-finite values: 1, first in row 1), "
        "1 (non-finite values: 1, first in row 0)."
    )
