"""``govsec notify``: a real round trip, the outbox, dead letters."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from govsec.assemble.notify import channels_of, open_outbox
from govsec.cli import frame
from govsec.cli.main import build_parser
from govsec.config import load_config
from govsec.records import Notice, Severity
from govsec.report.catalog import Catalogue
from govsec.report.notice import notice_words
from govsec.testing.clock import FakeClock
from tests.notice.far import far_side

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)


class _Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = self.err = ""

    def write(self, notify: dict[str, Any]) -> Path:
        path = self.folder / "govsec.yaml"
        path.write_text(json.dumps({"version": 1, "state_dir": str(self.folder / "state"), "notify": notify}))
        return path

    def secret(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def run(self, *argv: str, clock: FakeClock | None = None) -> int:
        out, err = io.StringIO(), io.StringIO()
        line = ["notify", *argv, "--config", str(self.folder / "govsec.yaml")]
        code = frame.run(build_parser(), line, stdout=out, stderr=err, clock=clock or FakeClock(NOW))
        self.out, self.err = out.getvalue(), err.getvalue()
        return code


@pytest.fixture
def site(tmp_path: Path) -> _Site:
    return _Site(tmp_path)


def notice(key: str = "k1", severity: Severity = Severity.HIGH, system: str = "portal") -> Notice:
    return Notice(
        key=key, kind="incident.opened", severity=severity, time=NOW, system=system, subject="10.0.0.8", summary="scan",
        facts={"kind": "net.scan", "incidents": [{"kind": "net.scan.vertical", "subject": "10.0.0.8", "count": 3}]},
    )  # fmt: skip


def test_a_channel_is_tried_for_real_and_a_refusal_behind_200_is_told(site: _Site) -> None:
    with far_side() as far:
        url = site.secret("robot.url", f"{far.url}/send?key=t0ken")
        site.write({"channels": {"duty": {"kind": "wecom", "url_file": url, "addresses": ["127.0.0.0/8"]}}})
        assert site.run("test", "duty") == 3
        assert "must be https" in site.err and "t0ken" not in site.err
        hook = {"kind": "webhook", "url": far.url, "plain": True, "secret_file": site.secret("key", "shared")}
        site.write({"channels": {"hook": {**hook, "addresses": ["127.0.0.0/8"]}, "blind": hook}})
        assert site.run("test", "hook", "--json") == 0
        assert json.loads(site.out)["state"] == "accepted"
        assert "测试通知" not in site.out
        far.status = 503
        assert site.run("test", "hook") == 4
        assert "HTTP 503" in site.err
        assert site.run("test", "blind") == 4
        assert "this machine itself" in site.err
        assert site.run("test", "nobody") == 3
        assert "blind, hook" in site.err


def test_the_outbox_shows_which_part_of_a_long_notice_was_not_taken(site: _Site) -> None:
    with far_side() as far:
        key = {"key": site.secret("key", "shared")}
        shape = {"xml": "<t>{text}</t>", "answer": {"between": ["<c>", "</c>"], "yes": ["0"]}, "secrets": key}
        gateway = {"kind": "sms", "url": far.url, "plain": True, "recipients": ["13800000000"], "text_max": 40, **shape}
        config = load_config(site.write({"channels": {"sms": {**gateway, "addresses": ["127.0.0.0/8"]}}}))
        with open_outbox(config) as outbox:
            outbox.put([notice().model_copy(update={"summary": "长" * 60})], ["sms"], NOW)
        far.answer = lambda _, __, body: (200, b"<c>1</c>" if b"(2/3)" in body else b"<c>0</c>")
        assert site.run("send") == 4
    assert site.run("queue", "--state", "dead") == 1
    assert "2/3" in site.out and "the gateway says '1'" in site.out
    assert site.run("queue", "--json") == 1
    assert json.loads(site.out)["counters"] == {"waiting": 0, "done": 2, "dead": 1}


def test_what_is_in_the_outbox_is_sent_shown_and_sent_again(site: _Site) -> None:
    config = load_config(
        site.write({"channels": {"log": {"kind": "file", "path": str(site.folder / "notices.jsonl")}}})
    )
    broken = ["false"]
    with open_outbox(config) as outbox:
        outbox.put([notice()], ["log", "script"], NOW)
    site.write(
        {
            "channels": {
                "log": {"kind": "file", "path": str(site.folder / "notices.jsonl")},
                "script": {"kind": "command", "argv": broken},
            }
        }
    )
    assert site.run("queue") == 0
    assert "waiting: 2" in site.out
    assert site.run("send") == 4
    assert site.run("queue", "--state", "dead") == 1
    assert "ended with 1" in site.out
    assert site.run("queue", "--state", "done", "--json") == 1
    assert json.loads(site.out)["items"][0]["receipt"]["state"] == "unknown"
    assert site.run("retry", "--all") == 0
    assert site.run("retry", "1") == 5
    assert site.run("retry") == 2
    assert site.run("queue", "--json") == 0
    assert json.loads(site.out)["counters"] == {"waiting": 1, "done": 1, "dead": 0}
    assert (site.folder / "notices.jsonl").read_text().count("\n") == 1


class _Hurried(FakeClock):
    """Whatever is timed took six seconds."""

    def monotonic(self) -> float:
        self.advance(6)
        return super().monotonic()


def test_a_channel_that_is_slow_gets_everything_all_the_same(site: _Site) -> None:
    config = load_config(
        site.write({"channels": {"log": {"kind": "file", "path": str(site.folder / "notices.jsonl")}}})
    )
    with open_outbox(config) as outbox:
        outbox.put([notice(f"k{number}") for number in range(3)], ["log"], NOW)

    assert site.run("send", "--json", clock=_Hurried(NOW)) == 0
    assert json.loads(site.out) == {"delivered": 3, "failed": 0, "dead": 0}


def test_what_was_delivered_is_forgotten_after_the_days_of_the_configuration(site: _Site) -> None:
    log = {"kind": "file", "path": str(site.folder / "notices.jsonl")}
    config = load_config(site.write({"channels": {"log": log}, "kept_days": 10}))
    with open_outbox(config) as outbox:
        outbox.put([notice()], ["log"], NOW)
    counts = []
    for days in (0, 9, 11):
        site.run("send", clock=FakeClock(NOW + timedelta(days=days)))
        site.run("queue", "--json")
        counts.append(json.loads(site.out)["counters"]["done"])

    assert counts == [1, 1, 0]


def test_routes_send_by_severity_and_system_and_must_lead_somewhere(site: _Site) -> None:
    file = {"kind": "file", "path": "/var/log/notices"}
    routes = [{"channels": ["all"]}, {"channels": ["duty", "all"], "severity_min": "high", "systems": ["portal"]}]
    config = load_config(site.write({"channels": {"all": file, "duty": file}, "routes": routes}))

    assert channels_of(notice(), config.notify) == ("all", "duty")
    assert channels_of(notice(severity=Severity.MEDIUM), config.notify) == ("all",)
    assert channels_of(notice(system="oa"), config.notify) == ("all",)
    site.write({"channels": {}, "routes": routes})
    assert site.run("queue") == 3
    assert "no channel" in site.err


def _digest(*systems: str, count: int | None = None) -> Notice:
    listed: list[JsonValue] = [{"group": f"{system}|net.scan", "system": system} for system in systems]
    facts: dict[str, JsonValue] = {"groups_count": count or len(systems), "listed": listed}
    return notice(system="").model_copy(update={"kind": "incident.digest", "facts": facts})


def test_a_digest_goes_where_its_systems_go_and_nothing_goes_nowhere_for_its_system(site: _Site) -> None:
    file = {"kind": "file", "path": "/var/log/notices"}
    routes = [
        {"channels": ["portal"], "systems": ["portal"]},
        {"channels": ["oa"], "systems": ["oa"]},
        {"channels": ["sms"], "severity_min": "critical", "systems": ["oa"]},
    ]
    channels = dict.fromkeys(("portal", "oa", "sms"), file)
    notify = load_config(site.write({"channels": channels, "routes": routes})).notify

    assert channels_of(_digest("portal"), notify) == ("portal",)
    assert channels_of(_digest("tax", "oa"), notify) == ("oa",)
    assert channels_of(_digest("oa", "portal"), notify) == ("portal", "oa")
    # Eleven groups of which one is named: the others may be anybody's.
    assert channels_of(_digest("portal", count=11), notify) == ("portal", "oa")
    assert channels_of(_digest("tax"), notify) == ("portal", "oa")
    assert channels_of(notice(system=""), notify) == ("portal", "oa")
    assert channels_of(notice(system="tax"), notify) == ("portal", "oa")
    assert channels_of(_digest("oa").model_copy(update={"facts": {"listed": "nonsense"}}), notify) == ("portal", "oa")


def test_what_is_below_every_route_is_told_to_nobody_and_without_routes_nobody_is_there(site: _Site) -> None:
    channels = {"sms": {"kind": "file", "path": "/var/log/notices"}}
    routes = [{"channels": ["sms"], "severity_min": "critical"}]

    assert channels_of(notice(), load_config(site.write({"channels": channels, "routes": routes})).notify) == ()
    assert channels_of(notice(), load_config(site.write({"channels": channels})).notify) == ()


def test_a_secret_that_others_can_read_is_refused(site: _Site) -> None:
    secret = site.secret("key", "shared")
    Path(secret).chmod(0o644)
    site.write({"channels": {"hook": {"kind": "webhook", "url": "https://hook.example/", "secret_file": secret}}})

    assert site.run("test", "hook") == 3
    assert "chmod 600" in site.err


def test_notices_have_words_in_both_languages() -> None:
    title, lines = notice_words(notice(), "zh")

    assert title == "【高】portal 发现 net.scan：10.0.0.8"
    assert "· net.scan.vertical　10.0.0.8　3 次" in lines
    assert notice_words(notice(), "en")[0] == "[high] portal found net.scan: 10.0.0.8"
    assert notice_words(notice().model_copy(update={"kind": "some.thing"}), "zh")[0] == "【高】net.scan：10.0.0.8"
    assert Catalogue("notice", "zh").keys() == Catalogue("notice", "en").keys()
