"""Audit and system logs: what is asked of a host, and how its answers are read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from pydantic import JsonValue

from govsec.clock import format_time
from govsec.collect.parse_files import read_states, stats_source
from govsec.collect.parse_platform import moment
from govsec.collect.parse_software import RUNNING, running_names
from govsec.collect.probes_services import AuditProbe, LoggingProbe
from govsec.collect.readers import assignments, plain_lines, strip_comment, texts, tight, whole_number
from govsec.collect.sources import Reading, Source

RULES_MAX = 2000
AUDIT = Source(
    "audit",
    """have auditctl && { mark state; lim auditctl -s; echo "rc=$?"; mark rules; lim auditctl -l; echo "rc=$?"; }
read -r v </proc/cmdline && mark "cmdline $v"
:""",
    sudo=True,
    size_max=512 << 10,
)
AUDIT_FILES = Source(
    "audit_files", "show /etc/audit/auditd.conf /etc/audit/rules.d/*.rules /etc/audit/audit.rules", sudo=True
)


def audit_sources(probe: AuditProbe) -> tuple[Source, ...]:
    """auditctl's own words, the files, the processes."""
    return (AUDIT, AUDIT_FILES, RUNNING)


def parse_audit(probe: AuditProbe, reading: Reading) -> JsonValue:
    """See :class:`AuditProbe`."""
    parts = {record.partition("\n")[0]: record.partition("\n")[2] for record in reading.records("audit")}
    files = reading.files("audit_files")
    state = {}
    for line in parts.get("state", "").split("\n"):
        words = line.split()
        if len(words) == 2:
            state[words[0]] = whole_number(words[1])
    listing = parts.get("rules", "")
    known = "rc=0" in listing.split("\n")
    rules = [tight(line) for line in listing.split("\n") if line.startswith("-")][:RULES_MAX] if known else []
    rule_files = [path for path in files if "rules.d" in path] or [path for path in files if path.endswith(".rules")]
    written = [
        tight(line) for path in rule_files for line in plain_lines(files[path]) if line.startswith(("-w", "-a", "-A"))
    ][:RULES_MAX]
    names = running_names(reading)
    command_line = next((head[8:].split() for head in parts if head.startswith("cmdline ")), None)
    watches, syscalls, keys = _rules_say(rules if known else written)
    return {
        "present": "state" in parts or "/etc/audit/auditd.conf" in files,
        "daemon_active": "auditd" in (names or ()),
        "enabled": state.get("enabled"),
        "failure": state.get("failure"),
        "lost": state.get("lost"),
        "backlog_limit": state.get("backlog_limit"),
        "rules": texts(rules),
        "rules_known": known,
        "file_rules": texts(written),
        "watches": watches,
        "syscalls": syscalls,
        "keys": keys,
        "conf": assignments(files.get("/etc/audit/auditd.conf", [])),
        "boot_enabled": None if command_line is None else "audit=1" in command_line,
    }


def _rules_say(rules: Iterable[str]) -> tuple[dict[str, JsonValue], list[JsonValue], list[JsonValue]]:
    watches: dict[str, JsonValue] = {}
    syscalls: set[str] = set()
    keys: set[str] = set()
    for rule in rules:
        words = rule.split()
        pairs = list(pairwise(words))
        fields = dict(re.findall(r"-F (\w+)=(\S+)", rule))
        path = next((value for flag, value in pairs if flag == "-w"), fields.get("path") or fields.get("dir"))
        if path:
            access = next((value for flag, value in pairs if flag == "-p"), fields.get("perm", "rwxa"))
            held = str(watches.get(path, ""))
            watches[path] = "".join(letter for letter in "rwxa" if letter in held + access)
        # "never" and "exclude" rules take away, so what they name is not recorded.
        if not any("never" in value or "exclude" in value for flag, value in pairs if flag in ("-a", "-A")):
            syscalls |= {name for flag, value in pairs if flag == "-S" for name in value.split(",")}
        keys |= {value for flag, value in pairs if flag == "-k"} | ({fields["key"]} if "key" in fields else set())
    return watches, texts(sorted(syscalls)), texts(sorted(keys))


