"""What far sides take for their own markup stays text: mentions of Feishu, escapes of CEF that a cut must not split."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from govsec.notice.channels.cef import LINE_SIZE_MAX, cef, syslog_line
from govsec.notice.channels.robots import feishu_post
from govsec.notice.words import Words
from govsec.records import Notice, Severity

NOW = datetime(2026, 11, 22, 1, 41, tzinfo=UTC)


def notice(subject: str = "x", key: str = "k") -> Notice:
    return Notice(key=key, kind="incident.opened", severity=Severity.HIGH, time=NOW, subject=subject, summary="a scan")


def test_a_name_mentions_nobody_in_feishu() -> None:
    words = Words('<at user_id="all">x</at>', ('host <at user_id="all"></at> <b>', "1 < 2"))
    text = str(feishu_post(words, "", 0).body["content"])

    assert "<" not in text and ">" not in text
    assert '＜at user_id="all"＞x＜/at＞' in text and "1 ＜ 2" in text


@pytest.mark.parametrize("before", range(505, 515))
@pytest.mark.parametrize("mark", ["|", "\\", "="])
def test_a_title_that_is_cut_keeps_its_escapes_whole(before: int, mark: str) -> None:
    record = cef(notice(), Words("a" * before + mark * 40, ()), "1")
    # A field ends at a bar that is not escaped; there are seven of them before the extension.
    fields = re.split(r"(?<!\\)(?:\\\\)*\|", record)

    assert len(fields) == 8
    assert fields[6] == "8"


@pytest.mark.parametrize("more", range(4))
def test_a_line_that_is_cut_does_not_end_within_an_escape(more: int) -> None:
    line = syslog_line(notice("\\" * 500), Words("a" * (300 + more), ("\x01" * 1023,)), "host", "1")
    text = line.decode()

    assert LINE_SIZE_MAX - 1 <= len(line) <= LINE_SIZE_MAX
    assert text.endswith("\\") and (len(text) - len(text.rstrip("\\"))) % 2 == 0
