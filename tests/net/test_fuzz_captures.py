"""Capture files, frames and flows are fed damaged and invented bytes: FormatError or counted faults, nothing else.

The short runs go through the same seeds each time; ``make soak`` gives each ``GOVSEC_SOAK_SECONDS`` (600) of processor
time and prints the seed with which a failure comes again.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from govsec.errors import FormatError
from govsec.net.capturefile import CaptureFile
from govsec.net.columns import PacketBatch
from govsec.net.community import community_ids
from govsec.net.decode import decode_inner
from govsec.net.flows import FlowTable
from govsec.net.links import COOKED, COOKED_2, LOOP, NULL, PPP, RAW
from tests.net import captures
from tests.net.frames import batch_of, ethernet, icmp, ipv4, ipv6, tcp, udp
from tests.support.soak import seeds

SHORT_COUNT = 60
START = 1_700_000_000 * 10**9
#: What sizes, counts and times are replaced by: ends of ranges and what is nearly right.
_WORDS = (
    0,
    1,
    3,
    4,
    11,
    12,
    13,
    16,
    28,
    255,
    0xFFFF,
    1 << 20,
    (1 << 20) + 1,
    4 << 20,
    0x7FFFFFFF,
    0xFFFFFFFF,
    0x0A0D0D0A,
)
_SIX = ("2001:db8::1", "2001:db8::2")


def _frames(rng: random.Random) -> list[bytes]:
    """Honest frames with everything in them that is looked into."""
    four = ("192.0.2.1", "192.0.2.2")[:: rng.choice([1, -1])]
    inside = ethernet(ipv4("10.1.1.1", "10.1.1.2", 6, tcp(1, 2, 2)))
    extension = bytes([44, 0]) + bytes(6) + bytes([6, 0]) + struct.pack(">HI", 1, 9)
    return [
        ethernet(
            ipv4(*four, 6, tcp(5000, 80, rng.randrange(256), b"GET", sequence=rng.randrange(4), options=b"\1" * 4))
        ),
        ethernet(ipv4(*four, 17, udp(53, 53, rng.randbytes(20)), options=b"\1" * 8), tags=[(0x8100, 5), (0x88A8, 9)]),
        ethernet(ipv6(*_SIX, 0, extension + tcp(1, 2, 18)), 0x86DD),
        ethernet(ipv4(*four, 17, udp(9, 4789, bytes(8) + inside))),
        ethernet(ipv4(*four, 47, struct.pack(">HHI", 0x2000, 0x6558, 1) + inside)),
        ethernet(ipv4(*four, 41, ipv6(*_SIX, 58, icmp(128)))),
        ethernet(ipv4(*four, 1, icmp(8)), 0x0800),
        ethernet(bytes(28), 0x0806),
    ]


def _pcap(rng: random.Random) -> bytes:
    packets = [(START + number * 1000, frame) for number, frame in enumerate(_frames(rng) * rng.choice([1, 1, 200]))]
    kind = rng.choice([1, 1, NULL, LOOP, PPP, RAW, COOKED, COOKED_2, 127])
    return captures.pcap(packets, order=rng.choice("<>"), is_nano=rng.random() < 0.5, link_type=kind)


def _pcapng(rng: random.Random) -> bytes:
    order = rng.choice("<>")
    data = captures.section(order) + captures.interface(resolution=rng.randrange(256), add_s=3, order=order)
    for number, frame in enumerate(_frames(rng) * rng.choice([1, 1, 200])):
        data += captures.packet(number << 20, frame, order=order)
    data += captures.simple_packet(b"x" * 40, order) + captures.old_packet(5, b"y" * 40, order=order)
    return (
        data
        + captures.statistics(3, order)
        + captures.section("<")
        + captures.interface()
        + captures.packet(1, b"z" * 60)
    )


def _mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(6)):
        at = rng.randrange(len(changed)) if changed else 0
        turn = rng.randrange(6)
        if turn == 0:
            changed[at : at + 1] = rng.randbytes(1)
        elif turn == 1:
            changed[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(_WORDS))
        elif turn == 2:
            del changed[at : at + rng.choice([1, 4, 16, 100])]
        elif turn == 3:
            changed[at:at] = changed[: rng.choice([4, 24, 400])]
        elif turn == 4:
            del changed[at:]
        else:
            changed[at:at] = rng.randbytes(rng.randrange(40))
    return bytes(changed)


def _judge(batch: PacketBatch, table: FlowTable) -> None:
    """What holds of any batch whatever, and what else is done with one raises nothing."""
    frames = batch.captured_size.astype(np.int64)
    assert (batch.captured_size <= batch.wire_size).all()
    assert (batch.payload_offset.astype(np.int64) + batch.payload_size <= frames).all()
    assert (batch.payload_size <= batch.payload_claimed).all()
    assert (batch.frame_offset >= 0).all() and (batch.frame_offset + frames <= len(batch.data)).all()
    assert ((batch.time_ns >= 0) & (batch.time_ns <= 1 << 62)).all()
    assert np.isin(batch.ip_version, (0, 4, 6)).all()
    for index in range(0, len(batch), 97):
        assert len(batch.frame(index)) == frames[index]
        assert len(batch.payload(index)) == batch.payload_size[index]
    inner = decode_inner(batch)
    assert len(inner) <= np.count_nonzero(batch.tunnel)
    assert len(decode_inner(inner)) <= len(inner)
    update = table.add(batch)
    assert ((update.flow != 0) == (batch.ip_version != 0)).all()
    assert len(community_ids(update.opened)) == len(update.opened)


def _read(data: bytes, folder: Path) -> None:
    path = folder / "fuzzed"
    path.write_bytes(data)
    capture = CaptureFile(path)
    table = FlowTable(16_384)
    packets = 0
    try:
        for batch in capture.batches():
            packets += len(batch)
            _judge(batch, table)
    except FormatError as error:
        assert str(path) in str(error)
    closed = table.finish().closed
    assert (closed["first_ns"] <= closed["last_ns"]).all()
    assert capture.counters()["packets"] == packets if packets else True


def _frames_only(data: bytes, folder: Path) -> None:
    """The same bytes as frames of any link type, one behind the other."""
    rng = random.Random(data)
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(20))
    frames = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    table = FlowTable(16_384)
    for kind in (1, NULL, LOOP, PPP, RAW, COOKED, COOKED_2):
        _judge(batch_of(frames, link_type=kind), table)


PARSERS: dict[str, tuple[Callable[[random.Random], bytes], Callable[[bytes, Path], None]]] = {
    "pcap": (_pcap, _read),
    "pcapng": (_pcapng, _read),
    "frames": (lambda rng: b"".join(_frames(rng)), _frames_only),
    "noise": (lambda rng: rng.randbytes(rng.randrange(3000)), _frames_only),
}


def _feed(name: str, seed: int, folder: Path) -> None:
    make, parse = PARSERS[name]
    rng = random.Random(seed)
    data = _mutated(make(rng), rng)
    try:
        parse(data, folder)
    except Exception as error:
        error.add_note(f"{name}, seed {seed}: {data[:2000].hex()}")
        raise


@pytest.mark.parametrize("name", PARSERS)
def test_damaged_captures_raise_nothing_but_format_errors(name: str, tmp_path: Path) -> None:
    for seed in range(SHORT_COUNT):
        _feed(name, seed, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", PARSERS)
def test_damaged_captures_at_length(name: str, tmp_path: Path) -> None:
    for seed in seeds(name):
        _feed(name, seed, tmp_path)
