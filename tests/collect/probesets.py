"""Sets of probes that tests ask."""

from __future__ import annotations

from govsec.collect.probes import AnyProbe
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
    TlsEndpoint,
    TlsProbe,
    UpdatesProbe,
)


def every_probe() -> tuple[AnyProbe, ...]:
    """At least one of each kind."""
    return (
        FileProbe(path="/etc/issue", fields={"text": "^(.*)$"}),
        FileProbe(path="/etc/shadow"),
        FilesProbe(patterns=("/etc/cron.d/*", "/etc/ssh/*_key")),
        FileAgeProbe(patterns=("/var/log/*.log",)),
        WalkProbe(roots=("/etc",), timeout_s=60),
        SysctlProbe(keys=("net.ipv4.ip_forward", "kernel.randomize_va_space", "no.such")),
        ModulesProbe(names=("cramfs", "usb-storage")),
        MountsProbe(),
        TrustProbe(),
        EncryptionProbe(),
        AccessControlProbe(),
        FirewallProbe(),
        BorderProbe(),
        TimeProbe(),
        NetworkProbe(),
        CommandProbe(name="kernel"),
        UsersProbe(),
        GroupsProbe(),
        SudoersProbe(),
        PamProbe(service="sshd"),
        LoginDefsProbe(),
        PwqualityProbe(),
        FaillockProbe(),
        ShellDefaultsProbe(),
        CronProbe(),
        SshdProbe(),
        PackagesProbe(names=("bash", "telnetd")),
        UpdatesProbe(),
        ServicesProbe(names=("ssh", "sshd")),
        ListenersProbe(),
        ProcessesProbe(names=("sshd",)),
        AuditProbe(),
        LoggingProbe(),
        CertificatesProbe(patterns=("/etc/ssl/certs/*.crt",)),
        TlsProbe(endpoints=(TlsEndpoint(port=443),)),
        AntimalwareProbe(),
        NginxProbe(),
        PostgresqlProbe(),
        MysqlProbe(),
        RedisProbe(),
        DockerProbe(),
    )


def quick_probes() -> tuple[AnyProbe, ...]:
    """All but those that take a second: the package manager's simulation, walks, connections."""
    return tuple(probe for probe in every_probe() if probe.kind not in ("updates", "walk", "tls", "docker", "packages"))
