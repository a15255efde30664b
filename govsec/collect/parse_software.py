"""Processes and packages: what is asked of a host, and how its answers are read."""

from __future__ import annotations

from collections import Counter

from pydantic import JsonValue

from govsec.collect.probes_services import PackagesProbe, ProcessesProbe
from govsec.collect.readers import texts
from govsec.collect.sources import NoFactError, Reading, Source

NAMES_MAX = 1000
#: "user name" of each process; never an argument. Without ps(1) or with busybox's, from /proc.
RUNNING = Source(
    "running",
    """if have ps && lim ps -A -o user:32= -o comm=; then exit 0; fi
for d in /proc/[0-9]*; do
  read -r c <"$d/comm" || continue
  set -- $(stat -c %U "$d"); printf '%s %s\\n' "${1:-?}" "$c"
done""",
)


def running(reading: Reading) -> list[tuple[str, str]]:
    """User and name of each process."""
    rows = []
    for line in reading.text("running").split("\n"):
        user, _, name = line.strip().partition(" ")
        if name.strip():
            rows.append((user, name.strip()))
    return rows


def running_names(reading: Reading) -> frozenset[str] | None:
    """Names of the processes; None where the host cannot say."""
    return None if reading.maybe("running") is None else frozenset(name for _, name in running(reading))


def processes_sources(probe: ProcessesProbe) -> tuple[Source, ...]:
    """All processes."""
    return (RUNNING,)


def parse_processes(probe: ProcessesProbe, reading: Reading) -> JsonValue:
    """See :class:`ProcessesProbe`."""
    rows = running(reading)
    if not rows:
        raise NoFactError("error", "the host named no process")
    counts = Counter(name for _, name in rows)
    processes: dict[str, JsonValue] = {
        name: {
            "count": counts[name[:15]],
            "users": texts(sorted({user for user, process in rows if process == name[:15]})),
        }
        for name in probe.names
    }
    return {
        "processes": processes,
        "total": len(rows),
        "names": texts(sorted(counts)[:NAMES_MAX]),
        "root_count": sum(user == "root" for user, _ in rows),
    }


PACKAGES = Source(
    "packages",
    """if have dpkg-query && [ -s /var/lib/dpkg/status ]; then
  echo dpkg; lim dpkg-query -W -f '${db:Status-Status}\\t${Package}\\t${Version}\\t${Architecture}\\n'
elif have rpm && [ -d /var/lib/rpm -o -d /usr/lib/sysimage/rpm ]; then
  echo rpm; lim rpm -qa --qf 'installed\\t%{NAME}\\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\t%{ARCH}\\n'
elif [ -r /lib/apk/db/installed ]; then
  echo apk
  awk -F: '/^P:/ { p = $2 } /^V:/ { v = $2 } /^A:/ { print "installed\\t" p "\\t" v "\\t" $2 }' /lib/apk/db/installed
else exit 90; fi""",
    timeout_s=10,
    size_max=2 << 20,
)


def packages_sources(probe: PackagesProbe) -> tuple[Source, ...]:
    """All installed packages, once for every probe."""
    return (PACKAGES,)


def installed_packages(reading: Reading) -> tuple[str, dict[str, tuple[str, str]]]:
    """The manager, and version and architecture by name."""
    manager, *lines = reading.text("packages").split("\n")
    installed = {}
    for line in lines:
        words = line.split("\t")
        if len(words) == 4 and words[0] == "installed" and words[1]:
            installed[words[1]] = (words[2].removeprefix("0:"), words[3])
    if manager not in ("dpkg", "rpm", "apk") or not installed:
        raise NoFactError("error", "the host named no installed package")
    return manager, installed


def parse_packages(probe: PackagesProbe, reading: Reading) -> JsonValue:
    """See :class:`PackagesProbe`."""
    manager, installed = installed_packages(reading)
    named: dict[str, JsonValue] = {
        name: {"version": installed[name][0], "architecture": installed[name][1]}
        for name in probe.names
        if name in installed
    }
    return {
        "manager": manager,
        "count": len(installed),
        "installed": named,
        "missing": texts(name for name in probe.names if name not in installed),
    }
