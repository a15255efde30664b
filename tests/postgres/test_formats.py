"""Formats of PostgreSQL, truncated and mutated: they give what is there, or one of our errors."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.errors import FormatError, GovsecError, IntegrityError, UsageError
from govsec.postgres.basebackup import base_command
from govsec.postgres.connection import Account, literal, quoted
from govsec.postgres.connection import connection_options as options_of
from govsec.postgres.logbook import read_page
from govsec.postgres.manifest import parse_manifest
from govsec.postgres.server import needed_settings, parse_control
from govsec.postgres.tarstream import Entry, TarStream
from govsec.postgres.wal import Branch, Segment, check_head, format_lsn, is_log_name, parse_history, parse_lsn

SIZE = 16 << 20


class _Sink:
    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.contents: dict[str, bytes] = {}

    def begin(self, entry: Entry) -> None:
        self.entries.append(entry)
        if entry.kind == "file":
            self.contents[entry.path] = b""

    def data(self, data: memoryview) -> None:
        self.contents[self.entries[-1].path] += bytes(data)

    def end(self) -> None:
        return


def _tar() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in (("a", b"one"), ("base/empty", b""), ("base/1/2", b"x" * 1500)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid, entry.gid, entry.mtime = len(content), 0o600, 101, 104, 1_700_000_000
            archive.addfile(entry, io.BytesIO(content))
        folder = tarfile.TarInfo("pg_tblspc")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        link = tarfile.TarInfo("pg_tblspc/16384")
        link.type, link.linkname = tarfile.SYMTYPE, "/srv/space"
        archive.addfile(link)
    return target.getvalue()


@given(st.lists(st.integers(1, 700), min_size=1, max_size=40))
def test_a_tar_is_read_whatever_pieces_it_comes_in(sizes: list[int]) -> None:
    data, sink = _tar(), _Sink()
    stream = TarStream(sink, "t")
    position = 0
    for size in [*sizes, len(data)]:
        stream.feed(memoryview(data)[position : position + size])
        position += size
    stream.close()
    assert sink.contents == {"a": b"one", "base/empty": b"", "base/1/2": b"x" * 1500}
    assert [entry.kind for entry in sink.entries] == ["file", "file", "file", "dir", "link"]
    assert sink.entries[-1].target == b"/srv/space"
    assert (sink.entries[0].uid, sink.entries[0].gid, sink.entries[0].mode) == (101, 104, 0o600)


@given(st.integers(0, 3900), st.integers(0, 255))
def test_a_mutated_tar_raises_nothing_but_our_errors(position: int, value: int) -> None:
    data = bytearray(_tar())
    data[position] = value
    stream = TarStream(_Sink(), "t")
    try:
        stream.feed(memoryview(data))
        stream.close()
    except FormatError:
        return


def test_a_tar_that_was_cut_off_is_told() -> None:
    stream = TarStream(_Sink(), "t")
    stream.feed(memoryview(_tar())[:600])
    with pytest.raises(FormatError, match="cut off"):
        stream.close()


def _head(system_id: int = 77, number: int = 3, timeline: int = 1, size: int = SIZE) -> bytes:
    return struct.pack("<HHIQI4xQII", 0xD110, 2, timeline, number * SIZE, 0, system_id, size, 8192)


def test_the_head_of_a_segment_is_held_against_its_name() -> None:
    segment = Segment(1, 3, SIZE)
    assert check_head(_head(), segment, 77).system_id == 77
    with pytest.raises(IntegrityError, match="of the server 77; this log is of the server 78"):
        check_head(_head(), segment, 78)
    with pytest.raises(IntegrityError, match="begins at"):
        check_head(_head(number=4), segment, 77)
    with pytest.raises(IntegrityError, match="later timeline"):
        check_head(_head(timeline=2), segment, 77)
    for data in (b"", _head()[:39], bytes(40)):
        with pytest.raises(FormatError):
            check_head(data, segment, 77)


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**32 - 1), st.sampled_from([1 << bits for bits in range(20, 31)]))
def test_names_of_segments_go_both_ways(position: int, timeline: int, size: int) -> None:
    segment = Segment.at(position, timeline, size)
    assert Segment.named(segment.name, size) == segment
    assert segment.start <= position < segment.end
    assert parse_lsn(format_lsn(position)) == position
    assert is_log_name(segment.name) and is_log_name(segment.name + ".partial")


def test_a_name_published_by_postgresql_is_the_one_that_we_give() -> None:
    # PostgreSQL documentation, pg_walfile_name: 0/1000000 to 0/1FFFFFF are in 000000010000000000000001.
    assert Segment.at(parse_lsn("0/1000000"), 1, SIZE).name == "000000010000000000000001"
    assert Segment.at(parse_lsn("1/0"), 1, SIZE).name == "000000010000000100000000"


@pytest.mark.parametrize("text", ["", "0", "0/", "G/1", "0/123456789", "../0", "0/1\n"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_lsn(text)


def test_a_history_leads_to_its_timeline() -> None:
    data = b"1\t0/3000158\tno recovery target specified\n\n2\t0/5000000\tbefore 2026\n"
    assert parse_history(data, 3) == [Branch(1, 0x3000158), Branch(2, 0x5000000), Branch(3, None)]
    for wrong in (b"3\t0/1\tx\n", b"2\t0/1\tx\n1\t0/2\tx\n", b"one\t0/1\tx\n", b"1\tnowhere\tx\n"):
        with pytest.raises(FormatError):
            parse_history(wrong, 3)


def _manifest(**changes: object) -> bytes:
    body = {"Path": "base/1/2", "Size": 3, "Checksum-Algorithm": "SHA256", "Checksum": "AB" * 32, **changes}
    head = b'{ "PostgreSQL-Backup-Manifest-Version": 1,\n"Files": [\n' + json.dumps(body).encode() + b"\n],\n"
    return head + b'"Manifest-Checksum": "' + hashlib.sha256(head).hexdigest().encode() + b'"}\n'


def test_a_manifest_is_believed_when_its_own_digest_is_right() -> None:
    assert parse_manifest(_manifest()) == {"base/1/2": (3, "ab" * 32)}
    with pytest.raises(FormatError, match="digest"):
        parse_manifest(_manifest().replace(b"base/1/2", b"base/1/3"))
    with pytest.raises(FormatError, match="SHA-256"):
        parse_manifest(_manifest(**{"Checksum-Algorithm": "CRC32C"}))


@given(st.binary(max_size=200))
def test_parsers_raise_nothing_but_our_errors(data: bytes) -> None:
    for parse in (
        parse_manifest,
        read_page,
        lambda raw: parse_history(raw, 9),
        lambda raw: check_head(raw, Segment(1, 3), 1),
    ):
        try:
            parse(data)
        except GovsecError:
            continue


@pytest.mark.parametrize(
    ("conninfo", "words"),
    [
        ("host=db.example sslmode=require", "verify-full"),
        ("host=db.example sslmode=disable", "verify-full"),
        ("host=db.example password=x", "password does not belong"),
        ("host=db.example dbname=x", "dbname does not belong"),
        ("port=5432", "host is missing"),
        ("host=db.example service=x", "service does not belong"),
        ("nonsense", "no connection string"),
        ("host=/run/postgresql,db.example sslmode=prefer", "verify-full"),
    ],
)
def test_a_connection_that_would_not_verify_the_server_is_refused(conninfo: str, words: str) -> None:
    with pytest.raises(GovsecError, match=words):
        options_of(Account(conninfo))


def test_over_a_network_the_server_is_verified_without_being_asked_to() -> None:
    assert options_of(Account("host=db.example"))["sslmode"] == "verify-full"
    assert "sslmode" not in options_of(Account("host=/run/postgresql"))


def test_commands_are_in_the_words_of_each_version() -> None:
    assert base_command(130000, "it's", is_fast=True).startswith("BASE_BACKUP LABEL 'it''s' FAST WAL NOWAIT MANIFEST")
    assert base_command(170000, "x", is_fast=False).startswith("BASE_BACKUP (LABEL 'x', CHECKPOINT 'spread'")
    assert literal("a\\'b") == "E'a\\\\''b'" and quoted('a"b') == '"a""b"'


def test_settings_that_the_log_needs_are_read_from_the_control_file() -> None:
    control = parse_control("max_connections setting:              100\nmax_prepared_xacts setting: 7\nwal_level: x\n")
    assert needed_settings(control) == {"max_connections": 100, "max_prepared_transactions": 7}
