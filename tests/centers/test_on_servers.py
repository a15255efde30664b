"""Centers on real S3 servers: shipping, object lock, and a thief with production's credential."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from govsec.backup.archive import archive
from govsec.backup.restore import restore
from govsec.backup.sources import FileSource
from govsec.centers import names
from govsec.centers.commits import SnapshotRef
from govsec.centers.heal import heal, uncover
from govsec.centers.init import initialise
from govsec.centers.log import START, read_log
from govsec.centers.near import Change, Near
from govsec.centers.retain import extend_locks, hold
from govsec.centers.ship import ship
from govsec.centers.state import States
from govsec.centers.verify import verify
from govsec.clock import SystemClock
from govsec.config import Mode, RetentionLockConfig, S3StoreConfig
from govsec.crypto.keyfile import KdfParameters
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import RefusedError, StoreDeniedError, StoreError
from govsec.repo.repository import Repository, WritableRepository
from govsec.store.api import ObjectStore
from govsec.store.credentials import Credentials
from govsec.store.s3 import S3Store
from govsec.store.s3versions import OwnedS3Store
from tests.store.city import policy_of_the_guide
from tests.support.restic import s3_restic
from tests.support.servers import Identity, S3Server

PASSWORD = "on real servers"
CLOCK = SystemClock()


@dataclass
class Site:
    """Three prefixes of one server: a plain bucket, and two with object lock and the guide's policy."""

    server: S3Server
    production: S3Store
    near: S3Store
    near_owner: OwnedS3Store
    remote: OwnedS3Store
    repository: WritableRepository
    signer: Signer
    trusted: TrustedKeys
    source: Path
    bucket: str
    prefix: str

    def quorum(self) -> Near:
        return Near(
            self.production,
            self.near,
            Mode.MAXIMUM_PROTECTION,
            states=States(CLOCK),
            signer=self.signer,
            trusted=self.trusted,
            clock=CLOCK,
            timeout_s=60,
            threads=2,
        )

    def back_up(self) -> str:
        near = self.quorum()
        try:
            near.resync()
            repository = WritableRepository(near, self.repository.suite.clone(), self.repository.config)
            result = archive(repository, FileSource([self.source]), clock=CLOCK, workers=0)
            snapshot = SnapshotRef(id=result.snapshot_id, time=result.snapshot.time)
            receipt = near.commit(Change(result.objects, snapshot))
        finally:
            near.close()
        assert receipt.held_by == ("production", "near")
        return result.snapshot_id


def store_of(server: S3Server, bucket: str, prefix: str, identity: Identity) -> tuple[S3StoreConfig, Credentials]:
    config = S3StoreConfig(
        kind="s3", endpoint=server.https, bucket=bucket, prefix=prefix, ca_bundle=server.ca, read_timeout_s=60
    )
    return config, Credentials(identity.access_key, identity.secret_key)


@pytest.fixture
def site(s3_server: S3Server, tmp_path: Path) -> Site:
    prefix = f"centers-{uuid.uuid4().hex[:8]}"
    locked = s3_server.new_bucket(is_locked=True)
    s3_server.client().put_bucket_policy(Bucket=locked, Policy=policy_of_the_guide(s3_server, locked))
    owner, thief = s3_server.owner, s3_server.production
    production = S3Store(*store_of(s3_server, s3_server.bucket, prefix, owner), name="production", clock=CLOCK)
    near = S3Store(*store_of(s3_server, locked, f"{prefix}/near", thief), name="near", clock=CLOCK)
    near_owner = OwnedS3Store(*store_of(s3_server, locked, f"{prefix}/near", owner), name="near", clock=CLOCK)
    remote = OwnedS3Store(*store_of(s3_server, locked, f"{prefix}/far", owner), name="remote", clock=CLOCK)
    made: list[WritableRepository] = []

    def create(store: ObjectStore) -> None:
        kdf = KdfParameters(n=16, r=1, p=1)
        made.append(WritableRepository.initialize(store, PASSWORD.encode(), CLOCK, kdf=kdf))

    initialise(production, [near, remote], create)
    signer = Signer(Purpose.COMMIT, b"s" * 32)
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3):
        (source / f"f{number}").write_bytes(bytes([number]) * 400_000)
    trusted = TrustedKeys([signer.public()])
    return Site(s3_server, production, near, near_owner, remote, made[0], signer, trusted, source, locked, prefix)


