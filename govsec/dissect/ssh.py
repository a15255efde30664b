"""SSH before it encrypts: both banners, and the lists of each key exchange (RFC 4253, 4.2, 6 and 7.1). After that, how
large the server's first answers are: it refuses one log-in like the other (RFC 4252, 5.1).

::

    banner: "SSH-" version "-" software " " comments CR LF
    packet: size (4) || padding size (1) || payload || padding
    KEXINIT: 20 (1) || cookie (16) || ten name lists, each size (4) || names with commas || ...

An answer is all that a server says until the client speaks again, so it is the same however TCP cuts it.
"""

from __future__ import annotations

from collections.abc import Sequence

from govsec.dissect.fingerprints import hassh
from govsec.dissect.messages import FlowRef, SshAnswers, SshBanner, SshKeyExchange
from govsec.dissect.parsing import StreamParser
from govsec.dissect.wire import Cursor, show
from govsec.errors import FormatError

_BANNER_MAX = 255
#: A server may say lines before its banner (RFC 4253, 4.2).
_LINES_BEFORE_MAX = 16
_PACKET_MAX = 35_000
_KEXINIT = 20
_LISTS_COUNT = 10
#: Answers before the first refusal: the rest of the key exchange (two with group exchange), extensions, the service,
#: and a notice. Later rows of equal answers are somebody who types.
_BEFORE_MAX = 5
#: Answers that are looked at, and those after the refusals that settle it: nobody who is refused gets so many.
_ANSWERS_MAX = 64
_SETTLED = 4


def is_ssh(data: bytes) -> bool | None:
    """Whether a side's first bytes are a banner; None: too few to say."""
    return True if data.startswith(b"SSH-") else None if b"SSH-".startswith(data) else False


class SshParser(StreamParser):
    """Banner and first key exchange of both sides, and the sizes of the server's first answers."""

    name = "ssh"

    def __init__(self, flow: FlowRef) -> None:
        super().__init__(flow)
        self._software = {False: "", True: ""}
        self._lines = {False: 0, True: 0}
        self._is_sealed = {False: False, True: False}
        self._answers: list[int] = []
        self._answer_size = 0

    def read(self, is_originator: bool, data: bytes, time_ns: int) -> int:
        if self._is_sealed[is_originator]:
            self._sealed(is_originator, len(data), time_ns)
            return len(data)
        at = 0
        while not self._software[is_originator]:
            end = data.find(b"\n", at)
            if end < 0:
                if len(data) - at > _BANNER_MAX:
                    raise FormatError(f"a line of SSH of more than {_BANNER_MAX} bytes")
                return at
            self._line(is_originator, data[at:end].rstrip(b"\r"), time_ns)
            at = end + 1
        if len(data) - at < 6:
            return at
        size = int.from_bytes(data[at : at + 4], "big")
        if not 2 <= size <= _PACKET_MAX:
            raise FormatError(f"an SSH packet of {size} bytes")
        if data[at + 5] != _KEXINIT:
            self.wants[is_originator] = False
        elif len(data) - at >= 4 + size:
            self._key_exchange(is_originator, data[at + 5 : at + 4 + size], time_ns)
            self._is_sealed[is_originator] = True
            at += 4 + size
            self._sealed(is_originator, len(data) - at, time_ns)
            return len(data)
        return at

    def measures(self, is_originator: bool) -> bool:
        # Only beginnings of sealed packets reach a live sensor, and of a key exchange in two packets the first one.
        if self._software[is_originator]:
            self._is_sealed[is_originator] = True
        return self._is_sealed[is_originator]

    def end(self, is_originator: bool, data: bytes, time_ns: int) -> None:
        if self._is_sealed[False] and self._is_sealed[True]:
            self._tell(time_ns)

    def _sealed(self, is_originator: bool, size: int, time_ns: int) -> None:
        if not is_originator:
            self._answer_size += size
        elif self._answer_size and size:
            self._answers.append(self._answer_size)
            self._answer_size = 0
            later_count = answers_shape(self._answers)[1]
            if later_count >= _SETTLED or len(self._answers) >= _ANSWERS_MAX:
                self._tell(time_ns)

    def _tell(self, time_ns: int) -> None:
        """What the answers look like, once; nothing more is wanted then."""
        if self.is_done:
            return
        answers = [*self._answers, self._answer_size] if self._answer_size else self._answers
        if answers:
            self.messages.append(SshAnswers(time_ns, self.flow, False, *answers_shape(answers)))
        self.stop()

    def _line(self, is_originator: bool, line: bytes, time_ns: int) -> None:
        if line.startswith(b"SSH-"):
            text = show(line, _BANNER_MAX)
            self._software[is_originator] = text
            self.messages.append(SshBanner(time_ns, self.flow, is_originator, text))
            return
        self._lines[is_originator] += 1
        if self._lines[is_originator] > _LINES_BEFORE_MAX:
            raise FormatError(f"more than {_LINES_BEFORE_MAX} lines before the banner of SSH")

    def _key_exchange(self, is_originator: bool, payload: bytes, time_ns: int) -> None:
        cursor = Cursor(payload)
        cursor.skip(1 + 16)
        lists = [cursor.take(cursor.u32()).decode("ascii", "backslashreplace") for _ in range(_LISTS_COUNT)]
        # Lists come in pairs, for what the client sends and for what the server sends; each side is known by its own.
        own = 0 if is_originator else 1
        digest = hassh(lists[0], lists[2 + own], lists[4 + own], lists[6 + own])
        self.messages.append(SshKeyExchange(time_ns, self.flow, is_originator, digest, self._software[is_originator]))


def answers_shape(sizes: Sequence[int]) -> tuple[int, int]:
    """How many answers of one size, or of two in turn, come one after the other near the beginning (0: not even two),
    and how many after them."""
    refused_count, end = 0, min(len(sizes), _BEFORE_MAX)
    for start in range(min(len(sizes), _BEFORE_MAX + 1)):
        for period in (1, 2):
            at = start + period
            while at < len(sizes) and sizes[at] == sizes[at - period]:
                at += 1
            rounds = (at - start) // period
            if rounds >= 2 and rounds > refused_count:
                refused_count, end = rounds, at
    return refused_count, len(sizes) - end
