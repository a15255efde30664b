"""Chat robots as channels: messages of ``robots``, posted one by one, and each answer looked at."""

from __future__ import annotations

from collections.abc import Callable

from govsec.canonical import dumps
from govsec.clock import Clock, to_ns
from govsec.notice.api import Limits, Poster, Receipt, ReceiptState
from govsec.notice.channels.robots import (
    DINGTALK_SIZE,
    FEISHU_SIZE,
    WECOM_SIZE,
    Post,
    check_answer,
    dingtalk_post,
    dingtalk_text,
    feishu_post,
    tagless_text,
    wecom_post,
    wecom_text,
    with_query,
)
from govsec.notice.parts import Part, numbered, taken_apart
from govsec.notice.words import Wording, Words
from govsec.records import Notice

#: What all three allow a robot, and DingTalk punishes.
ROBOT_LIMITS = Limits(per_minute=20)
#: Half a minute's messages; what is longer than ten of them is no notice.
PARTS_MAX = 10
_JSON = {"Content-Type": "application/json; charset=utf-8"}


class ChatRobot:
    """A robot of one group. ``url`` holds its key, so it comes from a secret file and never goes into a message.

    ``text_of`` is the words in the robot's markup; a message takes ``size_max_bytes`` of that.
    """

    def __init__(
        self,
        name: str,
        url: str,
        build: Callable[[Words], Post],
        text_of: Callable[[Words], str],
        size_max_bytes: int,
        wording: Wording,
        poster: Poster,
        clock: Clock,
    ) -> None:
        self.name = name
        self.limits = ROBOT_LIMITS
        self._url = url
        self._build = build
        self._text_of = text_of
        self._size_max = size_max_bytes
        self._wording = wording
        self._poster = poster
        self._clock = clock

    def send(self, notice: Notice) -> Receipt:
        """Post all of its messages; the receipt is the last one's. Raises as ``Channel.send``."""
        *others, last = self.parts_of(notice)
        for part in others:
            self.send_part(notice, part)
        return self.send_part(notice, last)

    def parts_of(self, notice: Notice) -> tuple[Part, ...]:
        """The messages that it takes."""
        return numbered(taken_apart(self._wording(notice), self._fits, PARTS_MAX))

    def send_part(self, _: Notice, part: Part) -> Receipt:
        """Post one message. Raises as ``Channel.send``."""
        post = self._build(part.words)
        reply = self._poster.post(with_query(self._url, post.query), dumps(post.body), _JSON)
        number = check_answer(self.name, reply.status, reply.body, retry_after_s=reply.retry_after_s)
        return Receipt(ReceiptState.ACCEPTED, self._clock.now(), number)

    def _fits(self, words: Words) -> bool:
        return len(self._text_of(words).encode("utf-8")) <= self._size_max


def dingtalk(name: str, url: str, secret: str, wording: Wording, poster: Poster, clock: Clock) -> ChatRobot:
    """A robot of DingTalk; ``secret`` is empty where it is known by its words or addresses alone."""

    def build(words: Words) -> Post:
        return dingtalk_post(words, secret, to_ns(clock.now()) // 1_000_000)

    return ChatRobot(name, url, build, dingtalk_text, DINGTALK_SIZE, wording, poster, clock)


def wecom(name: str, url: str, wording: Wording, poster: Poster, clock: Clock) -> ChatRobot:
    """A group robot of WeCom."""
    return ChatRobot(name, url, wecom_post, wecom_text, WECOM_SIZE, wording, poster, clock)


def feishu(name: str, url: str, secret: str, wording: Wording, poster: Poster, clock: Clock) -> ChatRobot:
    """A robot of Feishu; ``secret`` is empty where signing is off."""

    def build(words: Words) -> Post:
        return feishu_post(words, secret, to_ns(clock.now()) // 1_000_000_000)

    return ChatRobot(name, url, build, tagless_text, FEISHU_SIZE, wording, poster, clock)
