import os
import signal
import stat
import subprocess
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


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys\n"
        "from skrebatch._engine.serialization.atomic_write import replace_file\n"
        "def parts():\n"
        "    yield b'new'\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "replace_file(sys.argv[1], parts())\n"
    )
    command = [sys.executable, "-c", code, path]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert path.read_bytes() == b"old"
    # What it leaves is hidden, and in nobody's way.
    assert [name[0] for name in os.listdir(tmp_path) if name != "file"] == ["."]
    replace_file(path, [b"newer"])
    assert path.read_bytes() == b"newer"


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on the size of files")
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = (
        "import resource, sys\n"
        "from skrebatch._engine.serialization.atomic_write import replace_file\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    replace_file(sys.argv[1], [bytes(3000), bytes(3000)])\n"
        "except OSError as error:\n"
        "    print('refused')\n"
    )
    command = [sys.executable, "-c", code, path]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout == "refused\n", result.stderr
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
