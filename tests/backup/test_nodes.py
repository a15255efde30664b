"""The fast writer of nodes gives what the repository's own writer gives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.backup.nodes import NodeWriter, json_string, link_target, quoted_name
from govsec.repo.tree import decode_tree, encode_node, encode_tree, format_ns, go_escape, go_text, join_nodes, quote
from tests.backup.trees import make_rich_tree
from tests.support.require import require, require_root


@given(st.binary(min_size=1, max_size=40).filter(lambda raw: b"/" not in raw and b"\0" not in raw))
def test_any_name_is_quoted_as_the_repository_quotes_it(raw: bytes) -> None:
    import msgspec

    assert quoted_name(raw) == go_escape(msgspec.json.encode(quote(raw))).decode()


@given(st.integers(min_value=-62_135_596_800 * 10**9, max_value=253_402_300_799 * 10**9))
def test_any_time_that_can_be_written_is_written_as_the_repository_writes_it(time_ns: int) -> None:
    status = os.stat_result((0o100644, 1, 1, 1, 0, 0, 0, 0, 0, 0))
    fields = {"st_mtime_ns": time_ns, "st_ctime_ns": time_ns}
    odd = _Status(status, fields)
    assert f'"ctime":"{format_ns(time_ns)}"' in NodeWriter().head(b"x", odd)


def test_times_beyond_four_digit_years_become_the_nearest_that_can_be_written() -> None:
    status = os.stat_result((0o100644, 1, 1, 1, 0, 0, 0, 0, 0, 0))
    odd = _Status(status, {"st_mtime_ns": 2**62 * 100, "st_ctime_ns": -(2**62) * 100})
    head = NodeWriter().head(b"x", odd)
    assert '"mtime":"9999-12-31T' in head and '"ctime":"0001-01-01T' in head


def test_nodes_of_every_kind_survive_decoding_and_encoding(tmp_path: Path) -> None:
    require_root()
    require("setfacl")
    root = tmp_path / "rich"
    make_rich_tree(root)
    writer = NodeWriter()
    pieces = []
    for entry in sorted(os.listdir(os.fsencode(root))):
        status = os.lstat(os.path.join(os.fsencode(root), entry))
        is_directory = os.path.isdir(os.path.join(os.fsencode(root), entry)) and not os.path.islink(
            os.path.join(os.fsencode(root), entry)
        )
        is_file = os.path.isfile(os.path.join(os.fsencode(root), entry)) and not os.path.islink(
            os.path.join(os.fsencode(root), entry)
        )
        tail = "[]}" if is_file else f'null,"subtree":"{"1" * 64}"}}' if is_directory else "null}"
        pieces.append((writer.head(entry, status) + tail).encode())
    blob = join_nodes(pieces)
    nodes = decode_tree(blob).nodes
    assert len(nodes) == len(pieces) > 20
    assert encode_tree(nodes) == blob


@pytest.mark.parametrize("target", [b"plain", "目标".encode(), b"bad\xff", b'quo"te\\<&>', b"line\n\x08\x0c"])
def test_link_targets_are_written_as_the_repository_writes_them(target: bytes) -> None:
    import msgspec

    from govsec.repo.tree import Node

    raw = b"" if _is_text(target) else target
    node = Node(
        name="l",
        type="symlink",
        mtime="",
        atime="",
        ctime="",
        uid=0,
        gid=0,
        linktarget=go_text(target),
        linktarget_raw=raw,
    )
    assert link_target(target).lstrip(",") in encode_node(node).decode()
    assert msgspec.json.decode(json_string(target)) == go_text(target)


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Status:
    """A status with some fields replaced; ``os.stat_result`` cannot be changed."""

    def __init__(self, status: os.stat_result, fields: dict[str, int]) -> None:
        self._status, self._fields = status, fields

    def __getattr__(self, name: str) -> object:
        return self._fields[name] if name in self._fields else getattr(self._status, name)
