"""``govsec monitor explain``: one packet or one flow of a capture, taken apart for a person."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from govsec.cli import frame, texts
from govsec.errors import UsageError

if TYPE_CHECKING:  # numpy and pydantic take their time; `--help` does without them
    from govsec.net.explain import ExplainedPacket


def register(verbs: frame.Verbs[frame.Parser]) -> None:
    """Add the verb ``explain``."""
    verb = frame.add_verb(
        verbs,
        "explain",
        run_explain,
        "take one packet, or the first packets of a flow, apart and say what they do (needs the extra `explain`)",
        examples=[
            "govsec monitor explain office.pcapng --packet 17",
            "govsec monitor explain office.pcapng --flow 1:wCb3OG7yAFWelaUydu0D+125CLM=",
            "govsec monitor explain office.pcapng --flow 192.168.1.20:50122-203.0.113.5:443/tcp --count 3",
        ],
    )
    verb.add_argument("file", type=Path, metavar="FILE", help="pcap or pcapng")
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("--packet", type=int, metavar="N", help="the packet with this number, from 1")
    which.add_argument(
        "--flow", metavar="ID|A:PORT-B:PORT/tcp", help="a community id, or both ends; [address] for IPv6"
    )
    verb.add_argument("--count", type=int, default=10, metavar="N", help="at most so many packets of the flow (10)")


def run_explain(args: argparse.Namespace, io: frame.IO) -> int:
    """Explain packets."""
    from govsec.net.explain import PACKETS_MAX, explain, pick_flow, pick_packet

    if args.packet is not None and args.packet < 1:
        raise UsageError("packets are counted from 1")
    if not 1 <= args.count <= PACKETS_MAX:
        raise UsageError(f"--count is between 1 and {PACKETS_MAX}")
    is_one = args.packet is not None
    packets = [pick_packet(args.file, args.packet)] if is_one else pick_flow(args.file, args.flow, count_max=args.count)
    explained = explain(packets)
    io.result({"packets": [_facts(each) for each in explained]}, lambda: _words(explained, io.lang))
    return 0


def _facts(explained: ExplainedPacket) -> dict[str, object]:
    packet = explained.packet
    return {
        "number": packet.number,
        "time": _time(packet.time_ns),
        "wire_size_bytes": packet.wire_size,
        "data": packet.data.hex(),
        "is_readable": explained.is_readable,
        "layers": [layer.model_dump(mode="json") for layer in explained.layers],
        "notes": [{"code": code, "values": values} for code, values in explained.notes],
    }


def _words(explained: tuple[ExplainedPacket, ...], lang: str) -> str:
    from govsec.report.explain import packet_words

    tongue: Literal["zh", "en"] = "en" if lang == "en" else "zh"
    parts = [
        packet_words(
            number=each.packet.number,
            time=_time(each.packet.time_ns),
            wire_size=each.packet.wire_size,
            data=each.packet.data,
            layers=[(layer.name, layer.fields) for layer in each.layers],
            notes=each.notes,
            lang=tongue,
        )
        for each in explained
    ]
    return texts.printable_lines("\n\n".join(parts))


def _time(time_ns: int) -> str:
    from datetime import UTC, datetime, timedelta

    from govsec.clock import format_time

    return format_time(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_ns // 1000))
