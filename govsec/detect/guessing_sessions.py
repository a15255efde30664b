"""Password guessing inside SSH and RDP, by sessions that end before they begin (ATT&CK T1110.001).

Idea: what is typed is sealed, but who got in stays and moves data. The guesser's connections all end after the small
exchange that a refusal takes, again and again. That a flow is SSH or RDP is known from its first message, on any port.
A server of SSH refuses one log-in like the other, so the tries within a connection can be counted by the sizes of its
answers; who is answered otherwise afterwards got in, however short the visit.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import Field

from govsec.detect.api import Observation
from govsec.detect.judgement import Evidence, judge
from govsec.dissect.messages import FlowRef, RdpRequest, SshAnswers, SshBanner
from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.net.columns import FLOW
from govsec.net.community import community_ids
from govsec.records import Finding, Severity

#: The services, and the kinds of their findings.
KINDS = {"ssh": "net.guessing.ssh", "rdp": "net.guessing.rdp"}
_SESSIONS_KEPT = 256
_FLOWS_KEPT = 8
#: Answers after the refusals, from which on somebody got in: one success, one channel, and more.
_ADMITTED_MIN = 3


class GuessingSessionsSettings(Settings):
    """Sessions that end before they begin."""

    sessions_min: int = Field(
        default=8, ge=3, description="such sessions of one host at one server; jobs come by the minute"
    )
    tries_min: int = Field(
        default=25,
        ge=5,
        description="log-ins of SSH refused in connections of one host to one server that never got in; an agent "
        "offers up to six keys a connection, and a person comes back three times",
    )
    duration_max_s: float = Field(
        default=60, gt=0, description="of one session; servers close after a few wrong passwords"
    )
    received_max_bytes: int = Field(
        default=6000, ge=500, description="data of the server: key exchange and refusals, no screen and no shell"
    )
    short_ratio_min: float = Field(default=0.8, ge=0, le=1, description="share of sessions that end so")
    window_s: int = Field(default=180, ge=10, le=86_400, description="guessers try several a minute, to get anywhere")
    pairs_max: int = Field(default=16_384, ge=256, description="pairs of host and server that are watched")
    flows_max: int = Field(default=65_536, ge=1024, description="sessions that are open")


class GuessingSessions:
    """Guessing over SSH and RDP."""

    name = "guessing_sessions"

    def __init__(self, settings: GuessingSessionsSettings) -> None:
        self._settings = settings
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._pairs: Recent[tuple[str, str, str], _Sessions] = Recent(settings.pairs_max, _Sessions)
        self._forgotten_count = 0
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for message in observation.messages:
            if isinstance(message, (SshBanner, RdpRequest)) and message.flow.id:
                if message.flow.id not in self._open:
                    self._open[message.flow.id] = _Open(
                        "ssh" if isinstance(message, SshBanner) else "rdp", message.flow
                    )
                if len(self._open) > self._settings.flows_max:
                    self._open.popitem(last=False)
                    self._forgotten_count += 1
            elif isinstance(message, SshAnswers) and (opened := self._open.get(message.flow.id)) is not None:
                opened.refused_count, opened.later_count = message.refused_count, message.later_count
        closed = observation.flows.closed
        for position, number in enumerate(closed["id"].tolist()):
            if (known := self._open.pop(number, None)) is not None:
                yield from self._take(known, closed[position])

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        forgotten = self._forgotten_count + self._pairs.forgotten_count
        return {"sessions_open": len(self._open), "pairs": len(self._pairs), "forgotten": forgotten}

    def _take(self, known: _Open, row: np.void) -> Iterator[Finding]:
        flow = known.flow
        key = (flow.originator, flow.responder, known.service)
        sessions = self._pairs.at(key)
        settings = self._settings
        duration_s = (int(row["last_ns"]) - int(row["start_ns"])) / SECOND_NS
        is_short = (
            int(row["part"]) == 0
            and duration_s <= settings.duration_max_s
            and int(row["payload_responder"]) <= settings.received_max_bytes
            and known.later_count < _ADMITTED_MIN
        )
        since_ns = int(row["end_ns"]) - settings.window_s * SECOND_NS
        sessions.add(row, is_short=is_short, tries_count=known.tries_count if is_short else 0, since_ns=since_ns)
        short_count = sum(each for _, each, _ in sessions.ended)
        if not is_short or short_count < settings.short_ratio_min * len(sessions.ended):
            return
        tries_count = sum(each for _, _, each in sessions.ended)
        if short_count >= settings.sessions_min or tries_count >= settings.tries_min:
            yield self._finding(key, flow.responder_port, sessions, short_count, tries_count)

    def _finding(
        self, key: tuple[str, str, str], port: int, sessions: _Sessions, short_count: int, tries_count: int
    ) -> Finding:
        originator, responder, service = key
        settings = self._settings
        is_by_tries = tries_count >= settings.tries_min
        how = f", with at least {tries_count} log-ins refused (threshold {settings.tries_min})" if is_by_tries else ""
        return judge(
            kind=KINDS[service],
            detector=self.name,
            severity=Severity.MEDIUM,
            time_ns=sessions.ended[-1][0],
            subject=originator,
            summary=f"{originator} opened {short_count} {service.upper()} sessions to {responder} within "
            f"{settings.window_s} s that ended before they began (threshold {settings.sessions_min}){how}.",
            pattern=(originator, responder, service),
            attack=("T1110.001",),
            originators=(originator,),
            responders=(responder,),
            ports=(port,),
            measured={
                "sessions": Measure(short_count, settings.sessions_min, "sessions"),
                "short_ratio": Measure(short_count / len(sessions.ended), settings.short_ratio_min),
                "tries": Measure(tries_count, settings.tries_min, "log-ins"),
            },
            evidence=Evidence(
                sessions.first_ns,
                sessions.last_ns,
                community_ids(np.array(sessions.rows, dtype=FLOW)),
                len(sessions.ended),
            ),
            facts={"service": service, "how": "tries" if is_by_tries else "sessions"},
        )


class _Open:
    """A session that goes on: what it is, and how its server answered, where that is known."""

    __slots__ = ("flow", "later_count", "refused_count", "service")

    def __init__(self, service: str, flow: FlowRef) -> None:
        self.service = service
        self.flow = flow
        self.refused_count = self.later_count = 0

    @property
    def tries_count(self) -> int:
        """The first refusal mostly answers the question which ways to log in there are."""
        return max(0, self.refused_count - 1)


class _Sessions:
    """The latest sessions of a pair: when each ended, whether it was short, and the tries in it."""

    __slots__ = ("ended", "first_ns", "last_ns", "rows")

    def __init__(self) -> None:
        self.ended: deque[tuple[int, bool, int]] = deque(maxlen=_SESSIONS_KEPT)
        self.rows: deque[np.void] = deque(maxlen=_FLOWS_KEPT)
        self.first_ns = self.last_ns = 0

    def add(self, row: np.void, *, is_short: bool, tries_count: int, since_ns: int) -> None:
        if not self.ended:
            self.first_ns = int(row["start_ns"])
        self.last_ns = int(row["last_ns"])
        self.ended.append((int(row["end_ns"]), is_short, tries_count))
        self.rows.append(row.copy())  # a view would keep its whole batch
        while self.ended[0][0] < since_ns:
            self.ended.popleft()
