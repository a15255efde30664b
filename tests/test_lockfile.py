"""Lock files among real processes: one holder, told by name, and the lock goes with a process that is killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from govsec.errors import ConfigurationError, LockedError, TryAgainError
from govsec.lockfile import held_lock

_HOLD = """
import sys, time
from pathlib import Path
from govsec.lockfile import held_lock
with held_lock(Path(sys.argv[1]), busy="taken"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _holder(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def test_the_second_process_is_refused_with_its_words_until_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "job.lock"
    with _holder(path) as process:
        with pytest.raises(LockedError, match="a stream is at work"), held_lock(path, busy="a stream is at work"):
            pass
        with (
            pytest.raises(TryAgainError, match="later"),
            held_lock(path, busy="later", busy_error=TryAgainError),
        ):
            pass
        process.kill()
        process.wait()
        with held_lock(path, busy="still there"):
            pass
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_without_words_the_second_waits_for_the_first(tmp_path: Path) -> None:
    path = tmp_path / "state.lock"
    entered = threading.Event()

    def wait() -> None:
        with held_lock(path, busy=None):
            entered.set()

    with _holder(path) as process:
        waiter = threading.Thread(target=wait)
        waiter.start()
        assert not entered.wait(0.2)
        process.kill()
        assert entered.wait(30)
        waiter.join()


def test_an_error_inside_goes_through_and_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "job.lock"
    with pytest.raises(FileNotFoundError), held_lock(path, busy="taken"):
        raise FileNotFoundError("of the work, not of the lock")
    with held_lock(path, busy="taken"):
        pass


def test_a_link_and_a_file_in_the_way_are_named(tmp_path: Path) -> None:
    link = tmp_path / "link.lock"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match=r"link\.lock"), held_lock(link, busy="taken"):
        pass
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file"), held_lock(tmp_path / "file" / "job.lock", busy="taken"):
        pass
