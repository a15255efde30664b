"""A log that lost what was in it (ATT&CK T1070.002): cut, replaced, or written over, and not by rotation.

Idea: a log only grows. When it is suddenly shorter or another file, what it held must lie beside it: rotation renames
it (``auth.log.1`` has its inode), packs it (``.gz`` that unpacks to its size) or copies it before cutting
(``copytruncate``: a new file of at least its size). What lies nowhere was taken away. Of a file that kept its inode and
grew, the bytes that were first and last at the last look must still stand there: who edits lines in place changes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from govsec.findings.api import Settings
from govsec.findings.judgement import Measure
from govsec.findings.tables import Recent
from govsec.guard.api import Actor, LogFile, Observation
from govsec.guard.forms import culprit, tell, text, who
from govsec.guard.trees import actor_of
from govsec.host.events import FileChange
from govsec.records import Finding, Severity

KIND = "host.tamper.log_truncated"


class LogTruncatedSettings(Settings):
    """Logs that lost something."""

    lost_min: int = Field(default=1, ge=1, description="bytes; an attacker may take away a single line")
    logs_max: int = Field(default=1024, ge=16, description="logs that are watched")


class _Log:
    __slots__ = ("last", "writer")

    def __init__(self) -> None:
        self.last: LogFile | None = None
        self.writer: Actor | None = None


class LogTruncated:
    """Logs that do not hold any more what they held."""

    name = "log_truncated"

    def __init__(self, settings: LogTruncatedSettings) -> None:
        self._settings = settings
        self._logs: Recent[str, _Log] = Recent(settings.logs_max, _Log)
        self.cooldown_s = settings.cooldown_s

    def observe(self, observation: Observation) -> Iterator[Finding]:
        for record in observation.records:
            if isinstance(record, LogFile):
                log = self._logs.at(record.path)
                before, log.last = log.last, record
                if before is not None and before.inode is not None:
                    yield from self._compare(before, record, log.writer)
            elif isinstance(record, FileChange):
                watched = self._logs.get(record.path) or (self._logs.get(record.old_path) if record.old_path else None)
                if watched is not None and record.process is not None:
                    watched.writer = actor_of(record)

    def finish(self, time_ns: int) -> Iterator[Finding]:
        yield from ()

    def state(self) -> Mapping[str, int]:
        return {"logs": len(self._logs), "logs_forgotten": self._logs.forgotten_count}

    def _compare(self, before: LogFile, after: LogFile, writer: Actor | None) -> Iterator[Finding]:
        if before.size_bytes < self._settings.lost_min:
            return
        if after.inode == before.inode and after.size_bytes >= before.size_bytes:
            if not after.is_head_kept or not after.is_tail_kept:
                yield self._finding(before, after, writer, how="edited")
            return
        if _is_rotated(before, after):
            return
        how = "removed" if after.inode is None else "truncated" if after.inode == before.inode else "replaced"
        yield self._finding(before, after, writer, how=how)

    def _finding(self, before: LogFile, after: LogFile, writer: Actor | None, *, how: str) -> Finding:
        lost = max(0, before.size_bytes - after.size_bytes)
        return tell(
            kind=KIND,
            detector=self.name,
            severity=Severity.HIGH,
            time_ns=after.time_ns,
            subject=after.path,
            summary=f"{text(after.path)} was {how}: it had {before.size_bytes} bytes, now {after.size_bytes}, and no "
            f"rotated file beside it holds them; last written by {who(writer)}.",
            pattern=(after.path, how),
            attack=("T1070.002",),
            measured={"lost": Measure(lost, self._settings.lost_min, "bytes")},
            actor=writer,
            before={"inode": str(before.inode), "size_bytes": before.size_bytes},
            after={"inode": str(after.inode or "none"), "size_bytes": after.size_bytes},
            lines=before.last_lines,
            facts={"how": how, "path": after.path, "culprit": culprit(writer)},
        )


def _is_rotated(before: LogFile, after: LogFile) -> bool:
    """What the log held lies beside it: under its inode, or in a file that was not there and is at least as large."""
    known = {(name, inode, size) for name, inode, size, _ in before.siblings}
    return any(
        inode == before.inode or ((name, inode, size) not in known and unpacked >= before.size_bytes)
        for name, inode, size, unpacked in after.siblings
    )
