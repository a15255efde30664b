"""Processes, packages and services: what is asked of a host, and how its answers are read."""

from __future__ import annotations

import re
from collections import Counter
from typing import NoReturn

from pydantic import JsonValue

from govsec.collect.probes_services import PackagesProbe, ProcessesProbe, ServicesProbe
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


def tell_silence(reading: Reading, processes: set[str], product: str) -> NoReturn:
    """Why a server gave no answer: it does not run here, or it does and may not be asked. Not knowing is the latter.

    Raises:
        NoFactError: always.
    """
    names = running_names(reading)
    if names is not None and not processes & names:
        raise NoFactError("absent", f"no server of {product} runs here")
    raise NoFactError("error", f"{product} runs, or may run, and could not be asked over its local socket")


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


UNITS = Source(
    "units",
    """if [ -d /run/systemd/system ]; then
  need systemctl; echo 'init systemd'
  mark files; lim systemctl list-unit-files --type=service,socket,timer,mount --no-legend --no-pager || exit $?
  mark units; lim systemctl list-units --all --type=service,socket,timer,mount --plain --no-legend --no-pager
  exit $?
fi
if [ -d /run/openrc ]; then echo 'init openrc'
elif [ -d /etc/rc3.d ] && read -r i </proc/1/comm && [ "$i" = init ]; then echo 'init sysv'
else echo 'init none'; fi
mark found
for f in /etc/init.d/*; do [ -x "$f" ] && echo "script ${f##*/}"; done
for f in /etc/rc[2345].d/S[0-9][0-9]*; do [ -e "$f" ] && { f=${f##*/S}; echo "starts ${f#[0-9][0-9]}"; }; done
for f in /etc/runlevels/*/*; do [ -e "$f" ] && echo "starts ${f##*/}"; done
for f in /etc/systemd/system/*.service /lib/systemd/system/*.service /usr/lib/systemd/system/*.service; do
  [ -e "$f" ] && echo "unit ${f##*/}"
done
for f in /etc/systemd/system/*.wants/*.service; do [ -e "$f" ] || [ -h "$f" ] && echo "starts ${f##*/}"; done
:""",
    size_max=1 << 20,
)


def services_sources(probe: ServicesProbe) -> tuple[Source, ...]:
    """All units or scripts, once for every probe."""
    return (UNITS, RUNNING)


def parse_services(probe: ServicesProbe, reading: Reading) -> JsonValue:
    """See :class:`ServicesProbe`."""
    parts = {record.partition("\n")[0]: record.partition("\n")[2] for record in reading.records("units")}
    init = reading.text("units").split("\n")[0].removeprefix("init ")
    if init == "systemd":
        files = {words[0]: words[1] for line in parts.get("files", "").split("\n") if len(words := line.split()) >= 2}
        active = {words[0]: words[2] for line in parts.get("units", "").split("\n") if len(words := line.split()) >= 4}
        if not files:
            raise NoFactError("error", "systemd named no unit")
        services = {name: _systemd_service(name, files, active) for name in probe.names}
        on = {name for name, state in files.items() if state in ("enabled", "enabled-runtime")}
        up = {name for name, state in active.items() if state in ("active", "reloading", "activating")}
        return _services(init, True, services, on, up)
    if init not in ("sysv", "openrc", "none"):
        raise NoFactError("error", "the host did not say what starts its services")
    listed: dict[str, set[str]] = {"script": set(), "starts": set(), "unit": set()}
    for line in parts.get("found", "").split("\n"):
        word, _, name = line.partition(" ")
        if word in listed:
            listed[word].add(name.removesuffix(".service"))
    names = running_names(reading)
    processes = set(names or ())
    services = {}
    for name in probe.names:
        bare = name.removesuffix(".service")
        present = bare in listed["script"] | listed["unit"] | listed["starts"]
        services[name] = {
            "present": present,
            "active": None if names is None else bare[:15] in processes,
            "enabled": bare in listed["starts"] if present else False,
            "state": None,
            "unit": None,
        }
    return _services(
        init, names is not None, services, listed["starts"], processes & (listed["script"] | listed["unit"])
    )


def _systemd_service(name: str, files: dict[str, str], active: dict[str, str]) -> JsonValue:
    unit = name if re.search(r"\.(service|socket|timer|mount)$", name) else f"{name}.service"
    # An instance (getty@tty1) has the file of its template (getty@).
    template = re.sub(r"@[^.]*\.", "@.", unit)
    state = files.get(unit, files.get(template))
    is_active = active.get(unit) in ("active", "reloading", "activating")
    return {
        "present": state is not None or active.get(unit) == "active",
        "active": is_active,
        # A static unit cannot be enabled; one that runs is pulled in by another.
        "enabled": state in ("enabled", "enabled-runtime", "alias")
        or (is_active and state in ("static", "indirect", "generated")),
        "state": state,
        "unit": unit if state is not None else None,
    }


def _services(init: str, complete: bool, services: dict[str, JsonValue], on: set[str], up: set[str]) -> JsonValue:
    return {
        "init": init,
        "complete": complete,
        "services": services,
        "enabled": texts(sorted(name.removesuffix(".service") for name in on)[:NAMES_MAX]),
        "running": texts(sorted(name.removesuffix(".service") for name in up)[:NAMES_MAX]),
    }
