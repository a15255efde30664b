"""Chat robots as channels: the message of ``robots``, posted, and its answer looked at."""

from __future__ import annotations

from collections.abc import Callable

from govsec.canonical import dumps
from govsec.clock import Clock, to_ns
from govsec.notice.api import Limits, Poster, Receipt, ReceiptState
from govsec.notice.channels.robots import Post, check_answer, dingtalk_post, feishu_post, wecom_post, with_query
from govsec.notice.words import Wording, Words
from govsec.records import Notice

#: What all three allow a robot, and DingTalk punishes.
ROBOT_LIMITS = Limits(per_minute=20)
_JSON = {"Content-Type": "application/json; charset=utf-8"}


class ChatRobot:
    """A robot of one group. ``url`` holds its key, so it comes from a secret file and never goes into a message."""

    def __init__(
        self,
        name: str,
        url: str,
        build: Callable[[Words], Post],
        wording: Wording,
        poster: Poster,
        clock: Clock,
        *,
        limits: Limits = ROBOT_LIMITS,
    ) -> None:
        self.name = name
        self.limits = limits
        self._url = url
        self._build = build
        self._wording = wording
        self._poster = poster
        self._clock = clock

    def send(self, notice: Notice) -> Receipt:
        """Post the message. Raises as ``Channel.send``."""
        post = self._build(self._wording(notice))
        reply = self._poster.post(with_query(self._url, post.query), dumps(post.body), _JSON)
        number = check_answer(self.name, reply.status, reply.body, retry_after_s=reply.retry_after_s)
        return Receipt(ReceiptState.ACCEPTED, self._clock.now(), number)


def dingtalk(name: str, url: str, secret: str, wording: Wording, poster: Poster, clock: Clock) -> ChatRobot:
    """A robot of DingTalk; ``secret`` is empty where it is known by its words or addresses alone."""

    def build(words: Words) -> Post:
        return dingtalk_post(words, secret, to_ns(clock.now()) // 1_000_000)

    return ChatRobot(name, url, build, wording, poster, clock)


def wecom(name: str, url: str, wording: Wording, poster: Poster, clock: Clock) -> ChatRobot:
    """A group robot of WeCom."""
    return ChatRobot(name, url, wecom_post, wording, poster, clock)


def feishu(name: str, url: str, secret: str, wording: Wording, poster: Poster, clock: Clock) -> ChatRobot:
    """A robot of Feishu; ``secret`` is empty where signing is off."""

    def build(words: Words) -> Post:
        return feishu_post(words, secret, to_ns(clock.now()) // 1_000_000_000)

    return ChatRobot(name, url, build, wording, poster, clock)
