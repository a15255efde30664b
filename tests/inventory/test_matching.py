"""Packages against OSV and the Debian tracker's data: every state, both names, hostile files."""

from __future__ import annotations

import io
import json
import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from govsec.errors import FormatError, LimitError
from govsec.host.tables import Package
from govsec.inventory.api import Matches, Platform, State
from govsec.inventory.findings import KINDS, judge_packages
from govsec.inventory.osv import OsvData
from govsec.inventory.tracker import DebianTracker
from govsec.records import Finding, Severity
from govsec.report.catalog import Catalogue

DEBIAN = Platform("debian", "12", "bookworm")
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def dpkg(name: str, version: str, source: str = "", source_version: str = "") -> Package:
    return Package(name, version, "amd64", "dpkg", source or name, source_version or version)


def rpm(name: str, version: str, source: str = "") -> Package:
    return Package(name, version, "x86_64", "rpm", source or name, version)


def tracker(folder: Path, data: object) -> DebianTracker:
    path = folder / "tracker.json"
    path.write_text(json.dumps(data))
    return DebianTracker(path)


def release(**entry: str) -> dict[str, Any]:
    return {"releases": {"bookworm": {"status": "open", "urgency": "not yet assigned", **entry}}}


def states(matches: Matches) -> dict[str, State]:
    return {one.id: one.state for known in matches.known.values() for one in known}


def test_the_tracker_s_states_are_told_apart(tmp_path: Path) -> None:
    data = tracker(
        tmp_path,
        {
            "openssl": {
                "CVE-1": release(status="resolved", fixed_version="3.0.19-1~deb12u3", urgency="high**"),
                "CVE-2": release(status="resolved", fixed_version="3.0.19-1~deb12u2"),
                "CVE-3": release(status="resolved", fixed_version="0"),
                "CVE-4": release(),
                "CVE-5": release(status="undetermined"),
                "CVE-6": release(urgency="end-of-life"),
                "CVE-7": {"releases": {"trixie": {"status": "open"}}},
            },
            "other": {"CVE-8": release()},
        },
    )

    matches = data.match([dpkg("libssl3", "3.0.19-1~deb12u2", "openssl")], DEBIAN)

    assert states(matches) == {
        "CVE-1": State.FIX,
        "CVE-4": State.NO_FIX,
        "CVE-5": State.UNDETERMINED,
        "CVE-6": State.ENDED,
    }
    assert (matches.has_release, matches.packages, matches.is_file_date) == (True, 1, True)
    assert "CVE-3" not in states(data.match([dpkg("libssl3", "0~git1", "openssl")], DEBIAN))


def test_the_source_package_s_version_counts_and_not_the_binary_s(tmp_path: Path) -> None:
    data = tracker(tmp_path, {"glibc-src": {"CVE-1": release(status="resolved", fixed_version="2.5-1")}})

    mended = data.match([dpkg("libx", "1:9.9+b1", "glibc-src", "2.5-1")], DEBIAN)
    open_ = data.match([dpkg("libx", "1:9.9+b1", "glibc-src", "2.4-9")], DEBIAN)

    assert (states(mended), states(open_)) == ({}, {"CVE-1": State.FIX})


