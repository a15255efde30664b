"""Live capture for real: two network namespaces, a cable, frames that somebody sends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest

from govsec.clock import SystemClock
from govsec.errors import ConfigurationError
from govsec.net.columns import Fault, PacketBatch
from govsec.net.live import Depth, LiveCapture, LiveOptions
from govsec.testing import trafficoffice
from govsec.testing.packets import ACK, SYN, pcap_bytes, station, tcp_frame, udp_frame
from govsec.testing.traffictunnels import dns_query
from tests.support.namespaces import Namespace, cable, connect

SMALL = LiveOptions(wide_slots=4096, deep_slots=512)
_A, _B = station(40), station(80)


class QuickClock(SystemClock):
    """The right time, but waiting passes ten times as fast; and time that is said to have passed did."""

    aged_s = 0.0

    def monotonic(self) -> float:
        return 10 * super().monotonic() + self.aged_s

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds / 10)


@pytest.fixture(scope="module")
def ends() -> Iterator[tuple[Namespace, Namespace]]:
    with cable() as made:
        yield made


@pytest.fixture
def sender(ends: tuple[Namespace, Namespace]) -> Namespace:
    return ends[0]


@pytest.fixture
def receiver(ends: tuple[Namespace, Namespace]) -> Iterator[Namespace]:
    with ends[1].inside():
        yield ends[1]


def opened(receiver: Namespace, options: LiveOptions = SMALL) -> LiveCapture:
    return LiveCapture(receiver.interface, options, QuickClock())


def take(capture: LiveCapture, count: int) -> list[PacketBatch]:
    """Batches until there were ``count`` packets, or nothing came for a second."""
    batches: list[PacketBatch] = []
    for batch in capture.batches():
        batches.append(batch)
        if sum(map(len, batches)) >= count or not len(batch):
            capture.stop()
    return [batch for batch in batches if len(batch)]


def next_of(rounds: Iterator[PacketBatch]) -> PacketBatch:
    """The next batch that is not empty."""
    return next(batch for _, batch in zip(range(30), rounds, strict=False) if len(batch))


def frames_of(batches: list[PacketBatch]) -> list[bytes]:
    return [bytes(batch.frame(index)) for batch in batches for index in range(len(batch))]


def wait_until(is_true: Callable[[], bool], capture: LiveCapture) -> None:
    """Let the capture do its rounds until something holds."""
    for rounds, _ in enumerate(capture.batches()):
        if is_true():
            return
        assert rounds < 60


def dns(number: int) -> bytes:
    return udp_frame(_A, 20000 + number, _B, 53, dns_query(number, f"host{number}.example.gov.cn" + ".padding" * 20))


def syn(number: int) -> bytes:
    return tcp_frame(_A, 20000 + number, _B, 8081, SYN)


def test_each_frame_comes_once_in_order_and_whole_where_it_is_dissected(sender: Namespace, receiver: Namespace) -> None:
    frames = [frame.data for frame in trafficoffice.office_day(Random(1), hours=0.02, desktops_count=3)]
    with opened(receiver, LiveOptions()) as capture:
        sender.send(frames)
        batches = take(capture, len(frames))
        counters = capture.counters()

    got = frames_of(batches)
    assert len(got) == len(frames) > 500
    assert all(len(kept) == 128 or kept == frame for kept, frame in zip(got, frames, strict=True))
    assert all(frame.startswith(kept) for kept, frame in zip(got, frames, strict=True))
    assert sum(len(kept) > 128 for kept in got) > 200
    assert (counters.packets, counters.dropped, counters.interface_losses) == (len(frames), 0, 0)
    times = np.concatenate([batch.time_ns for batch in batches])
    assert (np.diff(times) >= 0).all()
    assert np.concatenate([batch.position for batch in batches]).tolist() == list(range(len(frames)))
    assert [int(size) for batch in batches for size in batch.wire_size] == [len(frame) for frame in frames]


def test_a_tag_that_the_kernel_moved_out_of_the_frame_is_read(sender: Namespace, receiver: Namespace) -> None:
    frames = [udp_frame(_A, 1, _B, 53, b"x", vlans=(77,)), udp_frame(_A, 1, _B, 53, b"x", vlans=(99, 5)), syn(1)]
    with opened(receiver) as capture:
        sender.send(frames)
        batches = take(capture, 3)

    assert [int(vlan) for batch in batches for vlan in batch.vlan] == [77, 99, 0]
    assert [int(port) for batch in batches for port in batch.target_port] == [53, 53, 8081]


def test_merged_packets_and_frames_too_long_for_their_slot_are_counted(sender: Namespace, receiver: Namespace) -> None:
    for end in (sender, receiver):
        end.ip("link", "set", end.interface, "mtu", "9000")
    with opened(receiver) as capture:
        sender.send([tcp_frame(_A, 1, _B, 80, ACK, payload=b"GET " + bytes(8000)), syn(1)])
        batches = take(capture, 2)
        counters = capture.counters()

    assert (counters.merged, counters.deep_cut) == (1, 1)
    first = batches[0]
    assert int(first.faults[0]) & (Fault.MERGED | Fault.CUT) == Fault.MERGED | Fault.CUT
    assert int(first.wire_size[0]) == 54 + 8004
    assert int(first.captured_size[0]) == 2048 - 66


@pytest.mark.parametrize("make", [syn, dns], ids=["wide", "deep"])
def test_what_a_full_ring_could_not_take_is_counted_to_the_last_packet(
    sender: Namespace, receiver: Namespace, make: Callable[[int], bytes]
) -> None:
    with opened(receiver, LiveOptions(wide_slots=4096, deep_slots=512)) as capture:
        sender.send(make(number) for number in range(6000))
        seen = sum(map(len, take(capture, 6000)))
        counters = capture.counters()

    assert seen == counters.packets < 6000
    assert counters.packets + counters.dropped == 6000
    assert (counters.wide_dropped > 0) == (make is syn)
    assert (counters.depth < Depth.FULL) == (make is dns)


def test_depth_is_given_up_step_by_step_while_the_deep_ring_fills_and_regained_when_it_is_calm(
    sender: Namespace, receiver: Namespace
) -> None:
    answer = tcp_frame(_B, 443, _A, 40000, ACK, payload=b"\x99" * 1000)  # whole at full depth only
    hello = dns(1)  # whole while there is any depth
    clock = QuickClock()
    seen: list[tuple[Depth, list[int]]] = []

    def see() -> None:
        sender.send([answer, hello, syn(1)])
        batch = next_of(rounds)
        seen.append((capture.counters().depth, batch.captured_size.tolist()))

    with LiveCapture(receiver.interface, SMALL, clock) as capture:
        rounds = capture.batches()
        sizes = {
            Depth.FULL: [len(answer), len(hello), 60],
            Depth.NARROW: [128, len(hello), 60],
            Depth.NONE: [128, 128, 60],
        }
        see()
        for flood in ([answer] * 400, [hello] * 400):
            sender.send(flood)
            left = 400
            while left:
                left -= len(next_of(rounds))
            see()
        for _ in range(2):
            clock.aged_s += 31
            wait_until(lambda: capture.counters().depth > seen[-1][0], capture)
            see()
        counters = capture.counters()

    assert [depth for depth, _ in seen] == [Depth.FULL, Depth.NARROW, Depth.NONE, Depth.NARROW, Depth.FULL]
    assert [found for _, found in seen] == [sizes[depth] for depth, _ in seen]
    assert (counters.narrowings, counters.depth, counters.dropped) == (2, Depth.FULL, 0)


def test_a_capture_survives_an_interface_that_goes_down_and_one_that_goes_away() -> None:
    with cable() as (sender, receiver), receiver.inside(), opened(receiver) as capture:
        receiver.ip("link", "set", receiver.interface, "down")
        wait_until(lambda: not capture.counters().is_interface_up, capture)
        receiver.ip("link", "set", receiver.interface, "up")
        wait_until(lambda: capture.counters().is_interface_up, capture)
        receiver.ip("link", "del", receiver.interface)
        wait_until(lambda: not capture.counters().is_interface_up, capture)
        connect(sender, receiver)
        wait_until(lambda: capture.counters().is_interface_up, capture)
        sender.send([syn(1), dns(2)])
        batches = take(capture, 2)
        counters = capture.counters()

    assert frames_of(batches) == [syn(1), dns(2)]
    assert (counters.interface_losses, counters.is_interface_up) == (2, True)


def test_what_this_machine_sends_is_left_out_when_asked(sender: Namespace, receiver: Namespace) -> None:
    quiet = LiveOptions(wide_slots=4096, deep_slots=512, ignores_outgoing=True)
    with opened(receiver) as both, opened(receiver, quiet) as incoming:
        receiver.send([syn(1), dns(1)])
        sender.send([syn(2)])

        assert frames_of(take(both, 3)) == [syn(1), dns(1), syn(2)]
        assert frames_of(take(incoming, 1)) == [syn(2)]


def test_a_quiet_cable_gives_empty_batches_so_that_the_caller_can_act(receiver: Namespace) -> None:
    with opened(receiver) as capture:
        batch = next(iter(capture.batches()))

    assert len(batch) == 0


def test_a_stop_is_the_end_also_on_a_wire_that_never_rests(sender: Namespace, receiver: Namespace) -> None:
    is_over = threading.Event()

    def chatter() -> None:
        while not is_over.is_set():
            sender.send([syn(number) for number in range(50)])

    talker = threading.Thread(target=chatter)
    with opened(receiver) as capture:
        talker.start()
        try:
            rounds = capture.batches()
            next_of(rounds)
            capture.stop()
            left = sum(1 for _, _ in zip(range(100), rounds, strict=False))
        finally:
            is_over.set()
            talker.join()

    assert left < 20


def test_tcpreplay_at_full_speed_loses_nothing_that_fits_the_ring(
    sender: Namespace, receiver: Namespace, tmp_path: Path
) -> None:
    frames = trafficoffice.office_day(Random(2), hours=0.1, desktops_count=3)
    file = tmp_path / "office.pcap"
    file.write_bytes(pcap_bytes(frames))
    with opened(receiver, LiveOptions(deep_slots=32768)) as capture:
        sender.replay(file, "--topspeed", "--preload-pcap", "--loop=5")
        seen = sum(map(len, take(capture, 5 * len(frames))))
        counters = capture.counters()

    assert seen == 5 * len(frames) > 20_000
    assert (counters.dropped, counters.clock_steps_back) == (0, 0)


def test_an_unknown_interface_is_said_with_those_that_there_are(receiver: Namespace) -> None:
    with pytest.raises(ConfigurationError, match=r"no interface eth77; there are: lo, wire-b"):
        LiveCapture("eth77", SMALL, SystemClock())


def test_a_ring_beyond_all_reason_is_refused_before_the_kernel_is_asked() -> None:
    options = LiveOptions(wide_slots=4_194_304, snap_length=1500)
    with pytest.raises(ConfigurationError, match="4194304 slots of 2048 bytes is not possible"):
        LiveCapture("lo", options, SystemClock())


_STRANGER = """
import os
from govsec.clock import SystemClock
from govsec.errors import RefusedError
from govsec.net.live import Depth, LiveCapture, LiveOptions
os.setuid(65534)
try:
    LiveCapture("lo", LiveOptions(), SystemClock())
except RefusedError as error:
    print(error)
"""


def test_a_missing_right_is_named_with_what_to_do() -> None:
    if os.geteuid() != 0:
        with pytest.raises(Exception, match="CAP_NET_RAW"):
            LiveCapture("lo", SMALL, SystemClock())
        return
    done = subprocess.run([sys.executable, "-c", _STRANGER], capture_output=True, text=True, timeout=60)

    assert "capturing on lo needs the right CAP_NET_RAW: start as root" in done.stdout, done.stderr


def test_an_interface_without_ethernet_is_refused(receiver: Namespace) -> None:
    made = subprocess.run(["ip", "-n", receiver.name, "tuntap", "add", "tun9", "mode", "tun"], capture_output=True)
    if made.returncode != 0:
        pytest.skip("this kernel has no tunnels of that kind")
    with pytest.raises(ConfigurationError, match="tun9 is not an Ethernet interface"):
        LiveCapture("tun9", SMALL, SystemClock())
