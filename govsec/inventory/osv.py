"""OSV data: one JSON document a vulnerability, alone, in a list, or many in a zip as osv.dev gives them.

One idea: an entry counts for a package when it names its ecosystem and its name (the source package's, or, as some rpm
distributions do, the binary's), and is judged by the events of its ranges in the order of the package's own manager.

Source: Open Source Vulnerability format, version 1.7, "Evaluation" (https://ossf.github.io/osv-schema/).
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cmp_to_key
from pathlib import Path

import msgspec

from govsec.clock import parse_time
from govsec.errors import FormatError, LimitError
from govsec.host.tables import Package
from govsec.inventory.api import Known, Matches, Platform, State
from govsec.inventory.versions import Compare, compare_dpkg, compare_rpm
from govsec.localfile import read_bounded

#: One document, or a list of them.
_DOCUMENT_SIZE_MAX = 256 << 20
_MEMBER_SIZE_MAX = 16 << 20
_ZIP_SIZE_MAX = 4 << 30
#: Debian's has about 60,000, all of OSV a few million.
_MEMBERS_MAX = 2_000_000
_UNPACKED_SIZE_MAX = 32 << 30
_KNOWN_MAX = 5000
_SUMMARY_MAX = 200
_COMPARES: Mapping[str, Compare] = {"dpkg": compare_dpkg, "rpm": compare_rpm}


class _Event(msgspec.Struct):
    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None


class _Range(msgspec.Struct):
    type: str = ""
    events: list[_Event] = []


class _Named(msgspec.Struct):
    name: str = ""
    ecosystem: str = ""


class _Urgency(msgspec.Struct):
    urgency: object = None
    severity: object = None


class _Affected(msgspec.Struct):
    package: _Named | None = None
    ranges: list[_Range] = []
    versions: list[str] = []
    ecosystem_specific: _Urgency | None = None
    database_specific: _Urgency | None = None


class _Entry(msgspec.Struct):
    id: str
    modified: str = ""
    withdrawn: str | None = None
    aliases: list[str] = []
    upstream: list[str] = []
    summary: str = ""
    details: str = ""
    affected: list[_Affected] = []
    database_specific: _Urgency | None = None


@dataclass(frozen=True, slots=True)
class _Installed:
    version: str
    source: str
    compare: Compare


class OsvData:
    """The data in a file, a zip or JSON; each call reads it anew, one entry at a time.

    ``ecosystem``: in place of what the platform says, as ``openEuler:24.03-LTS``.
    """

    def __init__(self, path: Path, ecosystem: str = "") -> None:
        self._path = path
        self._ecosystem = ecosystem

    def match(self, packages: Iterable[Package], platform: Platform) -> Matches:
        """Raises also ``OSError`` when the file cannot be read."""
        installed = _by_name(packages)
        ecosystems = frozenset([self._ecosystem]) if self._ecosystem else frozenset(ecosystems_of(platform))
        counters: Counter[str] = Counter()
        known: dict[str, dict[str, Known]] = {}
        newest: datetime | None = None
        has_release = False
        for entry in self._entries(counters):
            counters["entries_read"] += 1
            newest = max(filter(None, (newest, _time(entry.modified))), default=None)
            if entry.withdrawn:
                counters["withdrawn"] += 1
                continue
            for affected in entry.affected:
                if affected.package is None or affected.package.ecosystem not in ecosystems:
                    continue
                has_release = True
                for one in installed.get(affected.package.name, ()):
                    found = _judge(entry, affected, one)
                    if found is not None:
                        _keep(known.setdefault(one.source, {}), found, counters)
        sources = {one.source for group in installed.values() for one in group}
        listed = {source: tuple(sorted(each.values(), key=lambda one: one.id)) for source, each in known.items()}
        return Matches(listed, len(sources), has_release, newest, False, dict(counters))

    def _entries(self, counters: Counter[str]) -> Iterator[_Entry]:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise FormatError(f"{self._path.name}: not a regular file")
            is_zip = file.read(4) == b"PK\3\4"
            if is_zip:
                if status.st_size > _ZIP_SIZE_MAX:
                    raise LimitError(f"{self._path.name}: larger than {_ZIP_SIZE_MAX} bytes")
                yield from _members(file, self._path.name, counters)
                return
        yield from _documents(read_bounded(self._path, _DOCUMENT_SIZE_MAX), self._path.name)


def ecosystems_of(platform: Platform) -> tuple[str, ...]:
    """OSV's names for a distribution's release; none for one that OSV does not have."""
    major = platform.version.partition(".")[0]
    names = {
        "debian": (f"Debian:{major}",),
        "ubuntu": (f"Ubuntu:{platform.version}:LTS", f"Ubuntu:{platform.version}"),
        "rocky": (f"Rocky Linux:{major}",),
        "almalinux": (f"AlmaLinux:{major}",),
        "openeuler": (f"openEuler:{platform.version}", f"openEuler:{platform.version}-LTS"),
        "mageia": (f"Mageia:{major}",),
    }
    return names.get(platform.id.lower(), ())


def _by_name(packages: Iterable[Package]) -> dict[str, tuple[_Installed, ...]]:
    """Every version that stands under a name: as source package, and, of rpm, as binary."""
    found: dict[str, dict[tuple[str, str], _Installed]] = {}
    for package in packages:
        compare = _COMPARES.get(package.manager)
        if compare is None:
            continue
        names = [(package.source, package.source_version)]
        if package.manager == "rpm":
            names.append((package.name, package.version))
        for name, version in names:
            found.setdefault(name, {})[(version, package.source)] = _Installed(version, package.source, compare)
    return {name: tuple(each.values()) for name, each in found.items()}


def _judge(entry: _Entry, affected: _Affected, one: _Installed) -> Known | None:
    ranges = [each for each in affected.ranges if each.type == "ECOSYSTEM" and each.events]
    fixes = [fix for each in ranges if (fix := _fix(each, one)) is not None]
    is_listed = one.version in affected.versions
    if not ranges and not affected.versions:
        state, fixed = State.UNDETERMINED, ""
    elif not fixes and not is_listed:
        return None
    else:
        fixed = min((fix for fix in fixes if fix), key=cmp_to_key(one.compare), default="")
        state = State.FIX if fixed else State.NO_FIX
    urgency = _urgency(affected.ecosystem_specific, affected.database_specific, entry.database_specific)
    if urgency == "end-of-life":
        state = State.ENDED
    aliases = tuple(alias[:80] for alias in (*entry.aliases, *entry.upstream)[:20])
    summary = " ".join((entry.summary or entry.details[:1000]).split())[:_SUMMARY_MAX]
    return Known(entry.id[:80], aliases, state, fixed[:100], urgency, summary)


def _fix(events: _Range, one: _Installed) -> str | None:
    """The version that mends it, empty when none does; None when this version is outside of the range."""
    key = cmp_to_key(one.compare)
    marks = [(each.introduced, 0) for each in events.events if each.introduced is not None]
    marks += [(each.fixed, 1) for each in events.events if each.fixed is not None]
    marks += [(each.last_affected, 2) for each in events.events if each.last_affected is not None]
    is_affected = False
    for version, what in sorted(marks, key=lambda mark: (mark[0] != "0", key(mark[0]))):
        order = 1 if version == "0" else one.compare(one.version, version)
        if what == 0 and order >= 0:
            is_affected = True
        elif (what == 1 and order >= 0) or (what == 2 and order > 0):
            is_affected = False
    if not is_affected:
        return None
    later = [version for version, what in marks if what == 1 and one.compare(one.version, version) < 0]
    return min(later, key=key, default="")


def _urgency(*said: _Urgency | None) -> str:
    for each in said:
        for word in (each.urgency, each.severity) if each else ():
            if isinstance(word, str) and word:
                return word.lower()[:40]
    return ""


def _keep(known: dict[str, Known], found: Known, counters: Counter[str]) -> None:
    before = known.get(found.id)
    if before is None and len(known) >= _KNOWN_MAX:
        counters["cut"] += 1
    # Of several versions of a source package, the one without a fix is the one to tell of.
    elif before is None or (before.state is State.FIX and found.state is not State.FIX):
        known[found.id] = found


def _members(file: object, name: str, counters: Counter[str]) -> Iterator[_Entry]:
    try:
        with zipfile.ZipFile(file) as archive:  # type: ignore[call-overload]  # a binary file
            members = archive.infolist()
            if len(members) > _MEMBERS_MAX:
                raise LimitError(f"{name}: more than {_MEMBERS_MAX} entries")
            unpacked = 0
            for member in members:
                if not member.filename.endswith(".json"):
                    counters["members_passed_over"] += 1
                    continue
                with archive.open(member) as opened:
                    data = opened.read(_MEMBER_SIZE_MAX + 1)
                unpacked += len(data)
                if len(data) > _MEMBER_SIZE_MAX or unpacked > _UNPACKED_SIZE_MAX:
                    raise LimitError(f"{name}: {member.filename[:80]!r}: larger than any honest entry")
                yield from _documents(data, f"{name}: {member.filename[:80]}")
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError) as error:
        raise FormatError(f"{name}: no zip that can be read: {error}") from error


def _documents(data: bytes, name: str) -> Iterator[_Entry]:
    """One entry, a list of them, or ``{"vulns": […]}`` as osv.dev answers."""
    try:
        head = data.lstrip()[:1]
        if head == b"[":
            yield from msgspec.json.decode(data, type=list[_Entry])
            return
        try:
            yield msgspec.json.decode(data, type=_Entry)
        except msgspec.ValidationError:
            yield from msgspec.json.decode(data, type=dict[str, list[_Entry]]).get("vulns", [])
    except (msgspec.DecodeError, RecursionError) as error:
        raise FormatError(f"{name}: no OSV entry: {error}") from error


def _time(text: str) -> datetime | None:
    try:
        return parse_time(text)
    except ValueError:
        return None
