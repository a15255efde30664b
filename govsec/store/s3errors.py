"""What S3 servers and botocore say, in govsec's words. The table is the specification; a test walks all of botocore.

Source: Amazon S3 API Reference, "Error responses"; Ceph's ``rgw_common.cc`` and SeaweedFS's ``s3err`` for their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPException
from typing import Final
from xml.etree.ElementTree import ParseError as XMLParseError  # botocore parses with it; only its error is used here

from botocore import exceptions as foreign
from botocore.eventstream import ParserError as EventStreamParserError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

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

#: Everything that a call of botocore, or reading its answer, may raise. ValueError, LookupError, TypeError,
#: AttributeError, RuntimeError and OverflowError are what its parsers raise for headers, documents and times of another
#: shape than they expect: a hostile or broken server chooses those.
FOREIGN_ERRORS: Final = (
    foreign.BotoCoreError,
    foreign.ClientError,
    foreign.HTTPClientError,
    foreign.UndefinedModelAttributeError,
    ResponseParserError,
    EventStreamParserError,
    XMLParseError,
    HTTPError,
    HTTPException,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    OverflowError,
)

_CODES: Final[Mapping[str, type[GovsecError]]] = {
    "NoSuchKey": ObjectNotFoundError,
    "NoSuchVersion": ObjectNotFoundError,
    "NoSuchBucket": StoreError,
    "PreconditionFailed": ObjectExistsError,
    # Two writers at once, a lock inside the server: the same request may work in a moment.
    "ConditionalRequestConflict": StoreUnavailableError,
    "OperationAborted": StoreUnavailableError,
    # The body did not arrive as it was sent.
    "BadDigest": StoreUnavailableError,
    "IncompleteBody": StoreUnavailableError,
    "XAmzContentSHA256Mismatch": StoreUnavailableError,
    "RequestTimeout": StoreUnavailableError,
    "SlowDown": StoreUnavailableError,
    "Throttling": StoreUnavailableError,
    "ThrottlingException": StoreUnavailableError,
    "TooManyRequests": StoreUnavailableError,
    "RequestLimitExceeded": StoreUnavailableError,
    "BandwidthLimitExceeded": StoreUnavailableError,
    "InternalError": StoreUnavailableError,
    "ServiceUnavailable": StoreUnavailableError,
    "NotImplemented": StoreError,
    "QuotaExceeded": StoreFullError,
    "InsufficientStorage": StoreFullError,
    "XMinioStorageFull": StoreFullError,
    "AccessDenied": StoreDeniedError,
    "AllAccessDisabled": StoreDeniedError,
    "InvalidAccessKeyId": StoreDeniedError,
    "SignatureDoesNotMatch": StoreDeniedError,
    "RequestTimeTooSkewed": StoreDeniedError,
    "ExpiredToken": StoreDeniedError,
    "InvalidToken": StoreDeniedError,
    "UserSuspended": StoreDeniedError,
    "ObjectLocked": StoreDeniedError,
    "InvalidRange": IntegrityError,
}

_STATUSES: Final[Mapping[int, type[GovsecError]]] = {
    401: StoreDeniedError,
    403: StoreDeniedError,
    404: ObjectNotFoundError,
    408: StoreUnavailableError,
    409: StoreUnavailableError,
    412: ObjectExistsError,
    416: IntegrityError,
    423: StoreDeniedError,
    425: StoreUnavailableError,
    429: StoreUnavailableError,
    501: StoreError,
    507: StoreFullError,
}

#: Narrowest first. What is not listed is a call that botocore itself refuses: a wrong configuration.
_CLASSES: Final[tuple[tuple[type[Exception], type[GovsecError]], ...]] = (
    (foreign.FlexibleChecksumError, IntegrityError),
    (foreign.ChecksumError, IntegrityError),
    (foreign.InvalidProxiesConfigError, ConfigurationError),
    (foreign.ProxyConnectionError, StoreUnavailableError),
    (foreign.HTTPClientError, StoreUnavailableError),
    (foreign.ConnectionError, StoreUnavailableError),
    (foreign.IncompleteReadError, StoreUnavailableError),
    (foreign.ResponseStreamingError, StoreUnavailableError),
    (foreign.EventStreamError, StoreUnavailableError),
    (foreign.MetadataRetrievalError, StoreUnavailableError),
    (foreign.BotoCoreError, ConfigurationError),
    (foreign.UndefinedModelAttributeError, ConfigurationError),
    (ResponseParserError, StoreUnavailableError),
    (EventStreamParserError, StoreUnavailableError),
    (XMLParseError, StoreUnavailableError),
    (HTTPError, StoreUnavailableError),
    (HTTPException, StoreUnavailableError),
    (OSError, StoreUnavailableError),
)
#: Of all connection errors only these do not pass by themselves: OpenSSL's words, and urllib3's for a wrong host name.
_UNTRUSTED: Final = ("CERTIFICATE_VERIFY_FAILED", "doesn't match")
_TEXT_MAX = 300


def translate(error: Exception, what: str) -> GovsecError:
    """The error of govsec's tree for ``error``; ``what`` names the store, the call and the object."""
    if isinstance(error, foreign.ClientError):
        return _translate_answer(error, what)
    if isinstance(error, foreign.SSLError) and any(words in str(error) for words in _UNTRUSTED):
        return ConfigurationError(f"{what}: the server's certificate is not trusted (ca_bundle): {_text(error)}")
    for known, ours in _CLASSES:
        if isinstance(error, known):
            return ours(f"{what}: {_text(error)}")
    return StoreUnavailableError(f"{what}: the server's answer makes no sense ({type(error).__name__})")


def error_code(error: foreign.ClientError) -> str:
    """The code in a server's error answer: a name, or the HTTP status where the answer had no body."""
    answer = error.response if isinstance(error.response, dict) else {}
    part = answer.get("Error")
    return _printable(str(part.get("Code", ""))) if isinstance(part, dict) else ""


def _translate_answer(error: foreign.ClientError, what: str) -> GovsecError:
    code, status = error_code(error), _status(error)
    ours = _CODES.get(code) or _STATUSES.get(status)
    if code == "400" and not error.operation_name.startswith("Head"):
        # No reason given, which only answers to HEAD may do: the request did not arrive as it was sent.
        ours = StoreUnavailableError
    if ours is ObjectNotFoundError and error.operation_name.startswith("Put"):
        # Ceph 16 says so of a put whose body was cut off.
        ours = StoreUnavailableError
    if ours is None:
        ours = StoreUnavailableError if status >= 500 or status == 0 else StoreError
    message = error.response.get("Error", {}).get("Message", "")
    return ours(f"{what}: {code} (HTTP {status}) {_printable(str(message))}".rstrip())


def _status(error: foreign.ClientError) -> int:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status if isinstance(status, int) else 0


def _text(error: Exception) -> str:
    return _printable(str(error)) or type(error).__name__


def _printable(text: str) -> str:
    """Servers choose this text: one line, no escape sequences, not long."""
    return "".join(character if character.isprintable() else " " for character in text[:_TEXT_MAX])
