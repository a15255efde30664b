"""Trees: the bytes that restic writes, and a reader that no hostile directory gets past."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.errors import FormatError, LimitError
from govsec.repo.layout import TREE_BLOB_SIZE_MAX
from govsec.repo.tree import (
    ExtendedAttribute,
    Node,
    decode_tree,
    encode_node,
    encode_tree,
    format_ns,
    go_mode,
    go_text,
    parse_ns,
    permissions,
    quote,
    raw_name,
    unquote,
)

VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "restic-tree.json").read_text())
ID = "ab" * 32
WHEN = "2026-08-01T04:00:00Z"


def node(**fields: Any) -> Node:
    return Node(
        **{"name": "a", "type": "fifo", "mtime": WHEN, "atime": WHEN, "ctime": WHEN, "uid": 0, "gid": 0, **fields}
    )


def wire(**fields: Any) -> dict[str, Any]:
    head = {"name": "a", "type": "file", "mtime": WHEN, "atime": WHEN, "ctime": WHEN, "uid": 0, "gid": 0, "content": []}
    return {key: value for key, value in {**head, **fields}.items() if value is not ...}


def tree_json(*nodes: dict[str, Any]) -> bytes:
    return json.dumps({"nodes": list(nodes)}).encode()


def test_the_reference_tree_comes_back_byte_for_byte() -> None:
    data = VECTOR["tree"].encode()
    assert hashlib.sha256(data).hexdigest() == VECTOR["id"]
    assert encode_tree(decode_tree(data).nodes) == data


def test_a_directory_and_a_link_look_as_restic_writes_them() -> None:
    directory = node(name="d", type="dir", mode=go_mode(0o040755), inode=1, subtree=ID)
    link = node(name="l", type="symlink", mode=go_mode(0o120777), links=1, linktarget="a.txt")
    times = f'"mtime":"{WHEN}","atime":"{WHEN}","ctime":"{WHEN}","uid":0,"gid":0'
    assert encode_tree([directory, link]).decode() == (
        f'{{"nodes":[{{"name":"d","type":"dir","mode":2147484141,{times},"inode":1,"content":null,"subtree":"{ID}"}},'
        f'{{"name":"l","type":"symlink","mode":134218239,{times},"links":1,"linktarget":"a.txt","content":null}}]}}\n'
    )


def test_every_field_stands_where_restic_puts_it() -> None:
    full = node(
        type="file",
        mode=1,
        user="u",
        group="g",
        inode=2,
        device_id=3,
        size=4,
        links=5,
        linktarget="t",
        linktarget_raw=b"\xff",
        extended_attributes=[ExtendedAttribute("user.x", b"v"), ExtendedAttribute("user.y")],
        generic_attributes={"k": msgspec.Raw(b"1")},
        device=6,
        content=[ID],
        subtree=ID,
        error="e",
    )
    decoded = json.loads(encode_node(full))
    order = """name type mode mtime atime ctime uid gid user group inode device_id size links linktarget linktarget_raw
        extended_attributes generic_attributes device content subtree error"""
    assert " ".join(decoded) == " ".join(order.split())
    assert decoded["extended_attributes"] == [{"name": "user.x", "value": "dg=="}, {"name": "user.y", "value": None}]


@pytest.mark.parametrize(
    ("raw", "quoted"),
    [
        (b"plain name.txt", "plain name.txt"),
        ("中文 é".encode(), "中文 é"),
        (b'a"b\\c', 'a\\"b\\\\c'),
        (b"\a\b\t\n\v\f\r", "\\a\\b\\t\\n\\v\\f\\r"),
        (b"\x01\x1f\x7f", "\\x01\\x1f\\x7f"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        (b"\xe4\xb8", "\\xe4\\xb8"),
        ("\u00a0\u2028\u200d\u00ad".encode(), "\\u00a0\\u2028\\u200d\\u00ad"),
        ("\ufffd".encode(), "\ufffd"),
        ("\U000e0001".encode(), "\\U000e0001"),
        ("😀".encode(), "😀"),
    ],
)
def test_names_are_quoted_as_go_does(raw: bytes, quoted: str) -> None:
    assert quote(raw) == quoted
    assert unquote(quoted) == raw


@given(st.binary(min_size=1, max_size=60))
def test_every_name_survives(raw: bytes) -> None:
    assert unquote(quote(raw)) == raw
    if b"/" not in raw and b"\0" not in raw and raw not in (b".", b".."):
        tree = decode_tree(encode_tree([node(name=quote(raw))]))
        assert raw_name(tree.nodes[0]) == raw


@pytest.mark.parametrize("text", ["\\", "\\q", "\\x1", "\\xgg", "\\u12", "\\U0011ffff", "\\ud800", "\\400", '"', "\n"])
def test_a_name_that_go_would_not_unquote_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        unquote(text)


def test_octal_escapes_are_bytes_as_in_go() -> None:
    assert unquote("\\377\\101") == b"\xffA"


def test_html_and_line_separators_are_escaped_as_go_does() -> None:
    text = encode_node(node(linktarget="<a&b>\u2028\u2029")).decode()
    assert '"linktarget":"\\u003ca\\u0026b\\u003e\\u2028\\u2029"' in text


def test_text_that_is_not_utf8_becomes_one_replacement_a_byte() -> None:
    assert go_text(b"a\xe4\xb8/\xff") == "a\ufffd\ufffd/\ufffd"


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (1785556800123400000, "2026-08-01T04:00:00.1234Z"),
        (-62135596800 * 10**9, "0001-01-01T00:00:00Z"),
    ],
)
def test_times_lose_no_nanosecond_and_no_zero_too_many(time_ns: int, text: str) -> None:
    assert format_ns(time_ns) == text
    assert parse_ns(text) == time_ns


def test_times_of_other_zones_are_read() -> None:
    assert parse_ns("2026-08-01T12:00:00.5+08:00") == parse_ns("2026-08-01T04:00:00.5Z")


@pytest.mark.parametrize("text", ["", "Z", "2026-08-01", "2026-08-01T04:00:00", "2026-08-01T04:00:00.Z", "x" * 99])
def test_times_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_ns(text)


@given(st.integers(-(2**62), 2**62))
def test_every_time_comes_back(time_ns: int) -> None:
    assert parse_ns(format_ns(time_ns)) == time_ns


def test_a_time_without_a_year_of_four_digits_is_refused() -> None:
    with pytest.raises(FormatError):
        format_ns(10**21)


@pytest.mark.parametrize(
    ("st_mode", "mode"),
    [
        (stat.S_IFREG | 0o644, 0o644),
        (stat.S_IFREG | 0o4755, 1 << 23 | 0o755),
        (stat.S_IFREG | 0o2755, 1 << 22 | 0o755),
        (stat.S_IFDIR | 0o1777, 1 << 31 | 1 << 20 | 0o777),
        (stat.S_IFLNK | 0o777, 1 << 27 | 0o777),
        (stat.S_IFBLK | 0o660, 1 << 26 | 0o660),
        (stat.S_IFCHR | 0o660, 1 << 26 | 1 << 21 | 0o660),
        (stat.S_IFIFO | 0o600, 1 << 25 | 0o600),
        (stat.S_IFSOCK | 0o600, 1 << 24 | 0o600),
    ],
)
def test_modes_are_those_of_go(st_mode: int, mode: int) -> None:
    assert go_mode(st_mode) == mode
    assert permissions(mode) == stat.S_IMODE(st_mode)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../etc", "\\x00", "a\\x00b", "\\x2e\\x2e", "a\\x2fb", "\\q", "x" * 4097]
)
def test_names_that_lead_out_of_the_directory_are_refused(name: str) -> None:
    with pytest.raises(FormatError):
        decode_tree(tree_json(wire(name=name)))


@pytest.mark.parametrize(
    "names", [("b", "a"), ("a", "a"), ("a", "\\x61"), ("\\xff", "中"), ("a", "b", "a")], ids="-".join
)
def test_names_out_of_order_or_twice_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(FormatError, match="order"):
        decode_tree(tree_json(*(wire(name=name) for name in names)))


def test_order_is_that_of_the_raw_bytes() -> None:
    # Quoted, the first would come after the second.
    names = [b"\x01", b"!", "中".encode(), b"\xff"]
    assert [raw_name(item) for item in decode_tree(tree_json(*(wire(name=quote(n)) for n in names))).nodes] == names


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "other"},
        {"type": 1},
        {"content": None},
        {"content": ...},
        {"content": ["0" * 64]},
        {"content": ["AB" * 32]},
        {"content": ["../../etc"]},
        {"subtree": ID},
        {"type": "dir", "content": None},
        {"type": "dir", "content": None, "subtree": "0" * 64},
        {"type": "dir", "content": None, "subtree": "x"},
        {"type": "symlink", "content": [ID]},
        {"size": -1},
        {"uid": -1},
        {"uid": "root"},
        {"mode": 1 << 32},
        {"inode": 1 << 64},
        {"size": 1 << 63},
        {"size": 1.5},
        {"name": ...},
        {"linktarget_raw": "*"},
        {"extended_attributes": [{"name": "user.x", "value": "*"}]},
    ],
    ids=str,
)
def test_nodes_that_cannot_be_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        decode_tree(tree_json(wire(**fields)))


def test_unknown_fields_are_skipped() -> None:
    assert decode_tree(tree_json(wire(later={"deep": [1]}))).nodes[0].name == "a"


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"nodes":{}}', b"\xff", b'{"nodes":[' + b"[" * 5000])
def test_what_is_no_tree_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode_tree(data)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(FormatError):
        decode_tree(b'{"nodes":[],"x":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}")


def test_trees_without_measure_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(LimitError, match="entries"):
        decode_tree(b'{"nodes":[' + b"{}," * 1_000_001 + b"]}")
    with pytest.raises(LimitError, match="bytes"):
        decode_tree(bytes(TREE_BLOB_SIZE_MAX + 1))
