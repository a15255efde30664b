"""Packets as evidence: for a finding, a pcapng of its hosts' traffic from half a minute before to half a minute after.

One idea: what lies before a finding is taken from a ring of the last frames at once, before newer traffic pushes it
out; what comes after is added batch by batch until event time has passed the window's end. Then the file is written,
whole or not at all, for its owner alone, with a digest, and with the numbers that say what it cannot show: what the
kernel dropped, what the ring no longer held, what the file's limit cut.

Whose traffic: packets between the finding's originators and responders, by IP address or MAC; a side of which more
hosts count than the finding lists is any host. Where the finding names all its flows, only these. The same packets and
findings give the same bytes, from a file as from a wire. What this does not do: say whether evidence is signed or
entered anywhere; its digest is returned for that.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from govsec.errors import ConfigurationError
from govsec.net.columns import PacketBatch
from govsec.net.evidencewindow import Window, window_of
from govsec.net.framering import FrameRing
from govsec.net.pcapngwrite import interface_block, packet_block, section_block, statistics_block
from govsec.privatefile import make_private_directory, write_private
from govsec.records import Finding

log = logging.getLogger(__name__)

_ETHERNET = 1
_NEVER_NS = 1 << 63


class EvidenceOptions(BaseModel):
    """How much is kept, and where it ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Bytes of frames in memory: at 128 bytes a packet and 40 of columns, 16 MiB are 33 s of 3,000 packets/s.
    ring_bytes: int = Field(default=16 << 20, ge=1 << 20, le=4 << 30)
    before_s: int = Field(default=30, ge=0, le=3600)
    after_s: int = Field(default=30, ge=0, le=3600)
    #: Of one file; packets past it are counted in it.
    file_bytes: int = Field(default=4 << 20, ge=1 << 16, le=1 << 30)
    #: Of all files of the folder together: evidence is never deleted to make room, new evidence is refused.
    folder_bytes: int = Field(default=2 << 30, ge=1 << 20)
    #: Windows that are open at the same time; each holds up to ``file_bytes`` in memory.
    windows_max: int = Field(default=8, ge=1, le=1000)


@dataclass(frozen=True, slots=True)
class EvidenceFile:
    """What was written. ``findings`` are the patterns that it is evidence for."""

    path: Path
    sha256: str
    size_bytes: int
    packets_count: int
    pattern: str
    first_ns: int
    last_ns: int


@dataclass(slots=True)
class EvidenceCounters:
    """What was kept and what not; all count up."""

    files: int = 0
    #: Findings whose window was not opened: as many as may be were open.
    refused_windows: int = 0
    #: Files that would have gone past the folder's limit.
    refused_quota: int = 0
    #: Files that could not be written.
    failed_writes: int = 0
    #: Packets that a file's limit left out.
    cut_packets: int = 0
    #: Frames that left the ring to make room.
    evicted_frames: int = 0


@dataclass(frozen=True, slots=True)
class CaptureCounts:
    """What the capture says of itself at the moment of a batch."""

    interface: str
    received_count: int
    dropped_count: int = 0


