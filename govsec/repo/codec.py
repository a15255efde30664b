"""Compression: one zstd frame for one blob or one JSON object, never more output than was agreed.

A frame comes from the store. What it says of its own size is checked before memory is taken for it, and a frame that
does not say (Go's encoder often does not) is cut off at the limit. Trailing bytes after the frame are refused.

Source: RFC 8878 (Zstandard).
"""

from __future__ import annotations

import zstandard

from govsec.errors import FormatError, LimitError

#: What the library itself uses where nobody chose: restic's default is comparable.
LEVEL_DEFAULT = 3
#: First byte of a sealed JSON object that is compressed (format version 2).
_COMPRESSED_MARK = b"\x02"
#: A one-shot decompression needs no window buffer; this bounds what a frame may ask for all the same.
_WINDOW_MAX = 128 << 20


class Codec:
    """A compressor and a decompressor. Keeps contexts: not for two threads at once, and made anew after ``fork``."""

    def __init__(self, level: int = LEVEL_DEFAULT) -> None:
        self.level = level
        self._compressor = zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=True)
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX)

    def compress(self, plain: bytes | bytearray | memoryview) -> bytes:
        """One frame that holds ``plain``."""
        return self._compressor.compress(plain)

    def decompress(self, frame: bytes | bytearray | memoryview, size_max: int) -> bytes:
        """The content of one frame.

        Raises:
            LimitError: it would be longer than ``size_max``.
            FormatError: not one whole zstd frame.
        """
        try:
            stated = zstandard.frame_content_size(frame)
            if stated > size_max:
                raise LimitError(f"zstd frame: says it holds {stated} bytes, more than {size_max}")
            # With a limit of zero the library would mean "no limit"; a byte more than allowed is caught below.
            plain = self._decompressor.decompress(frame, max_output_size=size_max + 1, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise FormatError(f"zstd frame: {error}") from error
        if len(plain) > size_max:
            raise LimitError(f"zstd frame: holds more than {size_max} bytes")
        return plain

    def pack_json(self, json: bytes) -> bytes:
        """What is sealed for an index, a snapshot or a lock."""
        return _COMPRESSED_MARK + self.compress(json)

    def unpack_json(self, plain: bytes, size_max: int) -> bytes:
        """The JSON in what was opened: compressed (version 2) or as it is (version 1)."""
        first = plain[:1]
        if first == _COMPRESSED_MARK:
            return self.decompress(memoryview(plain)[1:], size_max)
        if first in (b"{", b"["):
            return plain
        raise FormatError(f"JSON object: encoding {first!r} is not known")
