"""Log-ins from log files: who came, who was refused, by what; system logs and, by a pattern, logs of web servers.

One idea: a file is lines, a line is a beginning (``logtime``) and a message (``loginlines``), and each of the three
knows nothing of the others. What a web server calls a log-in is told by the operator: the requests that are attempts,
and the statuses that mean refused.

Rights: to read the logs (group ``adm`` on Debian, root on others), also those that replace them later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Protocol

from govsec.clock import Clock, to_ns
from govsec.host.api import SourceUnavailableError
from govsec.host.events import LogCut, LoginOutcome, LoginRecord, LoginTool, Record, Stage, WatchNote
from govsec.host.logfollow import LogFollower
from govsec.host.loginlines import TOOLS, USER_MAX, Login, LoginParser
from govsec.host.logplaces import LogPlaces
from govsec.host.logtime import HeadReader

NAME = "log files"
#: Where systems of both families write who comes and goes.
AUTH_LOGS = (Path("/var/log/auth.log"), Path("/var/log/secure"))
EVIDENCE_MAX = 1024
_DAY_NS = 86_400 * 1_000_000_000
#: The combined format of Apache and nginx; in the user field a blank is possible, in the request an escaped quote.
_COMBINED = (
    r"(?P<source>\S{1,255}) \S{1,255} (?P<user>.{1,256}?) \[(?P<time>[^\]]{1,40})\] "
    r'"(?P<method>[A-Z]{1,16}) (?P<path>\S{1,4096})[^"]{0,64}" (?P<status>\d{3})(?: |\Z)'
)
#: Most lines are of other programs; asking this first spares their times.
_OF_INTEREST = re.compile(f" (?:{'|'.join(TOOLS)})(?:\\[[0-9]{{1,10}}\\])?: ?|last message repeated")
_WEB_TIME = "%d/%b/%Y:%H:%M:%S %z"


@dataclass(frozen=True)
class WebLog:
    """A log of a web server, and what in it is a log-in.

    ``pattern`` names groups: ``source``, ``status``, and where there are ``user``, ``time``, ``method``, ``path``.
    """

    path: Path
    login_paths: tuple[str, ...] = ("/login",)
    methods: tuple[str, ...] = ("POST",)
    failure_statuses: tuple[int, ...] = (401, 403)
    success_statuses: tuple[int, ...] = (200, 302, 303)
    pattern: str = _COMBINED
    time_format: str = _WEB_TIME


@dataclass(frozen=True)
class LoginOptions:
    """Which logs are read. ``zone`` is that of traditional times, this machine's when ``None``."""

    auth_logs: tuple[Path, ...] = AUTH_LOGS
    web_logs: tuple[WebLog, ...] = ()
    zone: tzinfo | None = None
    #: Also what the logs hold already.
    is_from_start: bool = False
    #: How far an earlier run came; its owner saves it once what was read has been told.
    places: LogPlaces | None = None


class _Reader(Protocol):
    def read(self, line: str, now: datetime) -> LoginRecord | None: ...


class AuthReader:
    """Records of one system log."""

    def __init__(self, log: str, zone: tzinfo | None = None) -> None:
        self._log = log
        self._heads = HeadReader(zone)
        self._parser = LoginParser()
        self._last: LoginRecord | None = None

    def read(self, line: str, now: datetime) -> LoginRecord | None:
        """What the line tells; ``None`` when nothing about log-ins."""
        last, self._last = self._last, None
        if _OF_INTEREST.search(line) is None:
            return None
        count = self._heads.repeats(line)
        if count:
            return record_of(_repeated(last, count), last.time_ns, last.pid, self._log, line) if last else None
        head = self._heads.read(line, now)
        if head is None or head.program not in TOOLS:
            return None
        login = self._parser.parse(head.program, head.pid, head.message)
        if login is None:
            return None
        # A line of tomorrow lies, and a moment that is far enough away cannot be counted with.
        time_ns = head.time_ns if head.time_ns - to_ns(now) < _DAY_NS else to_ns(now)
        self._last = record_of(login, time_ns, head.pid, self._log, line, head.times)
        return self._last


