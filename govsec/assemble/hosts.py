"""Hosts of an assessment: how each is reached, and all asked at once."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.assemble.systems import Site
from govsec.clock import Clock
from govsec.collect.collect import Transport, collect
from govsec.collect.facts import Facts, ProbeOutcome
from govsec.collect.probes import AnyProbe
from govsec.collect.script import Script, compile_script
from govsec.config import Config, HostConfig
from govsec.errors import ConfigurationError, GovsecError, IntegrityError, UsageError
from govsec.progress import Progress, ProgressSink, silent
from govsec.runtime.lanes import for_each
from govsec.secretfile import credential_path

if TYPE_CHECKING:  # asyncssh takes its time, and is an extra
    from govsec.collect.transport_ssh import SshAccount

#: This machine, whatever the configuration calls it.
LOCAL = "local"
#: The kind of probe that goes over a whole file system.
WALK = "walk"
#: One session each; more would make the controller the slow one.
_PARALLEL_MAX = 20
#: Facts from files that are older say too little of today; govsec's own figure, long enough to carry a disk about.
FACTS_AGE_MAX = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Target:
    """A host by the name it has here."""

    name: str
    config: HostConfig

    @property
    def kind(self) -> str:
        """What reports call it."""
        return "container" if self.config.kind == "container" else "host"

    @property
    def address(self) -> str:
        """Where it is reached; empty for this machine."""
        if self.config.kind == "container":
            return f"{self.config.runtime}:{self.config.container}"
        return "" if self.config.kind == "local" else self.config.address or self.name


@dataclass(frozen=True, slots=True)
class Collected:
    """What came of asking one host: facts, or why there are none."""

    target: Target
    began: datetime
    facts: Facts | None = None
    error: str = ""
    #: The host is not the one it should be, or what it sent was forged: no mere failure to answer.
    is_broken: bool = False
    #: The bytes that the facts are stored as.
    data: bytes = b""
    #: Somebody carried them here in a file.
    is_carried: bool = False
    #: Who signed that file, by the name of the pinned key; empty: nobody.
    signed_by: str = ""


def targets_of(config: Config, names: Sequence[str]) -> tuple[Target, ...]:
    """The hosts of those names; without any, this machine.

    Raises:
        UsageError: the configuration has no such host.
    """
    found = []
    for name in dict.fromkeys(names or (LOCAL,)):
        if name == LOCAL and name not in config.hosts:
            found.append(Target(socket.gethostname()[:255] or LOCAL, HostConfig(kind="local")))
        elif name in config.hosts:
            found.append(Target(name, config.hosts[name]))
        else:
            raise UsageError(f"there is no host {name!r}; the configuration has: {', '.join(config.hosts) or 'none'}")
    # This machine may have the name of another host: the facts of one would stand for both.
    if len({target.name for target in found}) != len(found):
        raise UsageError(f"{socket.gethostname()!r} is the name of two hosts here")
    return tuple(found)


def collect_all(
    site: Site,
    targets: Sequence[Target],
    probes: Mapping[str, Sequence[AnyProbe]],
    *,
    walks: Sequence[AnyProbe] = (),
    previous: Mapping[str, Facts],
    progress: ProgressSink = silent,
) -> tuple[Collected, ...]:
    """Every target asked, at most twenty at once, in the order of ``targets``. One that fails harms no other.

    ``probes`` are by name of the target.
    ``walks`` are not asked: what an earlier walk found (``previous``, facts by host) counts with its age, and a host
    that was never walked, or not in the last thirty days, could not be looked at.
    """

    def ask(target: Target) -> Collected:
        began, wanted = site.clock.now(), probes.get(target.name, ())
        # A host that hangs in each of its answers, each within its own limit, would hold the run for the better part of
        # an hour. Whoever asks for walks knows that they take their time.
        limit_s = site.config.assessment.host_time_s + sum(probe.timeout_s for probe in wanted if probe.kind == WALK)
        try:
            transport = transport_of(target, site.config, site.clock, limit_s)
            old = previous.get(target.name)
            facts = _with_walks(collect(target.name, wanted, transport, site.clock, previous=old), walks, old)
            return Collected(target, began, facts, data=facts.dump())
        except GovsecError as error:
            return Collected(target, began, error=str(error), is_broken=isinstance(error, IntegrityError))

    threads = 0 if len(targets) == 1 else min(len(targets), _PARALLEL_MAX)
    by_name: dict[str, Collected] = {}
    progress(Progress("collect", done_items=0, total_items=len(targets)))
    for one in for_each(targets, lambda: ask, threads=threads):
        by_name[one.target.name] = one
        progress(Progress("collect", done_items=len(by_name), total_items=len(targets), current=one.target.name))
    return tuple(by_name[target.name] for target in targets)


def _with_walks(facts: Facts, walks: Sequence[AnyProbe], previous: Facts | None) -> Facts:
    found = {}
    for probe in walks:
        old = previous.outcomes.get(probe.identity) if previous is not None else None
        if previous is None or old is None or not isinstance(old.value, Mapping):
            reason = "the file systems were not walked yet; run: govsec assess run --walk"
            found[probe.identity] = ProbeOutcome(kind=WALK, status="error", reason=reason)
            continue
        when = old.found or previous.collected
        if not timedelta(0) <= facts.collected - when <= FACTS_AGE_MAX:
            reason = f"the last walk of {when.date()} is not of the last {FACTS_AGE_MAX.days} days: assess run --walk"
            found[probe.identity] = ProbeOutcome(kind=WALK, status="error", reason=reason)
            continue
        age_h = round((facts.collected - when).total_seconds() / 3600, 2)
        found[probe.identity] = old.model_copy(update={"value": {**old.value, "age_h": age_h}, "found": when})
    return facts.model_copy(update={"outcomes": {**facts.outcomes, **found}}) if found else facts


def transport_of(target: Target, config: Config, clock: Clock, limit_s: float) -> Transport:
    """The way to a host, which ends after ``limit_s`` seconds in all, whatever the host does.

    Raises:
        ConfigurationError: what the way needs is not installed.
    """
    host = target.config
    if host.kind == "local":
        from govsec.collect.transport import LocalTransport

        return LocalTransport(clock, sudo=host.sudo, timeout_s=limit_s)
    if host.kind == "container":
        from govsec.collect.transport import ContainerTransport

        return ContainerTransport(host.container, clock, runtime=host.runtime, timeout_s=limit_s)
    from govsec.collect.transport_ssh import SshTransport

    return SshTransport(_account(target.name, host), _jumps(host, config), sudo=host.sudo, timeout_s=limit_s)


def _jumps(host: HostConfig, config: Config) -> tuple[SshAccount, ...]:
    """The hosts that the way leads through, the nearest first.

    Raises:
        ConfigurationError: it leads in a circle, or through something that is reached in another way.
    """
    way: list[SshAccount] = []
    seen: list[str] = []
    name = host.jump
    while name is not None:
        jump = config.hosts[name]
        if name in seen or jump.kind != "ssh":
            raise ConfigurationError(f"host {name}: the way there leads in a circle, or not over SSH")
        seen.append(name)
        way.insert(0, _account(name, jump))
        name = jump.jump
    return tuple(way)


def _account(name: str, host: HostConfig) -> SshAccount:
    from govsec.collect.transport_ssh import SshAccount

    agent = os.environ.get("SSH_AUTH_SOCK")
    return SshAccount(
        address=host.address or name,
        user=host.user or pwd.getpwuid(os.getuid()).pw_name,
        known_hosts=host.known_hosts_file or Path.home() / ".ssh" / "known_hosts",
        port=host.port,
        key_file=credential_path(host.key_file) if host.key_file is not None else None,
        agent_path=Path(agent) if agent and host.key_file is None else None,
        connect_timeout_s=host.connect_timeout_s,
    )


def script_for(target: Target, probes: Sequence[AnyProbe], *, token: str | None = None) -> Script:
    """The script that this host would run."""
    return compile_script(probes, host=target.name, token=token)
