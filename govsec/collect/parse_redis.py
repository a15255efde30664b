"""Redis: its configuration files, with every password turned into "there is one" on the host."""

from __future__ import annotations

from pydantic import JsonValue

from govsec.collect.parse_files import read_states, stats_source
from govsec.collect.parse_services import UNITS, Server
from govsec.collect.parse_software import RUNNING, running
from govsec.collect.probes_servers import RedisProbe
from govsec.collect.quote import quote
from govsec.collect.readers import plain_lines, texts, unquote, whole_number
from govsec.collect.sources import NoFactError, Reading, Source

SERVER = Server(
    "Redis", frozenset({"redis-server", "valkey-server", "redis-sentinel"}), r"(redis|valkey)(-server|-sentinel)?(@.*)?"
)
_PLACES = (
    "/etc/redis/*.conf", "/etc/redis.conf", "/etc/redis/*/redis.conf", "/etc/valkey/*.conf",
    "/usr/local/etc/redis*.conf", "/usr/local/redis/*.conf", "/opt/redis/*.conf",
)  # fmt: skip
_KEPT = (
    "bind|port|tls-port|unixsocket|unixsocketperm|protected-mode|aclfile|appendonly|logfile|loglevel|tls-auth-clients|"
    "tls-protocols|maxclients|maxmemory|replicaof|slaveof|enable-debug-command|enable-module-command|"
    "enable-protected-configs|dir|save|supervised|daemonize|timeout|include|tls-replication|syslog-enabled"
)
_FILTER = r"""FNR == 1 { n = FILENAME; gsub(/\n/, "?", n); printf "@%s %s\n", T, n }
{ w = tolower($1) }
w == "requirepass" && $2 != "" && $2 != "\"\"" { print " password-set yes" }
w == "user" { o = "-"; for (i = 3; i <= NF; i++) if ($i == "off") o = "off"; print " acl-user " $2 " " o }
w == "rename-command" { print " rename-command " $2 " " ($3 == "\"\"" || $3 == "" ? "off" : "renamed") }
w ~ /^(@KEPT@)$/ { print " " cut(substr($0, 1, 1000)) }""".replace("@KEPT@", _KEPT)


def redis_sources(probe: RedisProbe) -> tuple[Source, ...]:
    """Declared settings of the files, and how they are kept."""
    words = " ".join([*map(quote, probe.configurations), *_PLACES])
    shell = f"FILTER=$CUT{quote(chr(10) + _FILTER)}\nshow {words}"
    return (
        Source("files", shell, sudo=probe.privilege == "sudo", timeout_s=probe.timeout_s),
        stats_source("states", words),
        RUNNING,
        UNITS,
    )


def parse_redis(probe: RedisProbe, reading: Reading) -> JsonValue:
    """See :class:`RedisProbe`."""
    files = reading.files("files")
    is_running = SERVER.is_running(reading)
    users = sorted({user for user, name in running(reading) if name in SERVER.processes}) if is_running else []
    states = {str(state["path"]): state for state in read_states(reading, "states")}
    instances = [
        _instance(path, lines, states[path])
        for path, lines in files.items()
        if path in states and not path.endswith("sentinel.conf")
    ]
    if not instances:
        if is_running is not False or reading.unreadable("files"):
            raise NoFactError("error", "Redis is here, but its configuration could not be read")
        raise NoFactError("absent", "neither a configuration nor a process of Redis")
    SERVER.refuse_idle(reading, "files")
    return {"instances": [*instances], "running": is_running, "run_as": texts(users)}


def _instance(path: str, lines: list[str], state: dict[str, JsonValue]) -> JsonValue:
    values: dict[str, list[str]] = {}
    users: dict[str, str] = {}
    renamed: list[str] = []
    disabled: list[str] = []
    for line in plain_lines(lines):
        words = line.split()
        keyword, rest = words[0].lower(), [unquote(word) for word in words[1:]]
        if keyword == "acl-user" and len(rest) == 2:
            users[rest[0]] = rest[1]
        elif keyword == "rename-command" and len(rest) == 2:
            (disabled if rest[1] == "off" else renamed).append(rest[0].upper())
        else:
            values[keyword] = rest

    def first(name: str) -> str | None:
        rest = values.get(name)
        return rest[0] if rest and rest[0] else None

    return {
        "configuration": path,
        "mode": state["mode"],
        "permissions": state["permissions"],
        "owner": state["owner"],
        "bind": texts(address.lstrip("-") for address in values.get("bind", []) if address not in ("*", "")),
        "port": whole_number(first("port") or "6379") or 0,
        "tls_port": whole_number(first("tls-port") or ""),
        "unix_socket": first("unixsocket"),
        "protected_mode": (first("protected-mode") or "yes").lower() == "yes",
        "password_set": "password-set" in values,
        "acl_file": first("aclfile"),
        "acl_users_count": len(users),
        "default_user_off": users.get("default") == "off",
        "renamed_commands": texts(renamed),
        "disabled_commands": texts(disabled),
        "append_only": first("appendonly") == "yes",
        "log_file": first("logfile"),
        "tls_auth_clients": first("tls-auth-clients"),
        "max_clients": whole_number(first("maxclients") or ""),
        "replica_of": "replicaof" in values or "slaveof" in values,
        "enable_debug_command": first("enable-debug-command"),
    }
