"""SSH: one connection, one session, the host's key checked against a file of known hosts; no switch skips that.

The script goes in through standard input, so that no argument vector of the host ever shows it. asyncssh (the extra
``ssh``) is used from synchronous code: every run has an event loop of its own, so runs on many threads do not meet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.collect.quote import quote
from govsec.collect.script import Script
from govsec.collect.transport import RUN_PLAIN, RUN_SUDO
from govsec.errors import ConfigurationError, HostUnreachableError, IntegrityError, LimitError

if TYPE_CHECKING:
    import asyncssh

_READ_SIZE = 256 << 10


@dataclass(frozen=True, slots=True)
class SshAccount:
    """Where to log in, as whom, with what key. Without ``key_file`` the agent at ``agent_path`` is asked."""

    address: str
    user: str
    known_hosts: Path
    port: int = 22
    key_file: Path | None = None
    agent_path: Path | None = None
    connect_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class SshTransport:
    """A host behind SSH, through ``jumps`` in order; each of them is checked as the host is."""

    account: SshAccount
    jumps: tuple[SshAccount, ...] = ()
    sudo: bool = False
    #: For the whole run; None, or less than it, the script's own limit holds.
    timeout_s: float | None = None
    name: str = "ssh"

    def run(self, script: Script) -> bytes:
        try:
            import asyncssh  # noqa: F401  an extra: told by name when it is missing
        except ImportError as error:
            raise ConfigurationError("hosts over SSH need the extra `ssh`: pip install 'govsec[ssh]'") from error
        return asyncio.run(self._run(script))

    async def _run(self, script: Script) -> bytes:
        import asyncssh

        account = self.account
        place = f"{script.host} ({account.user}@{account.address}:{account.port})"
        try:
            longest_s = script.timeout_s + account.connect_timeout_s * (1 + len(self.jumps))
            async with asyncio.timeout(min(longest_s, self.timeout_s or longest_s)):
                return await self._exchange(script, place)
        except TimeoutError as error:
            raise HostUnreachableError(f"{place}: not done in time") from error
        except asyncssh.HostKeyNotVerifiable as error:
            raise IntegrityError(
                f"{place}: the host's key is not the one in {account.known_hosts}; find out why before you trust it"
            ) from error
        except asyncssh.PermissionDenied as error:
            raise HostUnreachableError(f"{place}: the log-in was refused") from error
        except asyncssh.KeyImportError as error:
            raise ConfigurationError(f"{place}: a key file cannot be used") from error
        except (asyncssh.Error, OSError) as error:
            raise HostUnreachableError(f"{place}: {type(error).__name__}: {str(error)[:200]}") from error

    async def _exchange(self, script: Script, place: str) -> bytes:
        opened: list[asyncssh.SSHClientConnection] = []
        try:
            for account in (*self.jumps, self.account):
                opened.append(await _connect(account, opened[-1] if opened else None))
            return await _session(opened[-1], script, self.sudo, place)
        finally:
            for connection in reversed(opened):
                connection.abort()


async def _connect(account: SshAccount, tunnel: asyncssh.SSHClientConnection | None) -> asyncssh.SSHClientConnection:
    import asyncssh

    if not account.known_hosts.is_file():
        raise ConfigurationError(f"{account.address}: no file of known hosts at {account.known_hosts}")
    keys: Sequence[str | asyncssh.SSHKeyPair] = [str(account.key_file)] if account.key_file else []
    if not keys and account.agent_path is not None:
        async with asyncssh.connect_agent(str(account.agent_path)) as agent:
            keys = await agent.get_keys()
            return await _log_in(account, tunnel, keys)
    if not keys:
        raise ConfigurationError(f"{account.address}: neither a key file nor an agent to log in with")
    return await _log_in(account, tunnel, keys)


async def _log_in(
    account: SshAccount, tunnel: asyncssh.SSHClientConnection | None, keys: Sequence[str | asyncssh.SSHKeyPair]
) -> asyncssh.SSHClientConnection:
    import asyncssh

    return await asyncssh.connect(
        account.address,
        account.port,
        tunnel=tunnel,
        username=account.user,
        known_hosts=str(account.known_hosts),
        client_keys=list(keys),
        agent_path=None,
        # Neither the operator's own configuration nor passwords: what is used stands in ours.
        config=None,
        password=None,
        preferred_auth="publickey",
        agent_forwarding=False,
        connect_timeout=account.connect_timeout_s,
        login_timeout=account.connect_timeout_s,
        keepalive_interval=10,
        keepalive_count_max=3,
    )


async def _session(connection: asyncssh.SSHClientConnection, script: Script, sudo: bool, place: str) -> bytes:
    import asyncssh

    command = f"exec sh -c {quote(RUN_SUDO if sudo else RUN_PLAIN)}"
    process = await connection.create_process(command, encoding=None, stderr=asyncssh.DEVNULL, request_pty=False)
    kept = bytearray()
    feeder = asyncio.ensure_future(_feed(process, script.text.encode()))
    try:
        while data := await process.stdout.read(_READ_SIZE):
            kept += data
            if len(kept) > script.output_size_max:
                raise LimitError(f"{place}: sent more than {script.output_size_max} bytes; it was cut off")
    finally:
        feeder.cancel()
    return bytes(kept)


async def _feed(process: asyncssh.SSHClientProcess[bytes], data: bytes) -> None:
    import asyncssh

    try:
        process.stdin.write(data)
        await process.stdin.drain()
        process.stdin.write_eof()
    except (BrokenPipeError, ConnectionError, asyncssh.Error):
        return  # a host that does not read is judged by what it sends
