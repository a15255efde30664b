"""Reading an answer's body: the whole object or the range that was asked for, and never fewer bytes than that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from govsec.errors import CutShortError, IntegrityError, StoreUnavailableError
from govsec.store.api import check_range
from govsec.store.s3errors import FOREIGN_ERRORS

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(?:\d{1,18}|\*)")


def read_part(answer: Mapping[str, Any], offset: int, length: int | None, size_max: int, what: str) -> bytes:
    """``length`` bytes from ``offset`` (None: all) of the object in ``answer``, which is the range or the whole.

    Raises:
        IntegrityError: the object does not hold the range.
        LimitError: it is longer than ``size_max``; nothing was read.
        CutShortError: the connection ended before the answer did; what came is kept in it.
        StoreUnavailableError: the answer's headers contradict the request.
    """
    body, size = answer["Body"], answer["ContentLength"]
    try:
        if size < 0:
            raise StoreUnavailableError(f"{what}: the server says that {size} bytes follow")
        if length is None:
            check_range(what, size, 0, None, size_max)
            return _read_exactly(body, size, what)
        if answer["ResponseMetadata"]["HTTPStatusCode"] == 206:
            _check_content_range(answer.get("ContentRange", ""), offset, length, what)
            if size != length:
                raise StoreUnavailableError(f"{what}: {size} bytes came for a range of {length}")
            return _read_exactly(body, length, what)
        # Some servers know no ranges and send the whole object: what comes before is read and dropped.
        check_range(what, size, offset, length, size_max)
        _skip(body, offset, what)
        return _read_exactly(body, length, what)
    finally:
        body.close()


def _read_exactly(body: Any, size: int, what: str) -> bytes:
    parts: list[bytes] = []
    got = 0
    while got < size:
        try:
            part = body.read(size - got)
        except FOREIGN_ERRORS as error:
            raise CutShortError(f"{what}: {error}, after {got} of {size} bytes", b"".join(parts), size) from error
        if not part:
            message = f"{what}: the connection ended after {got} of {size} bytes"
            raise CutShortError(message, b"".join(parts), size)
        parts.append(part)
        got += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _skip(body: Any, size: int, what: str) -> None:
    while size:
        part = body.read(size)
        if not part:
            raise StoreUnavailableError(f"{what}: the connection ended before the range began")
        size -= len(part)


def _check_content_range(header: str, offset: int, length: int, what: str) -> None:
    match = _CONTENT_RANGE.fullmatch(header)
    if not match or int(match[1]) != offset:
        raise StoreUnavailableError(f"{what}: asked for bytes from {offset}, the server sent {header!r:.80}")
    if int(match[2]) != offset + length - 1:
        raise IntegrityError(f"{what}: holds fewer bytes than the {length} asked for from {offset}: {header!r:.80}")
