"""Defaults of log-in shells, and scheduled work."""

from __future__ import annotations

import re

from pydantic import JsonValue

from govsec.collect.parse_files import read_states, stats_source
from govsec.collect.parse_software import RUNNING
from govsec.collect.probes_accounts import CronProbe, ShellDefaultsProbe
from govsec.collect.readers import plain_lines, texts, whole_number
from govsec.collect.sources import Reading, Source
from govsec.redact import redact

JOBS_MAX = 1000
SHELLS = Source("shells", "show /etc/profile /etc/profile.d/*.sh /etc/bashrc /etc/bash.bashrc /etc/bash/bashrc")
_SETTING = re.compile(
    r"(?:(export|readonly|typeset -r|declare -rx?|typeset -rx|typeset -xr)\s+)?(TMOUT|HISTSIZE|HISTTIMEFORMAT)=(\S*)"
)


def shell_defaults_sources(probe: ShellDefaultsProbe) -> tuple[Source, ...]:
    """The files that log-in shells of all users read."""
    return (SHELLS,)


def parse_shell_defaults(probe: ShellDefaultsProbe, reading: Reading) -> JsonValue:
    """See :class:`ShellDefaultsProbe`."""
    files = reading.files("shells")
    found: list[tuple[str, str, str]] = []
    readonly = False
    for path, lines in files.items():
        for line in plain_lines(lines):
            readonly = readonly or bool(re.search(r"(readonly|(declare|typeset) -x?r x?)[^;]*\bTMOUT\b", line))
            for keyword, name, value in _SETTING.findall(line):
                found.append((path, name, value.strip(";\"'")))
                readonly = readonly or (name == "TMOUT" and "r" in keyword.replace("export", ""))
            for mask in re.findall(r"(?:^|[;\s])umask\s+([0-7]{3,4})\b", line):
                found.append((path, "umask", mask))
    idle = [number for _, name, value in found if name == "TMOUT" and (number := whole_number(value)) is not None]
    masks = [value for _, name, value in found if name == "umask"]
    sizes = [number for _, name, value in found if name == "HISTSIZE" and (number := whole_number(value)) is not None]
    sources: list[JsonValue] = [{"file": path, "name": name, "value": value[:200]} for path, name, value in found[:200]]
    return {
        "tmout_s": 0 if 0 in idle else max(idle) if idle else None,
        "tmout_readonly": readonly and bool(idle),
        "umask": min(masks, key=lambda mask: int(mask, 8).bit_count()).zfill(3) if masks else None,
        "histsize": sizes[-1] if sizes else None,
        "histtimeformat": any(name == "HISTTIMEFORMAT" for _, name, _ in found),
        "sources": sources,
        "files_read": texts(files),
    }


_CRON_PLACES = (
    "/etc/crontab /etc/anacrontab /etc/cron.allow /etc/cron.deny /etc/at.allow /etc/at.deny /etc/cron.d/* "
    "/etc/cron.hourly /etc/cron.daily /etc/cron.weekly /etc/cron.monthly /etc/cron.d /var/spool/cron "
    "/var/spool/cron/* /var/spool/cron/crontabs/*"
)
CRON_STATES = stats_source("states", _CRON_PLACES)
CRON_FILES = Source(
    "cron",
    "show /etc/crontab /etc/cron.d/* /var/spool/cron/* /var/spool/cron/crontabs/* "
    "/etc/cron.allow /etc/cron.deny /etc/at.allow /etc/at.deny",
    sudo=True,
)
TIMERS = Source(
    "timers",
    "[ -d /run/systemd/system ] || exit 90; need systemctl\n"
    "lim systemctl list-units --type=timer --all --plain --no-legend --no-pager",
)


def cron_sources(probe: CronProbe) -> tuple[Source, ...]:
    """Tables, lists and timers."""
    return (CRON_STATES, CRON_FILES, TIMERS, RUNNING)


def parse_cron(probe: CronProbe, reading: Reading) -> JsonValue:
    """See :class:`CronProbe`."""
    files = reading.files("cron")
    jobs: list[JsonValue] = []
    for path, lines in files.items():
        if not path.endswith((".allow", ".deny")):
            jobs += [job for line in plain_lines(lines) if (job := _job(path, line)) is not None]
    timers: list[JsonValue] = []
    for line in (reading.maybe("timers") or "").split("\n"):
        words = line.split()
        if len(words) >= 3 and words[0].endswith(".timer"):
            timers.append({"unit": words[0], "active": words[2] == "active"})
    states: list[JsonValue] = [*read_states(reading, "states")]
    running = reading.maybe("running")
    lists: dict[str, JsonValue] = {
        name: texts(plain_lines(files[path])) if path in files else [] if path in _paths(states) else None
        for name, path in (
            ("allow", "/etc/cron.allow"), ("deny", "/etc/cron.deny"),
            ("at_allow", "/etc/at.allow"), ("at_deny", "/etc/at.deny"),
        )
    }  # fmt: skip
    return {
        "files": states[:JOBS_MAX],
        "jobs": jobs[:JOBS_MAX],
        **lists,
        "timers": timers[:JOBS_MAX],
        "daemon_active": None if running is None else bool({"cron", "crond", "fcron"} & {*running.split()}),
        "truncated": max(len(jobs), len(states), len(timers)) > JOBS_MAX,
    }


def _paths(states: list[JsonValue]) -> set[str]:
    return {str(state["path"]) for state in states if isinstance(state, dict)}


def _job(path: str, line: str) -> JsonValue:
    is_system = path.startswith("/etc/")
    match = re.fullmatch(r"(@\w+|(?:[^\s=]+\s+){4}[^\s=]+)\s+(.*)", line)
    if match is None or re.match(r"[A-Za-z_]+\s*=", line):
        return None
    schedule, rest = " ".join(match.group(1).split()), match.group(2)
    user, _, command = rest.partition(" ") if is_system else (path.rsplit("/", 1)[-1], "", rest)
    return {"file": path, "user": user, "schedule": schedule, "command": redact(command.strip())[:300]}
