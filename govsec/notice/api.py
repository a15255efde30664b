"""What a channel is, and what it gives back.

Sent, received and acknowledged are three things: a channel's receipt says what the far side's machine answered; that a
person took a notice on is said elsewhere, by that person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from govsec.errors import GovsecError
from govsec.notice.parts import Part
from govsec.records import Notice


class ReceiptState(StrEnum):
    """What the far side's answer means."""

    #: It has the message, and will hand it on or says that it did.
    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    #: The protocol has no answer: syslog over UDP, a file.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came back. ``number`` is the far side's name for the message, empty when it gives none."""

    state: ReceiptState
    time: datetime
    number: str = ""
    detail: str = ""


class DeliveryError(GovsecError):
    """A channel did not take a notice. The message never holds a token, a password or a signature."""

    exit_code = 4

    def __init__(self, message: str, *, is_retryable: bool, after_s: float | None = None) -> None:
        """``after_s``: what the far side asks for before the next try, when it says so."""
        super().__init__(message)
        self.is_retryable = is_retryable
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class Limits:
    """What a channel bears. Robots of DingTalk, WeCom and Feishu mute who sends too much."""

    per_minute: int | None = None
    per_day: int | None = None


class Channel(Protocol):
    """One way to people."""

    @property
    def name(self) -> str:
        """The name in the configuration."""
        ...

    @property
    def limits(self) -> Limits:
        """How much may be sent."""
        ...

    def send(self, notice: Notice) -> Receipt:
        """Hand the notice over, with its key where the far side can tell doubles apart; returns within a minute.

        Raises:
            DeliveryError: it was not taken, whatever the status line said.
        """
        ...


@runtime_checkable
class InParts(Protocol):
    """What a channel is besides, whose messages have a length: one notice becomes several, each sent on its own."""

    def parts_of(self, notice: Notice) -> tuple[Part, ...]:
        """The messages that the notice takes, one at least.

        Raises:
            DeliveryError: it cannot be put into messages.
        """
        ...

    def send_part(self, notice: Notice, part: Part) -> Receipt:
        """Hand one of them over. Raises as ``Channel.send``."""
        ...


@runtime_checkable
class ForSeveral(InParts, Protocol):
    """What a channel in parts is besides, whose far side takes one message for several recipients and answers for each.

    Its parts differ in their recipient alone.
    """

    def send_parts(self, notice: Notice, parts: Sequence[Part]) -> Sequence[Receipt | DeliveryError]:
        """Hand one message over for the recipients of these parts; gives what came of each, in their order.

        Raises:
            DeliveryError: it was taken for none of them, for a reason that is not a recipient's.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What an HTTP server answered. ``retry_after_s``: what it asked for, in seconds."""

    status: int
    body: bytes
    retry_after_s: float | None = None


class Poster(Protocol):
    """One HTTP request to a configured place; no redirects, addresses checked, TLS verified."""

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send a body.

        Raises:
            DeliveryError: nothing came back that could be an answer.
        """
        ...

    def get(self, url: str, headers: Mapping[str, str]) -> Reply:
        """Ask without a body. Raises as :meth:`post`."""
        ...
