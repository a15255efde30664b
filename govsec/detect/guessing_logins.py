"""Password guessing where the answer can be read: FTP, SMB, LDAP, mail and HTTP tell failed log-ins (ATT&CK T1110).

Idea: people err two or three times and then get in, or ask somebody. Who fails eight times within five minutes and
hardly ever succeeds is guessing; with one name it is guessing (T1110.001), with many names spraying (T1110.003). A
program with an old password also fails for ever, but with one name and slowly: it stays below, or is dismissed once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.judgement import Evidence, judge
from govsec.dissect.messages import HttpResponse, LoginOutcome, Message
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.records import Finding, Severity

#: The services whose outcomes are read, and the kinds of their findings.
KINDS = {
    "ftp": "net.guessing.ftp",
    "smb": "net.guessing.smb",
    "http": "net.guessing.http",
    "ldap": "net.guessing.ldap",
    "smtp": "net.guessing.mail",
    "pop3": "net.guessing.mail",
    "imap": "net.guessing.mail",
}
_REFUSED = (401, 403)
_GUESSING, _SPRAYING = "T1110.001", "T1110.003"
_TRIES_KEPT = 128


class GuessingLoginsSettings(Settings):
    """Log-ins that fail again and again."""

    failures_min: int = Field(
        default=8, ge=3, description="failed log-ins of one host at one server; people stop at three"
    )
    failures_http_min: int = Field(
        default=15, ge=3, description="the same over HTTP, where a page asks again for each of its parts"
    )
    failed_ratio_min: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="share of log-ins that fail; a shared address of many people mostly succeeds",
    )
    window_s: int = Field(default=300, ge=10, le=86_400, description="slow guessers stay below it; so do old passwords")
    users_min: int = Field(default=5, ge=2, description="different names that make it spraying")
    pairs_max: int = Field(default=16_384, ge=256, description="pairs of host and server that are watched")


class GuessingLogins:
    """Guessing that the servers' own answers tell."""

    name = "guessing_logins"

    def __init__(self, settings: GuessingLoginsSettings) -> None:
        self._settings = settings
        self._pairs: Recent[tuple[str, str, str], deque[_Try]] = Recent(
            settings.pairs_max, lambda: deque(maxlen=_TRIES_KEPT)
        )
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for message in observation.messages:
            if (outcome := _outcome(message)) is not None:
                yield from self._take(*outcome)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"pairs": len(self._pairs), "pairs_forgotten": self._pairs.forgotten_count}

    def _take(self, key: tuple[str, str, str], port: int, one: _Try) -> Iterator[Finding]:
        tries = self._pairs.at(key)
        tries.append(one)
        settings = self._settings
        while tries[0].time_ns < one.time_ns - settings.window_s * SECOND_NS:
            tries.popleft()
        failed_count = sum(not each.is_accepted for each in tries)
        threshold = settings.failures_http_min if key[2] == "http" else settings.failures_min
        if one.is_accepted or failed_count < threshold or failed_count < settings.failed_ratio_min * len(tries):
            return
        yield self._finding(key, port, tries, failed_count, threshold)

    def _finding(
        self, key: tuple[str, str, str], port: int, tries: deque[_Try], failed_count: int, threshold: int
    ) -> Finding:
        originator, responder, service = key
        settings = self._settings
        users = list(dict.fromkeys(each.user for each in tries if each.user))
        is_spraying = len(users) >= settings.users_min
        got_in = any(each.is_accepted for each in tries)
        return judge(
            kind=KINDS[service],
            detector=self.name,
            severity=Severity.HIGH if got_in else Severity.MEDIUM,
            time_ns=tries[-1].time_ns,
            subject=originator,
            summary=f"{originator} failed to log in to {responder} over {service} {failed_count} times within "
            f"{settings.window_s} s (threshold {threshold}), with {max(1, len(users))} names"
            f"{'; it also got in' if got_in else ''}.",
            pattern=(originator, responder, service, "in") if got_in else (originator, responder, service),
            attack=(_SPRAYING if is_spraying else _GUESSING,),
            originators=(originator,),
            responders=(responder,),
            ports=(port,),
            measured={
                "failures": Measure(failed_count, threshold, "log-ins"),
                "failed_ratio": Measure(failed_count / len(tries), settings.failed_ratio_min),
                "users": Measure(len(users), settings.users_min, "names"),
            },
            evidence=Evidence(tries[0].time_ns, tries[-1].time_ns),
            facts={"service": service, "users": [*users[:8]], "got_in": got_in},
        )


class _Try:
    """One log-in and how it ended."""

    __slots__ = ("is_accepted", "time_ns", "user")

    def __init__(self, time_ns: int, user: str, *, is_accepted: bool) -> None:
        self.time_ns = time_ns
        self.user = user
        self.is_accepted = is_accepted


def _outcome(message: Message) -> tuple[tuple[str, str, str], int, _Try] | None:
    """Who tried where over what, at which port, and how it ended; None when this is no outcome of a log-in."""
    if isinstance(message, LoginOutcome) and message.service in KINDS:
        who, where = message.flow.originator, message.flow.responder
        one = _Try(message.time_ns, message.user or "", is_accepted=message.is_accepted)
        return (who, where, message.service), message.flow.responder_port, one
    if isinstance(message, HttpResponse) and message.had_credentials and message.method == "POST":
        # A form has no protocol for failing: refusals count, and whatever else comes is taken for success.
        one = _Try(message.time_ns, "", is_accepted=message.status not in _REFUSED)
        return (message.flow.originator, message.flow.responder, "http"), message.flow.responder_port, one
    return None
