"""Capture file to flow table: govsec beside scapy, dpkt, nfstream and tshark, on the same file in one run.

    python -m bench.packets [--packets 1000000] [--rounds 3] [--keep FILE]

The file is made from a seed: connections of TCP, exchanges of UDP and pings between clients and servers, interleaved in
time, with frames from 60 to 1514 bytes (about 315 on the average) and, of a million packets, about 56,000 flows. Each
program reads the whole file (scapy its first 50,000 packets) and puts packets into flows of both directions; what is
not installed is left out by name. govsec lets a second process read and decode, and once more does everything in one.
dpkt and nfstream come with ``pip install -e .[bench]``, tshark with ``make servers``. Reported: packets a second by the
median round, how many times govsec's that is less, and what each of govsec's steps takes of the processor.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from govsec.net.capturefile import CHUNK_SIZE, CaptureFile
from govsec.net.flows import FlowTable

SEED = 20261122
SCAPY_PACKETS = 50_000
_START_S = 1_780_000_000
_SPAN_S = 300.0
#: Flows of a million packets, as many as real mixed traffic of that length had.
_FLOWS_SHARE = 0.058
_PCAP_HEADER = np.array([0xA1B2C3D4, 0x00040002, 0, 0, 262144, 1], "<u4").tobytes()
#: Sizes of frames and how often each occurs: acknowledgments, small answers, full segments.
_SIZES = (60, 66, 74, 90, 142, 220, 590, 1514)
_SHARES = (0.195, 0.27, 0.10, 0.10, 0.07, 0.07, 0.04, 0.155)
_FIN_ACK, _SYN, _SYN_ACK, _ACK, _PSH_ACK = 0x11, 0x02, 0x12, 0x10, 0x18
_RECORD = np.dtype([("seconds", "<u4"), ("fraction", "<u4"), ("captured", "<u4"), ("wire", "<u4")])
_HEADERS = np.dtype(
    {
        "names": ["macs", "type", "version", "size", "ttl", "protocol", "source", "target", "sport", "dport",
                  "sequence", "words", "flags", "window"],
        "formats": ["S12", ">u2", "u1", ">u2", "u1", "u1", ">u4", ">u4", ">u2", ">u2", ">u4", "u1", "u1", ">u2"],
        "offsets": [0, 12, 14, 16, 22, 23, 26, 30, 34, 36, 38, 46, 47, 48],
        "itemsize": 54,
    }
)  # fmt: skip


def make_capture(path: Path, count: int, seed: int = SEED) -> None:
    """Write ``count`` packets; equal arguments give an equal file."""
    rng = np.random.default_rng(seed)
    flow, turn, length = _interleave(rng, count)
    sizes = rng.choice(_SIZES, count, p=_SHARES)
    protocol = np.array([6, 6, 6, 6, 17, 17, 17, 6, 6, 1])[flow % 10]
    sizes = np.where((turn < 2) & (protocol == 6), 74, sizes)
    is_answer = np.where(turn < 2, turn == 1, rng.random(count) < 0.55)
    headers = _headers(rng, flow, turn, length, sizes, protocol, is_answer)
    times = np.sort(rng.uniform(0, _SPAN_S, count))
    records = np.zeros(count, _RECORD)
    records["seconds"] = _START_S + times.astype(np.int64)
    records["fraction"] = (times % 1 * 1_000_000).astype(np.int64)
    records["captured"] = records["wire"] = sizes
    _write(path, rng, records, headers, sizes)


def _interleave(rng: np.random.Generator, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """For each packet its flow, which one of the flow's it is, and how many that has. Few flows are long."""
    flows = max(1, int(count * _FLOWS_SHARE))
    drawn = np.minimum(1 + rng.pareto(0.9, flows) * 2.2, count / 50)
    lengths = np.maximum(drawn * count / drawn.sum(), 2).astype(np.int64)
    flow = np.repeat(np.arange(flows), lengths)
    # A flow's packets lie in a window of the capture as long as the flow is.
    begins = np.repeat(rng.random(flows), lengths)
    spread = np.repeat(np.minimum(lengths / 2000, 0.5) + 0.002, lengths)
    flow = flow[np.argsort(begins + spread * rng.random(len(flow)), kind="stable")]
    flow = np.resize(flow, count)
    order = np.argsort(flow, kind="stable")
    begin = np.flatnonzero(np.diff(flow[order], prepend=-1))
    sizes = np.diff(begin, append=count)
    turn, length = np.empty(count, np.int64), np.empty(count, np.int64)
    turn[order] = np.arange(count) - np.repeat(begin, sizes)
    length[order] = np.repeat(sizes, sizes)
    return flow, turn, length


