"""Orders and their approvals: one deed on one host, bound to its arguments, an end and a number that is used once.

An order says everything that will happen; an approval is a pinned person's signature over the whole order, so none can
be used for another deed, another host, later, or twice. Who approved is the name that the key is pinned under, never a
name in the text, and two keys of one name are one person.

Approval: a signed document (:mod:`govsec.crypto.document`) of the purpose ``response`` with the body
``{"order": {"arguments", "case", "expires", "host", "made", "nonce", "verb"}, "schema", "time"}``. Read by hand and not
by a model: the root helper reads it, and what it is made of is to be looked through in one sitting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from govsec import canonical
from govsec.clock import format_time, parse_time
from govsec.crypto.document import open_document, sign_document
from govsec.crypto.signing import Purpose, Signer, TrustedKeys
from govsec.errors import ConfigurationError, FormatError, IntegrityError

SCHEMA = "govsec.response.approval.v1"
#: An order and its signature; arguments are a handful of words.
APPROVAL_SIZE_MAX = 16 << 10
APPROVALS_MAX = 5
#: Longest that an order waits for being done.
ORDER_LIFE_MAX = timedelta(days=1)
_NONCE = re.compile(r"[0-9a-f]{32}")
_VERB = re.compile(r"[a-z]{1,20}\.[a-z]{1,20}")
_FIELDS = {"arguments", "case", "expires", "host", "made", "nonce", "verb"}
_TEXT_MAX = 200
_ARGUMENTS_MAX = 20


@dataclass(frozen=True, slots=True)
class Order:
    """One deed. ``arguments`` hold text and whole numbers only; it is to be begun before ``expires``."""

    nonce: str
    verb: str
    arguments: Mapping[str, str | int]
    host: str
    case: str
    made: datetime
    expires: datetime

    def body(self) -> dict[str, Any]:
        """The order as plain values, as it is signed."""
        return {
            "arguments": dict(self.arguments),
            "case": self.case,
            "expires": format_time(self.expires),
            "host": self.host,
            "made": format_time(self.made),
            "nonce": self.nonce,
            "verb": self.verb,
        }

    def digest(self) -> str:
        """SHA-256 of the order in its canonical form."""
        return canonical.digest(self.body())


def read_order(value: object) -> Order:
    """The order that plain values say.

    Raises:
        FormatError: something else than an order.
    """
    if not isinstance(value, dict) or set(value) != _FIELDS:
        raise FormatError("order: expected " + ", ".join(sorted(_FIELDS)))
    arguments, texts = value["arguments"], [value[name] for name in sorted(_FIELDS - {"arguments"})]
    if not all(isinstance(text, str) and len(text) <= _TEXT_MAX for text in texts):
        raise FormatError("order: a field is no text, or too long")
    if not _NONCE.fullmatch(value["nonce"]) or not _VERB.fullmatch(value["verb"]) or not value["host"]:
        raise FormatError("order: nonce, verb or host is not well-formed")
    if not isinstance(arguments, dict) or len(arguments) > _ARGUMENTS_MAX:
        raise FormatError("order: arguments are no mapping, or too many")
    for name, argument in arguments.items():
        is_plain = type(argument) is int or (isinstance(argument, str) and len(argument) <= _TEXT_MAX)
        if not is_plain or not isinstance(name, str):
            raise FormatError("order: an argument is neither text nor a whole number")
    try:
        made, expires = parse_time(value["made"]), parse_time(value["expires"])
    except ValueError as error:
        raise FormatError(f"order: {error}") from error
    if not made < expires <= made + ORDER_LIFE_MAX:
        raise FormatError("order: expires within a day of being made, and after it")
    order = Order(value["nonce"], value["verb"], arguments, value["host"], value["case"], made, expires)
    try:
        is_same = order.body() == value and bool(order.digest())
    except ValueError as error:
        raise FormatError(f"order: {error}") from error
    if not is_same:
        raise FormatError("order: times are not written in their one form")
    return order


def approve(signer: Signer, order: Order, time: datetime) -> bytes:
    """The approval of ``order`` by the holder of ``signer``, a key of the purpose ``response``.

    Raises:
        ConfigurationError: a key for something else.
    """
    if signer.purpose is not Purpose.RESPONSE:
        raise ConfigurationError(f"approving needs a key for {Purpose.RESPONSE.value}, not {signer.purpose.value}")
    read_order(order.body())  # what nobody could read back is not signed
    return sign_document(signer, {"order": order.body(), "schema": SCHEMA, "time": format_time(time)})


def open_approvals(trusted: TrustedKeys, documents: Sequence[bytes]) -> tuple[Order, tuple[str, ...]]:
    """The one order that all ``documents`` approve, and the pinned names of who did, each once.

    Raises:
        IntegrityError: none, too many, not for one and the same order, or signed by nobody who is pinned for this.
        FormatError: not an approval of this version.
    """
    if not 1 <= len(documents) <= APPROVALS_MAX:
        raise IntegrityError(f"approvals: {len(documents)}, expected 1 to {APPROVALS_MAX}")
    orders: list[Order] = []
    names: list[str] = []
    for document in documents:
        body = open_document(trusted, Purpose.RESPONSE, document, size_max=APPROVAL_SIZE_MAX)
        if set(body) != {"order", "schema", "time"} or body["schema"] != SCHEMA:
            raise FormatError(f"approval: not of schema {SCHEMA}")
        orders.append(read_order(body["order"]))
        key = trusted.get(Purpose.RESPONSE, str(json.loads(document)["key"]))
        if not key.name:
            raise IntegrityError(f"approval: key {key.key_id} is pinned without the name of a person")
        names.append(key.name)
    if any(order.digest() != orders[0].digest() for order in orders):
        raise IntegrityError("approvals: not all for the same order")
    return orders[0], tuple(dict.fromkeys(names))
