"""The services of a site, asked: once from the command line, or one after the other for as long as an agent runs.

::

    with SiteServices(config, SystemClock()) as services:
        report = services.probe()                   # all, at once, a few at a time
        findings = services.step(wait_s=1.0)        # what is due; returns within about that time

What they remember lies below ``STATE_DIR/monitor``: outcomes and figures of the hour, what is usual by hour of the
week, and the pages as they were accepted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Self

from govsec.assemble.monitorlearned import dismissals_of, monitor_folder, open_baseline
from govsec.clock import Clock, to_ns
from govsec.config import Config
from govsec.errors import ConfigurationError, UsageError
from govsec.findings.judgement import pattern_of
from govsec.findings.quiet import Quiet
from govsec.findings.tables import Recent
from govsec.records import Finding
from govsec.runtime.lanes import Lane, for_each
from govsec.serviceentry import ServiceConfig
from govsec.services.findings import Judge
from govsec.services.lasting import follow
from govsec.services.memory import MemoryFile, ServiceMemory
from govsec.services.pagebaseline import AcceptedPage, PageFile
from govsec.services.probe import Probed, Prober, Seen
from govsec.services.steps import Run
from govsec.web.addresses import Resolve, system_resolve

#: A probe waits, most of the time.
_THREADS = 4
#: What is still so is told again after this long.
_REPEAT_S = 3600.0
_PATTERNS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class ServiceReport:
    """What asking the services gave, in the configuration's order. ``suppressed``: by entry, what was held back."""

    services: tuple[Probed, ...]
    findings: tuple[Finding, ...]
    suppressed: dict[str, int]


