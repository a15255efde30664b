"""Trees: one directory each, as JSON that is byte for byte what restic writes.

The encoding matters: a tree's id is the digest of its JSON, so two writers share trees only when they agree on every
byte. That means Go's ``encoding/json``: fields in a fixed order, no white space, ``<``, ``>`` and ``&`` as ``\\u003c``
…, U+2028 and U+2029 escaped, a newline at the end. Names are bytes; they are written as Go's ``strconv.Quote`` gives
them without the outer quotes, then as a JSON string. Times are RFC 3339 with nanoseconds, trailing zeros dropped,
always UTC. ``mode`` is Go's ``os.FileMode``, not ``st_mode``.

Reading is strict where a hostile tree could do harm: names that are empty, ``.``, ``..``, or hold ``/`` or NUL, names
not strictly ascending by their bytes (so none occurs twice), unknown types, ids that are none, a directory without a
subtree, a file without a content list: all refused. Unknown fields are skipped.

Source: restic ``internal/data/node.go`` and ``tree.go``; Go ``strconv.Quote``, ``encoding/json``.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from govsec.errors import FormatError, LimitError
from govsec.repo.layout import TREE_BLOB_SIZE_MAX, is_id

NodeType = Literal["file", "dir", "symlink", "dev", "chardev", "fifo", "socket", "irregular"]

#: Go's os.FileMode bits above the permissions.
MODE_DIR = 1 << 31
MODE_SYMLINK = 1 << 27
MODE_DEVICE = 1 << 26
MODE_NAMED_PIPE = 1 << 25
MODE_SOCKET = 1 << 24
MODE_SETUID = 1 << 23
MODE_SETGID = 1 << 22
MODE_CHAR_DEVICE = 1 << 21
MODE_STICKY = 1 << 20
MODE_IRREGULAR = 1 << 19

_SECOND = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
_ZONE = re.compile(r"[+-][0-9]{2}:[0-9]{2}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_SECOND = timedelta(seconds=1)
_TREE_HEAD = b'{"nodes":['
_TREE_TAIL = b"]}\n"
_PLAIN_NAME = re.compile(rb"[ !#-\[\]-~]+")
_NULL_ID = "0" * 64
_NAME_MAX = 4096
#: Nodes and extended attributes of one directory. Each is one JSON object and takes up to a kilobyte while it is
#: decoded, so their number bounds the memory that a hostile tree can take.
OBJECTS_MAX = 1_000_000
_SHORT_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
_UNESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}
_ESCAPE = re.compile(
    r"\\(?:([abtnvfr\"\\])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2}))|([^\\\"\n]+)"
)


_U32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
_I63 = Annotated[int, Meta(ge=0, le=0x7FFFFFFFFFFFFFFF)]
#: Bounded from above by :func:`_check_node`; msgspec's bounds end at 63 bits, inode numbers of some systems do not.
_U64 = Annotated[int, Meta(ge=0)]


class ExtendedAttribute(msgspec.Struct, frozen=True):
    """One extended attribute; the value is base64 in JSON, null when empty."""

    name: str
    value: bytes | None = msgspec.field(default_factory=lambda: None)


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of a directory, with restic's fields in restic's order. ``name`` is quoted; see :func:`raw_name`."""

    name: str
    type: NodeType
    mode: _U32 = 0
    mtime: str
    atime: str
    ctime: str
    uid: _U32
    gid: _U32
    user: str = ""
    group: str = ""
    inode: _U64 = 0
    device_id: _U64 = 0
    size: _I63 = 0
    links: _I63 = 0
    linktarget: str = ""
    linktarget_raw: bytes = b""
    extended_attributes: list[ExtendedAttribute] | None = None
    generic_attributes: dict[str, msgspec.Raw] | None = None
    device: _U64 = 0
    # Written also when it is null, which a plain default would leave out.
    content: list[str] | None = msgspec.field(default_factory=lambda: None)
    subtree: str | None = None
    error: str = ""


class Tree(msgspec.Struct, frozen=True):
    """One directory."""

    nodes: list[Node]


