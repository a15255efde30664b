"""The flows that somebody listens to: both sides put together, and the parser that reads them. All of it bounded.

A conversation begins with a flow's first payload and ends when its parser wants no more, when it broke its protocol, or
when the flow is over. :class:`Conversations` takes segments one by one, in capture order, and gives messages.
"""

from __future__ import annotations

from govsec.dissect.messages import FlowRef, Message, ProtocolError
from govsec.dissect.parsing import HEAD_SIZE, StreamParser
from govsec.dissect.recognise import recognise
from govsec.dissect.streams import Side, StreamCounters, StreamSlots
from govsec.errors import FormatError

#: Conversations at once, about 1.5 KiB each without what they hold.
CONVERSATIONS_MAX = 16_384
#: What all of them hold of bytes nobody has consumed.
HELD_SIZE_MAX = 32 << 20


class _Conversation:
    __slots__ = ("flow", "held", "last_ns", "parser", "sides", "speaks_first")

    def __init__(self, flow: FlowRef, speaks_first: bool) -> None:
        self.flow = flow
        self.speaks_first = speaks_first
        self.sides = {False: Side(), True: Side()}
        self.parser: StreamParser | None = None
        self.held = 0
        self.last_ns = 0


class Conversations:
    """All conversations of a sensor."""

    def __init__(
        self,
        slots: StreamSlots,
        counters: StreamCounters,
        *,
        conversations_max: int = CONVERSATIONS_MAX,
        held_size_max: int = HELD_SIZE_MAX,
    ) -> None:
        self._slots = slots
        self._counters = counters
        self._conversations_max = conversations_max
        self._held_size_max = held_size_max
        self._open: dict[int, _Conversation] = {}
        self._held = 0

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, flow: object) -> bool:
        return flow in self._open

    @property
    def held_size(self) -> int:
        """Bytes that are held for all conversations."""
        return self._held

    def open(self, flow: FlowRef, is_originator: bool) -> None:
        """Begin to listen to a flow, of which a side speaks."""
        if len(self._open) >= self._conversations_max:
            self._evict()
        self._open[flow.id] = _Conversation(flow, is_originator)
        self._counters.conversations += 1

    def add(
        self, flow: int, is_originator: bool, position: int, data: bytes, time_ns: int, *, size: int, is_end: bool
    ) -> list[Message]:
        """One segment of a flow that is open; gives what it completed.

        ``position``: of its first byte; ``size``: what it says it holds, more than ``data`` where the capture has its
        beginning only; ``is_end``: it has the FIN.
        """
        conversation = self._open[flow]
        conversation.last_ns = time_ns
        side = conversation.sides[is_originator]
        is_cut = size > len(data)
        if is_cut and conversation.parser is not None and conversation.parser.measures(is_originator):
            data, is_cut = data + bytes(size - len(data)), False
        if position < 0:
            data, position = data[-position:], 0
        if is_cut and side.cut_at < 0:
            side.cut_at = position + len(data)
        elif is_end and side.end_at < 0:
            side.end_at = position + len(data)
        if data:
            self._counters.overlaps_bytes += side.add(position, data)
        messages = self._read(conversation, is_originator, time_ns)
        self._weigh(conversation)
        return messages

    def reset(self, flow: int, is_originator: bool, position: int, time_ns: int) -> list[Message]:
        """A side broke off. A reset from outside its window is none (RFC 9293, 3.5.2): anybody could send it."""
        conversation = self._open[flow]
        expected = conversation.sides[is_originator].next
        if not expected <= position <= expected + 0xFFFF:
            return []
        return self.close(flow, time_ns)

    def close(self, flow: int, time_ns: int | None = None) -> list[Message]:
        """The flow is over: what is left is read. Without a time the messages have that of the last segment."""
        conversation = self._open.pop(flow)
        self._held -= conversation.held
        when = conversation.last_ns if time_ns is None else time_ns
        messages = []
        if conversation.parser is not None:
            for is_originator in (True, False):
                messages += self._end(conversation, is_originator, when)
        self._want_nothing(conversation)
        return messages

    def _read(self, conversation: _Conversation, is_originator: bool, time_ns: int) -> list[Message]:
        side = conversation.sides[is_originator]
        if conversation.parser is None:
            messages = self._recognise(conversation, time_ns)
        else:
            messages = self._feed(conversation, conversation.parser, is_originator, time_ns)
        parser = conversation.parser
        if parser is None:
            # Nobody can say what it is, and no more will come to tell.
            if conversation.flow.id in self._open and (side.is_over or side.is_torn or len(side.buffer) > HEAD_SIZE):
                self._drop(conversation)
                self._counters.unrecognised += 1
            return messages
        if not parser.wants[is_originator]:
            self._settle(conversation, parser, is_originator)
        elif side.is_over or side.is_torn or side.next >= parser.depth or len(side.buffer) > HEAD_SIZE:
            self._counters.cuts += side.next == side.cut_at
            self._counters.gaps += side.is_torn
            self._counters.limits += side.next >= parser.depth or len(side.buffer) > HEAD_SIZE
            messages += self._end(conversation, is_originator, time_ns)
            self._settle(conversation, parser, is_originator)
        return messages

    def _recognise(self, conversation: _Conversation, time_ns: int) -> list[Message]:
        sides = conversation.sides
        found = recognise(bytes(sides[True].buffer), bytes(sides[False].buffer))
        if found is None:
            return []
        if isinstance(found, bool):
            self._drop(conversation)
            self._counters.unrecognised += 1
            return []
        parser = conversation.parser = found(conversation.flow)
        messages = []
        for is_originator in (conversation.speaks_first, not conversation.speaks_first):
            if conversation.parser is parser and sides[is_originator].buffer:
                messages += self._feed(conversation, parser, is_originator, time_ns)
        return messages

    def _feed(
        self, conversation: _Conversation, parser: StreamParser, is_originator: bool, time_ns: int
    ) -> list[Message]:
        side = conversation.sides[is_originator]
        messages: list[Message] = []
        if side.buffer and parser.wants[is_originator]:
            try:
                side.consume(parser.read(is_originator, bytes(side.buffer), time_ns))
                if parser.is_handed_over:
                    conversation.parser, conversation.speaks_first = None, True
            except FormatError as error:
                parser.stop()
                self._counters.malformed_flows += 1
                position = side.next - len(side.buffer)
                messages.append(ProtocolError(time_ns, conversation.flow, parser.name, str(error)[:200], position))
        messages[:0] = parser.messages
        parser.messages.clear()
        return messages

    def _end(self, conversation: _Conversation, is_originator: bool, time_ns: int) -> list[Message]:
        parser = conversation.parser
        if parser is None or not parser.wants[is_originator]:
            return []
        side = conversation.sides[is_originator]
        parser.end(is_originator, b"" if side.skip else bytes(side.buffer), time_ns)
        parser.wants[is_originator] = False
        messages = list(parser.messages)
        parser.messages.clear()
        return messages

    def _settle(self, conversation: _Conversation, parser: StreamParser, is_originator: bool) -> None:
        """Free what a side that is not wanted any more holds, and the conversation when no side is."""
        if parser.is_done:
            self._drop(conversation)
            return
        self._slots.want(conversation.flow.id, is_originator, False)
        conversation.sides[is_originator] = Side()

    def _drop(self, conversation: _Conversation) -> None:
        if self._open.pop(conversation.flow.id, None) is not None:
            self._held -= conversation.held
        self._want_nothing(conversation)

    def _want_nothing(self, conversation: _Conversation) -> None:
        self._slots.want(conversation.flow.id, True, False)
        self._slots.want(conversation.flow.id, False, False)

    def _weigh(self, conversation: _Conversation) -> None:
        if conversation.flow.id not in self._open:
            return
        one, other = conversation.sides[False], conversation.sides[True]
        held = len(one.buffer) + one.held + len(other.buffer) + other.held
        self._held += held - conversation.held
        conversation.held = held
        while self._held > self._held_size_max and self._open:
            self._evict()

    def _evict(self) -> None:
        """Give up the oldest conversation; what it could still have said is lost."""
        self._drop(next(iter(self._open.values())))
        self._counters.conversations_evicted += 1
