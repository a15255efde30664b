"""Log-ins that do not fit the habits of their account (ATT&CK T1078): from a new place, or at an hour it never has.

Idea: who steals a password comes from elsewhere, and when nobody is there. People come from a few networks and at
their hours; so for each account the networks it came from are remembered (IPv4 by /24, IPv6 by /64, since providers
change the rest), and the hours of the day. Until an account is known for some days, nothing is said: the first days
are habits. What was told once is known afterwards.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.clock import from_ns
from govsec.findings.api import Settings
from govsec.findings.baseline import Baseline, hour_of
from govsec.findings.judgement import Measure
from govsec.guard.api import Observation
from govsec.guard.forms import tell, text
from govsec.host.events import LoginOutcome, LoginRecord, LoginTool
from govsec.records import Finding, Severity

SOURCE, HOUR = "host.login.new_source", "host.login.odd_hour"
_ANY = "*"
_LOGINS = "logins"
_PREFIXES = {4: 24, 6: 64}
#: sudo and su follow a log-in; what they do at night is told by the log-in before.
_TOOLS = (LoginTool.SSHD, LoginTool.LOGIN, LoginTool.WEB)


class LoginHabitsSettings(Settings):
    """Places and hours of an account."""

    days_min: int = Field(default=5, ge=2, description="days on which an account logged in before its places are known")
    hours_days_min: int = Field(default=10, ge=3, description="the same, before its hours are known: two working weeks")
    hours_around: int = Field(default=1, ge=0, le=6, description="hours before and after that count as the same")


class LoginHabits:
    """New sources and odd hours. ``baseline`` keeps what is known of accounts, also between runs."""

    name = "login_habits"

    def __init__(self, settings: LoginHabitsSettings, baseline: Baseline) -> None:
        self._settings = settings
        self._baseline = baseline
        self._warming_count = 0
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if (
                isinstance(record, LoginRecord)
                and record.outcome is LoginOutcome.SUCCESS
                and record.tool in _TOOLS
                and record.user
            ):
                yield from self._take(record)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"not_judged_yet": self._warming_count}

    def _take(self, record: LoginRecord) -> Iterator[Finding]:
        subject, hour = f"login:{record.user}", hour_of(record.time_ns)
        days = self._baseline.days_known(subject, _ANY)
        network = network_of(record.source)
        if days < self._settings.days_min:
            self._warming_count += 1
        elif network is not None and not self._baseline.days_known(subject, network):
            yield self._new_source(record, network, days)
        if days >= self._settings.hours_days_min and not self._is_usual(subject, hour):
            yield self._odd_hour(record, days)
        self._baseline.meet(hour, {(subject, _ANY): None, **({(subject, network): None} if network else {})})
        self._baseline.add(hour, {(subject, _LOGINS): 1.0})

    def _is_usual(self, subject: str, hour: int) -> bool:
        around = range(-self._settings.hours_around, self._settings.hours_around + 1)
        return any(self._baseline.usual(subject, _LOGINS, hour + step, weeks_min=1, days_min=1) for step in around)

    def _new_source(self, record: LoginRecord, network: str, days: int) -> Finding:
        return tell(
            kind=SOURCE,
            detector=self.name,
            severity=Severity.HIGH if record.user == "root" else Severity.MEDIUM,
            time_ns=record.time_ns,
            subject=record.user,
            summary=f"{text(record.user)} logged in by {record.tool.value} from {text(record.source or '')}; in "
            f"{days} days of log-ins it never came from {network} (known after {self._settings.days_min} days).",
            pattern=(record.user, network),
            attack=("T1078",),
            measured={"days_known": Measure(days, self._settings.days_min, "logins")},
            lines=(record.line,),
            facts={
                "account": record.user,
                "sources": [record.source or ""],
                "tool": record.tool.value,
                "place": network,
            },
        )

    def _odd_hour(self, record: LoginRecord, days: int) -> Finding:
        moment = from_ns(record.time_ns)
        return tell(
            kind=HOUR,
            detector=self.name,
            severity=Severity.MEDIUM,
            time_ns=record.time_ns,
            subject=record.user,
            summary=f"{text(record.user)} logged in by {record.tool.value} at {moment:%H:%M} UTC; in {days} days of "
            f"log-ins it never did within {self._settings.hours_around} h of this hour.",
            pattern=(record.user, f"{moment:%H}"),
            attack=("T1078",),
            measured={"days_known": Measure(days, self._settings.hours_days_min, "logins")},
            lines=(record.line,),
            facts={
                "account": record.user,
                "sources": [record.source or "local"],
                "tool": record.tool.value,
                "hour": f"{moment:%H:%M}",
            },
        )


def network_of(source: str | None) -> str | None:
    """The network that an address lies in; a name as it is; ``None`` without a source."""
    if source is None:
        return None
    try:
        address = ipaddress.ip_address(source.split("%", 1)[0])
    except ValueError:
        return text(source)
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return str(ipaddress.ip_network((address, _PREFIXES[address.version]), strict=False))