JOURNAL = Source(
    "journal",
    """[ -d /run/systemd/journal ] || have journalctl || exit 90
[ -d /var/log/journal ] && echo directory=1
for f in /var/log/journal/*/*.journal; do [ -e "$f" ] && { echo stored=1; break; }; done
have journalctl && x=$(lim journalctl -q --no-pager -o short-unix 2>/dev/null | head -n 1) && echo "oldest=${x%% *}"
:""",
    sudo=True,
)
LOG_FILES = Source(
    "log_files",
    "show /etc/systemd/journald.conf /etc/systemd/journald.conf.d/*.conf /usr/lib/systemd/journald.conf.d/*.conf "
    "/etc/rsyslog.conf /etc/rsyslog.d/*.conf /etc/syslog-ng/syslog-ng.conf /etc/syslog-ng/conf.d/*.conf "
    "/etc/logrotate.conf /etc/logrotate.d/*",
    sudo=True,
    size_max=1 << 20,
)
LOG_STATES = stats_source("log_states", "/var/log/*")
INSTALLED_STATES = stats_source(
    "installed", "/etc/machine-id /var/log/installer /root/anaconda-ks.cfg /lost+found", sudo=True
)
#: More is no honest count.
_ROTATE_MAX = 1_000_000
_FREQUENCY_DAYS = {"hourly": 1 / 24, "daily": 1.0, "weekly": 7.0, "monthly": 30.0, "yearly": 365.0}
_SPANS_S = {
    "": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hour": 3600, "d": 86_400, "day": 86_400, "w": 604_800,
    "week": 604_800, "month": 2_629_800, "M": 2_629_800, "y": 31_557_600, "year": 31_557_600,
}  # fmt: skip


def logging_sources(probe: LoggingProbe) -> tuple[Source, ...]:
    """Settings of all log daemons, the journal's first record, states of ``/var/log``."""
    return (JOURNAL, LOG_FILES, LOG_STATES, INSTALLED_STATES, RUNNING)


def parse_logging(probe: LoggingProbe, reading: Reading) -> JsonValue:
    """See :class:`LoggingProbe`."""
    files = reading.files("log_files")
    names = running_names(reading)
    journald = _journald(reading, files, names)
    rsyslog = _rsyslog(files, names)
    ng = [line for path, lines in files.items() if "syslog-ng" in path for line in lines]
    states = read_states(reading, "log_states")
    rotated = [
        int(str(state["modified_days"]))
        for state in states
        if re.search(r"/(syslog|messages|auth\.log|secure|kern\.log|daemon\.log)[^/]*$", str(state["path"]))
        and state["type"] == "file"
    ]
    journal_days = journald["oldest_days"]
    ages = [float(days) for days in rotated] + ([journal_days] if isinstance(journal_days, (int, float)) else [])
    installed = [int(str(state["modified_days"])) for state in read_states(reading, "installed")]
    remote = rsyslog["remote"]
    ng_remote = any(re.search(r"\b(network|syslog|tcp|udp)\s*\(\s*\"", line) for line in ng)
    listed: list[JsonValue] = [
        {key: state[key] for key in ("path", "mode", "permissions", "owner", "group", "size_bytes", "modified")}
        for state in states[:500]
    ]
    return {
        "journald": journald,
        "rsyslog": rsyslog,
        "syslog_ng": {"present": bool(ng), "active": None if names is None else "syslog-ng" in names},
        "logrotate": _logrotate(files),
        "remote": bool(remote) or ng_remote,
        "files": listed,
        "oldest_days": max(ages) if ages else None,
        "installed_days": max(installed) if installed else None,
    }


def _journald(reading: Reading, files: dict[str, list[str]], names: frozenset[str] | None) -> dict[str, JsonValue]:
    text = reading.maybe("journal")
    values = assignments(
        line for path in sorted(files, key=_order) if "journald.conf" in path for line in files[path] if "=" in line
    )
    found = dict(line.partition("=")[::2] for line in (text or "").split("\n") if "=" in line)
    storage = str(values.get("Storage", "auto"))
    seconds = found.get("oldest", "").split(".")[0]
    oldest = moment(whole_number(seconds))
    age_s = (reading.now - oldest).total_seconds() if oldest else None
    return {
        "present": text is not None,
        "active": None if names is None else "systemd-journal" in names,
        "storage": storage,
        "persistent": storage == "persistent" or (storage == "auto" and "directory" in found),
        "max_retention_s": _span(str(values.get("MaxRetentionSec", ""))),
        "values": values,
        "oldest": format_time(oldest) if oldest else None,
        "oldest_days": round(max(0.0, age_s) / 86_400, 2) if age_s is not None else None,
    }


def _order(path: str) -> tuple[bool, str]:
    """Drop-ins come after the main file, in the order of their names (systemd's rule)."""
    return ".d/" in path, path.rsplit("/", 1)[-1]


def _span(text: str) -> int | None:
    """Seconds of a systemd time span; None where none is set."""
    parts = re.findall(r"([0-9]{1,9})\s*([A-Za-z]*)", text)
    known = [int(count) * _SPANS_S.get(unit.removesuffix("s") or unit, 0) for count, unit in parts]
    return sum(known) or None


