"""False alarms of a working day: all detectors on generated traffic of an office and its servers, which has no attack.

    python -m bench.falsealarms [--hours 8] [--desktops 40] [--seed 1] [--keep FILE]

Into the day of the office (people, servers, monitoring, backups, updates, chatter) the benign twin of every attack that
the suite knows is put once: the port check, the typing error, the large download, the moved address. Every finding is
printed; the last line counts them, and by severity. Sensors are judged by what people then have to look at.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

from govsec.assemble.monitor import replay
from govsec.config import MonitorConfig
from govsec.testing.packets import SECOND, START_NS, Frame, merge, pcap_bytes
from govsec.testing.trafficcases import CASES
from govsec.testing.trafficoffice import HOUR_S, office_day

_PCAP_HEADER_SIZE = 24


def main() -> None:
    """Print every finding and their count as lines of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=8)
    parser.add_argument("--desktops", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="write the capture there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.keep or Path(folder, "day.pcap")
        packets = write_day(path, hours=arguments.hours, desktops=arguments.desktops, seed=arguments.seed)
        done = replay(path, MonitorConfig())
    for finding in done.findings:
        print(json.dumps({"kind": finding.kind, "severity": finding.severity.name, "summary": finding.summary}))
    severities = Counter(finding.severity.name for finding in done.findings)
    print(json.dumps({"packets": packets, "findings": len(done.findings), "by_severity": severities}))


def write_day(path: Path, *, hours: int, desktops: int, seed: int) -> int:
    """The capture of a day, hour by hour, so that it need not be held; gives how many packets it has."""
    packets = 0
    with path.open("wb") as file:
        file.write(pcap_bytes([])[:_PCAP_HEADER_SIZE])
        for hour, twins in zip(range(hours), _twins_by_hour(hours, seed), strict=True):
            rng = Random(f"{seed} {hour}")
            start_ns = START_NS + hour * HOUR_S * SECOND
            frames = merge(office_day(rng, time_ns=start_ns, hours=1.0, desktops_count=desktops), *twins)
            file.write(pcap_bytes(frames)[_PCAP_HEADER_SIZE:])
            packets += len(frames)
    return packets


def _twins_by_hour(hours: int, seed: int) -> Iterator[list[list[Frame]]]:
    """Each twin once, spread over the day; one that takes longer than its hour is cut there."""
    builders = list(dict.fromkeys(case.twin for case in CASES))
    share = -(-len(builders) // hours)
    for hour in range(hours):
        end_ns = START_NS + (hour + 1) * HOUR_S * SECOND
        parts = []
        for number, builder in enumerate(itertools.islice(builders, hour * share, (hour + 1) * share)):
            start_ns = START_NS + (hour * HOUR_S + 60 + number * HOUR_S // (2 * share)) * SECOND
            assert "time_ns" in inspect.signature(builder).parameters  # all builders of traffic have it
            frames = builder(Random(seed), time_ns=start_ns)  # type: ignore[call-arg]
            parts.append([frame for frame in frames if frame.time_ns < end_ns])
        yield parts


if __name__ == "__main__":
    main()
