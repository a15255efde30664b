"""Shipping over a long line that is cut all the time: everything arrives, nothing twice, and in order."""

from __future__ import annotations

import hashlib
import secrets
import uuid

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
from govsec.store.memory import MemoryStore
from govsec.store.retry import RetryStore
from govsec.store.s3 import S3Store
from tests.support.line import Line
from tests.support.servers import S3Server

_CLOCK = SystemClock()
_PACK_SIZE = 2 << 20


def _store(url: str, server: S3Server, prefix: str) -> ObjectStore:
    config = S3StoreConfig(
        kind="s3", endpoint=url, bucket=server.bucket, prefix=prefix, connect_timeout_s=60, read_timeout_s=60
    )
    inner = S3Store(config, Credentials(server.owner.access_key, server.owner.secret_key), name="same-city")
    return RetryStore[ObjectStore](inner, _CLOCK, attempts_max=10)


def _fill(store: ObjectStore) -> TrustedKeys:
    signer = Signer.generate(Purpose.COMMIT)
    trusted = TrustedKeys([signer.public()])
    store.put(names.CONFIG, b"config")
    near = Near(
        store, None, Mode.MAXIMUM_PERFORMANCE, states=States(_CLOCK), signer=signer, trusted=trusted, clock=_CLOCK
    )
    for _ in range(3):
        objects = []
        for size in (_PACK_SIZE, _PACK_SIZE, 5000):
            data = secrets.token_bytes(size - 4) + (69).to_bytes(4, "little")
            digest = hashlib.sha256(data).hexdigest()
            objects.append(near.put(f"data/{digest[:2]}/{digest}", data))
        for prefix in (names.INDEXES, names.SNAPSHOTS):
            data = secrets.token_bytes(1000)
            objects.append(near.put(prefix + hashlib.sha256(data).hexdigest(), data))
        snapshot = SnapshotRef(id=objects[-1].name.removeprefix(names.SNAPSHOTS), time=_CLOCK.now())
        near.commit(Change(objects, snapshot))
    return trusted


def test_a_line_that_is_cut_all_the_time_still_brings_everything(s3_server: S3Server) -> None:
    prefix = f"line/{uuid.uuid4().hex}"
    source = _store(s3_server.http, s3_server, prefix)
    trusted = _fill(source)
    target = MemoryStore("remote")
    target.put(names.CONFIG, b"config")
    port = int(s3_server.http.rsplit(":", 1)[1])
    with Line(port, delay_s=0.005, bytes_per_s=30e6, cut_every_bytes=1_500_000) as line:
        report = ship(_store(line.url, s3_server, prefix), target, trusted, clock=_CLOCK)
        assert line.cuts_count >= 5
        moved = line.bytes_count
    wanted = {info.name: info.size_bytes for info in source.list("")}
    assert {info.name: info.size_bytes for info in target.list("")} == wanted
    assert (report.commits_count, report.flaws) == (3, ())
    # A pack that was cut goes on where it was: no cut costs a whole one.
    assert moved < sum(wanted.values()) + line.cuts_count * (600 << 10)
