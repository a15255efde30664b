"""An application of WeCom, before a far side with tokens, uploads and refusals behind HTTP 200 like the real one."""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from govsec.notice.api import DeliveryError, ReceiptState
from govsec.notice.channels.wecomapp import Audience, WecomApp
from govsec.notice.post import HttpPoster
from govsec.notice.words import english
from govsec.records import Attachment, Notice, Severity
from govsec.testing.clock import FakeClock
from tests.notice.far import LOOPBACK, Far, far_side

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
CORP, SECRET = "ww-corp", "s3cret-of-the-app"


@dataclass
class WeCom:
    """The far side: gives tokens that hold for so many uses, takes uploads and messages."""

    uses_per_token: int = 1000
    refusal: dict[str, Any] | None = None
    tokens: list[str] = field(default_factory=list)
    used: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    life_s: int = 7200

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        url = urllib.parse.urlsplit(path)
        query = dict(urllib.parse.parse_qsl(url.query))
        return 200, json.dumps(self._said(url.path, query, headers, body)).encode()

    def _said(self, path: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> dict[str, Any]:
        if path == "/cgi-bin/gettoken":
            if (query["corpid"], query["corpsecret"]) != (CORP, SECRET):
                return {"errcode": 40001, "errmsg": "invalid credential"}
            self.tokens.append(f"token-{len(self.tokens)}")
            self.used = 0
            return {"errcode": 0, "errmsg": "ok", "access_token": self.tokens[-1], "expires_in": self.life_s}
        if not self.tokens or query["access_token"] != self.tokens[-1] or self.used >= self.uses_per_token:
            return {"errcode": 42001, "errmsg": "access_token expired"}
        self.used += 1
        if path == "/cgi-bin/media/upload":
            form = email.message_from_bytes(
                b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP
            )
            (part,) = form.iter_parts()  # type: ignore[attr-defined]  # an EmailMessage by its policy
            number = f"media-{len(self.files)}"
            self.files[number] = (part.get_filename(), part.get_payload(decode=True))
            return {"errcode": 0, "errmsg": "", "type": "file", "media_id": number, "created_at": "1"}
        if self.refusal:
            return self.refusal
        self.messages.append(json.loads(body))
        return {"errcode": 0, "errmsg": "ok", "msgid": f"msg-{len(self.messages)}"}


@pytest.fixture
def side() -> Iterator[tuple[WeCom, Far]]:
    wecom = WeCom()
    with far_side() as far:
        far.answer = wecom.answer
        yield wecom, far


def app(far: Far, clock: FakeClock | None = None, secret: str = SECRET) -> WecomApp:
    clock = clock or FakeClock(NOW)
    poster = HttpPoster(clock, named=LOOPBACK)
    to = Audience(users="zhang|li", parties="7")
    return WecomApp("app", far.url, CORP, secret, 1000002, to, english, poster, clock)


def notice(summary: str = "a scan", attachments: tuple[Attachment, ...] = ()) -> Notice:
    return Notice(
        key="portal|net.scan#1", kind="incident.opened", severity=Severity.HIGH, time=NOW, subject="10.0.0.8",
        summary="x", attachments=attachments,
    ).model_copy(update={"summary": summary})  # fmt: skip


def attachment(path: Path, data: bytes, name: str = "首报.docx") -> Attachment:
    path.write_bytes(data)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return Attachment(name=name, path=str(path), size_bytes=len(data), digest=digest)


def test_a_token_is_asked_for_once_and_the_message_says_who_and_which_application(side: tuple[WeCom, Far]) -> None:
    wecom, far = side
    channel = app(far)
    receipt = channel.send(notice())
    channel.send(notice("again"))

    assert (receipt.state, receipt.number) == (ReceiptState.ACCEPTED, "msg-1")
    assert len(wecom.tokens) == 1
    sent = wecom.messages[0]
    assert (sent["touser"], sent["toparty"], sent["agentid"], sent["msgtype"]) == ("zhang|li", "7", 1000002, "text")
    assert "totag" not in sent and sent["enable_duplicate_check"] == 1
    assert "a scan" in sent["text"]["content"]


def test_a_stale_token_is_replaced_and_the_message_sent_once(side: tuple[WeCom, Far]) -> None:
    wecom, far = side
    wecom.uses_per_token = 1
    channel = app(far)
    for number in range(3):
        channel.send(notice(str(number)))

    assert len(wecom.messages) == 3
    assert len(wecom.tokens) == 3


def test_a_token_is_renewed_before_its_time_is_over(side: tuple[WeCom, Far]) -> None:
    wecom, far = side
    clock = FakeClock(NOW)
    channel = app(far, clock)
    channel.send(notice())
    clock.advance(6_800)
    channel.send(notice())
    clock.advance(200)
    channel.send(notice())

    assert len(wecom.tokens) == 2


def test_a_token_that_is_never_good_is_no_endless_story(side: tuple[WeCom, Far]) -> None:
    wecom, far = side
    wecom.uses_per_token = 0
    with pytest.raises(DeliveryError, match="42001"):
        app(far).send(notice())
    assert len(far.asked) == 4


@pytest.mark.parametrize(
    ("refusal", "is_retryable", "words"),
    [
        ({"errcode": 81013, "errmsg": "user & party & tag all invalid"}, False, "81013"),
        ({"errcode": 45009, "errmsg": "api freq out of limit"}, True, "45009"),
        ({"errcode": -1, "errmsg": "system busy"}, True, "-1"),
        ({"errcode": 0, "errmsg": "ok", "invaliduser": "zhang|<x>\r\n"}, False, "invaliduser"),
        ({"errcode": 0, "errmsg": "ok", "unlicenseduser": "li"}, False, "unlicenseduser"),
        ({"errcode": 0, "errmsg": "ok", "invalidparty": [7]}, False, "invalidparty"),
        ({"errcode": [42001]}, False, "error code list"),
        ({"errcode": {"a": 0}}, False, "error code dict"),
        ({}, True, "error code"),
    ],
)
def test_who_was_not_reached_is_told_whatever_the_code_says(
    refusal: dict[str, Any], is_retryable: bool, words: str, side: tuple[WeCom, Far]
) -> None:
    wecom, far = side
    far.answer = None
    channel = app(far)
    far.answer = wecom.answer
    wecom.refusal = refusal or {"hello": 1}
    with pytest.raises(DeliveryError, match=words) as raised:
        channel.send(notice())
    assert raised.value.is_retryable is is_retryable
    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value) and "token-" not in str(raised.value)


