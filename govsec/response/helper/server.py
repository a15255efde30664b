"""The helper's socket: one request, one answer, a line of JSON each, one connection at a time, from named users only.

    {"step": "try", "order": {…}}  {"step": "do", "approvals": ["…"]}  {"step": "check" | "undo", "nonce": "…"}
    → {"ok": true, "state", "facts", …}    → {"ok": false, "kind": "refused" | "integrity" | "later" | "failed", "why"}

Who connects is what the kernel says (SO_PEERCRED), not what the request says. A request has a limit of bytes and time;
what is no request is answered as refused, and nothing that is asked ends the program.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from govsec.clock import Clock
from govsec.errors import ConfigurationError, GovsecError, IntegrityError, RefusedError
from govsec.response.helper.api import Settings
from govsec.response.helper.desk import HelperDesk

REQUEST_SIZE_MAX = 128 << 10
_TALK_LIMIT_S = 30.0
_TEND_EVERY_S = 1.0
_CREDENTIALS = struct.Struct("3i")
_FIRST_PASSED = 3
log = logging.getLogger(__name__)


def listen(settings: Settings) -> socket.socket:
    """The socket that systemd passed, or one of our own at ``settings.socket``. Raises ``ConfigurationError``."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        return socket.socket(fileno=_FIRST_PASSED)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        settings.socket.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            listener.bind(os.fspath(settings.socket))
        finally:
            os.umask(before)
        listener.listen(8)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"{settings.socket}: {error}") from error
    return listener


def serve(
    listener: socket.socket, desk: HelperDesk, settings: Settings, clock: Clock, is_wanted: Callable[[], bool]
) -> None:
    """Answer until it is not wanted any more; every second what has had its time is taken back."""
    _tend(desk)
    listener.settimeout(_TEND_EVERY_S)
    while is_wanted():
        with contextlib.suppress(TimeoutError, ConnectionAbortedError):
            connection, _ = listener.accept()
            with connection:
                _talk(connection, desk, settings, clock)
        # After each answer as well: whoever asks without pause does not keep things in force.
        _tend(desk)


def _tend(desk: HelperDesk) -> None:
    try:
        problems = desk.tend()
    except GovsecError as error:  # its record cannot be written now; it may answer all the same
        problems = [str(error)]
    for problem in problems:
        log.error("still to be taken back or put back: %s", problem)


def _talk(connection: socket.socket, desk: HelperDesk, settings: Settings, clock: Clock) -> None:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    if uid not in settings.peers:
        log.warning("peer refused: uid %d, pid %d", uid, pid)
        return
    try:
        data = _receive(connection, clock)
        answer = answer_bytes(desk, data, pid)
        connection.settimeout(_TALK_LIMIT_S)
        connection.sendall(json.dumps(answer, sort_keys=True).encode() + b"\n")
        log.warning("uid %d, pid %d: %s", uid, pid, json.dumps({**answer, "facts": None}, sort_keys=True))
    except OSError as error:
        log.warning("peer lost: uid %d, pid %d: %s", uid, pid, error)


def answer_bytes(desk: HelperDesk, data: bytes, peer_pid: int) -> dict[str, Any]:
    """The answer to the bytes of a request; whatever they are, it is an answer."""
    try:
        request = json.loads(data)
        if not isinstance(request, dict):
            raise RefusedError("request: no object")
        return {"ok": True, **desk.answer(request, peer_pid)}
    except (ValueError, RecursionError) as error:
        return {"ok": False, "kind": "refused", "why": f"request: {str(error)[:200]}"}
    except (GovsecError, OSError) as error:
        if isinstance(error, RefusedError):
            kind = "refused"
        else:
            kind = "integrity" if isinstance(error, IntegrityError) else "later"
        return {"ok": False, "kind": kind, "why": str(error)[:1000]}


def _receive(connection: socket.socket, clock: Clock) -> bytes:
    end, data = clock.monotonic() + _TALK_LIMIT_S, b""
    while b"\n" not in data:
        connection.settimeout(max(0.001, end - clock.monotonic()))
        part = connection.recv(REQUEST_SIZE_MAX)
        data += part
        if not part or len(data) > REQUEST_SIZE_MAX:
            break
    return data[:REQUEST_SIZE_MAX]
