"""A flood of new flows: memory stays, what is not kept is counted, and the busiest hosts are still named."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np

from govsec.net.columns import FlowEnd, PacketBatch
from govsec.net.flows import FlowTable
from govsec.net.sketch import Sketch
from tests.net.frames import batch_of, ethernet, ipv4, tcp
from tests.net.test_flows import START, cut, through

SECOND = 1_000_000_000
VICTIM, PORT = "192.0.2.80", 443


def spoofed(count: int, *, seed: int = 1, rate: int = 100_000) -> PacketBatch:
    """SYNs to one host, each from an address of its own."""
    one = batch_of([ethernet(ipv4("10.0.0.1", VICTIM, 6, tcp(1, PORT, 2)))])
    rng = np.random.default_rng(seed)
    batch = one.take(np.zeros(count, np.intp))
    sources = np.uint64(0xFFFF << 32) | rng.permutation(np.arange(0x0B000000, 0x0B000000 + count)).astype(np.uint64)
    return dataclasses.replace(
        batch,
        time_ns=START + np.arange(count) * (SECOND // rate),
        position=np.arange(count, dtype=np.uint64),
        source_lo=sources,
        source_port=rng.integers(1024, 65536, count).astype(np.uint16),
    )


def test_flows_beyond_the_budget_are_counted_and_a_sample_is_kept() -> None:
    table = FlowTable(new_flows_max=1000)
    batch = spoofed(50_000)
    updates = [table.add(piece) for piece in cut(batch, [10_000])]
    counters = table.counters()

    assert 1000 < counters["flows"] < 1000 + 50_000 / 64 * 1.5
    assert counters["flows"] + counters["flows_not_kept"] == counters["packets"] == 50_000
    assert all(update.degraded for update in updates)
    sketch = updates[-1].sketch
    assert sketch is not None
    assert sketch.packets == counters["packets_sketched"] == counters["flows_not_kept"]
    assert abs(sketch.sources_estimate / sketch.packets - 1) < 0.1
    assert sketch.targets_estimate == 1
    address, packets, distinct = sketch.targets[0]
    assert (address, packets) == (VICTIM, sketch.packets)
    assert abs(distinct / sketch.packets - 1) < 0.5
    assert len(sketch.source_prefixes) == 16


def test_what_is_kept_under_flood_does_not_depend_on_the_cuts() -> None:
    batch = spoofed(9000, rate=3000)
    said = [through(FlowTable(new_flows_max=500), pieces) for pieces in ([batch], cut(batch, [1000, 17, 300]))]

    assert said[0] == said[1]
    assert len(said[0]["opened"]) < 9000 / 64 * 2 + 3 * 500


def test_a_flood_ends_and_all_is_kept_again() -> None:
    table = FlowTable(new_flows_max=100)
    table.add(spoofed(2000))
    quiet = spoofed(50, seed=2)
    later = dataclasses.replace(quiet, time_ns=quiet.time_ns + 10 * SECOND)
    update = table.add(later)

    assert not update.degraded
    assert update.sketch is None
    assert len(update.opened) == 50


def test_a_full_table_gives_up_the_flows_that_would_end_soonest() -> None:
    table = FlowTable(32_768, new_flows_max=10**9)
    established = spoofed(100, seed=3)
    flags, others = np.full(100, 16, np.uint8), established.source_lo + np.uint64(2**24)
    table.add(dataclasses.replace(established, tcp_flags=flags, source_lo=others))
    closed = np.concatenate([table.add(piece).closed for piece in cut(spoofed(40_000), [10_000])])

    assert len(table) == 32_768
    assert table.counters()["flows_evicted"] == len(closed) == 100 + 40_000 - 32_768
    assert set(closed["end"].tolist()) == {FlowEnd.EVICTED}
    assert (closed["flags_originator"] == 2).all(), "those in mid-stream would have lived longer"
    finished = table.finish().closed
    assert len(closed) + len(finished) == 40_100


def test_half_a_million_spoofed_sources_do_not_make_the_process_grow() -> None:
    done = subprocess.run([sys.executable, "-c", _GROW], capture_output=True, text=True, check=True, timeout=120)
    grown_mb, flows = map(float, done.stdout.split())

    assert 100_000 < flows < 111_000, "five seconds' budget, and one in 64 of the others"
    assert grown_mb < 60, "the rows of these, and the sketch"


_GROW = """
import resource
from tests.net.test_flood import cut, spoofed, FlowTable
batch = spoofed(500_000)
pieces = cut(batch, [16_384])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
table = FlowTable()
for piece in pieces:
    table.add(piece)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, table.counters()["flows"])
"""


def test_the_sketch_never_counts_too_little_and_names_the_heaviest() -> None:
    rng = np.random.default_rng(5)
    base = spoofed(20_000, seed=5)
    targets = np.uint64(0xFFFF_0A00_0000) | (rng.zipf(1.5, 20_000) % 5000).astype(np.uint64)
    batch = dataclasses.replace(base, target_lo=targets)
    sketch = Sketch()
    for piece in cut(batch, [3000]):
        sketch.add(piece)
    summary = sketch.summary()

    which, counts = np.unique(targets, return_counts=True)
    truth = {f"10.0.{int(lo) >> 8 & 255}.{int(lo) & 255}": int(count) for lo, count in zip(which, counts, strict=True)}
    assert len(summary.targets) == 16
    assert all(packets >= truth[address] for address, packets, _ in summary.targets)
    best = sorted(truth, key=lambda address: -truth[address])[:5]
    assert [address for address, _, _ in summary.targets][:5] == best
    assert abs(summary.targets_estimate / len(truth) - 1) < 0.1