def test_a_wrong_secret_is_told_and_never_quoted(side: tuple[WeCom, Far]) -> None:
    _, far = side
    with pytest.raises(DeliveryError, match="40001") as raised:
        app(far, secret="wr0ng").send(notice())
    assert not raised.value.is_retryable
    assert "wr0ng" not in str(raised.value)


@pytest.mark.parametrize("body", [b"[]", b"", b'{"errcode":0}', b'{"errcode":0,"access_token":7}', b"<html>"])
def test_a_far_side_that_gives_no_token_is_asked_again_later(body: bytes, side: tuple[WeCom, Far]) -> None:
    _, far = side
    far.answer, far.body = None, body
    with pytest.raises(DeliveryError) as raised:
        app(far).send(notice())
    assert raised.value.is_retryable


def test_a_redirect_is_not_followed(side: tuple[WeCom, Far]) -> None:
    _, far = side
    far.answer, far.status, far.headers = None, 302, {"Location": "http://evil.example/"}
    with pytest.raises(DeliveryError, match="302"):
        app(far).send(notice())
    assert len(far.asked) == 1


def test_long_texts_are_numbered_and_files_follow_as_what_they_are(side: tuple[WeCom, Far], tmp_path: Path) -> None:
    wecom, far = side
    data = bytes(range(256)) * 400
    file = attachment(tmp_path / "first.docx", data, '首报";\r\nX: y/../.docx')
    app(far).send(notice("长" * 1500, (file,)))

    texts = [each["text"]["content"] for each in wecom.messages if each["msgtype"] == "text"]
    assert len(texts) == 3 and all(len(text.encode()) <= 2048 for text in texts)
    assert sum(text.count("长") for text in texts) == 1500
    (name, got) = wecom.files[wecom.messages[-1]["file"]["media_id"]]
    assert got == data
    assert name.endswith(".docx") and not set(name) & set('\r\n"/;\\')


def test_a_file_that_is_not_what_it_was_is_left_out_and_the_text_says_so(
    side: tuple[WeCom, Far], tmp_path: Path
) -> None:
    wecom, far = side
    changed = attachment(tmp_path / "a.docx", b"what was meant")
    (tmp_path / "a.docx").write_bytes(b"something else")
    gone = attachment(tmp_path / "b.docx", b"gone soon", "b.docx")
    (tmp_path / "b.docx").unlink()
    secret = tmp_path / "secret"
    secret.write_bytes(b"root only")
    link = attachment(tmp_path / "c.docx", b"root only", "c.docx")
    (tmp_path / "c.docx").unlink()
    (tmp_path / "c.docx").symlink_to(secret)
    app(far).send(notice(attachments=(changed, gone, link)))

    assert wecom.files == {}
    (message,) = wecom.messages
    assert message["text"]["content"].count("not attached") == 3


def test_a_far_side_that_takes_its_time_for_each_request_is_left_before_the_lease_is_over(
    side: tuple[WeCom, Far],
) -> None:
    wecom, far = side
    clock = FakeClock(NOW)

    def slow(path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        clock.advance(25)
        return wecom.answer(path, headers, body)

    far.answer, wecom.uses_per_token = slow, 0
    with pytest.raises(DeliveryError, match="not done within") as raised:
        app(far, clock).send(notice())
    assert raised.value.is_retryable
    assert len(far.asked) == 2


def test_hostile_words_are_no_tags(side: tuple[WeCom, Far]) -> None:
    wecom, far = side
    app(far).send(notice('<a href="http://evil.example">点我</a>\r\n@all\x1b[2J'))
    text = wecom.messages[0]["text"]["content"]

    assert "<" not in text and "\x1b" not in text and "\r" not in text
