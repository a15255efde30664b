"""Steps of a service against real servers: what passes, what fails, and where requests may go."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from govsec.findings.baseline import Baseline
from govsec.records import Severity
from govsec.serviceentry import ServiceConfig
from govsec.services.cookies import Cookies
from govsec.services.memory import ServiceMemory
from govsec.services.probe import Prober
from govsec.services.steps import RunState
from govsec.testing.clock import FakeClock
from govsec.web.exchange import Answer
from tests.services.conftest import Make
from tests.services.portals import PATIENT_S, Asked, Keys, Portal, Reply, running


def test_a_log_in_carries_cookie_token_and_secret_over_both_families(
    portal: Portal, make: Make, tmp_path: Path
) -> None:
    def login(asked: Asked) -> Reply:
        is_right = json.loads(asked.body) == {"user": "probe", "password": 'hun"ter2'} and "sid=7" in asked.headers.get(
            "Cookie", ""
        )
        return (200 if is_right else 403), {}, json.dumps({"data": {"token": "t/0ken+value"}}).encode()

    def me(asked: Asked) -> Reply:
        is_right = (
            asked.headers.get("Authorization") == "Bearer t/0ken+value" and asked.path == "/me?t=t%2F0ken%2Bvalue"
        )
        return 200, {}, json.dumps({"data": {"ok": is_right, "items": [{"id": 3}]}}).encode()

    portal.routes["/"] = (200, {"Set-Cookie": "sid=7; Path=/; HttpOnly"}, b"<title>welcome</title>")
    portal.routes["/login"], portal.routes["/me"] = login, me
    secret = tmp_path / "password"
    secret.write_text('hun"ter2\n')
    secret.chmod(0o600)
    prober = make(
        secrets={"password": {"file": secret}},
        steps=[
            {"name": "home", "url": portal.url()},
            {
                "name": "login",
                "url": portal.url("/login"),
                "method": "POST",
                "json": {"user": "probe", "password": "${password}"},
                "keep": {"token": {"json": "data.token"}},
            },
            {
                "name": "me",
                "url": portal.url("/me?t=${token}"),
                "headers": {"Authorization": "Bearer ${token}"},
                "expect": {"json": {"data.ok": True, "data.items[0].id": 3}},
            },
        ],
    )

    probed = prober.probe()

    assert probed.findings == ()
    assert [(run.family, run.state) for run in probed.seen.runs] == [
        ("ipv4", RunState.PASSED),
        ("ipv6", RunState.PASSED),
    ]
    assert {asked.family for asked in portal.asked} == {"ipv4", "ipv6"}
    assert set(probed.seen.runs[0].steps[0].seconds) == {"resolve", "connect", "first_byte", "body", "whole"}
    assert "hun" not in repr(probed)
    assert "0ken" not in repr(probed)


def test_the_failing_step_is_told_once_for_both_families_with_what_was_expected_and_seen(
    portal: Portal, make: Make
) -> None:
    portal.page("/", "<title>Service hall</title>fine")
    portal.routes["/pay"] = (503, {}, b"<title>Sorry</title>")
    prober = make(
        steps=[
            {"name": "home", "url": portal.url(), "expect": {"body_contains": ["fine"]}},
            {"name": "pay", "url": portal.url("/pay")},
            {"name": "never", "url": portal.url("/never")},
        ]
    )

    (finding,) = prober.probe().findings

    assert (finding.kind, finding.severity) == ("service.down", Severity.HIGH)
    assert finding.facts["step"] == "pay"
    assert finding.facts["expected"] == "200"
    assert finding.facts["seen"] == "503; a body of 20 bytes, a page titled Sorry"
    assert finding.facts["families"] == ["ipv4", "ipv6"]
    assert "/never" not in {asked.path for asked in portal.asked}


def test_one_failure_is_tried_again_and_told_only_when_it_stays(portal: Portal, make: Make) -> None:
    answers = [500, 200, 200, 200, 500, 500]

    def moody(asked: Asked) -> Reply:
        return answers.pop(0), {}, b""

    portal.routes["/"] = moody
    prober = make(families=["ipv4"], steps=[{"name": "home", "url": portal.url()}])

    first, second, third = prober.probe(), prober.probe(), prober.probe()
    fourth = prober.probe()

    assert (first.findings, first.seen.attempts) == ((), {"ipv4": 2})
    assert second.findings == third.findings == ()
    assert [finding.kind for finding in fourth.findings] == ["service.down"]
    assert fourth.seen.attempts == {"ipv4": 2}


def test_only_one_family_down_is_told_for_that_family(portal: Portal, make: Make) -> None:
    portal.routes["/"] = lambda asked: (200 if asked.family == "ipv4" else 502, {}, b"")

    (finding,) = make(steps=[{"name": "home", "url": portal.url()}]).probe().findings

    assert (finding.facts["families"], finding.severity) == (["ipv6"], Severity.MEDIUM)


def test_a_name_without_addresses_of_a_family_fails_only_where_the_family_is_required(
    portal: Portal, make: Make
) -> None:
    portal.page("/", "fine")
    portal.families = ("127.0.0.1",)
    steps = [{"name": "home", "url": portal.url()}]

    silent = make(steps=steps).probe()
    told = make(steps=steps, families_required=["ipv6"]).probe()

    assert silent.findings == ()
    assert silent.seen.runs[1].state is RunState.NOT_OFFERED
    assert [(one.kind, one.facts["families"]) for one in told.findings] == [("service.down", ["ipv6"])]


def test_a_redirect_out_of_the_configured_hosts_is_not_followed(portal: Portal, make: Make) -> None:
    portal.routes["/"] = (302, {"Location": "http://evil.example/take?token=secret"}, b"")

    (finding,) = make(steps=[{"name": "home", "url": portal.url()}]).probe().findings

    assert finding.facts["what"] == "redirect"
    assert "http://evil.example/take" in str(finding.facts["seen"])
    assert "secret" not in repr(finding)


def test_redirects_within_are_followed_and_counted_and_endless_ones_end(portal: Portal, make: Make) -> None:
    portal.routes["/"] = (302, {"Location": "/home"}, b"")
    portal.page("/home", "fine")
    portal.routes["/loop"] = (302, {"Location": "/loop"}, b"")
    prober = make(families=["ipv4"], steps=[{"name": "home", "url": portal.url()}])
    endless = make(families=["ipv4"], steps=[{"name": "loop", "url": portal.url("/loop")}])

    (step,) = prober.probe().seen.runs[0].steps
    (finding,) = endless.probe().findings

    assert (step.redirects, step.status) == (1, 200)
    assert finding.facts["seen"] == "more than 5 redirects"


def test_link_local_and_metadata_addresses_are_refused_unless_named(portal: Portal, make: Make) -> None:
    steps = [{"name": "home", "url": portal.url()}]
    for address in ("169.254.169.254", "100.100.100.200", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1"):
        portal.families = (address,)
        family = "ipv6" if ":" in address else "ipv4"

        (finding,) = make(families=[family], steps=steps).probe().findings

        assert str(finding.facts["seen"]).startswith("refused: "), address


def test_an_answer_larger_than_its_limit_is_not_taken_in_packed_or_not(portal: Portal, make: Make) -> None:
    bomb = gzip.compress(bytes(8 << 20))
    portal.routes["/"] = (200, {"Content-Encoding": "gzip"}, bomb)
    portal.routes["/long"] = (200, {}, bytes(70_000))
    for path in ("/", "/long"):
        prober = make(families=["ipv4"], steps=[{"name": "home", "url": portal.url(path), "size_bytes_max": 65_536}])

        (finding,) = prober.probe().findings

        assert finding.facts["seen"] == "more than 65536 bytes"


def test_an_answer_that_is_cut_off_or_no_http_fails_with_a_reason(portal: Portal, make: Make) -> None:
    portal.routes["/"] = (200, {"Content-Length": "100"}, b"short")

    (finding,) = make(families=["ipv4"], steps=[{"name": "home", "url": portal.url()}]).probe().findings

    assert finding.facts["seen"] == "cut off in the middle"


def test_a_pattern_that_would_take_other_engines_for_ever_is_answered(portal: Portal, make: Make) -> None:
    portal.routes["/"] = (200, {}, b"a" * 200_000 + b"!")
    step = {"name": "home", "url": portal.url(), "expect": {"body_matches": ["^(a+)+$"]}}

    (finding,) = make(families=["ipv4"], steps=[step]).probe().findings

    assert finding.facts["what"] == "body"


def test_a_value_with_a_line_break_does_not_become_a_second_header(portal: Portal, make: Make) -> None:
    portal.routes["/"] = (200, {}, json.dumps({"t": "a\r\nX-Evil: 1"}).encode())
    prober = make(
        families=["ipv4"],
        steps=[
            {"name": "home", "url": portal.url(), "keep": {"t": {"json": "t"}}},
            {"name": "next", "url": portal.url(), "headers": {"X-Token": "${t}"}},
        ],
    )

    (finding,) = prober.probe().findings

    assert finding.facts["step"] == "next"
    assert all("X-Evil" not in asked.headers for asked in portal.asked)


def test_a_secret_that_comes_back_is_in_no_report(portal: Portal, make: Make, tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("s3cret/value")
    secret.chmod(0o600)
    portal.routes["/s3cret%2Fvalue"] = (302, {"Location": "/at/s3cret%2Fvalue/end"}, b"")
    portal.routes["/at/s3cret%2Fvalue/end"] = (200, {"X-Echo": "is s3cret/value here"}, b'{"echo": "s3cret/value"}')
    step = {"name": "home", "url": portal.url("/${key}")}
    common = {"families": ["ipv4"], "secrets": {"key": {"file": secret}}}

    for expect in ({"headers": {"X-Echo": "nothing"}}, {"json": {"echo": "nothing"}}, {"status": [201]}):
        (finding,) = make(**common, steps=[{**step, "expect": expect}]).probe().findings

        assert "s3cret" not in repr(finding)
        assert "‹key›" in repr(finding)


def test_authorization_stays_with_its_host_and_https_stays_https(
    portal: Portal, make: Make, keys: Keys, clock: FakeClock
) -> None:
    other = Portal()
    with running(other, keys.context(names=["other.example"])):
        portal.routes["/"] = (307, {"Location": f"https://other.example:{other.port}/"}, b"")
        other.routes["/"] = (200, {}, b"fine")
        other.routes["/down"] = (302, {"Location": portal.url("/")}, b"")
        config = {
            "name": "portal",
            "timeout_s": PATIENT_S,
            "families": ["ipv4"],
            "ca_file": keys.ca_file,
            "hosts": ["other.example"],
        }
        there = {"name": "there", "url": f"https://other.example:{other.port}/down"}
        headers = {"Authorization": "Bearer t0ken", "X-Other": "stays"}
        found = []
        for step in ({"name": "home", "url": portal.url(), "headers": headers}, there):
            prober = Prober(
                ServiceConfig.model_validate({**config, "steps": [step, {**there, "name": "port"}]}),
                memory=ServiceMemory(),
                baseline=Baseline(),
                pages={},
                clock=clock,
                resolve=lambda host: ["127.0.0.1"],
            )
            found.append(prober.probe().findings)

    asked = other.asked[0]
    assert asked.headers["X-Other"] == "stays"
    assert "Authorization" not in asked.headers
    assert portal.asked[0].headers["Authorization"] == "Bearer t0ken"
    assert [finding.facts["seen"] for finding in found[1]] == [
        f"to http://portal.example:{portal.port}/, a host or port that the configuration does not name"
    ]


def test_https_does_not_lead_to_http(portal: Portal, make: Make, keys: Keys) -> None:
    other = Portal()
    with running(other, keys.context()):
        other.routes["/"] = (302, {"Location": portal.url("/")}, b"")
        steps = [{"name": "home", "url": other.url(scheme="https")}, {"name": "plain", "url": portal.url()}]

        (finding,) = make(families=["ipv4"], ca_file=keys.ca_file, steps=steps).probe().findings

    assert "from HTTPS to HTTP" in str(finding.facts["seen"])
    assert portal.asked == []


def test_a_cookie_goes_where_it_belongs_and_for_other_sites_none_is_taken() -> None:
    cookies = Cookies()
    set_ = [
        ("set-cookie", text)
        for text in (
            "own=1",
            "path=2; Path=/deep",
            "safe=3; Secure",
            "wide=4; Domain=.gov.example",
            "evil=5; Domain=evil.example",
            "all=6; Domain=example",
            "gone=7; Max-Age=0",
            "long=" + "x" * 5000,
        )
    ]
    cookies.take("https://a.gov.example/", Answer(200, set_, b""))

    assert cookies.header("https://a.gov.example/deep/x") == "own=1; path=2; safe=3; wide=4"
    assert cookies.header("http://a.gov.example/deeper") == "own=1; wide=4"
    assert cookies.header("https://b.gov.example/") == "wide=4"
    assert cookies.header("https://evil.example/") is None
    assert cookies.dropped_count == 1
