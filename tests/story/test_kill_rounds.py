"""kill -9 of the real programs: backup, ship and drill of three directories, at moments drawn by lot.

Each round changes the source, starts the programs one after the other as an operator's timer would, and kills the whole
process group of one of them at some moment of its run. Then every center that has a snapshot passes stock restic's
check of all data, and every receipt that was printed before is true. The next round goes on from what is left; the last
one ends unharmed, with a drill that passes. ``GOVSEC_SEED`` chooses other moments.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from govsec.centers import names
from govsec.centers.commits import open_commit
from govsec.crypto.signing import TrustedKeys
from tests.support.cheapkey import begin_cheaply
from tests.support.restic import local_restic

SEED = int(os.environ.get("GOVSEC_SEED", "20261122"))
ROUNDS = 10
SOAK_ROUNDS = 200
_PASSWORD = "kill rounds"
_CENTERS = {"production": "main", "same_city": "near", "remote": "far"}
_PROGRAMS = (("backup", "run"), ("center", "ship", "far"), ("drill", "run"))
_TIMEOUT_S = 600


@dataclass
class Site:
    """A configuration, a source, three directories, and the receipts that were printed."""

    directory: Path
    receipts: list[dict[str, Any]] = field(default_factory=list)
    #: How long each program took when nobody killed it.
    seconds: dict[str, float] = field(default_factory=dict)
    killed_count: int = 0
    #: By role: the objects with which restic found a center clean.
    clean: dict[str, frozenset[str]] = field(default_factory=dict)

    def start(self, program: tuple[str, ...]) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "govsec.cli", *program, "--json", "--quiet"]
        with (self.directory / "out").open("wb") as out, (self.directory / "err").open("wb") as err:
            return subprocess.Popen(
                [*argv, "--config", str(self.directory / "govsec.yaml")], stdout=out, stderr=err, start_new_session=True
            )

    def run(self, program: tuple[str, ...]) -> None:
        """A program that nobody kills: it must succeed."""
        began = time.monotonic()
        process = self.start(program)
        try:
            code = process.wait(_TIMEOUT_S)
        finally:
            _kill(process)
        error = (self.directory / "err").read_text(errors="replace")
        assert code == 0, f"{' '.join(program)} ended with {code}: {error}\n{(self.directory / 'out').read_text()}"
        self.seconds[program[0]] = time.monotonic() - began
        self.take_receipts()

    def run_and_kill(self, program: tuple[str, ...], after_s: float) -> bool:
        """A program that is killed, with all its workers, after that long; whether it was still running."""
        process = self.start(program)
        try:
            process.wait(after_s)
            was_running = False
        except subprocess.TimeoutExpired:
            was_running = True
        _kill(process)
        self.killed_count += was_running
        self.take_receipts()
        return was_running

    def take_receipts(self) -> None:
        """Receipts on standard output, of a program that came so far as to print them whole."""
        try:
            printed = json.loads((self.directory / "out").read_bytes())
        except ValueError:
            return
        self.receipts += _receipts_in(printed)

    def change(self, round_: int) -> None:
        rng = random.Random(SEED * 1000 + round_)
        folder = self.directory / "source" / f"第{round_ % 5}组"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(30):
            (folder / f"{round_}-{number}").write_bytes(rng.randbytes(rng.randrange(60_000)))

    def assert_clean(self, what: str, *, is_last: bool = False) -> None:
        """restic's check at each center that has a snapshot; and nothing that a receipt names is missing or wrong."""
        for role, center in _CENTERS.items():
            repository = self.directory / center / "oa"
            if not any((repository / "snapshots").glob("*")):
                continue
            # The names are digests of what the objects hold, and whole reads of all of them follow at the end.
            seen = frozenset(
                path.name for path in repository.rglob("*") if "govsec" not in path.relative_to(repository).parts
            )
            if seen == self.clean.get(role) and not is_last:
                continue
            restic = local_restic(repository, _PASSWORD, self.directory)
            done = restic.run("check", "--no-lock", "--read-data")
            assert done.is_clean, f"{what}: {role}: {done.stderr}"
            self.clean[role] = seen

    def assert_receipts_true(self, what: str) -> None:
        trusted = TrustedKeys.load(self.directory / "roots.yaml")
        for receipt in self.receipts:
            for center in receipt["held_by"]:
                root = self.directory / center / "oa"
                found = list(root.glob(f"{names.COMMITS}*-{receipt['digest']}"))
                assert found, f"{what}: {center} does not hold commit {receipt['number']}"
                name = found[0].relative_to(root).as_posix()
                commit = open_commit(trusted, name, found[0].read_bytes()).commit
                for added, size_bytes in commit.added.names:
                    data = (root / added).read_bytes()
                    digest = names.digest_of(added)
                    assert (len(data), hashlib.sha256(data).hexdigest()) == (size_bytes, digest), f"{what}: {added}"


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _receipts_in(value: object) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        if {"held_by", "digest", "number"} <= value.keys():
            return [value]
        return [found for item in value.values() for found in _receipts_in(item)]
    if isinstance(value, list):
        return [found for item in value for found in _receipts_in(item)]
    return []


