"""The number of threads: one for small work, and afterwards what it was."""

import threading

import pytest
import torch

from skrebatch._engine.nn.architecture import build_architecture
from skrebatch._engine.nn.threads import is_small, one_thread_if


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_small_work_runs_on_one_thread(two_threads):
    with one_thread_if(True):
        assert torch.get_num_threads() == 1
        with one_thread_if(True):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with one_thread_if(False):
        assert torch.get_num_threads() == 2


def test_the_number_of_threads_is_restored_after_an_error(two_threads):
    with pytest.raises(ZeroDivisionError), one_thread_if(True):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2


class Worker:
    """A thread that enters and leaves a small piece of work when it is told to."""

    def __init__(self):
        self.enter, self.leave = threading.Event(), threading.Event()
        self.ready, self.entered = threading.Event(), threading.Event()
        self.seen = []
        self.thread = threading.Thread(target=self.work)
        self.thread.start()
        assert self.ready.wait(30)

    def work(self):
        self.seen.append(torch.get_num_threads())
        self.ready.set()
        self.enter.wait(30)
        with one_thread_if(True):
            self.seen.append(torch.get_num_threads())
            self.entered.set()
            self.leave.wait(30)
        self.seen.append(torch.get_num_threads())

    def begin(self):
        self.enter.set()
        assert self.entered.wait(30)

    def end(self):
        self.leave.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.mark.parametrize("first_out", ["worker", "main"])
@pytest.mark.parametrize("first_in", ["worker", "main"])
def test_overlapping_threads_restore_their_numbers(two_threads, first_in, first_out):
    worker = Worker()
    small = one_thread_if(True)
    if first_in == "worker":
        worker.begin()
        small.__enter__()
    else:
        small.__enter__()
        worker.begin()
    assert torch.get_num_threads() == 1
    if first_out == "worker":
        worker.end()
        assert torch.get_num_threads() == 1
        small.__exit__(None, None, None)
    else:
        small.__exit__(None, None, None)
        worker.end()
    assert torch.get_num_threads() == 2
    assert worker.seen == [2, 1, 2]
    later = Worker()
    later.begin()
    later.end()
    assert later.seen == [2, 1, 2]


def test_a_step_is_small_or_not():
    tiny = build_architecture(8)
    assert is_small(tiny, 32)
    assert not is_small(tiny, 10**6)
    assert not is_small(build_architecture(300, conv_channels=(64, 128)), 1024)
