"""PostgreSQL: base backup, log push and recovery beside pgBackRest; age of the recovery point while streaming.

python -m bench.postgres [--scale 20] [--segments 16] [--seconds 20] [--json F]

Root, PostgreSQL, pgbench, pgbackrest. Both write one encrypted repository on the same disk (pgBackRest: aes-256-cbc,
zst; govsec: production alone), whole commands with their start. The last part streams to production and same-city under
pgbench at a fixed rate, takes both away, ships what they had, and recovers at the third center with them gone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import Failed, measure
from govsec.assemble.centers import ship_to
from govsec.assemble.demo import local_centers
from govsec.assemble.postgres import recover, stream_log
from govsec.assemble.postgresjobs import postgres_job
from govsec.assemble.systems import Site
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.postgres.window import Target
from tests.support.postgres import USER, Postgres, as_user, running_postgres

_STANZA = "bench"
_RATE_TPS = 50


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=20, help="of pgbench; 15 MB each")
    parser.add_argument("--segments", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="govsec-bench-", ignore_cleanup_errors=True) as directory:
        folder = Path(directory)
        folder.chmod(0o755)
        with running_postgres("archive_mode=on", "archive_command=false", "max_wal_size=4GB") as server:
            _pgbench(server, "-i", "-q", "-s", str(args.scale))
            server.sql("CHECKPOINT")
            ours, theirs = _Govsec(folder / "g", server), _PgBackRest(folder / "p", server)
            for side in (theirs, ours):
                side.prepare()
            _compare(figures, server, (ours, theirs), args.segments)
        _follow(figures, folder / "f", args.scale, args.seconds)
    for name, value in figures.items():
        print(f"{name:44} {value:10.3f}")
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=1))


class _Govsec:
    name = "govsec"

    def __init__(self, folder: Path, server: Postgres) -> None:
        self.folder, self.server = folder, server

    def prepare(self) -> None:
        self.folder.mkdir()
        write_site(self.folder, self.server, ("main",))
        self.run("center", "init")

    def run(self, *argv: str) -> float:
        command = [sys.executable, "-m", "govsec.cli", *argv, "--config", str(self.folder / "govsec.yaml"), "--quiet"]
        return measure(command, is_sampled=False).seconds

    def backup(self) -> float:
        return self.run("pg", "backup")

    def push(self, path: Path) -> float:
        return self.run("pg", "wal-push", str(path))

    def restore(self, target: Path) -> tuple[float, Path]:
        return self.run("pg", "restore", "--to", str(target)), target / "data"

    def size(self) -> int:
        return _size(self.folder / "main")


class _PgBackRest:
    name = "pgbackrest"

    def __init__(self, folder: Path, server: Postgres) -> None:
        self.folder, self.server = folder, server

    def prepare(self) -> None:
        for name in ("repo", "log", "lock", "spool"):
            (self.folder / name).mkdir(parents=True)
            shutil.chown(self.folder / name, USER, USER)
        shutil.chown(self.folder, USER, USER)
        (self.folder / "c.conf").write_text(
            f"[global]\nrepo1-path={self.folder}/repo\nrepo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=benchbench\n"
            f"compress-type=zst\ncompress-level=3\nstart-fast=y\nlog-path={self.folder}/log\nlock-path={self.folder}/lock\n"
            f"spool-path={self.folder}/spool\nrepo1-retention-full=9\narchive-check=n\n\n"
            f"[{_STANZA}]\npg1-path={self.server.data}\npg1-socket-path={self.server.folder}\npg1-user={USER}\n"
        )
        self.run("stanza-create", "--no-online")

    def run(self, *argv: str) -> float:
        command = [*as_user(), "pgbackrest", f"--config={self.folder}/c.conf", f"--stanza={_STANZA}"]
        return measure([*command, "--log-level-console=off", *argv], is_sampled=False, cwd=Path("/")).seconds

    def backup(self) -> float:
        return self.run("--type=full", "backup")

    def push(self, path: Path) -> float:
        return self.run("archive-push", str(path))

    def restore(self, target: Path) -> tuple[float, Path]:
        target.mkdir(mode=0o700)
        shutil.chown(target, USER, USER)
        return self.run(f"--pg1-path={target}", "--archive-mode=off", "restore"), target

    def size(self) -> int:
        return _size(self.folder / "repo")


def _compare(
    figures: dict[str, float], server: Postgres, sides: Sequence[_Govsec | _PgBackRest], segments: int
) -> None:
    for side in sides:
        figures[f"{side.name}_base_first_s"] = side.backup()
        figures[f"{side.name}_stored_mb"] = side.size() / 1e6
    _pgbench(server, "-t", "2000", "-c", "2")
    for side in sides:
        figures[f"{side.name}_base_second_s"] = side.backup()
        figures[f"{side.name}_stored_after_second_mb"] = side.size() / 1e6
    while len(_ready(server)) < segments:
        _pgbench(server, "-t", "4000", "-c", "2")
    ready = _ready(server)
    for side in sides:
        begun = time.perf_counter()
        for name in ready:
            side.push(server.data / "pg_wal" / name)
        elapsed_s = time.perf_counter() - begun
        figures[f"{side.name}_push_mb_per_s"] = len(ready) * 16.777 / elapsed_s
    expected = server.value("SELECT count(*) FROM pgbench_history")
    for side in sides:
        folder = Path(tempfile.mkdtemp(prefix="govsec-bpr-", dir="/tmp"))
        folder.chmod(0o755)
        shutil.chown(folder, USER, USER)
        back = Postgres(folder, server.binaries)
        try:
            begun = time.perf_counter()
            figures[f"{side.name}_restore_s"], back.data = side.restore(folder / "r")
            back.start("hot_standby=on")
            back.wait_promoted()
            figures[f"{side.name}_recovery_s"] = time.perf_counter() - begun
            found = back.value("SELECT count(*) FROM pgbench_history")
            # Both have the log up to the last whole segment.
            if not 0 < int(found) <= int(expected):
                raise Failed(f"{side.name}: {found} rows of {expected}")
        finally:
            back.stop()
            shutil.rmtree(folder, ignore_errors=True)
    for what in ("base_first_s", "base_second_s", "stored_mb", "recovery_s"):
        figures[f"ratio_{what}"] = figures[f"govsec_{what}"] / figures[f"pgbackrest_{what}"]
    figures["ratio_push_mb_per_s"] = figures["govsec_push_mb_per_s"] / figures["pgbackrest_push_mb_per_s"]


def _follow(figures: dict[str, float], folder: Path, scale: int, seconds: int) -> None:
    folder.mkdir()
    with running_postgres() as server:
        _pgbench(server, "-i", "-q", "-s", str(scale))
        server.sql("CREATE TABLE ticks (at timestamptz)")
        write_site(folder, server, ("main", "near", "far"))
        for argv in (("center", "init"), ("pg", "backup")):
            subprocess.run(
                [sys.executable, "-m", "govsec.cli", *argv, "--config", str(folder / "govsec.yaml"), "--quiet"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        site = Site(load_config(folder / "govsec.yaml"), SystemClock())
        system = site.system()
        job, source = postgres_job(system, None)
        lags: list[float] = []
        stop = threading.Event()

        def stream() -> None:
            stream_log(
                site, system, job, source, is_stopped=stop.is_set,
                committed=lambda book, report: lags.append(report.lag_s) if report.lag_s is not None else None,
            )  # fmt: skip

        thread = threading.Thread(target=stream, daemon=True)
        thread.start()
        while not lags:
            time.sleep(0.1)
        lags.clear()
        load = threading.Thread(target=_pgbench, args=(server, "-T", str(seconds), "-R", str(_RATE_TPS), "-c", "2"))
        load.start()
        deadline = time.monotonic() + seconds - 1
        while time.monotonic() < deadline:
            server.sql("INSERT INTO ticks VALUES (clock_timestamp())")
            time.sleep(0.05)
        last = datetime.fromisoformat(server.value("SELECT max(at) FROM ticks"))
        # The disaster: nothing more reaches the near centers.
        for name in ("main", "near"):
            (folder / name).rename(folder / f"{name}.stopped")
        disaster = datetime.now(UTC)
        load.join()
        stop.set()
        thread.join(120)
        for name in ("main", "near"):
            (folder / f"{name}.stopped").rename(folder / name)
        ship_to(site, system, "far")
        for name in ("main", "near"):
            shutil.rmtree(folder / name)
    lags.sort()
    figures |= {"stream_windows": float(len(lags)), "stream_lag_s_p50": statistics.median(lags)}
    figures |= {"stream_lag_s_p99": lags[min(len(lags) - 1, int(0.99 * len(lags)))], "stream_lag_s_max": lags[-1]}
    target = Path(tempfile.mkdtemp(prefix="govsec-bpf-", dir="/tmp"))
    target.chmod(0o755)
    shutil.chown(target, USER, USER)
    back = Postgres(target, server.binaries)
    try:
        begun = time.perf_counter()
        recover(site, system, job, target / "r", Target(), center="far")
        back.data = target / "r" / "data"
        back.start("hot_standby=on")
        back.wait_promoted()
        figures["city_lost_restore_time_s"] = time.perf_counter() - begun
        found = datetime.fromisoformat(back.value("SELECT max(at) FROM ticks"))
        figures["city_lost_recovery_point_age_s"] = (disaster - found).total_seconds()
        figures["city_lost_last_row_before_s"] = (disaster - last).total_seconds()
    finally:
        back.stop()
        shutil.rmtree(target, ignore_errors=True)


def write_site(folder: Path, server: Postgres, centers: Sequence[str]) -> None:
    """A configuration with one PostgreSQL job and these of three directories as centers."""
    (folder / "keys").mkdir(mode=0o700)
    password = folder / "keys" / "password"
    password.touch(mode=0o600)
    password.write_text(os.urandom(24).hex() + "\n")
    config = {
        "state_dir": "state",
        "centers": {name: center for name, center in local_centers(folder).items() if name in centers},
        "signing": {
            "commit_key_file": "keys/commit.key",
            "evidence_key_file": "keys/evidence.key",
            "roots_file": "roots.yaml",
        },
        "systems": [
            {
                "name": "bench",
                "password_file": "keys/password",
                "mode": "maximum-protection" if len(centers) > 1 else "maximum-performance",
                "backups": [{"name": "db", "source": {"kind": "postgres", "conninfo": server.conninfo}}],
            }
        ],
    }
    (folder / "govsec.yaml").write_text(json.dumps(config))


def _pgbench(server: Postgres, *argv: str) -> None:
    program = [str(server.binaries / "pgbench"), "-h", str(server.folder), "-p", "5432", "-U", USER]
    subprocess.run([*program, *argv, "postgres"], check=True, capture_output=True, timeout=600)


def _ready(server: Postgres) -> list[str]:
    marks = (server.data / "pg_wal" / "archive_status").glob("*.ready")
    return sorted(mark.name.removesuffix(".ready") for mark in marks if "." not in mark.name.removesuffix(".ready"))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
