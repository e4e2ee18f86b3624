"""The losses kept by epoch, and how they are thinned out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrebatch.sampling._loss_log import LossLog, mean_log

NONE = np.empty(0, dtype=int)


def make_log(n_epochs, n=3, affected_samples=lambda epoch: NONE, scale=1.0):
    """A log in which sample i of epoch e has the loss e + i / 10."""
    log = LossLog(n)
    for epoch in range(1, n_epochs + 1):
        log.add(epoch, scale * (epoch + np.arange(n) / 10), affected_samples(epoch))
    return log


def test_a_short_log_by_hand():
    log = make_log(2, affected_samples=lambda epoch: np.array([2, 0][: 3 - epoch]))
    epochs, losses, choices, times = mean_log([log])
    assert epochs.tolist() == [1, 2]
    np.testing.assert_allclose(losses, [[1, 1.1, 1.2], [2, 2.1, 2.2]], rtol=1e-6)
    assert choices.tolist() == [[True, False, True], [False, False, True]]
    assert times.tolist() == [1, 0, 2]
    assert (losses.dtype, choices.dtype, times.dtype) == ("f4", "?", "i8")


def test_a_loss_too_large_for_float32_is_kept_as_infinity():
    log = LossLog(2)
    log.add(1, np.array([1e300, 2.0]), NONE)
    assert mean_log([log])[1].tolist() == [[np.inf, 2.0]]


@pytest.mark.parametrize(
    "n_epochs, epochs",
    [
        (100, range(1, 101)),
        (101, range(2, 101, 2)),
        (102, range(2, 103, 2)),
        (200, range(2, 201, 2)),
        (202, range(4, 201, 4)),
        (400, range(4, 401, 4)),
        (404, range(8, 401, 8)),
    ],
)
def test_every_second_epoch_goes_where_there_are_too_many(n_epochs, epochs):
    log = make_log(n_epochs, affected_samples=lambda epoch: np.array([epoch % 3]))
    kept, losses, choices, times = mean_log([log])
    assert kept.tolist() == list(epochs)
    np.testing.assert_allclose(losses[:, 1], np.array(epochs) + 0.1, rtol=1e-6)
    assert choices.argmax(axis=1).tolist() == [epoch % 3 for epoch in epochs]
    # Counted over all epochs, kept or not.
    assert times.tolist() == [
        sum(e % 3 == i for e in range(1, n_epochs + 1)) for i in range(3)
    ]


@given(st.integers(1, 1500))
def test_a_log_is_bounded_and_even(n_epochs):
    log = make_log(n_epochs, n=1)
    assert len(log.epochs) == len(log.losses) == len(log.choices) <= 100
    assert len(log.epochs) >= min(n_epochs, 50)
    assert len(set(np.diff([0, *log.epochs]))) == 1


def test_a_log_copies_what_it_is_given():
    losses, log = np.ones(3, dtype=np.float32), LossLog(3)
    log.add(1, losses, NONE)
    losses[:] = 7
    assert mean_log([log])[1].tolist() == [[1, 1, 1]]


def test_an_empty_log_has_the_shapes():
    epochs, losses, choices, times = mean_log([LossLog(4)])
    assert (epochs.shape, losses.shape, choices.shape) == ((0,), (0, 4), (0, 4))
    assert times.tolist() == [0] * 4


def test_logs_are_averaged_over_those_that_got_so_far():
    short = make_log(2, affected_samples=lambda epoch: np.array([0]))
    long = make_log(3, affected_samples=lambda epoch: np.array([0, 1]), scale=3)
    third = make_log(2, affected_samples=lambda epoch: np.array([1]))
    for logs in ([short, long, third], [long, third, short]):
        epochs, losses, choices, times = mean_log(logs)
        assert epochs.tolist() == [1, 2, 3]
        np.testing.assert_allclose(losses[:, 0], [5 / 3, 10 / 3, 9], rtol=1e-6)
        # Two of three chose each; of one its own.
        assert choices.tolist() == [[True, True, False]] * 3
        np.testing.assert_allclose(times, [5 / 3, 5 / 3, 0])


def test_half_of_the_networks_are_not_most():
    logs = [
        make_log(1, affected_samples=lambda epoch, i=i: np.array([i])) for i in range(2)
    ]
    assert not mean_log(logs)[2].any()


def test_logs_of_different_strides_are_averaged_where_they_meet():
    # 90 epochs are kept to the last, of 150 every second one.
    epochs, losses, _, _ = mean_log([make_log(90), make_log(150, scale=3)])
    assert epochs.tolist() == list(range(2, 151, 2))
    expected = np.where(epochs <= 90, 2.0, 3.0) * epochs
    np.testing.assert_allclose(losses[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("longest_first", [True, False])
def test_of_equally_long_logs_the_thinner_one_says_which_epochs(longest_first):
    short, long = LossLog(1), LossLog(1)
    for epoch in range(1, 102):
        if epoch <= 100:
            short.add(epoch, np.array([1.0]), np.array([], dtype=int))
        long.add(epoch, np.array([3.0]), np.array([], dtype=int))
    logs = [long, short] if longest_first else [short, long]
    epochs, losses, *_ = mean_log(logs)
    assert epochs.tolist() == list(range(2, 101, 2))
    assert set(losses.ravel()) == {2.0}
