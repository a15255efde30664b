"""What the tests of responses share: keys, a helper that runs for real, and how it is asked."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.response.order import Order, approve

ROOT = Path(__file__).resolve().parents[2]
#: Nothing here takes long; a machine that stands still may.
PATIENCE_S = 60.0


def make_order(verb: str, arguments: Mapping[str, str | int], *, host: str = "web1", **given: Any) -> Order:
    made = given.pop("made", datetime.now(UTC).replace(microsecond=0))
    values: dict[str, Any] = {"case": "20261122-0001", "expires": made + timedelta(hours=1), **given}
    return Order(secrets.token_hex(16), verb, dict(arguments), host, made=made, **values)


@dataclass
class People:
    """Named persons with keys, and the roots file that pins them."""

    folder: Path
    signers: dict[str, Signer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("zhang", "li", "wang"):
            self.signers[name] = Signer.generate(Purpose.RESPONSE)
        self.roots.save(self.folder / "roots.yaml")

    @property
    def roots(self) -> TrustedKeys:
        return TrustedKeys(signer.public(name) for name, signer in self.signers.items())

    def approvals(self, order: Order, *names: str) -> list[str]:
        return [approve(self.signers[name], order, order.made).decode() for name in names or ("zhang",)]


def write_settings(folder: Path, **given: object) -> Path:
    values: dict[str, object] = {
        "host": "web1",
        "roots_file": str(folder / "roots.yaml"),
        "state_dir": str(folder / "state"),
        "socket": str(folder / "s"),
        "peers": [os.geteuid()],
        "dry_run": False,
        "logs": [],
        **given,
    }
    path = folder / "helper.toml"
    path.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items()), encoding="utf-8")
    return path


def ask(path: Path, request: object) -> dict[str, Any]:
    return ask_bytes(path, json.dumps(request).encode() + b"\n")


def ask_bytes(path: Path, data: bytes) -> dict[str, Any]:
    """What the helper answers; an empty object when it says nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
        talk.settimeout(PATIENCE_S)
        talk.connect(os.fspath(path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            talk.sendall(data)
            talk.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := talk.recv(65536):
                answer += part
    return dict(json.loads(answer)) if answer else {}


@contextlib.contextmanager
def helper_running(settings: Path, *before: str) -> Iterator[subprocess.Popen[bytes]]:
    """The helper as its own process; ``before`` is what it is started through (``ip netns exec …``)."""
    argv = [*before, sys.executable, "-m", "govsec_agents.helper", "--settings", str(settings)]
    place = settings.parent / "s"
    with (settings.parent / "helper.log").open("ab") as log:
        process = subprocess.Popen(argv, cwd=ROOT, stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: _listens(place) or process.poll() is not None, "the helper listens")
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def wait_for(holds: Any, what: str) -> None:
    """Return when ``holds()`` is true; fails after a minute."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.05)


def _listens(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
            talk.connect(os.fspath(path))
        return True
    except OSError:
        return False
