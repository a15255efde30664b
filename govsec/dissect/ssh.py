"""SSH before it encrypts: both banners, and the lists of each key exchange (RFC 4253, 4.2, 6 and 7.1).

::

    banner: "SSH-" version "-" software " " comments CR LF
    packet: size (4) || padding size (1) || payload || padding
    KEXINIT: 20 (1) || cookie (16) || ten name lists, each size (4) || names with commas || ...
"""

from __future__ import annotations

from govsec.dissect.fingerprints import hassh
from govsec.dissect.messages import FlowRef, SshBanner, SshKeyExchange
from govsec.dissect.parsing import StreamParser
from govsec.dissect.wire import Cursor, show
from govsec.errors import FormatError

_BANNER_MAX = 255
#: A server may say lines before its banner (RFC 4253, 4.2).
_LINES_BEFORE_MAX = 16
_PACKET_MAX = 35_000
_KEXINIT = 20
_LISTS_COUNT = 10


def is_ssh(data: bytes) -> bool | None:
    """Whether a side's first bytes are a banner; None: too few to say."""
    return True if data.startswith(b"SSH-") else None if b"SSH-".startswith(data) else False


class SshParser(StreamParser):
    """Banner and first key exchange of both sides."""

    name = "ssh"

    def __init__(self, flow: FlowRef) -> None:
        super().__init__(flow)
        self._software = {False: "", True: ""}
        self._lines = {False: 0, True: 0}

    def read(self, is_originator: bool, data: bytes, time_ns: int) -> int:
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
            self.wants[is_originator] = False
            at += 4 + size
        return at

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
