"""A webhook: the notice as a CloudEvent, signed, so that the far side can tell who sent it and whether it is a double.

Body: CloudEvents 1.0 in structured JSON. Header ``Govsec-Signature: t=<seconds>,n=<nonce>,<digest>=<hex>``, where the
signature is an HMAC (SHA-256 or SM3) over ``<seconds>.<nonce>.`` and the body. The far side refuses what is older
than some minutes or has a nonce that it has seen; the event's id is the notice's key and stays the same when it is
sent again.

Source: CloudEvents 1.0.2, JSON event format 1.0.2.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Literal

from govsec.canonical import dumps
from govsec.clock import Clock, format_time, to_ns
from govsec.errors import ConfigurationError
from govsec.notice.api import DeliveryError, Limits, Poster, Receipt, ReceiptState
from govsec.records import Notice

DigestName = Literal["sha256", "sm3"]


class Webhook:
    """Posts signed events to one URL."""

    def __init__(
        self, name: str, url: str, secret: bytes, poster: Poster, clock: Clock, *, digest: DigestName = "sha256"
    ) -> None:
        """Raises ``ConfigurationError`` when this machine's OpenSSL has no SM3."""
        self.name = name
        self.limits = Limits()
        self._url = url
        self._secret = secret
        self._poster = poster
        self._clock = clock
        self._digest = digest
        try:
            hmac.digest(secret, b"", digest)
        except ValueError as error:
            raise ConfigurationError(f"channel {name}: this machine has no {digest}") from error

    def send(self, notice: Notice) -> Receipt:
        """Post the event. Any 2xx is a yes. Raises as ``Channel.send``."""
        body = event_of(notice)
        moment, nonce = to_ns(self._clock.now()) // 1_000_000_000, secrets.token_hex(16)
        signed = signature(self._secret, body, moment, nonce, self._digest)
        headers = {
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            "Idempotency-Key": notice.key.encode("ascii", "backslashreplace").decode(),
            "Govsec-Signature": f"t={moment},n={nonce},{self._digest}={signed}",
        }
        reply = self._poster.post(self._url, body, headers)
        if not 200 <= reply.status < 300:
            is_passing = reply.status >= 500 or reply.status in (408, 409, 425, 429)
            raise DeliveryError(
                f"channel {self.name}: HTTP {reply.status}", is_retryable=is_passing, after_s=reply.retry_after_s
            )
        return Receipt(ReceiptState.ACCEPTED, self._clock.now())


def event_of(notice: Notice) -> bytes:
    """The notice as a CloudEvent; the same bytes whenever it is sent."""
    return dumps(
        {
            "specversion": "1.0",
            "id": notice.key,
            "source": "govsec",
            "type": f"govsec.{notice.kind}",
            "subject": notice.subject,
            "time": format_time(notice.time),
            "datacontenttype": "application/json",
            "data": notice.canonical(),
        }
    )


def signature(secret: bytes, body: bytes, moment_s: int, nonce: str, digest: DigestName) -> str:
    """The HMAC that a receiver compares with, in hex."""
    return hmac.digest(secret, f"{moment_s}.{nonce}.".encode() + body, digest).hex()
