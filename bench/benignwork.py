"""False alarms of a host agent while a real machine works: packages, builds, backups, deployments, databases, logs.

Accepts a baseline, runs ``govsec agent run host`` with its defaults (it watches the scratch directory too), and does
one piece of ordinary work after the other in a random order, for as long as it is told to. No attack is among them, so
every finding is one that somebody would have looked at in vain. Needs root, and changes the machine as such work does:
a package of its own is installed and removed. What is not installed (PostgreSQL, restic, rsync, git) is left out, and
the last line says so.

    .venv/bin/python -m bench.benignwork [--minutes 60] [--seed 1] [--keep DIRECTORY]
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random

_GOVSEC = str(Path(sys.executable).with_name("govsec"))
#: The agent opens its doors, finds out what is there and sets its canaries.
_SETTLE_S = 30.0
_PAUSE_MAX_S = 12.0
_PORT = 18_080
_PACKAGE = "govsec-bench-hello"


class Machine:
    """A scratch site on which work is done: a tree of documents, a web service, a log."""

    def __init__(self, folder: Path, rng: Random) -> None:
        self.folder = folder
        self.rng = rng
        self.rounds: Counter[str] = Counter()
        self.documents = folder / "documents"
        self.log = folder / "log" / "auth.log"
        self._service: subprocess.Popen[bytes] | None = None
        self.log.parent.mkdir()
        self.log.write_text("")
        for number in range(400):
            path = self.documents / f"{number % 20:02d}" / f"permit-{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{rng.randrange(10**9)} approved by the counter\n" for _ in range(200)))
        (folder / "releases").mkdir()
        self.deploy()

    def compile(self) -> None:
        """A program of forty files, built and run and thrown away."""
        source = self._empty("build")
        for number in range(40):
            body = f"int f{number}(int x) {{ return x * {self.rng.randrange(1000)} + {number}; }}\n"
            (source / f"f{number}.c").write_text(body)
            _run("gcc", "-O1", "-c", f"f{number}.c", cwd=source)
        (source / "main.c").write_text("int f1(int); int main(void) { return f1(0) != 1; }\n")
        _run("gcc", "main.c", *(f"f{number}.o" for number in range(40)), "-o", "program", cwd=source)
        _run("./program", cwd=source)
        shutil.rmtree(source)

    def package(self) -> None:
        """A package of a program and a configuration file in its next version."""
        tree = self._empty("package")
        version = f"1.{self.rounds['package']}"
        program = tree / f"usr/bin/{_PACKAGE}"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho {version}\n")
        program.chmod(0o755)
        settings = tree / f"etc/{_PACKAGE}.conf"
        settings.parent.mkdir()
        settings.write_text(f"version = {version}\n")
        (tree / "DEBIAN").mkdir()
        (tree / "DEBIAN/conffiles").write_text(f"/etc/{_PACKAGE}.conf\n")
        (tree / "DEBIAN/control").write_text(
            f"Package: {_PACKAGE}\nVersion: {version}\nArchitecture: all\nMaintainer: bench <bench@localhost>\n"
            "Description: what a benchmark installs\n"
        )
        sums = [_run("md5sum", str(path.relative_to(tree)), cwd=tree) for path in (program, settings)]
        (tree / "DEBIAN/md5sums").write_text("".join(sums))
        _run("dpkg-deb", "--root-owner-group", "--build", str(tree), str(self.folder / "hello.deb"))
        # As apt does it: one lock around all, and dpkg called twice.
        with Path("/var/lib/dpkg/lock-frontend").open("r+b") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            _run("dpkg", "--force-confnew", "--unpack", str(self.folder / "hello.deb"))
            time.sleep(self.rng.uniform(0, 5))
            _run("dpkg", "--force-confnew", "--configure", _PACKAGE)

    def log_in(self) -> None:
        """A morning at the log: people who come in with their keys, and sudo."""
        lines = []
        for _ in range(self.rng.randrange(3, 30)):
            port, number = self.rng.randrange(30_000, 60_000), self.rng.randrange(1000, 30_000)
            person = self.rng.choice(("zhang", "li", "wang"))
            source, key = (
                f"10.1.2.{len(person)} port {port}",
                "ED25519 SHA256:2Tn9lSZJdO4Ay2uG0c9vT4m1kq4Jp5Yk8n3wq0x6b1A",
            )
            head = f"{datetime.now(UTC).isoformat(timespec='microseconds')} node"
            lines += [
                f"{head} sshd[{number}]: Accepted publickey for {person} from {source} ssh2: {key}",
                f"{head} sshd[{number}]: pam_unix(sshd:session): session opened for user {person}(uid=1001) by (uid=0)",
                f"{head} sudo:    {person} : TTY=pts/0 ; PWD=/home/{person} ; USER=root ; COMMAND=/usr/bin/apt update",
            ]
        with self.log.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def rotate(self) -> None:
        """The log is rotated and the one before is compressed, as logrotate does it."""
        old = [self.log.with_name(f"auth.log.{number}.gz") for number in range(2, 9)]
        for newer, older in zip(reversed(old[:-1]), reversed(old[1:]), strict=True):
            if newer.exists():
                newer.rename(older)
        last = self.log.with_name("auth.log.1")
        if last.exists():
            with gzip.open(old[0], "wb") as packed:
                packed.write(last.read_bytes())
            last.unlink()
        self.log.rename(last)
        self.log.touch(0o640)

    def back_up(self) -> None:
        """A backup with restic, with old snapshots forgotten."""
        (self.folder / "restic.password").write_text("a password of a benchmark")
        where = ["-q", "-r", str(self.folder / "restic"), "-p", str(self.folder / "restic.password")]
        if not (self.folder / "restic").exists():
            _run("restic", *where, "init")
        _run("restic", *where, "backup", str(self.documents))
        _run("restic", *where, "forget", "--keep-last", "2", "--prune")

    def archive(self) -> None:
        """A compressed archive of everything takes the place of yesterday's; another is encrypted for transport."""
        _run("tar", "-czf", "documents.tgz.new", "documents", cwd=self.folder)
        (self.folder / "documents.tgz.new").replace(self.folder / "documents.tgz")
        if shutil.which("openssl"):
            cipher = ["-aes-256-cbc", "-pbkdf2", "-k", "bench"]
            _run("openssl", "enc", *cipher, "-in", "documents.tgz", "-out", "sent.enc", cwd=self.folder)

    def deploy(self) -> None:
        """A new release of a web site is copied, the link is turned to it, the service is started anew."""
        release = self.folder / "releases" / f"{self.rounds['deploy']}"
        shutil.copytree(self.documents, release)
        link = self.folder / "current.new"
        link.symlink_to(release)
        link.replace(self.folder / "current")
        self.end()
        self._service = subprocess.Popen(
            ["/usr/bin/python3", "-m", "http.server", str(_PORT), "--bind", "127.0.0.1"],
            cwd=self.folder / "current",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for old in sorted((self.folder / "releases").iterdir(), key=lambda path: int(path.name))[:-3]:
            shutil.rmtree(old)

    def environment(self) -> None:
        """A virtual environment is made and thrown away."""
        _run("/usr/bin/python3", "-m", "venv", "--without-pip", str(self.folder / "venv"))
        _run(str(self.folder / "venv/bin/python"), "-c", "import sqlite3, ssl, json")
        shutil.rmtree(self.folder / "venv")

    def version_control(self) -> None:
        """The documents go into a repository, which is packed and cloned."""
        tree = self._empty("git")
        shutil.copytree(self.documents, tree / "documents")
        name = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        _run("git", "init", "-q", cwd=tree)
        _run("git", "add", "-A", cwd=tree)
        _run("git", *name, "commit", "-q", "-m", "documents", cwd=tree)
        _run("git", "gc", "-q", cwd=tree)
        _run("git", "clone", "-q", str(tree), str(self._empty("clone") / "tree"))
        shutil.rmtree(tree)
        shutil.rmtree(self.folder / "clone")

    def edit(self) -> None:
        """People work: some documents grow, some are saved under a new name as editors do, some are renamed."""
        for path in self.rng.sample(sorted(self.documents.rglob("*.txt")), 40):
            text = path.read_text() + f"changed at {datetime.now(UTC).isoformat()}\n"
            if self.rng.random() < 0.5:
                path.write_text(text)
                continue
            saved = path.with_name(f".{path.name}.swp")
            saved.write_text(text)
            saved.replace(path)
        for path in self.rng.sample(sorted(self.documents.rglob("*.txt")), 10):
            path.rename(path.with_name(f"{path.stem}-{self.rng.randrange(100)}.txt"))

    def look_around(self) -> None:
        """Everything is read: sums of all documents, a search, sizes, a list of processes, short programs in a row."""
        _run("find", str(self.documents), "-type", "f", "-exec", "sha256sum", "{}", "+")
        _run("grep", "-r", "-c", "approved", str(self.documents), codes=(0, 1))
        _run("du", "-sh", "/usr/share")
        for _ in range(300):
            _run("/bin/true")

    def database(self) -> None:
        """A database is made, filled, dumped, ended and removed."""
        programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
        if programs is None:
            raise FileNotFoundError("postgresql")
        home = self._empty("database")
        shutil.chown(home, "postgres", "postgres")
        data, server = home / "data", ["-h", str(home), "postgres"]
        options = f"-c listen_addresses= -c unix_socket_directories={home}"

        def run(program: str, *arguments: str) -> str:
            identity = ["--reuid=postgres", "--regid=postgres", "--clear-groups"]
            return _run("setpriv", *identity, str(programs / program), *arguments, cwd=home)

        run("initdb", "-D", str(data), "-A", "trust")
        run("pg_ctl", "-D", str(data), "-w", "-l", str(home / "log"), "-o", options, "start")
        try:
            run("pgbench", "-q", "-i", "-s", "2", *server)
            run("pgbench", "-T", "10", *server)
            (self.folder / "dump.sql.gz").write_bytes(gzip.compress(run("pg_dump", *server).encode()))
        finally:
            run("pg_ctl", "-D", str(data), "-m", "fast", "stop")
            shutil.rmtree(home)

    def end(self) -> None:
        """Stop the service."""
        if self._service is not None:
            self._service.terminate()
            self._service.wait(30)

    def _empty(self, name: str) -> Path:
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path


def main() -> None:
    """A line of JSON for each finding, and one that counts them and the work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="the agent's state stays there")
    arguments = parser.parse_args()
    # Not in /tmp, where a program that runs is more remarkable than anywhere else.
    with tempfile.TemporaryDirectory(prefix="gsb-", dir="/var/tmp") as scratch:
        site = arguments.keep or Path(scratch, "site")
        site.mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(scratch).chmod(0o711)  # the database runs as a user of its own
        work = Path(scratch, "work")
        work.mkdir()
        rng = Random(arguments.seed)
        machine = Machine(work, rng)
        missing: Counter[str] = Counter()
        try:
            machine.package()
            config = _site(site, work)
            agent = subprocess.Popen([_GOVSEC, "agent", "run", "host", "--config", str(config), "-q"])
            try:
                time.sleep(_SETTLE_S)
                begun = time.monotonic()
                while time.monotonic() - begun < 60 * arguments.minutes:
                    _work(machine, rng, missing)
                    time.sleep(rng.uniform(0, _PAUSE_MAX_S))
                minutes = (time.monotonic() - begun) / 60
                time.sleep(_SETTLE_S)
            finally:
                agent.terminate()
                agent.wait(60)
        finally:
            machine.end()
            _run("dpkg", "--purge", _PACKAGE, codes=(0, 1))
        found = _findings(config)
        for finding in found:
            print(json.dumps(finding, ensure_ascii=False))
        kinds = Counter(f"{finding['kind']} {finding['severity']}" for finding in found)
        print(
            json.dumps(
                {
                    "minutes": round(minutes, 1),
                    "seed": arguments.seed,
                    "work": machine.rounds,
                    "left_out": missing,
                    "findings": len(found),
                    "by_kind": kinds,
                }
            )
        )


def _work(machine: Machine, rng: Random, missing: Counter[str]) -> None:
    jobs: tuple[Callable[[], None], ...] = (
        machine.compile,
        machine.package,
        machine.log_in,
        machine.rotate,
        machine.back_up,
        machine.archive,
        machine.deploy,
        machine.environment,
        machine.version_control,
        machine.edit,
        machine.look_around,
        machine.database,
    )
    job = rng.choice(jobs)
    machine.rounds[job.__name__] += 1
    try:
        job()
    except FileNotFoundError as error:
        missing[f"{job.__name__}: {error.filename or error} is not there"] += 1


def _site(folder: Path, work: Path) -> Path:
    config = folder / "govsec.yaml"
    logs = [f"{work}/log/*.log", "/var/log/*.log", "/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog"]
    settings = {"watched": [str(work), "/etc", "/usr"], "auth_logs": [f"{work}/log/auth.log"]}
    config.write_text(
        json.dumps(
            {
                "version": 1,
                "state_dir": str(folder / "state"),
                "signing": {"roots_file": str(folder / "roots.yaml"), "baseline_key_file": str(folder / "key")},
                "agent": {"run_dir": str(folder / "run"), "modules": {"guard": {"settings": settings}}},
                "guard": {"logs": logs},
            }
        )
    )
    key = ["--for", "baseline", "--name", "bench", "--output", str(folder / "key"), "--pin", str(folder / "roots.yaml")]
    _run(_GOVSEC, "assess", "key", *key, "--config", str(config))
    _run(_GOVSEC, "monitor", "baseline", "accept", "--by", "bench", "--config", str(config))
    return config


def _findings(config: Path) -> list[dict[str, object]]:
    asked = ["--after", "0", "--limit", "100000", "--json", "--config", str(config)]
    said = json.loads(_run(_GOVSEC, "agent", "findings", "host", *asked, codes=(0, 1)))
    return [record["finding"] for record in said["records"]]


def _run(*command: str, cwd: Path | None = None, codes: tuple[int, ...] = (0,)) -> str:
    # The second says that whoever calls dpkg holds its frontend lock. Source: dpkg(1).
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DPKG_FRONTEND_LOCKED": "true"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in codes:
        raise RuntimeError(f"{command}: {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
