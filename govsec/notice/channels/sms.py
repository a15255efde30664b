"""Short messages over a gateway's HTTP interface, one request a recipient and message.

Everybody's phone makes links of what looks like one, and the bracketed name at an end of a message says who sent it; so
neither is let through from outside. Length is counted as networks count it: UTF-16 units, 70 in one message, 67 in each
of several.

Source: 3GPP TS 23.038 (6.2.3, UCS2), TS 23.040 (9.2.3.24.1, concatenation).
"""

from __future__ import annotations

import hashlib
import secrets

from govsec.clock import Clock
from govsec.notice.api import DeliveryError, Limits, Poster, Receipt, ReceiptState
from govsec.notice.channels.smsrequest import Message, SmsRequest, check_answer
from govsec.notice.parts import Part, numbered, taken_apart
from govsec.notice.words import Wording, Words
from govsec.notifyentry import SmsConfig
from govsec.records import Notice

_ONE_MESSAGE, _OF_SEVERAL = 70, 67
_PLAIN = str.maketrans({"【": "[", "】": "]"})


class Sms:
    """One gateway and its recipients. ``url`` was checked; ``request`` has the gateway's templates."""

    def __init__(
        self,
        name: str,
        url: str,
        entry: SmsConfig,
        request: SmsRequest,
        wording: Wording,
        poster: Poster,
        clock: Clock,
    ) -> None:
        self.name = name
        self.limits = Limits(per_minute=entry.per_minute, per_day=entry.per_day)
        self._url = url
        self._entry = entry
        self._request = request
        self._wording = wording
        self._poster = poster
        self._clock = clock

    def send(self, notice: Notice) -> Receipt:
        """Send all of its messages to all; the receipt is the last one's. Raises as ``Channel.send``."""
        *others, last = self.parts_of(notice)
        for part in others:
            self.send_part(notice, part)
        return self.send_part(notice, last)

    def parts_of(self, notice: Notice) -> tuple[Part, ...]:
        """Each message for each recipient."""
        words = self._wording(notice)
        short = Words(words.title, words.lines[: self._entry.lines_max])
        apart = taken_apart(short, self._fits, self._entry.parts_max, is_title_repeated=False)
        return numbered(apart, recipients=self._entry.recipients)

    def send_part(self, notice: Notice, part: Part) -> Receipt:
        """Send one message to one recipient. Raises as ``Channel.send``."""
        text = text_of(part.words)
        mark = hashlib.sha256(f"{notice.key}\0{part.number}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
        message = Message(text, part.to, mark, secrets.token_hex(16), self._clock.now())
        try:
            asked = self._request.asked(message)
        except UnicodeError as error:
            raise DeliveryError(
                f"channel {self.name}: the text has characters that {self._entry.charset} has not", is_retryable=False
            ) from error
        url = f"{self._url}{'&' if '?' in self._url else '?'}{asked.query}" if asked.query else self._url
        if asked.body is None:
            reply = self._poster.get(url, asked.headers)
        else:
            reply = self._poster.post(url, asked.body, asked.headers)
        number = check_answer(self.name, self._entry.answer, reply, self._entry.charset)
        return Receipt(ReceiptState.ACCEPTED, self._clock.now(), number, f"{messages_count(text)} SMS")

    def _fits(self, words: Words) -> bool:
        return _size(text_of(words)) <= self._entry.text_max


def text_of(words: Words) -> str:
    """The words on one line, without what phones make links of and without what looks like a sender's name."""
    text = " / ".join(part for part in (words.title, *words.lines) if part)
    return text.translate(_PLAIN).replace("://", "[:]//")


def messages_count(text: str) -> int:
    """How many messages a network makes of the text, as it bills them."""
    size = _size(text)
    return 1 if size <= _ONE_MESSAGE else -(-size // _OF_SEVERAL)


def _size(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
