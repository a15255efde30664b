"""What probes write in English, in Chinese: every clause that they can write, and nothing lost of what is unknown."""

from __future__ import annotations

import time

import pytest

from govsec.report.phrases import phrase


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("200 or 301", "200 或 301"),
        ("502; a body of 154 bytes, a page titled 502 Bad Gateway", "502；内容 154 字节，页面标题为 502 Bad Gateway"),
        ("contains 办事指南", "包含 办事指南"),
        ("does not; a body of 0 bytes", "没有；内容 0 字节"),
        ("an answer within 10 s", "10 秒内应答"),
        ("10.0.0.1 port 443: Connection refused", "10.0.0.1 端口 443：连接被拒绝"),
        ("certificate: certificate has expired", "证书：已过期"),
        ("certificate: Hostname mismatch, certificate is not valid for 'a.gov.cn'.", "证书：与主机名 a.gov.cn 不符"),
        ("the certificate ends on 2026-12-01, in 9 days", "证书 将于 2026-12-01 到期，还有 9 天"),
        ("CN=R3 in the chain ended on 2026-01-01", "证书链中的 CN=R3 已于 2026-01-01 到期"),
        (
            "speaks TLCP with one certificate; it needs one to sign and one to encrypt",
            "TLCP 只用了一张证书；应有签名、加密两张",
        ),
        ("is for a.gov.cn, b.gov.cn, not for c.gov.cn", "签发给 a.gov.cn, b.gov.cn，而不是 c.gov.cn"),
        ("something that nobody foresaw", "something that nobody foresaw"),
    ],
)
def test_clauses_are_said_in_chinese(text: str, said: str) -> None:
    assert phrase(text, "zh") == said
    assert phrase(text, "en") == text


def test_nothing_that_a_server_chose_is_lost_or_taken_for_a_gap() -> None:
    title = "{0} {x} } contains it; nothing; %s " + "a, not for " * 50
    said = phrase(f"502; a body of 9 bytes, a page titled {title}", "zh")
    assert "{0} {x} }" in said
    assert "%s" in said


def test_a_clause_that_is_made_to_be_slow_is_not() -> None:
    began = time.monotonic()
    for piece in ("ended on ", "in the chain ", "is for , not for ", "port 1: "):
        phrase(piece * 5000, "zh")
        phrase((piece * 200)[:999], "zh")
    assert time.monotonic() - began < 60