class WebReader:
    """Records of one log of a web server."""

    def __init__(self, options: WebLog) -> None:
        """Raises ``SourceUnavailableError`` when the pattern is none, or lacks ``source`` or ``status``."""
        self._options = options
        try:
            self._pattern = re.compile(options.pattern, re.ASCII)
        except re.error as error:
            raise SourceUnavailableError(f"{options.path}: pattern of the web log: {error}") from error
        self._groups = self._pattern.groupindex.keys()
        if missing := {"source", "status"} - self._groups:
            raise SourceUnavailableError(
                f"{options.path}: pattern of the web log names no {' and no '.join(sorted(missing))}"
            )

    def read(self, line: str, now: datetime) -> LoginRecord | None:
        """What the line tells; ``None`` when it is no attempt at a log-in."""
        found = self._pattern.match(line)
        if found is None or not found["status"].isdecimal():
            return None
        options, status = self._options, int(found["status"])
        path = self._group(found, "path")
        if path is not None and path.split("?", 1)[0] not in options.login_paths:
            return None
        method = self._group(found, "method")
        if method is not None and method not in options.methods:
            return None
        if status in options.failure_statuses:
            outcome = LoginOutcome.FAILURE
        elif status in options.success_statuses:
            outcome = LoginOutcome.SUCCESS
        else:
            return None
        user = self._group(found, "user") or "-"
        login = Login(
            LoginTool.WEB,
            outcome,
            user[:USER_MAX] if user != "-" else "",
            found["source"],
            method=str(status),
            command=path,
        )
        return record_of(login, self._time_ns(found, now), None, str(options.path), line)

    def _group(self, found: re.Match[str], name: str) -> str | None:
        return found[name] if name in self._groups else None

    def _time_ns(self, found: re.Match[str], now: datetime) -> int:
        """A time without a zone, or none at all, is when the line was read."""
        try:
            moment = datetime.strptime(self._group(found, "time") or "", self._options.time_format)
        except ValueError:
            return to_ns(now)
        # A line of tomorrow lies; one of the year 9999 is no moment that can be counted with.
        is_sound = moment.tzinfo is not None and moment - now < timedelta(days=1)
        return to_ns(moment if is_sound else now)


def record_of(login: Login, time_ns: int, pid: int | None, log: str, line: str, count: int = 1) -> LoginRecord:
    """The record of what one line says."""
    return LoginRecord(
        time_ns=time_ns,
        tool=login.tool,
        outcome=login.outcome,
        user=login.user,
        source=login.source,
        terminal=login.terminal,
        method=login.method,
        pid=pid,
        count=login.count * count,
        by_user=login.by_user,
        command=login.command,
        log=log,
        line=line[:EVIDENCE_MAX],
    )


def _repeated(last: LoginRecord, count: int) -> Login:
    return Login(
        last.tool, last.outcome, last.user, last.source, last.terminal, last.method, last.by_user, last.command, count
    )


@dataclass
class _Log:
    follower: LogFollower
    reader: _Reader
    is_open: bool = field(default=False)


class LoginFiles:
    """A source of log-ins from all configured files that exist now or later."""

    name = NAME
    stage = Stage.LOGINS
    pause_s = 1.0

    def __init__(self, options: LoginOptions, clock: Clock) -> None:
        """Raises ``SourceUnavailableError`` when a pattern of a web log is wrong."""
        self._clock = clock
        readers: Iterable[tuple[Path, _Reader]] = (
            *((path, AuthReader(str(path), options.zone)) for path in options.auth_logs),
            *((web.path, WebReader(web)) for web in options.web_logs),
        )
        self._places = options.places
        self._logs = []
        for path, reader in readers:
            place = options.places.of(path) if options.places is not None else None
            follower = LogFollower(path, clock, is_from_start=options.is_from_start, place=place)
            self._logs.append(_Log(follower, reader))
        self._notes: list[str] = []
        self._records_count = 0

    def open(self) -> None:
        refused = []
        for log in self._logs:
            try:
                log.is_open = log.follower.open()
            except OSError as error:
                refused.append(f"{log.follower.path}: {error.strerror}")
        if not any(log.is_open for log in self._logs):
            raise SourceUnavailableError(f"{NAME}: {'; '.join(refused) or 'none of them exists'}")
        self._notes += [f"{text}, not read" for text in refused]

    def descriptor(self) -> int | None:
        return None

    def read(self) -> Sequence[Record]:
        now = self._clock.now()
        records: list[Record] = [self._note(NAME, text) for text in self._notes]
        self._notes.clear()
        for log in self._logs:
            try:
                for line in log.follower.lines():
                    record = log.reader.read(line.decode("utf-8", "surrogateescape"), now)
                    if record is not None:
                        records.append(record)
                        self._records_count += 1
            except OSError as error:
                records.append(self._note(str(log.follower.path), f"cannot be read ({error.strerror})"))
            if self._places is not None:
                self._places.note(log.follower.path, log.follower.place())
            while log.follower.notes:
                records.append(self._note(str(log.follower.path), log.follower.notes.popleft()))
            while log.follower.cuts:
                records.append(LogCut(to_ns(now), str(log.follower.path), *log.follower.cuts.popleft()))
        return records

    def counters(self) -> Mapping[str, int]:
        sums = dict.fromkeys(("lines", "cut", "rotations", "truncations", "refused"), 0)
        for log in self._logs:
            for name in sums:
                sums[name] += getattr(log.follower.counters, name)
        return {**sums, "records": self._records_count}

    def close(self) -> None:
        for log in self._logs:
            log.follower.close()

    def _note(self, source: str, text: str) -> WatchNote:
        return WatchNote(to_ns(self._clock.now()), Stage.LOGINS, source, True, text)