def test_what_is_shipped_from_one_bucket_to_another_is_clean_for_stock_restic(site: Site, tmp_path: Path) -> None:
    site.back_up()
    (site.source / "f1").write_bytes(b"changed" * 50_000)
    site.back_up()
    report = ship(site.near, site.remote, site.trusted, clock=CLOCK, threads=4)
    assert (report.commits_count, report.flaws) == (2, ())
    assert ship(site.near, site.remote, site.trusted, clock=CLOCK).objects_count == 0
    assert verify(site.remote, site.trusted, clock=CLOCK, others=[site.near, site.production]).is_clean
    url = f"{site.server.http}/{site.bucket}/{site.prefix}/far"
    owner = site.server.owner
    restic = s3_restic(
        url, PASSWORD, tmp_path, access_key=owner.access_key, secret_key=owner.secret_key, ca=site.server.ca
    )
    restic.assert_clean()


def test_locks_are_extended_by_the_center_and_keep_what_is_needed_even_from_itself(site: Site) -> None:
    site.back_up()
    ship(site.near, site.remote, site.trusted, clock=CLOCK)
    lock = RetentionLockConfig(days=2, days_max=3)
    report = extend_locks(site.remote, site.trusted, lock, clock=CLOCK)
    assert (report.failed, report.missing) == ((), ())
    assert report.extended_count >= 5
    pack = next(iter(site.remote.list(names.PACKS))).name
    until = site.remote.retention(pack)
    assert until is not None
    assert timedelta(days=1) < until - datetime.now(UTC) <= timedelta(days=2, minutes=1)
    version = next(iter(site.remote.versions(pack)))
    with pytest.raises(StoreDeniedError):
        site.remote.delete_version(pack, version.version_id)
    again = extend_locks(site.remote, site.trusted, lock, clock=CLOCK)
    assert (again.extended_count, again.enough_count) == (0, report.extended_count)
    changed_count, failed = hold(site.remote, [pack], is_held=True)
    assert (changed_count, failed) == (1, ())
    hold(site.remote, [pack], is_held=False)


def test_production_s_stolen_credential_erases_nothing_at_same_city(site: Site, tmp_path: Path) -> None:
    snapshot_id = site.back_up()
    thief = site.near  # production's credential is all there is to steal
    before = {info.name: info.size_bytes for info in site.near_owner.list("")}
    for name in before:
        for attack in (
            lambda name=name: thief.put(name, b"ransom"),
            lambda name=name: thief.delete(name),
        ):
            with contextlib.suppress(StoreError, RefusedError):
                attack()
    thief.put(names.INDEXES + "0" * 64, b"junk with a wrong digest")
    uncovered = uncover(site.near_owner)
    report = verify(site.near_owner, site.trusted, clock=CLOCK, others=[site.production])
    healing = heal(
        site.near_owner,
        [site.production],
        [damage.name for damage in report.damaged],
        repository=report.repository,
        versions=site.near_owner,
        retaining=site.near_owner,
    )
    assert healing.is_whole
    assert len(uncovered) + len(healing.healed) >= len(before) - 2
    after = verify(site.near_owner, site.trusted, clock=CLOCK, others=[site.production])
    assert after.damaged == ()
    assert after.flaws == ()
    now = {info.name: info.size_bytes for info in site.near_owner.list("")}
    assert {name: size for name, size in now.items() if name in before and not name.startswith(names.LOCKS)} == {
        name: size for name, size in before.items() if not name.startswith(names.LOCKS)
    }
    # By same-city's own read alone, with production gone.
    repository = Repository.open(site.near_owner, PASSWORD.encode())
    restore(repository, repository.load_snapshot(snapshot_id), tmp_path / "out", clock=CLOCK, workers=0)
    restored = tmp_path / "out" / site.source.relative_to("/")
    assert {path.name: path.read_bytes() for path in restored.iterdir()} == {
        path.name: path.read_bytes() for path in site.source.iterdir()
    }


def test_a_center_whose_server_hangs_is_bounded_degraded_and_catches_up(site: Site) -> None:
    """Not on a suspended server, which other tests share: on one address where nobody answers."""
    silent = S3StoreConfig(
        kind="s3",
        endpoint="http://127.0.0.1:9",
        bucket="nobody",
        connect_timeout_s=0.2,
        read_timeout_s=0.2,
        attempts_max=1,
    )
    dead = S3Store(silent, Credentials("a", "b"), name="near", clock=CLOCK)
    near = Near(
        site.production,
        dead,
        Mode.MAXIMUM_AVAILABILITY,
        states=States(CLOCK),
        signer=site.signer,
        trusted=site.trusted,
        clock=CLOCK,
        timeout_s=5,
    )
    repository = WritableRepository(near, site.repository.suite.clone(), site.repository.config)
    result = archive(repository, FileSource([site.source]), clock=CLOCK, workers=0)
    receipt = near.commit(Change(result.objects, SnapshotRef(id=result.snapshot_id, time=result.snapshot.time)))
    near.close()
    assert (receipt.held_by, receipt.reached) == (("production",), "degraded")
    site.back_up()
    for store in (site.production, site.near):
        assert read_log(store, site.trusted, after=START).head.number == 2
