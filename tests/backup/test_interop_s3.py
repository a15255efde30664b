"""On a real S3 server: govsec with forked workers, and stock restic beside it."""

from __future__ import annotations

import os
from pathlib import Path

from govsec.backup.archive import archive
from govsec.backup.restore import restore
from govsec.backup.sources import FileSource
from govsec.clock import SystemClock
from govsec.config import S3StoreConfig
from govsec.repo.repository import Repository, WritableRepository
from govsec.store.credentials import Credentials
from govsec.store.s3 import S3Store
from tests.backup.conftest import CHEAP, PASSWORD
from tests.backup.trees import describe
from tests.support.restic import s3_restic
from tests.support.servers import S3Server


def test_workers_back_up_and_restore_over_s3_and_restic_agrees(seaweed: S3Server, source: Path, tmp_path: Path) -> None:
    bucket = seaweed.new_bucket()
    owner = seaweed.owner
    where = S3StoreConfig(kind="s3", endpoint=seaweed.http, bucket=bucket, prefix="hr")
    clock = SystemClock()
    store = S3Store(where, Credentials(owner.access_key, owner.secret_key), name="production", clock=clock)
    (source / "large").write_bytes(os.urandom(9 << 20))
    repository = WritableRepository.initialize(store, PASSWORD, clock, kdf=CHEAP)
    result = archive(repository, FileSource([source]), clock=clock, workers=2, pack_size=4 << 20)
    assert result.is_complete
    assert all(info.held_by == ("production",) for info in result.objects)
    restic = s3_restic(
        f"{seaweed.http}/{bucket}/hr",
        PASSWORD.decode(),
        tmp_path,
        access_key=owner.access_key,
        secret_key=owner.secret_key,
        ca=None,
    )
    restic.assert_clean()
    (source / "one.txt").write_bytes(b"changed since")
    restic.ok("backup", source)
    reader = Repository.open(store.clone(), PASSWORD)
    report = restore(reader, reader.resolve(), tmp_path / "out", workers=2)
    assert report.is_complete, report.problems
    assert describe(tmp_path / "out" / source.relative_to("/")) == describe(source)
