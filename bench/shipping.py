"""Shipping beside a plain copy of the same objects, on directories and between two S3 servers.

    python -m bench.shipping [--rounds 5] [--mib 512] [--only local|s3]

Reference on directories: read, write, ``fsync`` file and folder, nothing checked. On S3: boto3 get and put on as
many threads, nothing checked. Both copy what ``govsec.centers.ship`` copies; rounds alternate and targets are fresh.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.measure import median
from govsec.centers import names
from govsec.centers.commits import SnapshotRef
from govsec.centers.near import Change, Near
from govsec.centers.ship import ship
from govsec.centers.state import States
from govsec.clock import SystemClock
from govsec.config import Mode, S3StoreConfig
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.store.api import ObjectStore
from govsec.store.credentials import Credentials
from govsec.store.local import LocalStore
from govsec.store.s3 import S3Store

PACK_SIZE = 16 << 20
#: A pack of a small change.
SMALL_SIZE = 24 << 10
CLOCK = SystemClock()
BUDGETS = {"local": 0.6, "s3": 0.8}


def fill(store: ObjectStore, packs_count: int, *, small: int = 0) -> TrustedKeys:
    """Put packs that look like packs, ``small`` ones of 24 KiB beside them, and a commit that names them."""
    signer = Signer.generate(Purpose.COMMIT)
    trusted = TrustedKeys([signer.public()])
    store.put(names.CONFIG, b"config of the benchmark")
    near = Near(
        store,
        None,
        Mode.MAXIMUM_PERFORMANCE,
        states=States(CLOCK),
        signer=signer,
        trusted=trusted,
        clock=CLOCK,
    )
    objects = []
    for size in [PACK_SIZE] * packs_count + [SMALL_SIZE] * small:
        data = secrets.token_bytes(size - 4) + (69).to_bytes(4, "little")
        digest = hashlib.sha256(data).hexdigest()
        objects.append(near.put(f"data/{digest[:2]}/{digest}", data))
    for prefix in (names.INDEXES, names.SNAPSHOTS):
        data = secrets.token_bytes(1000)
        objects.append(near.put(prefix + hashlib.sha256(data).hexdigest(), data))
    snapshot = SnapshotRef(id=objects[-1].name.removeprefix(names.SNAPSHOTS), time=CLOCK.now())
    near.commit(Change(objects, snapshot))
    return trusted


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` took, everything before it on disk."""
    os.sync()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def copy_directory(source: Path, target: Path, threads: int) -> None:
    """The plain durable copy."""

    def copy(path: Path) -> None:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as reader, place.open("wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
        folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(copy, [path for path in source.rglob("*") if path.is_file()]))


def copy_buckets(source: Any, target: Any, prefix: str, threads: int) -> None:
    """The plain copy between two buckets: ``source`` and ``target`` are (client factory, bucket)."""
    listing = source[0]().get_paginator("list_objects_v2").paginate(Bucket=source[1], Prefix=f"{prefix}/source/")
    keys = [item["Key"] for page in listing for item in page.get("Contents", ())]

    def run(share: list[str]) -> None:
        reader, writer = source[0](), target[0]()
        for key in share:
            body = reader.get_object(Bucket=source[1], Key=key)["Body"].read()
            writer.put_object(Bucket=target[1], Key=f"{prefix}/plain-{key}", Body=body)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, [keys[number::threads] for number in range(threads)]))


