"""How far continuous protection is behind the files: from the end of a write to its receipt, and to the remote center.

    python -m bench.watch [--files-per-s 200] [--seconds 60] [--tree 20000] [--seaweed] [--json FILE]

A writer changes so many files a second in a tree (a quarter new, the others rewritten), and notes when each write
ended. Real programs run beside it, each a process of its own: ``govsec backup watch`` and the shipping loop to the
remote center. Afterwards every write is looked for in the snapshots, in the order of their commits: it is covered by
the first one that shows the file with the content of that write or of a later one. From the receipt's own line of that
snapshot, and from the moment that the commit's object was in the remote store, follow the two lags.

Then: processor time of the idle watcher, packs and their sizes before and after tidying, and a restore from the remote
center while production and same-city are gone, compared file by file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from govsec.assemble.demo import local_centers, write_site
from govsec.assemble.systems import Site
from govsec.centers import names
from govsec.centers.lag import percentile
from govsec.centers.log import START, read_log
from govsec.centers.ship import repository_of
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.repo.repository import Repository
from govsec.repo.tree import raw_name

GOVSEC = [sys.executable, "-m", "govsec.cli"]
SIZE_BYTES = 4096


@dataclass
class Write:
    """One change of a file: when it ended, and what it wrote."""

    path: Path
    ended: float
    digest: str


@dataclass
class Figures:
    """What came out."""

    values: dict[str, object] = field(default_factory=dict)

    def say(self, name: str, value: object, words: str = "") -> None:
        self.values[name] = value
        print(f"{name:34} {value} {words}".rstrip(), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files-per-s", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--tree", type=int, default=20_000, help="files that are there before")
    parser.add_argument("--idle-s", type=int, default=30)
    parser.add_argument("--seaweed", action="store_true", help="three SeaweedFS buckets instead of directories")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="govsec-bench-watch-") as name:
        directory = Path(name)
        with centers_of(directory, is_seaweed=args.seaweed) as (centers, lose):
            config = prepare(directory, centers, args.tree)
            run(config, directory / "system", args, figures, lose)
    if args.json:
        args.json.write_text(json.dumps(figures.values, indent=1) + "\n", encoding="utf-8")
    return 0


@contextmanager
def centers_of(directory: Path, *, is_seaweed: bool) -> Iterator[tuple[dict[str, object], Callable[[], None]]]:
    """The centers as the configuration writes them, and what loses production and same-city."""
    if not is_seaweed:

        def remove() -> None:
            for name in ("main", "near"):
                shutil.rmtree(directory / name)

        yield local_centers(directory), remove
        return
    from tests.support.demo_s3 import centers as s3_centers
    from tests.support.demo_s3 import start_city

    keys = directory / "credentials"
    keys.mkdir(mode=0o700)
    city = start_city(directory / "servers")

    def kill() -> None:
        for name in ("main", "near"):
            city.servers[name].kill()

    try:
        yield s3_centers(city, keys), kill
    finally:
        city.kill()


def prepare(directory: Path, centers: dict[str, object], files_count: int) -> Path:
    """A site with a tree and a first backup."""
    source = directory / "system"
    for number in range(files_count):
        path = source / f"d{number // 100:04d}" / f"f{number:06d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(secrets.token_bytes(512))
    path = write_site(directory, centers, source)
    written = json.loads(path.read_text(encoding="utf-8"))
    written["systems"][0]["backups"][0]["watch"] = {"tidy_s": 0}
    written["systems"][0]["mode"] = "maximum-availability"
    path.write_text(json.dumps(written), encoding="utf-8")
    govsec(path, "center", "init")
    govsec(path, "center", "ship", "far")
    return path


def run(config: Path, source: Path, args: argparse.Namespace, figures: Figures, lose: Callable[[], None]) -> None:
    watcher = subprocess.Popen(
        [*GOVSEC, "backup", "watch", "--config", str(config), "--json", "-q"], stdout=subprocess.PIPE, text=True
    )
    receipts: dict[str, float] = {}
    is_following = threading.Event()

    def listen() -> None:
        assert watcher.stdout is not None
        for line in watcher.stdout:
            receipts[json.loads(line)["snapshot"]] = time.time()
            is_following.set()

    listener = threading.Thread(target=listen)
    listener.start()
    is_following.wait(300)
    shipper = subprocess.Popen([sys.executable, "-m", "govsec_agents.shipper", "--config", str(config)])
    arrivals: dict[str, float] = {}
    is_over = threading.Event()
    poller = threading.Thread(target=poll_remote, args=(config, arrivals, is_over))
    poller.start()
    time.sleep(15)
    before = cpu_of(watcher.pid)
    began = time.monotonic()
    time.sleep(args.idle_s)
    share = (cpu_of(watcher.pid) - before) / (time.monotonic() - began)
    figures.say("idle_share_of_a_core", round(share, 4))
    before = cpu_of(watcher.pid)
    writes = change(source, args.files_per_s, args.seconds)
    figures.say("writes", len(writes), f"in {args.seconds} s")
    figures.say("busy_share_of_a_core", round((cpu_of(watcher.pid) - before) / args.seconds, 3))
    time.sleep(25)
    watcher.send_signal(signal.SIGTERM)
    watcher.wait(120)
    listener.join()
    time.sleep(15)
    is_over.set()
    poller.join()
    shipper.send_signal(signal.SIGTERM)
    shipper.wait(120)
    measure(config, source, writes, receipts, arrivals, figures)
    packs_and_restore(config, source, figures, lose)


def change(source: Path, files_per_s: int, seconds: int) -> list[Write]:
    """Change files at an even rate; each write is a whole file, closed at its end."""
    existing = sorted(source.rglob("f*"))
    writes: list[Write] = []
    began = time.monotonic()
    for number in range(files_per_s * seconds):
        wait_s = began + number / files_per_s - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        if number % 4 == 0:
            path = source / f"n{number // 400:04d}" / f"new{number:06d}"
            path.parent.mkdir(exist_ok=True)
        else:
            path = existing[secrets.randbelow(len(existing))]
        data = secrets.token_bytes(SIZE_BYTES)
        path.write_bytes(data)
        writes.append(Write(path, time.time(), hashlib.sha256(data).hexdigest()))
    return writes


def poll_remote(config: Path, arrivals: dict[str, float], is_over: threading.Event) -> None:
    """Note when each commit's object is seen in the remote store; it is written last of all that the commit names."""
    site = Site(load_config(config), SystemClock())
    store = site.read_store(site.system(), "far")
    while not is_over.is_set():
        for info in store.list(names.COMMITS):
            arrivals.setdefault(info.name, time.time())
        is_over.wait(0.2)


