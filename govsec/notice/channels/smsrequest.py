"""A request to an SMS gateway, from templates; and what its answer means.

One shape for gateways that differ in everything: a form, JSON or XML with values, values that are digests of values,
and the place in the answer where it says yes. Values are made when they are asked for, so a signature may be over the
body (``{body}``) or over the sorted fields (``{fields}``); one that needs itself is refused when the configuration is
read, by a trial.

Source: RFC 3986 (2.1), RFC 6901 (JSON Pointer), RFC 2104 (HMAC).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote_from_bytes, quote_plus

from pydantic import JsonValue

from govsec.clock import to_ns
from govsec.errors import ConfigurationError
from govsec.notice.api import DeliveryError, Reply
from govsec.notice.channels.smstemplate import Template
from govsec.notifyentry import SmsAnswerConfig, SmsConfig

_CHINA = timezone(timedelta(hours=8))
_HEADER = re.compile(rb"[\x20-\x7e]*")
_SAID_MAX = 200


@dataclass(frozen=True, slots=True)
class Message:
    """What one request is about. ``id`` is the same for every try; ``nonce`` never."""

    text: str
    phone: str
    id: str
    nonce: str
    moment: datetime


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, ready to go: ``query`` is encoded."""

    query: str
    body: bytes | None
    headers: Mapping[str, str]


class SmsRequest:
    """The templates of one gateway. ``secrets``: by the names of the configuration."""

    def __init__(self, where: str, entry: SmsConfig, secrets: Mapping[str, str]) -> None:
        """Raises ``ConfigurationError`` when a template cannot be read, or names what is not there."""
        self._where, self._entry, self._secrets = where, entry, secrets
        self._query = self._templates(entry.query, "query")
        self._form = self._templates(entry.form or {}, "form")
        self._signed = self._templates(entry.signed, "signed")
        self._headers = self._templates(entry.headers, "headers")
        self._json = None if entry.json_ is None else _read(dict(entry.json_), f"{where}: json")
        self._xml = Template(entry.xml, f"{where}: xml", guard="xml") if entry.xml is not None else None
        self._values = {
            value.name: (
                value,
                Template(value.of, f"{where}: {value.name}"),
                None if value.key is None else Template(value.key, f"{where}: {value.name}: key"),
            )
            for value in entry.values
        }
        for value in entry.values:
            if value.how not in hashlib.algorithms_available:
                raise ConfigurationError(f"{where}: {value.name}: this machine has no {value.how}")
        trial = Message("试", "13800000000", "0" * 32, "0" * 32, datetime(2026, 1, 1, tzinfo=_CHINA))
        try:
            self.asked(trial)
            for name in self._values:
                _Values(self, trial).value(name)
        except UnicodeError as error:
            raise ConfigurationError(f"{where}: a value is not {entry.charset}") from error
        except DeliveryError as error:
            raise ConfigurationError(str(error)) from error

    def asked(self, message: Message) -> Asked:
        """The request for a message.

        Raises:
            DeliveryError: a header cannot hold its value. ``UnicodeError``: the text is not in the gateway's charset.
        """
        values = _Values(self, message)
        headers = {}
        for name, template in self._headers.items():
            data = values.rendered(template)
            if not _HEADER.fullmatch(data):
                raise DeliveryError(f"{self._where}: header {name}: not plain ASCII", is_retryable=False)
            headers[name] = data.decode("ascii")
        query = dict(values.fields(self._query))
        is_form = self._entry.form is not None
        if self._entry.method == "GET":
            query |= values.fields(self._signed)
        body = values.body(with_signed=True)
        if body is not None and self._entry.wrap == "base64":
            body = base64.b64encode(body)
        kinds = {"form": "application/x-www-form-urlencoded", "json": "application/json", "xml": "application/xml"}
        kind = "form" if is_form else "json" if self._json is not None else "xml"
        if body is not None:
            headers = {"Content-Type": f"{kinds[kind]}; charset={self._entry.charset}", **headers}
        return Asked(_encoded(query), body, headers)

    def _templates(self, texts: Mapping[str, str], what: str) -> dict[str, Template]:
        return {name: Template(text, f"{self._where}: {what}: {name}") for name, text in texts.items()}


