"""Looks into files that were just written: the edge that turns changes into samples.

One idea: only what can be judged is read. A file is looked at when its name promises a format or an earlier look knew
one; at most so many a second of event time, for a burst of a thousand files is judged by the first hundred. Heads are
read without following links and without waiting: a pipe or a device in a file's place costs nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping

from pydantic import Field

from govsec.config import Model
from govsec.findings.api import SECOND_NS
from govsec.findings.tables import Recent
from govsec.guard.api import FileSample
from govsec.guard.contents import HEAD_SIZE, entropy_of, expected_forms, form_of
from govsec.guard.trees import actor_of
from govsec.host.events import FileChange, FileOperation


class SamplingSettings(Model):
    """How much is read of what is written."""

    per_s_max: int = Field(
        default=100, ge=1, le=10_000, description="files a second of event time; one costs about 2 ms of a processor"
    )
    files_max: int = Field(default=16_384, ge=256, description="files whose last look is remembered")


class _Known:
    """What the last look at a path found."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: tuple[float, str | None] | None = None


class Sampler:
    """Makes samples of changes."""

    def __init__(self, settings: SamplingSettings) -> None:
        self._settings = settings
        self._known: Recent[str, _Known] = Recent(settings.files_max, _Known)
        self._second = -1
        self._taken = 0
        self._counts = {"samples": 0, "over_rate": 0, "unreadable": 0}

    def samples(self, changes: Iterable[FileChange]) -> Iterator[FileSample]:
        """The heads of files that were written or renamed, in order."""
        for change in changes:
            if change.is_directory or change.operation not in (FileOperation.MODIFIED, FileOperation.RENAMED):
                continue
            known = self._known.get(change.old_path) if change.old_path is not None else self._known.get(change.path)
            before = known.seen if known is not None else None
            if before is None and expected_forms(change.path) is None:
                continue
            if not self._may(change.time_ns):
                continue
            sample = self._look(change, before)
            if sample is not None:
                self._known.at(change.path).seen = (sample.entropy, sample.form)
                yield sample

    def state(self) -> Mapping[str, int]:
        """Looks that were made, and files that were not looked at."""
        return {**self._counts, "files": len(self._known), "files_forgotten": self._known.forgotten_count}

    def _may(self, time_ns: int) -> bool:
        second = time_ns // SECOND_NS
        if second != self._second:
            self._second, self._taken = second, 0
        self._taken += 1
        if self._taken > self._settings.per_s_max:
            self._counts["over_rate"] += 1
            return False
        return True

    def _look(self, change: FileChange, before: tuple[float, str | None] | None) -> FileSample | None:
        try:
            descriptor = os.open(change.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):  # gone already, refused, or no path at all
            self._counts["unreadable"] += 1
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return None
            head = os.read(descriptor, HEAD_SIZE)
        except OSError:
            self._counts["unreadable"] += 1
            return None
        finally:
            os.close(descriptor)
        self._counts["samples"] += 1
        return FileSample(
            time_ns=change.time_ns,
            path=change.path,
            size_bytes=status.st_size,
            head_size=len(head),
            entropy=entropy_of(head),
            form=form_of(head),
            actor=actor_of(change),
            before=before,
        )