_node_encoder = msgspec.json.Encoder()
_tree_decoder = msgspec.json.Decoder(Tree)


def decode_tree(data: bytes) -> Tree:
    """The directory in a tree blob.

    Raises:
        LimitError: larger than any honest directory.
        FormatError: not JSON of a tree, or a tree that the module's docstring refuses.
    """
    if len(data) > TREE_BLOB_SIZE_MAX:
        raise LimitError(f"tree: {len(data)} bytes, more than {TREE_BLOB_SIZE_MAX}")
    if data.count(b"{") > OBJECTS_MAX:
        raise LimitError(f"tree: more than {OBJECTS_MAX} entries and attributes in one directory")
    try:
        tree = _tree_decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise FormatError(f"tree: {error}") from error
    previous = b""
    for node in tree.nodes:
        name = raw_name(node)
        if name <= previous:
            raise FormatError(f"tree: names are not in ascending order, or one is there twice, at {node.name[:80]!r}")
        if name in (b".", b"..") or b"/" in name or b"\0" in name or len(name) > _NAME_MAX:
            raise FormatError(f"tree: {node.name[:80]!r} is not a name of a file")
        _check_node(node)
        previous = name
    return tree


def encode_tree(nodes: Iterable[Node]) -> bytes:
    """The tree blob of these nodes, which are in ascending order of their raw names."""
    return join_nodes([encode_node(node) for node in nodes])


def join_nodes(pieces: Sequence[bytes]) -> bytes:
    """The tree blob of nodes that are encoded already."""
    return _TREE_HEAD + b",".join(pieces) + _TREE_TAIL


def encode_node(node: Node) -> bytes:
    """One node's JSON as restic writes it."""
    return go_escape(_node_encoder.encode(node))


def go_escape(json: bytes) -> bytes:
    """JSON text with the escapes that Go adds. These characters occur in JSON within strings only."""
    if b"<" in json or b">" in json or b"&" in json:
        json = json.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")
    if b"\xe2\x80" in json:
        json = json.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return json


def raw_name(node: Node) -> bytes:
    """The bytes of the node's name."""
    return node.name.encode() if "\\" not in node.name and '"' not in node.name else unquote(node.name)


def quote(raw: bytes) -> str:
    """``raw`` as Go's ``strconv.Quote`` writes it, without the outer quotes."""
    if _PLAIN_NAME.fullmatch(raw):
        return raw.decode("ascii")
    parts: list[str] = []
    # Invalid bytes become lone surrogates U+DC80 … U+DCFF, which valid UTF-8 cannot hold.
    for character in raw.decode("utf-8", "surrogateescape"):
        code = ord(character)
        if code in _SHORT_ESCAPES:
            parts.append(_SHORT_ESCAPES[code])
        elif 0xDC80 <= code <= 0xDCFF:
            parts.append(f"\\x{code - 0xDC00:02x}")
        elif character.isprintable():
            parts.append(character)
        elif code < 0x20 or code == 0x7F:
            parts.append(f"\\x{code:02x}")
        else:
            parts.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return "".join(parts)


def unquote(text: str) -> bytes:
    """The bytes that :func:`quote` was given; all that Go's ``strconv.Unquote`` takes. Raises ``FormatError``."""
    parts: list[bytes] = []
    position = 0
    while position < len(text):
        match = _ESCAPE.match(text, position)
        if match is None:
            raise FormatError(f"tree: the name {text[:80]!r} is not quoted as restic does")
        short, byte, four, eight, octal, plain = match.groups()
        if plain is not None:
            parts.append(plain.encode())
        elif short is not None:
            parts.append(bytes([_UNESCAPES[short]]))
        elif byte is not None or octal is not None:
            parts.append(bytes([int(byte, 16) if byte is not None else int(octal, 8)]))
        else:
            parts.append(_encode_code_point(int(four or eight, 16), text))
        position = match.end()
    return b"".join(parts)


