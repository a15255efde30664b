"""Lists of indicators: known bad addresses, networks, domains, fingerprints and hashes, from plain and CSV files.

One idea: a list is somebody else's word, so each entry keeps where it came from (file, line, and what the list says)
and ends when the list is older than it may be. A list is hostile until read: size, lines and entries are bounded, what
is no indicator is counted and named, and what would match everybody is refused (a network wider than /8 or /16, a
public suffix alone, our own networks).

Plain file: one indicator a line, ``#`` begins a comment. CSV: a header line that names a column ``indicator`` (or
``value``), and may name ``kind``, ``description``, ``expires`` (RFC 3339 or a date). Kinds are told by form::

    192.0.2.7  2001:db8::1          address          d41d8cd98f00b204e9800998ecf8427e   32 hex digits: JA3, HASSH
    192.0.2.0/24                    network          t13d1516h2_8daaf6152771_e5627efa2ab1   JA4
    bad.example                     domain, and all below it (suffix)
    64 hex digits                   SHA-256 of a certificate
"""

from __future__ import annotations

import csv
import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from govsec.clock import parse_time
from govsec.errors import ConfigurationError

_SIZE_MAX = 64 << 20
_LINE_MAX = 4096
_SECOND_NS = 1_000_000_000
_ENTRIES_MAX = 1_000_000
_PROBLEMS_MAX = 20
_PREFIX_MIN = {4: 8, 6: 16}
_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+")
_JA4 = re.compile(r"[tqd][0-9a-z]{2}[di][0-9]{4}[0-9a-z]{2}_[0-9a-f]{12}_[0-9a-f]{12}")
_HEX = re.compile(r"[0-9a-f]+")
_HASHES = {32: "fingerprint", 64: "sha256"}
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Indicator:
    """One entry: what it is, who says so (``source``: file and line), what they say, and when it ends."""

    kind: str
    value: str
    source: str
    description: str = ""
    expires_ns: int | None = None


@dataclass(frozen=True, slots=True)
class _Stamp:
    """By what a change of a file is seen."""

    inode: int
    size: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class IndicatorList:
    """What a file gave. ``problems``: its first lines that are no indicator; ``refused_count``: all of them."""

    path: Path
    indicators: tuple[Indicator, ...]
    problems: tuple[str, ...]
    refused_count: int
    counts: Mapping[str, int]


class IndicatorFiles:
    """The lists of a site; read again when a file changed.

    Entries without an end of their own end ``ttl_s`` after their file was changed.

    Raises:
        ConfigurationError: one of them cannot be read at the beginning.
    """

    def __init__(self, paths: Sequence[Path], *, ttl_s: int) -> None:
        self._ttl_s = ttl_s
        self._paths = tuple(paths)
        self._lists: dict[Path, tuple[_Stamp, IndicatorList]] = {}
        # At once, so that a list that cannot be read is an error of the configuration and not of some later night.
        for path in self._paths:
            self._read(path, _stamp(path))

    def reload(self) -> tuple[bool, list[str]]:
        """Whether a list changed, and what is wrong with those that cannot be read; these stay as they were."""
        is_changed, problems = False, []
        for path in self._paths:
            try:
                stamp = _stamp(path)
                if self._lists[path][0] != stamp:
                    self._read(path, stamp)
                    is_changed = True
            except ConfigurationError as error:
                problems.append(str(error))
        return is_changed, problems

    def indicators(self) -> list[Indicator]:
        """All entries in force."""
        return [entry for _, entries in self._lists.values() for entry in entries.indicators]

    @property
    def refused_count(self) -> int:
        """Lines of all lists that are no indicator."""
        return sum(entries.refused_count for _, entries in self._lists.values())

    def _read(self, path: Path, stamp: _Stamp) -> None:
        expires_ns = stamp.changed_ns + self._ttl_s * _SECOND_NS
        self._lists[path] = (stamp, read_list(path, expires_ns=expires_ns))


