"""Probes about what a host runs: software, services, sockets, sshd, logs, audit, certificates, malware scans."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from govsec.collect.probe_base import Address, HostGlob, Name, Privilege, ProbeModel


class SshdContext(ProbeModel):
    """A connection for which sshd's settings are asked: who from where (``Match`` blocks)."""

    kind: Literal["context"] = "context"
    user: Name = "root"
    host: Address = "localhost"
    address: Address = "127.0.0.1"


class SshdProbe(ProbeModel):
    """Settings that sshd would use (``sshd -T``), not what a file says.

    Fact::

        {version: "OpenSSH_9.2p1 ..."|null, running: bool|null (false: not now, and it starts by itself),
         settings: {<keyword in lower case>: str|int|[str]},     # without a connection
         contexts: {"user=root,host=localhost,addr=127.0.0.1": {<keyword>: str|int|[str]}},   # asked, or matched
         all: [{<keyword>: str|int|[str]}],   # settings, contexts: sshd.all.all(s, s.permitrootlogin == "no")
         match_lines: [str],            # as written in the configuration
         unresolved: int}               # Match lines that no context could be made for (exec, over 8 lines, failed)

    Always lists: acceptenv, allowgroups, allowusers, denygroups, denyusers, hostkey, listenaddress, port (of int),
    authorizedkeysfile, and the comma lists ciphers, macs, kexalgorithms, hostkeyalgorithms, pubkeyacceptedalgorithms,
    casignaturealgorithms, hostbasedacceptedalgorithms, authenticationmethods. ``none`` as only word of allow and deny
    lists and keywords that sshd does not print: allow and deny lists are [], other keywords are not there. Numbers are
    numbers (maxauthtries, clientaliveinterval, logingracetime in seconds …), ``yes``/``no`` stay text. ``maxstartups``
    is text. Not installed, or neither running nor started by anything: ``absent``; a configuration that sshd refuses:
    ``error``.
    """

    kind: Literal["sshd"] = "sshd"
    contexts: tuple[SshdContext, ...] = Field(default=(), max_length=8)
    privilege: Privilege = "sudo"


class PackagesProbe(ProbeModel):
    """Installed packages (dpkg or rpm).

    Fact: ``{manager: "dpkg"|"rpm"|"apk", count: int, installed: {<name>: {version, architecture}},
    missing: [str]}`` for the names asked. No package manager: ``absent``.
    """

    kind: Literal["packages"] = "packages"
    names: tuple[Name, ...] = Field(default=(), max_length=200)


class UpdatesProbe(ProbeModel):
    """Pending updates as this host's package lists have them; nothing is fetched.

    Fact::

        {manager: "apt"|"dnf"|"yum"|"zypper", pending: int, security: int|null (null: lists do not tell), names: [str],
         security_names: [str] (500 at most each), lists_age_days: number|null, automatic: bool|null,
         reboot_needed: bool|null}

    ``lists_age_days``: age of the newest package list; old or missing lists make any count meaningless. ``automatic``:
    unattended-upgrades or dnf-automatic is set up. With apt, holds and pins are not considered; without any list,
    ``security`` is null.
    """

    kind: Literal["updates"] = "updates"
    privilege: Privilege = "sudo"
    timeout_s: int = Field(default=20, ge=1, le=60)


class ServicesProbe(ProbeModel):
    """Services of systemd, or scripts of SysV init or OpenRC.

    Fact::

        {init: "systemd"|"sysv"|"openrc"|"none", complete: bool,
         services: {<name as asked>: {present, active: bool|null, enabled: bool|null, state: str|null, unit: str|null}},
         enabled: [str], running: [str]}      # all of them, without ".service"; null where init cannot be asked

    ``state`` is the unit file's (enabled, disabled, masked, static, …). Names without a suffix mean ``.service``;
    ``sshd`` and ``ssh``, ``cron`` and ``crond``, ``chrony`` and ``chronyd`` are different names: ask for both.
    ``init`` "none" is a container without an init: ``present`` is by unit file, ``active`` by a process of that name.
    """

    kind: Literal["services"] = "services"
    names: tuple[Name, ...] = Field(default=(), max_length=200)


class ListenersProbe(ProbeModel):
    """Sockets that listen.

    Fact::

        {sockets: [{protocol: "tcp"|"udp", family: 4|6, address, port: int, process: str|null, pid: int|null,
                    user: str|null, loopback: bool, any: bool}],
         tcp_ports: [int], udp_ports: [int],
         exposed_tcp_ports: [int], exposed_udp_ports: [int],     # exposed: not loopback
         processes_known: bool, truncated: bool (over 2000)}
    """

    kind: Literal["listeners"] = "listeners"
    privilege: Privilege = "sudo"


class ProcessesProbe(ProbeModel):
    """Running processes by name; never their arguments.

    Fact: ``{processes: {<name as asked>: {count: int, users: [str]}}, total: int, names: [str] (distinct, 1000 at
    most), root_count: int}``. Names are the kernel's: 15 characters.
    """

    kind: Literal["processes"] = "processes"
    names: tuple[Name, ...] = Field(default=(), max_length=100)


