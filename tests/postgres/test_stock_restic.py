"""Without govsec: stock restic, a shell and PostgreSQL's own programs bring a server back, as docs/postgres.md says."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.postgres.conftest import Rig
from tests.support.postgres import USER, Postgres
from tests.support.require import require

PAGE = Path(__file__).resolve().parents[2] / "docs" / "postgres.md"


def test_the_documented_commands_bring_a_server_back_from_one_center(own_rig: Rig) -> None:
    restic = require("restic")
    own_rig.server.sql("CREATE TABLE t AS SELECT n FROM generate_series(1, 100) n")
    base = own_rig.base().base.id
    own_rig.server.sql("SELECT pg_switch_wal()", "INSERT INTO t VALUES (101)")
    own_rig.stream_to_now()
    own_rig.ship()
    own_rig.lose_near()
    folder = Path(tempfile.mkdtemp(prefix="govsec-pgs-", dir="/tmp"))
    shutil.chown(folder, USER, USER)
    folder.chmod(0o755)
    back = Postgres(folder, own_rig.server.binaries)
    try:
        script = _documented()
        for written, here in {
            "restic -r /mnt/center/hr": f"{restic} -q --no-lock -r {own_rig.directory / 'far' / 'hr'}",
            "/srv/back": str(folder / "back"),
            "hr-db": "main",
            "base/ID": f"base/{base}",
            "recovery_target_time = '2026-11-22 13:05:00+08'": "recovery_target_action = 'promote'",
            "pg_verifybackup ": f"{back.binaries}/pg_verifybackup ",
        }.items():
            assert written in script, written
            script = script.replace(written, here)
        script = re.sub(r" && pg_ctl .*", "", script)
        done = subprocess.run(
            ["sh", "-e", "-c", script],
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "RESTIC_PASSWORD_FILE": str(own_rig.directory / "keys" / "password"),
                "HOME": str(folder),
            },
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        back.data = folder / "back" / "postgres" / "main" / "base" / base / "data"
        back.start()
        back.wait_promoted()
        assert back.value("SELECT count(*) FROM t") == "101"
    finally:
        back.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _documented() -> str:
    section = PAGE.read_text(encoding="utf-8").partition("### By stock restic")[2]
    match = re.search(r"```sh\n(.*?)```", section, re.S)
    if match is None:
        pytest.fail("docs/postgres.md has no commands for stock restic")
    return match[1]
