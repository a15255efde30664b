"""MySQL and MariaDB: server settings from files, and from the server over its local socket by fixed statements."""

from __future__ import annotations

import re

from pydantic import JsonValue

from govsec.collect.parse_services import UNITS, Server
from govsec.collect.parse_software import RUNNING
from govsec.collect.probes_servers import MysqlProbe
from govsec.collect.quote import quote
from govsec.collect.readers import scalar, texts, unquote, whole_number
from govsec.collect.sources import Reading, Source

SERVER = Server("MySQL or MariaDB", frozenset({"mysqld", "mariadbd"}), r"(mysqld?|mariadbd?)(@.*)?")
MYSQL_VARIABLES: tuple[str, ...] = (
    "audit_log_policy", "audit_log_format", "auto_generate_certs", "authentication_policy", "bind_address",
    "binlog_expire_logs_seconds", "connection_control_failed_connections_threshold",
    "connection_control_min_connection_delay", "connect_timeout", "datadir", "default_authentication_plugin",
    "default_password_lifetime", "disconnect_on_expired_password", "expire_logs_days", "general_log",
    "general_log_file", "have_ssl", "have_openssl", "have_symlink", "innodb_encrypt_tables", "innodb_encrypt_log",
    "innodb_flush_log_at_trx_commit", "interactive_timeout", "local_infile", "log_bin", "log_error", "log_output",
    "log_raw", "log_warnings", "log_error_verbosity", "max_connect_errors", "max_connections",
    "max_user_connections", "max_password_errors", "old_passwords", "password_history", "password_reuse_interval",
    "password_require_current", "plugin_dir", "port", "require_secure_transport", "secure_auth", "secure_file_priv",
    "server_audit_events", "server_audit_logging", "simple_password_check_digits",
    "simple_password_check_letters_same_case", "simple_password_check_minimal_length",
    "simple_password_check_other_characters", "skip_grant_tables", "skip_name_resolve", "skip_networking",
    "skip_show_database", "slow_query_log", "sql_mode", "ssl_ca", "ssl_cert", "ssl_cipher",
    "strict_password_validation", "sync_binlog", "tls_version", "validate_password.check_user_name",
    "validate_password.dictionary_file",
    "validate_password.length", "validate_password.mixed_case_count", "validate_password.number_count",
    "validate_password.policy", "validate_password.special_char_count", "validate_password_length",
    "validate_password_policy", "version", "version_comment", "wait_timeout",
)  # fmt: skip
_FILTER = r"""FNR == 1 { n = FILENAME; gsub(/\n/, "?", n); printf "@%s %s\n", T, n; g = 0 }
/^[ \t]*\[/ { g = ($0 ~ /^[ \t]*\[(mysqld|mysqld-[0-9.]+|server|mariadbd?|mariadbd?-[0-9.]+|mysqld_safe|galera)\]/) }
{ l = tolower($0); bad = l ~ /passw[a-z]*[ \t]*=[ \t]*[^ \t]|auth[a-z_-]*=.*:|wsrep_sst_auth|encryption_key/ }
l ~ /^[ \t]*(validate|default|simple|strict|old)[a-z_.-]*passw/ { bad = 0 }
g && !bad { print " " cut(substr($0, 1, 2000)) }"""
FILES = Source(
    "files",
    f"FILTER=$CUT{quote(chr(10) + _FILTER)}\n"
    "show /etc/my.cnf /etc/my.cnf.d/*.cnf /etc/mysql/my.cnf /etc/mysql/conf.d/*.cnf /etc/mysql/mysql.conf.d/*.cnf "
    "/etc/mysql/mariadb.cnf /etc/mysql/mariadb.conf.d/*.cnf",
    sudo=True,
)
_STATEMENTS = (
    ("version", "SELECT VERSION()"),
    ("variables", "SHOW GLOBAL VARIABLES WHERE Variable_name IN (@NAMES@)"),
    ("plugins", "SELECT plugin_name FROM information_schema.plugins WHERE plugin_status = 'ACTIVE'"),
    ("databases", "SHOW DATABASES"),
)
_ACCOUNTS = (
    # MySQL 5.7 and newer
    "SELECT user, host, plugin, authentication_string = '', account_locked, super_priv, ssl_type, password_lifetime "
    "FROM mysql.user",
    # MariaDB 10.4 and newer: mysql.user is a view without locks and lifetimes
    "SELECT user, host, JSON_VALUE(priv, '$.plugin'), COALESCE(JSON_VALUE(priv, '$.authentication_string'), '') = '', "
    "IF(JSON_VALUE(priv, '$.account_locked') = 1, 'Y', 'N'), IF(JSON_VALUE(priv, '$.access') & 32768, 'Y', 'N'), "
    "JSON_VALUE(priv, '$.ssl_type'), JSON_VALUE(priv, '$.password_lifetime') FROM mysql.global_priv",
)


