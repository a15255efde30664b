"""A second process that reads ahead: the same batches, the same errors, and nothing left of it afterwards."""

from __future__ import annotations

import os
import random
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from itertools import zip_longest
from pathlib import Path

import numpy as np
import psutil
import pytest

from govsec.errors import ConfigurationError, FormatError, GovsecError, WorkerError
from govsec.net import capturefile
from govsec.net.capturefile import CaptureFile
from govsec.net.columns import PacketBatch
from tests.net import captures
from tests.net.frames import ethernet, icmp, ipv4, ipv6, tcp, udp

START = 1_700_000_000 * 10**9
PIECE = 200_000


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    # The size of pieces is no option of anybody's; real ones would need files too large for a quick test.
    monkeypatch.setattr(capturefile, "CHUNK_SIZE", PIECE)


def frames(count: int) -> list[captures.Packet]:
    rng = random.Random(1)
    kinds = (
        lambda body: ethernet(ipv4("192.0.2.1", "198.51.100.2", 17, udp(5, 6, body))),
        lambda body: ethernet(ipv4("192.0.2.1", "198.51.100.2", 6, tcp(5, 6, 0x18, body)), tags=[(0x8100, 5)]),
        lambda body: ethernet(ipv6("2001:db8::1", "2001:db8::2", 58, icmp(128, 0, body)), 0x86DD),
        lambda body: ethernet(bytes(28) + body, 0x0806),
    )
    return [
        (START + number * 1_000_000, rng.choice(kinds)(rng.randbytes(rng.choice([0, 10, 500, 1400]))))
        for number in range(count)
    ]


def pcap(path: Path, count: int = 2000, tail: bytes = b"") -> Path:
    path.write_bytes(captures.pcap(frames(count)) + tail)
    return path


