"""SMB 1 (MS-CIFS, MS-SMB) and 2 and 3 (MS-SMB2): log-ins, shares, named files, and what travels over named pipes.

::

    NetBIOS: type (1) = 0 || size (3)   then one message, or a chain of them
    SMB 2:   fe "SMB" || 64 (2) || credit (2) || status (4) || command (2) || credits (2) || flags (4) || next (4)
             || message (8) || reserved (4) || tree (4) || session (8) || signature (16) || body
    SMB 1:   ff "SMB" || command (1) || status (4) || flags (1) || flags (2) || ... || tree (2) at 24 || ...
             || message (2) at 30 || count of words (1) || words || count of bytes (2) || bytes

Only the beginning of a message is looked at (:data:`MESSAGE_MAX`): names and calls lie there; the rest, a file's
content as a rule, is passed over. Sealed messages (fd "SMB") end it. SMB 1 is in :mod:`govsec.dissect.smb1`.
"""

from __future__ import annotations

import struct

from govsec.dissect.messages import FlowRef, SmbCommand
from govsec.dissect.parsing import DEEP_SIZE, StreamParser
from govsec.dissect.smb1 import read_smb1
from govsec.dissect.smbstate import SmbState
from govsec.dissect.wire import show_utf16
from govsec.errors import FormatError

MESSAGE_MAX = 8 << 10
_HEADER_SIZE = 64
_CHAIN_MAX = 16
_IS_RESPONSE, _IS_ASYNC = 0x1, 0x2
_COMMANDS = (
    "negotiate", "session_setup", "logoff", "tree_connect", "tree_disconnect", "create", "close", "flush", "read",
    "write", "lock", "ioctl", "cancel", "echo", "query_directory", "change_notify", "query_info", "set_info",
    "oplock_break",
)  # fmt: skip
_NEGOTIATE, _SESSION_SETUP, _TREE_CONNECT, _CREATE, _READ, _WRITE, _IOCTL = 0, 1, 3, 5, 8, 9, 11
#: Commands that say nothing about who does what; a copied file is thousands of them.
_UNTOLD = frozenset({6, 7, _READ, _WRITE, 10, 12, 13, 14, 15, 16, 18})
_PIPE_TRANSCEIVE = 0x0011C017
_STATUS_PENDING = 0x00000103


def is_smb(data: bytes) -> bool | None:
    """Whether a side's first bytes are a message of SMB, or NetBIOS asking for a session; None: too few to say."""
    if len(data) < 8:
        return None if data[:1] in (b"", b"\0", b"\x81", b"\x82") else False
    if data[0] == 0x81:
        return data[1] == 0 and data[4] == 0x20
    if data[:4] == b"\x82\0\0\0":
        return data[5:8] == b"\0\0\0" or data[4] == 0
    return data[0] == 0 and data[4:8] in (b"\xffSMB", b"\xfeSMB", b"\xfdSMB", b"\xfcSMB")


