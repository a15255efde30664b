"""The ledger's anchor at a real server with object lock: whoever stole production's credential cannot cut the chain."""

from __future__ import annotations

import json
from pathlib import Path

from botocore.exceptions import ClientError

from govsec.assemble.ledger import anchor_ledger, open_ledger
from govsec.assemble.systems import Site
from govsec.clock import SystemClock
from govsec.config import load_config
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.ledger.anchor import anchor_name
from govsec.ledger.entry import Head, entry_name
from govsec.ledger.verify import Fault, verify
from govsec.records import Evidence
from tests.store.city import policy_of_the_guide
from tests.support.servers import Identity, S3Server


def _credential(identity: Identity, path: Path) -> str:
    path.write_text(json.dumps({"access_key": identity.access_key, "secret_key": identity.secret_key}))
    path.chmod(0o600)
    return str(path)


def test_an_anchor_under_lock_outlives_a_thief_and_shows_the_cut(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.new_bucket(is_locked=True)
    s3_server.client().put_bucket_policy(Bucket=bucket, Policy=policy_of_the_guide(s3_server, bucket))
    signer = Signer.generate(Purpose.EVIDENCE)
    signer.save(tmp_path / "evidence.key")
    TrustedKeys([signer.public()]).save(tmp_path / "roots.yaml")
    center = {
        "role": "same_city",
        "store": {
            "kind": "s3", "endpoint": s3_server.https, "bucket": bucket, "ca_bundle": str(s3_server.ca),
            "read_timeout_s": 60,
        },
        "credentials_file": _credential(s3_server.production, tmp_path / "write"),
        "owner_credentials_file": _credential(s3_server.owner, tmp_path / "owner"),
        "object_lock": {"days": 1, "mode": "compliance"},
    }  # fmt: skip
    signing = {"evidence_key_file": "evidence.key", "roots_file": "roots.yaml"}
    path = tmp_path / "govsec.yaml"
    path.write_text(json.dumps({"centers": {"near": center}, "signing": signing, "systems": [{"name": "hr"}]}))
    clock = SystemClock()
    site = Site(load_config(path), clock)
    system = site.system()
    ledger = open_ledger(site, system)
    entries = [
        ledger.append(Evidence(kind="incident.entries", time=clock.now(), subject="case", facts={"number": number}))
        for number in range(3)
    ]
    head = Head(entries[-1].chain, entries[-1].number, entries[-1].digest)

    anchored = anchor_ledger(site, system, head)

    assert (anchored.held_by, anchored.locked_at, anchored.missing) == (("near",), ("near",), ())
    owner = s3_server.client()
    name = f"hr/{anchor_name(head)}"
    (version,) = owner.list_object_versions(Bucket=bucket, Prefix=name)["Versions"]
    for client in (s3_server.client(s3_server.production), owner):
        try:
            client.delete_object(Bucket=bucket, Key=name, VersionId=version["VersionId"])
        except ClientError:
            continue
        raise AssertionError("the locked version was erased")
    last = f"hr/{entry_name(head.chain, head.number)}"
    (unlocked,) = owner.list_object_versions(Bucket=bucket, Prefix=last)["Versions"]
    owner.delete_object(Bucket=bucket, Key=last, VersionId=unlocked["VersionId"])
    report = verify([site.read_store(system, "near")], site.trusted())
    assert [problem.fault for problem in report.problems] == [Fault.CUT_EVERYWHERE]
