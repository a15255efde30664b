"""Log-ins from the journal of systemd, through ``journalctl --follow`` as a child.

One idea: what the journal itself noted about who wrote (``_UID``) cannot be forged, what a writer says of himself can.
So lines of programs that run as root are believed only when root wrote them; others are counted. When the child ends
it is started again from the last cursor, at most every ``RESTART_PAUSE_S``; so nothing is lost or told twice.

Rights: to read the journal (group ``systemd-journal``), also when the child has to be started again.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from govsec.clock import Clock, to_ns
from govsec.host.api import SourceUnavailableError
from govsec.host.events import LoginRecord, Record, Stage, WatchNote
from govsec.host.loginlines import TOOLS, LoginParser
from govsec.host.logins import record_of
from govsec.host.logplaces import LogPlaces
from govsec.runtime.children import child_environment

NAME = "journal"
RESTART_PAUSE_S = 10.0
_READ_MAX = 8 << 20
_CHUNK = 64 << 10
#: A line of JSON with a message of LINE_MAX and the fields we ask for; a longer one is left out and counted.
_ENTRY_MAX = 256 << 10
_MESSAGE_MAX = 8192
_FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_PID,_UID"


class LoginJournal:
    """A source of log-ins. ``program``: tests bring a journal of their own."""

    name = NAME
    stage = Stage.LOGINS
    pause_s = 0.25

    def __init__(
        self,
        clock: Clock,
        *,
        program: tuple[str, ...] = ("journalctl",),
        is_from_start: bool = False,
        places: LogPlaces | None = None,
    ) -> None:
        self._clock = clock
        self._program = program
        self._places = places
        self._cursor = places.cursor if places is not None else None
        self._is_from_start = is_from_start
        #: When the first child was started, for a second one that has no cursor yet.
        self._began: datetime | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._rest = bytearray()
        self._is_skipping = False
        self._started_at = 0.0
        self._parser = LoginParser()
        self._notes: list[str] = []
        self._counts = dict.fromkeys(("entries", "records", "forged", "unreadable", "restarts"), 0)

    def open(self) -> None:
        try:
            self._start()
        except OSError as error:
            raise SourceUnavailableError(f"{NAME}: {self._program[0]} cannot be started: {error.strerror}") from error

    def descriptor(self) -> int | None:
        return self._child.stdout.fileno() if self._child is not None and self._child.stdout is not None else None

    def read(self) -> Sequence[Record]:
        now = self._clock.now()
        if self._child is None:
            self._restart_when_due()
        records: list[Record] = []
        for line in self._lines():
            record = self._record(line, now)
            if record is not None:
                records.append(record)
        self._counts["records"] += len(records)
        if self._places is not None:
            self._places.note_cursor(self._cursor)
        records += [WatchNote(to_ns(now), Stage.LOGINS, NAME, True, text) for text in self._notes]
        self._notes.clear()
        return records

    def counters(self) -> Mapping[str, int]:
        return dict(self._counts)

    def close(self) -> None:
        if self._child is None:
            return
        self._child.kill()
        self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()
        self._child = None

    def _start(self) -> None:
        place = ["--boot=all"]
        if self._cursor is not None:
            place = [f"--after-cursor={self._cursor}"]
        elif not self._is_from_start:
            # Not --lines=0: that loses the first entries of a journal that has none of these programs yet.
            self._began = self._began or self._clock.now()
            place = [f"--since=@{int(self._began.timestamp())}"]
        programs = [word for name in TOOLS for word in ("--identifier", name)]
        argv = [
            *self._program,
            "--follow",
            "--no-tail",
            "--no-pager",
            "--quiet",
            "--output=json",
            f"--output-fields={_FIELDS}",
        ]
        self._child = subprocess.Popen(
            [*argv, *place, *programs],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=child_environment(),
            bufsize=0,
        )
        assert self._child.stdout is not None  # asked for as a pipe
        os.set_blocking(self._child.stdout.fileno(), False)
        self._started_at = self._clock.monotonic()
        self._rest.clear()
        self._is_skipping = False

    def _restart_when_due(self) -> None:
        if self._clock.monotonic() - self._started_at < RESTART_PAUSE_S:
            return
        self._counts["restarts"] += 1
        try:
            self._start()
        except OSError as error:
            self._started_at = self._clock.monotonic()
            self._notes.append(f"{self._program[0]} cannot be started: {error.strerror}")

    def _lines(self) -> Iterator[bytes]:
        descriptor = self.descriptor()
        taken = 0
        while descriptor is not None and taken < _READ_MAX:
            try:
                data = os.read(descriptor, _CHUNK)
            except BlockingIOError:
                return
            if not data:
                self._ended()
                return
            taken += len(data)
            yield from self._split(data)

    def _split(self, data: bytes) -> Iterator[bytes]:
        parts = data.split(b"\n")
        last = parts.pop()
        for part in parts:
            line = bytes(self._rest) + part
            self._rest.clear()
            if not self._is_skipping:
                yield line
            self._is_skipping = False
        if not self._is_skipping:
            self._rest += last
        if len(self._rest) > _ENTRY_MAX:
            self._rest.clear()
            self._is_skipping = True
            self._counts["unreadable"] += 1

    def _ended(self) -> None:
        child = self._child
        assert child is not None  # something was read of it
        self.close()
        self._notes.append(f"{self._program[0]} ended (status {child.returncode}); it is started again")

    def _record(self, line: bytes, now: datetime) -> LoginRecord | None:
        try:
            entry = json.loads(line)
            cursor = entry["__CURSOR"]
            time_ns = int(entry["__REALTIME_TIMESTAMP"]) * 1000
            program = entry["SYSLOG_IDENTIFIER"]
            message = _text(entry["MESSAGE"])
            pid = int(entry.get("_PID") or entry.get("SYSLOG_PID") or 0) or None
        except (ValueError, KeyError, TypeError, RecursionError):
            self._counts["unreadable"] += 1
            return None
        self._counts["entries"] += 1
        if isinstance(cursor, str) and len(cursor) <= 512:
            self._cursor = cursor
        if not isinstance(program, str) or message is None:
            self._counts["unreadable"] += 1
            return None
        login = self._parser.parse(program, pid, message)
        if login is None:
            return None
        if entry.get("_UID") != "0":
            self._counts["forged"] += 1
            return None
        return record_of(login, time_ns, pid, NAME, message)


def _text(value: object) -> str | None:
    """The journal writes bytes that are no text as a list of numbers."""
    if isinstance(value, str):
        return value[:_MESSAGE_MAX]
    if isinstance(value, list) and all(isinstance(each, int) and 0 <= each < 256 for each in value):
        return bytes(value[:_MESSAGE_MAX]).decode("utf-8", "surrogateescape")
    return None
