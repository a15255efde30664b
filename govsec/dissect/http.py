"""HTTP/1 requests and answers (RFC 9112): heads, and the beginnings of bodies, one after the other on a connection.

Bodies are followed by their announced size or chunk by chunk, so that the next message is found; only their beginning
is kept. Lines may end in a bare line feed, as servers accept it. What follows an upgrade or CONNECT is recognised anew;
HTTP/2 is not read. Secrets are taken out (:mod:`govsec.dissect.withhold`).
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

from govsec.dissect.httpauth import ntlm_of, user_of
from govsec.dissect.messages import FlowRef, HttpRequest, HttpResponse, LoginOutcome
from govsec.dissect.parsing import DEEP_SIZE, HEAD_SIZE, StreamParser
from govsec.dissect.wire import show
from govsec.dissect.withhold import SECRET_HEADERS, has_secret, header_shape, without_secrets
from govsec.errors import FormatError

#: Kept of a request's body: what forms and injections need; of an answer's: what tells its kind.
REQUEST_BODY_MAX = 8 << 10
RESPONSE_BODY_MAX = 256
_HEADERS_MAX = 100
_TARGET_MAX = 8 << 10
_VALUE_MAX = 2 << 10
_ASKED_MAX = 64
_REQUEST_LINE = re.compile(rb"([A-Z][A-Z_-]{0,19}) +([^\r\n]*?)(?: +HTTP/\d\.\d)? *\Z")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] +(\d{3})(?: +([^\r\n]*))?\Z")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"(?:\r?\n)?([0-9A-Fa-f]{1,8})[^\r\n]{0,256}\r?\n")
_CHUNK_LINE_MAX = 300
_IS_REQUEST = re.compile(rb"[A-Z][A-Z_-]{1,19} [^\r\n]{1,8192} HTTP/1\.[01]\r?\n")
_MAY_BE_REQUEST = re.compile(rb"[A-Z][A-Z_-]{1,19}(?: [/*a-zA-Z$%{][^\r\n]{0,8192}| ?)\r?\Z")


def is_http(data: bytes) -> bool | None:
    """Whether a side's first bytes are a request or an answer of HTTP/1; None: too few to say."""
    if data.startswith(b"HTTP/1."):
        return True
    if _IS_REQUEST.match(data):
        return True
    return None if b"HTTP/1.".startswith(data[:7]) or _MAY_BE_REQUEST.match(data) else False


@dataclass(slots=True)
class _Head:
    """A message whose head was read. A request has a method, an answer a status."""

    method: str
    target: str
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    user: str | None = None
    has_credentials: bool = False


@dataclass(slots=True)
class _Transfer:
    """One message on its way. ``left``: bytes to come of its body, or chunk; None: all up to the end."""

    head: _Head
    kept_max: int
    left: int | None
    is_chunked: bool
    announced: int | None
    kept: bytearray = field(default_factory=bytearray)
    seen: int = 0
    is_told: bool = False


