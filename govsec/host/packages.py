"""Installed packages, from the databases of dpkg, rpm and apk, without starting any of them.

One idea: the database is a file, and is read as a hostile one: bounded, never run, never waited for. What a machine has
besides, in a form that is not read here, is named: packages that nobody looked at must not look like none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from govsec.errors import FormatError, GovsecError
from govsec.host.rpmdb import RPM_DATABASES, read_rpm_database
from govsec.host.tables import Package, TableName
from govsec.host.tree import Gaps, Tree, reason_of

PACKAGES_MAX = 100_000
_DATABASE_BYTES_MAX = 256 << 20
_DPKG = "/var/lib/dpkg/status"
#: Systems made of few packages have one file each (distroless images).
_DPKG_PIECES = "/var/lib/dpkg/status.d"
_APK = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
#: States of dpkg in which the package's files are not there.
_ABSENT = ("not-installed", "config-files")
_NOT_READ = {
    "/usr/lib/sysimage/rpm/Packages.db": "rpm database in the form ndb is not read",
    "/var/lib/rpm/Packages.db": "rpm database in the form ndb is not read",
    "/var/lib/pacman/local": "database of pacman is not read",
    "/var/lib/snapd/snaps": "snaps are not read",
    "/var/lib/flatpak/app": "flatpaks are not read",
}


def read_packages(tree: Tree, gaps: Gaps) -> tuple[Package, ...]:
    """Every installed package of every database that is known, by manager and name.

    Raises:
        FormatError: there is none that can be read; the message says what there is.
    """
    rows: list[Package] = []
    problems = []
    found = False
    readers: list[tuple[str, Callable[[Tree, str, Gaps], Iterator[Package]]]] = [
        (_DPKG, _dpkg),
        (_DPKG_PIECES, _dpkg_pieces),
        *((path, _apk) for path in _APK),
        *((path, _rpm) for path in RPM_DATABASES),
    ]
    for path, read in readers:
        try:
            # /var/lib/rpm is a link to the first place on some systems.
            if not Path(tree.place(path)).exists():
                continue
            for row in read(tree, path, gaps):
                if len(rows) >= PACKAGES_MAX:
                    gaps.add(TableName.PACKAGES, f"more than {PACKAGES_MAX} packages")
                    continue
                rows.append(row)
            found = True
        except (OSError, GovsecError) as error:
            problems.append(f"{path}: {reason_of(error)}")
    for path, reason in _NOT_READ.items():
        if _is_there(tree, path):
            problems.append(reason)
    if not found:
        raise FormatError("; ".join(dict.fromkeys(problems)) or "no database of packages that is known")
    for problem in dict.fromkeys(problems):
        gaps.add(TableName.PACKAGES, problem, 0)
    return tuple(sorted(set(rows), key=lambda row: (row.manager, row.name, row.architecture, row.version)))


def _is_there(tree: Tree, path: str) -> bool:
    try:
        place = Path(tree.place(path))
        return place.is_file() or any(place.iterdir())
    except OSError:
        return False


def _dpkg(tree: Tree, path: str, gaps: Gaps) -> Iterator[Package]:
    for paragraph in tree.read_text(path, _DATABASE_BYTES_MAX).split("\n\n"):
        if paragraph.strip():
            row = _dpkg_package(paragraph)
            if row is not None:
                yield row
            elif "\nStatus:" not in "\n" + paragraph:
                gaps.add(TableName.PACKAGES, "entry of dpkg without name, version or state")


def _dpkg_pieces(tree: Tree, path: str, gaps: Gaps) -> Iterator[Package]:
    for name in tree.names(path):
        if not name.endswith(".md5sums"):
            row = _dpkg_package(
                tree.read_text(f"{path}/{name}", _DATABASE_BYTES_MAX) + "\nStatus: install ok installed"
            )
            if row is not None:
                yield row
            else:
                gaps.add(TableName.PACKAGES, "entry of dpkg without name, version or state")


def _dpkg_package(paragraph: str) -> Package | None:
    """One paragraph of the status file (deb-control(5)); ``None`` when its files are not installed."""
    fields = {}
    for line in paragraph.split("\n"):
        if line[:1] not in (" ", "\t"):
            name, colon, value = line.partition(":")
            if colon:
                fields[name.lower()] = value.strip()
    name, version = fields.get("package", ""), fields.get("version", "")
    state = fields.get("status", "").rpartition(" ")[2]
    if not name or not version or not state or state in _ABSENT:
        return None
    source, _, in_brackets = fields.get("source", name).partition(" ")
    source_version = in_brackets.strip("() ") or version
    return Package(name, version, fields.get("architecture", ""), "dpkg", source, source_version)


def _apk(tree: Tree, path: str, gaps: Gaps) -> Iterator[Package]:
    """Paragraphs of lines with one letter each: P name, V version, A architecture, o origin."""
    for paragraph in tree.read_text(path, _DATABASE_BYTES_MAX).split("\n\n"):
        fields = {line[0]: line[2:] for line in paragraph.split("\n") if line[1:2] == ":" and line[0] in "PVAo"}
        if "P" in fields and "V" in fields:
            origin = fields.get("o") or fields["P"]
            yield Package(fields["P"], fields["V"], fields.get("A", ""), "apk", origin, fields["V"])
        elif paragraph.strip():
            gaps.add(TableName.PACKAGES, "entry of apk without name or version")


def _rpm(tree: Tree, path: str, gaps: Gaps) -> Iterator[Package]:
    return read_rpm_database(
        Path(tree.place(path)), lambda: gaps.add(TableName.PACKAGES, "entry of rpm that cannot be read")
    )
