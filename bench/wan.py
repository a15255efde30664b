"""Shipping over a long line, beside plain parallel uploads of the same objects over the same line.

    python -m bench.wan [--mib 192] [--small 400] [--rate 20] [--delay 50] [--rounds 1]

The line is a proxy in a process of its own: a delay, one rate, a window for each connection as TCP has, and cuts. Plain
is boto3's own uploader (``upload_file``: parts of 8 MiB, ten at once, its own retries). Shipped is
``govsec.centers.ship``, run at the far side as a remote center does: every object checked, written in order, confirmed.
Between two SeaweedFS servers; targets are fresh, and the two take turns.
"""

from __future__ import annotations

import argparse
import multiprocessing
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3.s3.transfer
from botocore.config import Config as BotoConfig

from bench.measure import median
from bench.shipping import CLOCK, PACK_SIZE, fill, two_servers
from govsec.centers import names
from govsec.centers.ship import ship
from govsec.config import S3StoreConfig
from govsec.store.api import ObjectStore
from govsec.store.credentials import Credentials
from govsec.store.retry import RetryStore
from govsec.store.s3 import S3Store
from tests.support.line import Line

BUDGET = 0.7


@dataclass(frozen=True)
class Course:
    """A line and what goes over it."""

    name: str
    packs: int
    small: int
    cut_every_bytes: int


@contextmanager
def line_to(port: int, delay_s: float, bytes_per_s: float, cut_every_bytes: int) -> Iterator[tuple[str, Any]]:
    """The line's address and a counter of its cuts; it has a processor's time of its own."""
    ready: Any = multiprocessing.Queue()
    cuts = multiprocessing.Value("q", 0)
    over = multiprocessing.Event()
    process = multiprocessing.Process(
        target=_carry, args=(port, delay_s, bytes_per_s, cut_every_bytes, ready, cuts, over)
    )
    process.start()
    try:
        yield ready.get(timeout=60), cuts
    finally:
        over.set()
        process.join(60)


def _carry(port: int, delay_s: float, rate: float, cut: int, ready: Any, cuts: Any, over: Any) -> None:
    with Line(port, delay_s=delay_s, bytes_per_s=rate, cut_every_bytes=cut) as line:
        ready.put(line.url)
        while not over.wait(0.05):
            cuts.value = line.cuts_count


def store_at(url: str, server: Any, prefix: str, name: str) -> ObjectStore:
    """A store of the server under ``url``, with the retries of a configured center."""
    config = S3StoreConfig(kind="s3", endpoint=url, bucket=server.bucket, prefix=prefix)
    inner = S3Store(config, Credentials(server.owner.access_key, server.owner.secret_key), name=name, clock=CLOCK)
    return RetryStore[ObjectStore](inner, CLOCK)


def plain(files: list[Path], url: str, server: Any, prefix: str) -> float:
    """Seconds for boto3's uploader over the line."""
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=server.owner.access_key,
        aws_secret_access_key=server.owner.secret_key,
        config=BotoConfig(
            s3={"addressing_style": "path"}, retries={"total_max_attempts": 20, "mode": "standard"},
            max_pool_connections=32, request_checksum_calculation="when_required",
        ),
    )  # fmt: skip
    parts = boto3.s3.transfer.TransferConfig(max_concurrency=10)
    began = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda path: client.upload_file(str(path), server.bucket, f"{prefix}/{path.name}", Config=parts), files
            )
        )
    return time.perf_counter() - began


def main() -> int:
    """Print what each course took; 1 when the budget is missed."""
    parser = argparse.ArgumentParser(prog="bench.wan", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mib", type=int, default=192)
    parser.add_argument("--small", type=int, default=400)
    parser.add_argument("--rate", type=float, default=20, help="megabytes per second")
    parser.add_argument("--delay", type=float, default=50, help="round trip in milliseconds")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    packs = args.mib * (1 << 20) // PACK_SIZE
    courses = (
        Course("packs", packs, 0, 0),
        Course("packs, cut every 24 MB", packs, 0, 24_000_000),
        Course("small objects", 0, args.small, 0),
    )
    is_met = True
    with two_servers() as (near, far):
        for course in courses:
            ratios = [_round(course, near, far, args, number) for number in range(args.rounds)]
            is_met &= median(ratios) >= BUDGET
            print(f"{course.name}: {median(ratios):.2f} of plain uploads (budget {BUDGET})", flush=True)
    return 0 if is_met else 1


def _round(course: Course, near: Any, far: Any, args: argparse.Namespace, number: int) -> float:
    prefix = f"wan/{secrets.token_hex(4)}"
    source = store_at(near.http, near, f"{prefix}/source", "same-city")
    trusted = fill(source, course.packs, small=course.small)
    delay_s, rate = args.delay / 2000, args.rate * 1e6
    with tempfile.TemporaryDirectory(prefix="govsec-wan-", dir="/var/tmp") as folder:
        files = []
        for info in source.list(""):
            path = Path(folder) / info.name.replace("/", "_")
            path.write_bytes(source.get(info.name, size_max=info.size_bytes))
            files.append(path)

        def uploaded() -> float:
            port = int(far.http.rsplit(":", 1)[1])
            with line_to(port, delay_s, rate, course.cut_every_bytes) as (url, cuts):
                seconds = plain(files, url, far, f"{prefix}/plain-{number}")
                print(f"  plain   {seconds:6.1f} s, {cuts.value} cuts", flush=True)
                return seconds

        def shipped() -> float:
            target = store_at(far.http, far, f"{prefix}/target-{number}", "remote")
            target.put(names.CONFIG, b"config of the benchmark")
            port = int(near.http.rsplit(":", 1)[1])
            with line_to(port, delay_s, rate, course.cut_every_bytes) as (url, cuts):
                began = time.perf_counter()
                ship(store_at(url, near, f"{prefix}/source", "same-city"), target, trusted, clock=CLOCK)
                seconds = time.perf_counter() - began
                print(f"  shipped {seconds:6.1f} s, {cuts.value} cuts", flush=True)
                return seconds

        first, second = (uploaded, shipped) if number % 2 else (shipped, uploaded)
        seconds = {first: first(), second: second()}
        return seconds[uploaded] / seconds[shipped]


if __name__ == "__main__":
    sys.exit(main())