class HttpParser(StreamParser):
    """Requests and answers of one connection."""

    name = "http"
    depth = DEEP_SIZE

    def __init__(self, flow: FlowRef) -> None:
        super().__init__(flow)
        self._transfers: dict[bool, _Transfer | None] = {False: None, True: None}
        self._asked: deque[_Head] = deque(maxlen=_ASKED_MAX)

    def read(self, is_originator: bool, data: bytes, time_ns: int) -> int:
        at = 0
        while self.wants[is_originator] and at < len(data) and not self.is_handed_over:
            before, transfer = at, self._transfers[is_originator]
            if transfer is None:
                at = self._read_head(is_originator, data, at, time_ns)
            else:
                at = self._read_body(is_originator, transfer, data, at, time_ns)
            if at == before and self._transfers[is_originator] is transfer:
                break
        return at

    def end(self, is_originator: bool, data: bytes, time_ns: int) -> None:
        transfer = self._transfers[is_originator]
        if transfer is not None:
            self._tell(is_originator, transfer, time_ns, is_whole=transfer.left is None)
        elif self.wants[is_originator] and b"\n" in data:
            try:
                head, _ = self._head(is_originator, data[: data.rfind(b"\n")], time_ns)
            except FormatError:
                head = None
            if head is not None:
                self._tell(is_originator, _Transfer(head, 0, 0, False, None), time_ns, is_whole=False)
        self._transfers[is_originator] = None
        self.wants[is_originator] = False

    def _read_head(self, is_originator: bool, data: bytes, at: int, time_ns: int) -> int:
        while data[at : at + 1] in (b"\r", b"\n") and at < len(data):  # RFC 9112, 2.2: empty lines before are ignored
            at += 1
        end = _END_OF_HEAD.search(data, at)
        if end is None:
            if len(data) - at > HEAD_SIZE:
                raise FormatError(f"an HTTP head of more than {HEAD_SIZE} bytes")
            return at
        head, raw = self._head(is_originator, data[at : end.start()], time_ns)
        is_request = bool(head.method)
        size, is_chunked = _framing(raw)
        asked = None if is_request else self._answer_to(head.status)
        if asked is not None and _has_no_body(asked.method, head.status):
            size, is_chunked = 0, False
            self.is_handed_over = head.status == 101 or (asked.method == "CONNECT" and head.status >= 200)
        if asked is not None:
            head.method, head.target = asked.method, asked.target
            head.has_credentials, head.user = asked.has_credentials, asked.user
        left = 0 if is_chunked else size if size is not None else 0 if is_request else None
        kept_max = REQUEST_BODY_MAX if is_request else RESPONSE_BODY_MAX
        transfer = _Transfer(head, kept_max, left, is_chunked, None if is_chunked else size)
        self._transfers[is_originator] = transfer
        if is_request:
            self._asked.append(head)
        elif (asking := self._transfers[not is_originator]) is not None and head.status >= 200:
            self._tell(not is_originator, asking, time_ns, is_whole=False)  # answered before its body had come
        if left == 0 and not is_chunked:
            self._tell(is_originator, transfer, time_ns, is_whole=True)
            self._transfers[is_originator] = None
        return end.end()

    def _answer_to(self, status: int) -> _Head | None:
        if not self._asked:
            return None
        return self._asked[0] if status < 200 and status != 101 else self._asked.popleft()

    def _read_body(self, is_originator: bool, transfer: _Transfer, data: bytes, at: int, time_ns: int) -> int:
        if transfer.is_chunked and transfer.left == 0:
            match = _CHUNK.match(data, at)
            if match is None:
                if len(data) - at > _CHUNK_LINE_MAX:
                    raise FormatError("HTTP chunks without a size")
                return at
            transfer.left = int(match[1], 16)
            if transfer.left == 0:  # what may follow are trailers; as a rule one empty line, which the next head skips
                self._tell(is_originator, transfer, time_ns, is_whole=True)
                self._transfers[is_originator] = None
            return match.end()
        size = len(data) - at if transfer.left is None else min(transfer.left, len(data) - at)
        if (room := transfer.kept_max - len(transfer.kept)) > 0:
            transfer.kept += data[at : at + min(room, size)]
        transfer.seen += size
        if transfer.left is not None:
            transfer.left -= size
        is_full = len(transfer.kept) >= transfer.kept_max
        if is_full or (transfer.left == 0 and not transfer.is_chunked):
            self._tell(is_originator, transfer, time_ns, is_whole=True)
        if transfer.left is None:
            self.wants[is_originator] = not is_full
            return at + size
        if transfer.is_chunked:
            return at + size
        # The rest of a body that is told already is passed over without being looked at.
        if is_full or transfer.left == 0:
            self._transfers[is_originator] = None
            return at + size + transfer.left
        return at + size

    def _head(self, is_originator: bool, data: bytes, time_ns: int) -> tuple[_Head, dict[bytes, bytes]]:
        """The head in ``data``, and its headers as they were sent."""
        lines = data.split(b"\n")
        first = lines[0].rstrip(b"\r")
        raw: dict[bytes, bytes] = {}
        shown: list[tuple[str, str]] = []
        for line in lines[1 : _HEADERS_MAX + 1]:
            name, colon, value = line.partition(b":")
            if colon:
                raw.setdefault(name.strip().lower(), value.strip())
                shown.append(_shown_header(name, value.strip()))
        headers = tuple(shown)
        if status := _STATUS_LINE.match(first):
            self._hear_ntlm(is_originator, raw.get(b"www-authenticate"), time_ns)
            return _Head("", "", int(status[1]), show(status[2] or b""), headers), raw
        request = _REQUEST_LINE.match(first)
        if request is None:
            raise FormatError(f"neither a request nor a status line: {show(first[:60])!r}")
        target = request[2][:_TARGET_MAX]
        authorization = raw.get(b"authorization", raw.get(b"proxy-authorization"))
        self._hear_ntlm(is_originator, authorization, time_ns)
        return _Head(
            method=request[1].decode("ascii"),
            target=show(without_secrets(target), _TARGET_MAX),
            status=0,
            reason="",
            headers=headers,
            user=None if authorization is None else user_of(authorization),
            has_credentials=authorization is not None or has_secret(target),
        ), raw

    def _hear_ntlm(self, is_originator: bool, value: bytes | None, time_ns: int) -> None:
        if value is None:
            return
        ntlm = ntlm_of(value, time_ns=time_ns, flow=self.flow, is_originator=is_originator)
        if ntlm is not None:
            self.messages.append(ntlm)

    def _tell(self, is_originator: bool, transfer: _Transfer, time_ns: int, *, is_whole: bool) -> None:
        if transfer.is_told:
            return
        transfer.is_told = True
        head, body = transfer.head, bytes(transfer.kept)
        size = transfer.seen if transfer.announced is None else transfer.announced
        if head.status:
            self.messages.append(
                HttpResponse(
                    time_ns, self.flow, is_originator, head.status, head.reason, head.headers,
                    without_secrets(body), size, head.method, head.target, head.has_credentials,
                )
            )  # fmt: skip
            if head.user is not None and head.status >= 200:
                accepted = head.status not in (401, 403, 407)
                self.messages.append(LoginOutcome(time_ns, self.flow, not is_originator, "http", head.user, accepted))
            return
        found = dict(reversed(head.headers))
        head.has_credentials = head.has_credentials or has_secret(body)
        self.messages.append(
            HttpRequest(
                time_ns, self.flow, is_originator, head.method, head.target, found.get("host", ""),
                found.get("user-agent", ""), head.headers, without_secrets(body), size, head.has_credentials, is_whole,
            )
        )  # fmt: skip


def _has_no_body(method: str, status: int) -> bool:
    """Whether an answer ends with its head, whatever it announces (RFC 9112, 6.3)."""
    return status < 200 or status in (204, 304) or method == "HEAD" or (method == "CONNECT" and status < 300)


def _framing(raw: dict[bytes, bytes]) -> tuple[int | None, bool]:
    """The announced size of the body, and whether it comes in chunks, which goes first (RFC 9112, 6.3)."""
    if raw.get(b"transfer-encoding", b"").lower().endswith(b"chunked"):
        return None, True
    value = raw.get(b"content-length")
    if value is None:
        return None, False
    if not value.isdigit() or len(value) > 15:
        raise FormatError(f"an HTTP body of size {show(value[:30])!r}")
    return int(value), False


def _shown_header(name: bytes, value: bytes) -> tuple[str, str]:
    shown = show(name.strip().lower(), 100)
    if shown in SECRET_HEADERS:
        value = header_shape(shown, value)
    elif b"=" in value:
        value = without_secrets(value)
    return shown, show(value, _VALUE_MAX)
