"""``govsec monitor flows``, ``top`` and ``timeline``: a capture as tables and sparklines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from govsec.cli import frame
from govsec.cli.monitorreplay import monitor_config, tongue
from govsec.clock import from_ns

if TYPE_CHECKING:  # numpy and pydantic take their time; `--help` does without them
    from govsec.assemble.monitorviews import Course, Flows
    from govsec.report.catalog import Catalogue

_BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDTH = 60


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verbs ``flows``, ``top`` and ``timeline``."""
    flows = frame.add_verb(
        verbs,
        "flows",
        run_flows,
        "the largest flows of a capture file, with state, sizes and community id",
        examples=[
            "govsec monitor flows office.pcapng",
            "govsec monitor flows office.pcapng --host 10.1.2.0/24 --count 20",
        ],
    )
    flows.add_argument("--host", metavar="ADDRESS", help="only flows of this address or network")
    top = frame.add_verb(
        verbs,
        "top",
        run_top,
        "the hosts of a capture file that sent and received most",
        examples=["govsec monitor top office.pcapng --count 10"],
    )
    timeline = frame.add_verb(
        verbs,
        "timeline",
        run_timeline,
        "the traffic of a capture file over time, by protocol, as sparklines",
        examples=["govsec monitor timeline office.pcapng"],
    )
    for verb in (flows, top, timeline):
        verb.add_argument("file", type=Path, metavar="FILE", help="pcap or pcapng")
    for verb, default in ((flows, 25), (top, 20)):
        verb.add_argument("--count", type=int, default=default, metavar="N", help=f"how many (default {default})")


def run_flows(args: argparse.Namespace, io: frame.IO) -> int:
    """Print the largest flows."""
    from govsec.assemble.monitorviews import flows_of
    from govsec.net.addresses import Prefix

    network = Prefix.parse(args.host) if args.host else None
    found = flows_of(args.file, monitor_config(io), network=network, count=_count(args), progress=io.progress)
    facts = {"flows": [asdict(flow) for flow in found.flows], "count": found.count}
    io.result(facts, lambda: _flows_words(found, _words(io)))
    return 0


def run_top(args: argparse.Namespace, io: frame.IO) -> int:
    """Print the hosts that talked most."""
    from govsec.assemble.monitorviews import course_of

    course = course_of(args.file, monitor_config(io), count=_count(args), progress=io.progress)
    facts = {"talkers": [asdict(talker) for talker in course.talkers], "counters": course.counters}
    io.result(facts, lambda: _top_words(course, _words(io)))
    return 0


def run_timeline(args: argparse.Namespace, io: frame.IO) -> int:
    """Print the traffic over time."""
    from govsec.assemble.monitorviews import course_of
    from govsec.net.traffic import CLASSES

    course = course_of(args.file, monitor_config(io), progress=io.progress)
    facts = {"classes": list(CLASSES), **asdict(course.series), "counters": course.counters}
    io.result(facts, lambda: _timeline_words(course, _words(io)))
    return 0


def sparkline(values: Sequence[int], width: int = _WIDTH) -> str:
    """``values`` as one line of at most ``width`` blocks; neighbours are added up. Only 0 is blank."""
    step = max(1, -(-len(values) // width))
    sums = [sum(values[start : start + step]) for start in range(0, len(values), step)]
    largest = max(sums, default=0)
    if not largest:
        return _BLOCKS[0] * len(sums)
    return "".join(_BLOCKS[-(-value * (len(_BLOCKS) - 1) // largest)] for value in sums)


def _count(args: argparse.Namespace) -> int:
    from govsec.errors import UsageError

    if not 1 <= args.count <= 10_000:
        raise UsageError("--count: 1 to 10000")
    return int(args.count)


def _words(io: frame.IO) -> Catalogue:
    from govsec.report.catalog import Catalogue

    return Catalogue("monitor", tongue(io))


def _flows_words(found: Flows, words: Catalogue) -> str:
    rows = [
        [words.text(f"view.{name}") for name in ("time", "duration", "protocol", "flow", "state", "sent", "received")]
    ]
    for flow in found.flows:
        rows.append(
            [
                _clock(flow.first_ns),
                words.duration(flow.duration_s),
                flow.protocol,
                f"{_end(flow.originator, flow.originator_port)} → {_end(flow.responder, flow.responder_port)}",
                flow.state,
                words.size(flow.bytes_sent),
                words.size(flow.bytes_received),
            ]
        )
    return "\n".join(
        [*_table(rows), "", words.text("view.flows_count", {"shown": len(found.flows), "count": found.count})]
    )


def _top_words(course: Course, words: Catalogue) -> str:
    largest = max((host.bytes_sent + host.bytes_received for host in course.talkers), default=1)
    rows = [[words.text(f"view.{name}") for name in ("host", "sent", "received", "opened", "answered")] + [""]]
    for host in course.talkers:
        bar = "█" * max(1, round(20 * (host.bytes_sent + host.bytes_received) / max(1, largest)))
        sizes = [words.size(host.bytes_sent), words.size(host.bytes_received)]
        rows.append([host.address, *sizes, str(host.flows_opened), str(host.flows_answered), bar])
    return "\n".join(_table(rows))


def _timeline_words(course: Course, words: Catalogue) -> str:
    from govsec.net.traffic import CLASSES

    series = course.series
    if not series.bytes or not series.bytes[0]:
        return words.text("view.empty")
    rows = [
        [words.text(f"view.{name}"), sparkline(sizes), words.size(sum(sizes)), f"{sum(packets):,}"]
        for name, sizes, packets in zip(CLASSES, series.bytes, series.packets, strict=True)
        if any(packets)
    ]
    step = max(1, -(-len(series.bytes[0]) // _WIDTH))
    last_ns = series.start_ns + series.width_ns * len(series.bytes[0])
    facts = {"first": _clock(series.start_ns), "last": _clock(last_ns), "width_s": series.width_ns * step / 1e9}
    return "\n".join([*_table(rows), "", words.text("view.axis", facts)])


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    from govsec.report.width import columns, padded

    widths = [max(columns(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return ["  ".join(padded(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows]


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _clock(time_ns: int) -> str:
    return f"{from_ns(time_ns):%Y-%m-%d %H:%M:%S.%f}"[:-3] + "Z"
