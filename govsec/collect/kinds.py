"""The table of kinds: for each kind of probe, what is asked of a host and how the answer is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import JsonValue

from govsec.collect import (
    parse_accounts,
    parse_border,
    parse_certificates,
    parse_docker,
    parse_files,
    parse_firewall,
    parse_kernel,
    parse_listeners,
    parse_logs,
    parse_mysql,
    parse_network,
    parse_nginx,
    parse_pam,
    parse_postgresql,
    parse_protection,
    parse_redis,
    parse_services,
    parse_shells,
    parse_software,
    parse_sshd,
    parse_sudoers,
    parse_updates,
)
from govsec.collect.probes import AnyProbe
from govsec.collect.sources import Reading, Source

# Any: each row takes its own class of probe; the kind that leads to the row is that class's.
Sources = Callable[[Any], tuple[Source, ...]]
Parser = Callable[[Any, Reading], JsonValue]

_KINDS: dict[str, tuple[Sources, Parser]] = {
    "file": (parse_files.file_sources, parse_files.parse_file),
    "files": (parse_files.files_sources, parse_files.parse_files),
    "file_age": (parse_files.file_age_sources, parse_files.parse_file_age),
    "walk": (parse_files.walk_sources, parse_files.parse_walk),
    "sysctl": (parse_kernel.sysctl_sources, parse_kernel.parse_sysctl),
    "modules": (parse_kernel.modules_sources, parse_kernel.parse_modules),
    "mounts": (parse_kernel.mounts_sources, parse_kernel.parse_mounts),
    "trust": (parse_kernel.trust_sources, parse_kernel.parse_trust),
    "encryption": (parse_kernel.encryption_sources, parse_kernel.parse_encryption),
    "access_control": (parse_protection.access_control_sources, parse_protection.parse_access_control),
    "antimalware": (parse_protection.antimalware_sources, parse_protection.parse_antimalware),
    "command": (parse_protection.command_sources, parse_protection.parse_command),
    "firewall": (parse_firewall.firewall_sources, parse_firewall.parse_firewall),
    "border": (parse_border.border_sources, parse_border.parse_border),
    "time": (parse_network.time_sources, parse_network.parse_time),
    "network": (parse_network.network_sources, parse_network.parse_network),
    "listeners": (parse_listeners.listeners_sources, parse_listeners.parse_listeners),
    "users": (parse_accounts.users_sources, parse_accounts.parse_users),
    "groups": (parse_accounts.groups_sources, parse_accounts.parse_groups),
    "sudoers": (parse_sudoers.sudoers_sources, parse_sudoers.parse_sudoers),
    "pam": (parse_pam.pam_sources, parse_pam.parse_pam),
    "login_defs": (parse_pam.login_defs_sources, parse_pam.parse_login_defs),
    "pwquality": (parse_pam.pwquality_sources, parse_pam.parse_pwquality),
    "faillock": (parse_pam.faillock_sources, parse_pam.parse_faillock),
    "shell_defaults": (parse_shells.shell_defaults_sources, parse_shells.parse_shell_defaults),
    "cron": (parse_shells.cron_sources, parse_shells.parse_cron),
    "sshd": (parse_sshd.sshd_sources, parse_sshd.parse_sshd),
    "packages": (parse_software.packages_sources, parse_software.parse_packages),
    "updates": (parse_updates.updates_sources, parse_updates.parse_updates),
    "services": (parse_services.services_sources, parse_services.parse_services),
    "processes": (parse_software.processes_sources, parse_software.parse_processes),
    "audit": (parse_logs.audit_sources, parse_logs.parse_audit),
    "logging": (parse_logs.logging_sources, parse_logs.parse_logging),
    "certificates": (parse_certificates.certificates_sources, parse_certificates.parse_certificates),
    "tls": (parse_certificates.tls_sources, parse_certificates.parse_tls),
    "nginx": (parse_nginx.nginx_sources, parse_nginx.parse_nginx),
    "postgresql": (parse_postgresql.postgresql_sources, parse_postgresql.parse_postgresql),
    "mysql": (parse_mysql.mysql_sources, parse_mysql.parse_mysql),
    "redis": (parse_redis.redis_sources, parse_redis.parse_redis),
    "docker": (parse_docker.docker_sources, parse_docker.parse_docker),
}
KINDS: frozenset[str] = frozenset(_KINDS)


def sources_of(probe: AnyProbe) -> tuple[Source, ...]:
    """What is asked of a host for ``probe``."""
    return _KINDS[probe.kind][0](probe)


def parse(probe: AnyProbe, reading: Reading) -> JsonValue:
    """The fact that the answers hold, in the shape of the probe's docstring.

    Raises:
        NoFactError: there is none, with status and reason.
    """
    return _KINDS[probe.kind][1](probe, reading)
