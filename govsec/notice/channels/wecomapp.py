"""An application of WeCom as a channel: messages to people and departments, files included.

The application's secret buys a token that holds for two hours; it is asked for once, kept in memory, and asked for
again when the far side says that it is stale. Messages are text: members who read in WeChat see no Markdown. What a
retry sends is the same bytes, and the far side is asked to tell doubles apart for half an hour.

Source: developer.work.weixin.qq.com: "Get access_token", "Send application messages", "Upload temporary material",
"Global error codes".
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from pydantic import JsonValue

from govsec.canonical import dumps
from govsec.clock import Clock
from govsec.errors import LimitError
from govsec.notice.api import DeliveryError, Limits, Poster, Receipt, ReceiptState
from govsec.notice.attached import SIZE_MAX, attached, content_of, safe_name
from govsec.notice.channels.robots import answer_of, check_code, first_text, tagless_text
from govsec.notice.parts import Part, numbered, taken_apart
from govsec.notice.words import Wording, Words
from govsec.records import Attachment, Notice

#: Bytes of a text message.
TEXT_SIZE = 2_048
PARTS_MAX = 10
#: Thirty messages a minute to each member; what is above is dropped without a word.
APP_LIMITS = Limits(per_minute=30)
#: 40014 no token of theirs, 42001 its time is over, 41001 none, 40001 the secret or the token is wrong.
_STALE = frozenset({40014, 42001, 41001, 40001})
_TOKEN_MARGIN_S = 300.0
_TOKEN_LIFE_MAX_S = 7_200.0
#: No new request of a message begins after that; one takes thirty seconds at most.
_PATIENCE_S = 30.0
_FILE_SIZE_MIN = 5
_JSON = {"Content-Type": "application/json; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom the messages go to: keys of members, departments and tags, each joined by ``|``."""

    users: str = ""
    parties: str = ""
    tags: str = ""


class WecomApp:
    """One application. ``base_url`` is that of WeCom, or of a site's own installation."""

    def __init__(
        self,
        name: str,
        base_url: str,
        corp_id: str,
        secret: str,
        agent_id: int,
        to: Audience,
        wording: Wording,
        poster: Poster,
        clock: Clock,
    ) -> None:
        self.name = name
        self.limits = APP_LIMITS
        self._base = base_url.rstrip("/")
        self._corp_id, self._secret, self._agent_id = corp_id, secret, agent_id
        self._to = to
        self._wording = wording
        self._poster = poster
        self._clock = clock
        self._token = ""
        self._token_until_s = 0.0
        self._until_s = 0.0

    def send(self, notice: Notice) -> Receipt:
        """Send all of its messages; the receipt is the last one's. Raises as ``Channel.send``."""
        *others, last = self.parts_of(notice)
        for part in others:
            self.send_part(notice, part)
        return self.send_part(notice, last)

    def parts_of(self, notice: Notice) -> tuple[Part, ...]:
        """The text in as many messages as it takes, then one a file that can be read."""
        _, words = attached(notice.attachments, self._wording(notice))
        files = [each for each in notice.attachments if self._can_be_sent(each)]
        return numbered(taken_apart(words, _fits, PARTS_MAX), attachments=files)

    def send_part(self, _: Notice, part: Part) -> Receipt:
        """Send one message. Raises as ``Channel.send``."""
        self._until_s = self._clock.monotonic() + _PATIENCE_S
        if part.attachment is None:
            said: dict[str, JsonValue] = {"msgtype": "text", "text": {"content": tagless_text(part.words)}}
        else:
            said = {"msgtype": "file", "file": {"media_id": self._uploaded(part.attachment)}}
        to = {"touser": self._to.users, "toparty": self._to.parties, "totag": self._to.tags}
        body = {
            **{key: value for key, value in to.items() if value},
            "agentid": self._agent_id,
            "enable_duplicate_check": 1,
            "duplicate_check_interval": 1800,
            **said,
        }
        answer = self._asked("message/send", {}, dumps(body), _JSON)
        self._check_reached(answer)
        return Receipt(ReceiptState.ACCEPTED, self._clock.now(), first_text(answer, "msgid"))

    def _check_reached(self, answer: Mapping[str, object]) -> None:
        """Error code 0 is also said when some of the people were not reached."""
        for key in ("invaliduser", "invalidparty", "invalidtag", "unlicenseduser"):
            if answer.get(key):
                missed = first_text(answer, key)
                raise DeliveryError(f"channel {self.name}: {key}: {missed!a} got nothing", is_retryable=False)

    def _uploaded(self, attachment: Attachment) -> str:
        try:
            data = content_of(attachment, SIZE_MAX)
        except (OSError, ValueError, LimitError) as error:
            why = error.strerror if isinstance(error, OSError) else "not the file that was meant"
            raise DeliveryError(f"channel {self.name}: {attachment.name[:80]!a}: {why}", is_retryable=False) from error
        mark = f"govsec-{secrets.token_hex(16)}"
        head = (
            f'--{mark}\r\nContent-Disposition: form-data; name="media"; filename="{safe_name(attachment.name)}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = head.encode("utf-8") + data + f"\r\n--{mark}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={mark}"}
        media = first_text(self._asked("media/upload", {"type": "file"}, body, headers), "media_id")
        if not media:
            raise DeliveryError(f"channel {self.name}: an upload without a number", is_retryable=True)
        return media

    def _asked(
        self, verb: str, query: Mapping[str, str], body: bytes, headers: Mapping[str, str]
    ) -> Mapping[str, object]:
        """The answer to a request with a token; with a fresh one when it was stale."""
        for is_last in (False, True):
            self._check_time()
            asked = urlencode({"access_token": self._fresh_token(), **query})
            answer = answer_of(self.name, self._poster.post(f"{self._base}/cgi-bin/{verb}?{asked}", body, headers))
            code = answer.get("errcode")
            if not is_last and isinstance(code, int) and code in _STALE:
                self._token = ""
                continue
            break
        check_code(self.name, answer)
        return answer

    def _fresh_token(self) -> str:
        if self._token and self._clock.monotonic() < self._token_until_s:
            return self._token
        self._check_time()
        asked = urlencode({"corpid": self._corp_id, "corpsecret": self._secret})
        answer = answer_of(self.name, self._poster.get(f"{self._base}/cgi-bin/gettoken?{asked}", {}))
        check_code(self.name, answer)
        token, life_s = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(token, str) or not token:
            raise DeliveryError(f"channel {self.name}: an answer without a token", is_retryable=True)
        life = min(float(life_s), _TOKEN_LIFE_MAX_S) if type(life_s) is int else 0.0
        self._token, self._token_until_s = token, self._clock.monotonic() + life - _TOKEN_MARGIN_S
        return token

    def _check_time(self) -> None:
        """A message is up to five requests, each with a limit of its own; together they must not outlive the lease."""
        if self._clock.monotonic() > self._until_s:
            raise DeliveryError(f"channel {self.name}: not done within {_PATIENCE_S:g} s", is_retryable=True)

    @staticmethod
    def _can_be_sent(attachment: Attachment) -> bool:
        if attachment.size_bytes < _FILE_SIZE_MIN:
            return False
        try:
            content_of(attachment, SIZE_MAX)
        except (OSError, ValueError, LimitError):
            return False
        return True


def _fits(words: Words) -> bool:
    return len(tagless_text(words).encode("utf-8")) <= TEXT_SIZE
