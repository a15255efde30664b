"""A TCP proxy on loopback that misbehaves on purpose: what a center's line, or a hostile center, can do to a client."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType

_CHUNK = 64 << 10
#: SO_LINGER with time 0: close() sends a reset instead of an orderly end.
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Pass:
    """Hand everything on, both ways."""


@dataclass(frozen=True)
class Stall:
    """Take the connection and what it says, and never answer."""


@dataclass(frozen=True)
class Reset:
    """Reset the connection as soon as the client has said something."""


@dataclass(frozen=True)
class CutAnswer:
    """Hand on the request, and this many bytes of the answer; then end (or reset) the connection."""

    after_bytes: int
    is_reset: bool = False


@dataclass(frozen=True)
class CutRequest:
    """Hand on this many bytes of the request, then reset both connections."""

    after_bytes: int


@dataclass(frozen=True)
class Answer:
    """Answer each request with these parts, without asking the server; ``pause_s`` between two parts."""

    parts: Callable[[bytes], Iterator[bytes]]
    pause_s: float = 0.0


Behaviour = Pass | Stall | Reset | CutAnswer | CutRequest | Answer


def answer(status: str, body: bytes = b"", **headers: str) -> Answer:
    """One whole HTTP answer; ``Content_Length`` may lie."""
    fields = {"Content_Length": str(len(body)), "Connection": "close", **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    head = f"HTTP/1.1 {status}\r\n{lines}\r\n".encode()
    return Answer(lambda _: iter([head, body]))


@dataclass
class Proxy:
    """Listens until ``close``. Connections take their behaviour from ``script``, in order, then from ``behaviour``."""

    target_port: int = 0
    host: str = "127.0.0.1"
    behaviour: Behaviour = field(default_factory=Pass)
    script: list[Behaviour] = field(default_factory=list)
    #: Bytes that are replaced in what clients send: a line that damages.
    flip: tuple[bytes, bytes] = (b"", b"")
    #: The first line of every request that was seen whole.
    requests: list[bytes] = field(default_factory=list)
    connections_count: int = 0

    def __post_init__(self) -> None:
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._listener = socket.create_server((self.host, 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def close(self) -> None:
        self._closing.set()
        # A listener that a thread waits on does not wake up from close() alone.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=60)
            assert not thread.is_alive(), "a thread of the proxy does not end"

    def _start(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections_count += 1
                behaviour = self.script.pop(0) if self.script else self.behaviour
                self._open.append(client)
            self._start(self._serve, client, behaviour)

    def _serve(self, client: socket.socket, behaviour: Behaviour) -> None:
        # A client that gives up, and close(), end the connection in the middle of a call: that is what is tested.
        with contextlib.suppress(OSError), client:
            match behaviour:
                case Pass():
                    self._relay(client, None)
                case CutAnswer(after_bytes=limit, is_reset=is_reset):
                    self._relay(client, limit)
                    if is_reset:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                case CutRequest(after_bytes=limit):
                    with socket.create_connection(("127.0.0.1", self.target_port), timeout=60) as server:
                        _copy(client, server, limit)
                        for end in (server, client):
                            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                case Stall():
                    while client.recv(_CHUNK):
                        pass
                case Reset():
                    client.recv(1)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                case Answer(parts=parts, pause_s=pause_s):
                    self._answer(client, parts, pause_s)

    def _answer(self, client: socket.socket, parts: Callable[[bytes], Iterator[bytes]], pause_s: float) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            part = client.recv(_CHUNK)
            if not part:
                return
            request += part
        self.requests.append(request.split(b"\r\n", 1)[0])
        for part in parts(request):
            client.sendall(part)
            if pause_s and self._closing.wait(pause_s):
                return
        client.shutdown(socket.SHUT_WR)
        while client.recv(_CHUNK):  # a close with unread bytes would reset what was just sent
            pass

    def _relay(self, client: socket.socket, answer_limit: int | None) -> None:
        with socket.create_connection(("127.0.0.1", self.target_port), timeout=60) as server:
            server.settimeout(None)
            with self._lock:
                self._open.append(server)
            upward = self._start(_copy, client, server, None, self.flip)
            _copy(server, client, answer_limit)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RD)
            upward.join(timeout=60)


def _copy(
    source: socket.socket, target: socket.socket, limit: int | None, flip: tuple[bytes, bytes] = (b"", b"")
) -> None:
    """Copy until the source ends or ``limit`` bytes went over, then end both directions of the target."""
    left = limit
    with contextlib.suppress(OSError):
        while left is None or left > 0:
            part = source.recv(_CHUNK if left is None else min(_CHUNK, left))
            if not part:
                break
            target.sendall(part.replace(*flip) if flip[0] else part)
            left = None if left is None else left - len(part)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
    if left == 0:
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RD)


def chunked(parts: Sequence[bytes]) -> Iterator[bytes]:
    """An HTTP answer in chunks, without its length."""
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    for part in parts:
        yield b"%x\r\n%s\r\n" % (len(part), part)
    yield b"0\r\n\r\n"
