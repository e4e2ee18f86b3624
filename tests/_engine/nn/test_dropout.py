"""The masks of dropout: how many, whose, and in which order."""

import numpy as np
import pytest

from skrebatch._engine.nn import dropout
from skrebatch._engine.nn.dropout import draw_masks

COUNTS = np.array([[5, 5, 2], [3, 1, 0], [5, 5, 5]])


def draw(counts=COUNTS, seeds=(0, 1, 2), n_rows=5, width=4, share=0.5):
    rngs = [np.random.default_rng(seed) for seed in seeds]
    masks = list(draw_masks(rngs, counts, n_rows, width, share))
    return [mask.numpy() for mask in masks], rngs


def test_the_masks_of_a_network_are_those_it_draws_alone():
    together, _ = draw()
    for k in range(3):
        n_rows = COUNTS[k].max()
        alone, _ = draw(COUNTS[k : k + 1], [k], n_rows)
        for t, n in enumerate(COUNTS[k]):
            np.testing.assert_array_equal(together[t][k, :n], alone[t][0, :n])


def test_masks_are_drawn_row_by_row():
    (first, second, third), (rng, *_) = draw()
    twin = np.random.default_rng(0)
    drawn = twin.random((12, 4), dtype=np.float32) >= 0.5
    masks = np.concatenate([first[0], second[0], third[0, :2]])
    np.testing.assert_array_equal(masks, drawn)
    assert rng.integers(2**60) == twin.integers(2**60)


@pytest.mark.parametrize("most", [1, 61, 120])
def test_masks_do_not_depend_on_how_many_are_drawn_at_once(monkeypatch, most):
    expected, rngs = draw()
    monkeypatch.setattr(dropout, "_MOST_VALUES", most)
    result, its_rngs = draw()
    np.testing.assert_array_equal(result, expected)
    for rng, its in zip(rngs, its_rngs, strict=True):
        assert rng.integers(2**60) == its.integers(2**60)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_left_out_is_as_asked(share):
    masks, _ = draw(np.full((1, 10), 500), [0], 500, 20, share)
    # 100,000 values: within four standard deviations.
    left_out = 1 - np.mean(masks)
    assert abs(left_out - share) < 4 * np.sqrt(share * (1 - share) / 1e5)
