"""What sudo allows (sudoers(5)), from all its files, aliases written out.

Not a copy of sudo's grammar: a line that is not understood is counted as a rule of the users it names with everything
allowed, so that what we do not understand never looks better than it is.
"""

from __future__ import annotations

import re

from pydantic import JsonValue

from govsec.collect.parse_files import read_states, stats_source
from govsec.collect.probes_accounts import SudoersProbe
from govsec.collect.readers import decimal_number, joined_lines, scalar, strip_comment, texts, tight, unquote
from govsec.collect.sources import NoFactError, Reading, Source

RULES_MAX = 2000
_PATHS = "/etc/sudoers /etc/sudoers.d/* /usr/local/etc/sudoers /usr/local/etc/sudoers.d/*"
SUDOERS = Source("sudoers", f"[ -e /etc/sudoers ] || have sudo || exit 90\nshow {_PATHS}", sudo=True)
SUDOERS_STATES = stats_source("states", _PATHS)
_TAGS = re.compile(
    r"(?:(NOPASSWD|PASSWD|NOEXEC|EXEC|SETENV|NOSETENV|LOG_INPUT|LOG_OUTPUT|MAIL|NOMAIL|FOLLOW|NOFOLLOW)\s*:\s*)"
)


def sudoers_sources(probe: SudoersProbe) -> tuple[Source, ...]:
    """All files, and how they are kept."""
    return (SUDOERS, SUDOERS_STATES)


def parse_sudoers(probe: SudoersProbe, reading: Reading) -> JsonValue:
    """See :class:`SudoersProbe`."""
    files = reading.files("sudoers")
    unreadable = reading.unreadable("sudoers")
    if not files and not unreadable:
        raise NoFactError("absent", "no sudoers file")
    aliases: dict[str, list[str]] = {}
    defaults: dict[str, JsonValue] = {}
    rules: list[tuple[str, int, str]] = []
    for path, lines in files.items():
        # A name with a dot or a tilde at its end is not read by @includedir (sudoers(5)).
        if ".d/" in path and ("." in path.rsplit("/", 1)[-1] or path.endswith("~")):
            continue
        for number, line in enumerate(joined_lines(lines), start=1):
            line = strip_comment(line.strip()) if not re.match(r"#\s*[0-9]", line.strip()) else line.strip()
            if not line or (line.startswith("#") and not re.match(r"#[0-9]", line)):
                continue
            if re.match(r"(User|Runas|Host|Cmnd|Cmd)_Alias\s", line):
                for part in line.split(None, 1)[1].split(":"):
                    name, _, items = part.partition("=")
                    aliases[name.strip()] = [tight(item) for item in items.split(",") if item.strip()]
            elif line.startswith("Defaults"):
                _read_defaults(line, defaults)
            elif not line.startswith("@"):
                rules.append((path, number, line))
    listed = [rule for row in rules[:RULES_MAX] for rule in _rules(row, aliases)]
    states: list[JsonValue] = [
        {key: state[key] for key in ("path", "mode", "permissions", "owner", "group")}
        for state in read_states(reading, "states")
    ]
    all_rules = [rule for rule in listed if rule["all_commands"] and rule["users"] not in (["root"], ["#0"])]
    log_file = defaults.get("logfile")
    timeout = defaults.get("timestamp_timeout")
    return {
        "rules": [*listed],
        "defaults": defaults,
        "use_pty": defaults.get("use_pty") is True,
        "log_file": log_file if isinstance(log_file, str) else None,
        "timestamp_timeout": decimal_number(str(timeout)) if timeout is not None else None,
        "no_password_count": sum(rule["no_password"] is True for rule in listed),
        "all_rules_count": len(all_rules),
        "files": states,
        "unreadable": texts(unreadable),
        "aliases": {name: texts(items) for name, items in aliases.items()},
    }


def _read_defaults(line: str, defaults: dict[str, JsonValue]) -> None:
    match = re.match(r"Defaults(\s+|[@:!>]\S+\s+)(.*)", line)
    if match is None or match.group(1).strip():
        return  # bound to a user, host, command: not a setting of all
    for part in re.findall(r'(?:[^,"]|"[^"]*")+', match.group(2)):
        part = part.strip()
        name, equals, value = re.sub(r"\s*[+-]?=\s*", "=", part, count=1).partition("=")
        if equals:
            defaults[name.strip()] = scalar(unquote(value.strip()))
        elif part:
            defaults[part.lstrip("! ")] = not part.startswith("!")


def _rules(row: tuple[str, int, str], aliases: dict[str, list[str]]) -> list[dict[str, JsonValue]]:
    path, number, line = row
    head, equals, body = line.partition("=")
    words = head.split()
    # "who, who host = ..." : white space around commas belongs to the list
    head = re.sub(r"\s*,\s*", ",", tight(head))
    users, _, hosts = head.rpartition(" ") if " " in head else (head, "", "ALL")
    base: dict[str, JsonValue] = {
        "file": path,
        "line": number,
        "users": texts(_expand(users.split(","), aliases)),
        "hosts": texts(_expand(hosts.split(","), aliases)),
    }
    if not equals or not words:
        return [{**base, "run_as": None, "no_password": False, "commands": ["ALL"], "all_commands": True}]
    found: list[dict[str, JsonValue]] = []
    run_as: str | None = None
    free = False
    commands: list[str] = []
    for item in re.split(r"(?<!\\),(?![^(]*\))", body):
        item = item.strip()
        match = re.match(r"\(([^)]*)\)\s*", item)
        changed_run_as = match.group(1).strip() if match else run_as
        item = item[match.end() :] if match else item
        changed_free = free
        while tag := _TAGS.match(item):
            changed_free = {"NOPASSWD": True, "PASSWD": False}.get(tag.group(1), changed_free)
            item = item[tag.end() :]
        if commands and (changed_run_as, changed_free) != (run_as, free):
            found.append(_rule(base, run_as, free, commands, aliases))
            commands = []
        run_as, free = changed_run_as, changed_free
        if item:
            commands.append(tight(item))
    found.append(_rule(base, run_as, free, commands or ["ALL"], aliases))
    return found


def _rule(
    base: dict[str, JsonValue], run_as: str | None, free: bool, commands: list[str], aliases: dict[str, list[str]]
) -> dict[str, JsonValue]:
    expanded = _expand(commands, aliases)
    return {
        **base,
        "run_as": run_as,
        "no_password": free,
        "commands": texts(command[:300] for command in expanded),
        "all_commands": "ALL" in expanded,
    }


def _expand(items: list[str], aliases: dict[str, list[str]], depth: int = 0) -> list[str]:
    expanded: list[str] = []
    for item in items:
        item = item.strip()
        if item in aliases and depth < 5 and len(expanded) < 1000:
            expanded += _expand(aliases[item], aliases, depth + 1)
        elif item:
            expanded.append(item)
    return expanded[:1000]
