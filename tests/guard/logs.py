"""A folder of logs that is looked at after each deed, and real logrotate for it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from govsec.guard.api import Observation
from govsec.guard.logview import LogView
from govsec.records import Finding
from tests.guard.records import MONDAY_NS, SECOND, Judge
from tests.support.require import require

LOG = "host.tamper.log_truncated"
LINE = "Nov 22 09:00:00 web sshd[1]: Accepted publickey for root from 203.0.113.9 port 4242 ssh2\n"
#: Between two looks of a guard.
LOOK_S = 30


class Logs:
    """One log of 200 lines, known by a first look."""

    def __init__(self, folder: Path, *, old_folders: Sequence[str] = (), lines_count: int = 200) -> None:
        self.folder = folder
        self.log = folder / "auth.log"
        self.log.write_text(LINE * lines_count)
        self.view = LogView([f"{folder}/*.log", f"{folder}/wtmp"], old_folders=old_folders)
        self.judge = Judge("log_truncated")
        self.time_ns = MONDAY_NS
        assert self.look() == []

    def look(self, count: int = 1) -> list[Finding]:
        """What so many looks, half a minute apart, find."""
        found: list[Finding] = []
        for _ in range(count):
            self.time_ns += LOOK_S * SECOND
            seen = Observation(self.time_ns, tuple(self.view.look(self.time_ns)))
            found += self.judge.engine.observe(seen)
        return found

    def wait(self, seconds: int) -> None:
        """Time goes by without a look."""
        self.time_ns += seconds * SECOND

    def grow(self, text: str = LINE * 10) -> None:
        """A writer adds to it, and makes it where rotation did not."""
        with self.log.open("a") as file:
            file.write(text)


class LogRotate:
    """logrotate with ``directives`` for the log of ``logs``, with a state of its own."""

    def __init__(self, logs: Logs, *directives: str) -> None:
        self._program = require("logrotate")
        folder = logs.folder / "etc"
        folder.mkdir(exist_ok=True)
        self._state, self._conf = folder / "state", folder / "conf"
        body = "".join(f"  {directive}\n" for directive in ("missingok", *directives))
        self._conf.write_text(f"{logs.log} {{\n{body}}}\n")
        self._conf.chmod(0o600)
        # It refuses folders in which others could put files in its way.
        logs.folder.chmod(0o755)

    def run(self) -> None:
        """One rotation, due or not."""
        argv = [str(self._program), "--force", "--state", str(self._state), str(self._conf)]
        done = subprocess.run(argv, check=False, timeout=120, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