def _headers(
    rng: np.random.Generator,
    flow: NDArray[np.int64],
    turn: NDArray[np.int64],
    length: NDArray[np.int64],
    sizes: NDArray[np.int64],
    protocol: NDArray[np.int64],
    is_answer: NDArray[np.bool_],
) -> NDArray[np.void]:
    client, server = 0x0A000000 + flow % 4000 + 256, 0xC0A80000 + flow * 7919 % 9000 + 256
    client_port, server_port = 20000 + flow * 31 % 40000, np.array([443, 80, 53, 22, 445, 8080])[flow % 6]
    rows = np.zeros(len(flow), _HEADERS)
    rows["macs"] = bytes.fromhex("02000000000a02000000000b")
    rows["type"], rows["version"], rows["ttl"], rows["protocol"] = 0x0800, 0x45, 64, protocol
    rows["size"] = sizes - 14
    rows["source"], rows["target"] = np.where(is_answer, server, client), np.where(is_answer, client, server)
    rows["sport"] = np.where(is_answer, server_port, client_port)
    rows["dport"] = np.where(is_answer, client_port, server_port)
    rows["sequence"] = rng.integers(0, 1 << 32, len(flow))
    rows["words"], rows["window"] = 0x50, 512
    flags = np.where(turn + 2 >= length, _FIN_ACK, np.where(sizes > 80, _PSH_ACK, _ACK))
    flags = np.where(turn == 0, _SYN, np.where(turn == 1, _SYN_ACK, flags))
    rows["flags"] = flags
    is_syn = turn == 0
    rows["sequence"][is_syn] = flow[is_syn]
    is_udp, is_icmp = protocol == 17, protocol == 1
    rows["sequence"][is_udp] = (sizes[is_udp] - 34) << 16
    rows["sport"][is_icmp] = np.where(is_answer[is_icmp], 0, 8 << 8)
    rows["dport"][is_icmp] = 0
    return rows


def _write(
    path: Path, rng: np.random.Generator, records: NDArray[np.void], headers: NDArray[np.void], sizes: NDArray[np.int64]
) -> None:
    noise = rng.integers(0, 256, max(_SIZES), dtype=np.uint8).tobytes()
    with path.open("wb", buffering=1 << 20) as file:
        file.write(_PCAP_HEADER)
        for record, header, size in zip(
            records.view("V16").tolist(), headers.view("V54").tolist(), sizes.tolist(), strict=True
        ):
            file.write(record + header + noise[: size - 54])


def run_govsec(path: Path, is_read_ahead: bool | None = None) -> tuple[int, int]:
    """Packets and flows; as ``CaptureFile`` does it by itself, or as it is told to."""
    table = FlowTable()
    flows = sum(len(table.add(batch).opened) for batch in CaptureFile(path, is_read_ahead=is_read_ahead).batches())
    table.finish()
    return table.counters()["packets"], flows


def run_one_process(path: Path) -> tuple[int, int]:
    return run_govsec(path, is_read_ahead=False)


def run_scapy(path: Path) -> tuple[int, int]:
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.utils import PcapReader

    flows: dict[object, int] = {}
    with PcapReader(str(path)) as reader:
        for number, packet in enumerate(reader):
            if number == SCAPY_PACKETS:
                break
            ip = packet[IP]
            inside = next((ip[layer] for layer in (TCP, UDP) if layer in ip), None)
            ports = (inside.sport, inside.dport) if inside else (0, 0)
            key = (frozenset([(ip.src, ports[0]), (ip.dst, ports[1])]), ip.proto)
            flows[key] = flows.get(key, 0) + 1
    return sum(flows.values()), len(flows)


def run_dpkt(path: Path) -> tuple[int, int]:
    import dpkt

    flows: dict[object, int] = {}
    with path.open("rb") as file:
        for _, frame in dpkt.pcap.Reader(file):
            ip = dpkt.ethernet.Ethernet(frame).data
            inside = ip.data
            ports = (inside.sport, inside.dport) if ip.p in (6, 17) else (0, 0)
            key = (frozenset([(ip.src, ports[0]), (ip.dst, ports[1])]), ip.p)
            flows[key] = flows.get(key, 0) + 1
    return sum(flows.values()), len(flows)


