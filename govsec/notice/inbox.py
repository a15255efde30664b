"""The far side of a webhook: who sent this, is it fresh, and was it here before.

One idea: what is signed is believed, what is old or was seen is not. The nonces of five minutes are remembered, and
no more than :data:`NONCES_MAX` of them: beyond it new ones wait, because forgetting one would open the door to a
repetition.
"""

from __future__ import annotations

import hmac
import json
import re
from collections import OrderedDict

from pydantic import ValidationError

from govsec.clock import Clock, to_ns
from govsec.errors import FormatError, IntegrityError, LimitError, TryAgainError
from govsec.notice.channels.webhook import DigestName, signature
from govsec.records import Notice

#: Older or newer than this is refused: clocks differ, and what was overheard must not be worth anything for long.
FRESH_S = 300
NONCES_MAX = 100_000
BODY_SIZE_MAX = 4 << 20
_HEADER = re.compile(r"t=([0-9]{1,12}),n=([0-9a-f]{16,64}),(sha256|sm3)=([0-9a-f]{64})")


class WebhookInbox:
    """Opens what ``Webhook`` signed with the same secret. Not for two threads."""

    def __init__(self, secret: bytes, clock: Clock, *, digest: DigestName = "sha256") -> None:
        self._secret = secret
        self._clock = clock
        self._digest = digest
        self._seen: OrderedDict[str, int] = OrderedDict()

    def open(self, header: str, body: bytes) -> Notice:
        """The notice in a request whose ``Govsec-Signature`` is ``header``.

        A notice that is sent again comes with another nonce and the same ``key``: telling doubles apart by key is the
        caller's.

        Raises:
            IntegrityError: not signed with this secret, too old or too new, or the same request as before.
            FormatError: signed, and no notice. LimitError: larger than any notice.
            TryAgainError: more requests than can be remembered; worth another try in a minute.
        """
        if len(body) > BODY_SIZE_MAX:
            raise LimitError(f"webhook: more than {BODY_SIZE_MAX} bytes")
        match = _HEADER.fullmatch(header)
        if match is None or match[3] != self._digest:
            raise IntegrityError("webhook: no Govsec-Signature of the expected form")
        moment_s, nonce = int(match[1]), match[2]
        if not hmac.compare_digest(signature(self._secret, body, moment_s, nonce, self._digest), match[4]):
            raise IntegrityError("webhook: the signature is wrong")
        now_s = to_ns(self._clock.now()) // 1_000_000_000
        if abs(now_s - moment_s) > FRESH_S:
            raise IntegrityError(f"webhook: signed {abs(now_s - moment_s)} s away from now; look at the clocks")
        self._remember(nonce, now_s)
        return _notice(body)

    def _remember(self, nonce: str, now_s: int) -> None:
        # A request is fresh for as long after its own moment as before it: twice that, and none of it is forgotten.
        while self._seen and not 0 <= now_s - next(iter(self._seen.values())) <= 2 * FRESH_S:
            self._seen.popitem(last=False)
        if nonce in self._seen:
            raise IntegrityError("webhook: this request was here before")
        if len(self._seen) >= NONCES_MAX:
            raise TryAgainError("webhook: too many requests to remember")
        self._seen[nonce] = now_s


def _notice(body: bytes) -> Notice:
    try:
        event = json.loads(body)
        return Notice.model_validate(event["data"])
    except (ValueError, TypeError, KeyError, RecursionError, ValidationError) as error:
        raise FormatError("webhook: the event holds no notice") from error
