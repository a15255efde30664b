"""PostgreSQL: settings on a closed list, from files and from the server's own mouth."""

from __future__ import annotations

import json
import re

from pydantic import JsonValue

from govsec.collect.parse_services import UNITS, Server
from govsec.collect.parse_software import RUNNING
from govsec.collect.probes_servers import PostgresqlProbe
from govsec.collect.quote import quote
from govsec.collect.readers import joined_lines, plain_lines, strip_comment, texts, unquote, whole_number
from govsec.collect.sources import NoFactError, Reading, Source

SERVER = Server("PostgreSQL", frozenset({"postgres", "postmaster"}), r"postgresql(-[0-9.]+)?(@.*)?")
POSTGRESQL_SETTINGS: tuple[str, ...] = (
    "archive_mode", "authentication_timeout", "client_min_messages", "fsync", "full_page_writes", "hba_file",
    "hot_standby", "idle_in_transaction_session_timeout", "idle_session_timeout", "listen_addresses",
    "local_preload_libraries",
    "log_checkpoints", "log_connections", "log_destination", "log_directory", "log_disconnections", "log_duration",
    "log_error_verbosity", "log_file_mode", "log_filename", "log_hostname", "log_line_prefix",
    "log_min_duration_statement",
    "log_min_error_statement", "log_min_messages", "log_parameter_max_length", "log_rotation_age", "log_rotation_size",
    "log_statement", "log_timezone", "log_truncate_on_rotation", "logging_collector", "max_connections",
    "max_wal_senders",
    "password_encryption", "pgaudit.log", "pgaudit.log_parameter", "port", "row_security", "session_preload_libraries",
    "shared_preload_libraries", "ssl", "ssl_ca_file", "ssl_cert_file", "ssl_ciphers", "ssl_crl_file",
    "ssl_max_protocol_version", "ssl_min_protocol_version", "ssl_prefer_server_ciphers", "statement_timeout",
    "synchronous_commit", "synchronous_standby_names", "syslog_facility", "tcp_keepalives_idle", "timezone",
    "unix_socket_permissions", "wal_level", "data_checksums", "krb_server_keyfile", "server_version",
    "superuser_reserved_connections",
)  # fmt: skip
_PLACES = (
    "/etc/postgresql/*/*/{name} /var/lib/pgsql/data/{name} /var/lib/pgsql/*/data/{name} "
    "/var/lib/postgresql/data/{name} /var/lib/postgresql/*/data/{name} /var/lib/postgresql/*/*/{name} "
    "/opt/*/pgsql/data/{name}"
)
_NAMES = "|".join(re.escape(name) for name in POSTGRESQL_SETTINGS)
_FILTER = (
    r"""FNR == 1 { n = FILENAME; gsub(/\n/, "?", n); printf "@%s %s\n", T, n }
tolower($0) ~ /^[ \t]*(@NAMES@)[ \t=]/ || FILENAME ~ /hba.conf$/ && !/^[ \t]*#/ {
  print " " cut(substr($0, 1, 2000)) }"""
).replace("@NAMES@", _NAMES)
FILES = Source(
    "files",
    f"FILTER=$CUT{quote(chr(10) + _FILTER)}\nshow "
    + " ".join(
        _PLACES.format(name=name)
        for name in ("postgresql.conf", "conf.d/*.conf", "postgresql.auto.conf", "pg_hba.conf")
    ),
    sudo=True,
    size_max=1 << 20,
)
#: One statement, one JSON document. A password is told by kind; the hash stays in the server.
_STATEMENT = (
    "SELECT json_build_object('version', current_setting('server_version'), "
    "'settings', (SELECT json_object_agg(name, setting) FROM pg_settings WHERE name IN (@NAMES@)), "
    "'roles', (SELECT json_agg(json_build_object('name', rolname, 'superuser', rolsuper, 'login', rolcanlogin, "
    "'create_role', rolcreaterole, 'replication', rolreplication, 'valid_until', rolvaliduntil, "
    "'connection_limit', rolconnlimit, "
    "'password', CASE WHEN rolpassword IS NULL THEN 'none' WHEN rolpassword LIKE 'SCRAM-SHA-256%' THEN 'scram' "
    "WHEN rolpassword LIKE 'md5%' THEN 'md5' ELSE 'unknown' END) ORDER BY rolname) FROM pg_authid "
    "WHERE rolname NOT LIKE 'pg\\_%'), "
    "'extensions', (SELECT json_agg(extname ORDER BY extname) FROM pg_extension), "
    "'hba_errors', (SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL))"
).replace("@NAMES@", ", ".join(f"'{name}'" for name in POSTGRESQL_SETTINGS))