def run_nfstream(path: Path) -> tuple[int, int]:
    from nfstream import NFStreamer

    packets = flows = 0
    for flow in NFStreamer(source=str(path), n_dissections=0, n_meters=1, statistical_analysis=False):
        packets += flow.bidirectional_packets
        flows += 1
    return packets, flows


def run_tshark(path: Path) -> tuple[int, int]:
    program = shutil.which("tshark")
    assert program
    done = subprocess.run(
        [program, "-n", "-r", str(path), "-q", "-z", "conv,tcp", "-z", "conv,udp"], capture_output=True, check=True
    )
    flows = sum(1 for line in done.stdout.splitlines() if b"<->" in line)
    return 0, flows  # it counts them, and prints sums by conversation only


GOVSEC, ONE_PROCESS = "govsec", "govsec, one process"
PROGRAMS: dict[str, tuple[Callable[[Path], tuple[int, int]], Callable[[], bool]]] = {
    GOVSEC: (run_govsec, lambda: True),
    ONE_PROCESS: (run_one_process, lambda: True),
    "scapy": (run_scapy, lambda: importlib.util.find_spec("scapy") is not None),
    "dpkt": (run_dpkt, lambda: importlib.util.find_spec("dpkt") is not None),
    "nfstream": (run_nfstream, lambda: importlib.util.find_spec("nfstream") is not None),
    "tshark": (run_tshark, lambda: shutil.which("tshark") is not None),
}


def compare(path: Path, packets: int, rounds: int) -> None:
    """Run them in turn, ``rounds`` times (the slow ones once), and print the table."""
    times: dict[str, list[float]] = {}
    flows: dict[str, int] = {}
    for number in range(rounds):
        for name, (run, is_there) in PROGRAMS.items():
            if not is_there():
                continue
            if number and name not in (GOVSEC, ONE_PROCESS):
                continue
            started = time.perf_counter()
            _, flows[name] = run(path)
            times.setdefault(name, []).append(time.perf_counter() - started)
    ours = packets / statistics.median(times[GOVSEC])
    print(f"{'program':<20}{'packets':>10}{'flows':>9}{'kpps':>10}{'govsec is':>12}")
    for name in PROGRAMS:
        if name not in times:
            print(f"{name:<20}  not installed")
            continue
        count = min(packets, SCAPY_PACKETS) if name == "scapy" else packets
        rate = count / statistics.median(times[name])
        print(f"{name:<20}{count:>10}{flows[name]:>9}{rate / 1000:>10.1f}{ours / rate:>11.1f}x")
    for name in (GOVSEC, ONE_PROCESS):
        spread = ", ".join(f"{packets / seconds / 1000:.0f}" for seconds in times[name])
        print(f"{name}, each round: {spread} kpps")
    for name, seconds in stages(path, rounds).items():
        print(f"  {name:<34}{seconds / packets * 1e9:>6.0f} ns of the processor a packet")


def stages(path: Path, rounds: int) -> dict[str, float]:
    """Seconds of the processor that govsec needs for each step in one process, the least of all rounds: what other
    guests of the host take is not in them."""
    least: dict[str, float] = {}
    for _ in range(rounds):
        spent = {"reading": 0.0, "finding records, decoding": 0.0, "flow table": 0.0}
        with path.open("rb", buffering=0) as file:
            started = time.process_time()
            buffer = bytearray(CHUNK_SIZE)
            while file.readinto(buffer):
                pass
            spent["reading"] = time.process_time() - started
        table, started = FlowTable(), time.process_time()
        for batch in CaptureFile(path, is_read_ahead=False).batches():
            between = time.process_time()
            table.add(batch)
            spent["flow table"] += time.process_time() - between
        between = time.process_time()
        table.finish()
        ended = time.process_time()
        spent["flow table"] += ended - between
        spent["finding records, decoding"] = ended - started - spent["flow table"] - spent["reading"]
        spent["all"] = ended - started
        least = {name: min(seconds, least.get(name, seconds)) for name, seconds in spent.items()}
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="leave the capture there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="govsec-bench-") as directory:
        path = arguments.keep or Path(directory) / "packets.pcap"
        make_capture(path, arguments.packets)
        size = path.stat().st_size
        average = (size - 24) / arguments.packets - 16
        sys.stdout.write(f"{arguments.packets} packets, {size / 1e6:.0f} MB, {average:.0f} B a packet, seed {SEED}\n")
        compare(path, arguments.packets, arguments.rounds)


if __name__ == "__main__":
    main()
