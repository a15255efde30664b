"""The real rpm on a scratch root: packages that are built for a test, installed and upgraded there, and what rpm says.

rpm goes into the root by chroot(2), so it needs root; of what lies in there it starts nothing.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.support.require import require, require_root

_TIMEOUT_S = 300
_OTHER_ORDER = "big" if sys.byteorder == "little" else "little"
_SPEC = """\
Name: {name}
Version: {version}
Release: 1
Summary: x
License: MIT
BuildArch: noarch
%description
x
{scripts}
%install
{install}
%files
{files}
"""


def build_rpm(
    folder: Path, name: str, version: str, install: str, files: str, *, scripts: str = "", algorithm: int = 8
) -> Path:
    """A package. ``install``: shell lines that fill ``%{buildroot}``; ``algorithm``: of digests, by RFC 4880, 9.4."""
    require("rpm")
    top = folder / f"{name}-{version}-{algorithm}"
    top.mkdir(parents=True)
    spec = top / "package.spec"
    spec.write_text(_SPEC.format(name=name, version=version, install=install, files=files, scripts=scripts))
    defines = {"_topdir": str(top), "_tmppath": str(top), "_binary_filedigest_algorithm": str(algorithm)}
    options = [part for key, value in defines.items() for part in ("--define", f"{key} {value}")]
    _run(["rpmbuild", "-bb", "--quiet", "--nodeps", *options, str(spec)])
    (built,) = (top / "RPMS").glob("*/*.rpm")
    return built


class RpmRoot:
    """A root with a database of rpm at ``dbpath`` in it."""

    def __init__(self, root: Path, dbpath: str = "/var/lib/rpm") -> None:
        require("rpm")
        require_root()
        self.root = root
        self.database = root / dbpath[1:] / "rpmdb.sqlite"
        self.database.parent.mkdir(parents=True, exist_ok=True)
        self._argv = ["rpm", "--root", str(root), "--dbpath", dbpath]

    def install(self, *packages: Path) -> None:
        """Beside what is there."""
        _run(self.install_argv(*packages))

    def install_argv(self, *packages: Path) -> list[str]:
        """What installs packages, and runs their scripts that rpm has an interpreter of its own for."""
        return [*self._argv, "--nodeps", "--nosignature", "-i", *map(str, packages)]

    def upgrade(self, *packages: Path) -> None:
        """In the place of other versions."""
        _run([*self._argv, "--nodeps", "--nosignature", "--noscripts", "-U", *map(str, packages)])

    def erase(self, *names: str) -> None:
        """Remove packages."""
        _run([*self._argv, "--nodeps", "--noscripts", "-e", *names])

    def copy_to_berkeley_db(self, path: Path, *, is_swapped: bool = False) -> None:
        """The same packages in the form that rpm had before 4.17; ``is_swapped``: from a machine of the other order."""
        with sqlite3.connect(self.database) as opened:
            rows = opened.execute("SELECT hnum, blob FROM Packages").fetchall()
        opened.close()
        write_berkeley_db(path, rows, is_swapped=is_swapped)

    def says(self, *arguments: str) -> list[str]:
        """The lines of a query."""
        return _run([*self._argv, "-q", *arguments]).splitlines()

    def says_of_berkeley_db(self, folder: str, *arguments: str) -> list[str]:
        """The lines of a query to a copy of the packages, through rpm's own reader of the old form."""
        argv = ["rpm", "--root", str(self.root), "--dbpath", folder, "--define", "_db_backend bdb_ro", "-q", *arguments]
        return _run(argv).splitlines()


def write_berkeley_db(
    path: Path, rows: Iterable[tuple[int, bytes]], *, page_size: int = 4096, is_swapped: bool = False
) -> None:
    """Headers by number as Berkeley DB itself writes them, which is how rpm kept them before 4.17."""
    require("db_load")
    order = {"little": 1234, "big": 4321}[_OTHER_ORDER if is_swapped else sys.byteorder]
    head = [
        "VERSION=3",
        "format=bytevalue",
        "type=hash",
        f"db_lorder={order}",
        f"db_pagesize={page_size}",
        "HEADER=END",
    ]
    # The number that rpm gives next stands under 0.
    pairs = [(number.to_bytes(4, sys.byteorder), blob) for number, blob in [(0, b"\1\0\0\0"), *rows]]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    text = "\n".join([*head, *(f" {one.hex()}" for pair in pairs for one in pair), "DATA=END", ""])
    _run(["db_load", str(path)], text)


def _run(argv: list[str], text: str = "") -> str:
    ended = subprocess.run(argv, check=False, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S)
    assert ended.returncode == 0, f"{argv}: {ended.stdout}{ended.stderr}"
    return ended.stdout
