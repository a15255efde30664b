"""``govsec notify test`` makes a real round trip on every kind of channel, and says so when the far side does not."""

from __future__ import annotations

import base64
import email
import email.policy
import io
import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from govsec.cli import frame
from govsec.cli.main import build_parser
from govsec.testing.clock import FakeClock
from tests.notice.collector import collector
from tests.notice.far import Far, far_side
from tests.notice.test_mail import post_office
from tests.notice.test_wecom_app import CORP, SECRET, WeCom
from tests.support.authority import Authority

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)
TITLE = "测试通知：看到即表示此渠道可用"


class _Site:
    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder
        self.reaching = {"addresses": ["127.0.0.0/8"], "ca_file": str(authority.ca)}
        self.out = self.err = ""

    def secret(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def test(self, *files: Path, **channel: Any) -> int:
        body = {"version": 1, "state_dir": str(self.folder / "state"), "notify": {"channels": {"it": channel}}}
        (self.folder / "govsec.yaml").write_text(json.dumps(body))
        out, err = io.StringIO(), io.StringIO()
        attached = [word for file in files for word in ("--attach", str(file))]
        line = ["notify", "test", "it", *attached, "--json", "--config", str(self.folder / "govsec.yaml")]
        code = frame.run(build_parser(), line, stdout=out, stderr=err, clock=FakeClock(NOW))
        self.out, self.err = out.getvalue(), err.getvalue()
        return code


@pytest.fixture
def site(tmp_path: Path, authority: Authority) -> _Site:
    return _Site(tmp_path, authority)


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    return context


@pytest.fixture
def far(context: ssl.SSLContext) -> Iterator[Far]:
    with far_side(context) as far:
        yield far


@pytest.mark.parametrize(
    ("kind", "yes", "no"),
    [
        ("dingtalk", {"errcode": 0}, {"errcode": 310000, "errmsg": "sign not match"}),
        ("wecom", {"errcode": 0}, {"errcode": 93000, "errmsg": "invalid webhook url"}),
        ("feishu", {"code": 0}, {"code": 19021, "msg": "sign match fail"}),
    ],
)
def test_a_robot(kind: str, yes: dict[str, Any], no: dict[str, Any], site: _Site, far: Far) -> None:
    channel = {"kind": kind, "url_file": site.secret("url", f"{far.url}/send?key=t0ken"), **site.reaching}
    far.body = json.dumps(yes).encode()
    assert site.test(**channel) == 0
    assert json.loads(site.out)["state"] == "accepted" and TITLE in far.asked[0][2].decode()
    far.body = json.dumps(no).encode()
    assert site.test(**channel) == 4
    assert "t0ken" not in site.err


def test_an_application_of_wecom(site: _Site, far: Far) -> None:
    wecom = WeCom()
    far.answer = wecom.answer
    secret = site.secret("app.key", SECRET)
    channel = {"kind": "wecom_app", "corp_id": CORP, "agent_id": 7, "users": ["zhang"], "url": far.url, **site.reaching}
    assert site.test(**channel, secret_file=secret) == 0
    assert json.loads(site.out)["number"] == "msg-1"
    assert TITLE in wecom.messages[0]["text"]["content"]
    report = site.folder / "首报.docx"
    report.write_bytes(b"PK" * 1000)
    assert site.test(report, **channel, secret_file=secret) == 0
    assert wecom.files[wecom.messages[-1]["file"]["media_id"]] == ("首报.docx", b"PK" * 1000)
    assert site.test(site.folder / "none", **channel, secret_file=secret) == 3
    assert site.test(**channel, secret_file=site.secret("wrong.key", "wr0ng")) == 4
    assert "40001" in site.err and "wr0ng" not in site.err


def test_a_gateway_for_short_messages(site: _Site, far: Far) -> None:
    channel = {
        "kind": "sms", "url": far.url, "recipients": ["13800000000"], "secrets": {"key": site.secret("key", "s3cret")},
        "json": {"to": "{phone}", "text": "{text}", "mac": "{mac}"}, "wrap": "base64",
        "values": [{"name": "mac", "how": "sha256", "of": "{text}", "key": "{key}"}],
        "answer": {"at": "/rspcod", "yes": ["success"], "number_at": "/msgGroup"}, **site.reaching,
    }  # fmt: skip
    far.body = b'{"rspcod":"success","msgGroup":"77"}'
    assert site.test(**channel) == 0
    assert json.loads(site.out)["number"] == "77"
    assert TITLE in json.loads(base64.b64decode(far.asked[0][2]))["text"]
    far.body = b'{"rspcod":"IllegalMac"}'
    assert site.test(**channel) == 4
    assert "IllegalMac" in site.err
    assert site.test(**{**channel, "values": []}) == 3
    assert "no value mac" in site.err


def test_a_webhook(site: _Site, far: Far) -> None:
    channel = {"kind": "webhook", "url": far.url, "secret_file": site.secret("key", "shared"), **site.reaching}
    assert site.test(**channel) == 0
    assert json.loads(far.asked[0][2])["type"] == "govsec.notify.test"
    far.status = 403
    assert site.test(**channel) == 4


def test_mail_over_starttls(site: _Site, context: ssl.SSLContext) -> None:
    channel = {"kind": "smtp", "host": "127.0.0.1", "sender": "a@city.example", "recipients": ["b@city.example"]}
    with post_office(context, require_starttls=True) as (post, port):
        report = site.folder / "首报.docx"
        report.write_bytes(b"PK" * 1000)
        assert site.test(report, **channel, **site.reaching, port=port) == 0
        post.refused = {"b@city.example": "550 no such user"}
        assert site.test(**channel, **site.reaching, port=port) == 4
    content = post.mails[0].content
    assert isinstance(content, bytes)
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert message["Subject"] == TITLE
    assert [part.get_payload(decode=True) for part in message.iter_attachments()] == [b"PK" * 1000]


def test_a_collector_of_logs_over_tls(site: _Site, context: ssl.SSLContext) -> None:
    with collector(context, ["", "within the record"]) as soc:
        channel = {"kind": "syslog", "host": "127.0.0.1", "port": soc.port, **site.reaching}
        assert site.test(**channel) == 0
        assert site.test(**channel) == 4
    assert soc.records[0].head[4] == TITLE


def test_a_file_and_a_program(site: _Site, tmp_path: Path) -> None:
    assert site.test(kind="file", path=str(tmp_path / "lines")) == 0
    assert json.loads((tmp_path / "lines").read_text())["kind"] == "notify.test"
    assert site.test(kind="file", path="/dev/null") == 4
    check = "import json,sys; sys.exit(json.load(sys.stdin)['kind'] != 'notify.test')"
    assert site.test(kind="command", argv=["python3", "-c", check]) == 0
    assert site.test(kind="command", argv=["false"]) == 4
