"""What both versions of SMB remember of one connection: shares, open pipes, what was asked, who logs in. Bounded.

All of it is made by the peers, so each table forgets its oldest entry when it is full.
"""

from __future__ import annotations

from typing import TypeVar

from govsec.dissect.dcerpc import RpcState, is_dcerpc
from govsec.dissect.messages import FlowRef, LoginOutcome, Message
from govsec.dissect.ntlm import find_ntlm
from govsec.errors import FormatError

_ENTRIES_MAX = 128
_MORE_PROCESSING = 0xC0000016
_K = TypeVar("_K")
_V = TypeVar("_V")


class SmbState:
    """One connection's memory; messages collect in it until they are taken."""

    def __init__(self, flow: FlowRef) -> None:
        self.flow = flow
        self._messages: list[Message] = []
        self._trees: dict[int, str] = {}
        self._asked: dict[int, tuple[str | None, str | None]] = {}
        self._read: dict[int, bytes] = {}
        self._pipes: dict[bytes, RpcState] = {}
        self._user: str | None = None
        self._is_anonymous = False

    def say(self, message: Message) -> None:
        """Add a message."""
        self._messages.append(message)

    def take(self) -> list[Message]:
        """The messages since the last call."""
        taken, self._messages = self._messages, []
        return taken

    def ask(self, message: int, share: str | None, name: str | None) -> None:
        """Remember what request ``message`` named, for its answer."""
        if share is not None or name is not None:
            _put(self._asked, message, (share, name))

    def remember_file(self, message: int, file: bytes) -> None:
        """Remember which file request ``message`` reads from."""
        if file in self._pipes:
            _put(self._read, message, file)

    def asked(self, message: int) -> tuple[str | None, str | None, bytes | None]:
        """Share, name and file of the request that ``message`` answers, once."""
        share, name = self._asked.pop(message, (None, None))
        return share, name, self._read.pop(message, None)

    def connect(self, tree: int, share: str) -> None:
        """A share was connected to."""
        _put(self._trees, tree, share)

    def tree(self, tree: int) -> str | None:
        """The share of a connected tree."""
        return self._trees.get(tree)

    def open_file(self, file: bytes, name: str, share: str | None) -> None:
        """A file was opened; on IPC$ (or where the share was not seen) it may be a pipe that carries calls."""
        if share is None or share.upper().endswith("IPC$"):
            _put(self._pipes, file, RpcState(self.flow, name.lstrip("\\").lower()))

    def pipe(self, is_originator: bool, file: bytes, data: bytes, time_ns: int) -> None:
        """What travels over a pipe; nothing when the file is none, or what it carries is no DCE/RPC.

        A file whose opening was not seen is a pipe when a client binds an interface on it.
        """
        if len(data) < 16 or data[0] != 5:
            return
        state = self._pipes.get(file)
        if state is None:
            if not is_dcerpc(data):
                return
            state = RpcState(self.flow)
            _put(self._pipes, file, state)
        try:
            self._messages += state.read(is_originator, data, time_ns)
        except FormatError:
            del self._pipes[file]

    def hear_ntlm(self, is_originator: bool, token: bytes, time_ns: int) -> None:
        """The security token of a session set-up."""
        ntlm = find_ntlm(token, time_ns=time_ns, flow=self.flow, is_originator=is_originator, service="smb")
        if ntlm is None:
            return
        self._messages.append(ntlm)
        if ntlm.kind == "authenticate":
            self.name_user(ntlm.user)

    def name_user(self, user: str) -> None:
        """Who asks to be let in; nobody named is an anonymous session."""
        self._user = user or None
        self._is_anonymous = not user

    def judge_login(self, is_originator: bool, status: int, time_ns: int) -> None:
        """The answer to a session set-up. Anonymous sessions and rounds in between are no log-ins."""
        if status == _MORE_PROCESSING or self._is_anonymous:
            self._is_anonymous = self._is_anonymous and status == _MORE_PROCESSING
            return
        self._messages.append(LoginOutcome(time_ns, self.flow, not is_originator, "smb", self._user, status == 0))


def _put(table: dict[_K, _V], key: _K, value: _V) -> None:
    if key not in table and len(table) >= _ENTRIES_MAX:
        del table[next(iter(table))]
    table[key] = value
