"""Chat robots of DingTalk, WeCom and Feishu: what is posted, how it is signed, and what their answers mean.

All three answer HTTP 200 also when they refuse; the body says so. A body that does not say yes is a no.

Sources: open.dingtalk.com "Custom robot: security settings, error codes"; developer.work.weixin.qq.com "Group robot
configuration"; open.feishu.cn "Custom bot usage guide". Limits: 20 messages a minute (DingTalk mutes for ten minutes).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from govsec.notice.api import DeliveryError, Reply
from govsec.notice.words import Words, cut, markdown

#: A robot that was muted stays so for ten minutes.
MUTED_S = 600.0
#: Bytes of a text or Markdown message: DingTalk and Feishu take 20 KB, WeCom 2,048 bytes of text, 4,096 of Markdown.
DINGTALK_SIZE = 18_000
WECOM_SIZE = 4_000
FEISHU_SIZE = 18_000
_FULL_WIDTH = str.maketrans({"<": "＜", ">": "＞"})


@dataclass(frozen=True, slots=True)
class Post:
    """What is posted: query parameters to add to the URL, and the JSON body."""

    query: Mapping[str, str]
    body: Mapping[str, JsonValue]


def dingtalk_text(words: Words) -> str:
    """The words in the Markdown of DingTalk."""
    return "\n\n".join([f"### {markdown(words.title)}", *(markdown(line) for line in words.lines)])


def dingtalk_post(words: Words, secret: str, moment_ms: int) -> Post:
    """A Markdown message; signed with HMAC-SHA256 over the time when the robot has a secret."""
    query = {}
    if secret:
        signed = hmac.digest(secret.encode(), f"{moment_ms}\n{secret}".encode(), hashlib.sha256)
        query = {"timestamp": str(moment_ms), "sign": base64.b64encode(signed).decode()}
    title = cut(words.title, 200)
    return Post(query, {"msgtype": "markdown", "markdown": {"title": title, "text": dingtalk_text(words)}})


def wecom_text(words: Words) -> str:
    """The words in the Markdown of WeCom."""
    return "\n".join([f"**{markdown(words.title)}**", *(markdown(line) for line in words.lines)])


def wecom_post(words: Words) -> Post:
    """A Markdown message of a group robot; the key is in the URL."""
    return Post({}, {"msgtype": "markdown", "markdown": {"content": wecom_text(words)}})


def tagless_text(words: Words) -> str:
    """The words as text for who reads tags in it: ``<at user_id="all">`` calls everybody in Feishu, ``<a href=…>`` is a
    link in WeCom. Neither documents an escape, so angle brackets are written full width."""
    return words.text().translate(_FULL_WIDTH)


def feishu_post(words: Words, secret: str, moment_s: int) -> Post:
    """A text message; the signature goes into the body."""
    body: dict[str, JsonValue] = {"msg_type": "text", "content": {"text": tagless_text(words)}}
    if secret:
        signed = hmac.digest(f"{moment_s}\n{secret}".encode(), b"", hashlib.sha256)
        body |= {"timestamp": str(moment_s), "sign": base64.b64encode(signed).decode()}
    return Post({}, body)


def with_query(url: str, query: Mapping[str, str]) -> str:
    """The URL with more parameters."""
    if not query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urllib.parse.urlencode(query)}"


#: Codes that say "too much, too soon": DingTalk 130101, 410100, -1 (busy); WeCom 45009, 45033, -1; Feishu 9499, 11232.
_TOO_MUCH = frozenset({130101, 410100, 45009, 45033, 9499, 11232, 11233})
_BUSY = frozenset({-1})


def check_answer(name: str, status: int, body: bytes, *, retry_after_s: float | None = None) -> str:
    """The far side's number for the message, empty when it gives none.

    Raises:
        DeliveryError: anything but a yes in the body, whatever the status line said.
    """
    answer = answer_of(name, Reply(status, body, retry_after_s))
    check_code(name, answer)
    return first_text(answer, "messageId", "msgid")


def answer_of(name: str, reply: Reply) -> Mapping[str, object]:
    """The object in an answer of HTTP 200.

    Raises:
        DeliveryError: it is none.
    """
    if reply.status != 200:
        is_passing = reply.status >= 500 or reply.status in (408, 425, 429)
        after_s = reply.retry_after_s
        if after_s is None and reply.status == 429:
            after_s = MUTED_S
        raise DeliveryError(f"channel {name}: HTTP {reply.status}", is_retryable=is_passing, after_s=after_s)
    try:
        answer = json.loads(reply.body)
    except (ValueError, RecursionError) as error:  # RecursionError: so many brackets
        raise DeliveryError(f"channel {name}: an answer that is no JSON", is_retryable=True) from error
    if not isinstance(answer, dict):
        raise DeliveryError(f"channel {name}: an answer that is no object", is_retryable=True)
    return answer


def check_code(name: str, answer: Mapping[str, object]) -> None:
    """Nothing when the answer says yes.

    Raises:
        DeliveryError: it does not.
    """
    code = next((answer[key] for key in ("errcode", "code", "StatusCode") if key in answer), None)
    if type(code) is not int or code != 0:  # also true, 0.0 and "0" are no yes
        is_too_much = type(code) is int and code in _TOO_MUCH
        is_busy = code is None or (type(code) is int and code in _BUSY)
        told = _text(code)[:20] if isinstance(code, str | int) else type(code).__name__
        raise DeliveryError(
            f"channel {name}: error code {told}: {first_text(answer, 'errmsg', 'msg', 'StatusMessage')!a}",
            is_retryable=is_too_much or is_busy,
            after_s=MUTED_S if is_too_much else None,
        )


def first_text(answer: Mapping[str, object], *keys: str) -> str:
    """The first of these that says something. What is no text or number is passed over: it may be nested."""
    return next((text[:200] for key in keys if (text := _text(answer.get(key)))), "")


def _text(value: object) -> str:
    return str(value) if isinstance(value, str | int) else ""
