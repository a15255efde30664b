"""Probes about server software: nginx, PostgreSQL, MySQL and MariaDB, Redis, Docker.

Their configuration holds passwords. What leaves the host are declared settings only (``parse_nginx.py`` and its
neighbours).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from govsec.collect.probe_base import HostPath, Privilege, ProbeModel


class NginxProbe(ProbeModel):
    """nginx, from its configuration files with includes put together (nginx itself is not run but for its version).

    Fact::

        {version: str|null, running: bool|null, main: {<directive>: [str]}, http: {<directive>: [str]},
         servers: [{listen: [str], names: [str], ssl: bool, directives: {<directive>: [str]},
                    effective: {<directive>: [str]}  (http's, overlaid by the server's),
                    locations: [{path, directives: {<directive>: [str]}}]}],
         files: [str], unresolved: [str], truncated: bool}

    Each value is a directive's argument text, once per occurrence. Known directives only (``NGINX_DIRECTIVES``): such
    as ssl_protocols, ssl_ciphers, server_tokens, autoindex, access_log, add_header, client_max_body_size, limit_req,
    allow, deny, user; user names and passwords in addresses are cut out. Not installed, or neither running nor
    started by anything: ``absent``; ``running`` false: not now, and it starts by itself.
    """

    kind: Literal["nginx"] = "nginx"
    configuration: HostPath = "/etc/nginx/nginx.conf"
    privilege: Privilege = "sudo"


class PostgresqlProbe(ProbeModel):
    """PostgreSQL: configuration files, and what a server says over its local socket.

    Fact::

        {instances: [{configuration: path, settings: {<name>: str}   # postgresql.conf and auto.conf, last one wins
                      hba: [{type, databases: [str], users: [str], address: str|null, method,
                             options: {<name>: str}}]}],
         live: {version: str, settings: {<name>: str},   # what is in force
                roles: [{name, superuser, login, create_role, replication: bool, valid_until: str|null,
                         password: "scram"|"md5"|"none"|"unknown", connection_limit: int}],
                extensions: [str], hba_errors: int},
         running: true}

    Settings of a closed list (``POSTGRESQL_SETTINGS``): connection strings and passwords are not on it. Statements are
    fixed, in a read-only transaction with a time limit, run as ``postgres``. None runs, and
    nothing starts one: ``absent``, whatever lies in files; one runs, or would start, and does not answer: ``error``.
    """

    kind: Literal["postgresql"] = "postgresql"
    port: int = Field(default=5432, ge=1, le=65535)
    socket_directory: HostPath | None = None
    privilege: Privilege = "sudo"


class MysqlProbe(ProbeModel):
    """MySQL or MariaDB: configuration files, and what a server says over its local socket.

    Fact::

        {settings: {<name with _>: str|true},    # [mysqld], [mariadb], [server] groups of the files, last one wins
         live: {version: str, variables: {<name>: int|str},
                accounts: [{user, host, plugin, empty: bool, locked: bool|null, any_host: bool, superuser: bool,
                            tls: bool, lifetime_days: int|null}],
                anonymous: int, plugins: [str], databases: [str]},
         running: true, files: [str]}

    Closed list of variables (``MYSQL_VARIABLES``) and of fixed, reading statements. None runs, and nothing
    starts one: ``absent``; one runs, or would start, and does not answer over its socket: ``error``.
    """

    kind: Literal["mysql"] = "mysql"
    socket: HostPath | None = None
    privilege: Privilege = "sudo"


class RedisProbe(ProbeModel):
    """Redis, from its configuration files.

    Fact::

        {instances: [{configuration: path, mode: "0640", permissions: int, owner, bind: [str] ([]: all addresses),
                      port: int, tls_port: int|null, unix_socket: str|null, protected_mode: bool, password_set: bool,
                      acl_file: str|null, acl_users_count: int, default_user_off: bool, renamed_commands: [str],
                      disabled_commands: [str], append_only: bool, log_file: str|null, tls_auth_clients: str|null,
                      max_clients: int|null, replica_of: bool, enable_debug_command: str|null}],
         running: bool|null, run_as: [str]}

    A password is stated as set or not; neither it nor its length leaves the host. No file and no
    process, or neither running nor started by anything: ``absent``.
    """

    kind: Literal["redis"] = "redis"
    configurations: tuple[HostPath, ...] = Field(default=(), max_length=10)
    privilege: Privilege = "sudo"


class DockerProbe(ProbeModel):
    """Docker: daemon.json, and running containers where the socket answers; never their environment or arguments.

    Fact::

        {version: str|null, running: bool|null, socket: {mode: "0660", permissions: int, owner, group}|null,
         daemon: {hosts: [str], insecure-registries: [str], registry-mirrors: [str], dns: [str],
                  <key>: bool|int|str|[str]|{...}},   # known keys of daemon.json, those that are set
         containers: [{name, image, privileged: bool, user: str, read_only: bool, added: [str], dropped: [str],
                       network, pid, ipc, uts: str, security: [str], memory_bytes: int, pids_limit: int|null,
                       cpu_shares: int, restart: str, mounts: [{source, target, writable: bool}], ports: [str],
                       socket_mounted: bool}]|null,      # null: the socket does not answer
         group_members: [str]}

    Not installed, or neither running nor started by anything: ``absent``.
    """

    kind: Literal["docker"] = "docker"
    privilege: Privilege = "sudo"