class SmbParser(StreamParser):
    """Messages of one connection."""

    name = "smb"
    depth = DEEP_SIZE

    def __init__(self, flow: FlowRef) -> None:
        super().__init__(flow)
        self._state = SmbState(flow)

    def read(self, is_originator: bool, data: bytes, time_ns: int) -> int:
        at = 0
        while self.wants[is_originator] and len(data) - at >= 4:
            kind, size = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
            if kind not in (0x00, 0x81, 0x82, 0x83, 0x84, 0x85):
                raise FormatError(f"a NetBIOS message of type {kind:#x}")
            if len(data) - at < 4 + min(size, MESSAGE_MAX):
                break
            if kind == 0:
                self._message(is_originator, data[at + 4 : at + 4 + min(size, MESSAGE_MAX)], time_ns)
            at += 4 + size
        self.messages += self._state.take()
        return at

    def _message(self, is_originator: bool, data: bytes, time_ns: int) -> None:
        signature = data[:4]
        if signature == b"\xffSMB":
            read_smb1(self._state, is_originator, data, time_ns)
        elif signature in (b"\xfdSMB", b"\xfcSMB"):  # sealed, compressed
            self.stop()
        elif signature == b"\xfeSMB":
            for _ in range(_CHAIN_MAX):
                size = self._smb2(is_originator, data, time_ns)
                if not size:
                    return
                data = data[size:]
        elif data:
            raise FormatError(f"an SMB message that begins with {signature.hex()}")

    def _smb2(self, is_originator: bool, data: bytes, time_ns: int) -> int:
        """One message of a chain; gives where the next one begins, 0 when there is none."""
        if len(data) < _HEADER_SIZE or data[:4] != b"\xfeSMB":
            raise FormatError(f"an SMB 2 message of {len(data)} bytes")
        status, command, _, flags, following, message = struct.unpack_from("<IHHIIQ", data, 8)
        tree = 0 if flags & _IS_ASYNC else int.from_bytes(data[36:40], "little")
        if command >= len(_COMMANDS):
            raise FormatError(f"an SMB 2 command {command}")
        own = data[:following] if following else data
        if flags & _IS_RESPONSE:
            if status != _STATUS_PENDING:
                self._response(is_originator, command, status, message, tree, own, time_ns)
        else:
            self._request(is_originator, command, message, tree, own, time_ns)
        if following and (following < _HEADER_SIZE or following % 8):
            raise FormatError(f"a chain of SMB 2 goes on at {following}")
        return following if following < len(data) else 0

    def _request(self, is_originator: bool, command: int, message: int, tree: int, data: bytes, time_ns: int) -> None:
        state, body = self._state, data[_HEADER_SIZE:]
        name = share = None
        if command == _SESSION_SETUP:
            state.hear_ntlm(is_originator, _at(data, body, 12), time_ns)
        elif command == _TREE_CONNECT:
            share = show_utf16(_at(data, body, 4))
        elif command == _CREATE:
            name = show_utf16(_at(data, body, 44))
        elif command == _WRITE and len(body) >= 32:
            state.pipe(is_originator, body[16:32], data[int.from_bytes(body[2:4], "little") :], time_ns)
        elif command == _READ and len(body) >= 32:
            state.remember_file(message, body[16:32])
        elif command == _IOCTL and len(body) >= 32 and int.from_bytes(body[4:8], "little") == _PIPE_TRANSCEIVE:
            begin, size = struct.unpack_from("<II", body, 24)
            state.pipe(is_originator, body[8:24], data[begin : begin + size], time_ns)
        state.ask(message, share, name)
        if command not in _UNTOLD:
            self._tell(is_originator, command, share or state.tree(tree), name, None, time_ns)

    def _response(
        self, is_originator: bool, command: int, status: int, message: int, tree: int, data: bytes, time_ns: int
    ) -> None:
        state, body = self._state, data[_HEADER_SIZE:]
        share, name, file = state.asked(message)
        if command == _SESSION_SETUP:
            state.hear_ntlm(is_originator, _at(data, body, 4), time_ns)
            state.judge_login(is_originator, status, time_ns)
        elif command == _TREE_CONNECT and status == 0 and share is not None:
            state.connect(tree, share)
        elif command == _CREATE and status == 0 and name is not None and len(body) >= 80:
            state.open_file(body[64:80], name, state.tree(tree))
        elif command == _READ and file is not None and len(body) >= 8:
            begin, size = body[2], int.from_bytes(body[4:8], "little")
            state.pipe(is_originator, file, data[begin : begin + size], time_ns)
        elif command == _IOCTL and len(body) >= 40 and int.from_bytes(body[4:8], "little") == _PIPE_TRANSCEIVE:
            begin, size = struct.unpack_from("<II", body, 32)
            state.pipe(is_originator, body[8:24], data[begin : begin + size], time_ns)
        if command not in _UNTOLD:
            self._tell(is_originator, command, share or state.tree(tree), name, status, time_ns)

    def _tell(
        self, is_originator: bool, command: int, share: str | None, name: str | None, status: int | None, time_ns: int
    ) -> None:
        self._state.say(
            SmbCommand(
                time_ns, self.flow, is_originator, "SMB2", _COMMANDS[command], share, name, status, status is not None
            )
        )


def _at(data: bytes, body: bytes, at: int) -> bytes:
    """What a field of position (from the header on) and size (2, 2) in ``body`` names; empty when it lies outside."""
    if len(body) < at + 4:
        return b""
    begin, size = struct.unpack_from("<HH", body, at)
    return data[begin : begin + size] if begin >= _HEADER_SIZE else b""
