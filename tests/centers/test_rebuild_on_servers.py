"""Each of three centers in buckets of a real server is lost in turn, and rebuilt by the command from the other two."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from govsec.assemble import demo
from govsec.assemble.systems import Site
from govsec.centers import names
from govsec.clock import SystemClock
from govsec.config import load_config
from tests.centers.commands import answer, run
from tests.store.city import policy_of_the_guide
from tests.support.cheapkey import begin_cheaply
from tests.support.restic import s3_restic
from tests.support.servers import S3Server


def _bucket(server: S3Server, center: str) -> str:
    """An empty bucket, as the guide of each center has it."""
    bucket = server.new_bucket(is_locked=center != "main")
    if center == "near":
        server.client().put_bucket_policy(Bucket=bucket, Policy=policy_of_the_guide(server, bucket))
    return bucket


def _centers(server: S3Server, directory: Path) -> dict[str, object]:
    written: dict[str, object] = {}
    owner = str(server.owner.write_file(directory / "owner"))
    for center, role in demo.CENTERS.items():
        store = {"kind": "s3", "endpoint": server.https, "bucket": _bucket(server, center), "ca_bundle": str(server.ca)}
        own = str(server.production.write_file(directory / "production")) if center == "near" else owner
        written[center] = {"role": role, "store": store, "credentials_file": own}
        if center != "main":
            written[center] |= {"owner_credentials_file": owner, "object_lock": {"days": 1}}  # type: ignore[operator]
    return written


def _lose(server: S3Server, directory: Path, center: str) -> str:
    """The configuration names an empty bucket from now on; the old one is out of reach."""
    path = directory / "govsec.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    bucket = _bucket(server, center)
    config["centers"][center]["store"]["bucket"] = bucket
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return bucket


def test_centers_that_are_lost_one_after_the_other_come_back_from_those_that_are_left(
    s3_server: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "system"
    source.mkdir()
    for number in range(4):
        (source / f"合同-{number}").write_text(f"contract {number}\n" * 999, encoding="utf-8")
    begin_cheaply(demo.write_site(tmp_path, _centers(s3_server, tmp_path), source))
    for command in (("center", "init"), ("backup", "run"), ("center", "ship", "far")):
        assert run(tmp_path, *command) == 0, command

    # After production a backup, so that what follows rebuilds the work of a production that was rebuilt.
    for center, commits_count in (("main", 1), ("near", 2), ("far", 2)):
        bucket = _lose(s3_server, tmp_path, center)
        code, rebuilt = answer(tmp_path, capsys, "center", "rebuild", center)
        assert (code, rebuilt["head"], rebuilt["lock_problem"]) == (0, commits_count, None), rebuilt
        if center == "main":
            (source / "合同-1").write_text("changed\n" * 999, encoding="utf-8")
            code, backed_up = answer(tmp_path, capsys, "backup", "run")
            assert code == 0, backed_up

    code, verified = answer(tmp_path, capsys, "center", "verify")
    assert code == 0, verified
    site = Site(load_config(tmp_path / "govsec.yaml"), SystemClock())
    system = site.system()
    stored = [{info.name for info in site.read_store(system, center).list(names.COMMITS)} for center in demo.CENTERS]
    assert stored[0] == stored[1] == stored[2]
    for center in ("near", "far"):
        owned = site.owner_store(system, center)
        assert owned is not None
        pack = next(iter(owned.list(names.PACKS))).name
        assert owned.retention(pack) is not None, f"{center} holds {pack} without a lock"
    restic = s3_restic(
        f"{s3_server.http}/{bucket}/{demo.SYSTEM}",
        (tmp_path / "keys" / "password").read_text().strip(),
        tmp_path,
        access_key=s3_server.owner.access_key,
        secret_key=s3_server.owner.secret_key,
        ca=s3_server.ca,
    )
    restic.assert_clean()
    assert len(restic.snapshots()) == 2
