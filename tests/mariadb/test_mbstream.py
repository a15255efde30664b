"""The stream of mariadb-backup: what it says comes out however it is cut; what is damaged or cut off is refused."""

from __future__ import annotations

import random
import struct
import zlib

import pytest

from govsec.errors import FormatError, IntegrityError, LimitError
from govsec.mariadb.mbstream import PAYLOAD_MAX, Kind, MbstreamReader, Piece


def chunk(kind: bytes, path: bytes, rest: bytes = b"", flags: int = 0) -> bytes:
    return b"XBSTCK01" + bytes([flags]) + kind + struct.pack("<I", len(path)) + path + rest


def payload(path: bytes, data: bytes, offset: int = 0, flags: int = 0, crc: int | None = None) -> bytes:
    number = zlib.crc32(data) if crc is None else crc
    return chunk(b"P", path, struct.pack("<QQI", len(data), offset, number) + data, flags)


def read(*parts: bytes) -> list[Piece]:
    reader = MbstreamReader()
    pieces = list(reader.feed(b"".join(parts)))
    reader.finish()
    return pieces


WHOLE = (
    payload(b"./d/t.ibd", b"one"),
    payload(b"ib_logfile0", b"redo"),
    payload(b"./d/t.ibd", b"two", offset=3),
    chunk(b"E", b"./d/t.ibd"),
    chunk(b"S", b"ib_logfile0", struct.pack("<Q", 10)),
    chunk(b"E", b"ib_logfile0"),
    chunk(b"E", b"empty"),
    chunk(b"R", b"./d/t.ibd", struct.pack("<I", 7) + b"d/u.ibd"),
    chunk(b"D", b"empty"),
)


def test_files_in_turns_holes_names_and_removals_come_out_in_order() -> None:
    assert read(*WHOLE) == [
        Piece(Kind.BEGIN, "d/t.ibd"),
        Piece(Kind.DATA, "d/t.ibd", b"one"),
        Piece(Kind.BEGIN, "ib_logfile0"),
        Piece(Kind.DATA, "ib_logfile0", b"redo"),
        Piece(Kind.DATA, "d/t.ibd", b"two"),
        Piece(Kind.END, "d/t.ibd"),
        Piece(Kind.HOLE, "ib_logfile0", size=6),
        Piece(Kind.END, "ib_logfile0"),
        Piece(Kind.BEGIN, "empty"),
        Piece(Kind.END, "empty"),
        Piece(Kind.RENAME, "d/t.ibd", new="d/u.ibd"),
        Piece(Kind.REMOVE, "empty"),
    ]


@pytest.mark.parametrize("step", [1, 2, 7, 31])
def test_it_does_not_matter_how_the_stream_is_cut(step: int) -> None:
    data, reader = b"".join(WHOLE), MbstreamReader()
    pieces = [piece for start in range(0, len(data), step) for piece in reader.feed(data[start : start + step])]
    reader.finish()

    assert pieces == read(*WHOLE)


def test_a_stream_that_ends_anywhere_but_at_an_end_is_refused() -> None:
    data = b"".join(WHOLE[:6])
    ends = {len(b"".join(WHOLE[:6]))}
    for length in range(len(data)):
        if length not in ends:
            with pytest.raises(IntegrityError):
                read(data[:length])


def test_every_changed_byte_of_a_payload_is_found() -> None:
    data = bytearray(payload(b"x", b"some pages") + chunk(b"E", b"x"))
    start = data.index(b"some pages")
    for position in range(start, start + 10):
        damaged = bytearray(data)
        damaged[position] ^= 0x40
        with pytest.raises(IntegrityError, match="checksum"):
            read(bytes(damaged))


def test_mutated_streams_raise_only_our_errors() -> None:
    generator, whole = random.Random(7), b"".join(WHOLE)
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        try:
            read(bytes(damaged))
        except IntegrityError:
            continue


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((b"garbage",), "no chunk begins"),
        ((payload(b"x", b"a", offset=1),), "a piece is missing"),
        ((payload(b"x", b"a"), chunk(b"E", b"x"), payload(b"x", b"a")), "sent twice"),
        ((payload(b"x", b"a"), chunk(b"R", b"x", struct.pack("<I", 1) + b"y")), "while it is being sent"),
        ((chunk(b"Z", b"x"),), "unknown type"),
        ((b"",), "without a single file"),
    ],
)
def test_what_makes_no_sense_is_named(parts: tuple[bytes, ...], words: str) -> None:
    with pytest.raises(IntegrityError, match=words):
        read(*parts)


def test_a_file_that_is_sent_anew_takes_the_place_of_the_first() -> None:
    pieces = read(payload(b"x", b"a"), chunk(b"E", b"x"), payload(b"x", b"b", flags=2), chunk(b"E", b"x"))

    assert [piece.data for piece in pieces if piece.kind is Kind.DATA] == [b"a", b"b"]


def test_lengths_beyond_the_tool_s_own_are_refused_before_they_are_waited_for() -> None:
    for part in (chunk(b"P", b"x", struct.pack("<QQI", PAYLOAD_MAX + 1, 0, 0)), b"XBSTCK01\0P" + b"\xff" * 4):
        with pytest.raises(LimitError):
            read(part)


def test_an_unknown_format_is_told_from_damage() -> None:
    with pytest.raises(FormatError):
        read(chunk(b"Z", b"x"))