class AuditProbe(ProbeModel):
    """The kernel's audit: daemon, state, rules.

    Fact::

        {present: bool, daemon_active: bool, enabled: int|null (0 off, 1 on, 2 locked), failure: int|null,
         lost: int|null, backlog_limit: int|null,
         rules: [str]                # loaded, as auditctl -l prints them
         rules_known: bool           # false: they could not be asked (then rules is [])
         file_rules: [str]           # of rules.d and audit.rules, without comments and control lines
         watches: {<path>: "rwxa"}, syscalls: [str], keys: [str]     # of the loaded rules; of the files when not known
         conf: {<name>: int|str}     # auditd.conf: max_log_file, num_logs, max_log_file_action, space_left_action …
         boot_enabled: bool|null}    # audit=1 on the kernel's command line
    """

    kind: Literal["audit"] = "audit"
    privilege: Privilege = "sudo"


class LoggingProbe(ProbeModel):
    """System logs: journald, rsyslog or syslog-ng, logrotate, and how far back the records go.

    Fact::

        {journald: {present, active: bool|null, storage: str, persistent: bool, max_retention_s: int|null,
                    values: {<name>: str}, oldest: time|null, oldest_days: number|null},
         rsyslog: {present: bool, active: bool|null, files: {<selector>: [path]},
                   remote: [{target, protocol: "tcp"|"udp"|"relp", tls: bool|null, selector}], file_mode: str|null},
         syslog_ng: {present: bool, active: bool|null},
         logrotate: {present: bool, frequency: str|null, rotate: int|null,
                     rules: [{file, paths: [str], frequency: str|null, rotate: int|null, max_age_days: int|null,
                              keep_days: int|null}]},
         remote: bool                 # some daemon forwards to another machine
         files: [{path, mode, permissions: int, owner, group, size_bytes: int, modified: time}]  # of /var/log
         oldest_days: number|null,    # age of the oldest record: journal, or the oldest rotated file of /var/log
         installed_days: number|null} # age of the host itself: a young host has no old records

    ``keep_days``: period × rotate, or maxage where that is less; null where neither is set.
    """

    kind: Literal["logging"] = "logging"
    privilege: Privilege = "sudo"


class CertificatesProbe(ProbeModel):
    """Certificates in files. Only CERTIFICATE blocks leave the host, never another.

    Fact::

        {certificates: [{path, position: int, subject, issuer, serial, not_before: time, not_after: time,
                         days_left: int, signature: str (sha256WithRSAEncryption, ecdsa-with-SHA256, SM2-with-SM3 …),
                         key: "rsa"|"ec"|"sm2"|"dsa"|"ed25519"|"ed448"|"other", key_bits: int|null, curve: str|null,
                         ca: bool, self_signed: bool, names: [str]}],
         unreadable: [{path, reason}], truncated: bool (over 500)}
    """

    kind: Literal["certificates"] = "certificates"
    patterns: tuple[HostGlob, ...] = Field(min_length=1, max_length=20)
    privilege: Privilege = "sudo"


class TlsEndpoint(ProbeModel):
    """Where the host itself connects to."""

    kind: Literal["endpoint"] = "endpoint"
    address: Address = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    server_name: Address | None = None
    starttls: Literal["smtp", "imap", "pop3", "ldap", "postgres", "mysql"] | None = None


class TlsProbe(ProbeModel):
    """TLS of services, tried from the host with its own openssl.

    Fact::

        {client: str (openssl's version),
         endpoints: [{address, port: int, reachable: bool,
                      protocols: {"TLSv1.3", "TLSv1.2", "TLSv1.1", "TLSv1": bool|null}  # null: this openssl cannot try
                      ciphers: {<protocol>: str}        # what was agreed
                      weak_accepted: bool|null          # RC4, 3DES, NULL, EXPORT or anonymous suites
                      sm: {tried: [str], accepted: [str]}   # TLS_SM4_GCM_SM3, ECC-SM4-SM3 …; tried []: unknown
                      certificate: {as CertificatesProbe.certificates without path and position}|null}]}

    openssl not there: ``absent``. An endpoint that does not answer is ``reachable: false`` with null protocols.
    """

    kind: Literal["tls"] = "tls"
    endpoints: tuple[TlsEndpoint, ...] = Field(min_length=1, max_length=10)


class AntimalwareProbe(ProbeModel):
    """Protection against malicious code that is known to govsec, and the age of its signatures.

    Fact::

        {products: [{name, installed: bool, active: bool, signatures: path|null, signature_age_days: number|null}],
         installed: [str], active: [str], signature_age_days: number|null (the newest), integrity_tools: [str]}

    Known: clamav, 360safe, qax (奇安信), sangfor, huorong, dbapp (安恒), asiainfo (亚信), aegis (Alibaba), ydservice
    (Tencent), hostguard (Huawei), sophos, kaspersky, mdatp, falcon, trend, eset. ``integrity_tools``: aide, tripwire,
    samhain.
    """

    kind: Literal["antimalware"] = "antimalware"
    privilege: Privilege = "sudo"


class FileAgeProbe(ProbeModel):
    """The oldest and the newest of the files that match: how far back a log goes, how fresh a result is.

    Fact: ``{count: int, oldest_days: number|null, newest_days: number|null, size_bytes: int, truncated: bool}``.
    """

    kind: Literal["file_age"] = "file_age"
    patterns: Annotated[tuple[HostGlob, ...], Field(min_length=1, max_length=20)]
    privilege: Privilege = "sudo"
