"""The order of versions, against dpkg itself and against rpm's published cases."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govsec.inventory.versions import Compare, compare_dpkg, compare_rpm
from tests.support.require import missing

#: What versions are made of, with what makes them difficult near each other.
UPSTREAM = st.text("0123456789.+~abzAZ-", min_size=0, max_size=12).map(lambda text: "0" + text.strip("-"))
DPKG = st.builds(
    lambda epoch, upstream, revision: f"{epoch}{upstream}{revision}",
    st.sampled_from(["", "0:", "1:", "12:"]),
    UPSTREAM,
    st.sampled_from(["", "-1", "-0", "-1~deb12u1", "-1+b2", "-1ubuntu0.1", "-a"]),
)
RPM = st.text("0123456789.~^_abzAZ", min_size=1, max_size=10)


@settings(max_examples=200)
@given(one=DPKG, other=DPKG)
def test_two_versions_stand_as_dpkg_says(one: str, other: str) -> None:
    dpkg = shutil.which("dpkg")
    if dpkg is None:
        missing("dpkg", "not on this machine")
    order = compare_dpkg(one, other)

    word = "lt" if order < 0 else "gt" if order else "eq"

    done = subprocess.run([dpkg, "--compare-versions", one, word, other], check=False, capture_output=True, timeout=60)
    assert done.returncode == 0, (one, word, other)


#: After the cases of rpm's own suite (tests/rpmvercmp.at) and of its manual, rpm-version(7).
RPM_CASES = [
    ("1.0", "1.0", 0), ("1.0", "2.0", -1), ("2.0.1", "2.0", 1), ("2.0.1a", "2.0.1", 1), ("5.5p1", "5.5p2", -1),
    ("5.5p10", "5.5p1", 1), ("10xyz", "10.1xyz", -1), ("xyz10", "xyz10.1", -1), ("xyz.4", "8", -1), ("8", "xyz.4", 1),
    ("5.5p2", "5.6p1", -1), ("6.0.rc1", "6.0", 1), ("10b2", "10a1", 1), ("1.0aa", "1.0a", 1), ("10.0001", "10.1", 0),
    ("10.0001", "10.0039", -1), ("4.999.9", "5.0", -1), ("20101121", "20101122", -1), ("2_0", "2.0", 0), ("a", "a+", 0),
    ("+a", "_a", 0), ("+", "_", 0), ("1.0~rc1", "1.0", -1), ("1.0~rc1", "1.0~rc2", -1),
    ("1.0~rc1~git123", "1.0~rc1", -1),
    ("1.0^", "1.0", 1), ("1.0^git1", "1.01", -1), ("1.0^git1", "1.0.1", -1), ("1.0^20160101^git1", "1.0^20160102", -1),
    ("1.0~rc1^git1", "1.0~rc1", 1), ("1.0^git1~pre", "1.0^git1", -1), ("1:1.0-1", "2.0-1", 1), ("1.0-2", "1.0-10", -1),
    ("1.0", "1.0-5", 0),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "order"), RPM_CASES)
def test_two_versions_stand_as_rpm_says(one: str, other: str, order: int) -> None:
    assert compare_rpm(one, other) == order
    assert compare_rpm(other, one) == -order


@pytest.mark.parametrize(("compare", "versions"), [(compare_dpkg, DPKG), (compare_rpm, RPM)])
def test_an_order_is_an_order(compare: Compare, versions: st.SearchStrategy[str]) -> None:
    @given(st.lists(versions, min_size=3, max_size=3))
    def holds(three: list[str]) -> None:
        one, other, third = three
        assert compare(one, one) == 0
        assert compare(one, other) == -compare(other, one)
        if compare(one, other) <= 0 and compare(other, third) <= 0:
            assert compare(one, third) <= 0

    holds()


@pytest.mark.parametrize("compare", [compare_dpkg, compare_rpm])
def test_a_version_of_nothing_but_digits_or_of_any_text_is_borne(compare: Compare) -> None:
    for text in ("9" * 1_000_000, "", ":", "-", "~", "١٢", "\udcff", "1:" * 1000, "a" * 100_000):
        assert compare(text, "1.0") in (-1, 0, 1)
        assert compare(text, text) == 0
