"""Every exception of botocore, and every answer of a server, becomes one of ours."""

from __future__ import annotations

import http.client
import inspect

import pytest
import urllib3.exceptions
from botocore import exceptions as foreign
from botocore import httpsession, parsers
from botocore.exceptions import BotoCoreError, ClientError

from govsec.errors import (
    ConfigurationError,
    GovsecError,
    IntegrityError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreDeniedError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from govsec.store.s3errors import FOREIGN_ERRORS, translate

#: What may pass by itself; everything else of botocore's is a wrong configuration or a damaged body.
TRANSIENT = {
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "ConnectionError",
    "EndpointConnectionError",
    "EventStreamError",
    "HTTPClientError",
    "IncompleteReadError",
    "MetadataRetrievalError",
    "ProxyConnectionError",
    "ReadTimeoutError",
    "ResponseStreamingError",
    "SSLError",
}
DAMAGED = {"ChecksumError", "FlexibleChecksumError"}


def exceptions_of(module: object) -> list[type[Exception]]:
    found = {value for _, value in inspect.getmembers(module, inspect.isclass) if issubclass(value, Exception)}
    return sorted(found, key=lambda kind: f"{kind.__module__}.{kind.__name__}")


EVERY_EXCEPTION = sorted(
    {
        kind
        for module in (foreign, parsers, httpsession, urllib3.exceptions, http.client)
        for kind in exceptions_of(module)
        if not issubclass(kind, Warning) and kind.__module__.startswith(("botocore", "urllib3", "http", "xml"))
    },
    key=lambda kind: f"{kind.__module__}.{kind.__name__}",
)


def instance(kind: type[Exception]) -> Exception:
    """An exception of this class; their constructors differ, and only the class decides."""
    quiet = type(kind.__name__, (kind,), {"__str__": lambda _: "as raised", "__repr__": lambda _: "as raised"})
    error = quiet.__new__(quiet)
    assert isinstance(error, Exception)
    return error


def answer(code: str, status: int, message: str = "", operation: str = "GetObject") -> ClientError:
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)


def test_there_are_many_exceptions_to_map() -> None:
    assert len(EVERY_EXCEPTION) > 120
    assert {kind.__name__ for kind in EVERY_EXCEPTION} >= TRANSIENT | DAMAGED


@pytest.mark.parametrize("kind", EVERY_EXCEPTION, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_exception_is_caught_and_translated(kind: type[Exception]) -> None:
    assert issubclass(kind, FOREIGN_ERRORS)
    if issubclass(kind, ClientError):
        return  # what a server answers: below
    translated = translate(instance(kind), "center: get name")
    assert isinstance(translated, GovsecError) and "center: get name" in str(translated)
    if kind.__module__.startswith("botocore") and kind.__name__ in TRANSIENT:
        assert isinstance(translated, StoreUnavailableError)
    elif kind.__name__ in DAMAGED:
        assert isinstance(translated, IntegrityError)
    elif kind.__module__ == "botocore.exceptions":
        assert isinstance(translated, ConfigurationError)
    else:
        assert isinstance(translated, StoreUnavailableError)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("NoSuchKey", 404, ObjectNotFoundError),
        ("404", 404, ObjectNotFoundError),
        ("NoSuchVersion", 404, ObjectNotFoundError),
        ("PreconditionFailed", 412, ObjectExistsError),
        ("412", 412, ObjectExistsError),
        ("ConditionalRequestConflict", 409, StoreUnavailableError),
        ("OperationAborted", 409, StoreUnavailableError),
        ("InvalidRange", 416, IntegrityError),
        ("AccessDenied", 403, StoreDeniedError),
        ("403", 403, StoreDeniedError),
        ("InvalidAccessKeyId", 403, StoreDeniedError),
        ("SignatureDoesNotMatch", 403, StoreDeniedError),
        ("RequestTimeTooSkewed", 403, StoreDeniedError),
        ("ExpiredToken", 400, StoreDeniedError),
        ("401", 401, StoreDeniedError),
        ("QuotaExceeded", 403, StoreFullError),
        ("QuotaExceeded", 400, StoreFullError),
        ("InsufficientStorage", 507, StoreFullError),
        ("507", 507, StoreFullError),
        ("XMinioStorageFull", 507, StoreFullError),
        ("BadDigest", 400, StoreUnavailableError),
        ("IncompleteBody", 400, StoreUnavailableError),
        ("RequestTimeout", 400, StoreUnavailableError),
        ("SlowDown", 503, StoreUnavailableError),
        ("ServiceUnavailable", 503, StoreUnavailableError),
        ("InternalError", 500, StoreUnavailableError),
        ("500", 500, StoreUnavailableError),
        ("502", 502, StoreUnavailableError),
        ("504", 504, StoreUnavailableError),
        ("429", 429, StoreUnavailableError),
        ("TooManyRequests", 429, StoreUnavailableError),
        ("SomethingNew", 599, StoreUnavailableError),
        ("", 0, StoreUnavailableError),
        ("NoSuchBucket", 404, StoreError),
        ("NotImplemented", 501, StoreError),
        ("SomethingNew", 400, StoreError),
        ("SomethingNew", 418, StoreError),
    ],
)
def test_answers_of_servers_are_translated(code: str, status: int, expected: type[GovsecError]) -> None:
    translated = translate(answer(code, status), "center: put name")
    assert type(translated) is expected
    assert translated.is_retryable == (expected is StoreUnavailableError)


@pytest.mark.parametrize(
    ("operation", "code", "status", "expected"),
    [
        # What Ceph 16 says of a put that was cut off, and what HTTP servers say of a request they cannot parse.
        ("PutObject", "NoSuchKey", 404, StoreUnavailableError),
        ("PutObject", "400", 400, StoreUnavailableError),
        ("PutObject", "NoSuchBucket", 404, StoreError),
        ("HeadObject", "400", 400, StoreError),
    ],
)
def test_answers_are_read_by_what_was_asked(
    operation: str, code: str, status: int, expected: type[GovsecError]
) -> None:
    assert type(translate(answer(code, status, operation=operation), "center: put name")) is expected


def test_untrusted_certificate_is_a_matter_of_configuration_and_not_of_patience() -> None:
    error = foreign.SSLError(endpoint_url="https://center", error="[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")
    translated = translate(error, "center: get name")
    assert isinstance(translated, ConfigurationError) and not translated.is_retryable


def test_text_chosen_by_the_server_cannot_write_to_the_terminal() -> None:
    translated = translate(answer("Evil\x1b[2J", 400, "line\nbreak\x1b]0;owned\x07" + "x" * 10_000), "center: get name")
    assert str(translated).isprintable() and len(str(translated)) < 1000


@pytest.mark.parametrize("response", [{}, {"Error": {}}, {"Error": {"Code": 7}}, {"ResponseMetadata": {}}])
def test_answers_without_the_usual_parts_are_translated(response: dict[str, object]) -> None:
    assert isinstance(translate(ClientError(response, "GetObject"), "center: get name"), GovsecError)


def test_base_class_of_botocore_is_covered() -> None:
    class OfTheFuture(BotoCoreError):
        fmt = "not known yet"

    assert isinstance(translate(OfTheFuture(), "center: get name"), ConfigurationError)
