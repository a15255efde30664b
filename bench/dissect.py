"""What reading messages costs: microseconds of processor time a message by protocol, and a packet that nobody reads.

    python -m bench.dissect

Each line dissects generated traffic of one kind; decoding and the flow table ran before and are not in the figures.
"past the head" is a long transfer of a protocol that is recognised and done with.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from govsec.dissect.dissect import DissectLimits, Dissector
from govsec.net.capturefile import CaptureFile
from govsec.net.columns import FlowUpdate, PacketBatch
from govsec.net.flows import FlowTable
from govsec.testing import trafficlan, trafficlogins, trafficscans, trafficsmb, traffictls, traffictunnels, trafficweb
from govsec.testing.packets import Frame, pcap_bytes

#: Nothing is passed over: the cost of reading is what is measured.
_NO_LIMITS = DissectLimits(**dict.fromkeys(DissectLimits.__slots__, 10**9))
_SECONDS = 1.0
_KINDS: dict[str, Callable[[Random], list[Frame]]] = {
    "arp": lambda rng: trafficlan.arp_scan(rng, hosts_count=254),
    "neighbour discovery": lambda rng: trafficlan.router_routine(rng, rounds_count=100),
    "dhcp": lambda rng: trafficlan.dhcp_morning(rng, hosts_count=40),
    "dns": lambda rng: traffictunnels.ordinary_lookups(rng, queries_count=2000),
    "dns tunnel": lambda rng: traffictunnels.dns_tunnel(rng, queries_count=2000),
    "echo": lambda rng: traffictunnels.icmp_tunnel(rng, packets_count=2000),
    "tls 1.3 hellos": lambda rng: traffictunnels.human_browsing(rng, visits_count=200),
    "tls 1.2 certificates": traffictls.good_certificate,
    "http": lambda rng: trafficweb.web_scanner(rng, requests_count=1000),
    "http forms": lambda rng: trafficlogins.http_guessing(rng, attempts_count=300),
    "ssh": lambda rng: trafficlogins.ssh_guessing(rng, connections_count=100),
    "ftp": lambda rng: trafficlogins.ftp_guessing(rng, connections_count=100),
    "smb": lambda rng: trafficlogins.smb_guessing(rng, connections_count=100),
    "netlogon": lambda rng: trafficsmb.netlogon_abuse(rng, attempts_count=300),
    "past the head": lambda rng: traffictunnels.exfiltration(rng, size_bytes=64 << 20),
    "syn scan": lambda rng: trafficscans.vertical_scan(rng, ports_count=15_000),
}


def measure(frames: list[Frame]) -> tuple[int, int, float]:
    """Packets, messages, and seconds for the fastest pass of the dissector: others on the machine only add to it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "traffic.pcap"
        path.write_bytes(pcap_bytes(frames))
        table, work = FlowTable(), list[tuple[PacketBatch, FlowUpdate]]()
        for batch in CaptureFile(path).batches():
            work.append((batch, table.add(batch)))
    passes, messages_count, end = list[float](), 0, time.process_time() + _SECONDS
    while time.process_time() < end:
        dissector, start = Dissector(_NO_LIMITS), time.process_time()
        messages_count = sum(len(dissector.observe(batch, update)) for batch, update in work)
        passes.append(time.process_time() - start)
    return len(frames), messages_count, min(passes)


def main() -> None:
    """Print a line for each kind."""
    print(f"{'traffic':<22} {'packets':>8} {'messages':>8} {'us/message':>11} {'us/packet':>10}")
    for name, build in _KINDS.items():
        packets, messages, seconds = measure(build(Random(1)))
        each = f"{seconds / messages * 1e6:11.1f}" if messages > 10 else f"{'-':>11}"
        print(f"{name:<22} {packets:>8} {messages:>8} {each} {seconds / packets * 1e6:>10.3f}")


if __name__ == "__main__":
    main()
