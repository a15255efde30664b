"""Services: what starts and runs them, and whether a server that lies on a host is in use.

One rule holds for every server that has a probe of its own (sshd, nginx, Redis, Docker, PostgreSQL, MySQL). One that
neither runs nor is started by anything is ``absent`` although its files lie there: nobody reaches it, and what its
files say guards nothing. One that does not run and would start by itself is judged by its configuration where that can
be read (``running`` false in its fact), and is an ``error`` where only the server itself could have answered. A host
that cannot say is taken to run it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from govsec.collect.parse_software import NAMES_MAX, RUNNING, running_names
from govsec.collect.probes_services import ServicesProbe
from govsec.collect.readers import texts
from govsec.collect.sources import EXIT_ABSENT, NoFactError, Reading, Source

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


@dataclass(frozen=True, slots=True)
class _Units:
    """What starts services on a host. With systemd by full names of units, else by names of scripts and services."""

    init: str
    files: Mapping[str, str]  #: state of each unit file
    active: Mapping[str, str]  #: state of each unit in memory
    scripts: frozenset[str]
    unit_files: frozenset[str]
    starts: frozenset[str]


def _units(reading: Reading) -> _Units:
    parts = {record.partition("\n")[0]: record.partition("\n")[2] for record in reading.records("units")}
    init = reading.text("units").split("\n")[0].removeprefix("init ")
    if init not in ("systemd", "sysv", "openrc", "none"):
        raise NoFactError("error", "the host did not say what starts its services")
    files = {words[0]: words[1] for line in parts.get("files", "").split("\n") if len(words := line.split()) >= 2}
    active = {words[0]: words[2] for line in parts.get("units", "").split("\n") if len(words := line.split()) >= 4}
    if init == "systemd" and not files:
        raise NoFactError("error", "systemd named no unit")
    listed: dict[str, set[str]] = {"script": set(), "starts": set(), "unit": set()}
    for line in parts.get("found", "").split("\n"):
        word, _, name = line.partition(" ")
        if word in listed:
            listed[word].add(name.removesuffix(".service"))
    sets = {word: frozenset(names) for word, names in listed.items()}
    return _Units(init, files, active, sets["script"], sets["unit"], sets["starts"])


@dataclass(frozen=True, slots=True)
class Server:
    """A server by the names of its processes (the kernel's, 15 characters) and of the units that start it."""

    product: str
    processes: frozenset[str]
    #: Matched against whole names, without ``.service``; a socket's with ``.socket``.
    units: str

    def is_running(self, reading: Reading) -> bool | None:
        """Whether it runs, or a socket waits for it; None where the host cannot say."""
        try:
            names = running_names(reading)
        except NoFactError:
            names = None
        if names is not None and self.processes & names:
            return True
        units = _units_or_none(reading)
        if units is not None and any(
            self._starts(name) for name, state in units.active.items() if name.endswith(".socket") and state in _UP
        ):
            return True
        return None if names is None else False

    def starts_itself(self, reading: Reading) -> bool | None:
        """Whether something starts it without a person; None where the host cannot say."""
        units = _units_or_none(reading)
        if units is None:
            return None
        if units.init == "systemd":
            return any(state in _ON and self._starts(name) for name, state in units.files.items())
        if units.init == "none":
            # In a container nothing starts what did not come up with it; what starts things on this host is unknown.
            return False if reading.platform.container else None
        return any(map(self._starts, units.starts))

    def refuse_idle(self, reading: Reading, source: str) -> bool | None:
        """Whether it runs; ``source`` is the one that ends as absent where it is not installed.

        Raises:
            NoFactError: absent: it is not installed, or nothing runs or starts it.
        """
        answer = reading.answers.get(source)
        is_running = self.is_running(reading)
        is_installed = answer is None or answer.exit_code != EXIT_ABSENT
        if is_installed and is_running is False and self.starts_itself(reading) is False:
            raise NoFactError("absent", f"{self.product} is installed; it does not run, and nothing starts it")
        return is_running

    def silence(self, reading: Reading) -> NoFactError:
        """Why the server itself gave no answer. Not knowing is an error, never absence."""
        if self.is_running(reading) is not False:
            return NoFactError("error", f"{self.product} runs, or may run, and gave no answer over its local socket")
        if self.starts_itself(reading) is not False:
            return NoFactError(
                "error", f"{self.product} does not run now, and starts by itself: ask again when it does"
            )
        return NoFactError("absent", f"no server of {self.product} runs here, and nothing starts one")

    def _starts(self, unit: str) -> bool:
        return re.fullmatch(self.units, unit.removesuffix(".service")) is not None


def _units_or_none(reading: Reading) -> _Units | None:
    try:
        return _units(reading)
    except NoFactError:
        return None


#: What systemd says of units that are up, and of unit files that it starts (``generated``: from a script of SysV init).
_UP = frozenset({"active", "reloading", "activating"})
_ON = frozenset({"enabled", "enabled-runtime", "alias", "generated"})


def parse_services(probe: ServicesProbe, reading: Reading) -> JsonValue:
    """See :class:`ServicesProbe`."""
    units = _units(reading)
    if units.init == "systemd":
        services = {name: _systemd_service(name, units.files, units.active) for name in probe.names}
        on = {name for name, state in units.files.items() if state in ("enabled", "enabled-runtime")}
        return _services(units.init, True, services, on, {name for name, state in units.active.items() if state in _UP})
    names = running_names(reading)
    processes = set(names or ())
    services = {}
    for name in probe.names:
        bare = name.removesuffix(".service")
        present = bare in units.scripts | units.unit_files | units.starts
        services[name] = {
            "present": present,
            "active": None if names is None else bare[:15] in processes,
            "enabled": bare in units.starts if present else False,
            "state": None,
            "unit": None,
        }
    up = processes & (units.scripts | units.unit_files)
    return _services(units.init, names is not None, services, set(units.starts), up)


def _systemd_service(name: str, files: Mapping[str, str], active: Mapping[str, str]) -> JsonValue:
    unit = name if re.search(r"\.(service|socket|timer|mount)$", name) else f"{name}.service"
    # An instance (getty@tty1) has the file of its template (getty@).
    template = re.sub(r"@[^.]*\.", "@.", unit)
    state = files.get(unit, files.get(template))
    is_active = active.get(unit) in _UP
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
