"""Channels before far sides that answer like the real ones, refusals behind HTTP 200 included."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from govsec.clock import SystemClock
from govsec.errors import ConfigurationError
from govsec.notice.api import Channel, DeliveryError, ReceiptState
from govsec.notice.channels.chat import dingtalk, feishu, wecom
from govsec.notice.channels.command import ERRORS_KEPT_SIZE, Command, run
from govsec.notice.channels.file import FileChannel
from govsec.notice.channels.syslog import Syslog
from govsec.notice.channels.webhook import Webhook, signature
from govsec.notice.post import HttpPoster, checked_url
from govsec.notice.words import english
from govsec.records import Notice, Severity
from govsec.testing.clock import FakeClock
from govsec.web.connection import Deadline
from tests.notice.far import LOOPBACK, Far, far_side
from tests.support.authority import Authority

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
CLOCK = FakeClock(NOW)
TOKEN, SECRET = "t0ken-of-the-robot", "SEC-of-the-robot"
HOSTILE = "[点我](http://evil.example) @all <script>\r\nBcc: x@evil.example|=\\\x1b[2J\u202e"


def notice(subject: str = "10.0.0.8", summary: str = "a scan of 200 ports") -> Notice:
    return Notice(
        key="portal|net.scan#1", kind="incident.opened", severity=Severity.HIGH, time=NOW, system="portal",
        subject=subject, summary=summary,
    )  # fmt: skip


@pytest.fixture
def far() -> Iterator[Far]:
    with far_side() as far:
        yield far


def _poster(**more: object) -> HttpPoster:
    return HttpPoster(CLOCK, named=LOOPBACK, **more)  # type: ignore[arg-type]  # options of the poster, by name


Robot = Callable[[str], Channel]
ROBOTS: dict[str, Robot] = {
    "dingtalk": lambda url: dingtalk(
        "dingtalk", f"{url}/robot/send?access_token={TOKEN}", SECRET, english, _poster(), CLOCK
    ),
    "wecom": lambda url: wecom("wecom", f"{url}/cgi-bin/webhook/send?key={TOKEN}", english, _poster(), CLOCK),
    "feishu": lambda url: feishu("feishu", f"{url}/open-apis/bot/v2/hook/{TOKEN}", SECRET, english, _poster(), CLOCK),
}
YES = {
    "dingtalk": {"errcode": 0, "errmsg": "ok"},
    "wecom": {"errcode": 0, "errmsg": "ok"},
    "feishu": {"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"},
}


@pytest.mark.parametrize("name", ROBOTS)
def test_a_robot_that_says_yes_has_the_message(name: str, far: Far) -> None:
    far.body = json.dumps(YES[name]).encode()

    assert ROBOTS[name](far.url).send(notice()).state is ReceiptState.ACCEPTED
    assert "a scan of 200 ports" in far.asked[0][2].decode().replace("\\\\", "")


@pytest.mark.parametrize(
    ("name", "status", "body", "is_retryable", "after_s"),
    [
        ("dingtalk", 200, b'{"errcode":310000,"errmsg":"keywords not in content"}', False, None),
        ("dingtalk", 200, b'{"errcode":130101,"errmsg":"send too fast"}', True, 600.0),
        ("dingtalk", 200, b'{"errcode":-1,"errmsg":"system busy"}', True, None),
        ("wecom", 200, b'{"errcode":45009,"errmsg":"api freq out of limit"}', True, 600.0),
        ("wecom", 200, b'{"errcode":93000,"errmsg":"invalid webhook url"}', False, None),
        ("feishu", 200, b'{"code":19021,"msg":"sign match fail or timestamp is not within one hour"}', False, None),
        ("feishu", 200, b'{"code":9499,"msg":"too many request"}', True, 600.0),
        ("feishu", 200, b'{"code":false}', False, None),
        ("wecom", 200, b"{}", True, None),
        ("wecom", 200, b"<html>maintenance</html>", True, None),
        ("wecom", 200, b"[0]", True, None),
        ("wecom", 200, b"", True, None),
        ("wecom", 502, b'{"errcode":0}', True, None),
        ("wecom", 429, b'{"errcode":0}', True, 600.0),
        ("wecom", 403, b'{"errcode":0}', False, None),
        ("wecom", 302, b'{"errcode":0}', False, None),
    ],
)
def test_anything_but_a_yes_in_the_body_is_a_no(
    name: str, status: int, body: bytes, is_retryable: bool, after_s: float | None, far: Far
) -> None:
    far.status, far.body = status, body
    far.headers = {"Location": "http://evil.example/"} if status == 302 else {}

    with pytest.raises(DeliveryError) as raised:
        ROBOTS[name](far.url).send(notice())
    assert (raised.value.is_retryable, raised.value.after_s) == (is_retryable, after_s)
    assert TOKEN not in str(raised.value) and SECRET not in str(raised.value)
    assert len(far.asked) == 1


def test_what_the_far_side_asks_for_is_waited_for(far: Far) -> None:
    far.status, far.headers = 503, {"Retry-After": "120"}

    with pytest.raises(DeliveryError) as raised:
        ROBOTS["wecom"](far.url).send(notice())
    assert raised.value.after_s == 120


def test_dingtalk_and_feishu_get_the_signature_that_they_document(far: Far) -> None:
    ROBOTS["dingtalk"](far.url).send(notice())
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(far.asked[0][0]).query))
    signed = f"{query['timestamp']}\n{SECRET}".encode()
    assert query["timestamp"] == str(int(NOW.timestamp() * 1000))
    assert query["sign"] == base64.b64encode(hmac.digest(SECRET.encode(), signed, hashlib.sha256)).decode()
    assert query["access_token"] == TOKEN

    far.body = json.dumps(YES["feishu"]).encode()
    ROBOTS["feishu"](far.url).send(notice())
    key = f"{far.last['timestamp']}\n{SECRET}".encode()
    assert far.last["sign"] == base64.b64encode(hmac.digest(key, b"", hashlib.sha256)).decode()


@pytest.mark.parametrize("name", ROBOTS)
def test_hostile_names_mention_nobody_and_link_to_nothing(name: str, far: Far) -> None:
    far.body = json.dumps(YES[name]).encode()
    ROBOTS[name](far.url).send(notice(HOSTILE, HOSTILE))
    sent = far.last
    text = sent.get("markdown", {}).get("text") or sent.get("markdown", {}).get("content") or sent["content"]["text"]

    assert "\x1b" not in text and "\u202e" not in text and "\r" not in text
    if name == "feishu":  # its text messages show everything as it is, but for tags
        assert "<" not in text
    else:
        assert not re.search(r"(?<!\\)\[点我(?<!\\)\]", text)
        assert "@all" not in text.replace("\\@", "")


@pytest.mark.parametrize(("name", "size"), [("dingtalk", 20_000), ("wecom", 4_096), ("feishu", 20_000)])
@pytest.mark.parametrize("length", [9_000, 90_000])
def test_what_is_too_long_goes_in_numbered_messages_and_what_is_beyond_ten_of_them_is_told(
    name: str, size: int, length: int, far: Far
) -> None:
    far.body = json.dumps(YES[name]).encode()
    ROBOTS[name](far.url).send(notice().model_copy(update={"summary": "很长" * length}))
    texts = []
    for _, _, body in far.asked:
        sent = json.loads(body)
        said = sent.get("markdown", {})
        texts.append((said.get("text") or said.get("content") or sent["content"]["text"]).replace("\\", ""))

    assert 1 < len(texts) <= 10
    assert all(len(body) <= 20_000 for _, _, body in far.asked)
    assert all(len(text.encode()) <= size for text in texts)
    assert all(f"({number}/{len(texts)})" in text for number, text in enumerate(texts, start=1))
    whole = sum(text.count("很长") for text in texts)
    is_whole = "… (+" not in texts[-1]
    assert whole == length if is_whole else 0 < whole < length
    assert is_whole is (name != "wecom" and length == 9_000)


def test_a_webhook_is_a_signed_event_whose_id_stays_the_same(far: Far) -> None:
    hook = Webhook("hook", f"{far.url}/in", b"shared secret", _poster(), CLOCK)
    hook.send(notice())
    hook.send(notice())
    (_, headers, body), (_, again, second) = far.asked
    found = re.fullmatch(r"t=(\d+),n=([0-9a-f]{32}),sha256=([0-9a-f]{64})", headers["Govsec-Signature"])

    assert found is not None
    assert signature(b"shared secret", body, int(found[1]), found[2], "sha256") == found[3]
    assert headers["Govsec-Signature"] != again["Govsec-Signature"]
    assert body == second
    event = json.loads(body)
    assert (event["specversion"], event["id"], event["type"]) == ("1.0", "portal|net.scan#1", "govsec.incident.opened")
    assert headers["Idempotency-Key"] == "portal|net.scan#1"


def test_a_webhook_can_sign_with_sm3(far: Far) -> None:
    Webhook("hook", far.url, b"shared secret", _poster(), CLOCK, digest="sm3").send(notice())
    found = re.fullmatch(r"t=(\d+),n=([0-9a-f]{32}),sm3=([0-9a-f]{64})", far.asked[0][1]["Govsec-Signature"])

    assert found is not None
    assert hmac.digest(b"shared secret", f"{found[1]}.{found[2]}.".encode() + far.asked[0][2], "sm3").hex() == found[3]


@pytest.mark.parametrize(
    ("status", "is_retryable"), [(500, True), (429, True), (400, False), (301, False), (204, None)]
)
def test_a_webhook_takes_any_2xx_for_a_yes_and_follows_nothing(
    status: int, is_retryable: bool | None, far: Far
) -> None:
    far.status, far.body, far.headers = status, b"", {"Location": "http://evil.example/"}
    hook = Webhook("hook", far.url, b"secret", _poster(), CLOCK)

    if is_retryable is None:
        assert hook.send(notice()).state is ReceiptState.ACCEPTED
    else:
        with pytest.raises(DeliveryError) as raised:
            hook.send(notice())
        assert raised.value.is_retryable is is_retryable
    assert len(far.asked) == 1


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1", "this machine itself"),
        ("::1", "this machine itself"),
        ("::ffff:127.0.0.1", "this machine itself"),
        ("169.254.169.254", "link-local"),
        ("100.100.100.200", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("0.0.0.0", "no address"),
        ("224.0.0.1", "multicast"),
    ],
)
def test_a_name_that_leads_to_this_machine_or_its_cloud_is_refused(address: str, words: str) -> None:
    poster = HttpPoster(CLOCK, resolve=lambda _: [address])

    with pytest.raises(DeliveryError, match=words):
        poster.post("https://robot.example/send?key=secret", b"{}", {})


def test_a_certificate_that_is_not_the_servers_ends_the_matter(authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    with far_side(context) as far:
        good = HttpPoster(CLOCK, named=LOOPBACK, ca_file=authority.ca)
        assert good.post(far.url, b"{}", {}).status == 200
        with pytest.raises(DeliveryError, match="certificate"):
            HttpPoster(CLOCK, named=LOOPBACK).post(far.url, b"{}", {})
        wrong = HttpPoster(CLOCK, named=LOOPBACK, ca_file=authority.ca, resolve=lambda _: ["127.0.0.1"])
        with pytest.raises(DeliveryError, match="certificate"):
            wrong.post(far.url.replace("127.0.0.1", "other.example"), b"{}", {})
        assert len(far.asked) == 1


@pytest.mark.parametrize(
    "url",
    ["http://robot.example/", "ftp://x/", "https://", "https://u:p@robot.example/", "https://x:99999/", "https://a b/"],
)
def test_an_address_that_cannot_be_meant_is_refused_when_it_is_read(url: str) -> None:
    with pytest.raises(ConfigurationError, match="channel x"):
        checked_url(url, "channel x")


def test_a_line_is_on_the_disk_and_never_behind_a_link(tmp_path: Path) -> None:
    path = tmp_path / "notices.jsonl"
    channel = FileChannel("file", path, CLOCK)
    channel.send(notice())
    channel.send(notice(HOSTILE))
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["portal|net.scan#1"] * 2
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(DeliveryError):
        FileChannel("file", tmp_path / "link", CLOCK).send(notice())
    with pytest.raises(DeliveryError, match="grown too large") as raised:
        FileChannel("file", path, CLOCK, size_max_bytes=100).send(notice())
    assert raised.value.is_retryable


@pytest.mark.parametrize(
    ("script", "is_retryable", "words"),
    [
        ("import sys,json; assert json.load(sys.stdin)['key'] == 'portal|net.scan#1'", None, ""),
        ("import sys; sys.exit('no such group')", False, "no such group"),
        ("import sys; sys.exit(75)", True, "75"),
        ("import os,signal; os.kill(os.getpid(), signal.SIGKILL)", True, "-9"),
        ("import os; assert 'GOVSEC_SECRET' not in os.environ", None, ""),
    ],
)
def test_a_program_of_the_site_says_yes_by_its_exit_code(
    script: str, is_retryable: bool | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOVSEC_SECRET", "x")  # the channel reads nothing of it; the program must not see it
    channel = Command("script", ["python3", "-c", script], CLOCK)

    if is_retryable is None:
        assert channel.send(notice()).state is ReceiptState.ACCEPTED
        return
    with pytest.raises(DeliveryError, match=words) as raised:
        channel.send(notice())
    assert raised.value.is_retryable is is_retryable


def test_a_program_that_talks_without_end_is_heard_for_so_long_and_let_talk() -> None:
    script = (
        "import os, sys\nos.write(2, b'first words\\n')\nfor _ in range(512): os.write(2, b'x' * 65536)\nsys.exit(1)"
    )
    code, said = run(["python3", "-c", script], b"", Deadline(SystemClock(), 120))

    assert (code, len(said)) == (1, ERRORS_KEPT_SIZE)
    with pytest.raises(DeliveryError, match="first words") as raised:
        Command("script", ["python3", "-c", script], CLOCK).send(notice())
    assert not raised.value.is_retryable


def test_a_program_that_reads_nothing_of_a_long_notice_may_say_yes() -> None:
    long = notice().model_copy(update={"facts": {"long": "x" * (1 << 20)}})

    assert Command("script", ["true"], CLOCK).send(long).state is ReceiptState.ACCEPTED
    script = "import sys; sys.stderr.write('x' * 200_000); sys.exit(len(sys.stdin.buffer.read()) < 1 << 20)"
    assert Command("script", ["python3", "-c", script], CLOCK).send(long).state is ReceiptState.ACCEPTED


def test_a_program_that_hangs_is_ended_and_one_that_is_not_there_is_named() -> None:
    with pytest.raises(DeliveryError, match="not done within") as raised:
        Command("script", ["sleep", "600"], SystemClock(), timeout_s=0.2).send(notice())
    assert raised.value.is_retryable
    with pytest.raises(DeliveryError, match="/no/such/program"):
        Command("script", ["/no/such/program"], CLOCK).send(notice())


def test_a_collector_gets_framed_records_over_tls(authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def collect() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with context.wrap_socket(connection, server_side=True) as secured:
                    data = b""
                    while piece := secured.recv(4096):
                        data += piece
                    got.append(data)

        thread = threading.Thread(target=collect)
        thread.start()
        port = server.getsockname()[1]
        channel = Syslog("soc", "127.0.0.1", port, english, CLOCK, version="1", named=LOOPBACK, ca_file=authority.ca)
        assert channel.send(notice()).state is ReceiptState.UNKNOWN
        channel.send(notice(HOSTILE))
        thread.join(60)
    size, _, line = got[0].partition(b" ")
    assert int(size) == len(line)
    assert re.match(
        rb"<131>1 2026-11-22T01:41:00Z \S+ govsec - incident.opened - \xef\xbb\xbfCEF:0\|govsec\|govsec\|1\|", line
    )
    hostile = got[1].decode()
    assert "\n" not in hostile and "\x1b" not in hostile
    assert r"cs1=[点我](http://evil.example) @all <script> Bcc: x@evil.example|\=\\\\u001b[2J" in hostile
