"""What all parsers of streams share: one object a flow, which is handed the bytes of both sides in order.

The contract with :mod:`govsec.dissect.streams`: ``read`` gets what has come of one side and was not consumed yet, and
says how much of it is done with. It may say more than it got: what follows is then passed over unread (the body of a
download). It raises FormatError when the bytes break the protocol, and the flow is given up. Nothing is kept that is
not needed for the next message, and ``wants`` goes false for a side as soon as nothing more is expected of it: its
packets cost nothing from there on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from govsec.dissect.messages import FlowRef, Message

#: What is read of a side of a flow: greetings, hellos, certificates and first requests lie in it.
HEAD_SIZE = 16 << 10
#: The same for protocols of many small messages, where the hundredth attempt is what gives the attack away.
DEEP_SIZE = 256 << 10


class StreamParser(ABC):
    """Reads one protocol on one flow."""

    name: ClassVar[str]
    #: Bytes of a side, counted from its first, behind which it is no longer read.
    depth: ClassVar[int] = HEAD_SIZE

    def __init__(self, flow: FlowRef) -> None:
        self.flow = flow
        #: Whether more is wanted of the responder (False) and the originator (True).
        self.wants = {False: True, True: True}
        #: Both sides agreed on another protocol (STARTTLS, CONNECT): what follows is recognised anew.
        self.is_handed_over = False
        #: What was said since the caller last took it.
        self.messages: list[Message] = []

    @property
    def is_done(self) -> bool:
        """Whether nothing more is wanted of either side."""
        return not (self.wants[False] or self.wants[True])

    def stop(self) -> None:
        """Want nothing more of either side."""
        self.wants = {False: False, True: False}

    @abstractmethod
    def read(self, is_originator: bool, data: bytes, time_ns: int) -> int:
        """Read what one side said; gives how many bytes are done with.

        Raises:
            FormatError: this is not the protocol, or not as it is allowed to be.
        """

    def measures(self, is_originator: bool) -> bool:
        """A packet of that side was cut by the capture: whether its size is enough from here on. What is missing comes
        as null bytes then; otherwise the side ends here."""
        return False

    def end(self, is_originator: bool, data: bytes, time_ns: int) -> None:  # noqa: B027 - most have nothing to add
        """One side said its last, or the rest was not captured; ``data`` was never consumed. Raises nothing."""
