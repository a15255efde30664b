"""A log collector over TLS that takes nothing on trust: frames by octet counting, RFC 5424 to the letter, CEF with its
escapes. It can be told to die in the middle of a session, in ways that real ones do."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

_HEAD = re.compile(
    rb"<(?P<pri>\d{1,3})>1 (?P<time>\S+) (?P<host>[\x21-\x7e]{1,255}) (?P<app>[\x21-\x7e]{1,48}) "
    rb"(?P<proc>[\x21-\x7e]{1,128}) (?P<msgid>[\x21-\x7e]{1,32}) (?P<data>-|\[.*?\]) \xef\xbb\xbf(?P<msg>.*)",
    re.DOTALL,
)
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
_EXTENSION = re.compile(r"(?:^| )([A-Za-z0-9]+)=((?:[^\\=]|\\.)*?)(?= [A-Za-z0-9]+=|$)")


@dataclass(frozen=True)
class Record:
    """One record, taken apart."""

    severity: int
    facility: int
    time: datetime
    msgid: str
    head: tuple[str, ...]
    extension: dict[str, str]


def parsed(line: bytes) -> Record:
    """The record of a frame; fails when anything in it is not as the RFC and CEF have it."""
    found = _HEAD.fullmatch(line)
    assert found, line
    assert int(found["pri"]) <= 191 and _TIME.fullmatch(found["time"]), line
    text = found["msg"].decode("utf-8")
    assert not re.search(r"[\x00-\x1f\x7f]", text), text
    fields = _bars(text)
    assert len(fields) == 8 and fields[0] == "CEF:0", text
    assert 0 <= int(fields[6]) <= 10
    extension = dict(_EXTENSION.findall(fields[7]))
    # Taken together again they are all of it: nothing of a value was read as a field of its own.
    assert " ".join(f"{name}={value}" for name, value in extension.items()) == fields[7], fields[7]
    return Record(
        severity=int(found["pri"]) % 8,
        facility=int(found["pri"]) // 8,
        time=datetime.fromisoformat(found["time"].decode()),
        msgid=found["msgid"].decode(),
        head=tuple(re.sub(r"\\([\\|])", r"\1", field) for field in fields[1:7]),
        extension={name: re.sub(r"\\([\\=])", r"\1", value) for name, value in extension.items()},
    )


def _bars(text: str) -> list[str]:
    """The header's fields: bars with an even number of backslashes before them end one, up to the seventh."""
    fields, current, at = [], "", 0
    while at < len(text) and len(fields) < 7:
        if text[at] == "\\" and at + 1 < len(text):
            current += text[at : at + 2]
            at += 2
            continue
        if text[at] == "|":
            fields.append(current)
            current = ""
        else:
            current += text[at]
        at += 1
    return [*fields, current + text[at:]]


@dataclass
class Collector:
    """What came, in order. ``deaths``: for each session to come, how it ends before its time; then all go well."""

    port: int = 0
    records: list[Record] = field(default_factory=list)
    deaths: list[str] = field(default_factory=list)
    sessions: int = 0

    def serve(self, server: socket.socket, context: ssl.SSLContext) -> None:
        """Take sessions until the socket is closed."""
        while True:
            try:
                plain, _ = server.accept()
            except OSError:
                return
            self.sessions += 1
            death = self.deaths.pop(0) if self.deaths else ""
            plain.settimeout(60)
            try:
                self._session(plain, context, death)
            except (OSError, EOFError):
                pass
            finally:
                plain.close()

    def _session(self, plain: socket.socket, context: ssl.SSLContext, death: str) -> None:
        if death == "before the handshake":
            return _reset(plain)
        with context.wrap_socket(plain, server_side=True) as secured:
            if death == "after the handshake":
                return _reset(secured)
            size = _size(secured)
            if death == "within the record":
                _exactly(secured, size // 2)
                return _reset(secured)
            line = _exactly(secured, size)
            if death == "with the record in memory":
                return _reset(secured)
            if death != "with the record in memory, in silence":
                self.records.append(parsed(line))
            assert secured.recv(1) == b"", "a session is one record"
            if not death:
                secured.unwrap()
        return None


def _size(secured: ssl.SSLSocket) -> int:
    digits = b""
    while not digits.endswith(b" "):
        digits += _exactly(secured, 1)
        assert re.fullmatch(rb"[1-9]\d{0,3} ?", digits), digits
    return int(digits)


def _exactly(secured: ssl.SSLSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = secured.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextmanager
def collector(context: ssl.SSLContext, deaths: Sequence[str] = ()) -> Iterator[Collector]:
    """A collector on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = Collector(port=server.getsockname()[1], deaths=list(deaths))
        thread = threading.Thread(target=made.serve, args=(server, context))
        thread.start()
        try:
            yield made
        finally:
            server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join(60)
