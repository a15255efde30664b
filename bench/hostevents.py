"""What watching a host costs, and how many events a second it takes without losing one.

A watcher (the whole stream: processes, files, a log) runs in a process of its own; another starts programs or changes
files at a chosen rate, or as fast as it can, and counts. What the watcher did not see must be in its counters of
losses. The load shares the machine's cores with the watcher. Needs root.

    .venv/bin/python -m bench.hostevents [--load starts|files|lines|idle] [--rate 1000] [--seconds 15]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bench.measure import _pss as pss_of
from govsec.clock import SystemClock
from govsec.host.events import EventsLost, FileChange, ProcessStarted, StartKind
from govsec.host.filewatch import WatchOptions
from govsec.host.logins import LoginFiles, LoginOptions
from govsec.host.stream import StreamOptions, open_stream

#: Load -> what is asked of it in a second: twice the budget's rate, and 0 as fast as it goes.
RATES = {"starts": (1000, 0), "files": (5000, 10_000, 0), "idle": (0,)}
BUDGET = {"starts": 1000, "files": 5000}


def main() -> None:
    """One line of JSON a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", choices=(*RATES, "lines"))
    parser.add_argument("--rate", type=int)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--watch", help=argparse.SUPPRESS)
    parser.add_argument("--make", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.watch:
        watch(Path(arguments.watch))
        return
    if arguments.make:
        print(json.dumps(make(arguments.load, Path(arguments.make), arguments.rate, arguments.seconds)))
        return
    for load in (arguments.load,) if arguments.load else (*RATES, "lines"):
        if load == "lines":
            print(json.dumps({"load": load} | lines()), flush=True)
            continue
        for rate in (arguments.rate,) if arguments.rate is not None else RATES[load]:
            print(json.dumps({"load": load, "asked_per_s": rate} | run(load, rate, arguments.seconds)), flush=True)


def run(load: str, rate: int, seconds: float) -> dict[str, object]:
    """One load beside a watcher."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        (folder / "watched").mkdir()
        alone = make_apart(load, folder, rate, seconds / 3)
        watcher = subprocess.Popen(
            [sys.executable, "-m", "bench.hostevents", "--watch", str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert watcher.stdout is not None
        watcher.stdout.readline()  # it watches
        time.sleep(1)
        made = make_apart(load, folder, rate, seconds)
        time.sleep(2)  # what a source of starts tells late, a second after
        watcher.send_signal(signal.SIGTERM)
        seen = json.loads(watcher.communicate(timeout=60)[0])
    count, took_s = int(made["count"]), made["took_s"]
    result: dict[str, object] = {
        "per_s": round(count / took_s),
        "per_s_unwatched": round(alone["count"] / alone["took_s"]),
        "cores": round(seen["processor_s"] / seen["wall_s"], 4),
        "pss_mb": seen["pss_mb"],
        "lost_told": seen["lost"],
        "losses": seen["losses"],
    }
    if load == "starts":
        of_load = seen["starts"].get(str(made["pid"]), [0, 0])
        result |= {"made": count, "seen": of_load[0], "unnamed_percent": round(100 * of_load[1] / max(1, count), 1)}
        result["us_each"] = round(1e6 * seen["processor_s"] / max(1, count), 1)
    elif load == "files":
        result |= {"made": count, "seen": seen["changes"], "unnamed": seen["unnamed"]}
        result["us_each"] = round(1e6 * seen["processor_s"] / max(1, count), 1)
    if "seen" in result:
        result["is_complete"] = result["seen"] == count
    return result


def make_apart(load: str, folder: Path, rate: int, seconds: float) -> dict[str, float]:
    """The load, by a process of its own."""
    argv = [sys.executable, "-m", "bench.hostevents", "--load", load, "--rate", str(rate), "--seconds", str(seconds)]
    done = subprocess.run([*argv, "--make", str(folder)], check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def make(load: str, folder: Path, rate: int, seconds: float) -> dict[str, float]:
    """Make events at the rate; how many, and how long it took."""
    steps: dict[str, Callable[[int], int]] = {
        "starts": lambda number: _start_one(),
        "files": lambda number: _change_one(folder / "watched", number),
        "idle": lambda number: _nothing(),
    }
    step, count, number = steps[load], 0, 0
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        if rate and count >= rate * now:
            time.sleep(0.0005)
            continue
        count += step(number)
        number += 1
    return {"count": count or 1, "took_s": time.monotonic() - began, "pid": os.getpid()}


def _start_one() -> int:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    return 1


def _nothing() -> int:
    time.sleep(0.1)
    return 0


def _change_one(folder: Path, number: int) -> int:
    """Four changes: created, modified, renamed, deleted. The names differ, so the kernel merges none of them."""
    path, other = f"{folder}/{number}", f"{folder}/{number}.x"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"x")
    os.close(descriptor)
    os.rename(path, other)
    os.unlink(other)
    return 4


def watch(folder: Path) -> None:
    """Read the stream until told to stop; what was seen goes to stdout as JSON."""
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    (folder / "auth.log").touch()
    options = StreamOptions(
        files=WatchOptions((folder / "watched", Path("/etc"))), logins=LoginOptions((folder / "auth.log",))
    )
    starts: Counter[int] = Counter()
    partial: Counter[int] = Counter()
    changes = unnamed = lost = losses = 0
    with open_stream(options, SystemClock()) as stream:
        print("ready", flush=True)
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        while not stopped:
            for record in stream.read(1.0):
                if isinstance(record, ProcessStarted) and record.how is StartKind.EXEC:
                    parent = record.parent.key.pid if record.parent is not None else 0
                    starts[parent] += 1
                    partial[parent] += record.is_partial
                elif isinstance(record, FileChange) and record.path.startswith(str(folder)):
                    changes += 1
                    unnamed += record.process is None
                elif isinstance(record, EventsLost):
                    lost += record.count
                    losses += 1
        used, wall_s = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - began
        seconds = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        seen = {
            "starts": {pid: (count, partial[pid]) for pid, count in starts.most_common(5)},
            "changes": changes,
            "unnamed": unnamed,
            "lost": lost,
            "losses": losses,
            "processor_s": seconds,
            "wall_s": wall_s,
            "pss_mb": pss_of(os.getpid()) >> 20,
        }
        print(json.dumps(seen))


def lines() -> dict[str, object]:
    """How fast a log is read: a quarter of its lines are log-ins, the rest are what else stands in such logs."""
    count = 400_000
    with tempfile.TemporaryDirectory() as name:
        log = Path(name, "auth.log")
        with log.open("w") as file:
            for number in range(count // 4):
                head = f"Nov 22 09:{number // 60 % 60:02}:{number % 60:02} host"
                file.write(f"{head} sshd[{number}]: Failed password for root from 203.0.113.5 port 4711 ssh2\n")
                file.write(f"{head} CRON[{number}]: pam_unix(cron:session): session opened for user root(uid=0)\n")
                file.write(f"{head} sshd[{number}]: Received disconnect from 203.0.113.5 port 4711:11: Bye [preauth]\n")
                file.write(f"{head} kernel: [12345.678901] audit: type=1400 audit(1795342817.900:55): text\n")
        size = log.stat().st_size
        source = LoginFiles(LoginOptions((log,), is_from_start=True), SystemClock())
        source.open()
        began, records = time.process_time(), 0
        while got := source.read():
            records += len(got)
        took_s = time.process_time() - began
        source.close()
    return {
        "lines": count,
        "records": records,
        "lines_per_s": round(count / took_s),
        "mb_per_s": round(size / took_s / 1e6),
    }


if __name__ == "__main__":
    main()