def measure(
    config: Path,
    source: Path,
    writes: list[Write],
    receipts: dict[str, float],
    arrivals: dict[str, float],
    figures: Figures,
) -> None:
    site = Site(load_config(config), SystemClock())
    system = site.system()
    store = site.read_store(system, "main")
    repository = Repository.open(store, site.password(system))
    log = read_log(store, site.trusted(), repository=repository_of(store), after=START)
    contents = Contents(repository)
    waiting: dict[bytes, list[Write]] = {}
    for write in writes:
        waiting.setdefault(os.fsencode(write.path), []).append(write)
    near: list[float] = []
    far: list[float] = []
    uncovered = len(writes)
    for entry in log.entries:
        if entry.commit.snapshot is None:
            continue
        shown = contents.below(repository.load_snapshot(entry.commit.snapshot.id).tree, source)
        for path, blobs in shown.items():
            done = covered(waiting.get(path, []), contents.digest(blobs))
            for write in done:
                receipt = receipts.get(entry.commit.snapshot.id)
                near.append((receipt or float("nan")) - write.ended)
                far.append(arrivals.get(entry.name, float("inf")) - write.ended)
            uncovered -= len(done)
    figures.say("writes_not_in_any_snapshot", uncovered)
    for name, lags in (("receipt", near), ("remote", far)):
        for percent in (50, 95, 99, 100):
            word = "max" if percent == 100 else f"p{percent}"
            figures.say(f"{name}_lag_{word}_s", round(percentile(lags, percent), 2))
    snapshots = [entry for entry in log.entries if entry.commit.snapshot is not None]
    figures.say("snapshots", len(snapshots))


def covered(waiting: list[Write], digest: str) -> list[Write]:
    """The writes up to the one that has this content, taken off the list."""
    position = next((at for at, write in enumerate(waiting) if write.digest == digest), None)
    if position is None:
        return []
    done, waiting[:] = waiting[: position + 1], waiting[position + 1 :]
    return done


class Contents:
    """What snapshots show, directory by directory; a tree that was seen is not read again."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._seen: set[bytes] = set()
        self._digests: dict[tuple[str, ...], str] = {}

    def below(self, tree: str, source: Path) -> dict[bytes, tuple[str, ...]]:
        found: dict[bytes, tuple[str, ...]] = {}
        stack = [(b"", bytes.fromhex(tree))]
        while stack:
            path, tree_id = stack.pop()
            if (path + tree_id) in self._seen:
                continue
            self._seen.add(path + tree_id)
            for node in self._repository.load_tree(tree_id).nodes:
                below = path + b"/" + raw_name(node)
                if node.subtree is not None:
                    stack.append((below, bytes.fromhex(node.subtree)))
                elif node.content:
                    found[below] = tuple(node.content)
        return found

    def digest(self, blobs: tuple[str, ...]) -> str:
        if blobs not in self._digests:
            # Files of one chunk: the blob's id is the content's digest.
            self._digests[blobs] = blobs[0] if len(blobs) == 1 else ""
        return self._digests[blobs]


def packs_and_restore(config: Path, source: Path, figures: Figures, lose: Callable[[], None]) -> None:
    site = Site(load_config(config), SystemClock())
    system = site.system()

    def packs() -> list[int]:
        return [info.size_bytes for info in site.read_store(system, "main").list("data/")]

    sizes = packs()
    figures.say("packs", len(sizes), f"of {sum(sizes) / len(sizes) / 1024:.0f} KiB on average")
    began = time.monotonic()
    answer = json.loads(govsec(config, "repo", "prune", "--grace", "0d", "--json", "-q"))
    sizes = packs()
    figures.say(
        "tidying_s", round(time.monotonic() - began, 2), f"{answer.get('repacked_packs_count')} packs put together"
    )
    figures.say("packs_after_tidying", len(sizes), f"of {sum(sizes) / len(sizes) / 1024:.0f} KiB on average")
    lose()
    target = config.parent / "restored"
    began = time.monotonic()
    govsec(config, "backup", "restore", "latest", "--center", "far", "--target", str(target), "-q")
    figures.say("restore_with_two_centers_gone_s", round(time.monotonic() - began, 2))
    differing = sum(
        not (target / path.relative_to("/")).is_file()
        or (target / path.relative_to("/")).read_bytes() != path.read_bytes()
        for path in source.rglob("*")
        if path.is_file()
    )
    figures.say("files_that_differ", differing, f"of {sum(path.is_file() for path in source.rglob('*'))}")


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def govsec(config: Path, *argv: str) -> str:
    done = subprocess.run([*GOVSEC, *argv, "--config", str(config)], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"govsec {' '.join(argv)} ended with {done.returncode}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
