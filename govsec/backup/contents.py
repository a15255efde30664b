"""The content of one file or stream as blobs: read once, cut, saved.

A file below the chunker's smallest cut is read in one call. A larger one passes through one buffer of the size of the
largest chunk, so memory does not depend on the file. Holes of a sparse file are not read: the file is cut at the
borders of its holes, and a hole becomes chunks of zeros whose id is computed once.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

from govsec.backup.blobs import BlobSaver
from govsec.repo.chunker import CHUNK_SIZE_MAX, CHUNK_SIZE_MIN, Chunker
from govsec.repo.pack import BlobType

#: Reads into the view, as far as it reaches or the source gives at once; 0 is the end.
ReadInto = Callable[[memoryview], int]
#: File systems that cannot tell holes from data.
_NO_HOLES = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
_BLOCK_SIZE = 512


class ContentReader:
    """Saves contents. One per process: it keeps the buffer."""

    def __init__(self, saver: BlobSaver, chunker_polynomial: str, advance: Callable[[int], None]) -> None:
        self._saver = saver
        self._chunker = Chunker(chunker_polynomial)
        self._buffer: memoryview | None = None
        self._zeros: dict[int, bytes] = {}
        #: Told of bytes as they are read.
        self._advance = advance

    def save_file(self, descriptor: int, status: os.stat_result) -> tuple[list[bytes], int]:
        """The ids of an open regular file's blobs in order, and how many bytes they are.

        Raises:
            OSError: the file cannot be read to its end.
        """
        size = status.st_size
        if size < CHUNK_SIZE_MIN:
            # One byte more than expected: when it comes, the file has grown and is read like a large one.
            data = os.read(descriptor, size + 1)
            if len(data) <= size and (len(data) == size or not os.read(descriptor, 1)):
                self._advance(len(data))
                return ([self._saver.save(BlobType.DATA, data)] if data else []), len(data)
            os.lseek(descriptor, 0, os.SEEK_SET)
        if status.st_blocks * _BLOCK_SIZE < size:
            return self._save_sparse(descriptor, size)
        return self.save_stream(lambda view: os.readv(descriptor, [view]))

    def save_stream(self, read_into: ReadInto) -> tuple[list[bytes], int]:
        """The ids of the blobs of all that ``read_into`` gives, and how many bytes that was."""
        ids: list[bytes] = []
        total = 0
        buffer = self._work_buffer()
        filled = 0
        while True:
            count = read_into(buffer[filled:])
            self._advance(count)
            filled += count
            total += count
            if count and filled < CHUNK_SIZE_MAX:
                continue
            is_end = not count
            start = 0
            for end in self._chunker.cuts(buffer[:filled]) if filled else ():
                if end == filled and not is_end and end - start < CHUNK_SIZE_MAX:
                    break  # what follows may belong to this chunk
                # A copy, because comparing views byte by byte later costs more than copying here.
                ids.append(self._saver.save(BlobType.DATA, bytes(buffer[start:end])))
                start = end
            if is_end:
                return ids, total
            rest = filled - start
            buffer[:rest] = bytes(buffer[start:filled])
            filled = rest

    def _save_sparse(self, descriptor: int, size: int) -> tuple[list[bytes], int]:
        ids: list[bytes] = []
        total = 0
        for start, end, is_data in _segments(descriptor, size):
            if is_data:
                os.lseek(descriptor, start, os.SEEK_SET)
                left = end - start

                def read_into(view: memoryview) -> int:
                    nonlocal left
                    count = os.readv(descriptor, [view[:left]]) if left else 0
                    left -= count
                    return count

                part, count = self.save_stream(read_into)
                ids += part
                total += count
                if count < end - start:
                    break  # the file became shorter
            else:
                ids += self._zero_ids(end - start)
                total += end - start
                self._advance(end - start)
        return ids, total

    def _zero_ids(self, size: int) -> Iterator[bytes]:
        for _ in range(size // CHUNK_SIZE_MAX):
            yield self._zero_id(CHUNK_SIZE_MAX)
        if size % CHUNK_SIZE_MAX:
            yield self._zero_id(size % CHUNK_SIZE_MAX)

    def _zero_id(self, size: int) -> bytes:
        zero_id = self._zeros.get(size)
        if zero_id is None:
            zero_id = self._saver.save(BlobType.DATA, bytes(size))
            if len(self._zeros) < 1000:  # rests of holes have any size; only repeating ones are worth keeping
                self._zeros[size] = zero_id
        return zero_id

    def _work_buffer(self) -> memoryview:
        if self._buffer is None:
            self._buffer = memoryview(bytearray(CHUNK_SIZE_MAX))
        return self._buffer


def _segments(descriptor: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """Data and holes of a file in turn, up to ``size``: start, end, and whether it is data."""
    position = 0
    while position < size:
        try:
            data = min(size, os.lseek(descriptor, position, os.SEEK_DATA))
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole until the end
                data = size
            elif error.errno in _NO_HOLES:
                data = position
            else:
                raise
        if data > position:
            yield position, data, False
        if data >= size:
            return
        try:
            hole = min(size, os.lseek(descriptor, data, os.SEEK_HOLE))
        except OSError as error:
            if error.errno not in _NO_HOLES:
                raise
            hole = size
        yield data, hole, True
        position = hole
