"""A server that lies on a host and is not in use guards nothing and endangers nothing; one that may be is judged."""

from __future__ import annotations

from typing import Any

import pytest

from govsec.collect.facts import Platform
from govsec.collect.kinds import parse
from govsec.collect.probes import AnyProbe
from govsec.collect.probes_servers import DockerProbe, MysqlProbe, NginxProbe, PostgresqlProbe, RedisProbe
from govsec.collect.probes_services import SshdProbe
from govsec.collect.sources import Answer, NoFactError
from tests.collect.samples import reading

SSHD = b"@T version OpenSSH_9.2\n@T settings\nport 22\npermitrootlogin no\n"
INSTALLED = {
    "sshd": (SshdProbe(), "sshd", {"sshd": Answer(SSHD, 0)}),
    "nginx": (NginxProbe(), "nginx", {"nginx": Answer(b"@T /etc/nginx/nginx.conf\n user www-data;\n", 0)}),
    "docker": (DockerProbe(), "dockerd", {"live": Answer(b"@T version Docker version 24.0.7, build x\n", 0)}),
    "redis": (
        RedisProbe(),
        "redis-server",
        {
            "files": Answer(b"@T /etc/redis/redis.conf\n port 6379\n", 0),
            "states": Answer(b"@T 640|0|0|12|0|redis|redis|regular file|/etc/redis/redis.conf\n", 0),
        },
    ),
}  # fmt: skip
UNITS = {
    "sshd": ("ssh.service", "ssh.socket"),
    "nginx": ("nginx.service", None),
    "docker": ("docker.service", "docker.socket"),
    "redis": ("redis-server.service", None),
}


def units(lines: str, active: str = "") -> Answer:
    return Answer(f"init systemd\n@T files\nother.service enabled enabled\n{lines}@T units\n{active}".encode(), 0)


def ask(name: str, state: Answer, running: Answer) -> Any:
    probe, _, answers = INSTALLED[name]
    return parse(probe, reading(probe, {**answers, "units": state, "running": running}))


IDLE = Answer(b"root systemd\n", 0)


@pytest.mark.parametrize("name", INSTALLED)
def test_one_that_neither_runs_nor_is_started_is_absent(name: str) -> None:
    with pytest.raises(NoFactError, match="does not run, and nothing starts it") as caught:
        ask(name, units(f"{UNITS[name][0]} disabled enabled\n"), IDLE)

    assert caught.value.status == "absent"


@pytest.mark.parametrize("name", INSTALLED)
def test_one_that_starts_with_the_host_is_judged_by_its_configuration(name: str) -> None:
    assert ask(name, units(f"{UNITS[name][0]} enabled enabled\n"), IDLE)["running"] is False


@pytest.mark.parametrize("name", INSTALLED)
def test_one_that_runs_is_judged_also_where_no_unit_starts_it(name: str) -> None:
    process = INSTALLED[name][1]

    assert ask(name, units(""), Answer(f"root {process}\n".encode(), 0))["running"] is True


@pytest.mark.parametrize("name", [name for name, (_, socket) in UNITS.items() if socket])
def test_one_whose_socket_waits_for_the_first_connection_runs(name: str) -> None:
    service, socket = UNITS[name]
    state = units(f"{service} disabled enabled\n{socket} enabled enabled\n", f"{socket} loaded active listening x\n")

    assert ask(name, state, IDLE)["running"] is True


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize(
    ("state", "running", "expected"),
    [
        (Answer(b"", 92), IDLE, False),  # who knows what starts it
        (units(""), Answer(b"", 92), None),  # who knows what runs
        (Answer(b"init none\n@T found\n", 0), IDLE, False),  # no container, and started by something we do not know
    ],
)
def test_one_of_which_the_host_cannot_say_is_never_taken_for_idle(
    name: str, state: Answer, running: Answer, expected: bool | None
) -> None:
    assert ask(name, state, running)["running"] is expected


@pytest.mark.parametrize("init", ["sysv", "openrc"])
def test_links_of_older_inits_start_it(init: str) -> None:
    state = f"init {init}\n@T found\nscript nginx\n"

    assert ask("nginx", Answer(f"{state}starts nginx\n".encode(), 0), IDLE)["running"] is False
    with pytest.raises(NoFactError):
        ask("nginx", Answer(state.encode(), 0), IDLE)


def test_in_a_container_nothing_starts_what_did_not_come_up_with_it() -> None:
    probe, _, answers = INSTALLED["sshd"]
    found = {**answers, "running": IDLE, "units": Answer(b"init none\n@T found\nstarts ssh.service\n", 0)}
    whole = reading(probe, found)
    inside = type(whole)(
        sources=whole.sources,
        answers=whole.answers,
        token=whole.token,
        now=whole.now,
        collected=whole.collected,
        platform=Platform(container=True),
    )

    with pytest.raises(NoFactError) as caught:
        parse(probe, inside)
    assert caught.value.status == "absent"


def test_what_is_not_installed_is_said_to_be_that() -> None:
    probe = SshdProbe()

    with pytest.raises(NoFactError, match="not on this host"):
        parse(probe, reading(probe, {"sshd": Answer(b"", 90), "running": IDLE, "units": units("")}))


@pytest.mark.parametrize(
    ("probe", "process", "unit"),
    [
        (MysqlProbe(), "mariadbd", "mariadb.service"),
        (MysqlProbe(), "mysqld", "mysqld.service"),
        (PostgresqlProbe(), "postgres", "postgresql-15.service"),
    ],
)
def test_a_database_is_only_absent_when_nothing_runs_or_starts_it(probe: AnyProbe, process: str, unit: str) -> None:
    configuration = Answer(b"@T /var/lib/pgsql/15/data/postgresql.conf\n port = 5432\n", 0)
    silent = {"live": Answer(b"", 90), "files": configuration}
    for state, running, status in (
        (units(f"{unit} disabled enabled\n"), IDLE, "absent"),
        (units(f"{unit} enabled enabled\n"), IDLE, "error"),
        (Answer(b"", 92), IDLE, "error"),
        (units(""), Answer(f"db {process}\n".encode(), 0), "error"),
        (units(""), Answer(b"", 92), "error"),
    ):
        with pytest.raises(NoFactError) as caught:
            parse(probe, reading(probe, {**silent, "units": state, "running": running}))
        assert caught.value.status == status


def test_a_unit_without_any_database_is_no_database() -> None:
    probe = PostgresqlProbe()
    answers = {"live": Answer(b"", 90), "units": units("postgresql.service enabled enabled\n"), "running": IDLE}

    with pytest.raises(NoFactError, match="neither a server nor a configuration"):
        parse(probe, reading(probe, answers))