@pytest.fixture
def site(tmp_path: Path) -> Site:
    password = tmp_path / "password"
    password.write_text(_PASSWORD + "\n")
    password.chmod(0o600)
    plan = {
        "name": "lose-the-city",
        "system": "oa",
        "scenario": {"kind": "lose_production_and_same_city"},
        "expect": {"paths": [f"{tmp_path}/source"]},
        "steps": [
            {"kind": "restore", "name": "restore", "timeout_s": 60},
            {"kind": "probe", "name": "content", "timeout_s": 60, "probe": {"kind": "content"}},
            {"kind": "probe", "name": "nonce", "timeout_s": 60, "probe": {"kind": "nonce"}},
        ],
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    source = {"kind": "files", "paths": [str(tmp_path / "source")]}
    config = {
        "lang": "en",
        "state_dir": "state",
        "centers": {
            center: {"role": role, "store": {"kind": "local", "path": center}} for role, center in _CENTERS.items()
        },
        "signing": {"commit_key_file": "commit.key", "evidence_key_file": "evidence.key", "roots_file": "roots.yaml"},
        "systems": [
            {
                "name": "oa",
                "password_file": "password",
                "backups": [{"name": "files", "source": source}],
                "plans": ["plan.yaml"],
            }
        ],
    }
    (tmp_path / "govsec.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    made = Site(tmp_path)
    made.change(0)
    for center in config["centers"].values():
        (tmp_path / center["store"]["path"]).mkdir()
    begin_cheaply(tmp_path / "govsec.yaml")
    made.run(("center", "init"))
    for program in _PROGRAMS:
        made.run(program)
    return made


def _rounds(site: Site, count: int) -> None:
    rng = random.Random(SEED)
    for round_ in range(1, count + 1):
        site.change(round_)
        victim = rng.choice(_PROGRAMS[:2] if round_ % 4 else _PROGRAMS)
        # From the first moment that Python runs our code until a little after it would have been done.
        after_s = rng.uniform(0.1, 1.1) * site.seconds[victim[0]]
        what = f"seed {SEED}, round {round_}, {' '.join(victim)} killed after {after_s:.3f} s"
        for program in _PROGRAMS[:2]:
            if program == victim:
                site.run_and_kill(victim, after_s)
                break
            site.run(program)
        else:
            site.run_and_kill(victim, after_s)
        site.assert_clean(what)
        site.assert_receipts_true(what)
    for program in _PROGRAMS:
        site.run(program)
    site.assert_clean("the end", is_last=True)
    site.assert_receipts_true("the end")
    print(f"seed {SEED}: {count} rounds, {site.killed_count} programs killed, {len(site.receipts)} receipts true")
    assert site.killed_count >= count // 2, "most programs were over before they were killed"
    assert len(site.receipts) >= 2


def test_ten_rounds_of_kill_leave_three_centers_that_restic_finds_clean(site: Site) -> None:
    _rounds(site, ROUNDS)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_two_hundred_rounds_of_kill_leave_three_centers_that_restic_finds_clean(site: Site) -> None:
    _rounds(site, SOAK_ROUNDS)
