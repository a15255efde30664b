"""Fixtures of the store's tests."""

from __future__ import annotations

import hashlib
import uuid

import pytest

from govsec.config import S3StoreConfig
from govsec.store.credentials import Credentials
from govsec.store.s3 import S3Store
from govsec.store.s3versions import OwnedS3Store
from tests.store.city import Scene, policy_of_the_guide
from tests.support.servers import S3Server


@pytest.fixture(scope="session")
def city_buckets() -> dict[str, str]:
    return {}


@pytest.fixture
def scene(s3_server: S3Server, city_buckets: dict[str, str]) -> Scene:
    if s3_server.kind not in city_buckets:
        city_buckets[s3_server.kind] = s3_server.new_bucket(is_locked=True)
        policy = policy_of_the_guide(s3_server, city_buckets[s3_server.kind])
        s3_server.client().put_bucket_policy(Bucket=city_buckets[s3_server.kind], Policy=policy)
    bucket = city_buckets[s3_server.kind]
    config = S3StoreConfig(
        kind="s3", endpoint=s3_server.https, bucket=bucket, prefix="hr", ca_bundle=s3_server.ca, read_timeout_s=60
    )
    keys = s3_server.production, s3_server.owner
    production = S3Store(config, Credentials(keys[0].access_key, keys[0].secret_key), name="city")
    owner = OwnedS3Store(config, Credentials(keys[1].access_key, keys[1].secret_key), name="city")
    data = b"what a backup sealed " + uuid.uuid4().bytes
    digest = hashlib.sha256(data).hexdigest()
    name = f"data/{digest[:2]}/{digest}"
    production.put(name, data)
    (version,) = owner.versions(name)
    return Scene(
        s3_server, bucket, production, owner, s3_server.client(s3_server.production), name, version.version_id, data
    )
