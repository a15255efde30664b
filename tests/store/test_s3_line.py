"""A line, or a center, that stalls, resets, cuts, lies or answers nonsense: our errors, in bounded time and memory."""

from __future__ import annotations

import itertools
import re
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govsec.config import S3StoreConfig
from govsec.errors import (
    ConfigurationError,
    GovsecError,
    IntegrityError,
    LimitError,
    ObjectExistsError,
    StoreDeniedError,
    StoreError,
    StoreUnavailableError,
)
from govsec.store.api import ObjectStore
from govsec.store.credentials import Credentials
from govsec.store.retry import RetryStore
from govsec.store.s3 import S3Store
from govsec.testing.clock import FakeClock
from govsec.testing.faults import FaultKind, Faults, FaultStore, Moment
from govsec.testing.storesuite import Child
from tests.support.proxy import Answer, Behaviour, CutAnswer, CutRequest, Pass, Proxy, Reset, Stall, answer, chunked
from tests.support.servers import S3Server

TIMEOUT_S = 0.4
#: What a call may take at most when the other side does nothing; generous, the machine is shared.
BOUND_S = 60.0
NOBODY = Credentials("nobody", "nothing")
DATA = bytes(range(256)) * 4096  # 1 MiB


def store_at(url: str, credentials: Credentials = NOBODY, *, bucket: str = "bucket", prefix: str = "") -> S3Store:
    config = S3StoreConfig(
        kind="s3",
        endpoint=url,
        bucket=bucket,
        prefix=prefix,
        connect_timeout_s=TIMEOUT_S,
        read_timeout_s=TIMEOUT_S,
    )
    return S3Store(config, credentials, name="center")


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[Proxy]:
    with Proxy(int(s3_server.http.rsplit(":", 1)[1])) as running:
        yield running


@pytest.fixture
def direct(s3_server: S3Server) -> S3Store:
    """The same objects as ``through``, without the proxy and with more patience."""
    owner = s3_server.owner
    config = S3StoreConfig(kind="s3", endpoint=s3_server.http, bucket=s3_server.bucket, prefix=uuid.uuid4().hex)
    return S3Store(config, Credentials(owner.access_key, owner.secret_key), name="center")


@pytest.fixture
def through(proxy: Proxy, direct: S3Store, s3_server: S3Server) -> S3Store:
    # The signature covers the host: the proxy's, which the server sees in the header and takes.
    owner = s3_server.owner
    return store_at(
        proxy.url,
        Credentials(owner.access_key, owner.secret_key),
        bucket=s3_server.bucket,
        prefix=direct._config.prefix,
    )


CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "get": lambda store: store.get("object", size_max=len(DATA)),
    "get range": lambda store: store.get("object", offset=10, length=1000, size_max=1000),
    "head": lambda store: store.head("object"),
    "list": lambda store: [*store.list("")],
    "put": lambda store: store.put("new", DATA),
    "put if absent": lambda store: store.put("new", DATA, if_absent=True),
    "delete": lambda store: store.delete("object"),
}
BROKEN: dict[str, Behaviour] = {
    "stalls": Stall(),
    "resets": Reset(),
    "ends before the answer": CutAnswer(0),
    "ends in the status line": CutAnswer(8),
    "answers 500": answer("500 Internal Server Error"),
    "answers 503": answer("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>"),
    "speaks no HTTP": Answer(lambda _: iter([b"SSH-2.0-OpenSSH_9.2\r\n"])),
    "promises to continue and ends": Answer(lambda _: iter([b"HTTP/1.1 100 Continue\r\n"])),
}


def bounded(call: Callable[[], object]) -> StoreUnavailableError:
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        call()
    assert time.monotonic() - started < BOUND_S
    return caught.value


@pytest.mark.parametrize("s3_server", ["seaweed"], indirect=True)  # the line, not the server, is tried
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("broken", BROKEN)
def test_broken_line_is_an_error_worth_another_try(proxy: Proxy, through: S3Store, broken: str, call: str) -> None:
    proxy.behaviour = BROKEN[broken]
    error = bounded(lambda: CALLS[call](through))
    assert error.is_retryable and "center" in str(error)
    assert proxy.connections_count == 1, "only the retry wrapper tries again"


