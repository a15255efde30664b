"""What a real sshd says of real connections: a guess, a name that looks like a line of the log, a key that fits."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from govsec.host.loginlines import Login, LoginParser
from tests.support.require import require, require_root

FORGED = "root from 198.51.100.9 port 22 ssh2"


@dataclass
class Server:
    """Takes one connection at a time, as inetd does; each sshd writes what it says into a file of its own."""

    folder: Path
    program: Path

    def __post_init__(self) -> None:
        for name in ("host", "client"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True)
        (self.folder / "authorized").write_text((self.folder / "client.pub").read_text())
        Path("/run/sshd").mkdir(exist_ok=True)
        (self.folder / "config").write_text(
            f"HostKey {self.folder}/host\nAuthorizedKeysFile {self.folder}/authorized\nStrictModes no\nUsePAM no\n"
            "PermitRootLogin yes\nPasswordAuthentication yes\nKbdInteractiveAuthentication no\nMaxAuthTries 20\n"
        )
        self._count = 0

    async def meet(self, user: str, **how: object) -> list[str]:
        """Connect once with ``user``; what sshd said."""
        self._count += 1
        said = self.folder / f"said{self._count}"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            served, _ = listener.accept()
        with served, said.open("wb") as errors:
            sshd = subprocess.Popen(
                [str(self.program), "-i", "-e", "-f", str(self.folder / "config")],
                stdin=served,
                stdout=served,
                stderr=errors,
            )
        options = {"known_hosts": None, "config": None, "client_keys": None, "agent_path": None, "login_timeout": 100}
        try:
            connection = await asyncssh.connect(sock=client, username=user, **{**options, **how})
            connection.close()
            await connection.wait_closed()
        except asyncssh.PermissionDenied:
            pass
        await asyncio.to_thread(sshd.wait, 100)
        return said.read_text().splitlines()


def logins(lines: list[str]) -> list[Login]:
    parser = LoginParser()
    return [login for line in lines if (login := parser.parse("sshd", 7, line)) is not None]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    require_root()
    return Server(tmp_path, require("sshd"))


@pytest.mark.parametrize("user", ["nosuchuser", "root", FORGED])
def test_a_wrong_password_is_one_failure_of_the_name_that_was_typed(server: Server, user: str) -> None:
    lines = asyncio.run(server.meet(user, password="wrong", preferred_auth="password"))

    found = logins(lines)
    assert [(each.outcome, each.user, each.source, each.method) for each in found] == [
        ("failure", user, "127.0.0.1", "password")
    ], lines


def test_a_key_is_let_in_and_a_stranger_without_one_is_a_failure(server: Server) -> None:
    key = str(server.folder / "client")
    let_in = logins(asyncio.run(server.meet("root", client_keys=[key])))
    refused = logins(asyncio.run(server.meet("nosuchuser", client_keys=[key], preferred_auth="publickey")))

    assert [(each.outcome, each.user, each.method) for each in let_in] == [("success", "root", "publickey")]
    assert [(each.outcome, each.user, each.source) for each in refused] == [("failure", "nosuchuser", "127.0.0.1")]
