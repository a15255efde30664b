"""Probes about files, the kernel, devices, mandatory access control, the packet filter and time."""

from __future__ import annotations

import fnmatch
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from govsec.collect.probe_base import SECRET_PATHS, HostGlob, HostPath, Name, Privilege, ProbeModel

_FIELD_NAME = r"^[a-z][a-z0-9_]*$"
_ERE_MAX = 300


def _safe_expression(expression: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e]+", expression) or "(" not in expression:
        raise ValueError("a field is a POSIX extended regular expression of printable ASCII with one group")
    if expression.endswith("\\") or re.search(r"\(\?|\\[dwsbDWSB]", expression):
        raise ValueError(f"not a POSIX extended regular expression ([[:digit:]], not \\d): {expression!r}")
    return expression


Expression = Annotated[str, Field(max_length=_ERE_MAX), AfterValidator(_safe_expression)]


class FileProbe(ProbeModel):
    """One file: how it is kept, and declared fields of its contents; never the contents.

    Status ``absent`` when there is no such file. Fact::

        {path, type: "file"|"directory"|"fifo"|"socket"|"block"|"char"|"other", link: bool, target: str|null,
         mode: "0644" (four octal digits), permissions: int (420 for 0644), owner, group (names, or the number as text),
         uid: int, gid: int, size_bytes: int, modified: time, modified_days: int,
         setuid, setgid, sticky, group_read, group_write, group_execute, other_read, other_write, other_execute: bool,
         acl: bool|null  (extended access list; null where ls does not show it),
         fields: {<name>: [str, ...]}}   # first group of every match, in order; [] where nothing matches

    A link is followed (``link`` says so, ``target`` where it ends). ``fields`` of a file on the list of secret paths
    are refused when the pack is read; on the host the list is applied again to where links end: status ``denied``.
    Values over 4096 bytes and more than 200 of a field are cut. Matches are those of ``grep -o -E``, line by line:
    leftmost and longest. A file that holds a private key gives no fields: ``denied``.
    """

    kind: Literal["file"] = "file"
    path: HostPath
    fields: dict[Annotated[str, Field(pattern=_FIELD_NAME, max_length=40)], Expression] = Field(
        default_factory=dict, max_length=20
    )

    @model_validator(mode="after")
    def _keeps_secrets_out(self) -> FileProbe:
        if self.fields and any(fnmatch.fnmatchcase(self.path, pattern) for pattern in SECRET_PATHS):
            raise ValueError(f"contents of {self.path} are secret: only how it is kept may be asked")
        return self


class FilesProbe(ProbeModel):
    """How every file is kept that matches one of the patterns (``*`` does not cross ``/``; no walk).

    Fact: ``{count: int, truncated: bool (over 2000), files: [as FileProbe without fields]}``, by path. Nothing matches:
    ``count`` 0, not ``absent``.
    """

    kind: Literal["files"] = "files"
    patterns: tuple[HostGlob, ...] = Field(min_length=1, max_length=20)
    privilege: Privilege = "sudo"


class WalkProbe(ProbeModel):
    """Files of the whole host that are setuid, setgid, writable by all or owned by nobody; walked at most daily.

    The host keeps nothing: the last walk's fact is kept by the controller and used again until ``age_max_h``.
    Other file systems (network, /proc, /sys, container layers) are not entered. Fact::

        {entries: [{path, mode: "4755", owner, group, why: ["setuid"|"setgid"|"world_writable"|"unowned", ...]}],
         count: int, truncated: bool (over 2000), complete: bool (false: stopped at the time limit),
         age_h: number (0 when walked in this run)}

    World-writable directories with the sticky bit and links are not listed. No fact yet and no time for a walk:
    status ``error``.
    """

    kind: Literal["walk"] = "walk"
    roots: tuple[HostPath | Literal["/"], ...] = Field(default=("/",), min_length=1, max_length=10)
    age_max_h: int = Field(default=24, ge=1, le=24 * 7)
    privilege: Privilege = "sudo"
    timeout_s: int = Field(default=60, ge=1, le=600)


class SysctlProbe(ProbeModel):
    """Kernel parameters as they are in force (``/proc/sys``).

    Fact: ``{values: {"net.ipv4.ip_forward": int|str}, missing: [str]}``: whole numbers as numbers, other values as text
    with single spaces; ``missing`` lists the keys that this kernel does not have. A ``*`` for one name asks for all
    (``net.ipv4.conf.*.rp_filter``); a dot in such a name is a slash in the key, as sysctl(8) has it.
    """

    kind: Literal["sysctl"] = "sysctl"
    keys: tuple[Annotated[str, Field(pattern=r"^[a-z0-9_]+([./]([A-Za-z0-9_-]+|\*))+$", max_length=120)], ...] = Field(
        min_length=1, max_length=100
    )


class ModulesProbe(ProbeModel):
    """Kernel modules.

    Fact: ``{modules: {<name>: {loaded, builtin, available, blacklisted, disabled: bool}}, loaded_count: int}``.
    ``available``: a file of this kernel's module tree; ``disabled``: an ``install`` line to ``/bin/true`` or
    ``/bin/false``, which also stops loading by name; ``blacklisted`` stops loading by alias alone. ``-`` and ``_`` in
    names are one.
    """

    kind: Literal["modules"] = "modules"
    names: tuple[Name, ...] = Field(min_length=1, max_length=100)


class MountsProbe(ProbeModel):
    """What is mounted, and how.

    Fact::

        {mounts: {<target>: {source, type, options: [str]}},      # the topmost mount at each target
         fstab: {<target>: {source, type, options: [str]}},       # {} where there is none
         swap: [{name, type, encrypted: bool|null}], truncated: bool}
    """

    kind: Literal["mounts"] = "mounts"


class TrustProbe(ProbeModel):
    """Trusted start of the machine: secure boot, TPM, IMA, kernel lockdown.

    Fact::

        {secure_boot: "enabled"|"disabled"|"unsupported"|"unknown", setup_mode: bool|null,
         tpm: {present: bool, version: "1.2"|"2.0"|null},
         ima: {present: bool, measurements: int|null, violations: int|null, policy_set: bool|null, appraise: str|null},
         lockdown: "none"|"integrity"|"confidentiality"|null, grub_password: bool|null,
         command_line: [str]}     # words of the kernel's command line, secrets cut out
    """

    kind: Literal["trust"] = "trust"
    privilege: Privilege = "sudo"


class EncryptionProbe(ProbeModel):
    """Encryption of block devices.

    Fact::

        {devices: [{name, type, filesystem: str|null, mounted_at: str|null, encrypted: bool}],
         crypttab: [{name, source}], encrypted_mounts: [str], plain_mounts: [str], root_encrypted: bool|null}

    ``encrypted``: the device or one below it is a crypt device. In a container without devices: status ``absent``.
    """

    kind: Literal["encryption"] = "encryption"
    privilege: Privilege = "sudo"


class AccessControlProbe(ProbeModel):
    """Mandatory access control.

    Fact::

        {selinux: {present: bool, mode: "enforcing"|"permissive"|"disabled"|null,
                   configured: str|null, policy: str|null},
         apparmor: {present: bool, enabled: bool, enforce_count: int|null, complain_count: int|null},
         enforcing: bool}     # SELinux enforcing, or AppArmor enabled with at least one enforced profile
    """

    kind: Literal["access_control"] = "access_control"
    privilege: Privilege = "sudo"


class FirewallProbe(ProbeModel):
    """The host's own packet filter.

    Fact::

        {nft: {present: bool, readable: bool, tables_count: int, rules_count: int, input_policy: "accept"|"drop"|null},
         iptables: {present, readable: bool, rules_count: int, input_policy: str|null, forward_policy: str|null},
         ip6tables: {the same},
         firewalld: {present: bool, active: bool, default_zone: str|null},
         ufw: {present: bool, active: bool},
         kernel: "rules"|"none"|null,     # whether the kernel may hold rules at all; null: it cannot say
         rules_count: int, default_deny_input: bool, active: bool,
         ipv6: {enabled: bool|null, default_deny_input: bool, active: bool}}

    ``active``: something looks at what comes in: a policy that drops, a rule in the chain of input that is the host's
    own, an active firewalld or ufw. Chains that Docker, Kubernetes, libvirt or fail2ban keep for themselves do not
    count, nor does any rule for what is passed on. ``default_deny_input``: the base chain or policy of input drops or
    rejects what no rule allows (also a last rule that drops or rejects everything). Both are about IPv4; the same of
    IPv6 is under ``ipv6``, where ``enabled`` says whether an interface other than lo has an address. No tool is there
    and the kernel holds no rules: a fact without any; no tool could say: ``error``.
    """

    kind: Literal["firewall"] = "firewall"
    privilege: Privilege = "sudo"


class TimeProbe(ProbeModel):
    """Time synchronisation.

    Fact::

        {services: [str], synchronized: bool|null, offset_s: number|null (as chronyd or ntpd states it),
         stratum: int|null, servers: [str] (configured), timezone: str|null}

    ``services``: which of chronyd, ntpd, ntpsec, systemd-timesyncd, openntpd run.
    """

    kind: Literal["time"] = "time"


class NetworkProbe(ProbeModel):
    """Interfaces, routes and resolvers.

    Fact::

        {interfaces: [{name, up: bool, promiscuous: bool, addresses: [str] (with prefix length)}],
         default_gateways: [str], resolvers: [str], ipv6_enabled: bool}
    """

    kind: Literal["network"] = "network"


#: The fixed argument vectors that a pack may name. Closed: a new one is a change of govsec, not of a pack.
COMMANDS: dict[str, tuple[str, ...]] = {
    "disk-usage": ("df", "-P"),
    "inode-usage": ("df", "-P", "-i"),
    "kernel": ("uname", "-a"),
    "load": ("uptime",),
    "logged-in": ("who",),
    "recent-logins": ("last", "-n", "20"),
    "failed-units": ("systemctl", "--failed", "--no-legend", "--plain", "--no-pager"),
    "time-status": ("timedatectl", "status", "--no-pager"),
    "selinux-status": ("sestatus",),
    "apparmor-status": ("aa-status", "--verbose"),
    "audit-status": ("auditctl", "-s"),
    "firewalld-zones": ("firewall-cmd", "--list-all-zones"),
    "aide-version": ("aide", "--version"),
    "crypto-policy": ("update-crypto-policies", "--show"),
    "fips-mode": ("fips-mode-setup", "--check"),
    "openssl-version": ("openssl", "version"),
    "sudo-version": ("sudo", "-V"),
    "kylin-security-status": ("getstatus",),
}


class CommandProbe(ProbeModel):
    """One of a closed list of commands; its words are fixed (``COMMANDS``).

    Fact: ``{exit_code: int, lines: [str] (at most 200, secrets cut out), truncated: bool}``. Command not there:
    ``absent``.
    """

    kind: Literal["command"] = "command"
    name: str

    @model_validator(mode="after")
    def _is_on_the_list(self) -> CommandProbe:
        if self.name not in COMMANDS:
            raise ValueError(f"no command {self.name!r}; there are {', '.join(sorted(COMMANDS))}")
        return self
