"""A prepared MariaDB data folder, and a small site with three centers whose job is a running server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from govsec.cli.main import main
from tests.support.cheapkey import begin_cheaply
from tests.support.mariadb import MariadbServer, install, require_mariadb, running, serving

LIMIT_S = 90.0
_CONFIG = """
version: 1
state_dir: state
centers:
  prod: {{role: production, store: {{kind: local, path: prod}}}}
  city: {{role: same_city, store: {{kind: local, path: city}}}}
  far: {{role: remote, store: {{kind: local, path: far}}}}
signing: {{commit_key_file: keys/commit, evidence_key_file: keys/evidence, roots_file: keys/roots.yaml}}
systems:
  - name: hr
    password_file: password
    plans: {plans}
    backups:
      - name: db
        source: {{kind: mariadb, socket: {socket}, user: root, log_window_s: 0.5{more}}}
"""


@pytest.fixture(scope="session")
def mariadb_template() -> Iterator[Path]:
    require_mariadb()
    # Not below pytest's folders: user mysql may not go there.
    folder = Path(tempfile.mkdtemp(prefix="gm-"))
    try:
        yield install(folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short path that user mysql may enter."""
    folder = Path(tempfile.mkdtemp(prefix="gm-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def server(mariadb_template: Path, short: Path) -> Iterator[MariadbServer]:
    with running(mariadb_template, short / "server") as server:
        server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, word VARCHAR(100))")
        yield server


@dataclass
class Site:
    """Three folders as centers, and what the command line says of them."""

    directory: Path
    capture: pytest.CaptureFixture[str]

    @property
    def config(self) -> Path:
        return self.directory / "govsec.yaml"

    def run(self, *argv: str) -> int:
        return main([*argv, "--config", str(self.config)])

    def json(self, *argv: str, code: int = 0) -> dict[str, Any]:
        """One command's answer."""
        self.capture.readouterr()
        found = self.run(*argv, "--json")
        said = self.capture.readouterr()
        assert found == code, said.out + said.err
        answer: dict[str, Any] = json.loads(said.out.splitlines()[-1])
        return answer

    def lose(self, *centers: str) -> None:
        for center in centers:
            (self.directory / center).rename(self.directory / f"{center}.gone")

    def recovered(self, template_folder: Path, *argv: str) -> dict[str, Any]:
        return self.json("mariadb", "restore", "--target", str(template_folder), *argv)

    def stream(self) -> Stream:
        return Stream(self)


class Stream:
    """``govsec mariadb stream`` in a process of its own."""

    def __init__(self, site: Site) -> None:
        self._log = site.directory / f"stream-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "govsec.cli", "mariadb", "stream", "--json", "--config", str(site.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def windows(self) -> list[dict[str, Any]]:
        lines = [line for line in self.said.splitlines() if line.startswith("{") and line.endswith("}")]
        return [found for line in lines if "place" in (found := json.loads(line))]

    def wait_for(self, place: str) -> dict[str, Any]:
        """Wait until a window that reaches ``place`` is committed."""
        return self.wait(lambda: next((found for found in self.windows() if _reaches(found, place)), None), place)

    def wait_to_say(self, words: str) -> None:
        self.wait(lambda: words in self.said or None, words)

    def wait(self, look: Any, what: str) -> Any:
        deadline = time.monotonic() + LIMIT_S
        while True:
            # Asked before it is looked: what it said last is then seen.
            is_alive = self.process.poll() is None
            found = look()
            if found is not None:
                return found
            assert is_alive, self.said
            assert time.monotonic() < deadline, f"{what} did not come: {self.said}"
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)


def _reaches(window: dict[str, Any], place: str) -> bool:
    file, _, position = place.rpartition(":")
    commit = window["commit"]
    return commit is not None and (commit["file"], commit["position"]) >= (file, int(position))


@pytest.fixture
def site(server: MariadbServer, short: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    """The server's site, initialised."""
    return make_site(short / "site", server.socket, capsys)


def make_site(
    directory: Path, socket: Path, capsys: pytest.CaptureFixture[str], plans: str = "[]", more: str = ""
) -> Site:
    for name in ("prod", "city", "far", "keys", "state"):
        (directory / name).mkdir(parents=True)
    (directory / "password").write_text("a password that is long enough 7")
    (directory / "password").chmod(0o600)
    site = Site(directory, capsys)
    site.config.write_text(_CONFIG.format(socket=socket, plans=plans, more=more))
    begin_cheaply(site.config)
    assert site.run("center", "init") == 0
    return site


def started(recovered: dict[str, Any]) -> Any:
    """A server over what was recovered."""
    return serving(Path(recovered["datadir"]).parent)