def read_list(path: Path, *, expires_ns: int | None = None) -> IndicatorList:
    """The indicators in a plain or CSV file; ``expires_ns`` is the end of those that have none of their own.

    Raises:
        ConfigurationError: it cannot be read, or is larger than any honest list.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    if len(data) > _SIZE_MAX:
        raise ConfigurationError(f"{path}: larger than {_SIZE_MAX} bytes")
    return parse_list(path, data.decode("utf-8-sig", "replace"), expires_ns=expires_ns)


def parse_list(path: Path, text: str, *, expires_ns: int | None = None) -> IndicatorList:
    """The indicators in the ``text`` of a file; lines that are none are counted, never an error."""
    found: dict[tuple[str, str], Indicator] = {}
    problems: list[str] = []
    refused_count = 0
    for number, value, description, expires in _entries(text):
        try:
            if len(found) >= _ENTRIES_MAX:
                raise ValueError(f"more than {_ENTRIES_MAX} entries")
            kind, canonical = classify(value)
            end_ns = _end(expires) if expires else expires_ns
        except ValueError as error:
            refused_count += 1
            if len(problems) < _PROBLEMS_MAX:
                problems.append(f"line {number}: {error}")
            continue
        entry = Indicator(kind, canonical, f"{path.name}:{number}", description[:200], end_ns)
        found.setdefault((kind, canonical), entry)
    entries = tuple(found.values())
    return IndicatorList(path, entries, tuple(problems), refused_count, Counter(entry.kind for entry in entries))


def classify(text: str) -> tuple[str, str]:
    """Kind and canonical form of an indicator.

    Raises:
        ValueError: it is none, or would match far too much.
    """
    value = text.strip().lower().rstrip(".").replace("[.]", ".")  # lists defang names so that nobody clicks them
    if not value or len(value) > 255:
        raise ValueError("empty or too long")
    if (network := _network(value)) is not None:
        return _address_kind(network)
    if _HEX.fullmatch(value) and len(value) in _HASHES:
        return _HASHES[len(value)], value
    if _JA4.fullmatch(value):
        return "ja4", value
    name = _ascii(value.removeprefix("*."))
    if _DOMAIN.fullmatch(name) and not name.rpartition(".")[2].isdigit():
        return "domain", name
    raise ValueError(f"neither address, network, domain, fingerprint nor hash: {text.strip()[:60]!r}")


def _address_kind(network: Network) -> tuple[str, str]:
    if network.is_loopback or network.is_multicast or network.is_unspecified or network.is_link_local:
        raise ValueError(f"an address of everybody: {network}")
    if network.prefixlen == network.max_prefixlen:
        return "address", str(network.network_address)
    if network.prefixlen < _PREFIX_MIN[network.version]:
        raise ValueError(f"network wider than /{_PREFIX_MIN[network.version]}: {network}")
    return "network", str(network)


def _network(value: str) -> Network | None:
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        return None


def _ascii(name: str) -> str:
    """Names in Chinese as they stand in DNS (RFC 5891 by the older rules of Python's codec)."""
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"not a name of DNS: {name[:60]!r}") from error


def _entries(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Number, indicator, description and end of each line that has an indicator."""
    lines = text.splitlines()
    header = next((number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
    columns = _columns(lines[header]) if header is not None else None
    if header is None:
        return
    for number, line in enumerate(lines, 1):
        if columns is not None and number <= header + 1:
            continue
        if len(line) > _LINE_MAX:
            yield number, "", "", ""
        elif columns is None:
            value = line.partition("#")[0].strip()
            if value:
                yield number, value, line.partition("#")[2].strip(), ""
        elif line.strip() and not line.startswith("#"):
            yield number, *_cells(line, columns)


def _columns(line: str) -> Mapping[str, int] | None:
    """Where a CSV's columns are; None when this is no header of one."""
    names = [name.strip().lower() for name in _split(line)]
    found: dict[str, int] = {
        name: names.index(name) for name in ("indicator", "value", "description", "expires") if name in names
    }
    return found if "indicator" in found or "value" in found else None


def _cells(line: str, columns: Mapping[str, int]) -> tuple[str, str, str]:
    cells = _split(line)

    def cell(name: str) -> str:
        at = columns.get(name)
        return cells[at].strip() if at is not None and at < len(cells) else ""

    return cell("indicator") or cell("value"), cell("description"), cell("expires")


def _split(line: str) -> Sequence[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:  # an unclosed quote, or a NUL: the line is no indicator, and is told as one that is none
        return []


def _end(text: str) -> int:
    end = parse_time(text if "T" in text else f"{text}T00:00:00Z")
    return int((end - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * _SECOND_NS


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    return _Stamp(status.st_ino, status.st_size, status.st_mtime_ns)