def entry(number: str, *affected: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": number, "modified": "2026-11-20T00:00:00Z", "affected": list(affected), **more}


def affected(name: str, *events: dict[str, str], ecosystem: str = "Debian:12", **more: Any) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    return {"package": {"name": name, "ecosystem": ecosystem}, "ranges": ranges, **more}


def osv(folder: Path, *entries: dict[str, Any], name: str = "all.zip") -> OsvData:
    path = folder / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for each in entries:
                archive.writestr(f"{each['id']}.json", json.dumps(each))
    else:
        path.write_text(json.dumps(list(entries)))
    return OsvData(path)


@pytest.mark.parametrize(
    ("version", "state", "fixed"),
    [("0.9", None, ""), ("1.0", State.FIX, "1.5"), ("1.4~rc1", State.FIX, "1.5"), ("1.5", None, ""),
     ("2.0", State.FIX, "2.2"), ("2.2-1", None, ""), ("3.0", State.NO_FIX, "")],
)  # fmt: skip
def test_ranges_of_events_are_judged_in_their_order(
    tmp_path: Path, version: str, state: State | None, fixed: str
) -> None:
    # Out of order on purpose: the format does not promise one.
    events = [{"fixed": "1.5"}, {"introduced": "1.0"}, {"fixed": "2.2"}, {"introduced": "2.0"}, {"introduced": "3.0"}]
    data = osv(tmp_path, entry("DSA-1", affected("lib", *events), aliases=["CVE-1"]))

    matches = data.match([dpkg("lib", version)], DEBIAN)

    assert states(matches) == ({"DSA-1": state} if state else {})
    assert [one.fixed_version for one in matches.known.get("lib", ())] == ([fixed] if state else [])


def test_listed_versions_last_affected_withdrawn_and_other_ecosystems_count_as_they_say(tmp_path: Path) -> None:
    data = osv(
        tmp_path,
        entry("A-1", affected("lib", versions=["1.0"])),
        entry("A-2", affected("lib", {"introduced": "0"}, {"last_affected": "1.0"})),
        entry("A-3", affected("lib", {"introduced": "0"}, {"last_affected": "0.9"})),
        entry("A-4", affected("lib", {"introduced": "0"}), withdrawn="2026-01-01T00:00:00Z"),
        entry("A-5", affected("lib", {"introduced": "0"}, ecosystem="Debian:11")),
        entry("A-6", affected("lib")),
        name="list.json",
    )

    matches = data.match([dpkg("lib", "1.0")], DEBIAN)

    assert states(matches) == {"A-1": State.NO_FIX, "A-2": State.NO_FIX, "A-6": State.UNDETERMINED}
    assert matches.counters["withdrawn"] == 1
    assert matches.newest == datetime(2026, 11, 20, tzinfo=UTC)


def test_rpm_packages_are_found_by_source_and_by_binary_name_in_rpm_s_order(tmp_path: Path) -> None:
    data = osv(
        tmp_path,
        entry(
            "R-1", affected("openssl-libs", {"introduced": "0"}, {"fixed": "1:3.0.7-28.el9"}, ecosystem="Rocky Linux:9")
        ),
        entry("R-2", affected("kernel", {"introduced": "0"}, {"fixed": "5.14.0-9.el9"}, ecosystem="Rocky Linux:9")),
    )
    packages = [rpm("openssl-libs", "1:3.0.7-27.el9", "openssl"), rpm("kernel-core", "5.14.0-10.el9", "kernel")]

    matches = data.match(packages, Platform("rocky", "9.4", ""))

    assert {source: states(matches) for source in matches.known} == {"openssl": {"R-1": State.FIX}}


def told(matches: Matches, packages: list[Package], platform: Platform = DEBIAN) -> list[Finding]:
    return list(judge_packages(packages, matches, platform, host="h", time=NOW, age_max_days=14))


def test_three_hundred_vulnerabilities_of_a_package_are_one_finding(tmp_path: Path) -> None:
    entries = {f"CVE-{number:04}": release(status="resolved", fixed_version="9-1") for number in range(300)}
    entries["CVE-9999"] = release(status="resolved", fixed_version="9-2", urgency="high")
    packages = [dpkg("linux-image", "6.1-1", "linux", "6.1-1"), dpkg("linux-headers", "6.1-1", "linux", "6.1-1")]
    path = tmp_path / "tracker.json"
    path.write_text(json.dumps({"linux": entries}))
    os.utime(path, (NOW.timestamp(), NOW.timestamp()))

    (finding,) = told(DebianTracker(path).match(packages, DEBIAN), packages)

    assert (finding.kind, finding.severity) == ("vulnerability.known", Severity.HIGH)
    assert finding.facts["binaries"] == ["linux-headers", "linux-image"]
    assert finding.facts["ids"][0] == "CVE-9999"  # type: ignore[index]
    assert (len(finding.facts["ids"]), finding.facts["ids_count"]) == (50, 301)  # type: ignore[arg-type]


def test_packages_with_nothing_to_install_are_one_finding_together(tmp_path: Path) -> None:
    entries = {f"lib{number:03}": {f"CVE-{number}": release(urgency="medium")} for number in range(200)}
    entries["lib007"]["CVE-X"] = release(urgency="critical")
    entries["lib008"]["CVE-Y"] = release(status="resolved", fixed_version="9", urgency="unimportant")
    path = tmp_path / "tracker.json"
    path.write_text(json.dumps(entries))
    os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    packages = [dpkg(name, "1-1") for name in entries]

    (finding,) = told(DebianTracker(path).match(packages, DEBIAN), packages)

    assert (finding.kind, finding.severity) == ("vulnerability.unfixed", Severity.LOW)
    assert finding.facts["packages"][0] == "lib007"  # type: ignore[index]
    assert finding.facts["packages_count"] == 200
    assert finding.facts["measured"]["count"]["value"] == 202  # type: ignore[call-overload,index]


def test_every_kind_has_words_in_both_languages() -> None:
    for lang in ("zh", "en"):
        words = Catalogue("services", lang)  # type: ignore[arg-type]
        assert [
            kind for kind in KINDS for part in ("title", "said", "advice") if not words.has(f"finding.{kind}.{part}")
        ] == []


def test_data_of_another_release_or_of_long_ago_are_no_pass(tmp_path: Path) -> None:
    old = entry("A-1", affected("lib", {"introduced": "0"}, ecosystem="Debian:11"))
    data = osv(tmp_path, {**old, "modified": "2026-01-01T00:00:00Z"})
    packages = [dpkg("lib", "1.0")]

    findings = told(data.match(packages, DEBIAN), packages)

    assert [finding.kind for finding in findings] == ["vulnerability.unmatched", "vulnerability.stale"]


def test_packages_that_no_order_is_known_for_are_told(tmp_path: Path) -> None:
    data = osv(tmp_path, entry("A-1", affected("lib", {"introduced": "5"})))
    packages = [dpkg("lib", "1.0"), Package("musl", "1.2.4-r2", "x86_64", "apk", "musl", "1.2.4-r2")]

    (finding,) = told(data.match(packages, DEBIAN), packages)

    assert (finding.kind, finding.facts["packages"]) == ("vulnerability.unmatched", ["musl"])


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[1]", b'{"a": 1}', b'{"id": 5}', b"[" * 200_000, b'{"a":' * 100_000, b"PK\3\4nonsense", b"\xff\xfe",
     b'[{"id":"x","affected":[{"ranges":[{"events":[{"introduced":5}]}]}]}]'],
)  # fmt: skip
def test_a_file_that_is_no_data_is_refused_as_such(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "data"
    path.write_bytes(data)
    for read in (
        lambda: OsvData(path).match([dpkg("a", "1")], DEBIAN),
        lambda: DebianTracker(path).match([dpkg("a", "1")], DEBIAN),
    ):
        with pytest.raises(FormatError):
            read()


def test_an_entry_of_a_zip_that_unpacks_to_more_than_any_honest_one_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.json", bytes(17 << 20))
    (tmp_path / "all.zip").write_bytes(buffer.getvalue())

    with pytest.raises(LimitError):
        OsvData(tmp_path / "all.zip").match([dpkg("a", "1")], DEBIAN)


def test_a_link_or_a_pipe_in_the_data_s_place_is_not_followed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("pipe", "link"):
        with pytest.raises((OSError, FormatError)):
            OsvData(tmp_path / name).match([dpkg("a", "1")], DEBIAN)
