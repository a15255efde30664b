"""What an agent costs on a quiet machine: processor and memory of its processes, with 400 processes and 8,000 sockets.

Makes the processes (asleep) and the sockets (connected pairs on the loopback), starts the agent as its unit does, lets
it settle, and measures for a while. Needs root. The budget is 1 % of one core and 150 MB of PSS each.

    .venv/bin/python -m bench.agent [--seconds 60] [--settle 45] [--agent host]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.measure import _pss as pss_of

PROCESSES = 400
SOCKETS = 8_000
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """One line an agent, and one a process of it; the last column says whether the budget is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long is measured")
    parser.add_argument("--settle", type=float, default=45, help="and how long is waited before")
    parser.add_argument("--agent", choices=("host", "network"), action="append")
    parser.add_argument("--interface", default="lo", help="what the network agent listens to")
    arguments = parser.parse_args()
    with sleepers(PROCESSES), sockets(SOCKETS), tempfile.TemporaryDirectory(prefix="gsb-") as folder:
        for agent in arguments.agent or ("host", "network"):
            for line in measure(agent, Path(folder), arguments):
                print(json.dumps(line), flush=True)


@contextmanager
def sleepers(count: int) -> Iterator[None]:
    """So many processes that do nothing."""
    made = [subprocess.Popen(["sleep", "100000"], stdin=subprocess.DEVNULL) for _ in range(count)]
    try:
        yield
    finally:
        for process in made:
            process.kill()
        for process in made:
            process.wait()


@contextmanager
def sockets(count: int) -> Iterator[None]:
    """So many sockets of TCP, all but one of them connected, in a process of their own."""
    keeper = subprocess.Popen(
        [sys.executable, "-c", f"from bench.agent import keep_sockets; keep_sockets({count})"], stdout=subprocess.PIPE
    )
    assert keeper.stdout is not None
    keeper.stdout.readline()
    try:
        yield
    finally:
        keeper.kill()
        keeper.wait()


def keep_sockets(count: int) -> None:
    """Open them, say so, and wait for the end."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, count + 100))
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1_000))
        for _ in range(count // 2):
            stack.enter_context(socket.create_connection(listener.getsockname()))
            stack.enter_context(listener.accept()[0])
        print("open", flush=True)
        signal.pause()


def measure(agent: str, folder: Path, arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Start it, let it settle, look at it twice."""
    config = folder / "agent.yaml"
    config.write_text(
        f"state_dir: {folder}/state\n"
        f"agent: {{run_dir: {folder}/run, interfaces: [{arguments.interface}], metrics: {{file: {folder}/x.prom}}}}\n"
    )
    environment = {**os.environ, "STATE_DIRECTORY": f"{folder}/state", "OPENBLAS_NUM_THREADS": "1"}
    program = [str(Path(sys.executable).with_name("govsec")), "agent", "run", agent, "--config", str(config), "-q"]
    folder.chmod(0o755)
    process = subprocess.Popen(program, env=environment)
    try:
        time.sleep(arguments.settle)
        before = {pid: cpu_s(pid) for pid in family(process.pid)}
        started = time.monotonic()
        time.sleep(arguments.seconds)
        seconds = time.monotonic() - started
        parts = [
            {
                "process": f"{agent} {'supervisor' if pid == process.pid else 'module'}",
                "cpu_percent": round(100 * (cpu_s(pid) - before.get(pid, 0)) / seconds, 2),
                "pss_mb": round(pss_of(pid) / 2**20, 1),
            }
            for pid in family(process.pid)
        ]
        cpu = sum(float(str(part["cpu_percent"])) for part in parts)
        pss = sum(float(str(part["pss_mb"])) for part in parts)
        kept = {"cpu": cpu <= 1, "pss": pss <= 150}
        yield {"agent": agent, "seconds": round(seconds), "cpu_percent": round(cpu, 2), "pss_mb": round(pss, 1), **kept}
        yield from parts
    finally:
        process.terminate()
        process.wait(60)


def family(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for each in found:
        try:
            found += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
        except OSError:
            continue
    return found


def cpu_s(pid: int) -> float:
    """Processor time of one process and of those below it that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / _TICKS_PER_S


if __name__ == "__main__":
    main()