@pytest.mark.parametrize("s3_server", ["seaweed"], indirect=True)  # the line, not the server, is tried
@pytest.mark.parametrize("call", CALLS)
def test_retrying_gets_through_a_line_that_recovers(proxy: Proxy, through: S3Store, direct: S3Store, call: str) -> None:
    direct.put("object", DATA)
    clock = FakeClock()
    proxy.script = [Reset(), Stall(), BROKEN["answers 500"], CutAnswer(8)]
    CALLS[call](RetryStore(through, clock, attempts_max=5))
    assert proxy.script == [] and len(clock.sleeps) == 4


@pytest.mark.parametrize("s3_server", ["seaweed"], indirect=True)  # the line, not the server, is tried
@pytest.mark.parametrize("is_reset", [False, True])
@pytest.mark.parametrize("after_bytes", [600, 100_000, len(DATA) - 1])
def test_object_cut_in_the_middle_is_never_returned(
    proxy: Proxy, through: S3Store, direct: S3Store, after_bytes: int, is_reset: bool
) -> None:
    direct.put("object", DATA)
    proxy.behaviour = CutAnswer(after_bytes, is_reset)
    bounded(lambda: through.get("object", size_max=len(DATA)))


@pytest.mark.parametrize("after_bytes", [100, 100_000, len(DATA) - 1])
def test_put_cut_in_the_middle_leaves_nothing(
    proxy: Proxy, through: S3Store, direct: S3Store, after_bytes: int
) -> None:
    proxy.behaviour = CutRequest(after_bytes)
    bounded(lambda: through.put("object", DATA))
    proxy.behaviour = Pass()
    assert [info.name for info in direct.list("")] == []


def test_conditional_put_whose_answer_was_lost_is_recognised_as_our_own(through: S3Store, direct: S3Store) -> None:
    faults = Faults(1, FaultKind.ERROR, Moment.AFTER, operations=frozenset({"put"}))
    info = RetryStore(FaultStore(through, faults), FakeClock()).put("object", b"ours", if_absent=True)
    faults.assert_injected()
    assert info.size_bytes == 4 and direct.get("object", size_max=10) == b"ours"


def test_center_that_hangs_is_unavailable_within_the_timeout(s3_server: S3Server, direct: S3Store) -> None:
    direct.put("object", b"x")
    direct.put("untouched", b"y")
    owner = s3_server.owner
    impatient = store_at(
        s3_server.http,
        Credentials(owner.access_key, owner.secret_key),
        bucket=s3_server.bucket,
        prefix=direct._config.prefix,
    )
    assert impatient.get("object", size_max=1) == b"x"
    s3_server.suspend()
    try:
        for call in CALLS.values():
            bounded(lambda call=call: call(impatient))
    finally:
        s3_server.resume()
    # What was asked while it hung may be done now: the delete too.
    assert direct.get("untouched", size_max=1) == b"y"


def test_nobody_listens() -> None:
    with Proxy() as gone:
        url = gone.url
    for call in CALLS.values():
        bounded(lambda call=call: call(store_at(url)))


