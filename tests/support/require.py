"""Counterparts that the tests meet for real: stock restic, S3 servers. What is missing is named and skipped.

With ``GOVSEC_TEST_REQUIRE=all`` a missing counterpart fails the test: the suite that gates a release skips nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

#: Name -> the programs that must be there.
COUNTERPARTS: dict[str, tuple[str, ...]] = {
    "restic": ("restic",),
    "borg": ("borg",),
    "seaweedfs": ("weed",),
    "ceph": ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin"),
    "setfattr": ("setfattr", "getfattr"),
    "setfacl": ("setfacl", "getfacl"),
    "sqlite3": ("sqlite3",),
    "chromium": ("chromium",),
    "dash": ("dash",),
    "bash": ("bash",),
    "busybox": ("busybox",),
    "sudo": ("sudo", "unshare", "setpriv"),
    "logrotate": ("/usr/sbin/logrotate", "gzip", "bzip2", "xz", "zstd"),
    "rsyslog": ("/usr/sbin/rsyslogd",),
    "sshd": ("/usr/sbin/sshd", "ssh-keygen"),
    "nginx": ("/usr/sbin/nginx", "openssl"),
    "mariadb": ("/usr/sbin/mariadbd", "mariadb", "mariadb-install-db"),
    "ip": ("/usr/sbin/ip",),
    "systemd-analyze": ("systemd-analyze",),
    "man": ("man", "groff"),
    "nft": ("/usr/sbin/nft", "unshare"),
    "iptables": ("/usr/sbin/iptables", "/usr/sbin/ip6tables", "unshare"),
    "tcpreplay": ("/usr/bin/tcpreplay",),
    "rpm": ("rpm", "rpmbuild"),
    "db_load": ("db_load",),
    "postgresql": ("postgres", "psql", "initdb"),
}


def require(name: str) -> Path:
    """The path of the counterpart's (first) program; skips the test, or fails it, when it is not installed."""
    found = [_which(program) for program in COUNTERPARTS[name]]
    if None in found:
        missing(name, f"no {' '.join(COUNTERPARTS[name])} on this machine (make servers)")
    assert found[0] is not None  # missing() does not return
    return found[0]


def require_root() -> None:
    """Skips, or fails, a test that needs the rights of root (devices, owners, ports of Ceph)."""
    if os.geteuid() != 0:
        missing("root", "the tests do not run as root")


def missing(name: str, why: str) -> NoReturn:
    """Skip for want of ``name``, or fail when nothing may be missing."""
    if os.environ.get("GOVSEC_TEST_REQUIRE") == "all":
        pytest.fail(f"required counterpart is missing: {name}: {why}", pytrace=False)
    pytest.skip(f"{name}: {why}")


def _which(program: str) -> Path | None:
    # Wheels put their programs beside the interpreter, which need not be on PATH.
    # Debian keeps PostgreSQL's server outside of PATH, one folder a version.
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    folders += sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    found = shutil.which(program, path=os.pathsep.join(folders))
    return Path(found) if found else None