def _rsyslog(files: dict[str, list[str]], names: frozenset[str] | None) -> dict[str, JsonValue]:
    selectors: dict[str, list[str]] = {}
    remote: list[JsonValue] = []
    mode: str | None = None
    tls: bool | None = None
    lines = [line for path, text in files.items() if "rsyslog" in path for line in plain_lines(text)]
    whole = "\n".join(lines)
    if re.search(r"(StreamDriver[^\n]*gtls|StreamDriver[^\n]*ossl|StreamDriverMode[ =\"]*1)", whole, re.I):
        tls = True
    for line in lines:
        if match := re.match(r"\$FileCreateMode\s+([0-7]{3,4})", line):
            mode = match.group(1)
        elif match := re.match(r"([a-z0-9*,;.!=]+)\s+(@@?|:omrelp:)(?:\([^)]*\))?\s*(\S+)", line, re.I):
            protocol = {"@": "udp", "@@": "tcp"}.get(match.group(2), "relp")
            remote.append({"target": match.group(3), "protocol": protocol, "tls": tls, "selector": match.group(1)})
        elif match := re.match(r"([a-z0-9*,;.!=]+)\s+-?(/\S+)", line, re.I):
            selectors.setdefault(match.group(1), []).append(match.group(2))
    depth = position = 0
    for found in re.finditer(r"([a-z0-9*,;.!=]{0,80})[ \t]{0,8}action\s*\(([^)]*)\)", whole, re.S | re.I):
        body, start = found[2], found.start()
        depth += whole.count("{", position, start) - whole.count("}", position, start)
        position = start
        # What stands below no condition gets every message.
        selector = found[1] or ("*.*" if depth == 0 else "action")
        options = dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', body))
        options = {name.lower(): value for name, value in options.items()}
        if options.get("type") in ("omfwd", "omrelp") and "target" in options:
            protocol = "relp" if options["type"] == "omrelp" else options.get("protocol", "udp").lower()
            sealed = options.get("streamdrivermode") == "1" or options.get("tls") == "on" or tls
            remote.append({"target": options["target"], "protocol": protocol, "tls": sealed, "selector": selector})
    return {
        "present": bool(lines),
        "active": None if names is None else "rsyslogd" in names,
        "files": {selector: texts(paths) for selector, paths in selectors.items()},
        "remote": remote[:100],
        "file_mode": mode,
    }


def _logrotate(files: dict[str, list[str]]) -> dict[str, JsonValue]:
    defaults: dict[str, JsonValue] = {"frequency": None, "rotate": None, "maxage": None}
    rules: list[JsonValue] = []
    for path in sorted((path for path in files if "logrotate" in path), key=lambda path: path != "/etc/logrotate.conf"):
        block: dict[str, JsonValue] | None = None
        paths: list[str] = []
        pending: list[str] = []
        for line in plain_lines(files[path]):
            line = strip_comment(line)
            if line.endswith("{"):
                paths, pending, block = [*pending, *line[:-1].split()], [], {}
            elif line == "}" and block is not None:
                rules.append(_rotation(path, paths, {**defaults, **block}))
                block = None
            elif block is None and line.startswith(("/", '"')):
                pending += line.split()
            else:
                _rotation_word(line.split(), defaults if block is None else block)
    frequency, rotate = defaults["frequency"], defaults["rotate"]
    return {
        "present": bool(rules) or "/etc/logrotate.conf" in files,
        "frequency": frequency,
        "rotate": rotate,
        "rules": rules[:500],
    }


def _rotation_word(words: list[str], target: dict[str, JsonValue]) -> None:
    if words and words[0] in _FREQUENCY_DAYS:
        target["frequency"] = words[0]
    elif len(words) == 2 and words[0] in ("rotate", "maxage"):
        target[words[0]] = whole_number(words[1])


def _rotation(file: str, paths: list[str], values: dict[str, JsonValue]) -> JsonValue:
    frequency, rotate, age = values.get("frequency"), values.get("rotate"), values.get("maxage")
    period = _FREQUENCY_DAYS.get(str(frequency))
    kept = int(period * min(rotate, _ROTATE_MAX)) if period and isinstance(rotate, int) else None
    if isinstance(age, int):
        kept = age if kept is None else min(kept, age)
    return {
        "file": file,
        "paths": texts(path.strip('"') for path in paths[:100]),
        "frequency": frequency,
        "rotate": rotate,
        "max_age_days": age,
        "keep_days": kept,
    }
