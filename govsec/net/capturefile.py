"""Capture files as batches of packets.

One idea: a file is read in pieces of ``CHUNK_SIZE``, its format finds the packets of a piece, and they are decoded in
equal batches; what is left of the piece goes in front of the next. Files are read, not mapped: a file that shrinks
under a mapping kills the process. Batches may be kept as long as one likes: a buffer is used again only when nothing
looks into it any more.

A file that ends in the middle of a record is cut: counted, not an error. A record that cannot be is an error that names
file and offset, after every packet before it was given. Compressed files are not opened.

Of large files a second process finds and decodes the packets, where there is a processor for it (``readahead``); the
batches are the same.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
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
from govsec.net.readahead import Fill, Piece, ReadAhead, is_suitable
from govsec.runtime.threads import OneAhead

log = logging.getLogger(__name__)

#: Small enough that what was read is still in the processor's cache when it is decoded; large enough that its records
#: are found many at a time.
CHUNK_SIZE = 6 << 20
#: What a piece leaves is part of one record, and none of those of either format is larger.
REST_MAX = pcapng.BLOCK_MAX


class CaptureFile:
    """A pcap or pcapng file.

    ``frame_max`` as for ``decode``; ``batch_max``: packets a batch, at most ``PACKETS_MAX``. ``is_read_ahead``: whether
    a second process decodes; None: when it pays and this process has no threads.
    """

    def __init__(
        self,
        path: Path,
        *,
        frame_max: int = FRAME_MAX,
        batch_max: int = PACKETS_MAX,
        is_read_ahead: bool | None = None,
    ) -> None:
        self._path = path
        self._frame_max = frame_max
        self._batch_max = min(batch_max, PACKETS_MAX)
        self._is_read_ahead = is_read_ahead
        self._counters: dict[str, int] = {}

    def batches(self) -> Iterator[PacketBatch]:
        """All packets in the order of the file, from its beginning each time this is called.

        Raises:
            ConfigurationError: the file is not there or cannot be read.
            FormatError: it is no capture, or breaks off being one; everything before was given.
            WorkerError: the process that read ahead was killed.
        """
        self._counters = dict.fromkeys(("packets", "bytes", "records_cut"), 0)
        with ExitStack() as stack:
            try:
                file = stack.enter_context(self._path.open("rb", buffering=0))
                state = os.fstat(file.fileno())
            except OSError as error:
                raise self._unreadable(error) from error
            fill = partial(self._fill, file)
            read = partial(self._read, *self._begin(fill))
            # Nobody waits for a read of a regular file; one of a pipe may last, and would be waited for at the end.
            is_regular = stat.S_ISREG(state.st_mode)
            is_ahead = self._is_read_ahead
            if is_ahead is None:
                is_ahead = is_regular and is_suitable(state.st_size)
            if is_ahead:
                ahead = ReadAhead(read, self.counters, fill, _buffer_size(), slice(REST_MAX, REST_MAX + CHUNK_SIZE))
                try:
                    stack.enter_context(ahead)
                except OSError as error:
                    log.info("capture read by one process", extra={"path": str(self._path), "reason": str(error)})
                else:
                    yield from ahead.batches(self._counters.update)
                    return
            yield from read(_pieces(fill, is_regular))

    def counters(self) -> dict[str, int]:
        """What was met so far in the run of ``batches`` that began last, by name.

        ``bytes`` are those on the wire. ``records_cut``: the file ends in the middle of one.
        """
        return dict(self._counters)

    def _unreadable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(f"capture {self._path}: {error.strerror}")

    def _begin(self, fill: Fill) -> tuple[CaptureFormat, int, bytes]:
        """What the file is, how much of it was taken, and what was read besides."""
        header = bytearray(pcap.HEADER_SIZE)
        rest = bytes(header[: fill(memoryview(header))])
        if rest[:4] in pcap.MAGICS and len(rest) == pcap.HEADER_SIZE:
            return self._open_pcap(rest), len(rest), b""
        if rest[:4] == pcapng.MAGIC:
            return pcapng.PcapNg(), 0, rest
        raise self._wrong(0, f"neither pcap nor pcapng begins with {rest[:4].hex() or 'nothing'}")

    def _read(self, form: CaptureFormat, offset: int, rest: bytes, pieces: Iterator[Piece]) -> Iterator[PacketBatch]:
        for buffer, size in pieces:
            # What the piece before left goes in front of this one.
            piece = buffer[REST_MAX - len(rest) :]
            piece[: len(rest)] = rest
            end = len(rest) + size
            taken = form.take(piece, end)
            yield from self._decode(piece, taken.records)
            self._counters |= form.counters()
            if taken.complaint:
                raise self._wrong(offset + taken.used, taken.complaint)
            offset += taken.used
            rest = bytes(piece[taken.used : end])
            assert len(rest) <= REST_MAX, "a larger record is a complaint"
        self._counters["records_cut"] += int(len(rest) > 0)

    def _fill(self, file: BinaryIO, buffer: memoryview) -> int:
        """Read until the buffer is full or the file ends; gives how many bytes were read."""
        size = 0
        while size < len(buffer):
            try:
                got = file.readinto(buffer[size:])  # type: ignore[attr-defined]  # typeshed gives BinaryIO no readinto
            except OSError as error:
                raise self._unreadable(error) from error
            if not got:
                break
            size += got
        return size

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


def _buffer_size() -> int:
    return REST_MAX + CHUNK_SIZE + SLACK


def _pieces(fill: Fill, is_threaded: bool) -> Iterator[Piece]:
    """The file in buffers with room for ``REST_MAX`` bytes in front, and how many were read; the last one is not full.

    While one is worked on, a thread reads the next, if ``is_threaded``: the copying frees the interpreter's lock.
    """
    buffers = Buffers(_buffer_size())
    with OneAhead[int]() as ahead:
        buffer = buffers.take()
        size = fill(buffer[REST_MAX : REST_MAX + CHUNK_SIZE])
        while size == CHUNK_SIZE:
            following = buffers.take()
            fill_it = partial(fill, following[REST_MAX : REST_MAX + CHUNK_SIZE])
            if is_threaded:
                ahead.submit(fill_it)
            yield buffer, size
            read = ahead.drain()  # None: nothing was begun
            buffer, size = following, fill_it() if read is None else read
        yield buffer, size