def mysql_sources(probe: MysqlProbe) -> tuple[Source, ...]:
    """Files filtered on the host; reading statements over the local socket, without any option file or password."""
    socket = f" -S {quote(probe.socket)}" if probe.socket else ""
    names = ", ".join(f"'{name}'" for name in MYSQL_VARIABLES)
    lines = ["c=; for x in mariadb mysql; do have $x && { c=$x; break; }; done", '[ -n "$c" ] || exit 90']
    lines.append(
        f"one() {{ x=$(lim $c --no-defaults --protocol=socket{socket} -u root --connect-timeout=3 -N -B "
        '-e "SET SESSION TRANSACTION READ ONLY; START TRANSACTION READ ONLY; $2") || return 1\n'
        '  mark "$1"; printf \'%s\\n\' "$x"; }'
    )
    for name, statement in _STATEMENTS:
        sentence = quote(statement.replace("@NAMES@", names))
        lines.append(f"one {name} {sentence} || exit {'90' if name == 'version' else '1'}")
    lines.append(" || ".join(f"one accounts {quote(statement)}" for statement in reversed(_ACCOUNTS)) + " || exit 1")
    return (FILES, Source("live", "\n".join(lines), sudo=True, timeout_s=probe.timeout_s), RUNNING, UNITS)


def parse_mysql(probe: MysqlProbe, reading: Reading) -> JsonValue:
    """See :class:`MysqlProbe`."""
    files = reading.files("files")
    settings: dict[str, JsonValue] = {}
    for lines in files.values():
        for line in lines:
            match = re.fullmatch(r"\s*([A-Za-z0-9_.-]+)\s*(?:=\s*(.*?))?\s*", re.split(r"\s#", line)[0])
            if match and not line.lstrip().startswith(("#", "!", "[")):
                name = match.group(1).replace("-", "_")
                name = name.removeprefix("loose_")
                settings[name] = True if match.group(2) is None else unquote(match.group(2))
    live = _live(reading)
    if live is None:
        raise SERVER.silence(reading)
    return {"settings": settings, "live": live, "running": True, "files": texts(files)}


def _live(reading: Reading) -> JsonValue:
    if reading.maybe("live") is None:
        return None
    parts = {
        record.partition("\n")[0]: record.partition("\n")[2].rstrip("\n").split("\n")
        for record in reading.records("live")
    }
    if not {"version", "variables", "accounts"} <= set(parts):
        return None
    variables: dict[str, JsonValue] = {
        name: scalar(value[:1000])
        for line in parts["variables"]
        for name, tab, value in [line.partition("\t")]
        if tab and name in MYSQL_VARIABLES
    }
    accounts = [account for line in parts["accounts"] if (account := _account(line.split("\t"))) is not None]
    return {
        "version": parts["version"][0][:80],
        "variables": variables,
        "accounts": [*accounts[:1000]],
        "anonymous": sum(account["user"] == "" for account in accounts),
        "plugins": texts(name[:80] for name in parts.get("plugins", [])[:500] if name),
        "databases": texts(name[:120] for name in parts.get("databases", [])[:1000] if name),
    }


def _account(words: list[str]) -> dict[str, JsonValue] | None:
    if len(words) != 8:
        return None
    user, host, plugin, empty, locked, superuser, tls, lifetime = words
    # These plugins take no password: who may come in is decided by the operating system or a directory.
    needs_none = plugin in ("unix_socket", "auth_socket", "auth_pam", "pam", "gssapi", "authentication_ldap_simple")
    return {
        "user": user,
        "host": host,
        "plugin": plugin if plugin != "NULL" else "",
        "empty": empty == "1" and not needs_none,
        "locked": locked == "Y",
        "any_host": host in ("%", "") or "%" in host,
        "superuser": superuser == "Y",
        "tls": tls not in ("", "NULL", "0"),
        "lifetime_days": whole_number(lifetime),
    }
