"""How fast live capture can go without losing a packet: tcpreplay sends over a pair of veth between two name spaces.

Two loads: an office's and its server's traffic at a chosen rate, and a SYN flood of forged sources. The sender shares
the machine's cores with the receiver. Needs root, ``ip`` and ``tcpreplay``.

    .venv/bin/python -m bench.live [--rate 320000] [--packets 2000000] [--stage detect]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from random import Random

from bench.measure import _pss as pss_of
from govsec.assemble.monitor import Sensor
from govsec.clock import SystemClock
from govsec.config import MonitorConfig
from govsec.dissect.dissect import DissectLimits, Dissector
from govsec.net.columns import PacketBatch
from govsec.net.flows import FlowTable
from govsec.net.live import LiveCapture, LiveOptions
from govsec.testing import trafficfloods, trafficoffice
from govsec.testing.packets import merge, pcap_bytes
from tests.support.namespaces import Namespace, cable

#: Fullness of the ring above which conversations are not read.
PRESSURE_MAX = 0.25
STAGES = ("capture", "flows", "messages", "detect")


def main() -> None:
    """One line a load; the last column says whether the budget is kept (no loss, one core, 200 MB)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=320_000, help="packets a second that are asked of tcpreplay")
    parser.add_argument("--packets", type=int, default=2_000_000)
    parser.add_argument("--stage", choices=STAGES, default=STAGES[-1])
    parser.add_argument("--load", choices=("office", "flood"))
    parser.add_argument("--receive", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.receive:
        receive(arguments.receive, arguments.stage)
        return
    lacking = [name for name in ("ip", "tcpreplay") if shutil.which(name) is None]
    if os.geteuid() != 0 or lacking:
        print(f"left out: it needs root, and of programs {', '.join(lacking) or 'none'} besides")
        return
    with tempfile.TemporaryDirectory() as folder:
        for load in (arguments.load,) if arguments.load else ("office", "flood"):
            file = Path(folder, f"{load}.pcap")
            count = make_load(load, file)
            with cable() as (sender, receiver):
                print(json.dumps({"load": load} | run(sender, receiver, file, count, arguments)), flush=True)


def make_load(load: str, file: Path) -> int:
    """A capture file to send; how many packets it has."""
    if load == "flood":
        file.write_bytes(trafficfloods.syn_flood_file(1, 500_000))
        return 500_000
    rng = Random(1)
    frames = merge(
        trafficoffice.office_day(rng, hours=0.25), trafficfloods.busy_server(rng, connections_count=6000, rate=10)
    )
    file.write_bytes(pcap_bytes(frames))
    return len(frames)


def run(
    sender: Namespace, receiver: Namespace, file: Path, count: int, arguments: argparse.Namespace
) -> dict[str, object]:
    """One load from one end of the cable to the other."""
    command = [sys.executable, "-m", "bench.live", "--receive", receiver.interface, "--stage", arguments.stage]
    process = subprocess.Popen(
        ["ip", "netns", "exec", receiver.name, *command], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()  # it listens
    loops = max(1, arguments.packets // count)
    words = sender.replay(
        file, "--preload-pcap", "--unique-ip", f"--loop={loops}", f"--pps={arguments.rate}", "--pps-multi=64"
    )
    sent = re.search(r"Actual: (\d+) packets", words)
    rate = re.search(r"([\d.]+) pps", words)
    assert sent is not None and rate is not None
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    result: dict[str, object] = json.loads(out)
    offered = int(sent[1])
    seconds = offered / float(rate[1])
    lost = offered - int(str(result["packets"]))
    cores = round(float(str(result["processor_s"])) / seconds, 2)
    is_kept = lost == 0 and cores <= 1 and int(str(result["pss_mb"])) <= 200
    return {"offered": offered, "rate": float(rate[1]), "lost": lost, "cores": cores, "is_kept": is_kept} | result


def receive(interface: str, stage: str) -> None:
    """Take batches until told to stop; what was seen goes to stdout as JSON."""
    with LiveCapture(interface, LiveOptions(), SystemClock()) as capture:
        signal.signal(signal.SIGTERM, lambda *_: capture.stop())
        work, summary = pipeline(stage, capture)
        print("ready", flush=True)
        before = resource.getrusage(resource.RUSAGE_SELF)
        batches = 0
        for batch in capture.batches():
            work(batch)
            batches += bool(len(batch))
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        seen = {"processor_s": round(seconds, 2), "pss_mb": pss_of(os.getpid()) >> 20, "batches": batches}
        print(json.dumps(asdict(capture.counters()) | seen | summary()))


def pipeline(stage: str, capture: LiveCapture) -> tuple[Callable[[PacketBatch], None], Callable[[], dict[str, object]]]:
    """What is done with each batch up to ``stage``, and what to say of it in the end."""
    limits = DissectLimits.live()
    flows, dissector = FlowTable(), Dissector(limits)
    sensor = Sensor(MonitorConfig(), limits=limits)
    kinds: Counter[str] = Counter()
    undissected = 0

    def work(batch: PacketBatch) -> None:
        nonlocal undissected
        is_pressed = capture.pressure() > PRESSURE_MAX
        undissected += is_pressed
        if stage == "detect":
            kinds.update(finding.kind for finding in sensor.take(batch, is_dissected=not is_pressed))
        elif stage != "capture":
            update = flows.add(batch)
            if stage == "messages" and not is_pressed:
                kinds.update(type(message).__name__ for message in dissector.observe(batch, update))

    def summary() -> dict[str, object]:
        return {"undissected_batches": undissected, "seen": dict(kinds), "sensor": sensor.counters()}

    return work, summary


if __name__ == "__main__":
    main()
