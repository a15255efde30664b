"""Collecting over SSH from real servers: one session, checked host keys, jumps, agents, limits."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from govsec.clock import SystemClock
from govsec.collect.collect import collect
from govsec.collect.probes import AnyProbe, LoginDefsProbe, SysctlProbe, UsersProbe
from govsec.collect.transport import LocalTransport
from govsec.collect.transport_ssh import SshTransport
from govsec.errors import ConfigurationError, GovsecError, HostUnreachableError, IntegrityError
from tests.collect.sshservers import SshServer, make_key, start_sshd
from tests.support.require import require_root

CLOCK = SystemClock()
PROBES: tuple[AnyProbe, ...] = (LoginDefsProbe(), UsersProbe(), SysctlProbe(keys=("kernel.ostype",)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    require_root()
    server = start_sshd(tmp_path_factory.mktemp("ssh") / "server")
    yield server
    server.kill()


def test_a_host_over_ssh_tells_what_it_tells_here(server: SshServer) -> None:
    far = collect("far", PROBES, SshTransport(server.account), CLOCK)
    near = collect("near", PROBES, LocalTransport(CLOCK), CLOCK)

    assert far.transport == "ssh" and far.platform == near.platform
    assert {key: outcome.value for key, outcome in far.outcomes.items()} == {
        key: outcome.value for key, outcome in near.outcomes.items()
    }


def test_a_jump_host_is_gone_through(server: SshServer) -> None:
    facts = collect("far", PROBES[:1], SshTransport(server.account, jumps=(server.account, server.account)), CLOCK)
    assert all(outcome.status == "ok" for outcome in facts.outcomes.values())


def test_a_changed_host_key_is_refused_by_name(server: SshServer, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {' '.join(other.split()[:2])}\n", encoding="ascii")
    transport = SshTransport(replace(server.account, known_hosts=known))

    with pytest.raises(IntegrityError, match=r"far \(root@127\.0\.0\.1:[0-9]+\): the host's key is not the one in"):
        collect("far", PROBES, transport, CLOCK)
    jumping = SshTransport(server.account, jumps=(replace(server.account, known_hosts=known),))
    with pytest.raises(IntegrityError):
        collect("far", PROBES, jumping, CLOCK)


def test_an_unknown_host_is_not_trusted_at_first_sight(server: SshServer, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.touch()
    with pytest.raises(IntegrityError):
        collect("far", PROBES, SshTransport(replace(server.account, known_hosts=known)), CLOCK)
    with pytest.raises(ConfigurationError, match="known hosts"):
        collect("far", PROBES, SshTransport(replace(server.account, known_hosts=tmp_path / "none")), CLOCK)


def test_a_refused_log_in_and_a_closed_port_are_unreachable(server: SshServer, tmp_path: Path) -> None:
    make_key(tmp_path / "stranger")
    with pytest.raises(HostUnreachableError, match="refused"):
        collect("far", PROBES, SshTransport(replace(server.account, key_file=tmp_path / "stranger")), CLOCK)
    with pytest.raises(HostUnreachableError):
        collect("far", PROBES, SshTransport(replace(server.account, port=1)), CLOCK)
    with pytest.raises(ConfigurationError, match="key"):
        collect("far", PROBES, SshTransport(replace(server.account, key_file=None)), CLOCK)


def test_an_agent_logs_in(server: SshServer, tmp_path: Path) -> None:
    path = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
        for _ in range(50):
            added = subprocess.run(
                ["ssh-add", "-q", str(server.folder / "user")], env=environment, check=False, capture_output=True
            )
            if added.returncode == 0:
                break
        assert added.returncode == 0, added.stderr
        transport = SshTransport(replace(server.account, key_file=None, agent_path=path))
        assert collect("far", PROBES[:1], transport, CLOCK).host == "far"
    finally:
        agent.kill()
        agent.wait()


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("exit 0", 4),
        ("yes garbage", 6),
        ("head -c 1000000000 /dev/zero", 6),
        ("exec sleep 300", 4),
        ("cat >/dev/null", 4),
    ],
)
def test_a_server_that_lies_or_floods_is_cut_off(server: SshServer, tmp_path: Path, program: str, code: int) -> None:
    liar = start_sshd(tmp_path / "liar", keys_of=server, command=program)
    try:
        transport = SshTransport(liar.account, timeout_s=2.0 if "sleep" in program else None)
        with pytest.raises(GovsecError) as caught:
            collect("liar", [LoginDefsProbe()], transport, CLOCK)
        assert caught.value.exit_code == code and "liar" in str(caught.value)
    finally:
        liar.kill()


def test_many_hosts_are_asked_at_once_from_threads(server: SshServer) -> None:
    def one(number: int) -> str:
        return collect(f"host-{number}", PROBES[:1], SshTransport(server.account), CLOCK).host

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(one, range(6))) == [f"host-{number}" for number in range(6)]
