"""One HTTP/1.1 request and its answer over a connection that is open (RFC 9110, RFC 9112).

The standard library reads the answer; what may come is bounded before: the head to 64 KiB, the body to what the step
allows, all of it by the deadline. The connection is used once: a probe asks as a new visitor does.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from govsec.clock import Clock
from govsec.web.connection import BoundedReader, Deadline, Phases, RequestError, send

_HEAD_SIZE_MAX = 64 << 10
#: Lines of chunks around a body: a server that sends single bytes may need ten times their size.
_FRAMING_MAX = 4 << 20
#: Where a page names its own charset (HTML Living Standard, 4.2.5.4).
_META_WITHIN = 1024
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s{0,9}=\s{0,9}[\"']?([A-Za-z0-9_-]{2,20})", re.IGNORECASE)
#: Names of charsets that pages have, and how they are read. Only these: Python knows codecs that take the square of a
#: text's size (punycode). What calls itself gb2312 is written with the characters of its successors.
_CHARSETS = {
    **dict.fromkeys(("gb2312", "gbk", "gb18030", "x-gbk", "gb_2312-80"), "gb18030"),
    **dict.fromkeys(("big5", "big5-hkscs"), "big5hkscs"),
    **dict.fromkeys(("iso-8859-1", "latin1", "windows-1252", "us-ascii", "ascii"), "cp1252"),
    **dict.fromkeys(("utf-16", "utf-16le"), "utf-16-le"),
    "utf-16be": "utf-16-be",
    "windows-1251": "cp1251",
    "koi8-r": "koi8-r",
    "shift_jis": "cp932",
    "euc-jp": "euc-jp",
    "euc-kr": "cp949",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent: ``target`` is path and query, ``host`` what stands in the Host header."""

    method: str
    host: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None = None

    def encode(self) -> bytes:
        """The bytes that go out.

        Raises:
            RequestError: a header or the target would become two lines.
        """
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body is not None:
            lines.append(f"Content-Length: {len(self.body)}")
        lines.append("Connection: close")
        if any("\r" in line or "\n" in line or "\0" in line for line in lines) or " " in self.target:
            raise RequestError("send", "a value that was put in would break the request")
        return "\r\n".join([*lines, "", ""]).encode("utf-8") + (self.body or b"")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. ``headers``: names in lower case, in the order they came, repeats kept."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for known, value in self.headers if known == name.lower()), None)

    def text(self) -> str:
        """The body as text, by the charset that the server or the page names, else UTF-8; what does not fit is
        replaced."""
        charset = (self.header("content-type") or "").lower().partition("charset=")[2].split(";")[0].strip("\"' ")
        if not charset and (found := _META_CHARSET.search(self.body[:_META_WITHIN])):
            charset = found[1].decode("ascii").lower()
        return self.body.decode(_CHARSETS.get(charset, "utf-8"), "replace")


class _Source:
    """The one thing that ``HTTPResponse`` asks of a socket."""

    def __init__(self, reader: BoundedReader) -> None:
        self._reader = reader

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._reader)


def exchange(
    connection: socket.socket, request: Request, deadline: Deadline, size_max: int, phases: Phases, clock: Clock
) -> Answer:
    """Send a request, read its answer to the end.

    Raises:
        RequestError: no answer, no HTTP, or more than ``size_max`` bytes of body.
    """
    with phases.measured("first_byte", clock):
        send(connection, request.encode(), deadline)
        reader = BoundedReader(connection, deadline, _HEAD_SIZE_MAX + size_max + _FRAMING_MAX)
        response = http.client.HTTPResponse(cast("socket.socket", _Source(reader)), method=request.method)
        try:
            response.begin()
        except (http.client.HTTPException, ValueError) as error:
            response.close()
            raise RequestError("answer", f"no HTTP: {type(error).__name__}") from error
        except RequestError:
            response.close()
            raise
    with phases.measured("body", clock), response:
        headers = [(name.lower(), value) for name, value in response.getheaders()]
        if sum(len(name) + len(value) for name, value in headers) > _HEAD_SIZE_MAX:
            raise RequestError("answer", f"a head of more than {_HEAD_SIZE_MAX} bytes")
        body = _body(response, size_max)
    answer = Answer(response.status, headers, body)
    encoding = (answer.header("content-encoding") or "identity").strip().lower()
    return (
        answer
        if encoding == "identity" or not body
        else Answer(answer.status, headers, _open(body, encoding, size_max))
    )


def _body(response: http.client.HTTPResponse, size_max: int) -> bytes:
    parts, size = [], 0
    try:
        while part := response.read(min(64 << 10, size_max + 1 - size)):
            parts.append(part)
            size += len(part)
            if size > size_max:
                raise RequestError("answer", f"more than {size_max} bytes")
    except http.client.IncompleteRead as error:
        raise RequestError("answer", "cut off in the middle") from error
    except (http.client.HTTPException, ValueError) as error:
        raise RequestError("answer", f"no HTTP: {type(error).__name__}") from error
    if response.length:  # what was announced and never came
        raise RequestError("answer", "cut off in the middle")
    return b"".join(parts)


def _open(body: bytes, encoding: str, size_max: int) -> bytes:
    """The body of a server that packs it although it was asked not to."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise RequestError("answer", f"packed as {encoding[:20]!r}, which was not asked for")
    opener = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        data = opener.decompress(body, size_max + 1)
    except zlib.error as error:
        raise RequestError("answer", f"said to be {encoding}, and is not") from error
    if len(data) > size_max or opener.unconsumed_tail:
        raise RequestError("answer", f"more than {size_max} bytes")
    if not opener.eof:
        raise RequestError("answer", "cut off in the middle")
    return data
