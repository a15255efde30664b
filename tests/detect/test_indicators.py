"""Lists of indicators: plain and CSV, each entry with where it came from, hostile lists bounded and named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govsec.detect.indicators import IndicatorFiles, IndicatorList, classify, parse_list, read_list
from govsec.errors import ConfigurationError

PLAIN = """# from our own hunt
192.0.2.7            # a control host
198.51.100.0/24
bad.example
*.Worse.Example.
hxxp-is-not-an-indicator/at all
203[.]0[.]113[.]9
d41d8cd98f00b204e9800998ecf8427e
t13d1516h2_8daaf6152771_e5627efa2ab1
"""


def parsed(text: str) -> IndicatorList:
    return parse_list(Path("list.txt"), text)


def test_a_plain_list_gives_indicators_by_their_form_with_file_and_line() -> None:
    found = parsed(PLAIN)

    assert [(entry.kind, entry.value, entry.source) for entry in found.indicators] == [
        ("address", "192.0.2.7", "list.txt:2"),
        ("network", "198.51.100.0/24", "list.txt:3"),
        ("domain", "bad.example", "list.txt:4"),
        ("domain", "worse.example", "list.txt:5"),
        ("address", "203.0.113.9", "list.txt:7"),
        ("fingerprint", "d41d8cd98f00b204e9800998ecf8427e", "list.txt:8"),
        ("ja4", "t13d1516h2_8daaf6152771_e5627efa2ab1", "list.txt:9"),
    ]
    assert found.indicators[0].description == "a control host"
    assert found.refused_count == 1
    assert found.problems[0].startswith("line 6: neither")


def test_a_csv_list_gives_what_it_says_and_when_it_ends() -> None:
    text = (
        "# made by a feed\n"
        "value,kind,description,expires\n"
        '192.0.2.8,ip,"botnet, old",2026-07-01\n'
        "evil.example,domain,,2026-07-01T12:00:00Z\n"
        "10.9.9.9,ip,x,yesterday\n"
    )

    found = parsed(text)

    assert [(entry.value, entry.description) for entry in found.indicators] == [
        ("192.0.2.8", "botnet, old"),
        ("evil.example", ""),
    ]
    assert found.indicators[0].expires_ns == 1_782_864_000 * 10**9
    assert (found.refused_count, found.problems[0][:7]) == (1, "line 5:")


@pytest.mark.parametrize(
    "text", ["0.0.0.0/0", "10.0.0.0/7", "::/8", "127.0.0.1", "224.0.0.5", "fe80::1", "com", "1.2.3", "", "a" * 300]
)
def test_what_would_match_everybody_or_nobody_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        classify(text)


def test_a_name_in_chinese_stands_as_it_is_in_dns() -> None:
    assert classify("恶意.中国") == ("domain", "xn--45q9u6e.xn--fiqs8s") or classify("恶意.中国")[1].startswith("xn--")


@given(st.text(max_size=300))
def test_whatever_a_list_holds_it_is_read_or_counted(text: str) -> None:
    found = parsed(text)

    assert len(found.problems) <= 20
    assert all(entry.value for entry in found.indicators)


def test_a_list_of_rubbish_names_a_bounded_number_of_lines_and_counts_all() -> None:
    found = parsed("\n".join(["!!"] * 1000 + ["x" * 5000]))

    assert (len(found.problems), found.refused_count) == (20, 1001)


def test_an_entry_that_is_listed_twice_is_one() -> None:
    assert len(parsed("192.0.2.1\n192.0.2.1 # again\n").indicators) == 1


def test_a_list_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        read_list(tmp_path / "nowhere.txt")
    with pytest.raises(ConfigurationError, match="nowhere"):
        IndicatorFiles([tmp_path / "nowhere.txt"], ttl_s=3600)


def test_a_list_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)

    with pytest.raises(ConfigurationError, match="larger than"):
        read_list(path)


def test_a_list_is_read_again_when_it_changed_and_stays_when_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("192.0.2.1\n")
    files = IndicatorFiles([path], ttl_s=3600)
    assert files.reload() == (False, [])

    path.write_text("192.0.2.1\nbad.example\n")
    assert files.reload() == (True, [])
    assert [entry.value for entry in files.indicators()] == ["192.0.2.1", "bad.example"]

    path.unlink()
    is_changed, problems = files.reload()
    assert (is_changed, len(problems)) == (False, 1)
    assert len(files.indicators()) == 2


def test_entries_end_so_long_after_their_file_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("192.0.2.1\n")
    os.utime(path, ns=(10**18, 10**18))

    assert IndicatorFiles([path], ttl_s=60).indicators()[0].expires_ns == 10**18 + 60 * 10**9