def pcapng(path: Path) -> Path:
    blocks = (captures.packet(time_ns // 1000, frame) for time_ns, frame in frames(2000))
    path.write_bytes(captures.section() + captures.interface() + b"".join(blocks) + captures.statistics(3))
    return path


def both(path: Path) -> Iterator[tuple[PacketBatch, PacketBatch]]:
    """Batches of one process and of two, side by side; the counters are the same at each and at the end."""
    one, two = (CaptureFile(path, is_read_ahead=is_ahead, batch_max=300) for is_ahead in (False, True))
    for batches in zip_longest(one.batches(), two.batches()):
        assert one.counters() == two.counters()
        yield batches
    assert one.counters() == two.counters()


def assert_same(one: PacketBatch, two: PacketBatch) -> None:
    for field in fields(PacketBatch):
        ours, theirs = getattr(one, field.name), getattr(two, field.name)
        if field.name == "data":
            assert len(ours) == len(theirs)
        else:
            assert ours.dtype == theirs.dtype, field.name
            assert np.array_equal(ours, theirs), field.name
    assert all(one.frame(index) == two.frame(index) for index in range(len(one)))


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


@pytest.mark.parametrize("write", [pcap, pcapng])
@pytest.mark.usefixtures("small_pieces")
def test_two_processes_give_what_one_gives(tmp_path: Path, write: object) -> None:
    count = 0
    for one, two in both(write(tmp_path / "a")):  # type: ignore[operator]  # either of the two above
        assert_same(one, two)
        count += len(two)

    assert count == 2000


@pytest.mark.usefixtures("small_pieces")
def test_batches_may_be_kept_as_long_as_one_likes(tmp_path: Path) -> None:
    path = pcap(tmp_path / "a", 4000)
    kept = list(CaptureFile(path, is_read_ahead=True, batch_max=100).batches())

    assert [bytes(batch.frame(index)) for batch in kept for index in range(len(batch))] == [f for _, f in frames(4000)]
    assert np.concatenate([batch.position for batch in kept]).tolist() == list(range(4000))


@pytest.mark.usefixtures("small_pieces")
def test_who_keeps_a_few_batches_at_a_time_finds_them_unchanged(tmp_path: Path) -> None:
    expected = [frame for _, frame in frames(4000)]
    kept: list[PacketBatch] = []
    for batch in CaptureFile(pcap(tmp_path / "a", 4000), is_read_ahead=True, batch_max=70).batches():
        kept = [*kept[-6:], batch]
        for each in kept:
            first = int(each.position[0])
            assert [bytes(each.frame(index)) for index in range(len(each))] == expected[first : first + len(each)]


@pytest.mark.usefixtures("small_pieces")
def test_damage_is_told_behind_the_packets_before_it(tmp_path: Path) -> None:
    path = pcap(tmp_path / "a", tail=struct.pack("<IIII", 1, 1, 1 << 30, 1 << 30))
    told = []
    for is_ahead in (False, True):
        capture = CaptureFile(path, is_read_ahead=is_ahead)
        packets = 0
        with pytest.raises(FormatError) as raised:
            for batch in capture.batches():
                packets += len(batch)
        told.append((packets, str(raised.value), capture.counters()))

    assert told[0] == told[1]
    assert told[1][0] == 2000


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.usefixtures("small_pieces")
def test_any_damage_comes_to_the_same_in_one_process_and_in_two(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray((pcap if seed % 2 else pcapng)(tmp_path / "a").read_bytes())
    for _ in range(4):
        at = rng.randrange(len(data) // 2, len(data))
        data[at : at + rng.choice([1, 4, 400])] = rng.randbytes(rng.choice([0, 1, 4]))
    path = tmp_path / "b"
    path.write_bytes(data)
    told = []
    for is_ahead in (False, True):
        capture = CaptureFile(path, is_read_ahead=is_ahead, batch_max=500)
        packets: list[bytes] = []
        error = ""
        try:
            for batch in capture.batches():
                packets += [bytes(batch.frame(index)) for index in range(len(batch))]
        except GovsecError as raised:
            error = f"{type(raised)} {raised}"
        told.append((packets, error, capture.counters()))

    assert told[0] == told[1]


@pytest.mark.parametrize(("reads", "packets_min"), [(1, 0), (2, 0), (5, 500)])
def test_a_disk_that_fails_is_told_behind_the_packets_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_pieces: None, reads: int, packets_min: int
) -> None:
    path = pcapng(tmp_path / "a")
    whole = CaptureFile._fill
    turn = 0

    def fill(capture: CaptureFile, file: object, buffer: memoryview) -> int:
        nonlocal turn
        turn += 1
        if turn == reads:
            raise ConfigurationError("the disk does not answer")
        return whole(capture, file, buffer)  # type: ignore[arg-type]  # the file that came in

    # No file of a test has a disk below it that can be made to fail.
    monkeypatch.setattr(CaptureFile, "_fill", fill)
    told = []
    for is_ahead in (False, True):
        turn = 0
        capture = CaptureFile(path, is_read_ahead=is_ahead)
        packets = 0
        with pytest.raises(ConfigurationError, match="does not answer"):
            for batch in capture.batches():
                packets += len(batch)
        told.append((packets, capture.counters()))

    assert told[0] == told[1]
    assert told[0][0] >= packets_min


def test_an_absent_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(ConfigurationError, match=path.name):
            list(CaptureFile(path, is_read_ahead=True).batches())


@pytest.mark.usefixtures("small_pieces")
def test_who_stops_early_leaves_no_process_behind(tmp_path: Path) -> None:
    before = children()
    batches = CaptureFile(pcap(tmp_path / "a"), is_read_ahead=True).batches()

    assert len(next(batches))
    assert len(children() - before) == 1
    batches.close()  # type: ignore[attr-defined]  # what a for loop that is left does to a generator
    assert not children() - before


@pytest.mark.usefixtures("small_pieces")
def test_ctrl_c_in_the_middle_ends_the_second_process(tmp_path: Path) -> None:
    before = children()
    with pytest.raises(KeyboardInterrupt):
        for _ in CaptureFile(pcap(tmp_path / "a"), is_read_ahead=True).batches():
            signal.raise_signal(signal.SIGINT)

    assert not children() - before


@pytest.mark.usefixtures("small_pieces")
def test_a_second_process_that_is_killed_is_an_error_of_ours(tmp_path: Path) -> None:
    before = children()
    batches = CaptureFile(pcap(tmp_path / "a", 6000), is_read_ahead=True, batch_max=50).batches()
    next(batches)
    (other,) = children() - before
    os.kill(other, signal.SIGKILL)

    with pytest.raises(WorkerError, match="SIGKILL"):
        list(batches)
    assert not children() - before


@pytest.mark.usefixtures("small_pieces")
def test_where_no_process_can_be_had_one_does_it_all(tmp_path: Path) -> None:
    path = pcap(tmp_path / "a")
    lowest = os.dup(0)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Room for the capture itself, and not for what two processes talk through.
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))
    try:
        count = sum(len(batch) for batch in CaptureFile(path, is_read_ahead=True).batches())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert count == 2000


_COUNT_CHILDREN = """
import sys
from pathlib import Path
import psutil
from govsec.net.capturefile import CaptureFile
batches = CaptureFile(Path(sys.argv[1])).batches()
next(batches)
print(len(psutil.Process().children()))
"""


def _children_while_reading(path: Path, **more: object) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _COUNT_CHILDREN, str(path)], check=True, capture_output=True, timeout=240, **more
    )  # type: ignore[call-overload]  # one keyword more
    return int(done.stdout)


def test_a_large_file_is_read_ahead_by_itself_where_there_is_a_second_processor(tmp_path: Path) -> None:
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        pytest.skip("one processor only")
    small, large = tmp_path / "small", tmp_path / "large"
    record = struct.pack("<IIII", 1_700_000_000, 0, 200_000, 200_000)
    with large.open("wb") as file:
        file.write(captures.pcap([]))
        for number in range(200):
            file.seek(24 + number * 200_016)
            file.write(record)
        file.truncate(24 + 200 * 200_016)
    small.write_bytes(captures.pcap(frames(10)))

    assert _children_while_reading(large) == 1
    assert _children_while_reading(small) == 0
    alone = lambda: os.sched_setaffinity(0, processors[:1])  # noqa: E731 - what the child does before it begins
    assert _children_while_reading(large, preexec_fn=alone) == 0
