"""What the flood detectors share: from one source or from many, where the packets come from, how it is told."""

from __future__ import annotations

import numpy as np

from govsec.detect.attempts import as_flows
from govsec.detect.hosts import host
from govsec.detect.judgement import Evidence
from govsec.detect.rates import Burst
from govsec.detect.windows import Groups, mix
from govsec.findings.judgement import LISTED_MAX
from govsec.net.community import community_ids

#: ATT&CK: Network Denial of Service, direct flood; endpoint: OS exhaustion, service exhaustion.
DIRECT, EXHAUSTION, SERVICE = "T1498.001", "T1499.001", "T1499.002"
REFLECTION = "T1498.002"


def sources_of(burst: Burst) -> list[str]:
    """The heaviest sources first; equals in order of appearance."""
    rows = burst.sample
    groups = Groups(mix(rows["source_hi"], rows["source_lo"]))
    order = np.argsort(-groups.sizes(), kind="stable")
    first = rows[groups.first[order]]
    return [host(hi, lo) for hi, lo in zip(first["source_hi"].tolist(), first["source_lo"].tolist(), strict=True)]


def ports_of(burst: Burst) -> tuple[list[int], float]:
    """Target ports, the most asked first, and the share of the first."""
    ports, counts = np.unique(burst.sample["target_port"], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return ports[order].tolist(), float(counts.max() / counts.sum())


def target_of(burst: Burst) -> str:
    """The address that is flooded."""
    return host(burst.target_hi, burst.target_lo)


def evidence_of(burst: Burst) -> Evidence:
    """First and last packet of the sample, and community ids of some of its flows."""
    rows = burst.sample
    some = rows[:LISTED_MAX]
    flows = as_flows(some)
    for ours, theirs in (("originator", "source"), ("responder", "target")):
        for part in ("hi", "lo", "port"):
            flows[f"{ours}_{part}"] = some[f"{theirs}_{part}"]
    first_ns, last_ns = int(rows["time_ns"].min()), int(rows["time_ns"].max())
    # A flood is more than the flows of some of its packets, also where these are all on one.
    return Evidence(first_ns, last_ns, community_ids(flows), flows_count=burst.asks)


def many(burst: Burst) -> str:
    """Words for the number of sources; of a large burst only a sample tells them."""
    count = burst.sources_count
    words = "one source" if count == 1 else f"{count} sources"
    return f"at least {words}" if is_sampled(burst) else words


def is_sampled(burst: Burst) -> bool:
    """True when the burst was so large that its sources were counted in a part of it."""
    return len(burst.sample) < burst.asks
