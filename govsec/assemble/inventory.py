"""The packages of this machine: held against vulnerability data in a file, or written down as a bill of materials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from govsec.clock import Clock, from_ns
from govsec.errors import ConfigurationError, CoverageError
from govsec.findings.quiet import Quiet
from govsec.host.snapshot import take
from govsec.host.tables import HostSnapshot, Package, TableName, Unavailable
from govsec.inventory.api import Matches, Platform, VulnerabilityData
from govsec.inventory.findings import judge_packages
from govsec.inventory.osv import OsvData
from govsec.inventory.sbom import SpecVersion, write_sbom
from govsec.inventory.tracker import DebianTracker
from govsec.records import Finding

#: Data that are fetched every week are never older.
AGE_MAX_DAYS = 14.0


@dataclass(frozen=True, slots=True)
class Inventory:
    """What became of the packages. ``gaps``: what the list of packages lacks."""

    packages: tuple[Package, ...]
    matches: Matches
    findings: tuple[Finding, ...]
    gaps: tuple[str, ...]


def read_inventory(clock: Clock, root: Path = Path("/")) -> HostSnapshot:
    """A snapshot with nothing but packages.

    Raises:
        CoverageError: they cannot be read; the message says why.
    """
    snapshot = take(clock, tables=frozenset({TableName.PACKAGES}), root=root)
    packages_of(snapshot)
    return snapshot


def packages_of(snapshot: HostSnapshot) -> tuple[Package, ...]:
    """The packages of a snapshot.

    Raises:
        CoverageError: they could not be read.
    """
    if isinstance(snapshot.packages, Unavailable):
        raise CoverageError(f"packages: {snapshot.packages.reason}")
    return snapshot.packages


def match_packages(
    snapshot: HostSnapshot,
    data: Sequence[Path],
    *,
    ecosystem: str = "",
    age_max_days: float = AGE_MAX_DAYS,
    quiet: Quiet | None = None,
) -> Inventory:
    """Hold a snapshot's packages against files of vulnerability data; each is read as what it is.

    Raises:
        ConfigurationError: a file cannot be read. FormatError, LimitError: it is no data of a kind that is known.
        CoverageError: the snapshot has no packages.
    """
    packages, platform = packages_of(snapshot), platform_of(snapshot)
    findings: dict[str, Finding] = {}
    merged: Matches | None = None
    for path in data:
        try:
            matches = _open(path, ecosystem).match(packages, platform)
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}") from error
        merged = matches if merged is None else _merge(merged, matches)
    if merged is None:
        raise ConfigurationError("no file of vulnerability data was named")
    time = from_ns(snapshot.time_ns)
    for finding in judge_packages(packages, merged, platform, host=snapshot.name, time=time, age_max_days=age_max_days):
        if quiet is None or not quiet.covers(finding):
            findings[str(finding.facts["pattern"])] = finding
    gaps = tuple(f"{gap.reason} ({gap.count})" for gap in snapshot.gaps if gap.table is TableName.PACKAGES)
    return Inventory(packages, merged, tuple(findings.values()), gaps)


def sbom_of(snapshot: HostSnapshot, *, version: SpecVersion = "1.6", matches: Matches | None = None) -> bytes:
    """The packages of a snapshot as CycloneDX; with ``matches``, also what is known of them.

    Raises:
        CoverageError: the snapshot has no packages.
    """
    return write_sbom(
        packages_of(snapshot),
        platform_of(snapshot),
        host=snapshot.name,
        time_ns=snapshot.time_ns,
        version=version,
        known=matches.known if matches is not None else None,
    )


def platform_of(snapshot: HostSnapshot) -> Platform:
    """The distribution that the packages are of."""
    return Platform(snapshot.machine.os_id, snapshot.machine.os_version, snapshot.machine.os_codename)


def _open(path: Path, ecosystem: str) -> VulnerabilityData:
    """By what the file says: the tracker has an object of objects, OSV an entry with an id, a list, or a zip."""
    with path.open("rb") as file:
        head = file.read(4096)
    is_osv = head.startswith(b"PK\3\4") or head.lstrip().startswith(b"[") or _is_entry(head)
    return OsvData(path, ecosystem) if is_osv else DebianTracker(path)


def _is_entry(head: bytes) -> bool:
    """An OSV document is an object whose values are texts and lists; the tracker's are objects."""
    begin = head.lstrip()
    after_key = begin[1:].lstrip().partition(b":")[2].lstrip()
    return begin.startswith(b"{") and not after_key.startswith(b"{")


def _merge(one: Matches, other: Matches) -> Matches:
    known = dict(one.known)
    for source, found in other.known.items():
        ids = {each.id for each in known.get(source, ())}
        ids |= {alias for each in known.get(source, ()) for alias in each.aliases}
        known[source] = (*known.get(source, ()), *(each for each in found if each.id not in ids))
    dates = [date for date in (one.newest, other.newest) if date is not None]
    counters = {**one.counters}
    for name, count in other.counters.items():
        counters[name] = counters.get(name, 0) + count
    return Matches(
        known=known,
        packages=max(one.packages, other.packages),
        has_release=one.has_release or other.has_release,
        newest=min(dates, default=None),
        is_file_date=one.is_file_date or other.is_file_date,
        counters=counters,
    )
