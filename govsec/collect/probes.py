"""Typed questions about a host: the union of all probes, told apart by ``kind``.

The door of the probe models. Each model's docstring gives the exact shape of its fact:

* files, kernel, devices, packet filter, time, fixed commands: ``probes_host.py``; gateways: ``probes_border.py``
* accounts, groups, sudo, PAM, password rules, cron: ``probes_accounts.py``
* software, services, sockets, sshd, logs, audit, certificates, TLS, malware scans: ``probes_services.py``
* nginx, PostgreSQL, MySQL/MariaDB, Redis, Docker: ``probes_servers.py``

How an outcome that is not ``ok`` is meant: ``facts.py``.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from govsec.collect.probes_accounts import (
    CronProbe,
    FaillockProbe,
    GroupsProbe,
    LoginDefsProbe,
    PamProbe,
    PwqualityProbe,
    ShellDefaultsProbe,
    SudoersProbe,
    UsersProbe,
)
from govsec.collect.probes_border import BorderProbe
from govsec.collect.probes_host import (
    AccessControlProbe,
    CommandProbe,
    EncryptionProbe,
    FileProbe,
    FilesProbe,
    FirewallProbe,
    ModulesProbe,
    MountsProbe,
    NetworkProbe,
    SysctlProbe,
    TimeProbe,
    TrustProbe,
    WalkProbe,
)
from govsec.collect.probes_servers import DockerProbe, MysqlProbe, NginxProbe, PostgresqlProbe, RedisProbe
from govsec.collect.probes_services import (
    AntimalwareProbe,
    AuditProbe,
    CertificatesProbe,
    FileAgeProbe,
    ListenersProbe,
    LoggingProbe,
    PackagesProbe,
    ProcessesProbe,
    ServicesProbe,
    SshdProbe,
    TlsProbe,
    UpdatesProbe,
)
from govsec.errors import ConfigurationError

AnyProbe: TypeAlias = (
    FileProbe
    | FilesProbe
    | FileAgeProbe
    | WalkProbe
    | SysctlProbe
    | ModulesProbe
    | MountsProbe
    | TrustProbe
    | EncryptionProbe
    | AccessControlProbe
    | FirewallProbe
    | BorderProbe
    | TimeProbe
    | NetworkProbe
    | CommandProbe
    | UsersProbe
    | GroupsProbe
    | SudoersProbe
    | PamProbe
    | LoginDefsProbe
    | PwqualityProbe
    | FaillockProbe
    | ShellDefaultsProbe
    | CronProbe
    | SshdProbe
    | PackagesProbe
    | UpdatesProbe
    | ServicesProbe
    | ListenersProbe
    | ProcessesProbe
    | AuditProbe
    | LoggingProbe
    | CertificatesProbe
    | TlsProbe
    | AntimalwareProbe
    | NginxProbe
    | PostgresqlProbe
    | MysqlProbe
    | RedisProbe
    | DockerProbe
)
#: What a pack's ``probes`` hold; use it as a field's type.
Probe: TypeAlias = Annotated[AnyProbe, Field(discriminator="kind")]

_ADAPTER: TypeAdapter[AnyProbe] = TypeAdapter(Probe)


def parse_probe(value: object) -> AnyProbe:
    """The probe that plain data (a pack's, a plan's) describe.

    Raises:
        ConfigurationError: unknown kind, unknown or missing field, an argument outside its closed form.
    """
    try:
        return _ADAPTER.validate_python(value)
    except ValidationError as error:
        what = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])
        raise ConfigurationError(f"not a probe: {what}") from error