def bench_local(mib: int, rounds: int, threads: int) -> list[tuple[float, float]]:
    """Pairs of seconds: plain, shipped."""
    with tempfile.TemporaryDirectory(prefix="govsec-bench-", dir="/var/tmp") as name:
        root = Path(name)
        source = LocalStore(root / "source", name="source", create=True)
        trusted = fill(source, mib * (1 << 20) // PACK_SIZE)
        pairs = []
        for number in range(rounds):

            def plain(number: int = number) -> None:
                copy_directory(root / "source", root / f"plain-{number}", threads)

            def shipped(number: int = number) -> None:
                target = LocalStore(root / f"shipped-{number}", name="target", create=True)
                target.put(names.CONFIG, b"config of the benchmark")
                ship(source, target, trusted, clock=CLOCK, threads=threads)

            first, second = (plain, shipped) if number % 2 else (shipped, plain)
            seconds = {first: timed(first), second: timed(second)}
            pairs.append((seconds[plain], seconds[shipped]))
            shutil.rmtree(root / f"plain-{number}")
            shutil.rmtree(root / f"shipped-{number}")
        return pairs


def bench_s3(mib: int, rounds: int, threads: int) -> list[tuple[float, float]]:
    """Pairs of seconds between two SeaweedFS servers: plain, shipped."""
    with two_servers() as (near, far):

        def store(server: Any, prefix: str, name: str) -> S3Store:
            config = S3StoreConfig(kind="s3", endpoint=server.http, bucket=server.bucket, prefix=prefix)
            return S3Store(
                config, Credentials(server.owner.access_key, server.owner.secret_key), name=name, clock=CLOCK
            )

        source = store(near, "bench/source", "source")
        trusted = fill(source, mib * (1 << 20) // PACK_SIZE)
        pairs = []
        for number in range(rounds):

            def plain() -> None:
                copy_buckets((near.client, near.bucket), (far.client, far.bucket), "bench", threads)

            def shipped(number: int = number) -> None:
                target = store(far, f"bench/shipped-{number}", "target")
                target.put(names.CONFIG, b"config of the benchmark")
                ship(source, target, trusted, clock=CLOCK, threads=threads)

            first, second = (plain, shipped) if number % 2 else (shipped, plain)
            seconds = {first: timed(first), second: timed(second)}
            pairs.append((seconds[plain], seconds[shipped]))
        return pairs


@contextmanager
def two_servers() -> Iterator[tuple[Any, Any]]:
    """Two SeaweedFS servers of their own."""
    from tests.support.authority import make_authority
    from tests.support.servers import start_seaweed

    with tempfile.TemporaryDirectory(prefix="govsec-", dir="/var/tmp", ignore_cleanup_errors=True) as name:
        authority = make_authority(Path(name) / "authority")
        near = start_seaweed(Path(name) / "near", authority)
        try:
            far = start_seaweed(Path(name) / "far", authority)
            try:
                yield near, far
            finally:
                far.kill()
        finally:
            near.kill()


def main() -> int:
    """Print medians and ratios; 1 when a budget is missed."""
    parser = argparse.ArgumentParser(prog="bench.shipping", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--only", choices=("local", "s3"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    results = {}
    for kind, bench in (("local", bench_local), ("s3", bench_s3)):
        if args.only in (None, kind):
            pairs = bench(args.mib, args.rounds, args.threads)
            plain, shipped = median([pair[0] for pair in pairs]), median([pair[1] for pair in pairs])
            results[kind] = {
                "plain_mb_per_s": args.mib * 1.048576 / plain,
                "ship_mb_per_s": args.mib * 1.048576 / shipped,
                "ratio_of_medians": plain / shipped,
                "median_of_ratios": median([pair[0] / pair[1] for pair in pairs]),
                "budget": BUDGETS[kind],
                "rounds": pairs,
            }
    if args.json:
        sys.stdout.write(json.dumps(results) + "\n")
    for kind, result in {} if args.json else results.items():
        verdict = "met" if result["median_of_ratios"] >= result["budget"] else "MISSED"
        sys.stdout.write(
            f"{kind}: plain {result['plain_mb_per_s']:.0f} MB/s, ship {result['ship_mb_per_s']:.0f} MB/s; "
            f"ratio {result['median_of_ratios']:.2f} (budget {result['budget']}): {verdict}\n"
        )
    return 0 if all(result["median_of_ratios"] >= result["budget"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
