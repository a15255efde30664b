"""Real sshd servers on loopback, each a process of its own with its own keys, for the tests of the SSH transport."""

from __future__ import annotations

import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from govsec.collect.transport_ssh import SshAccount
from tests.support.require import require

_STARTED_WITHIN_S = 60.0


@dataclass(frozen=True)
class SshServer:
    """One running server and who may log in."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def account(self) -> SshAccount:
        return SshAccount(
            "127.0.0.1", "root", self.folder / "known_hosts", port=self.port, key_file=self.folder / "user"
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def make_key(path: Path) -> str:
    """A key pair at ``path``; the public half."""
    require("sshd")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, stdin=subprocess.DEVNULL
    )
    return path.with_suffix(".pub").read_text(encoding="ascii")


def start_sshd(folder: Path, *, keys_of: SshServer | None = None, command: str | None = None) -> SshServer:
    """A server that lets root in by one key, with another's keys or its own, and answers by ``command`` when given."""
    program = require("sshd")
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        if keys_of is None:
            make_key(folder / name)
        else:
            for file in (name, f"{name}.pub"):
                (folder / file).write_bytes((keys_of.folder / file).read_bytes())
            (folder / name).chmod(0o600)
    (folder / "authorized_keys").write_text((folder / "user.pub").read_text(encoding="ascii"), encoding="ascii")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
        f"PidFile {folder}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        "MaxStartups 100\n" + (f"ForceCommand {command}\n" if command else ""),
        encoding="ascii",
    )
    host_key_line = " ".join((folder / "host.pub").read_text(encoding="ascii").split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key_line}\n", encoding="ascii")
    process = subprocess.Popen(
        [str(program), "-D", "-e", "-f", str(folder / "sshd_config")],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    server = SshServer(port, folder, process)
    deadline = time.monotonic() + _STARTED_WITHIN_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=30).close()
            return server
        except OSError:
            assert process.poll() is None, "sshd ended at once"
            time.sleep(0.02)
    server.kill()
    raise AssertionError("sshd did not start")
