import contextlib
import os
import signal
import stat
import sys

import pytest

from skrebatch._engine.serialization.atomic_write import replace_file


def test_the_parts_stand_one_after_the_other(tmp_path):
    path = tmp_path / "file"
    replace_file(path, [b"one ", memoryview(b"and two")[4:]])
    assert path.read_bytes() == b"one two"
    replace_file(str(path), [b"three"])
    assert path.read_bytes() == b"three"
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    def parts():
        yield b"new"
        raise KeyboardInterrupt

    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        replace_file(path, parts())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def exit_code(call):
    """How a process ends that is forked off to call a function: 0 if it returns."""
    pid = os.fork()
    if pid == 0:
        try:
            call()
            os._exit(0)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def parts():
        yield b"new"
        os.kill(os.getpid(), signal.SIGKILL)

    assert exit_code(lambda: replace_file(path, parts())) == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    # What it leaves is hidden, and in nobody's way.
    assert [name[0] for name in os.listdir(tmp_path) if name != "file"] == ["."]
    replace_file(path, [b"newer"])
    assert path.read_bytes() == b"newer"


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on the size of files")
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        with contextlib.suppress(OSError):
            replace_file(path, [bytes(3000), bytes(3000)])
            os._exit(1)

    assert exit_code(write) == 0
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_is_missing_is_not_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "folder" / "file", [b"new"])
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="links and permissions of POSIX")
def test_a_link_stays_one_and_permissions_are_those_of_new_files(tmp_path):
    target, link, other = (tmp_path / name for name in ("target", "link", "other"))
    target.write_bytes(b"old")
    link.symlink_to(target)
    replace_file(link, [b"new"])
    assert link.is_symlink() and target.read_bytes() == b"new"
    other.write_bytes(b"")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (target, other)]
    assert modes[0] == modes[1]
