"""Asking the root helper: an actor whose deeds are done at the other end of a unix socket."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from govsec.clock import Clock, parse_time
from govsec.errors import HostUnreachableError, IntegrityError, RefusedError, TryAgainError
from govsec.response.api import Outcome
from govsec.response.order import Order

#: The helper takes a minute for a command of the system, and a pack of evidence is written before.
_LIMIT_S = 180.0
_ANSWER_MAX = 1 << 20


class HelperActor:
    """The verbs of the helper that listens at ``path``."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def rehearse(self, order: Order) -> Mapping[str, JsonValue]:
        return _facts(self._ask({"step": "try", "order": order.body()}))

    def carry_out(self, order: Order, approvals: Sequence[bytes]) -> Outcome:
        return _outcome(self._ask({"step": "do", "approvals": [document.decode() for document in approvals]}))

    def check(self, order: Order) -> Outcome:
        return _outcome(self._ask({"step": "check", "nonce": order.nonce}))

    def take_back(self, order: Order) -> Outcome:
        return _outcome(self._ask({"step": "undo", "nonce": order.nonce}))

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        data = json.dumps(request).encode() + b"\n"
        end, answer = self._clock.monotonic() + _LIMIT_S, b""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
                talk.settimeout(_LIMIT_S)
                talk.connect(os.fspath(self._path))
                talk.sendall(data)
                while b"\n" not in answer and len(answer) <= _ANSWER_MAX:
                    talk.settimeout(max(0.001, end - self._clock.monotonic()))
                    part = talk.recv(65536)
                    if not part:
                        break
                    answer += part
        except OSError as error:
            raise HostUnreachableError(f"helper {self._path}: {error}") from error
        return self._understood(answer)

    def _understood(self, answer: bytes) -> dict[str, Any]:
        try:
            found = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise HostUnreachableError(f"helper {self._path}: gave no answer; is this user among its peers?") from error
        if not isinstance(found, dict) or not isinstance(found.get("facts", {}), dict):
            raise TryAgainError(f"helper {self._path}: gave no answer that can be read")
        if found.get("ok") is True:
            return found
        why = str(found.get("why", ""))[:1000]
        kinds = {"refused": RefusedError, "integrity": IntegrityError}
        raise kinds.get(str(found.get("kind")), TryAgainError)(f"helper: {why}")


def _facts(answer: Mapping[str, Any]) -> Mapping[str, JsonValue]:
    return dict(answer.get("facts", {}))


def _outcome(answer: Mapping[str, Any]) -> Outcome:
    try:
        ends = parse_time(str(answer["ends"]))
    except (KeyError, ValueError) as error:
        raise TryAgainError("helper: gave no answer that can be read") from error
    return Outcome(str(answer.get("state", "")), answer.get("holds") is True, _facts(answer), ends)
