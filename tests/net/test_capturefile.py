"""pcap and pcapng: every form gives the same packets; what is cut, lies or is nonsense is counted or named."""

from __future__ import annotations

import random
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

from govsec.errors import ConfigurationError, FormatError
from govsec.net import capturefile, pcapng
from govsec.net.capturefile import CaptureFile
from govsec.net.columns import Fault, PacketBatch
from tests.net import captures
from tests.net.frames import ethernet, ipv4, udp

START = 1_700_000_000 * 10**9
Read = tuple[list[tuple[int, bytes]], dict[str, int]]


def frames_of(count: int, seed: int = 1) -> list[captures.Packet]:
    rng = random.Random(seed)
    time_ns, packets = START, []
    for number in range(count):
        time_ns += rng.randrange(0, 3_000_000) * 1000
        body = struct.pack(">I", number) + rng.randbytes(rng.choice([0, 10, 500, 1400]))
        packets.append((time_ns, ethernet(ipv4("192.0.2.1", "198.51.100.2", 17, udp(5, 6, body)))))
    return packets


def read(path: Path, data: bytes, batch_max: int = 16384) -> Read:
    path.write_bytes(data)
    capture = CaptureFile(path, batch_max=batch_max)
    batches = list(capture.batches())
    positions = [position for batch in batches for position in batch.position.tolist()]
    assert positions == list(range(len(positions)))
    assert all(0 < len(batch) <= batch_max for batch in batches)
    return told(batches), capture.counters()


def told(batches: list[PacketBatch]) -> list[tuple[int, bytes]]:
    return [(int(batch.time_ns[i]), bytes(batch.frame(i))) for batch in batches for i in range(len(batch))]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("is_nano", [False, True])
