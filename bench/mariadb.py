"""MariaDB: base backup beside plain mariadb-backup, age of the recovery point under a steady load, time to come back.

python -m bench.mariadb [--rows 1000000] [--rate 100] [--seconds 20] [--json F]

Root, MariaDB, mariadb-backup. The plain backup goes to a file on the same disk and is synced; ours goes, encrypted,
deduplicated and compressed, to production and same-city, whole command with its start. Then rows are written at a
steady rate while the log is streamed, and shipped to the remote center in a loop. The age of the recovery point is that
of the first row that is not in both near centers (or in the remote one), sampled every 20 ms. At the end production
and same-city are taken away, and the database is brought back from the remote center to its end and to a position.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from govsec.assemble.centers import ship_to
from govsec.assemble.mariadbjobs import log_record, log_snapshots
from govsec.assemble.systems import Site
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.errors import GovsecError
from tests.support.cheapkey import begin_cheaply
from tests.support.mariadb import MariadbServer, install, running, serving

_SAMPLE_S = 0.02
_SHIP_EVERY_S = 0.5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table; about 0.25 KB each on disk")
    parser.add_argument("--rate", type=int, default=100, help="transactions a second")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gmb-", ignore_cleanup_errors=True) as directory:
        folder = Path(directory)
        folder.chmod(0o755)
        template = install(folder / "template")
        with running(template, folder / "server", options=("--sync-binlog=1",)) as server:
            figures = _measure(folder, server, args.rows, args.rate, args.seconds)
    for name, value in figures.items():
        print(f"{name:44} {value:10.3f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


def _measure(folder: Path, server: MariadbServer, rows: int, rate: int, seconds: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    server.sql(
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, word VARCHAR(200)); "
        f"INSERT INTO d.t SELECT seq, CONCAT(MD5(seq), MD5(seq + 1), MD5(seq + 2)) FROM mysql.seq_1_to_{rows}; "
        "CREATE TABLE d.steady (id INT AUTO_INCREMENT PRIMARY KEY, at DATETIME(6))"
    )
    config = _site(folder / "site", server)
    begun = time.monotonic()
    _plain_backup(folder / "plain", server)
    figures["plain backup, s"] = time.monotonic() - begun
    figures["plain backup, MB"] = (folder / "plain").stat().st_size / 1e6
    for name in ("first", "second"):
        begun = time.monotonic()
        report = _govsec(config, "backup")
        figures[f"govsec {name} base backup, s"] = time.monotonic() - begun
        figures[f"govsec {name} base backup, MB new"] = report["bytes_added"] / 1e6
    load = _Load(server, rate)
    middle = _run(config, server, load, seconds, figures)
    _bring_back(folder, config, load, middle, figures)
    return figures


def _run(config: Path, server: MariadbServer, load: _Load, seconds: int, figures: dict[str, float]) -> str:
    """Write, stream and ship for ``seconds``; a position in the middle."""
    near, far = _Ages(load), _Ages(load)
    stream = subprocess.Popen(
        [sys.executable, "-m", "govsec.cli", "mariadb", "stream", "--json", "--config", str(config)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    )
    middle = ""
    try:
        threads = [
            threading.Thread(target=_follow, args=(stream, near), daemon=True),
            threading.Thread(target=_ship, args=(config, far), daemon=True),
        ]
        load.start()
        for thread in threads:
            thread.start()
        begun = time.monotonic()
        while time.monotonic() < begun + seconds:
            time.sleep(_SAMPLE_S)
            near.sample()
            far.sample()
            if not middle and time.monotonic() > begun + seconds / 2:
                middle = server.place()
    finally:
        load.lost = time.time()
        stream.send_signal(signal.SIGKILL)
        stream.wait()
    for name, ages in (("near", near), ("remote", far)):
        for what, value in ages.figures().items():
            figures[f"recovery point age, {name}, {what}, s"] = value
    figures["windows a second"] = near.heard / seconds
    return middle


def _bring_back(folder: Path, config: Path, load: _Load, middle: str, figures: dict[str, float]) -> None:
    """From the remote center alone, as it was when the others were lost."""
    _Ages.is_shipping = False
    time.sleep(2)
    for center in ("prod", "city"):
        (config.parent / center).rename(folder / f"gone-{center}")
    for name, options in (("end", ()), ("position", ("--position", middle))):
        target = folder / f"back-{name}"
        report = _govsec(config, "restore", "--target", str(target), *options)
        figures[f"restore to {name} from remote, s"] = report["restore_s"]
        figures[f"restore to {name}, transactions played"] = report["transactions"]
        if name == "end":
            with serving(target) as recovered:
                ((count,),) = recovered.sql("SELECT COUNT(*) FROM d.steady")
                assert [count] in recovered.sql("SELECT MAX(id) FROM d.steady"), "a row is missing in the middle"
                figures["data lost with both cities' centers, s"] = load.lost - load.times[int(count)]


@dataclass
class _Load:
    """Writes a row at a steady rate; row ``n`` was committed at ``times[n]``."""

    server: MariadbServer
    rate: int
    times: dict[int, float] = field(default_factory=dict)
    first: int = 0
    lost: float = 0.0

    def start(self) -> None:
        ((gtid,),) = self.server.sql("SELECT @@gtid_binlog_pos")
        self.first = int(gtid.rpartition("-")[2])
        threading.Thread(target=self._write, daemon=True).start()

    def _write(self) -> None:
        import pymysql

        connection = pymysql.connect(unix_socket=str(self.server.socket), user="root", autocommit=True)
        begun, number = time.monotonic(), 0
        with suppress(pymysql.err.MySQLError), connection.cursor() as cursor:
            while not self.lost:
                number += 1
                cursor.execute("INSERT INTO d.steady (at) VALUES (NOW(6))")
                self.times[number] = time.time()
                time.sleep(max(0.0, begun + number / self.rate - time.monotonic()))


class _Ages:
    """Ages of a recovery point, sampled."""

    is_shipping = True

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._newest: int | None = None
        self._samples: list[float] = []
        self.heard = 0

    def reach(self, gtid: str) -> None:
        self._newest = int(gtid.rpartition("-")[2]) - self._load.first
        self.heard += 1

    def sample(self) -> None:
        at = self._load.times.get((self._newest or 0) + 1)
        if self._newest is not None:
            # What the next row would lose: nothing while there is none.
            self._samples.append(0.0 if at is None else time.time() - at)

    def figures(self) -> dict[str, float]:
        ordered = sorted(self._samples)
        return {
            "p50": statistics.median(ordered),
            "p95": ordered[int(0.95 * (len(ordered) - 1))],
            "max": ordered[-1],
        }


def _follow(stream: subprocess.Popen[str], ages: _Ages) -> None:
    assert stream.stdout is not None  # asked for
    for line in stream.stdout:
        commit = json.loads(line).get("commit")
        if commit:
            ages.reach(commit["gtid"])


def _ship(config: Path, ages: _Ages) -> None:
    site = Site(load_config(config), SystemClock())
    system = site.system()
    repository = None
    while _Ages.is_shipping:
        with suppress(GovsecError):
            ship_to(site, system, "far")
            repository = repository or site.repository(system, "far")
            repository.load_index()
            snapshot = next(log_snapshots(site, site.read_store(system, "far"), repository, "db"), None)
            if snapshot is not None:
                commit = log_record(repository, snapshot, "db").lines[-1].commit
                if commit is not None:
                    ages.reach(commit.gtid)
        time.sleep(_SHIP_EVERY_S)


def _plain_backup(path: Path, server: MariadbServer) -> None:
    with path.open("wb") as file:
        subprocess.run(
            [
                *("mariadb-backup", "--no-defaults", "--backup", "--stream=mbstream", "--user=root"),
                *(f"--socket={server.socket}", f"--datadir={server.data}", f"--target-dir={path}.target"),
            ],
            stdout=file,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        os.fsync(file.fileno())


def _govsec(config: Path, *argv: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "govsec.cli", "mariadb", *argv, "--json", "--quiet", "--config", str(config)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _site(directory: Path, server: MariadbServer) -> Path:
    for name in ("prod", "city", "far", "state"):
        (directory / name).mkdir(parents=True)
    (directory / "password").write_text("a password that is long enough 7")
    (directory / "password").chmod(0o600)
    config = directory / "govsec.yaml"
    roles = {"prod": "production", "city": "same_city", "far": "remote"}
    centers = {name: {"role": role, "store": {"kind": "local", "path": name}} for name, role in roles.items()}
    job = {"name": "db", "source": {"kind": "mariadb", "socket": str(server.socket), "user": "root"}}
    signing = {"commit_key_file": "keys/commit", "evidence_key_file": "keys/evidence", "roots_file": "keys/roots"}
    whole = {"version": 1, "state_dir": "state", "centers": centers, "signing": signing}
    config.write_text(json.dumps({**whole, "systems": [{"name": "hr", "password_file": "password", "backups": [job]}]}))
    begin_cheaply(config)
    subprocess.run(
        [sys.executable, "-m", "govsec.cli", "center", "init", "--quiet", "--config", str(config)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return config


if __name__ == "__main__":
    main()
