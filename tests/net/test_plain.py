"""The short way through plain packets says what the long way says, and leaves to that what is not plain."""

from __future__ import annotations

import random

import numpy as np

from govsec.net.decode import read_any
from govsec.net.gather import SLACK
from govsec.net.plain import read_plain
from tests.net.frames import icmp, ipv4, tcp, udp

ONE, OTHER = "192.0.2.1", "198.51.100.7"
SEED = 20261122


def packets(rng: random.Random, count: int) -> list[bytes]:
    """IPv4 packets, two thirds of them with some byte of their headers changed."""
    made = []
    for _ in range(count):
        body = rng.randbytes(rng.choice((0, 1, 30)))
        ports = rng.choice((53, 4789, 50_000)), rng.choice((4789, 443, 40_000))
        inner = rng.choice(
            (
                (
                    6,
                    tcp(
                        *ports,
                        rng.randrange(256),
                        body,
                        sequence=7,
                        acknowledgment=9,
                        options=b"\1" * rng.choice((0, 12)),
                    ),
                ),
                (17, udp(*ports, body)),
                (1, icmp(rng.choice((0, 8, 3)), rng.randrange(4), body)),
            )
        )
        packet = bytearray(ipv4(ONE, OTHER, *inner, fragment=rng.choice((0, 0, 0, 0x4000, 0x2000, 3))))
        if rng.random() < 0.67:
            packet[rng.choice((0, 2, 3, 3, 6, 7, 9, 24, 25, 25, 32)) % len(packet)] = rng.choice(
                (0, 1, 6, 17, 20, 0x45, 0x50, 0xFF)
            )
        made.append(bytes(packet))
    return made


def test_plain_packets_have_the_columns_that_any_packet_gets_and_no_fault() -> None:
    rng = random.Random(SEED)
    made = packets(rng, 6000)
    sent = np.array([len(packet) + rng.choice((0, 0, 18)) for packet in made], np.int64)
    held = np.array([rng.choice((len(packet), len(packet), rng.randrange(len(packet)))) for packet in made], np.int64)
    at = np.concatenate([[0], np.cumsum([len(packet) for packet in made])[:-1]]).astype(np.int64)
    data = memoryview(b"".join(made) + bytes(SLACK))
    ethertype = np.array([rng.choice((0x0800, 0x0800, 0x0800, 0x86DD)) for _ in made], np.uint16)
    faults = np.zeros(len(made), np.uint16)

    inside, is_plain = read_plain(data, at, ethertype, held.astype(np.uint32), sent.astype(np.uint32))
    others = read_any(data, at, ethertype, at + held, at + sent, faults)

    assert 500 < np.count_nonzero(is_plain) < 5000, f"seed {SEED}"
    assert not faults[is_plain].any()
    for name, column in inside.columns().items():
        expected = getattr(others, name)
        assert column.dtype == expected.dtype, name
        assert np.array_equal(column[is_plain], expected[is_plain]), f"{name}, seed {SEED}"


def test_an_ordinary_packet_is_plain() -> None:
    made = [
        ipv4(ONE, OTHER, 6, tcp(1, 2, 0x18, b"x", options=b"\1" * 12)),
        ipv4(ONE, OTHER, 17, udp(1, 2, b"x")),
        ipv4(ONE, OTHER, 1, icmp(8)),
    ]
    sizes = np.array([len(packet) for packet in made], np.uint32)
    at = np.concatenate([[0], np.cumsum(sizes[:-1], dtype=np.int64)])
    data = memoryview(b"".join(made) + bytes(SLACK))

    _, is_plain = read_plain(data, at, np.full(3, 0x0800, np.uint16), sizes, sizes)

    assert is_plain.all()