class EvidenceKeeper:
    """The ring, the open windows and the folder of one sensor."""

    def __init__(self, folder: Path, options: EvidenceOptions) -> None:
        """Make ``folder`` where it is missing.

        Raises:
            ConfigurationError: it cannot be made or read.
        """
        try:
            make_private_directory(folder)
            self._folder_size = sum(path.stat().st_size for path in folder.iterdir())
        except OSError as error:
            raise ConfigurationError(f"the folder of evidence {folder}: {error.strerror}") from error
        self._folder = folder
        self._options = options
        self._ring = FrameRing(options.ring_bytes)
        self._windows: list[Window] = []
        self._counters = EvidenceCounters()
        self._started_ns = 0
        self._now_ns = 0
        self._counts = CaptureCounts("", 0)
        #: Packets that were observed.
        self.seen_count = 0

    def counters(self) -> EvidenceCounters:
        """A copy."""
        return EvidenceCounters(**{**asdict(self._counters), "evicted_frames": self._ring.evicted_count})

    def observe(self, batch: PacketBatch, counts: CaptureCounts) -> tuple[EvidenceFile, ...]:
        """Take in a batch; the files whose windows ended before it."""
        self._counts = counts
        self.seen_count += len(batch)
        if not len(batch):
            return ()
        self._started_ns = self._started_ns or int(batch.time_ns[0])
        self._now_ns = max(self._now_ns, int(batch.time_ns.max()))
        for window in self._windows:
            window.take(batch)
        self._ring.add(batch)
        ended = [window for window in self._windows if window.last_ns < self._now_ns]
        self._windows = [window for window in self._windows if window.last_ns >= self._now_ns]
        return tuple(file for window in ended if (file := self._write(window, is_whole=True)))

    def open_window(self, finding: Finding) -> bool:
        """Begin to gather for a finding of the batch that was observed last; False: refused, and counted.

        A finding without hosts, or without ``first`` and ``last``, is about no packets: it has no window.
        """
        options = self._options
        window = window_of(
            finding, before_s=options.before_s, after_s=options.after_s, size_bytes_max=options.file_bytes
        )
        if window is None or any(other.pattern == window.pattern for other in self._windows):
            return window is not None
        if len(self._windows) >= options.windows_max:
            self._counters.refused_windows += 1
            return False
        oldest_ns = self._ring.first_ns() or self._now_ns
        window.missing_ns = max(0, oldest_ns - max(window.first_ns, self._started_ns))
        for batch in self._ring.batches(window.first_ns, window.last_ns):
            window.take(batch)
        self._windows.append(window)
        return True

    def finish(self) -> tuple[EvidenceFile, ...]:
        """Write what is open: no more packets come."""
        windows, self._windows = self._windows, []
        return tuple(
            file for window in windows if (file := self._write(window, is_whole=window.last_ns < self._now_ns))
        )

    def _write(self, window: Window, *, is_whole: bool) -> EvidenceFile | None:
        data = self._rendered(window, is_whole=is_whole)
        digest = hashlib.sha256(data).hexdigest()
        stem = f"{window.finding.time:%Y%m%dT%H%M%SZ}-{window.finding.kind}"
        path = self._folder / f"{stem}-{hashlib.sha256(window.pattern.encode()).hexdigest()[:12]}.pcapng"
        self._counters.cut_packets += window.cut_count
        if self._folder_size + len(data) > self._options.folder_bytes:
            self._counters.refused_quota += 1
            log.warning("evidence refused", extra={"kind": window.finding.kind, "folder": str(self._folder)})
            return None
        try:
            write_private(path, data)
            write_private(path.with_suffix(".pcapng.sha256"), f"{digest}  {path.name}\n".encode())
        except OSError as error:
            self._counters.failed_writes += 1
            log.error("evidence not written", extra={"path": str(path), "reason": error.strerror})
            return None
        self._folder_size += len(data)
        self._counters.files += 1
        count = len(window.packets)
        return EvidenceFile(path, digest, len(data), count, window.pattern, window.first_ns, window.last_ns)

    def _rendered(self, window: Window, *, is_whole: bool) -> bytes:
        comments = [f"{window.finding.kind}: {window.finding.summary}", f"pattern {window.pattern}"]
        if window.missing_ns:
            comments.append(f"the first {window.missing_ns / 1e9:.3f} s of the window were no longer in memory")
        if window.cut_count:
            comments.append(
                f"{window.cut_count} later packets left out: the file's limit of {self._options.file_bytes}"
            )
        if not is_whole:
            comments.append("the capture ended before the window did")
        kinds = list(dict.fromkeys(packet.link_type for packet in window.packets)) or [_ETHERNET]
        parts = [section_block(application="govsec", comments=comments)]
        parts += [interface_block(link_type=kind, name=self._counts.interface) for kind in kinds]
        since_ns = window.since_ns
        for packet in window.packets:
            is_first = packet.time_ns >= since_ns
            comment = "from here on it counts for the finding" if is_first else ""
            since_ns = _NEVER_NS if is_first else since_ns
            number = kinds.index(packet.link_type)
            parts.append(packet_block(number, packet.time_ns, packet.data, packet.wire_size, comment=comment))
        parts += [
            statistics_block(
                position,
                min(self._now_ns, window.last_ns),
                started_ns=self._started_ns,
                received_count=self._counts.received_count,
                dropped_count=self._counts.dropped_count,
                comments=comments[2:],
            )
            for position in range(len(kinds))
        ]
        return b"".join(parts)