class SiteServices:
    """The services of a configuration; ``names`` chooses some of them.

    Raises:
        ConfigurationError: there are none. UsageError: one of ``names`` is not among them.
        FormatError, TryAgainError: what is remembered cannot be read.
    """

    def __init__(
        self, config: Config, clock: Clock, *, names: Sequence[str] = (), resolve: Resolve = system_resolve
    ) -> None:
        if not config.services:
            raise ConfigurationError("services: the configuration names none")
        known = {service.name for service in config.services}
        if unknown := set(names) - known:
            raise UsageError(f"there is no service {min(unknown)}; the configuration names {', '.join(sorted(known))}")
        self._config = config
        self._clock = clock
        self._resolve = resolve
        self._services = [service for service in config.services if not names or service.name in names]
        folder = monitor_folder(config)
        self._memory_file, self._page_file = MemoryFile(folder / "services.json"), PageFile(folder / "pages.json")
        self._baseline = open_baseline(folder / "services.sqlite")
        self._memories = self._memory_file.read()
        self._pages = self._page_file.read()
        self._lane = Lane("services")
        self._running: Future[tuple[Prober, Seen | ConfigurationError]] | None = None
        self._due = {service.name: clock.monotonic() for service in self._services}
        self._told: Recent[str, list[float]] = Recent(_PATTERNS_MAX, list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing more is asked; a probe that runs is left to its end."""
        self._baseline.close()

    def probe(self) -> ServiceReport:
        """Ask all of them now.

        A service whose secret or file of authorities cannot be used is told as one that could not be looked at.

        Raises:
            FormatError, TryAgainError: the baseline or a file cannot be used.
        """
        probers = [self._prober(service) for service in self._services]
        for prober in probers:
            prober.begin()
        # Only asking takes time, and only this thread may use the baseline.
        asked = for_each(probers, lambda: self._ask, threads=_THREADS)
        done = {prober.config.name: self._judged(prober, seen) for prober, seen in asked}
        self._keep()
        quiet = Quiet(dismissals_of(self._config).read())
        services = tuple(done[service.name] for service in self._services)
        findings = tuple(finding for one in services for finding in one.findings if not quiet.covers(finding))
        return ServiceReport(services, findings, dict(quiet.counters()))

    def accept(self) -> tuple[AcceptedPage, ...]:
        """The pages of the services are, as they are now, what they are to be.

        Raises:
            ConfigurationError: none of them has a page. RequestError: a page cannot be taken; none is accepted then.
        """
        with_pages = [service for service in self._services if service.pages]
        if not with_pages:
            raise ConfigurationError("services: none of these has pages to accept")
        accepted: list[AcceptedPage] = []
        for service in with_pages:
            accepted += self._prober(service).accept().values()
        self._page_file.write(self._pages)
        return tuple(accepted)

    def step(self, wait_s: float) -> tuple[Finding, ...]:
        """Findings of the probe that ended meanwhile; what is still so is told once an hour, and its end at once.

        At most one service is asked at a time, in a thread; this returns after about ``wait_s``, whatever it does.

        Raises:
            As :meth:`probe`.
        """
        if self._running is None:
            service = self._next()
            if service is None:
                self._clock.sleep(wait_s)
                return ()
            # Before anything can go wrong: what cannot be asked is not tried again at once, for ever.
            self._due[service.name] = self._clock.monotonic() + service.interval_s
            prober = self._prober(service)
            prober.begin()
            self._running = self._lane.start(partial(self._ask, prober))
        future = self._running
        wait([future], wait_s)
        if not future.done():
            return ()
        self._running = None
        prober, seen = future.result()
        probed = self._judged(prober, seen)
        self._keep()
        quiet = Quiet(dismissals_of(self._config).read())
        told = [finding for finding in probed.findings if not quiet.covers(finding)]
        # After what is known was kept: an end that is told is forgotten with the next probe, when it is in the spool.
        judge = Judge(prober.config, to_ns(self._clock.now()))
        findings, is_turn = follow(self._memories[prober.config.name], probed.seen, told, judge)
        # What begins or ends is told whenever it does: hours are counted from it.
        return tuple(finding for finding in findings if self._is_new(finding) or is_turn)

    def _keep(self) -> None:
        self._memory_file.write(self._memories)
        if self._pages:
            self._page_file.write(self._pages)

    def _next(self) -> ServiceConfig | None:
        """The service that has waited longest, of those that are due."""
        now = self._clock.monotonic()
        due = [service for service in self._services if self._due[service.name] <= now]
        return min(due, key=lambda service: self._due[service.name], default=None)

    def _is_new(self, finding: Finding) -> bool:
        told, now = self._told.at(pattern_of(finding)), self._clock.monotonic()
        if told and now - told[0] < _REPEAT_S:
            return False
        told[:] = [now]
        return True

    def _ask(self, prober: Prober) -> tuple[Prober, Seen | ConfigurationError]:
        try:
            return prober, prober.ask()
        except ConfigurationError as error:  # a secret that is gone must not blind the site to its other services
            return prober, error

    def _judged(self, prober: Prober, seen: Seen | ConfigurationError) -> Probed:
        if isinstance(seen, Seen):
            return prober.judge(seen)
        judge = Judge(prober.config, to_ns(self._clock.now()))
        return Probed(prober.config.name, Seen(), (judge.unmeasured("service", prober.config.name, str(seen)),))

    def _prober(self, service: ServiceConfig) -> Prober:
        return Prober(
            service,
            memory=self._memories.setdefault(service.name, ServiceMemory()),
            baseline=self._baseline,
            pages=self._pages,
            clock=self._clock,
            resolve=self._resolve,
        )


def probed_record(probed: Probed) -> dict[str, object]:
    """What one probe saw, for JSON: stable names, no bodies, no secrets."""
    seen = probed.seen
    return {
        "name": probed.service,
        "runs": [
            {
                "family": run.family,
                "state": run.state.value,
                "attempts": seen.attempts.get(run.family, 0),
                "reason": run.reason,
                "steps": list(_step_records(run)),
            }
            for run in seen.runs
        ],
        "certificates": [
            {
                "server": f"{server.host} {server.port}",
                "families": server.families,
                "protocol": server.protocol,
                "ends": server.ends,
                "faults": [f"{fault.what}: {fault.said}" for fault in server.faults],
                "reason": server.reason,
            }
            for server in seen.certificates
        ],
        "signals": [
            {"name": signal.name, "kind": signal.kind, "value": signal.value, "reason": signal.reason}
            for signal in seen.signals
        ],
        "pages": [
            {
                "name": page.name,
                "url": page.url,
                "is_taken": page.facts is not None,
                "accepted": page.accepted.accepted if page.accepted else None,
                "reason": page.reason,
            }
            for page in seen.pages
        ],
    }


def _step_records(run: Run) -> Iterator[dict[str, object]]:
    for step in run.steps:
        failure = step.failure
        yield {
            "name": step.name,
            "address": step.address,
            "status": step.status,
            "size_bytes": step.size_bytes,
            "redirects": step.redirects,
            "tls": step.tls_version,
            "seconds": {name: round(seconds, 4) for name, seconds in step.seconds.items()},
            "failure": None
            if failure is None
            else {"what": failure.what, "expected": failure.expected, "seen": failure.seen},
        }
