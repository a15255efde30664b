"""Answers on this machine alone: one request, one answer, in the agent's own loop, bounded in every way.

One idea: whoever asks may be slow, silent or hostile, and the loop never waits for them. A connection has a few
kilobytes for its request and a minute for all of it; of more than :data:`CONNECTIONS_MAX` the next is closed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from govsec.clock import Clock
from govsec.errors import ConfigurationError

CONNECTIONS_MAX = 8
REQUEST_SIZE_MAX = 4 << 10
#: A connection that has not sent its request and taken its answer by then is closed.
_LIMIT_S = 60.0
_SOCKET_NAME_MAX = 107


@dataclass(slots=True)
class _Talk:
    connection: socket.socket
    began: float
    received: bytes = b""
    answer: bytes = b""


class LocalServer:
    """Listens on ``listener``; a request is what comes up to ``ending``, ``answer`` gives the reply, then it closes."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        listener: socket.socket,
        answer: Callable[[bytes], bytes],
        clock: Clock,
        *,
        ending: bytes,
        admits: Callable[[socket.socket], bool] = lambda _: True,
    ) -> None:
        self.refused_count = 0
        self._selector = selector
        self._listener = listener
        self._answer = answer
        self._clock = clock
        self._ending = ending
        self._admits = admits
        self._talks: list[_Talk] = []
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def expire(self) -> None:
        """Close connections that took too long."""
        now = self._clock.monotonic()
        for talk in [each for each in self._talks if now - each.began > _LIMIT_S]:
            self.refused_count += 1
            self._end(talk)

    def close(self) -> None:
        """Listen no more."""
        for talk in list(self._talks):
            self._end(talk)
        self._selector.unregister(self._listener)
        if self._listener.family == socket.AF_UNIX:
            with contextlib.suppress(OSError):
                os.unlink(self._listener.getsockname())  # noqa: PTH108 - a name, as the kernel gives it
        self._listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it went away again, or there are no descriptors: whoever asks may ask again
            return
        if len(self._talks) >= CONNECTIONS_MAX or not self._admits(connection):
            self.refused_count += 1
            connection.close()
            return
        connection.setblocking(False)
        talk = _Talk(connection, self._clock.monotonic())
        self._talks.append(talk)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._receive(talk))

    def _receive(self, talk: _Talk) -> None:
        try:
            data = talk.connection.recv(REQUEST_SIZE_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        talk.received += data
        if not data or len(talk.received) > REQUEST_SIZE_MAX:
            self._end(talk)
        elif self._ending in talk.received:
            talk.answer = self._answer(talk.received)
            self._selector.modify(talk.connection, selectors.EVENT_WRITE, lambda: self._send(talk))

    def _send(self, talk: _Talk) -> None:
        try:
            sent = talk.connection.send(talk.answer)
        except BlockingIOError:
            return
        except OSError:
            sent = len(talk.answer)
        talk.answer = talk.answer[sent:]
        if not talk.answer:
            self._end(talk)

    def _end(self, talk: _Talk) -> None:
        self._talks.remove(talk)
        self._selector.unregister(talk.connection)
        talk.connection.close()


def listen_unix(path: Path, mode: int) -> socket.socket:
    """A unix socket at ``path`` with ``mode``; one that a dead agent left is removed.

    Raises:
        ConfigurationError: the name is too long, something else lies there, or somebody listens.
    """
    if len(os.fsencode(path)) > _SOCKET_NAME_MAX:
        raise ConfigurationError(f"{path}: longer than the {_SOCKET_NAME_MAX} bytes that a socket's name may have")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _remove_left(path)
        before = os.umask(0o777 & ~mode)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(before)
        listener.listen(CONNECTIONS_MAX)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    return listener


def _remove_left(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise OSError(errno.EEXIST, "something else than a socket lies there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "somebody listens there")


def listen_port(address: str, port: int) -> socket.socket:
    """A TCP port of this machine. Raises ``ConfigurationError``."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(CONNECTIONS_MAX)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"{address} port {port}: {error.strerror}") from error
    return listener
