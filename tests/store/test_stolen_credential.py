"""Production's credential in an attacker's hand, at the same-city bucket of both real servers.

The policy that is attacked is the one in ``docs/guides/object-lock.md``, and what the guide says each server answered
is what the test expects. After every attack the true version is there, and the center's own credential brings it back.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from govsec.clock import SystemClock
from govsec.config import S3StoreConfig
from govsec.errors import ObjectNotFoundError, StoreDeniedError
from govsec.store.credentials import Credentials
from govsec.store.s3 import S3Store
from govsec.store.versions import Revealed, covered, reveal
from tests.store.city import GUIDE, Scene, policy_of_the_guide
from tests.support.restic import s3_restic
from tests.support.servers import S3Server

SIZE_MAX = 1 << 20
#: The real clock: servers compare retention with theirs.
UNTIL = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
SOONER = UNTIL - timedelta(days=1)


def table_of_the_guide(server: S3Server) -> dict[str, str]:
    """Attack -> what the server answered."""
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in GUIDE.read_text().splitlines() if "|" in row]
    header = next(row for row in rows if row[0] == "attack")
    column = header.index({"seaweed": "SeaweedFS 4.48", "ceph": "Ceph RGW 16.2.15"}[server.kind])
    return {row[0]: row[column] for row in rows if len(row) == len(header) and row[0] in ATTACKS}


def lifecycle(s: Scene) -> Any:
    rule = {
        "ID": "erase",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "Expiration": {"Days": 1},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
    }
    return s.attacker.put_bucket_lifecycle_configuration(Bucket=s.bucket, LifecycleConfiguration={"Rules": [rule]})


def overwrite_by_multipart(s: Scene) -> Any:
    upload = s.attacker.create_multipart_upload(**s.where)["UploadId"]
    part = s.attacker.upload_part(**s.where, UploadId=upload, PartNumber=1, Body=b"junk")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    return s.attacker.complete_multipart_upload(**s.where, UploadId=upload, MultipartUpload=parts)


def copy_over(s: Scene) -> Any:
    junk = f"hr/junk/{uuid.uuid4().hex}"
    s.attacker.put_object(Bucket=s.bucket, Key=junk, Body=b"junk")
    return s.attacker.copy_object(**s.where, CopySource={"Bucket": s.bucket, "Key": junk})


def batch_delete(s: Scene, *, version: bool) -> Any:
    one = {"Key": s.where["Key"], **({"VersionId": s.version_id} if version else {})}
    return s.attacker.delete_objects(Bucket=s.bucket, Delete={"Objects": [one]})


def retention(s: Scene, until: datetime, **more: Any) -> Any:
    wanted = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
    return s.attacker.put_object_retention(**s.version, Retention=wanted, **more)


def iam(s: Scene) -> Any:
    who = s.server.production
    return boto3.client(
        "iam",
        endpoint_url=s.server.http,
        region_name="us-east-1",
        aws_access_key_id=who.access_key,
        aws_secret_access_key=who.secret_key,
    )


EVERYTHING = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"}]}
)

ATTACKS: dict[str, Callable[[Scene], Any]] = {
    "overwrite": lambda s: s.attacker.put_object(**s.where, Body=b"junk"),
    "overwrite with nothing": lambda s: s.attacker.put_object(**s.where, Body=b""),
    "overwrite by copy": copy_over,
    "overwrite by multipart upload": overwrite_by_multipart,
    "overwrite with a lock of its own": lambda s: s.attacker.put_object(
        **s.where, Body=b"junk", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=UNTIL
    ),
    "delete": lambda s: s.attacker.delete_object(**s.where),
    "delete the version": lambda s: s.attacker.delete_object(**s.version),
    "delete the version, bypassing governance": lambda s: s.attacker.delete_object(
        **s.version, BypassGovernanceRetention=True
    ),
    "batch delete": lambda s: batch_delete(s, version=False),
    "batch delete of the version": lambda s: batch_delete(s, version=True),
    "shorten retention": lambda s: retention(s, SOONER),
    "shorten retention, bypassing governance": lambda s: retention(s, SOONER, BypassGovernanceRetention=True),
    "lock an object for longer": lambda s: retention(s, UNTIL + timedelta(days=1000)),
    "legal hold": lambda s: s.attacker.put_object_legal_hold(**s.version, LegalHold={"Status": "ON"}),
    "suspend versioning": lambda s: s.attacker.put_bucket_versioning(
        Bucket=s.bucket, VersioningConfiguration={"Status": "Suspended"}
    ),
    "lifecycle that expires everything": lifecycle,
    "change the lock configuration": lambda s: s.attacker.put_object_lock_configuration(
        Bucket=s.bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    ),
    "replace the policy": lambda s: s.attacker.put_bucket_policy(Bucket=s.bucket, Policy=EVERYTHING),
    "delete the policy": lambda s: s.attacker.delete_bucket_policy(Bucket=s.bucket),
    "open the bucket's access list": lambda s: s.attacker.put_bucket_acl(Bucket=s.bucket, ACL="public-read-write"),
    "open the object's access list": lambda s: s.attacker.put_object_acl(**s.version, ACL="public-read-write"),
    "tag the object": lambda s: s.attacker.put_object_tagging(
        **s.where, Tagging={"TagSet": [{"Key": "expire", "Value": "now"}]}
    ),
    "delete the bucket": lambda s: s.attacker.delete_bucket(Bucket=s.bucket),
    "create a bucket": lambda s: s.attacker.create_bucket(Bucket=f"evil-{uuid.uuid4().hex[:8]}"),
    "make a key for the owner": lambda s: iam(s).create_access_key(UserName="owner"),
    "give itself a user policy": lambda s: iam(s).put_user_policy(
        UserName="production", PolicyName="all", PolicyDocument=EVERYTHING
    ),
}


@pytest.mark.parametrize("is_retained", [True, False], ids=["retained", "not-retained"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_stolen_credential_loses_nothing(scene: Scene, attack: str, is_retained: bool) -> None:
    if is_retained:
        scene.owner.retain(scene.name, UNTIL)

    outcome = outcome_of(scene, ATTACKS[attack])

    assert outcome == table_of_the_guide(scene.server)[attack]
    assert scene.owner.get_version(scene.name, scene.version_id, size_max=SIZE_MAX) == scene.data
    revealed = reveal(scene.owner, scene.name, scene.is_true, size_max=SIZE_MAX)
    assert (revealed is Revealed.UNTOUCHED) == (outcome not in ("covers", "hides"))
    assert scene.production.get(scene.name, size_max=SIZE_MAX) == scene.data
    if is_retained:
        assert_still_retained(scene)


def outcome_of(scene: Scene, attack: Callable[[Scene], Any]) -> str:
    try:
        answer = attack(scene)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert 400 <= status < 500, error
        return "denied"
    if answer.get("Errors"):
        return "denied"
    try:
        return "no harm" if scene.production.get(scene.name, size_max=SIZE_MAX) == scene.data else "covers"
    except ObjectNotFoundError:
        return "hides"


def assert_still_retained(scene: Scene) -> None:
    """Not even the owner removes the version now; and the server, not our code, says until when."""
    answer = scene.server.client().get_object_retention(**scene.version)["Retention"]
    assert (answer["Mode"], answer["RetainUntilDate"]) == ("COMPLIANCE", UNTIL)
    with pytest.raises(StoreDeniedError):
        scene.owner.delete_version(scene.name, scene.version_id)


def test_guide_lists_every_attack(s3_server: S3Server) -> None:
    assert table_of_the_guide(s3_server).keys() == ATTACKS.keys()


def test_production_deletes_its_locks_and_nothing_else(scene: Scene) -> None:
    lock = f"locks/{uuid.uuid4().hex}"
    scene.production.put(lock, b"a restic lock")
    scene.production.delete(lock)
    with pytest.raises(ObjectNotFoundError):
        scene.production.get(lock, size_max=100)
    for name in (scene.name, "config", "keys/0", "index/0", "snapshots/0", "govsec/commits/0"):
        with pytest.raises(StoreDeniedError):
            scene.production.delete(name)


def test_policy_is_enough_for_production_to_back_up_with_stock_restic(scene: Scene, tmp_path: Path) -> None:
    who, system = scene.server.production, f"restic-{uuid.uuid4().hex[:8]}"
    url = f"{scene.server.https}/{scene.bucket}/{system}"
    keys = {"access_key": who.access_key, "secret_key": who.secret_key}
    restic = s3_restic(url, "secret", tmp_path, ca=scene.server.ca, **keys)
    restic.ok("init")
    restic.ok("backup", str(tmp_path))
    restic.assert_clean()
    assert [
        *scene.server.client().list_objects_v2(Bucket=scene.bucket, Prefix=f"{system}/locks/").get("Contents", [])
    ] == []


def test_owner_finds_every_object_that_was_covered_or_hidden(scene: Scene) -> None:
    before = [versions[0].name for versions in covered(scene.owner, scene.name)]
    ATTACKS["overwrite"](scene)
    after = [versions[0].name for versions in covered(scene.owner, scene.name)]
    assert (before, after) == ([], [scene.name])


def test_owner_stores_the_true_bytes_again_where_junk_is_locked(scene: Scene) -> None:
    scene.production.put(scene.name, b"junk")
    scene.owner.retain(scene.name, UNTIL)  # the junk's version
    assert reveal(scene.owner, scene.name, scene.is_true, size_max=SIZE_MAX) is Revealed.STORED_AGAIN
    assert scene.production.get(scene.name, size_max=SIZE_MAX) == scene.data


def test_production_has_no_door_to_the_remote_bucket(s3_server: S3Server, remote_bucket: str) -> None:
    attacker = s3_server.client(s3_server.production)
    where = {"Bucket": remote_bucket, "Key": "hr/config"}
    calls = [
        lambda: attacker.list_objects_v2(Bucket=remote_bucket),
        lambda: attacker.list_object_versions(Bucket=remote_bucket),
        lambda: attacker.get_object(**where),
        lambda: attacker.put_object(**where, Body=b"junk"),
        lambda: attacker.delete_object(**where),
        lambda: attacker.put_bucket_policy(Bucket=remote_bucket, Policy=EVERYTHING),
        lambda: attacker.delete_bucket(Bucket=remote_bucket),
    ]
    for call in calls:
        with pytest.raises(ClientError) as caught:
            call()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert s3_server.client().get_object(**where)["Body"].read() == b"true"


@pytest.mark.parametrize("of_production", [False, True], ids=["same-city", "production"])
def test_reader_reads_and_nothing_else(s3_server: S3Server, of_production: bool) -> None:
    bucket = s3_server.new_bucket(is_locked=not of_production)
    policy = policy_of_the_guide(s3_server, bucket, of_production=of_production)
    s3_server.client().put_bucket_policy(Bucket=bucket, Policy=policy)
    s3_server.client().put_object(Bucket=bucket, Key="hr/config", Body=b"true")
    where = S3StoreConfig(kind="s3", endpoint=s3_server.https, bucket=bucket, prefix="hr", ca_bundle=s3_server.ca)
    keys = Credentials(s3_server.reader.access_key, s3_server.reader.secret_key)
    reader = S3Store(where, keys, name="reader", clock=SystemClock())

    assert [info.name for info in reader.list("")] == ["config"]
    assert reader.get("config", size_max=100) == b"true"
    assert reader.head("config").size_bytes == 4
    with pytest.raises(ObjectNotFoundError):
        reader.head("keys/0")
    for attack in (lambda: reader.put("config", b"junk"), lambda: reader.delete("config")):
        with pytest.raises(StoreDeniedError):
            attack()
    raw = s3_server.client(s3_server.reader)
    with pytest.raises(ClientError):
        raw.put_bucket_policy(Bucket=bucket, Policy=EVERYTHING)
    assert raw.get_object(Bucket=bucket, Key="hr/config")["Body"].read() == b"true"


@pytest.fixture
def remote_bucket(s3_server: S3Server) -> Iterator[str]:
    bucket = s3_server.new_bucket(is_locked=True)
    s3_server.client().put_object(Bucket=bucket, Key="hr/config", Body=b"true")
    yield bucket