class _Values:
    """The values of one message, each made once and when it is asked for."""

    def __init__(self, request: SmsRequest, message: Message) -> None:
        self._request = request
        self._charset = request._entry.charset
        self._made: dict[str, bytes] = {}
        self._making: list[str] = []
        moment, seconds = message.moment, to_ns(message.moment) // 1_000_000_000
        given = {
            "text": message.text,
            "phone": message.phone,
            "id": message.id,
            "nonce": message.nonce,
            "time_s": str(seconds),
            "time_ms": str(to_ns(moment) // 1_000_000),
            "time_utc": f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "date_utc": f"{moment.astimezone(UTC):%Y-%m-%d}",
            "time_china": f"{moment.astimezone(_CHINA):%Y%m%d%H%M%S}",
        }
        for source in (given, request._entry.settings, request._secrets):
            self._made |= {name: text.encode(self._charset) for name, text in source.items()}

    def value(self, name: str) -> bytes:
        """A value by name."""
        if name not in self._made:
            if name in self._making:
                raise ConfigurationError(f"{self._request._where}: {' → '.join([*self._making, name])}: needs itself")
            self._making.append(name)
            self._made[name] = self._make(name)
            self._making.pop()
        return self._made[name]

    def rendered(self, template: Template) -> bytes:
        return template.render(self.value, self._charset)

    def fields(self, templates: Mapping[str, Template]) -> dict[str, bytes]:
        return {name: self.rendered(template) for name, template in templates.items()}

    def body(self, *, with_signed: bool) -> bytes | None:
        """The body before it is wrapped; None for GET."""
        request = self._request
        signed = self.fields(request._signed) if with_signed else {}
        if request._json is not None:
            filled = _filled(request._json, lambda template: self.rendered(template).decode(self._charset))
            assert isinstance(filled, dict)  # the configuration's model says so
            filled |= {name: data.decode(self._charset) for name, data in signed.items()}
            return json.dumps(filled, ensure_ascii=False, separators=(",", ":")).encode(self._charset)
        if request._xml is not None:
            return self.rendered(request._xml)
        if request._entry.form is not None:
            return _encoded({**self.fields(request._form), **signed}).encode("ascii")
        return None

    def _make(self, name: str) -> bytes:
        request = self._request
        if name == "fields":
            fields = {**self.fields(request._query), **self.fields(request._form)}
            pairs = sorted((_percent(key.encode(self._charset)), _percent(data)) for key, data in fields.items())
            return "&".join(f"{key}={data}" for key, data in pairs).encode("ascii")
        if name == "body":
            return self.body(with_signed=False) or b""
        if name not in request._values:
            raise ConfigurationError(f"{request._where}: there is no value {name}")
        entry, of, key = request._values[name]
        data = self.rendered(of)
        if key is None:
            made = hashlib.new(entry.how, data, usedforsecurity=False).digest()
        else:
            made = hmac.digest(self.rendered(key), data, entry.how)
        return {"hex": made.hex().encode(), "base64": base64.b64encode(made), "raw": made}[entry.form]


def check_answer(name: str, entry: SmsAnswerConfig, reply: Reply, charset: str) -> str:
    """The gateway's number for the message, empty when it gives none.

    Raises:
        DeliveryError: anything but a yes in the body.
    """
    if not 200 <= reply.status < 300:
        is_passing = reply.status >= 500 or reply.status in (408, 425, 429)
        raise DeliveryError(
            f"channel {name}: HTTP {reply.status}", is_retryable=is_passing, after_s=reply.retry_after_s
        )
    text = reply.body.decode(charset, "replace")
    answer: object = None
    if entry.at is not None or entry.number_at is not None:
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError) as error:
            if entry.at is not None:
                raise DeliveryError(f"channel {name}: an answer that is no JSON", is_retryable=True) from error
    said = _at(answer, entry.at) if entry.at is not None else _between(text, entry.between or ("", ""))
    if said is None or said not in entry.yes:
        told = "nothing where the code is to be" if said is None else f"{said[:_SAID_MAX]!a}"
        raise DeliveryError(f"channel {name}: the gateway says {told}", is_retryable=said is None or said in entry.busy)
    return (_at(answer, entry.number_at) or "")[:_SAID_MAX] if entry.number_at is not None else ""


def _at(value: object, pointer: str) -> str | None:
    """What stands at a JSON Pointer, as text; None when it is nothing that can be compared."""
    for step in pointer[1:].split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isascii() and key.isdigit() and int(key[:6]) < len(value):
            value = value[int(key[:6])]
        else:
            return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def _between(text: str, marks: tuple[str, str]) -> str | None:
    """The text after the first mark and before the second; an empty second mark is the end."""
    _, found, rest = ("", "x", text) if not marks[0] else text.partition(marks[0])
    if not found:
        return None
    head, found, _ = (rest, "x", "") if not marks[1] else rest.partition(marks[1])
    return head.strip() if found else None


def _read(value: JsonValue, where: str) -> object:
    """The body with each text in it as a template."""
    if isinstance(value, str):
        return Template(value, where)
    if isinstance(value, dict):
        return {key: _read(item, where) for key, item in value.items()}
    return [_read(item, where) for item in value] if isinstance(value, list) else value


def _filled(value: object, rendered: Callable[[Template], str]) -> object:
    """The body with each template filled; what is put in stays one text."""
    if isinstance(value, Template):
        return rendered(value)
    if isinstance(value, dict):
        return {key: _filled(item, rendered) for key, item in value.items()}
    return [_filled(item, rendered) for item in value] if isinstance(value, list) else value


def _percent(data: bytes) -> str:
    return quote_from_bytes(data, safe="-_.~")


def _encoded(fields: Mapping[str, bytes]) -> str:
    return "&".join(f"{quote_plus(name)}={quote_plus(data)}" for name, data in fields.items())
