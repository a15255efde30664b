"""Log-ins that fail again and again, whatever the tool (ATT&CK T1110), and one that then succeeds (T1078).

Idea: people err two or three times and then get in, or ask somebody. Who fails eight times within five minutes and
hardly ever succeeds is guessing: at one name (T1110.001) or many (T1110.003). Failures of all tools add up, for an
attacker tries SSH, the web log-in and ``su`` alike. Guessing that comes from many sources at one account adds up by
account. A success of somebody who was guessing is an intrusion until somebody knows better.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.guard.api import Observation
from govsec.guard.forms import tell, text
from govsec.host.events import LoginOutcome, LoginRecord
from govsec.records import Finding, Severity

GUESSING, SUCCESS = "host.login.guessing", "host.login.success_after_guessing"
_TRIES_KEPT = 256
_LINES_SHOWN = 8


class LoginGuessingSettings(Settings):
    """Failed log-ins, and what came of them."""

    failures_min: int = Field(default=8, ge=3, description="failures of one source; people stop at three")
    failed_ratio_min: float = Field(
        default=0.8, ge=0, le=1, description="share that fails; an address that many people share mostly succeeds"
    )
    window_s: int = Field(default=300, ge=10, le=86_400, description="programs with an old password are slower")
    account_failures_min: int = Field(
        default=20, ge=5, description="failures at one account from several sources; more than forgetting explains"
    )
    account_sources_min: int = Field(default=4, ge=2, description="sources that make it one attack on one account")
    users_min: int = Field(default=4, ge=2, description="different names that make it spraying")
    success_failures_min: int = Field(
        default=6, ge=3, description="failures before a success that make it one of guessing; people need two or three"
    )
    success_window_s: int = Field(
        default=1800, ge=60, le=86_400, description="for as long a source that failed is remembered"
    )
    sources_max: int = Field(default=16_384, ge=256, description="sources, and accounts, that are watched")


class _Try:
    """One log-in and how it ended."""

    __slots__ = ("count", "is_failure", "line", "source", "time_ns", "tool", "user")

    def __init__(self, record: LoginRecord) -> None:
        self.time_ns = record.time_ns
        self.count = max(1, record.count)
        self.is_failure = record.outcome is LoginOutcome.FAILURE
        self.user = record.user
        self.source = record.source or ""
        self.tool = record.tool.value
        self.line = record.line


class LoginGuessing:
    """Guessing by source, by account, and its success."""

    name = "login_guessing"

    def __init__(self, settings: LoginGuessingSettings) -> None:
        self._settings = settings
        self._sources: Recent[str, deque[_Try]] = Recent(settings.sources_max, lambda: deque(maxlen=_TRIES_KEPT))
        self._accounts: Recent[str, deque[_Try]] = Recent(settings.sources_max, lambda: deque(maxlen=_TRIES_KEPT))
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if not isinstance(record, LoginRecord):
                continue
            if record.outcome is LoginOutcome.FAILURE:
                yield from self._failed(record)
            elif record.outcome is LoginOutcome.SUCCESS:
                yield from self._got_in(record)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {
            "sources": len(self._sources),
            "accounts": len(self._accounts),
            "forgotten": self._sources.forgotten_count + self._accounts.forgotten_count,
        }

    def _failed(self, record: LoginRecord) -> Iterator[Finding]:
        settings = self._settings
        one = _Try(record)
        tries = self._kept(self._sources.at(source_of(record)), one)
        lately = _since(tries, one.time_ns - settings.window_s * SECOND_NS)
        failures = sum(each.count for each in lately if each.is_failure)
        total = sum(each.count for each in lately)
        if failures >= settings.failures_min and failures >= settings.failed_ratio_min * total:
            yield self._guessing(source_of(record), lately, failures, settings.failures_min, is_account=False)
        if record.source is None:
            return
        at_account = self._kept(self._accounts.at(record.user), one)
        lately = _since(at_account, one.time_ns - settings.window_s * SECOND_NS)
        failures = sum(each.count for each in lately if each.is_failure)
        sources = {each.source for each in lately if each.is_failure}
        if failures >= settings.account_failures_min and len(sources) >= settings.account_sources_min:
            yield self._guessing(record.user, lately, failures, settings.account_failures_min, is_account=True)

    def _got_in(self, record: LoginRecord) -> Iterator[Finding]:
        settings = self._settings
        one = _Try(record)
        tries = self._kept(self._sources.at(source_of(record)), one)
        lately = _since(tries, one.time_ns - settings.success_window_s * SECOND_NS)
        before = [each for each in lately[:-1] if each.is_failure]
        failures = sum(each.count for each in before)
        successes = sum(each.count for each in lately if not each.is_failure)
        if failures >= settings.success_failures_min and failures >= settings.failed_ratio_min * (failures + successes):
            yield self._success(record, before, failures)

    def _kept(self, tries: deque[_Try], one: _Try) -> deque[_Try]:
        tries.append(one)
        while tries[0].time_ns < one.time_ns - self._settings.success_window_s * SECOND_NS:
            tries.popleft()
        return tries

    def _guessing(self, subject: str, tries: list[_Try], failures: int, threshold: int, *, is_account: bool) -> Finding:
        failed = [each for each in tries if each.is_failure]
        users = list(dict.fromkeys(each.user for each in failed))
        sources = list(dict.fromkeys(each.source for each in failed if each.source))
        tools = sorted({each.tool for each in failed})
        is_spraying = len(users) >= self._settings.users_min
        at = f"the account {text(subject)} from {len(sources)} sources" if is_account else f"{len(users)} accounts"
        by = "" if is_account else f"{text(subject)} "
        return tell(
            kind=GUESSING,
            detector=self.name,
            severity=Severity.HIGH if is_account else Severity.MEDIUM,
            time_ns=tries[-1].time_ns,
            subject=subject,
            summary=f"{by}failed to log in {failures} times within {self._settings.window_s} s (threshold {threshold}) "
            f"at {at}, over {', '.join(tools)}.",
            pattern=("account" if is_account else "source", subject),
            attack=("T1110.003",) if is_spraying else ("T1110.001",),
            measured={
                "failures": Measure(failures, threshold, "log-ins"),
                "accounts": Measure(len(users), self._settings.users_min, "names"),
                "sources": Measure(len(sources), self._settings.account_sources_min, "addresses"),
            },
            lines=(each.line for each in failed[-_LINES_SHOWN:]),
            facts={
                "how": "account" if is_account else "source",
                "accounts": [*users[:16]],
                "sources": [*sources[:16]],
                "tools": [*tools],
                "window_s": self._settings.window_s,
            },
        )

    def _success(self, record: LoginRecord, before: list[_Try], failures: int) -> Finding:
        source = source_of(record)
        tools = sorted({each.tool for each in before})
        return tell(
            kind=SUCCESS,
            detector=self.name,
            severity=Severity.CRITICAL,
            time_ns=record.time_ns,
            subject=source,
            summary=f"{text(source)} logged in as {text(record.user)} by {record.tool.value} after {failures} failures "
            f"over {', '.join(tools)} (threshold {self._settings.success_failures_min}).",
            pattern=(source, record.user),
            attack=("T1110.001", "T1078"),
            measured={"failures": Measure(failures, self._settings.success_failures_min, "log-ins")},
            lines=(*(each.line for each in before[-_LINES_SHOWN:]), record.line),
            facts={
                "account": record.user,
                "sources": [source],
                "tool": record.tool.value,
                "tools": [*tools],
                "method": record.method or "unknown",
            },
        )


def source_of(record: LoginRecord) -> str:
    """Who it came from: an address, or the account of this machine that asked."""
    if record.source is not None:
        return record.source
    return f"local {record.by_user or record.terminal or record.user}"


def _since(tries: deque[_Try], begin_ns: int) -> list[_Try]:
    return [each for each in tries if each.time_ns >= begin_ns]
