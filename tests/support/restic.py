"""Stock restic as a counterpart: what it says of a repository that govsec wrote, and the other way round."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.require import require

_TIMEOUT_S = 240


@dataclass(frozen=True)
class ResticResult:
    """What one run of restic came to."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def is_clean(self) -> bool:
        return self.returncode == 0


@dataclass(frozen=True)
class Restic:
    """restic on one repository: a directory, or ``s3:http://host:port/bucket/prefix`` with ``environment``."""

    program: Path
    repository: str
    password_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()

    def run(
        self, *arguments: str | Path, stdin: bytes | None = None, cwd: Path | None = None, cache: bool = False
    ) -> ResticResult:
        """Run a command whatever comes of it."""
        argv = [str(self.program), "--repo", self.repository, *self.options]
        argv += [] if cache else ["--no-cache"]
        argv += [str(argument) for argument in arguments]
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.password_file.parent),
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
            "RESTIC_PASSWORD_FILE": str(self.password_file),
            "RESTIC_PROGRESS_FPS": "0.01",
            **self.environment,
        }
        done = subprocess.run(argv, input=stdin, capture_output=True, cwd=cwd, env=environment, timeout=_TIMEOUT_S)
        return ResticResult(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def ok(self, *arguments: str | Path, stdin: bytes | None = None, cwd: Path | None = None) -> str:
        """Run a command that must succeed; gives its standard output."""
        done = self.run(*arguments, stdin=stdin, cwd=cwd)
        assert done.is_clean, f"restic {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str | Path) -> Any:
        """What a command prints with ``--json``: one document."""
        return json.loads(self.ok(*arguments, "--json"))

    def json_lines(self, *arguments: str | Path) -> list[Any]:
        """What a command prints with ``--json``: one document a line."""
        return [json.loads(line) for line in self.ok(*arguments, "--json").splitlines() if line.strip()]

    def check(self, *, read_data: bool = True) -> ResticResult:
        """``restic check``; a repository is clean when ``is_clean`` and nothing is on standard error."""
        return self.run("check", *(["--read-data"] if read_data else []))

    def assert_clean(self, *, read_data: bool = True) -> None:
        done = self.check(read_data=read_data)
        assert done.is_clean and not done.stderr.strip(), f"restic check ended with {done.returncode}:\n{done}"

    def snapshots(self) -> list[dict[str, Any]]:
        return self.json("snapshots") or []

    @property
    def version(self) -> str:
        return self.run("version").stdout.strip()


def local_restic(repository: Path, password: str, scratch: Path) -> Restic:
    """restic on a directory; the password file is written into ``scratch``."""
    return Restic(require("restic"), str(repository), _password_file(password, scratch))


def s3_restic(url: str, password: str, scratch: Path, *, access_key: str, secret_key: str, ca: Path | None) -> Restic:
    """restic on ``url`` (``http://127.0.0.1:port/bucket/prefix``); ``ca`` is the authority's PEM file for https."""
    environment = {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}
    options = ("--option", "s3.bucket-lookup=path") + (("--cacert", str(ca)) if ca and url.startswith("https") else ())
    return Restic(require("restic"), f"s3:{url}", _password_file(password, scratch), environment, options)


def _password_file(password: str, scratch: Path) -> Path:
    path = scratch / "restic-password"
    path.write_text(password + "\n")
    path.chmod(0o600)
    return path