def go_text(raw: bytes) -> str:
    """``raw`` as Go puts it in JSON: each byte that is not UTF-8 becomes U+FFFD (link targets, owners)."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(
            "\ufffd" if 0xDC80 <= ord(character) <= 0xDCFF else character
            for character in raw.decode("utf-8", "surrogateescape")
        )


def format_ns(time_ns: int) -> str:
    """A time in nanoseconds since 1970 as RFC 3339 in UTC, without trailing zeros."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    head = _format_second(seconds)
    return f"{head}.{fraction:09d}".rstrip("0") + "Z" if fraction else head + "Z"


def parse_ns(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time. Raises ``FormatError``."""
    head, zone = (text[:-1], "+00:00") if text.endswith("Z") else (text[:-6], text[-6:])
    base, dot, digits = head.partition(".")
    if dot and not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise FormatError(f"time: {text[:60]!r} is not RFC 3339")
    return _parse_second(base, zone) * 1_000_000_000 + (int(digits.ljust(9, "0")) if dot else 0)


def go_mode(st_mode: int) -> int:
    """Go's ``os.FileMode`` for a ``st_mode``."""
    mode = st_mode & 0o777
    mode |= _GO_TYPE_BITS.get(stat.S_IFMT(st_mode), MODE_IRREGULAR)
    for bit, go_bit in _GO_SPECIAL_BITS:
        if st_mode & bit:
            mode |= go_bit
    return mode


def permissions(mode: int) -> int:
    """The twelve permission bits for ``chmod`` of a Go ``os.FileMode``."""
    bits = mode & 0o777
    for bit, go_bit in _GO_SPECIAL_BITS:
        if mode & go_bit:
            bits |= bit
    return bits


_GO_TYPE_BITS = {
    stat.S_IFREG: 0,
    stat.S_IFDIR: MODE_DIR,
    stat.S_IFLNK: MODE_SYMLINK,
    stat.S_IFBLK: MODE_DEVICE,
    stat.S_IFCHR: MODE_DEVICE | MODE_CHAR_DEVICE,
    stat.S_IFIFO: MODE_NAMED_PIPE,
    stat.S_IFSOCK: MODE_SOCKET,
}
_GO_SPECIAL_BITS = ((stat.S_ISUID, MODE_SETUID), (stat.S_ISGID, MODE_SETGID), (stat.S_ISVTX, MODE_STICKY))


def _check_node(node: Node) -> None:
    if node.type == "dir":
        if node.subtree is None or not is_id(node.subtree) or node.subtree == _NULL_ID:
            raise FormatError(f"tree: dir {node.name[:80]!r} has no subtree")
    elif node.subtree is not None:
        raise FormatError(f"tree: {node.type} {node.name[:80]!r} has a subtree")
    if node.type == "file":
        if node.content is None:
            raise FormatError(f"tree: file {node.name[:80]!r} has no content list")
        for blob in node.content:
            if not is_id(blob) or blob == _NULL_ID:
                raise FormatError(f"tree: file {node.name[:80]!r} names a content that is no id")
    elif node.content:
        raise FormatError(f"tree: {node.type} {node.name[:80]!r} has content")
    if (node.inode | node.device_id | node.device) >> 64:
        raise FormatError(f"tree: {node.name[:80]!r} has a number beyond 64 bits")


def _encode_code_point(code: int, text: str) -> bytes:
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise FormatError(f"tree: the name {text[:80]!r} holds no character")
    return chr(code).encode()


@lru_cache(maxsize=4096)
def _format_second(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    except (ValueError, OverflowError, OSError) as error:
        raise FormatError(f"time: {seconds} s since 1970 has no year of four digits") from error


@lru_cache(maxsize=4096)
def _parse_second(base: str, zone: str) -> int:
    # fromisoformat is ten times as fast as strptime, and takes other forms too: the shape is held here.
    if not _SECOND.fullmatch(base) or not _ZONE.fullmatch(zone):
        raise FormatError(f"time: {(base + zone)[:60]!r} is not RFC 3339")
    try:
        moment = datetime.fromisoformat(base + zone)
    except ValueError as error:
        raise FormatError(f"time: {(base + zone)[:60]!r} is not RFC 3339") from error
    return (moment - _EPOCH) // _ONE_SECOND