def postgresql_sources(probe: PostgresqlProbe) -> tuple[Source, ...]:
    """Files filtered on the host, and one reading statement as ``postgres`` over the local socket."""
    socket = f" -h {quote(probe.socket_directory)}" if probe.socket_directory else ""
    shell = f"""need psql || exit 90
q={quote(_STATEMENT)}
as() {{ if [ "$(id -un)" = postgres ] || ! id -u postgres >/dev/null; then "$@"
  elif have runuser; then runuser -u postgres -- "$@"
  elif have setpriv; then setpriv --reuid postgres --regid postgres --clear-groups "$@"
  else exit 92; fi; }}
cd / && PGAPPNAME=govsec PGCONNECT_TIMEOUT=3 PGOPTIONS='-c default_transaction_read_only=on -c statement_timeout=3000'
export PGAPPNAME PGCONNECT_TIMEOUT PGOPTIONS
x=$(as timeout "$L" psql -X -w -q -A -t{socket} -p {probe.port} -d postgres -c "$q") || exit 90
printf '%s\\n' "$x\""""
    live = Source(
        "live", shell.replace("need psql || exit 90", "have psql || exit 90"), sudo=True, timeout_s=probe.timeout_s
    )
    return (FILES, live, RUNNING, UNITS)


def parse_postgresql(probe: PostgresqlProbe, reading: Reading) -> JsonValue:
    """See :class:`PostgresqlProbe`."""
    files = reading.files("files")
    live = _live(reading.maybe("live"))
    folders = sorted({_folder(path) for path in files if path.endswith(".conf")})
    instances = [instance for folder in folders if (instance := _instance(folder, files)) is not None]
    if live is None:
        # Debian's unit is there, and starts, also where nobody made a database.
        if not instances and not reading.unreadable("files") and SERVER.is_running(reading) is False:
            raise NoFactError("absent", "neither a server nor a configuration of PostgreSQL")
        raise SERVER.silence(reading)
    return {"instances": [*instances], "live": live, "running": True}


def _folder(path: str) -> str:
    folder = path.rsplit("/", 1)[0].removesuffix("/conf.d")
    # Debian keeps what ALTER SYSTEM writes beside the data.
    match = re.fullmatch(r"/var/lib/postgresql/([^/]+)/([^/]+)", folder)
    return f"/etc/postgresql/{match.group(1)}/{match.group(2)}" if match and match.group(2) != "data" else folder


def _instance(folder: str, files: dict[str, list[str]]) -> JsonValue:
    own = [path for path in files if _folder(path) == folder]
    order = sorted(
        (path for path in own if not path.endswith("pg_hba.conf")),
        key=lambda path: (path.endswith("auto.conf"), "/conf.d/" in path, path),
    )
    settings: dict[str, JsonValue] = {}
    for path in order:
        for line in plain_lines(files[path]):
            match = re.match(r"([A-Za-z_.]+)\s*[=\s]\s*(.*)", strip_comment(line))
            if match and match.group(1).lower() in POSTGRESQL_SETTINGS:
                settings[match.group(1).lower()] = unquote(match.group(2).strip()).replace("''", "'")
    hba: list[JsonValue] = [
        rule
        for path in own
        if path.endswith("pg_hba.conf")
        for line in plain_lines(joined_lines(files[path]))
        if (rule := _hba(line))
    ]
    main = next((path for path in order if path.endswith("postgresql.conf")), None)
    if main is None and not hba:
        return None
    return {"configuration": main or f"{folder}/postgresql.conf", "settings": settings, "hba": hba[:1000]}


def _hba(line: str) -> JsonValue:
    words = re.findall(r'"[^"]*"|\S+', strip_comment(line))
    if len(words) < 4 or words[0] not in ("local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"):
        return None
    rest = words[3:]
    address: str | None = None
    if words[0] != "local":
        address, rest = rest[0], rest[1:]
        # "address mask" in two words is the older way of writing a network
        if rest and re.fullmatch(r"[0-9.]+|[0-9a-fA-F:]+:[0-9a-fA-F:]*", rest[0]):
            address, rest = f"{address} {rest[0]}", rest[1:]
    if not rest:
        return None
    options: dict[str, JsonValue] = {name: value for name, _, value in (word.partition("=") for word in rest[1:])}
    return {
        "type": words[0],
        "databases": texts(unquote(word) for word in words[1].split(",")),
        "users": texts(unquote(word) for word in words[2].split(",")),
        "address": address,
        "method": rest[0],
        "options": options,
    }


def _live(text: str | None) -> JsonValue:
    if text is None:
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("settings"), dict):
        return None
    settings = {
        str(name): str(value)[:500] for name, value in document["settings"].items() if name in POSTGRESQL_SETTINGS
    }
    keys = ("name", "superuser", "login", "create_role", "replication", "valid_until", "password", "connection_limit")
    roles: list[JsonValue] = [
        {key: _plain(role.get(key)) for key in keys}
        for role in (document.get("roles") or [])[:1000]
        if isinstance(role, dict)
    ]
    extensions = document.get("extensions")
    return {
        "version": str(document.get("version", ""))[:60],
        "settings": {**settings},
        "roles": roles,
        "extensions": texts(str(name)[:80] for name in extensions[:500]) if isinstance(extensions, list) else [],
        "hba_errors": whole_number(str(document.get("hba_errors", 0))),
    }


def _plain(value: JsonValue) -> JsonValue:
    if isinstance(value, bool) or value is None:
        return value
    return whole_number(str(value)) if isinstance(value, int) else str(value)[:200]
