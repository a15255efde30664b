"""How long collecting takes: this host with every probe, and twenty sshd servers on loopback at once.

    python -m bench.collect [servers, default 20]

Budgets: one host 3 s, 64 MB on it and 160 MB here; twenty hosts 10 s. All twenty answer from this one machine, so its
processors do the work of twenty: a fleet of real hosts is bound by the slowest host alone.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from govsec.clock import SystemClock
from govsec.collect.collect import collect
from govsec.collect.probes import AnyProbe
from govsec.collect.script import compile_script
from govsec.collect.transport import LocalTransport
from govsec.collect.transport_ssh import SshTransport
from tests.collect.probesets import every_probe, quick_probes
from tests.collect.sshservers import start_sshd


def _settings() -> list[AnyProbe]:
    """What every host is asked about its settings; only a border is asked as one."""
    return [probe for probe in quick_probes() if probe.kind != "border"]


def main() -> None:
    """Print times and memory."""
    servers_count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    clock = SystemClock()
    probes = [probe for probe in every_probe() if probe.kind != "walk"]
    text = compile_script(probes, host="here").text
    print(f"script: {len(text) / 1024:.0f} KiB for {len(probes)} probes")
    for _ in range(3):
        started = time.perf_counter()
        facts = collect("here", probes, LocalTransport(clock), clock)
        took_s, size_kib = time.perf_counter() - started, len(facts.dump()) / 1024
        print(f"this host, every probe: {took_s:.2f} s, {size_kib:.0f} KiB of facts")
    peak = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"memory: {peak[0]:.0f} MB here, {peak[1]:.0f} MB the largest process of the host")

    with tempfile.TemporaryDirectory(prefix="gs-") as folder:
        servers = [start_sshd(Path(folder) / str(number)) for number in range(servers_count)]
        try:
            for name, asked in (("quick probes", _settings()), ("every probe", probes)):
                started = time.perf_counter()
                with ThreadPoolExecutor(servers_count) as pool:
                    runs = [
                        pool.submit(collect, str(server.port), asked, SshTransport(server.account), clock)
                        for server in servers
                    ]
                    done = [run.result() for run in runs]
                print(f"{len(done)} hosts over SSH at once, {name}: {time.perf_counter() - started:.2f} s")
        finally:
            for server in servers:
                server.kill()


if __name__ == "__main__":
    main()
