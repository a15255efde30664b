"""What only S3 stores do: pages, long listings, names of others, retention that is checked, restic beside."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from govsec.config import S3StoreConfig
from govsec.errors import IntegrityError, LimitError, RefusedError, StoreDeniedError, StoreUnavailableError
from govsec.store import s3
from govsec.store.credentials import Credentials
from govsec.store.s3 import S3Store
from govsec.store.s3versions import OwnedS3Store
from govsec.testing.storesuite import names, raises
from tests.support.proxy import Answer, Proxy, answer
from tests.support.restic import s3_restic
from tests.support.servers import S3Server

COUNT = 60


def owner_of(server: S3Server, **options: object) -> S3Store:
    config = S3StoreConfig(
        kind="s3", endpoint=server.http, bucket=server.bucket, prefix=f"more/{uuid.uuid4().hex}", read_timeout_s=60
    )
    return S3Store(config, Credentials(server.owner.access_key, server.owner.secret_key), name="center", **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def many(s3_server: S3Server) -> S3Store:
    """Objects in two folders and beside them."""
    store = owner_of(s3_server)
    wanted = [f"data/{position % 2:02d}/{position:04d}" for position in range(COUNT)] + ["data/00-x", "data/00.y"]

    def fill(first: int) -> None:
        own = store.clone()
        for name in wanted[first::4]:
            own.put(name, b"1")

    with ThreadPoolExecutor(4) as threads:
        [*threads.map(fill, range(4))]
    return store


@pytest.fixture
def _short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    # monkeypatch: to fill a page of 1,000 takes longer than all other tests of this file.
    monkeypatch.setattr(s3, "_PAGE_SIZE", 7)


@pytest.mark.usefixtures("_short_pages")
def test_listing_of_several_pages_is_whole_and_in_order(many: S3Store) -> None:
    found = names(many, "")
    assert len(found) == COUNT + 2 and list(found) == sorted(found)
    assert len(names(many, "data/01/")) == COUNT // 2


@pytest.mark.usefixtures("_short_pages")
def test_listing_too_long_to_sort_is_walked_folder_by_folder(many: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = names(many, "")
    # monkeypatch: the limit is 200,000 names, which no test can afford to make.
    monkeypatch.setattr(s3, "_SORT_MAX", 50)
    assert names(many, "") == expected
    assert names(many, "data/0") == expected


def test_objects_of_other_prefixes_are_not_seen(s3_server: S3Server) -> None:
    mine, theirs = owner_of(s3_server), owner_of(s3_server)
    theirs.put("config", b"theirs")
    assert names(mine, "") == []
    mine.delete("config")
    assert theirs.get("config", size_max=10) == b"theirs"


def test_names_that_others_put_there_are_left_out(s3_server: S3Server) -> None:
    store = owner_of(s3_server)
    store.put("data/good", b"x")
    client = s3_server.client()
    prefix = f"{store._config.prefix}/"
    for key in ("data/with space", "data/名", "data/.hidden", "data/x\ty"):
        client.put_object(Bucket=s3_server.bucket, Key=prefix + key, Body=b"x")
    assert names(store, "") == ["data/good"]


@pytest.mark.parametrize("prefix", ["/slashes/around/", "slashes/around"])
def test_slashes_around_a_prefix_do_not_matter(s3_server: S3Server, prefix: str) -> None:
    config = S3StoreConfig(kind="s3", endpoint=s3_server.http, bucket=s3_server.bucket, prefix=prefix)
    store = S3Store(config, Credentials(s3_server.owner.access_key, s3_server.owner.secret_key))
    name = f"object-{uuid.uuid4().hex}"
    store.put(name, b"x")
    assert s3_server.client().head_object(Bucket=s3_server.bucket, Key=f"slashes/around/{name}")["ContentLength"] == 1


@pytest.mark.parametrize("prefix", ["../up", "a//b", "a b"])
def test_odd_prefix_is_refused(prefix: str) -> None:
    config = S3StoreConfig(kind="s3", endpoint="http://127.0.0.1:9", bucket="bucket", prefix=prefix)
    with pytest.raises(RefusedError):
        S3Store(config, Credentials("a", "b"))


def test_conditional_put_is_refused_by_name_where_the_server_ignores_it(s3_server: S3Server) -> None:
    store = owner_of(s3_server, has_conditional_put=False)
    raises(RefusedError, store.put, "config", b"x", if_absent=True)
    raises(RefusedError, store.clone().put, "config", b"x", if_absent=True)
    assert names(store, "") == []


@pytest.mark.parametrize("refusal", ["501 Not Implemented", "403 Forbidden"])
@pytest.mark.parametrize("is_versioned", [False, True])
def test_conditional_put_needs_the_list_of_versions_only_where_there_are_versions(
    refusal: str, is_versioned: bool
) -> None:
    def reply(request: bytes) -> Iterator[bytes]:
        stored = {"x_amz_version_id": "v1"} if is_versioned else {}
        return (answer(refusal) if b"versions" in request else answer("200 OK", b"", **stored)).parts(request)

    with Proxy(behaviour=Answer(reply)) as server:
        store = S3Store(S3StoreConfig(kind="s3", endpoint=server.url, bucket="bucket"), Credentials("a", "b"))
        if is_versioned:
            raises(StoreDeniedError, store.put, "config", b"x", if_absent=True)
        else:
            assert store.put("config", b"x", if_absent=True).size_bytes == 1


def test_object_too_large_for_one_put_is_refused_before_anything_is_sent() -> None:
    config = S3StoreConfig(kind="s3", endpoint="http://127.0.0.1:9", bucket="bucket")
    with pytest.raises(LimitError):
        S3Store(config, Credentials("a", "b")).put("data/x", bytes((256 << 20) + 1))


def test_put_is_read_back_where_the_server_checks_no_digest(s3_server: S3Server) -> None:
    store = owner_of(s3_server, checks_content_md5=False)
    store.put("data/x", b"x" * 1000)
    assert store.get("data/x", size_max=1000) == b"x" * 1000


def test_other_bytes_than_were_sent_are_noticed() -> None:
    def reply(request: bytes) -> Iterator[bytes]:
        return answer("200 OK", b"" if request.startswith(b"PUT") else b"damaged!").parts(request)

    with Proxy(behaviour=Answer(reply)) as server:
        config = S3StoreConfig(kind="s3", endpoint=server.url, bucket="bucket")
        store = S3Store(config, Credentials("a", "b"), checks_content_md5=False)
        raises(IntegrityError, store.put, "data/x", b"as sent!")


def test_retention_that_a_server_only_pretends_is_refused() -> None:
    """200 to the put, and no retention afterwards: what Swift's S3 front does."""
    head = {"Last_Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "ETag": '"0"', "x_amz_version_id": "v1"}
    for stored in ({}, {"x_amz_object_lock_retain_until_date": "2026-12-01T00:00:00Z"}):
        with Proxy(behaviour=answer("200 OK", b"", **head, **stored)) as server:
            config = S3StoreConfig(kind="s3", endpoint=server.url, bucket="bucket")
            store = OwnedS3Store(config, Credentials("a", "b"))
            until = datetime(2027, 1, 1, tzinfo=UTC)
            raises(RefusedError, store.put, "data/x", b"x", retain_until=until)


def test_owners_retention_that_a_server_only_pretends_is_refused() -> None:
    """200 to everything, and the retention stays what it was."""
    kept = b"<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2026-12-01T00:00:00Z</RetainUntilDate></Retention>"
    held = b"<LegalHold><Status>OFF</Status></LegalHold>"

    def reply(request: bytes) -> Iterator[bytes]:
        line = request.split(b"\r\n")[0]
        body = b"" if not line.startswith(b"GET") else held if b"legal-hold" in line else kept
        head = {"Last_Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "ETag": '"0"', "x_amz_version_id": "v1"}
        return answer("200 OK", body, **head).parts(request)

    with Proxy(behaviour=Answer(reply)) as server:
        store = OwnedS3Store(S3StoreConfig(kind="s3", endpoint=server.url, bucket="bucket"), Credentials("a", "b"))
        assert store.retention("data/x") == datetime(2026, 12, 1, tzinfo=UTC)
        raises(RefusedError, store.retain, "data/x", datetime(2027, 1, 1, tzinfo=UTC))
        raises(RefusedError, store.hold, "data/x", is_held=True)
        store.hold("data/x", is_held=False)


def test_retention_in_a_bucket_without_versions_is_refused(s3_server: S3Server) -> None:
    config = S3StoreConfig(kind="s3", endpoint=s3_server.http, bucket=s3_server.bucket, prefix=uuid.uuid4().hex)
    store = OwnedS3Store(config, Credentials(s3_server.owner.access_key, s3_server.owner.secret_key))
    store.put("data/x", b"x")
    raises(RefusedError, store.retain, "data/x", datetime.now(UTC) + timedelta(days=1))


def test_wrong_content_md5_is_refused_by_the_server(s3_server: S3Server) -> None:
    """What binds a put to its bytes, since the payload's SHA-256 is not signed."""
    client = s3_server.client()
    key = f"more/{uuid.uuid4().hex}"
    for scheme in ("http", "https"):
        with pytest.raises(client.exceptions.ClientError, match="BadDigest"):
            s3_server.client(scheme=scheme).put_object(
                Bucket=s3_server.bucket, Key=key, Body=b"damaged on the way", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg=="
            )
    assert client.list_objects_v2(Bucket=s3_server.bucket, Prefix=key)["KeyCount"] == 0


def test_body_damaged_on_the_way_is_never_stored(s3_server: S3Server) -> None:
    """A line that flips a byte of the body: the server refuses it, and the error is worth another try."""
    target = int(s3_server.http.rsplit(":", 1)[1])
    direct = owner_of(s3_server)
    with Proxy(target, flip=(b"the original body", b"the 0riginal body")) as proxy:
        config = direct._config.model_copy(update={"endpoint": proxy.url})
        store = S3Store(config, Credentials(s3_server.owner.access_key, s3_server.owner.secret_key))
        raises(StoreUnavailableError, store.put, "data/x", b"the original body")
    assert names(direct, "") == []


def test_stock_restic_and_the_store_see_the_same_objects(s3_server: S3Server, tmp_path: Path) -> None:
    store = owner_of(s3_server)
    owner = s3_server.owner
    url = f"{s3_server.https}/{s3_server.bucket}/{store._config.prefix}"
    keys = {"access_key": owner.access_key, "secret_key": owner.secret_key}
    restic = s3_restic(url, "secret", tmp_path, ca=s3_server.ca, **keys)
    restic.ok("init")
    (tmp_path / "file").write_bytes(b"content")
    restic.ok("backup", str(tmp_path / "file"))
    restic.assert_clean()
    found = names(store, "")
    assert "config" in found and len([name for name in found if name.startswith("data/")]) == 2
    assert len(names(store, "snapshots/")) == 1 and names(store, "locks/") == []
