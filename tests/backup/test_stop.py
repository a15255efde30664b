"""Ctrl-C and SIGTERM: what was finished is kept and indexed, there is no snapshot, the next run goes on from it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from govsec.backup.archive import archive
from govsec.backup.sources import FileSource
from govsec.clock import SystemClock
from govsec.progress import Progress
from govsec.repo.lock import list_locks
from govsec.repo.repository import Repository, WritableRepository
from govsec.store.local import LocalStore
from tests.backup.conftest import CHEAP, PASSWORD
from tests.support.restic import local_restic


@pytest.fixture
def large(tmp_path: Path) -> Path:
    root = tmp_path / "large"
    for number in range(40):
        path = root / f"d{number % 8}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(2 << 20))
    return root


@pytest.fixture
def repository(tmp_path: Path) -> WritableRepository:
    return WritableRepository.initialize(LocalStore(tmp_path / "repo", create=True), PASSWORD, SystemClock(), kdf=CHEAP)


def test_a_stopped_backup_keeps_its_finished_packs_and_the_next_run_goes_on(
    repository: WritableRepository, large: Path, tmp_path: Path
) -> None:
    sent: list[Progress] = []

    def interrupt(moment: Progress) -> None:
        if moment.done_bytes > 8 << 20 and not sent:  # a second Ctrl-C would not wait for anything
            sent.append(moment)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        archive(
            repository,
            FileSource([large]),
            clock=SystemClock(),
            workers=2,
            pack_size=4 << 20,
            progress=interrupt,
        )
    store = LocalStore(tmp_path / "repo")
    again = WritableRepository.open(store, PASSWORD)
    assert again.snapshots() == []
    assert list_locks(store, again.suite) == []
    kept = len(again.load_index())
    assert kept >= 4
    restic = local_restic(tmp_path / "repo", PASSWORD.decode(), tmp_path)
    restic.assert_clean()
    result = archive(again, FileSource([large]), clock=SystemClock(), workers=2)
    assert result.summary.data_added < result.size_bytes - (8 << 20)  # what was kept was not stored again
    restic.assert_clean()


def test_the_signals_do_afterwards_what_they_did_before(repository: WritableRepository, large: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    archive(repository, FileSource([large]), clock=SystemClock(), workers=1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_sigterm_ends_the_program_with_its_exit_code_and_no_lock_is_left(
    repository: WritableRepository, large: Path, tmp_path: Path
) -> None:
    password_file = tmp_path / "password"
    password_file.write_bytes(PASSWORD)
    password_file.chmod(0o600)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    argv = [sys.executable, "-m", "govsec.cli", "backup", "stdin", "--name", "s", "--repo", str(tmp_path / "repo")]
    with subprocess.Popen(
        [*argv, "--password-file", str(password_file)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(os.urandom(30 << 20))  # more than fits into the pipe: it is reading now
        process.stdin.flush()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdin.close()
    assert process.returncode == 143
    store = LocalStore(tmp_path / "repo")
    reader = Repository.open(store, PASSWORD)
    assert list_locks(store, reader.suite) == [] and reader.snapshots() == []
