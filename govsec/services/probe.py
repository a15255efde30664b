"""The door of the room: one service is asked, and what it said is judged.

::

    prober = Prober(config, memory=ServiceMemory(), baseline=Baseline(), pages={}, clock=SystemClock())
    probed = prober.probe()          # what was seen, and findings

One idea: nothing is told that was seen once. A run that fails is repeated until so many of so many failed
(``confirm``); a figure must be out of the usual as often; and what the service's own bad moment was yesterday at this
hour of the week is usual. Everything else that is wrong (a certificate, a page) is as it is at once.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

from govsec.clock import Clock, to_ns
from govsec.findings.baseline import Baseline, hour_of
from govsec.records import Finding
from govsec.serviceentry import Family, PageConfig, ServiceConfig, SignalConfig
from govsec.services.asking import Asker
from govsec.services.certificates import ServerCertificates, look
from govsec.services.findings import Judge, no_way
from govsec.services.memory import ServiceMemory
from govsec.services.pagebaseline import AcceptedPage, follow
from govsec.services.pages import PageResult, accept_page, look_at_page
from govsec.services.signals import SignalResult, read_signal
from govsec.services.steps import Run, RunState, run_steps
from govsec.services.usual import Span, span_of
from govsec.services.values import secret_values
from govsec.services.words import Words, shipped_words
from govsec.web.addresses import Names, Resolve, system_resolve
from govsec.web.connection import tls_context

_SIGNAL_KINDS = {
    "traffic": "service.traffic",
    "errors": "service.errors",
    "saturation": "service.saturation",
    "latency": "service.slow",
}
#: A share of failed attempts that no service may have, whatever was usual before.
_ERRORS_MIN = 0.1
_ERRORS_UNKNOWN_MAX = 0.25


@dataclass(frozen=True, slots=True)
class Seen:
    """All that asking a service gave. ``attempts``: how many runs were made, by family."""

    runs: tuple[Run, ...] = ()
    attempts: Mapping[str, int] = field(default_factory=dict)
    certificates: tuple[ServerCertificates, ...] = ()
    signals: tuple[SignalResult, ...] = ()
    pages: tuple[PageResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Probed:
    """One probe of a service: what was seen, and what follows from it."""

    service: str
    seen: Seen
    findings: tuple[Finding, ...]


class Prober:
    """Asks one service, again and again. ``memory`` and ``baseline`` are added to; ``pages`` are what was accepted.

    Raises:
        ConfigurationError: the file of authorities cannot be used.
    """

    def __init__(
        self,
        config: ServiceConfig,
        *,
        memory: ServiceMemory,
        baseline: Baseline,
        pages: MutableMapping[str, AcceptedPage],
        clock: Clock,
        words: Words | None = None,
        resolve: Resolve = system_resolve,
    ) -> None:
        self.config = config
        self._memory = memory
        self._baseline = baseline
        self._pages = pages
        self._clock = clock
        self._words = words or shipped_words()
        self._resolve = resolve
        self._context: ssl.SSLContext = tls_context(config.ca_file)

    def probe(self) -> Probed:
        """Ask everything once (and again, where it failed), and judge it.

        Raises:
            ConfigurationError: a secret cannot be read. TryAgainError, FormatError: the baseline cannot be used.
        """
        self.begin()
        return self.judge(self.ask())

    def begin(self) -> None:
        """What the hour before came to is usual from now on. Uses the baseline, as :meth:`judge` does.

        Raises:
            TryAgainError, FormatError: the baseline cannot be used.
        """
        self._memory.roll(self._hour(), self._baseline, self.config.name)

    def ask(self) -> Seen:
        """Ask everything; nothing but the network and the memory is used, so this may run in a thread of its own.

        Raises:
            ConfigurationError: a secret cannot be read.
        """
        config, names = self.config, Names(self.config.addresses, self._resolve)
        runs: list[Run] = []
        attempts: dict[str, int] = {}
        for family in config.families if config.steps else ():
            run, attempts[family] = self._run(family, names)
            runs.append(run)
        askers = self._askers(names)
        signals = tuple(self._signals(askers))
        pages = tuple(
            look_at_page(page, askers, self._pages.get(self.page_key(page.name)), self._words, self._clock)
            for page in config.pages
        )
        return Seen(tuple(runs), attempts, look(config, names, runs, self._clock), signals, pages)

    def judge(self, seen: Seen) -> Probed:
        """What was seen, and what is to be told of it.

        Raises:
            TryAgainError, FormatError: the baseline cannot be used.
        """
        hour, judge = self._hour(), Judge(self.config, to_ns(self._clock.now()))
        findings = [*self._judge_runs(seen.runs, judge, hour), *self._judge_signals(seen.signals, judge, hour)]
        for server in seen.certificates:
            findings += judge.certificates(server)
        for page, result in zip(self.config.pages, seen.pages, strict=True):
            findings += judge.page(result, page.change_max)
            self._follow(page, result)
        return Probed(self.config.name, seen, tuple(findings))

    def _follow(self, page: PageConfig, result: PageResult) -> None:
        if result.accepted is not None and result.facts is not None and result.difference is not None:
            key = self.page_key(page.name)
            self._pages[key] = follow(result.accepted, result.facts, result.difference, page.change_max)

    def accept(self) -> Mapping[str, AcceptedPage]:
        """The service's pages as they are now are how they are to be; gives them by their keys.

        Raises:
            RequestError: a page cannot be taken; nothing of this service was accepted then.
        """
        askers = self._askers(Names(self.config.addresses, self._resolve))
        accepted = {
            self.page_key(page.name): accept_page(page, askers, self._words, self._clock) for page in self.config.pages
        }
        self._pages.update(accepted)
        return accepted

    def page_key(self, page: str) -> str:
        """Under which key a page of this service is accepted."""
        return f"{self.config.name} {page}"

    def _hour(self) -> int:
        return hour_of(to_ns(self._clock.now()))

    def _askers(self, names: Names) -> dict[Family, Asker]:
        return {
            family: Asker(self.config, family, names, self._context, self._clock) for family in self.config.families
        }

    def _run(self, family: Family, names: Names) -> tuple[Run, int]:
        """A run, repeated while it fails and is not sure to."""
        confirm = self.config.confirm
        for attempt in range(1, confirm.of + 1):
            run = run_steps(self.config, family, names, self._context, self._clock)
            if no_way(run):
                return run, attempt
            has_passed = run.state is RunState.PASSED
            outcomes = self._memory.outcome(family, has_passed=has_passed, of=confirm.of)
            self._memory.sample(family, "errors", 0.0 if has_passed else 1.0, of=confirm.of)
            if has_passed or outcomes.count(False) >= confirm.failures or attempt == confirm.of:
                break
            self._clock.sleep(confirm.pause_s)
        for step in run.steps:
            if step.failure is None:
                self._memory.sample(family, _latency(step.name), step.seconds.get("whole", 0.0), of=confirm.of)
        return run, attempt

    def _judge_runs(self, runs: Sequence[Run], judge: Judge, hour: int) -> Iterator[Finding]:
        config = self.config
        failed = [run for run in runs if run.state is RunState.FAILED]
        failed += [run for run in runs if run.state is RunState.NOT_OFFERED and run.family in config.families_required]
        if failed:
            counts = [self._memory.outcomes.get(run.family, []).count(False) for run in failed]
            is_partial = any(run.state is RunState.PASSED for run in runs)
            yield from judge.down(failed, max(counts), config.confirm.of, is_partial=is_partial)
        for run in runs:
            if run.state is RunState.NO_ROUTE and run.family in config.families_required:
                yield judge.unmeasured("family", run.family, run.reason)
        if runs and all(no_way(run) for run in runs) and not failed:
            yield judge.unmeasured("service", self.config.name, "; ".join(run.reason for run in runs))
        for run in runs:
            yield from self._judge_latency(run, judge, hour)
            if run.state is RunState.PASSED:
                yield from self._judge_errors(run, judge, hour)

    def _judge_latency(self, run: Run, judge: Judge, hour: int) -> Iterator[Finding]:
        for step, wanted in zip(run.steps, self.config.steps, strict=False):
            recent = self._memory.recent.get(f"{run.family} {_latency(step.name)}", [])
            if step.failure is not None or not recent:
                continue
            span = self._span(run.family, _latency(step.name), hour, floor=self.config.usual.latency_floor_s)
            span = span.within(None, wanted.latency_max_s)
            limit = span.broken(recent[-1])
            if limit is not None and sum(value > limit for value in recent) >= self.config.confirm.failures:
                said = judge.figure(
                    "service.slow", step.name, recent[-1], limit, "s", span.middle, how="step", over=run.family
                )
                yield said

    def _judge_errors(self, run: Run, judge: Judge, hour: int) -> Iterator[Finding]:
        """A service that answers now and failed too often this hour: it flaps."""
        tried = self._memory.of_hour(run.family, "errors")
        if len(tried) < max(self.config.usual.samples_min, self.config.confirm.of):
            return
        span = self._span(run.family, "errors", hour, floor=_ERRORS_MIN)
        limit = _ERRORS_UNKNOWN_MAX if span.high is None else span.high
        share = sum(tried) / len(tried)
        if share > limit and sum(tried) >= self.config.confirm.failures:
            yield judge.figure("service.errors", "failed", share, limit, "", span.middle, how="share", over=run.family)

    def _signals(self, askers: Mapping[Family, Asker]) -> Iterator[SignalResult]:
        if not self.config.signals:
            return
        secrets = secret_values(self.config.secrets, self._clock)
        for signal in self.config.signals:
            # The figure is the service's, whichever way it was fetched.
            for asker in askers.values():
                result = read_signal(signal, asker, secrets, self._memory, self._clock)
                if not result.reason:
                    break
            if result.value is not None:
                self._memory.sample("signal", signal.name, result.value, of=self.config.confirm.of)
            yield result

    def _judge_signals(self, results: Sequence[SignalResult], judge: Judge, hour: int) -> Iterator[Finding]:
        for signal, result in zip(self.config.signals, results, strict=True):
            if result.value is None:
                if result.reason:
                    yield judge.unmeasured("signal", signal.name, result.reason)
                continue
            yield from self._judge_signal(signal, result.value, judge, hour)

    def _judge_signal(self, signal: SignalConfig, value: float, judge: Judge, hour: int) -> Iterator[Finding]:
        span = self._span("signal", signal.name, hour, is_two_sided=signal.kind == "traffic")
        span = span.within(signal.value_min, signal.value_max)
        recent = self._memory.recent.get(f"signal {signal.name}", [])
        limit = span.broken(value)
        if limit is None:
            return
        how = "high" if value > limit else "low"
        beyond = sum(one > limit if how == "high" else one < limit for one in recent)
        if beyond >= self.config.confirm.failures:
            yield judge.figure(_SIGNAL_KINDS[signal.kind], signal.name, value, limit, "", span.middle, how=how)

    def _span(self, subject: str, metric: str, hour: int, *, floor: float = 0.0, is_two_sided: bool = False) -> Span:
        usual = self.config.usual
        known = self._baseline.usual(
            f"{self.config.name} {subject}", metric, hour, weeks_min=usual.weeks_min, days_min=usual.days_min
        )
        return span_of(known, usual, floor=floor, is_two_sided=is_two_sided)


def _latency(step: str) -> str:
    return f"latency {step}"
