"""A log that lost what was in it (ATT&CK T1070.002): cut, replaced, or written over, and not by rotation.

Idea: a log only grows, so what it held at one look it holds at the next, or a file beside it does, to which rotation
renamed, copied or packed it (:mod:`govsec.guard.logview` finds it by its contents). What lies nowhere was taken away.

And of rotated files only the oldest go, one for each that comes, or those whose time is over. So one that goes while
older ones stay, or while nothing is rotated for some minutes, was taken away too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.findings.api import SECOND_NS, Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.guard.api import Actor, LogFile, Observation, RotatedLog
from govsec.guard.forms import culprit, tell, text, who
from govsec.guard.trees import actor_of
from govsec.host.events import FileChange
from govsec.records import Finding, Severity

KIND = "host.tamper.log_truncated"
_HOUR_NS = 3600 * SECOND_NS
_DAY_NS = 24 * _HOUR_NS
#: Rotations, and files that went, that are remembered of one log.
_REMEMBERED_MAX = 1000


class LogTruncatedSettings(Settings):
    """Logs that lost something."""

    lost_min: int = Field(default=1, ge=1, description="bytes; an attacker may take away a single line")
    logs_max: int = Field(default=1024, ge=16, description="logs that are watched")
    kept_days: int = Field(
        default=180, ge=1, le=3660, description="rotated files may go when they are older; the law asks for six months"
    )
    aged_days: int = Field(
        default=7, ge=1, le=3660, description="older ones may go in numbers with one rotation (maxage of logrotate)"
    )
    pushed_ratio: float = Field(
        default=8,
        gt=1,
        le=1000,
        description="told when rotation removes a file so many times younger than those before; a busy day does less",
    )
    rotation_s: int = Field(
        default=600, ge=10, le=86_400, description="how far apart a rotation's packing, renaming and removing may be"
    )


class _Log:
    __slots__ = ("kept_ns", "last", "let_go_ns", "pending", "rotations", "writer")

    def __init__(self) -> None:
        self.last: LogFile | None = None
        self.writer: Actor | None = None
        #: How old its rotated files became lately, until rotation let them go; and when that was.
        self.kept_ns = self.let_go_ns = 0
        #: When it was rotated, and whether that explains no file's going yet; what went, and when that was seen.
        self.rotations: deque[tuple[int, bool]] = deque(maxlen=_REMEMBERED_MAX)
        self.pending: deque[tuple[int, RotatedLog]] = deque(maxlen=_REMEMBERED_MAX)


class LogTruncated:
    """Logs that do not hold any more what they held."""

    name = "log_truncated"

    def __init__(self, settings: LogTruncatedSettings) -> None:
        self._settings = settings
        self._logs: Recent[str, _Log] = Recent(settings.logs_max, _Log)
        #: Of which rotated files went that a rotation may yet explain.
        self._waiting: set[str] = set()
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if isinstance(record, LogFile):
                log = self._logs.at(record.path)
                before, log.last = log.last, record
                if before is not None and before.inode is not None:
                    yield from self._compare(before, record, log.writer)
                self._remember(record, log)
            elif isinstance(record, FileChange):
                watched = self._logs.get(record.path) or (self._logs.get(record.old_path) if record.old_path else None)
                if watched is not None and record.process is not None:
                    watched.writer = actor_of(record)
        for path in list(self._waiting):
            yield from self._rotated(observation.time_ns, path)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"logs": len(self._logs), "logs_forgotten": self._logs.forgotten_count}

    def _compare(self, before: LogFile, after: LogFile, writer: Actor | None) -> Iterator[Finding]:
        had = max(before.size_bytes, after.followed_bytes)
        is_same = after.inode == before.inode and after.size_bytes >= had and after.is_kept
        if had < self._settings.lost_min or is_same or after.held_by is not None:
            return
        if after.inode != before.inode:
            how = "removed" if after.inode is None else "replaced"
        else:
            how = "truncated" if after.size_bytes < had else "edited"
        yield self._finding(before, after, writer, how=how, had=had)

    def _remember(self, record: LogFile, log: _Log) -> None:
        """Rotations and what went: what no rotation explains yet waits for one."""
        log.rotations.extend([(record.time_ns, True)] * min(record.rotations_count, _REMEMBERED_MAX))
        went = [(record.time_ns, one) for one in record.went if one.size_bytes >= self._settings.lost_min]
        if went:
            log.pending.extend(went)
            self._waiting.add(record.path)

    def _rotated(self, now: int, path: str) -> Iterator[Finding]:
        log, window_ns = self._logs.at(path), self._settings.rotation_s * SECOND_NS
        while log.rotations and not -window_ns <= now - log.rotations[0][0] <= window_ns:
            log.rotations.popleft()
        waiting, taken, pushed = [], [], []
        for since, one in log.pending:
            if self._may_go(one, log, now):
                if self._is_early(one, log, now):
                    pushed.append(one)
                continue
            if one.older_count or not 0 <= now - since < window_ns:
                taken.append(one)
            else:
                waiting.append((since, one))
        log.pending = deque(waiting, maxlen=_REMEMBERED_MAX)
        if not waiting:
            self._waiting.discard(path)
        if taken:
            yield self._taken(now, path, taken, log.writer)
        if pushed:
            yield self._pushed(now, path, pushed, log)
            log.kept_ns = 0  # a site that keeps less from now on is told once

    def _is_early(self, one: RotatedLog, log: _Log, now: int) -> bool:
        """Rotation lets it go much younger than others lately; what is usual is learned from each that goes."""
        age_ns, passed_ns = now - one.since_ns, now - log.let_go_ns
        usual_ns = max(0, log.kept_ns - passed_ns) if passed_ns >= 0 else 0  # a clock that was wrong is no history
        log.kept_ns, log.let_go_ns = max(usual_ns, age_ns), now
        return usual_ns >= _DAY_NS and age_ns < usual_ns / self._settings.pushed_ratio

    def _may_go(self, one: RotatedLog, log: _Log, now: int) -> bool:
        age_ns = now - one.since_ns
        if age_ns >= self._settings.kept_days * _DAY_NS:
            return True
        if one.older_count:
            return False
        # Not the one that brought it.
        later = [position for position, (time_ns, _) in enumerate(log.rotations) if time_ns > one.since_ns]
        if later and age_ns >= self._settings.aged_days * _DAY_NS:
            return True
        for position in later:
            time_ns, is_free = log.rotations[position]
            if is_free:
                log.rotations[position] = (time_ns, False)
                return True
        return False

    def _taken(self, now: int, path: str, taken: list[RotatedLog], writer: Actor | None) -> Finding:
        lost = sum(one.size_bytes for one in taken)
        return tell(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=now,
            subject=path,
            summary=f"{len(taken)} rotated files of {text(path)} with {lost} bytes are gone or altered, and not "
            "as rotation lets the oldest go.",
            pattern=(path, "rotated"),
            attack=("T1070.002",),
            measured={"lost": Measure(lost, self._settings.lost_min, "bytes")},
            actor=writer,
            paths=(one.path for one in taken),
            facts={"how": "rotated", "path": path, "culprit": culprit(writer)},
        )

    def _pushed(self, now: int, path: str, pushed: list[RotatedLog], log: _Log) -> Finding:
        lost = sum(one.size_bytes for one in pushed)
        age_h, kept_h = ((now - pushed[-1].since_ns) // _HOUR_NS, log.kept_ns // _HOUR_NS)
        return tell(
            kind=KIND,
            detector=self.name,
            severity=Severity.MEDIUM,
            time_ns=now,
            subject=path,
            summary=f"Rotation removed {len(pushed)} files of {text(path)} with {lost} bytes after {age_h} h; "
            f"until now they became {kept_h} h old.",
            pattern=(path, "pushed"),
            attack=("T1070.002",),
            measured={
                "lost": Measure(lost, self._settings.lost_min, "bytes"),
                "kept_h": Measure(age_h, kept_h / self._settings.pushed_ratio, "h"),
            },
            actor=log.writer,
            before={"kept_h": kept_h},
            after={"kept_h": age_h},
            paths=(one.path for one in pushed),
            facts={"how": "pushed", "path": path, "culprit": culprit(log.writer)},
        )

    def _finding(self, before: LogFile, after: LogFile, writer: Actor | None, *, how: str, had: int) -> Finding:
        lost = max(0, had - after.size_bytes)
        return tell(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=after.time_ns,
            subject=after.path,
            summary=f"{text(after.path)} was {how}: it had {had} bytes, now {after.size_bytes}, and no rotated file "
            f"beside it holds them; last written by {who(writer)}.",
            pattern=(after.path, how),
            attack=("T1070.002",),
            measured={"lost": Measure(lost, self._settings.lost_min, "bytes")},
            actor=writer,
            before={"inode": str(before.inode), "size_bytes": had},
            after={"inode": str(after.inode or "none"), "size_bytes": after.size_bytes},
            lines=before.last_lines,
            facts={"how": how, "path": after.path, "culprit": culprit(writer)},
        )
