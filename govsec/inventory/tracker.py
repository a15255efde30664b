"""The Debian security tracker's data: one JSON document, by source package, vulnerability and release.

::

    {"openssl": {"CVE-2022-0778": {"description": "…", "releases": {"bookworm":
        {"status": "resolved" | "open" | "undetermined", "fixed_version": "1.1.1n-0+deb11u2", "urgency": "high", …}}}}}

``fixed_version`` 0: the release was never affected. The document is large; it is split by package without reading what
is in between, and only packages that are installed are read.

Source: https://security-tracker.debian.org/tracker/data/json and its page "Security Tracker: data formats".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from govsec.clock import from_ns
from govsec.errors import FormatError
from govsec.host.tables import Package
from govsec.inventory.api import Known, Matches, Platform, State
from govsec.inventory.versions import compare_dpkg
from govsec.localfile import read_bounded

#: It has 70 MB in 2026.
SIZE_MAX = 512 << 20
_KNOWN_MAX = 5000
_SUMMARY_MAX = 200


class _Release(msgspec.Struct):
    status: str = ""
    fixed_version: str = ""
    urgency: str = ""


class _Entry(msgspec.Struct):
    description: str = ""
    releases: dict[str, _Release] = {}


class DebianTracker:
    """The data in a file; it is read when asked.

    Raises:
        OSError: the file cannot be read. LimitError: it is larger than any honest one. FormatError: it is not this.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        data = read_bounded(path, SIZE_MAX)
        self._date: datetime = from_ns(path.stat().st_mtime_ns)
        self._packages = split(data, path.name)

    def match(self, packages: Iterable[Package], platform: Platform) -> Matches:
        counters: Counter[str] = Counter(packages_in_data=len(self._packages))
        installed = {one.source: one.source_version for one in packages if one.manager == "dpkg"}
        known: dict[str, tuple[Known, ...]] = {}
        has_release = False
        for source, version in sorted(installed.items()):
            raw = self._packages.get(source)
            if raw is None:
                continue
            entries = self._entries(source, raw)
            counters["entries_read"] += len(entries)
            has_release = has_release or any(platform.codename in entry.releases for entry in entries.values())
            found = list(_known(entries, version, platform.codename))
            if len(found) > _KNOWN_MAX:
                counters["cut"] += len(found) - _KNOWN_MAX
            if found:
                known[source] = tuple(found[:_KNOWN_MAX])
        return Matches(known, len(installed), has_release, self._date, True, dict(counters))

    def _entries(self, source: str, raw: bytes) -> dict[str, _Entry]:
        try:
            return msgspec.json.decode(raw, type=dict[str, _Entry])
        except (msgspec.DecodeError, RecursionError) as error:
            raise FormatError(f"{self._name}: package {source[:80]!r} is no entry of the tracker: {error}") from error


def split(data: bytes, name: str) -> dict[str, bytes]:
    """The values of a JSON object by key, unread.

    Raises:
        FormatError: it is no JSON object.
    """
    try:
        found = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        raise FormatError(f"{name}: not a JSON object: {error}") from error
    values = {key: bytes(value).lstrip() for key, value in found.items()}
    if not all(value.startswith(b"{") for value in values.values()):
        raise FormatError(f"{name}: not an object of objects, as the tracker's data are")
    return values


def _known(entries: dict[str, _Entry], version: str, codename: str) -> Iterator[Known]:
    for number, entry in sorted(entries.items()):
        release = entry.releases.get(codename)
        if release is None:
            continue
        state = _state(release, version)
        if state is not None:
            fixed = release.fixed_version if state is State.FIX else ""
            summary = entry.description.strip()[:_SUMMARY_MAX]
            yield Known(number[:80], (), state, fixed, release.urgency.strip("*").lower()[:40], summary)


def _state(release: _Release, version: str) -> State | None:
    """None: this version is not affected."""
    if release.fixed_version == "0":
        return None
    if release.status == "resolved":
        if not release.fixed_version:
            return State.UNDETERMINED
        return State.FIX if compare_dpkg(version, release.fixed_version) < 0 else None
    if release.urgency == "end-of-life":
        return State.ENDED
    return State.NO_FIX if release.status == "open" else State.UNDETERMINED