def test_pcap_of_either_order_and_resolution_gives_its_packets(tmp_path: Path, order: str, is_nano: bool) -> None:
    # Enough bytes that records are searched in segments.
    packets = frames_of(1500)
    found, counters = read(tmp_path / "a.pcap", captures.pcap(packets, order=order, is_nano=is_nano), 400)

    assert found == packets
    assert counters == {"packets": 1500, "bytes": sum(len(frame) for _, frame in packets), "records_cut": 0}


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_of_either_order_gives_its_packets(tmp_path: Path, order: str) -> None:
    packets = frames_of(1500)
    blocks = [captures.packet(time_ns // 1000, frame, order=order) for time_ns, frame in packets]
    data = captures.section(order) + captures.interface(order=order) + b"".join(blocks)

    assert read(tmp_path / "a.pcapng", data)[0] == packets


def test_a_file_larger_than_a_piece_is_read_across_its_edges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The size of pieces is no option of anybody's; real ones would need files too large for a quick test.
    monkeypatch.setattr(capturefile, "CHUNK_SIZE", 200_000)
    packets = frames_of(1500)
    blocks = [captures.packet(time_ns // 1000, frame) for time_ns, frame in packets]

    assert read(tmp_path / "a", captures.pcap(packets))[0] == packets
    assert read(tmp_path / "b", captures.section() + captures.interface() + b"".join(blocks))[0] == packets


def test_records_hidden_in_packets_mislead_nobody(tmp_path: Path) -> None:
    """Whoever can send packets can put a chain of records into them, at the places where records are searched."""
    inside = captures.pcap([(START, b"x" * 40)] * 60)[24:]
    frame = ethernet(ipv4("192.0.2.1", "192.0.2.2", 17, udp(1, 2, inside)))
    packets = [(START + number * 1000, frame) for number in range(200)]
    ordinary = frames_of(300)

    assert read(tmp_path / "a", captures.pcap(packets + ordinary + packets))[0] == packets + ordinary + packets


def test_interfaces_have_their_own_clocks_and_links(tmp_path: Path) -> None:
    frame = ethernet(ipv4("192.0.2.1", "192.0.2.2", 17, udp(1, 2)))
    second = 10**9
    data = (
        captures.section()
        + captures.interface()  # microseconds
        + captures.interface(101, resolution=9)
        + captures.interface(resolution=3, add_s=1000)
        + captures.interface(resolution=0x80 | 20)
        + captures.interface(resolution=12)
        + captures.packet(5 * 10**6 + 1, frame)
        + captures.packet(5 * second + 1, frame[14:], number=1)
        + captures.packet(5001, frame, number=2)
        + captures.packet(5 << 20 | 1 << 19, frame, number=3)
        + captures.packet(5 * 10**12 + 2001, frame, number=4)
        + captures.old_packet(6 * 10**6, frame)
        + captures.simple_packet(frame)
        + captures.packet(1, frame, number=9)
        + captures.statistics(17)
        + captures.block(0xBAD, b"custom")
        + captures.section(">")
        + captures.interface(101, order=">")
        + captures.packet(7 * 10**6, frame[14:], order=">")
    )
    path = tmp_path / "a"
    path.write_bytes(data)
    capture = CaptureFile(path)
    (batch,) = capture.batches()

    assert batch.time_ns.tolist() == [
        5 * second + 1000, 5 * second + 1, 1005 * second + 10**6, 5 * second + second // 2, 5 * second + 2,
        6 * second, 6 * second, 7 * second,
    ]  # fmt: skip
    assert batch.link_type.tolist() == [1, 101, 1, 1, 1, 1, 1, 101]
    assert batch.source_port.tolist() == [1] * 8
    assert batch.faults.tolist() == [0] * 8
    assert capture.counters() == {
        "packets": 8, "bytes": 8 * len(frame) - 28, "records_cut": 0, "blocks_skipped": 1,
        "packets_without_interface": 1, "packets_dropped_by_interface": 17, "packets_dropped_by_system": 0,
    }  # fmt: skip


def test_a_simple_packet_ends_at_the_snap_length(tmp_path: Path) -> None:
    frame = ethernet(ipv4("192.0.2.1", "192.0.2.2", 17, udp(1, 2, b"123")))
    data = captures.section() + captures.interface(snap_length=44)
    data += captures.block(3, struct.pack("<I", len(frame)) + frame[:44])
    path = tmp_path / "a"
    path.write_bytes(data)
    (batch,) = CaptureFile(path).batches()

    assert (batch.captured_size[0], batch.wire_size[0]) == (44, len(frame))
    assert Fault.CUT.value & int(batch.faults[0])


def test_a_last_record_that_is_cut_is_counted(tmp_path: Path) -> None:
    packets = frames_of(3)
    data = captures.pcap(packets)
    whole = 16 + len(packets[2][1])
    for cut in (1, 2, 40, whole - 17, whole - 16, whole - 15, whole - 1):
        found, counters = read(tmp_path / "a", data[:-cut])
        assert found == packets[:2]
        assert counters["records_cut"] == 1


def test_lies_of_records_are_faults_of_their_packets(tmp_path: Path) -> None:
    frame = frames_of(1)[0][1]
    head = captures.pcap([])
    data = head + struct.pack("<IIII", 5, 2_000_000, len(frame), 3) + frame
    path = tmp_path / "a"
    path.write_bytes(data)
    (batch,) = CaptureFile(path).batches()

    assert Fault(int(batch.faults[0])) == Fault.TIME | Fault.RECORD
    assert batch.wire_size[0] == len(frame)
    assert batch.time_ns[0] == 5_999_999_000


def test_times_that_no_clock_has_are_brought_into_range(tmp_path: Path) -> None:
    frame = frames_of(1)[0][1]
    for add_s, expected in ((-(2**62), 0), (2**62, (1 << 62) // 10**9 * 10**9 - 10**9)):
        path = tmp_path / "a"
        path.write_bytes(captures.section() + captures.interface(add_s=add_s) + captures.packet(10**6, frame))
        (batch,) = CaptureFile(path).batches()
        assert Fault(int(batch.faults[0])) == Fault.TIME
        assert batch.time_ns[0] == expected


@pytest.mark.parametrize(
    ("data", "offset", "words"),
    [
        (b"", 0, "nothing"),
        (b"\x1f\x8b\x08\0 a compressed file", 0, "1f8b0800"),
        (captures.pcap([])[:20], 0, "d4c3b2a1"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 7, 4, 0, 0, 65535, 1), 4, "version 7"),
        (captures.pcap(frames_of(2)[:1]) + struct.pack("<IIII", 1, 1, 1 << 30, 1 << 30), None, "1073741824"),
        (captures.section()[:8] + b"\1\2\3\4" + captures.section()[12:], 0, "byte order"),
        (captures.section() + captures.interface() + struct.pack("<III", 6, 13, 13), None, "13 bytes"),
        (captures.section() + captures.interface() + struct.pack("<III", 6, 1 << 30, 0), None, "1073741824"),
        (captures.section() + captures.block(1, b"\0\0"), 28, "interface"),
        (captures.section() + captures.interface() + captures.block(6, b"\0" * 12), None, "a block of 24"),
        (captures.block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 9, 0, -1)), 0, "version"),
    ],
)  # fmt: skip
def test_what_is_no_capture_is_named_with_its_offset(
    tmp_path: Path, data: bytes, offset: int | None, words: str
) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(data)

    with pytest.raises(FormatError, match=words) as raised:
        list(CaptureFile(path).batches())

    assert str(path) in str(raised.value)
    if offset is not None:
        assert f"offset {offset}:" in str(raised.value)


def test_packets_before_the_damage_are_given_first(tmp_path: Path) -> None:
    packets = frames_of(5)
    path = tmp_path / "a"
    for data in (
        captures.pcap(packets) + struct.pack("<IIII", 1, 1, 1 << 30, 1 << 30),
        captures.section()
        + captures.interface()
        + b"".join(captures.packet(t // 1000, f) for t, f in packets)
        + b"\6\0\0\0" * 3,
    ):
        path.write_bytes(data)
        batches = CaptureFile(path).batches()
        assert told([next(batches)]) == packets
        with pytest.raises(FormatError) as raised:
            next(batches)
        damage = len(data) - (16 if data[:4] != b"\x0a\x0d\x0d\x0a" else 12)
        assert f"offset {damage}:" in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent"):
        list(CaptureFile(tmp_path / "absent").batches())


def test_batches_can_be_kept_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capturefile, "CHUNK_SIZE", 100_000)  # several pieces, as above
    packets = frames_of(600)
    path = tmp_path / "a"
    path.write_bytes(captures.pcap(packets))
    capture = CaptureFile(path)
    kept = list(capture.batches())

    assert told(kept) == packets == told(list(capture.batches()))
    assert capture.counters()["packets"] == 600
    assert np.all(kept[0].position == np.arange(len(kept[0])))


@pytest.mark.parametrize("before", [4 << 20, 6 << 20])
def test_a_block_of_the_largest_size_may_lie_across_the_edge_of_a_piece(tmp_path: Path, before: int) -> None:
    packet = captures.packet(7, bytes(1500))
    count = before // len(packet)
    largest = captures.block(0x0BAD, bytes(pcapng.BLOCK_MAX - 12))
    path = tmp_path / "large.pcapng"
    path.write_bytes(captures.section() + captures.interface() + packet * count + largest + packet * count)
    capture = CaptureFile(path)

    assert sum(len(batch) for batch in capture.batches()) == 2 * count
    assert capture.counters()["blocks_skipped"] == 1


def test_who_stops_early_leaves_no_thread_behind(tmp_path: Path) -> None:
    path = tmp_path / "two_pieces.pcap"
    path.write_bytes(captures.pcap([(7, bytes(1500))] * (capturefile.CHUNK_SIZE // 1500)))
    before = set(threading.enumerate())
    batches = CaptureFile(path).batches()

    assert len(next(batches))
    assert len(set(threading.enumerate()) - before) == 1, "the next piece is being read"
    batches.close()  # type: ignore[attr-defined]  # what a for loop that is left does to a generator
    assert not set(threading.enumerate()) - before
