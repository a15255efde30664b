"""SMB 1: what lies at fixed places in the words of each command (MS-CIFS 2.2.4, MS-SMB 2.2.4).

The layout of the header is in :mod:`govsec.dissect.smb`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from govsec.dissect.messages import SmbCommand
from govsec.dissect.smbstate import SmbState
from govsec.dissect.wire import show, show_utf16
from govsec.errors import FormatError

_HEADER_SIZE = 32
_NEGOTIATE, _SESSION_SETUP, _TREE_CONNECT, _CREATE, _OPEN = 0x72, 0x73, 0x75, 0xA2, 0x2D
_TRANSACTION, _READ, _WRITE, _LOGOFF, _TREE_DISCONNECT = 0x25, 0x2E, 0x2F, 0x74, 0x71
_TOLD = {
    _NEGOTIATE: "negotiate", _SESSION_SETUP: "session_setup", _TREE_CONNECT: "tree_connect", _CREATE: "create",
    _OPEN: "create", _TRANSACTION: "transaction", _LOGOFF: "logoff", _TREE_DISCONNECT: "tree_disconnect",
    0x32: "transaction2", 0xA0: "nt_transaction", 0x06: "delete", 0x07: "rename",
}  # fmt: skip
_IS_RESPONSE, _IS_UNICODE = 0x80, 0x8000


@dataclass(frozen=True, slots=True)
class _Message:
    data: bytes
    command: int
    status: int
    is_response: bool
    is_unicode: bool
    tree: int
    id: int
    words: bytes
    #: Where the bytes behind the words begin.
    bytes_at: int

    def text(self, at: int) -> str:
        """The text at ``at``, up to its null; UTF-16 lies at an even place."""
        if not self.is_unicode:
            return show(self.data[at:].partition(b"\0")[0])
        at += at % 2
        end = at
        while end + 1 < len(self.data) and self.data[end : end + 2] != b"\0\0":
            end += 2
        return show_utf16(self.data[at:end])

    def word(self, position: int) -> int:
        """The word at ``position``; 0 where there are fewer."""
        return int.from_bytes(self.words[2 * position : 2 * position + 2], "little")


def read_smb1(state: SmbState, is_originator: bool, data: bytes, time_ns: int) -> None:
    """Read one message into ``state``.

    Raises:
        FormatError: it is cut off within its header or words.
    """
    message = _parse(data)
    share: str | None
    name: str | None
    if message.is_response:
        share, name, file = state.asked(message.id)
        _response(state, is_originator, message, share, name, file, time_ns)
    else:
        share, name = _request(state, is_originator, message, time_ns)
        state.ask(message.id, share, name)
    command = _TOLD.get(message.command)
    if command is not None:
        status = message.status if message.is_response else None
        share = share or state.tree(message.tree)
        state.say(
            SmbCommand(time_ns, state.flow, is_originator, "SMB1", command, share, name, status, message.is_response)
        )


def _parse(data: bytes) -> _Message:
    if len(data) < _HEADER_SIZE + 1 or len(data) < _HEADER_SIZE + 1 + 2 * data[_HEADER_SIZE]:
        raise FormatError(f"an SMB 1 message of {len(data)} bytes")
    flags2, tree = struct.unpack_from("<H12xH", data, 10)
    after = _HEADER_SIZE + 1 + 2 * data[_HEADER_SIZE]
    return _Message(
        data=data,
        command=data[4],
        status=int.from_bytes(data[5:9], "little"),
        is_response=bool(data[9] & _IS_RESPONSE),
        is_unicode=bool(flags2 & _IS_UNICODE),
        tree=tree,
        id=int.from_bytes(data[30:32], "little"),
        words=data[_HEADER_SIZE + 1 : after],
        bytes_at=after + 2,
    )


def _request(state: SmbState, is_originator: bool, message: _Message, time_ns: int) -> tuple[str | None, str | None]:
    """The share and the file that a request names."""
    command, count = message.command, len(message.words) // 2
    if command == _SESSION_SETUP and count == 12:
        token = message.data[message.bytes_at : message.bytes_at + message.word(7)]
        state.hear_ntlm(is_originator, token, time_ns)
    elif command == _SESSION_SETUP and count == 13:  # before NTLM was wrapped: two passwords, then the name
        state.name_user(message.text(message.bytes_at + message.word(7) + message.word(8)))
    elif command == _TREE_CONNECT and count >= 4:
        return message.text(message.bytes_at + message.word(3)), None
    elif (command == _CREATE and count >= 24) or (command == _OPEN and count >= 15):
        return None, message.text(message.bytes_at)
    elif command == _WRITE and count >= 12:
        begin, size = message.word(11), message.word(10)
        state.pipe(is_originator, _file(message, 2), message.data[begin : begin + size], time_ns)
    elif command == _READ and count >= 10:
        state.remember_file(message.id, _file(message, 2))
    elif command == _TRANSACTION and count >= 16:
        begin, size = message.word(12), message.word(11)
        state.pipe(is_originator, _file(message, 15), message.data[begin : begin + size], time_ns)
        state.remember_file(message.id, _file(message, 15))
    return None, None


def _response(
    state: SmbState,
    is_originator: bool,
    message: _Message,
    share: str | None,
    name: str | None,
    file: bytes | None,
    time_ns: int,
) -> None:
    command, count = message.command, len(message.words) // 2
    if command == _SESSION_SETUP:
        if count == 4:
            token = message.data[message.bytes_at : message.bytes_at + message.word(3)]
            state.hear_ntlm(is_originator, token, time_ns)
        state.judge_login(is_originator, message.status, time_ns)
    elif command == _TREE_CONNECT and message.status == 0 and share is not None:
        state.connect(message.tree, share)
    elif command == _CREATE and message.status == 0 and name is not None and count >= 4:
        # AndX (4), op lock (1), then the file's number (2): at an odd place.
        state.open_file(message.words[5:7], name, state.tree(message.tree))
    elif command == _OPEN and message.status == 0 and name is not None and count >= 3:
        state.open_file(_file(message, 2), name, state.tree(message.tree))
    elif command == _READ and file is not None and count >= 7:
        state.pipe(is_originator, file, message.data[message.word(6) :][: message.word(5)], time_ns)
    elif command == _TRANSACTION and file is not None and count >= 8:
        state.pipe(is_originator, file, message.data[message.word(7) :][: message.word(6)], time_ns)


def _file(message: _Message, position: int) -> bytes:
    return message.words[2 * position : 2 * position + 2]
