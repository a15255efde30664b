"""A directory as the parent snapshot has it, for finding what did not change.

The parent's tree is cut into the exact bytes of its nodes, and a new node's head (see ``nodes``) is compared with their
beginning: most directories are found unchanged without their nodes being parsed. Where heads differ (another program
or time zone wrote the parent, an owner changed) the node is parsed and restic's rule decides: a file is unchanged when
type, size, mtime, ctime and inode are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from govsec.errors import FormatError
from govsec.repo.layout import is_id
from govsec.repo.tree import Node, parse_ns, unquote

_HEX_ID = 64
#: An id with its quotes and a comma; a tail of n ids is 67 n + 2 bytes.
_ID_IN_JSON = 67
_NO_CONTENT = b"[]}"


class _RawTree(msgspec.Struct, frozen=True):
    nodes: list[msgspec.Raw]


class _Name(msgspec.Struct, frozen=True):
    name: str


_raw_decoder = msgspec.json.Decoder(_RawTree)
_name_decoder = msgspec.json.Decoder(_Name)
_node_decoder = msgspec.json.Decoder(Node)


class PreviousTree:
    """The nodes of one directory in the parent snapshot. Entries are asked for in ascending order of their names."""

    def __init__(self, tree_id: bytes | None, data: bytes) -> None:
        """``data`` is the tree blob. Raises ``FormatError`` when it is none."""
        self.tree_id = tree_id
        self._next = 0
        self._by_name: dict[bytes, int] | None = None
        try:
            self.nodes = [bytes(raw) for raw in _raw_decoder.decode(data).nodes]
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise FormatError(f"tree: {error}") from error

    @classmethod
    def nothing(cls) -> PreviousTree:
        """What a directory that the parent does not have is compared with."""
        return cls(None, b'{"nodes":[]}')

    def match(self, head: bytes) -> bytes | None:
        """The node that begins with ``head``, None when there is no such node."""
        # Names ascend on both sides, so an unchanged entry is nearly always the next one.
        if self._next < len(self.nodes) and self.nodes[self._next].startswith(head):
            self._next += 1
            return self.nodes[self._next - 1]
        return None

    def items(self) -> list[tuple[bytes, bytes]]:
        """Names and nodes in the order of the tree; a node whose name cannot be read is not among them."""
        if self._by_name is None:
            self._by_name = self._names()
        return [(name, self.nodes[position]) for name, position in self._by_name.items()]

    def find(self, name: bytes) -> Node | None:
        """The node of this name, None when there is none or it cannot be read."""
        if self._by_name is None:
            self._by_name = self._names()
        position = self._by_name.get(name)
        if position is None:
            return None
        self._next = position + 1
        try:
            return decode_node(self.nodes[position])
        except FormatError:
            return None

    def _names(self) -> dict[bytes, int]:
        names = {}
        for position, node in enumerate(self.nodes):
            try:
                names[unquote(_name_decoder.decode(node).name)] = position
            except (msgspec.MsgspecError, FormatError):
                continue
        return names


def is_unchanged(node: Node, status: os.stat_result) -> bool:
    """Restic's rule for reusing the content that the parent has. A node that carries an error is never reused."""
    if node.type != "file" or node.error or node.content is None or node.size != status.st_size:
        return False
    try:
        times = (parse_ns(node.mtime), parse_ns(node.ctime))
    except FormatError:
        return False
    return times == (status.st_mtime_ns, status.st_ctime_ns) and node.inode == status.st_ino


def content_tail(node: Node) -> bytes:
    """The tail of a file's node that was parsed."""
    return ("[" + ",".join([f'"{blob_id}"' for blob_id in node.content or ()]) + "]}").encode()


def is_content(tail: bytes) -> bool:
    """Whether a file's tail has the form ``["…","…"]}`` with ids of the right length."""
    return tail.startswith(b"[") and tail.endswith(b"]}") and (len(tail) % _ID_IN_JSON == 2 or tail == _NO_CONTENT)


def ids_in_contents(tails: Iterable[bytes]) -> bytes | None:
    """The blob ids in many files' tails, 32 bytes each in a row; None when one of them is none."""
    digits = b"".join(tails).translate(None, b'[]",}')
    try:
        ids = bytes.fromhex(digits.decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        return None
    return ids if len(ids) % 32 == 0 and len(digits) == 2 * len(ids) else None


def decode_node(data: bytes) -> Node:
    """One node's JSON. Raises ``FormatError``."""
    try:
        return _node_decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise FormatError(f"node: {error}") from error


def subtree_named(previous: PreviousTree, name: bytes) -> bytes | None:
    """The tree of directory ``name``, None when there is no such directory."""
    node = previous.find(name)
    if node is None or node.type != "dir" or node.subtree is None or not is_id(node.subtree):
        return None
    return bytes.fromhex(node.subtree)


def subtree_in(tail: bytes) -> bytes | None:
    """The tree id in a directory's tail (``null,"subtree":"…"}``), None when the tail is of another form."""
    prefix = b'null,"subtree":"'
    if len(tail) != len(prefix) + _HEX_ID + 2 or not tail.startswith(prefix):
        return None
    try:
        return bytes.fromhex(tail[len(prefix) : -2].decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        return None
