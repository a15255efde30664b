"""kill -9 of the real process, somewhere: the repository stays clean for stock restic, and the next run goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from govsec.clock import SystemClock
from govsec.repo.lock import remove_locks
from govsec.repo.repository import Repository, WritableRepository
from govsec.store.local import LocalStore
from tests.backup.conftest import CHEAP, PASSWORD
from tests.support.restic import local_restic
from tests.support.soak import wait_for_group


def run_rounds(tmp_path: Path, rounds: int, seed: int) -> None:
    source, repo = tmp_path / "source", tmp_path / "repo"
    choice = random.Random(seed)
    source.mkdir()
    password_file = tmp_path / "password"
    password_file.write_bytes(PASSWORD + b"\n")
    password_file.chmod(0o600)
    store = LocalStore(repo, create=True)
    WritableRepository.initialize(store, PASSWORD, SystemClock(), kdf=CHEAP)
    restic = local_restic(repo, PASSWORD.decode(), tmp_path)
    argv = [sys.executable, "-m", "tests.backup.killed", str(repo), str(password_file), str(source)]

    def grow(number: int) -> None:
        for part in range(12):
            directory = source / f"{number}-{part % 4}"
            directory.mkdir(exist_ok=True)
            (directory / f"{part}.bin").write_bytes(choice.randbytes(choice.randrange(1, 3 << 20)))

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    grow(0)
    began = time.monotonic()
    assert start().wait() == 0
    whole_s = time.monotonic() - began
    killed = 0
    snapshots = len(restic.snapshots())
    assert snapshots == 1
    for number in range(1, rounds + 1):
        grow(number)
        began = time.monotonic()
        process = start()
        try:
            # The moment is what is being tried; where it falls in the run depends on the machine, and may.
            process.wait(choice.uniform(0.1, 1.0) * whole_s)
            # It was over sooner: the machine is not as slow as it was when that was measured.
            whole_s = min(whole_s, time.monotonic() - began)
        except subprocess.TimeoutExpired:
            # Half of the rounds lose the parent alone, half everything at once, as a power cut would.
            if number % 2:
                os.kill(process.pid, signal.SIGKILL)
            else:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
        wait_for_group(process.pid)
        remove_locks(store, Repository.open(store, PASSWORD).suite, SystemClock())
        restic.assert_clean(read_data=number % 5 == 0)
        # What the check just found whole is counted by the names in the folder.
        found = len(list((repo / "snapshots").iterdir()))
        assert found >= snapshots, f"seed {seed}, round {number}: a snapshot is gone"
        snapshots = found
    assert killed >= rounds // 2, f"seed {seed}: only {killed} of {rounds} runs were met alive"
    assert start().wait() == 0
    restic.assert_clean()
    out = tmp_path / "out"
    restic.ok("restore", "latest", "--target", out)
    restored = out / source.relative_to("/")
    assert {path.relative_to(source): path.read_bytes() for path in source.rglob("*.bin")} == {
        path.relative_to(restored): path.read_bytes() for path in restored.rglob("*.bin")
    }


def test_ten_kills_leave_a_repository_that_restic_finds_clean(tmp_path: Path) -> None:
    run_rounds(tmp_path, 10, seed=2026)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_two_hundred_kills_leave_a_repository_that_restic_finds_clean(tmp_path: Path) -> None:
    run_rounds(tmp_path, 200, seed=200)
