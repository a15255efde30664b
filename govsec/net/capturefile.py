"""Capture files as batches of packets.

One idea: a file is read in pieces of ``CHUNK_SIZE``, its format finds the packets of a piece, and they are decoded in
equal batches; what is left of the piece goes in front of the next. Files are read, not mapped: a file that shrinks
under a mapping kills the process. Batches may be kept as long as one likes: a buffer is used again only when nothing
looks into it any more.

A file that ends in the middle of a record is cut: counted, not an error. A record that cannot be is an error that names
file and offset, after every packet before it was given. Compressed files are not opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from govsec.errors import ConfigurationError, FormatError
from govsec.net import pcap, pcapng
from govsec.net.captureformat import CaptureFormat, Records
from govsec.net.columns import PACKETS_MAX, PacketBatch
from govsec.net.decode import FRAME_MAX, Frames, decode
from govsec.net.gather import SLACK, Buffers

#: Small enough that what was read is still in the processor's cache when it is decoded; large enough that its records
#: are found many at a time.
CHUNK_SIZE = 6 << 20


class CaptureFile:
    """A pcap or pcapng file.

    ``frame_max`` as for ``decode``; ``batch_max``: packets a batch, at most ``PACKETS_MAX``.
    """

    def __init__(self, path: Path, *, frame_max: int = FRAME_MAX, batch_max: int = PACKETS_MAX) -> None:
        self._path = path
        self._frame_max = frame_max
        self._batch_max = min(batch_max, PACKETS_MAX)
        self._counters: dict[str, int] = {}

    def batches(self) -> Iterator[PacketBatch]:
        """All packets in the order of the file, from its beginning each time this is called.

        Raises:
            ConfigurationError: the file is not there or cannot be read.
            FormatError: it is no capture, or breaks off being one; everything before was given.
        """
        self._counters = dict.fromkeys(("packets", "bytes", "records_cut"), 0)
        try:
            with self._path.open("rb", buffering=0) as file:
                yield from self._read(file)
        except OSError as error:
            raise ConfigurationError(f"capture {self._path}: {error.strerror}") from error

    def counters(self) -> dict[str, int]:
        """What was met so far in the run of ``batches`` that began last, by name.

        ``bytes`` are those on the wire. ``records_cut``: the file ends in the middle of one.
        """
        return dict(self._counters)

    def _read(self, file: BinaryIO) -> Iterator[PacketBatch]:
        rest = bytes(_fill(file, bytearray(pcap.HEADER_SIZE)))
        offset = 0
        if rest[:4] in pcap.MAGICS and len(rest) == pcap.HEADER_SIZE:
            form: CaptureFormat = self._open_pcap(rest)
            offset, rest = len(rest), b""
        elif rest[:4] == pcapng.MAGIC:
            form = pcapng.PcapNg()
        else:
            raise self._wrong(0, f"neither pcap nor pcapng begins with {rest[:4].hex() or 'nothing'}")
        buffers = Buffers(CHUNK_SIZE + SLACK)
        while True:
            buffer = buffers.take()
            buffer[: len(rest)] = rest
            end = len(rest) + len(_fill(file, buffer[len(rest) : CHUNK_SIZE]))
            taken = form.take(buffer, end)
            yield from self._decode(buffer, taken.records)
            self._counters |= form.counters()
            if taken.complaint:
                raise self._wrong(offset + taken.used, taken.complaint)
            offset += taken.used
            rest = bytes(buffer[taken.used : end])
            if end < CHUNK_SIZE:
                self._counters["records_cut"] += int(len(rest) > 0)
                return
            assert taken.used, "records are smaller than a piece"

    def _open_pcap(self, header: bytes) -> CaptureFormat:
        try:
            return pcap.Pcap(header)
        except FormatError as error:
            raise self._wrong(4, str(error)) from error

    def _wrong(self, offset: int, complaint: str) -> FormatError:
        return FormatError(f"capture {self._path}: offset {offset}: {complaint}")

    def _decode(self, data: memoryview, records: Records) -> Iterator[PacketBatch]:
        count = len(records.time_ns)
        parts = -(-count // self._batch_max)
        edges = [count * part // max(parts, 1) for part in range(parts + 1)]
        for start, end in pairwise(edges):
            chosen = slice(start, end)
            first = self._counters["packets"]
            self._counters["packets"] += end - start
            self._counters["bytes"] += int(records.wire_size[chosen].sum(dtype=np.int64))
            frames = Frames(
                data=data,
                frame_offset=records.frame_offset[chosen],
                captured_size=records.captured_size[chosen],
                wire_size=records.wire_size[chosen],
                time_ns=records.time_ns[chosen],
                position=np.arange(first, first + end - start, dtype=np.uint64),
                faults=records.faults[chosen],
            )
            yield decode(frames, records.link_type[chosen], self._frame_max)


def _fill(file: BinaryIO, buffer: memoryview | bytearray) -> memoryview:
    """Read until the buffer is full or the file ends; gives the part that was filled."""
    view = memoryview(buffer)
    size = 0
    while size < len(view):
        got = file.readinto(view[size:])  # type: ignore[attr-defined]  # typeshed gives BinaryIO no readinto
        if not got:
            break
        size += got
    return view[:size]
