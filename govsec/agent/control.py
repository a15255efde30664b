"""Asking a running agent: one line of JSON over its unix socket, one line back. For root and the agent's own user only.

``{"ask": "status"}``, ``{"ask": "selftest", "limit_s": 30}``, ``{"ask": "selftest_report"}``, ``{"ask": "reload"}``.
The socket lies in a directory that only its owner may enter, and the kernel says who asks (``SO_PEERCRED``).
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from govsec.errors import FormatError, HostUnreachableError, RefusedError

ENDING = b"\n"
_ANSWER_SIZE_MAX = 1 << 20


class _Ask(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StatusAsk(_Ask):
    """How it is."""

    ask: Literal["status"]


class SelftestAsk(_Ask):
    """Begin a self-test."""

    ask: Literal["selftest"]
    limit_s: float = Field(default=30, ge=1, le=600)


class SelftestReportAsk(_Ask):
    """How the self-test goes."""

    ask: Literal["selftest_report"]


class ReloadAsk(_Ask):
    """Read the configuration again."""

    ask: Literal["reload"]


Ask = StatusAsk | SelftestAsk | SelftestReportAsk | ReloadAsk
_asks: TypeAdapter[Ask] = TypeAdapter(Annotated[Ask, Field(discriminator="ask")])


def read_ask(request: bytes) -> Ask:
    """What is asked for. Raises ``FormatError``."""
    try:
        return _asks.validate_json(request)
    except ValidationError as error:
        raise FormatError("this cannot be asked of an agent") from error


def is_admitted(connection: socket.socket) -> bool:
    """Root asks, or the agent's own user."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", data)
    return uid in (0, os.geteuid())


def ask_agent(path: Path, request: Mapping[str, JsonValue], timeout_s: float = 30) -> dict[str, JsonValue]:
    """What the agent whose control socket is at ``path`` answers.

    Raises:
        HostUnreachableError: none answers there.
        RefusedError: this user may not ask.
        FormatError: the answer makes no sense.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(timeout_s)
            connection.connect(os.fspath(path))
            connection.sendall(json.dumps(request).encode() + ENDING)
            data = b""
            while len(data) <= _ANSWER_SIZE_MAX and (part := connection.recv(64 << 10)):
                data += part
    except PermissionError as error:
        raise RefusedError(f"{path}: only root and the agent's own user may ask it") from error
    except OSError as error:
        raise HostUnreachableError(f"no agent answers at {path}: {error.strerror or error}") from error
    if not data:
        raise RefusedError(f"{path}: the agent does not answer this user, or is too busy")
    try:
        answer = json.loads(data)
    except ValueError as error:
        raise FormatError(f"{path}: the answer is no JSON") from error
    if not isinstance(answer, dict):
        raise FormatError(f"{path}: the answer is no object")
    return answer