LISTING = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix>%s</Prefix>
<KeyCount>%d</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>%s</IsTruncated>%s%s</ListBucketResult>"""


def listing(*names: str, prefix: str = "", token: str = "") -> bytes:
    objects = "".join(
        f"<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;0&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for name in names
    )
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return LISTING % (prefix.encode(), len(names), b"true" if token else b"false", more.encode(), objects.encode())


def listed(behaviour: Behaviour, *, prefix: str = "") -> list[str]:
    with Proxy(behaviour=behaviour) as server:
        return [info.name for info in store_at(server.url, prefix="p").list(prefix)]


def xml(body: bytes) -> Answer:
    return answer("200 OK", body, Content_Type="application/xml")


def test_the_double_of_a_server_is_believed_when_it_is_right() -> None:
    assert listed(xml(listing("p/b", "p/a"))) == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", GovsecError),
        (b"not xml", StoreUnavailableError),
        (b"<html>login</html>", StoreUnavailableError),
        (listing("p/a")[:-20], StoreUnavailableError),
        (listing("p/a").replace(b"<Size>1<", b"<Size>many<"), StoreUnavailableError),
        (listing("p/a").replace(b"2026-01-01T", b"yesterday T"), StoreUnavailableError),
        (listing("q/a"), IntegrityError),
        (listing("p/a", "p/a"), IntegrityError),
        (listing("p/a", token="same"), LimitError),
        (listing(token="same"), LimitError),
    ],
)
def test_nonsense_in_a_listing_is_an_error(body: bytes, expected: type[GovsecError]) -> None:
    with pytest.raises(expected):
        listed(xml(body))


def test_names_outside_the_wanted_prefix_are_an_error() -> None:
    with pytest.raises(IntegrityError, match="not asked for"):
        listed(xml(listing("p/data/a", "p/config")), prefix="data/")


def test_names_that_are_none_are_left_out() -> None:
    assert listed(xml(listing("p/../up", "p/good", "p/a b", "p//x", "p/.hidden"))) == ["good"]


def test_listing_that_never_ends_is_given_up() -> None:
    tokens = itertools.count()
    endless = Answer(lambda _: xml(listing(token=f"t{next(tokens)}")).parts(b""))
    with pytest.raises(LimitError, match="does not end"):
        listed(endless)
    assert next(tokens) < 1000


def test_answer_that_grows_without_end_is_cut_off_in_memory() -> None:
    part = b"<Contents>" + b" " * (1 << 20)
    endless = Answer(lambda _: chunked([part] * 1000))
    with pytest.raises(LimitError, match="longer than"):
        listed(endless)


def test_entities_do_not_blow_up() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 1000 + b'">'
    for level in range(1, 8):
        previous = chr(ord("a") + level - 1)
        bomb += f'<!ENTITY {chr(ord("a") + level)} "{f"&{previous};" * 50}">'.encode()
    with pytest.raises(StoreUnavailableError):
        listed(xml(b"<?xml version='1.0'?>" + bomb + b"]><ListBucketResult><Name>&h;</Name></ListBucketResult>"))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_mutated_listings_raise_only_our_errors(data: st.DataObject) -> None:
    body = bytearray(listing("p/a", "p/b/c", prefix="p/", token=""))
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(body) - 1))
        body[position : position + data.draw(st.integers(0, 12))] = data.draw(st.binary(max_size=12))
        if not body:
            body = bytearray(b"<")
    try:
        names = listed(xml(bytes(body)))
    except GovsecError:
        return
    assert all(re.fullmatch(r"[\w./=-]+", name) for name in names)


def got(behaviour: Behaviour, **options: int | None) -> bytes:
    with Proxy(behaviour=behaviour) as server:
        return store_at(server.url).get("object", **{"size_max": 1000, **options})  # type: ignore[arg-type]


def test_whole_object_in_place_of_a_range_is_cut() -> None:
    assert got(answer("200 OK", b"0123456789"), offset=3, length=4) == b"3456"


@pytest.mark.parametrize(
    ("behaviour", "options", "expected"),
    [
        (answer("200 OK", b"12345", Content_Length="9"), {}, StoreUnavailableError),
        (answer("200 OK", b"12345", Content_Length="-1"), {}, StoreUnavailableError),
        (answer("200 OK", b"12345", Content_Length="five"), {}, StoreUnavailableError),
        (answer("200 OK", b"x" * 2000), {}, LimitError),
        (answer("200 OK", b"x", Content_Length=str(1 << 60)), {}, LimitError),
        (Answer(lambda _: chunked([b"12345"])), {}, StoreUnavailableError),
        (answer("200 OK", b"01234"), {"offset": 3, "length": 4}, IntegrityError),
        (answer("206 Partial", b"3456"), {"offset": 3, "length": 4}, StoreUnavailableError),
        (answer("206 P", b"3456", Content_Range="bytes 0-3/9"), {"offset": 3, "length": 4}, StoreUnavailableError),
        (answer("206 P", b"34", Content_Range="bytes 3-4/5"), {"offset": 3, "length": 4}, IntegrityError),
        (answer("206 P", b"34", Content_Range="bytes 3-6/9"), {"offset": 3, "length": 4}, StoreUnavailableError),
        (answer("206 P", b"345678", Content_Range="bytes 3-6/9"), {"offset": 3, "length": 4}, StoreUnavailableError),
        (answer("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>"), {}, StoreDeniedError),
        (answer("418 Teapot", b"<Error/>"), {}, StoreError),
        (answer("400 Bad Request", b""), {}, StoreUnavailableError),
    ],
)
def test_wrong_answer_to_get_is_an_error(
    behaviour: Behaviour, options: dict[str, int], expected: type[GovsecError]
) -> None:
    with pytest.raises(expected):
        got(behaviour, **options)


def test_body_that_drips_is_given_up() -> None:
    def drip(_: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
        yield from itertools.repeat(b"x", 1000)

    started = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="too slow"):
        got(Answer(drip, pause_s=0.02))
    assert time.monotonic() - started < BOUND_S


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
def test_redirects_are_not_followed(status: str) -> None:
    with Proxy(behaviour=answer("200 OK", b"secret")) as other:
        body = f"<Error><Code>PermanentRedirect</Code><Endpoint>127.0.0.1:{other.port}</Endpoint></Error>".encode()
        redirect = answer(status, body, Location=f"{other.url}/bucket/object", x_amz_bucket_region="evil-1")
        for call in CALLS.values():
            with Proxy(behaviour=redirect) as server, pytest.raises(StoreError, match="redirect"):
                call(store_at(server.url))
        assert other.connections_count == 0


@pytest.mark.parametrize("path_style", [True, False])
def test_bucket_that_names_another_host_is_not_asked(path_style: bool) -> None:
    with Proxy(behaviour=answer("200 OK", b"x")) as server:
        config = S3StoreConfig(
            kind="s3",
            endpoint=server.url,
            bucket="arn:aws:s3:us-west-2:123456789012:accesspoint/abc",
            path_style=path_style,
        )
        for call in CALLS.values():
            with pytest.raises(StoreError, match="not the configured endpoint"):
                call(S3Store(config, NOBODY))
        assert server.connections_count == 0


def test_address_is_asked_in_path_style_in_any_case() -> None:
    with Proxy(behaviour=answer("200 OK", b"x")) as server:
        config = S3StoreConfig(kind="s3", endpoint=server.url, bucket="bucket", path_style=False)
        assert S3Store(config, NOBODY).get("object", size_max=1) == b"x"
        assert server.requests == [b"GET /bucket/object HTTP/1.1"]


def test_forked_process_opens_connections_of_its_own(proxy: Proxy, through: S3Store, direct: S3Store) -> None:
    direct.put("object", b"x")
    assert through.get("object", size_max=1) == b"x"

    def child() -> None:
        assert through.get("object", size_max=1) == b"x"

    with Child(child):
        pass
    assert through.get("object", size_max=1) == b"x"
    assert proxy.connections_count == 2, "one of the parent, kept, and one of the child"


def test_region_that_a_server_suggests_is_not_taken() -> None:
    body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>evil-1</Region></Error>"
    with Proxy(behaviour=answer("400 Bad Request", body)) as server, pytest.raises(StoreError):
        store_at(server.url).get("object", size_max=10)
    assert all(b"evil" not in request for request in server.requests)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PROXY", "http://127.0.0.1:9"),
        ("http_proxy", "http://127.0.0.1:9"),
        ("ALL_PROXY", "http://127.0.0.1:9"),
        ("AWS_PROFILE", "nobody"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9"),
        ("AWS_CA_BUNDLE", "/nowhere"),
        ("AWS_CONFIG_FILE", "/nowhere"),
        ("AWS_ACCESS_KEY_ID", "somebody"),
        ("AWS_SESSION_TOKEN", "token"),
        ("AWS_USE_FIPS_ENDPOINT", "true"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "true"),
        ("AWS_MAX_ATTEMPTS", "9"),
    ],
)
def test_environment_changes_nothing(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # monkeypatch: the environment of the process is what is tested.
    monkeypatch.setenv(name, value)
    with Proxy(behaviour=answer("200 OK", b"0123456789")) as server:
        store = store_at(server.url)
        store.clone()._s3  # noqa: B018 - a client of its own
        assert store.get("object", size_max=10) == b"0123456789"
        server.behaviour = answer("500 Internal Server Error")
        bounded(lambda: store.get("object", size_max=10))
        assert server.connections_count == 2


def test_certificate_of_an_unknown_authority_is_refused(s3_server: S3Server) -> None:
    config = S3StoreConfig(kind="s3", endpoint=s3_server.https, bucket=s3_server.bucket)
    for call in CALLS.values():
        with pytest.raises(ConfigurationError, match="certificate"):
            call(S3Store(config, NOBODY, name="center"))


def test_certificate_of_another_host_is_refused(s3_server: S3Server) -> None:
    # The certificate names 127.0.0.1 and localhost.
    with Proxy(int(s3_server.https.rsplit(":", 1)[1]), host="127.0.0.2") as other:
        endpoint = f"https://127.0.0.2:{other.port}"
        config = S3StoreConfig(kind="s3", endpoint=endpoint, bucket="bucket", ca_bundle=s3_server.ca)
        with pytest.raises(ConfigurationError, match="certificate"):
            S3Store(config, NOBODY, name="center").head("object")


def test_wrong_credentials_are_denied_at_once(s3_server: S3Server) -> None:
    clock = FakeClock()
    store = RetryStore(store_at(s3_server.http, bucket=s3_server.bucket), clock)
    for call in CALLS.values():
        with pytest.raises(StoreDeniedError):
            call(store)
    assert clock.sleeps == []


def test_missing_bucket_is_named(s3_server: S3Server) -> None:
    owner = s3_server.owner
    store = store_at(s3_server.http, Credentials(owner.access_key, owner.secret_key), bucket="no-such-bucket")
    with pytest.raises(StoreError, match="NoSuchBucket") as caught:
        store.put("object", b"x")
    assert not caught.value.is_retryable


def test_another_writers_object_is_not_taken_for_ours(through: S3Store, direct: S3Store) -> None:
    direct.put("object", b"theirs")
    with pytest.raises(ObjectExistsError):
        RetryStore(through, FakeClock()).put("object", b"ours", if_absent=True)
    assert direct.get("object", size_max=10) == b"theirs"


def test_secrets_do_not_show() -> None:
    credentials = Credentials("public-part", "very-secret", "token-secret")
    assert "secret" not in repr(credentials)
    denied = answer("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>")
    with Proxy(behaviour=denied) as server, pytest.raises(StoreDeniedError) as caught:
        store_at(server.url, credentials).head("object")
    assert "secret" not in str(caught.value) and "secret" not in str(caught.value.__cause__)


def test_a_pack_gets_through_a_line_that_is_cut_all_the_time(s3_server: S3Server, proxy: Proxy) -> None:
    prefix = f"cut/{uuid.uuid4().hex}"
    owner = Credentials(s3_server.owner.access_key, s3_server.owner.secret_key)
    pack = DATA * 4
    store_at(s3_server.http, owner, bucket=s3_server.bucket, prefix=prefix).put("data/1", pack)
    proxy.behaviour = CutAnswer(700_000)
    far = S3StoreConfig(
        kind="s3", endpoint=proxy.url, bucket=s3_server.bucket, prefix=prefix, connect_timeout_s=60, read_timeout_s=60
    )
    store = RetryStore(S3Store(far, owner, name="far"), FakeClock(), attempts_max=2)
    assert store.get("data/1", size_max=len(pack)) == pack
    # Each connection brought what it could; none brought anything twice.
    assert proxy.connections_count <= -(-len(pack) // 600_000) + 1
