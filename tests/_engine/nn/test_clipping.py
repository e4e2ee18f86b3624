"""Smooth clipping: values worked by hand, large numbers, and K networks at once."""

import numpy as np
import pytest
import torch

from skrebatch._engine.nn.clipping import InputClip, check_input_clip, clip_smoothly
from skrebatch._engine.nn.workspace import Workspace

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@DTYPES
def test_values_worked_by_hand(dtype):
    # 4 / sqrt(1 + (4 / 3)^2) = 4 / (5 / 3)
    x = torch.tensor([-4, 0, 3, 4, 7.2], dtype=dtype)
    expected = torch.tensor([-2.4, 0, 3 / 2**0.5, 2.4, 7.2 / 2.6], dtype=dtype)
    torch.testing.assert_close(clip_smoothly(x, torch.tensor(3, dtype=dtype)), expected)


@DTYPES
def test_small_values_stay_and_large_ones_end_at_the_limit(dtype):
    limit = torch.tensor(3, dtype=dtype)
    small = torch.tensor([1e-30, -1e-12, 1e-5], dtype=dtype)
    torch.testing.assert_close(clip_smoothly(small, limit), small)
    largest = torch.finfo(dtype).max
    large = torch.tensor([1e10, 1e20, 1e38, largest], dtype=dtype)
    for sign in (1, -1):
        clipped = clip_smoothly(sign * large, limit)
        torch.testing.assert_close(clipped, torch.full_like(large, sign * 3))


def test_it_grows_and_keeps_nan():
    x = torch.linspace(-50, 50, 1001, dtype=torch.float64)
    assert (clip_smoothly(x, torch.tensor(2.0)).diff() > 0).all()
    x = torch.tensor([1.0, torch.nan])
    assert clip_smoothly(x, torch.tensor(2.0)).isnan().tolist() == [False, True]


@DTYPES
def test_each_network_has_its_own_limit(dtype):
    x = 5 * torch.randn(3, 7, 4, dtype=dtype)
    limits = torch.tensor([0.5, 2, 1e3], dtype=dtype)
    out = torch.empty(3, 7, 6, dtype=dtype)
    workspace = Workspace(out, 3, 7, forward_only=False)
    clip = InputClip(limits.view(3, 1, 1), workspace, x, out[..., :-2])
    before = x.clone()
    for _ in range(2):  # the rows stay what they are
        clip.forward()
        for own, limit, result in zip(x, limits, out, strict=True):
            torch.testing.assert_close(result[..., :-2], clip_smoothly(own, limit))
    assert torch.equal(x, before)


@pytest.mark.parametrize("value", [None, 3, 0.5, np.float32(2), 1e-30, 1e38])
def test_limits_that_are_taken(value):
    check_input_clip(value, torch.float32)


@pytest.mark.parametrize(
    "value, words",
    [
        (0, "above 0, got 0"),
        (-1.5, "above 0, got -1.5"),
        (float("nan"), "finite number"),
        (float("inf"), "finite number"),
        ("3", "finite number .* got '3'"),
        (True, "finite number .* got True"),
        (1e-60, "at least 1.17549e-38"),
        (1e60, "at most 3.40282e\\+38"),
    ],
)
def test_limits_that_are_refused(value, words):
    with pytest.raises(ValueError, match=f"input_clip must be a .*{words}"):
        check_input_clip(value, torch.float32)


def test_a_wider_type_takes_more_limits():
    for value in (1e-60, 1e60):
        check_input_clip(value, torch.float64)
